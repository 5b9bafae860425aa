/* SPDX-License-Identifier: BSD-3-Clause */
/* Good requests, and what became of them. */
#include "rig.h"

#include <string.h>

/* virtio 1.2, 5.2.6; 5.6.6.1 with the sizes of CDB and sense data as after a reset. */
#define BLK_HEADER   16
#define SCSI_REQUEST (19 + VFE_CDB_MAX)
#define SCSI_REPLY   (12 + VFE_SENSE_MAX)

#define KEY_ILLEGAL_REQUEST 5

uint8_t *rig_data(struct rig *rig, unsigned int frame)
{
	return rig->data + (size_t)frame * RIG_DATA;
}

uint64_t rig_data_gpa(const struct rig *rig, unsigned int frame)
{
	return vfe_memory_gpa(rig->memory, rig->data) + (uint64_t)frame * RIG_DATA;
}

static struct vfe_seg seg_of(const struct rig *rig, const void *p, uint32_t len)
{
	return (struct vfe_seg){ vfe_memory_gpa(rig->memory, p), len };
}

static void blk_request(struct rig *rig, unsigned int i, enum vfe_blk_type type, uint64_t sector,
			uint32_t bytes, struct request *ret_request)
{
	struct vfe_blk_frame *frame = &rig->blk_frames[i];
	bool in = type == VFE_BLK_IN;
	unsigned int n = 0;

	frame->type = type;
	frame->ioprio = 0;
	frame->sector = sector;
	frame->status = VFE_BLK_UNTOUCHED;
	ret_request->segs[n++] = seg_of(rig, frame, BLK_HEADER);
	ret_request->data_at = n;
	if (bytes > 0) {
		ret_request->segs[n++] = (struct vfe_seg){ rig_data_gpa(rig, i), bytes };
	}
	ret_request->segs[n++] = seg_of(rig, &frame->status, 1);
	ret_request->in_n = in && bytes > 0 ? 2 : 1;
	ret_request->out_n = n - ret_request->in_n;
}

void rig_command(struct rig *rig, unsigned int i, const uint8_t *cdb, size_t cdb_len, bool in,
		 uint32_t bytes, struct request *ret_request)
{
	struct vfe_scsi_frame *frame = &rig->scsi_frames[i];
	struct vfe_seg data = { rig_data_gpa(rig, i), bytes };
	unsigned int n = 0;

	memset(&frame->request, 0, sizeof(frame->request));
	memset(&frame->reply, 0, sizeof(frame->reply));
	/* virtio 1.2, 5.6.6.1: 1, the target, the LUN in the flat format of SAM. */
	frame->request.lun[0] = 1;
	frame->request.lun[1] = (uint8_t)rig->options->scsi_target;
	frame->request.lun[2] = 0x40;
	frame->request.tag = i;
	memcpy(frame->request.cdb, cdb, cdb_len < VFE_CDB_MAX ? cdb_len : VFE_CDB_MAX);
	frame->reply.status = VFE_SCSI_UNTOUCHED;
	frame->reply.response = VFE_SCSI_UNTOUCHED;
	ret_request->segs[n++] = seg_of(rig, frame, SCSI_REQUEST);
	if (!in && bytes > 0) {
		ret_request->data_at = n;
		ret_request->segs[n++] = data;
	}
	ret_request->segs[n++] = seg_of(rig, &frame->reply, SCSI_REPLY);
	if (in && bytes > 0) {
		ret_request->data_at = n;
		ret_request->segs[n++] = data;
	}
	ret_request->in_n = in && bytes > 0 ? 2 : 1;
	ret_request->out_n = n - ret_request->in_n;
}

void rig_read(struct rig *rig, unsigned int frame, uint64_t sector, uint32_t bytes,
	      struct request *ret_request)
{
	uint8_t cdb[VFE_CDB_MAX];
	size_t len;

	if (rig->options->device == VFE_BLK) {
		blk_request(rig, frame, bytes > 0 ? VFE_BLK_IN : VFE_BLK_FLUSH, sector, bytes,
			    ret_request);
		return;
	}
	len = bytes > 0 ?
		      vfe_cdb_read16(cdb, sector * VFE_SECTOR / rig->block, bytes / rig->block) :
		      vfe_cdb_test_unit_ready(cdb);
	rig_command(rig, frame, cdb, len, true, bytes, ret_request);
}

void rig_write(struct rig *rig, unsigned int frame, uint64_t sector, uint32_t bytes,
	       struct request *ret_request)
{
	uint8_t cdb[VFE_CDB_MAX];
	size_t len;

	if (rig->options->device == VFE_BLK) {
		blk_request(rig, frame, VFE_BLK_OUT, sector, bytes, ret_request);
		return;
	}
	len = vfe_cdb_write16(cdb, sector * VFE_SECTOR / rig->block, bytes / rig->block);
	rig_command(rig, frame, cdb, len, false, bytes, ret_request);
}

static enum answer blk_answer(uint8_t status)
{
	switch (status) {
	case VFE_BLK_OK:
		return ANSWER_OK;
	case VFE_BLK_IOERR:
		return ANSWER_ERROR;
	case VFE_BLK_UNSUPP:
		return ANSWER_UNSUPPORTED;
	case VFE_BLK_UNTOUCHED:
		return ANSWER_NONE;
	default:
		return ANSWER_ODD;
	}
}

static enum answer scsi_answer(const struct vfe_scsi_frame *frame)
{
	uint8_t response = __atomic_load_n(&frame->reply.response, __ATOMIC_RELAXED);
	uint16_t code;
	uint8_t key;

	if (response == VFE_SCSI_UNTOUCHED) {
		return ANSWER_NONE;
	}
	if (response > VFE_SCSI_INCORRECT_LUN) {
		return ANSWER_ODD;
	}
	if (response != VFE_SCSI_OK) {
		return ANSWER_ERROR;
	}
	if (frame->reply.status == VFE_STATUS_GOOD) {
		return ANSWER_OK;
	}
	if (vfe_scsi_sense(frame, &key, &code) && key == KEY_ILLEGAL_REQUEST) {
		return ANSWER_UNSUPPORTED;
	}
	return frame->reply.status == VFE_SCSI_UNTOUCHED ? ANSWER_ODD : ANSWER_ERROR;
}

uint8_t rig_status(const struct rig *rig, unsigned int frame)
{
	return rig->options->device == VFE_BLK ?
		       __atomic_load_n(&rig->blk_frames[frame].status, __ATOMIC_RELAXED) :
		       __atomic_load_n(&rig->scsi_frames[frame].reply.response, __ATOMIC_RELAXED);
}

enum answer rig_answer(const struct rig *rig, unsigned int frame)
{
	return rig->options->device == VFE_BLK ? blk_answer(rig_status(rig, frame)) :
						 scsi_answer(&rig->scsi_frames[frame]);
}
