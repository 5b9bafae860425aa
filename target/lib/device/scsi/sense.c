/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/scsi/sense.h"

#include <errno.h>
#include <string.h>

#define SENSE_CURRENT_FIXED 0x70
#define SENSE_VALID	    0x80 /* byte 0: INFORMATION holds something */
#define SENSE_SKSV	    0x80 /* byte 15: the field pointer holds something */
#define SENSE_IN_CDB	    0x40 /* byte 15: it points into the CDB */

void scsi_sense_init(uint8_t *sense, enum scsi_condition condition)
{
	memset(sense, 0, SCSI_SENSE_LEN);
	sense[0] = SENSE_CURRENT_FIXED;
	sense[2] = (uint8_t)(condition >> 16);
	sense[7] = SCSI_SENSE_LEN - 8; /* what follows this byte */
	sense[12] = (uint8_t)(condition >> 8);
	sense[13] = (uint8_t)condition;
}

void scsi_sense_set_information(uint8_t *sense, uint64_t lba)
{
	if (lba > UINT32_MAX) {
		return;
	}
	sense[0] |= SENSE_VALID;
	sense[3] = (uint8_t)(lba >> 24);
	sense[4] = (uint8_t)(lba >> 16);
	sense[5] = (uint8_t)(lba >> 8);
	sense[6] = (uint8_t)lba;
}

void scsi_sense_set_field(uint8_t *sense, bool in_cdb, uint16_t byte)
{
	sense[15] = in_cdb ? SENSE_SKSV | SENSE_IN_CDB : SENSE_SKSV;
	sense[16] = (uint8_t)(byte >> 8);
	sense[17] = (uint8_t)byte;
}

enum scsi_condition scsi_condition_of_errno(int status, enum bdev_op op)
{
	switch (-status) {
	case EIO:
		return op == BDEV_READ ? SCSI_READ_ERROR : SCSI_WRITE_ERROR;
	case ENOSPC:
	case EDQUOT:
		return SCSI_SPACE_EXHAUSTED;
	case EROFS:
	case EPERM:
	case EACCES:
		return SCSI_WRITE_PROTECTED;
	case ENODEV:
	case ENXIO:
		return SCSI_NOT_READY_INTERVENTION;
	default:
		return SCSI_INTERNAL_FAILURE;
	}
}
