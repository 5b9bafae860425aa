/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "vhost_frontend/scsi.h"

/* Bytes as in the tables of SPC-4 and SBC-3. */
#define CHECK(call, ...)                                              \
	do {                                                          \
		const uint8_t expected[] = { __VA_ARGS__ };           \
		uint8_t cdb[VFE_CDB_MAX];                             \
                                                                      \
		memset(cdb, 0xee, sizeof(cdb));                       \
		assert_int_equal(call, sizeof(expected));             \
		assert_memory_equal(cdb, expected, sizeof(expected)); \
	} while (0)

static void reads_and_writes(void **state)
{
	CHECK(vfe_cdb_read10(cdb, 0x01020304, 0x0506), 0x28, 0, 1, 2, 3, 4, 0, 5, 6, 0);
	CHECK(vfe_cdb_write10(cdb, 0x01020304, 0x0506), 0x2a, 0, 1, 2, 3, 4, 0, 5, 6, 0);
	CHECK(vfe_cdb_read16(cdb, 0x0102030405060708, 0x090a0b0c), 0x88, 0, 1, 2, 3, 4, 5, 6, 7, 8,
	      9, 10, 11, 12, 0, 0);
	CHECK(vfe_cdb_write16(cdb, 0x0102030405060708, 0x090a0b0c), 0x8a, 0, 1, 2, 3, 4, 5, 6, 7, 8,
	      9, 10, 11, 12, 0, 0);
	CHECK(vfe_cdb_sync_cache10(cdb, 1, 2), 0x35, 0, 0, 0, 0, 1, 0, 0, 2, 0);
	CHECK(vfe_cdb_write_same16(cdb, 1, 2, true), 0x93, 8, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0,
	      0);
	CHECK(vfe_cdb_unmap(cdb, 24), 0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0);
}

static void the_same_elsewhere(void **state)
{
	uint8_t expected[VFE_CDB_MAX];
	uint8_t cdb[VFE_CDB_MAX];

	vfe_cdb_write10(cdb, 0x01020304, 0x0506);
	vfe_cdb_write10(expected, 0xfffefdfc, 0x0506);
	vfe_cdb_seek10(cdb, 0xfffefdfc);
	assert_memory_equal(cdb, expected, sizeof(cdb));
}

static void questions(void **state)
{
	CHECK(vfe_cdb_test_unit_ready(cdb), 0, 0, 0, 0, 0, 0);
	CHECK(vfe_cdb_inquiry(cdb, false, 0, 0x0124), 0x12, 0, 0, 1, 0x24, 0);
	CHECK(vfe_cdb_inquiry(cdb, true, 0xb0, 64), 0x12, 1, 0xb0, 0, 64, 0);
	CHECK(vfe_cdb_report_luns(cdb, 0x1000), 0xa0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0);
	CHECK(vfe_cdb_read_capacity10(cdb), 0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0);
	CHECK(vfe_cdb_read_capacity16(cdb, 32), 0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0,
	      0);
	CHECK(vfe_cdb_mode_sense6(cdb, 8, 192), 0x1a, 0, 8, 0, 192, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_and_writes),
		cmocka_unit_test(the_same_elsewhere),
		cmocka_unit_test(questions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
