/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts
 *   core   what the controllers run on one reactor: the queues it serves and the bdev channels they
 *          share. Once per round: every queue pops and submits, every channel commits and polls, every
 *          queue publishes.
 *   update the device of a queue was changed by the control thread, and the queue has to be told (see
 *          virtio/device.h). Any number of them while others are under way.
 *   turn   all queues of one device share one turn in a round, which ends when they have used up its
 *          time; the next turn goes on where it ended. So a guest with many busy queues holds up others
 *          no longer than one with a few. Within a device and between devices, another one begins in
 *          each round, since who comes first finds room in a full bdev.
 *
 *   move   a queue goes from one core to another and its driver notices nothing: it leaves the first (drains, the
 *          device's queue is stopped), is away for a moment, and enters the second. Its struct virtq goes along
 *          as it is.
 *
 * Owner of struct core: its reactor; created and freed by the control thread while the reactor does
 * not run it. struct core_queue belongs to the control thread, except from core_start_queue() until
 * `done` of core_stop_queue(), and not while it is away: then to the reactor. Requests go there and answers
 * come back as messages; one at a time per queue, and besides it an update.
 */
#ifndef VHT_CONTROLLER_CORE_H
#define VHT_CONTROLLER_CORE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/loop.h"
#include "reactor/reactor.h"
#include "virtio/device.h"

struct core;
struct core_device;
struct qos;

/* reactor's thread need not know: everything is posted to it. loop: where answers are sent. */
int core_new(struct reactor *reactor, struct loop *loop, struct core **ret_core);
/* The same, but queues that start are not served before core_release(). */
int core_new_held(struct reactor *reactor, struct loop *loop, struct core **ret_core);
/* Control thread: released() is called when the reactor has begun to serve them. */
void core_release(struct core *core, void (*released)(void *arg), void *arg);
/*
 * Channels of bdevs stay open when the last queue that uses them has stopped. To close one takes tens of
 * milliseconds, and queues that are about to be stopped and started have guests that wait. Control thread.
 * done(): they are let go of; not called for hold.
 */
void core_hold_channels(struct core *core, bool hold, void (*done)(void *arg), void *arg);
void core_free(struct core *core); /* after the reactors have stopped; NULL is fine */
struct reactor *core_reactor(const struct core *core);

enum core_queue_state {
	CORE_QUEUE_IDLE,
	CORE_QUEUE_STARTING,
	CORE_QUEUE_RUNNING,
	CORE_QUEUE_STOPPING,
	CORE_QUEUE_LEAVING,
	CORE_QUEUE_AWAY, /* on no core */
	CORE_QUEUE_ENTERING,
};

struct core_queue {
	/* set by the owner before core_start_queue() */
	struct virtio_device *device;
	unsigned int index;
	struct virtq *vq;
	struct qos *qos; /* of the controller; NULL: it has none */
	/* Control thread: the answer to start, stop, set_call, set_mem or set_log. result: 0 or a negative errno. */
	void (*done)(struct core_queue *queue, int result);
	/* Control thread: the ring was found broken. Once per start. */
	void (*broken)(struct core_queue *queue);
	/* What that was: guest memory is gone (rule R9). */
	bool mem_lost;
	/* Control thread: an update was carried out. May be NULL. */
	void (*updated)(struct core_queue *queue);
	/* Control thread: it has left its core, or entered another (RUNNING), or could not (AWAY, a negative
	 * errno). Only for queues that are moved. */
	void (*moved)(struct core_queue *queue, int result);
	/* private, the control thread's; `state` and `core` may be read: */
	enum core_queue_state state;
	bool request_out; /* what was asked for last has not been answered */
	void (*asked)(
		struct msg *request); /* of one on the move: what its owner asked for meanwhile */
	bool update_out;	      /* `update` is on its way, there or back */
	bool update_due;	      /* another one */
	struct core *core;
	/* private: */
	struct core_device *on; /* on the core's list: the queues of `device` */
	struct device_queue *dq;
	struct msg request, answer, broken_note;
	struct msg update, update_answer, poke;
	atomic_bool poke_out;
	int result;
	int call_fd;
	struct guest_mem *mem;	    /* the one to change to; borrowed until the answer */
	const struct ring_log *log; /* the same */
	bool changing_mem;	    /* requests with the old one are still out */
	bool draining;
	bool updating;
	atomic_bool abandon; /* written by the control thread */
	bool kick_watched;
	bool broken_seen;
	LIST_ENTRY(core_queue) link;
};

void core_start_queue(struct core *core, struct core_queue *queue);
/* Drains: answers when nothing of the queue is in flight any more. abandon: as core_abandon_queue(). */
void core_stop_queue(struct core_queue *queue, bool abandon);
/* The front-end has left: from now on nothing is fetched, and completions that were not yet published stay
 * unpublished. At any time before `done` of core_stop_queue(), also after that was called. */
void core_abandon_queue(struct core_queue *queue);
void core_set_call(struct core_queue *queue, int call_fd);
/*
 * The queue goes on with another snapshot, without a pause. The answer comes when nothing uses the old one
 * any more, or the queue has been abandoned; -EFAULT: the ring is not in the new one, and it goes on with
 * the old.
 */
void core_set_mem(struct core_queue *queue, struct guest_mem *mem);
/* Its reactor looks at the queue once more, even if it sleeps: something that it reads has changed. */
void core_poke_queue(struct core_queue *queue);
/* What the queue writes from now on is logged there, or not at all. */
void core_set_log(struct core_queue *queue, const struct ring_log *log);

/*
 * A move, in core_move.c: leave, then enter, each answered by moved(). What the owner asks for meanwhile is
 * carried out when the queue has left or entered. A move that cannot end may begin again with another core.
 */
bool core_queue_may_leave(
	const struct core_queue *queue); /* it runs, and nothing else is asked of it */
void core_leave_queue(struct core_queue *queue);
bool core_queue_may_enter(const struct core_queue *queue); /* it is away, likewise */
void core_enter_queue(struct core *core, struct core_queue *queue);

/* A queue that is being stopped is not told any more; until it has stopped, it does not know. */
void core_update_queue(struct core_queue *queue);
/* It has been told of all updates, or has stopped. */
bool core_queue_is_updated(const struct core_queue *queue);

#endif
