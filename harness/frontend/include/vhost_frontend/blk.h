/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: requests of the virtio block device (virtio 1.2, 5.2.6). A frame holds the request header,
 * the status byte and, for discard and write-zeroes, the range; it lies in shared memory, fills one cache
 * line, and is in use from vfe_blk_add until its request has been reaped. Sectors are 512 bytes always.
 */
#ifndef VHOST_FRONTEND_BLK_H
#define VHOST_FRONTEND_BLK_H

#include "vhost_frontend/frontend.h"

#ifdef __cplusplus
extern "C" {
#endif

#define VFE_SECTOR     512
#define VFE_BLK_ID_LEN 20
/* Most data segments of one request. */
#define VFE_BLK_SEGS_MAX 1024

enum vfe_blk_type {
	VFE_BLK_IN = 0,
	VFE_BLK_OUT = 1,
	VFE_BLK_FLUSH = 4,
	VFE_BLK_GET_ID = 8,
	VFE_BLK_DISCARD = 11,
	VFE_BLK_WRITE_ZEROES = 13,
};

enum vfe_blk_status {
	VFE_BLK_OK = 0,
	VFE_BLK_IOERR = 1,
	VFE_BLK_UNSUPP = 2,
	VFE_BLK_UNTOUCHED = 0xff, /* what the status byte holds until the device writes it */
};

#define VFE_BLK_RANGE_UNMAP 1

struct vfe_blk_range {
	uint64_t sector;
	uint32_t sectors;
	uint32_t flags;
};

struct vfe_blk_frame {
	uint32_t type;
	uint32_t ioprio;
	uint64_t sector;
	struct vfe_blk_range range;
	uint8_t status;
	uint8_t unused[31];
};

/* The device, as its configuration space and features describe it. */
struct vfe_blk_info {
	uint64_t capacity;   /* bytes */
	uint32_t block_size; /* 512 if it does not say */
	uint32_t size_max;   /* UINT32_MAX: no bound */
	uint32_t seg_max;    /* data segments of one request; UINT32_MAX: no bound */
	uint32_t queues;
	uint32_t max_discard_sectors; /* 0: cannot discard */
	uint32_t max_discard_ranges;
	uint32_t discard_alignment;  /* sectors */
	uint32_t max_zeroes_sectors; /* 0: cannot write zeroes */
	uint32_t max_zeroes_ranges;
	bool zeroes_may_unmap;
	bool read_only;
	bool flush;
};

int vfe_blk_info(struct vfe_session *session, struct vfe_blk_info *ret_info);

/* `n` frames in a row; NULL: no room. */
struct vfe_blk_frame *vfe_blk_frames(struct vfe_memory *memory, unsigned int n);

/*
 * Adds a request. `data` is what IN and GET_ID fill and what OUT writes; no data: FLUSH. `sector` counts for
 * IN and OUT. Data of DISCARD and WRITE_ZEROES is an array of ranges in shared memory.
 */
int vfe_blk_add(struct vfe_queue *queue, struct vfe_blk_frame *frame, enum vfe_blk_type type,
		uint64_t sector, const struct vfe_seg *data, unsigned int data_n, void *cookie);
/* DISCARD or WRITE_ZEROES of one range, which is kept in the frame. */
int vfe_blk_add_range(struct vfe_queue *queue, struct vfe_blk_frame *frame, enum vfe_blk_type type,
		      uint64_t sector, uint32_t sectors, bool unmap, void *cookie);
/* How the request ended: 0, -EIO, -EOPNOTSUPP, or -EPROTO (no status was written, or a strange one). */
int vfe_blk_result(const struct vfe_blk_frame *frame);

#ifdef __cplusplus
}
#endif

#endif
