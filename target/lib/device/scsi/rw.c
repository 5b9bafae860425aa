/* SPDX-License-Identifier: BSD-3-Clause */
/* READ, WRITE, SYNCHRONIZE CACHE and VERIFY (SBC-3). Payload goes straight from and to the guest. */
#include <endian.h>
#include <string.h>

#include "base/iov.h"
#include "device/scsi/quick.h"

#define RW_FUA	   0x08 /* byte 1 */
#define RW_PROTECT 0xe0 /* byte 1: RDPROTECT, WRPROTECT, VRPROTECT */

enum rw_stage {
	RW_PRE_FLUSH, /* READ with FUA: what lies in the cache goes to the medium first */
	RW_TRANSFER,
	RW_POST_FLUSH, /* WRITE with FUA */
};

/* What READ, WRITE and VERIFY refuse alike. */
static bool range_refused(struct scsi_cmd *cmd, struct scsi_range range)
{
	/* SBC-3, 4.22: no protection information here, so none can be asked for. 6 byte CDBs have LBA
	 * bits in that byte. */
	if (cmd->op->cdb_len != 6 && (cmd->cdb[1] & RW_PROTECT) != 0) {
		scsi_bad_cdb(cmd, 1);
		return true;
	}
	if (!scsi_range_exists(cmd->lu, range)) {
		scsi_bad_lba(cmd, range.lba);
		return true;
	}
	if (range.blocks > cmd->lu->max_transfer) {
		scsi_bad_cdb(cmd, scsi_cdb_length_byte(cmd));
		return true;
	}
	return false;
}

static enum scsi_step transfer(struct scsi_cmd *cmd)
{
	struct scsi_data *data = cmd->op->flags & SCSI_OP_WRITES ? &cmd->out : &cmd->in;

	cmd->stage = RW_TRANSFER;
	scsi_submit(cmd, cmd->op->flags & SCSI_OP_WRITES ? BDEV_WRITE : BDEV_READ, cmd->pos,
		    cmd->left);
	cmd->io.iov = data->iov;
	cmd->io.iov_n = data->iov_n;
	return SCSI_SUBMIT;
}

static bool is_fua(const struct scsi_cmd *cmd)
{
	return cmd->op->cdb_len != 6 && (cmd->cdb[1] & RW_FUA) != 0 &&
	       cmd->lu->bdev->info.write_cache;
}

static enum scsi_step rw_start(struct scsi_cmd *cmd, struct scsi_data *data)
{
	struct scsi_range range = scsi_cdb_range(cmd);

	if (range_refused(cmd, range)) {
		return SCSI_DONE;
	}
	if (range.blocks == 0) {
		return scsi_good(cmd, 0);
	}
	cmd->pos = range.lba * cmd->lu->block_size;
	cmd->left = (uint64_t)range.blocks * cmd->lu->block_size;
	if (cmd->left > data->len) {
		return scsi_overrun(cmd); /* too short, or the driver gave the other direction */
	}
	if (cmd->left < data->len) {
		iov_slice(&data->iov, &data->iov_n, 0, cmd->left);
	}
	return SCSI_SUBMIT;
}

enum scsi_step scsi_read(struct scsi_cmd *cmd)
{
	if (rw_start(cmd, &cmd->in) == SCSI_DONE) {
		return SCSI_DONE;
	}
	if (is_fua(cmd) && !cmd->lu->read_only) {
		cmd->stage = RW_PRE_FLUSH;
		return scsi_submit(cmd, BDEV_FLUSH, 0, 0);
	}
	return transfer(cmd);
}

enum scsi_step scsi_write(struct scsi_cmd *cmd)
{
	if (rw_start(cmd, &cmd->out) == SCSI_DONE) {
		return SCSI_DONE;
	}
	return transfer(cmd);
}

enum scsi_step scsi_rw_advance(struct scsi_cmd *cmd)
{
	switch (cmd->stage) {
	case RW_PRE_FLUSH:
		return transfer(cmd);
	case RW_TRANSFER:
		if ((cmd->op->flags & SCSI_OP_WRITES) != 0 && is_fua(cmd)) {
			cmd->stage = RW_POST_FLUSH;
			return scsi_submit(cmd, BDEV_FLUSH, 0, 0);
		}
		return scsi_good(cmd, cmd->left);
	default:
		return scsi_good(cmd, cmd->left);
	}
}

void scsi_quick_begun(struct scsi_cmd *cmd, struct scsi_quick_cdb cdb)
{
	const uint64_t words[2] = { htobe64(cdb.first), htobe64(cdb.second) };

	memset(cmd->cdb, 0, sizeof(cmd->cdb));
	memcpy(cmd->cdb, words, sizeof(words));
	scsi_cmd_init(cmd);
	cmd->op = scsi_op_find(cmd->lu, cmd->cdb[0], 0);
	cmd->step = SCSI_SUBMIT;
	cmd->stage = RW_TRANSFER;
	cmd->pos = cmd->io.offset;
	cmd->left = cmd->io.len;
}

/* The whole cache is flushed, whatever range was asked for; IMMED is not used to answer early. */
enum scsi_step scsi_synchronize_cache(struct scsi_cmd *cmd)
{
	struct scsi_range range = scsi_cdb_range(cmd);

	if (!scsi_range_exists(cmd->lu, range)) {
		return scsi_bad_lba(cmd, range.lba);
	}
	if (!cmd->lu->bdev->info.write_cache) {
		return scsi_good(cmd, 0);
	}
	return scsi_submit(cmd, BDEV_FLUSH, 0, 0);
}

/* ---- VERIFY: really reads the blocks, piece by piece, into the scratch buffer ---- */

static enum scsi_step verify_piece(struct scsi_cmd *cmd)
{
	uint64_t n = cmd->left < cmd->lu->scratch_len ? cmd->left : cmd->lu->scratch_len;

	if (!scsi_take_scratch(cmd)) {
		return SCSI_WAIT;
	}
	scsi_submit(cmd, BDEV_READ, cmd->pos, n);
	cmd->piece = (struct iovec){ .iov_base = cmd->lu->scratch, .iov_len = (size_t)n };
	cmd->io.iov = &cmd->piece;
	cmd->io.iov_n = 1;
	cmd->pos += n;
	cmd->left -= n;
	return SCSI_SUBMIT;
}

enum scsi_step scsi_verify(struct scsi_cmd *cmd)
{
	struct scsi_range range = scsi_cdb_range(cmd);

	/* BYTCHK: comparing with data from the guest is not implemented (SBC-3, 5.36). */
	if ((cmd->cdb[1] & 0x06) != 0) {
		return scsi_bad_cdb(cmd, 1);
	}
	if (range_refused(cmd, range)) {
		return SCSI_DONE;
	}
	if (range.blocks == 0) {
		return scsi_good(cmd, 0);
	}
	cmd->pos = range.lba * cmd->lu->block_size;
	cmd->left = (uint64_t)range.blocks * cmd->lu->block_size;
	return verify_piece(cmd);
}

enum scsi_step scsi_verify_advance(struct scsi_cmd *cmd)
{
	return cmd->left > 0 ? verify_piece(cmd) : scsi_good(cmd, 0);
}
