/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: for unit tests only.
 *   fake disk  a bdev in memory that can be made to hold, refuse or fail requests, and that remembers
 *              what it was asked.
 *   bench      a logical unit on a fake disk and one command, run without any virtqueue.
 */
#ifndef VHT_DEVICE_SCSI_TESTING_H
#define VHT_DEVICE_SCSI_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "device/scsi/cmd.h"

#define FAKE_LOG     64
#define FAKE_DISCARD 0xdd /* what a discarded byte reads as */

struct fake_request {
	enum bdev_op op;
	uint32_t flags;
	uint64_t offset;
	uint64_t len;
};

#define FAKE_CHANNELS 2

struct fake_channel {
	struct bdev_channel channel; /* first */
	bool is_open;
	STAILQ_HEAD(, bdev_io) queue;
};

struct fake_disk {
	struct bdev bdev; /* first */
	struct fake_channel channels[FAKE_CHANNELS];
	uint8_t *data;
	unsigned int room; /* requests taken at a time; default: many */
	bool hold;	   /* poll completes nothing */
	int open_status;   /* 0, or what opening its channel ends with */
	int fail_status;   /* 0, or what requests of fail_op end with */
	enum bdev_op fail_op;
	struct fake_request log[FAKE_LOG];
	unsigned int log_n; /* may go on counting beyond FAKE_LOG */
	unsigned int outstanding;
};

struct fake_disk_options {
	uint64_t blocks;	      /* 0: 4096 */
	uint32_t block_size;	      /* 0: 512 */
	uint32_t physical_block_size; /* 0: block_size */
	bool read_only;
	bool no_write_cache;
	bool no_discard;
	bool no_write_zeroes;
	uint64_t max_discard; /* 0: the whole disk */
};

void fake_disk_open(struct fake_disk *disk, const struct fake_disk_options *opts);
void fake_disk_close(struct fake_disk *disk);
/* Completes the oldest outstanding request of its first channel that has one, even when the disk holds them. */
void fake_disk_complete_one(struct fake_disk *disk);
/* Every byte of the range has this value. */
void assert_disk(const struct fake_disk *disk, uint64_t offset, uint64_t len, uint8_t value);
void assert_log(const struct fake_disk *disk, unsigned int i, enum bdev_op op, uint64_t offset,
		uint64_t len);

#define BENCH_DATA 131072

struct bench {
	struct fake_disk disk;
	struct scsi_lu lu;
	struct scsi_cmd cmd;
	uint8_t out[BENCH_DATA]; /* fill in before running */
	uint8_t in[BENCH_DATA];	 /* FFh before each run */
	struct iovec out_iov;
	struct iovec in_iov;
};

struct bench_options {
	struct fake_disk_options disk;
	struct scsi_limits limits; /* all zero: the defaults */
	bool read_only;
	const char *serial;
};

struct bench *bench_new(const struct bench_options *opts); /* NULL: all defaults */
void bench_free(struct bench *b);

/* 32 bytes, as a virtio driver sends them. */
#define CDB(...) ((const uint8_t[SCSI_CDB_MAX]){ __VA_ARGS__ })
/* For CDB(): big-endian fields. */
#define BE16(x) (uint8_t)((x) >> 8), (uint8_t)(x)
#define BE32(x) BE16((uint32_t)(x) >> 16), BE16((uint32_t)(x))
#define BE64(x) BE32((uint64_t)(x) >> 32), BE32((uint64_t)(x))

/* Runs a command to its end. The data buffers are the first bytes of b->out and b->in. */
void bench_run(struct bench *b, const uint8_t *cdb, uint64_t out_len, uint64_t in_len);
/* The same for a logical unit that does not exist. */
void bench_run_no_lu(struct bench *b, const uint8_t *cdb, uint64_t out_len, uint64_t in_len);

void assert_good(const struct bench *b, uint64_t transferred);
void assert_condition(const struct bench *b, enum scsi_condition condition);
void assert_bad_cdb(const struct bench *b, unsigned int byte);
void assert_bad_parameter(const struct bench *b, unsigned int byte);
void assert_overrun(const struct bench *b);

#endif
