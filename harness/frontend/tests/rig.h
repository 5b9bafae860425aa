/* SPDX-License-Identifier: BSD-3-Clause */
/* A session with a fake back-end, its memory and its queues. */
#ifndef TESTS_RIG_H
#define TESTS_RIG_H

#include "fake_backend.h"
#include "vhost_frontend/blk.h"
#include "vhost_frontend/frontend_raw.h"

#define RIG_DISK_SIZE  (512u * 256)
#define RIG_QUEUES_MAX 4
#define RIG_TIMEOUT_MS 10000

struct rig {
	struct fake_config config;
	char dir[64];
	char path[96];
	int listen_fd;
	pid_t pid;
	uint8_t *disk;
	struct vfe_memory *memory;
	struct vfe_session *session;
	struct vfe_queue *queues[RIG_QUEUES_MAX];
	unsigned int queue_n;
};

/* Starts the back-end and connects; `queues` are made by rig_start_queues. */
void rig_open(struct rig *rig, const struct fake_config *config, uint64_t seed,
	      unsigned int queues);
/* Memory in so many regions instead of one. */
void rig_use_regions(struct rig *rig, unsigned int regions);
/* Shares the memory, makes and starts the queues. */
void rig_start_queues(struct rig *rig, unsigned int size, bool indirect);
/* Writes all of the disk over all queues in turn, reads it back, and compares. */
void rig_check_io(struct rig *rig);
/* The back-end must end by itself, well. Then everything goes. */
void rig_close(struct rig *rig);

#endif
