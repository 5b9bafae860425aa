/* SPDX-License-Identifier: BSD-3-Clause */
/* Concepts: one reactor's life, for the tests of the drivers: a channel, requests, a wait. */
#ifndef VHT_BDEV_TESTING_H
#define VHT_BDEV_TESTING_H

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/iov.h"
#include "bdev/bdev.h"

#define TEST_DEADLINE_SECONDS 20

struct test_reactor {
	struct bdev_channels channels;
	struct bdev_channel *channel;
};

struct test_io {
	struct bdev_io io;
	unsigned int completions;
};

/* Of all requests of this thread. */
static _Thread_local unsigned int test_completions;

static inline void test_io_done(struct bdev_io *io)
{
	((struct test_io *)io)->completions++;
	test_completions++;
}

static inline void test_reactor_open(struct test_reactor *r, struct bdev *bdev)
{
	r->channels = (struct bdev_channels){ 0 };
	r->channel = NULL;
	assert_int_equal(bdev_channels_get(&r->channels, bdev, &r->channel), 0);
	assert_non_null(r->channel);
}

static inline void test_reactor_close(struct test_reactor *r)
{
	bdev_channels_put(&r->channels, r->channel);
	assert_true(LIST_EMPTY(&r->channels.list));
}

static inline void test_io_init(struct test_io *t, enum bdev_op op, uint64_t offset, uint64_t len,
				const struct iovec *iov, unsigned int iov_n)
{
	*t = (struct test_io){
		.io = {
			.op = op,
			.offset = offset,
			.len = len,
			.iov = iov,
			.iov_n = iov_n,
			.status = 12345,
			.done = test_io_done,
		},
	};
}

/* Rounds until n more requests are complete; sleeps on the channel's fd in between. */
static inline void test_wait(struct test_reactor *r, unsigned int n)
{
	struct pollfd fd = { .fd = bdev_channel_event_fd(r->channel), .events = POLLIN };
	unsigned int before = test_completions;
	unsigned int work = bdev_channels_poll(&r->channels);

	while (test_completions - before < n) {
		if (work > 0) {
			work = bdev_channels_poll(&r->channels);
			continue;
		}
		if (fd.fd < 0) {
			fail_msg("without an event fd, poll must go on until all is complete");
		}
		if (poll(&fd, 1, TEST_DEADLINE_SECONDS * 1000) != 1) {
			fail_msg("%u of %u requests completed, and the event fd is silent",
				 test_completions - before, n);
		}
		eventfd_drain(fd.fd);
		work = bdev_channels_poll(&r->channels);
	}
	assert_int_equal(test_completions - before, n);
}

/* As a device does it: what is done on the spot is complete. False: no room. */
static inline bool test_submit(struct bdev_channel *channel, struct bdev_io *io)
{
	int r = bdev_submit(channel, io);

	if (r == BDEV_DONE) {
		io->done(io);
	}
	return r != -EAGAIN;
}

static inline int test_run(struct test_reactor *r, struct test_io *t)
{
	unsigned int before = test_completions;

	assert_true(test_submit(r->channel, &t->io));
	test_wait(r, 1 - (test_completions - before));
	assert_int_equal(t->completions, 1);
	return t->io.status;
}

/* One request over one buffer. */
static inline int test_io(struct test_reactor *r, enum bdev_op op, uint64_t offset, void *buf,
			  size_t len)
{
	struct iovec iov = { .iov_base = buf, .iov_len = len };
	struct test_io t;

	test_io_init(&t, op, offset, len, buf != NULL ? &iov : NULL, buf != NULL ? 1 : 0);
	return test_run(r, &t);
}

static inline void test_fill(uint8_t *buf, size_t len, uint32_t seed)
{
	uint64_t x = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;

	for (size_t i = 0; i < len; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		buf[i] = (uint8_t)x;
	}
}

/* Cuts buf into elements whose lengths repeat those of `sizes`. Returns the number of elements. */
static inline unsigned int test_cut(uint8_t *buf, size_t len, const size_t *sizes, size_t sizes_n,
				    struct iovec *iov, unsigned int iov_max)
{
	unsigned int n = 0;

	while (len > 0) {
		size_t size = sizes[n % sizes_n] < len ? sizes[n % sizes_n] : len;

		assert_true(n < iov_max);
		iov[n++] = (struct iovec){ .iov_base = buf, .iov_len = size };
		buf += size;
		len -= size;
	}
	return n;
}

/*
 * Writes and reads back with many framings: whole, single bytes, odd lengths, misaligned addresses,
 * more elements than the kernel takes at once. The disk must have 256 KiB.
 */
static inline void test_framings(struct test_reactor *r, uint32_t block_size)
{
	static const size_t cuts[][4] = {
		{ 1 << 20, 1 << 20, 1 << 20, 1 << 20 },
		{ 1, 1, 1, 1 },
		{ 512, 512, 512, 512 },
		{ 1, 4095, 513, 7 },
		{ 0, 3, 0, 4096 },
	};
	static const size_t shifts[] = { 0, 1, 512, 2048 };
	const size_t max = 128 * 1024;
	struct iovec *iov = calloc(max + 16, sizeof(*iov));
	uint8_t *expected = malloc(max);
	uint8_t *memory = aligned_alloc(4096, 2 * max);
	uint8_t *whole = aligned_alloc(4096, max);
	uint32_t seed = 0;

	for (size_t c = 0; c < sizeof(cuts) / sizeof(cuts[0]); c++) {
		for (size_t s = 0; s < sizeof(shifts) / sizeof(shifts[0]); s++) {
			size_t len = (c % 2 == 0 ? max : 3 * 4096) / block_size * block_size;
			uint64_t offset = (uint64_t)(s + 1) * block_size;
			uint8_t *buf = memory + shifts[s];
			struct test_io t;
			unsigned int n;

			n = test_cut(buf, len, cuts[c], 4, iov, (unsigned int)max + 16);
			test_fill(expected, len, ++seed);
			memcpy(buf, expected, len);
			test_io_init(&t, BDEV_WRITE, offset, len, iov, n);
			assert_int_equal(test_run(r, &t), 0);
			assert_memory_equal(buf, expected, len);

			memset(whole, 0, len);
			assert_int_equal(test_io(r, BDEV_READ, offset, whole, len), 0);
			assert_memory_equal(whole, expected, len);

			memset(memory, 0, 2 * max);
			test_io_init(&t, BDEV_READ, offset, len, iov, n);
			assert_int_equal(test_run(r, &t), 0);
			assert_memory_equal(buf, expected, len);
			assert_int_equal(buf[len], 0); /* not one byte more */
		}
	}
	free(whole);
	free(memory);
	free(expected);
	free(iov);
}

#endif
