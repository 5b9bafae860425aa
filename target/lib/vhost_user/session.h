/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts
 *   session    one connection of a front-end: negotiated features, memory table, rings, state.
 *   owner      who serves the rings (the controller; a scripted one in tests and fuzzers). Reached by
 *              struct vu_owner_ops.
 *   operation  what the session asks of the owner: start a ring, stop it, change its memory or its log,
 *              swap its call eventfd, close descriptors. One at a time. The owner answers with vu_session_complete(), at once or later; until then the
 *              session reads no further message, so a slow drain holds up nobody else.
 *
 * Ring states (vhost-user, "Ring states"): a ring is handed to the owner when it is started (size,
 * addresses and kick are set) and enabled; it is taken back by GET_VRING_BASE, by disabling it, by a
 * new kick or error eventfd (then started again), when it is no longer in guest memory (then started
 * again when it is), and when the connection ends. If the
 * peer is gone by then the stop is an abandon: completions that were not yet published stay
 * unpublished, because its successor may have the memory already. If the connection is ended from our
 * side everything is published first.
 *
 * Owner of all: the control thread.
 */
#ifndef VHT_VHOST_USER_SESSION_H
#define VHT_VHOST_USER_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/loop.h"
#include "vhost_user/transport.h"
#include "virtio/dirty_log.h"
#include "virtio/guest_mem.h"
#include "virtio/inflight.h"

struct fd_bag;
struct parcel;
struct vu_session;

struct vu_ring {
	unsigned int index;
	uint16_t size;
	uint32_t base;	   /* virtq_config */
	uint64_t features; /* negotiated virtio bits */
	uint64_t desc_uva, avail_uva, used_uva;
	int kick_fd, call_fd,
		err_fd; /* -1: none. Valid until the stop of the ring has completed. */
	struct guest_mem *mem;
	struct inflight_area *inflight; /* NULL: what is in flight is not kept */
	struct ring_log log;
};

struct vu_owner_ops {
	uint64_t (*features)(void *owner); /* virtio bits on offer; bit 30 is the session's */
	/* The driver's choice, a subset of features(); no ring is running. */
	void (*negotiated)(void *owner, uint64_t features);
	int (*config_read)(void *owner, uint32_t offset, void *buf, uint32_t len);
	int (*config_write)(void *owner, uint32_t offset, const void *buf, uint32_t len);
	/* The driver starts anew: the config space has its initial values. No ring is running. */
	void (*reset)(void *owner);
	/* Operations: answer each with vu_session_complete(). */
	void (*ring_start)(void *owner, const struct vu_ring *ring);
	void (*ring_stop)(void *owner, unsigned int index, bool abandon); /* drains */
	void (*ring_set_call)(void *owner, unsigned int index, int call_fd);
	/* From now on requests are looked up in this snapshot. Answered when nothing uses the one before any
	 * more; -EFAULT: the ring does not lie in it, and goes on with the one before. */
	void (*ring_set_mem)(void *owner, unsigned int index, struct guest_mem *mem);
	/* What is written from now on is logged there, or not at all. Answered when nothing more comes to the
	 * log before. */
	void (*ring_set_log)(void *owner, unsigned int index, const struct ring_log *log);
	/* Empties the bag; the session waits, so a front-end can have one of them closed at a time. */
	void (*close_fds)(void *owner, struct fd_bag *bag);
	/* The front-end has left and may have given its memory to somebody else: from now on no ring may
	 * fetch or publish anything, also one whose stop is pending. May come more than once. */
	void (*abandoned)(void *owner);
	/* The connection is over (why: one line, valid during the call; fault: the front-end broke a rule
	 * or asked for what cannot be) and every ring has been stopped.
	 * The owner frees the session from here or later. Called once, possibly from within
	 * vu_session_close() or vu_session_complete(). */
	void (*closed)(void *owner, const char *why, bool fault);
	/* Answers to vu_session_suspend() and to vu_session_resume(), unless the session is over before: all
	 * rings have been stopped; or those that can run do, or the connection is about to end. result: an error of
	 * ours kept a ring from starting. NULL: nobody waits. */
	void (*suspended)(void *owner);
	void (*resumed)(void *owner, int result);
};

/* For a device with `queues` rings, of all kinds together. Takes the transport over, also on failure. */
int vu_session_new(struct loop *loop, struct vu_transport *transport, unsigned int queues,
		   const struct vu_owner_ops *ops, void *owner, struct vu_session **ret_session);
/* Offers fewer memory slots than there are (GET_MAX_MEM_SLOTS), to a front-end that has not asked yet. 0: all. */
void vu_session_limit_mem_slots(struct vu_session *session, unsigned int slots);
/* Ends the connection from our side: rings are stopped first, then closed() is called. */
void vu_session_close(struct vu_session *session, const char *why);
void vu_session_free(struct vu_session *session); /* after closed(); NULL is fine */

/*
 * Answer to the pending operation. ring_start: result 0 or a negative errno (the ring then stays
 * stopped and the message fails). ring_stop: base = next available index. ring_set_mem: result 0 or
 * -EFAULT. The others: result 0.
 */
void vu_session_complete(struct vu_session *session, int result, uint32_t base);

/*
 * Handles what the transport has received, a few messages at most. The session does it by itself when
 * the descriptor of its transport becomes readable; transports without one need this call. False: the
 * connection is over, the session may be gone.
 */
bool vu_session_process(struct vu_session *session);

/* Is the peer gone although we have not read the end of the connection yet? */
bool vu_session_peer_gone(const struct vu_session *session);
bool vu_session_ring_running(const struct vu_session *session, unsigned int index);

/* A ring that the owner has is broken: the device needs a reset (virtio 1.2, 2.1.2), until it is stopped. */
void vu_session_ring_broken(struct vu_session *session, unsigned int index);

/* Tells the front-end that the config space changed (BACKEND_CONFIG_CHANGE_MSG), if it gave us a
 * channel; never blocks. -ENOTCONN: no channel; -EAGAIN: the channel is full. */
int vu_session_config_changed(struct vu_session *session);

/*
 * ---- a planned hand-over ----
 * The session is suspended here, saved, restored in another process, where its rings start, and released, so
 * that it reads messages. Or it is resumed here, as if nothing had happened.
 */

/* Finishes the message at hand, then stops all rings. Messages wait in the socket. */
void vu_session_suspend(struct vu_session *session);
/* The mirror; also before it was suspended. */
void vu_session_resume(struct vu_session *session);
/* Packs one that is suspended. */
void vu_session_save(const struct vu_session *session, struct parcel *parcel);
/*
 * A suspended and held session out of a parcel. The owner has the features of its driver already, and is not told
 * of them. Negative errno: there is none, and the connection is as it was.
 */
int vu_session_restore(struct loop *loop, struct parcel *parcel, unsigned int queues,
		       const struct vu_owner_ops *ops, void *owner,
		       struct vu_session **ret_session);
/* After `resumed`: the other process will not come back. */
void vu_session_release(struct vu_session *session);

/* Features of the protocol that this back-end knows, for --print-capabilities and docs. */
uint64_t vu_protocol_features(void);

#endif
