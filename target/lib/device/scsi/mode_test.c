/* SPDX-License-Identifier: BSD-3-Clause */
#include <string.h>

#include "device/scsi/testing.h"

#define ALL_LEN (20 + 12) /* caching and control page */

static void sense_6_shows_both_pages(void **state)
{
	struct bench *b = bench_new(NULL);

	bench_run(b, CDB(SCSI_MODE_SENSE_6, 0, 0x3f, 0, 255), 0, 255);
	assert_good(b, 4 + 8 + ALL_LEN);
	assert_memory_equal(b->in, "\x2b\x00\x10\x08", 4); /* DPOFUA, not write protected */
	assert_int_equal(scsi_be32(b->in + 4), 4096);
	assert_int_equal(scsi_be32(b->in + 8), 512);
	assert_memory_equal(b->in + 12, "\x08\x12\x04", 3); /* WCE */
	assert_memory_equal(b->in + 32, "\x0a\x0a\x00\x10", 4);
	bench_run(b, CDB(SCSI_MODE_SENSE_6, 0x08, 0x08, 0, 255), 0, 255); /* DBD */
	assert_good(b, 4 + 20);
	assert_memory_equal(b->in, "\x17\x00\x10\x00\x08\x12", 6);
	bench_run(b, CDB(SCSI_MODE_SENSE_6, 0, 0x3f, 0xff, 4), 0, 4);
	assert_good(b, 4);
	assert_int_equal(b->in[0], 0x2b);
	bench_free(b);
}

static void sense_10_with_long_lba(void **state)
{
	struct bench *b = bench_new(&(struct bench_options){
		.disk = { .blocks = UINT64_C(1) << 33, .no_write_cache = true },
		.read_only = true });

	bench_run(b, CDB(SCSI_MODE_SENSE_10, 0x10, 0x0a, 0, 0, 0, 0, BE16(512)), 0, 512);
	assert_good(b, 8 + 16 + 12);
	assert_memory_equal(b->in, "\x00\x22\x00\x80\x01\x00\x00\x10", 8); /* WP, LONGLBA */
	assert_int_equal(scsi_be64(b->in + 8), UINT64_C(1) << 33);
	assert_int_equal(scsi_be32(b->in + 20), 512);
	bench_run(b, CDB(SCSI_MODE_SENSE_10, 0, 0x08, 0, 0, 0, 0, BE16(512)), 0, 512);
	assert_good(b, 8 + 8 + 20);
	assert_int_equal(scsi_be32(b->in + 8), 0xffffffff); /* does not fit */
	assert_int_equal(b->in[16 + 2], 0);		    /* no WCE */
	bench_free(b);
}

static void page_control(void **state)
{
	struct bench *b = bench_new(NULL);
	uint8_t zero[18] = { 0 };

	bench_run(b, CDB(SCSI_MODE_SENSE_6, 0x08, 0x48, 0, 255), 0, 255); /* changeable */
	assert_good(b, 24);
	assert_memory_equal(b->in + 4, "\x08\x12", 2);
	assert_memory_equal(b->in + 6, zero, 18);
	bench_run(b, CDB(SCSI_MODE_SENSE_6, 0x08, 0x88, 0, 255), 0, 255); /* default */
	assert_int_equal(b->in[6], 0x04);
	bench_run(b, CDB(SCSI_MODE_SENSE_6, 0x08, 0xc8, 0, 255), 0, 255); /* saved */
	assert_condition(b, SCSI_NO_SAVING);
	bench_run(b, CDB(SCSI_MODE_SENSE_6, 0, 0x1c, 0, 255), 0, 255);
	assert_bad_cdb(b, 2);
	bench_run(b, CDB(SCSI_MODE_SENSE_6, 0, 0x0a, 0x05, 255), 0,
		  255); /* IO hints of new kernels */
	assert_bad_cdb(b, 3);
	bench_run(b, CDB(SCSI_MODE_SENSE_6, 0, 0x3f, 0, 255), 0, 10);
	assert_overrun(b);
	bench_free(b);
}

static void select_takes_what_is_in_force(void **state)
{
	struct bench *b = bench_new(NULL);

	/* Read everything, write it back, in both forms. */
	bench_run(b, CDB(SCSI_MODE_SENSE_6, 0, 0x3f, 0, 255), 0, 255);
	memcpy(b->out, b->in, 255);
	bench_run(b, CDB(SCSI_MODE_SELECT_6, 0x10, 0, 0, 12 + ALL_LEN), 12 + ALL_LEN, 0);
	assert_good(b, 12 + ALL_LEN);
	bench_run(b, CDB(SCSI_MODE_SENSE_10, 0x10, 0x3f, 0, 0, 0, 0, BE16(512)), 0, 512);
	memcpy(b->out, b->in, 255);
	bench_run(b, CDB(SCSI_MODE_SELECT_10, 0x10, 0, 0, 0, 0, 0, BE16(24 + ALL_LEN)),
		  24 + ALL_LEN, 0);
	assert_good(b, 24 + ALL_LEN);
	/* Zero blocks in the descriptor: leave it. */
	memset(b->out + 8, 0, 8);
	bench_run(b, CDB(SCSI_MODE_SELECT_10, 0x10, 0, 0, 0, 0, 0, BE16(24)), 24, 0);
	assert_good(b, 24);
	/* Nothing at all. */
	bench_run(b, CDB(SCSI_MODE_SELECT_6, 0x10), 0, 0);
	assert_good(b, 0);
	bench_free(b);
}

/* T57 and relatives: what is refused, and with what. */
static void select_refuses_the_rest(void **state)
{
	struct bench *b = bench_new(NULL);

	bench_run(b, CDB(SCSI_MODE_SELECT_6, 0x11, 0, 0, 4), 4, 0); /* SP */
	assert_bad_cdb(b, 1);
	bench_run(b, CDB(SCSI_MODE_SELECT_6, 0x00, 0, 0, 4), 4, 0); /* not PF */
	assert_bad_cdb(b, 1);
	bench_run(b, CDB(SCSI_MODE_SELECT_6, 0x10, 0, 0, 5), 4, 0); /* more than was sent */
	assert_overrun(b);
	bench_run(b, CDB(SCSI_MODE_SELECT_10, 0x10, 0, 0, 0, 0, 0, BE16(65535)), 255, 0);
	assert_overrun(b);
	memset(b->out, 0, sizeof(b->out));
	bench_run(b, CDB(SCSI_MODE_SELECT_10, 0x10, 0, 0, 0, 0, 0, BE16(65535)), 65535, 0);
	assert_condition(b, SCSI_PARAMETER_LIST_LENGTH);
	bench_run(b, CDB(SCSI_MODE_SELECT_6, 0x10, 0, 0, 3), 3, 0); /* half a header */
	assert_condition(b, SCSI_PARAMETER_LIST_LENGTH);
	b->out[3] = 8;
	bench_run(b, CDB(SCSI_MODE_SELECT_6, 0x10, 0, 0, 11), 11, 0); /* most of a descriptor */
	assert_condition(b, SCSI_PARAMETER_LIST_LENGTH);
	b->out[3] = 7;
	bench_run(b, CDB(SCSI_MODE_SELECT_6, 0x10, 0, 0, 12), 12, 0);
	assert_bad_parameter(b, 4);
	/* 4096 byte blocks, please */
	memcpy(b->out, "\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00\x10\x00", 12);
	bench_run(b, CDB(SCSI_MODE_SELECT_6, 0x10, 0, 0, 12), 12, 0);
	assert_bad_parameter(b, 4);
	/* no write cache, please */
	memset(b->out, 0, 64);
	memcpy(b->out + 4, "\x08\x12\x00", 3);
	bench_run(b, CDB(SCSI_MODE_SELECT_6, 0x10, 0, 0, 24), 24, 0);
	assert_bad_parameter(b, 4);
	/* a page that is cut, of another length, that is not there, a subpage */
	bench_run(b, CDB(SCSI_MODE_SELECT_6, 0x10, 0, 0, 23), 23, 0);
	assert_condition(b, SCSI_PARAMETER_LIST_LENGTH);
	b->out[5] = 0x11;
	bench_run(b, CDB(SCSI_MODE_SELECT_6, 0x10, 0, 0, 23), 23, 0);
	assert_bad_parameter(b, 4);
	b->out[4] = 0x1c;
	bench_run(b, CDB(SCSI_MODE_SELECT_6, 0x10, 0, 0, 23), 23, 0);
	assert_bad_parameter(b, 4);
	memcpy(b->out + 4, "\x48\x12\x04", 3);
	bench_run(b, CDB(SCSI_MODE_SELECT_6, 0x10, 0, 0, 24), 24, 0);
	assert_bad_parameter(b, 4);
	bench_run(b, CDB(SCSI_MODE_SELECT_6, 0x10, 0, 0, 5), 5, 0);
	assert_condition(b, SCSI_PARAMETER_LIST_LENGTH);
	bench_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sense_6_shows_both_pages),
		cmocka_unit_test(sense_10_with_long_lba),
		cmocka_unit_test(page_control),
		cmocka_unit_test(select_takes_what_is_in_force),
		cmocka_unit_test(select_refuses_the_rest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
