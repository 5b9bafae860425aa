/* SPDX-License-Identifier: BSD-3-Clause */
#include "watch.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "vhost_frontend/frontend.h"

#define INTERVAL_NS 2000000
#define SETTLED	    50 /* intervals without a change */
/* What the library calls the files behind guest memory. */
#define GUEST_FILE "/memfd:guest"

int watch_find(struct watch *watch, const char *socket, unsigned int timeout_ms)
{
	struct vfe_session *session;
	struct ucred who;
	socklen_t len = sizeof(who);
	int r = vfe_connect(socket, timeout_ms, &session);

	if (r < 0) {
		return r;
	}
	/* Of a connection: whoever called listen(). */
	if (getsockopt(vfe_socket(session), SOL_SOCKET, SO_PEERCRED, &who, &len) < 0) {
		r = -errno;
	} else {
		*watch = (struct watch){ .pid = who.pid };
	}
	vfe_close(session);
	return r;
}

/* -1: not to be read. */
static int count_fds(pid_t pid)
{
	char path[64];
	struct dirent *entry;
	int n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	if (dir == NULL) {
		return -1;
	}
	while ((entry = readdir(dir)) != NULL) {
		n += isdigit((unsigned char)entry->d_name[0]) != 0;
	}
	closedir(dir);
	return n;
}

static int count_mappings(pid_t pid)
{
	char line[512];
	int n = 0;
	FILE *f;

	snprintf(line, sizeof(line), "/proc/%d/maps", (int)pid);
	f = fopen(line, "re");
	if (f == NULL) {
		return -1;
	}
	while (fgets(line, sizeof(line), f) != NULL) {
		n += strstr(line, GUEST_FILE) != NULL;
	}
	fclose(f);
	return n;
}

static void count(struct watch *watch, int *ret_fds, int *ret_mappings)
{
	*ret_fds = count_fds(watch->pid);
	*ret_mappings = count_mappings(watch->pid);
	watch->readable = *ret_fds > 0 && *ret_mappings >= 0;
}

void watch_take_baseline(struct watch *watch)
{
	const struct timespec interval = { .tv_nsec = INTERVAL_NS };
	unsigned int same = 0;
	int fds, mappings;

	/* The session before is cleared away after its front-end has gone: when nothing moves any more. */
	count(watch, &watch->fds, &watch->mappings);
	while (watch->readable && same < SETTLED) {
		nanosleep(&interval, NULL);
		count(watch, &fds, &mappings);
		same = fds == watch->fds && mappings == watch->mappings ? same + 1 : 0;
		watch->fds = fds;
		watch->mappings = mappings;
	}
}

bool watch_alive(const struct watch *watch)
{
	char path[64];
	char state = 'X';
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)watch->pid);
	f = fopen(path, "re");
	if (f == NULL) {
		return false;
	}
	if (fscanf(f, "%*d (%*[^)]) %c", &state) != 1) {
		state = 'X';
	}
	fclose(f);
	return state != 'Z' && state != 'X';
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

bool watch_expect_baseline(struct watch *watch, unsigned int timeout_ms, char *ret_why,
			   size_t why_len)
{
	const struct timespec interval = { .tv_nsec = INTERVAL_NS };
	uint64_t deadline = now_ms() + timeout_ms;

	while (watch->readable) {
		int fds, mappings;

		count(watch, &fds, &mappings);
		if (fds <= watch->fds && mappings <= watch->mappings) {
			/* Fewer: something of before was still there when the baseline was taken. */
			watch->fds = fds;
			watch->mappings = mappings;
			break;
		}
		if (now_ms() > deadline) {
			snprintf(
				ret_why, why_len,
				"%d open descriptors (were %d), %d mappings of guest memory (were %d)",
				fds, watch->fds, mappings, watch->mappings);
			return false;
		}
		nanosleep(&interval, NULL);
	}
	return true;
}
