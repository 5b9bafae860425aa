/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/scsi/lu.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "device/scsi/cmd.h"

#define SCRATCH_ALIGN 4096 /* drivers of real devices need no bounce buffer then */

static uint32_t min_u32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/*
 * FNV-1a, folded into the 60 bits that an NAA 3h (locally assigned) designator leaves. Deterministic:
 * the same bdev shown on two sockets, or by a restarted daemon, is the same disk to the guest.
 */
static uint64_t naa_of(const char *serial)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (; *serial != '\0'; serial++) {
		hash ^= (uint8_t)*serial;
		hash *= UINT64_C(0x100000001b3);
	}
	return UINT64_C(3) << 60 | ((hash ^ hash >> 60) & UINT64_C(0x0fffffffffffffff));
}

/* SPC-4, 4.4.1: ASCII data fields hold graphic characters and blanks only. */
static void copy_ascii(char *to, size_t room, const char *from)
{
	size_t i;

	for (i = 0; i + 1 < room && from[i] != '\0'; i++) {
		to[i] = from[i];
		if (from[i] < 0x20 || from[i] > 0x7e) {
			to[i] = '_';
		}
	}
	to[i] = '\0';
}

static void init_limits(struct scsi_lu *lu, const struct scsi_limits *limits)
{
	const struct bdev_info *info = &lu->bdev->info;

	lu->limits = *limits;
	lu->limits.max_unmap_block_descriptor_count =
		min_u32(limits->max_unmap_block_descriptor_count, SCSI_MAX_UNMAP_DESCRIPTORS);
	if (lu->limits.optimal_unmap_granularity == 0) {
		lu->limits.optimal_unmap_granularity = info->discard_granularity / lu->block_size;
	}
	/* A read-only disk offers nothing that it would refuse. */
	lu->thin = info->can_discard && !lu->read_only;
	lu->unmap_zeroes = lu->thin && info->can_write_zeroes;
	if (!lu->thin || lu->limits.max_unmap_lba_count == 0 ||
	    lu->limits.max_unmap_block_descriptor_count == 0) {
		/* SBC-3, block limits page: zero in either means that UNMAP is not there. */
		lu->limits.max_unmap_lba_count = 0;
		lu->limits.max_unmap_block_descriptor_count = 0;
	}
}

int scsi_lu_init(struct scsi_lu *lu, const struct scsi_lu_options *opts)
{
	const struct bdev_info *info = &opts->bdev->info;
	uint32_t scratch_len = SCSI_SCRATCH_BYTES;
	void *scratch;

	if (scratch_len < info->block_size) {
		scratch_len = info->block_size;
	}
	/* Not touched, hence not backed by memory, until a command needs it. */
	if (posix_memalign(&scratch, SCRATCH_ALIGN, scratch_len) != 0) {
		return -ENOMEM;
	}

	memset(lu, 0, sizeof(*lu));
	TAILQ_INIT(&lu->tasks);
	TAILQ_INIT(&lu->waiting);
	lu->ua = &lu->own_ua;
	lu->bdev = opts->bdev;
	lu->read_only = opts->read_only || info->read_only;
	lu->block_size = info->block_size;
	lu->blocks = bdev_size(opts->bdev) / info->block_size;
	lu->max_transfer = SCSI_MAX_TRANSFER_BYTES / info->block_size;
	lu->scratch = scratch;
	lu->scratch_len = scratch_len;
	copy_ascii(lu->serial, sizeof(lu->serial),
		   opts->serial != NULL ? opts->serial : opts->bdev->serial);
	lu->naa = naa_of(lu->serial);
	init_limits(lu, opts->limits);
	return 0;
}

void scsi_lu_done(struct scsi_lu *lu)
{
	free(lu->scratch);
	memset(lu, 0, sizeof(*lu));
}

bool scsi_lu_take_ua(struct scsi_lu *lu, enum scsi_condition *ret_condition)
{
	/* SAM-5, 5.14.2: resets before everything else. */
	static const struct {
		enum scsi_ua bit;
		enum scsi_condition condition;
	} by_importance[] = {
		{ SCSI_UA_BIT_RESET, SCSI_UA_DEVICE_RESET },
		{ SCSI_UA_BIT_NEXUS_LOSS, SCSI_UA_NEXUS_LOSS },
		{ SCSI_UA_BIT_LUNS_CHANGED, SCSI_UA_LUNS_CHANGED },
		{ SCSI_UA_BIT_CAPACITY, SCSI_UA_CAPACITY_CHANGED },
	};
	size_t i;

	for (i = 0; i < sizeof(by_importance) / sizeof(by_importance[0]); i++) {
		if (scsi_lu_drop_ua(lu, by_importance[i].bit)) {
			*ret_condition = by_importance[i].condition;
			return true;
		}
	}
	return false;
}
