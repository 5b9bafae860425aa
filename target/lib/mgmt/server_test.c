/* SPDX-License-Identifier: BSD-3-Clause */
/* The server on a real socket; the clients run in the same thread, between rounds of its loop. */
#include "mgmt/testing.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#include "base/log.h"
#include "mgmt/mgmt.h"

#define DEADLINE_SECONDS 20
#define QUESTION	 "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"log_get_level\"}"
#define ANSWER		 "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"ERROR\"}\n"

static struct test_target target;
static struct mgmt *mgmt;
static char path[128];
static unsigned int shutdowns;

static void count_shutdown(void *arg)
{
	shutdowns++;
}

static int open_server(const char **ret_why)
{
	const struct mgmt_options opts = {
		.loop = target.loop,
		.target = target.target,
		.path = path,
		.shutdown = count_shutdown,
	};

	return mgmt_new(&opts, &mgmt, ret_why);
}

static int set_up(void **state)
{
	const char *reason;

	if (test_target_open(&target) != 0) {
		return -1;
	}
	snprintf(path, sizeof(path), "%s/rpc", target.dir);
	return open_server(&reason);
}

static int tear_down(void **state)
{
	mgmt_free(mgmt);
	mgmt = NULL;
	return test_target_close(&target);
}

static int dial(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	strcpy(addr.sun_path, path);
	assert_int_equal(connect(fd, (const struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

static void serve(void)
{
	loop_run_once(target.loop, 0);
}

static void check_deadline(time_t start)
{
	if (time(NULL) > start + DEADLINE_SECONDS) {
		fail_msg("no progress for %d seconds", DEADLINE_SECONDS);
	}
}

static void say(int fd, const char *text, size_t len)
{
	time_t start = time(NULL);

	while (len > 0) {
		ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

		if (n > 0) {
			text += n;
			len -= (size_t)n;
		}
		serve();
		check_deadline(start);
	}
}

static void expect(int fd, const char *text)
{
	time_t start = time(NULL);
	size_t len = strlen(text);
	char buf[4096];
	size_t got = 0;

	assert_true(len <= sizeof(buf));
	while (got < len) {
		ssize_t n = recv(fd, buf + got, len - got, 0);

		assert_true(n != 0);
		got += n > 0 ? (size_t)n : 0;
		serve();
		check_deadline(start);
	}
	assert_memory_equal(buf, text, len);
}

static void expect_end(int fd)
{
	time_t start = time(NULL);
	char buf[4096];

	for (;;) {
		ssize_t n = recv(fd, buf, sizeof(buf), 0);

		if (n == 0 || (n < 0 && errno != EAGAIN)) {
			close(fd);
			return;
		}
		serve();
		check_deadline(start);
	}
}

static void only_the_owner_may_connect(void **state)
{
	struct stat st;

	assert_int_equal(lstat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
}

static void requests_in_pieces_and_in_one(void **state)
{
	int fd = dial();

	for (size_t i = 0; i < strlen(QUESTION); i++) {
		say(fd, &QUESTION[i], 1);
	}
	expect(fd, ANSWER);
	say(fd, QUESTION QUESTION "\n" QUESTION, 3 * strlen(QUESTION) + 1);
	expect(fd, ANSWER ANSWER ANSWER);
	/* Half closed: the answer still comes. */
	say(fd, QUESTION, strlen(QUESTION));
	shutdown(fd, SHUT_WR);
	expect(fd, ANSWER);
	expect_end(fd);
}

static void rubbish_ends_the_connection_only(void **state)
{
	int other = dial();
	int fd = dial();

	say(fd, "GET / HTTP/1.1\r\n", 16);
	expect(fd, "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32700,");
	expect_end(fd);
	fd = dial();
	say(fd, "{\"a\" 1}", 7);
	expect(fd, "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32700,");
	close(fd);
	say(other, QUESTION, strlen(QUESTION));
	expect(other, ANSWER);
	close(other);
}

static void an_endless_request_is_cut_off(void **state)
{
	char *blank = malloc(2 << 20);
	int fd = dial();
	time_t start = time(NULL);
	size_t sent = 0;

	memset(blank, ' ', 2 << 20);
	blank[0] = '{';
	while (sent < 2 << 20) {
		ssize_t n = send(fd, blank + sent, (2 << 20) - sent, MSG_NOSIGNAL);

		if (n < 0 && errno != EAGAIN) {
			break; /* the server has hung up */
		}
		sent += n > 0 ? (size_t)n : 0;
		serve();
		check_deadline(start);
	}
	assert_true(sent < 2 << 20);
	close(fd);
	free(blank);
}

static void a_client_that_does_not_read_is_not_read(void **state)
{
	int fd = dial();
	int other = dial();
	unsigned int refused = 0;
	size_t sent = 0;

	/* The socket's own buffers and ours take some; then the server takes no more. */
	while (refused < 100) {
		ssize_t n = send(fd, QUESTION, strlen(QUESTION), MSG_NOSIGNAL);

		if (n > 0) {
			sent += (size_t)n;
			refused = 0;
			assert_true(sent < 64 << 20);
		} else {
			refused++;
		}
		serve();
	}
	say(other, QUESTION, strlen(QUESTION));
	expect(other, ANSWER);
	/* When it reads at last, everything is answered. */
	for (size_t i = 0; i < sent / strlen(QUESTION); i++) {
		expect(fd, ANSWER);
	}
	close(fd);
	close(other);
	serve();
}

static void clients_are_bounded(void **state)
{
	int fds[40];

	for (unsigned int i = 0; i < 40; i++) {
		fds[i] = dial();
		serve();
	}
	/* The newest works, the one that was silent longest was let go. */
	say(fds[39], QUESTION, strlen(QUESTION));
	expect(fds[39], ANSWER);
	expect_end(fds[0]);
	for (unsigned int i = 1; i < 40; i++) {
		close(fds[i]);
	}
	serve();
}

static void no_descriptors_left(void **state)
{
	struct rlimit usual;
	struct rlimit none;
	int fd = dial();
	unsigned int rounds = 0;
	clock_t cpu;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &usual), 0);
	none = usual;
	none.rlim_cur = 3;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	/* It waits before it tries again, it does not spin. */
	cpu = clock();
	for (; rounds < 5; rounds++) {
		loop_run_once(target.loop, 50);
	}
	assert_true(clock() - cpu < CLOCKS_PER_SEC / 10);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &usual), 0);
	say(fd, QUESTION, strlen(QUESTION));
	expect(fd, ANSWER);
	close(fd);
	serve();
}

static void shutdown_is_answered_first(void **state)
{
	int fd = dial();
	const char question[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"shutdown\"}";

	assert_int_equal(shutdowns, 0);
	say(fd, question, strlen(question));
	expect(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":true}\n");
	assert_int_equal(shutdowns, 1);
	close(fd);
	serve();
}

static void the_place_of_the_socket(void **state)
{
	struct mgmt *first = mgmt;
	const char *reason = "";
	char moved[128];
	struct stat st;
	int fd;

	assert_int_equal(open_server(&reason), -EADDRINUSE);
	assert_non_null(strstr(reason, "another process listens there"));
	mgmt_free(first);
	assert_int_equal(lstat(path, &st), -1);

	/* A file that is no socket stays. */
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	assert_int_equal(open_server(&reason), -EEXIST);
	assert_int_equal(lstat(path, &st), 0);
	unlink(path);

	/* A socket that nobody listens on is replaced. */
	assert_int_equal(open_server(&reason), 0);
	first = mgmt;
	snprintf(moved, sizeof(moved), "%s/moved", target.dir);
	assert_int_equal(rename(path, moved), 0);
	mgmt_free(first);
	assert_int_equal(rename(moved, path), 0);
	assert_int_equal(open_server(&reason), 0);
	fd = dial();
	say(fd, QUESTION, strlen(QUESTION));
	expect(fd, ANSWER);
	close(fd);

	/* Too long to be a socket's path. */
	memset(path + strlen(path), 'x', sizeof(path) - strlen(path) - 1);
	path[sizeof(path) - 1] = '\0';
	first = mgmt;
	assert_int_equal(open_server(&reason), -ENAMETOOLONG);
	mgmt = first;
}

#define with_server(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_server(only_the_owner_may_connect),
		with_server(requests_in_pieces_and_in_one),
		with_server(rubbish_ends_the_connection_only),
		with_server(an_endless_request_is_cut_off),
		with_server(a_client_that_does_not_read_is_not_read),
		with_server(clients_are_bounded),
		with_server(no_descriptors_left),
		with_server(shutdown_is_answered_first),
		with_server(the_place_of_the_socket),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests_name("mgmt.server", tests, NULL, NULL);
}
