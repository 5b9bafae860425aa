/* SPDX-License-Identifier: BSD-3-Clause */
/* The channel on which the back-end asks: of storage, only "the configuration has changed". */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "internal.h"

#define MESSAGE_MAX 512

int vfe_backend_channel_open(struct vfe_session *session)
{
	int pair[2];
	int r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		return vfe_fail(session, -errno, "no socket pair for the back-end channel");
	}
	struct vfe_message message = { .header = { VFE_SET_BACKEND_REQ_FD, 0, 0 },
				       .fds = { pair[1] },
				       .fd_n = 1 };

	r = vfe_send_checked(session, &message);
	close(pair[1]);
	if (r < 0) {
		close(pair[0]);
		return r;
	}
	session->backend_fd = pair[0];
	return 0;
}

static void answer(struct vfe_session *session, const struct vfe_wire_header *asked,
		   uint64_t result)
{
	struct {
		struct vfe_wire_header header;
		uint64_t result;
	} __attribute__((packed)) reply = {
		{ asked->request, VFE_FLAG_VERSION | VFE_FLAG_REPLY, sizeof(uint64_t) },
		result,
	};

	/* If there is no room the back-end has stopped reading, and waits for nothing. */
	(void)send(session->backend_fd, &reply, sizeof(reply), MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* One message is taken when it is there as a whole; -EAGAIN: none is. */
static int take(struct vfe_session *session)
{
	uint8_t buf[sizeof(struct vfe_wire_header) + MESSAGE_MAX];
	struct vfe_wire_header header;
	ssize_t n = recv(session->backend_fd, &header, sizeof(header), MSG_PEEK | MSG_DONTWAIT);
	size_t whole;

	if (n != (ssize_t)sizeof(header)) {
		return n == 0 ? -ECONNRESET : -EAGAIN;
	}
	whole = sizeof(header) + header.size;
	if (whole > sizeof(buf)) {
		return -EPROTO;
	}
	n = recv(session->backend_fd, buf, whole, MSG_PEEK | MSG_DONTWAIT);
	if (n < (ssize_t)whole) {
		return -EAGAIN;
	}
	if (recv(session->backend_fd, buf, whole, MSG_DONTWAIT) != (ssize_t)whole) {
		return -EAGAIN;
	}
	if (header.request == VFE_BACKEND_CONFIG_CHANGE) {
		session->config_changes++;
	}
	if ((header.flags & VFE_FLAG_NEED_REPLY) != 0) {
		answer(session, &header, header.request == VFE_BACKEND_CONFIG_CHANGE ? 0 : 1);
	}
	return 0;
}

unsigned int vfe_config_changes(struct vfe_session *session)
{
	int r;

	if (session->backend_fd >= 0) {
		do {
			r = take(session);
		} while (r == 0);
		if (r != -EAGAIN) {
			vfe_backend_channel_close(session);
		}
	}
	return session->config_changes;
}

void vfe_backend_channel_close(struct vfe_session *session)
{
	if (session->backend_fd >= 0) {
		close(session->backend_fd);
		session->backend_fd = -1;
	}
}
