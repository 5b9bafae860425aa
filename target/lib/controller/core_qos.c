/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Quality of service on a core: what a controller's settings mean for its queues here. All of them share one
 * meter, filled before their turn and paid for after it. Each may take its part of it; what others leave is there
 * in the next round. The turn of a device that is limited begins with the queue behind the one that got something
 * last, so that few requests go round as well as many.
 */
#include "controller/core_private.h"
#include "env/env.h"

/* Of queues that belong to no controller (tests). Never on. */
struct qos core_no_qos;

/* A queue that drains finishes what it has to; one that carries no I/O (control, events) is never limited. */
static bool is_limited(const struct core_queue *queue)
{
	return queue->on->limited && !queue->draining && !queue->dq->no_io;
}

void core_qos_apply(struct core_queue *queue)
{
	virtq_set_meter(queue->vq, is_limited(queue) ? &queue->on->meter : NULL);
	virtq_set_call_gap(queue->vq, queue->dq->no_io ? 0 : queue->on->gap);
}

void core_qos_release(struct core_queue *queue)
{
	virtq_set_meter(queue->vq, NULL);
}

static void apply_to_all(struct core_device *on)
{
	struct core_queue *queue;

	on->has_qos = on->limited || on->gap > 0;
	LIST_FOREACH (queue, &on->queues, link) {
		core_qos_apply(queue);
	}
}

/* ---- limits ---- */

void core_qos_begin_turn(struct core_device *on)
{
	bool limited = qos_has_limit(on->qos);

	if (limited) {
		qos_fill(on->qos, env_ticks(), &on->meter);
		on->meter.parts = on->queue_n;
	}
	if (limited != on->limited) {
		on->limited = limited;
		apply_to_all(on);
	}
}

static void set_gap(struct core *core, struct core_device *on, uint64_t gap)
{
	core->coalescing_n += (gap > 0) - (on->gap > 0);
	on->gap = gap;
	apply_to_all(on);
}

void core_qos_end_turn(struct core *core, struct core_device *on, unsigned int popped)
{
	uint64_t now = env_ticks();
	uint64_t gap = qos_gap(on->qos, now, popped);

	if (on->limited && on->meter.popped > 0) {
		qos_pay(on->qos, now, on->meter.popped, on->meter.popped_bytes);
	}
	if (gap != on->gap) {
		set_gap(core, on, gap);
	}
}

/* ---- coalescing ---- */

void core_qos_make_calls(struct core *core)
{
	uint64_t now = env_ticks();
	struct core_device *on;
	struct core_queue *queue;

	LIST_FOREACH (on, &core->devices, link) {
		if (on->gap == 0) {
			continue;
		}
		LIST_FOREACH (queue, &on->queues, link) {
			virtq_call_if_due(queue->vq, now);
		}
	}
}

/* ---- sleep ---- */

bool core_qos_arm(struct core *core, struct core_device *on)
{
	uint64_t paid_at = on->limited ? qos_paid_at(on->qos) : 0;
	struct core_queue *queue;

	LIST_FOREACH (queue, &on->queues, link) {
		reactor_wake_at(core->reactor, virtq_call_time(queue->vq));
	}
	if (paid_at <= env_ticks()) {
		return true;
	}
	reactor_wake_at(core->reactor, paid_at);
	return false;
}
