/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "controller/placement.h"

#define CORES 4

/* Only their addresses matter. */
static struct core *const cores[CORES] = {
	(struct core *)0x10,
	(struct core *)0x20,
	(struct core *)0x30,
	(struct core *)0x40,
};

/* Cores 0, 2, 4, 6; the first two on node 0, the others on node 1. */
static void make(struct place places[CORES], const unsigned int weights[CORES])
{
	for (unsigned int i = 0; i < CORES; i++) {
		places[i] = (struct place){
			.core = cores[i],
			.number = 2 * i,
			.numa_node = i < 2 ? 0 : 1,
			.weight = weights[i],
		};
	}
}

static struct env_cpuset mask(const char *text)
{
	struct env_cpuset set;

	assert_int_equal(env_cpuset_parse(text, &set), 0);
	return set;
}

static unsigned int pick(const unsigned int weights[CORES], const char *text, int node,
			 const struct core *stay)
{
	struct env_cpuset set = mask(text);
	struct place places[CORES];
	const struct place *best;

	make(places, weights);
	best = placement_pick(places, CORES, &set, node, stay);
	assert_non_null(best);
	return best->number;
}

static void the_least_weight_then_the_lowest_core(void **state)
{
	const unsigned int even[CORES] = { 3, 3, 3, 3 };
	const unsigned int uneven[CORES] = { 3, 2, 1, 1 };

	assert_int_equal(pick(even, "[0-7]", ENV_ANY_NODE, NULL), 0);
	assert_int_equal(pick(uneven, "[0-7]", ENV_ANY_NODE, NULL), 4);
}

static void only_cores_of_the_mask(void **state)
{
	const unsigned int weights[CORES] = { 0, 1, 2, 3 };
	struct env_cpuset none = mask("[1,3]");
	struct place places[CORES];

	assert_int_equal(pick(weights, "[2-7]", ENV_ANY_NODE, NULL), 2);
	assert_int_equal(pick(weights, "[6]", ENV_ANY_NODE, NULL), 6);
	make(places, weights);
	assert_null(placement_pick(places, CORES, &none, ENV_ANY_NODE, NULL));
}

/* However busy the near ones are. */
static void the_node_of_the_memory_comes_first(void **state)
{
	const unsigned int weights[CORES] = { 0, 0, 9, 8 };

	assert_int_equal(pick(weights, "[0-7]", 1, NULL), 6);
	assert_int_equal(pick(weights, "[0-7]", 0, NULL), 0);
	/* The order in which they are looked at plays no role. */
	assert_int_equal(pick((const unsigned int[CORES]){ 9, 8, 0, 0 }, "[0-7]", 0, NULL), 2);
	/* No core of the mask is on it, or on no such node at all. */
	assert_int_equal(pick(weights, "[0-3]", 1, NULL), 0);
	assert_int_equal(pick(weights, "[0-7]", 5, NULL), 0);
}

static void who_is_as_well_off_stays(void **state)
{
	const unsigned int weights[CORES] = { 1, 1, 1, 0 };

	assert_int_equal(pick(weights, "[0-5]", ENV_ANY_NODE, cores[2]), 4);
	assert_int_equal(pick(weights, "[0-7]", ENV_ANY_NODE, cores[2]), 6);
	assert_int_equal(pick(weights, "[0-3]", ENV_ANY_NODE, cores[2]), 0);
	/* Not against the node of the memory. */
	assert_int_equal(pick(weights, "[0-5]", 0, cores[2]), 0);
}

static void weights_are_relative(void **state)
{
	assert_int_equal(placement_weight(0, 0), 0);
	assert_int_equal(placement_weight(50000, 50000), PLACEMENT_WEIGHT_MAX - 1);
	assert_int_equal(placement_weight(25000, 50000), 3);
	assert_int_equal(placement_weight(10, 50000), 0);
	/* Nobody has done anything worth mentioning. */
	assert_int_equal(placement_weight(PLACEMENT_WORK_MIN - 1, PLACEMENT_WORK_MIN - 1), 0);
	/* Years. */
	assert_int_equal(placement_weight(UINT64_MAX / 2, UINT64_MAX), 3);
	assert_int_equal(placement_weight(UINT64_MAX, UINT64_MAX), PLACEMENT_WEIGHT_MAX - 1);
}

static void bytes_are_work_too(void **state)
{
	const struct virtq_stats few = { .requests = 10, .read_bytes = 10 << 20 };
	const struct virtq_stats many = { .requests = 100, .written_bytes = 100 << 9 };

	assert_true(placement_work(&few) > placement_work(&many));
	assert_true(placement_work(&many) >= 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_least_weight_then_the_lowest_core),
		cmocka_unit_test(only_cores_of_the_mask),
		cmocka_unit_test(the_node_of_the_memory_comes_first),
		cmocka_unit_test(who_is_as_well_off_stays),
		cmocka_unit_test(weights_are_relative),
		cmocka_unit_test(bytes_are_work_too),
	};

	return cmocka_run_group_tests_name("controller.placement", tests, NULL, NULL);
}
