/* SPDX-License-Identifier: BSD-3-Clause */
/* Concepts: what all drivers share. Only for files in bdev/; null.c shows how to use it. */
#ifndef VHT_BDEV_DRIVER_H
#define VHT_BDEV_DRIVER_H

#include "base/checked.h"
#include "bdev/bdev.h"

#define BDEV_DEFAULT_BLOCK_SIZE 512
#define BDEV_MIN_BLOCK_SIZE	512
#define BDEV_MAX_BLOCK_SIZE	65536

STAILQ_HEAD(bdev_io_list, bdev_io);

/*
 * The mirrors of bdev_ops.save: a bdev out of what was packed, not registered yet. `as` has its identity and
 * info, checked as far as all drivers have them in common. On failure *ret_why does not name the bdev.
 */
int bdev_null_restore(const struct bdev *as, struct parcel *parcel, struct bdev **ret_bdev,
		      const char **ret_why);
int bdev_malloc_restore(const struct bdev *as, struct parcel *parcel, struct bdev **ret_bdev,
			const char **ret_why);
int bdev_aio_restore(const struct bdev *as, struct parcel *parcel, struct bdev **ret_bdev,
		     const char **ret_why);

/*
 * Checks what an operator asked for, before the driver allocates anything: the name is well-formed
 * and free, the size a multiple of the block size. Returns 0 or as the constructors.
 */
int bdev_check_new(const char *name, uint64_t size, uint32_t block_size, const char **ret_why);

/* Fills in the identity. The name was checked. */
void bdev_init(struct bdev *bdev, const struct bdev_ops *ops, const char *name,
	       const char *product);

/*
 * The submitter has checked its requests. A driver looks all the same, because the price of a
 * mistake is memory outside the disk: 0, or the status to complete the request with.
 */
int bdev_check_any_io(const struct bdev *bdev, const struct bdev_io *io);

/* The same; a read in one piece, the most common request, is checked on the spot. */
static inline int bdev_check_io(const struct bdev *bdev, const struct bdev_io *io)
{
	const struct bdev_info *info = &bdev->info;

	if (io->op == BDEV_READ && io->iov_n == 1 && io->iov[0].iov_len == io->len &&
	    ((io->offset | io->len) & (info->block_size - 1)) == 0 &&
	    range_inside(io->offset, io->len, bdev_size(bdev))) {
		return 0;
	}
	return bdev_check_any_io(bdev, io);
}

static inline void bdev_complete(struct bdev_io *io, int status)
{
	io->status = status;
	io->done(io);
}

#endif
