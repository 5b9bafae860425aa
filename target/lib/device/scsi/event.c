/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The event queue (virtio 1.2, 5.6.6.3). What a driver is to be told of a target waits as three bits, so
 * there is an end to it however long the driver offers no buffer:
 *
 *	added      after what came before it; the driver scans, and finds the size, too
 *	removed    makes nothing of a change of size before it
 *	resized    once is enough
 *
 * Only a target that came and has to go again before the driver heard of it does not fit. That is an event
 * that was missed, and the driver is told to look at everything.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/iov.h"
#include "device/scsi/dev.h"

/* Whatever a driver offers, and however useless its buffers are, others want their turn. */
#define EVENTS_PER_ROUND 8

struct event {
	uint32_t event;
	uint32_t reason;
	unsigned int target;
};

static bool has_feature(const struct scsi_device *dev, unsigned int bit)
{
	return (dev->features >> bit & 1) != 0;
}

static bool has_news(const struct scsi_device *dev)
{
	unsigned int i;

	for (i = 0; i < SCSI_MAX_TARGETS; i++) {
		if (dev->events.pending[i] != 0) {
			return true;
		}
	}
	return dev->events.missed;
}

/* What waits for a target after something more has happened to it. *ret_missed: and is not all. */
static uint8_t pending_after(uint8_t pending, enum scsi_event what, bool *ret_missed)
{
	*ret_missed = false;
	switch (what) {
	case SCSI_EVENT_ADDED:
		return pending | SCSI_EVENT_ADDED;
	case SCSI_EVENT_REMOVED:
		if ((pending & SCSI_EVENT_ADDED) == 0) {
			return SCSI_EVENT_REMOVED;
		}
		/* Perhaps it has never seen this one, perhaps it found it by itself. */
		*ret_missed = true;
		return pending & SCSI_EVENT_REMOVED;
	case SCSI_EVENT_RESIZED:
		break;
	}
	return (pending & SCSI_EVENT_ADDED) != 0 ? pending : pending | SCSI_EVENT_RESIZED;
}

bool scsi_event_post(struct scsi_device *dev, unsigned int target, enum scsi_event what)
{
	_Atomic uint8_t *pending = &dev->events.pending[target];
	uint8_t before = atomic_load(pending);
	bool missed;

	/* virtio 1.2, 5.6.6.3: no event of a kind that was not negotiated. */
	if (!has_feature(dev, what == SCSI_EVENT_RESIZED ? VIRTIO_SCSI_F_CHANGE :
							   VIRTIO_SCSI_F_HOTPLUG)) {
		return false;
	}
	/* One may be delivered at the same time. */
	while (!atomic_compare_exchange_weak(pending, &before,
					     pending_after(before, what, &missed))) {
	}
	if (missed) {
		atomic_store(&dev->events.missed, true);
	}
	return true;
}

void scsi_events_forget(struct scsi_device *dev)
{
	unsigned int i;

	for (i = 0; i < SCSI_MAX_TARGETS; i++) {
		dev->events.pending[i] = 0;
	}
	dev->events.missed = false;
}

void scsi_events_negotiated(struct scsi_device *dev)
{
	uint8_t kept = 0;
	unsigned int i;

	if (has_feature(dev, VIRTIO_SCSI_F_HOTPLUG)) {
		kept |= SCSI_EVENT_ADDED | SCSI_EVENT_REMOVED;
	}
	if (has_feature(dev, VIRTIO_SCSI_F_CHANGE)) {
		kept |= SCSI_EVENT_RESIZED;
	}
	for (i = 0; i < SCSI_MAX_TARGETS; i++) {
		dev->events.pending[i] &= kept;
	}
	dev->events.missed = dev->events.missed && kept != 0;
}

/* ---- delivery ---- */

/* The oldest event of the first target that has one; none: the driver is only told that it missed some. */
static struct event take_event(struct scsi_device *dev)
{
	struct event event = { .event = VIRTIO_SCSI_T_NO_EVENT };
	uint8_t pending;
	enum scsi_event taken;

	while (event.target < SCSI_MAX_TARGETS && dev->events.pending[event.target] == 0) {
		event.target++;
	}
	if (event.target == SCSI_MAX_TARGETS) {
		event.target = 0;
		return event;
	}
	pending = dev->events.pending[event.target];
	event.event = VIRTIO_SCSI_T_TRANSPORT_RESET;
	if ((pending & SCSI_EVENT_REMOVED) != 0) {
		event.reason = VIRTIO_SCSI_EVT_RESET_REMOVED;
		taken = SCSI_EVENT_REMOVED;
	} else if ((pending & SCSI_EVENT_ADDED) != 0) {
		event.reason = VIRTIO_SCSI_EVT_RESET_RESCAN;
		taken = SCSI_EVENT_ADDED;
	} else {
		/* SPC-4: CAPACITY DATA HAS CHANGED, the code in the low byte, its qualifier in the next. */
		event.event = VIRTIO_SCSI_T_PARAM_CHANGE;
		event.reason = 0x2a | 0x09 << 8;
		taken = SCSI_EVENT_RESIZED;
	}
	atomic_fetch_and(&dev->events.pending[event.target], (uint8_t)~taken);
	return event;
}

void scsi_event_lun(uint8_t *lun, unsigned int target, uint16_t number)
{
	lun[0] = 1;
	lun[1] = (uint8_t)target;
	/* Drivers take these two bytes as a number: no flat space addressing where one byte is enough. */
	lun[2] = number < 256 ? 0 : (uint8_t)(0x40 | number >> 8);
	lun[3] = (uint8_t)number;
	lun[4] = lun[5] = lun[6] = lun[7] = 0;
}

static void deliver(struct scsi_device *dev, struct virtq *vq, struct virtq_req *req)
{
	uint8_t data[VIRTIO_SCSI_EVENT_SIZE];
	struct bytes_writer w = bytes_writer(data, sizeof(data));
	uint8_t lun[SCSI_ADDRESS_LEN] = { 0 };
	struct event event = take_event(dev);

	if (event.event != VIRTIO_SCSI_T_NO_EVENT) {
		scsi_event_lun(lun, event.target, 0);
		virtq_count(&dev->events.stats.delivered, 1);
	}
	if (atomic_exchange(&dev->events.missed, false)) {
		event.event |= VIRTIO_SCSI_T_EVENTS_MISSED;
		virtq_count(&dev->events.stats.missed, 1);
	}
	bytes_put_le32(&w, event.event);
	bytes_put(&w, lun, sizeof(lun));
	bytes_put_le32(&w, event.reason);
	iov_scatter(req->in, virtq_req_in_n(req), 0, data, sizeof(data));
	virtq_push(vq, req, sizeof(data));
}

/* Buffers stay in the ring until there is an event to put into one. */
void scsi_event_queue_update(struct device_queue *queue)
{
	queue->quiescent = !has_news(scsi_device_of(queue->device));
}

unsigned int scsi_event_queue_poll(struct device_queue *queue)
{
	struct scsi_device *dev = scsi_device_of(queue->device);
	struct virtq_req *req;
	unsigned int n;

	for (n = 0; n < EVENTS_PER_ROUND && has_news(dev); n++) {
		if (virtq_pop(queue->vq, &req, 1) == 0) {
			break;
		}
		if (req->in_len >= VIRTIO_SCSI_EVENT_SIZE) {
			deliver(dev, queue->vq, req);
		} else {
			/* Case T63: the event waits for a buffer that holds it. */
			atomic_store(&dev->events.missed, true);
			virtq_count(&virtq_stats(queue->vq)->malformed, 1);
			virtq_push(queue->vq, req, 0);
		}
	}
	scsi_event_queue_update(queue);
	return n;
}

int scsi_event_queue_start(struct scsi_part *part, struct virtq *vq,
			   struct device_queue **ret_queue)
{
	struct scsi_queue *queue = calloc(1, sizeof(*queue));

	if (queue == NULL) {
		return -ENOMEM;
	}
	queue->dq.device = &part->dev->device;
	queue->dq.vq = vq;
	queue->dq.index = VIRTIO_SCSI_Q_EVENT;
	queue->dq.no_io = true;
	queue->part = part;
	part->events = &queue->dq;
	scsi_event_queue_update(&queue->dq);
	*ret_queue = &queue->dq;
	return 0;
}

void scsi_get_event_stats(const struct virtio_device *device, struct scsi_event_stats *ret_stats)
{
	const struct scsi_event_stats *stats = &scsi_device_of(device)->events.stats;

	ret_stats->delivered = __atomic_load_n(&stats->delivered, __ATOMIC_RELAXED);
	ret_stats->missed = __atomic_load_n(&stats->missed, __ATOMIC_RELAXED);
}
