/* SPDX-License-Identifier: BSD-3-Clause */
#include "stepped.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

#include "../must.h"
#include "base/fd_bag.h"
#include "trace.h"

/* The reactor with no thread under it. */
#define env_core_start stepped_core_start
#define env_core_join  stepped_core_join

static int stepped_core_start(unsigned int core, int (*fn)(void *arg), void *arg);
static int stepped_core_join(unsigned int core);

#include "reactor/reactor.c"

/* Each session has one at a time. */
#define CLOSERS_MAX 4
#define CLOCK_START UINT64_C(1000000000000)

/* What --wrap renames. */
int __wrap_clock_gettime(clockid_t id, struct timespec *ts);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_env_zalloc(size_t size, size_t align, int numa_node);
int __wrap_env_core_numa_node(unsigned int core);
int __wrap_fd_bag_close_apart(struct fd_bag *bag, struct loop *loop, struct msg *done);
ssize_t __wrap_recvmsg(int fd, struct msghdr *hdr, int flags);
ssize_t __real_recvmsg(int fd, struct msghdr *hdr, int flags);
int __wrap_accept4(int fd, struct sockaddr *addr, socklen_t *addr_len, int flags);
int __real_accept4(int fd, struct sockaddr *addr, socklen_t *addr_len, int flags);
void *__real_calloc(size_t n, size_t size);
void *__real_env_zalloc(size_t size, size_t align, int numa_node);

static bool asleep[STEPPED_CORES];
static bool idle[STEPPED_CORES]; /* nothing was done in its last round */
static struct {
	struct fd_bag bag;
	struct loop *loop;
	struct msg *done;
} closers[CLOSERS_MAX];
static unsigned int closer_n;
static uint64_t clock_now;
static uint64_t clock_step;
static unsigned int allocations_left;
static bool allocation_failed;
static bool connections_refused;
static uint64_t receptions;

/* ---- reactors ---- */

static int stepped_core_start(unsigned int core, int (*fn)(void *arg), void *arg)
{
	MUST(core < STEPPED_CORES);
	asleep[core] = false;
	idle[core] = false;
	return 0;
}

static void wake_up(unsigned int core)
{
	struct reactor *r = reactors[core];

	TRACE("  reactor %u wakes up\n", core);
	asleep[core] = false;
	idle[core] = false;
	current = r;
	msgq_awake(&r->msgs);
	disarm_pollers(r);
	current = NULL;
}

/* What follows the last round in reactor_main(). */
static int stepped_core_join(unsigned int core)
{
	if (asleep[core]) {
		wake_up(core);
	}
	current = reactors[core];
	while (msgq_run(&current->msgs) > 0) {
	}
	current = NULL;
	return 0;
}

bool stepped_round(unsigned int core)
{
	struct reactor *r = reactors[core];
	struct epoll_event event;
	bool work;

	if (asleep[core]) {
		if (epoll_wait(r->epoll_fd, &event, 1, 0) <= 0 && env_ticks() < r->wake_at) {
			return false;
		}
		wake_up(core);
	}
	current = r;
	work = run_round(r);
	current = NULL;
	idle[core] = !work;
	return work;
}

/* sleep_until_woken(), cut in two where it would wait. */
void stepped_sleep(unsigned int core)
{
	struct reactor *r = reactors[core];

	if (asleep[core] || !idle[core]) {
		return;
	}
	current = r;
	asleep[core] = arm_pollers(r) && msgq_prepare_sleep(&r->msgs);
	TRACE("  reactor %u falls asleep\n", core);
	if (!asleep[core]) {
		wake_up(core);
	}
	current = NULL;
}

void stepped_start(void)
{
	const struct reactor_options options = { .mode = REACTOR_EVENT };
	struct env_cpuset cores = { 0 };
	unsigned int i;

	clock_now = CLOCK_START;
	clock_step = 0;
	allocations_left = 0;
	allocation_failed = false;
	connections_refused = false;
	receptions = 0;
	for (i = 0; i < STEPPED_CORES; i++) {
		env_cpuset_add(&cores, i);
	}
	MUST(reactors_start(&cores, &options) == 0);
}

void stepped_stop(void)
{
	reactors_stop();
}

/* ---- the clock ---- */

int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
	clock_now += clock_step;
	ts->tv_sec = (time_t)(clock_now / 1000000000);
	ts->tv_nsec = (long)(clock_now % 1000000000);
	return 0;
}

void stepped_clock_advance(uint64_t ns)
{
	clock_now += ns;
}

void stepped_clock_step(uint64_t ns)
{
	clock_step = ns;
}

/* ---- sockets ---- */

ssize_t __wrap_recvmsg(int fd, struct msghdr *hdr, int flags)
{
	ssize_t n = __real_recvmsg(fd, hdr, flags);

	receptions += n > 0;
	return n;
}

uint64_t stepped_receptions(void)
{
	return receptions;
}

/* ---- shortage ---- */

static bool fails_now(void)
{
	if (allocations_left == 0 || --allocations_left > 0) {
		return false;
	}
	allocation_failed = true;
	return true;
}

/* ---- descriptors ---- */

int __wrap_fd_bag_close_apart(struct fd_bag *bag, struct loop *loop, struct msg *done)
{
	if (fails_now()) {
		return -ENOMEM;
	}
	MUST(closer_n < CLOSERS_MAX);
	closers[closer_n].bag = *bag;
	closers[closer_n].loop = loop;
	closers[closer_n].done = done;
	closer_n++;
	bag->n = 0;
	return 0;
}

void stepped_close_apart(void)
{
	while (closer_n > 0) {
		closer_n--;
		fd_bag_close(&closers[closer_n].bag);
		loop_post(closers[closer_n].loop, closers[closer_n].done);
	}
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails_now() ? NULL : __real_calloc(n, size);
}

void *__wrap_env_zalloc(size_t size, size_t align, int numa_node)
{
	return fails_now() ? NULL : __real_env_zalloc(size, align, numa_node);
}

/* A look into sysfs for each ring would be most of the time. */
int __wrap_env_core_numa_node(unsigned int core)
{
	return 0;
}

void stepped_fail_allocation(unsigned int nth)
{
	allocations_left = nth;
}

bool stepped_allocation_failed(void)
{
	bool failed = allocation_failed;

	allocation_failed = false;
	return failed;
}

int __wrap_accept4(int fd, struct sockaddr *addr, socklen_t *addr_len, int flags)
{
	if (connections_refused) {
		errno = EMFILE;
		return -1;
	}
	return __real_accept4(fd, addr, addr_len, flags);
}

void stepped_refuse_connections(bool refuse)
{
	connections_refused = refuse;
}
