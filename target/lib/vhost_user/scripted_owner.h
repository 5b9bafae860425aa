/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: an owner of sessions for tests and fuzzers. It answers operations at once or when told to,
 * keeps a record of what it was asked, and aborts when the session breaks the contract of
 * struct vu_owner_ops: two operations at a time, a start of a running ring, a dead descriptor...
 */
#ifndef VHT_VHOST_USER_SCRIPTED_OWNER_H
#define VHT_VHOST_USER_SCRIPTED_OWNER_H

#include <stdbool.h>
#include <stdint.h>

#include "vhost_user/message.h"
#include "vhost_user/session.h"

struct scripted_owner {
	/* the script */
	uint64_t features;
	unsigned int max_queues;
	bool delayed;	    /* operations wait for scripted_owner_answer() */
	int start_result;   /* of the next starts */
	int set_mem_result; /* of the next changes of memory */
	int config_result;
	bool close_in_start; /* calls vu_session_close() while it is asked to start */
	uint16_t progress;   /* a stopped ring has gone this far beyond its base */
	uint8_t config[VU_CONFIG_MAX];

	/* what happened */
	struct vu_session *session; /* NULL after closed() */
	char record[512];	    /* "start 0, stop 0, abandon 1, call 0, mem 0, log 0, closed" */
	char why[128];
	bool fault;
	uint64_t negotiated;
	struct vu_ring rings[VU_RINGS_MAX];
	bool running[VU_RINGS_MAX];
	bool pending;
	unsigned int pending_index;
	bool pending_start, pending_stop;
	struct guest_mem *pending_mem; /* NULL: that is not what is pending */
	unsigned int resets;
	bool abandoned; /* the front-end has left */
	int resume_result;
	int last_call_fd;
	unsigned int closed_fds; /* given to us to be closed */
	unsigned int
		depth; /* of the calls to us: an answer given at once must not nest the next one */
};

extern const struct vu_owner_ops scripted_owner_ops;

void scripted_owner_init(struct scripted_owner *owner);
/* Answers the pending operation; false: there was none. */
bool scripted_owner_answer(struct scripted_owner *owner);

#endif
