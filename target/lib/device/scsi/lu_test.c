/* SPDX-License-Identifier: BSD-3-Clause */
#include <string.h>

#include "device/scsi/testing.h"

/* T51, T53: the forms of the lun field (virtio 1.2, 5.6.6.1). */
static void addresses_are_decoded(void **state)
{
	static const struct {
		uint8_t lun[SCSI_ADDRESS_LEN];
		bool is_target;
		uint8_t target;
		uint16_t number;
	} cases[] = {
		{ { 1, 0, 0x40, 0 }, true, 0, 0 },
		{ { 1, 7, 0x40, 0 }, true, 7, 0 },
		{ { 1, 3, 0, 0 }, true, 3, 0 },
		{ { 1, 3, 0, 5 }, true, 3, 5 },
		{ { 1, 3, 0x40, 5 }, true, 3, 5 },
		{ { 1, 3, 0x7f, 0xff }, true, 3, 0x3fff },
		{ { 1, 255, 0x41, 0 }, true, 255, 256 },
		{ { 1, 3, 0x01, 0 }, true, 3, UINT16_MAX },    /* another bus */
		{ { 1, 3, 0x80, 0 }, true, 3, UINT16_MAX },    /* logical unit addressing */
		{ { 1, 3, 0xc1, 0x01 }, true, 3, UINT16_MAX }, /* well-known LUN, second level */
		{ { 1, 3, 0x40, 0, 0, 0, 0, 1 }, true, 3, UINT16_MAX },
		{ { 1, 3, 0, 0, 1 }, true, 3, UINT16_MAX },
		{ { 0, 3, 0x40, 0 }, false, 0, 0 },
		{ { 2, 3, 0x40, 0 }, false, 0, 0 },
		{ { 0xc1, 0x01 }, false, 0, 0 },
		{ { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff }, false, 0, 0 },
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct scsi_address address;

		assert_int_equal(scsi_address_parse(cases[i].lun, &address), cases[i].is_target);
		if (cases[i].is_target) {
			assert_int_equal(address.target, cases[i].target);
			assert_int_equal(address.lun, cases[i].number);
		}
	}
}

static void identity_depends_on_the_serial_alone(void **state)
{
	struct bench *a = bench_new(&(struct bench_options){ .serial = "disk-1" });
	struct bench *b = bench_new(&(struct bench_options){ .serial = "disk-1" });
	struct bench *c = bench_new(&(struct bench_options){ .serial = "disk-2" });

	assert_int_equal(a->lu.naa, b->lu.naa);
	assert_int_not_equal(a->lu.naa, c->lu.naa);
	assert_int_equal(a->lu.naa >> 60, 3);
	bench_free(a);
	bench_free(b);
	bench_free(c);
}

static void a_serial_is_printable(void **state)
{
	struct bench *b = bench_new(&(struct bench_options){ .serial = "a\tb\xc3\xa4 c" });

	assert_string_equal(b->lu.serial, "a_b__ c");
	bench_free(b);
}

static void limits_follow_what_the_bdev_can(void **state)
{
	struct bench_options opts = { .limits = {
					      .max_unmap_lba_count = 1000,
					      .max_unmap_block_descriptor_count = 4000,
					      .max_write_same_length = 7,
				      } };
	struct bench *b = bench_new(&opts);

	assert_true(b->lu.thin && b->lu.unmap_zeroes);
	assert_int_equal(b->lu.limits.max_unmap_lba_count, 1000);
	assert_int_equal(b->lu.limits.max_unmap_block_descriptor_count, SCSI_MAX_UNMAP_DESCRIPTORS);
	bench_free(b);

	opts.disk.no_write_zeroes = true;
	b = bench_new(&opts);
	assert_true(b->lu.thin && !b->lu.unmap_zeroes);
	bench_free(b);

	opts.disk.no_discard = true;
	b = bench_new(&opts);
	assert_false(b->lu.thin);
	assert_int_equal(b->lu.limits.max_unmap_lba_count, 0);
	assert_int_equal(b->lu.limits.max_unmap_block_descriptor_count, 0);
	assert_int_equal(b->lu.limits.max_write_same_length, 7);
	bench_free(b);

	opts.disk.no_discard = false;
	opts.disk.read_only = true;
	b = bench_new(&opts);
	assert_true(b->lu.read_only && !b->lu.thin);
	bench_free(b);
}

static void unit_attentions_come_one_by_one(void **state)
{
	struct bench *b = bench_new(NULL);
	enum scsi_condition condition;

	assert_false(scsi_lu_take_ua(&b->lu, &condition));
	*b->lu.ua = SCSI_UA_BIT_CAPACITY | SCSI_UA_BIT_LUNS_CHANGED | SCSI_UA_BIT_NEXUS_LOSS |
		    SCSI_UA_BIT_RESET;
	assert_true(scsi_lu_take_ua(&b->lu, &condition));
	assert_int_equal(condition, SCSI_UA_DEVICE_RESET);
	assert_true(scsi_lu_take_ua(&b->lu, &condition));
	assert_int_equal(condition, SCSI_UA_NEXUS_LOSS);
	assert_true(scsi_lu_take_ua(&b->lu, &condition));
	assert_int_equal(condition, SCSI_UA_LUNS_CHANGED);
	assert_true(scsi_lu_take_ua(&b->lu, &condition));
	assert_int_equal(condition, SCSI_UA_CAPACITY_CHANGED);
	assert_false(scsi_lu_take_ua(&b->lu, &condition));
	bench_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_are_decoded),
		cmocka_unit_test(identity_depends_on_the_serial_alone),
		cmocka_unit_test(a_serial_is_printable),
		cmocka_unit_test(limits_follow_what_the_bdev_can),
		cmocka_unit_test(unit_attentions_come_one_by_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
