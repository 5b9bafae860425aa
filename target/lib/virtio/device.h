/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: a virtio device (blk, scsi) independent of its transport. This header is the only place
 * where devices meet vhost_user and controller.
 *
 * The life of a queue: queue_start on its reactor; then once per round queue_poll (pop, parse,
 * submit), completions of bdevs push, and the owner commits the virtqueue at the end of the round.
 * To stop it the owner calls queue_drain instead of queue_poll, goes on polling the bdev channels until
 * virtq_inflight() is 0, then queue_stop.
 *
 * A device changes under running queues (a disk comes, goes, or has another size): the control thread
 * says what there shall be by functions of that device; then each queue is told on its reactor and has
 * until it works with that; then the device settles. A device may ask for the same by itself, when something that
 * came over one queue concerns all: they may run on different reactors.
 */
#ifndef VHT_VIRTIO_DEVICE_H
#define VHT_VIRTIO_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "virtio/virtqueue.h"

struct bdev_channels;
struct parcel;
struct virtio_device;

/* Owner: the reactor that serves the queue. A device embeds it as the first member of its own. */
struct device_queue {
	struct virtio_device *device;
	struct virtq *vq;
	unsigned int index;
	/* The device has nothing to do with this queue for now (an event queue without events): it is
	 * neither polled nor armed, so its buffers stay available to a successor. May change at any
	 * time on the queue's reactor. */
	bool quiescent;
	/* It is drained in order to go on elsewhere, not to stop: nothing needs to be answered before its time.
	 * Set by the owner before the first queue_drain. */
	bool moves;
	/* Its requests are no I/O (control, events): nobody limits or delays them. Constant. */
	bool no_io;
	/* Something of it goes on in the next round, and no event of its reactor tells: that must not sleep. May
	 * change at any time on the queue's reactor. */
	bool restless;
};

struct virtio_device_ops {
	const char *type; /* "blk", "scsi" */
	/* Control thread. */
	uint64_t (*features)(const struct virtio_device *device); /* offered device-type bits */
	unsigned int (*max_queues)(const struct virtio_device *device); /* all kinds together */
	/* Size of the request struct of queue `index`. */
	size_t (*req_size)(const struct virtio_device *device, unsigned int index);
	/* A front-end has connected; no queue is running. */
	void (*session_begins)(struct virtio_device *device);
	/* It negotiated these bits, perhaps once more; no queue is running. */
	void (*negotiated)(struct virtio_device *device, uint64_t features);
	/* The driver has reset the device; no queue is running. */
	void (*reset)(struct virtio_device *device);
	/* Config space. Reads beyond its end give zeroes; -EINVAL: offset or length beyond 256 or field
	 * not writable (virtio 1.2, 2.5; 5.2.4). */
	int (*config_read)(const struct virtio_device *device, uint32_t offset, void *buf,
			   uint32_t len);
	int (*config_write)(struct virtio_device *device, uint32_t offset, const void *buf,
			    uint32_t len);
	/* On the reactor of the queue. It may be stopped and started on another one with the same vq. */
	int (*queue_start)(struct virtio_device *device, unsigned int index, struct virtq *vq,
			   struct bdev_channels *channels, struct device_queue **ret_queue);
	unsigned int (*queue_poll)(struct device_queue *queue); /* returns the requests popped */
	/* Once per round before queue_poll after the device was changed, until it returns true: the queue
	 * works with what there is now. It may get and put channels. */
	bool (*queue_update)(struct device_queue *queue);
	/* Once per round instead of queue_poll while the queue is being stopped: pushes back what waits
	 * for events; gives requests that never reached a bdev back to the ring (virtq_unpop), or
	 * completes them so that the driver tries again; goes on with those that have begun. */
	void (*queue_drain)(struct device_queue *queue);
	void (*queue_stop)(struct device_queue *queue); /* nothing is in flight; frees it */
	/* Control thread: all running queues have been updated since the last change. True: once more, since by
	 * this it has changed again. */
	bool (*settled)(struct virtio_device *device, bool running);
	/* Control thread; no queue is running. What the driver has said to the device and not heard of it yet,
	 * for a process that goes on with it. Negative errno: such a state cannot be. */
	void (*save)(const struct virtio_device *device, struct parcel *parcel);
	int (*restore)(struct virtio_device *device, struct parcel *parcel);
	/* Control thread; no queue is running. Releases the bdevs. */
	void (*free)(struct virtio_device *device);
};

struct virtio_device {
	const struct virtio_device_ops *ops;
	/* Set by the owner before the first queue is started. Any thread, while a queue runs: all running queues
	 * shall be updated, as after a change. */
	void (*ask_update)(struct virtio_device *device);
	void *owner; /* for the owner */
};

#define VIRTIO_CONFIG_SPACE_MAX 256 /* vhost-user: VHOST_USER_CONFIG payload bound */

#endif
