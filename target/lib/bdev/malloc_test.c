/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <pthread.h>

#include "bdev/testing.h"
#include "env/env.h"

#define SIZE (UINT64_C(8) << 20)

static struct bdev *create(uint32_t block_size)
{
	struct bdev_malloc_options opts = {
		.size = SIZE,
		.block_size = block_size,
		.numa_node = ENV_ANY_NODE,
	};
	struct bdev *bdev;
	const char *text = "";

	if (bdev_malloc_create(&opts, &bdev, &text) != 0) {
		fail_msg("%s", text);
	}
	return bdev;
}

static int delete_all(void **state)
{
	bdev_delete_all();
	return 0;
}

static void names_are_chosen_in_order(void **state)
{
	const char *text;

	assert_string_equal(create(0)->name, "Malloc0");
	assert_string_equal(create(512)->name, "Malloc1");
	assert_string_equal(create(4096)->name, "Malloc2");
	assert_int_equal(bdev_find("Malloc0")->info.block_size, 512);
	assert_int_equal(bdev_find("Malloc2")->info.block_size, 4096);
	assert_int_equal(bdev_delete("Malloc1", &text), 0);
	assert_string_equal(create(0)->name, "Malloc1");
	assert_string_equal(create(0)->product, "Malloc disk");
}

static void impossible_disks_are_refused(void **state)
{
	struct bdev_malloc_options opts = {
		.name = "huge",
		.size = UINT64_C(1) << 50,
		.numa_node = ENV_ANY_NODE,
	};
	struct bdev *bdev = NULL;
	const char *text = "";

	assert_int_equal(bdev_malloc_create(&opts, &bdev, &text), -ENOMEM);
	assert_non_null(strstr(text, "huge: 1073741824 MiB do not fit"));
	opts.size = 1000;
	assert_int_equal(bdev_malloc_create(&opts, &bdev, &text), -EINVAL);
	opts.size = 4096;
	opts.numa_node = 99999;
	assert_int_equal(bdev_malloc_create(&opts, &bdev, &text), -EINVAL);
	assert_non_null(strstr(text, "NUMA node 99999"));
	assert_null(bdev);
	assert_null(bdev_find("huge"));
}

static void data_survives_every_framing(void **state)
{
	static const uint32_t block_sizes[] = { 512, 4096 };

	for (int i = 0; i < 2; i++) {
		struct test_reactor r;

		test_reactor_open(&r, create(block_sizes[i]));
		test_framings(&r, block_sizes[i]);
		test_reactor_close(&r);
	}
}

static void a_new_disk_is_zero(void **state)
{
	uint8_t *buf = malloc(SIZE);
	struct test_reactor r;

	test_reactor_open(&r, create(512));
	memset(buf, 1, SIZE);
	assert_int_equal(test_io(&r, BDEV_READ, 0, buf, SIZE), 0);
	for (size_t i = 0; i < SIZE; i++) {
		assert_true(buf[i] == 0);
	}
	test_reactor_close(&r);
	free(buf);
}

/* Clears [start, start + len) of a full disk; everything else must stay. */
static void clear_and_compare(struct test_reactor *r, enum bdev_op op, uint32_t flags,
			      uint64_t start, uint64_t len)
{
	uint8_t *before = malloc(SIZE), *after = malloc(SIZE);
	struct test_io t;

	test_fill(before, SIZE, (uint32_t)(start + len));
	assert_int_equal(test_io(r, BDEV_WRITE, 0, before, SIZE), 0);
	test_io_init(&t, op, start, len, NULL, 0);
	t.io.flags = flags;
	assert_int_equal(test_run(r, &t), 0);
	memset(before + start, 0, len);
	assert_int_equal(test_io(r, BDEV_READ, 0, after, SIZE), 0);
	assert_memory_equal(before, after, SIZE);
	free(before);
	free(after);
}

static void cleared_ranges_read_as_zeroes(void **state)
{
	static const uint64_t ranges[][2] = {
		{ 0, 512 },
		{ 512, 4096 },
		{ 4096 - 512, 65536 + 1024 },
		{ 4096, 65536 },
		{ 512, 1 << 20 },
		{ SIZE - 512, 512 },
		{ 3 * 512, SIZE - 7 * 512 },
		{ 0, SIZE },
	};
	struct test_reactor r;

	test_reactor_open(&r, create(512));
	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		uint64_t start = ranges[i][0], len = ranges[i][1];

		clear_and_compare(&r, BDEV_DISCARD, 0, start, len);
		clear_and_compare(&r, BDEV_WRITE_ZEROES, 0, start, len);
		clear_and_compare(&r, BDEV_WRITE_ZEROES, BDEV_IO_MAY_UNMAP, start, len);
	}
	test_reactor_close(&r);
}

static void requests_outside_the_disk_touch_nothing(void **state)
{
	uint8_t buf[1024];
	struct iovec iov = { buf, 512 };
	struct test_reactor r;
	struct test_io t;

	test_reactor_open(&r, create(512));
	memset(buf, 7, sizeof(buf));
	assert_int_equal(test_io(&r, BDEV_WRITE, SIZE - 512, buf, 1024), -EINVAL);
	assert_int_equal(test_io(&r, BDEV_WRITE, UINT64_MAX - 511, buf, 512), -EINVAL);
	assert_int_equal(test_io(&r, BDEV_READ, SIZE, buf, 512), -EINVAL);
	assert_int_equal(test_io(&r, BDEV_DISCARD, SIZE, NULL, 512), -EINVAL);
	assert_int_equal(test_io(&r, BDEV_WRITE_ZEROES, 512, NULL, SIZE), -EINVAL);
	test_io_init(&t, BDEV_READ, 0, 1024, &iov, 1);
	assert_int_equal(test_run(&r, &t), -EINVAL);
	assert_int_equal(buf[0], 7);
	assert_int_equal(test_io(&r, BDEV_FLUSH, UINT64_MAX, NULL, 0), 0);
	assert_int_equal(test_io(&r, BDEV_READ, SIZE - 512, buf, 512), 0);
	assert_int_equal(buf[0], 0);
	test_reactor_close(&r);
}

/* ---- other disks share the reactor: what one poll may do is bounded ---- */

static unsigned int test_completed(const struct test_io *io, unsigned int n)
{
	unsigned int completed = 0;

	for (unsigned int i = 0; i < n; i++) {
		completed += io[i].completions;
	}
	return completed;
}

#define LONG_REQUESTS 8
/* Far above what a poll does, far below what it is asked for. */
#define ONE_POLL (SIZE / 2)

static void a_poll_copies_a_bounded_amount(void **state)
{
	static struct test_io io[LONG_REQUESTS];
	uint8_t *buf = malloc(SIZE);
	struct iovec iov = { buf, SIZE };
	struct test_reactor r;
	unsigned int polls = 0;
	uint64_t copied = 0;

	test_reactor_open(&r, create(512));
	memset(buf, 0xff, SIZE);
	for (unsigned int i = 0; i < LONG_REQUESTS; i++) {
		test_io_init(&io[i], BDEV_READ, 0, SIZE, &iov, 1);
		assert_true(test_submit(r.channel, &io[i].io));
	}
	/* Not zero, or the reactor would believe that there is nothing to do. */
	assert_true(bdev_channels_poll(&r.channels) > 0);
	while (copied < SIZE && buf[copied] == 0) {
		copied++;
	}
	assert_in_range(copied, 1, ONE_POLL);
	assert_int_equal(io[0].completions, 0);
	for (polls = 1; io[LONG_REQUESTS - 1].completions == 0; polls++) {
		assert_true(bdev_channels_poll(&r.channels) > 0);
	}
	assert_true(polls > LONG_REQUESTS * SIZE / ONE_POLL);
	for (unsigned int i = 0; i < LONG_REQUESTS; i++) {
		assert_int_equal(io[i].completions, 1);
		assert_int_equal(io[i].io.status, 0);
	}
	assert_int_equal(bdev_channels_poll(&r.channels), 0);
	test_reactor_close(&r);
	free(buf);
}

/* What a hurried round copies at most: about as long as it takes, short requests of others wait. */
#define HURRIED_POLL (64 << 10)

/* A flood of long requests; the work of each round is small, all of it together is the same. */
static void a_hurried_poll_is_short(void **state)
{
	static struct test_io io[128];
	const size_t len = 128 << 10;
	uint8_t *buf = malloc(len);
	struct iovec iov = { buf, len };
	struct test_reactor r;
	unsigned int rounds = 0;

	test_reactor_open(&r, create(512));
	bdev_channels_hurry(&r.channels, true);
	bdev_channels_poll(&r.channels); /* this one had begun before */
	memset(buf, 0xff, len);
	for (unsigned int i = 0; i < 128; i++) {
		test_io_init(&io[i], BDEV_READ, 0, len, &iov, 1);
		assert_int_equal(bdev_submit(r.channel, &io[i].io), BDEV_TAKEN);
	}
	assert_int_equal(buf[0], 0xff);
	assert_true(bdev_channels_poll(&r.channels) > 0);
	assert_int_equal(buf[0], 0);
	assert_int_equal(buf[HURRIED_POLL], 0xff);
	for (rounds = 1; io[127].completions == 0; rounds++) {
		assert_true(bdev_channels_poll(&r.channels) > 0);
	}
	assert_in_range(rounds, 128 * len / HURRIED_POLL, 128 * len / 4096);
	bdev_channels_hurry(&r.channels, false);
	test_reactor_close(&r);
	free(buf);
}

static void a_poll_clears_a_bounded_amount(void **state)
{
	static const struct {
		enum bdev_op op;
		uint32_t flags;
	} kinds[] = {
		{ BDEV_DISCARD, 0 },
		{ BDEV_WRITE_ZEROES, 0 },
		{ BDEV_WRITE_ZEROES, BDEV_IO_MAY_UNMAP },
	};
	struct test_reactor r;

	test_reactor_open(&r, create(512));
	for (unsigned int k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
		static struct test_io io[LONG_REQUESTS];

		for (unsigned int i = 0; i < LONG_REQUESTS; i++) {
			test_io_init(&io[i], kinds[k].op, 0, SIZE, NULL, 0);
			io[i].io.flags = kinds[k].flags;
			assert_true(test_submit(r.channel, &io[i].io));
		}
		assert_true(bdev_channels_poll(&r.channels) > 0);
		assert_int_equal(io[LONG_REQUESTS / 2].completions, 0);
		test_wait(&r, LONG_REQUESTS - test_completed(io, LONG_REQUESTS));
	}
	test_reactor_close(&r);
}

/* Many small requests of many small pieces take time as well, though they have few bytes. */
static void a_poll_completes_a_bounded_number(void **state)
{
	const unsigned int n = 256;
	struct test_io *io = calloc(n, sizeof(*io));
	struct iovec iov[512];
	uint8_t buf[512];
	struct test_reactor r;

	test_reactor_open(&r, create(512));
	assert_int_equal(test_cut(buf, sizeof(buf), (size_t[]){ 1 }, 1, iov, 512), 512);
	for (unsigned int i = 0; i < n; i++) {
		test_io_init(&io[i], BDEV_READ, 0, 512, iov, 512);
		assert_true(test_submit(r.channel, &io[i].io));
	}
	assert_in_range(bdev_channels_poll(&r.channels), 1, n / 2);
	for (unsigned int i = 1; i < n; i++) {
		assert_true(io[i].completions <= io[i - 1].completions); /* in order */
	}
	test_wait(&r, n - test_completed(io, n));
	test_reactor_close(&r);
	free(io);
}

/* A queue that stops waits for what was taken: neither a number without bound nor endless bytes. */
static void a_full_queue_says_so(void **state)
{
	static struct test_io io[4096];
	uint8_t *buf = malloc(SIZE);
	struct iovec iov[2] = { { buf, 512 }, { buf, SIZE } };
	struct test_reactor r;

	test_reactor_open(&r, create(512));
	for (unsigned int kind = 0; kind < 2; kind++) {
		unsigned int taken = 0;

		while (taken < 4095) {
			test_io_init(&io[taken], BDEV_READ, 0, iov[kind].iov_len, &iov[kind], 1);
			if (!test_submit(r.channel, &io[taken].io)) {
				break;
			}
			taken++;
		}
		/* Short ones are done on the spot, as many as a round has time for. */
		assert_in_range(taken, 2, kind == 0 ? 2048 : 128 * 1048576 / SIZE);
		assert_int_equal(bdev_submit(r.channel, &io[taken].io), -EAGAIN);
		test_wait(&r, taken - test_completed(io, taken));
		assert_int_equal(test_run(&r, &io[taken]), 0); /* there is room again */
	}
	test_reactor_close(&r);
	free(buf);
}

/* However long it is, a request that finds the queue empty is taken. */
static void a_request_longer_than_the_queue_is_taken(void **state)
{
	struct bdev_malloc_options opts = { .size = 65 << 20, .numa_node = ENV_ANY_NODE };
	uint8_t *buf = malloc(opts.size);
	struct test_reactor r;
	struct bdev *bdev;
	const char *text;

	assert_int_equal(bdev_malloc_create(&opts, &bdev, &text), 0);
	test_reactor_open(&r, bdev);
	assert_int_equal(test_io(&r, BDEV_READ, 0, buf, opts.size), 0);
	assert_int_equal(test_io(&r, BDEV_READ, 0, buf, opts.size), 0);
	test_reactor_close(&r);
	free(buf);
}

static void a_disk_grows_and_shrinks(void **state)
{
	struct bdev *bdev = create(512);
	struct test_reactor r;
	const char *text = "";
	uint8_t buf[1024];

	test_reactor_open(&r, bdev);
	memset(buf, 1, sizeof(buf));
	assert_int_equal(test_io(&r, BDEV_WRITE, SIZE - 1024, buf, 1024), 0);
	assert_int_equal(test_io(&r, BDEV_WRITE, SIZE - 512, buf, 1024), -EINVAL);
	assert_int_equal(bdev_resize(bdev, SIZE * 2 + 512, &text), 0);
	assert_int_equal(test_io(&r, BDEV_READ, SIZE - 512, buf, 1024), 0);
	assert_int_equal(buf[0] & buf[511], 1);
	assert_int_equal(buf[512] | buf[1023], 0);
	memset(buf, 2, sizeof(buf));
	assert_int_equal(test_io(&r, BDEV_WRITE, SIZE * 2 - 512, buf, 1024), 0);

	assert_int_equal(bdev_resize(bdev, SIZE / 2, &text), 0);
	bdev_trim(bdev);
	bdev_trim(bdev);
	assert_int_equal(test_io(&r, BDEV_READ, SIZE / 2, buf, 512), -EINVAL);
	assert_int_equal(test_io(&r, BDEV_READ, SIZE / 2 - 512, buf, 512), 0);
	/* What was cut off is gone. */
	assert_int_equal(bdev_resize(bdev, SIZE * 2 + 512, &text), 0);
	assert_int_equal(test_io(&r, BDEV_READ, SIZE - 1024, buf, 1024), 0);
	assert_int_equal(buf[0] | buf[1023], 0);
	assert_int_equal(test_io(&r, BDEV_READ, SIZE * 2 - 512, buf, 1024), 0);
	assert_int_equal(buf[0] | buf[1023], 0);

	assert_int_equal(bdev_resize(bdev, UINT64_C(1) << 50, &text), -ENOSPC);
	assert_non_null(strstr(text, "Malloc0: it can grow to 65536 MiB at most"));
	assert_int_equal(bdev_size(bdev), SIZE * 2 + 512);
	test_reactor_close(&r);
}

/* The disk shrinks between two pieces of a copy. */
static void a_request_under_way_stops_at_the_new_end(void **state)
{
	struct bdev *bdev = create(512);
	uint8_t *buf = malloc(SIZE);
	struct iovec iov = { buf, SIZE };
	struct test_reactor r;
	struct test_io io;
	const char *text;

	test_reactor_open(&r, bdev);
	test_io_init(&io, BDEV_WRITE, 0, SIZE, &iov, 1);
	memset(buf, 1, SIZE);
	assert_int_equal(bdev_submit(r.channel, &io.io), BDEV_TAKEN);
	assert_int_equal(bdev_channels_poll(&r.channels), 1);
	assert_int_equal(io.completions, 0);
	assert_int_equal(bdev_resize(bdev, 512, &text), 0);
	bdev_trim(bdev);
	assert_int_equal(bdev_channels_poll(&r.channels), 1);
	assert_int_equal(io.completions, 1);
	assert_int_equal(io.io.status, -EINVAL);
	/* Nothing of it is left where the disk grows again. */
	assert_int_equal(bdev_resize(bdev, SIZE, &text), 0);
	assert_int_equal(test_io(&r, BDEV_READ, 0, buf, SIZE), 0);
	assert_int_equal(buf[511], 1);
	for (size_t i = 512; i < SIZE; i++) {
		assert_int_equal(buf[i], 0);
	}
	test_reactor_close(&r);
	free(buf);
}

/* Nor is a short one done on the spot while a long one is under way. */
static void nobody_overtakes_a_long_request(void **state)
{
	uint8_t small[512] = { 0 };
	struct iovec small_iov = { small, 512 };
	uint8_t *buf = malloc(SIZE);
	struct iovec iov = { buf, SIZE };
	struct test_io first, later;
	struct test_reactor r;

	test_reactor_open(&r, create(512));
	memset(buf, 1, SIZE);
	test_io_init(&first, BDEV_WRITE, 0, SIZE, &iov, 1);
	test_io_init(&later, BDEV_READ, SIZE - 512, 512, &small_iov, 1);
	assert_int_equal(bdev_submit(r.channel, &first.io), BDEV_TAKEN);
	assert_int_equal(bdev_submit(r.channel, &later.io), BDEV_TAKEN);
	test_wait(&r, 2);
	assert_int_equal(small[0] & small[511], 1);
	test_reactor_close(&r);
	free(buf);
}

/* Two reactors, one disk, each in its own half. */
struct half {
	struct bdev *bdev;
	uint64_t start;
	bool wrong;
};

static void *use_half(void *arg)
{
	struct bdev_channels channels = { 0 };
	struct bdev_channel *channel;
	struct half *half = arg;
	uint8_t out[4096], in[4096];

	if (bdev_channels_get(&channels, half->bdev, &channel) != 0) {
		half->wrong = true;
		return NULL;
	}
	for (uint32_t i = 0; i < 2000; i++) {
		struct iovec iov[2] = { { out, sizeof(out) }, { in, sizeof(in) } };
		struct test_io w, r;
		uint64_t offset = half->start + i * 4096 % (SIZE / 2);

		test_fill(out, sizeof(out), i + (uint32_t)half->start);
		test_io_init(&w, BDEV_WRITE, offset, sizeof(out), &iov[0], 1);
		test_io_init(&r, BDEV_READ, offset, sizeof(in), &iov[1], 1);
		half->wrong |= bdev_submit(channel, &w.io) != BDEV_DONE;
		half->wrong |= bdev_submit(channel, &r.io) != BDEV_DONE;
		half->wrong |= bdev_channels_poll(&channels) != 0;
		half->wrong |= r.io.status != 0 || memcmp(in, out, sizeof(in)) != 0;
	}
	bdev_channels_put(&channels, channel);
	return NULL;
}

static void two_reactors_share_a_disk(void **state)
{
	struct bdev *bdev = create(512);
	struct half halves[2] = { { .bdev = bdev }, { .bdev = bdev, .start = SIZE / 2 } };
	pthread_t threads[2];

	for (int i = 0; i < 2; i++) {
		assert_int_equal(pthread_create(&threads[i], NULL, use_half, &halves[i]), 0);
	}
	for (int i = 0; i < 2; i++) {
		pthread_join(threads[i], NULL);
		assert_false(halves[i].wrong);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(names_are_chosen_in_order, delete_all),
		cmocka_unit_test_teardown(impossible_disks_are_refused, delete_all),
		cmocka_unit_test_teardown(data_survives_every_framing, delete_all),
		cmocka_unit_test_teardown(a_new_disk_is_zero, delete_all),
		cmocka_unit_test_teardown(cleared_ranges_read_as_zeroes, delete_all),
		cmocka_unit_test_teardown(requests_outside_the_disk_touch_nothing, delete_all),
		cmocka_unit_test_teardown(a_poll_copies_a_bounded_amount, delete_all),
		cmocka_unit_test_teardown(a_hurried_poll_is_short, delete_all),
		cmocka_unit_test_teardown(a_poll_clears_a_bounded_amount, delete_all),
		cmocka_unit_test_teardown(a_poll_completes_a_bounded_number, delete_all),
		cmocka_unit_test_teardown(a_full_queue_says_so, delete_all),
		cmocka_unit_test_teardown(a_request_longer_than_the_queue_is_taken, delete_all),
		cmocka_unit_test_teardown(a_disk_grows_and_shrinks, delete_all),
		cmocka_unit_test_teardown(a_request_under_way_stops_at_the_new_end, delete_all),
		cmocka_unit_test_teardown(nobody_overtakes_a_long_request, delete_all),
		cmocka_unit_test_teardown(two_reactors_share_a_disk, delete_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
