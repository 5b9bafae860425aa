/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts
 *   bag   descriptors that came from somebody else and are to be closed. That may take as long as their
 *         sender likes: a TCP socket lingers, a file of a FUSE file system asks its server, a UNIX socket
 *         closes what is in its queue. So the thread that received them does not do it.
 *
 * Eventfds and memory (memfd, tmpfs, hugetlbfs) wait for nobody: they are closed when they are put in.
 */
#ifndef VHT_BASE_FD_BAG_H
#define VHT_BASE_FD_BAG_H

#include "base/loop.h"
#include "base/msgq.h"

/* All that one read(2) of a UNIX socket can bring, and a few more. */
#define FD_BAG_MAX 288

struct fd_bag {
	unsigned int n;
	int fds[FD_BAG_MAX];
};

/* Takes *fd over, sets it to -1. A negative *fd is nothing. bag NULL: closes it here and now. */
void fd_bag_put(struct fd_bag *bag, int *fd);
/* Closes all of them here and now. */
void fd_bag_close(struct fd_bag *bag);
/*
 * Leaves all of them to a thread of their own. When they are closed and the thread is over, `done` is
 * called by the loop, on whose thread this is called, too. The bag is empty afterwards. Negative errno:
 * there is no thread; nothing has changed.
 */
int fd_bag_close_apart(struct fd_bag *bag, struct loop *loop, struct msg *done);

#endif
