/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/bytes.h"

static void numbers_in_both_orders(void **state)
{
	static const uint8_t data[] = { 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08 };
	struct bytes_reader r;

	r = bytes_reader(data, sizeof(data));
	assert_int_equal(bytes_get_u8(&r), 1);
	assert_int_equal(bytes_get_le16(&r), 0x0302);
	assert_int_equal(bytes_get_le32(&r), 0x07060504);
	assert_int_equal(bytes_left(&r), 1);
	r = bytes_reader(data, sizeof(data));
	assert_int_equal(bytes_get_be16(&r), 0x0102);
	assert_int_equal(bytes_get_be32(&r), 0x03040506);
	r = bytes_reader(data, sizeof(data));
	assert_true(bytes_get_le64(&r) == UINT64_C(0x0807060504030201));
	r = bytes_reader(data, sizeof(data));
	assert_true(bytes_get_be64(&r) == UINT64_C(0x0102030405060708));
	assert_int_equal(bytes_left(&r), 0);
	assert_false(r.failed);
}

static void reading_past_the_end_fails_for_good(void **state)
{
	static const uint8_t data[] = { 1, 2, 3 };
	struct bytes_reader r = bytes_reader(data, sizeof(data));
	uint8_t buf[4] = { 9, 9, 9, 9 };

	assert_int_equal(bytes_get_le32(&r), 0); /* nothing half-read */
	assert_true(r.failed);
	assert_int_equal(bytes_get_u8(&r), 0); /* although a byte is there */
	bytes_get(&r, buf, 2);
	assert_int_equal(buf[0] | buf[1], 0);
	assert_int_equal(buf[2], 9);

	r = bytes_reader(data, sizeof(data));
	bytes_skip(&r, 2);
	assert_int_equal(bytes_get_u8(&r), 3);
	bytes_skip(&r, 0);
	assert_false(r.failed);
	bytes_skip(&r, 1);
	assert_true(r.failed);

	r = bytes_reader(data, sizeof(data));
	bytes_skip(&r, SIZE_MAX);
	assert_true(r.failed);
	r = bytes_reader(data, 0);
	assert_int_equal(bytes_get_u8(&r), 0);
	assert_true(r.failed);
}

static void what_is_written_can_be_read(void **state)
{
	uint8_t buf[30];
	struct bytes_writer w = bytes_writer(buf, sizeof(buf));
	struct bytes_reader r = bytes_reader(buf, sizeof(buf));

	bytes_put_u8(&w, 0x11);
	bytes_put_le16(&w, 0x2233);
	bytes_put_le32(&w, 0x44556677);
	bytes_put_le64(&w, UINT64_C(0x8899aabbccddeeff));
	bytes_put_be16(&w, 0x2233);
	bytes_put_be32(&w, 0x44556677);
	bytes_put_be64(&w, UINT64_C(0x8899aabbccddeeff));
	bytes_put(&w, "x", 1);
	assert_false(w.truncated);
	assert_int_equal(w.pos, 30);
	assert_int_equal(w.wanted, 30);

	assert_int_equal(buf[1], 0x33);
	assert_int_equal(buf[15], 0x22);
	assert_int_equal(bytes_get_u8(&r), 0x11);
	assert_int_equal(bytes_get_le16(&r), 0x2233);
	assert_int_equal(bytes_get_le32(&r), 0x44556677);
	assert_true(bytes_get_le64(&r) == UINT64_C(0x8899aabbccddeeff));
	assert_int_equal(bytes_get_be16(&r), 0x2233);
	assert_int_equal(bytes_get_be32(&r), 0x44556677);
	assert_true(bytes_get_be64(&r) == UINT64_C(0x8899aabbccddeeff));
	assert_int_equal(bytes_get_u8(&r), 'x');
	assert_false(r.failed);
}

/* As a SCSI target cuts its answer to the allocation length, and still reports the full one. */
static void a_full_buffer_keeps_the_beginning_and_counts_all(void **state)
{
	uint8_t buf[6] = { 0, 0, 0, 0, 0, 0x77 };
	struct bytes_writer w = bytes_writer(buf, 5);

	bytes_put_be32(&w, 0x01020304);
	bytes_put_be32(&w, 0x05060708);
	bytes_put_u8(&w, 9);
	assert_true(w.truncated);
	assert_int_equal(w.pos, 5);
	assert_int_equal(w.wanted, 9);
	assert_int_equal(buf[3], 4);
	assert_int_equal(buf[4], 5);
	assert_int_equal(buf[5], 0x77);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_in_both_orders),
		cmocka_unit_test(reading_past_the_end_fails_for_good),
		cmocka_unit_test(what_is_written_can_be_read),
		cmocka_unit_test(a_full_buffer_keeps_the_beginning_and_counts_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
