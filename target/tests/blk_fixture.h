/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: a block device on a test_bdev behind one ring, for unit tests. A turn is one round
 * of a reactor: poll the queue, poll the bdev, commit.
 */
#ifndef VHT_TESTS_BLK_FIXTURE_H
#define VHT_TESTS_BLK_FIXTURE_H

#include <endian.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "device/blk.h"
#include "device/blk_proto.h"
#include "ring_driver.h"
#include "test_bdev.h"

struct blk_fixture_options {
	uint32_t block_size; /* 0: 512 */
	bool read_only;
	bool write_cache;
	const char *serial;
	uint64_t without; /* offered features that are not negotiated */
	uint16_t ring;	  /* 0: 128 */
};

struct blk_fixture {
	struct test_bdev disk; /* 1 MiB */
	struct bdev_channels channels;
	struct virtio_device *device;
	struct device_queue *queue;
	struct virtq *vq;
	struct ring_driver rd;
	uint32_t len; /* used length of the last one reaped */
};

static inline void blk_queue_open(struct blk_fixture *f)
{
	struct virtq_config config = rd_config(&f->rd, f->device->ops->req_size(f->device, 0));

	assert_int_equal(virtq_new(&config, &f->vq), 0);
	assert_int_equal(f->device->ops->queue_start(f->device, 0, f->vq, &f->channels, &f->queue),
			 0);
}

static inline void blk_open(struct blk_fixture *f, const struct blk_fixture_options *opts)
{
	static const struct blk_fixture_options defaults;
	struct rd_options ring = { .features = UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC };
	struct blk_options blk = { .queues = 1 };

	opts = opts ? opts : &defaults;
	ring.size = opts->ring;
	test_bdev_init(&f->disk, 1 << 20, opts->block_size ? opts->block_size : 512);
	f->disk.bdev.info.write_cache = opts->write_cache;
	blk.bdev = &f->disk.bdev;
	blk.read_only = opts->read_only;
	blk.serial = opts->serial;
	assert_int_equal(blk_new(&blk, &f->device), 0);
	f->device->ops->negotiated(f->device, f->device->ops->features(f->device) & ~opts->without);
	f->channels = (struct bdev_channels){ 0 };
	rd_open(&f->rd, &ring);
	blk_queue_open(f);
}

static inline void blk_queue_close(struct blk_fixture *f)
{
	f->device->ops->queue_stop(f->queue);
	virtq_free(f->vq);
}

static inline void blk_close(struct blk_fixture *f)
{
	assert_int_equal(virtq_inflight(f->vq), 0);
	blk_queue_close(f);
	f->device->ops->free(f->device);
	assert_int_equal(f->disk.bdev.claims, 0);
	assert_int_equal(f->disk.channels, 0);
	test_bdev_done(&f->disk);
	rd_close(&f->rd);
}

/* The byte at `offset` of all buffers together, which all have gaps between them. */
static inline uint8_t *blk_byte(struct blk_fixture *f, const struct rd_buf *bufs, unsigned int n,
				uint64_t offset)
{
	unsigned int i;

	for (i = 0; i < n && offset >= bufs[i].len; i++) {
		offset -= bufs[i].len;
	}
	assert_true(i < n);
	return (uint8_t *)rd_ptr(&f->rd, bufs[i].gpa) + offset;
}

/* Writes a request header to byte `offset` of the buffers, however they are cut. */
static inline void blk_put(struct blk_fixture *f, const struct rd_buf *bufs, unsigned int n,
			   uint64_t offset, uint32_t type, uint64_t sector)
{
	uint8_t header[BLK_HEADER_LEN] = { 0 };
	unsigned int i;

	type = htole32(type);
	sector = htole64(sector);
	memcpy(header, &type, 4);
	memcpy(header + 8, &sector, 8);
	for (i = 0; i < sizeof(header); i++) {
		*blk_byte(f, bufs, n, offset + i) = header[i];
	}
}

/* Is the data of this type read by the device? */
static inline bool blk_is_out(uint32_t type)
{
	return type == BLK_T_OUT || type == BLK_T_DISCARD || type == BLK_T_WRITE_ZEROES ||
	       type == 14;
}

/* Makes a plain request available: header, data, status, one buffer each. Returns its status byte. */
static inline volatile uint8_t *blk_add(struct blk_fixture *f, uint32_t type, uint64_t sector,
					uint64_t data, uint32_t len)
{
	uint64_t at = rd_alloc(&f->rd, 32, 32);
	struct rd_buf bufs[3] = { { at, 16, false },
				  { data, len, !blk_is_out(type) },
				  { at + 31, 1, true } };
	volatile uint8_t *status = rd_ptr(&f->rd, at + 31);

	blk_put(f, bufs, 1, 0, type, sector);
	*status = 0xff;
	if (len == 0) {
		bufs[1] = bufs[2];
	}
	assert_true(rd_add(&f->rd, bufs, len == 0 ? 2 : 3) >= 0);
	return status;
}

static inline unsigned int blk_turn(struct blk_fixture *f)
{
	unsigned int work = f->device->ops->queue_poll(f->queue);

	work += bdev_channels_poll(&f->channels);
	virtq_commit(f->vq);
	return work;
}

/* Turns until nothing happens any more; reaps. Returns the requests that came back. */
static inline unsigned int blk_round(struct blk_fixture *f)
{
	unsigned int n = 0;
	unsigned int turn;
	uint16_t head;

	for (turn = 0; turn < 1000 && (blk_turn(f) > 0 || turn < 2); turn++) {
	}
	assert_true(turn < 1000);
	while (rd_reap(&f->rd, &head, &f->len)) {
		n++;
	}
	return n;
}

/* Rounds of a queue that is being stopped, until it rests. Returns the requests that came back. */
static inline unsigned int blk_drain(struct blk_fixture *f)
{
	unsigned int n = 0;
	unsigned int turns;
	uint16_t head;

	for (turns = 0; virtq_inflight(f->vq) > 0; turns++) {
		assert_true(turns < 1000);
		f->device->ops->queue_drain(f->queue);
		bdev_channels_poll(&f->channels);
	}
	virtq_commit(f->vq);
	while (rd_reap(&f->rd, &head, &f->len)) {
		n++;
	}
	return n;
}

/* One plain request from start to end; returns its status. */
static inline int blk_run(struct blk_fixture *f, uint32_t type, uint64_t sector, uint64_t data,
			  uint32_t len)
{
	volatile uint8_t *status = blk_add(f, type, sector, data, len);

	assert_int_equal(blk_round(f), 1);
	return *status;
}

static inline struct virtq_stats blk_stats(const struct blk_fixture *f)
{
	struct virtq_stats stats;

	virtq_read_stats(f->vq, &stats);
	return stats;
}

#endif
