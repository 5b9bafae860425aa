/* SPDX-License-Identifier: BSD-3-Clause */
#include "controller/core.h"

#include <errno.h>
#include <stdlib.h>

#include "base/fd.h"
#include "bdev/bdev.h"

struct core {
	struct poller poller;
	struct reactor *reactor;
	struct loop *loop;
	struct msg attach;
	struct bdev_channels channels;
	LIST_HEAD(, core_queue) queues;
};

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

static void answer_on_loop(struct msg *msg)
{
	struct core_queue *queue = container_of(msg, struct core_queue, answer);

	queue->done(queue, queue->result);
}

static void answer(struct core_queue *queue, int result)
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

static void unwatch_kick(struct core_queue *queue)
{
	if (queue->kick_watched) {
		reactor_remove_wake_fd(queue->core->reactor, virtq_kick_fd(queue->vq));
		queue->kick_watched = false;
	}
}

/* A broken ring is no longer listened to: its driver cannot wake us for nothing. */
static void note_broken(struct core_queue *queue)
{
	queue->broken_seen = true;
	unwatch_kick(queue);
	queue->broken_note.fn = broken_on_loop;
	loop_post(queue->core->loop, &queue->broken_note);
}

static void finish_stop(struct core_queue *queue)
{
	if (queue->abandon) {
		virtq_abandon(queue->vq);
	}
	unwatch_kick(queue);
	LIST_REMOVE(queue, link);
	queue->device->ops->queue_stop(queue->dq);
	queue->dq = NULL;
	answer(queue, 0);
}

static bool is_served(const struct core_queue *queue)
{
	return !queue->draining && !queue->dq->quiescent && !queue->broken_seen;
}

static unsigned int core_poll(struct poller *poller)
{
	struct core *core = container_of(poller, struct core, poller);
	struct core_queue *queue;
	struct core_queue *next;
	unsigned int work = 0;

	LIST_FOREACH (queue, &core->queues, link) {
		if (is_served(queue)) {
			work += queue->device->ops->queue_poll(queue->dq);
		}
	}
	work += bdev_channels_poll(&core->channels);
	for (queue = LIST_FIRST(&core->queues); queue != NULL; queue = next) {
		next = LIST_NEXT(queue, link);
		if (!queue->abandon) {
			work += virtq_commit(queue->vq);
		}
		if (!queue->broken_seen && virtq_is_broken(queue->vq)) {
			note_broken(queue);
		}
		if (queue->draining && virtq_inflight(queue->vq) == 0) {
			finish_stop(queue);
			work++;
		}
	}
	return work;
}

static bool core_arm(struct poller *poller)
{
	struct core *core = container_of(poller, struct core, poller);
	struct core_queue *queue;
	bool may_sleep = true;

	/* The channels' eventfds need no look: one that was signalled before the sleep ends it at once. */
	LIST_FOREACH (queue, &core->queues, link) {
		if (is_served(queue) && !virtq_arm(queue->vq)) {
			may_sleep = false;
		}
	}
	return may_sleep;
}

static void core_disarm(struct poller *poller)
{
	struct core *core = container_of(poller, struct core, poller);
	struct core_queue *queue;
	struct bdev_channel *channel;

	LIST_FOREACH (queue, &core->queues, link) {
		if (queue->kick_watched) {
			virtq_disarm(queue->vq);
		}
	}
	LIST_FOREACH (channel, &core->channels.list, link) {
		int fd = bdev_channel_event_fd(channel);

		if (fd >= 0) {
			eventfd_drain(fd);
		}
	}
}

static const struct poller_ops core_poller_ops = {
	.poll = core_poll,
	.arm = core_arm,
	.disarm = core_disarm,
};

static void attach_on_core(struct msg *msg)
{
	struct core *core = container_of(msg, struct core, attach);

	reactor_add_poller(core->reactor, &core->poller);
}

int core_new(struct reactor *reactor, struct loop *loop, struct core **ret_core)
{
	struct core *core = calloc(1, sizeof(*core));

	if (core == NULL) {
		return -ENOMEM;
	}
	core->reactor = reactor;
	core->loop = loop;
	core->poller.ops = &core_poller_ops;
	core->attach.fn = attach_on_core;
	LIST_INIT(&core->queues);
	LIST_INIT(&core->channels.list);
	reactor_post(reactor, &core->attach);
	*ret_core = core;
	return 0;
}

void core_free(struct core *core)
{
	free(core);
}

struct reactor *core_reactor(const struct core *core)
{
	return core->reactor;
}

/* Completions of the channels that the queue opened must end a sleep too. */
static int watch_channels(struct core *core)
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
	int kick_fd = virtq_kick_fd(queue->vq);
	int r;

	r = queue->device->ops->queue_start(queue->device, queue->index, queue->vq, &core->channels,
					    &queue->dq);
	if (r < 0) {
		answer(queue, r);
		return;
	}
	r = watch_channels(core);
	if (r == 0 && kick_fd >= 0 && !queue->dq->quiescent) {
		r = reactor_add_wake_fd(core->reactor, kick_fd);
		queue->kick_watched = r == 0;
	}
	if (r < 0) {
		queue->device->ops->queue_stop(queue->dq);
		queue->dq = NULL;
		answer(queue, r);
		return;
	}
	virtq_disarm(queue->vq);
	LIST_INSERT_HEAD(&core->queues, queue, link);
	answer(queue, 0);
}

void core_start_queue(struct core *core, struct core_queue *queue)
{
	queue->core = core;
	queue->draining = false;
	queue->abandon = false;
	queue->kick_watched = false;
	queue->broken_seen = false;
	queue->request.fn = start_on_core;
	reactor_post(core->reactor, &queue->request);
}

/* core_poll() finishes the stop, in this round already if nothing is in flight. */
static void stop_on_core(struct msg *msg)
{
	struct core_queue *queue = container_of(msg, struct core_queue, request);

	queue->draining = true;
	queue->device->ops->queue_drain(queue->dq);
}

static void abandon_on_core(struct msg *msg)
{
	struct core_queue *queue = container_of(msg, struct core_queue, request);

	queue->abandon = true;
	stop_on_core(msg);
}

void core_stop_queue(struct core_queue *queue, bool abandon)
{
	queue->request.fn = abandon ? abandon_on_core : stop_on_core;
	reactor_post(queue->core->reactor, &queue->request);
}

static void set_call_on_core(struct msg *msg)
{
	struct core_queue *queue = container_of(msg, struct core_queue, request);

	virtq_set_call_fd(queue->vq, queue->call_fd);
	answer(queue, 0);
}

void core_set_call(struct core_queue *queue, int call_fd)
{
	queue->call_fd = call_fd;
	queue->request.fn = set_call_on_core;
	reactor_post(queue->core->reactor, &queue->request);
}
