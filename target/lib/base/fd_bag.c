/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/fd_bag.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>

#include "base/confine.h"
#include "base/fd.h"

struct job {
	struct fd_bag bag;
	struct loop *loop;
	struct msg *done; /* the caller's */
	struct msg over;
	pthread_t thread;
};

void fd_bag_put(struct fd_bag *bag, int *fd)
{
	if (*fd < 0) {
		return;
	}
	if (bag == NULL || bag->n == FD_BAG_MAX || fd_is_eventfd(*fd) || fd_is_shared_memory(*fd)) {
		fd_close(fd);
		return;
	}
	bag->fds[bag->n++] = *fd;
	*fd = -1;
}

void fd_bag_close(struct fd_bag *bag)
{
	while (bag->n > 0) {
		fd_close(&bag->fds[--bag->n]);
	}
}

static void *close_all(void *arg)
{
	struct job *job = arg;

	fd_bag_close(&job->bag);
	loop_post(job->loop, &job->over);
	return NULL;
}

/*
 * On the loop's thread. Whoever hears that it is done may free the loop, in which the thread has a last
 * look at whether it must be woken: that is waited for, a few instructions.
 */
static void job_over(struct msg *msg)
{
	struct job *job = (struct job *)((char *)msg - offsetof(struct job, over));
	struct msg *done = job->done;

	pthread_join(job->thread, NULL);
	free(job);
	done->fn(done);
}

/* Signals are for the threads that were there before. */
static int start_thread(pthread_t *thread, void *(*fn)(void *arg), void *arg)
{
	sigset_t before;
	int r;

	confine_block_signals(&before);
	r = pthread_create(thread, NULL, fn, arg);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -r;
}

int fd_bag_close_apart(struct fd_bag *bag, struct loop *loop, struct msg *done)
{
	struct job *job = malloc(sizeof(*job));
	int r;

	if (job == NULL) {
		return -ENOMEM;
	}
	*job = (struct job){ .bag = *bag, .loop = loop, .done = done, .over.fn = job_over };
	r = start_thread(&job->thread, close_all, job);
	if (r < 0) {
		free(job);
		return r;
	}
	bag->n = 0;
	return 0;
}
