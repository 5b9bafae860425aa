/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/loop.h"

static struct loop *loop;

static int new_loop(void **state)
{
	return loop_new(&loop);
}

static int free_loop(void **state)
{
	loop_free(loop);
	return 0;
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* A pipe whose reading end is watched. */
struct stream {
	int fds[2];
	struct loop_watch *watch;
	unsigned int calls;
	unsigned int bytes;
	uint32_t events;
	struct stream *victim; /* unwatch this one when called */
};

static void readable(void *arg, uint32_t events)
{
	struct stream *s = arg;
	char c;

	s->calls++;
	s->events |= events;
	if ((events & EPOLLIN) != 0 && read(s->fds[0], &c, 1) == 1) {
		s->bytes++;
	}
	if (s->victim != NULL) {
		loop_unwatch(s->victim->watch);
		s->victim->watch = NULL;
	}
}

static void stream_open(struct stream *s)
{
	*s = (struct stream){ 0 };
	assert_int_equal(pipe(s->fds), 0);
	assert_int_equal(loop_watch(loop, s->fds[0], EPOLLIN, readable, s, &s->watch), 0);
}

static void stream_close(struct stream *s)
{
	loop_unwatch(s->watch);
	fd_close(&s->fds[0]);
	fd_close(&s->fds[1]);
}

static void fds_are_level_triggered(void **state)
{
	struct stream s;

	stream_open(&s);
	assert_int_equal(loop_run_once(loop, 0), 0);
	assert_int_equal(s.calls, 0);
	assert_int_equal(write(s.fds[1], "ab", 2), 2);
	assert_int_equal(loop_run_once(loop, -1), 0);
	assert_int_equal(loop_run_once(loop, -1), 0); /* the second byte is still there */
	assert_int_equal(loop_run_once(loop, 0), 0);
	assert_int_equal(s.bytes, 2);
	assert_int_equal(s.calls, 2);
	fd_close(&s.fds[1]);
	loop_run_once(loop, -1);
	assert_true((s.events & EPOLLHUP) != 0);
	stream_close(&s);
}

static void a_paused_watch_is_silent(void **state)
{
	struct stream s;

	stream_open(&s);
	assert_int_equal(write(s.fds[1], "a", 1), 1);
	assert_int_equal(loop_watch_set_events(s.watch, 0), 0);
	loop_run_once(loop, 0);
	assert_int_equal(s.calls, 0);
	assert_int_equal(loop_watch_set_events(s.watch, EPOLLIN), 0);
	loop_run_once(loop, -1);
	assert_int_equal(s.calls, 1);
	stream_close(&s);
	loop_unwatch(NULL);
}

static void what_cannot_be_watched_is_refused(void **state)
{
	struct loop_watch *watch = NULL;
	struct stream s;

	stream_open(&s);
	assert_int_equal(loop_watch(loop, s.fds[0], EPOLLIN, readable, &s, &watch), -EEXIST);
	assert_int_equal(loop_watch(loop, -1, EPOLLIN, readable, &s, &watch), -EBADF);
	assert_null(watch);
	stream_close(&s);
}

/* Two ready in the same round, the first called takes the other away. */
static void a_callback_may_unwatch_itself_or_another(void **state)
{
	struct stream a, b;

	stream_open(&a);
	stream_open(&b);
	a.victim = &b;
	b.victim = &a;
	assert_int_equal(write(a.fds[1], "a", 1), 1);
	assert_int_equal(write(b.fds[1], "b", 1), 1);
	loop_run_once(loop, -1);
	assert_int_equal(a.calls + b.calls, 1);
	loop_run_once(loop, 0);
	stream_close(&a);
	stream_close(&b);

	stream_open(&a);
	a.victim = &a;
	assert_int_equal(write(a.fds[1], "aa", 2), 2);
	loop_run_once(loop, -1);
	loop_run_once(loop, 0);
	assert_int_equal(a.calls, 1);
	stream_close(&a);
}

struct alarm {
	struct loop_timer *timer;
	unsigned int fired;
	uint64_t at_ms;
	uint64_t again_ms; /* set again with this delay; 0: do not */
	bool free_self;
};

static void ring(void *arg)
{
	struct alarm *a = arg;

	a->fired++;
	a->at_ms = now_ms();
	if (a->again_ms > 0) {
		loop_timer_set(a->timer, a->again_ms);
	}
	if (a->free_self) {
		loop_timer_free(a->timer);
		a->timer = NULL;
	}
}

static void alarm_new(struct alarm *a)
{
	*a = (struct alarm){ 0 };
	assert_int_equal(loop_timer_new(loop, ring, a, &a->timer), 0);
}

static void timers_fire_once_and_in_time(void **state)
{
	uint64_t start = now_ms();
	struct alarm a, b;

	alarm_new(&a);
	alarm_new(&b);
	loop_timer_set(b.timer, 30);
	loop_timer_set(a.timer, 10);
	while (a.fired == 0) {
		assert_int_equal(loop_run_once(loop, -1), 0);
	}
	assert_int_equal(b.fired, 0);
	while (b.fired == 0) {
		assert_int_equal(loop_run_once(loop, -1), 0);
	}
	assert_true(a.at_ms >= start + 10);
	assert_true(b.at_ms >= start + 30);
	loop_run_once(loop, 20);
	assert_int_equal(a.fired, 1);
	loop_timer_free(a.timer);
	loop_timer_free(b.timer);
	loop_timer_free(NULL);
}

static void timers_can_be_moved_cancelled_and_repeated(void **state)
{
	struct alarm a, b;

	alarm_new(&a);
	alarm_new(&b);
	loop_timer_set(a.timer, 5);
	loop_timer_set(a.timer, 3600000); /* replaces the first */
	loop_timer_set(b.timer, 5);
	loop_timer_cancel(b.timer);
	loop_timer_cancel(b.timer);
	loop_run_once(loop, 20);
	assert_int_equal(a.fired + b.fired, 0);
	b.again_ms = 1;
	loop_timer_set(b.timer, 0);
	while (b.fired < 5) {
		loop_run_once(loop, -1);
	}
	b.free_self = true;
	b.again_ms = 0;
	while (b.timer != NULL) {
		loop_run_once(loop, -1);
	}
	loop_timer_free(a.timer);
}

static void a_timeout_ends_the_wait(void **state)
{
	uint64_t start = now_ms();

	assert_int_equal(loop_run_once(loop, 25), 0);
	assert_true(now_ms() >= start + 24);
}

#define CALLS 100

static pthread_t loop_thread;
static unsigned int delivered;
static unsigned int wrong_thread;

static void count_and_stop(struct msg *msg)
{
	if (!pthread_equal(pthread_self(), loop_thread)) {
		wrong_thread++;
	}
	if (++delivered == CALLS) {
		loop_stop(loop);
	}
}

static void *post_all(void *arg)
{
	struct msg *msgs = arg;

	for (int i = 0; i < CALLS; i++) {
		loop_post(loop, &msgs[i]);
	}
	return NULL;
}

static void messages_of_other_threads_wake_the_loop(void **state)
{
	struct msg msgs[CALLS];
	pthread_t thread;

	loop_thread = pthread_self();
	for (int i = 0; i < CALLS; i++) {
		msgs[i] = (struct msg){ .fn = count_and_stop };
	}
	assert_int_equal(pthread_create(&thread, NULL, post_all, msgs), 0);
	assert_int_equal(loop_run(loop), 0);
	pthread_join(thread, NULL);
	assert_int_equal(delivered, CALLS);
	assert_int_equal(wrong_thread, 0);
}

static void stop_loop(int signo)
{
	loop_stop(loop);
}

static void a_signal_handler_may_stop_the_loop(void **state)
{
	const struct timespec soon = { .tv_nsec = 10000000 };
	struct itimerspec when = { .it_value = soon };
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	timer_t timer;

	signal(SIGUSR1, stop_loop);
	assert_int_equal(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
	assert_int_equal(timer_settime(timer, 0, &when, NULL), 0);
	assert_int_equal(loop_run(loop), 0);
	timer_delete(timer);
	signal(SIGUSR1, SIG_DFL);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, new_loop, free_loop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(fds_are_level_triggered),
		TEST(a_paused_watch_is_silent),
		TEST(what_cannot_be_watched_is_refused),
		TEST(a_callback_may_unwatch_itself_or_another),
		TEST(timers_fire_once_and_in_time),
		TEST(timers_can_be_moved_cancelled_and_repeated),
		TEST(a_timeout_ends_the_wait),
		TEST(messages_of_other_threads_wake_the_loop),
		TEST(a_signal_handler_may_stop_the_loop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
