/* SPDX-License-Identifier: BSD-3-Clause */
/* env on nothing but POSIX and Linux: for unit tests, fuzzers and valgrind. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>

#include "env/internal.h"

struct core_thread {
	pthread_t thread;
	int (*fn)(void *arg);
	void *arg;
	int result;
	bool started;
};

static struct env_cpuset cores;
static struct core_thread core_threads[ENV_MAX_CORES];

int env_init(const struct env_options *opts, const char **ret_why)
{
	int rc = env_check_cores(&opts->cores, ret_why);

	if (rc == 0) {
		cores = opts->cores;
	}
	return rc;
}

void env_done(void)
{
	cores = (struct env_cpuset){ 0 };
}

bool env_has_hugepages(void)
{
	return false;
}

const char *env_version(void)
{
	return "posix";
}

static void *core_main(void *arg)
{
	struct core_thread *t = arg;

	t->result = t->fn(t->arg);
	return NULL;
}

int env_core_start(unsigned int core, int (*fn)(void *arg), void *arg)
{
	struct core_thread *t;
	pthread_attr_t attr;
	cpu_set_t cpus;
	int rc;

	if (!env_cpuset_has(&cores, core)) {
		return -EINVAL;
	}
	t = &core_threads[core];
	if (t->started) {
		return -EBUSY;
	}
	t->fn = fn;
	t->arg = arg;
	CPU_ZERO(&cpus);
	CPU_SET(core, &cpus);
	pthread_attr_init(&attr);
	pthread_attr_setaffinity_np(&attr, sizeof(cpus), &cpus);
	rc = pthread_create(&t->thread, &attr, core_main, t);
	pthread_attr_destroy(&attr);
	t->started = rc == 0;
	return -rc;
}

int env_core_join(unsigned int core)
{
	struct core_thread *t;

	if (core >= ENV_MAX_CORES || !core_threads[core].started) {
		return -EINVAL;
	}
	t = &core_threads[core];
	pthread_join(t->thread, NULL);
	t->started = false;
	return t->result;
}

void *env_zalloc(size_t size, size_t align, int numa_node)
{
	return env_heap_zalloc(size, align);
}

void env_free(void *ptr)
{
	free(ptr);
}

uint64_t env_ticks(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

uint64_t env_ticks_hz(void)
{
	return 1000000000;
}
