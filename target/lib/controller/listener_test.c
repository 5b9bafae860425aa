/* SPDX-License-Identifier: BSD-3-Clause */
#include "controller/listener.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
	char dir[64];
	char path[80];
	struct loop *loop;
	struct listener listener;
	int ready;
	const char *why;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	strcpy(f->dir, "/tmp/listener.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/vhost.0", f->dir);
	assert_int_equal(loop_new(&f->loop), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	listener_close(&f->listener);
	loop_free(f->loop);
	unlink(f->path);
	assert_int_equal(rmdir(f->dir), 0); /* nothing was left behind */
	free(f);
	return 0;
}

static void count_ready(void *arg)
{
	struct fixture *f = arg;

	f->ready++;
}

static int open_here(struct fixture *f)
{
	return listener_open(&f->listener, f->loop, f->path, -1, 0660, count_ready, f, &f->why);
}

static int connect_to(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(addr.sun_path, path);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

static void paths_are_joined(void **state)
{
	static const struct {
		const char *dir, *name, *expect;
	} cases[] = {
		{ NULL, "vhost.0", "vhost.0" },
		{ "", "vhost.0", "vhost.0" },
		{ "/run", "vhost.0", "/run/vhost.0" },
		{ "/run/", "vhost.0", "/run/vhost.0" },
	};
	const char *reason = NULL;
	char long_name[200];
	char *path;
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(listener_path(cases[i].dir, cases[i].name, &path, &reason), 0);
		assert_string_equal(path, cases[i].expect);
		free(path);
	}
	memset(long_name, 'x', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	assert_int_equal(listener_path("/run", long_name, &path, &reason), -ENAMETOOLONG);
	assert_non_null(strstr(reason, "at most 107"));
	long_name[107] = '\0';
	assert_int_equal(listener_path(NULL, long_name, &path, &reason), 0);
	free(path);
}

static void listens_with_mode_0660(void **state)
{
	struct fixture *f = *state;
	mode_t mask = umask(077);
	struct stat st;
	int client;
	int fd;

	assert_int_equal(open_here(f), 0);
	umask(mask);
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0660);
	assert_int_equal(listener_accept(&f->listener), -EAGAIN);
	client = connect_to(f->path);
	assert_int_equal(loop_run_once(f->loop, 1000), 0);
	assert_int_equal(f->ready, 1);
	fd = listener_accept(&f->listener);
	assert_true(fd >= 0);
	close(fd);
	close(client);
	listener_close(&f->listener);
	assert_int_equal(access(f->path, F_OK), -1);
}

static void paused_leaves_connections_waiting(void **state)
{
	struct fixture *f = *state;
	int client;

	assert_int_equal(open_here(f), 0);
	listener_pause(&f->listener, true);
	client = connect_to(f->path);
	assert_int_equal(loop_run_once(f->loop, 20), 0);
	assert_int_equal(f->ready, 0);
	listener_pause(&f->listener, false);
	assert_int_equal(loop_run_once(f->loop, 1000), 0);
	assert_int_equal(f->ready, 1);
	close(client);
}

/* Without free descriptors a connection waits, and does not keep the loop busy. */
static void waits_for_descriptors(void **state)
{
	struct fixture *f = *state;
	struct rlimit limit;
	struct rlimit none;
	int client;
	int fd;

	assert_int_equal(open_here(f), 0);
	client = connect_to(f->path);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = limit;
	none.rlim_cur = 3;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(loop_run_once(f->loop, 1000), 0);
	assert_int_equal(f->ready, 1);
	fd = listener_accept(&f->listener);
	assert_int_equal(loop_run_once(f->loop, 0), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(fd, -EMFILE);
	assert_int_equal(f->ready, 1);
	while (f->ready == 1) {
		assert_int_equal(loop_run_once(f->loop, 1000), 0);
	}
	fd = listener_accept(&f->listener);
	assert_true(fd >= 0);
	close(fd);
	close(client);
}

static void stale_socket_is_replaced(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(addr.sun_path, f->path);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	close(fd); /* its file stays: what a killed daemon leaves */
	assert_int_equal(open_here(f), 0);
	close(connect_to(f->path));
}

static void live_socket_is_left_alone(void **state)
{
	struct fixture *f = *state;
	struct listener second;

	assert_int_equal(open_here(f), 0);
	assert_int_equal(listener_open(&second, f->loop, f->path, -1, 0660, count_ready, f,
				       &f->why),
			 -EADDRINUSE);
	assert_non_null(strstr(f->why, "another process listens"));
	close(connect_to(f->path)); /* the first one still serves */
}

/* Sockets of other types have owners too, who would no longer be found. */
static void sockets_of_other_types_are_left_alone(void **state)
{
	static const int types[] = { SOCK_DGRAM, SOCK_SEQPACKET };
	struct fixture *f = *state;
	size_t i;

	for (i = 0; i < 2; i++) {
		struct sockaddr_un addr = { .sun_family = AF_UNIX };
		int fd = socket(AF_UNIX, types[i] | SOCK_CLOEXEC, 0);
		struct stat before;
		struct stat now;

		strcpy(addr.sun_path, f->path);
		assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
		assert_int_equal(stat(f->path, &before), 0);
		assert_int_equal(open_here(f), -EPROTOTYPE);
		assert_non_null(strstr(f->why, "may be in use"));
		assert_int_equal(stat(f->path, &now), 0);
		assert_true(now.st_ino == before.st_ino);
		close(fd);
		unlink(f->path);
	}
}

static void other_files_are_left_alone(void **state)
{
	struct fixture *f = *state;
	FILE *file = fopen(f->path, "w");

	fclose(file);
	assert_int_equal(open_here(f), -EEXIST);
	assert_non_null(strstr(f->why, "not a socket"));
	assert_int_equal(access(f->path, F_OK), 0);
}

static void missing_directory_is_named(void **state)
{
	struct fixture *f = *state;
	char path[100];

	snprintf(path, sizeof(path), "%s/none/vhost.0", f->dir);
	assert_int_equal(listener_open(&f->listener, f->loop, path, -1, 0660, count_ready, f,
				       &f->why),
			 -ENOENT);
	assert_non_null(strstr(f->why, path));
}

static void somebody_elses_file_is_not_unlinked(void **state)
{
	struct fixture *f = *state;
	FILE *file;

	assert_int_equal(open_here(f), 0);
	assert_int_equal(unlink(f->path), 0);
	file = fopen(f->path, "w");
	fclose(file);
	listener_close(&f->listener);
	assert_int_equal(access(f->path, F_OK), 0);
}

static void takes_over_a_listening_fd(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	int client;

	strcpy(addr.sun_path, f->path);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(listener_open(&f->listener, f->loop, "vhost.0", fd, 0660, count_ready, f,
				       &f->why),
			 0);
	client = connect_to(f->path);
	assert_int_equal(loop_run_once(f->loop, 1000), 0);
	assert_int_equal(f->ready, 1);
	close(client);
	listener_close(&f->listener);
	assert_int_equal(access(f->path, F_OK), 0); /* whoever made it removes it */
}

static void refuses_an_fd_that_does_not_listen(void **state)
{
	struct fixture *f = *state;
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	assert_int_equal(listener_open(&f->listener, f->loop, "vhost.0", fds[0], 0660, count_ready,
				       f, &f->why),
			 -EINVAL);
	assert_non_null(strstr(f->why, "not a listening UNIX socket"));
	close(fds[1]);
}

/* It would deliver messages in pieces that are not those of the protocol. */
static void refuses_an_fd_of_another_type(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);

	strcpy(addr.sun_path, f->path);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(listener_open(&f->listener, f->loop, "vhost.0", fd, 0660, count_ready, f,
				       &f->why),
			 -EINVAL);
	assert_non_null(strstr(f->why, "not a listening UNIX socket"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(paths_are_joined, setup, teardown),
		cmocka_unit_test_setup_teardown(listens_with_mode_0660, setup, teardown),
		cmocka_unit_test_setup_teardown(paused_leaves_connections_waiting, setup, teardown),
		cmocka_unit_test_setup_teardown(waits_for_descriptors, setup, teardown),
		cmocka_unit_test_setup_teardown(stale_socket_is_replaced, setup, teardown),
		cmocka_unit_test_setup_teardown(live_socket_is_left_alone, setup, teardown),
		cmocka_unit_test_setup_teardown(sockets_of_other_types_are_left_alone, setup,
						teardown),
		cmocka_unit_test_setup_teardown(other_files_are_left_alone, setup, teardown),
		cmocka_unit_test_setup_teardown(missing_directory_is_named, setup, teardown),
		cmocka_unit_test_setup_teardown(somebody_elses_file_is_not_unlinked, setup,
						teardown),
		cmocka_unit_test_setup_teardown(takes_over_a_listening_fd, setup, teardown),
		cmocka_unit_test_setup_teardown(refuses_an_fd_that_does_not_listen, setup,
						teardown),
		cmocka_unit_test_setup_teardown(refuses_an_fd_of_another_type, setup, teardown),
	};

	return cmocka_run_group_tests_name("controller.listener", tests, NULL, NULL);
}
