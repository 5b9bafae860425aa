/* SPDX-License-Identifier: BSD-3-Clause */
/* UNMAP (SBC-3, 5.28). */
#include "base/bytes.h"
#include "base/checked.h"
#include "base/iov.h"
#include "device/scsi/cmd.h"

#define UNMAP_HEADER	 8
#define UNMAP_DESCRIPTOR 16

static enum scsi_step next_piece(struct scsi_cmd *cmd)
{
	const struct scsi_lu *lu = cmd->lu;
	struct scsi_extent *extent;
	uint64_t n;

	while (cmd->extent_i < cmd->extent_n && cmd->extents[cmd->extent_i].len == 0) {
		cmd->extent_i++;
	}
	if (cmd->extent_i == cmd->extent_n) {
		return scsi_good(cmd, cmd->left);
	}
	extent = &cmd->extents[cmd->extent_i];
	n = scsi_longest_discard(lu);
	if (n > extent->len) {
		n = extent->len;
	}
	/* Where the bdev can, unmapping writes zeroes: LBPRZ is a promise. */
	cmd->io_flags = lu->unmap_zeroes ? BDEV_IO_MAY_UNMAP : 0;
	scsi_submit(cmd, lu->unmap_zeroes ? BDEV_WRITE_ZEROES : BDEV_DISCARD, extent->offset, n);
	extent->offset += n;
	extent->len -= n;
	return SCSI_SUBMIT;
}

uint64_t scsi_longest_discard(const struct scsi_lu *lu)
{
	uint64_t max = lu->bdev->info.max_discard;

	return max >= lu->block_size ? max - max % lu->block_size : UINT64_MAX;
}

/* The header's two lengths against each other and against what the driver sent (T58). */
static bool lengths_agree(struct bytes_reader *r, size_t list_len, size_t *ret_descriptors)
{
	size_t data_len = bytes_get_be16(r);
	size_t descriptors_len = bytes_get_be16(r);

	bytes_skip(r, 4);
	if (r->failed || data_len + 2 > list_len || descriptors_len + UNMAP_HEADER > data_len + 2 ||
	    descriptors_len % UNMAP_DESCRIPTOR != 0) {
		return false;
	}
	*ret_descriptors = descriptors_len / UNMAP_DESCRIPTOR;
	return true;
}

/* All descriptors are copied and checked before the first block is touched. */
static bool get_extents(struct scsi_cmd *cmd, struct bytes_reader *r, size_t descriptors)
{
	const struct scsi_lu *lu = cmd->lu;
	uint64_t total = 0;
	size_t i;

	for (i = 0; i < descriptors; i++) {
		struct scsi_range range;

		range.lba = bytes_get_be64(r);
		range.blocks = bytes_get_be32(r);
		bytes_skip(r, 4);
		if (!scsi_range_exists(lu, range)) {
			scsi_bad_lba(cmd, range.lba);
			return false;
		}
		total += range.blocks;
		cmd->extents[i].offset = range.lba * lu->block_size;
		cmd->extents[i].len = (uint64_t)range.blocks * lu->block_size;
	}
	if (total > lu->limits.max_unmap_lba_count) {
		scsi_bad_parameter(cmd, UNMAP_HEADER + 8); /* the first number of blocks */
		return false;
	}
	return true;
}

enum scsi_step scsi_unmap(struct scsi_cmd *cmd)
{
	size_t len = scsi_be16(cmd->cdb + 7);
	uint8_t list[UNMAP_HEADER + SCSI_MAX_UNMAP_DESCRIPTORS * UNMAP_DESCRIPTOR];
	struct bytes_reader r;
	size_t descriptors;

	if ((cmd->cdb[1] & 0x01) != 0) {
		return scsi_bad_cdb(cmd, 1); /* ANCHOR: ANC_SUP is 0 */
	}
	if (len == 0) {
		return scsi_good(cmd, 0);
	}
	if (len > cmd->out.len) {
		return scsi_overrun(cmd);
	}
	/* A longer list than we can hold has too many descriptors, unless it ends in rubbish. */
	r = bytes_reader(list, iov_gather(cmd->out.iov, cmd->out.iov_n, 0, list,
					  len < sizeof(list) ? len : sizeof(list)));
	if (!lengths_agree(&r, len, &descriptors)) {
		return scsi_check(cmd, SCSI_PARAMETER_LIST_LENGTH);
	}
	if (descriptors > cmd->lu->limits.max_unmap_block_descriptor_count) {
		return scsi_bad_parameter(cmd, 2);
	}
	if (!get_extents(cmd, &r, descriptors)) {
		return SCSI_DONE;
	}
	cmd->extent_i = 0;
	cmd->extent_n = (unsigned int)descriptors;
	cmd->left = len;
	return next_piece(cmd);
}

enum scsi_step scsi_unmap_advance(struct scsi_cmd *cmd)
{
	return next_piece(cmd);
}
