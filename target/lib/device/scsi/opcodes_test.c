/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/scsi/testing.h"

#define RSOC SCSI_MAINTENANCE_IN, SCSI_SA_REPORT_SUPPORTED_OPCODES

static void all_commands_are_listed(void **state)
{
	struct bench *b = bench_new(NULL);
	unsigned int n;
	unsigned int i;

	bench_run(b, CDB(RSOC, 0, 0, BE16(0), BE32(8192)), 0, 8192);
	n = scsi_be32(b->in) / 8;
	assert_good(b, 4 + 8U * n);
	assert_int_equal(n, 28);
	for (i = 0; i < n; i++) {
		const uint8_t *d = b->in + 4 + 8 * i;
		const struct scsi_op *op = scsi_op_find(&b->lu, d[0], d[3]);

		assert_non_null(op);
		assert_int_equal(scsi_be16(d + 6), op->cdb_len);
		assert_int_equal(d[5], scsi_op_has_action(op));
	}
	/* With timeout descriptors; the head alone. */
	bench_run(b, CDB(RSOC, 0x80, 0, BE16(0), BE32(8192)), 0, 8192);
	assert_good(b, 4 + 20U * n);
	assert_int_equal(b->in[4 + 5] & 2, 2);
	assert_int_equal(scsi_be16(b->in + 4 + 8), 10);
	bench_run(b, CDB(RSOC, 0, 0, BE16(0), BE32(4)), 0, 4);
	assert_good(b, 4);
	assert_int_equal(scsi_be32(b->in), 8 * n);
	bench_free(b);

	/* UNMAP is there only with thin provisioning. */
	b = bench_new(&(struct bench_options){ .disk = { .no_discard = true } });
	bench_run(b, CDB(RSOC, 0, 0, BE16(0), BE32(8192)), 0, 8192);
	assert_int_equal(scsi_be32(b->in) / 8, n - 1);
	bench_run(b, CDB(RSOC, 1, SCSI_UNMAP, BE16(0), BE32(512)), 0, 512);
	assert_int_equal(b->in[1], 1);
	bench_free(b);
}

static void one_command_is_described(void **state)
{
	struct bench *b = bench_new(NULL);

	/* What Linux asks before it uses WRITE SAME (16). */
	bench_run(b, CDB(RSOC, 1, SCSI_WRITE_SAME_16, BE16(0), BE32(512)), 0, 512);
	assert_good(b, 20);
	assert_memory_equal(b->in, "\x00\x03\x00\x10\x93\xff\xff", 7);
	assert_int_equal(b->in[19], 0x04);
	bench_run(b, CDB(RSOC, 1, 0x5f, BE16(0), BE32(512)), 0, 512);
	assert_good(b, 4);
	assert_memory_equal(b->in, "\x00\x01\x00\x00", 4);
	bench_run(b, CDB(RSOC, 2, SCSI_SERVICE_ACTION_IN_16, BE16(0x10), BE32(512)), 0, 512);
	assert_good(b, 20);
	assert_memory_equal(b->in + 4, "\x9e\x10", 2);
	bench_run(b, CDB(RSOC, 2, SCSI_SERVICE_ACTION_IN_16, BE16(0x110), BE32(512)), 0, 512);
	assert_int_equal(b->in[1], 1);
	bench_run(b, CDB(RSOC, 3, SCSI_INQUIRY, BE16(0), BE32(512)), 0, 512);
	assert_int_equal(b->in[1], 3);
	bench_run(b, CDB(RSOC, 3, SCSI_INQUIRY, BE16(1), BE32(512)), 0, 512);
	assert_int_equal(b->in[1], 1);
	bench_run(b, CDB(RSOC, 0x81, SCSI_INQUIRY, BE16(0), BE32(512)), 0, 512);
	assert_good(b, 4 + 6 + 12);
	assert_int_equal(b->in[1], 0x83);
	bench_free(b);
}

static void wrong_questions_are_refused(void **state)
{
	struct bench *b = bench_new(NULL);

	bench_run(b, CDB(RSOC, 1, SCSI_SERVICE_ACTION_IN_16, BE16(0x10), BE32(512)), 0, 512);
	assert_bad_cdb(b, 2);
	bench_run(b, CDB(RSOC, 2, SCSI_INQUIRY, BE16(0), BE32(512)), 0, 512);
	assert_bad_cdb(b, 2);
	bench_run(b, CDB(RSOC, 4, SCSI_INQUIRY, BE16(0), BE32(512)), 0, 512);
	assert_bad_cdb(b, 2);
	bench_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_commands_are_listed),
		cmocka_unit_test(one_command_is_described),
		cmocka_unit_test(wrong_questions_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
