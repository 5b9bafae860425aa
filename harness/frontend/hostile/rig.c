/* SPDX-License-Identifier: BSD-3-Clause */
/* A session for one case, and what the case says of it. */
#include "rig.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CONNECT_MS 5000
#define CANARY	   0xc5

/* ---- the verdict ---- */

void rig_fail(struct rig *rig, const char *format, ...)
{
	va_list args;

	if (rig->failed) {
		return;
	}
	rig->failed = true;
	va_start(args, format);
	vsnprintf(rig->why, sizeof(rig->why), format, args);
	va_end(args);
}

void rig_skip(struct rig *rig, const char *format, ...)
{
	va_list args;

	if (rig->failed || rig->skipped) {
		return;
	}
	rig->skipped = true;
	va_start(args, format);
	vsnprintf(rig->why, sizeof(rig->why), format, args);
	va_end(args);
}

void rig_note(struct rig *rig, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(rig->note, sizeof(rig->note), format, args);
	va_end(args);
}

/* ---- life ---- */

void rig_init(struct rig *rig, const struct options *options)
{
	memset(rig, 0, sizeof(*rig));
	rig->options = options;
}

bool rig_connect(struct rig *rig)
{
	int r = vfe_connect(rig->options->socket, CONNECT_MS, &rig->session);

	if (r < 0) {
		rig_fail(rig, "cannot connect: %s", strerror(-r));
	}
	return r == 0;
}

static bool make_memory(struct rig *rig)
{
	const struct vfe_memory_options options = {
		.size = 2 * RIG_REGION,
		.regions = 2,
		.guest_address = RIG_GUEST,
		.unsealed = rig->how.unsealed,
	};
	const struct vfe_raw_region *regions;
	void *frames;
	int r = vfe_memory_new(&options, &rig->memory);

	if (r < 0) {
		rig_fail(rig, "no guest memory: %s", strerror(-r));
		return false;
	}
	vfe_raw_memory_regions(rig->memory, &regions);
	rig->canary = vfe_memory_alloc(rig->memory, RIG_CANARY, RIG_CANARY);
	memset(rig->canary, CANARY, RIG_CANARY);
	rig->scratch = regions[1].map;
	rig->data = rig->scratch + RIG_REQUESTS;
	frames = rig->data + (size_t)RIG_FRAMES * RIG_DATA;
	rig->blk_frames = (struct vfe_blk_frame *)frames;
	rig->scsi_frames = (struct vfe_scsi_frame *)frames;
	return true;
}

/* Without configuration space the disk's size is not known, and is not needed for most cases. */
static int ask_about_disk(struct rig *rig)
{
	int r;

	rig->block = VFE_SECTOR;
	if (rig->options->device == VFE_SCSI) {
		return vfe_scsi_info(rig->session, &rig->scsi);
	}
	if ((vfe_protocol_features(rig->session) & VFE_PF_CONFIG) == 0) {
		return 0;
	}
	r = vfe_blk_info(rig->session, &rig->blk);
	if (r == 0) {
		rig->block = rig->blk.block_size;
		rig->blocks = rig->blk.capacity / rig->block;
	}
	return r;
}

struct bit {
	uint64_t bit;
	const char *name;
};

static const struct bit feature_names[] = {
	{ VFE_F_BLK_RO, "a read-only disk" },
	{ VFE_F_BLK_DISCARD, "discards" },
	{ VFE_F_BLK_WRITE_ZEROES, "write zeroes" },
	{ VFE_F_INDIRECT_DESC, "indirect descriptors" },
	{ 0, NULL },
};

static const struct bit protocol_names[] = {
	{ VFE_PF_REPLY_ACK, "acknowledgements" },
	{ VFE_PF_BACKEND_REQ, "a back-end channel" },
	{ VFE_PF_CONFIG, "a configuration space" },
	{ VFE_PF_INFLIGHT_SHMFD, "an in-flight area" },
	{ VFE_PF_CONFIGURE_MEM_SLOTS, "memory slots" },
	{ 0, NULL },
};

/* A reason to skip the case is no failure. */
static bool skip_without(struct rig *rig, uint64_t missing, const struct bit *names)
{
	for (; names->name != NULL; names++) {
		if ((missing & names->bit) != 0) {
			rig_skip(rig, "the target does not offer %s", names->name);
			return true;
		}
	}
	return false;
}

/* Whether the target has what the case is about. */
static bool has_features(struct rig *rig)
{
	return !skip_without(rig, rig->how.with & ~vfe_features(rig->session), feature_names) &&
	       !skip_without(rig, rig->how.with_protocol & ~vfe_protocol_features(rig->session),
			     protocol_names);
}

bool rig_open(struct rig *rig, const struct rig_options *how)
{
	struct vfe_wish wish = {
		.device = rig->options->device,
		.without = VFE_F_EVENT_IDX | how->without,
		/* A driver that resets its device has a new area, or none: rings are made new all the time. */
		.without_protocol = VFE_PF_INFLIGHT_SHMFD & ~how->with_protocol,
		.packed = rig->options->packed,
	};
	int r;

	rig->how = *how;
	if (!rig_connect(rig)) {
		return false;
	}
	r = vfe_negotiate(rig->session, &wish);
	if (r == -ENOTSUP && rig->options->packed) {
		rig_skip(rig, "the target does not offer packed rings");
		return false;
	}
	if (r == 0 && !has_features(rig)) {
		return false;
	}
	if (r == 0 && rig->memory == NULL && !make_memory(rig)) {
		return false;
	}
	if (r == 0) {
		r = vfe_share(rig->session, rig->memory);
	}
	if (r == 0) {
		r = ask_about_disk(rig);
	}
	if (r < 0) {
		rig_fail(rig, "no session: %s (%s)", strerror(-r), vfe_why(rig->session));
	}
	return r == 0;
}

unsigned int rig_queue_index(const struct rig *rig)
{
	return rig->options->device == VFE_SCSI ? VFE_SCSI_REQUESTS : 0;
}

/* The queue has been started, and is at its beginning. */
static void begin_at_zero(struct rig *rig)
{
	vfe_raw_view(rig->queue, &rig->view);
	rig->raw = false;
	rig->avail_idx = 0;
	rig->used_idx = 0;
	rig->done = 0;
	rig->lied = false;
}

/* The last block of the disk, which for SCSI needs a command. */
static bool ask_about_capacity(struct rig *rig)
{
	struct vfe_scsi_address address = { .target = (uint8_t)rig->options->scsi_target };
	int r;

	if (rig->options->device == VFE_BLK || rig->blocks > 0) {
		return true;
	}
	r = vfe_scsi_capacity(rig->queue, &rig->scsi_frames[0], address, RIG_DEADLINE_MS,
			      &rig->blocks, &rig->block);
	if (r < 0) {
		rig_fail(rig, "no capacity of SCSI target %u: %s (%s)", rig->options->scsi_target,
			 strerror(-r), vfe_why(rig->session));
	}
	return r == 0;
}

bool rig_start(struct rig *rig, const struct rig_options *how)
{
	struct vfe_queue_options options = {
		.size = how->size == 0 ? RIG_SIZE : how->size,
		.segments = how->indirect ? REQUEST_SEGS_MAX : RIG_SIZE,
		.indirect = how->indirect,
	};
	int r;

	if (!rig_open(rig, how)) {
		return false;
	}
	r = vfe_queue_new(rig->session, rig_queue_index(rig), &options, &rig->queue);
	if (r == 0) {
		r = vfe_queue_start(rig->queue);
	}
	if (r < 0) {
		rig_fail(rig, "no queue: %s (%s)", strerror(-r), vfe_why(rig->session));
		return false;
	}
	begin_at_zero(rig);
	return ask_about_capacity(rig) && (rig->options->device == VFE_BLK || rig_restart(rig));
}

static int restart(struct rig *rig)
{
	struct vfe_done open[RIG_FRAMES];
	uint64_t n;
	int r = vfe_queue_stop(rig->queue);

	while (vfe_queue_abandon(rig->queue, open, RIG_FRAMES) > 0) {
	}
	if (read(rig->view.err_fd, &n, sizeof(n)) < 0 && errno != EAGAIN) {
		r = -errno;
	}
	vfe_raw_inflight_drop(rig->session);
	if (r == 0) {
		r = vfe_queue_start(rig->queue);
	}
	if (r == 0) {
		begin_at_zero(rig);
	}
	return r;
}

bool rig_restart(struct rig *rig)
{
	int r = restart(rig);

	/* Another target may find that the connection has to end as well. */
	if (r == -ECONNRESET && !rig->options->strict) {
		vfe_disconnect(rig->session);
		return false;
	}
	if (r < 0) {
		rig_fail(rig, "the ring cannot be started again: %s (%s)", strerror(-r),
			 vfe_why(rig->session));
	}
	return r == 0;
}

bool rig_recover(struct rig *rig)
{
	struct rig_options how = rig->how;

	if (rig_alive(rig) && rig->queue != NULL && rig_restart(rig)) {
		return true;
	}
	if (rig->failed) {
		return false;
	}
	rig_leave(rig);
	return rig_start(rig, &how);
}

bool rig_alive(struct rig *rig)
{
	return rig->session != NULL && vfe_alive(rig->session);
}

/* A file that was cut short cannot be read by us either. */
static void check_canary(struct rig *rig)
{
	unsigned int i;

	for (i = 0; i < RIG_CANARY && !rig->how.unsealed; i++) {
		if (rig->canary[i] != CANARY) {
			rig_fail(rig, "the target has written to memory that no request gave it");
			return;
		}
	}
}

void rig_leave(struct rig *rig)
{
	if (rig->memory != NULL) {
		check_canary(rig);
	}
	vfe_queue_free(rig->queue);
	vfe_close(rig->session);
	rig->queue = NULL;
	rig->session = NULL;
	rig->blocks = 0;
}

void rig_close(struct rig *rig)
{
	rig_leave(rig);
	vfe_memory_free(rig->memory);
	rig->memory = NULL;
}
