/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: the virtio block device (virtio 1.2, 5.2) on one bdev: IN, OUT, FLUSH, GET_ID, DISCARD,
 * WRITE_ZEROES, read-only, multi-queue. Framing of the driver's buffers plays no role.
 * The calls below: control thread.
 */
#ifndef VHT_DEVICE_BLK_H
#define VHT_DEVICE_BLK_H

#include <stdbool.h>

#include "bdev/bdev.h"
#include "virtio/device.h"

struct blk_options {
	struct bdev *bdev;   /* claimed until another one takes its place */
	bool read_only;	     /* also when the bdev is */
	const char *serial;  /* GET_ID, up to 20 bytes are shown; NULL: the bdev's serial */
	unsigned int queues; /* most request queues offered, 1..256; 0: default (64) */
};

int blk_new(const struct blk_options *opts, struct virtio_device **ret_device);

/*
 * The device works on another bdev, or on none any more: each queue as soon as no request of it is under
 * way. Both need the queues to be updated (virtio/device.h). Serial number and, while a front-end is
 * connected, features stay. -EINVAL: then the new one is unlike the old one in a way that would hurt a
 * guest. -ENOMEM.
 */
int blk_set_bdev(struct virtio_device *device, struct bdev *bdev, bool connected,
		 const char **ret_why);
/* Requests fail, but the disk is still to be seen; a front-end that connects sees one of no capacity. */
void blk_lose_bdev(struct virtio_device *device);
/* The device as it was configured, for a process that goes on with it; its bdev is registered there. */
void blk_save(const struct virtio_device *device, struct parcel *parcel);
int blk_restore(struct parcel *parcel, struct virtio_device **ret_device, const char **ret_why);
struct bdev *blk_bdev(const struct virtio_device *device); /* NULL: lost */
bool blk_is_read_only(const struct virtio_device *device);

#endif
