/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/iov.h"

#define TOTAL 24

/* The 24 bytes "ABC..." of `flat` as a list: sizes 0, 1, 7, 0, 16, 0, each in its own array. */
struct list {
	char part[6][16];
	struct iovec iov[6];
};

static const size_t sizes[6] = { 0, 1, 7, 0, 16, 0 };
static const char flat[] = "ABCDEFGHIJKLMNOPQRSTUVWX";

static void list_init(struct list *l)
{
	size_t at = 0;

	memset(l, 0x55, sizeof(*l));
	for (int i = 0; i < 6; i++) {
		memcpy(l->part[i], flat + at, sizes[i]);
		l->iov[i] = (struct iovec){ l->part[i], sizes[i] };
		at += sizes[i];
	}
}

static void list_equals(const struct list *l, const char *expected)
{
	char all[TOTAL];
	size_t at = 0;

	for (int i = 0; i < 6; i++) {
		memcpy(all + at, l->part[i], sizes[i]);
		at += sizes[i];
		for (size_t j = sizes[i]; j < sizeof(l->part[i]); j++) {
			assert_int_equal(l->part[i][j], 0x55); /* nothing outside the elements */
		}
	}
	assert_memory_equal(all, expected, TOTAL);
}

static void lengths_are_64_bit(void **state)
{
	struct iovec big[129];
	struct list l;

	list_init(&l);
	assert_int_equal(iov_length(l.iov, 6), TOTAL);
	assert_int_equal(iov_length(NULL, 0), 0);
	for (int i = 0; i < 129; i++) {
		big[i] = (struct iovec){ NULL, 64 << 20 };
	}
	assert_true(iov_length(big, 129) == UINT64_C(129) * (64 << 20));
}

static void every_gather(void **state)
{
	struct list l;

	list_init(&l);
	for (size_t offset = 0; offset <= TOTAL + 2; offset++) {
		for (size_t len = 0; len <= TOTAL + 2; len++) {
			size_t left = offset < TOTAL ? TOTAL - offset : 0;
			size_t expected = len < left ? len : left;
			char buf[TOTAL + 2];

			memset(buf, '-', sizeof(buf));
			assert_int_equal(iov_gather(l.iov, 6, offset, buf, len), expected);
			if (expected > 0) {
				assert_memory_equal(buf, flat + offset, expected);
			}
			for (size_t i = expected; i < sizeof(buf); i++) {
				assert_int_equal(buf[i], '-');
			}
		}
	}
	list_equals(&l, flat);
	assert_int_equal(iov_gather(l.iov, 6, UINT64_MAX, NULL, 1), 0);
}

static void every_scatter_and_zero(void **state)
{
	static const char source[] = "abcdefghijklmnopqrstuvwxyz";

	for (size_t offset = 0; offset <= TOTAL + 2; offset++) {
		for (size_t len = 0; len <= TOTAL + 2; len++) {
			size_t left = offset < TOTAL ? TOTAL - offset : 0;
			size_t n = len < left ? len : left;
			char expected[TOTAL];
			struct list l;

			list_init(&l);
			memcpy(expected, flat, TOTAL);
			memcpy(expected + offset * (n > 0), source, n);
			assert_int_equal(iov_scatter(l.iov, 6, offset, source, len), n);
			list_equals(&l, expected);

			memset(expected + offset * (n > 0), 0, n);
			assert_int_equal(iov_zero(l.iov, 6, offset, len), n);
			list_equals(&l, expected);
		}
	}
}

static void every_slice(void **state)
{
	for (size_t offset = 0; offset <= TOTAL; offset++) {
		for (size_t len = 0; len <= TOTAL - offset; len++) {
			char buf[TOTAL];
			struct iovec *iov;
			unsigned int n = 6;
			struct list l;

			list_init(&l);
			iov = l.iov;
			iov_slice(&iov, &n, offset, len);
			assert_true(iov >= l.iov && iov + n <= l.iov + 6);
			assert_int_equal(iov_length(iov, n), len);
			assert_int_equal(iov_gather(iov, n, 0, buf, TOTAL), len);
			if (len > 0) {
				assert_memory_equal(buf, flat + offset, len);
			}
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lengths_are_64_bit),
		cmocka_unit_test(every_gather),
		cmocka_unit_test(every_scatter_and_zero),
		cmocka_unit_test(every_slice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
