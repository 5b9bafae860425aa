/* SPDX-License-Identifier: BSD-3-Clause */
/* INQUIRY (SPC-4, 6.6): standard data and the vital product data pages 00, 80, 83, B0, B1, B2. */
#include <string.h>

#include "base/bytes.h"
#include "device/scsi/cmd.h"

#define VENDOR	 "VHOSTLAB" /* exactly 8 */
#define REVISION "0001"	    /* exactly 4 */

#define PERIPHERAL_DISK	 0x00
#define PERIPHERAL_NO_LU 0x7f /* SPC-4, 6.6.2: qualifier 011b, type 1Fh */

#define INQUIRY_LEN 96
#define VPD_MAX	    256
#define OPTIMAL_MIN 4096

enum vpd_page {
	VPD_SUPPORTED = 0x00,
	VPD_SERIAL = 0x80,
	VPD_IDENTIFICATION = 0x83,
	VPD_BLOCK_LIMITS = 0xb0,
	VPD_CHARACTERISTICS = 0xb1,
	VPD_PROVISIONING = 0xb2,
};

/* Left aligned, filled up with blanks. */
static void put_padded(struct bytes_writer *w, const char *text, size_t width)
{
	size_t len = strnlen(text, width);

	bytes_put(w, text, len);
	for (; len < width; len++) {
		bytes_put_u8(w, ' ');
	}
}

static void put_zeroes(struct bytes_writer *w, size_t n)
{
	while (n-- > 0) {
		bytes_put_u8(w, 0);
	}
}

static enum scsi_step standard(struct scsi_cmd *cmd, uint16_t allocation)
{
	const struct scsi_lu *lu = cmd->lu;
	uint8_t data[INQUIRY_LEN];
	struct bytes_writer w = bytes_writer(data, sizeof(data));

	bytes_put_u8(&w, lu != NULL ? PERIPHERAL_DISK : PERIPHERAL_NO_LU);
	bytes_put_u8(&w, 0);		   /* not removable */
	bytes_put_u8(&w, 0x06);		   /* version: SPC-4 */
	bytes_put_u8(&w, 0x12);		   /* HISUP, response data format 2 */
	bytes_put_u8(&w, INQUIRY_LEN - 5); /* what follows */
	bytes_put_u8(&w, 0);
	bytes_put_u8(&w, 0);
	bytes_put_u8(&w, 0x02); /* CMDQUE */
	put_padded(&w, VENDOR, 8);
	put_padded(&w, lu != NULL ? lu->bdev->product : "", 16);
	put_padded(&w, REVISION, 4);
	put_zeroes(&w, 58 - w.pos);
	bytes_put_be16(&w, 0x00a0); /* version descriptors: SAM-5 */
	bytes_put_be16(&w, 0x0460); /* SPC-4 */
	bytes_put_be16(&w, 0x04c0); /* SBC-3 */
	put_zeroes(&w, INQUIRY_LEN - w.pos);
	return scsi_reply(cmd, data, sizeof(data), allocation);
}

static void put_identification(struct bytes_writer *w, const struct scsi_lu *lu)
{
	size_t product = strnlen(lu->bdev->product, 16);
	size_t serial = strlen(lu->serial);

	/* SPC-4, 7.8.6.4: T10 vendor ID based: vendor, product and serial number. */
	bytes_put_u8(w, 0x02); /* ASCII */
	bytes_put_u8(w, 0x01); /* of the logical unit, T10 vendor ID */
	bytes_put_u8(w, 0);
	bytes_put_u8(w, (uint8_t)(8 + product + serial));
	put_padded(w, VENDOR, 8);
	bytes_put(w, lu->bdev->product, product);
	bytes_put(w, lu->serial, serial);
	/* SPC-4, 7.8.6.6.4: NAA, locally assigned. */
	bytes_put_u8(w, 0x01); /* binary */
	bytes_put_u8(w, 0x03); /* of the logical unit, NAA */
	bytes_put_u8(w, 0);
	bytes_put_u8(w, 8);
	bytes_put_be64(w, lu->naa);
}

static void put_block_limits(struct bytes_writer *w, const struct scsi_lu *lu)
{
	const struct bdev_info *info = &lu->bdev->info;
	uint32_t granularity = 0;
	uint32_t optimal = 0;

	/* Linux logs a warning for hints that do not fit the physical block, for an optimal length
	 * below its page size or beyond 65535 blocks: such hints are left out. */
	if (info->min_io_size % info->physical_block_size == 0 &&
	    info->min_io_size / lu->block_size <= UINT16_MAX) {
		granularity = info->min_io_size / lu->block_size;
	}
	if (info->opt_io_size >= OPTIMAL_MIN &&
	    info->opt_io_size % info->physical_block_size == 0 &&
	    info->opt_io_size / lu->block_size <= UINT16_MAX &&
	    info->opt_io_size / lu->block_size <= lu->max_transfer) {
		optimal = info->opt_io_size / lu->block_size;
	}
	bytes_put_u8(w, 0x01); /* WSNZ: WRITE SAME of zero blocks is not "up to the end" */
	bytes_put_u8(w, 0);    /* no COMPARE AND WRITE */
	bytes_put_be16(w, (uint16_t)granularity);
	bytes_put_be32(w, lu->max_transfer);
	bytes_put_be32(w, optimal);
	bytes_put_be32(w, 0); /* no PRE-FETCH */
	bytes_put_be32(w, lu->limits.max_unmap_lba_count);
	bytes_put_be32(w, lu->limits.max_unmap_block_descriptor_count);
	bytes_put_be32(w, lu->thin ? lu->limits.optimal_unmap_granularity : 0);
	bytes_put_be32(w, lu->limits.ugavalid && lu->thin ?
				  UINT32_C(0x80000000) | lu->limits.unmap_granularity_alignment :
				  0);
	bytes_put_be64(w, lu->limits.max_write_same_length);
	put_zeroes(w, 64 - w->pos);
}

static void put_characteristics(struct bytes_writer *w, const struct scsi_lu *lu)
{
	/* SBC-3, 6.6.2: 1 = does not rotate, 0 = speed not reported. */
	bytes_put_be16(w, lu->bdev->info.rotational ? 0 : 1);
	put_zeroes(w, 64 - w->pos);
}

static void put_provisioning(struct bytes_writer *w, const struct scsi_lu *lu)
{
	uint8_t flags = 0;

	if (lu->limits.max_unmap_lba_count > 0) {
		flags |= 0x80; /* LBPU: UNMAP */
	}
	if (lu->unmap_zeroes) {
		flags |= 0x40 | 0x20 | 0x04; /* LBPWS, LBPWS10, LBPRZ */
	}
	bytes_put_u8(w, 0); /* no thresholds */
	bytes_put_u8(w, flags);
	bytes_put_u8(w, lu->thin ? 0x02 : 0x00); /* thin provisioned */
	bytes_put_u8(w, 0);
}

static const uint8_t vpd_pages[] = {
	VPD_SUPPORTED,	  VPD_SERIAL,	       VPD_IDENTIFICATION,
	VPD_BLOCK_LIMITS, VPD_CHARACTERISTICS, VPD_PROVISIONING,
};

static enum scsi_step vital_product_data(struct scsi_cmd *cmd, uint8_t page, uint16_t allocation)
{
	const struct scsi_lu *lu = cmd->lu;
	uint8_t data[VPD_MAX];
	struct bytes_writer w = bytes_writer(data, sizeof(data));

	bytes_put_u8(&w, PERIPHERAL_DISK);
	bytes_put_u8(&w, page);
	bytes_put_be16(&w, 0); /* the length, below */
	switch (page) {
	case VPD_SUPPORTED:
		bytes_put(&w, vpd_pages, sizeof(vpd_pages));
		break;
	case VPD_SERIAL:
		bytes_put(&w, lu->serial, strlen(lu->serial));
		break;
	case VPD_IDENTIFICATION:
		put_identification(&w, lu);
		break;
	case VPD_BLOCK_LIMITS:
		put_block_limits(&w, lu);
		break;
	case VPD_CHARACTERISTICS:
		put_characteristics(&w, lu);
		break;
	case VPD_PROVISIONING:
		put_provisioning(&w, lu);
		break;
	default:
		return scsi_bad_cdb(cmd, 2);
	}
	data[2] = (uint8_t)((w.pos - 4) >> 8);
	data[3] = (uint8_t)(w.pos - 4);
	return scsi_reply(cmd, data, w.pos, allocation);
}

enum scsi_step scsi_inquiry(struct scsi_cmd *cmd)
{
	bool evpd = (cmd->cdb[1] & 0x01) != 0;
	uint16_t allocation = scsi_be16(cmd->cdb + 3);
	uint8_t page = cmd->cdb[2];

	if ((cmd->cdb[1] & 0x02) != 0) {
		return scsi_bad_cdb(cmd, 1); /* CMDDT, long obsolete */
	}
	if (!evpd) {
		return page != 0 ? scsi_bad_cdb(cmd, 2) : standard(cmd, allocation);
	}
	if (cmd->lu == NULL) {
		return scsi_check(cmd,
				  SCSI_LUN_NOT_SUPPORTED); /* no product, no vital data of it */
	}
	return vital_product_data(cmd, page, allocation);
}
