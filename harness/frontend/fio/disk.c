/* SPDX-License-Identifier: BSD-3-Clause */
/* What both types of device have in common. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "disk_private.h"

/* Data segments of a request; a device that wants more for one request is refused. */
#define SEGMENTS_MOST 64

static const struct disk_type *type_of(uint32_t device)
{
	return device == DEVICE_SCSI ? &disk_scsi : &disk_blk;
}

int disk_connect(const struct engine_options *options, const char *socket,
		 struct vfe_session **ret_session, char ret_why[DISK_WHY_LEN])
{
	const struct vfe_wish wish = {
		.device = options->device == DEVICE_SCSI ? VFE_SCSI : VFE_BLK,
		.packed = options->ring == RING_PACKED,
		/* A job ends with its back-end: nothing is ever handed back, and queues come one by one. */
		.without_protocol = VFE_PF_INFLIGHT_SHMFD,
	};
	struct vfe_session *session;
	int r = vfe_connect(socket, options->connect_timeout, &session);

	if (r < 0) {
		snprintf(ret_why, DISK_WHY_LEN, "cannot connect: %s", strerror(-r));
		return r;
	}
	r = vfe_negotiate(session, &wish);
	if (r < 0) {
		const char *hint = r == -ETIMEDOUT ? " (is another front-end connected?)" : "";

		snprintf(ret_why, DISK_WHY_LEN, "%s%s", vfe_why(session), hint);
		vfe_close(session);
		return r;
	}
	*ret_session = session;
	return 0;
}

int disk_probe(const struct engine_options *options, const char *socket, struct disk_info *ret_info,
	       char ret_why[DISK_WHY_LEN])
{
	struct vfe_session *session;
	int r = disk_connect(options, socket, &session, ret_why);

	if (r < 0) {
		return r;
	}
	r = type_of(options->device)->look(session, options, ret_info, ret_why);
	if (r == 0) {
		if (ret_info->segments_max > SEGMENTS_MOST) {
			ret_info->segments_max = SEGMENTS_MOST;
		}
		if (ret_info->capacity == 0) {
			snprintf(ret_why, DISK_WHY_LEN, "the disk has no size");
			r = -ENOSPC;
		}
	}
	vfe_close(session);
	return r;
}

size_t disk_frame_size(uint32_t device)
{
	return type_of(device)->frame_size;
}

void *disk_frames(uint32_t device, struct vfe_memory *memory, unsigned int n)
{
	return type_of(device)->frames(memory, n);
}

int disk_greet(const struct engine_options *options, struct vfe_queue *queue, void *frame)
{
	return type_of(options->device)->greet(queue, options, frame);
}

int disk_add(const struct engine_options *options, const struct disk_info *info,
	     struct vfe_queue *queue, const struct disk_request *request)
{
	struct vfe_seg data[SEGMENTS_MOST];
	unsigned int n = 0;
	uint64_t at = 0;

	if (request->op == DISK_READ || request->op == DISK_WRITE) {
		while (at < request->len) {
			uint64_t left = request->len - at;

			if (n == info->segments_max) {
				return -E2BIG;
			}
			data[n].gpa = request->gpa + at;
			data[n].len = left < info->segment_max ? (uint32_t)left : info->segment_max;
			at += data[n++].len;
		}
	}
	return type_of(options->device)->add(options, info, queue, request, data, n);
}

int disk_result(uint32_t device, const void *frame)
{
	return type_of(device)->result(frame);
}
