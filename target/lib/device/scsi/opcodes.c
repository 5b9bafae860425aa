/* SPDX-License-Identifier: BSD-3-Clause */
/* REPORT SUPPORTED OPERATION CODES (SPC-4, 6.35), out of the table of commands. */
#include "base/bytes.h"
#include "device/scsi/cmd.h"

#define TIMEOUTS_LEN 12
#define ALL_MAX	     1024 /* 32 commands of 20 bytes fit well */

enum reporting_options {
	REPORT_ALL = 0,
	REPORT_OPCODE = 1,	  /* the opcode has no service actions */
	REPORT_OPCODE_ACTION = 2, /* it has */
	REPORT_EITHER = 3,
};

/* SPC-4, 6.35.4: no timeouts are known. */
static void put_timeouts(struct bytes_writer *w)
{
	static const uint8_t none[TIMEOUTS_LEN] = { 0, TIMEOUTS_LEN - 2 };

	bytes_put(w, none, sizeof(none));
}

static enum scsi_step report_all(struct scsi_cmd *cmd, bool timeouts, uint32_t allocation)
{
	uint8_t data[ALL_MAX];
	struct bytes_writer w = bytes_writer(data, sizeof(data));
	struct bytes_writer head = bytes_writer(data, 4);
	const struct scsi_op *op;

	bytes_put_be32(&w, 0); /* the length, below */
	for (op = scsi_op_next(cmd->lu, NULL); op != NULL; op = scsi_op_next(cmd->lu, op)) {
		bytes_put_u8(&w, scsi_op_opcode(op));
		bytes_put_u8(&w, 0);
		bytes_put_be16(&w, op->action);
		bytes_put_u8(&w, 0);
		/* CTDP, SERVACTV */
		bytes_put_u8(&w, (uint8_t)((timeouts ? 2 : 0) | (scsi_op_has_action(op) ? 1 : 0)));
		bytes_put_be16(&w, op->cdb_len);
		if (timeouts) {
			put_timeouts(&w);
		}
	}
	bytes_put_be32(&head, (uint32_t)(w.pos - 4));
	return scsi_reply(cmd, data, w.pos, allocation);
}

static enum scsi_step report_one(struct scsi_cmd *cmd, const struct scsi_op *op, bool timeouts,
				 uint32_t allocation)
{
	uint8_t data[64];
	struct bytes_writer w = bytes_writer(data, sizeof(data));

	bytes_put_u8(&w, 0);
	if (op == NULL) {
		bytes_put_u8(&w, 0x01); /* SUPPORT: not supported */
		bytes_put_be16(&w, 0);
		return scsi_reply(cmd, data, w.pos, allocation);
	}
	bytes_put_u8(&w, timeouts ? 0x83 : 0x03); /* CTDP; SUPPORT: as the standard says */
	bytes_put_be16(&w, op->cdb_len);
	bytes_put_u8(&w, scsi_op_opcode(op));
	bytes_put(&w, op->usage, op->cdb_len - 1U);
	if (timeouts) {
		put_timeouts(&w);
	}
	return scsi_reply(cmd, data, w.pos, allocation);
}

enum scsi_step scsi_report_opcodes(struct scsi_cmd *cmd)
{
	bool timeouts = (cmd->cdb[2] & 0x80) != 0;
	uint8_t opcode = cmd->cdb[3];
	uint16_t action = scsi_be16(cmd->cdb + 4);
	uint32_t allocation = scsi_be32(cmd->cdb + 6);
	bool has_actions = scsi_opcode_has_actions(opcode);
	const struct scsi_op *op = NULL;

	if (action <= 0x1f) {
		op = scsi_op_find(cmd->lu, opcode, (uint8_t)action);
	}
	switch (cmd->cdb[2] & 0x07) {
	case REPORT_ALL:
		return report_all(cmd, timeouts, allocation);
	case REPORT_OPCODE:
		if (has_actions) {
			return scsi_bad_cdb(cmd, 2);
		}
		return report_one(cmd, scsi_op_find(cmd->lu, opcode, 0), timeouts, allocation);
	case REPORT_OPCODE_ACTION:
		if (op != NULL && !has_actions) {
			return scsi_bad_cdb(cmd, 2);
		}
		return report_one(cmd, op, timeouts, allocation);
	case REPORT_EITHER:
		if (!has_actions && action != 0) {
			op = NULL;
		}
		return report_one(cmd, op, timeouts, allocation);
	default:
		return scsi_bad_cdb(cmd, 2);
	}
}
