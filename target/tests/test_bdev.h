/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: a bdev in memory whose every reaction a test (or fuzzer) can set: how many requests it
 * takes, which fail, when they complete. It logs what it was asked. Not registered; every user has
 * one channel.
 */
#ifndef VHT_TESTS_TEST_BDEV_H
#define VHT_TESTS_TEST_BDEV_H

#include <stdbool.h>
#include <stdint.h>

#include "bdev/bdev.h"

#define TEST_BDEV_LOG 1024

struct test_bdev_entry {
	enum bdev_op op;
	uint32_t flags;
	uint64_t offset;
	uint64_t len;
	unsigned int iov_n;
};

struct test_bdev {
	struct bdev bdev;
	uint8_t *data;
	/* What the test sets. */
	unsigned int depth; /* most requests at a time; beyond: -EAGAIN. 0: no bound */
	unsigned int hold;  /* poll completes all but this many */
	bool newest_first;  /* poll completes in the wrong order */
	int fail;	    /* status of all requests, if not 0 */
	int fail_op;	    /* only of this operation; -1: of all */
	int fail_open;	    /* no channel can be opened, if not 0 */
	/* A look at every request before it is taken; may be NULL. */
	void (*check_io)(void *arg, const struct bdev_io *io);
	void *check_arg;
	/* What it counts. */
	unsigned int outstanding;
	unsigned int refused; /* -EAGAIN */
	unsigned int channels;
	unsigned int log_n; /* wraps: entry i is log[i % TEST_BDEV_LOG] */
	struct test_bdev_entry log[TEST_BDEV_LOG];
};

/* A disk of `size` bytes that can do everything and has no cache; change bdev.info before use. */
void test_bdev_init(struct test_bdev *t, uint64_t size, uint32_t block_size);
void test_bdev_done(struct test_bdev *t);

#endif
