/* SPDX-License-Identifier: BSD-3-Clause */
/* The lanes of a load: queues, and memory for their requests. */
#include <errno.h>
#include <stdlib.h>

#include "load_private.h"

/* Header, data, status. */
#define SEGMENTS	3
#define SIDE_QUEUE_SIZE 8

static unsigned int power_of_two(unsigned int n)
{
	unsigned int p = 2;

	while (p < n) {
		p *= 2;
	}
	return p;
}

static int set_up_lane(struct load *load, struct load_lane *lane)
{
	const struct load_config *config = &load->config;
	struct vfe_blk_frame *blk = NULL;
	struct vfe_scsi_frame *scsi = NULL;
	size_t stride = (config->block + LOAD_PAGE - 1) / LOAD_PAGE * LOAD_PAGE;
	unsigned int spare = config->batch < config->depth ? config->batch : config->depth;
	unsigned int n = config->depth + spare;
	uint8_t *data = vfe_memory_alloc(load->memory, stride * config->depth, LOAD_PAGE);
	uint64_t gpa;
	unsigned int i;

	if (config->scsi) {
		scsi = vfe_scsi_frames(load->memory, n);
	} else {
		blk = vfe_blk_frames(load->memory, n);
	}
	lane->slots = calloc(n, sizeof(*lane->slots));
	lane->idle = calloc(n, sizeof(struct load_slot *));
	lane->buffers = calloc(config->depth, sizeof(*lane->buffers));
	if ((blk == NULL && scsi == NULL) || data == NULL || lane->slots == NULL ||
	    lane->idle == NULL || lane->buffers == NULL) {
		return -ENOMEM;
	}
	gpa = vfe_memory_gpa(load->memory, data);
	for (i = 0; i < config->depth; i++) {
		lane->buffers[i] = gpa + i * stride;
	}
	lane->buffer_n = config->depth;
	for (i = 0; i < n; i++) {
		if (config->scsi) {
			lane->slots[i].scsi = &scsi[i];
		} else {
			lane->slots[i].blk = &blk[i];
		}
		lane->idle[i] = &lane->slots[i];
	}
	lane->slot_n = n;
	return 0;
}

static int set_up_queue(struct load *load, unsigned int index)
{
	const struct load_config *config = &load->config;
	struct vfe_queue_options options = {
		.size = config->queue_size,
		.segments = SEGMENTS,
		.indirect = config->indirect,
	};
	int r;

	if (options.size == 0) {
		options.size = power_of_two(config->depth * (config->indirect ? 1 : SEGMENTS));
	}
	r = vfe_queue_new(load->session, index + (config->scsi ? VFE_SCSI_REQUESTS : 0), &options,
			  &load->queues[index]);
	if (r < 0) {
		return r;
	}
	load->lanes[index].queue = load->queues[index];
	if (vfe_queue_room(load->queues[index], SEGMENTS) < config->depth) {
		load->why = "the queue is too small for the depth";
		return -EINVAL;
	}
	return set_up_lane(load, &load->lanes[index]);
}

int load_make_lanes(struct load *load)
{
	unsigned int n = load->config.queues;
	unsigned int i;
	int r;

	load->queues = calloc(n, sizeof(struct vfe_queue *));
	load->lanes = calloc(n, sizeof(*load->lanes));
	if (load->queues == NULL || load->lanes == NULL) {
		return -ENOMEM;
	}
	for (i = 0; i < n; i++) {
		load->lane_n = i + 1;
		r = set_up_queue(load, i);
		if (r < 0) {
			return r;
		}
	}
	return 0;
}

/* Some back-ends serve no queue before all of them are there. */
int load_make_scsi_queues(struct load *load)
{
	const struct vfe_queue_options options = { .size = SIDE_QUEUE_SIZE, .segments = 2 };
	int r = vfe_queue_new(load->session, VFE_SCSI_CONTROL, &options, &load->control);

	if (r == 0) {
		r = vfe_queue_new(load->session, VFE_SCSI_EVENTS, &options, &load->events);
	}
	return r;
}

int load_start_lanes(struct load *load)
{
	unsigned int i;
	int r = load->control == NULL ? 0 : vfe_queue_start(load->control);

	if (r == 0 && load->events != NULL) {
		r = vfe_queue_start(load->events);
	}
	for (i = 0; i < load->lane_n && r == 0; i++) {
		r = vfe_queue_start(load->queues[i]);
	}
	return r;
}

static void end_queue(struct load *load, struct vfe_queue *queue)
{
	if (queue != NULL && vfe_socket(load->session) >= 0) {
		(void)vfe_queue_stop(queue);
	}
	vfe_queue_free(queue);
}

void load_end_lanes(struct load *load)
{
	unsigned int i;

	for (i = 0; i < load->lane_n; i++) {
		end_queue(load, load->queues[i]);
		free(load->lanes[i].slots);
		free(load->lanes[i].idle);
		free(load->lanes[i].buffers);
	}
	end_queue(load, load->control);
	end_queue(load, load->events);
	free(load->queues);
	free(load->lanes);
}
