/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts:
 *
 *   job    one job of fio, with queues, request frames and data buffers of its own. It is made when fio
 *          sets the job up (in fio's main thread), started and stopped by the thread or process that runs
 *          it, and driven by nobody else.
 *   group  the jobs of one socket. Back-ends serve one connection at a time, so jobs that are threads of
 *          one process share it: the first of them to start connects, the last to stop closes. A job
 *          that is a process of its own connects for itself, and then no other job can run at that time.
 *   wave   jobs that run at the same time: fio's stonewall= begins a new one.
 *
 * Memory is shared with the back-end when the first job starts, once, and has room for all jobs that were
 * set up by then.
 */
#ifndef VHOST_FIO_JOB_H
#define VHOST_FIO_JOB_H

#include "disk.h"

struct group;

struct job_plan {
	const char *name;
	const char *socket;
	const struct engine_options *options;
	struct disk_info info;
	unsigned int depth;
	unsigned int does; /* FIOABI_DOES_ bits */
	uint64_t buffer_len;
	uint64_t max_len; /* of a request */
	bool thread;
	bool stonewall;
};

struct job {
	struct job_plan plan; /* its pointers are to what follows */
	struct engine_options options;
	char *name;
	char *socket;
	struct group *group;
	unsigned int wave;
	struct job *next; /* of the group */
	bool started;

	/* From here on: while it is started. */
	struct vfe_queue **queues;
	bool *pending; /* by queue: something was added and not published */
	unsigned int queue_n;
	unsigned int next_queue;
	char *frames;
	unsigned int frame_n; /* given to requests */
	char *buffer;
	uint64_t buffer_gpa;
	size_t buffer_len;
	struct fio_unit **events;
	bool checked; /* the first request was what it should be */
	/* Said once. */
	bool said_size;
	bool said_stalled;
	bool said_lost;
	const struct fio_disk *file;
};

/* The group of the socket, and whether the job may run with those that are in it. */
int job_new(const struct job_plan *plan, struct job **ret_job);
/* Connects if need be, and takes queues. Does nothing for one that has started. */
int job_start(struct job *job);
/* The job's buffers for data. */
int job_buffer(struct job *job, size_t len);
/* Gives the queues back; the last of the group closes the connection. NULL is fine. */
void job_stop(struct job *job);

/* One line for the user, through fio. */
__attribute__((format(printf, 2, 3))) void job_say(const char *name, const char *format, ...);

#endif
