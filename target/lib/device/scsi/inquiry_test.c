/* SPDX-License-Identifier: BSD-3-Clause */
#include <string.h>

#include "device/scsi/testing.h"

/* T56: the allocation length is a bound, honoured exactly, never an error. */
static void allocation_lengths_are_honoured(void **state)
{
	static const uint16_t lengths[] = { 0, 1, 35, 36, 95, 96, 97, 255, 65535 };
	struct bench *b = bench_new(NULL);
	size_t i;

	for (i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		uint16_t expected = lengths[i] < 96 ? lengths[i] : 96;

		bench_run(b, CDB(SCSI_INQUIRY, 0, 0, BE16(lengths[i])), 0, 4096);
		assert_good(b, expected);
		assert_int_equal(b->in[expected], 0xff); /* not a byte further */
	}
	/* T54: the buffer is what matters, not the allocation length. */
	bench_run(b, CDB(SCSI_INQUIRY, 0, 0, BE16(65535)), 0, 96);
	assert_good(b, 96);
	bench_run(b, CDB(SCSI_INQUIRY, 0, 0, BE16(65535)), 0, 95);
	assert_overrun(b);
	assert_int_equal(b->in[0], 0xff);
	bench_run(b, CDB(SCSI_INQUIRY, 0, 0, BE16(36)), 36, 0); /* the wrong direction */
	assert_overrun(b);
	bench_free(b);
}

static void standard_data_names_the_disk(void **state)
{
	struct bench *b = bench_new(NULL);

	bench_run(b, CDB(SCSI_INQUIRY, 0, 0, BE16(96)), 0, 96);
	assert_good(b, 96);
	assert_memory_equal(b->in, "\x00\x00\x06\x12\x5b\x00\x00\x02", 8);
	assert_memory_equal(b->in + 8, "VHOSTLABFake disk       0001", 28);
	bench_free(b);
}

static void refused_forms(void **state)
{
	struct bench *b = bench_new(NULL);

	bench_run(b, CDB(SCSI_INQUIRY, 0, 0x80, BE16(96)), 0, 96); /* a page without EVPD */
	assert_bad_cdb(b, 2);
	bench_run(b, CDB(SCSI_INQUIRY, 2, 0, BE16(96)), 0, 96); /* CMDDT */
	assert_bad_cdb(b, 1);
	bench_run(b, CDB(SCSI_INQUIRY, 1, 0xc0, BE16(96)), 0, 96);
	assert_bad_cdb(b, 2);
	bench_free(b);
}

static void all_listed_pages_are_there(void **state)
{
	struct bench *b = bench_new(NULL);
	uint8_t list[16];
	unsigned int n;
	unsigned int i;

	bench_run(b, CDB(SCSI_INQUIRY, 1, 0, BE16(255)), 0, 255);
	assert_memory_equal(b->in, "\x00\x00\x00\x06\x00\x80\x83\xb0\xb1\xb2", 10);
	assert_good(b, 10);
	n = b->in[3];
	memcpy(list, b->in + 4, n);
	for (i = 0; i < n; i++) {
		bench_run(b, CDB(SCSI_INQUIRY, 1, list[i], BE16(4096)), 0, 4096);
		assert_int_equal(b->in[1], list[i]);
		assert_good(b, 4U + scsi_be16(b->in + 2));
		/* SPC-4, 4.3.5.6: the length does not depend on what was allocated. */
		bench_run(b, CDB(SCSI_INQUIRY, 1, list[i], BE16(4)), 0, 4);
		assert_good(b, 4);
		assert_int_equal(b->in[1], list[i]);
	}
	bench_free(b);
}

static void serial_and_identification(void **state)
{
	struct bench *b = bench_new(&(struct bench_options){ .serial = "S-0815" });
	uint8_t naa[8] = { BE64(b->lu.naa) };

	bench_run(b, CDB(SCSI_INQUIRY, 1, 0x80, BE16(255)), 0, 255);
	assert_good(b, 10);
	assert_memory_equal(b->in, "\x00\x80\x00\x06S-0815", 10);

	bench_run(b, CDB(SCSI_INQUIRY, 1, 0x83, BE16(255)), 0, 255);
	assert_memory_equal(b->in + 4, "\x02\x01\x00\x17VHOSTLABFake diskS-0815", 4 + 23);
	assert_memory_equal(b->in + 31, "\x01\x03\x00\x08", 4);
	assert_memory_equal(b->in + 35, naa, 8);
	assert_good(b, 43);
	bench_free(b);
}

static void the_longest_serial_fits(void **state)
{
	char serial[BDEV_SERIAL_MAX + 1];
	struct bench *b;

	memset(serial, 'x', BDEV_SERIAL_MAX);
	serial[BDEV_SERIAL_MAX] = '\0';
	b = bench_new(&(struct bench_options){ .serial = serial });
	memset(b->disk.bdev.product, 'p', BDEV_PRODUCT_MAX);
	bench_run(b, CDB(SCSI_INQUIRY, 1, 0x80, BE16(255)), 0, 255);
	assert_good(b, 4 + BDEV_SERIAL_MAX);
	bench_run(b, CDB(SCSI_INQUIRY, 1, 0x83, BE16(255)), 0, 255);
	assert_good(b, 4 + 4 + 8 + 16 + BDEV_SERIAL_MAX + 12);
	bench_free(b);
}

static void block_limits_tell_the_truth(void **state)
{
	struct bench_options opts = { .disk = { .block_size = 4096, .max_discard = 65536 },
				      .limits = {
					      .max_unmap_lba_count = 1000,
					      .max_unmap_block_descriptor_count = 3,
					      .optimal_unmap_granularity = 8,
					      .unmap_granularity_alignment = 2,
					      .ugavalid = true,
					      .max_write_same_length = 77,
				      } };
	struct bench *b = bench_new(&opts);

	b->disk.bdev.info.min_io_size = 8192;
	b->disk.bdev.info.opt_io_size = 65536;
	bench_run(b, CDB(SCSI_INQUIRY, 1, 0xb0, BE16(255)), 0, 255);
	assert_good(b, 64);
	assert_int_equal(b->in[3], 60);
	assert_int_equal(b->in[4], 1); /* WSNZ */
	assert_int_equal(scsi_be16(b->in + 6), 2);
	assert_int_equal(scsi_be32(b->in + 8), SCSI_MAX_TRANSFER_BYTES / 4096);
	assert_int_equal(scsi_be32(b->in + 12), 16);
	assert_int_equal(scsi_be32(b->in + 20), 1000);
	assert_int_equal(scsi_be32(b->in + 24), 3);
	assert_int_equal(scsi_be32(b->in + 28), 8);
	assert_int_equal(scsi_be32(b->in + 32), 0x80000002);
	assert_int_equal(scsi_be64(b->in + 36), 77);

	/* Hints that a guest would complain about. */
	b->disk.bdev.info.min_io_size = 512;
	b->disk.bdev.info.opt_io_size = 6000;
	bench_run(b, CDB(SCSI_INQUIRY, 1, 0xb0, BE16(255)), 0, 255);
	assert_int_equal(scsi_be16(b->in + 6), 0);
	assert_int_equal(scsi_be32(b->in + 12), 0);
	bench_free(b);

	opts.disk.no_discard = true;
	b = bench_new(&opts);
	bench_run(b, CDB(SCSI_INQUIRY, 1, 0xb0, BE16(255)), 0, 255);
	assert_int_equal(scsi_be32(b->in + 20), 0);
	assert_int_equal(scsi_be32(b->in + 24), 0);
	assert_int_equal(scsi_be32(b->in + 28), 0);
	assert_int_equal(scsi_be32(b->in + 32), 0);
	assert_int_equal(scsi_be64(b->in + 36), 77);
	bench_free(b);
}

static void provisioning_follows_the_bdev(void **state)
{
	static const struct {
		bool no_discard;
		bool no_write_zeroes;
		uint8_t flags;
		uint8_t type;
	} cases[] = {
		{ false, false, 0xe4, 2 },
		{ false, true, 0x80, 2 },
		{ true, false, 0x00, 0 },
		{ true, true, 0x00, 0 },
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bench *b = bench_new(&(struct bench_options){
			.disk = { .no_discard = cases[i].no_discard,
				  .no_write_zeroes = cases[i].no_write_zeroes } });

		bench_run(b, CDB(SCSI_INQUIRY, 1, 0xb2, BE16(255)), 0, 255);
		assert_good(b, 8);
		assert_int_equal(b->in[5], cases[i].flags);
		assert_int_equal(b->in[6], cases[i].type);
		bench_free(b);
	}
}

static void rotation(void **state)
{
	struct bench *b = bench_new(NULL);

	bench_run(b, CDB(SCSI_INQUIRY, 1, 0xb1, BE16(255)), 0, 255);
	assert_good(b, 64);
	assert_int_equal(scsi_be16(b->in + 4), 1);
	b->disk.bdev.info.rotational = true;
	bench_run(b, CDB(SCSI_INQUIRY, 1, 0xb1, BE16(255)), 0, 255);
	assert_int_equal(scsi_be16(b->in + 4), 0);
	bench_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(allocation_lengths_are_honoured),
		cmocka_unit_test(standard_data_names_the_disk),
		cmocka_unit_test(refused_forms),
		cmocka_unit_test(all_listed_pages_are_there),
		cmocka_unit_test(serial_and_identification),
		cmocka_unit_test(the_longest_serial_fits),
		cmocka_unit_test(block_limits_tell_the_truth),
		cmocka_unit_test(provisioning_follows_the_bdev),
		cmocka_unit_test(rotation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
