/* SPDX-License-Identifier: BSD-3-Clause */
/* Shared by the files of the load: setting up, running, playing the device. */
#ifndef BENCH_LOAD_PRIVATE_H
#define BENCH_LOAD_PRIVATE_H

#include "load.h"
#include "vhost_frontend/blk.h"
#include "vhost_frontend/scsi.h"

#define LOAD_BATCH_MAX 256

struct load_slot {
	union {
		struct vfe_blk_frame *blk;
		struct vfe_scsi_frame *scsi;
	};
	uint64_t data; /* guest address */
	uint64_t start;
};

struct load_lane {
	struct vfe_queue *queue;
	struct load_slot *slots;
	struct load_slot **idle; /* stack */
	unsigned int idle_n;
	uint16_t mirrored; /* how far load_mirror has come */
};

struct load {
	struct load_config config;
	struct vfe_memory *memory;
	struct vfe_session *session;
	struct vfe_queue **queues; /* those of the lanes */
	struct vfe_queue *control; /* scsi */
	struct vfe_queue *events;
	struct load_lane *lanes;
	unsigned int lane_n;
	uint64_t random;
	uint64_t position;    /* sequential: the next block */
	uint64_t blocks;      /* that may be used */
	uint64_t capacity;    /* bytes */
	uint32_t block_units; /* what the device counts in: sectors, or its logical blocks */
	struct vfe_scsi_address address;
	const char *why;
};

/* load_mirror.c: completes what the first lane has published. */
void load_mirror(struct load *load);

#endif
