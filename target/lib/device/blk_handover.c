/* SPDX-License-Identifier: BSD-3-Clause */
/* A block device as another process goes on with it: how it was configured, then what its driver has said. */
#include <errno.h>
#include <string.h>

#include "base/parcel.h"
#include "base/why.h"
#include "device/blk.h"
#include "device/blk_internal.h"

void blk_save(const struct virtio_device *device, struct parcel *parcel)
{
	const struct blk_device *blk = (const struct blk_device *)device;
	char serial[BLK_ID_LEN + 1] = "";

	memcpy(serial, blk->serial, BLK_ID_LEN);
	parcel_put_u8(parcel, blk->asked_read_only);
	parcel_put_u32(parcel, blk->queues);
	parcel_put_text(parcel, serial);
	/* One that was taken away is only a memory of what the guest knows. */
	parcel_put_text(parcel, bdev_is_gone(blk->bdev) ? NULL : blk->bdev->name);
	if (bdev_is_gone(blk->bdev)) {
		bdev_save_info(blk->bdev, parcel);
	}
}

/* On a bdev that was there once, and is taken away again before anybody can have used it. */
static int restore_gone(struct blk_options *opts, struct parcel *parcel,
			struct virtio_device **ret_device)
{
	struct bdev was = { .ops = NULL };
	int r;

	bdev_restore_info(&was, parcel);
	if (parcel->failed) {
		return -EPROTO;
	}
	opts->bdev = &was;
	r = blk_new(opts, ret_device);
	if (r == 0) {
		blk_lose_bdev(*ret_device);
		blk_settled(*ret_device, false);
	}
	return r;
}

int blk_restore(struct parcel *parcel, struct virtio_device **ret_device, const char **ret_why)
{
	struct blk_options opts = { .read_only = parcel_get_bool(parcel) };
	const char *bdev;
	int r;

	opts.queues = parcel_get_below(parcel, BLK_MAX_QUEUES + 1);
	opts.serial = parcel_get_name(parcel);
	bdev = parcel_get_text(parcel);
	opts.bdev = bdev != NULL ? bdev_find(bdev) : NULL;
	if (parcel->failed || (bdev != NULL && opts.bdev == NULL)) {
		*ret_why = why("a block device that cannot be");
		return -EPROTO;
	}
	r = bdev != NULL ? blk_new(&opts, ret_device) : restore_gone(&opts, parcel, ret_device);
	if (r < 0) {
		*ret_why = why("cannot make its block device: %s", strerror(-r));
	}
	return r;
}

void blk_save_state(const struct virtio_device *device, struct parcel *parcel)
{
	const struct blk_device *blk = (const struct blk_device *)device;

	parcel_put_u64(parcel, blk->offered);
	parcel_put_u64(parcel, blk->negotiated);
	parcel_put_u8(parcel, atomic_load_explicit(&blk->writeback, memory_order_relaxed));
	parcel_put_u8(parcel, blk->read_only);
	parcel_put_u8(parcel, blk->shows_nothing);
}

int blk_restore_state(struct virtio_device *device, struct parcel *parcel)
{
	struct blk_device *blk = (struct blk_device *)device;

	blk->offered = parcel_get_u64(parcel);
	blk->negotiated = parcel_get_u64(parcel);
	atomic_store_explicit(&blk->writeback, parcel_get_bool(parcel), memory_order_relaxed);
	blk->read_only = parcel_get_bool(parcel);
	blk->shows_nothing = parcel_get_bool(parcel);
	return parcel->failed ? -EPROTO : 0;
}
