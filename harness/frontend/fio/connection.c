/* SPDX-License-Identifier: BSD-3-Clause */
/* The connection of a group: how much memory and which queues it needs, its beginning and end. */
#include <errno.h>
#include <string.h>

#include "group.h"

#define QUEUE_SIZE_LEAST 128
/* qemu-storage-daemon takes no more. */
#define QUEUE_SIZE_MOST 1024
/* Of a queue's rings and event fields, per descriptor and altogether, rounding included. */
#define RING_BYTES_EACH 64
#define RING_BYTES	65536
#define PAGE		4096
/* Header and status, or command and response. */
#define FIXED_SEGMENTS 2

/* ---- sizes ---- */

static unsigned int segments_of(const struct job_plan *plan)
{
	uint64_t n = (plan->max_len + plan->info.segment_max - 1) / plan->info.segment_max;

	return FIXED_SEGMENTS + (n == 0 ? 1 : (unsigned int)n);
}

static unsigned int queue_size_of(const struct job_plan *plan)
{
	const struct engine_options *options = plan->options;
	uint64_t want = (plan->depth + options->queues - 1) / options->queues;
	unsigned int size = QUEUE_SIZE_LEAST;

	if (options->queue_size != 0) {
		return options->queue_size;
	}
	want *= options->indirect != 0 ? 1 : segments_of(plan);
	while (size < want && size < QUEUE_SIZE_MOST) {
		size *= 2;
	}
	return size;
}

/* All queues of a group are alike, so that any job can have any of them. */
static struct vfe_queue_options queue_options(const struct job *starting)
{
	struct vfe_queue_options options = { .indirect = true };
	const struct job *job;

	for (job = starting->group->jobs; job != NULL; job = job->next) {
		if (group_counts(job, starting)) {
			unsigned int size = queue_size_of(&job->plan);
			unsigned int segments = segments_of(&job->plan);

			options.size = size > options.size ? size : options.size;
			options.segments = segments > options.segments ? segments :
									 options.segments;
			options.indirect = options.indirect && job->plan.options->indirect != 0;
		}
	}
	return options;
}

static size_t memory_of(const struct job_plan *plan, const struct vfe_queue_options *options)
{
	size_t ring = RING_BYTES + (size_t)options->size * RING_BYTES_EACH;

	if (options->indirect) {
		ring += (size_t)options->size * options->segments * RING_BYTES_EACH;
	}
	return plan->buffer_len + plan->depth * disk_frame_size(plan->options->device) +
	       plan->options->queues * ring + 4 * PAGE;
}

/* ---- the connection ---- */

void group_disconnect(struct group *group)
{
	unsigned int i;

	for (i = 0; i < group->queue_n; i++) {
		(void)vfe_queue_stop(group->queues[i]);
		vfe_queue_free(group->queues[i]);
	}
	group->queue_n = group->idle_n = 0;
	vfe_close(group->session);
	vfe_memory_free(group->memory);
	group->session = NULL;
	group->memory = NULL;
}

static int make_memory(struct group *group, const struct job *starting)
{
	const struct vfe_queue_options queues = queue_options(starting);
	struct vfe_memory_options options = { .size = PAGE };
	const struct job *job;
	int r;

	for (job = group->jobs; job != NULL; job = job->next) {
		if (group_counts(job, starting)) {
			options.size += memory_of(&job->plan, &queues);
			if (job->plan.options->huge_page > options.huge_page) {
				options.huge_page = job->plan.options->huge_page;
			}
		}
	}
	r = vfe_memory_new(&options, &group->memory);
	if (r < 0) {
		job_say(starting->plan.name, "no shared memory of %zu KiB%s: %s",
			options.size >> 10, options.huge_page != 0 ? " on huge pages" : "",
			strerror(-r));
	}
	return r;
}

int group_connect(struct group *group, const struct job *starting)
{
	const struct job_plan *plan = &starting->plan;
	char why[DISK_WHY_LEN];
	int r = make_memory(group, starting);

	if (r < 0) {
		return r;
	}
	r = disk_connect(plan->options, plan->socket, &group->session, why);
	if (r < 0) {
		job_say(plan->name, "%s: %s", plan->socket, why);
	} else {
		r = vfe_share(group->session, group->memory);
		if (r < 0) {
			job_say(plan->name, "%s: %s", plan->socket, vfe_why(group->session));
		}
	}
	if (r < 0) {
		group_disconnect(group);
	}
	return r;
}

int group_new_queue(struct job *job, struct vfe_queue **ret_queue)
{
	struct group *group = job->group;
	const struct vfe_queue_options options = queue_options(job);
	unsigned int index = job->plan.info.first_queue + group->queue_n;
	struct vfe_queue *queue;
	int r;

	if (group->queue_n == QUEUES_MAX) {
		return -ENOSPC;
	}
	r = vfe_queue_new(group->session, index, &options, &queue);
	if (r == 0) {
		r = vfe_queue_start(queue);
		if (r < 0) {
			vfe_queue_free(queue);
		}
	}
	if (r == 0 && vfe_queue_room(queue, options.segments) == 0) {
		job_say(job->plan.name, "queue_size=%u is too small for a request of %u segments",
			options.size, options.segments);
		r = -EINVAL;
		(void)vfe_queue_stop(queue);
		vfe_queue_free(queue);
	} else if (r < 0) {
		job_say(job->plan.name, "queue %u: %s", index, vfe_why(group->session));
	}
	if (r == 0) {
		group->queues[group->queue_n++] = queue;
		*ret_queue = queue;
	}
	return r;
}
