/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/scsi/cmd.h"

#include <string.h>

#include "base/checked.h"
#include "base/iov.h"

#define CDB_CONTROL_NACA 0x04 /* SAM-5, 5.2: last byte of the CDB */

/* Everything that is refused before the command itself is looked at (SAM-5, 5.14 for the order). */
static bool refused(struct scsi_cmd *cmd, const struct scsi_op *op)
{
	unsigned int flags = op != NULL ? op->flags : 0;
	enum scsi_condition attention;

	if (cmd->lu == NULL && (flags & SCSI_OP_ANY_LUN) == 0) {
		scsi_check(cmd, SCSI_LUN_NOT_SUPPORTED);
		return true;
	}
	if (cmd->lu != NULL && scsi_lu_has_ua(cmd->lu) && (flags & SCSI_OP_PAST_UA) == 0 &&
	    scsi_lu_take_ua(cmd->lu, &attention)) {
		scsi_check(cmd, attention);
		return true;
	}
	if (op == NULL) {
		if (scsi_opcode_has_actions(cmd->cdb[0])) {
			scsi_bad_cdb(cmd, 1);
		} else {
			scsi_check(cmd, SCSI_INVALID_OPCODE);
		}
		return true;
	}
	if (cmd->cdb_len < op->cdb_len) {
		scsi_bad_cdb(cmd, cmd->cdb_len);
		return true;
	}
	/* INQUIRY says NORMACA = 0. */
	if ((cmd->cdb[op->cdb_len - 1] & CDB_CONTROL_NACA) != 0) {
		scsi_bad_cdb(cmd, op->cdb_len - 1U);
		return true;
	}
	if ((flags & SCSI_OP_WRITES) != 0 && cmd->lu->read_only) {
		scsi_check(cmd, SCSI_WRITE_PROTECTED);
		return true;
	}
	return false;
}

void scsi_cmd_init(struct scsi_cmd *cmd)
{
	cmd->response = VIRTIO_SCSI_S_OK;
	cmd->status = SCSI_STATUS_GOOD;
	cmd->sense_len = 0;
	cmd->transferred = 0;
	cmd->stage = 0;
	cmd->io_flags = 0;
}

enum scsi_step scsi_cmd_start(struct scsi_cmd *cmd)
{
	scsi_cmd_init(cmd);
	cmd->op = scsi_op_find(cmd->lu, cmd->cdb[0], cmd->cdb[1] & 0x1f);
	cmd->step = refused(cmd, cmd->op) ? SCSI_DONE : cmd->op->start(cmd);
	return cmd->step;
}

enum scsi_step scsi_cmd_advance(struct scsi_cmd *cmd)
{
	if (cmd->io.status < 0) {
		cmd->step = scsi_check(cmd, scsi_condition_of_errno(cmd->io.status, cmd->io.op));
	} else {
		cmd->step = cmd->op->advance(cmd);
	}
	return cmd->step;
}

enum scsi_step scsi_cmd_resume(struct scsi_cmd *cmd)
{
	cmd->step = cmd->op->advance(cmd);
	return cmd->step;
}

enum scsi_step scsi_good(struct scsi_cmd *cmd, uint64_t transferred)
{
	cmd->transferred = transferred;
	return SCSI_DONE;
}

enum scsi_step scsi_check(struct scsi_cmd *cmd, enum scsi_condition condition)
{
	cmd->status = SCSI_STATUS_CHECK_CONDITION;
	cmd->sense_len = SCSI_SENSE_LEN;
	cmd->transferred = 0;
	scsi_sense_init(cmd->sense, condition);
	return SCSI_DONE;
}

enum scsi_step scsi_bad_cdb(struct scsi_cmd *cmd, unsigned int byte)
{
	scsi_check(cmd, SCSI_INVALID_CDB_FIELD);
	scsi_sense_set_field(cmd->sense, true, (uint16_t)byte);
	return SCSI_DONE;
}

enum scsi_step scsi_bad_parameter(struct scsi_cmd *cmd, unsigned int byte)
{
	scsi_check(cmd, SCSI_INVALID_PARAMETER);
	scsi_sense_set_field(cmd->sense, false, (uint16_t)byte);
	return SCSI_DONE;
}

enum scsi_step scsi_bad_lba(struct scsi_cmd *cmd, uint64_t lba)
{
	scsi_check(cmd, SCSI_LBA_OUT_OF_RANGE);
	/* The first block that does not exist. */
	scsi_sense_set_information(cmd->sense, lba < cmd->lu->blocks ? cmd->lu->blocks : lba);
	return SCSI_DONE;
}

enum scsi_step scsi_overrun(struct scsi_cmd *cmd)
{
	cmd->response = VIRTIO_SCSI_S_OVERRUN;
	cmd->transferred = 0;
	return SCSI_DONE;
}

enum scsi_step scsi_reply(struct scsi_cmd *cmd, const void *buf, size_t len, uint64_t allocation)
{
	uint64_t n = len < allocation ? len : allocation;

	if (n > cmd->in.len) {
		return scsi_overrun(cmd);
	}
	return scsi_good(cmd, iov_scatter(cmd->in.iov, cmd->in.iov_n, 0, buf, (size_t)n));
}

enum scsi_step scsi_submit(struct scsi_cmd *cmd, enum bdev_op op, uint64_t offset, uint64_t len)
{
	cmd->io.op = op;
	cmd->io.flags = cmd->io_flags;
	cmd->io.offset = offset;
	cmd->io.len = len;
	cmd->io.iov = NULL;
	cmd->io.iov_n = 0;
	return SCSI_SUBMIT;
}

struct scsi_range scsi_cdb_range(const struct scsi_cmd *cmd)
{
	const uint8_t *cdb = cmd->cdb;
	struct scsi_range range;

	switch (cmd->op->cdb_len) {
	case 6:
		range.lba = scsi_be32(cdb) & 0x1fffff;
		/* SBC-3, READ (6): zero means 256 */
		range.blocks = cdb[4] != 0 ? cdb[4] : 256;
		break;
	case 10:
		range.lba = scsi_be32(cdb + 2);
		range.blocks = scsi_be16(cdb + 7);
		break;
	case 12:
		range.lba = scsi_be32(cdb + 2);
		range.blocks = scsi_be32(cdb + 6);
		break;
	default:
		range.lba = scsi_be64(cdb + 2);
		range.blocks = scsi_be32(cdb + 10);
		break;
	}
	return range;
}

unsigned int scsi_cdb_length_byte(const struct scsi_cmd *cmd)
{
	switch (cmd->op->cdb_len) {
	case 6:
		return 4;
	case 10:
		return 7;
	case 12:
		return 6;
	default:
		return 10;
	}
}

bool scsi_take_scratch(struct scsi_cmd *cmd)
{
	struct scsi_lu *lu = cmd->lu;

	if (lu->scratch_user != NULL && lu->scratch_user != cmd) {
		return false;
	}
	lu->scratch_user = cmd;
	return true;
}
