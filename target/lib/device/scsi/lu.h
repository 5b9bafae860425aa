/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts
 *   target        a number 0..7 that the guest addresses; it exists when a bdev is attached to it.
 *   logical unit  the disk: LUN 0 of its target, on one bdev. Everything that SCSI commands have to
 *                 know of it is computed once, when the bdev is attached.
 *   address       the 8-byte `lun` field of a request, decoded.
 *   task          a command that was accepted and has not been answered.
 *   unit attention  something that happened to the disk and that the next command has to hear of.
 *
 * The control thread makes a logical unit when a bdev is attached; from then on it is read-only, but for what
 * says otherwise. Each reactor that serves the device makes one of its own after it (`of`), with a task set of
 * its own, and owns it.
 */
#ifndef VHT_DEVICE_SCSI_LU_H
#define VHT_DEVICE_SCSI_LU_H

#include <endian.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/queue.h>

#include "bdev/bdev.h"
#include "device/scsi/scsi.h"
#include "device/scsi/sense.h"

struct scsi_cmd;

TAILQ_HEAD(scsi_cmd_list, scsi_cmd);

/* Most descriptors of one UNMAP: each command has room for private copies of that many. */
#define SCSI_MAX_UNMAP_DESCRIPTORS 32
/* MAXIMUM TRANSFER LENGTH of VPD page B0; the config space says 65535 sectors of 512 bytes. */
#define SCSI_MAX_TRANSFER_BYTES (UINT32_C(32) << 20)
/* The buffer for VERIFY and for WRITE SAME with a pattern (never less than one block). */
#define SCSI_SCRATCH_BYTES (UINT32_C(128) << 10)

enum scsi_ua {
	SCSI_UA_BIT_RESET = 1 << 0,
	SCSI_UA_BIT_NEXUS_LOSS = 1 << 1,
	SCSI_UA_BIT_LUNS_CHANGED = 1 << 2,
	SCSI_UA_BIT_CAPACITY = 1 << 3,
};

struct scsi_lu {
	struct bdev *bdev;
	bool read_only;
	bool thin;	   /* LBPME: unmapping is possible */
	bool unmap_zeroes; /* LBPRZ: unmapped blocks read as zeroes */
	uint32_t block_size;
	uint32_t max_transfer;		  /* blocks */
	struct scsi_limits limits;	  /* as in force on this disk */
	char serial[BDEV_SERIAL_MAX + 1]; /* printable ASCII */
	uint64_t naa;			  /* NAA 3h, locally assigned, derived from the serial */
	uint8_t *scratch;
	uint32_t scratch_len; /* multiple of block_size */

	STAILQ_ENTRY(scsi_lu) link; /* the control thread's */
	unsigned int target;
	bool was_known;	       /* whoever tells (targets.c) */
	atomic_bool was_there; /* for commands, on any reactor */

	/* any thread's, relaxed; what happened to the disk is heard once, on whichever reactor: */
	atomic_uint own_ua;
	atomic_uint
		*ua; /* pending, enum scsi_ua bits: that of the one it was made after, or its own */
	atomic_int error; /* a reactor could not open it */

	/* the reactor's: */
	struct scsi_lu *of; /* what it was made after */
	uint64_t blocks;
	bool leaving;		      /* takes no more commands */
	struct bdev_channel *channel; /* open while a request queue runs */
	struct scsi_cmd *scratch_user;
	struct scsi_cmd_list tasks;
	struct scsi_cmd_list waiting; /* those tasks that the bdev has no room for, of all queues */
};

struct scsi_lu_options {
	struct bdev *bdev;
	bool read_only;
	const char *serial; /* NULL: the bdev's */
	const struct scsi_limits *limits;
};

/* -ENOMEM. Does not claim the bdev. */
int scsi_lu_init(struct scsi_lu *lu, const struct scsi_lu_options *opts);
void scsi_lu_done(struct scsi_lu *lu); /* fine on one that was never initialised, when zeroed */

static inline bool scsi_lu_has_ua(const struct scsi_lu *lu)
{
	return atomic_load_explicit(lu->ua, memory_order_relaxed) != 0;
}

static inline void scsi_lu_add_ua(struct scsi_lu *lu, enum scsi_ua ua)
{
	atomic_fetch_or_explicit(lu->ua, ua, memory_order_relaxed);
}

/* Nobody hears of it any more. */
static inline bool scsi_lu_drop_ua(struct scsi_lu *lu, enum scsi_ua ua)
{
	return (atomic_fetch_and_explicit(lu->ua, ~(unsigned int)ua, memory_order_relaxed) & ua) !=
	       0;
}

/* Takes the most important unit attention; false: none is pending. */
bool scsi_lu_take_ua(struct scsi_lu *lu, enum scsi_condition *ret_condition);

struct scsi_address {
	uint8_t target;
	uint16_t lun; /* UINT16_MAX: a form that no logical unit of ours can have */
};

#define SCSI_ADDRESS_LEN 8

/* false: not an address of a target (virtio 1.2, 5.6.6.1: first byte 1). */
static inline bool scsi_address_parse(const uint8_t *lun, struct scsi_address *ret_address)
{
	uint64_t word;
	uint8_t method = lun[2] >> 6;
	bool valid;

	memcpy(&word, lun, sizeof(word));
	word = be64toh(word);
	/* SAM-5, 4.7: peripheral device addressing (00b, byte 2 zero) or flat space addressing (01b).
	 * virtio 1.2, 5.6.6.1: followed by four zero bytes. */
	valid = (uint32_t)word == 0 && (lun[2] == 0 || method == 1);
	ret_address->target = lun[1];
	ret_address->lun = valid ? (uint16_t)(word >> 32 & 0x3fff) : UINT16_MAX;
	return lun[0] == 1;
}

#endif
