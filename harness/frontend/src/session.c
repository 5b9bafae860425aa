/* SPDX-License-Identifier: BSD-3-Clause */
/* A connection: its beginning, its end, and beginning anew. */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

#define CONNECT_INTERVAL_NS (5 * 1000 * 1000)

int vfe_fail(struct vfe_session *session, int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(session->why, sizeof(session->why), format, args);
	va_end(args);
	return error;
}

const char *vfe_why(const struct vfe_session *session)
{
	return session->why;
}

static int connect_once(const char *path, int *ret_fd)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd;
	int r;

	if (strlen(path) >= sizeof(addr.sun_path)) {
		return -ENAMETOOLONG;
	}
	memcpy(addr.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		return -errno;
	}
	do {
		r = connect(fd, (struct sockaddr *)&addr, sizeof(addr));
	} while (r < 0 && errno == EINTR);
	if (r < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

/* A back-end that is starting has no socket yet, or one that nobody listens on. */
static int connect_within(const char *path, unsigned int timeout_ms, int *ret_fd)
{
	const struct timespec interval = { .tv_nsec = CONNECT_INTERVAL_NS };
	struct timespec now, begin;
	int r;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (;;) {
		r = connect_once(path, ret_fd);
		if (r != -ENOENT && r != -ECONNREFUSED) {
			return r;
		}
		clock_gettime(CLOCK_MONOTONIC, &now);
		if ((now.tv_sec - begin.tv_sec) * 1000 + (now.tv_nsec - begin.tv_nsec) / 1000000 >=
		    (long)timeout_ms) {
			return r;
		}
		nanosleep(&interval, NULL);
	}
}

static struct vfe_session *session_new(void)
{
	struct vfe_session *session = calloc(1, sizeof(*session));

	if (session != NULL) {
		session->fd = -1;
		session->backend_fd = -1;
		session->inflight.fd = -1;
		session->max_queues = 1;
	}
	return session;
}

int vfe_raw_session_new(uint64_t features, struct vfe_memory *memory,
			struct vfe_session **ret_session)
{
	struct vfe_session *session = session_new();

	if (session == NULL) {
		return -ENOMEM;
	}
	session->features = features;
	session->memory = memory;
	*ret_session = session;
	return 0;
}

static void note_connected(struct vfe_session *session)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	session->connected_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t vfe_raw_connected_ns(const struct vfe_session *session)
{
	return session->connected_ns;
}

int vfe_connect(const char *path, unsigned int timeout_ms, struct vfe_session **ret_session)
{
	struct vfe_session *session = session_new();
	int r;

	if (session == NULL) {
		return -ENOMEM;
	}
	session->timeout_ms = timeout_ms;
	session->path = strdup(path);
	r = session->path == NULL ? -ENOMEM : connect_within(path, timeout_ms, &session->fd);
	if (r < 0) {
		vfe_close(session);
		return r;
	}
	note_connected(session);
	*ret_session = session;
	return 0;
}

static int resume_queues(struct vfe_session *session)
{
	unsigned int i;
	int r = 0;

	for (i = 0; i < VFE_QUEUES_MAX && r == 0; i++) {
		if (session->queues[i] != NULL && session->queues[i]->running) {
			r = vfe_queue_resume(session->queues[i]);
		}
	}
	return r;
}

int vfe_reconnect(struct vfe_session *session)
{
	bool handed_back = session->inflight.fd >= 0;
	unsigned int i;
	int r;

	for (i = 0; i < VFE_QUEUES_MAX && !handed_back; i++) {
		if (session->queues[i] != NULL && session->queues[i]->inflight > 0) {
			return vfe_fail(session, -EBUSY, "requests are open and no in-flight area");
		}
	}
	vfe_disconnect(session);
	r = connect_within(session->path, session->timeout_ms, &session->fd);
	if (r < 0) {
		return vfe_fail(session, r, "cannot connect: %s", strerror(-r));
	}
	note_connected(session);
	r = vfe_negotiate_again(session);
	/* vhost-user, "Inflight I/O tracking": before any ring is set up. */
	if (r == 0 && handed_back) {
		r = vfe_inflight_set(session);
	}
	if (r == 0 && session->memory != NULL) {
		r = vfe_memory_show(session);
	}
	return r == 0 ? resume_queues(session) : r;
}

bool vfe_alive(struct vfe_session *session)
{
	struct pollfd p = { .fd = session->fd, .events = POLLIN };
	char byte;

	if (session->fd < 0) {
		return false;
	}
	if (poll(&p, 1, 0) <= 0) {
		return true;
	}
	if ((p.revents & (POLLHUP | POLLERR | POLLNVAL)) != 0) {
		return false;
	}
	return recv(session->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) != 0;
}

int vfe_socket(const struct vfe_session *session)
{
	return session->fd;
}

struct vfe_memory *vfe_session_memory(const struct vfe_session *session)
{
	return session->memory;
}

void vfe_disconnect(struct vfe_session *session)
{
	vfe_backend_channel_close(session);
	if (session->fd >= 0) {
		close(session->fd);
		session->fd = -1;
	}
}

void vfe_close(struct vfe_session *session)
{
	if (session == NULL) {
		return;
	}
	vfe_disconnect(session);
	vfe_inflight_drop(session);
	free(session->path);
	free(session);
}
