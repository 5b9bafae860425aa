/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: a listening UNIX socket, of one controller or of management: its path, its file, its watch.
 * The target is always the server. Owner: control thread.
 */
#ifndef VHT_CONTROLLER_LISTENER_H
#define VHT_CONTROLLER_LISTENER_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/loop.h"

struct parcel;

struct listener {
	/* private: */
	char *path; /* NULL: the socket was handed in, its file is not ours */
	int fd;
	struct loop_watch *watch;
	struct loop_timer *retry;
	bool shared; /* with another process, which may go on with it: its file stays */
	dev_t dev;   /* identity of our socket file: somebody else's is not unlinked */
	ino_t ino;
	void (*ready)(void *arg);
	void *arg;
};

/*
 * Joins dir and name, and checks the length. -ENAMETOOLONG. The result is the caller's to free().
 */
int listener_path(const char *dir, const char *name, char **ret_path, const char **ret_why);

/*
 * Binds and listens at path; its file has the mode at all times. A socket file that certainly nobody
 * listens on is replaced; -EADDRINUSE: a process listens there; -EEXIST: it is not a socket; or errno
 * of the system call.
 * ready() is called whenever a connection waits. fd >= 0: a listening socket to take over (path then
 * only names it). On failure nothing is left behind and fd is closed.
 */
int listener_open(struct listener *listener, struct loop *loop, const char *path, int fd,
		  mode_t mode, void (*ready)(void *arg), void *arg, const char **ret_why);
/* The waiting connection as a non-blocking fd, or a negative errno (-EAGAIN: none). When descriptors or
 * memory have run out, ready() comes again after a while. */
int listener_accept(struct listener *listener);
/* While paused, connections wait in the backlog. */
void listener_pause(struct listener *listener, bool paused);
/*
 * A planned hand-over: packs it; the mirror makes one that is paused and shared, until it is released. On failure
 * nothing is left behind.
 */
void listener_save(const struct listener *listener, struct parcel *parcel);
int listener_restore(struct listener *listener, struct loop *loop, struct parcel *parcel,
		     void (*ready)(void *arg), void *arg, const char **ret_why);
void listener_release(struct listener *listener);
/* Closes and unlinks. A zeroed or closed listener is fine. */
void listener_close(struct listener *listener);

#endif
