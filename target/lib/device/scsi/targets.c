/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Targets come and go, and their disks change their size. The control thread says which logical units there
 * shall be (`wanted`); the reactor makes those that there are (`lus`) the same, one target at a time as its
 * last command is answered, and tells the driver.
 */
#include <errno.h>
#include <stdlib.h>

#include "device/scsi/dev.h"

/* ---- what there shall be: control thread ---- */

static struct scsi_lu *wanted(const struct scsi_device *dev, unsigned int target)
{
	return atomic_load_explicit(&dev->wanted[target], memory_order_relaxed);
}

static void want(struct scsi_device *dev, unsigned int target, struct scsi_lu *lu)
{
	/* Release: orders what the logical unit is before the pointer, for reconcile_target(). */
	atomic_store_explicit(&dev->wanted[target], lu, memory_order_release);
}

int scsi_add_target(struct virtio_device *device, unsigned int target, struct bdev *bdev,
		    bool read_only, const char *serial)
{
	struct scsi_device *dev = scsi_device_of(device);
	const struct scsi_lu_options opts = {
		.bdev = bdev,
		.read_only = read_only,
		.serial = serial,
		.limits = &dev->limits,
	};
	struct scsi_lu *lu;

	if (target >= SCSI_MAX_TARGETS) {
		return -EINVAL;
	}
	if (wanted(dev, target) != NULL) {
		return -EEXIST;
	}
	lu = calloc(1, sizeof(*lu));
	if (lu == NULL || scsi_lu_init(lu, &opts) < 0) {
		free(lu);
		return -ENOMEM;
	}
	bdev_claim(bdev);
	want(dev, target, lu);
	return 0;
}

int scsi_remove_target(struct virtio_device *device, unsigned int target)
{
	struct scsi_device *dev = scsi_device_of(device);
	struct scsi_lu *lu;

	if (target >= SCSI_MAX_TARGETS) {
		return -EINVAL;
	}
	lu = wanted(dev, target);
	if (lu == NULL) {
		return -ENOENT;
	}
	want(dev, target, NULL);
	bdev_leave(lu->bdev);
	STAILQ_INSERT_TAIL(&dev->old, lu, link);
	return 0;
}

struct bdev *scsi_target_bdev(const struct virtio_device *device, unsigned int target)
{
	const struct scsi_lu *lu = NULL;

	if (target < SCSI_MAX_TARGETS) {
		lu = wanted(scsi_device_of(device), target);
	}
	return lu != NULL ? lu->bdev : NULL;
}

static void forget_old(struct scsi_device *dev)
{
	struct scsi_lu *lu;

	while ((lu = STAILQ_FIRST(&dev->old)) != NULL) {
		struct bdev *bdev = lu->bdev;

		STAILQ_REMOVE_HEAD(&dev->old, link);
		scsi_lu_done(lu);
		free(lu);
		bdev_left(bdev);
	}
}

void scsi_settled(struct virtio_device *device, bool running)
{
	struct scsi_device *dev = scsi_device_of(device);

	if (!running) {
		scsi_reconcile(dev); /* no command is under way, so it does all of it */
	}
	forget_old(dev);
}

bool scsi_take_failed_target(struct virtio_device *device, unsigned int *ret_target, int *ret_error)
{
	struct scsi_device *dev = scsi_device_of(device);
	unsigned int i;

	for (i = 0; i < SCSI_MAX_TARGETS; i++) {
		struct scsi_lu *lu = wanted(dev, i);

		if (lu != NULL && lu->error != 0) {
			*ret_target = i;
			*ret_error = lu->error;
			scsi_remove_target(device, i);
			forget_old(dev);
			return true;
		}
	}
	return false;
}

void scsi_remove_all_targets(struct scsi_device *dev)
{
	unsigned int i;

	for (i = 0; i < SCSI_MAX_TARGETS; i++) {
		scsi_remove_target(&dev->device, i);
	}
	forget_old(dev);
}

/* ---- what there is: the reactor, or the control thread while no queue runs ---- */

/* A driver that takes no events hears of a new target from the others. */
static void report_by_sense(struct scsi_device *dev, unsigned int added)
{
	unsigned int i;

	for (i = 0; i < SCSI_MAX_TARGETS; i++) {
		if (i != added && dev->lus[i] != NULL) {
			dev->lus[i]->ua |= SCSI_UA_BIT_LUNS_CHANGED;
		}
	}
}

static void attach(struct scsi_device *dev, unsigned int target, struct scsi_lu *lu)
{
	int r = 0;

	/* Without request queues the first one that starts opens it. */
	if (dev->running > 0) {
		r = bdev_channels_get(dev->channels, lu->bdev, &lu->channel);
	}
	if (r < 0) {
		lu->error = r;
		return;
	}
	lu->blocks = bdev_size(lu->bdev) / lu->block_size;
	dev->lus[target] = lu;
	if ((dev->features >> VIRTIO_SCSI_F_HOTPLUG & 1) != 0) {
		scsi_event_post(dev, target, SCSI_EVENT_ADDED);
	} else {
		report_by_sense(dev, target);
	}
}

static void detach(struct scsi_device *dev, unsigned int target)
{
	struct scsi_lu *lu = dev->lus[target];

	if (lu->channel != NULL) {
		bdev_channels_put(dev->channels, lu->channel);
		lu->channel = NULL;
	}
	dev->lus[target] = NULL;
	scsi_event_post(dev, target, SCSI_EVENT_REMOVED);
}

static void look_at_size(struct scsi_device *dev, unsigned int target)
{
	struct scsi_lu *lu = dev->lus[target];
	uint64_t blocks = bdev_size(lu->bdev) / lu->block_size;

	if (blocks != lu->blocks) {
		lu->blocks = blocks;
		lu->ua |= SCSI_UA_BIT_CAPACITY;
		scsi_event_post(dev, target, SCSI_EVENT_RESIZED);
	}
}

/* False: commands are under way that the target that goes has accepted. */
static bool reconcile_target(struct scsi_device *dev, unsigned int target)
{
	/* Acquire: the mirror of want(). */
	struct scsi_lu *lu = atomic_load_explicit(&dev->wanted[target], memory_order_acquire);

	if (dev->lus[target] != NULL && dev->lus[target] != lu) {
		dev->lus[target]->leaving = true; /* from now on it is not there */
		if (!TAILQ_EMPTY(&dev->lus[target]->tasks)) {
			return false;
		}
		detach(dev, target);
	}
	if (dev->lus[target] != NULL) {
		look_at_size(dev, target);
	} else if (lu != NULL && lu->error == 0) {
		attach(dev, target, lu);
	}
	return true;
}

bool scsi_reconcile(struct scsi_device *dev)
{
	bool done = true;
	unsigned int i;

	for (i = 0; i < SCSI_MAX_TARGETS; i++) {
		done = reconcile_target(dev, i) && done;
	}
	return done;
}

bool scsi_queue_update(struct device_queue *queue)
{
	return scsi_reconcile(scsi_device_of(queue->device));
}
