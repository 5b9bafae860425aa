/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: how messages travel: a UNIX socket, or recorded bytes for fuzzing (replay). A transport
 * delivers whole messages with the file descriptors that came along; it bounds and checks only
 * what it needs for framing. Owner: the control thread.
 */
#ifndef VHT_VHOST_USER_TRANSPORT_H
#define VHT_VHOST_USER_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fd_bag;
struct parcel;
struct vu_message;
struct vu_transport;

struct vu_transport_ops {
	/*
	 * One message. 1: *msg is filled, its fds are the caller's. 0: nothing complete yet. Negative:
	 * -ECONNRESET end of connection, -EPROTO framing broken (wrong version, payload too long,
	 * too many descriptors), -EMFILE some were lost for want of room in this process; what was
	 * received then is dropped by free().
	 */
	int (*recv)(struct vu_transport *transport, struct vu_message *ret_msg);
	/* Sends the whole message or fails; the fds stay the caller's. */
	int (*send)(struct vu_transport *transport, const struct vu_message *msg);
	int (*fd)(const struct vu_transport *transport); /* to watch for EPOLLIN; -1: none */
	/* What the transport still holds goes into `rest`. */
	void (*free)(struct vu_transport *transport);
	/* Packs the connection, with what has been received of a message. NULL: it cannot travel. */
	void (*save)(const struct vu_transport *transport, struct parcel *parcel);
};

struct vu_transport {
	const struct vu_transport_ops *ops;
	/* Where descriptors of the front-end go that are not wanted (base/fd_bag.h). NULL: they are
	 * closed at once. Set by the session. */
	struct fd_bag *rest;
	/* Another process may go on with it: free() does not end the connection. */
	bool shared;
};

/* Takes the connected socket over, also on failure. */
int vu_socket_new(int fd, struct vu_transport **ret_transport);
/* Out of what its `save` has packed. The connection is the other process's, too (`shared`), until the session is
 * released. -EPROTO: it cannot be. */
int vu_socket_restore(struct parcel *parcel, struct vu_transport **ret_transport);

/*
 * Recorded bytes, with descriptors made as the record says (eventfds, memory, pipes...; see replay.c
 * for its format). The end of the record is the end of the connection. Replies are counted and
 * dropped. The bytes stay the caller's. Drive it by vu_session_process().
 */
int vu_replay_new(const uint8_t *data, size_t len, struct vu_transport **ret_transport);
unsigned int vu_replay_sent(const struct vu_transport *transport);

#endif
