/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts
 *   slot  a ring as the session sees it: what the front-end has said of it so far, and its state.
 *   step  where the session stands with the message at hand. A message is carried out in this order:
 *         stop the rings that must not run meanwhile, apply the change, settle (hand new memory, logs
 *         and call eventfds on, start what can run now), answer. advance() walks through the steps and comes to rest when the
 *         owner has an operation to answer, or the message is done.
 *
 * vhost-user, "Ring states": a ring is running here when it is started (size, addresses and kick are
 * known, GET_VRING_BASE has not come since) and enabled. It is handed over as soon as it is ready
 * rather than at the first kick: the first poll of the queue sees the same as that kick would show.
 */
#ifndef VHT_VHOST_USER_SESSION_PRIVATE_H
#define VHT_VHOST_USER_SESSION_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/fd_bag.h"
#include "base/log.h"
#include "vhost_user/codec.h"
#include "vhost_user/dispatch.h"
#include "vhost_user/session.h"

struct vu_slot {
	struct vu_ring ring;
	bool has_size;
	bool has_addr;
	bool has_base; /* otherwise it begins where a new ring does */
	bool enabled;
	bool running; /* the owner has it */
	bool broken;  /* and cannot go on with it */
	bool refused; /* the owner could not start it or keep it running; nothing has changed since */
	bool stop_first; /* the message at hand needs it stopped */
	bool swap_call;	 /* next_call_fd waits to be handed over */
	/* As the last SET_VRING_ADDR has it; what the owner logs is in `ring`. */
	bool log_used;
	uint64_t log_used_gpa;
	int next_call_fd;
};

enum vu_step {
	VU_STEP_IDLE,
	VU_STEP_STOP,
	VU_STEP_APPLY,
	VU_STEP_SETTLE,
	VU_STEP_ANSWER,
	VU_STEP_SUSPENDING, /* rings are being stopped, no message is at hand */
	VU_STEP_SUSPENDED,
	VU_STEP_RESUMING,
	VU_STEP_CLOSING,
	VU_STEP_CLOSED,
};

enum vu_operation {
	VU_OPERATION_NONE,
	VU_OPERATION_START,
	VU_OPERATION_STOP,
	VU_OPERATION_SET_CALL,
	VU_OPERATION_SET_MEM,
	VU_OPERATION_SET_LOG,
	VU_OPERATION_CLOSE_FDS
};

struct vu_session {
	struct loop *loop;
	struct vu_transport *transport;
	struct loop_watch *watch; /* NULL: nothing to watch (any more) */
	bool listening;		  /* the watch asks for messages, not only for the end */
	const struct vu_owner_ops *ops;
	void *owner;
	struct log_limiter limiter;

	/* negotiated */
	bool features_set;
	uint64_t features; /* with VU_F_PROTOCOL_FEATURES */
	uint64_t protocol_features;
	uint8_t status; /* as the front-end has set it: virtio 1.2, 2.1 */
	int backend_fd; /* channel for our own requests, -1: none */

	unsigned int mem_slots; /* on offer */
	struct guest_mem *mem;
	struct inflight_area *inflight; /* NULL: none was handed over */
	struct dirty_log *log;		/* the same; used as long as VU_F_LOG_ALL is negotiated */
	int log_event_fd;		/* -1: none */
	/* What a message at hand replaces: rings have it until they are told. */
	struct dirty_log *old_log;
	int old_log_event_fd;
	unsigned int slot_n;
	struct vu_slot *slots;

	/* the message at hand */
	enum vu_step step;
	struct vu_message message;
	struct vu_message reply;
	const struct vu_request_spec *spec; /* NULL: unknown */
	struct guest_mem *next_mem;
	struct inflight_area *next_inflight;
	struct dirty_log *next_log;
	int result;
	bool fatal; /* the connection ends even if the front-end asked for an answer */
	const char *why;

	struct fd_bag rest; /* descriptors that the owner has to close */

	/* the operation that the owner has to answer */
	enum vu_operation operation;
	struct vu_slot *operation_slot;
	bool advancing; /* advance() is on the stack */

	bool peer_gone;
	bool close_wanted;
	bool close_for_fault;
	char close_why[128];

	/* a planned hand-over: handover.c */
	bool suspend_wanted;
	bool tell_suspended; /* the owner is to hear of it, when advance() has come to rest */
	bool tell_resumed;
	bool held;	    /* the rings may run, but no message is read yet */
	const char *doomed; /* why it is to end when it is held no more, NULL: it need not */
	int resume_result;
};

/* The outcome of a message that is refused: returns error, remembers why (static text). */
int vu_refuse(struct vu_session *session, int error, const char *why);
/* The same, and the session is over in any case. */
int vu_refuse_fatally(struct vu_session *session, int error, const char *why);

static inline bool vu_has_protocol_feature(const struct vu_session *session, int bit)
{
	return session->protocol_features >> bit & 1;
}

bool vu_any_ring_running(const struct vu_session *session);

/* What the ring has to log as things are. */
struct ring_log vu_slot_log(const struct vu_session *session, const struct vu_slot *slot);

/* All rings have the new one. */
void vu_logs_settled(struct vu_session *session);
/* ---- session.c, for handover.c ---- */

/* As vu_session_new(); its watch only listens for the end of the connection. */
int vu_session_make(struct loop *loop, struct vu_transport *transport, unsigned int queues,
		    const struct vu_owner_ops *ops, void *owner, bool held,
		    struct vu_session **ret_session);
/* Goes on until the owner has something to answer or nothing is left to do. False: it is over. */
bool vu_session_advance(struct vu_session *session);

/* Where the ring goes on. */
uint32_t vu_slot_base(const struct vu_session *session, const struct vu_slot *slot);

#endif
