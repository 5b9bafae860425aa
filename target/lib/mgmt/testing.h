/* SPDX-License-Identifier: BSD-3-Clause */
/* Concepts: a target with one reactor on the posix environment, for the tests of this layer. */
#ifndef VHT_MGMT_TESTING_H
#define VHT_MGMT_TESTING_H

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "bdev/bdev.h"
#include "controller/target.h"
#include "reactor/reactor.h"

struct test_target {
	char dir[64];
	char cpumask[ENV_CPUSET_TEXT];
	struct loop *loop;
	struct target *target;
	bool down;
};

static inline int test_target_open(struct test_target *t)
{
	struct env_options env = { .name = "mgmt_test", .quiet = true };
	struct reactor_options reactor = { .mode = REACTOR_EVENT };
	struct target_options opts = { .socket_dir = t->dir };
	const char *reason;
	cpu_set_t usable;
	unsigned int core = 0;

	*t = (struct test_target){ 0 };
	sched_getaffinity(0, sizeof(usable), &usable);
	while (!CPU_ISSET(core, &usable)) {
		core++;
	}
	env_cpuset_add(&env.cores, core);
	env_cpuset_format(&env.cores, t->cpumask, sizeof(t->cpumask));
	strcpy(t->dir, "/tmp/vhost-mgmt-XXXXXX");
	if (mkdtemp(t->dir) == NULL || env_init(&env, &reason) < 0 ||
	    reactors_start(&env.cores, &reactor) < 0 || loop_new(&t->loop) < 0) {
		return -1;
	}
	opts.loop = t->loop;
	opts.cores = env.cores;
	if (target_new(&opts, &t->target) < 0) {
		return -1;
	}
	return target_listen(t->target, &reason);
}

static inline void test_target_down(void *arg)
{
	((struct test_target *)arg)->down = true;
}

/* -1: something was left in the directory of the sockets. */
static inline int test_target_close(struct test_target *t)
{
	target_shutdown(t->target, test_target_down, t);
	while (!t->down) {
		loop_run_once(t->loop, 100);
	}
	reactors_stop();
	target_free(t->target);
	bdev_delete_all();
	loop_free(t->loop);
	env_done();
	return rmdir(t->dir);
}

#endif
