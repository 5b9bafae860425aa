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
 * Owner of struct core: its reactor; created and freed by the control thread while the reactor does
 * not run it. struct core_queue belongs to the control thread, except from core_start_queue() until
 * `done` of core_stop_queue(): then to the reactor. Requests go there and answers come back as
 * messages; one at a time per queue, and besides it an update.
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
void core_free(struct core *core); /* after the reactors have stopped; NULL is fine */
struct reactor *core_reactor(const struct core *core);

enum core_queue_state {
	CORE_QUEUE_IDLE,
	CORE_QUEUE_STARTING,
	CORE_QUEUE_RUNNING,
	CORE_QUEUE_STOPPING,
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
	/* private, the control thread's: */
	enum core_queue_state state;
	bool update_out; /* `update` is on its way, there or back */
	bool update_due; /* another one */
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
/* A queue that is being stopped is not told any more; until it has stopped, it does not know. */
void core_update_queue(struct core_queue *queue);
/* It has been told of all updates, or has stopped. */
bool core_queue_is_updated(const struct core_queue *queue);

#endif
