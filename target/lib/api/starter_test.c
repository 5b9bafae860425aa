/* SPDX-License-Identifier: BSD-3-Clause */
/* A starter with shells for successors. Its processes become children of the test when they have lost their parents. */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "api/starter.h"

#define SHELL	   "/bin/sh"
#define LONGEST_MS 1000

static struct starter *starter;
static int ours; /* end of the socketpair whose other end the shell has */

static void new_starter(const char *script)
{
	static char *argv[4] = { "sh", "-c", NULL, NULL };

	free(argv[2]);
	argv[2] = strdup(script);
	assert_int_equal(starter_new(argv, &starter), 0);
}

static int start(const char *path, pid_t *ret_pid)
{
	int fds[2];
	int r;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	r = starter_start(starter, path, fds[1], ret_pid);
	close(fds[1]);
	ours = fds[0];
	return r;
}

/* What the shell writes to its only descriptor until it has ended. */
static const char *run(void)
{
	static char said[4096];
	size_t used = 0;
	pid_t pid;
	ssize_t n;

	assert_int_equal(start(SHELL, &pid), 0);
	assert_true(pid > 0);
	while ((n = read(ours, said + used, sizeof(said) - 1 - used)) > 0) {
		used += (size_t)n;
	}
	close(ours);
	said[used] = '\0';
	return said;
}

static int wait_status(void)
{
	int status = 0;
	int r;

	do {
		r = starter_wait(starter, LONGEST_MS, &status);
	} while (r == -EAGAIN);
	assert_int_equal(r, 0);
	return status;
}

/* Waits for the end of a process that has become ours. */
static void wait_for_orphan(pid_t pid)
{
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* The only child: of an earlier test, nothing is left. */
static pid_t starter_pid(void)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;
	pid_t found = 0;

	assert_non_null(dir);
	while ((entry = readdir(dir)) != NULL) {
		char path[300];
		char line[128] = "";
		char name[32];
		FILE *file;
		int parent = 0;

		snprintf(path, sizeof(path), "/proc/%s/stat", entry->d_name);
		file = fopen(path, "re");
		if (file == NULL) {
			continue;
		}
		if (fgets(line, sizeof(line), file) != NULL &&
		    sscanf(line, "%*d (%31[^)]) %*c %d", name, &parent) == 2 &&
		    parent == getpid() && strcmp(name, "vhost-starter") == 0) {
			found = found == 0 ? atoi(entry->d_name) : -1;
		}
		fclose(file);
	}
	closedir(dir);
	assert_true(found > 0);
	return found;
}

static void free_starter(void)
{
	pid_t pid = starter_pid();

	starter_free(starter);
	assert_int_equal(waitpid(pid, NULL, WNOHANG), pid); /* it has ended */
}

static void a_successor_has_one_descriptor(void **state)
{
	int more = dup(STDERR_FILENO); /* that is passed on */

	new_starter("echo $0 $VHOST_HANDOVER_FD >&3; exec ls /proc/self/fd >&3");
	/* The last one is what ls reads. */
	assert_string_equal(run(), "sh 3\n0\n1\n2\n3\n4\n");
	assert_int_equal(wait_status(), 0);
	free_starter();
	close(more);
}

/* Neither those that the starter blocks, nor SIGCHLD ignored. */
static void signals_are_as_before(void **state)
{
	char expected[128] = "";
	sigset_t blocked;
	sigset_t before;
	char line[128];
	FILE *file;

	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR1);
	sigprocmask(SIG_BLOCK, &blocked, &before);
	file = fopen("/proc/self/status", "re");
	while (fgets(line, sizeof(line), file) != NULL) {
		if (strncmp(line, "SigBlk:", 7) == 0) {
			memcpy(expected, line, sizeof(line));
		}
	}
	fclose(file);
	signal(SIGCHLD, SIG_IGN);
	new_starter("exec grep SigBlk /proc/self/status >&3");
	signal(SIGCHLD, SIG_DFL);
	sigprocmask(SIG_SETMASK, &before, NULL);
	assert_string_equal(run(), expected);
	assert_int_equal(wait_status(), 0);
	free_starter();
}

static void one_at_a_time(void **state)
{
	pid_t pid;
	int status;

	new_starter("exec sleep 1000");
	assert_int_equal(starter_signal(starter, SIGTERM), -ESRCH);
	assert_int_equal(starter_wait(starter, 0, &status), -ESRCH);
	assert_int_equal(start(SHELL, &pid), 0);
	close(ours);
	assert_int_equal(starter_wait(starter, 0, &status), -EAGAIN);
	assert_int_equal(starter_wait(starter, 10, &status), -EAGAIN);
	assert_int_equal(start(SHELL, &pid), -EBUSY);
	close(ours);
	assert_int_equal(starter_signal(starter, SIGSTOP), -EINVAL);
	assert_int_equal(starter_signal(starter, 0), -EINVAL);
	assert_int_equal(starter_signal(starter, SIGTERM), 0);
	assert_int_equal(wait_status(), SIGTERM);
	assert_int_equal(starter_signal(starter, SIGTERM), -ESRCH);
	/* And after one that nobody has waited for. */
	assert_int_equal(start(SHELL, &pid), 0);
	close(ours);
	assert_int_equal(starter_signal(starter, SIGKILL), 0);
	while (start(SHELL, &pid) == -EBUSY) {
		close(ours);
	}
	close(ours);
	assert_int_equal(starter_signal(starter, SIGKILL), 0);
	assert_int_equal(wait_status(), SIGKILL);
	free_starter();
}

static void what_cannot_be_started(void **state)
{
	pid_t pid;
	int status;

	new_starter("exit 3");
	assert_int_equal(start("bin/sh", &pid), -EINVAL);
	close(ours);
	assert_int_equal(start("/no/such", &pid), -ENOENT);
	close(ours);
	assert_int_equal(start("/etc/passwd", &pid), -EACCES);
	close(ours);
	assert_int_equal(starter_start(starter, SHELL, -1, &pid), -EINVAL);
	assert_int_equal(starter_wait(starter, LONGEST_MS + 1, &status), -EINVAL);
	assert_string_equal(run(), "");
	assert_int_equal(wait_status(), 3 << 8);
	free_starter();
}

static void its_end_leaves_the_successor_alone(void **state)
{
	pid_t pid;
	char byte;

	new_starter("read line <&3; echo >&3");
	assert_int_equal(start(SHELL, &pid), 0);
	free_starter();
	assert_int_equal(waitpid(pid, NULL, WNOHANG), 0); /* ours at once */
	assert_int_equal(write(ours, "\n", 1), 1);
	assert_int_equal(read(ours, &byte, 1), 1);
	close(ours);
	wait_for_orphan(pid);
}

static void signals_for_all_are_not_for_it(void **state)
{
	static const int numbers[] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGTSTP };

	new_starter("exit 3");
	assert_string_equal(run(), ""); /* it is there */
	assert_int_equal(wait_status(), 3 << 8);
	for (unsigned int i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		assert_int_equal(kill(starter_pid(), numbers[i]), 0);
	}
	assert_string_equal(run(), "");
	assert_int_equal(wait_status(), 3 << 8);
	free_starter();
}

static void one_that_is_dead(void **state)
{
	int status;
	pid_t pid;

	new_starter("exit 3");
	assert_string_equal(run(), "");
	assert_int_equal(wait_status(), 3 << 8);
	pid = starter_pid();
	assert_int_equal(kill(pid, SIGKILL), 0);
	wait_for_orphan(pid);
	for (unsigned int i = 0; i < 2; i++) {
		assert_int_equal(start(SHELL, &pid), -ENOTCONN);
		close(ours);
		assert_int_equal(starter_signal(starter, SIGKILL), -ENOTCONN);
		assert_int_equal(starter_wait(starter, 0, &status), -ENOTCONN);
	}
	starter_free(starter);
	starter_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_successor_has_one_descriptor),
		cmocka_unit_test(signals_are_as_before),
		cmocka_unit_test(one_at_a_time),
		cmocka_unit_test(what_cannot_be_started),
		cmocka_unit_test(its_end_leaves_the_successor_alone),
		cmocka_unit_test(signals_for_all_are_not_for_it),
		cmocka_unit_test(one_that_is_dead),
	};

	if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0) {
		return EXIT_FAILURE;
	}
	return cmocka_run_group_tests_name("api.starter", tests, NULL, NULL);
}
