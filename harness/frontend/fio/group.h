/* SPDX-License-Identifier: BSD-3-Clause */
/* The inside of a group: its jobs (group.c) and its connection (connection.c). One lock, of group.c, guards it. */
#ifndef VHOST_FIO_GROUP_H
#define VHOST_FIO_GROUP_H

#include "job.h"

#define QUEUES_MAX 256

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

/* Forked jobs have the group of their parent to themselves. */
static inline bool group_counts(const struct job *job, const struct job *starting)
{
	return job == starting || (job->plan.thread && starting->plan.thread);
}

/* Makes memory for all jobs that count, connects, shows the memory. Says what went wrong. */
int group_connect(struct group *group, const struct job *starting);
/* One more queue, started. Says what went wrong. */
int group_new_queue(struct job *job, struct vfe_queue **ret_queue);
/* Ends all queues and the connection; fine if there is none. */
void group_disconnect(struct group *group);

#endif
