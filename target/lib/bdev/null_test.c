/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>

#include "bdev/testing.h"

#define SIZE (1 << 20)

static struct test_reactor reactor;

static int open_disk(void **state)
{
	struct bdev_null_options opts = { .name = "Null0", .size = SIZE, .block_size = 4096 };
	struct bdev *bdev;
	const char *text;

	if (bdev_null_create(&opts, &bdev, &text) != 0) {
		return -1;
	}
	test_reactor_open(&reactor, bdev);
	return 0;
}

static int close_disk(void **state)
{
	test_reactor_close(&reactor);
	bdev_delete_all();
	return 0;
}

static void every_operation_succeeds(void **state)
{
	uint8_t buf[8192];

	memset(buf, 0x5a, sizeof(buf));
	assert_int_equal(test_io(&reactor, BDEV_READ, SIZE - 8192, buf, 8192), 0);
	assert_int_equal(buf[0], 0x5a); /* reads leave the buffer as it is */
	assert_int_equal(buf[8191], 0x5a);
	assert_int_equal(test_io(&reactor, BDEV_WRITE, 0, buf, 8192), 0);
	assert_int_equal(test_io(&reactor, BDEV_FLUSH, 0, NULL, 0), 0);
	assert_int_equal(test_io(&reactor, BDEV_DISCARD, 0, NULL, SIZE), 0);
	assert_int_equal(test_io(&reactor, BDEV_WRITE_ZEROES, 4096, NULL, 4096), 0);
}

static void requests_are_done_on_the_spot(void **state)
{
	struct test_io t;

	test_io_init(&t, BDEV_FLUSH, 0, 0, NULL, 0);
	assert_int_equal(bdev_submit(reactor.channel, &t.io), BDEV_DONE);
	assert_int_equal(t.io.status, 0);
	assert_int_equal(bdev_channels_poll(&reactor.channels), 0);
	assert_int_equal(t.completions, 0); /* nobody was called */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_operation_succeeds),
		cmocka_unit_test(requests_are_done_on_the_spot),
	};

	return cmocka_run_group_tests(tests, open_disk, close_disk);
}
