/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Targets come and go, and their disks change their size. The control thread says which logical units there
 * shall be (`wanted`); each part makes those that it has the same (part.c), one target at a time as its last
 * command is answered; and the last one to do so tells the driver.
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
	/* Release: orders what the logical unit is before the pointer, for the parts. */
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
	lu->target = target;
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

/* ---- what the driver is told ---- */

static bool any_part_has(const struct scsi_device *dev, unsigned int target,
			 const struct scsi_lu *lu)
{
	const struct scsi_part *part;

	for (part = atomic_load(&dev->parts); part != NULL; part = part->next) {
		if (atomic_load(&part->has[target]) == lu) {
			return true;
		}
	}
	return false;
}

/* Those in which queues run. */
static bool all_parts_have(const struct scsi_device *dev, unsigned int target,
			   const struct scsi_lu *lu)
{
	const struct scsi_part *part;

	for (part = atomic_load(&dev->parts); part != NULL; part = part->next) {
		if (atomic_load(&part->queues) > 0 && atomic_load(&part->has[target]) != lu) {
			return false;
		}
	}
	return true;
}

/* A driver that takes no events hears of a new target from the others. */
static void report_by_sense(struct scsi_device *dev, unsigned int added)
{
	unsigned int i;

	for (i = 0; i < SCSI_MAX_TARGETS; i++) {
		if (i != added && dev->known[i].lu != NULL) {
			scsi_lu_add_ua(dev->known[i].lu, SCSI_UA_BIT_LUNS_CHANGED);
		}
	}
}

static bool tell_of_new(struct scsi_device *dev, unsigned int target, struct scsi_lu *lu)
{
	lu->was_known = true;
	dev->known[target].lu = lu;
	dev->known[target].blocks = bdev_size(lu->bdev) / lu->block_size;
	if ((dev->features >> VIRTIO_SCSI_F_HOTPLUG & 1) == 0) {
		report_by_sense(dev, target);
	}
	return scsi_event_post(dev, target, SCSI_EVENT_ADDED);
}

static bool tell_of_size(struct scsi_device *dev, unsigned int target, struct scsi_lu *lu)
{
	uint64_t blocks = bdev_size(lu->bdev) / lu->block_size;

	if (dev->known[target].blocks == blocks) {
		return false;
	}
	dev->known[target].blocks = blocks;
	scsi_lu_add_ua(lu, SCSI_UA_BIT_CAPACITY);
	return scsi_event_post(dev, target, SCSI_EVENT_RESIZED);
}

static bool tell_of_target(struct scsi_device *dev, unsigned int target)
{
	/* Acquire: the mirror of want(). */
	struct scsi_lu *lu = atomic_load_explicit(&dev->wanted[target], memory_order_acquire);
	const struct scsi_lu *known = dev->known[target].lu;
	bool told = false;

	if (known != NULL && known != lu && !any_part_has(dev, target, known)) {
		known = dev->known[target].lu = NULL;
		told = scsi_event_post(dev, target, SCSI_EVENT_REMOVED);
	}
	if (lu == NULL || lu->error != 0) {
		return told;
	}
	if (known == NULL && all_parts_have(dev, target, lu)) {
		told = tell_of_new(dev, target, lu) || told;
	} else if (known == lu) {
		told = tell_of_size(dev, target, lu) || told;
	}
	return told;
}

bool scsi_tell(struct scsi_device *dev)
{
	bool told = false;
	unsigned int i;

	pthread_mutex_lock(&dev->telling);
	for (i = 0; i < SCSI_MAX_TARGETS; i++) {
		told = tell_of_target(dev, i) || told;
	}
	pthread_mutex_unlock(&dev->telling);
	return told;
}

/* A target that went before all parts had it: some had, and a driver may have found it by itself. */
static bool tell_of_unknown(struct scsi_device *dev)
{
	struct scsi_lu *lu;
	bool told = false;

	pthread_mutex_lock(&dev->telling);
	STAILQ_FOREACH (lu, &dev->old, link) {
		if (lu->was_there && !lu->was_known) {
			told = scsi_event_post(dev, lu->target, SCSI_EVENT_ADDED) || told;
			told = scsi_event_post(dev, lu->target, SCSI_EVENT_REMOVED) || told;
		}
	}
	pthread_mutex_unlock(&dev->telling);
	return told;
}

/* Whoever sleeps over the event queue has to hear of news. */
bool scsi_settled(struct virtio_device *device, bool running)
{
	struct scsi_device *dev = scsi_device_of(device);
	bool told = scsi_tell(dev);

	told = tell_of_unknown(dev) || told;
	forget_old(dev);
	return told && running;
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
