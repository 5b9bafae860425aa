/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: the front-end's end of a connection. What it sent and has not been answered is kept in
 * order; an answer belongs to the oldest that gets one, and says that all before it were carried out.
 */
#ifndef VHT_FUZZ_PEER_H
#define VHT_FUZZ_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "vhost_user/message.h"

#define PEER_SENT_MAX 512

struct peer_message {
	uint32_t request;
	bool replies;	   /* has a reply of its own */
	bool acknowledged; /* asked for an acknowledgement */
	unsigned int ring; /* what the sender wants to remember */
	uint64_t value;
};

struct peer {
	int fd;		  /* -1: none */
	bool reply_ack;	  /* negotiated, so far as we have sent */
	bool out_of_step; /* a message that breaks rules was sent: replies are thrown away */
	unsigned int sent_n;
	struct peer_message sent[PEER_SENT_MAX];
	size_t got; /* bytes of the reply that is coming in */
	struct vu_message reply;
};

/* False: the connection was refused. */
bool peer_connect(struct peer *peer, const struct sockaddr_un *addr, socklen_t addr_len);
void peer_close(struct peer *peer);

/* False: not sent, since too much is on its way. The descriptors stay the caller's. */
bool peer_send(struct peer *peer, const struct peer_message *message, const void *payload,
	       uint32_t len, const int *fds, unsigned int fd_n);
/* Bytes as they are. */
void peer_send_raw(struct peer *peer, const void *bytes, size_t len, const int *fds,
		   unsigned int fd_n);

enum peer_got {
	PEER_NOTHING,
	PEER_REPLY, /* peer->reply holds it */
	PEER_END,   /* the target has closed the connection */
};
enum peer_got peer_receive(struct peer *peer);
/* The oldest of `sent`, which the caller has dealt with. */
void peer_forget_oldest(struct peer *peer);

#endif
