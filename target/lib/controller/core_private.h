/* SPDX-License-Identifier: BSD-3-Clause */
/* Concepts: the inside of a core, for core.c (queues come and go) and core_round.c (what runs). */
#ifndef VHT_CONTROLLER_CORE_PRIVATE_H
#define VHT_CONTROLLER_CORE_PRIVATE_H

#include <stddef.h>

#include "bdev/bdev.h"
#include "controller/core.h"
#include "controller/qos.h"

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/* A device with queues on this core. */
struct core_device {
	struct virtio_device *device;
	LIST_HEAD(, core_queue) queues; /* never empty */
	unsigned int queue_n;
	struct core_queue *first; /* begins the next turn */
	uint64_t busy_until;	  /* round; it counts as busy before */
	/* core_qos.c: of the controller, and what of it was put into force here: a limit, a gap, any. */
	struct qos *qos;
	bool has_qos;
	bool limited;
	struct virtq_meter meter;
	uint64_t gap;
	LIST_ENTRY(core_device) link;
};

struct core {
	struct poller poller;
	struct reactor *reactor;
	struct loop *loop;
	struct msg attach;
	struct msg attached; /* the answer, if somebody waits for it */
	struct msg hold;
	atomic_bool hold_out;
	atomic_bool hold_wanted;
	struct msg held; /* the answer, if somebody waits for it */
	void (*held_done)(void *arg);
	void *held_arg;
	void (*released)(void *arg);
	void *released_arg;
	struct bdev_channels channels;
	uint64_t turn_ticks;
	LIST_HEAD(, core_device) devices;
	unsigned int device_n;
	struct core_device *first; /* begins the next round; NULL: there is none */
	unsigned int coalescing_n; /* devices that hold calls back */
};

/* ---- core.c ---- */

/* The owner of the queue asks for something: msg is queue->request. */
void core_ask(struct core_queue *queue, void (*fn)(struct msg *msg));
void core_start_on(struct core *core,
		   struct core_queue *queue);	       /* makes it ready and posts its start */
void core_drain(struct core_queue *queue, bool moves); /* on the core: the queue is about to go */
void core_post_update(struct core_queue *queue);
void core_answer(struct core_queue *queue, int result);
void core_answer_update(struct core_queue *queue);
void core_note_broken(struct core_queue *queue);
int core_watch_kick(struct core_queue *queue);
void core_unwatch_kick(struct core_queue *queue);
/* Answers a change of memory if nothing uses the old one any more. */
void core_look_at_mem(struct core_queue *queue);
/* Completions of all open channels end a sleep, too. */
int core_watch_channels(struct core *core);

/* ---- core_move.c ---- */

/* The answer to a queue that leaves or enters. */
void core_moved(struct core_queue *queue);

/* ---- core_round.c ---- */

extern const struct poller_ops core_poller_ops;

/* hurried: several devices are busy, so rounds have to be short. */
void core_set_pace(struct core *core, bool hurried);
int core_add_queue(struct core *core, struct core_queue *queue);

/* ---- core_qos.c ---- */

/* Has the device any limits or coalescing, now or a moment ago? Then its turn begins and ends with these two. */
extern struct qos core_no_qos;

static inline bool core_qos_is_on(const struct core_device *on)
{
	return qos_is_on(on->qos) | on->has_qos;
}

void core_qos_begin_turn(struct core_device *on);
void core_qos_end_turn(struct core *core, struct core_device *on, unsigned int popped);
/* A queue joins those of its device; it is about to leave them. */
void core_qos_apply(struct core_queue *queue);
void core_qos_release(struct core_queue *queue);
/* Makes the calls whose time has come. */
void core_qos_make_calls(struct core *core);
/* Before a sleep: has the reactor woken up when there is something to do. False: nothing of this device may be
 * popped until then. */
bool core_qos_arm(struct core *core, struct core_device *on);

static inline bool core_queue_is_abandoned(const struct core_queue *queue)
{
	return atomic_load_explicit(&queue->abandon, memory_order_relaxed);
}

#endif
