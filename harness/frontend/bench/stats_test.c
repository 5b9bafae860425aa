/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "random.h"
#include "stats.h"

static void median(void **state)
{
	double odd[] = { 3, 1, 2 };
	double even[] = { 4, 1, 3, 2 };
	double one[] = { 9 };

	assert_true(stats_median(odd, 3) == 2);
	assert_true(stats_median(even, 4) == 2.5);
	assert_true(stats_median(one, 1) == 9);
}

static void constant(void **state)
{
	const double values[] = { 2, 2, 2, 2 };
	struct interval i = stats_bootstrap_median(values, 4, 1);

	assert_true(i.low == 2 && i.mid == 2 && i.high == 2);
}

/* Of 200 series around 1, the interval of nearly all holds 1, and not of all: it is neither blind nor a lie. */
static void coverage(void **state)
{
	uint64_t seed = 3;
	double values[20];
	unsigned int held = 0;
	unsigned int i, k;

	for (i = 0; i < 200; i++) {
		struct interval interval;

		for (k = 0; k < 20; k++) {
			values[k] = 0.5 + (double)random_below(&seed, 1000001) / 1e6;
		}
		interval = stats_bootstrap_median(values, 20, i);
		assert_true(interval.low <= interval.mid && interval.mid <= interval.high);
		held += interval.low <= 1.0 && interval.high >= 1.0;
	}
	assert_true(held >= 176 && held <= 199);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(median),
		cmocka_unit_test(constant),
		cmocka_unit_test(coverage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
