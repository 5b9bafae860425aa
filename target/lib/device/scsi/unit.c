/* SPDX-License-Identifier: BSD-3-Clause */
/* What the disk is and how it feels: readiness, sense, its LUNs, its size, start and stop. */
#include "base/bytes.h"
#include "device/scsi/cmd.h"

enum scsi_step scsi_test_unit_ready(struct scsi_cmd *cmd)
{
	return scsi_good(cmd, 0);
}

enum scsi_step scsi_request_sense(struct scsi_cmd *cmd)
{
	enum scsi_condition condition = SCSI_NO_SENSE;
	uint8_t sense[SCSI_SENSE_LEN];

	/* SPC-4, 6.39: DESC asks for descriptor format, which we do not make. */
	if ((cmd->cdb[1] & 0x01) != 0) {
		return scsi_bad_cdb(cmd, 1);
	}
	if (cmd->lu == NULL) {
		condition = SCSI_LUN_NOT_SUPPORTED;
	} else if (cmd->cdb[4] >= SCSI_SENSE_LEN) {
		/* Nobody would see it in fewer bytes, so it stays pending then. */
		scsi_lu_take_ua(cmd->lu, &condition);
	}
	scsi_sense_init(sense, condition);
	return scsi_reply(cmd, sense, sizeof(sense), cmd->cdb[4]);
}

enum scsi_step scsi_report_luns(struct scsi_cmd *cmd)
{
	uint32_t allocation = scsi_be32(cmd->cdb + 6);
	uint8_t select = cmd->cdb[2];
	uint8_t list[16] = { 0 };
	size_t len = 8;

	if (select > 2) {
		return scsi_bad_cdb(cmd, 2);
	}
	if (allocation < sizeof(list)) {
		return scsi_bad_cdb(cmd, 6); /* SPC-4, 6.33: "at least 16" */
	}
	/* SPC-4, 6.33: whoever has the list knows that there are others. */
	if (cmd->lu != NULL) {
		scsi_lu_drop_ua(cmd->lu, SCSI_UA_BIT_LUNS_CHANGED);
	}
	/* 0 and 2 list the disk: LUN 0, eight zero bytes. 1 lists well-known LUNs: there are none. */
	if (select != 1) {
		list[3] = 8;
		len += 8;
	}
	return scsi_reply(cmd, list, len, allocation);
}

enum scsi_step scsi_read_capacity_10(struct scsi_cmd *cmd)
{
	const struct scsi_lu *lu = cmd->lu;
	uint64_t last = lu->blocks - 1;
	uint8_t data[8];
	struct bytes_writer w = bytes_writer(data, sizeof(data));

	/* SBC-2, READ CAPACITY (10): an LBA makes sense only with PMI, which went away. */
	if ((cmd->cdb[8] & 0x01) != 0) {
		return scsi_bad_cdb(cmd, 8);
	}
	if (scsi_be32(cmd->cdb + 2) != 0) {
		return scsi_bad_cdb(cmd, 2);
	}
	/* FFFFFFFFh: does not fit, ask READ CAPACITY (16). */
	bytes_put_be32(&w, last < UINT32_MAX ? (uint32_t)last : UINT32_MAX);
	bytes_put_be32(&w, lu->block_size);
	return scsi_reply(cmd, data, sizeof(data), sizeof(data));
}

static uint8_t log2_of(uint32_t n)
{
	uint8_t log = 0;

	while (n > 1) {
		n >>= 1;
		log++;
	}
	return log;
}

enum scsi_step scsi_read_capacity_16(struct scsi_cmd *cmd)
{
	const struct scsi_lu *lu = cmd->lu;
	uint8_t data[32] = { 0 };
	struct bytes_writer w = bytes_writer(data, sizeof(data));

	if ((cmd->cdb[14] & 0x01) != 0) {
		return scsi_bad_cdb(cmd, 14);
	}
	if (scsi_be64(cmd->cdb + 2) != 0) {
		return scsi_bad_cdb(cmd, 2);
	}
	bytes_put_be64(&w, lu->blocks - 1);
	bytes_put_be32(&w, lu->block_size);
	bytes_put_u8(&w, 0); /* no protection information */
	bytes_put_u8(&w, log2_of(lu->bdev->info.physical_block_size / lu->block_size) & 0x0f);
	bytes_put_u8(&w, (uint8_t)((lu->thin ? 0x80 : 0) | (lu->unmap_zeroes ? 0x40 : 0)));
	return scsi_reply(cmd, data, sizeof(data), scsi_be32(cmd->cdb + 10));
}

/*
 * A disk without a motor is always ready: starting it does nothing, stopping it makes its cache
 * stable and leaves it running, so that no guest locks itself out.
 */
enum scsi_step scsi_start_stop(struct scsi_cmd *cmd)
{
	bool start = (cmd->cdb[4] & 0x01) != 0;
	bool load_eject = (cmd->cdb[4] & 0x02) != 0;
	bool no_flush = (cmd->cdb[4] & 0x04) != 0;

	if ((cmd->cdb[4] & 0xf0) != 0 || load_eject) {
		return scsi_bad_cdb(cmd, 4); /* power conditions; not removable */
	}
	if (start || no_flush || !cmd->lu->bdev->info.write_cache || cmd->lu->read_only) {
		return scsi_good(cmd, 0);
	}
	return scsi_submit(cmd, BDEV_FLUSH, 0, 0);
}

enum scsi_step scsi_flushed(struct scsi_cmd *cmd)
{
	return scsi_good(cmd, 0);
}
