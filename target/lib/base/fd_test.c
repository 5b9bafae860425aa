/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"

static void closing(void **state)
{
	int fd = dup(STDIN_FILENO);
	int number = fd;

	errno = ENOTTY;
	fd_close(&fd);
	assert_int_equal(fd, -1);
	assert_int_equal(errno, ENOTTY);
	assert_int_equal(fcntl(number, F_GETFD), -1);
	errno = ENOTTY;
	fd_close(&fd); /* nothing to close is fine */
	assert_int_equal(errno, ENOTTY);
}

static void nonblocking(void **state)
{
	int fds[2];
	char c;

	assert_int_equal(pipe(fds), 0);
	assert_int_equal(fd_set_nonblock(fds[0]), 0);
	assert_int_equal(read(fds[0], &c, 1), -1);
	assert_int_equal(errno, EAGAIN);
	fd_close(&fds[0]);
	fd_close(&fds[1]);
	assert_int_equal(fd_set_nonblock(-1), -EBADF);
}

/* What a front-end may hand us instead of an eventfd or of memory. */
static void kinds(void **state)
{
	int pipe_fds[2], sockets[2];
	int event_fd = eventfd(0, 0);
	int memory = memfd_create("anon_inode:[eventfd]", 0);
	int others[6];

	assert_int_equal(pipe(pipe_fds), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
	assert_true(fd_is_eventfd(event_fd));
	assert_false(fd_is_local_memory(event_fd));
	assert_true(fd_is_shared_memory(memory));
	assert_true(fd_is_local_memory(memory));
	assert_false(fd_is_eventfd(memory));
	others[0] = pipe_fds[0];
	others[1] = sockets[0];
	others[2] = open("/", O_RDONLY | O_DIRECTORY);
	others[3] = open("/dev/null", O_RDWR);
	others[4] = timerfd_create(CLOCK_MONOTONIC, 0);
	others[5] = -1;
	for (int i = 0; i < 6; i++) {
		assert_true(i == 5 || others[i] >= 0);
		assert_false(fd_is_eventfd(others[i]));
		assert_false(fd_is_shared_memory(others[i]));
		fd_close(&others[i]);
	}
	fd_close(&event_fd);
	fd_close(&memory);
	fd_close(&pipe_fds[1]);
	fd_close(&sockets[1]);
}

static void a_full_eventfd_does_not_block(void **state)
{
	uint64_t value = UINT64_MAX - 1;
	int fd = eventfd(0, EFD_NONBLOCK);

	assert_int_equal(write(fd, &value, sizeof(value)), sizeof(value));
	assert_int_equal(eventfd_signal(fd), 0);
	eventfd_drain(fd);
	assert_int_equal(read(fd, &value, sizeof(value)), -1);
	assert_int_equal(errno, EAGAIN);
	eventfd_drain(fd); /* an empty one neither */
	assert_int_equal(eventfd_signal(fd), 0);
	assert_int_equal(eventfd_signal(fd), 0);
	assert_int_equal(read(fd, &value, sizeof(value)), sizeof(value));
	assert_int_equal(value, 2);
	fd_close(&fd);
	assert_int_equal(eventfd_signal(-1), -EBADF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(closing),
		cmocka_unit_test(nonblocking),
		cmocka_unit_test(kinds),
		cmocka_unit_test(a_full_eventfd_does_not_block),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
