/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The channel for requests of the back-end (vhost-user, "Back-end communication"). We send one kind
 * of message, never ask for a reply and never wait: a front-end that does not read is not our concern.
 */
#include <errno.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "vhost_user/session_private.h"

int vu_set_backend_req_fd_prepare(struct vu_session *session, struct vu_message *message)
{
	socklen_t len = sizeof(int);
	int domain;
	int type;

	/* Others may wait in send(2) in spite of MSG_DONTWAIT. */
	if (getsockopt(message->fds[0], SOL_SOCKET, SO_TYPE, &type, &len) < 0 ||
	    type != SOCK_STREAM ||
	    getsockopt(message->fds[0], SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0 ||
	    domain != AF_UNIX) {
		return vu_refuse(session, -EINVAL, "the descriptor is not a UNIX stream socket");
	}
	return 0;
}

int vu_set_backend_req_fd(struct vu_session *session, struct vu_message *message)
{
	fd_bag_put(&session->rest, &session->backend_fd);
	session->backend_fd = vu_message_take_fd(message);
	return 0;
}

int vu_session_config_changed(struct vu_session *session)
{
	/* "Only when VHOST_USER_PROTOCOL_F_CONFIG is negotiated": VHOST_USER_BACKEND_CONFIG_CHANGE_MSG */
	const struct vu_header note = {
		.request = VU_BACKEND_CONFIG_CHANGE_MSG,
		.flags = VU_VERSION,
		.size = 0,
	};
	ssize_t n;

	if (session->backend_fd < 0 || !vu_has_protocol_feature(session, VU_PROTOCOL_F_CONFIG)) {
		return -ENOTCONN;
	}
	do {
		n = send(session->backend_fd, &note, sizeof(note), MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	if (n == (ssize_t)sizeof(note)) {
		return 0;
	}
	/*
	 * A full channel holds many notes of the same kind, and each makes the front-end read the whole
	 * config space: nothing is lost. Any other failure (case T80), or a part of a message, ends the
	 * channel.
	 */
	if (n < 0 && errno == EAGAIN) {
		return -EAGAIN;
	}
	fd_close(&session->backend_fd);
	return -ENOTCONN;
}
