/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <string.h>

#include "device/scsi/testing.h"

#define UNMAP(len) CDB(SCSI_UNMAP, 0, 0, 0, 0, 0, 0, BE16(len))

static const struct bench_options roomy = { .limits = {
						    .max_unmap_lba_count = 100,
						    .max_unmap_block_descriptor_count = 3,
					    } };

static void put_header(struct bench *b, uint16_t data_len, uint16_t descriptors_len)
{
	memset(b->out, 0, 8);
	memcpy(b->out, (uint8_t[]){ BE16(data_len), BE16(descriptors_len) }, 4);
}

static void put_descriptor(struct bench *b, unsigned int i, uint64_t lba, uint32_t blocks)
{
	memcpy(b->out + 8 + 16 * i, (uint8_t[16]){ BE64(lba), BE32(blocks) }, 16);
}

static void several_descriptors(void **state)
{
	struct bench *b = bench_new(&roomy);

	put_header(b, 6 + 48, 48);
	put_descriptor(b, 0, 10, 4);
	put_descriptor(b, 1, 0, 0); /* SBC-3: no error */
	put_descriptor(b, 2, 4095, 1);
	bench_run(b, UNMAP(56), 56, 0);
	assert_good(b, 56);
	assert_int_equal(b->disk.log_n, 2);
	/* LBPRZ is promised, so zeroes are what it writes. */
	assert_log(&b->disk, 0, BDEV_WRITE_ZEROES, 5120, 2048);
	assert_log(&b->disk, 1, BDEV_WRITE_ZEROES, 4095 * 512, 512);
	assert_int_equal(b->disk.log[0].flags, BDEV_IO_MAY_UNMAP);
	assert_disk(&b->disk, 5120, 2048, 0);
	assert_disk(&b->disk, 5120 + 2048, 512, 0x5a);
	bench_free(b);
}

static void without_write_zeroes_it_discards(void **state)
{
	struct bench_options opts = roomy;
	struct bench *b;

	opts.disk.no_write_zeroes = true;
	b = bench_new(&opts);
	put_header(b, 22, 16);
	put_descriptor(b, 0, 0, 100);
	bench_run(b, UNMAP(24), 24, 0);
	assert_good(b, 24);
	assert_log(&b->disk, 0, BDEV_DISCARD, 0, 51200);
	assert_int_equal(b->disk.log[0].flags, 0);
	assert_disk(&b->disk, 0, 51200, FAKE_DISCARD);
	bench_free(b);
}

static void a_long_run_goes_in_pieces(void **state)
{
	struct bench_options opts = roomy;
	struct bench *b;

	opts.disk.max_discard = 32 * 512 + 100; /* whole blocks of it are used */
	b = bench_new(&opts);
	put_header(b, 38, 32);
	put_descriptor(b, 0, 0, 70);
	put_descriptor(b, 1, 100, 30);
	bench_run(b, UNMAP(40), 40, 0);
	assert_good(b, 40);
	assert_int_equal(b->disk.log_n, 4);
	assert_log(&b->disk, 0, BDEV_WRITE_ZEROES, 0, 16384);
	assert_log(&b->disk, 1, BDEV_WRITE_ZEROES, 16384, 16384);
	assert_log(&b->disk, 2, BDEV_WRITE_ZEROES, 32768, 6 * 512);
	assert_log(&b->disk, 3, BDEV_WRITE_ZEROES, 51200, 15360);
	bench_free(b);
}

/* T58: lengths that lie, each against the others. */
static void lengths_that_do_not_agree(void **state)
{
	static const struct {
		uint16_t list_len;
		uint16_t data_len;
		uint16_t descriptors_len;
		enum scsi_condition condition;
	} cases[] = {
		{ 1, 22, 16, SCSI_PARAMETER_LIST_LENGTH },
		{ 7, 22, 16, SCSI_PARAMETER_LIST_LENGTH },
		{ 8, 22, 16, SCSI_PARAMETER_LIST_LENGTH },
		{ 23, 22, 16, SCSI_PARAMETER_LIST_LENGTH },
		{ 24, 23, 16, SCSI_PARAMETER_LIST_LENGTH },
		{ 24, 22, 17, SCSI_PARAMETER_LIST_LENGTH },
		{ 24, 22, 15, SCSI_PARAMETER_LIST_LENGTH },
		{ 24, 22, 32, SCSI_PARAMETER_LIST_LENGTH },
		{ 24, 21, 16, SCSI_PARAMETER_LIST_LENGTH },
		{ 24, 65535, 65520, SCSI_PARAMETER_LIST_LENGTH },
		{ 24, 0, 0, SCSI_PARAMETER_LIST_LENGTH },
		{ 65535, 65533, 65520, SCSI_INVALID_PARAMETER }, /* 4095 descriptors */
		{ 72, 70, 64, SCSI_INVALID_PARAMETER },		 /* one too many */
		{ 24, 6, 0, SCSI_NO_SENSE },
		{ 24, 22, 16, SCSI_NO_SENSE },
		{ 40, 38, 16, SCSI_NO_SENSE }, /* rubbish behind the descriptors */
		{ 0, 65535, 65535, SCSI_NO_SENSE },
	};
	struct bench *b = bench_new(&roomy);
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		memset(b->out, 0, sizeof(b->out));
		put_header(b, cases[i].data_len, cases[i].descriptors_len);
		bench_run(b, UNMAP(cases[i].list_len), 65535, 0);
		if (cases[i].condition == SCSI_NO_SENSE) {
			assert_good(b, cases[i].list_len);
		} else {
			assert_condition(b, cases[i].condition);
		}
	}
	put_header(b, 22, 16);
	bench_run(b, UNMAP(24), 23, 0); /* less data than the CDB says */
	assert_overrun(b);
	bench_run(b, UNMAP(24), 0, 24);
	assert_overrun(b);
	assert_int_equal(b->disk.log_n, 0);
	bench_free(b);
}

static void nothing_is_touched_before_all_is_checked(void **state)
{
	struct bench *b = bench_new(&roomy);

	put_header(b, 38, 32);
	put_descriptor(b, 0, 0, 10);
	put_descriptor(b, 1, 4090, 7);
	bench_run(b, UNMAP(40), 40, 0);
	assert_condition(b, SCSI_LBA_OUT_OF_RANGE);
	assert_int_equal(scsi_be32(b->cmd.sense + 3), 4096);
	put_descriptor(b, 1, UINT64_MAX, UINT32_MAX);
	bench_run(b, UNMAP(40), 40, 0);
	assert_condition(b, SCSI_LBA_OUT_OF_RANGE);
	put_descriptor(b, 1, 100, 91); /* 101 in all */
	bench_run(b, UNMAP(40), 40, 0);
	assert_condition(b, SCSI_INVALID_PARAMETER);
	assert_int_equal(b->disk.log_n, 0);
	bench_run(b, CDB(SCSI_UNMAP, 1, 0, 0, 0, 0, 0, BE16(24)), 24, 0); /* ANCHOR */
	assert_bad_cdb(b, 1);
	bench_free(b);
}

static void errors_end_it(void **state)
{
	struct bench *b = bench_new(&roomy);

	b->disk.fail_op = BDEV_WRITE_ZEROES;
	b->disk.fail_status = -EIO;
	put_header(b, 38, 32);
	put_descriptor(b, 0, 0, 10);
	put_descriptor(b, 1, 20, 10);
	bench_run(b, UNMAP(40), 40, 0);
	assert_condition(b, SCSI_WRITE_ERROR);
	assert_int_equal(b->disk.log_n, 1);
	bench_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(several_descriptors),
		cmocka_unit_test(without_write_zeroes_it_discards),
		cmocka_unit_test(a_long_run_goes_in_pieces),
		cmocka_unit_test(lengths_that_do_not_agree),
		cmocka_unit_test(nothing_is_touched_before_all_is_checked),
		cmocka_unit_test(errors_end_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
