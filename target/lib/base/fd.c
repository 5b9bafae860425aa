/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
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

bool fd_is_regular_memory(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
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
