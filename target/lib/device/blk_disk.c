/* SPDX-License-Identifier: BSD-3-Clause */
/* Which bdev the block device works on: another one, or none any more, under running queues. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/why.h"
#include "device/blk.h"
#include "device/blk_internal.h"

/* ---- what there shall be: control thread ---- */

static void set_wanted(struct blk_device *blk, struct bdev *bdev)
{
	blk->bdev = bdev;
	/* Release: orders what the bdev is before the pointer, for blk_queue_update(). */
	atomic_store_explicit(&blk->wanted, bdev, memory_order_release);
}

/* For two more in `old`, and with a bdev for the place of one that goes: to lose one cannot fail then. */
static int prepare(struct blk_device *blk)
{
	struct bdev **old = reallocarray(blk->old, blk->old_n + 2, sizeof(*old));

	if (old == NULL) {
		return -ENOMEM;
	}
	blk->old = old;
	if (blk->spare == NULL) {
		blk->spare = calloc(1, sizeof(*blk->spare));
	}
	return blk->spare != NULL ? 0 : -ENOMEM;
}

int blk_disk_init(struct blk_device *blk, struct bdev *bdev)
{
	int r = prepare(blk);

	if (r < 0) {
		return r;
	}
	bdev_claim(bdev);
	set_wanted(blk, bdev);
	return 0;
}

/* Queues may be using it still. */
static void put_aside(struct blk_device *blk)
{
	if (!bdev_is_gone(blk->bdev)) {
		bdev_leave(blk->bdev);
	}
	blk->old[blk->old_n++] = blk->bdev;
}

static void forget_old(struct blk_device *blk)
{
	while (blk->old_n > 0) {
		struct bdev *bdev = blk->old[--blk->old_n];

		if (bdev_is_gone(bdev)) {
			free(bdev);
		} else {
			bdev_left(bdev);
		}
	}
}

void blk_disk_done(struct blk_device *blk)
{
	forget_old(blk);
	if (blk->bdev != NULL && bdev_is_gone(blk->bdev)) {
		free(blk->bdev);
	} else if (blk->bdev != NULL) {
		bdev_release(blk->bdev);
	}
	free(blk->old);
	free(blk->spare);
}

/* Why the guest would be hurt by finding this one where it knows another; NULL: it would not. */
static const char *misfit(const struct blk_device *blk, const struct bdev *bdev)
{
	const struct bdev_info *was = &blk->bdev->info;
	const struct bdev_info *info = &bdev->info;
	bool discards = blk_has(blk->offered, BLK_F_DISCARD);
	bool zeroes = blk_has(blk->offered, BLK_F_WRITE_ZEROES);

	if (info->block_size != was->block_size) {
		return why("its blocks have %" PRIu32
			   " bytes, and the guest knows blocks of %" PRIu32,
			   info->block_size, was->block_size);
	}
	if (info->read_only && !blk->read_only) {
		return "it is read-only, and the guest may write";
	}
	if (discards && !info->can_discard) {
		return "it cannot discard, and the guest may";
	}
	if (zeroes && !info->can_write_zeroes) {
		return "it cannot write zeroes, and the guest may";
	}
	if ((discards || zeroes) && info->max_discard < was->max_discard &&
	    info->max_discard < info->size) {
		return "its discards and zeroes are shorter than those that the guest knows";
	}
	return NULL;
}

int blk_set_bdev(struct virtio_device *device, struct bdev *bdev, bool connected,
		 const char **ret_why)
{
	struct blk_device *blk = (struct blk_device *)device;
	const char *reason;

	if (bdev == blk->bdev) {
		return 0;
	}
	reason = connected ? misfit(blk, bdev) : NULL;
	if (reason != NULL) {
		*ret_why = why("%s cannot take the place of %s while a front-end is connected: %s",
			       bdev->name, blk->bdev->name, reason);
		return -EINVAL;
	}
	if (prepare(blk) < 0) {
		*ret_why = why("out of memory");
		return -ENOMEM;
	}
	put_aside(blk);
	bdev_claim(bdev);
	set_wanted(blk, bdev);
	blk->shows_nothing = false;
	if (!connected) {
		blk->read_only = blk->asked_read_only || bdev->info.read_only;
		atomic_store_explicit(&blk->writeback, bdev->info.write_cache,
				      memory_order_relaxed);
	}
	return 0;
}

void blk_lose_bdev(struct virtio_device *device)
{
	struct blk_device *blk = (struct blk_device *)device;
	struct bdev *gone = blk->spare;

	if (bdev_is_gone(blk->bdev)) {
		return;
	}
	bdev_gone_init(gone, blk->bdev);
	blk->spare = NULL;
	put_aside(blk);
	set_wanted(blk, gone);
}

struct bdev *blk_bdev(const struct virtio_device *device)
{
	const struct blk_device *blk = (const struct blk_device *)device;

	return bdev_is_gone(blk->bdev) ? NULL : blk->bdev;
}

bool blk_is_read_only(const struct virtio_device *device)
{
	return ((const struct blk_device *)device)->read_only;
}

bool blk_settled(struct virtio_device *device, bool running)
{
	forget_old((struct blk_device *)device);
	return false;
}

/* ---- what there is: a queue's reactor ---- */

bool blk_queue_update(struct device_queue *device_queue)
{
	struct blk_queue *queue = (struct blk_queue *)device_queue;
	/* Acquire: the mirror of set_wanted(). */
	struct bdev *bdev = atomic_load_explicit(&queue->blk->wanted, memory_order_acquire);
	struct bdev_channel *channel;

	if (queue->channel == NULL || queue->channel->bdev == bdev) {
		device_queue->quiescent = false;
		return true;
	}
	/* Nothing more is begun; what has not reached the bdev goes back to the ring. */
	device_queue->quiescent = true;
	blk_queue_drain(device_queue);
	if (virtq_inflight(device_queue->vq) > 0) {
		return false;
	}
	if (bdev_channels_get(queue->channels, bdev, &channel) < 0) {
		virtq_break(device_queue->vq,
			    "the disk that took the place of its own cannot be opened");
		channel = NULL;
	}
	bdev_channels_put(queue->channels, queue->channel);
	queue->channel = channel;
	device_queue->quiescent = false;
	return true;
}
