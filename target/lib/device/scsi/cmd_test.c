/* SPDX-License-Identifier: BSD-3-Clause */
/* What is decided before a command itself is looked at, and the table of commands. */
#include <string.h>

#include "device/scsi/testing.h"

static void every_other_opcode_is_invalid(void **state)
{
	struct bench *b = bench_new(NULL);
	unsigned int opcode;
	unsigned int known = 0;

	for (opcode = 0; opcode < 256; opcode++) {
		uint8_t cdb[SCSI_CDB_MAX] = { (uint8_t)opcode };

		if (scsi_op_find(&b->lu, (uint8_t)opcode, 0) != NULL ||
		    scsi_opcode_has_actions((uint8_t)opcode)) {
			known++;
			continue;
		}
		bench_run(b, cdb, 0, 0);
		assert_condition(b, SCSI_INVALID_OPCODE);
	}
	assert_int_equal(known, 28);
	/* T62: PERSISTENT RESERVE OUT with any length */
	memset(b->out, 0xff, sizeof(b->out));
	bench_run(b, CDB(0x5f, 0x00, 0, 0, 0, BE32(0xffffffff)), 24, 0);
	assert_condition(b, SCSI_INVALID_OPCODE);
	bench_free(b);
}

static void unknown_service_actions_are_a_bad_field(void **state)
{
	struct bench *b = bench_new(NULL);

	bench_run(b, CDB(SCSI_SERVICE_ACTION_IN_16, 0x11), 0, 32);
	assert_bad_cdb(b, 1);
	bench_run(b, CDB(SCSI_MAINTENANCE_IN, 0x0a), 0, 32);
	assert_bad_cdb(b, 1);
	bench_free(b);
}

static void a_cdb_that_was_cut_is_refused(void **state)
{
	struct bench *b = bench_new(NULL);
	struct scsi_cmd *cmd = &b->cmd;

	memset(cmd, 0, sizeof(*cmd));
	cmd->lu = &b->lu;
	cmd->cdb[0] = SCSI_READ_16;
	cmd->cdb_len = 15;
	assert_int_equal(scsi_cmd_start(cmd), SCSI_DONE);
	assert_bad_cdb(b, 15);
	cmd->cdb[0] = SCSI_TEST_UNIT_READY;
	cmd->cdb_len = 6;
	assert_int_equal(scsi_cmd_start(cmd), SCSI_DONE);
	assert_good(b, 0);
	bench_free(b);
}

static void naca_is_refused_in_every_command(void **state)
{
	struct bench *b = bench_new(NULL);
	const struct scsi_op *op;

	for (op = scsi_op_next(&b->lu, NULL); op != NULL; op = scsi_op_next(&b->lu, op)) {
		uint8_t cdb[SCSI_CDB_MAX] = { scsi_op_opcode(op), op->action };

		cdb[op->cdb_len - 1] = 0x04;
		bench_run(b, cdb, 0, 0);
		assert_bad_cdb(b, op->cdb_len - 1U);
	}
	bench_free(b);
}

static void without_a_logical_unit_three_commands_answer(void **state)
{
	struct bench *b = bench_new(NULL);
	unsigned int opcode;

	for (opcode = 0; opcode < 256; opcode++) {
		uint8_t cdb[SCSI_CDB_MAX] = { (uint8_t)opcode };

		if (opcode == SCSI_INQUIRY || opcode == SCSI_REPORT_LUNS ||
		    opcode == SCSI_REQUEST_SENSE) {
			continue;
		}
		bench_run_no_lu(b, cdb, 0, 0);
		assert_condition(b, SCSI_LUN_NOT_SUPPORTED);
	}
	bench_run_no_lu(b, CDB(SCSI_INQUIRY, 0, 0, 0, 36), 0, 36);
	assert_good(b, 36);
	assert_int_equal(b->in[0], 0x7f);
	bench_run_no_lu(b, CDB(SCSI_INQUIRY, 1, 0x83, 0, 36), 0, 36);
	assert_condition(b, SCSI_LUN_NOT_SUPPORTED);
	bench_run_no_lu(b, CDB(SCSI_REPORT_LUNS, 0, 0, 0, 0, 0, BE32(16)), 0, 16);
	assert_good(b, 16);
	bench_run_no_lu(b, CDB(SCSI_REQUEST_SENSE, 0, 0, 0, 18), 0, 18);
	assert_good(b, 18);
	assert_int_equal(b->in[2], 0x05);
	assert_int_equal(b->in[12], 0x25);
	bench_free(b);
}

static void a_unit_attention_is_told_once(void **state)
{
	struct bench *b = bench_new(NULL);

	*b->lu.ua = SCSI_UA_BIT_RESET;
	bench_run(b, CDB(SCSI_INQUIRY, 0, 0, 0, 36), 0, 36);
	assert_good(b, 36);
	bench_run(b, CDB(SCSI_REPORT_LUNS, 0, 0, 0, 0, 0, BE32(16)), 0, 16);
	assert_good(b, 16);
	bench_run(b, CDB(SCSI_TEST_UNIT_READY), 0, 0);
	assert_condition(b, SCSI_UA_DEVICE_RESET);
	bench_run(b, CDB(SCSI_TEST_UNIT_READY), 0, 0);
	assert_good(b, 0);

	/* REQUEST SENSE takes it too, when there is room to tell. */
	*b->lu.ua = SCSI_UA_BIT_NEXUS_LOSS;
	bench_run(b, CDB(SCSI_REQUEST_SENSE, 0, 0, 0, 4), 0, 4);
	assert_good(b, 4);
	bench_run(b, CDB(SCSI_REQUEST_SENSE, 0, 0, 0, 252), 0, 252);
	assert_good(b, 18);
	assert_int_equal(b->in[2], 0x06);
	assert_int_equal(b->in[12], 0x29);
	assert_int_equal(b->in[13], 0x07);
	bench_run(b, CDB(SCSI_TEST_UNIT_READY), 0, 0);
	assert_good(b, 0);

	/* It goes before everything else that could be wrong. */
	*b->lu.ua = SCSI_UA_BIT_RESET;
	bench_run(b, CDB(0xff), 0, 0);
	assert_condition(b, SCSI_UA_DEVICE_RESET);
	bench_free(b);
}

static void a_read_only_disk_refuses_what_changes_it(void **state)
{
	static const uint8_t writes[] = {
		SCSI_WRITE_6,  SCSI_WRITE_10,	   SCSI_WRITE_12,
		SCSI_WRITE_16, SCSI_WRITE_SAME_10, SCSI_WRITE_SAME_16,
	};
	struct bench *b = bench_new(&(struct bench_options){ .read_only = true });
	size_t i;

	for (i = 0; i < sizeof(writes); i++) {
		uint8_t cdb[SCSI_CDB_MAX] = { writes[i] };

		bench_run(b, cdb, 512, 0);
		assert_condition(b, SCSI_WRITE_PROTECTED);
	}
	bench_run(b, CDB(SCSI_UNMAP), 24, 0);
	assert_condition(b, SCSI_INVALID_OPCODE); /* it is not offered at all there */
	assert_int_equal(b->disk.log_n, 0);
	bench_run(b, CDB(SCSI_READ_10, 0, BE32(0), 0, BE16(1)), 0, 512);
	assert_good(b, 512);
	bench_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_other_opcode_is_invalid),
		cmocka_unit_test(unknown_service_actions_are_a_bad_field),
		cmocka_unit_test(a_cdb_that_was_cut_is_refused),
		cmocka_unit_test(naca_is_refused_in_every_command),
		cmocka_unit_test(without_a_logical_unit_three_commands_answer),
		cmocka_unit_test(a_unit_attention_is_told_once),
		cmocka_unit_test(a_read_only_disk_refuses_what_changes_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
