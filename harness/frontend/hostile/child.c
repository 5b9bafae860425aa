/* SPDX-License-Identifier: BSD-3-Clause */
#include "child.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* A build with sanitizers looks for leaks at its end. */
#define STOP_DEADLINE_S 30
#define INTERVAL_NS	5000000

pid_t child_start(char *const *command)
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* Standard output is the report. */
		dup2(STDERR_FILENO, STDOUT_FILENO);
		execvp(command[0], command);
		fprintf(stderr, "vhost-hostile: %s: %s\n", command[0], strerror(errno));
		_exit(127);
	}
	return pid < 0 ? -errno : pid;
}

static void describe(int status, char *ret_how, size_t how_len)
{
	if (WIFSIGNALED(status)) {
		snprintf(ret_how, how_len, "killed by signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
	} else {
		snprintf(ret_how, how_len, "exit status %d", WEXITSTATUS(status));
	}
}

bool child_ended(pid_t pid, char *ret_how, size_t how_len)
{
	int status;

	if (waitpid(pid, &status, WNOHANG) != pid) {
		return false;
	}
	describe(status, ret_how, how_len);
	return true;
}

bool child_stop(pid_t pid, char *ret_how, size_t how_len)
{
	const struct timespec interval = { .tv_nsec = INTERVAL_NS };
	struct timespec now, begin;
	int status;

	kill(pid, SIGTERM);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	while (waitpid(pid, &status, WNOHANG) == 0) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec - begin.tv_sec > STOP_DEADLINE_S) {
			kill(pid, SIGKILL);
			waitpid(pid, &status, 0);
			snprintf(ret_how, how_len, "SIGTERM did not end it");
			return false;
		}
		nanosleep(&interval, NULL);
	}
	describe(status, ret_how, how_len);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}
