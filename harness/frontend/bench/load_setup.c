/* SPDX-License-Identifier: BSD-3-Clause */
/* How a load comes to be and ends. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "load_private.h"
#include "vhost_frontend/frontend_raw.h"

/* Rings, frames and the rounding of each allocation. */
#define MEMORY_SLACK (1u << 20)
#define PER_SLOT     1024

static int fit(struct load *load, uint32_t block_size, unsigned int queues)
{
	if (load->config.block % block_size != 0) {
		load->why = "the block size is not a multiple of the disk's";
		return -EINVAL;
	}
	if (load->config.queues > queues) {
		load->why = "the disk has fewer queues";
		return -EINVAL;
	}
	return 0;
}

static int learn_blk(struct load *load)
{
	struct vfe_blk_info info;
	int r = vfe_blk_info(load->session, &info);

	if (r < 0) {
		return r;
	}
	load->capacity = info.capacity;
	load->block_units = load->config.block / VFE_SECTOR;
	if (load->config.read_percent < 100 && info.read_only) {
		load->why = "the disk is read-only";
		return -EROFS;
	}
	if (load->config.block > info.size_max) {
		load->why = "the block size is above the disk's size_max";
		return -EINVAL;
	}
	return fit(load, info.block_size, info.queues);
}

static int learn_scsi(struct load *load)
{
	struct vfe_scsi_info info;
	uint64_t blocks;
	uint32_t block_size;
	int r = vfe_scsi_info(load->session, &info);

	if (r == 0) {
		r = vfe_scsi_capacity(load->queues[0], load->lanes[0].slots[0].scsi, load->address,
				      (int)load->config.timeout_ms, &blocks, &block_size);
	}
	if (r < 0) {
		return r;
	}
	load->capacity = blocks * block_size;
	load->block_units = load->config.block / block_size;
	return fit(load, block_size, info.queues);
}

static int use_span(struct load *load)
{
	uint64_t span = load->config.span;

	span = span == 0 || span > load->capacity ? load->capacity : span;
	load->blocks = span / load->config.block;
	if (load->blocks == 0) {
		load->why = "the disk is smaller than one block";
		return -EINVAL;
	}
	return 0;
}

static int share_memory(struct load *load)
{
	const struct load_config *config = &load->config;
	size_t per_slot = (config->block + LOAD_PAGE - 1) / LOAD_PAGE * LOAD_PAGE + PER_SLOT;
	const struct vfe_memory_options options = {
		.size = per_slot * config->depth * config->queues +
			(size_t)MEMORY_SLACK * config->queues,
		.huge_page = config->huge_page,
	};
	int r = vfe_memory_new(&options, &load->memory);

	if (r < 0) {
		load->why = config->huge_page != 0 ? "no huge pages for the shared memory" :
						     "no shared memory";
	}
	return r;
}

static int open_steps(struct load *load, const char *path)
{
	const struct load_config *config = &load->config;
	const struct vfe_wish wish = {
		.device = config->scsi ? VFE_SCSI : VFE_BLK,
		.without = config->no_event_idx ? VFE_F_EVENT_IDX : 0,
		.without_protocol = config->inflight ? 0 : VFE_PF_INFLIGHT_SHMFD,
		.packed = config->packed,
	};
	int r = share_memory(load);

	if (r == 0) {
		r = vfe_connect(path, config->timeout_ms, &load->session);
		load->why = r < 0 ? "cannot connect" : load->why;
	}
	if (r == 0) {
		r = vfe_negotiate(load->session, &wish);
	}
	if (r == 0 && !config->scsi) {
		r = learn_blk(load);
	}
	if (r == 0) {
		r = vfe_share(load->session, load->memory);
	}
	if (r == 0 && config->scsi) {
		r = load_make_scsi_queues(load);
	}
	if (r == 0) {
		r = load_make_lanes(load);
	}
	if (r == 0) {
		r = load_start_lanes(load);
	}
	if (r == 0 && config->scsi) {
		r = learn_scsi(load);
	}
	return r == 0 ? use_span(load) : r;
}

static struct load *load_new(const struct load_config *config)
{
	struct load *load = calloc(1, sizeof(*load));

	if (load != NULL) {
		load->config = *config;
		load->random = config->seed;
		load->block_units = config->block / VFE_SECTOR;
		load->address.target = (uint8_t)config->target;
		if (load->config.batch > LOAD_BATCH_MAX) {
			load->config.batch = LOAD_BATCH_MAX;
		}
	}
	return load;
}

int load_open(const struct load_config *config, const char *path, struct load **ret_load,
	      char *ret_why, size_t why_len)
{
	struct load *load = load_new(config);
	int r;

	if (load == NULL) {
		return -ENOMEM;
	}
	r = open_steps(load, path);
	if (r < 0) {
		snprintf(ret_why, why_len, "%s", load_why(load));
		load_close(load);
		return r;
	}
	*ret_load = load;
	return 0;
}

int load_open_mirror(const struct load_config *config, struct load **ret_load)
{
	struct load *load = load_new(config);
	uint64_t features = VFE_F_VERSION_1 | VFE_F_INDIRECT_DESC | VFE_F_EVENT_IDX;
	int r;

	if (load == NULL) {
		return -ENOMEM;
	}
	load->capacity = 1ull << 30;
	r = use_span(load);
	if (r == 0) {
		r = share_memory(load);
	}
	if (r == 0) {
		r = vfe_raw_session_new(features, load->memory, &load->session);
	}
	if (r == 0) {
		r = load_make_lanes(load);
	}
	if (r == 0) {
		vfe_raw_queue_ready(load->queues[0]);
	}
	if (r < 0) {
		load_close(load);
		return r;
	}
	*ret_load = load;
	return 0;
}

const char *load_why(const struct load *load)
{
	if (load->why != NULL) {
		return load->why;
	}
	return load->session != NULL ? vfe_why(load->session) : "";
}

uint64_t load_capacity(const struct load *load)
{
	return load->capacity;
}

pid_t load_peer(const struct load *load)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(vfe_socket(load->session), SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0) {
		return 0;
	}
	return peer.pid;
}

bool load_is_packed(const struct load *load)
{
	return (vfe_features(load->session) & VFE_F_RING_PACKED) != 0;
}

bool load_has_event_idx(const struct load *load)
{
	return (vfe_features(load->session) & VFE_F_EVENT_IDX) != 0;
}

void load_close(struct load *load)
{
	if (load == NULL) {
		return;
	}
	load_end_lanes(load);
	vfe_close(load->session);
	vfe_memory_free(load->memory);
	free(load);
}
