/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "reactor/patience.h"

#define IDLE 50

static void without_requests_it_does_not_change(void **state)
{
	struct patience patience = { IDLE, IDLE * PATIENCE_LONGEST };

	assert_false(patience_is_over(&patience, IDLE - 1, false));
	assert_true(patience_is_over(&patience, IDLE, false));
	assert_false(patience_is_over(&patience, IDLE, true));
	assert_true(patience_is_over(&patience, IDLE * PATIENCE_LONGEST, true));
}

static void it_grows_while_answers_come_soon(void **state)
{
	struct patience patience = { IDLE, IDLE };
	unsigned int i;

	patience_learn(&patience, IDLE * PATIENCE_LONGEST);
	assert_int_equal(patience.under_way, 2 * IDLE);
	for (i = 0; i < 100; i++) {
		patience_learn(&patience, 1);
	}
	assert_int_equal(patience.under_way, PATIENCE_LONGEST * IDLE);
	assert_int_equal(patience.idle, IDLE);
}

static void a_slow_disk_is_waited_for_asleep(void **state)
{
	struct patience patience = { IDLE, IDLE * PATIENCE_LONGEST };

	patience_learn(&patience, IDLE * PATIENCE_LONGEST + 1);
	assert_int_equal(patience.under_way, IDLE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_requests_it_does_not_change),
		cmocka_unit_test(it_grows_while_answers_come_soon),
		cmocka_unit_test(a_slow_disk_is_waited_for_asleep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
