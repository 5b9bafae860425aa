/* SPDX-License-Identifier: BSD-3-Clause */
/* The virtio block device (virtio 1.2, 5.2): the device and its queues. */
#include "device/blk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "device/blk_internal.h"

/* ---- the device: control thread ---- */

static uint64_t blk_features(const struct virtio_device *device)
{
	return ((const struct blk_device *)device)->offered;
}

static unsigned int blk_max_queues(const struct virtio_device *device)
{
	return ((const struct blk_device *)device)->queues;
}

static size_t blk_req_size(const struct virtio_device *device, unsigned int index)
{
	return sizeof(struct blk_request);
}

static void blk_session_begins(struct virtio_device *device)
{
	struct blk_device *blk = (struct blk_device *)device;

	blk->offered = blk_offered_features(blk);
	/* GET_CONFIG must not fail, or QEMU may exit: a disk that is not there has no blocks. */
	blk->shows_nothing = bdev_is_gone(blk->bdev);
}

static void blk_negotiated(struct virtio_device *device, uint64_t features)
{
	struct blk_device *blk = (struct blk_device *)device;

	/*
	 * `writeback` stays as it is: a front-end that reconnects does not repeat the driver's choice,
	 * and writing through for a driver that did not ask for it is slow, while the opposite loses
	 * data.
	 */
	blk->negotiated = features & blk->offered;
}

static void blk_reset(struct virtio_device *device)
{
	struct blk_device *blk = (struct blk_device *)device;

	blk->negotiated = 0;
	atomic_store_explicit(&blk->writeback, blk->bdev->info.write_cache, memory_order_relaxed);
}

static void blk_free(struct virtio_device *device)
{
	struct blk_device *blk = (struct blk_device *)device;

	blk_disk_done(blk);
	free(blk);
}

/* ---- queues: reactor ---- */

static int blk_queue_start(struct virtio_device *device, unsigned int index, struct virtq *vq,
			   struct bdev_channels *channels, struct device_queue **ret_queue)
{
	struct blk_device *blk = (struct blk_device *)device;
	struct blk_queue *queue;
	unsigned int i;
	int r;

	if (index >= blk->queues) {
		return -EINVAL;
	}
	queue = calloc(1, sizeof(*queue));
	if (!queue) {
		return -ENOMEM;
	}
	r = bdev_channels_get(channels, atomic_load_explicit(&blk->wanted, memory_order_acquire),
			      &queue->channel);
	if (r < 0) {
		free(queue);
		return r;
	}
	queue->queue = (struct device_queue){ .device = device, .vq = vq, .index = index };
	queue->blk = blk;
	queue->channels = channels;
	queue->stats = virtq_stats(vq);
	TAILQ_INIT(&queue->waiting);
	TAILQ_INIT(&queue->unfinished);
	for (i = 0; i < BLK_RANGE_TABLES; i++) {
		queue->free_tables[i] = &queue->tables[i];
	}
	queue->free_table_n = BLK_RANGE_TABLES;
	*ret_queue = &queue->queue;
	return 0;
}

static unsigned int blk_queue_poll(struct device_queue *device_queue)
{
	struct blk_queue *queue = (struct blk_queue *)device_queue;
	struct virtq_req *reqs[BLK_BATCH];
	unsigned int n;

	if (!TAILQ_EMPTY(&queue->unfinished)) {
		blk_request_retry_unfinished(queue);
	}
	if (!TAILQ_EMPTY(&queue->waiting)) {
		blk_requests_retry_waiting(queue);
	}
	if (!TAILQ_EMPTY(&queue->unfinished) || !TAILQ_EMPTY(&queue->waiting)) {
		return 0;
	}
	n = virtq_pop(device_queue->vq, reqs, BLK_BATCH);
	blk_requests_start(queue, reqs, n);
	return n;
}

void blk_queue_drain(struct device_queue *device_queue)
{
	struct blk_queue *queue = (struct blk_queue *)device_queue;
	struct blk_request *req;

	/* No error for what was never started: the ring gets it back, newest first. */
	while ((req = TAILQ_LAST(&queue->waiting, blk_requests)) != NULL) {
		TAILQ_REMOVE(&queue->waiting, req, link);
		virtq_unpop(device_queue->vq, &req->vreq);
	}
	blk_request_retry_unfinished(queue);
}

static void blk_queue_stop(struct device_queue *device_queue)
{
	struct blk_queue *queue = (struct blk_queue *)device_queue;

	if (queue->channel != NULL) {
		bdev_channels_put(queue->channels, queue->channel);
	}
	free(queue);
}

static const struct virtio_device_ops blk_ops = {
	.type = "blk",
	.features = blk_features,
	.max_queues = blk_max_queues,
	.req_size = blk_req_size,
	.session_begins = blk_session_begins,
	.negotiated = blk_negotiated,
	.reset = blk_reset,
	.config_read = blk_config_read,
	.config_write = blk_config_write,
	.queue_start = blk_queue_start,
	.queue_poll = blk_queue_poll,
	.queue_update = blk_queue_update,
	.queue_drain = blk_queue_drain,
	.queue_stop = blk_queue_stop,
	.settled = blk_settled,
	.save = blk_save_state,
	.restore = blk_restore_state,
	.free = blk_free,
};

int blk_new(const struct blk_options *opts, struct virtio_device **ret_device)
{
	const char *serial = opts->serial ? opts->serial : opts->bdev->serial;
	struct blk_device *blk;

	if (opts->queues > BLK_MAX_QUEUES) {
		return -EINVAL;
	}
	blk = calloc(1, sizeof(*blk));
	if (!blk) {
		return -ENOMEM;
	}
	if (blk_disk_init(blk, opts->bdev) < 0) {
		blk_disk_done(blk);
		free(blk);
		return -ENOMEM;
	}
	blk->device.ops = &blk_ops;
	blk->asked_read_only = opts->read_only;
	blk->read_only = opts->read_only || opts->bdev->info.read_only;
	blk->queues = opts->queues > 0 ? opts->queues : BLK_DEFAULT_QUEUES;
	atomic_init(&blk->writeback, opts->bdev->info.write_cache);
	/* 5.2.6.1: not terminated if it fills all 20 bytes. */
	memcpy(blk->serial, serial, strnlen(serial, sizeof(blk->serial)));
	blk->offered = blk_offered_features(blk);
	*ret_device = &blk->device;
	return 0;
}
