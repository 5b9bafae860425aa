/* SPDX-License-Identifier: BSD-3-Clause */
/* The block device's configuration, caching modes, and its queues when the disk is full or they stop. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include <blk_fixture.h>

#include "base/bytes.h"

#define BIT(n) (UINT64_C(1) << (n))

/* ---- features and configuration space ---- */

struct config {
	uint64_t capacity;
	uint32_t size_max, seg_max, geometry, blk_size;
	uint8_t physical_block_exp, alignment_offset;
	uint16_t min_io_size;
	uint32_t opt_io_size;
	uint8_t writeback, unused0;
	uint16_t num_queues;
	uint32_t max_discard_sectors, max_discard_seg, discard_sector_alignment;
	uint32_t max_write_zeroes_sectors, max_write_zeroes_seg;
	uint8_t write_zeroes_may_unmap;
};

static struct config config_of(const struct virtio_device *device)
{
	uint8_t raw[BLK_CONFIG_LEN];
	struct bytes_reader r = bytes_reader(raw, sizeof(raw));
	struct config c;

	assert_int_equal(device->ops->config_read(device, 0, raw, sizeof(raw)), 0);
	c.capacity = bytes_get_le64(&r);
	c.size_max = bytes_get_le32(&r);
	c.seg_max = bytes_get_le32(&r);
	c.geometry = bytes_get_le32(&r);
	c.blk_size = bytes_get_le32(&r);
	c.physical_block_exp = bytes_get_u8(&r);
	c.alignment_offset = bytes_get_u8(&r);
	c.min_io_size = bytes_get_le16(&r);
	c.opt_io_size = bytes_get_le32(&r);
	assert_int_equal(r.pos, BLK_CONFIG_WRITEBACK);
	c.writeback = bytes_get_u8(&r);
	c.unused0 = bytes_get_u8(&r);
	c.num_queues = bytes_get_le16(&r);
	c.max_discard_sectors = bytes_get_le32(&r);
	c.max_discard_seg = bytes_get_le32(&r);
	c.discard_sector_alignment = bytes_get_le32(&r);
	c.max_write_zeroes_sectors = bytes_get_le32(&r);
	c.max_write_zeroes_seg = bytes_get_le32(&r);
	c.write_zeroes_may_unmap = bytes_get_u8(&r);
	return c;
}

static struct virtio_device *new_device(struct test_bdev *disk, const struct blk_options *opts)
{
	struct blk_options copy = *opts;
	struct virtio_device *device;

	copy.bdev = &disk->bdev;
	assert_int_equal(blk_new(&copy, &device), 0);
	return device;
}

static void test_config(void **state)
{
	struct test_bdev disk;
	struct virtio_device *device;
	struct config c;

	test_bdev_init(&disk, 8 << 20, 512);
	disk.bdev.info.physical_block_size = 4096;
	disk.bdev.info.min_io_size = 65536;
	disk.bdev.info.opt_io_size = 1 << 20;
	disk.bdev.info.discard_granularity = 32768;
	disk.bdev.info.max_discard = 1 << 20;
	device = new_device(&disk, &(struct blk_options){ .queues = 5 });
	assert_string_equal(device->ops->type, "blk");
	assert_int_equal(device->ops->max_queues(device), 5);
	c = config_of(device);
	assert_int_equal(c.capacity, 16384);
	assert_int_equal(c.size_max, 0);
	assert_int_equal(c.seg_max, 126);
	assert_int_equal(c.geometry, 0);
	assert_int_equal(c.blk_size, 512);
	assert_int_equal(c.physical_block_exp, 3);
	assert_int_equal(c.alignment_offset, 0);
	assert_int_equal(c.min_io_size, 128);
	assert_int_equal(c.opt_io_size, 2048);
	assert_int_equal(c.writeback, 0);
	assert_int_equal(c.num_queues, 5);
	assert_int_equal(c.max_discard_sectors, 2048);
	assert_int_equal(c.max_discard_seg, 256);
	assert_int_equal(c.discard_sector_alignment, 64);
	assert_int_equal(c.max_write_zeroes_sectors, 2048);
	assert_int_equal(c.max_write_zeroes_seg, 256);
	assert_int_equal(c.write_zeroes_may_unmap, 1);
	device->ops->free(device);
	assert_int_equal(disk.bdev.claims, 0);

	/* 4 KiB blocks; sizes too large for their fields. */
	disk.bdev.info.block_size = 4096;
	disk.bdev.info.min_io_size = UINT32_MAX;
	disk.bdev.info.max_discard = UINT64_MAX;
	disk.bdev.info.discard_granularity = 0;
	device = new_device(&disk, &(struct blk_options){ .queues = 0 });
	c = config_of(device);
	assert_int_equal(c.capacity, 16384);
	assert_int_equal(c.blk_size, 4096);
	assert_int_equal(c.physical_block_exp, 0);
	assert_int_equal(c.min_io_size, UINT16_MAX);
	assert_int_equal(c.max_discard_sectors, UINT32_MAX);
	assert_int_equal(c.discard_sector_alignment, 8);
	assert_int_equal(c.num_queues, 64);
	device->ops->free(device);
	test_bdev_done(&disk);
}

static void test_features(void **state)
{
	const uint64_t always = BIT(BLK_F_SEG_MAX) | BIT(BLK_F_BLK_SIZE) | BIT(BLK_F_TOPOLOGY);
	const uint64_t zap = BIT(BLK_F_DISCARD) | BIT(BLK_F_WRITE_ZEROES);
	const struct {
		struct blk_options opts;
		bool ro, cache, no_discard, no_zeroes;
		uint64_t max_discard;
		uint64_t expected;
	} cases[] = {
		{ { .queues = 1 }, 0, 0, 0, 0, 512, always | zap },
		{ { .queues = 2 }, 0, 0, 0, 0, 512, always | zap | BIT(BLK_F_MQ) },
		{ { .queues = 1 },
		  0,
		  1,
		  0,
		  0,
		  512,
		  always | zap | BIT(BLK_F_FLUSH) | BIT(BLK_F_CONFIG_WCE) },
		{ { .queues = 1 }, 1, 0, 0, 0, 512, always | BIT(BLK_F_RO) },
		{ { .queues = 1, .read_only = true }, 0, 0, 0, 0, 512, always | BIT(BLK_F_RO) },
		{ { .queues = 1 }, 0, 0, 1, 0, 512, always | BIT(BLK_F_WRITE_ZEROES) },
		{ { .queues = 1 }, 0, 0, 0, 1, 512, always | BIT(BLK_F_DISCARD) },
		{ { .queues = 1 }, 0, 0, 0, 0, 511, always },
	};
	unsigned int i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct test_bdev disk;
		struct virtio_device *device;
		struct config c;

		test_bdev_init(&disk, 1 << 20, 512);
		disk.bdev.info.read_only = cases[i].ro;
		disk.bdev.info.write_cache = cases[i].cache;
		disk.bdev.info.can_discard = !cases[i].no_discard;
		disk.bdev.info.can_write_zeroes = !cases[i].no_zeroes;
		disk.bdev.info.max_discard = cases[i].max_discard;
		device = new_device(&disk, &cases[i].opts);
		if (device->ops->features(device) != cases[i].expected) {
			fail_msg("case %u: %llx", i,
				 (unsigned long long)device->ops->features(device));
		}
		/* Fields of what is not offered are 0. */
		c = config_of(device);
		assert_int_equal(c.max_discard_seg != 0,
				 (cases[i].expected & BIT(BLK_F_DISCARD)) != 0);
		assert_int_equal(c.max_write_zeroes_seg != 0,
				 (cases[i].expected & BIT(BLK_F_WRITE_ZEROES)) != 0);
		device->ops->free(device);
		test_bdev_done(&disk);
	}
}

static void test_config_access(void **state)
{
	static const struct {
		uint32_t offset;
		uint32_t len;
		int result;
	} reads[] = {
		{ 0, 0, 0 },
		{ 0, 256, 0 },
		{ 255, 1, 0 },
		{ 256, 0, 0 },
		{ 256, 1, -EINVAL },
		{ 0, 257, -EINVAL },
		{ UINT32_MAX, 1, -EINVAL },
		{ 1, UINT32_MAX, -EINVAL },
		{ UINT32_MAX, UINT32_MAX, -EINVAL },
	};
	/* T50 */
	static const struct {
		uint32_t offset;
		uint32_t len;
		uint8_t value;
		int result;
	} writes[] = {
		{ 32, 1, 0, 0 },       { 32, 1, 1, 0 },	       { 32, 1, 2, -EINVAL },
		{ 32, 0, 0, -EINVAL }, { 32, 2, 0, -EINVAL },  { 31, 1, 0, -EINVAL },
		{ 33, 1, 0, -EINVAL }, { 0, 8, 0, -EINVAL },   { UINT32_MAX, 1, 0, -EINVAL },
		{ 31, 2, 0, -EINVAL }, { 0, 256, 0, -EINVAL },
	};
	uint8_t buf[256];
	struct test_bdev disk;
	struct virtio_device *device;
	unsigned int i;

	test_bdev_init(&disk, 1 << 20, 512);
	disk.bdev.info.write_cache = true;
	device = new_device(&disk, &(struct blk_options){ .queues = 1 });
	for (i = 0; i < sizeof(reads) / sizeof(reads[0]); i++) {
		memset(buf, 0xee, sizeof(buf));
		assert_int_equal(device->ops->config_read(device, reads[i].offset, buf,
							  reads[i].len),
				 reads[i].result);
	}
	/* Zeroes behind the end. */
	assert_int_equal(device->ops->config_read(device, 0, buf, 256), 0);
	for (i = BLK_CONFIG_LEN; i < 256; i++) {
		assert_int_equal(buf[i], 0);
	}
	for (i = 0; i < sizeof(writes) / sizeof(writes[0]); i++) {
		memset(buf, 0, sizeof(buf));
		buf[0] = writes[i].value;
		assert_int_equal(device->ops->config_write(device, writes[i].offset, buf,
							   writes[i].len),
				 writes[i].result);
	}
	device->ops->free(device);
	disk.bdev.info.write_cache = false;
	device = new_device(&disk, &(struct blk_options){ .queues = 1 });
	buf[0] = 1;
	assert_int_equal(device->ops->config_write(device, 32, buf, 1), -EINVAL); /* not offered */
	assert_int_equal(blk_new(&(struct blk_options){ .bdev = &disk.bdev, .queues = 257 },
				 &device),
			 -EINVAL);
	device->ops->free(device);
	test_bdev_done(&disk);
}

/* The driver's choice outlives its session, since a front-end that reconnects does not repeat it; a reset
 * of the device ends it. */
static void test_cache_mode_lives_until_reset(void **state)
{
	struct blk_fixture f;
	uint8_t through = 0;
	uint64_t features;

	blk_open(&f, &(struct blk_fixture_options){ .write_cache = true });
	features = f.device->ops->features(f.device);
	assert_int_equal(f.device->ops->config_write(f.device, 32, &through, 1), 0);
	f.device->ops->negotiated(f.device, features);
	assert_int_equal(config_of(f.device).writeback, 0);
	f.device->ops->reset(f.device);
	f.device->ops->negotiated(f.device, features);
	assert_int_equal(config_of(f.device).writeback, 1);
	blk_close(&f);
}

/* virtio 1.2, 5.2.6.2: who makes writes stable, the driver or we? */
static void test_cache_modes(void **state)
{
	static const struct {
		const char *name;
		bool cache;
		uint64_t without;
		int wce; /* written to the field; -1: not */
		uint8_t field;
		bool flushes;
	} cases[] = {
		{ "no cache", false, 0, -1, 0, false },
		{ "write-back", true, 0, -1, 1, false },
		{ "the driver chose write-through", true, 0, 0, 0, true },
		{ "the driver chose write-back", true, 0, 1, 1, false },
		{ "no CONFIG_WCE, flush", true, BIT(BLK_F_CONFIG_WCE), -1, 1, false },
		{ "no flush", true, BIT(BLK_F_CONFIG_WCE) | BIT(BLK_F_FLUSH), -1, 1, true },
		{ "CONFIG_WCE, no flush", true, BIT(BLK_F_FLUSH), -1, 0, true },
	};
	unsigned int i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct blk_fixture f;
		uint64_t data;
		uint8_t wce = (uint8_t)cases[i].wce;
		unsigned int expected = 1 + cases[i].flushes;

		blk_open(&f, &(struct blk_fixture_options){ .write_cache = cases[i].cache,
							    .without = cases[i].without });
		if (cases[i].wce >= 0) {
			assert_int_equal(f.device->ops->config_write(f.device, 32, &wce, 1), 0);
		}
		assert_int_equal(config_of(f.device).writeback, cases[i].field);
		data = rd_alloc(&f.rd, 512, 64);
		assert_int_equal(blk_run(&f, BLK_T_OUT, 1, data, 512), BLK_S_OK);
		if (f.disk.log_n != expected) {
			fail_msg("%s: %u", cases[i].name, f.disk.log_n);
		}
		assert_int_equal(f.disk.log[0].op, BDEV_WRITE);
		assert_int_equal(blk_stats(&f).written_bytes, 512);
		if (cases[i].flushes) {
			assert_int_equal(f.disk.log[1].op, BDEV_FLUSH);
			/* A write that cannot be made stable has failed. */
			f.disk.fail = -EIO;
			f.disk.fail_op = BDEV_FLUSH;
			assert_int_equal(blk_run(&f, BLK_T_OUT, 1, data, 512), BLK_S_IOERR);
			f.disk.fail = 0;
		}
		/* Zeroes are writes too: range after range, then one flush. */
		f.disk.log_n = 0;
		memset(rd_ptr(&f.rd, data), 0, 32);
		((uint8_t *)rd_ptr(&f.rd, data))[8] = 1;
		((uint8_t *)rd_ptr(&f.rd, data))[24] = 1;
		assert_int_equal(blk_run(&f, BLK_T_WRITE_ZEROES, 0, data, 32), BLK_S_OK);
		assert_int_equal(f.disk.log_n, 1 + expected);
		f.disk.log_n = 0;
		assert_int_equal(blk_run(&f, BLK_T_IN, 0, data, 512), BLK_S_OK);
		assert_int_equal(f.disk.log_n, 1);
		blk_close(&f);
	}
}

/* ---- the disk has no room ---- */

/* Makes n one-sector writes to sectors 0, 1, ... available; their data is the sector's number + 1. */
static void add_writes(struct blk_fixture *f, unsigned int n, volatile uint8_t **ret_status)
{
	unsigned int i;

	for (i = 0; i < n; i++) {
		uint64_t data = rd_alloc(&f->rd, 512, 64);

		memset(rd_ptr(&f->rd, data), (int)i + 1, 512);
		ret_status[i] = blk_add(f, BLK_T_OUT, i, data, 512);
	}
}

static void test_disk_full(void **state)
{
	volatile uint8_t *status[40];
	struct blk_fixture f;
	unsigned int i;

	blk_open(&f, NULL);
	f.disk.depth = 3;
	add_writes(&f, 40, status);
	assert_int_equal(blk_round(&f), 40);
	assert_true(f.disk.refused > 0);
	for (i = 0; i < 40; i++) {
		assert_int_equal(*status[i], BLK_S_OK);
		assert_int_equal(f.disk.data[i * 512], i + 1);
		assert_int_equal(f.disk.log[i].offset, i * 512); /* in order */
	}
	assert_int_equal(blk_stats(&f).requests, 40);
	assert_int_equal(blk_stats(&f).written_bytes, 40 * 512);
	blk_close(&f);
}

/* Waiting must not change how a request is understood: header, data and status share their buffers. */
static void test_disk_full_odd_framing(void **state)
{
	struct blk_fixture f;
	struct rd_buf bufs[6];
	uint64_t mem;
	unsigned int i;
	unsigned int k;

	blk_open(&f, NULL);
	mem = rd_alloc(&f.rd, 6 * 1024, 64);
	f.disk.depth = 1;
	for (i = 0; i < 6; i++) {
		bool write = i % 2 == 0;

		bufs[0] = (struct rd_buf){ mem + i * 1024, write ? 528 : 16, false };
		bufs[1] = (struct rd_buf){ mem + i * 1024 + 529, write ? 1 : 494, true };
		blk_put(&f, bufs, 1, 0, write ? BLK_T_OUT : BLK_T_IN, i);
		if (write) {
			memset(rd_ptr(&f.rd, bufs[0].gpa + 16), (int)i + 1, 512);
		} else {
			/* 512 bytes and the status in two pieces. */
			bufs[2] = (struct rd_buf){ mem + i * 1024 + 17, 513 - 494, true };
		}
		memset(f.disk.data + i * 512, (int)i + 100, 512);
		assert_true(rd_add(&f.rd, bufs, write ? 2 : 3) >= 0);
	}
	assert_int_equal(blk_round(&f), 6);
	assert_true(f.disk.refused > 0);
	for (i = 0; i < 6; i++) {
		uint8_t *p = rd_ptr(&f.rd, mem + i * 1024);

		for (k = 0; k < 512; k++) {
			assert_int_equal(f.disk.data[i * 512 + k], i % 2 == 0 ? i + 1 : i + 100);
			if (i % 2 == 1) {
				assert_int_equal(k < 494 ? p[529 + k] : p[17 + k - 494], i + 100);
			}
		}
		assert_int_equal(i % 2 == 0 ? p[529] : p[17 + 18], BLK_S_OK);
	}
	assert_int_equal(blk_stats(&f).malformed, 0);
	blk_close(&f);
}

/* Nothing is popped while older requests wait, so nobody is overtaken. */
static void test_waiting_blocks_pop(void **state)
{
	volatile uint8_t *status[8];
	struct blk_fixture f;

	blk_open(&f, NULL);
	f.disk.depth = 1;
	f.disk.hold = 1;
	add_writes(&f, 2, status);
	blk_turn(&f);
	assert_int_equal(virtq_inflight(f.vq), 2);
	add_writes(&f, 6, status + 2);
	blk_turn(&f);
	assert_int_equal(virtq_inflight(f.vq), 2);
	f.disk.hold = 0;
	assert_int_equal(blk_round(&f), 8);
	blk_close(&f);
}

/* A discard of n ranges of one sector each. */
static volatile uint8_t *add_discard(struct blk_fixture *f, unsigned int n, uint8_t sector)
{
	uint64_t data = rd_alloc(&f->rd, n * 16, 16);
	unsigned int i;

	memset(rd_ptr(&f->rd, data), 0, n * 16);
	for (i = 0; i < n; i++) {
		uint8_t *p = rd_ptr(&f->rd, data + i * 16);

		p[0] = (uint8_t)(sector + i);
		p[8] = 1;
	}
	return blk_add(f, BLK_T_DISCARD, 0, data, n * 16);
}

/* Discards of many ranges: more of them than a queue has tables, in a disk that takes few at once. */
static void test_many_tables(void **state)
{
	struct blk_fixture f;
	volatile uint8_t *status[12];
	unsigned int i;

	blk_open(&f, NULL);
	for (i = 0; i < 12; i++) {
		status[i] = add_discard(&f, 20, (uint8_t)(i * 20));
	}
	f.disk.depth = 2;
	f.disk.newest_first = true;
	assert_int_equal(blk_round(&f), 12);
	for (i = 0; i < 12; i++) {
		assert_int_equal(*status[i], BLK_S_OK);
	}
	assert_int_equal(f.disk.log_n, 240);
	/* All tables came back. */
	f.disk.depth = 0;
	f.disk.hold = 10;
	f.disk.log_n = 0;
	for (i = 0; i < 5; i++) {
		add_discard(&f, 2, 0);
	}
	blk_turn(&f);
	assert_int_equal(f.disk.log_n, 4);
	/* What comes after one that waits for a table waits too. */
	add_discard(&f, 1, 0);
	blk_turn(&f);
	assert_int_equal(f.disk.log_n, 4);
	f.disk.hold = 0;
	assert_int_equal(blk_round(&f), 6);
	blk_close(&f);
}

/* In one batch: a discard that finds no table, then a write that could go ahead. */
static void test_nobody_overtakes(void **state)
{
	struct blk_fixture f;
	volatile uint8_t *discards[5];
	volatile uint8_t *write;
	unsigned int i;

	blk_open(&f, NULL);
	for (i = 0; i < 5; i++) {
		discards[i] = add_discard(&f, 2, (uint8_t)(2 * i));
	}
	add_writes(&f, 1, &write);
	f.disk.hold = 10;
	blk_turn(&f);
	assert_int_equal(virtq_inflight(f.vq), 6);
	assert_int_equal(f.disk.log_n, 4);
	/* So that a stop can give back both. */
	f.disk.hold = 0;
	f.device->ops->queue_drain(f.queue);
	assert_int_equal(virtq_base(f.vq), 4);
	assert_int_equal(blk_drain(&f), 4);
	assert_int_equal(*discards[4] & *write, 0xff);
	blk_close(&f);
}

/* ---- stopping ---- */

/* Requests that the disk never took go back to the ring, and the next owner carries them out. */
static void test_stop_gives_back(void **state)
{
	volatile uint8_t *status[10];
	struct blk_fixture f;
	unsigned int i;

	blk_open(&f, NULL);
	f.disk.depth = 4;
	f.disk.hold = 4;
	add_writes(&f, 10, status);
	blk_turn(&f);
	assert_int_equal(virtq_inflight(f.vq), 10);
	f.disk.hold = 0;
	f.device->ops->queue_drain(f.queue);
	assert_int_equal(blk_drain(&f), 4);
	assert_int_equal(virtq_base(f.vq), 4);
	for (i = 0; i < 10; i++) {
		assert_int_equal(*status[i], i < 4 ? BLK_S_OK : 0xff); /* no error for the others */
	}
	blk_queue_close(&f);
	f.rd.next_avail = 4; /* what the front-end was told: rd_config() takes the base from here */
	blk_queue_open(&f);
	f.rd.next_avail = 10;
	assert_int_equal(blk_round(&f), 6);
	for (i = 0; i < 10; i++) {
		assert_int_equal(*status[i], BLK_S_OK);
		assert_int_equal(f.disk.data[i * 512], i + 1);
	}
	blk_close(&f);
}

/* A discard that is half done when the queue stops goes on to its end. */
static void test_stop_finishes_what_was_begun(void **state)
{
	struct blk_fixture f;
	volatile uint8_t *status;

	blk_open(&f, NULL);
	status = add_discard(&f, 4, 0);
	f.disk.hold = 1;
	blk_turn(&f);
	f.disk.hold = 0;
	f.device->ops->queue_drain(f.queue);
	assert_int_equal(blk_drain(&f), 1);
	assert_int_equal(*status, BLK_S_OK);
	assert_int_equal(f.disk.log_n, 4);
	blk_close(&f);
}

/* Half done, and others have filled the disk: that is no reason for an error, there will be room. */
static void test_stop_with_a_full_disk(void **state)
{
	struct blk_fixture f;
	volatile uint8_t *status;
	unsigned int round;

	blk_open(&f, NULL);
	status = add_discard(&f, 4, 0);
	f.disk.hold = 1;
	blk_turn(&f);
	f.disk.outstanding += 10;
	f.disk.depth = 10;
	f.disk.hold = 10;
	for (round = 0; round < 20; round++) {
		f.device->ops->queue_drain(f.queue);
		bdev_channels_poll(&f.channels);
		assert_int_equal(virtq_inflight(f.vq), 1);
	}
	f.disk.outstanding -= 10;
	f.disk.hold = 0;
	assert_int_equal(blk_drain(&f), 1);
	assert_int_equal(*status, BLK_S_OK);
	assert_int_equal(f.disk.log_n, 4);
	blk_close(&f);
}

/* ---- a driver that rewrites its requests while they are read (T34, T35) ---- */

struct mutator {
	uint8_t *area;
	size_t len;
	atomic_bool stop;
};

/* A guest: its races with us are the purpose. */
__attribute__((no_sanitize("thread"))) static void *mutate(void *arg)
{
	struct mutator *m = arg;
	uint64_t x = 88172645463325252u;

	while (!atomic_load_explicit(&m->stop, memory_order_relaxed)) {
		volatile uint8_t *p;

		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		p = m->area + (x >> 32) % m->len;
		*p = x >> 16 & 1 ? (uint8_t)(x & 15) : 0;
	}
	return NULL;
}

static void test_concurrent_mutation(void **state)
{
	static const uint32_t types[] = { BLK_T_IN, BLK_T_OUT, BLK_T_DISCARD, BLK_T_WRITE_ZEROES };
	struct timespec start;
	struct timespec now;
	struct blk_fixture f;
	struct mutator m = { .len = 2048 };
	pthread_t thread;
	uint64_t area;
	unsigned int turn = 0;
	unsigned int ok = 0;
	unsigned int bad = 0;

	blk_open(&f, NULL);
	area = rd_alloc(&f.rd, m.len, 64);
	m.area = rd_ptr(&f.rd, area);
	assert_int_equal(pthread_create(&thread, NULL, mutate, &m), 0);
	clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		uint64_t status = rd_alloc(&f.rd, 1, 64);
		uint32_t type = types[turn++ % 4];
		struct rd_buf bufs[3] = { { area, 16, false },
					  { area + 16, 512, !blk_is_out(type) },
					  { status, 1, true } };

		blk_put(&f, bufs, 2, 0, type, 1);
		assert_true(rd_add(&f.rd, bufs, 3) >= 0);
		assert_int_equal(blk_round(&f),
				 1); /* test_bdev aborts if it is asked for rubbish */
		*(*(uint8_t *)rd_ptr(&f.rd, status) == BLK_S_OK ? &ok : &bad) += 1;
		f.rd.alloc_next = status - RD_GPA;
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000 <
		 700);
	atomic_store(&m.stop, true);
	pthread_join(thread, NULL);
	assert_true(ok > 0);
	assert_true(bad > 0);
	assert_false(virtq_is_broken(f.vq));
	blk_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_config),
		cmocka_unit_test(test_features),
		cmocka_unit_test(test_config_access),
		cmocka_unit_test(test_cache_mode_lives_until_reset),
		cmocka_unit_test(test_cache_modes),
		cmocka_unit_test(test_disk_full),
		cmocka_unit_test(test_disk_full_odd_framing),
		cmocka_unit_test(test_waiting_blocks_pop),
		cmocka_unit_test(test_many_tables),
		cmocka_unit_test(test_nobody_overtakes),
		cmocka_unit_test(test_stop_gives_back),
		cmocka_unit_test(test_stop_finishes_what_was_begun),
		cmocka_unit_test(test_stop_with_a_full_disk),
		cmocka_unit_test(test_concurrent_mutation),
	};

	return cmocka_run_group_tests_name("device.blk_queue", tests, NULL, NULL);
}
