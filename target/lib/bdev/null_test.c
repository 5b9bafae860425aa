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

static void requests_outside_the_disk_fail(void **state)
{
	uint8_t buf[8192];
	struct iovec iov = { buf, 4096 };
	struct test_io t;

	assert_int_equal(test_io(&reactor, BDEV_READ, SIZE, buf, 4096), -EINVAL);
	assert_int_equal(test_io(&reactor, BDEV_READ, SIZE - 4096, buf, 8192), -EINVAL);
	assert_int_equal(test_io(&reactor, BDEV_WRITE, UINT64_MAX - 4095, buf, 4096), -EINVAL);
	assert_int_equal(test_io(&reactor, BDEV_READ, 512, buf, 4096), -EINVAL);
	assert_int_equal(test_io(&reactor, BDEV_READ, 0, buf, 512), -EINVAL);
	assert_int_equal(test_io(&reactor, BDEV_DISCARD, 4096, NULL, SIZE), -EINVAL);
	assert_int_equal(test_io(&reactor, (enum bdev_op)99, 0, buf, 4096), -ENOTSUP);
	test_io_init(&t, BDEV_WRITE, 0, 8192, &iov, 1); /* fewer bytes than it says */
	assert_int_equal(test_run(&reactor, &t), -EINVAL);
}

static struct test_io again;

static void submit_again(struct bdev_io *io)
{
	test_io_done(io);
	assert_int_equal(bdev_submit(reactor.channel, &again.io), 0);
}

static void what_done_submits_waits_for_the_next_round(void **state)
{
	struct test_io first;

	test_io_init(&first, BDEV_FLUSH, 0, 0, NULL, 0);
	test_io_init(&again, BDEV_FLUSH, 0, 0, NULL, 0);
	first.io.done = submit_again;
	assert_int_equal(bdev_submit(reactor.channel, &first.io), 0);
	assert_int_equal(bdev_channels_poll(&reactor.channels), 1);
	assert_int_equal(first.completions, 1);
	assert_int_equal(again.completions, 0);
	assert_int_equal(bdev_channels_poll(&reactor.channels), 1);
	assert_int_equal(again.completions, 1);
	assert_int_equal(bdev_channels_poll(&reactor.channels), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_operation_succeeds),
		cmocka_unit_test(requests_outside_the_disk_fail),
		cmocka_unit_test(what_done_submits_waits_for_the_next_round),
	};

	return cmocka_run_group_tests(tests, open_disk, close_disk);
}
