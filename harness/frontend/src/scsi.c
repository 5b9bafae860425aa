/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests of the virtio SCSI host: virtio 1.2, 5.6.4 and 5.6.6. */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "internal.h"
#include "vhost_frontend/scsi.h"

_Static_assert(
	sizeof(struct vfe_scsi_frame) % (2 * VFE_CACHE_LINE) == VFE_CACHE_LINE,
	"an odd number of lines: the hot ones of many frames spread over all sets of a cache");
_Static_assert(offsetof(struct vfe_scsi_frame, reply.sense) < VFE_CACHE_LINE, "one of them is hot");
_Static_assert(sizeof(struct vfe_scsi_task_frame) == VFE_CACHE_LINE, "one line per frame");
_Static_assert(sizeof(struct vfe_scsi_event) == 16, "virtio 1.2, 5.6.6.3");

/* virtio 1.2, 5.6.6.1, with cdb_size and sense_size as after a reset. */
#define REQUEST_LEN (19 + VFE_CDB_MAX)
#define REPLY_LEN   (12 + VFE_SENSE_MAX)
/* 5.6.6.2: what the device reads of a task management request. */
#define TASK_LEN 24

#define SEGS_INLINE 6
/* A unit attention for each of: power on, a changed LUN inventory, a changed capacity; and some. */
#define ATTEMPTS	   6
#define CAPACITY_LEN	   32
#define KEY_UNIT_ATTENTION 6

#define SEG_MAX_DEFAULT	    126
#define MAX_SECTORS_DEFAULT 0xffff
#define CMD_PER_LUN_DEFAULT 128
#define MAX_TARGET_DEFAULT  255
#define MAX_LUN_DEFAULT	    16383

struct scsi_config {
	uint32_t num_queues;
	uint32_t seg_max;
	uint32_t max_sectors;
	uint32_t cmd_per_lun;
	uint32_t event_info_size;
	uint32_t sense_size;
	uint32_t cdb_size;
	uint16_t max_channel;
	uint16_t max_target;
	uint32_t max_lun;
};

int vfe_scsi_info(struct vfe_session *session, struct vfe_scsi_info *ret_info)
{
	struct scsi_config config = {
		.seg_max = SEG_MAX_DEFAULT,
		.max_sectors = MAX_SECTORS_DEFAULT,
		.cmd_per_lun = CMD_PER_LUN_DEFAULT,
		.max_target = MAX_TARGET_DEFAULT,
		.max_lun = MAX_LUN_DEFAULT,
	};
	uint32_t queues = session->max_queues > VFE_SCSI_REQUESTS ?
				  session->max_queues - VFE_SCSI_REQUESTS :
				  1;
	size_t got;
	int r = 0;

	if ((session->protocol_features & VFE_PF_CONFIG) != 0) {
		r = vfe_config_read(session, &config, sizeof(config), &got);
	}
	if (r < 0) {
		return r;
	}
	*ret_info = (struct vfe_scsi_info){
		.queues = config.num_queues != 0 && config.num_queues < queues ? config.num_queues :
										 queues,
		.seg_max = config.seg_max == 0 ? UINT32_MAX : config.seg_max,
		.max_sectors = config.max_sectors == 0 ? UINT32_MAX : config.max_sectors,
		.cmd_per_lun = config.cmd_per_lun,
		.max_target = config.max_target,
		.max_lun = config.max_lun,
	};
	return 0;
}

struct vfe_scsi_frame *vfe_scsi_frames(struct vfe_memory *memory, unsigned int n)
{
	return vfe_memory_alloc(memory, n * sizeof(struct vfe_scsi_frame), VFE_CACHE_LINE);
}

/* virtio 1.2, 5.6.6.1: 1, the target, then the LUN in the flat format of SAM. */
static void put_lun(uint8_t *lun, struct vfe_scsi_address address)
{
	/* As one store. */
	uint64_t word =
		htole64(1u | address.target << 8 | (uint64_t)(0x40 | address.lun >> 8) << 16 |
			(uint64_t)(address.lun & 0xff) << 24);

	memcpy(lun, &word, sizeof(word));
}

/* All before the CDB. A frame that is used for the same disk again has it already, and each store spared is one that
 * does not wait for the frame's line. */
static inline void put_header(struct vfe_scsi_request *request, struct vfe_scsi_address address,
			      uint64_t tag)
{
	uint8_t lun[8];

	put_lun(lun, address);
	if (request->tag == tag && memcmp(request->lun, lun, sizeof(lun)) == 0) {
		return;
	}
	memcpy(request->lun, lun, sizeof(lun));
	request->tag = tag;
	request->task_attr = request->prio = request->crn = 0;
}

/* 5.6.6.1: data to the device lies behind the request, data from it behind the reply. A function of its own, since
 * its stack frame is large. */
static __attribute__((noinline)) int add_long(struct vfe_queue *queue, struct vfe_seg request,
					      struct vfe_seg reply, const struct vfe_seg *data,
					      unsigned int data_n, bool in, void *cookie)
{
	struct vfe_seg segs[VFE_SCSI_SEGS_MAX + 2];

	if (data_n > VFE_SCSI_SEGS_MAX) {
		return -E2BIG;
	}
	segs[0] = request;
	segs[in ? 1 : 1 + data_n] = reply;
	memcpy(segs + (in ? 2 : 1), data, data_n * sizeof(*data));
	return vfe_queue_add(queue, segs, in ? 1 : 1 + data_n, in ? 1 + data_n : 1, cookie);
}

int vfe_scsi_add(struct vfe_queue *queue, struct vfe_scsi_frame *frame,
		 struct vfe_scsi_address address, const uint8_t *cdb, size_t cdb_len, bool in,
		 const struct vfe_seg *data, unsigned int data_n, void *cookie)
{
	uint64_t gpa = vfe_gpa(queue->session->memory, frame);
	const struct vfe_seg request = { gpa, REQUEST_LEN };
	const struct vfe_seg reply = { gpa + offsetof(struct vfe_scsi_frame, reply), REPLY_LEN };
	struct vfe_seg segs[SEGS_INLINE + 2];

	if (cdb_len > VFE_CDB_MAX) {
		return -EINVAL;
	}
	put_header(&frame->request, address, (uint64_t)(uintptr_t)frame);
	if (cdb != frame->request.cdb) {
		memcpy(frame->request.cdb, cdb, cdb_len);
		memset(frame->request.cdb + cdb_len, 0, VFE_CDB_MAX - cdb_len);
	}
	/* All else in the reply means nothing before these are written. */
	frame->reply.status = VFE_SCSI_UNTOUCHED;
	frame->reply.response = VFE_SCSI_UNTOUCHED;
	if (data_n > SEGS_INLINE) {
		return add_long(queue, request, reply, data, data_n, in, cookie);
	}
	segs[0] = request;
	segs[in ? 1 : 1 + data_n] = reply;
	vfe_copy_segs(segs + (in ? 2 : 1), data, data_n);
	return vfe_queue_add(queue, segs, in ? 1 : 1 + data_n, in ? 1 + data_n : 1, cookie);
}

static void put_be(uint8_t *p, uint64_t value, unsigned int bytes)
{
	while (bytes-- > 0) {
		p[bytes] = (uint8_t)value;
		value >>= 8;
	}
}

static uint64_t get_be(const uint8_t *p, unsigned int bytes)
{
	uint64_t value = 0;

	while (bytes-- > 0) {
		value = value << 8 | *p++;
	}
	return value;
}

int vfe_scsi_add_unmap(struct vfe_queue *queue, struct vfe_scsi_frame *frame,
		       struct vfe_scsi_address address, uint64_t lba, uint32_t blocks, void *cookie)
{
	/* SBC-3, 5.28.2: a header of 8 bytes and one descriptor of 16. */
	const struct vfe_seg data = { vfe_memory_gpa(queue->session->memory, frame->data), 24 };
	uint8_t cdb[VFE_CDB_MAX];
	size_t len = vfe_cdb_unmap(cdb, 24);

	memset(frame->data, 0, 24);
	put_be(frame->data, 22, 2);
	put_be(frame->data + 2, 16, 2);
	put_be(frame->data + 8, lba, 8);
	put_be(frame->data + 16, blocks, 4);
	return vfe_scsi_add(queue, frame, address, cdb, len, false, &data, 1, cookie);
}

int vfe_scsi_result(const struct vfe_scsi_frame *frame)
{
	switch (__atomic_load_n(&frame->reply.response, __ATOMIC_RELAXED)) {
	case VFE_SCSI_OK:
		break;
	case VFE_SCSI_OVERRUN:
		return -EOVERFLOW;
	case VFE_SCSI_ABORTED:
	case VFE_SCSI_RESET:
		return -ECANCELED;
	case VFE_SCSI_BAD_TARGET:
		return -ENODEV;
	case VFE_SCSI_INCORRECT_LUN:
		return -ENXIO;
	case VFE_SCSI_BUSY:
		return -EBUSY;
	case VFE_SCSI_TRANSPORT_FAILURE:
	case VFE_SCSI_TARGET_FAILURE:
	case VFE_SCSI_NEXUS_FAILURE:
	case VFE_SCSI_FAILURE:
		return -EIO;
	default:
		return -EPROTO;
	}
	return frame->reply.status == VFE_STATUS_GOOD ? 0 :
	       frame->reply.status == VFE_STATUS_BUSY ||
			       frame->reply.status == VFE_STATUS_TASK_SET_FULL ?
							-EBUSY :
							-EIO;
}

bool vfe_scsi_sense(const struct vfe_scsi_frame *frame, uint8_t *ret_key, uint16_t *ret_code)
{
	const uint8_t *sense = frame->reply.sense;
	uint8_t format = sense[0] & 0x7f;

	if (frame->reply.status != VFE_STATUS_CHECK_CONDITION || frame->reply.sense_len < 8) {
		return false;
	}
	/* SPC-4, 4.5: 70h and 71h are the fixed format, 72h and 73h that with descriptors. */
	if (format == 0x70 || format == 0x71) {
		*ret_key = sense[2] & 0x0f;
		*ret_code = frame->reply.sense_len < 14 ? 0 : (uint16_t)get_be(sense + 12, 2);
	} else {
		*ret_key = sense[1] & 0x0f;
		*ret_code = (uint16_t)get_be(sense + 2, 2);
	}
	return true;
}

int vfe_scsi_add_task(struct vfe_queue *queue, struct vfe_scsi_task_frame *frame,
		      struct vfe_scsi_address address, enum vfe_scsi_tmf function, uint64_t tag,
		      void *cookie)
{
	uint64_t gpa = vfe_memory_gpa(queue->session->memory, frame);
	const struct vfe_seg segs[2] = {
		{ gpa, TASK_LEN },
		{ gpa + offsetof(struct vfe_scsi_task_frame, response), 1 },
	};

	frame->type = 0;
	frame->function = function;
	put_lun(frame->lun, address);
	frame->tag = tag;
	frame->response = VFE_SCSI_UNTOUCHED;
	return vfe_queue_add(queue, segs, 1, 1, cookie);
}

int vfe_scsi_add_event(struct vfe_queue *queue, struct vfe_scsi_event *event, void *cookie)
{
	const struct vfe_seg seg = { vfe_memory_gpa(queue->session->memory, event),
				     sizeof(*event) };

	return vfe_queue_add(queue, &seg, 0, 1, cookie);
}

int vfe_scsi_capacity(struct vfe_queue *queue, struct vfe_scsi_frame *frame,
		      struct vfe_scsi_address address, int timeout_ms, uint64_t *ret_blocks,
		      uint32_t *ret_block_size)
{
	const struct vfe_seg data = { vfe_memory_gpa(queue->session->memory, frame->data),
				      CAPACITY_LEN };
	uint8_t cdb[VFE_CDB_MAX];
	size_t len = vfe_cdb_read_capacity16(cdb, CAPACITY_LEN);
	struct vfe_done done;
	unsigned int i;
	uint16_t code;
	uint8_t key;
	int r = 0;

	for (i = 0; i < ATTEMPTS; i++) {
		r = vfe_scsi_add(queue, frame, address, cdb, len, true, &data, 1, NULL);
		if (r == 0) {
			r = vfe_queue_finish(queue, timeout_ms, &done);
		}
		if (r < 0) {
			return r;
		}
		r = vfe_scsi_result(frame);
		if (r == 0) {
			*ret_blocks = get_be(frame->data, 8) + 1;
			*ret_block_size = (uint32_t)get_be(frame->data + 8, 4);
			return 0;
		}
		if (!vfe_scsi_sense(frame, &key, &code) || key != KEY_UNIT_ATTENTION) {
			break;
		}
	}
	return vfe_fail(queue->session, r, "READ CAPACITY (16): response %u, status %u",
			frame->reply.response, frame->reply.status);
}
