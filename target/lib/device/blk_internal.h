/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: the inside of the virtio block device, for blk*.c only.
 *   device   features and configuration space (blk_config.c), and which bdev it is on (blk_disk.c);
 *            control thread, except for `writeback` and `wanted`, which queues read.
 *   queue    one running request queue (blk.c) on its reactor.
 *   request  from the popped chain to its status byte (blk_request.c). A read or write is one bdev_io.
 *            Others take steps, one bdev_io at a time: all ranges of a discard one after the other; a
 *            flush at the end where one is due.
 */
#ifndef VHT_DEVICE_BLK_INTERNAL_H
#define VHT_DEVICE_BLK_INTERNAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "bdev/bdev.h"
#include "device/blk_proto.h"
#include "virtio/device.h"

/* Linux asks for as many as we allow; Windows ignores it and sends 512 + 3, which works too. */
#define BLK_SEG_MAX 126
/* A 4 KiB page of ranges in one discard or write-zeroes request. */
#define BLK_MAX_RANGES	   256
#define BLK_MAX_QUEUES	   256
#define BLK_DEFAULT_QUEUES 64
/* Requests of more than one range that a queue carries out at the same time. */
#define BLK_RANGE_TABLES 4
#define BLK_BATCH	 64

struct blk_device {
	struct virtio_device device;
	/* What it shall be on. One that was taken away is replaced by one of which all requests fail. */
	struct bdev *bdev;
	_Atomic(struct bdev *) wanted; /* the same, for queues */
	struct bdev **old;	       /* queues may not have noticed yet */
	unsigned int old_n;
	struct bdev *spare; /* takes the place of the next one that is taken away */
	bool shows_nothing; /* the bdev was gone when the session began: capacity 0 */
	bool asked_read_only;
	uint64_t offered;
	uint64_t negotiated;   /* changes only while no queue is running */
	atomic_bool writeback; /* the driver's choice; see blk_writes_through() */
	bool read_only;	       /* changes only while no front-end is connected */
	unsigned int queues;
	char serial[BLK_ID_LEN];
};

struct blk_request {
	struct virtq_req vreq;
	struct blk_queue *queue;
	uint8_t *status;	  /* last byte of the writable part */
	struct blk_range *ranges; /* NULL, or a private copy: range below, or a table of the queue */
	uint32_t type;
	struct bdev_io io;
	uint32_t written; /* used length of others than reads and writes, if all goes well */
	/* The steps of others, and of writes that go through the cache; see request_advance(). */
	struct blk_range range;
	uint16_t range_n;
	uint16_t range_next;
	bool flush_after;
	bool tried; /* of one that waits: it was started, and found no room */
	TAILQ_ENTRY(blk_request) link;
};

TAILQ_HEAD(blk_requests, blk_request);

struct blk_range_table {
	struct blk_range ranges[BLK_MAX_RANGES];
};

struct blk_queue {
	struct device_queue queue;
	struct blk_device *blk;
	struct bdev_channels *channels;
	struct bdev_channel *channel; /* NULL: it could not be opened, and the ring is broken */
	struct virtq_stats *stats;
	uint64_t bytes[2]; /* read and written on the spot in this call, not counted in stats yet */
	/* Popped, not started: the bdev or the range tables were full. Always the newest popped
	 * requests, oldest first, so that they can be given back to the ring. */
	struct blk_requests waiting;
	/* Started, but the bdev was full when their next part was due. */
	struct blk_requests unfinished;
	unsigned int free_table_n;
	struct blk_range_table *free_tables[BLK_RANGE_TABLES];
	struct blk_range_table tables[BLK_RANGE_TABLES];
};

/* ---- blk_config.c ---- */

uint64_t blk_offered_features(const struct blk_device *blk);
/* Must a write to this bdev be stable before it completes (virtio 1.2, 5.2.6.2)? Any thread. */
bool blk_writes_through(const struct blk_device *blk, const struct bdev *bdev);
int blk_config_read(const struct virtio_device *device, uint32_t offset, void *buf, uint32_t len);
int blk_config_write(struct virtio_device *device, uint32_t offset, const void *buf, uint32_t len);

/* ---- blk_disk.c ---- */

int blk_disk_init(struct blk_device *blk, struct bdev *bdev); /* -ENOMEM */
void blk_disk_done(struct blk_device *blk);		      /* also when half built */
bool blk_queue_update(struct device_queue *queue);
bool blk_settled(struct virtio_device *device, bool running);

/* ---- blk_handover.c ---- */

void blk_save_state(const struct virtio_device *device, struct parcel *parcel);
int blk_restore_state(struct virtio_device *device, struct parcel *parcel);

/* ---- blk.c ---- */

void blk_queue_drain(struct device_queue *queue);

/* ---- blk_request.c ---- */

/* Starts popped requests. Those that find no room wait, and all behind them. */
void blk_requests_start(struct blk_queue *queue, struct virtq_req *const *reqs, unsigned int n);
/* Starts waiting requests, oldest first; stops at the first that finds no room. */
void blk_requests_retry_waiting(struct blk_queue *queue);
/* Goes on with unfinished requests as far as the bdev has room. */
void blk_request_retry_unfinished(struct blk_queue *queue);

static inline bool blk_has(uint64_t features, unsigned int bit)
{
	return (features >> bit & 1) != 0;
}

#endif
