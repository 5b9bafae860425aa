/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The null bdev: a disk that forgets. Every request succeeds on the spot: writes go nowhere, and reads
 * leave the guest's buffer as it is. (The buffer holds what the guest had there itself, so nothing
 * of ours or of another guest is revealed; filling it with zeroes would measure memset.) It shows
 * what everything but the storage costs, and it is the shortest driver there can be. To write
 * another, begin with a copy.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/why.h"
#include "bdev/driver.h"

/* What the driver keeps for each disk. The embedded bdev comes first: a cast leads back. */
struct null_bdev {
	struct bdev bdev;
};

static int null_channel_open(struct bdev *bdev, struct bdev_channel **ret_channel)
{
	struct bdev_channel *channel = calloc(1, sizeof(*channel));

	if (channel == NULL) {
		return -ENOMEM;
	}
	*ret_channel = channel;
	return 0;
}

static void null_channel_close(struct bdev_channel *channel)
{
	free(channel);
}

/* Other drivers look at a request again (bdev_check_io) before they touch their memory or file. */
static int null_submit(struct bdev_channel *channel, struct bdev_io *io)
{
	io->status = 0;
	return BDEV_DONE;
}

/* Nothing is behind it, so any size will do. */
static int null_resize(struct bdev *bdev, uint64_t size, const char **ret_why)
{
	return 0;
}

static void null_close(struct bdev *bdev)
{
	free(bdev);
}

/* There is nothing but what all bdevs have. */
static void null_save(const struct bdev *bdev, struct parcel *parcel)
{
}

/* No commit, no poll, no event fd: nothing is left to do when submit returns. */
static const struct bdev_ops null_ops = {
	.driver = "null",
	.close = null_close,
	.resize = null_resize,
	.channel_open = null_channel_open,
	.channel_close = null_channel_close,
	.submit = null_submit,
	.save = null_save,
};

int bdev_null_restore(const struct bdev *as, struct parcel *parcel, struct bdev **ret_bdev,
		      const char **ret_why)
{
	struct null_bdev *null = calloc(1, sizeof(*null));

	if (null == NULL) {
		*ret_why = why("out of memory");
		return -ENOMEM;
	}
	null->bdev = *as;
	null->bdev.ops = &null_ops;
	*ret_bdev = &null->bdev;
	return 0;
}

int bdev_null_create(const struct bdev_null_options *opts, struct bdev **ret_bdev,
		     const char **ret_why)
{
	uint32_t block_size = opts->block_size != 0 ? opts->block_size : BDEV_DEFAULT_BLOCK_SIZE;
	struct null_bdev *null;
	int rc;

	rc = bdev_check_new(opts->name, opts->size, block_size, ret_why);
	if (rc != 0) {
		return rc;
	}
	null = calloc(1, sizeof(*null));
	if (null == NULL) {
		*ret_why = why("%s: out of memory", opts->name);
		return -ENOMEM;
	}
	bdev_init(&null->bdev, &null_ops, opts->name, "Null disk");
	null->bdev.info = (struct bdev_info){
		.size = opts->size,
		.block_size = block_size,
		.physical_block_size = block_size,
		.max_discard = opts->size,
		.can_discard = true,
		.can_write_zeroes = true,
	};
	rc = bdev_register(&null->bdev, ret_why);
	if (rc != 0) {
		free(null);
		return rc;
	}
	*ret_bdev = &null->bdev;
	return 0;
}
