/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * WRITE SAME, 10 and 16 (SBC-3, 5.45 and 5.46). A block of zeroes becomes write-zeroes where the bdev
 * has it; any other block is copied once and written in pieces of many copies.
 */
#include <string.h>

#include "base/iov.h"
#include "device/scsi/cmd.h"

#define WS_NDOB	   0x01 /* 16 only: no data-out buffer, the block is all zeroes */
#define WS_LBDATA  0x02
#define WS_PBDATA  0x04
#define WS_UNMAP   0x08
#define WS_ANCHOR  0x10
#define WS_PROTECT 0xe0

enum ws_stage {
	WS_ZEROES,  /* write-zeroes requests */
	WS_PREPARE, /* the pattern has to be put into the scratch buffer */
	WS_PATTERN, /* writes from the scratch buffer */
};

static bool is_zero(const uint8_t *data, size_t len)
{
	return len == 0 || (data[0] == 0 && memcmp(data, data + 1, len - 1) == 0);
}

/* Is the block that the guest sent all zero? Looked at in small private copies. */
static bool payload_is_zero(const struct scsi_cmd *cmd)
{
	uint8_t copy[512]; /* divides every block size */
	uint32_t at;

	for (at = 0; at < cmd->lu->block_size; at += (uint32_t)sizeof(copy)) {
		iov_gather(cmd->out.iov, cmd->out.iov_n, at, copy, sizeof(copy));
		if (!is_zero(copy, sizeof(copy))) {
			return false;
		}
	}
	return true;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Only the 16 byte form can do without a block from the guest. */
static bool has_no_data(const struct scsi_cmd *cmd)
{
	return cmd->op->cdb_len == 16 && (cmd->cdb[1] & WS_NDOB) != 0;
}

/* Fills the scratch buffer with copies of the block, as many as will be needed. */
static void prepare_pattern(struct scsi_cmd *cmd)
{
	const struct scsi_lu *lu = cmd->lu;
	uint64_t want = smaller(cmd->left, lu->scratch_len);
	uint64_t have = lu->block_size;

	if (has_no_data(cmd)) {
		memset(lu->scratch, 0, (size_t)want);
		return;
	}
	iov_gather(cmd->out.iov, cmd->out.iov_n, 0, lu->scratch, lu->block_size);
	while (have < want) {
		uint64_t n = smaller(have, want - have);

		memcpy(lu->scratch + have, lu->scratch, (size_t)n);
		have += n;
	}
}

enum scsi_step scsi_write_same_advance(struct scsi_cmd *cmd)
{
	const struct scsi_lu *lu = cmd->lu;
	uint64_t n;

	if (cmd->left == 0) {
		return scsi_good(cmd, has_no_data(cmd) ? 0 : lu->block_size);
	}
	if (cmd->stage == WS_ZEROES) {
		n = smaller(cmd->left, scsi_longest_discard(lu));
		scsi_submit(cmd, BDEV_WRITE_ZEROES, cmd->pos, n);
	} else {
		if (!scsi_take_scratch(cmd)) {
			return SCSI_WAIT;
		}
		if (cmd->stage == WS_PREPARE) {
			prepare_pattern(cmd);
			cmd->stage = WS_PATTERN;
		}
		n = smaller(cmd->left, lu->scratch_len);
		scsi_submit(cmd, BDEV_WRITE, cmd->pos, n);
		cmd->piece = (struct iovec){ .iov_base = lu->scratch, .iov_len = (size_t)n };
		cmd->io.iov = &cmd->piece;
		cmd->io.iov_n = 1;
	}
	cmd->pos += n;
	cmd->left -= n;
	return SCSI_SUBMIT;
}

enum scsi_step scsi_write_same(struct scsi_cmd *cmd)
{
	const struct scsi_lu *lu = cmd->lu;
	struct scsi_range range = scsi_cdb_range(cmd);
	uint8_t flags = cmd->cdb[1];
	bool no_data = has_no_data(cmd);

	if ((flags & (WS_PROTECT | WS_ANCHOR | WS_PBDATA | WS_LBDATA)) != 0 ||
	    ((flags & WS_UNMAP) != 0 && !lu->unmap_zeroes)) {
		return scsi_bad_cdb(cmd, 1);
	}
	/* WSNZ is set: zero blocks is not "up to the end of the medium" (T59). */
	if (range.blocks == 0 || (lu->limits.max_write_same_length != 0 &&
				  range.blocks > lu->limits.max_write_same_length)) {
		return scsi_bad_cdb(cmd, scsi_cdb_length_byte(cmd));
	}
	if (!scsi_range_exists(lu, range)) {
		return scsi_bad_lba(cmd, range.lba);
	}
	if (!no_data && cmd->out.len < lu->block_size) {
		return scsi_overrun(cmd);
	}
	cmd->pos = range.lba * lu->block_size;
	cmd->left = (uint64_t)range.blocks * lu->block_size;
	if (lu->bdev->info.can_write_zeroes && (no_data || payload_is_zero(cmd))) {
		cmd->stage = WS_ZEROES;
		cmd->io_flags = (flags & WS_UNMAP) != 0 ? BDEV_IO_MAY_UNMAP : 0;
	} else {
		cmd->stage = WS_PREPARE;
	}
	return scsi_write_same_advance(cmd);
}
