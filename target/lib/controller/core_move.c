/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A queue goes to another core: what belongs to a core (its place in the rounds, the kick in the epoll set, the
 * device's queue with its channels) ends as in a stop and begins as in a start; what belongs to the queue (ring,
 * slots, in-flight area, memory, whether it is broken or abandoned, updates that are due) stays as it is.
 */
#include "controller/core_private.h"

bool core_queue_may_leave(const struct core_queue *queue)
{
	return queue->state == CORE_QUEUE_RUNNING && !queue->request_out;
}

/* What a predecessor had fetched goes along: it is popped on the other side. */
static void leave_on_core(struct msg *msg)
{
	core_drain(container_of(msg, struct core_queue, request), true);
}

void core_leave_queue(struct core_queue *queue)
{
	core_ask(queue, leave_on_core);
	queue->state = CORE_QUEUE_LEAVING;
}

bool core_queue_may_enter(const struct core_queue *queue)
{
	return queue->state == CORE_QUEUE_AWAY && !queue->request_out;
}

void core_enter_queue(struct core *core, struct core_queue *queue)
{
	queue->state = CORE_QUEUE_ENTERING;
	core_start_on(core, queue);
}

void core_moved(struct core_queue *queue)
{
	bool entered = queue->state == CORE_QUEUE_ENTERING && queue->result == 0;
	void (*asked)(struct msg * request) = queue->asked;
	int result = queue->result;

	queue->state = entered ? CORE_QUEUE_RUNNING : CORE_QUEUE_AWAY;
	if (entered && queue->update_due) {
		core_post_update(queue);
	}
	if (asked != NULL) {
		queue->asked = NULL;
		core_ask(queue, asked);
	}
	queue->moved(queue, result);
}
