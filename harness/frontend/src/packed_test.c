/* SPDX-License-Identifier: BSD-3-Clause */
#include "ring_exercise.h"

#define PLAIN (VFE_F_VERSION_1 | VFE_F_INDIRECT_DESC | VFE_F_RING_PACKED)
#define EVENT (PLAIN | VFE_F_EVENT_IDX)

static void random_direct(void **state)
{
	/* virtio 1.2, 2.8.10.1: any size. */
	exercise_random(PLAIN, 1, 1, false, 20000);
	exercise_random(EVENT, 3, 3, false, 50000);
	exercise_random(EVENT, 16, 5, false, 30000);
	exercise_random(EVENT, 257, 32, false, 3000);
}

static void random_indirect(void **state)
{
	exercise_random(EVENT, 3, 8, true, 50000);
	exercise_random(PLAIN, 64, 32, true, 5000);
}

static void full(void **state)
{
	exercise_full(EVENT);
}

static void kicks(void **state)
{
	exercise_kicks(PLAIN);
	exercise_kicks(EVENT);
}

static void calls(void **state)
{
	exercise_calls(PLAIN);
	exercise_calls(EVENT);
}

static void abandon(void **state)
{
	exercise_abandon(EVENT);
}

static void bad_id(void **state)
{
	exercise_bad_id(EVENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_direct), cmocka_unit_test(random_indirect),
		cmocka_unit_test(full),		 cmocka_unit_test(kicks),
		cmocka_unit_test(calls),	 cmocka_unit_test(abandon),
		cmocka_unit_test(bad_id),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
