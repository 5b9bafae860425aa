/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of commands. */
#include "device/scsi/cmd.h"

/*
 * A usage map names the bits of CDB bytes 1, 2... that a command looks at. The last byte (control) is
 * 04h everywhere: NACA is looked at, and refused. A service action stands there as its value.
 */
#define CONTROL 0x04
#define ALL8	0xff

static const struct scsi_op by_opcode[256] = {
	[SCSI_TEST_UNIT_READY] = { .start = scsi_test_unit_ready,
				   .cdb_len = 6,
				   .usage = { 0, 0, 0, 0, CONTROL } },
	[SCSI_REQUEST_SENSE] = { .start = scsi_request_sense,
				 .cdb_len = 6,
				 .flags = SCSI_OP_ANY_LUN | SCSI_OP_PAST_UA,
				 .usage = { 0x01, 0, 0, ALL8, CONTROL } },
	[SCSI_READ_6] = { .start = scsi_read,
			  .advance = scsi_rw_advance,
			  .cdb_len = 6,
			  .usage = { 0x1f, ALL8, ALL8, ALL8, CONTROL } },
	[SCSI_WRITE_6] = { .start = scsi_write,
			   .advance = scsi_rw_advance,
			   .cdb_len = 6,
			   .flags = SCSI_OP_WRITES,
			   .usage = { 0x1f, ALL8, ALL8, ALL8, CONTROL } },
	[SCSI_INQUIRY] = { .start = scsi_inquiry,
			   .cdb_len = 6,
			   .flags = SCSI_OP_ANY_LUN | SCSI_OP_PAST_UA,
			   .usage = { 0x03, ALL8, ALL8, ALL8, CONTROL } },
	[SCSI_MODE_SELECT_6] = { .start = scsi_mode_select,
				 .cdb_len = 6,
				 .usage = { 0x11, 0, 0, ALL8, CONTROL } },
	[SCSI_MODE_SENSE_6] = { .start = scsi_mode_sense,
				.cdb_len = 6,
				.usage = { 0x08, ALL8, ALL8, ALL8, CONTROL } },
	[SCSI_START_STOP_UNIT] = { .start = scsi_start_stop,
				   .advance = scsi_flushed,
				   .cdb_len = 6,
				   .usage = { 0, 0, 0, 0xf7, CONTROL } },
	[SCSI_READ_CAPACITY_10] = { .start = scsi_read_capacity_10,
				    .cdb_len = 10,
				    .usage = { 0, ALL8, ALL8, ALL8, ALL8, 0, 0, 0x01, CONTROL } },
	[SCSI_READ_10] = { .start = scsi_read,
			   .advance = scsi_rw_advance,
			   .cdb_len = 10,
			   .usage = { 0xf8, ALL8, ALL8, ALL8, ALL8, 0, ALL8, ALL8, CONTROL } },
	[SCSI_WRITE_10] = { .start = scsi_write,
			    .advance = scsi_rw_advance,
			    .cdb_len = 10,
			    .flags = SCSI_OP_WRITES,
			    .usage = { 0xf8, ALL8, ALL8, ALL8, ALL8, 0, ALL8, ALL8, CONTROL } },
	[SCSI_VERIFY_10] = { .start = scsi_verify,
			     .advance = scsi_verify_advance,
			     .cdb_len = 10,
			     .usage = { 0xf6, ALL8, ALL8, ALL8, ALL8, 0, ALL8, ALL8, CONTROL } },
	[SCSI_SYNCHRONIZE_CACHE_10] = { .start = scsi_synchronize_cache,
					.advance = scsi_flushed,
					.cdb_len = 10,
					.usage = { 0x02, ALL8, ALL8, ALL8, ALL8, 0, ALL8, ALL8,
						   CONTROL } },
	[SCSI_WRITE_SAME_10] = { .start = scsi_write_same,
				 .advance = scsi_write_same_advance,
				 .cdb_len = 10,
				 .flags = SCSI_OP_WRITES,
				 .usage = { 0xfe, ALL8, ALL8, ALL8, ALL8, 0, ALL8, ALL8,
					    CONTROL } },
	[SCSI_UNMAP] = { .start = scsi_unmap,
			 .advance = scsi_unmap_advance,
			 .cdb_len = 10,
			 .flags = SCSI_OP_WRITES | SCSI_OP_UNMAP,
			 .usage = { 0x01, 0, 0, 0, 0, 0, ALL8, ALL8, CONTROL } },
	[SCSI_MODE_SELECT_10] = { .start = scsi_mode_select,
				  .cdb_len = 10,
				  .usage = { 0x11, 0, 0, 0, 0, 0, ALL8, ALL8, CONTROL } },
	[SCSI_MODE_SENSE_10] = { .start = scsi_mode_sense,
				 .cdb_len = 10,
				 .usage = { 0x18, ALL8, ALL8, 0, 0, 0, ALL8, ALL8, CONTROL } },
	[SCSI_READ_16] = { .start = scsi_read,
			   .advance = scsi_rw_advance,
			   .cdb_len = 16,
			   .usage = { 0xf8, ALL8, ALL8, ALL8, ALL8, ALL8, ALL8, ALL8, ALL8, ALL8,
				      ALL8, ALL8, ALL8, 0, CONTROL } },
	[SCSI_WRITE_16] = { .start = scsi_write,
			    .advance = scsi_rw_advance,
			    .cdb_len = 16,
			    .flags = SCSI_OP_WRITES,
			    .usage = { 0xf8, ALL8, ALL8, ALL8, ALL8, ALL8, ALL8, ALL8, ALL8, ALL8,
				       ALL8, ALL8, ALL8, 0, CONTROL } },
	[SCSI_VERIFY_16] = { .start = scsi_verify,
			     .advance = scsi_verify_advance,
			     .cdb_len = 16,
			     .usage = { 0xf6, ALL8, ALL8, ALL8, ALL8, ALL8, ALL8, ALL8, ALL8, ALL8,
					ALL8, ALL8, ALL8, 0, CONTROL } },
	[SCSI_SYNCHRONIZE_CACHE_16] = { .start = scsi_synchronize_cache,
					.advance = scsi_flushed,
					.cdb_len = 16,
					.usage = { 0x02, ALL8, ALL8, ALL8, ALL8, ALL8, ALL8, ALL8,
						   ALL8, ALL8, ALL8, ALL8, ALL8, 0, CONTROL } },
	[SCSI_WRITE_SAME_16] = { .start = scsi_write_same,
				 .advance = scsi_write_same_advance,
				 .cdb_len = 16,
				 .flags = SCSI_OP_WRITES,
				 .usage = { 0xff, ALL8, ALL8, ALL8, ALL8, ALL8, ALL8, ALL8, ALL8,
					    ALL8, ALL8, ALL8, ALL8, 0, CONTROL } },
	[SCSI_SERVICE_ACTION_IN_16] = { .flags = SCSI_OP_BY_ACTION },
	[SCSI_REPORT_LUNS] = { .start = scsi_report_luns,
			       .cdb_len = 12,
			       .flags = SCSI_OP_ANY_LUN | SCSI_OP_PAST_UA,
			       .usage = { 0, ALL8, 0, 0, 0, ALL8, ALL8, ALL8, ALL8, 0, CONTROL } },
	[SCSI_MAINTENANCE_IN] = { .flags = SCSI_OP_BY_ACTION },
	[SCSI_READ_12] = { .start = scsi_read,
			   .advance = scsi_rw_advance,
			   .cdb_len = 12,
			   .usage = { 0xf8, ALL8, ALL8, ALL8, ALL8, ALL8, ALL8, ALL8, ALL8, 0,
				      CONTROL } },
	[SCSI_WRITE_12] = { .start = scsi_write,
			    .advance = scsi_rw_advance,
			    .cdb_len = 12,
			    .flags = SCSI_OP_WRITES,
			    .usage = { 0xf8, ALL8, ALL8, ALL8, ALL8, ALL8, ALL8, ALL8, ALL8, 0,
				       CONTROL } },
	[SCSI_VERIFY_12] = { .start = scsi_verify,
			     .advance = scsi_verify_advance,
			     .cdb_len = 12,
			     .usage = { 0xf6, ALL8, ALL8, ALL8, ALL8, ALL8, ALL8, ALL8, ALL8, 0,
					CONTROL } },
};

static const struct scsi_op by_action[] = {
	{ .start = scsi_read_capacity_16,
	  .cdb_len = 16,
	  .opcode = SCSI_SERVICE_ACTION_IN_16,
	  .action = SCSI_SA_READ_CAPACITY_16,
	  .usage = { SCSI_SA_READ_CAPACITY_16, ALL8, ALL8, ALL8, ALL8, ALL8, ALL8, ALL8, ALL8, ALL8,
		     ALL8, ALL8, ALL8, 0x01, CONTROL } },
	{ .start = scsi_report_opcodes,
	  .cdb_len = 12,
	  .opcode = SCSI_MAINTENANCE_IN,
	  .action = SCSI_SA_REPORT_SUPPORTED_OPCODES,
	  .usage = { SCSI_SA_REPORT_SUPPORTED_OPCODES, 0x87, ALL8, ALL8, ALL8, ALL8, ALL8, ALL8,
		     ALL8, 0, CONTROL } },
};

#define OPCODES (sizeof(by_opcode) / sizeof(by_opcode[0]))
#define ACTIONS (sizeof(by_action) / sizeof(by_action[0]))

/* Is this command there on this disk? */
static bool is_there(const struct scsi_lu *lu, const struct scsi_op *op)
{
	if (op->start == NULL) {
		return false;
	}
	return (op->flags & SCSI_OP_UNMAP) == 0 ||
	       (lu != NULL && lu->limits.max_unmap_lba_count > 0);
}

const struct scsi_op *scsi_op_find(const struct scsi_lu *lu, uint8_t opcode, uint8_t action)
{
	const struct scsi_op *op = &by_opcode[opcode];
	size_t i;

	if ((op->flags & SCSI_OP_BY_ACTION) == 0) {
		return is_there(lu, op) ? op : NULL;
	}
	for (i = 0; i < ACTIONS; i++) {
		if (by_action[i].opcode == opcode && by_action[i].action == action) {
			return is_there(lu, &by_action[i]) ? &by_action[i] : NULL;
		}
	}
	return NULL;
}

bool scsi_opcode_has_actions(uint8_t opcode)
{
	return (by_opcode[opcode].flags & SCSI_OP_BY_ACTION) != 0;
}

bool scsi_op_has_action(const struct scsi_op *op)
{
	return op >= by_action && op < by_action + ACTIONS;
}

uint8_t scsi_op_opcode(const struct scsi_op *op)
{
	return scsi_op_has_action(op) ? op->opcode : (uint8_t)(op - by_opcode);
}

const struct scsi_op *scsi_op_next(const struct scsi_lu *lu, const struct scsi_op *op)
{
	size_t i = 0; /* counts through the first table, then the second */

	if (op != NULL) {
		i = 1 + (scsi_op_has_action(op) ? OPCODES + (size_t)(op - by_action) :
						  (size_t)(op - by_opcode));
	}
	for (; i < OPCODES + ACTIONS; i++) {
		op = i < OPCODES ? &by_opcode[i] : &by_action[i - OPCODES];
		if (is_there(lu, op)) {
			return op;
		}
	}
	return NULL;
}
