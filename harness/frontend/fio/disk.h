/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: the disk behind a socket, whichever type of device it is on. A frame is the fixed part of a
 * request in shared memory, blk.h's or scsi.h's; one per request in flight.
 */
#ifndef VHOST_FIO_DISK_H
#define VHOST_FIO_DISK_H

#include "options.h"
#include "vhost_frontend/frontend.h"

#define DISK_WHY_LEN 192

struct disk_info {
	uint64_t capacity; /* bytes */
	uint32_t block_size;
	uint32_t segment_max;  /* bytes of one data segment */
	uint32_t segments_max; /* data segments of one request */
	uint64_t transfer_max; /* bytes of one read or write */
	uint64_t discard_max;  /* bytes of one discard; 0: it cannot */
	unsigned int queues;   /* that can carry requests */
	unsigned int first_queue;
	bool read_only;
	bool flush; /* it has a cache that can be flushed */
};

enum disk_op {
	DISK_READ,
	DISK_WRITE,
	DISK_DISCARD,
	DISK_FLUSH,
};

struct disk_request {
	enum disk_op op;
	uint64_t offset;
	uint64_t len;
	uint64_t gpa; /* of the data; contiguous */
	void *frame;
	void *cookie;
};

/*
 * Connects, looks and leaves again. On failure ret_why says what is wrong. Of two front-ends most back-ends
 * serve only one, so that nobody else may be connected.
 */
int disk_probe(const struct engine_options *options, const char *socket, struct disk_info *ret_info,
	       char ret_why[DISK_WHY_LEN]);
/* Connects and negotiates, for good. */
int disk_connect(const struct engine_options *options, const char *socket,
		 struct vfe_session **ret_session, char ret_why[DISK_WHY_LEN]);

size_t disk_frame_size(uint32_t device);
/* `n` frames in a row; NULL: no room. */
void *disk_frames(uint32_t device, struct vfe_memory *memory, unsigned int n);
/* Before the first request of a job on this queue: takes what the device has to say first. */
int disk_greet(const struct engine_options *options, struct vfe_queue *queue, void *frame);
/* -ENOSPC: the queue is full. -E2BIG: too long for the disk. */
int disk_add(const struct engine_options *options, const struct disk_info *info,
	     struct vfe_queue *queue, const struct disk_request *request);
/* How a request ended: 0 or a negative errno. */
int disk_result(uint32_t device, const void *frame);

#endif
