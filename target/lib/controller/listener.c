/* SPDX-License-Identifier: BSD-3-Clause */
#include "controller/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/parcel.h"
#include "base/why.h"

/* One front-end is served at a time; a few more may wait for a busy one to go. */
#define BACKLOG 16
/* How long to wait for descriptors or memory to become free. */
#define RETRY_MS 100

int listener_path(const char *dir, const char *name, char **ret_path, const char **ret_why)
{
	const struct sockaddr_un *addr = NULL;
	const char *slash = "";
	char *path;

	if (dir == NULL) {
		dir = "";
	}
	if (dir[0] != '\0' && dir[strlen(dir) - 1] != '/') {
		slash = "/";
	}
	if (asprintf(&path, "%s%s%s", dir, slash, name) < 0) {
		*ret_why = why("out of memory");
		return -ENOMEM;
	}
	if (strlen(path) >= sizeof(addr->sun_path)) {
		*ret_why = why(
			"socket path %s is %zu bytes long, at most %zu are possible: use a shorter "
			"directory (-S) or Name",
			path, strlen(path), sizeof(addr->sun_path) - 1);
		free(path);
		return -ENAMETOOLONG;
	}
	*ret_path = path;
	return 0;
}

static void fill_address(struct sockaddr_un *addr, const char *path)
{
	memset(addr, 0, sizeof(*addr));
	addr->sun_family = AF_UNIX;
	memcpy(addr->sun_path, path, strlen(path)); /* length checked by listener_path() */
}

/*
 * Is the socket file a left-over? 0 if certainly nobody listens; -EADDRINUSE: a process does; another
 * negative errno: it cannot be told (a socket of another type, no right to connect).
 */
static int check_unused(const struct sockaddr_un *addr)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int r;

	if (fd < 0) {
		return -errno;
	}
	if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0 || errno == EAGAIN) {
		r = -EADDRINUSE;
	} else {
		r = errno == ECONNREFUSED || errno == ENOENT ? 0 : -errno;
	}
	fd_close(&fd);
	return r;
}

/* Makes room for our socket file. */
static int clear_path(const struct sockaddr_un *addr, const char *path, const char **ret_why)
{
	struct stat st;
	int r;

	if (lstat(path, &st) < 0) {
		if (errno == ENOENT) {
			return 0; /* or its directory is missing: bind() will say so */
		}
		r = -errno;
		*ret_why = why("cannot look at %s: %s", path, strerror(-r));
		return r;
	}
	if (!S_ISSOCK(st.st_mode)) {
		*ret_why =
			why("Cannot remove %s: not a socket. Move that file or choose another path",
			    path);
		return -EEXIST;
	}
	r = check_unused(addr);
	if (r == -EADDRINUSE) {
		*ret_why = why(
			"%s is in use: another process listens there. Stop it, or choose another path",
			path);
		return r;
	}
	if (r < 0) {
		*ret_why =
			why("%s may be in use: there is a socket, and connecting to it says '%s'. "
			    "Remove it, or choose another path",
			    path, strerror(-r));
		return r;
	}
	if (unlink(path) < 0) {
		r = -errno;
		*ret_why = why("cannot replace the old socket %s: %s", path, strerror(-r));
		return r;
	}
	return 0;
}

static int bind_path(struct listener *listener, const char *path, mode_t mode, const char **ret_why)
{
	struct sockaddr_un addr;
	struct stat st;
	int r;

	fill_address(&addr, path);
	r = clear_path(&addr, path, ret_why);
	if (r < 0) {
		return r;
	}
	listener->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* The mode of the socket object becomes that of its file (less the umask), so that the file is at
	 * no time wider open than it shall be; chmod() gives back what the umask took. */
	if (listener->fd < 0 || fchmod(listener->fd, mode) < 0 ||
	    bind(listener->fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0) {
		r = -errno;
		*ret_why = why("cannot create socket %s: %s%s", path, strerror(-r),
			       r == -EACCES || r == -EROFS ? "; -S chooses another directory" : "");
		return r;
	}
	listener->path = strdup(path);
	if (listener->path == NULL || lstat(path, &st) < 0 || chmod(path, mode) < 0 ||
	    listen(listener->fd, BACKLOG) < 0) {
		r = listener->path == NULL ? -ENOMEM : -errno;
		*ret_why = why("cannot listen on %s: %s", path, strerror(-r));
		unlink(path);
		return r;
	}
	listener->dev = st.st_dev;
	listener->ino = st.st_ino;
	return 0;
}

static int take_over(struct listener *listener, int fd, const char *name, const char **ret_why)
{
	int listening = 0;
	int domain = 0;
	int type = 0;
	socklen_t len = sizeof(int);

	listener->fd = fd;
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0 || !listening ||
	    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0 || domain != AF_UNIX ||
	    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_STREAM) {
		*ret_why = why("file descriptor %d for %s is not a listening UNIX socket of type "
			       "stream",
			       fd, name);
		return -EINVAL;
	}
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	return fd_set_nonblock(fd);
}

static void accept_again(void *arg)
{
	listener_pause(arg, false);
}

static void connection_waits(void *arg, uint32_t events)
{
	struct listener *listener = arg;

	listener->ready(listener->arg);
}

static int watch(struct listener *listener, struct loop *loop, const char *name, uint32_t events,
		 const char **ret_why)
{
	int r = loop_watch(loop, listener->fd, events, connection_waits, listener,
			   &listener->watch);

	if (r == 0) {
		r = loop_timer_new(loop, accept_again, listener, &listener->retry);
	}
	if (r < 0) {
		*ret_why = why("cannot watch %s: %s", name, strerror(-r));
	}
	return r;
}

int listener_open(struct listener *listener, struct loop *loop, const char *path, int fd,
		  mode_t mode, void (*ready)(void *arg), void *arg, const char **ret_why)
{
	int r;

	*listener = (struct listener){ .fd = -1, .ready = ready, .arg = arg };
	r = fd >= 0 ? take_over(listener, fd, path, ret_why) :
		      bind_path(listener, path, mode, ret_why);
	if (r == 0) {
		r = watch(listener, loop, path, EPOLLIN, ret_why);
	}
	if (r < 0) {
		listener_close(listener);
	}
	return r;
}

int listener_accept(struct listener *listener)
{
	int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	int r = fd < 0 ? -errno : fd;

	if (r == -EMFILE || r == -ENFILE || r == -ENOBUFS || r == -ENOMEM) {
		/* The connection stays in the backlog and would be reported again at once. */
		listener_pause(listener, true);
		loop_timer_set(listener->retry, RETRY_MS);
	}
	return r;
}

void listener_pause(struct listener *listener, bool paused)
{
	if (listener->watch != NULL) {
		loop_watch_set_events(listener->watch, paused ? 0 : EPOLLIN);
	}
}

void listener_close(struct listener *listener)
{
	struct stat st;

	loop_unwatch(listener->watch);
	listener->watch = NULL;
	loop_timer_free(listener->retry);
	listener->retry = NULL;
	if (listener->path != NULL) {
		if (!listener->shared && lstat(listener->path, &st) == 0 &&
		    st.st_dev == listener->dev && st.st_ino == listener->ino) {
			unlink(listener->path);
		}
		free(listener->path);
		listener->path = NULL;
	}
	if (listener->fd > 0) {
		fd_close(&listener->fd);
	}
}

/* ---- a planned hand-over ---- */

void listener_save(const struct listener *listener, struct parcel *parcel)
{
	parcel_put_fd(parcel, listener->fd);
	parcel_put_text(parcel, listener->path);
	parcel_put_u64(parcel, listener->dev);
	parcel_put_u64(parcel, listener->ino);
}

int listener_restore(struct listener *listener, struct loop *loop, struct parcel *parcel,
		     void (*ready)(void *arg), void *arg, const char **ret_why)
{
	int fd = parcel_get_fd(parcel);
	const char *path = parcel_get_text(parcel);
	int r;

	*listener = (struct listener){ .fd = fd, .shared = true, .ready = ready, .arg = arg };
	listener->dev = (dev_t)parcel_get_u64(parcel);
	listener->ino = (ino_t)parcel_get_u64(parcel);
	if (parcel->failed || fd < 0) {
		*ret_why = why("a listening socket that cannot be");
		r = -EPROTO;
	} else {
		r = take_over(listener, fd, path != NULL ? path : "a controller", ret_why);
	}
	if (r == 0 && path != NULL) {
		listener->path = strdup(path);
		if (listener->path == NULL) {
			*ret_why = why("out of memory");
			r = -ENOMEM;
		}
	}
	if (r == 0) {
		r = watch(listener, loop, path != NULL ? path : "a socket", 0, ret_why);
	}
	if (r < 0) {
		listener_close(listener);
	}
	return r;
}

void listener_release(struct listener *listener)
{
	listener->shared = false;
	listener_pause(listener, false);
}
