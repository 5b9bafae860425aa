/* SPDX-License-Identifier: BSD-3-Clause */
/* A disk that is LUN 0 of a target of a virtio SCSI host. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "disk_private.h"
#include "vhost_frontend/scsi.h"

#define PROBE_QUEUE_SIZE 16
#define PROBE_DATA	 64
#define PROBE_SEGMENTS	 3
/* SPC-4, 6.11: allocation length; the header is 4 bytes, byte 2 bit 7 is write protection. */
#define MODE_ALL_PAGES	   0x3f
#define MODE_LEN	   4
#define MODE_WRITE_PROTECT 0x80
/* SBC-3, 6.6.4: the block limits page. */
#define PAGE_BLOCK_LIMITS 0xb0
#define MAX_TRANSFER_AT	  8
#define MAX_UNMAP_AT	  20
#define LIMITS_LEN	  64

static struct vfe_scsi_address address_of(const struct engine_options *options)
{
	return (struct vfe_scsi_address){ .target = (uint8_t)options->lun };
}

/* What is needed to ask the disk something. */
struct probe {
	struct vfe_session *session;
	struct vfe_memory *memory;
	struct vfe_queue *queue;
	struct vfe_scsi_frame *frame;
	uint8_t *data;
	struct vfe_scsi_address address;
	int timeout_ms;
};

static int begin(struct probe *probe)
{
	const struct vfe_memory_options memory = { .size = 1 << 20 };
	const struct vfe_queue_options queue = { .size = PROBE_QUEUE_SIZE,
						 .segments = PROBE_SEGMENTS };
	int r = vfe_memory_new(&memory, &probe->memory);

	if (r == 0) {
		r = vfe_share(probe->session, probe->memory);
	}
	if (r == 0) {
		r = vfe_queue_new(probe->session, VFE_SCSI_REQUESTS, &queue, &probe->queue);
	}
	if (r == 0) {
		r = vfe_queue_start(probe->queue);
	}
	if (r == 0) {
		probe->frame = vfe_scsi_frames(probe->memory, 1);
		probe->data = vfe_memory_alloc(probe->memory, PROBE_DATA, PROBE_DATA);
		r = probe->frame == NULL || probe->data == NULL ? -ENOMEM : 0;
	}
	return r;
}

static void end(struct probe *probe)
{
	if (probe->queue != NULL) {
		(void)vfe_queue_stop(probe->queue);
		vfe_queue_free(probe->queue);
	}
}

/* A command that fills probe->data. */
static int ask(struct probe *probe, const uint8_t *cdb, size_t cdb_len, uint32_t len)
{
	struct vfe_seg data = { vfe_memory_gpa(probe->memory, probe->data), len };
	struct vfe_done done;
	int r;

	memset(probe->data, 0, PROBE_DATA);
	r = vfe_scsi_add(probe->queue, probe->frame, probe->address, cdb, cdb_len, true, &data, 1,
			 NULL);
	if (r < 0) {
		return r;
	}
	vfe_queue_publish(probe->queue);
	while ((r = vfe_queue_reap(probe->queue, &done, 1)) == 0) {
		r = vfe_queue_wait(probe->queue, probe->timeout_ms);
		if (r < 0) {
			return r;
		}
	}
	return r < 0 ? r : vfe_scsi_result(probe->frame);
}

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* A disk without this page has no limits that it could tell, and cannot unmap. */
static int ask_limits(struct probe *probe, struct disk_info *info)
{
	uint8_t cdb[VFE_CDB_MAX];
	size_t cdb_len = vfe_cdb_inquiry(cdb, true, PAGE_BLOCK_LIMITS, LIMITS_LEN);
	int r = ask(probe, cdb, cdb_len, LIMITS_LEN);
	uint64_t transfer;

	if (r < 0 || probe->data[1] != PAGE_BLOCK_LIMITS) {
		return r == -EIO ? 0 : r;
	}
	transfer = (uint64_t)be32(probe->data + MAX_TRANSFER_AT) * info->block_size;
	if (transfer != 0 && transfer < info->transfer_max) {
		info->transfer_max = transfer;
	}
	info->discard_max = (uint64_t)be32(probe->data + MAX_UNMAP_AT) * info->block_size;
	return 0;
}

static int ask_protection(struct probe *probe, struct disk_info *info)
{
	uint8_t cdb[VFE_CDB_MAX];
	size_t cdb_len = vfe_cdb_mode_sense6(cdb, MODE_ALL_PAGES, MODE_LEN);
	int r = ask(probe, cdb, cdb_len, MODE_LEN);

	if (r == 0) {
		info->read_only = (probe->data[2] & MODE_WRITE_PROTECT) != 0;
	}
	return r == -EIO ? 0 : r;
}

static int ask_all(struct probe *probe, struct disk_info *info)
{
	uint64_t blocks;
	int r = vfe_scsi_capacity(probe->queue, probe->frame, probe->address, probe->timeout_ms,
				  &blocks, &info->block_size);

	if (r == 0) {
		if (info->block_size == 0 || blocks > UINT64_MAX / info->block_size) {
			return -EPROTO;
		}
		info->capacity = blocks * info->block_size;
		r = ask_limits(probe, info);
	}
	return r == 0 ? ask_protection(probe, info) : r;
}

static int look(struct vfe_session *session, const struct engine_options *options,
		struct disk_info *ret_info, char *ret_why)
{
	struct probe probe = {
		.session = session,
		.address = address_of(options),
		.timeout_ms = (int)options->connect_timeout,
	};
	struct disk_info info = { .flush = true, .first_queue = VFE_SCSI_REQUESTS };
	struct vfe_scsi_info host;
	int r = vfe_scsi_info(session, &host);

	if (r == 0) {
		info.queues = host.queues;
		info.segment_max = UINT32_MAX & ~511u;
		info.segments_max = host.seg_max < VFE_SCSI_SEGS_MAX ? host.seg_max :
								       VFE_SCSI_SEGS_MAX;
		info.transfer_max = (uint64_t)host.max_sectors * 512;
		r = begin(&probe);
	}
	if (r < 0) {
		snprintf(ret_why, DISK_WHY_LEN, "%s", vfe_why(session));
	} else {
		r = ask_all(&probe, &info);
		if (r == -ENODEV || r == -ENXIO) {
			snprintf(ret_why, DISK_WHY_LEN, "it has no disk at target %u (lun=)",
				 options->lun);
		} else if (r < 0) {
			snprintf(ret_why, DISK_WHY_LEN, "target %u does not tell its size: %s",
				 options->lun, strerror(-r));
		}
	}
	end(&probe);
	if (r == 0) {
		*ret_info = info;
	}
	vfe_memory_free(probe.memory);
	return r;
}

static void *frames(struct vfe_memory *memory, unsigned int n)
{
	return vfe_scsi_frames(memory, n);
}

/* Unit attentions of the new connection come with the first command; they are not for a job to see. */
static int greet(struct vfe_queue *queue, const struct engine_options *options, void *frame)
{
	uint64_t blocks;
	uint32_t block_size;

	return vfe_scsi_capacity(queue, frame, address_of(options), (int)options->connect_timeout,
				 &blocks, &block_size);
}

static int add(const struct engine_options *options, const struct disk_info *info,
	       struct vfe_queue *queue, const struct disk_request *request,
	       const struct vfe_seg *data, unsigned int data_n)
{
	uint64_t lba = request->offset / info->block_size;
	uint32_t blocks = (uint32_t)(request->len / info->block_size);
	bool wide = lba + blocks > UINT32_MAX || blocks > UINT16_MAX;
	uint8_t cdb[VFE_CDB_MAX];
	size_t cdb_len = 0;

	switch (request->op) {
	case DISK_READ:
		cdb_len = wide ? vfe_cdb_read16(cdb, lba, blocks) :
				 vfe_cdb_read10(cdb, (uint32_t)lba, (uint16_t)blocks);
		break;
	case DISK_WRITE:
		cdb_len = wide ? vfe_cdb_write16(cdb, lba, blocks) :
				 vfe_cdb_write10(cdb, (uint32_t)lba, (uint16_t)blocks);
		break;
	case DISK_DISCARD:
		return vfe_scsi_add_unmap(queue, request->frame, address_of(options), lba, blocks,
					  request->cookie);
	case DISK_FLUSH:
		/* SBC-3, 5.18: no number of blocks means up to the end. */
		cdb_len = vfe_cdb_sync_cache10(cdb, 0, 0);
		break;
	}
	return vfe_scsi_add(queue, request->frame, address_of(options), cdb, cdb_len,
			    request->op == DISK_READ, data, data_n, request->cookie);
}

static int result(const void *frame)
{
	return vfe_scsi_result(frame);
}

const struct disk_type disk_scsi = {
	.frame_size = sizeof(struct vfe_scsi_frame),
	.look = look,
	.frames = frames,
	.greet = greet,
	.add = add,
	.result = result,
};
