/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages over the socket: bytes, descriptors, deadlines. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

static const char *const names[] = {
	[VFE_GET_FEATURES] = "GET_FEATURES",
	[VFE_SET_FEATURES] = "SET_FEATURES",
	[VFE_SET_OWNER] = "SET_OWNER",
	[VFE_RESET_OWNER] = "RESET_OWNER",
	[VFE_SET_MEM_TABLE] = "SET_MEM_TABLE",
	[VFE_SET_LOG_BASE] = "SET_LOG_BASE",
	[VFE_SET_LOG_FD] = "SET_LOG_FD",
	[VFE_SET_VRING_NUM] = "SET_VRING_NUM",
	[VFE_SET_VRING_ADDR] = "SET_VRING_ADDR",
	[VFE_SET_VRING_BASE] = "SET_VRING_BASE",
	[VFE_GET_VRING_BASE] = "GET_VRING_BASE",
	[VFE_SET_VRING_KICK] = "SET_VRING_KICK",
	[VFE_SET_VRING_CALL] = "SET_VRING_CALL",
	[VFE_SET_VRING_ERR] = "SET_VRING_ERR",
	[VFE_GET_PROTOCOL_FEATURES] = "GET_PROTOCOL_FEATURES",
	[VFE_SET_PROTOCOL_FEATURES] = "SET_PROTOCOL_FEATURES",
	[VFE_GET_QUEUE_NUM] = "GET_QUEUE_NUM",
	[VFE_SET_VRING_ENABLE] = "SET_VRING_ENABLE",
	[VFE_SET_BACKEND_REQ_FD] = "SET_BACKEND_REQ_FD",
	[VFE_GET_CONFIG] = "GET_CONFIG",
	[VFE_SET_CONFIG] = "SET_CONFIG",
	[VFE_GET_INFLIGHT_FD] = "GET_INFLIGHT_FD",
	[VFE_SET_INFLIGHT_FD] = "SET_INFLIGHT_FD",
	[VFE_RESET_DEVICE] = "RESET_DEVICE",
	[VFE_GET_MAX_MEM_SLOTS] = "GET_MAX_MEM_SLOTS",
	[VFE_ADD_MEM_REG] = "ADD_MEM_REG",
	[VFE_REM_MEM_REG] = "REM_MEM_REG",
	[VFE_SET_STATUS] = "SET_STATUS",
	[VFE_GET_STATUS] = "GET_STATUS",
};

const char *vfe_request_name(uint32_t request)
{
	if (request >= sizeof(names) / sizeof(names[0]) || names[request] == NULL) {
		return "unknown request";
	}
	return names[request];
}

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
		if (n < 0) {
			return vfe_fail(session, errno == EPIPE ? -ECONNRESET : -errno,
					"cannot send: %s", strerror(errno));
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

/* Receives the answer to `request`. */
static int recv_reply(struct vfe_session *session, uint32_t request,
		      struct vfe_message *ret_message)
{
	int r = vfe_raw_recv(session, ret_message);

	if (r < 0) {
		return r;
	}
	if (ret_message->header.request != request ||
	    (ret_message->header.flags & VFE_FLAG_REPLY) == 0) {
		vfe_raw_close_fds(ret_message);
		return vfe_fail(session, -EPROTO, "%s was answered by request %u, flags 0x%x",
				vfe_request_name(request), ret_message->header.request,
				ret_message->header.flags);
	}
	return 0;
}

int vfe_raw_send_acked(struct vfe_session *session, struct vfe_message *message)
{
	struct vfe_message reply;
	int r;

	message->header.flags = VFE_FLAG_VERSION | VFE_FLAG_NEED_REPLY;
	r = vfe_raw_send(session, message);
	if (r == 0) {
		r = recv_reply(session, message->header.request, &reply);
	}
	if (r < 0) {
		return r;
	}
	vfe_raw_close_fds(&reply);
	if (reply.header.size != sizeof(uint64_t) || reply.payload.u64 != 0) {
		return vfe_fail(session, -EREMOTEIO, "the back-end refused %s",
				vfe_request_name(message->header.request));
	}
	return 0;
}

int vfe_send_checked(struct vfe_session *session, struct vfe_message *message)
{
	if ((session->protocol_features & VFE_PF_REPLY_ACK) != 0) {
		return vfe_raw_send_acked(session, message);
	}
	message->header.flags = VFE_FLAG_VERSION;
	return vfe_raw_send(session, message);
}

int vfe_send_u64(struct vfe_session *session, enum vfe_request request, uint64_t value)
{
	struct vfe_message message = { .header = { request, VFE_FLAG_VERSION, sizeof(value) },
				       .payload.u64 = value };

	return vfe_raw_send(session, &message);
}

int vfe_raw_query(struct vfe_session *session, enum vfe_request request,
		  struct vfe_message *ret_message)
{
	struct vfe_wire_header header = { request, VFE_FLAG_VERSION, 0 };
	int r = vfe_raw_send_bytes(session, &header, sizeof(header), NULL, 0);

	return r < 0 ? r : recv_reply(session, request, ret_message);
}

int vfe_query_u64(struct vfe_session *session, enum vfe_request request, uint64_t *ret_value)
{
	struct vfe_message reply;
	int r = vfe_raw_query(session, request, &reply);

	if (r < 0) {
		return r;
	}
	vfe_raw_close_fds(&reply);
	if (reply.header.size != sizeof(uint64_t)) {
		return vfe_fail(session, -EPROTO, "%s was answered with %u bytes",
				vfe_request_name(request), reply.header.size);
	}
	*ret_value = reply.payload.u64;
	return 0;
}
