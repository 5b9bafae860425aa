/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "reactor/reactor.h"

#define DEADLINE_SECONDS 20

/* ---- running something on a reactor and waiting for it ---- */

struct call {
	struct msg msg;
	void (*fn)(void *arg);
	void *arg;
	sem_t done;
};

static void run_call(struct msg *msg)
{
	struct call *call = (struct call *)msg;

	call->fn(call->arg);
	sem_post(&call->done);
}

static void wait_for(sem_t *sem)
{
	struct timespec deadline;
	int rc;

	clock_gettime(CLOCK_REALTIME, &deadline);
	deadline.tv_sec += DEADLINE_SECONDS;
	do {
		rc = sem_timedwait(sem, &deadline);
	} while (rc != 0 && errno == EINTR);
	assert_int_equal(rc, 0);
}

static void call_on(struct reactor *reactor, void (*fn)(void *arg), void *arg)
{
	struct call call = { .msg.fn = run_call, .fn = fn, .arg = arg };

	sem_init(&call.done, 0, 0);
	reactor_post(reactor, &call.msg);
	wait_for(&call.done);
	sem_destroy(&call.done);
}

/* ---- reactors on every core this process may use, at most two ---- */

static struct env_cpuset cores;

static int init_env(void **state)
{
	struct env_options opts = { .name = "test", .quiet = true };
	unsigned int n = 0;
	const char *why;

	for (unsigned int core = 0; core < ENV_MAX_CORES && n < 2; core++) {
		struct env_cpuset one = { 0 };
		unsigned int bad;

		env_cpuset_add(&one, core);
		if (env_cores_usable(&one, &bad)) {
			env_cpuset_add(&cores, core);
			n++;
		}
	}
	opts.cores = cores;
	return env_init(&opts, &why);
}

static int done_env(void **state)
{
	env_done();
	return 0;
}

static struct reactor *start(enum reactor_mode mode)
{
	struct reactor_options opts = { .mode = mode };

	assert_int_equal(reactors_start(&cores, &opts), 0);
	assert_non_null(reactor_next(NULL));
	return reactor_next(NULL);
}

static struct reactor *other_than(struct reactor *reactor)
{
	struct reactor *other = reactor_next(reactor);

	return other != NULL ? other : reactor;
}

/* Waits until the reactor sleeps more often than `sleeps` times. */
static void wait_until_asleep(struct reactor *reactor, uint64_t sleeps)
{
	const struct timespec interval = { .tv_nsec = 1000000 };

	for (int i = 0; i < DEADLINE_SECONDS * 1000; i++) {
		struct reactor_stats stats;

		reactor_get_stats(reactor, &stats);
		if (stats.sleeps > sleeps) {
			return;
		}
		nanosleep(&interval, NULL);
	}
	fail_msg("the reactor does not go to sleep");
}

static uint64_t sleeps_of(struct reactor *reactor)
{
	struct reactor_stats stats;

	reactor_get_stats(reactor, &stats);
	return stats.sleeps;
}

/* ---- the tests ---- */

static void look_at_self(void *arg)
{
	*(struct reactor **)arg = reactor_current();
}

static void reactors_are_found_by_core(void **state)
{
	struct reactor *first = start(REACTOR_ADAPTIVE);
	unsigned int n = 0;

	for (struct reactor *r = first; r != NULL; r = reactor_next(r)) {
		struct reactor *self = NULL;

		assert_true(env_cpuset_has(&cores, reactor_core(r)));
		assert_ptr_equal(reactor_get(reactor_core(r)), r);
		call_on(r, look_at_self, &self);
		assert_ptr_equal(self, r);
		n++;
	}
	assert_true(n >= 1);
	assert_null(reactor_current());
	assert_null(reactor_get(ENV_MAX_CORES - 1));
	assert_null(reactor_get(ENV_MAX_CORES));
	reactors_stop();
	assert_null(reactor_next(NULL));
}

struct ball {
	struct msg msg;
	struct reactor *sides[2];
	unsigned int bounces;
	unsigned int wrong_thread;
	sem_t done;
};

static void bounce(struct msg *msg)
{
	struct ball *ball = (struct ball *)msg;

	if (reactor_current() != ball->sides[ball->bounces % 2]) {
		ball->wrong_thread++;
	}
	if (++ball->bounces == 20000) {
		sem_post(&ball->done);
		return;
	}
	reactor_post(ball->sides[ball->bounces % 2], msg);
}

/* Every bounce finds the other side asleep or about to be: a lost wake-up would stop the game. */
static void ping_pong(enum reactor_mode mode)
{
	struct ball ball = { .msg.fn = bounce };

	ball.sides[0] = start(mode);
	ball.sides[1] = other_than(ball.sides[0]);
	sem_init(&ball.done, 0, 0);
	reactor_post(ball.sides[0], &ball.msg);
	wait_for(&ball.done);
	assert_int_equal(ball.bounces, 20000);
	assert_int_equal(ball.wrong_thread, 0);
	reactors_stop();
	sem_destroy(&ball.done);
}

static void messages_travel_between_sleeping_reactors(void **state)
{
	ping_pong(REACTOR_EVENT);
}

static void messages_travel_between_adaptive_reactors(void **state)
{
	ping_pong(REACTOR_ADAPTIVE);
}

/*
 * A poller whose work is announced by an eventfd, and only while it is armed: as kicks are, and the
 * reason why arm() must look again.
 */
struct counter {
	struct poller poller;
	int fd;
	_Atomic unsigned int work; /* given by the test */
	_Atomic bool notify;
	_Atomic unsigned int done;
	unsigned int polls;
	unsigned int arms;
	unsigned int disarms;
	unsigned int remove_at; /* remove `victim` in this poll */
	struct counter *victim;
	bool removed;
	unsigned int polls_at_removal;
	struct reactor *reactor;
	int add_rc;
};

static unsigned int counter_poll(struct poller *poller)
{
	struct counter *c = (struct counter *)poller;
	unsigned int work = atomic_exchange(&c->work, 0);

	c->polls++;
	if (c->polls == c->remove_at) {
		reactor_remove_poller(c->reactor, &c->victim->poller);
		c->victim->removed = true;
		c->victim->polls_at_removal = c->victim->polls;
	}
	atomic_fetch_add(&c->done, work);
	return work;
}

static bool counter_is_under_way(const struct poller *poller)
{
	return false;
}

static bool counter_arm(struct poller *poller)
{
	struct counter *c = (struct counter *)poller;

	c->arms++;
	atomic_store(&c->notify, true);
	return atomic_load(&c->work) == 0;
}

static void counter_disarm(struct poller *poller)
{
	struct counter *c = (struct counter *)poller;

	c->disarms++;
	atomic_store(&c->notify, false);
	eventfd_drain(c->fd);
}

static const struct poller_ops counter_ops = {
	.poll = counter_poll,
	.is_under_way = counter_is_under_way,
	.arm = counter_arm,
	.disarm = counter_disarm,
};

static void add_counter(void *arg)
{
	struct counter *c = arg;

	reactor_add_poller(c->reactor, &c->poller);
	c->add_rc = reactor_add_wake_fd(c->reactor, c->fd);
}

static void remove_counter(void *arg)
{
	struct counter *c = arg;

	reactor_remove_wake_fd(c->reactor, c->fd);
	if (!c->removed) {
		reactor_remove_poller(c->reactor, &c->poller);
	}
}

static void counter_init(struct counter *c, struct reactor *reactor)
{
	memset(c, 0, sizeof(*c));
	c->poller.ops = &counter_ops;
	c->reactor = reactor;
	c->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert_true(c->fd >= 0);
	call_on(reactor, add_counter, c);
	assert_int_equal(c->add_rc, 0);
}

static void counter_done(struct counter *c)
{
	call_on(c->reactor, remove_counter, c);
	fd_close(&c->fd);
}

static void give_work(struct counter *c)
{
	atomic_fetch_add(&c->work, 1);
	if (atomic_load(&c->notify)) {
		eventfd_signal(c->fd);
	}
}

/* Spins, in order to be there a moment after it happened. */
static void spin_until(_Atomic unsigned int *counter, unsigned int value)
{
	time_t end = time(NULL) + DEADLINE_SECONDS;

	for (unsigned int i = 1; atomic_load(counter) != value; i++) {
		if (i % 1024 == 0) {
			sched_yield();
		}
		if (i % (1 << 20) == 0 && time(NULL) > end) {
			fail_msg("stuck at %u of %u", atomic_load(counter), value);
		}
	}
}

/* A little longer each time, so that what follows hits every point of falling asleep. */
static void linger(unsigned int i)
{
	for (volatile unsigned int spin = 0; spin < i % 1000; spin++) {
	}
}

static void an_fd_wakes_a_sleeping_reactor(void **state)
{
	struct counter c;

	counter_init(&c, start(REACTOR_ADAPTIVE));
	for (unsigned int i = 1; i <= 100; i++) {
		wait_until_asleep(c.reactor, i - 1);
		give_work(&c);
		spin_until(&c.done, i);
	}
	counter_done(&c);
	assert_true(c.disarms == c.arms);
	reactors_stop();
}

/* Work that comes at any moment of falling asleep is found, without help from later events. */
static void no_work_is_lost(enum reactor_mode mode)
{
	struct counter c;

	counter_init(&c, start(mode));
	for (unsigned int i = 1; i <= 50000; i++) {
		linger(i);
		give_work(&c);
		spin_until(&c.done, i);
	}
	counter_done(&c);
	assert_true(c.disarms == c.arms);
	reactors_stop();
}

static void no_work_is_lost_in_event_mode(void **state)
{
	no_work_is_lost(REACTOR_EVENT);
}

static void no_work_is_lost_in_adaptive_mode(void **state)
{
	no_work_is_lost(REACTOR_ADAPTIVE);
}

struct note {
	struct msg msg;
	_Atomic unsigned int n;
	unsigned int again; /* times to post itself again */
	struct reactor *reactor;
};

static void take_note(struct msg *msg)
{
	struct note *note = (struct note *)msg;

	if (note->again > 0) {
		note->again--;
		reactor_post(note->reactor, msg);
	}
	atomic_fetch_add(&note->n, 1);
}

static void no_message_is_lost(void **state)
{
	struct note note = { .msg.fn = take_note, .reactor = start(REACTOR_EVENT) };

	for (unsigned int i = 1; i <= 50000; i++) {
		linger(i);
		reactor_post(note.reactor, &note.msg);
		spin_until(&note.n, i);
	}
	reactors_stop();
}

static void read_thread_clock(void *arg)
{
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, arg);
}

static uint64_t cpu_ns(struct reactor *reactor)
{
	struct timespec ts;

	call_on(reactor, read_thread_clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void an_idle_reactor_uses_no_processor_time(void **state)
{
	const struct timespec interval = { .tv_nsec = 300000000 };
	uint64_t start_ns;
	struct counter c;

	counter_init(&c, start(REACTOR_ADAPTIVE));
	start_ns = cpu_ns(c.reactor);
	nanosleep(&interval, NULL); /* the interval that is measured */
	/* One idle window and two messages: below one per cent of it, sanitizers or not. */
	assert_true(cpu_ns(c.reactor) - start_ns < 3000000);
	assert_true(sleeps_of(c.reactor) > 0);
	counter_done(&c);
	reactors_stop();
}

/* A poller that has something to do at times, and no fd that would say so. */
struct napper {
	struct poller poller;
	struct reactor *reactor;
	_Atomic unsigned int naps;
	unsigned int naps_max;
};

#define NAP_MS 2

static unsigned int napper_poll(struct poller *poller)
{
	return 0;
}

static bool napper_is_under_way(const struct poller *poller)
{
	return false;
}

static bool napper_arm(struct poller *poller)
{
	struct napper *n = (struct napper *)poller;

	if (atomic_load(&n->naps) < n->naps_max) {
		/* The earliest counts. */
		reactor_wake_at(n->reactor, UINT64_MAX - 1);
		reactor_wake_at(n->reactor, env_ticks() + NAP_MS * env_ticks_hz() / 1000);
		reactor_wake_at(n->reactor, UINT64_MAX);
	}
	return true;
}

static void napper_disarm(struct poller *poller)
{
	atomic_fetch_add(&((struct napper *)poller)->naps, 1);
}

static const struct poller_ops napper_ops = {
	.poll = napper_poll,
	.is_under_way = napper_is_under_way,
	.arm = napper_arm,
	.disarm = napper_disarm,
};

static void add_napper(void *arg)
{
	struct napper *n = arg;

	reactor_add_poller(n->reactor, &n->poller);
}

static void remove_napper(void *arg)
{
	struct napper *n = arg;

	reactor_remove_poller(n->reactor, &n->poller);
}

static void a_sleep_ends_in_time(void **state)
{
	struct napper n = { .poller.ops = &napper_ops, .naps_max = 50 };
	uint64_t begin = env_ticks();
	uint64_t start_ns;

	n.reactor = start(REACTOR_ADAPTIVE);
	start_ns = cpu_ns(n.reactor);
	call_on(n.reactor, add_napper, &n);
	spin_until(&n.naps, n.naps_max);
	/* A message may have cut one short. */
	assert_true(env_ticks() - begin >= (n.naps_max - 2) * NAP_MS * env_ticks_hz() / 1000);
	/* It slept, and did not look at the clock all the time. */
	assert_true(cpu_ns(n.reactor) - start_ns < UINT64_C(1000000) * NAP_MS * n.naps_max / 2);
	call_on(n.reactor, remove_napper, &n);
	reactors_stop();
}

static void poll_mode_never_sleeps(void **state)
{
	/* An adaptive one would have slept by then: these take longer than its idle window. */
	const uint64_t rounds = 100000;
	time_t end = time(NULL) + DEADLINE_SECONDS;
	struct reactor_stats stats;
	struct counter c;

	counter_init(&c, start(REACTOR_POLL));
	do {
		reactor_get_stats(c.reactor, &stats);
	} while (stats.rounds < rounds && time(NULL) < end);
	assert_true(stats.rounds >= rounds);
	assert_int_equal(stats.sleeps, 0);
	assert_int_equal(c.arms, 0);
	counter_done(&c);
	reactors_stop();
}

/* Three pollers; at its next poll, one of them removes the one in the middle. */
static void remove_while_called(bool itself)
{
	struct reactor *reactor = start(REACTOR_POLL);
	struct counter first, middle, last;
	struct counter *remover = itself ? &middle : &first;

	/* The last added is called first. */
	counter_init(&last, reactor);
	counter_init(&middle, reactor);
	counter_init(&first, reactor);
	call_on(reactor, remove_counter, remover);
	remover->victim = &middle;
	remover->remove_at = remover->polls + 1;
	if (itself) {
		call_on(reactor, remove_counter, &first);
		call_on(reactor, add_counter, &middle);
		call_on(reactor, add_counter, &first);
	} else {
		call_on(reactor, add_counter, &first);
	}
	for (unsigned int i = 1; i <= 3; i++) {
		give_work(&first);
		spin_until(&first.done, i);
		give_work(&last);
		spin_until(&last.done, i);
	}
	counter_done(&middle);
	assert_true(middle.removed);
	assert_int_equal(middle.polls, middle.polls_at_removal);
	counter_done(&first);
	counter_done(&last);
	reactors_stop();
}

static void a_poller_removes_itself_while_it_is_called(void **state)
{
	remove_while_called(true);
}

static void a_poller_removes_its_neighbour_while_it_is_called(void **state)
{
	remove_while_called(false);
}

static void messages_before_stop_are_delivered(void **state)
{
	for (unsigned int i = 1; i <= 100; i++) {
		struct note note = { .msg.fn = take_note, .again = 3 };

		note.reactor = start(REACTOR_EVENT);
		reactor_post(note.reactor, &note.msg);
		reactors_stop();
		assert_int_equal(atomic_load(&note.n), 4); /* those it posted itself, too */
	}
}

/* For the test that failed before it came to that. */
static int stop_all(void **state)
{
	reactors_stop();
	return 0;
}

#define TEST(fn) cmocka_unit_test_teardown(fn, stop_all)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(reactors_are_found_by_core),
		TEST(messages_travel_between_sleeping_reactors),
		TEST(messages_travel_between_adaptive_reactors),
		TEST(an_fd_wakes_a_sleeping_reactor),
		TEST(no_work_is_lost_in_event_mode),
		TEST(no_work_is_lost_in_adaptive_mode),
		TEST(no_message_is_lost),
		TEST(an_idle_reactor_uses_no_processor_time),
		TEST(a_sleep_ends_in_time),
		TEST(poll_mode_never_sleeps),
		TEST(a_poller_removes_itself_while_it_is_called),
		TEST(a_poller_removes_its_neighbour_while_it_is_called),
		TEST(messages_before_stop_are_delivered),
	};

	return cmocka_run_group_tests(tests, init_env, done_env);
}
