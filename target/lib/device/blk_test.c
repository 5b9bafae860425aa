/* SPDX-License-Identifier: BSD-3-Clause */
/* The block device as a driver sees it: requests through a ring, on a disk that does as it is told. */
#include <endian.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <blk_fixture.h>
#include <cmocka.h>

#define MIB (UINT64_C(1) << 20)

/* ---- data ---- */

static void test_write_read(void **state)
{
	struct blk_fixture f;
	uint64_t data;
	uint8_t expected[4096];
	unsigned int i;

	blk_open(&f, NULL);
	data = rd_alloc(&f.rd, 8192, 1);
	for (i = 0; i < sizeof(expected); i++) {
		expected[i] = (uint8_t)(i * 31 + i / 256);
	}
	memcpy(rd_ptr(&f.rd, data), expected, sizeof(expected));
	assert_int_equal(blk_run(&f, BLK_T_OUT, 3, data, 4096), BLK_S_OK);
	assert_int_equal(f.len, 1); /* the status byte */
	assert_memory_equal(f.disk.data + 3 * 512, expected, 4096);
	assert_int_equal(f.disk.data[3 * 512 - 1] | f.disk.data[3 * 512 + 4096], 0);
	memset(rd_ptr(&f.rd, data), 0, 8192);
	assert_int_equal(blk_run(&f, BLK_T_IN, 3, data + 1, 4096), BLK_S_OK);
	assert_int_equal(f.len, 4097);
	assert_memory_equal(rd_ptr(&f.rd, data + 1), expected, 4096);
	assert_int_equal(*(uint8_t *)rd_ptr(&f.rd, data + 4097), 0); /* not one byte more */
	assert_int_equal(blk_stats(&f).written_bytes, 4096);
	assert_int_equal(blk_stats(&f).read_bytes, 4096);
	blk_close(&f);
}

/* T28, T29, T30, and what virtio 1.2, 2.7.4 allows besides: framing plays no role. */
static void test_framing(void **state)
{
	/* Lengths of the pieces of header, data and status together; the rest is one piece. */
	static const unsigned int cuts[][24] = {
		{ 16, 512, 1 },
		{ 16, 513 }, /* status at the end of a larger buffer */
		{ 528, 1 },  /* header and data in one (writes) */
		{ 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 512, 1 },
		{ 7, 9, 100, 400, 12, 1 },
		{ 15, 1, 1, 1, 510, 1 },
		{ 16, 256, 257 },
		{ 3, 40, 400, 85, 1 }, /* header cut in data's piece */
	};
	unsigned int c;
	unsigned int way;

	for (c = 0; c < 2 * sizeof(cuts) / sizeof(cuts[0]); c++) {
		for (way = 0; way < 2; way++) {
			const unsigned int *cut = cuts[c / 2];
			bool write = way == 1;
			uint64_t writable_from = write ? 528 : 16;
			struct rd_buf bufs[64];
			unsigned int n = 0;
			struct blk_fixture f;
			uint64_t at = 0;
			uint64_t mem;
			unsigned int i;

			blk_open(&f, NULL);
			mem = rd_alloc(&f.rd, 4096, 64);
			for (i = 0; at < 529; i++) {
				uint64_t end = cut[i] > 0 ? at + cut[i] : 529;

				/* A piece over the border between the parts becomes two. */
				if (at < writable_from && end > writable_from) {
					bufs[n] = (struct rd_buf){ mem + at + n,
								   (uint32_t)(writable_from - at),
								   false };
					n++;
					at = writable_from;
				}
				/* + n: a gap after each piece, so that none merge. */
				bufs[n] = (struct rd_buf){ mem + at + n, (uint32_t)(end - at),
							   at >= writable_from };
				n++;
				at = end;
			}
			blk_put(&f, bufs, n, 0, BLK_T_OUT - !write, 5);
			memset(f.disk.data, 0xaa, 16 * 512);
			if (write) {
				for (i = 0; i < 512; i++) {
					*blk_byte(&f, bufs, n, 16 + i) = (uint8_t)(i * 3);
				}
			} else {
				for (i = 0; i < 512; i++) {
					f.disk.data[5 * 512 + i] = (uint8_t)(i * 5);
				}
			}
			*blk_byte(&f, bufs, n, 528) = 0xff;
			assert_true((c % 2 ? rd_add_indirect(&f.rd, bufs, n) :
					     rd_add(&f.rd, bufs, n)) >= 0);
			assert_int_equal(blk_round(&f), 1);
			assert_int_equal(*blk_byte(&f, bufs, n, 528), BLK_S_OK);
			for (i = 0; i < 512; i++) {
				assert_int_equal(write ? f.disk.data[5 * 512 + i] :
							 *blk_byte(&f, bufs, n, 16 + i),
						 (uint8_t)(i * (write ? 3 : 5)));
			}
			assert_int_equal(f.len, write ? 1 : 513);
			blk_close(&f);
		}
	}
}

/* T28: the status byte lies inside of the data that is read. The driver's own loss. */
static void test_status_in_data(void **state)
{
	struct blk_fixture f;
	uint64_t data;
	struct rd_buf bufs[3];

	blk_open(&f, NULL);
	data = rd_alloc(&f.rd, 512, 64);
	bufs[0] = (struct rd_buf){ rd_alloc(&f.rd, 16, 16), 16, false };
	bufs[1] = (struct rd_buf){ data, 512, true };
	bufs[2] = (struct rd_buf){ data + 100, 1, true };
	blk_put(&f, bufs, 3, 0, BLK_T_IN, 0);
	memset(f.disk.data, 0x77, 512);
	rd_add(&f.rd, bufs, 3);
	assert_int_equal(blk_round(&f), 1);
	assert_int_equal(*(uint8_t *)rd_ptr(&f.rd, data + 100), BLK_S_OK);
	assert_int_equal(*(uint8_t *)rd_ptr(&f.rd, data + 101), 0x77);
	blk_close(&f);
}

/* ---- what is refused, and how ---- */

static void test_refused(void **state)
{
	enum kind {
		NORMAL,
		BLOCK_4K,
		READ_ONLY
	};
	static const struct {
		const char *name;
		enum kind kind;
		uint32_t type;
		uint64_t sector;
		uint32_t len;
		int status;
		bool malformed;
	} cases[] = {
		{ "good", NORMAL, BLK_T_IN, 0, 512, BLK_S_OK, false },
		{ "last sector", NORMAL, BLK_T_IN, 2047, 512, BLK_S_OK, false },
		{ "nothing", NORMAL, BLK_T_IN, 0, 0, BLK_S_OK, false },
		{ "nothing at the end", NORMAL, BLK_T_OUT, 2048, 0, BLK_S_OK, false },
		{ "T40 sector * 512 wraps", NORMAL, BLK_T_IN, UINT64_C(1) << 55, 512, 1, true },
		{ "T40 wraps to 0", NORMAL, BLK_T_OUT, UINT64_MAX - 127, 65536, 1, true },
		{ "T40 largest", NORMAL, BLK_T_IN, UINT64_MAX, 512, 1, true },
		{ "T41 one sector over", NORMAL, BLK_T_IN, 2048, 512, 1, true },
		{ "T41 straddles the end", NORMAL, BLK_T_OUT, 2047, 1024, 1, true },
		{ "T41 1 byte over", NORMAL, BLK_T_IN, 2047, 513, 1, true },
		{ "not a multiple of 512", NORMAL, BLK_T_IN, 0, 511, 1, true },
		{ "1 byte", NORMAL, BLK_T_OUT, 0, 1, 1, true },
		{ "T42 good", BLOCK_4K, BLK_T_IN, 8, 4096, BLK_S_OK, false },
		{ "T42 misaligned sector", BLOCK_4K, BLK_T_IN, 1, 4096, 1, true },
		{ "T42 misaligned length", BLOCK_4K, BLK_T_OUT, 8, 512, 1, true },
		{ "T43 write", READ_ONLY, BLK_T_OUT, 0, 512, 1, false },
		{ "T43 discard", READ_ONLY, BLK_T_DISCARD, 0, 16, 1, false },
		{ "T43 zeroes", READ_ONLY, BLK_T_WRITE_ZEROES, 0, 16, 1, false },
		{ "T43 read", READ_ONLY, BLK_T_IN, 0, 512, BLK_S_OK, false },
		{ "T48 unknown type 2", NORMAL, 2, 0, 512, BLK_S_UNSUPP, false },
		{ "T48 lifetime", NORMAL, 10, 0, 0, BLK_S_UNSUPP, false },
		{ "T48 secure erase", NORMAL, 14, 0, 16, BLK_S_UNSUPP, false },
		{ "T48 largest type", NORMAL, UINT32_MAX, 0, 0, BLK_S_UNSUPP, false },
		{ "legacy barrier bit", NORMAL, 0x80000000, 0, 512, BLK_S_UNSUPP, false },
		{ "T47 flush, not negotiated", NORMAL, BLK_T_FLUSH, 0, 0, BLK_S_OK, false },
	};
	unsigned int i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct blk_fixture_options opts = {
			.block_size = cases[i].kind == BLOCK_4K ? 4096 : 512,
			.read_only = cases[i].kind == READ_ONLY,
		};
		struct blk_fixture f;
		int status;

		blk_open(&f, &opts);
		status = blk_run(&f, cases[i].type, cases[i].sector, rd_alloc(&f.rd, 128 << 10, 64),
				 cases[i].len);
		if (status != cases[i].status ||
		    blk_stats(&f).malformed != (cases[i].malformed ? 1 : 0)) {
			fail_msg("%s: status %d, malformed %llu", cases[i].name, status,
				 (unsigned long long)blk_stats(&f).malformed);
		}
		assert_false(virtq_is_broken(f.vq));
		if (status != BLK_S_OK) {
			assert_int_equal(f.disk.log_n, 0);
		}
		blk_close(&f);
	}
}

/* Chains that are no block request at all. */
static void test_misshapen(void **state)
{
	struct blk_fixture f;
	uint64_t at;

	/* T13: no writable byte: there is no way to answer. */
	blk_open(&f, NULL);
	at = rd_alloc(&f.rd, 1024, 64);
	rd_add(&f.rd, &(struct rd_buf){ at, 16, false }, 1);
	rd_add(&f.rd, (struct rd_buf[]){ { at, 16, false }, { at + 64, 1, true } }, 2);
	blk_turn(&f);
	assert_true(virtq_is_broken(f.vq));
	assert_non_null(strstr(virtq_broken_reason(f.vq), "status"));
	assert_int_equal(virtq_inflight(f.vq), 0);
	assert_int_equal(*f.rd.used_idx, 0);
	blk_close(&f);

	/* A header of 15 bytes, and none: there is a status byte, so it says IOERR. */
	blk_open(&f, NULL);
	at = rd_alloc(&f.rd, 1024, 64);
	rd_add(&f.rd, (struct rd_buf[]){ { at, 15, false }, { at + 64, 1, true } }, 2);
	rd_add(&f.rd, (struct rd_buf[]){ { at + 65, 1, true } }, 1);
	*(uint8_t *)rd_ptr(&f.rd, at + 64) = 0xff;
	*(uint8_t *)rd_ptr(&f.rd, at + 65) = 0xff;
	assert_int_equal(blk_round(&f), 2);
	assert_int_equal(*(uint8_t *)rd_ptr(&f.rd, at + 64), BLK_S_IOERR);
	assert_int_equal(*(uint8_t *)rd_ptr(&f.rd, at + 65), BLK_S_IOERR);
	assert_int_equal(blk_stats(&f).malformed, 2);
	assert_false(virtq_is_broken(f.vq));
	blk_close(&f);
}

static void test_disk_errors(void **state)
{
	struct blk_fixture f;
	uint64_t data;

	blk_open(&f, NULL);
	data = rd_alloc(&f.rd, 512, 64);
	f.disk.fail = -EIO;
	assert_int_equal(blk_run(&f, BLK_T_IN, 0, data, 512), BLK_S_IOERR);
	assert_int_equal(f.len, 0); /* no data was put before the status */
	assert_int_equal(blk_run(&f, BLK_T_OUT, 0, data, 512), BLK_S_IOERR);
	assert_int_equal(f.len, 1);
	assert_int_equal(blk_run(&f, BLK_T_FLUSH, 0, 0, 0), BLK_S_IOERR);
	f.disk.fail = -EOPNOTSUPP;
	assert_int_equal(blk_run(&f, BLK_T_FLUSH, 0, 0, 0), BLK_S_UNSUPP);
	f.disk.fail = -ENOSPC;
	assert_int_equal(blk_run(&f, BLK_T_OUT, 0, data, 512), BLK_S_IOERR);
	assert_int_equal(blk_stats(&f).read_bytes + blk_stats(&f).written_bytes, 0);
	blk_close(&f);
}

/* T46 */
static void test_get_id(void **state)
{
	static const uint32_t lens[] = { 0, 1, 19, 20, 21, 100 };
	struct blk_fixture f;
	unsigned int i;

	blk_open(&f, &(struct blk_fixture_options){ .serial = "disk-7" });
	for (i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		uint64_t data = rd_alloc(&f.rd, 128, 64);
		uint8_t expected[128];
		uint32_t id = lens[i] < 20 ? lens[i] : 20;

		memset(expected, 0xee, sizeof(expected));
		memset(rd_ptr(&f.rd, data), 0xee, 128);
		memset(expected, 0, id);
		memcpy(expected, "disk-7", id < 6 ? id : 6);
		assert_int_equal(blk_run(&f, BLK_T_GET_ID, 0, data, lens[i]), BLK_S_OK);
		assert_memory_equal(rd_ptr(&f.rd, data), expected, 128);
		assert_int_equal(f.len, lens[i] <= 20 ? lens[i] + 1 : 20);
	}
	blk_close(&f);
	/* Longer than 20 bytes: cut, not terminated. Without one: the disk's. Over two buffers. */
	for (i = 0; i < 2; i++) {
		static const char text[] = "a-serial-of-more-than-20-bytes";
		struct rd_buf bufs[4];
		uint64_t at;

		blk_open(&f, &(struct blk_fixture_options){ .serial = i ? NULL : text });
		at = rd_alloc(&f.rd, 128, 64);
		bufs[0] = (struct rd_buf){ at, 16, false };
		bufs[1] = (struct rd_buf){ at + 32, 3, true };
		bufs[2] = (struct rd_buf){ at + 64, 17, true };
		bufs[3] = (struct rd_buf){ at + 100, 1, true };
		blk_put(&f, bufs, 4, 0, BLK_T_GET_ID, 0);
		rd_add(&f.rd, bufs, 4);
		assert_int_equal(blk_round(&f), 1);
		assert_memory_equal(rd_ptr(&f.rd, at + 32), i ? "Tes" : text, 3);
		assert_memory_equal(rd_ptr(&f.rd, at + 64), i ? "t0\0" : text + 3, i ? 3 : 17);
		blk_close(&f);
	}
}

/* ---- discard and write-zeroes ---- */

static void put_range(struct blk_fixture *f, uint64_t at, uint64_t sector, uint32_t sectors,
		      uint32_t flags)
{
	uint64_t le_sector = htole64(sector);
	uint32_t le_sectors = htole32(sectors);
	uint32_t le_flags = htole32(flags);
	uint8_t *p = rd_ptr(&f->rd, at);

	memcpy(p, &le_sector, 8);
	memcpy(p + 8, &le_sectors, 4);
	memcpy(p + 12, &le_flags, 4);
}

/* T44, T45 */
static void test_ranges(void **state)
{
	static const struct {
		const char *name;
		uint32_t type;
		uint64_t sector;
		uint32_t sectors;
		uint32_t flags;
		int status;
		uint32_t io_flags;
	} cases[] = {
		{ "discard", BLK_T_DISCARD, 8, 8, 0, BLK_S_OK, 0 },
		{ "discard, unmap flag", BLK_T_DISCARD, 8, 8, 1, BLK_S_UNSUPP, 0 },
		{ "discard, unknown flag", BLK_T_DISCARD, 8, 8, 2, BLK_S_UNSUPP, 0 },
		{ "zeroes", BLK_T_WRITE_ZEROES, 8, 8, 0, BLK_S_OK, 0 },
		{ "zeroes, unmap", BLK_T_WRITE_ZEROES, 8, 8, 1, BLK_S_OK, BDEV_IO_MAY_UNMAP },
		{ "zeroes, unknown flag", BLK_T_WRITE_ZEROES, 8, 8, 3, BLK_S_UNSUPP, 0 },
		{ "zeroes, all flags", BLK_T_WRITE_ZEROES, 8, 8, UINT32_MAX, BLK_S_UNSUPP, 0 },
		{ "zeroes, highest flag", BLK_T_WRITE_ZEROES, 8, 8, 1u << 31, BLK_S_UNSUPP, 0 },
		{ "whole disk", BLK_T_DISCARD, 0, 2048, 0, BLK_S_OK, 0 },
		{ "over the end", BLK_T_DISCARD, 1, 2048, 0, BLK_S_IOERR, 0 },
		{ "2^32 - 1 sectors", BLK_T_DISCARD, 0, UINT32_MAX, 0, BLK_S_IOERR, 0 },
		{ "sector wraps", BLK_T_WRITE_ZEROES, UINT64_MAX, 1, 0, BLK_S_IOERR, 0 },
	};
	unsigned int i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct blk_fixture f;
		uint64_t data;
		int status;

		blk_open(&f, NULL);
		memset(f.disk.data, 0x55, MIB);
		data = rd_alloc(&f.rd, 16, 16);
		put_range(&f, data, cases[i].sector, cases[i].sectors, cases[i].flags);
		status = blk_run(&f, cases[i].type, 0, data, 16);
		if (status != cases[i].status) {
			fail_msg("%s: status %d", cases[i].name, status);
		}
		assert_int_equal(f.disk.log_n, status == BLK_S_OK);
		if (status == BLK_S_OK) {
			const struct test_bdev_entry *e = &f.disk.log[0];

			assert_int_equal(e->op, cases[i].type == BLK_T_DISCARD ? BDEV_DISCARD :
										 BDEV_WRITE_ZEROES);
			assert_int_equal(e->flags, cases[i].io_flags);
			assert_int_equal(e->offset, cases[i].sector * 512);
			assert_int_equal(e->len, cases[i].sectors * 512);
			assert_int_equal(f.disk.data[e->offset], 0);
		}
		blk_close(&f);
	}
}

static void test_ranges_4k(void **state)
{
	struct blk_fixture f;
	uint64_t data;

	blk_open(&f, &(struct blk_fixture_options){ .block_size = 4096 });
	data = rd_alloc(&f.rd, 16, 16);
	put_range(&f, data, 8, 8, 0);
	assert_int_equal(blk_run(&f, BLK_T_DISCARD, 0, data, 16), BLK_S_OK);
	put_range(&f, data, 8, 7, 0);
	assert_int_equal(blk_run(&f, BLK_T_DISCARD, 0, data, 16), BLK_S_IOERR);
	put_range(&f, data, 9, 8, 0);
	assert_int_equal(blk_run(&f, BLK_T_WRITE_ZEROES, 0, data, 16), BLK_S_IOERR);
	blk_close(&f);
}

/* Ranges may be as long as the disk says, and not longer. */
static void test_range_limit(void **state)
{
	struct blk_fixture f;
	uint64_t data;

	blk_open(&f, NULL);
	f.disk.bdev.info.max_discard = 8192;
	data = rd_alloc(&f.rd, 16, 16);
	put_range(&f, data, 8, 16, 0);
	assert_int_equal(blk_run(&f, BLK_T_DISCARD, 0, data, 16), BLK_S_OK);
	put_range(&f, data, 8, 17, 0);
	assert_int_equal(blk_run(&f, BLK_T_DISCARD, 0, data, 16), BLK_S_IOERR);
	assert_int_equal(blk_run(&f, BLK_T_WRITE_ZEROES, 0, data, 16), BLK_S_IOERR);
	blk_close(&f);
}

static void test_ranges_not_offered(void **state)
{
	struct blk_fixture f;
	uint64_t data;

	blk_open(&f, &(struct blk_fixture_options){ .without = UINT64_C(1) << BLK_F_DISCARD });
	data = rd_alloc(&f.rd, 16, 16);
	put_range(&f, data, 0, 8, 0);
	assert_int_equal(blk_run(&f, BLK_T_DISCARD, 0, data, 16), BLK_S_UNSUPP);
	assert_int_equal(blk_run(&f, BLK_T_WRITE_ZEROES, 0, data, 16), BLK_S_OK);
	blk_close(&f);
}

/* T49, and lengths that are no list of ranges. */
static void test_many_ranges(void **state)
{
	static const struct {
		uint32_t len;
		int status;
	} lens[] = {
		{ 256 * 16, BLK_S_OK }, { 257 * 16, BLK_S_IOERR }, { 0, BLK_S_IOERR },
		{ 15, BLK_S_IOERR },	{ 17, BLK_S_IOERR },	   { 32, BLK_S_OK },
	};
	unsigned int c;
	unsigned int i;

	for (c = 0; c < sizeof(lens) / sizeof(lens[0]); c++) {
		struct blk_fixture f;
		uint64_t data;

		blk_open(&f, NULL);
		data = rd_alloc(&f.rd, 257 * 16, 16);
		for (i = 0; i < 257; i++) {
			/* Every third is empty: nothing to do there. */
			put_range(&f, data + 16 * i, 4 * i, i % 3 ? 2 : 0, 0);
		}
		assert_int_equal(blk_run(&f, BLK_T_DISCARD, 0, data, lens[c].len), lens[c].status);
		if (lens[c].status == BLK_S_OK) {
			unsigned int n = lens[c].len / 16;

			assert_int_equal(f.disk.log_n, n - (n + 2) / 3);
			assert_int_equal(f.disk.log[0].offset, 4 * 512);
		} else {
			assert_int_equal(f.disk.log_n, 0);
		}
		blk_close(&f);
	}
}

/* A bad range late in the list: nothing of the list is carried out. */
static void test_bad_range_is_found_first(void **state)
{
	struct blk_fixture f;
	uint64_t data;

	blk_open(&f, NULL);
	data = rd_alloc(&f.rd, 32, 16);
	put_range(&f, data, 0, 8, 0);
	put_range(&f, data + 16, 8, 8, 4);
	assert_int_equal(blk_run(&f, BLK_T_WRITE_ZEROES, 0, data, 32), BLK_S_UNSUPP);
	put_range(&f, data + 16, 2048, 8, 0);
	assert_int_equal(blk_run(&f, BLK_T_WRITE_ZEROES, 0, data, 32), BLK_S_IOERR);
	assert_int_equal(f.disk.log_n, 0);
	/* Empty ranges only: done at once. */
	put_range(&f, data, 0, 0, 0);
	put_range(&f, data + 16, 2048, 0, 0);
	assert_int_equal(blk_run(&f, BLK_T_WRITE_ZEROES, 0, data, 32), BLK_S_OK);
	assert_int_equal(f.disk.log_n, 0);
	blk_close(&f);
}

/* T35: the driver changes the list after it was taken. */
static void test_ranges_are_copied(void **state)
{
	struct blk_fixture f;
	uint64_t data;
	unsigned int i;

	blk_open(&f, NULL);
	data = rd_alloc(&f.rd, 64, 16);
	for (i = 0; i < 4; i++) {
		put_range(&f, data + 16 * i, 8 * i, 8, 0);
	}
	f.disk.hold = 1;
	blk_add(&f, BLK_T_DISCARD, 0, data, 64);
	blk_turn(&f); /* the first is on its way */
	for (i = 0; i < 4; i++) {
		put_range(&f, data + 16 * i, UINT64_MAX, UINT32_MAX, UINT32_MAX);
	}
	f.disk.hold = 0;
	assert_int_equal(blk_round(&f), 1);
	assert_int_equal(f.disk.log_n, 4);
	assert_int_equal(f.disk.log[3].offset, 24 * 512);
	blk_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_write_read),
		cmocka_unit_test(test_framing),
		cmocka_unit_test(test_status_in_data),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_misshapen),
		cmocka_unit_test(test_disk_errors),
		cmocka_unit_test(test_get_id),
		cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_ranges_4k),
		cmocka_unit_test(test_range_limit),
		cmocka_unit_test(test_ranges_not_offered),
		cmocka_unit_test(test_many_ranges),
		cmocka_unit_test(test_bad_range_is_found_first),
		cmocka_unit_test(test_ranges_are_copied),
	};

	return cmocka_run_group_tests_name("device.blk", tests, NULL, NULL);
}
