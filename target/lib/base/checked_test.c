/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/checked.h"

static void sums(void **state)
{
	uint64_t v = 5;

	assert_true(checked_add(UINT64_MAX - 3, 3, &v));
	assert_true(v == UINT64_MAX);
	v = 5;
	assert_false(checked_add(UINT64_MAX, 1, &v));
	assert_false(checked_add(UINT64_MAX, UINT64_MAX, &v));
	assert_int_equal(v, 5);
}

static void products(void **state)
{
	uint64_t v = 5;

	assert_true(checked_mul(UINT64_C(1) << 55, 256, &v));
	assert_true(v == UINT64_C(1) << 63);
	v = 5;
	assert_false(checked_mul(UINT64_C(1) << 55, 512, &v)); /* a sector number, in bytes */
	assert_false(checked_mul(UINT64_MAX, 2, &v));
	assert_int_equal(v, 5);
	assert_true(checked_mul(UINT64_MAX, 0, &v));
	assert_int_equal(v, 0);
}

static void ranges(void **state)
{
	assert_true(range_inside(0, 10, 10));
	assert_true(range_inside(9, 1, 10));
	assert_true(range_inside(10, 0, 10));
	assert_true(range_inside(0, 0, 0));
	assert_false(range_inside(9, 2, 10));
	assert_false(range_inside(10, 1, 10));
	assert_false(range_inside(11, 0, 10));
	assert_false(range_inside(0, 11, 10));
	assert_false(range_inside(UINT64_MAX, 1, 10));
	assert_false(range_inside(UINT64_MAX, UINT64_MAX, UINT64_MAX - 1));
	assert_false(range_inside(2, UINT64_MAX - 1, UINT64_MAX - 1));
	assert_true(range_inside(0, UINT64_MAX, UINT64_MAX));
}

static void powers_of_two(void **state)
{
	unsigned int n = 0;

	for (uint64_t i = 0; i <= 70000; i++) {
		n += is_power_of_two(i);
	}
	assert_int_equal(n, 17); /* 2^0 to 2^16 */
	assert_true(is_power_of_two(UINT64_C(1) << 63));
	assert_false(is_power_of_two(UINT64_MAX));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sums),
		cmocka_unit_test(products),
		cmocka_unit_test(ranges),
		cmocka_unit_test(powers_of_two),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
