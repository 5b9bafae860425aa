/* SPDX-License-Identifier: BSD-3-Clause */
#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"

#define START_DEADLINE_NS 60000000000u
#define STOP_DEADLINE_NS  60000000000u
#define INTERVAL_NS	  5000000
#define ARGS_MAX	  48

struct spawned {
	pid_t pid;
	char dir[128];
	char socket[160];
	char conf[160];
	char log[160];
	char text[8][512]; /* arguments that were put together */
	unsigned int text_n;
	char *args[ARGS_MAX];
	unsigned int arg_n;
};

static void arg(struct spawned *s, const char *value)
{
	if (s->arg_n < ARGS_MAX - 1) {
		s->args[s->arg_n++] = (char *)(uintptr_t)value;
	}
}

__attribute__((format(printf, 2, 3))) static void arg_text(struct spawned *s, const char *format,
							   ...)
{
	char *room = s->text[s->text_n++];
	va_list args;

	va_start(args, format);
	vsnprintf(room, sizeof(s->text[0]), format, args);
	va_end(args);
	arg(s, room);
}

/* ---- our daemon ---- */

static const char *find_program(const struct spawn_config *config)
{
	static char path[4096];
	static const char *const beside[] = { "../../../target/app/vhost/vhost",
					      "../../target/app/vhost/vhost" };
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 64);
	char *slash;
	unsigned int i;

	if (config->program != NULL) {
		return config->program;
	}
	if (getenv("VHOST_BINARY") != NULL) {
		return getenv("VHOST_BINARY");
	}
	if (n > 0) {
		path[n] = '\0';
		slash = strrchr(path, '/');
		for (i = 0; i < sizeof(beside) / sizeof(beside[0]); i++) {
			strcpy(slash + 1, beside[i]);
			if (access(path, X_OK) == 0) {
				return path;
			}
		}
	}
	return "vhost";
}

static int write_conf(const struct spawned *s, const struct spawn_config *config, const char *bdev)
{
	FILE *f = fopen(s->conf, "we");
	const char *name = "Null0";

	if (f == NULL) {
		return -errno;
	}
	fprintf(f, "[Global]\n  ReactorMask [%d]\n[Rpc]\n  Enable No\n",
		config->cpu < 0 ? 0 : config->cpu);
	if (strcmp(bdev, "null") == 0) {
		fprintf(f, "[Null]\n  Dev Null0 %llu\n", (unsigned long long)config->size_mb);
	} else if (strcmp(bdev, "malloc") == 0) {
		name = "Malloc0";
		fprintf(f, "[Malloc]\n  NumberOfLuns 1\n  LunSizeInMB %llu\n",
			(unsigned long long)config->size_mb);
	} else {
		name = "AIO0";
		fprintf(f, "[AIO]\n  AIO \"%s\" AIO0\n", config->file);
	}
	fprintf(f, "[%s0]\n  Name sock\n  Dev %s%s\n  Queues %u\n",
		config->scsi ? "VhostScsi" : "VhostBlk", config->scsi ? "0 " : "", name,
		config->queues);
	return fclose(f) == 0 ? 0 : -errno;
}

static int prepare_vhost(struct spawned *s, const struct spawn_config *config, const char *bdev)
{
	arg(s, find_program(config));
	arg(s, "-c");
	arg(s, s->conf);
	arg(s, "-S");
	arg(s, s->dir);
	arg(s, "--mode");
	arg(s, config->mode);
	return write_conf(s, config, bdev);
}

/* ---- qemu-storage-daemon ---- */

static int prepare_qsd(struct spawned *s, const struct spawn_config *config, const char *bdev)
{
	arg(s, "qemu-storage-daemon");
	arg(s, "--object");
	/* It polls for as long as a run may pause; aio is not to be shared with other events. */
	arg(s, "iothread,id=io,poll-max-ns=1000000000,poll-grow=0,poll-shrink=0");
	arg(s, "--blockdev");
	if (strcmp(bdev, "null") == 0) {
		arg_text(s, "null-co,node-name=disk,size=%llu",
			 (unsigned long long)config->size_mb << 20);
	} else {
		arg_text(s,
			 "file,node-name=disk,filename=%s,aio=native,cache.direct=on,discard=unmap",
			 config->file);
	}
	arg(s, "--export");
	arg_text(s,
		 "vhost-user-blk,id=export,node-name=disk,addr.type=unix,addr.path=%s,writable=on,"
		 "num-queues=%u,iothread=io",
		 s->socket, config->queues);
	return 0;
}

/* ---- both ---- */

static void split_wrapper(struct spawned *s, const char *wrapper)
{
	static char copy[4096];
	char *rest;
	char *word;

	snprintf(copy, sizeof(copy), "%s", wrapper);
	for (word = strtok_r(copy, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
		arg(s, word);
	}
}

static int prepare(struct spawned *s, const struct spawn_config *config, const char *what,
		   char *ret_why, size_t why_len)
{
	static const char *const known[] = { "vhost-null", "vhost-malloc", "vhost-aio", "qsd-null",
					     "qsd-file" };
	const char *bdev;
	unsigned int i;

	what = strcmp(what, "qsd") == 0 ? "qsd-null" : what;
	for (i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (strcmp(what, known[i]) == 0) {
			break;
		}
	}
	if (i == sizeof(known) / sizeof(known[0])) {
		snprintf(
			ret_why, why_len,
			"cannot spawn '%s' (but vhost-null, vhost-malloc, vhost-aio, qsd-null, qsd-file)",
			what);
		return -EINVAL;
	}
	bdev = strchr(what, '-') + 1;
	if ((strcmp(bdev, "aio") == 0 || strcmp(bdev, "file") == 0) && config->file == NULL) {
		snprintf(ret_why, why_len, "%s needs --target-file", what);
		return -EINVAL;
	}
	if (config->scsi && what[0] == 'q') {
		snprintf(ret_why, why_len, "qemu-storage-daemon has no vhost-user-scsi");
		return -EINVAL;
	}
	if (config->wrapper != NULL) {
		split_wrapper(s, config->wrapper);
	}
	return what[0] == 'v' ? prepare_vhost(s, config, bdev) : prepare_qsd(s, config, bdev);
}

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

static bool listens(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool ok;

	memcpy(addr.sun_path, path, strlen(path));
	ok = fd >= 0 && connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0;
	if (fd >= 0) {
		close(fd);
	}
	return ok;
}

/* The last lines that the target wrote. */
static void tell_log(const struct spawned *s, char *ret_why, size_t why_len)
{
	int n = snprintf(ret_why, why_len, "the target did not start: ");
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
			tell_log(s, ret_why, why_len);
			return -ECHILD;
		}
		if (clock_ns() - begin > START_DEADLINE_NS) {
			tell_log(s, ret_why, why_len);
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
	r = prepare(s, config, what, ret_why, why_len);
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
	int r = 0;

	if (spawned == NULL) {
		return 0;
	}
	if (spawned->pid > 0) {
		kill(spawned->pid, SIGCONT);
		kill(spawned->pid, SIGTERM);
		r = wait_end(spawned->pid);
	}
	unlink(spawned->socket);
	unlink(spawned->conf);
	unlink(spawned->log);
	rmdir(spawned->dir);
	free(spawned);
	return r;
}
