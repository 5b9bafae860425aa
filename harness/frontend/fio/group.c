/* SPDX-License-Identifier: BSD-3-Clause */
/* The jobs of a socket: which may run together, and how they start and stop. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "group.h"

#define PAGE 4096

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
			r = group_new_queue(job, &job->queues[job->queue_n]);
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
		r = group_connect(group, job);
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
		if (job != stopped && group_counts(job, stopped)) {
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
		group_disconnect(group);
		group->closed = true;
	}
	leave(group, job);
	pthread_mutex_unlock(&lock);
	free_job(job);
}
