/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/loop.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"

#define EVENTS_PER_ROUND 32

struct loop_watch {
	struct loop *loop;
	int fd;
	void (*fn)(void *arg, uint32_t events);
	void *arg;
	bool dead; /* unwatched while the events of this round are being handled */
	LIST_ENTRY(loop_watch) link;
};

struct loop_timer {
	struct loop *loop;
	void (*fn)(void *arg);
	void *arg;
	bool armed;
	uint64_t due_ms;
	LIST_ENTRY(loop_timer) link; /* in loop->timers while it is armed */
};

struct loop {
	int epoll_fd;
	struct msgq msgs;
	struct loop_watch *msg_watch;
	atomic_bool stop;
	bool dispatching;
	LIST_HEAD(, loop_watch) watches;
	LIST_HEAD(, loop_watch) graveyard; /* freed after the round that they died in */
	LIST_HEAD(, loop_timer) timers;
};

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void messages_ready(void *arg, uint32_t events)
{
	struct loop *loop = arg;

	/* Only ends the epoll_wait; loop_run_once() runs the messages. */
	msgq_awake(&loop->msgs);
}

int loop_new(struct loop **ret_loop)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	int r;

	if (loop == NULL) {
		return -ENOMEM;
	}
	LIST_INIT(&loop->watches);
	LIST_INIT(&loop->graveyard);
	LIST_INIT(&loop->timers);
	loop->msgs.eventfd = -1;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	r = loop->epoll_fd < 0 ? -errno : msgq_init(&loop->msgs);
	if (r == 0) {
		r = loop_watch(loop, msgq_fd(&loop->msgs), EPOLLIN, messages_ready, loop,
			       &loop->msg_watch);
	}
	if (r < 0) {
		loop_free(loop);
		return r;
	}
	*ret_loop = loop;
	return 0;
}

void loop_free(struct loop *loop)
{
	if (loop == NULL) {
		return;
	}
	loop_unwatch(loop->msg_watch);
	msgq_done(&loop->msgs);
	fd_close(&loop->epoll_fd);
	free(loop);
}

int loop_watch(struct loop *loop, int fd, uint32_t events, void (*fn)(void *arg, uint32_t events),
	       void *arg, struct loop_watch **ret_watch)
{
	struct loop_watch *watch = calloc(1, sizeof(*watch));
	struct epoll_event event = { .events = events, .data.ptr = watch };

	if (watch == NULL) {
		return -ENOMEM;
	}
	*watch = (struct loop_watch){ .loop = loop, .fd = fd, .fn = fn, .arg = arg };
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
		int r = -errno;

		free(watch);
		return r;
	}
	LIST_INSERT_HEAD(&loop->watches, watch, link);
	*ret_watch = watch;
	return 0;
}

int loop_watch_set_events(struct loop_watch *watch, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = watch };

	return epoll_ctl(watch->loop->epoll_fd, EPOLL_CTL_MOD, watch->fd, &event) < 0 ? -errno : 0;
}

void loop_unwatch(struct loop_watch *watch)
{
	if (watch == NULL) {
		return;
	}
	epoll_ctl(watch->loop->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
	LIST_REMOVE(watch, link);
	if (watch->loop->dispatching) {
		/* An event of this round may still point to it. */
		watch->dead = true;
		LIST_INSERT_HEAD(&watch->loop->graveyard, watch, link);
	} else {
		free(watch);
	}
}

int loop_timer_new(struct loop *loop, void (*fn)(void *arg), void *arg,
		   struct loop_timer **ret_timer)
{
	struct loop_timer *timer = calloc(1, sizeof(*timer));

	if (timer == NULL) {
		return -ENOMEM;
	}
	*timer = (struct loop_timer){ .loop = loop, .fn = fn, .arg = arg };
	*ret_timer = timer;
	return 0;
}

void loop_timer_set(struct loop_timer *timer, uint64_t delay_ms)
{
	loop_timer_cancel(timer);
	timer->due_ms = now_ms() + delay_ms;
	timer->armed = true;
	LIST_INSERT_HEAD(&timer->loop->timers, timer, link);
}

void loop_timer_cancel(struct loop_timer *timer)
{
	if (timer->armed) {
		timer->armed = false;
		LIST_REMOVE(timer, link);
	}
}

void loop_timer_free(struct loop_timer *timer)
{
	if (timer != NULL) {
		loop_timer_cancel(timer);
		free(timer);
	}
}

static struct loop_timer *earliest_timer(struct loop *loop)
{
	struct loop_timer *earliest = NULL;
	struct loop_timer *timer;

	LIST_FOREACH (timer, &loop->timers, link) {
		if (earliest == NULL || timer->due_ms < earliest->due_ms) {
			earliest = timer;
		}
	}
	return earliest;
}

/* Fires the timers that are due now; one that sets itself again to "at once" waits a round. */
static void run_timers(struct loop *loop)
{
	uint64_t now = now_ms();
	struct loop_timer *timer;

	while ((timer = earliest_timer(loop)) != NULL && timer->due_ms <= now) {
		loop_timer_cancel(timer);
		timer->fn(timer->arg);
		if (now_ms() > now) {
			break;
		}
	}
}

static int wait_limit(struct loop *loop, int timeout_ms)
{
	struct loop_timer *timer = earliest_timer(loop);
	uint64_t now = now_ms();
	uint64_t left;

	if (timer == NULL) {
		return timeout_ms;
	}
	left = timer->due_ms > now ? timer->due_ms - now : 0;
	if (timeout_ms >= 0 && (uint64_t)timeout_ms < left) {
		return timeout_ms;
	}
	return left > INT32_MAX ? INT32_MAX : (int)left;
}

int loop_run_once(struct loop *loop, int timeout_ms)
{
	struct epoll_event events[EVENTS_PER_ROUND];
	struct loop_watch *watch;
	int n;
	int i;

	if (!msgq_prepare_sleep(&loop->msgs)) {
		timeout_ms = 0;
	}
	n = epoll_wait(loop->epoll_fd, events, EVENTS_PER_ROUND, wait_limit(loop, timeout_ms));
	if (n < 0 && errno != EINTR) {
		return -errno;
	}
	msgq_awake(&loop->msgs);
	loop->dispatching = true;
	msgq_run(&loop->msgs);
	for (i = 0; i < n; i++) {
		watch = events[i].data.ptr;
		if (!watch->dead) {
			watch->fn(watch->arg, events[i].events);
		}
	}
	run_timers(loop);
	loop->dispatching = false;
	while ((watch = LIST_FIRST(&loop->graveyard)) != NULL) {
		LIST_REMOVE(watch, link);
		free(watch);
	}
	return 0;
}

int loop_run(struct loop *loop)
{
	while (!atomic_load_explicit(&loop->stop, memory_order_relaxed)) {
		int r = loop_run_once(loop, -1);

		if (r < 0) {
			return r;
		}
	}
	return 0;
}

void loop_stop(struct loop *loop)
{
	atomic_store_explicit(&loop->stop, true, memory_order_relaxed);
	eventfd_signal(msgq_fd(&loop->msgs));
}

void loop_post(struct loop *loop, struct msg *msg)
{
	msgq_post(&loop->msgs, msg);
}
