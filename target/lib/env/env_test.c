/* SPDX-License-Identifier: BSD-3-Clause */
/* Start-up and threads, the same for both implementations. */
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "env/internal.h"

static unsigned int first_core(void)
{
	struct env_cpuset usable;
	unsigned int core = 0;

	assert_int_equal(env_affinity(&usable), 0);
	while (!env_cpuset_has(&usable, core)) {
		core++;
	}
	return core;
}

static void bad_core_sets_are_refused_with_a_reason(void **state)
{
	struct env_options opts = { .name = "test" };
	const char *why = NULL;

	assert_int_equal(env_init(&opts, &why), -EINVAL);
	assert_string_equal(why, "the reactor mask is empty");

	env_cpuset_add(&opts.cores, first_core());
	env_cpuset_add(&opts.cores, ENV_MAX_CORES - 1);
	assert_int_equal(env_init(&opts, &why), -ENODEV);
	assert_non_null(strstr(why, "core 1023 "));
}

static int where_am_i(void *arg)
{
	cpu_set_t cpus;
	unsigned int *core = arg;

	if (sched_getaffinity(0, sizeof(cpus), &cpus) != 0 || CPU_COUNT(&cpus) != 1) {
		return -1;
	}
	while (!CPU_ISSET(*core, &cpus)) {
		(*core)++;
	}
	return 42;
}

static void threads_are_bound_to_their_core(void **state)
{
	struct env_options opts = { .name = "test", .quiet = true };
	unsigned int core = first_core();
	struct env_cpuset before, after;
	const char *why = "";
	uint64_t ticks;

	env_cpuset_add(&opts.cores, core);
	assert_int_equal(env_affinity(&before), 0);
	if (env_init(&opts, &why) != 0) {
		fail_msg("env_init: %s", why);
	}
	assert_int_equal(env_affinity(&after), 0);
	assert_memory_equal(&before, &after, sizeof(before));
	assert_true(env_ticks_hz() > 1000000);
	ticks = env_ticks();

	for (int again = 0; again < 2; again++) {
		unsigned int seen = 0;

		assert_int_equal(env_core_start(core, where_am_i, &seen), 0);
		assert_int_equal(env_core_join(core), 42);
		assert_int_equal(seen, core);
	}
	assert_int_equal(env_core_start(ENV_MAX_CORES - 1, where_am_i, NULL), -EINVAL);
	assert_int_equal(env_core_start(ENV_MAX_CORES + 7, where_am_i, NULL), -EINVAL);
	assert_true(env_ticks() > ticks);
	assert_true(env_core_numa_node(core) >= 0);
	/* The stack, which is there; and nothing at all. */
	assert_true(env_memory_numa_node(&ticks) >= ENV_ANY_NODE);
	assert_int_equal(env_memory_numa_node(NULL), ENV_ANY_NODE);
	env_free(NULL);
	env_done();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bad_core_sets_are_refused_with_a_reason),
		cmocka_unit_test(threads_are_bound_to_their_core),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
