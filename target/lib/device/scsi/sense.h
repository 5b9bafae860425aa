/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts
 *   condition   what went wrong, as SCSI names it: sense key, additional sense code and qualifier in
 *               one number (0xKKAACQ), so that a caller needs one word and a table can hold it.
 *   sense data  18 bytes in fixed format (SPC-4, 4.5.3); the control mode page says D_SENSE = 0.
 */
#ifndef VHT_DEVICE_SCSI_SENSE_H
#define VHT_DEVICE_SCSI_SENSE_H

#include <stdbool.h>
#include <stdint.h>

#include "bdev/bdev.h"

#define SCSI_SENSE_LEN 18

enum scsi_condition {
	SCSI_NO_SENSE = 0x000000,
	SCSI_NOT_READY_INTERVENTION = 0x020403, /* the storage behind the disk is gone */
	SCSI_WRITE_ERROR = 0x030c00,
	SCSI_READ_ERROR = 0x031100,
	SCSI_INTERNAL_FAILURE = 0x044400,
	SCSI_PARAMETER_LIST_LENGTH = 0x051a00,
	SCSI_INVALID_OPCODE = 0x052000,
	SCSI_LBA_OUT_OF_RANGE = 0x052100,
	SCSI_INVALID_CDB_FIELD = 0x052400,
	SCSI_LUN_NOT_SUPPORTED = 0x052500,
	SCSI_INVALID_PARAMETER = 0x052600,
	SCSI_NO_SAVING = 0x053900,
	SCSI_UA_DEVICE_RESET = 0x062903, /* a logical unit was reset */
	SCSI_UA_NEXUS_LOSS = 0x062907,
	SCSI_UA_CAPACITY_CHANGED = 0x062a09,
	SCSI_UA_LUNS_CHANGED = 0x063f0e, /* there are other logical units than before */
	SCSI_WRITE_PROTECTED = 0x072700,
	SCSI_SPACE_EXHAUSTED = 0x072707, /* thin provisioning: no space left behind the disk */
};

/* Fills the 18 bytes; INFORMATION and sense-key-specific data are absent. */
void scsi_sense_init(uint8_t *sense, enum scsi_condition condition);
/* INFORMATION: the LBA concerned. Fixed format has 32 bits for it: a larger one is left out. */
void scsi_sense_set_information(uint8_t *sense, uint64_t lba);
/* SPC-4, 4.5.2.4.2: which byte of the CDB or of the parameter list was refused. */
void scsi_sense_set_field(uint8_t *sense, bool in_cdb, uint16_t byte);

/* The border between negative errnos of a bdev and SCSI. */
enum scsi_condition scsi_condition_of_errno(int status, enum bdev_op op);

#endif
