/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: what the unit tests of this layer share: a session with a scripted owner on one end of a
 * socket pair, and the front-end's end with a word for each message. Everything runs on one thread; a
 * message is handled when settle() returns.
 */
#ifndef VHT_VHOST_USER_FIXTURE_H
#define VHT_VHOST_USER_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/loop.h"
#include "vhost_user/message.h"
#include "vhost_user/scripted_owner.h"

#define FIXTURE_MEMORY_SIZE (1 << 20)
#define FIXTURE_GPA	    0x100000
#define FIXTURE_UVA	    0x7f0000000000

struct fixture {
	struct loop *loop;
	struct scripted_owner owner;
	int peer; /* the front-end's end */
	int memory;
	unsigned int fds_before;
};

/* For cmocka_unit_test_setup_teardown(): *state is a struct fixture. Teardown ends the connection and
 * checks that every descriptor and mapping of the session has gone. */
int fixture_setup(void **state);
int fixture_teardown(void **state);

unsigned int count_open_fds(void);

/* Lets the loop handle everything that is there. */
void settle(struct fixture *f);
/* The session has ended the connection or is about to: nothing more comes from it. */
bool peer_sees_end(struct fixture *f);

/* Sends one message and settles. The descriptors stay the caller's. */
void send_request(struct fixture *f, uint32_t request, uint32_t flags, const void *payload,
		  size_t size, const int *fds, unsigned int fd_n);
void send_u64(struct fixture *f, uint32_t request, uint64_t value);
void send_state(struct fixture *f, uint32_t request, uint32_t index, uint32_t num);
/* With an eventfd that the front-end forgets at once. */
void send_notifier(struct fixture *f, uint32_t request, uint32_t index);
void send_addr(struct fixture *f, uint32_t index);
void send_memory(struct fixture *f, uint32_t flags);

/* Reads a reply to this request; returns its payload size, -1: there is none. */
int read_reply(struct fixture *f, uint32_t request, void *payload, size_t room);
/* The acknowledgement, or reply, of eight bytes. */
uint64_t read_u64(struct fixture *f, uint32_t request);

/* GET_FEATURES to SET_FEATURES with bit 30 and all protocol features; nothing is logged yet. */
void negotiate(struct fixture *f);
/* Everything that ring `index` needs to run (negotiate() and send_memory() come before). */
void start_ring(struct fixture *f, uint32_t index);

#endif
