/* SPDX-License-Identifier: BSD-3-Clause */
/* The jobs of a socket and their connection. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "job.h"

#define QUEUES_MAX	 256
#define QUEUE_SIZE_LEAST 128
/* qemu-storage-daemon takes no more. */
#define QUEUE_SIZE_MOST 1024
/* Of a queue's rings and event fields, per descriptor and altogether, rounding included. */
#define RING_BYTES_EACH 64
#define RING_BYTES	65536
#define PAGE		4096
/* Header and status, or command and response. */
#define FIXED_SEGMENTS 2

struct group {
	char *socket;
	struct job *jobs;
	struct group *next;
	bool refused; /* its jobs cannot run together; said once */
	bool closed;  /* all jobs have ended */

	struct vfe_memory *memory; /* NULL: not connected */
	struct vfe_session *session;
	struct vfe_queue *queues[QUEUES_MAX]; /* all that were made */
	unsigned int queue_n;
	struct vfe_queue *idle[QUEUES_MAX];
	unsigned int idle_n;
	unsigned int running;
};

/* Guards all that is below, and the connections: jobs start and stop in threads of their own. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct group *groups;
static unsigned int waves;

/* ---- joining ---- */

static struct group *group_of(const char *socket)
{
	struct group *group;

	for (group = groups; group != NULL; group = group->next) {
		if (strcmp(group->socket, socket) == 0) {
			return group;
		}
	}
	group = calloc(1, sizeof(*group));
	if (group == NULL) {
		return NULL;
	}
	group->socket = strdup(socket);
	if (group->socket == NULL) {
		free(group);
		return NULL;
	}
	group->next = groups;
	groups = group;
	return group;
}

/* What the jobs of the wave would want if this one joined it; false: they cannot run together. */
static bool fits(const struct group *group, const struct job *job)
{
	const struct job_plan *mine = &job->plan;
	unsigned int queues = mine->options->queues;
	const struct job *other;

	for (other = group->jobs; other != NULL; other = other->next) {
		const struct job_plan *plan = &other->plan;

		if (plan->options->device != mine->options->device ||
		    plan->options->ring != mine->options->ring) {
			job_say(mine->name, "jobs on one socket must agree on device= and ring=");
			return false;
		}
		if (other->wave != job->wave) {
			continue;
		}
		if (!plan->thread || !mine->thread) {
			job_say(mine->name,
				"%s serves one connection at a time, and job %s has it: run the jobs as "
				"threads, which share it (thread=1), or one after the other (stonewall)",
				group->socket, plan->name);
			return false;
		}
		queues += plan->options->queues;
	}
	if (queues > mine->info.queues) {
		job_say(mine->name,
			"the jobs that run at the same time want %u queues, the device has %u",
			queues, mine->info.queues);
		return false;
	}
	return true;
}

static int join(struct job *job)
{
	struct group *group = group_of(job->plan.socket);

	if (group == NULL) {
		return -ENOMEM;
	}
	if (group->refused) {
		return -EBUSY;
	}
	if (group->session != NULL || group->closed) {
		job_say(job->plan.name,
			"jobs on one socket must be set up before the first of them "
			"starts (create_serialize=1)");
		return -EBUSY;
	}
	if (job->plan.stonewall) {
		waves++;
	}
	job->wave = waves;
	if (!fits(group, job)) {
		group->refused = true;
		return -EBUSY;
	}
	job->group = group;
	job->next = group->jobs;
	group->jobs = job;
	return 0;
}

static void free_job(struct job *job)
{
	free(job->name);
	free(job->socket);
	free(job);
}

/* fio moves the texts of a job about between setting it up and starting it. */
static int copy_plan(struct job *job, const struct job_plan *plan)
{
	job->plan = *plan;
	job->options = *plan->options;
	job->name = strdup(plan->name);
	job->socket = strdup(plan->socket);
	job->plan.options = &job->options;
	job->plan.name = job->name;
	job->plan.socket = job->socket;
	return job->name == NULL || job->socket == NULL ? -ENOMEM : 0;
}

int job_new(const struct job_plan *plan, struct job **ret_job)
{
	struct job *job = calloc(1, sizeof(*job));
	int r;

	if (job == NULL) {
		return -ENOMEM;
	}
	r = copy_plan(job, plan);
	if (r == 0) {
		pthread_mutex_lock(&lock);
		r = join(job);
		pthread_mutex_unlock(&lock);
	}
	if (r < 0) {
		free_job(job);
		return r;
	}
	*ret_job = job;
	return 0;
}

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

/* Forked jobs have the group of their parent to themselves. */
static bool counts(const struct job *job, const struct job *starting)
{
	return job == starting || (job->plan.thread && starting->plan.thread);
}

/* All queues of a group are alike, so that any job can have any of them. */
static struct vfe_queue_options queue_options(const struct job *starting)
{
	struct vfe_queue_options options = { .indirect = true };
	const struct job *job;

	for (job = starting->group->jobs; job != NULL; job = job->next) {
		if (counts(job, starting)) {
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

static void disconnect(struct group *group)
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
		if (counts(job, starting)) {
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

static int connect_group(struct group *group, const struct job *starting)
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
		disconnect(group);
	}
	return r;
}

static int new_queue(struct job *job, struct vfe_queue **ret_queue)
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

/* ---- starting and stopping ---- */

static void give_back(struct job *job)
{
	struct group *group = job->group;
	unsigned int i;

	for (i = 0; i < job->queue_n; i++) {
		/* One with requests in it is lost to other jobs; it goes with the connection. */
		if (vfe_queue_inflight(job->queues[i]) == 0) {
			group->idle[group->idle_n++] = job->queues[i];
		}
	}
	job->queue_n = 0;
	free(job->queues);
	free(job->pending);
	free(job->events);
	job->queues = NULL;
	job->pending = NULL;
	job->events = NULL;
}

static int take_queues(struct job *job)
{
	struct group *group = job->group;
	unsigned int n = job->plan.options->queues;
	int r = 0;

	job->queues = calloc(n, sizeof(struct vfe_queue *));
	job->pending = calloc(n, sizeof(*job->pending));
	job->events = calloc(job->plan.depth, sizeof(struct fio_unit *));
	job->frames = disk_frames(job->plan.options->device, group->memory, job->plan.depth);
	if (job->queues == NULL || job->pending == NULL || job->events == NULL ||
	    job->frames == NULL) {
		return -ENOMEM;
	}
	while (job->queue_n < n && r == 0) {
		if (group->idle_n > 0) {
			job->queues[job->queue_n] = group->idle[--group->idle_n];
		} else {
			r = new_queue(job, &job->queues[job->queue_n]);
		}
		job->queue_n += r == 0 ? 1 : 0;
	}
	if (r == 0) {
		r = disk_greet(job->plan.options, job->queues[0], job->frames);
		if (r < 0) {
			job_say(job->plan.name, "%s: the disk does not answer: %s", group->socket,
				strerror(-r));
		}
	}
	return r;
}

static int start(struct job *job)
{
	struct group *group = job->group;
	int r = 0;

	if (group->refused) {
		return -EBUSY;
	}
	if (group->session == NULL) {
		r = connect_group(group, job);
	}
	if (r == 0) {
		r = take_queues(job);
	}
	if (r < 0) {
		give_back(job);
		return r;
	}
	job->started = true;
	group->running++;
	return 0;
}

int job_start(struct job *job)
{
	int r = 0;

	pthread_mutex_lock(&lock);
	if (!job->started) {
		r = start(job);
	}
	pthread_mutex_unlock(&lock);
	return r;
}

int job_buffer(struct job *job, size_t len)
{
	struct vfe_memory *memory;

	pthread_mutex_lock(&lock);
	memory = job->group->memory;
	job->buffer = memory == NULL ? NULL : vfe_memory_alloc(memory, len, PAGE);
	pthread_mutex_unlock(&lock);
	if (job->buffer == NULL) {
		job_say(job->plan.name, "fio wants %zu bytes of memory, %llu were expected", len,
			(unsigned long long)job->plan.buffer_len);
		return -ENOMEM;
	}
	job->buffer_gpa = vfe_memory_gpa(memory, job->buffer);
	job->buffer_len = len;
	return 0;
}

/* Is there a job of this connection that has yet to begin? */
static bool awaited(const struct group *group, const struct job *stopped)
{
	const struct job *job;

	for (job = group->jobs; job != NULL; job = job->next) {
		if (job != stopped && counts(job, stopped)) {
			return true;
		}
	}
	return false;
}

static void leave(struct group *group, const struct job *job)
{
	struct job **at = &group->jobs;

	while (*at != NULL && *at != job) {
		at = &(*at)->next;
	}
	if (*at != NULL) {
		*at = job->next;
	}
}

void job_stop(struct job *job)
{
	struct group *group;

	if (job == NULL) {
		return;
	}
	pthread_mutex_lock(&lock);
	group = job->group;
	if (job->started) {
		give_back(job);
		group->running--;
	}
	if (group->running == 0 && !awaited(group, job)) {
		disconnect(group);
		group->closed = true;
	}
	leave(group, job);
	pthread_mutex_unlock(&lock);
	free_job(job);
}
