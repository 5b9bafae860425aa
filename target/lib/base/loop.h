/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: the event loop of the control thread: file descriptors (epoll, level triggered), timers
 * and messages from other threads. Callbacks run one after the other on the thread that calls
 * loop_run(); they never block. A callback may add or remove any watch or timer, its own too.
 * Owner of all structs: the thread of loop_run(); only loop_post() and loop_stop() may be called
 * from other threads (loop_stop also from a signal handler).
 */
#ifndef VHT_BASE_LOOP_H
#define VHT_BASE_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/msgq.h"

struct loop;
struct loop_watch;
struct loop_timer;

int loop_new(struct loop **ret_loop);
void loop_free(struct loop *loop); /* NULL is fine; all watches and timers must be gone */

/* Runs until loop_stop(). Returns 0 or a negative errno. */
int loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

/* For tests and fuzzers: handle what is ready, wait at most timeout_ms (-1: no limit), return. */
int loop_run_once(struct loop *loop, int timeout_ms);

/* events: EPOLLIN etc. The fd stays the caller's. loop_unwatch(NULL) is fine. */
int loop_watch(struct loop *loop, int fd, uint32_t events, void (*fn)(void *arg, uint32_t events),
	       void *arg, struct loop_watch **ret_watch);
int loop_watch_set_events(struct loop_watch *watch, uint32_t events); /* 0: paused */
void loop_unwatch(struct loop_watch *watch);

/* One-shot; fn may call loop_timer_set() again. loop_timer_free(NULL) is fine. */
int loop_timer_new(struct loop *loop, void (*fn)(void *arg), void *arg,
		   struct loop_timer **ret_timer);
void loop_timer_set(struct loop_timer *timer, uint64_t delay_ms);
void loop_timer_cancel(struct loop_timer *timer);
void loop_timer_free(struct loop_timer *timer);

/* Any thread: msg->fn runs on the loop's thread. */
void loop_post(struct loop *loop, struct msg *msg);

#endif
