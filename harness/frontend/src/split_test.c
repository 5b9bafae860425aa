/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>

#include "ring_exercise.h"

#define PLAIN (VFE_F_VERSION_1 | VFE_F_INDIRECT_DESC)
#define EVENT (PLAIN | VFE_F_EVENT_IDX)

static void random_direct(void **state)
{
	exercise_random(PLAIN, 2, 2, false, 50000);
	exercise_random(EVENT, 16, 5, false, 30000);
	exercise_random(EVENT, 256, 32, false, 3000);
}

static void random_indirect(void **state)
{
	exercise_random(EVENT, 2, 8, true, 50000);
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

static void index_jump(void **state)
{
	struct vfe_done done[4];
	struct exercise e;

	exercise_open(&e, EVENT, 16, 1, false);
	e.model.view.used->idx = 17;
	assert_int_equal(vfe_queue_reap(e.queue, done, 4), -EPROTO);
	exercise_close(&e);
}

static void sizes(void **state)
{
	struct vfe_queue_options options = { .segments = 1 };
	struct vfe_queue *other;
	struct exercise e;

	exercise_open(&e, EVENT, 16, 1, false);
	for (options.size = 0; options.size < 8; options.size += options.size == 0 ? 3 : 2) {
		assert_int_equal(vfe_queue_new(e.session, 1, &options, &other), -EINVAL);
	}
	options.size = 65536;
	assert_int_equal(vfe_queue_new(e.session, 1, &options, &other), -EINVAL);
	options.size = 32768;
	assert_int_equal(vfe_queue_new(e.session, 0, &options, &other), -EINVAL); /* there is one */
	assert_int_equal(vfe_queue_new(e.session, 1, &options, &other), 0);
	vfe_queue_free(other);
	exercise_close(&e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_direct), cmocka_unit_test(random_indirect),
		cmocka_unit_test(full),		 cmocka_unit_test(kicks),
		cmocka_unit_test(calls),	 cmocka_unit_test(abandon),
		cmocka_unit_test(bad_id),	 cmocka_unit_test(index_jump),
		cmocka_unit_test(sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
