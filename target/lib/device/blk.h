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
	struct bdev *bdev;   /* claimed for the life of the device */
	bool read_only;	     /* also when the bdev is */
	const char *serial;  /* GET_ID, up to 20 bytes are shown; NULL: the bdev's serial */
	unsigned int queues; /* most request queues offered, 1..256; 0: default (64) */
};

int blk_new(const struct blk_options *opts, struct virtio_device **ret_device);

#endif
