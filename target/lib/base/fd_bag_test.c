/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/fd_bag.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"

#include <fcntl.h>
#include <netinet/in.h>

#define LINGER_S 1

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static void harmless_ones_are_closed_at_once(void **state)
{
	struct fd_bag bag = { 0 };
	int pipe_fds[2];
	int fds[3];
	int none = -1;

	assert_int_equal(pipe(pipe_fds), 0);
	fds[0] = eventfd(0, 0);
	fds[1] = memfd_create("test", 0);
	fds[2] = pipe_fds[0];
	fd_bag_put(&bag, &none);
	for (int i = 0; i < 3; i++) {
		int fd = fds[i];

		fd_bag_put(&bag, &fds[i]);
		assert_int_equal(fds[i], -1);
		assert_int_equal(is_open(fd), i == 2);
	}
	assert_int_equal(bag.n, 1);
	assert_int_equal(bag.fds[0], pipe_fds[0]);
	fd_bag_close(&bag);
	assert_false(is_open(pipe_fds[0]));
	assert_int_equal(bag.n, 0);
	fds[0] = pipe_fds[1];
	fd_bag_put(NULL, &fds[0]);
	assert_false(is_open(pipe_fds[1]));
}

/* A TCP connection whose close(2) waits for LINGER_S seconds. */
static int lingering_socket(int *ret_peer, int *ret_listener)
{
	const struct linger linger = { .l_onoff = 1, .l_linger = LINGER_S };
	struct sockaddr_in addr = { .sin_family = AF_INET };
	socklen_t len = sizeof(addr);
	static const char data[65536];
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&addr, &len), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	*ret_peer = accept(listener, NULL, NULL);
	*ret_listener = listener;
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
	while (send(fd, data, sizeof(data), MSG_DONTWAIT) > 0) {
	}
	return fd;
}

static bool closed;

static void note_closed(struct msg *msg)
{
	closed = true;
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void waiting_is_done_elsewhere(void **state)
{
	struct msg done = { .fn = note_closed };
	struct fd_bag bag = { 0 };
	struct loop *loop;
	double begin;
	int listener;
	int peer;
	int fd = lingering_socket(&peer, &listener);
	int other = dup(listener);

	assert_int_equal(loop_new(&loop), 0);
	fd_bag_put(&bag, &other);
	fd_bag_put(&bag, &fd);
	assert_int_equal(bag.n, 2);
	begin = now();
	assert_int_equal(fd_bag_close_apart(&bag, loop, &done), 0);
	assert_int_equal(bag.n, 0);
	assert_true(now() - begin < LINGER_S / 2.0);
	assert_int_equal(loop_run_once(loop, 0), 0);
	assert_false(closed);
	while (!closed) {
		assert_int_equal(loop_run_once(loop, 1000), 0);
	}
	assert_true(now() - begin > LINGER_S / 2.0);
	loop_free(loop);
	close(peer);
	close(listener);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(harmless_ones_are_closed_at_once),
		cmocka_unit_test(waiting_is_done_elsewhere),
	};

	return cmocka_run_group_tests_name("base.fd_bag", tests, NULL, NULL);
}
