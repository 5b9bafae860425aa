/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <string.h>

#include "device/scsi/testing.h"

static void a_condition_fills_key_and_codes(void **state)
{
	uint8_t sense[SCSI_SENSE_LEN];
	static const uint8_t expected[SCSI_SENSE_LEN] = {
		0x70, 0, 0x03, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x11, 0x00, 0, 0, 0, 0,
	};

	memset(sense, 0xff, sizeof(sense));
	scsi_sense_init(sense, SCSI_READ_ERROR);
	assert_memory_equal(sense, expected, sizeof(sense));
}

static void information_is_valid_only_when_it_fits(void **state)
{
	uint8_t sense[SCSI_SENSE_LEN];

	scsi_sense_init(sense, SCSI_LBA_OUT_OF_RANGE);
	scsi_sense_set_information(sense, UINT64_C(0x100000000));
	assert_int_equal(sense[0], 0x70);
	assert_int_equal(scsi_be32(sense + 3), 0);
	scsi_sense_set_information(sense, 0x12345678);
	assert_int_equal(sense[0], 0xf0);
	assert_int_equal(scsi_be32(sense + 3), 0x12345678);
}

static void errors_of_a_bdev_become_conditions(void **state)
{
	static const struct {
		int status;
		enum bdev_op op;
		enum scsi_condition condition;
	} cases[] = {
		{ -EIO, BDEV_READ, SCSI_READ_ERROR },
		{ -EIO, BDEV_WRITE, SCSI_WRITE_ERROR },
		{ -EIO, BDEV_FLUSH, SCSI_WRITE_ERROR },
		{ -EIO, BDEV_DISCARD, SCSI_WRITE_ERROR },
		{ -ENOSPC, BDEV_WRITE, SCSI_SPACE_EXHAUSTED },
		{ -EROFS, BDEV_WRITE, SCSI_WRITE_PROTECTED },
		{ -EPERM, BDEV_WRITE, SCSI_WRITE_PROTECTED },
		{ -ENODEV, BDEV_READ, SCSI_NOT_READY_INTERVENTION },
		{ -ENOMEM, BDEV_READ, SCSI_INTERNAL_FAILURE },
		{ -EINVAL, BDEV_WRITE_ZEROES, SCSI_INTERNAL_FAILURE },
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(scsi_condition_of_errno(cases[i].status, cases[i].op),
				 cases[i].condition);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_condition_fills_key_and_codes),
		cmocka_unit_test(information_is_valid_only_when_it_fits),
		cmocka_unit_test(errors_of_a_bdev_become_conditions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
