/* SPDX-License-Identifier: BSD-3-Clause */
/* Buckets and windows, with a clock that the test moves. */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "controller/qos.h"
#include "env/env.h"
#include "virtio/virtqueue.h"

#define MIB (UINT64_C(1) << 20)

static uint64_t now;

static uint64_t us(uint64_t n)
{
	return n * env_ticks_hz() / 1000000;
}

static int set_up(void **state)
{
	now = 1000 * env_ticks_hz();
	return 0;
}

/* As many requests of `bytes` as may be popped now, at most `want`. */
static unsigned int take(struct qos *qos, unsigned int want, uint64_t bytes)
{
	struct virtq_meter meter;
	unsigned int n = 0;

	qos_fill(qos, now, &meter);
	while (n < want && n < meter.requests && n * bytes < meter.bytes) {
		n++;
	}
	qos_pay(qos, now, n, n * bytes);
	return n;
}

static void no_limit(void **state)
{
	struct qos qos = { 0 };
	struct virtq_meter meter;

	assert_false(qos_is_on(&qos));
	assert_false(qos_has_limit(&qos));
	qos_fill(&qos, now, &meter);
	assert_int_equal(meter.requests, UINT_MAX);
	assert_true(meter.bytes == UINT64_MAX);
	qos_pay(&qos, now, 1000, 1000 * MIB);
	assert_int_equal(qos_paid_at(&qos), 0);
}

/* Greedily, in steps of a millisecond, for ten seconds. */
static void the_rate_is_kept(void **state)
{
	static const uint64_t rates[] = { 1, 7, 100, 1000, 33333, 1000000, 4000000 };

	for (unsigned int i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
		uint64_t start = now;
		struct qos qos = { 0 };
		uint64_t sum = 0;

		qos_set_limits(&qos, rates[i], 0);
		assert_true(qos_is_on(&qos));
		while (now - start < us(10000000)) {
			sum += take(&qos, UINT_MAX, 0);
			now += us(1000);
		}
		assert_in_range(sum, rates[i] * 10 - rates[i] / 100,
				rates[i] * 10 + rates[i] / 50 + 1);
	}
}

static void bandwidth_is_kept(void **state)
{
	static const uint64_t lengths[] = { 512, 4096, 128 << 10, 8 << 20 };

	for (unsigned int i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		uint64_t start = now;
		struct qos qos = { 0 };
		uint64_t sum = 0;

		qos_set_limits(&qos, 0, 20 * MIB);
		while (now - start < us(10000000)) {
			sum += take(&qos, UINT_MAX, lengths[i]) * lengths[i];
			now += us(1000);
		}
		assert_in_range(sum, 199 * MIB, 201 * MIB + lengths[i]);
	}
}

/* The stricter of the two counts. */
static void both_limits(void **state)
{
	struct qos qos = { 0 };
	uint64_t start = now;
	uint64_t sum = 0;

	qos_set_limits(&qos, 1000, 1 * MIB);
	while (now - start < us(10000000)) {
		sum += take(&qos, UINT_MAX, 4096);
		now += us(1000);
	}
	assert_in_range(sum, 2550, 2590); /* 256 in a second */
}

/* What may be saved up is bounded, and what is owed has to be paid. */
static void bursts_and_debts(void **state)
{
	struct qos qos = { 0 };
	uint64_t at;

	qos_set_limits(&qos, 1000, 0);
	assert_int_equal(take(&qos, UINT_MAX, 0), 1 + QOS_BURST_MS);
	assert_int_equal(take(&qos, UINT_MAX, 0), 0);
	at = qos_paid_at(&qos);
	assert_in_range(at - now, us(990), us(1010));
	now = at - 1;
	assert_int_equal(take(&qos, UINT_MAX, 0), 0);
	now = at;
	assert_int_equal(take(&qos, UINT_MAX, 0), 1);
	now += us(5000000);
	assert_int_equal(take(&qos, UINT_MAX, 0), 1 + QOS_BURST_MS);
	/* 64 MiB at 1 MiB/s. */
	qos_set_limits(&qos, 0, MIB);
	assert_int_equal(take(&qos, 1, 64 * MIB), 1);
	assert_in_range(qos_paid_at(&qos) - now, us(63900000), us(64000000));
	assert_int_equal(take(&qos, 1, 512), 0);
	/* A new limit forgives. */
	qos_set_limits(&qos, 0, 2 * MIB);
	assert_int_equal(take(&qos, 1, 512), 1);
	qos_set_limits(&qos, 0, 0);
	assert_false(qos_is_on(&qos));
}

/* So many requests in each of ten windows, in steps of a tenth; the gap after them. */
static uint64_t run_windows(struct qos *qos, uint64_t requests)
{
	uint64_t gap = 0;

	for (unsigned int i = 0; i < 100; i++) {
		now += us(QOS_WINDOW_MS * 100);
		gap = qos_gap(qos, now, requests / 10);
	}
	return gap;
}

static void coalescing_has_a_threshold(void **state)
{
	struct qos qos = { 0 };

	assert_int_equal(qos_gap(&qos, now, 1000000), 0);
	qos_set_coalescing(&qos, 50, 10000);
	assert_true(qos_is_on(&qos));
	assert_int_equal(run_windows(&qos, 90), 0);
	assert_int_equal(run_windows(&qos, 110), us(50));
	assert_int_equal(run_windows(&qos, 90), 0);
	assert_int_equal(run_windows(&qos, 110), us(50));
	/* Asleep for a while. */
	now += us(10000000);
	assert_int_equal(qos_gap(&qos, now, 110), 0);
	qos_set_coalescing(&qos, 50, 0);
	assert_int_equal(run_windows(&qos, 0), us(50));
	qos_set_coalescing(&qos, 0, 0);
	assert_int_equal(qos_gap(&qos, now, 1000000), 0);
	assert_false(qos_is_on(&qos));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(no_limit, set_up),
		cmocka_unit_test_setup(the_rate_is_kept, set_up),
		cmocka_unit_test_setup(bandwidth_is_kept, set_up),
		cmocka_unit_test_setup(both_limits, set_up),
		cmocka_unit_test_setup(bursts_and_debts, set_up),
		cmocka_unit_test_setup(coalescing_has_a_threshold, set_up),
	};

	return cmocka_run_group_tests_name("controller.qos", tests, NULL, NULL);
}
