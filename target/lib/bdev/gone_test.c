/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>

#include "bdev/testing.h"

static void every_request_fails(void **state)
{
	static const enum bdev_op ops[] = { BDEV_READ, BDEV_WRITE, BDEV_FLUSH, BDEV_DISCARD,
					    BDEV_WRITE_ZEROES };
	struct bdev_null_options opts = { .name = "Null0", .size = 1 << 20, .block_size = 4096 };
	struct bdev gone = { 0 };
	struct test_reactor r;
	struct bdev *bdev;
	const char *text;
	uint8_t buf[4096];

	assert_int_equal(bdev_null_create(&opts, &bdev, &text), 0);
	bdev_gone_init(&gone, bdev);
	assert_true(bdev_is_gone(&gone));
	assert_false(bdev_is_gone(bdev));
	assert_int_equal(bdev_delete("Null0", &text), 0);
	assert_string_equal(gone.name, "Null0");
	assert_int_equal(gone.info.block_size, 4096);
	assert_int_equal(bdev_size(&gone), 1 << 20);
	test_reactor_open(&r, &gone);
	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		bool has_data = ops[i] == BDEV_READ || ops[i] == BDEV_WRITE;

		assert_int_equal(test_io(&r, ops[i], 0, has_data ? buf : NULL, 4096), -ENODEV);
	}
	test_reactor_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_request_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
