/* SPDX-License-Identifier: BSD-3-Clause */
/* The UNIX socket transport. Nothing here ever blocks. */
#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/parcel.h"
#include "vhost_user/codec.h"
#include "vhost_user/transport.h"

struct socket_transport {
	struct vu_transport transport;
	int fd;
	struct vu_assembler in;
};

/* The kernel's own limit, SCM_MAX_FD. What finds no room it would close on this thread, which may wait
 * for the front-end then; so there is room for all of them, and too many are refused here. */
#define FDS_AT_ONCE 253

union fd_control {
	struct cmsghdr align;
	char space[CMSG_SPACE(sizeof(int) * FDS_AT_ONCE)];
};

static struct socket_transport *of(const struct vu_transport *transport)
{
	return (struct socket_transport *)transport;
}

/* All descriptors that came along, on every path: the assembler owns them or they are dropped. */
static int take_fds(struct socket_transport *s, struct msghdr *hdr)
{
	struct cmsghdr *cmsg;
	unsigned int i;
	int r = 0;

	for (cmsg = CMSG_FIRSTHDR(hdr); cmsg != NULL; cmsg = CMSG_NXTHDR(hdr, cmsg)) {
		int fds[FDS_AT_ONCE];
		unsigned int n;

		if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS) {
			continue;
		}
		n = (unsigned int)((cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(fds, CMSG_DATA(cmsg), n * sizeof(int));
		if (vu_assembler_add_fds(&s->in, fds, n) < 0) {
			for (i = 0; i < n; i++) {
				fd_bag_put(s->transport.rest, &fds[i]);
			}
			r = -EPROTO;
		}
	}
	/* There was room for all: this process has no more descriptors to give. */
	return hdr->msg_flags & MSG_CTRUNC ? -EMFILE : r;
}

/* One read, never beyond the end of the message at hand. Bytes read, 0: nothing there now. */
static ssize_t receive_some(struct socket_transport *s)
{
	union fd_control control;
	struct iovec iov = {
		.iov_base = vu_assembler_space(&s->in),
		.iov_len = vu_assembler_wanted(&s->in),
	};
	struct msghdr hdr = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n;
	int r;

	do {
		n = recvmsg(s->fd, &hdr, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0) {
		return errno == EAGAIN ? 0 : -ECONNRESET;
	}
	r = take_fds(s, &hdr);
	if (r < 0) {
		return r;
	}
	return n == 0 ? -ECONNRESET : n;
}

static int socket_recv(struct vu_transport *transport, struct vu_message *ret_msg)
{
	struct socket_transport *s = of(transport);
	int complete = 0;

	while (!complete) {
		ssize_t n = receive_some(s);

		if (n == 0) {
			return 0;
		}
		complete = n < 0 ? (int)n : vu_assembler_received(&s->in, (size_t)n);
		if (complete < 0) {
			return complete;
		}
	}
	vu_assembler_take(&s->in, ret_msg);
	return 1;
}

static int socket_send(struct vu_transport *transport, const struct vu_message *msg)
{
	size_t len = sizeof(msg->header) + msg->header.size;
	struct iovec iov = { .iov_base = (void *)msg->wire, .iov_len = len };
	struct msghdr hdr = { .msg_iov = &iov, .msg_iovlen = 1 };
	union fd_control control;
	struct cmsghdr *cmsg;
	ssize_t n;

	if (msg->fd_n > 0) {
		memset(&control, 0, sizeof(control));
		hdr.msg_control = &control;
		hdr.msg_controllen = CMSG_SPACE(sizeof(int) * msg->fd_n);
		cmsg = CMSG_FIRSTHDR(&hdr);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int) * msg->fd_n);
		memcpy(CMSG_DATA(cmsg), msg->fds, sizeof(int) * msg->fd_n);
	}
	do {
		n = sendmsg(of(transport)->fd, &hdr, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	if (n < 0) {
		return -errno;
	}
	/* A part of it went out: whoever does not read its replies has lost the thread for good. */
	return (size_t)n == len ? 0 : -EAGAIN;
}

static int socket_fd(const struct vu_transport *transport)
{
	return of(transport)->fd;
}

static void socket_free(struct vu_transport *transport)
{
	struct socket_transport *s = of(transport);
	int unread;

	vu_assembler_done(&s->in, transport->rest);
	/* The front-end sees the end now, whenever its last descriptors are closed. */
	if (!transport->shared) {
		shutdown(s->fd, SHUT_RDWR);
	}
	if (ioctl(s->fd, SIOCINQ, &unread) < 0 || unread > 0) {
		/* There may be descriptors with what nobody has read. */
		fd_bag_put(transport->rest, &s->fd);
	}
	fd_close(&s->fd);
	free(s);
}

static void socket_save(const struct vu_transport *transport, struct parcel *parcel)
{
	const struct socket_transport *s = of(transport);
	unsigned int i;

	parcel_put_fd(parcel, s->fd);
	parcel_put_block(parcel, s->in.message.wire, s->in.have);
	parcel_put_u32(parcel, s->in.message.fd_n);
	for (i = 0; i < s->in.message.fd_n; i++) {
		parcel_put_fd(parcel, s->in.message.fds[i]);
	}
}

static const struct vu_transport_ops socket_ops = {
	.recv = socket_recv,
	.send = socket_send,
	.fd = socket_fd,
	.free = socket_free,
	.save = socket_save,
};

int vu_socket_new(int fd, struct vu_transport **ret_transport)
{
	struct socket_transport *s = calloc(1, sizeof(*s));

	if (s == NULL) {
		fd_close(&fd);
		return -ENOMEM;
	}
	s->transport.ops = &socket_ops;
	s->fd = fd;
	vu_assembler_init(&s->in);
	*ret_transport = &s->transport;
	return 0;
}

/* The bytes of a message that has begun take the way of those that are received. */
static int restore_begun(struct socket_transport *s, struct parcel *parcel)
{
	size_t len;
	const uint8_t *data = parcel_get_block(parcel, sizeof(s->in.message.wire), &len);
	uint32_t fd_n = parcel_get_below(parcel, VU_FDS_MAX + 1);

	while (fd_n-- > 0) {
		int fd = parcel_get_fd(parcel);

		if (fd < 0 || vu_assembler_add_fds(&s->in, &fd, 1) < 0) {
			return -EPROTO;
		}
	}
	while (len > 0) {
		size_t wanted = vu_assembler_wanted(&s->in);
		size_t n = len < wanted ? len : wanted;

		memcpy(vu_assembler_space(&s->in), data, n);
		/* Complete ones were handed out. */
		if (vu_assembler_received(&s->in, n) != 0) {
			return -EPROTO;
		}
		data += n;
		len -= n;
	}
	return parcel->failed ? -EPROTO : 0;
}

int vu_socket_restore(struct parcel *parcel, struct vu_transport **ret_transport)
{
	int fd = parcel_get_fd(parcel);
	struct vu_transport *transport;
	int r = fd < 0 ? -EPROTO : vu_socket_new(fd, &transport);

	if (r < 0) {
		return r;
	}
	transport->shared = true;
	r = restore_begun(of(transport), parcel);
	if (r < 0) {
		socket_free(transport);
		return r;
	}
	*ret_transport = transport;
	return 0;
}
