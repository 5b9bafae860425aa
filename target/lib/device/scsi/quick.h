/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: the short way of a command, for what drivers send all the time: READ and WRITE (10) and (16)
 * without any bit that asks for more, of blocks that exist, with a buffer of just the right length. It
 * looks at values in registers and sets nothing; whatever it does not take goes the way of all commands,
 * which finds out what is to be said about it.
 *
 * Owner: the reactor of the part.
 */
#ifndef VHT_DEVICE_SCSI_QUICK_H
#define VHT_DEVICE_SCSI_QUICK_H

#include "base/likely.h"
#include "device/scsi/dev.h"

#define SCSI_QUICK_LEN \
	16 /* bytes of a CDB that it looks at; the rest plays no role in these commands */

/* The private copy of them, read as two numbers: bytes 0 to 7 and 8 to 15. */
struct scsi_quick_cdb {
	uint64_t first;
	uint64_t second;
};

/* Of what is a read or a write at all. */
static inline bool scsi_quick_is_write(struct scsi_quick_cdb cdb)
{
	return (cdb.first >> 56 & 2) != 0;
}

/* The address of a request, read as one number. NULL: not one of a disk that takes commands now. */
static inline struct scsi_lu *scsi_quick_find(const struct scsi_part *part, uint64_t address)
{
	const uint64_t target_bits = UINT64_C(0xff) << 48;
	const uint64_t flat_bit = UINT64_C(0x40) << 40;
	unsigned int target = address >> 48 & 0xff;
	struct scsi_lu *lu;

	/* LUN 0, peripheral or flat, as scsi_address_parse() has it. */
	if (unlikely((address & ~(target_bits | flat_bit)) != UINT64_C(1) << 56 ||
		     target >= SCSI_MAX_TARGETS)) {
		return NULL;
	}
	lu = part->lus[target];
	return likely(lu != NULL && !lu->leaving && !scsi_lu_has_ua(lu)) ? lu : NULL;
}

/* *ret_offset: where on the disk it begins, bytes. `len`: bytes of its buffer. */
static inline bool scsi_quick_range(const struct scsi_lu *lu, struct scsi_quick_cdb cdb,
				    uint64_t len, uint64_t *ret_offset)
{
	enum {
		READ_10 = 0x28,
		WRITE_10 = 0x2a,
		READ_16 = 0x88,
		WRITE_16 = 0x8a
	};
	uint8_t opcode = cdb.first >> 56;
	uint8_t flags = cdb.first >> 48 & 0xff;
	uint8_t control;
	uint64_t lba;
	uint64_t blocks;

	if (likely(opcode == READ_10 || opcode == WRITE_10)) {
		lba = (uint32_t)(cdb.first >> 16);
		blocks = (cdb.first & 0xff) << 8 | cdb.second >> 56;
		control = cdb.second >> 48 & 0xff;
	} else if (opcode == READ_16 || opcode == WRITE_16) {
		lba = cdb.first << 16 | cdb.second >> 48;
		blocks = (uint32_t)(cdb.second >> 16);
		control = cdb.second & 0xff;
	} else {
		return false;
	}
	*ret_offset = lba * lu->block_size;
	return likely((flags | control) == 0 && blocks != 0 && blocks <= lu->max_transfer &&
		      range_inside(lba, blocks, lu->blocks) && len == blocks * lu->block_size);
}

/* What the short way has submitted (cmd->io) becomes a command that scsi_cmd_start() has started. */
void scsi_quick_begun(struct scsi_cmd *cmd, struct scsi_quick_cdb cdb);

#endif
