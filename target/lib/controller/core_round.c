/* SPDX-License-Identifier: BSD-3-Clause */
/* One round of a core, and what it does before and after a sleep. */
#include <errno.h>
#include <stdlib.h>

#include "base/fd.h"
#include "base/likely.h"
#include "controller/core_private.h"
#include "env/env.h"

/*
 * The time that one device's queues may pop and submit in a round, before others have their turn: if others are
 * busy, too, not much more than one of them takes; if not, it is a matter of their first request only.
 */
#define TURN_US	       200
#define SHARED_TURN_US 20
/* How long a device counts as busy after a request: from some 10 ms to a second, as rounds are short or long. */
#define BUSY_ROUNDS 65536
/* How often it is asked who is busy. */
#define PACE_ROUNDS 16

/* ---- the lists of devices and their queues, each walked in a circle ---- */

static struct core_queue *queue_after(struct core_queue *queue)
{
	struct core_queue *next = LIST_NEXT(queue, link);

	return next != NULL ? next : LIST_FIRST(&queue->on->queues);
}

static struct core_device *device_after(struct core *core, struct core_device *on)
{
	struct core_device *next = LIST_NEXT(on, link);

	return next != NULL ? next : LIST_FIRST(&core->devices);
}

int core_add_queue(struct core *core, struct core_queue *queue)
{
	struct core_device *on;

	LIST_FOREACH (on, &core->devices, link) {
		if (on->device == queue->device) {
			break;
		}
	}
	if (on == NULL) {
		on = calloc(1, sizeof(*on));
		if (on == NULL) {
			return -ENOMEM;
		}
		on->device = queue->device;
		on->qos = queue->qos != NULL ? queue->qos : &core_no_qos;
		on->first = queue;
		LIST_INSERT_HEAD(&core->devices, on, link);
		core->device_n++;
		if (core->first == NULL) {
			core->first = on;
		}
	}
	queue->on = on;
	LIST_INSERT_HEAD(&on->queues, queue, link);
	on->queue_n++;
	core_qos_apply(queue);
	return 0;
}

static void remove_queue(struct core *core, struct core_queue *queue)
{
	struct core_device *on = queue->on;

	if (on->first == queue) {
		on->first = queue_after(queue);
	}
	LIST_REMOVE(queue, link);
	queue->on = NULL;
	if (--on->queue_n > 0) {
		return;
	}
	if (core->first == on) {
		core->first = device_after(core, on);
	}
	LIST_REMOVE(on, link);
	core->coalescing_n -= on->gap > 0;
	if (--core->device_n == 0) {
		core->first = NULL;
	}
	free(on);
}

/* ---- one round ---- */

static void finish_stop(struct core_queue *queue)
{
	if (core_queue_is_abandoned(queue)) {
		virtq_abandon(queue->vq);
	} else {
		virtq_set_call_gap(queue->vq, 0);
		virtq_leave(queue->vq);
	}
	core_unwatch_kick(queue);
	remove_queue(queue->core, queue);
	queue->device->ops->queue_stop(queue->dq);
	queue->dq = NULL;
	if (queue->updating) {
		core_answer_update(queue); /* first, since the other answer may be its end */
	}
	core_answer(queue, 0);
}

/* A queue that stops finishes what a predecessor had fetched: only the in-flight area would bring that back, and
 * its next owner may have none. What is quiescent is taken in the order of the ring: it is found again. */
static bool has_to_resubmit(const struct core_queue *queue)
{
	return virtq_has_resubmits(queue->vq) && !queue->dq->moves && !queue->dq->quiescent &&
	       !core_queue_is_abandoned(queue);
}

static bool is_served(const struct core_queue *queue)
{
	return !queue->draining && !queue->dq->quiescent && !queue->broken_seen &&
	       !core_queue_is_abandoned(queue);
}

/* Returns 1 when the queue is up to date, which may be the first round in which it has work. */
static unsigned int update(struct core *core, struct core_queue *queue)
{
	unsigned int opened = core->channels.opened;
	bool done = queue->device->ops->queue_update(queue->dq);

	if (core->channels.opened != opened && core_watch_channels(core) < 0) {
		virtq_break(queue->vq, "no descriptor of its disk can be watched");
	}
	if (done) {
		core_answer_update(queue);
	}
	return done;
}

static unsigned int take_turn(struct core *core, struct core_device *on)
{
	struct core_queue *queue = on->first;
	uint64_t start = on->queue_n > 1 ? env_ticks() : 0;
	unsigned int work = 0;
	bool has_qos = core_qos_is_on(on);
	unsigned int n;

	if (unlikely(has_qos)) {
		core_qos_begin_turn(on);
	}
	if (likely(!has_qos || !on->limited)) {
		on->first = queue_after(queue);
	}
	for (n = on->queue_n; n > 0; n--) {
		unsigned int popped = 0;

		if (queue->updating && !queue->draining) {
			work += update(core, queue);
		}
		if (queue->draining && has_to_resubmit(queue)) {
			work += on->device->ops->queue_poll(queue->dq);
		} else if (queue->draining) {
			if (core_queue_is_abandoned(queue)) {
				virtq_abandon(queue->vq);
			}
			on->device->ops->queue_drain(queue->dq);
		} else if (is_served(queue)) {
			popped = on->device->ops->queue_poll(queue->dq);
			work += popped;
		}
		queue = queue_after(queue);
		if (unlikely(has_qos) && on->limited && popped > 0) {
			on->first = queue;
		}
		/* Only a queue that had something to do has taken time. */
		if (popped > 0 && n > 1 && env_ticks() - start >= core->turn_ticks) {
			on->first = queue;
			break;
		}
	}
	if (unlikely(has_qos)) {
		core_qos_end_turn(core, on, work);
	}
	return work;
}

/* What follows popping and submitting. May be the end of the queue. */
static unsigned int publish(struct core_queue *queue)
{
	unsigned int work = 0;

	if (!core_queue_is_abandoned(queue)) {
		work += virtq_commit(queue->vq);
	}
	if (!queue->broken_seen && virtq_is_broken(queue->vq)) {
		core_note_broken(queue);
	}
	if (queue->changing_mem) {
		core_look_at_mem(queue);
	}
	if (queue->draining && virtq_inflight(queue->vq) == 0 && !has_to_resubmit(queue)) {
		finish_stop(queue);
		work++;
	}
	return work;
}

static unsigned int publish_all(struct core *core)
{
	struct core_device *on;
	struct core_device *on_next;
	unsigned int work = 0;

	for (on = LIST_FIRST(&core->devices); on != NULL; on = on_next) {
		struct core_queue *queue;
		struct core_queue *next;

		on_next = LIST_NEXT(on, link);
		for (queue = LIST_FIRST(&on->queues); queue != NULL; queue = next) {
			next = LIST_NEXT(queue, link);
			work += publish(queue);
		}
	}
	return work;
}

void core_set_pace(struct core *core, bool hurried)
{
	core->turn_ticks = (hurried ? SHARED_TURN_US : TURN_US) * env_ticks_hz() / 1000000;
	bdev_channels_hurry(&core->channels, hurried);
}

static void choose_pace(struct core *core)
{
	const struct core_device *on;
	unsigned int busy = 0;

	LIST_FOREACH (on, &core->devices, link) {
		busy += on->busy_until > core->channels.round;
	}
	if ((busy > 1) != core->channels.hurried) {
		core_set_pace(core, busy > 1);
	}
}

static unsigned int core_poll(struct poller *poller)
{
	struct core *core = container_of(poller, struct core, poller);
	struct core_device *on = core->first;
	unsigned int work = 0;
	unsigned int n;

	for (n = core->device_n; n > 0; n--) {
		unsigned int done = take_turn(core, on);

		if (done > 0) {
			on->busy_until = core->channels.round + BUSY_ROUNDS;
		}
		work += done;
		on = device_after(core, on);
	}
	if (on != NULL) {
		core->first = device_after(core, on);
	}
	work += bdev_channels_poll(&core->channels);
	work += publish_all(core);
	if (unlikely(core->coalescing_n > 0)) {
		core_qos_make_calls(core);
	}
	if (core->channels.round++ % PACE_ROUNDS == 0) {
		choose_pace(core);
	}
	return work;
}

/* ---- sleep ---- */

static bool core_is_under_way(const struct poller *poller)
{
	const struct core *core = container_of(poller, const struct core, poller);
	const struct core_device *on;
	const struct core_queue *queue;

	LIST_FOREACH (on, &core->devices, link) {
		LIST_FOREACH (queue, &on->queues, link) {
			if (virtq_inflight(queue->vq) > 0) {
				return true;
			}
		}
	}
	return false;
}

static bool core_arm(struct poller *poller)
{
	struct core *core = container_of(poller, struct core, poller);
	struct core_device *on;
	struct core_queue *queue;
	bool may_sleep = true;

	/* The channels' eventfds need no look: one that was signalled before the sleep ends it at once. */
	LIST_FOREACH (on, &core->devices, link) {
		bool held = core_qos_is_on(on) && !core_qos_arm(core, on);

		LIST_FOREACH (queue, &on->queues, link) {
			if (held && !queue->dq->no_io && !queue->draining) {
				continue; /* no kick could help it */
			}
			/* One that was quiescent when it was started is not listened to yet. */
			if (is_served(queue) &&
			    (core_watch_kick(queue) < 0 || !virtq_arm(queue->vq))) {
				may_sleep = false;
			}
			if (queue->draining && has_to_resubmit(queue)) {
				may_sleep = false;
			}
			if (queue->dq->restless &&
			    (queue->draining || queue->updating || is_served(queue))) {
				may_sleep = false;
			}
		}
	}
	return may_sleep;
}

static void core_disarm(struct poller *poller)
{
	struct core *core = container_of(poller, struct core, poller);
	struct core_device *on;
	struct core_queue *queue;
	struct bdev_channel *channel;

	LIST_FOREACH (on, &core->devices, link) {
		LIST_FOREACH (queue, &on->queues, link) {
			if (queue->kick_watched) {
				virtq_disarm(queue->vq);
			}
		}
	}
	LIST_FOREACH (channel, &core->channels.list, link) {
		int fd = bdev_channel_event_fd(channel);

		if (fd >= 0) {
			eventfd_drain(fd);
		}
	}
}

const struct poller_ops core_poller_ops = {
	.poll = core_poll,
	.is_under_way = core_is_under_way,
	.arm = core_arm,
	.disarm = core_disarm,
};
