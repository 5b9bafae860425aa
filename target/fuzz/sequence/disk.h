/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: a bdev that completes requests when it is told to, and beside it what the disk must hold.
 *
 *   shadow  the contents by what the driver was told so far.
 *   claim   sectors of a request that is on its way: read by some, or written by one. Whoever sends
 *           requests claims first; the disk takes nothing that was not claimed.
 *
 * When a write has succeeded the disk holds the new data. When it has failed, or nobody ever heard of
 * it, each sector holds either the old or the new.
 */
#ifndef VHT_FUZZ_DISK_H
#define VHT_FUZZ_DISK_H

#include "bdev/bdev.h"

#define DISK_SECTOR  512u
#define DISK_SIZE    (64u << 10)
#define DISK_SECTORS (DISK_SIZE / DISK_SECTOR)

struct disk_options {
	const char *name;
	uint32_t block_size;
	bool write_cache;
	bool read_only;
	bool no_discard;
	bool no_write_zeroes;
	uint32_t max_discard;
};

/* One on each core that uses the disk. */
struct disk_channel;

struct disk {
	struct bdev bdev;
	LIST_HEAD(, disk_channel) channels;
	/* How it behaves; see disk_set(). */
	bool automatic;	    /* completes everything at the next poll */
	bool newest_first;  /* completes in the wrong order */
	unsigned int depth; /* a channel takes so many requests at a time; 0: any number */
	int fail;	    /* status of everything, if not 0 */
	unsigned int due;   /* that many may complete */
	unsigned int outstanding;
	unsigned int refusals; /* -EAGAIN */
	unsigned int failures;
	bool closed;	/* it was deleted, and the last one who used it has left */
	bool unwatched; /* whoever sends requests now does not claim */
	uint8_t data[DISK_SIZE];
	uint8_t shadow[DISK_SIZE];
	uint8_t pending[DISK_SIZE]; /* what writers are going to write */
	uint8_t readers[DISK_SECTORS];
	bool writer[DISK_SECTORS];
};

void disk_open(struct disk *d, const struct disk_options *opts);
void disk_close(struct disk *d);
/* One that was deleted and closed can be had again. */
void disk_reopen(struct disk *d);
bool disk_is_open(const struct disk *d); /* has not been deleted */

/* Lets `n` requests complete that are or come there, in the order of `newest_first`. */
void disk_release(struct disk *d, unsigned int n);
void disk_set_automatic(struct disk *d, bool automatic);

/* False: somebody else has a claim to a part of it. A range lies inside of the disk. */
bool disk_claim_read(struct disk *d, uint64_t offset, uint32_t len);
bool disk_claim_write(struct disk *d, uint64_t offset, uint32_t len,
		      const void *data); /* NULL: 0 */
void disk_read_done(struct disk *d, uint64_t offset, uint32_t len);
void disk_write_done(struct disk *d, uint64_t offset, uint32_t len, bool done);

/* No request is on its way any more: all claims end, and the disk holds what it must. */
void disk_settle(struct disk *d);

#endif
