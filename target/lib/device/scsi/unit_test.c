/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>

#include "device/scsi/testing.h"

static void request_sense_has_nothing_to_say(void **state)
{
	struct bench *b = bench_new(NULL);

	bench_run(b, CDB(SCSI_REQUEST_SENSE, 0, 0, 0, 252), 0, 252);
	assert_good(b, 18);
	assert_int_equal(b->in[0], 0x70);
	assert_int_equal(b->in[2], 0);
	bench_run(b, CDB(SCSI_REQUEST_SENSE, 1, 0, 0, 252), 0, 252); /* DESC */
	assert_bad_cdb(b, 1);
	bench_run(b, CDB(SCSI_REQUEST_SENSE, 0, 0, 0, 18), 0, 17);
	assert_overrun(b);
	bench_free(b);
}

static void luns_are_reported(void **state)
{
	struct bench *b = bench_new(NULL);

	bench_run(b, CDB(SCSI_REPORT_LUNS, 0, 0, 0, 0, 0, BE32(4096)), 0, 4096);
	assert_good(b, 16);
	assert_memory_equal(b->in, "\0\0\0\x08\0\0\0\0\0\0\0\0\0\0\0\0", 16);
	bench_run(b, CDB(SCSI_REPORT_LUNS, 0, 2, 0, 0, 0, BE32(16)), 0, 16);
	assert_good(b, 16);
	bench_run(b, CDB(SCSI_REPORT_LUNS, 0, 1, 0, 0, 0, BE32(16)), 0, 16);
	assert_good(b, 8); /* no well-known LUNs */
	assert_int_equal(scsi_be32(b->in), 0);
	bench_run(b, CDB(SCSI_REPORT_LUNS, 0, 3, 0, 0, 0, BE32(16)), 0, 16);
	assert_bad_cdb(b, 2);
	bench_run(b, CDB(SCSI_REPORT_LUNS, 0, 0, 0, 0, 0, BE32(15)), 0, 16);
	assert_bad_cdb(b, 6);
	bench_run(b, CDB(SCSI_REPORT_LUNS, 0, 0, 0, 0, 0, BE32(0xffffffff)), 0, 15);
	assert_overrun(b);
	/* Whoever asks needs not be told to ask. */
	*b->lu.ua = SCSI_UA_BIT_LUNS_CHANGED | SCSI_UA_BIT_CAPACITY;
	bench_run(b, CDB(SCSI_REPORT_LUNS, 0, 0, 0, 0, 0, BE32(16)), 0, 16);
	assert_good(b, 16);
	assert_int_equal(*b->lu.ua, SCSI_UA_BIT_CAPACITY);
	bench_free(b);
}

static void capacity_of_a_small_disk(void **state)
{
	struct bench *b = bench_new(
		&(struct bench_options){ .disk = { .blocks = 2048, .physical_block_size = 4096 } });

	bench_run(b, CDB(SCSI_READ_CAPACITY_10), 0, 8);
	assert_good(b, 8);
	assert_int_equal(scsi_be32(b->in), 2047);
	assert_int_equal(scsi_be32(b->in + 4), 512);
	bench_run(b, CDB(SCSI_READ_CAPACITY_10, 0, BE32(1)), 0, 8);
	assert_bad_cdb(b, 2);
	bench_run(b, CDB(SCSI_READ_CAPACITY_10, 0, BE32(0), 0, 0, 1), 0, 8);
	assert_bad_cdb(b, 8);
	bench_run(b, CDB(SCSI_READ_CAPACITY_10), 0, 7);
	assert_overrun(b);

	bench_run(b, CDB(SCSI_SERVICE_ACTION_IN_16, 0x10, BE64(0), BE32(32)), 0, 32);
	assert_good(b, 32);
	assert_int_equal(scsi_be64(b->in), 2047);
	assert_int_equal(scsi_be32(b->in + 8), 512);
	assert_int_equal(b->in[12], 0);
	assert_int_equal(b->in[13], 3);	   /* 8 logical blocks in a physical one */
	assert_int_equal(b->in[14], 0xc0); /* LBPME, LBPRZ */
	bench_run(b, CDB(SCSI_SERVICE_ACTION_IN_16, 0x10, BE64(0), BE32(12)), 0, 12);
	assert_good(b, 12);
	bench_run(b, CDB(SCSI_SERVICE_ACTION_IN_16, 0x10, BE64(5), BE32(32)), 0, 32);
	assert_bad_cdb(b, 2);
	bench_free(b);
}

static void capacity_of_a_large_disk(void **state)
{
	struct bench *b = bench_new(&(struct bench_options){
		.disk = { .blocks = UINT64_C(1) << 40, .no_discard = true } });

	bench_run(b, CDB(SCSI_READ_CAPACITY_10), 0, 8);
	assert_int_equal(scsi_be32(b->in), 0xffffffff);
	bench_run(b, CDB(SCSI_SERVICE_ACTION_IN_16, 0x10, BE64(0), BE32(32)), 0, 32);
	assert_int_equal(scsi_be64(b->in), (UINT64_C(1) << 40) - 1);
	assert_int_equal(b->in[14], 0);
	bench_free(b);

	/* FFFFFFFFh as the last block says "too large" and has to be read from the other command. */
	b = bench_new(&(struct bench_options){ .disk = { .blocks = UINT64_C(1) << 32 } });
	bench_run(b, CDB(SCSI_READ_CAPACITY_10), 0, 8);
	assert_int_equal(scsi_be32(b->in), 0xffffffff);
	bench_free(b);
}

static void stopping_makes_the_cache_stable(void **state)
{
	struct bench *b = bench_new(NULL);

	bench_run(b, CDB(SCSI_START_STOP_UNIT, 0, 0, 0, 0x01), 0, 0);
	assert_good(b, 0);
	bench_run(b, CDB(SCSI_START_STOP_UNIT, 0, 0, 0, 0x04), 0, 0); /* stop, NO_FLUSH */
	assert_good(b, 0);
	assert_int_equal(b->disk.log_n, 0);
	bench_run(b, CDB(SCSI_START_STOP_UNIT, 0, 0, 0, 0x00), 0, 0);
	assert_good(b, 0);
	assert_log(&b->disk, 0, BDEV_FLUSH, 0, 0);
	b->disk.fail_op = BDEV_FLUSH;
	b->disk.fail_status = -EIO;
	bench_run(b, CDB(SCSI_START_STOP_UNIT, 0, 0, 0, 0x00), 0, 0);
	assert_condition(b, SCSI_WRITE_ERROR);
	bench_run(b, CDB(SCSI_START_STOP_UNIT, 0, 0, 0, 0x02), 0, 0); /* eject */
	assert_bad_cdb(b, 4);
	bench_run(b, CDB(SCSI_START_STOP_UNIT, 0, 0, 0, 0x30), 0, 0); /* standby */
	assert_bad_cdb(b, 4);
	bench_run(b, CDB(SCSI_TEST_UNIT_READY), 0, 0);
	assert_good(b, 0);
	bench_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(request_sense_has_nothing_to_say),
		cmocka_unit_test(luns_are_reported),
		cmocka_unit_test(capacity_of_a_small_disk),
		cmocka_unit_test(capacity_of_a_large_disk),
		cmocka_unit_test(stopping_makes_the_cache_stable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
