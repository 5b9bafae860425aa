/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests of a job, from fio to the queues and back. All of it in the job's own thread. */
#ifndef VHOST_FIO_IO_H
#define VHOST_FIO_IO_H

#include "job.h"

struct timespec;

/* Gives a new request its frame. */
int io_new_unit(struct job *job, const struct fioabi_layout *layout, struct fio_unit *unit);
/* FIOABI_COMPLETED with the request's error set, FIOABI_QUEUED, or FIOABI_BUSY. */
int io_queue(struct job *job, const struct fioabi_layout *layout, struct fio_unit *unit);
/* Shows the device what has been queued. */
void io_commit(struct job *job);
/* Completes requests into job->events: at least `min` unless the time is over. */
int io_getevents(struct job *job, const struct fioabi_layout *layout, unsigned int min,
		 unsigned int max, const struct timespec *timeout);

#endif
