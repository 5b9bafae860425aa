/* SPDX-License-Identifier: BSD-3-Clause */
/* Queues come to a core and leave it: messages there and back. */
#include "controller/core_private.h"

#include <errno.h>
#include <stdlib.h>

static void answer_on_loop(struct msg *msg)
{
	struct core_queue *queue = container_of(msg, struct core_queue, answer);

	queue->request_out = false;
	switch (queue->state) {
	case CORE_QUEUE_LEAVING:
	case CORE_QUEUE_ENTERING:
		core_moved(queue);
		return;
	case CORE_QUEUE_STARTING:
		if (queue->result == 0) {
			queue->state = CORE_QUEUE_RUNNING;
			if (queue->update_due) {
				core_post_update(queue);
			}
			break;
		}
		/* fallthrough */
	case CORE_QUEUE_STOPPING:
		queue->state = CORE_QUEUE_IDLE;
		queue->update_due = false;
		break;
	case CORE_QUEUE_IDLE:
	case CORE_QUEUE_RUNNING:
	case CORE_QUEUE_AWAY:
		break;
	}
	queue->done(queue, queue->result);
}

void core_answer(struct core_queue *queue, int result)
{
	queue->result = result;
	queue->answer.fn = answer_on_loop;
	loop_post(queue->core->loop, &queue->answer);
}

static void broken_on_loop(struct msg *msg)
{
	struct core_queue *queue = container_of(msg, struct core_queue, broken_note);

	queue->broken(queue);
}

int core_watch_kick(struct core_queue *queue)
{
	int kick_fd = virtq_kick_fd(queue->vq);
	int r = 0;

	if (!queue->kick_watched && kick_fd >= 0) {
		r = reactor_add_wake_fd(queue->core->reactor, kick_fd);
		queue->kick_watched = r == 0;
	}
	return r;
}

void core_unwatch_kick(struct core_queue *queue)
{
	if (queue->kick_watched) {
		reactor_remove_wake_fd(queue->core->reactor, virtq_kick_fd(queue->vq));
		queue->kick_watched = false;
	}
}

/* A broken ring is no longer listened to: its driver cannot wake us for nothing. */
void core_note_broken(struct core_queue *queue)
{
	queue->broken_seen = true;
	queue->mem_lost = virtq_memory_is_lost(queue->vq);
	core_unwatch_kick(queue);
	queue->broken_note.fn = broken_on_loop;
	loop_post(queue->core->loop, &queue->broken_note);
}

void core_look_at_mem(struct core_queue *queue)
{
	/* Requests of one that is abandoned may stand still until it is drained. Whoever waits for the
	 * memory has left; the queue keeps it. */
	if (core_queue_is_abandoned(queue) || virtq_mem_settled(queue->vq)) {
		queue->changing_mem = false;
		core_answer(queue, 0);
	}
}

static void attached_on_loop(struct msg *msg)
{
	struct core *core = container_of(msg, struct core, attached);

	core->released(core->released_arg);
}

static void attach_on_core(struct msg *msg)
{
	struct core *core = container_of(msg, struct core, attach);

	reactor_add_poller(core->reactor, &core->poller);
	if (core->released != NULL) {
		loop_post(core->loop, &core->attached);
	}
}

void core_release(struct core *core, void (*released)(void *arg), void *arg)
{
	core->released = released;
	core->released_arg = arg;
	core->attached.fn = attached_on_loop;
	reactor_post(core->reactor, &core->attach);
}

static void held_on_loop(struct msg *msg)
{
	struct core *core = container_of(msg, struct core, held);
	void (*done)(void *arg) = core->held_done;

	core->held_done = NULL;
	if (done != NULL) {
		done(core->held_arg);
	}
}

static void hold_on_core(struct msg *msg)
{
	struct core *core = container_of(msg, struct core, hold);
	bool hold;

	/* Release: as in poke_on_core(). */
	atomic_store_explicit(&core->hold_out, false, memory_order_release);
	hold = atomic_load(&core->hold_wanted);
	bdev_channels_hold(&core->channels, hold);
	/* To let go is waited for; to hold need not be. */
	if (!hold) {
		loop_post(core->loop, &core->held);
	}
}

void core_hold_channels(struct core *core, bool hold, void (*done)(void *arg), void *arg)
{
	core->held_done = done;
	core->held_arg = arg;
	core->held.fn = held_on_loop;
	atomic_store(&core->hold_wanted, hold);
	if (!atomic_exchange_explicit(&core->hold_out, true, memory_order_acquire)) {
		core->hold.fn = hold_on_core;
		reactor_post(core->reactor, &core->hold);
	}
}

int core_new_held(struct reactor *reactor, struct loop *loop, struct core **ret_core)
{
	struct core *core = calloc(1, sizeof(*core));

	if (core == NULL) {
		return -ENOMEM;
	}
	core->reactor = reactor;
	core->loop = loop;
	core->poller.ops = &core_poller_ops;
	core->attach.fn = attach_on_core;
	LIST_INIT(&core->devices);
	LIST_INIT(&core->channels.list);
	core_set_pace(core, false);
	*ret_core = core;
	return 0;
}

int core_new(struct reactor *reactor, struct loop *loop, struct core **ret_core)
{
	int r = core_new_held(reactor, loop, ret_core);

	if (r == 0) {
		core_release(*ret_core, NULL, NULL);
	}
	return r;
}

void core_free(struct core *core)
{
	free(core);
}

struct reactor *core_reactor(const struct core *core)
{
	return core->reactor;
}

int core_watch_channels(struct core *core)
{
	struct bdev_channel *channel;

	LIST_FOREACH (channel, &core->channels.list, link) {
		int fd = bdev_channel_event_fd(channel);
		int r = fd >= 0 ? reactor_add_wake_fd(core->reactor, fd) : 0;

		if (r < 0 && r != -EEXIST) {
			return r;
		}
	}
	return 0;
}

static void start_on_core(struct msg *msg)
{
	struct core_queue *queue = container_of(msg, struct core_queue, request);
	struct core *core = queue->core;
	int r;

	r = queue->device->ops->queue_start(queue->device, queue->index, queue->vq, &core->channels,
					    &queue->dq);
	if (r < 0) {
		core_answer(queue, r);
		return;
	}
	r = core_watch_channels(core);
	if (r == 0 && !queue->dq->quiescent && !queue->broken_seen) {
		r = core_watch_kick(queue);
	}
	if (r == 0) {
		r = core_add_queue(core, queue);
	}
	if (r < 0) {
		core_unwatch_kick(queue);
		queue->device->ops->queue_stop(queue->dq);
		queue->dq = NULL;
		core_answer(queue, r);
		return;
	}
	virtq_disarm(queue->vq);
	core_answer(queue, 0);
}

void core_start_on(struct core *core, struct core_queue *queue)
{
	queue->core = core;
	queue->draining = false;
	queue->updating = false;
	queue->kick_watched = false;
	queue->changing_mem = false;
	queue->request_out = true;
	queue->request.fn = start_on_core;
	reactor_post(core->reactor, &queue->request);
}

void core_start_queue(struct core *core, struct core_queue *queue)
{
	queue->state = CORE_QUEUE_STARTING;
	queue->asked = NULL;
	atomic_store_explicit(&queue->abandon, false, memory_order_relaxed);
	queue->broken_seen = false;
	queue->mem_lost = false;
	core_start_on(core, queue);
}

/* core_poll() drains the queue and finishes the stop, in this round already if nothing is in flight. */
void core_drain(struct core_queue *queue, bool moves)
{
	queue->dq->moves = moves;
	queue->draining = true;
	core_qos_release(queue);
}

static void stop_on_core(struct msg *msg)
{
	core_drain(container_of(msg, struct core_queue, request), false);
}

void core_ask(struct core_queue *queue, void (*fn)(struct msg *msg))
{
	bool is_stop = fn == stop_on_core;

	/* To stop may mean to finish what a predecessor had fetched, for which it has to be on a core. */
	if (queue->state == CORE_QUEUE_LEAVING || queue->state == CORE_QUEUE_ENTERING ||
	    (queue->state == CORE_QUEUE_AWAY && is_stop && virtq_has_resubmits(queue->vq) &&
	     !core_queue_is_abandoned(queue))) {
		queue->asked = fn;
		return;
	}
	queue->request_out = true;
	queue->request.fn = fn;
	if (queue->state != CORE_QUEUE_AWAY) {
		reactor_post(queue->core->reactor, &queue->request);
	} else if (is_stop) {
		core_answer(queue, 0); /* that is done already */
	} else {
		fn(&queue->request); /* here, since nobody else has it */
	}
	if (is_stop) {
		queue->state = CORE_QUEUE_STOPPING;
	}
}

void core_stop_queue(struct core_queue *queue, bool abandon)
{
	if (abandon) {
		core_abandon_queue(queue);
	}
	core_ask(queue, stop_on_core);
}

/* No message, since one may be under way already: the reactor looks before it fetches and publishes. One
 * that sleeps has nothing to publish, and looks when it wakes. */
static void poke_on_core(struct msg *msg)
{
	struct core_queue *queue = container_of(msg, struct core_queue, poke);

	/* Release: orders our use of the message before the flag that lets it be posted again. */
	atomic_store_explicit(&queue->poke_out, false, memory_order_release);
}

/* Its reactor looks at the queue once more, even if it sleeps. Not after a stop was posted: that would be
 * the last that may know of the queue. */
static void poke(struct core_queue *queue)
{
	/* Acquire: the mirror of poke_on_core(). */
	if (!atomic_exchange_explicit(&queue->poke_out, true, memory_order_acquire)) {
		queue->poke.fn = poke_on_core;
		reactor_post(queue->core->reactor, &queue->poke);
	}
}

void core_poke_queue(struct core_queue *queue)
{
	if (queue->state == CORE_QUEUE_RUNNING) {
		poke(queue);
	}
}

void core_abandon_queue(struct core_queue *queue)
{
	atomic_store_explicit(&queue->abandon, true, memory_order_relaxed);
	if (queue->state == CORE_QUEUE_RUNNING) {
		/* A change of memory under way ends with it. A stop is looked at in each round anyway. */
		poke(queue);
	} else if (queue->state == CORE_QUEUE_AWAY && queue->asked != NULL) {
		void (*asked)(struct msg * request) = queue->asked;

		queue->asked = NULL;
		core_ask(queue, asked); /* a stop, which nothing holds up any more */
	}
}

static void set_call_on_core(struct msg *msg)
{
	struct core_queue *queue = container_of(msg, struct core_queue, request);

	virtq_set_call_fd(queue->vq, queue->call_fd);
	core_answer(queue, 0);
}

void core_set_call(struct core_queue *queue, int call_fd)
{
	queue->call_fd = call_fd;
	core_ask(queue, set_call_on_core);
}

static void set_mem_on_core(struct msg *msg)
{
	struct core_queue *queue = container_of(msg, struct core_queue, request);
	int r = virtq_set_mem(queue->vq, queue->mem);

	if (r < 0) {
		core_answer(queue, r);
		return;
	}
	queue->changing_mem = true;
	core_look_at_mem(queue);
}

void core_set_mem(struct core_queue *queue, struct guest_mem *mem)
{
	queue->mem = mem;
	core_ask(queue, set_mem_on_core);
}

static void set_log_on_core(struct msg *msg)
{
	struct core_queue *queue = container_of(msg, struct core_queue, request);

	/* Between two rounds: nothing is staged, unless it stays unpublished. */
	virtq_set_log(queue->vq, queue->log);
	core_answer(queue, 0);
}

void core_set_log(struct core_queue *queue, const struct ring_log *log)
{
	queue->log = log;
	core_ask(queue, set_log_on_core);
}

/* ---- updates ---- */

static void updated_on_loop(struct msg *msg)
{
	struct core_queue *queue = container_of(msg, struct core_queue, update_answer);

	queue->update_out = false;
	if (queue->update_due && queue->state == CORE_QUEUE_RUNNING) {
		core_post_update(queue); /* it may have looked too early to see the last change */
		return;
	}
	if (queue->state == CORE_QUEUE_STOPPING || queue->state == CORE_QUEUE_LEAVING) {
		queue->update_due = true; /* perhaps its stop has cut the update short */
	}
	if (queue->updated != NULL) {
		queue->updated(queue);
	}
}

void core_answer_update(struct core_queue *queue)
{
	queue->updating = false;
	queue->update_answer.fn = updated_on_loop;
	loop_post(queue->core->loop, &queue->update_answer);
}

static void update_on_core(struct msg *msg)
{
	struct core_queue *queue = container_of(msg, struct core_queue, update);

	queue->updating = true;
}

void core_post_update(struct core_queue *queue)
{
	queue->update_due = false;
	queue->update_out = true;
	queue->update.fn = update_on_core;
	reactor_post(queue->core->reactor, &queue->update);
}

void core_update_queue(struct core_queue *queue)
{
	switch (queue->state) {
	case CORE_QUEUE_STARTING:
	case CORE_QUEUE_STOPPING:
	case CORE_QUEUE_LEAVING:
	case CORE_QUEUE_AWAY:
	case CORE_QUEUE_ENTERING:
		queue->update_due = true;
		break;
	case CORE_QUEUE_RUNNING:
		if (!queue->update_out) {
			core_post_update(queue);
			break;
		}
		/* The last one waits for something, and its reactor may sleep. There it is looked at in
		 * each round; here we remember to ask once more. */
		queue->update_due = true;
		poke(queue);
		break;
	case CORE_QUEUE_IDLE:
		break;
	}
}

bool core_queue_is_updated(const struct core_queue *queue)
{
	return !queue->update_out && !queue->update_due;
}
