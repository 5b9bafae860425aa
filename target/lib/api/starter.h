/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts
 *   starter  a small process beside the target, forked before that gives up rights (base/confine.h) and opens anything. It does for a
 *            planned hand-over what the target may not: it starts a successor, ends it, and says how it ended. It has
 *            the standard descriptors and one end of a socketpair, no more; at the end of that it ends.
 *
 * What can be asked of it is little: start a program by its absolute path, with the command line it was forked with and one
 * descriptor; signal, and wait for, the one process it started last. Whoever has taken the target over can have a program
 * started that he can write, with the rights that the target had at its start: a target without a starter hands over
 * to nobody.
 *
 * Owner: the control thread. Each call waits for an answer, for a bounded time; after one that does not come
 * all calls fail with -ENOTCONN.
 */
#ifndef VHT_API_STARTER_H
#define VHT_API_STARTER_H

#include <sys/types.h>

struct starter;

/* argv: of each successor; stays the caller's. Before there are threads. */
int starter_new(char *const *argv, struct starter **ret_starter);
/* The process ends; one that it has started does not, and is the child of another afterwards: whoever looks after a
 * successor finds it there when the target has ended. NULL is fine. */
void starter_free(struct starter *starter);

/* fd is what the successor is told on. -EBUSY: the last one has not ended. */
int starter_start(struct starter *starter, const char *path, int fd, pid_t *ret_pid);
/* SIGTERM or SIGKILL. -ESRCH: there is none. */
int starter_signal(struct starter *starter, int number);
/* 0: it has ended, *ret_status is as of waitpid(2). -EAGAIN: not yet, although so long was waited. */
int starter_wait(struct starter *starter, unsigned int limit_ms, int *ret_status);

#endif
