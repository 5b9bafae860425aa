/* SPDX-License-Identifier: BSD-3-Clause */
/* The block device's requests and configuration: virtio 1.2, 5.2.4 and 5.2.6. */
#include <errno.h>
#include <string.h>

#include "internal.h"
#include "vhost_frontend/blk.h"

_Static_assert(sizeof(struct vfe_blk_frame) == VFE_CACHE_LINE, "one line per frame");

#define HEADER_LEN 16
/* Data segments of a request that is built on the stack. */
#define SEGS_INLINE 6

struct blk_config {
	uint64_t capacity;
	uint32_t size_max;
	uint32_t seg_max;
	uint32_t geometry;
	uint32_t blk_size;
	uint8_t topology[8];
	uint8_t writeback;
	uint8_t unused0;
	uint16_t num_queues;
	uint32_t max_discard_sectors;
	uint32_t max_discard_seg;
	uint32_t discard_sector_alignment;
	uint32_t max_write_zeroes_sectors;
	uint32_t max_write_zeroes_seg;
	uint8_t write_zeroes_may_unmap;
	uint8_t unused1[3];
};

static bool has(const struct vfe_session *session, uint64_t feature)
{
	return (session->features & feature) != 0;
}

int vfe_blk_info(struct vfe_session *session, struct vfe_blk_info *ret_info)
{
	struct blk_config config;
	size_t got;
	int r = vfe_config_read(session, &config, sizeof(config), &got);

	if (r < 0) {
		return r;
	}
	*ret_info = (struct vfe_blk_info){
		.capacity = config.capacity * VFE_SECTOR,
		.block_size = VFE_SECTOR,
		.size_max = UINT32_MAX,
		.seg_max = UINT32_MAX,
		.queues = session->max_queues,
		.read_only = has(session, VFE_F_BLK_RO),
		.flush = has(session, VFE_F_BLK_FLUSH),
	};
	if (has(session, VFE_F_BLK_BLK_SIZE) && config.blk_size != 0) {
		ret_info->block_size = config.blk_size;
	}
	/* qemu-storage-daemon 7.2 offers SIZE_MAX and leaves it 0: no bound can be meant. */
	if (has(session, VFE_F_BLK_SIZE_MAX) && config.size_max != 0) {
		ret_info->size_max = config.size_max;
	}
	if (has(session, VFE_F_BLK_SEG_MAX) && config.seg_max != 0) {
		ret_info->seg_max = config.seg_max;
	}
	if (has(session, VFE_F_BLK_MQ) && config.num_queues != 0 &&
	    config.num_queues < ret_info->queues) {
		ret_info->queues = config.num_queues;
	}
	if (has(session, VFE_F_BLK_DISCARD)) {
		ret_info->max_discard_sectors = config.max_discard_sectors;
		ret_info->max_discard_ranges = config.max_discard_seg;
		ret_info->discard_alignment = config.discard_sector_alignment;
	}
	if (has(session, VFE_F_BLK_WRITE_ZEROES)) {
		ret_info->max_zeroes_sectors = config.max_write_zeroes_sectors;
		ret_info->max_zeroes_ranges = config.max_write_zeroes_seg;
		ret_info->zeroes_may_unmap = config.write_zeroes_may_unmap != 0;
	}
	return 0;
}

struct vfe_blk_frame *vfe_blk_frames(struct vfe_memory *memory, unsigned int n)
{
	return vfe_memory_alloc(memory, n * sizeof(struct vfe_blk_frame), VFE_CACHE_LINE);
}

static int add_long(struct vfe_queue *queue, struct vfe_seg header, struct vfe_seg status,
		    const struct vfe_seg *data, unsigned int data_n, unsigned int out_n,
		    unsigned int in_n, void *cookie)
{
	struct vfe_seg segs[VFE_BLK_SEGS_MAX + 2];

	if (data_n > VFE_BLK_SEGS_MAX) {
		return -E2BIG;
	}
	segs[0] = header;
	memcpy(segs + 1, data, data_n * sizeof(*data));
	segs[data_n + 1] = status;
	return vfe_queue_add(queue, segs, out_n, in_n, cookie);
}

int vfe_blk_add(struct vfe_queue *queue, struct vfe_blk_frame *frame, enum vfe_blk_type type,
		uint64_t sector, const struct vfe_seg *data, unsigned int data_n, void *cookie)
{
	uint64_t gpa = vfe_gpa(queue->session->memory, frame);
	bool reads = type == VFE_BLK_IN || type == VFE_BLK_GET_ID;
	unsigned int out_n = reads ? 1 : 1 + data_n;
	unsigned int in_n = reads ? data_n + 1 : 1;
	struct vfe_seg segs[SEGS_INLINE + 2];

	frame->type = type;
	frame->ioprio = 0;
	frame->sector = sector;
	frame->status = VFE_BLK_UNTOUCHED;
	segs[0] = (struct vfe_seg){ gpa, HEADER_LEN };
	const struct vfe_seg status = { gpa + offsetof(struct vfe_blk_frame, status), 1 };

	if (data_n > SEGS_INLINE) {
		return add_long(queue, segs[0], status, data, data_n, out_n, in_n, cookie);
	}
	vfe_copy_segs(segs + 1, data, data_n);
	segs[data_n + 1] = status;
	return vfe_queue_add(queue, segs, out_n, in_n, cookie);
}

int vfe_blk_add_range(struct vfe_queue *queue, struct vfe_blk_frame *frame, enum vfe_blk_type type,
		      uint64_t sector, uint32_t sectors, bool unmap, void *cookie)
{
	struct vfe_seg data = {
		vfe_memory_gpa(queue->session->memory, frame) +
			offsetof(struct vfe_blk_frame, range),
		sizeof(frame->range),
	};

	frame->range = (struct vfe_blk_range){
		.sector = sector,
		.sectors = sectors,
		.flags = unmap ? VFE_BLK_RANGE_UNMAP : 0,
	};
	/* virtio 1.2, 5.2.6: the header's sector is of no meaning here. */
	return vfe_blk_add(queue, frame, type, 0, &data, 1, cookie);
}

int vfe_blk_result(const struct vfe_blk_frame *frame)
{
	switch (__atomic_load_n(&frame->status, __ATOMIC_RELAXED)) {
	case VFE_BLK_OK:
		return 0;
	case VFE_BLK_IOERR:
		return -EIO;
	case VFE_BLK_UNSUPP:
		return -EOPNOTSUPP;
	default:
		return -EPROTO;
	}
}
