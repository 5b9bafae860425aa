/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "device/scsi/testing.h"

/* The CDBs of one operation, in all its lengths, for the same blocks. */
static void make_cdb(uint8_t *cdb, uint8_t opcode, uint64_t lba, uint32_t blocks)
{
	memset(cdb, 0, SCSI_CDB_MAX);
	switch (opcode >> 5) {
	case 0:
		memcpy(cdb, (uint8_t[]){ BE32(lba), (uint8_t)blocks }, 5);
		break;
	case 1:
	case 2:
		memcpy(cdb + 2, (uint8_t[]){ BE32(lba), 0, BE16(blocks) }, 7);
		break;
	case 5:
		memcpy(cdb + 2, (uint8_t[]){ BE32(lba), BE32(blocks) }, 8);
		break;
	default:
		memcpy(cdb + 2, (uint8_t[]){ BE64(lba), BE32(blocks) }, 12);
		break;
	}
	cdb[0] = opcode;
}

static const uint8_t reads[] = { SCSI_READ_6, SCSI_READ_10, SCSI_READ_12, SCSI_READ_16 };
static const uint8_t writes[] = { SCSI_WRITE_6, SCSI_WRITE_10, SCSI_WRITE_12, SCSI_WRITE_16 };
static const uint8_t verifies[] = { SCSI_VERIFY_10, SCSI_VERIFY_12, SCSI_VERIFY_16 };

static void what_is_written_is_read(void **state)
{
	static const uint32_t block_sizes[] = { 512, 4096 };
	size_t k;
	size_t i;

	for (k = 0; k < 2; k++) {
		uint32_t bs = block_sizes[k];
		struct bench *b =
			bench_new(&(struct bench_options){ .disk = { .block_size = bs } });

		for (i = 0; i < 4; i++) {
			uint8_t cdb[SCSI_CDB_MAX];

			make_cdb(cdb, writes[i], 100 + i, 3);
			memset(b->out, (int)(0x10 + i), 3 * bs);
			bench_run(b, cdb, 3 * bs, 0);
			assert_good(b, 3 * bs);
			assert_disk(&b->disk, (100 + i) * bs, 3 * bs, (uint8_t)(0x10 + i));
			assert_disk(&b->disk, (103 + i) * bs, bs, 0x5a);
			make_cdb(cdb, reads[i], 100 + i, 3);
			bench_run(b, cdb, 0, 3 * bs);
			assert_good(b, 3 * bs);
			assert_memory_equal(b->in, b->out, 3 * bs);
			assert_int_equal(b->in[3 * bs], 0xff);
		}
		bench_free(b);
	}
}

static void six_byte_commands_mean_256_by_zero(void **state)
{
	struct bench *b = bench_new(NULL);

	bench_run(b, CDB(SCSI_READ_6, 0, 0, 1, 0), 0, 131072);
	assert_good(b, 131072);
	assert_log(&b->disk, 0, BDEV_READ, 512, 131072);
	/* The upper three bits of byte 1 are not part of the address. */
	bench_run(b, CDB(SCSI_READ_6, 0xe0, 0, 1, 1), 0, 512);
	assert_good(b, 512);
	bench_free(b);
}

static void zero_blocks_are_no_error(void **state)
{
	static const uint8_t opcodes[] = {
		SCSI_READ_10,  SCSI_READ_12,   SCSI_READ_16,   SCSI_WRITE_10,  SCSI_WRITE_12,
		SCSI_WRITE_16, SCSI_VERIFY_10, SCSI_VERIFY_12, SCSI_VERIFY_16,
	};
	struct bench *b = bench_new(NULL);
	size_t i;

	for (i = 0; i < sizeof(opcodes); i++) {
		uint8_t cdb[SCSI_CDB_MAX];

		make_cdb(cdb, opcodes[i], 5, 0);
		bench_run(b, cdb, 0, 0);
		assert_good(b, 0);
	}
	assert_int_equal(b->disk.log_n, 0);
	bench_free(b);
}

static void blocks_that_do_not_exist(void **state)
{
	static const struct {
		uint8_t opcode;
		uint64_t lba;
		uint32_t blocks;
		bool ok;
		uint64_t information; /* UINT64_MAX: none, it does not fit */
	} cases[] = {
		{ SCSI_READ_10, 4095, 1, true, 0 },
		{ SCSI_READ_10, 4096, 1, false, 4096 },
		{ SCSI_READ_10, 4095, 2, false, 4096 },
		{ SCSI_READ_10, 0xffffffff, 65535, false, 0xffffffff },
		{ SCSI_READ_12, 4090, 0xffffffff, false, 4096 },
		{ SCSI_WRITE_16, UINT64_MAX, 2, false, UINT64_MAX },
		{ SCSI_WRITE_16, UINT64_MAX / 512, 1, false, UINT64_MAX },
		{ SCSI_READ_16, UINT64_C(1) << 55, 1, false, UINT64_MAX },
		{ SCSI_READ_6, 0x1fffff, 1, false, 0x1fffff },
		{ SCSI_VERIFY_10, 4096, 1, false, 4096 },
		{ SCSI_VERIFY_16, 4095, 1, true, 0 },
		{ SCSI_SYNCHRONIZE_CACHE_10, 4096, 1, false, 4096 },
		{ SCSI_SYNCHRONIZE_CACHE_16, UINT64_MAX, UINT32_MAX, false, UINT64_MAX },
		{ SCSI_SYNCHRONIZE_CACHE_10, 0, 0, true, 0 },
	};
	struct bench *b = bench_new(NULL);
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		bool is_write = cases[i].opcode == SCSI_WRITE_16;
		uint8_t cdb[SCSI_CDB_MAX];

		make_cdb(cdb, cases[i].opcode, cases[i].lba, cases[i].blocks);
		bench_run(b, cdb, is_write ? 1024 : 0, is_write ? 0 : 1024);
		if (cases[i].ok) {
			assert_int_equal(b->cmd.status, SCSI_STATUS_GOOD);
			continue;
		}
		assert_condition(b, SCSI_LBA_OUT_OF_RANGE);
		if (cases[i].information == UINT64_MAX) {
			assert_int_equal(b->cmd.sense[0], 0x70);
		} else {
			assert_int_equal(b->cmd.sense[0], 0xf0);
			assert_int_equal(scsi_be32(b->cmd.sense + 3), cases[i].information);
		}
	}
	bench_free(b);
}

/* T54, T55: buffers that are too short, or in the other direction. */
static void short_buffers_are_an_overrun(void **state)
{
	struct bench *b = bench_new(NULL);
	size_t i;

	for (i = 0; i < 4; i++) {
		uint8_t cdb[SCSI_CDB_MAX];

		make_cdb(cdb, reads[i], 0, 2);
		bench_run(b, cdb, 0, 1023);
		assert_overrun(b);
		bench_run(b, cdb, 1024, 0);
		assert_overrun(b);
		bench_run(b, cdb, 0, 0);
		assert_overrun(b);
		make_cdb(cdb, writes[i], 0, 2);
		bench_run(b, cdb, 1023, 0);
		assert_overrun(b);
		bench_run(b, cdb, 0, 1024);
		assert_overrun(b);
	}
	assert_int_equal(b->disk.log_n, 0);
	/* Longer ones leave a residual. */
	bench_run(b, CDB(SCSI_READ_10, 0, BE32(0), 0, BE16(2)), 0, 4096);
	assert_good(b, 1024);
	assert_int_equal(b->in[1024], 0xff);
	bench_free(b);
}

static void longer_than_the_maximum_transfer(void **state)
{
	struct bench *b = bench_new(&(struct bench_options){ .disk = { .blocks = 100000 } });
	uint32_t too_long = SCSI_MAX_TRANSFER_BYTES / 512 + 1;

	bench_run(b, CDB(SCSI_READ_12, 0, BE32(0), BE32(too_long)), 0, 4096);
	assert_bad_cdb(b, 6);
	bench_run(b, CDB(SCSI_VERIFY_16, 0, BE64(0), BE32(too_long)), 0, 0);
	assert_bad_cdb(b, 10);
	bench_run(b, CDB(SCSI_READ_12, 0, BE32(0), BE32(too_long - 1)), 0, 4096);
	assert_overrun(b);
	bench_free(b);
}

static void protection_information_is_refused(void **state)
{
	struct bench *b = bench_new(NULL);

	bench_run(b, CDB(SCSI_READ_10, 0x20, BE32(0), 0, BE16(1)), 0, 520);
	assert_bad_cdb(b, 1);
	bench_run(b, CDB(SCSI_WRITE_16, 0xe0, BE64(0), BE32(1)), 520, 0);
	assert_bad_cdb(b, 1);
	bench_run(b, CDB(SCSI_VERIFY_10, 0x20, BE32(0), 0, BE16(1)), 0, 0);
	assert_bad_cdb(b, 1);
	/* DPO, FUA_NV and RARC may be ignored. */
	bench_run(b, CDB(SCSI_READ_10, 0x16, BE32(0), 0, BE16(1)), 0, 512);
	assert_good(b, 512);
	bench_free(b);
}

static void forced_unit_access(void **state)
{
	struct bench *b = bench_new(NULL);

	bench_run(b, CDB(SCSI_WRITE_10, 0x08, BE32(4), 0, BE16(1)), 512, 0);
	assert_good(b, 512);
	assert_int_equal(b->disk.log_n, 2);
	assert_log(&b->disk, 0, BDEV_WRITE, 2048, 512);
	assert_log(&b->disk, 1, BDEV_FLUSH, 0, 0);
	bench_run(b, CDB(SCSI_READ_16, 0x08, BE64(4), BE32(1)), 0, 512);
	assert_good(b, 512);
	assert_log(&b->disk, 2, BDEV_FLUSH, 0, 0);
	assert_log(&b->disk, 3, BDEV_READ, 2048, 512);
	/* In WRITE (6) these bits are something else. */
	bench_run(b, CDB(SCSI_WRITE_6, 0x00, 0x08, 0, 1), 512, 0);
	assert_good(b, 512);
	assert_int_equal(b->disk.log_n, 5);
	b->disk.fail_op = BDEV_FLUSH;
	b->disk.fail_status = -EIO;
	bench_run(b, CDB(SCSI_WRITE_10, 0x08, BE32(4), 0, BE16(1)), 512, 0);
	assert_condition(b, SCSI_WRITE_ERROR);
	bench_free(b);

	b = bench_new(&(struct bench_options){ .disk = { .no_write_cache = true } });
	bench_run(b, CDB(SCSI_WRITE_10, 0x08, BE32(4), 0, BE16(1)), 512, 0);
	assert_good(b, 512);
	assert_int_equal(b->disk.log_n, 1);
	bench_free(b);
}

static void medium_errors(void **state)
{
	struct bench *b = bench_new(NULL);

	b->disk.fail_status = -EIO;
	b->disk.fail_op = BDEV_READ;
	bench_run(b, CDB(SCSI_READ_10, 0, BE32(0), 0, BE16(1)), 0, 512);
	assert_condition(b, SCSI_READ_ERROR);
	bench_run(b, CDB(SCSI_VERIFY_10, 0, BE32(0), 0, BE16(1)), 0, 0);
	assert_condition(b, SCSI_READ_ERROR);
	b->disk.fail_op = BDEV_WRITE;
	bench_run(b, CDB(SCSI_WRITE_10, 0, BE32(0), 0, BE16(1)), 512, 0);
	assert_condition(b, SCSI_WRITE_ERROR);
	b->disk.fail_op = BDEV_FLUSH;
	bench_run(b, CDB(SCSI_SYNCHRONIZE_CACHE_10), 0, 0);
	assert_condition(b, SCSI_WRITE_ERROR);
	b->disk.fail_op = BDEV_WRITE;
	b->disk.fail_status = -ENOSPC;
	bench_run(b, CDB(SCSI_WRITE_10, 0, BE32(0), 0, BE16(1)), 512, 0);
	assert_condition(b, SCSI_SPACE_EXHAUSTED);
	bench_free(b);
}

static void synchronize_flushes(void **state)
{
	struct bench *b = bench_new(NULL);

	bench_run(b, CDB(SCSI_SYNCHRONIZE_CACHE_10), 0, 0);
	assert_good(b, 0);
	bench_run(b, CDB(SCSI_SYNCHRONIZE_CACHE_16, 0x02, BE64(1), BE32(2)), 0, 0); /* IMMED */
	assert_good(b, 0);
	assert_int_equal(b->disk.log_n, 2);
	assert_log(&b->disk, 1, BDEV_FLUSH, 0, 0);
	bench_free(b);

	b = bench_new(&(struct bench_options){ .disk = { .no_write_cache = true } });
	bench_run(b, CDB(SCSI_SYNCHRONIZE_CACHE_10), 0, 0);
	assert_good(b, 0);
	assert_int_equal(b->disk.log_n, 0);
	bench_free(b);
}

static void verify_reads_everything(void **state)
{
	struct bench *b = bench_new(NULL);
	size_t i;

	for (i = 0; i < 3; i++) {
		uint8_t cdb[SCSI_CDB_MAX];

		b->disk.log_n = 0;
		make_cdb(cdb, verifies[i], 1, 600);
		bench_run(b, cdb, 0, 0);
		assert_good(b, 0);
		assert_int_equal(b->disk.log_n, 3);
		assert_log(&b->disk, 0, BDEV_READ, 512, 131072);
		assert_log(&b->disk, 1, BDEV_READ, 512 + 131072, 131072);
		assert_log(&b->disk, 2, BDEV_READ, 512 + 262144, 600 * 512 - 262144);
		cdb[1] = 0x02; /* BYTCHK */
		bench_run(b, cdb, 512, 0);
		assert_bad_cdb(b, 1);
	}
	bench_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_read),
		cmocka_unit_test(six_byte_commands_mean_256_by_zero),
		cmocka_unit_test(zero_blocks_are_no_error),
		cmocka_unit_test(blocks_that_do_not_exist),
		cmocka_unit_test(short_buffers_are_an_overrun),
		cmocka_unit_test(longer_than_the_maximum_transfer),
		cmocka_unit_test(protection_information_is_refused),
		cmocka_unit_test(forced_unit_access),
		cmocka_unit_test(medium_errors),
		cmocka_unit_test(synchronize_flushes),
		cmocka_unit_test(verify_reads_everything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
