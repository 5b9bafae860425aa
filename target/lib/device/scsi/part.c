/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Parts: a queue that begins to run finds or makes that of its reactor. Its logical units are there from the
 * first queue to the last, and each update makes them what they shall be.
 */
#include <errno.h>
#include <stdlib.h>

#include "device/scsi/dev.h"

/* ---- logical units ---- */

static void detach(struct scsi_part *part, unsigned int target)
{
	struct scsi_lu *lu = part->lus[target];

	if (lu->channel != NULL) {
		bdev_channels_put(part->channels, lu->channel);
	}
	part->lus[target] = NULL;
	atomic_store(&part->has[target], NULL);
	scsi_lu_done(lu);
	free(lu);
}

static int attach(struct scsi_part *part, unsigned int target, struct scsi_lu *of)
{
	const struct scsi_lu_options opts = {
		.bdev = of->bdev,
		.read_only = of->read_only,
		.serial = of->serial,
		.limits = &part->dev->limits,
	};
	struct scsi_lu *lu = calloc(1, sizeof(*lu));
	int r;

	if (lu == NULL || scsi_lu_init(lu, &opts) < 0) {
		free(lu);
		return -ENOMEM;
	}
	lu->of = of;
	lu->ua = of->ua;
	part->lus[target] = lu;
	atomic_store(&part->has[target], of);
	/* Without request queues the first one that starts opens it. */
	r = part->running > 0 ? bdev_channels_get(part->channels, lu->bdev, &lu->channel) : 0;
	if (r < 0) {
		detach(part, target);
		return r;
	}
	atomic_store_explicit(&of->was_there, true, memory_order_relaxed);
	return 0;
}

static struct scsi_lu *wanted(const struct scsi_part *part, unsigned int target)
{
	/* Acquire: the mirror of want(). */
	return atomic_load_explicit(&part->dev->wanted[target], memory_order_acquire);
}

/* 0: it is what it shall be. 1: commands are under way that the target that goes has accepted. */
static int reconcile_target(struct scsi_part *part, unsigned int target, struct scsi_lu *of)
{
	struct scsi_lu *lu = part->lus[target];
	int r = 0;

	if (lu != NULL && lu->of != of) {
		lu->leaving = true; /* from now on it is not there */
		if (!TAILQ_EMPTY(&lu->tasks)) {
			return 1;
		}
		detach(part, target);
	}
	if (part->lus[target] != NULL) {
		lu->blocks = bdev_size(lu->bdev) / lu->block_size;
	} else if (of != NULL && of->error == 0) {
		r = attach(part, target, of);
	}
	return r;
}

/* The event queue may be on another reactor. */
static void tell(struct scsi_part *part)
{
	if (!scsi_tell(part->dev)) {
		return;
	}
	if (part->events != NULL) {
		scsi_event_queue_update(part->events);
	} else {
		part->dev->device.ask_update(&part->dev->device);
	}
}

static bool reconcile(struct scsi_part *part)
{
	bool done = true;
	unsigned int i;

	for (i = 0; i < SCSI_MAX_TARGETS; i++) {
		struct scsi_lu *of = wanted(part, i);
		int r = reconcile_target(part, i, of);

		if (r < 0) {
			/* No disk at all then, on no reactor; the control thread sees to it. */
			atomic_store(&of->error, r);
		}
		done = done && r <= 0;
	}
	tell(part);
	return done;
}

bool scsi_queue_update(struct device_queue *queue)
{
	struct scsi_part *part = ((struct scsi_queue *)queue)->part;
	bool done = scsi_tmf_update(part, &queue->restless);

	if (queue->index == VIRTIO_SCSI_Q_EVENT) {
		scsi_event_queue_update(queue);
	}
	return reconcile(part) && done; /* in any case the first, too */
}

/* ---- queues come and go ---- */

static struct scsi_part *find(struct scsi_device *dev, const struct bdev_channels *channels)
{
	struct scsi_part *part = atomic_load(&dev->parts);

	while (part != NULL && part->channels != channels) {
		part = part->next;
	}
	return part;
}

/* Nobody else makes one with these channels: they are our reactor's. */
static struct scsi_part *make(struct scsi_device *dev, struct bdev_channels *channels)
{
	struct scsi_part *part = calloc(1, sizeof(*part));

	if (part == NULL) {
		return NULL;
	}
	part->dev = dev;
	part->channels = channels;
	part->next = atomic_load(&dev->parts);
	while (!atomic_compare_exchange_weak(&dev->parts, &part->next, part)) {
	}
	return part;
}

static void detach_all(struct scsi_part *part)
{
	unsigned int i;

	for (i = 0; i < SCSI_MAX_TARGETS; i++) {
		if (part->lus[i] != NULL) {
			detach(part, i);
		}
	}
}

static int attach_all(struct scsi_part *part)
{
	unsigned int i;
	int r = 0;

	for (i = 0; i < SCSI_MAX_TARGETS && r == 0; i++) {
		r = reconcile_target(part, i, wanted(part, i));
	}
	if (r < 0) {
		detach_all(part);
	}
	return r;
}

int scsi_part_enter(struct scsi_device *dev, struct bdev_channels *channels,
		    struct scsi_part **ret_part)
{
	struct scsi_part *part = find(dev, channels);
	int r = 0;

	if (part == NULL) {
		part = make(dev, channels);
	}
	if (part == NULL) {
		return -ENOMEM;
	}
	if (part->queues == 0) {
		r = attach_all(part);
	}
	if (r < 0) {
		return r;
	}
	if (atomic_fetch_add(&part->queues, 1) == 0) {
		scsi_tmf_skip(part);
	}
	*ret_part = part;
	return 0;
}

void scsi_part_leave(struct scsi_part *part)
{
	if (part->queues == 1) {
		detach_all(part);
	}
	atomic_fetch_sub(&part->queues, 1);
}

static void close_channels(struct scsi_part *part)
{
	unsigned int i;

	for (i = 0; i < SCSI_MAX_TARGETS; i++) {
		struct scsi_lu *lu = part->lus[i];

		if (lu != NULL && lu->channel != NULL) {
			bdev_channels_put(part->channels, lu->channel);
			lu->channel = NULL;
		}
	}
}

int scsi_part_open(struct scsi_part *part)
{
	unsigned int i;
	int r = 0;

	for (i = 0; i < SCSI_MAX_TARGETS && r == 0 && part->running == 0; i++) {
		struct scsi_lu *lu = part->lus[i];

		if (lu != NULL) {
			r = bdev_channels_get(part->channels, lu->bdev, &lu->channel);
		}
	}
	if (r < 0) {
		close_channels(part);
		return r;
	}
	part->running++;
	return 0;
}

void scsi_part_close(struct scsi_part *part)
{
	if (--part->running == 0) {
		close_channels(part);
	}
}

void scsi_parts_free(struct scsi_device *dev)
{
	struct scsi_part *part = dev->parts;

	while (part != NULL) {
		struct scsi_part *next = part->next;

		free(part);
		part = next;
	}
}
