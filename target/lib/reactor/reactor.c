/* SPDX-License-Identifier: BSD-3-Clause */
#include "reactor/reactor.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "reactor/patience.h"

#define CACHE_LINE	64
#define DEFAULT_IDLE_US 50
/* Which fds are ready is of no interest: pollers look for themselves. */
#define EVENTS_PER_SLEEP 8
#define NS_PER_S	 UINT64_C(1000000000)
/* Whoever asks to be woken up at a time means that time; the default is 50 us more. */
#define TIMER_SLACK_NS 1000

struct reactor {
	/* Written by other threads; everything below by the reactor only. */
	struct msgq msgs;
	_Alignas(CACHE_LINE) LIST_HEAD(, poller) pollers;
	struct poller
		*next; /* where the walk over the pollers goes on; see reactor_remove_poller() */
	enum reactor_mode mode;
	struct patience patience;
	uint64_t wake_at; /* end of the sleep; UINT64_MAX: only an event ends it */
	bool stop;
	int epoll_fd;
	unsigned int core;
	struct msg stop_msg;
	_Atomic uint64_t rounds;
	_Atomic uint64_t busy_rounds;
	_Atomic uint64_t sleeps;
};

/* Written by the main thread while no reactor runs, so every thread may read it. */
static struct reactor *reactors[ENV_MAX_CORES];
static _Thread_local struct reactor *current;

/* The reactor is the only writer: no read-modify-write instruction is needed. */
static void count(_Atomic uint64_t *counter)
{
	uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);

	atomic_store_explicit(counter, value + 1, memory_order_relaxed);
}

static bool run_round(struct reactor *r)
{
	unsigned int work = msgq_run(&r->msgs);
	struct poller *poller;

	for (poller = LIST_FIRST(&r->pollers); poller != NULL; poller = r->next) {
		r->next = LIST_NEXT(poller, link);
		work += poller->ops->poll(poller);
	}
	count(&r->rounds);
	if (work > 0) {
		count(&r->busy_rounds);
	}
	return work > 0;
}

/* Asks the pollers until one has work after all. Whoever was asked is to be disarmed. */
static bool arm_pollers(struct reactor *r)
{
	struct poller *poller;

	r->wake_at = UINT64_MAX;
	LIST_FOREACH (poller, &r->pollers, link) {
		poller->armed = true;
		if (!poller->ops->arm(poller)) {
			return false;
		}
	}
	return true;
}

static void disarm_pollers(struct reactor *r)
{
	struct poller *poller;

	LIST_FOREACH (poller, &r->pollers, link) {
		if (poller->armed) {
			poller->armed = false;
			poller->ops->disarm(poller);
		}
	}
}

static struct timespec time_until(uint64_t ticks)
{
	uint64_t now = env_ticks();
	uint64_t left = ticks > now ? ticks - now : 0;
	uint64_t hz = env_ticks_hz();

	return (struct timespec){
		.tv_sec = (time_t)(left / hz),
		.tv_nsec = (long)(left % hz * NS_PER_S / hz),
	};
}

/* False: there was none until it was time. */
static bool wait_for_event(struct reactor *r)
{
	struct epoll_event events[EVENTS_PER_SLEEP];
	struct timespec timeout;
	int n;

	if (r->wake_at == UINT64_MAX) {
		return epoll_wait(r->epoll_fd, events, EVENTS_PER_SLEEP, -1) > 0;
	}
	timeout = time_until(r->wake_at);
	n = epoll_pwait2(r->epoll_fd, events, EVENTS_PER_SLEEP, &timeout, NULL);
	if (n < 0 && errno == ENOSYS) {
		/* Linux before 5.11 counts in milliseconds. */
		n = epoll_wait(r->epoll_fd, events, EVENTS_PER_SLEEP,
			       (int)(timeout.tv_sec * 1000 + timeout.tv_nsec / 1000000 + 1));
	}
	return n > 0;
}

static bool is_under_way(const struct reactor *r)
{
	struct poller *poller;

	LIST_FOREACH (poller, &r->pollers, link) {
		if (poller->ops->is_under_way(poller)) {
			return true;
		}
	}
	return false;
}

/*
 * Nothing can be missed: work that came before a poller armed itself is found by the look that
 * follows the arming, later work makes a wake fd readable; msgq_prepare_sleep() does the same for
 * messages. The fds are level triggered.
 */
static void sleep_until_woken(struct reactor *r)
{
	if (arm_pollers(r)) {
		if (msgq_prepare_sleep(&r->msgs)) {
			bool under_way = is_under_way(r);
			uint64_t begin = env_ticks();

			count(&r->sleeps);
			if (wait_for_event(r) && under_way) {
				patience_learn(&r->patience, env_ticks() - begin);
			}
		}
		msgq_awake(&r->msgs);
	}
	disarm_pollers(r);
}

/* The pollers are asked only when it matters. */
static bool may_sleep(const struct reactor *r, uint64_t idle_for)
{
	return patience_is_over(&r->patience, idle_for, true) ||
	       (patience_is_over(&r->patience, idle_for, false) && !is_under_way(r));
}

static void run_until_stopped(struct reactor *r)
{
	uint64_t idle_since = 0;

	while (!r->stop) {
		uint64_t now;

		if (run_round(r)) {
			idle_since = 0;
			continue;
		}
		if (r->stop || r->mode == REACTOR_POLL) {
			env_pause();
			continue;
		}
		if (r->mode == REACTOR_ADAPTIVE) {
			now = env_ticks();
			if (idle_since == 0) {
				idle_since = now;
			}
			if (!may_sleep(r, now - idle_since)) {
				env_pause();
				continue;
			}
		}
		sleep_until_woken(r);
		idle_since = 0;
	}
}

static int reactor_main(void *arg)
{
	struct reactor *r = arg;
	char name[16];

	snprintf(name, sizeof(name), "reactor_%u", r->core);
	pthread_setname_np(pthread_self(), name);
	prctl(PR_SET_TIMERSLACK, TIMER_SLACK_NS);
	current = r;
	run_until_stopped(r);
	/* Messages posted before the end was known still reach their function. */
	while (msgq_run(&r->msgs) > 0) {
	}
	current = NULL;
	return 0;
}

static void stop_reactor(struct msg *msg)
{
	current->stop = true;
}

static void reactor_free(struct reactor *r)
{
	fd_close(&r->epoll_fd);
	msgq_done(&r->msgs);
	env_free(r);
}

static int reactor_new(unsigned int core, const struct reactor_options *opts,
		       struct reactor **ret_reactor)
{
	uint32_t idle_us = opts->idle_us != 0 ? opts->idle_us : DEFAULT_IDLE_US;
	struct reactor *r = env_zalloc(sizeof(*r), CACHE_LINE, env_core_numa_node(core));
	struct epoll_event event = { .events = EPOLLIN };
	int rc;

	if (r == NULL) {
		return -ENOMEM;
	}
	LIST_INIT(&r->pollers);
	r->core = core;
	r->mode = opts->mode;
	r->patience.idle = idle_us * env_ticks_hz() / 1000000;
	r->patience.under_way = r->patience.idle;
	r->stop_msg.fn = stop_reactor;
	r->epoll_fd = -1;
	rc = msgq_init(&r->msgs);
	if (rc != 0) {
		env_free(r);
		return rc;
	}
	r->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (r->epoll_fd < 0 ||
	    epoll_ctl(r->epoll_fd, EPOLL_CTL_ADD, msgq_fd(&r->msgs), &event) != 0) {
		rc = -errno;
		reactor_free(r);
		return rc;
	}
	*ret_reactor = r;
	return 0;
}

int reactors_start(const struct env_cpuset *cores, const struct reactor_options *opts)
{
	/* All of them exist before one runs: messages between them may begin at once. */
	for (unsigned int core = 0; core < ENV_MAX_CORES; core++) {
		int rc = 0;

		if (env_cpuset_has(cores, core)) {
			rc = reactor_new(core, opts, &reactors[core]);
		}
		if (rc != 0) {
			reactors_stop();
			return rc;
		}
	}
	for (unsigned int core = 0; core < ENV_MAX_CORES; core++) {
		int rc = 0;

		if (reactors[core] != NULL) {
			rc = env_core_start(core, reactor_main, reactors[core]);
		}
		if (rc != 0) {
			reactor_free(reactors[core]);
			reactors[core] = NULL;
			reactors_stop();
			return rc;
		}
	}
	return 0;
}

void reactors_stop(void)
{
	struct reactor *r;

	for (r = reactor_next(NULL); r != NULL; r = reactor_next(r)) {
		reactor_post(r, &r->stop_msg);
	}
	for (r = reactor_next(NULL); r != NULL; r = reactor_next(r)) {
		env_core_join(r->core); /* fails for one that was never started, and that is fine */
	}
	/* Freed when all have ended: the last messages of one may go to another. */
	for (unsigned int core = 0; core < ENV_MAX_CORES; core++) {
		if (reactors[core] != NULL) {
			reactor_free(reactors[core]);
			reactors[core] = NULL;
		}
	}
}

struct reactor *reactor_get(unsigned int core)
{
	return core < ENV_MAX_CORES ? reactors[core] : NULL;
}

struct reactor *reactor_next(const struct reactor *reactor)
{
	unsigned int core = reactor == NULL ? 0 : reactor->core + 1;

	while (core < ENV_MAX_CORES) {
		if (reactors[core] != NULL) {
			return reactors[core];
		}
		core++;
	}
	return NULL;
}

unsigned int reactor_core(const struct reactor *reactor)
{
	return reactor->core;
}

struct reactor *reactor_current(void)
{
	return current;
}

void reactor_post(struct reactor *reactor, struct msg *msg)
{
	msgq_post(&reactor->msgs, msg);
}

/* At the head, so that a walk that is under way does not reach it in this round. */
void reactor_add_poller(struct reactor *reactor, struct poller *poller)
{
	poller->armed = false;
	LIST_INSERT_HEAD(&reactor->pollers, poller, link);
}

void reactor_remove_poller(struct reactor *reactor, struct poller *poller)
{
	if (reactor->next == poller) {
		reactor->next = LIST_NEXT(poller, link);
	}
	LIST_REMOVE(poller, link);
}

int reactor_add_wake_fd(struct reactor *reactor, int fd)
{
	struct epoll_event event = { .events = EPOLLIN };

	return epoll_ctl(reactor->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

void reactor_remove_wake_fd(struct reactor *reactor, int fd)
{
	epoll_ctl(reactor->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

void reactor_wake_at(struct reactor *reactor, uint64_t ticks)
{
	if (ticks < reactor->wake_at) {
		reactor->wake_at = ticks;
	}
}

void reactor_get_stats(const struct reactor *reactor, struct reactor_stats *ret_stats)
{
	*ret_stats = (struct reactor_stats){
		.rounds = atomic_load_explicit(&reactor->rounds, memory_order_relaxed),
		.busy_rounds = atomic_load_explicit(&reactor->busy_rounds, memory_order_relaxed),
		.sleeps = atomic_load_explicit(&reactor->sleeps, memory_order_relaxed),
	};
}
