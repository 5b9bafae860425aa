/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages over the socket: bytes, descriptors, deadlines. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* 0 when the socket is ready for `events`. */
static int wait_socket(struct vfe_session *session, short events, int64_t deadline)
{
	struct pollfd p = { .fd = session->fd, .events = events };
	int64_t left;
	int r;

	do {
		left = deadline - now_ms();
		r = poll(&p, 1, left > 0 ? (int)left : 0);
	} while (r < 0 && errno == EINTR);
	if (r < 0) {
		return vfe_fail(session, -errno, "poll: %s", strerror(errno));
	}
	return r == 0 ? vfe_fail(session, -ETIMEDOUT, "the back-end does not respond") : 0;
}

int vfe_raw_send_bytes(struct vfe_session *session, const void *bytes, size_t len, const int *fds,
		       unsigned int fd_n)
{
	int64_t deadline = now_ms() + session->timeout_ms;
	struct iovec iov = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = len };
	union {
		struct cmsghdr align;
		uint8_t room[CMSG_SPACE(sizeof(int) * VFE_FDS_MAX)];
	} control = { 0 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;
	int r;

	if (session->fd < 0) {
		return -ENOTCONN;
	}
	if (fd_n > VFE_FDS_MAX) {
		return -E2BIG;
	}
	if (fd_n > 0) {
		m.msg_control = control.room;
		m.msg_controllen = CMSG_SPACE(sizeof(int) * fd_n);
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);

		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * fd_n);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * fd_n);
	}
	while (iov.iov_len > 0) {
		n = sendmsg(session->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EAGAIN) {
			r = wait_socket(session, POLLOUT, deadline);
			if (r < 0) {
				return r;
			}
			continue;
		}
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n < 0 && (errno == EPIPE || errno == ECONNRESET)) {
			return vfe_fail(session, -ECONNRESET, "the back-end closed the connection");
		}
		if (n < 0) {
			return vfe_fail(session, -errno, "cannot send: %s", strerror(errno));
		}
		iov.iov_base = (uint8_t *)iov.iov_base + n;
		iov.iov_len -= (size_t)n;
		/* Descriptors travel with the first byte. */
		m.msg_control = NULL;
		m.msg_controllen = 0;
	}
	return 0;
}

int vfe_raw_send(struct vfe_session *session, const struct vfe_message *message)
{
	uint8_t wire[sizeof(message->header) + VFE_PAYLOAD_MAX];
	size_t size = message->header.size;

	if (size > VFE_PAYLOAD_MAX) {
		size = VFE_PAYLOAD_MAX; /* a lie about the length: the header keeps it */
	}
	memcpy(wire, &message->header, sizeof(message->header));
	memcpy(wire + sizeof(message->header), message->payload.bytes, size);
	return vfe_raw_send_bytes(session, wire, sizeof(message->header) + size, message->fds,
				  message->fd_n);
}

static void take_fds(struct msghdr *m, struct vfe_message *message)
{
	struct cmsghdr *c;

	for (c = CMSG_FIRSTHDR(m); c != NULL; c = CMSG_NXTHDR(m, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		size_t i;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
			continue;
		}
		for (i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (message->fd_n < VFE_FDS_MAX) {
				message->fds[message->fd_n++] = fd;
			} else {
				close(fd);
			}
		}
	}
}

static int recv_exactly(struct vfe_session *session, void *buf, size_t len, int64_t deadline,
			struct vfe_message *message)
{
	union {
		struct cmsghdr align;
		uint8_t room[CMSG_SPACE(sizeof(int) * VFE_FDS_MAX)];
	} control;
	struct iovec iov = { .iov_base = buf, .iov_len = len };
	ssize_t n;
	int r;

	while (iov.iov_len > 0) {
		struct msghdr m = { .msg_iov = &iov,
				    .msg_iovlen = 1,
				    .msg_control = control.room,
				    .msg_controllen = sizeof(control.room) };

		r = wait_socket(session, POLLIN, deadline);
		if (r < 0) {
			return r;
		}
		n = recvmsg(session->fd, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
			continue;
		}
		if (n <= 0) {
			return vfe_fail(session, -ECONNRESET, "the back-end closed the connection");
		}
		take_fds(&m, message);
		iov.iov_base = (uint8_t *)iov.iov_base + n;
		iov.iov_len -= (size_t)n;
	}
	return 0;
}

int vfe_raw_recv(struct vfe_session *session, struct vfe_message *ret_message)
{
	int64_t deadline = now_ms() + session->timeout_ms;
	int r;

	if (session->fd < 0) {
		return -ENOTCONN;
	}
	memset(ret_message, 0, sizeof(*ret_message));
	r = recv_exactly(session, &ret_message->header, sizeof(ret_message->header), deadline,
			 ret_message);
	if (r == 0 && ret_message->header.size > VFE_PAYLOAD_MAX) {
		r = vfe_fail(session, -EPROTO, "a message of %u bytes", ret_message->header.size);
	}
	if (r == 0) {
		r = recv_exactly(session, ret_message->payload.bytes, ret_message->header.size,
				 deadline, ret_message);
	}
	if (r < 0) {
		vfe_raw_close_fds(ret_message);
	}
	return r;
}

void vfe_raw_close_fds(struct vfe_message *message)
{
	while (message->fd_n > 0) {
		close(message->fds[--message->fd_n]);
	}
}
