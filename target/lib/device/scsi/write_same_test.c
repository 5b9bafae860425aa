/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <string.h>

#include "device/scsi/testing.h"

#define WS10(flags, lba, blocks) CDB(SCSI_WRITE_SAME_10, flags, BE32(lba), 0, BE16(blocks))
#define WS16(flags, lba, blocks) CDB(SCSI_WRITE_SAME_16, flags, BE64(lba), BE32(blocks))

#define NDOB  0x01
#define UNMAP 0x08

static void zeroes_are_written_as_such(void **state)
{
	struct bench *b = bench_new(NULL);

	memset(b->out, 0, 512);
	bench_run(b, WS16(0, 3, 400), 512, 0);
	assert_good(b, 512);
	assert_int_equal(b->disk.log_n, 1);
	assert_log(&b->disk, 0, BDEV_WRITE_ZEROES, 3 * 512, 400 * 512);
	assert_int_equal(b->disk.log[0].flags, 0);
	assert_disk(&b->disk, 3 * 512, 400 * 512, 0);
	bench_run(b, WS10(UNMAP, 1000, 8), 512, 0);
	assert_good(b, 512);
	assert_int_equal(b->disk.log[1].flags, BDEV_IO_MAY_UNMAP);
	bench_run(b, WS16(NDOB | UNMAP, 2000, 8), 0, 0);
	assert_good(b, 0);
	assert_log(&b->disk, 2, BDEV_WRITE_ZEROES, 2000 * 512, 8 * 512);
	assert_disk(&b->disk, 2000 * 512, 8 * 512, 0);
	/* One byte at the end of the block makes it another pattern. */
	b->out[511] = 1;
	bench_run(b, WS16(UNMAP, 0, 2), 512, 0);
	assert_good(b, 512);
	assert_log(&b->disk, 3, BDEV_WRITE, 0, 1024);
	assert_int_equal(b->disk.data[511], 1);
	assert_int_equal(b->disk.data[1023], 1);
	assert_disk(&b->disk, 512, 511, 0);
	bench_free(b);
}

static void patterns_are_written_in_pieces(void **state)
{
	static const uint32_t block_sizes[] = { 512, 4096, 65536 };
	size_t k;

	for (k = 0; k < 3; k++) {
		uint32_t bs = block_sizes[k];
		struct bench *b = bench_new(
			&(struct bench_options){ .disk = { .block_size = bs, .blocks = 600 } });
		uint64_t bytes = (uint64_t)500 * bs;
		uint32_t i;

		for (i = 0; i < bs; i++) {
			b->out[i] = (uint8_t)(i * 7 + 1);
		}
		bench_run(b, WS10(0, 1, 500), bs, 0);
		assert_good(b, bs);
		assert_int_equal(b->disk.log_n,
				 (bytes + SCSI_SCRATCH_BYTES - 1) / SCSI_SCRATCH_BYTES);
		for (i = 1; i <= 500; i++) {
			assert_memory_equal(b->disk.data + (uint64_t)i * bs, b->out, bs);
		}
		assert_disk(&b->disk, 0, bs, 0x5a);
		assert_disk(&b->disk, (uint64_t)501 * bs, bs, 0x5a);
		bench_free(b);
	}
}

static void without_write_zeroes_zeroes_are_a_pattern(void **state)
{
	struct bench *b = bench_new(&(struct bench_options){ .disk = { .no_write_zeroes = true } });

	memset(b->lu.scratch, 0x77, b->lu.scratch_len);
	bench_run(b, WS16(NDOB, 0, 512), 0, 0);
	assert_good(b, 0);
	assert_log(&b->disk, 0, BDEV_WRITE, 0, 131072);
	assert_disk(&b->disk, 0, 512 * 512, 0);
	/* LBPRZ is not there, so UNMAP is not either. */
	bench_run(b, WS16(UNMAP, 0, 1), 512, 0);
	assert_bad_cdb(b, 1);
	bench_free(b);
}

/* T59 and relatives */
static void refused_forms(void **state)
{
	struct bench *b = bench_new(NULL);

	bench_run(b, WS10(0, 0, 0), 512, 0);
	assert_bad_cdb(b, 7);
	bench_run(b, WS16(0, 0, 0), 512, 0);
	assert_bad_cdb(b, 10);
	bench_run(b, WS16(0, 0, 513), 512, 0); /* the limit is 512 */
	assert_bad_cdb(b, 10);
	bench_run(b, WS16(0x10 | UNMAP, 0, 1), 512, 0); /* ANCHOR */
	assert_bad_cdb(b, 1);
	bench_run(b, WS10(0x02, 0, 1), 512, 0); /* LBDATA */
	assert_bad_cdb(b, 1);
	bench_run(b, WS10(0x04, 0, 1), 512, 0); /* PBDATA */
	assert_bad_cdb(b, 1);
	bench_run(b, WS16(0x20, 0, 1), 512, 0); /* protection */
	assert_bad_cdb(b, 1);
	bench_run(b, WS16(0, 4096, 1), 512, 0);
	assert_condition(b, SCSI_LBA_OUT_OF_RANGE);
	bench_run(b, WS16(0, UINT64_MAX, 512), 512, 0);
	assert_condition(b, SCSI_LBA_OUT_OF_RANGE);
	bench_run(b, WS16(0, 0, 1), 511, 0);
	assert_overrun(b);
	bench_run(b, WS10(0, 0, 1), 0, 0);
	assert_overrun(b);
	bench_run(b, WS10(0, 0, 1), 0, 512);
	assert_overrun(b);
	/* 10 byte form: bit 0 is not NDOB. */
	bench_run(b, WS10(NDOB, 0, 1), 0, 0);
	assert_overrun(b);
	assert_int_equal(b->disk.log_n, 0);
	bench_free(b);
}

static void the_scratch_buffer_is_shared(void **state)
{
	struct bench *b = bench_new(NULL);
	struct bench *other = bench_new(NULL); /* only its command is used */
	struct scsi_cmd *first = &b->cmd;
	struct scsi_cmd *second = &other->cmd;
	uint8_t pattern[2][512];
	struct iovec iov[2];
	unsigned int i;

	for (i = 0; i < 2; i++) {
		struct scsi_cmd *cmd = i == 0 ? first : second;

		memset(pattern[i], (int)i + 1, 512);
		iov[i] = (struct iovec){ pattern[i], 512 };
		memset(cmd, 0, sizeof(*cmd));
		cmd->lu = &b->lu;
		cmd->out = (struct scsi_data){ &iov[i], 1, 512 };
		cmd->cdb_len = SCSI_CDB_MAX;
		memcpy(cmd->cdb, i == 0 ? WS16(0, 0, 300) : WS16(0, 1000, 1), SCSI_CDB_MAX);
	}
	assert_int_equal(scsi_cmd_start(first), SCSI_SUBMIT);
	assert_int_equal(scsi_cmd_start(second), SCSI_WAIT);
	assert_int_equal(scsi_cmd_resume(second), SCSI_WAIT);
	first->io.status = 0;
	assert_int_equal(scsi_cmd_advance(first), SCSI_SUBMIT);
	assert_int_equal(first->io.len, 300 * 512 - 131072);
	assert_int_equal(scsi_cmd_resume(second), SCSI_WAIT);
	assert_int_equal(scsi_cmd_advance(first), SCSI_DONE);
	scsi_cmd_finish(first);
	assert_int_equal(scsi_cmd_resume(second), SCSI_SUBMIT);
	assert_int_equal(second->io.offset, 512000);
	assert_memory_equal(second->io.iov->iov_base, pattern[1], 512);
	second->io.status = -EIO;
	assert_int_equal(scsi_cmd_advance(second), SCSI_DONE);
	scsi_cmd_finish(second);
	assert_null(b->lu.scratch_user);
	bench_free(other);
	bench_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(zeroes_are_written_as_such),
		cmocka_unit_test(patterns_are_written_in_pieces),
		cmocka_unit_test(without_write_zeroes_zeroes_are_a_pattern),
		cmocka_unit_test(refused_forms),
		cmocka_unit_test(the_scratch_buffer_is_shared),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
