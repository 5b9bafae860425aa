/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void fd_close(int *fd)
{
	int saved_errno = errno;

	if (*fd >= 0) {
		/* Linux has released the descriptor even when close() says EINTR: never try again. */
		close(*fd);
		*fd = -1;
	}
	errno = saved_errno;
}

int fd_set_nonblock(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
		return -errno;
	}
	return 0;
}

bool fd_is_eventfd(int fd)
{
	static const char expected[] = "anon_inode:[eventfd]";
	char path[64];
	char target[sizeof(expected) + 1];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, target, sizeof(target));
	return n == (ssize_t)sizeof(expected) - 1 && memcmp(target, expected, (size_t)n) == 0;
}

bool fd_is_shared_memory(int fd)
{
	/* Only these kinds have seals, and the question disturbs nobody. */
	return fcntl(fd, F_GET_SEALS) >= 0;
}

/* The number behind "mnt_id:". -1: none. */
static long mount_of(int fd)
{
	char line[128];
	long id = -1;
	FILE *file;

	snprintf(line, sizeof(line), "/proc/self/fdinfo/%d", fd);
	file = fopen(line, "re");
	if (file == NULL) {
		return -1;
	}
	while (id < 0 && fgets(line, sizeof(line), file) != NULL) {
		if (strncmp(line, "mnt_id:", strlen("mnt_id:")) == 0) {
			id = strtol(line + strlen("mnt_id:"), NULL, 10);
		}
	}
	fclose(file);
	return id;
}

/* Of those known to keep their data on disks of this machine. */
static bool is_local_type(const char *type)
{
	static const char *const types[] = { "tmpfs",	 "hugetlbfs", "ext2",	 "ext3",
					     "ext4",	 "xfs",	      "btrfs",	 "f2fs",
					     "bcachefs", "zfs",	      "overlay", "ramfs" };
	size_t i;

	for (i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (strcmp(type, types[i]) == 0) {
			return true;
		}
	}
	return false;
}

/* mountinfo: "<id> <parent> <device> <root> <place> <options> [<more>...] - <type> <source> ..." */
static bool is_local_mount(long id)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	char *line = NULL;
	size_t room = 0;
	bool yes = false;

	if (file == NULL) {
		return false;
	}
	while (getline(&line, &room, file) > 0) {
		const char *type = strstr(line, " - ");
		char name[32];

		if (strtol(line, NULL, 10) == id && type != NULL &&
		    sscanf(type, " - %31s", name) == 1) {
			yes = is_local_type(name);
			break;
		}
	}
	free(line);
	fclose(file);
	return yes;
}

bool fd_is_local_memory(int fd)
{
	long id;

	if (fd_is_shared_memory(fd)) {
		return true;
	}
	/* fstat() and fstatfs() ask the server of the file; the tables of /proc do not. */
	id = mount_of(fd);
	return id >= 0 && is_local_mount(id);
}

int eventfd_signal(int fd)
{
	uint64_t one = 1;

	while (write(fd, &one, sizeof(one)) < 0) {
		if (errno == EAGAIN) {
			return 0; /* the counter is full: the reader has been told often enough */
		}
		if (errno != EINTR) {
			return -errno;
		}
	}
	return 0;
}

void eventfd_drain(int fd)
{
	uint64_t count;

	/* One read takes the whole counter; the fd does not block. */
	while (read(fd, &count, sizeof(count)) < 0 && errno == EINTR) {
	}
}
