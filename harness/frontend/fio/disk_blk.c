/* SPDX-License-Identifier: BSD-3-Clause */
/* A disk that is a virtio block device. */
#include <errno.h>
#include <stdio.h>

#include "disk_private.h"
#include "vhost_frontend/blk.h"

/* One segment is one contiguous piece, as long as its 32-bit length allows in whole sectors. */
#define SEGMENT_MOST (UINT32_MAX & ~(uint32_t)(VFE_SECTOR - 1))

static int look(struct vfe_session *session, const struct engine_options *options,
		struct disk_info *ret_info, char *ret_why)
{
	struct vfe_blk_info info;
	int r = vfe_blk_info(session, &info);

	(void)options;
	if (r < 0) {
		snprintf(ret_why, DISK_WHY_LEN, "cannot read its configuration: %s",
			 vfe_why(session));
		return r;
	}
	*ret_info = (struct disk_info){
		.capacity = info.capacity,
		.block_size = info.block_size,
		.segment_max = info.size_max < VFE_SECTOR ? VFE_SECTOR :
							    info.size_max & SEGMENT_MOST,
		.segments_max = info.seg_max < VFE_BLK_SEGS_MAX ? info.seg_max : VFE_BLK_SEGS_MAX,
		.transfer_max = UINT64_MAX,
		.discard_max = (uint64_t)info.max_discard_sectors * VFE_SECTOR,
		.queues = info.queues,
		.read_only = info.read_only,
		.flush = info.flush,
	};
	return 0;
}

static void *frames(struct vfe_memory *memory, unsigned int n)
{
	return vfe_blk_frames(memory, n);
}

static int greet(struct vfe_queue *queue, const struct engine_options *options, void *frame)
{
	(void)queue;
	(void)options;
	(void)frame;
	return 0;
}

static int add(const struct engine_options *options, const struct disk_info *info,
	       struct vfe_queue *queue, const struct disk_request *request,
	       const struct vfe_seg *data, unsigned int data_n)
{
	uint64_t sector = request->offset / VFE_SECTOR;

	(void)options;
	(void)info;
	switch (request->op) {
	case DISK_READ:
		return vfe_blk_add(queue, request->frame, VFE_BLK_IN, sector, data, data_n,
				   request->cookie);
	case DISK_WRITE:
		return vfe_blk_add(queue, request->frame, VFE_BLK_OUT, sector, data, data_n,
				   request->cookie);
	case DISK_DISCARD:
		return vfe_blk_add_range(queue, request->frame, VFE_BLK_DISCARD, sector,
					 (uint32_t)(request->len / VFE_SECTOR), false,
					 request->cookie);
	case DISK_FLUSH:
		return vfe_blk_add(queue, request->frame, VFE_BLK_FLUSH, 0, NULL, 0,
				   request->cookie);
	}
	return -EINVAL;
}

static int result(const void *frame)
{
	return vfe_blk_result(frame);
}

const struct disk_type disk_blk = {
	.frame_size = sizeof(struct vfe_blk_frame),
	.look = look,
	.frames = frames,
	.greet = greet,
	.add = add,
	.result = result,
};
