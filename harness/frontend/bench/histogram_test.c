/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "histogram.h"
#include "random.h"

static struct histogram a, b;

/* Bins cover all values without a gap, and none is wider than 1/128 of its values. */
static void bins(void **state)
{
	unsigned int i;

	assert_int_equal(histogram_bin_low(0), 0);
	for (i = 0; i < HISTOGRAM_BINS; i++) {
		uint64_t low = histogram_bin_low(i);
		uint64_t high = histogram_bin_high(i);

		assert_int_equal(histogram_bin(low), i);
		assert_int_equal(histogram_bin(high), i);
		assert_true((high - low) <= low / 128);
		if (i + 1 < HISTOGRAM_BINS) {
			assert_int_equal(histogram_bin(high + 1), i + 1);
		}
	}
	assert_int_equal(histogram_bin(UINT64_MAX), HISTOGRAM_BINS - 1);
}

static void percentiles(void **state)
{
	unsigned int i;

	histogram_reset(&a);
	assert_int_equal(histogram_percentile(&a, 50), 0);
	for (i = 1; i <= 100; i++) {
		histogram_add(&a, i);
	}
	assert_int_equal(histogram_percentile(&a, 0), 1);
	assert_int_equal(histogram_percentile(&a, 50), 50);
	assert_int_equal(histogram_percentile(&a, 99), 99);
	assert_int_equal(histogram_percentile(&a, 99.9), 100);
	assert_int_equal(histogram_percentile(&a, 100), 100);
	assert_int_equal(a.min, 1);
	assert_int_equal(a.max, 100);
	assert_true(histogram_mean(&a) == 50.5);
}

/* The half of uniform values lies below the middle, to the width of a bin. */
static void large_values(void **state)
{
	uint64_t seed = 7;
	uint64_t middle;
	unsigned int i;

	histogram_reset(&a);
	for (i = 0; i < 100000; i++) {
		histogram_add(&a, random_below(&seed, 1000000000));
	}
	middle = histogram_percentile(&a, 50);
	assert_true(middle > 485000000 && middle < 515000000);
}

static void merge(void **state)
{
	unsigned int i;

	histogram_reset(&a);
	histogram_reset(&b);
	for (i = 0; i < 1000; i++) {
		histogram_add(i % 2 == 0 ? &a : &b, i);
	}
	histogram_merge(&a, &b);
	assert_int_equal(a.n, 1000);
	assert_int_equal(a.min, 0);
	assert_int_equal(a.max, 999);
	assert_true(histogram_mean(&a) == 499.5);
	assert_true(histogram_percentile(&a, 50) >= 499 && histogram_percentile(&a, 50) <= 503);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bins),
		cmocka_unit_test(percentiles),
		cmocka_unit_test(large_values),
		cmocka_unit_test(merge),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
