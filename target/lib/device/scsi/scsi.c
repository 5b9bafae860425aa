/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/scsi/scsi.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "device/scsi/dev.h"

#define DEFAULT_REQUEST_QUEUES 64
#define MAX_REQUEST_QUEUES     254 /* 256 queues in all */

/* Config space values. Hints to the driver: nothing breaks when it ignores them. */
#define SEG_MAX	    126 /* with the two elements around it a chain fits a queue of 128 */
#define MAX_SECTORS 65535

const struct scsi_limits scsi_default_limits = {
	.max_unmap_lba_count = 4194304,
	.max_unmap_block_descriptor_count = 1,
	.optimal_unmap_granularity = 0,
	.unmap_granularity_alignment = 0,
	.ugavalid = false,
	.max_write_same_length = 512,
};

/* ---- what the device is: control thread ---- */

/*
 * QEMU sets these two in SET_FEATURES whatever the back-end offered (it takes them from its own properties
 * hotplug and param_change). Neither INOUT nor T10_PI.
 */
static uint64_t scsi_features(const struct virtio_device *device)
{
	return 1ull << VIRTIO_SCSI_F_HOTPLUG | 1ull << VIRTIO_SCSI_F_CHANGE;
}

static unsigned int scsi_max_queues(const struct virtio_device *device)
{
	return VIRTIO_SCSI_Q_REQUEST + scsi_device_of(device)->request_queues;
}

static size_t scsi_req_size(const struct virtio_device *device, unsigned int index)
{
	switch (index) {
	case VIRTIO_SCSI_Q_CONTROL:
		return sizeof(struct scsi_tmf);
	case VIRTIO_SCSI_Q_EVENT:
		return sizeof(struct virtq_req);
	default:
		return sizeof(struct scsi_request);
	}
}

static void set_sizes(struct scsi_device *dev, uint32_t sense_size, uint32_t cdb_size)
{
	__atomic_store_n(&dev->sense_size, sense_size, __ATOMIC_RELAXED);
	__atomic_store_n(&dev->cdb_size, cdb_size, __ATOMIC_RELAXED);
}

/*
 * A new session is a new nexus: unit attentions and events meant for the old one are gone, since its driver
 * looks at all targets when it starts.
 *
 * It does not begin with a POWER ON unit attention (29/00). Logical units here keep no state that a
 * new session could have lost (no reservations, no changeable mode pages), the front-end reconnects
 * after a restart of the daemon without the guest being told, and 29/00 would then fail the guest's
 * pass-through commands and have Linux log "Power-on or device reset occurred" at warning level for
 * each disk. The 17.07 application that this one follows sends none either.
 */
static void scsi_session_begins(struct virtio_device *device)
{
	struct scsi_device *dev = scsi_device_of(device);
	unsigned int i;

	scsi_tell(dev);
	scsi_events_forget(dev);
	for (i = 0; i < SCSI_MAX_TARGETS; i++) {
		if (dev->known[i].lu != NULL) {
			*dev->known[i].lu->ua = 0;
		}
	}
}

/*
 * The device was reset: the writable config fields have their reset values (virtio 1.2, 5.6.4). But a
 * front-end that pauses its guest says the same when it goes on: events that wait are kept.
 */
static void scsi_negotiated(struct virtio_device *device, uint64_t features)
{
	struct scsi_device *dev = scsi_device_of(device);

	dev->features = features;
	scsi_events_negotiated(dev);
	set_sizes(dev, VIRTIO_SCSI_SENSE_SIZE, VIRTIO_SCSI_CDB_SIZE);
}

/* A driver that resets the device is a new nexus, too. */
static void scsi_reset(struct virtio_device *device)
{
	scsi_session_begins(device);
	scsi_negotiated(device, 0);
}

/* ---- config space: virtio 1.2, 5.6.4 ---- */

static void put_config(const struct scsi_device *dev, uint8_t *config)
{
	struct bytes_writer w = bytes_writer(config, VIRTIO_SCSI_CONFIG_LEN);

	bytes_put_le32(&w, dev->request_queues); /* num_queues */
	bytes_put_le32(&w, SEG_MAX);
	bytes_put_le32(&w, MAX_SECTORS);
	bytes_put_le32(&w, SCSI_CMD_PER_LUN);
	bytes_put_le32(&w, VIRTIO_SCSI_EVENT_SIZE);
	bytes_put_le32(&w, __atomic_load_n(&dev->sense_size, __ATOMIC_RELAXED));
	bytes_put_le32(&w, __atomic_load_n(&dev->cdb_size, __ATOMIC_RELAXED));
	bytes_put_le16(&w, 0);			  /* max_channel */
	bytes_put_le16(&w, SCSI_MAX_TARGETS - 1); /* max_target: the highest that is there */
	bytes_put_le32(&w, 0);			  /* max_lun, likewise */
}

static int scsi_config_read(const struct virtio_device *device, uint32_t offset, void *buf,
			    uint32_t len)
{
	uint8_t config[VIRTIO_CONFIG_SPACE_MAX] = { 0 };

	if (!range_inside(offset, len, sizeof(config))) {
		return -EINVAL;
	}
	put_config(scsi_device_of(device), config);
	memcpy(buf, config + offset, len);
	return 0;
}

/* Only sense_size and cdb_size are the driver's to write (virtio 1.2, 5.6.4). */
static int scsi_config_write(struct virtio_device *device, uint32_t offset, const void *buf,
			     uint32_t len)
{
	struct scsi_device *dev = scsi_device_of(device);
	uint8_t config[VIRTIO_SCSI_CONFIG_LEN];
	struct bytes_reader r = bytes_reader(config, sizeof(config));
	uint32_t sense_size;
	uint32_t cdb_size;

	if (offset < VIRTIO_SCSI_CONFIG_SENSE_SIZE ||
	    !range_inside(offset, len, VIRTIO_SCSI_CONFIG_CDB_SIZE + sizeof(uint32_t))) {
		return -EINVAL;
	}
	put_config(dev, config);
	memcpy(config + offset, buf, len);
	bytes_skip(&r, VIRTIO_SCSI_CONFIG_SENSE_SIZE);
	sense_size = bytes_get_le32(&r);
	cdb_size = bytes_get_le32(&r);
	if (sense_size > SCSI_SENSE_SIZE_MAX || cdb_size > SCSI_CDB_SIZE_MAX) {
		return -EINVAL;
	}
	set_sizes(dev, sense_size, cdb_size);
	return 0;
}

/* ---- queues: the reactor ---- */

static int start(struct scsi_part *part, unsigned int index, struct virtq *vq,
		 struct device_queue **ret_queue)
{
	int r;

	if (index == VIRTIO_SCSI_Q_CONTROL) {
		return scsi_control_queue_start(part, vq, ret_queue);
	}
	if (index == VIRTIO_SCSI_Q_EVENT) {
		return scsi_event_queue_start(part, vq, ret_queue);
	}
	r = scsi_part_open(part);
	if (r < 0) {
		return r;
	}
	r = scsi_request_queue_start(part, vq, index, ret_queue);
	if (r < 0) {
		scsi_part_close(part);
	}
	return r;
}

static int scsi_queue_start(struct virtio_device *device, unsigned int index, struct virtq *vq,
			    struct bdev_channels *channels, struct device_queue **ret_queue)
{
	struct scsi_part *part;
	int r = scsi_part_enter(scsi_device_of(device), channels, &part);

	if (r < 0) {
		return r;
	}
	r = start(part, index, vq, ret_queue);
	if (r < 0) {
		scsi_part_leave(part);
	}
	return r;
}

static unsigned int scsi_queue_poll(struct device_queue *queue)
{
	switch (queue->index) {
	case VIRTIO_SCSI_Q_CONTROL:
		return scsi_control_queue_poll(queue);
	case VIRTIO_SCSI_Q_EVENT:
		return scsi_event_queue_poll(queue);
	default:
		return scsi_request_queue_poll(queue);
	}
}

static void scsi_queue_drain(struct device_queue *queue)
{
	struct scsi_part *part = ((struct scsi_queue *)queue)->part;

	if (queue->index == VIRTIO_SCSI_Q_CONTROL) {
		scsi_control_queue_drain(queue);
		return;
	}
	if (queue->index >= VIRTIO_SCSI_Q_REQUEST) {
		scsi_request_queue_drain(queue);
	}
	/* It is not updated any more, and functions wait for its part as long as it has not stopped. */
	scsi_tmf_update(part, &queue->restless);
}

static void scsi_queue_stop(struct device_queue *queue)
{
	struct scsi_part *part = ((struct scsi_queue *)queue)->part;

	if (queue->index >= VIRTIO_SCSI_Q_REQUEST) {
		scsi_part_close(part);
	} else if (queue->index == VIRTIO_SCSI_Q_EVENT) {
		part->events = NULL;
	}
	scsi_part_leave(part);
	free(queue);
}

/* ---- life: control thread ---- */

static void scsi_free(struct virtio_device *device)
{
	struct scsi_device *dev = scsi_device_of(device);

	scsi_remove_all_targets(dev);
	scsi_parts_free(dev);
	pthread_mutex_destroy(&dev->telling);
	free(dev);
}

static const struct virtio_device_ops scsi_ops = {
	.type = "scsi",
	.features = scsi_features,
	.max_queues = scsi_max_queues,
	.req_size = scsi_req_size,
	.session_begins = scsi_session_begins,
	.negotiated = scsi_negotiated,
	.reset = scsi_reset,
	.config_read = scsi_config_read,
	.config_write = scsi_config_write,
	.queue_start = scsi_queue_start,
	.queue_poll = scsi_queue_poll,
	.queue_update = scsi_queue_update,
	.queue_drain = scsi_queue_drain,
	.queue_stop = scsi_queue_stop,
	.settled = scsi_settled,
	.save = scsi_save_state,
	.restore = scsi_restore_state,
	.free = scsi_free,
};

int scsi_new(const struct scsi_options *opts, struct virtio_device **ret_device)
{
	struct scsi_device *dev;

	if (opts->request_queues > MAX_REQUEST_QUEUES) {
		return -EINVAL;
	}
	dev = calloc(1, sizeof(*dev));
	if (dev == NULL) {
		return -ENOMEM;
	}
	dev->device.ops = &scsi_ops;
	dev->request_queues = opts->request_queues != 0 ? opts->request_queues :
							  DEFAULT_REQUEST_QUEUES;
	dev->limits = opts->limits != NULL ? *opts->limits : scsi_default_limits;
	STAILQ_INIT(&dev->old);
	pthread_mutex_init(&dev->telling, NULL);
	set_sizes(dev, VIRTIO_SCSI_SENSE_SIZE, VIRTIO_SCSI_CDB_SIZE);
	*ret_device = &dev->device;
	return 0;
}
