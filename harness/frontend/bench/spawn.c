/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "spawn_private.h"

#define START_DEADLINE_NS 60000000000u
#define STOP_DEADLINE_NS  60000000000u
/* Of the flags in /proc/net/unix: the socket accepts connections. */
#define SOCKET_LISTENS 0x10000
#define INTERVAL_NS    5000000

static void run_child(const struct spawned *s, int cpu)
{
	int log = open(s->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	cpu_set_t set;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (cpu >= 0) {
		CPU_ZERO(&set);
		CPU_SET(cpu, &set);
		sched_setaffinity(0, sizeof(set), &set);
	}
	dup2(log, STDOUT_FILENO);
	dup2(log, STDERR_FILENO);
	execvp(s->args[0], s->args);
	fprintf(stderr, "%s: %s\n", s->args[0], strerror(errno));
	_exit(127);
}

/*
 * Seen from outside: a connection just to see would be a session to the target, and one that serves a single front-end
 * might turn the next one away.
 */
static bool listens(const char *path)
{
	FILE *f = fopen("/proc/net/unix", "re");
	size_t len = strlen(path);
	unsigned int flags;
	bool found = false;
	char line[512];

	while (f != NULL && !found && fgets(line, sizeof(line), f) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		found = strlen(line) > len && strcmp(line + strlen(line) - len, path) == 0 &&
			sscanf(line, "%*s %*s %*s %x", &flags) == 1 &&
			(flags & SOCKET_LISTENS) != 0;
	}
	if (f != NULL) {
		fclose(f);
	}
	return found;
}

/* `what`, and the last lines that the target wrote. */
static void tell_log(const struct spawned *s, const char *what, char *ret_why, size_t why_len)
{
	int n = snprintf(ret_why, why_len, "%s: ", what);
	FILE *f = fopen(s->log, "re");

	if (f != NULL && n > 0 && (size_t)n < why_len) {
		if (fseek(f, -(long)(why_len - (size_t)n) + 1, SEEK_END) < 0) {
			rewind(f);
		}
		ret_why[(size_t)n + fread(ret_why + n, 1, why_len - (size_t)n - 1, f)] = '\0';
	}
	if (f != NULL) {
		fclose(f);
	}
}

static int wait_listening(struct spawned *s, char *ret_why, size_t why_len)
{
	const struct timespec interval = { .tv_nsec = INTERVAL_NS };
	uint64_t begin = clock_ns();

	while (!listens(s->socket)) {
		if (waitpid(s->pid, NULL, WNOHANG) == s->pid) {
			s->pid = -1;
			tell_log(s, "the target did not start", ret_why, why_len);
			return -ECHILD;
		}
		if (clock_ns() - begin > START_DEADLINE_NS) {
			tell_log(s, "the target did not start", ret_why, why_len);
			return -ETIMEDOUT;
		}
		nanosleep(&interval, NULL);
	}
	return 0;
}

int spawn_start(const struct spawn_config *config, const char *what, struct spawned **ret_spawned,
		char *ret_why, size_t why_len)
{
	const char *tmp = getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp";
	struct spawned *s = calloc(1, sizeof(*s));
	int r;

	if (s == NULL) {
		return -ENOMEM;
	}
	s->pid = -1;
	snprintf(s->dir, sizeof(s->dir), "%.80s/vhost-bench-XXXXXX", tmp);
	if (mkdtemp(s->dir) == NULL) {
		r = -errno;
		snprintf(ret_why, why_len, "%s: %s", s->dir, strerror(errno));
		free(s);
		return r;
	}
	snprintf(s->socket, sizeof(s->socket), "%.100s/sock", s->dir);
	snprintf(s->conf, sizeof(s->conf), "%.100s/conf", s->dir);
	snprintf(s->log, sizeof(s->log), "%.100s/log", s->dir);
	r = spawn_prepare(s, config, what, ret_why, why_len);
	if (r == 0) {
		s->pid = fork();
		if (s->pid == 0) {
			run_child(s, config->cpu);
		}
		r = s->pid < 0 ? -errno : wait_listening(s, ret_why, why_len);
	}
	if (r < 0) {
		spawn_stop(s);
		return r;
	}
	*ret_spawned = s;
	return 0;
}

const char *spawn_socket(const struct spawned *spawned)
{
	return spawned->socket;
}

pid_t spawn_pid(const struct spawned *spawned)
{
	return spawned->pid;
}

static int wait_end(pid_t pid)
{
	const struct timespec interval = { .tv_nsec = INTERVAL_NS };
	uint64_t begin = clock_ns();
	int status;

	while (waitpid(pid, &status, WNOHANG) == 0) {
		if (clock_ns() - begin > STOP_DEADLINE_NS) {
			kill(pid, SIGKILL);
			waitpid(pid, &status, 0);
			return -ETIMEDOUT;
		}
		nanosleep(&interval, NULL);
	}
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -ECHILD;
}

int spawn_stop(struct spawned *spawned)
{
	char why[1024];
	int r = 0;

	if (spawned == NULL) {
		return 0;
	}
	if (spawned->pid > 0) {
		kill(spawned->pid, SIGCONT);
		kill(spawned->pid, SIGTERM);
		r = wait_end(spawned->pid);
	}
	if (r < 0) {
		tell_log(spawned, "the target did not end well", why, sizeof(why));
		fprintf(stderr, "vhost-bench: %s\n", why);
	}
	unlink(spawned->socket);
	unlink(spawned->conf);
	unlink(spawned->log);
	rmdir(spawned->dir);
	free(spawned);
	return r;
}
