/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: the virtio SCSI host device (virtio 1.2, 5.6): a control queue, an event queue and request
 * queues; targets 0..7, each with LUN 0 on one bdev. Targets come and go under running queues, and the
 * driver is told by events, or by sense if it takes no events.
 * The calls below: control thread.
 */
#ifndef VHT_DEVICE_SCSI_SCSI_H
#define VHT_DEVICE_SCSI_SCSI_H

#include "bdev/bdev.h"
#include "virtio/device.h"

#define SCSI_MAX_TARGETS 8

/* Values of the Block Limits VPD page (B0); the [Scsi] section of the start-up file. */
struct scsi_limits {
	uint32_t max_unmap_lba_count;		   /* default 4194304 */
	uint32_t max_unmap_block_descriptor_count; /* default 1; more than 32 counts as 32 */
	uint32_t optimal_unmap_granularity;	   /* default 0 */
	uint32_t unmap_granularity_alignment;	   /* default 0 */
	bool ugavalid;				   /* default no */
	uint32_t max_write_same_length;		   /* default 512 blocks */
};

extern const struct scsi_limits scsi_default_limits;

struct scsi_options {
	const struct scsi_limits *limits; /* copied; NULL: the defaults */
	unsigned int request_queues;	  /* most request queues offered, 1..254; 0: default (64) */
};

int scsi_new(const struct scsi_options *opts, struct virtio_device **ret_device);

/*
 * A target, or a bdev that was resized, is there for the driver when the queues have been updated
 * (virtio/device.h). -EINVAL: target number beyond 7; -EEXIST: occupied; -ENOENT (remove): empty;
 * -ENOMEM. The bdev is claimed until it is removed; then the device leaves it when the last command is
 * answered, and a new target may have the number at once. serial NULL: the bdev's.
 */
int scsi_add_target(struct virtio_device *device, unsigned int target, struct bdev *bdev,
		    bool read_only, const char *serial);
int scsi_remove_target(struct virtio_device *device, unsigned int target);
/* After the device has settled: takes away a target whose bdev could not be opened. False: there is none. */
bool scsi_take_failed_target(struct virtio_device *device, unsigned int *ret_target,
			     int *ret_error);
/* NULL: no such target. */
struct bdev *scsi_target_bdev(const struct virtio_device *device, unsigned int target);

/* The device as it was configured, with its targets, for a process that goes on with it; their bdevs are
 * registered there. */
void scsi_save(const struct virtio_device *device, struct parcel *parcel);
int scsi_restore(struct parcel *parcel, struct virtio_device **ret_device, const char **ret_why);

struct scsi_event_stats {
	uint64_t delivered; /* events that say what happened */
	uint64_t missed;    /* how often the driver was told that it missed some */
};

/* Since the device exists. */
void scsi_get_event_stats(const struct virtio_device *device, struct scsi_event_stats *ret_stats);

#endif
