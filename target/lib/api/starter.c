/* SPDX-License-Identifier: BSD-3-Clause */
#include "api/starter.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <vhost_target/target.h>

#include "base/coverage.h"
#include "base/fd.h"
#include "base/parcel.h"

/* The descriptor that the successor finds its end of the socketpair at; until then it is the starter's own end. */
#define ONLY_FD 3
/* A program may lie on a slow disk. */
#define ANSWER_LIMIT_MS 10000
#define MAX_WAIT_MS	1000
#define END_LIMIT_MS	2000

enum message {
	START = 1, /* path, descriptor */
	SIGNAL,	   /* number */
	WAIT,	   /* milliseconds */
	HELLO,	   /* <- process number */
	ANSWER,	   /* <- errno, value */
};

struct starter {
	int fd;	   /* -1: it has failed, for good */
	int pidfd; /* -1: this kernel has none */
};

/* -ETIMEDOUT, or what parcel_recv() says. limit_ms -1: none. */
static int receive(int fd, int limit_ms, struct parcel *parcel, uint32_t *ret_type)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	int r;

	do {
		do {
			r = poll(&pfd, 1, limit_ms);
		} while (r < 0 && errno == EINTR);
		if (r <= 0) {
			return r == 0 ? -ETIMEDOUT : -errno;
		}
		r = parcel_recv(parcel, fd, ret_type);
	} while (r == 0);
	return r < 0 ? r : 0;
}

/* ---- the process ---- */

struct process {
	char *const *argv;
	sigset_t mask; /* of signals, for the successor: what it was before */
	pid_t child;   /* 0: none that has not been waited for */
};

static int wait_for_child(struct process *s, unsigned int limit_ms, int *ret_status)
{
	const struct timespec limit = { .tv_sec = limit_ms / 1000,
					.tv_nsec = (long)(limit_ms % 1000) * 1000000 };
	sigset_t ends;
	pid_t pid;

	if (s->child == 0) {
		return -ESRCH;
	}
	sigemptyset(&ends);
	sigaddset(&ends, SIGCHLD);
	/* The signal may be that of an earlier one. */
	while ((pid = waitpid(s->child, ret_status, WNOHANG)) == 0 &&
	       sigtimedwait(&ends, NULL, &limit) == SIGCHLD) {
	}
	if (pid == 0) {
		return -EAGAIN;
	}
	s->child = 0;
	return pid < 0 ? -errno : 0;
}

static int spawn(struct process *s, const char *path, int fd, posix_spawn_file_actions_t *actions,
		 posix_spawnattr_t *attributes)
{
	pid_t pid;
	int r = posix_spawn_file_actions_adddup2(actions, fd, ONLY_FD);

	if (r == 0) {
		r = posix_spawn_file_actions_addclosefrom_np(actions, ONLY_FD + 1);
	}
	if (r == 0) {
		r = posix_spawnattr_setsigmask(attributes, &s->mask);
	}
	if (r == 0) {
		r = posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK);
	}
	if (r == 0) {
		r = posix_spawn(&pid, path, actions, attributes, s->argv, environ);
	}
	if (r == 0) {
		s->child = pid;
	}
	return -r;
}

static int start(struct process *s, struct parcel *in, uint32_t *ret_pid)
{
	const char *path = parcel_get_name(in);
	int fd = parcel_get_fd(in);
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	int status;
	int r = 0;

	if (!parcel_is_used_up(in) || fd < 0 || path[0] != '/') {
		r = -EINVAL;
	} else if (s->child > 0 && wait_for_child(s, 0, &status) == -EAGAIN) {
		r = -EBUSY;
	} else if (posix_spawn_file_actions_init(&actions) != 0) {
		r = -ENOMEM;
	} else {
		r = -posix_spawnattr_init(&attributes);
		if (r == 0) {
			r = spawn(s, path, fd, &actions, &attributes);
			posix_spawnattr_destroy(&attributes);
		}
		posix_spawn_file_actions_destroy(&actions);
	}
	if (r == 0) {
		*ret_pid = (uint32_t)s->child;
	}
	fd_close(&fd);
	return r;
}

static int send_signal(struct process *s, struct parcel *in)
{
	uint32_t number = parcel_get_u32(in);

	if (!parcel_is_used_up(in) || (number != SIGTERM && number != SIGKILL)) {
		return -EINVAL;
	}
	/* As long as nobody has waited for it, its number is nobody else's. */
	if (s->child == 0) {
		return -ESRCH;
	}
	return kill(s->child, (int)number) < 0 ? -errno : 0;
}

static int wait_for(struct process *s, struct parcel *in, uint32_t *ret_status)
{
	uint32_t limit_ms = parcel_get_below(in, MAX_WAIT_MS + 1);
	int status = 0;
	int r = parcel_is_used_up(in) ? wait_for_child(s, limit_ms, &status) : -EINVAL;

	*ret_status = (uint32_t)status;
	return r;
}

static int carry_out(struct process *s, uint32_t type, struct parcel *in, uint32_t *ret_value)
{
	switch (type) {
	case START:
		return start(s, in, ret_value);
	case SIGNAL:
		return send_signal(s, in);
	case WAIT:
		return wait_for(s, in, ret_value);
	default:
		return -EINVAL;
	}
}

/* Until the other end of the socketpair is closed: by the target, or because that is dead. */
static void answer_requests(struct process *s)
{
	struct parcel in;
	struct parcel out;
	uint32_t type;
	int r;

	do {
		uint32_t value = 0;

		parcel_init(&in);
		parcel_init(&out);
		r = receive(ONLY_FD, -1, &in, &type);
		if (r == 0) {
			parcel_put_u32(&out, (uint32_t)-carry_out(s, type, &in, &value));
			parcel_put_u32(&out, value);
			r = parcel_send(&out, ONLY_FD, ANSWER);
		}
		parcel_done(&in);
		parcel_done(&out);
	} while (r == 0);
}

static void say_hello(void)
{
	struct parcel parcel;

	parcel_init(&parcel);
	parcel_put_u32(&parcel, (uint32_t)getpid());
	if (parcel_send(&parcel, ONLY_FD, HELLO) < 0) {
		_exit(EXIT_FAILURE);
	}
	parcel_done(&parcel);
}

static _Noreturn void run(char *const *argv, int fd)
{
	struct sigaction usual = { .sa_handler = SIG_DFL };
	struct process self = { .argv = argv };
	char number[12];
	sigset_t all;

	/* A terminal, and a service manager, signal all processes there are: what follows is for the target to decide. */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &self.mask);
	sigaction(SIGCHLD, &usual, NULL); /* who ignores it, has nobody to wait for */
	prctl(PR_SET_NAME, "vhost-starter");
	snprintf(number, sizeof(number), "%d", ONLY_FD);
	if (dup2(fd, ONLY_FD) < 0 || setenv(VHT_HANDOVER_VARIABLE, number, 1) < 0) {
		_exit(EXIT_FAILURE);
	}
	/* Sockets that were passed to the target, and what it is told on if it is a successor itself. */
	closefrom(ONLY_FD + 1);
	say_hello();
	answer_requests(&self);
	coverage_dump();
	_exit(EXIT_SUCCESS);
}

/* ---- the target's side ---- */

/* Nobody has to wait for a grandchild. */
static int fork_twice(char *const *argv, int fd)
{
	pid_t pid = fork();
	int status = 0;

	if (pid < 0) {
		return -errno;
	}
	if (pid == 0) {
		pid = fork();
		if (pid == 0) {
			run(argv, fd);
		}
		_exit(pid < 0 ? errno : 0);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
	}
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -ECHILD;
}

/* It runs; what tells of its end, for which nobody could wait otherwise. */
static int hear_hello(struct starter *s)
{
	struct parcel hello;
	uint32_t type = 0;
	uint32_t pid;
	int r;

	parcel_init(&hello);
	r = receive(s->fd, ANSWER_LIMIT_MS, &hello, &type);
	pid = parcel_get_u32(&hello);
	if (r == 0 && (type != HELLO || !parcel_is_used_up(&hello))) {
		r = -EPROTO;
	}
	if (r == 0) {
		s->pidfd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
	}
	parcel_done(&hello);
	return r;
}

int starter_new(char *const *argv, struct starter **ret_starter)
{
	struct starter *s = calloc(1, sizeof(*s));
	int fds[2];
	int r;

	if (s == NULL) {
		return -ENOMEM;
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0) {
		r = -errno;
		free(s);
		return r;
	}
	s->fd = fds[0];
	s->pidfd = -1;
	r = fork_twice(argv, fds[1]);
	fd_close(&fds[1]);
	if (r == 0) {
		r = hear_hello(s);
	}
	if (r < 0) {
		starter_free(s);
		return r;
	}
	*ret_starter = s;
	return 0;
}

void starter_free(struct starter *starter)
{
	struct pollfd pfd = { .events = POLLIN };

	if (starter == NULL) {
		return;
	}
	fd_close(&starter->fd);
	pfd.fd = starter->pidfd;
	if (starter->pidfd >= 0) {
		(void)poll(&pfd, 1, END_LIMIT_MS);
	}
	fd_close(&starter->pidfd);
	free(starter);
}

/* What it answers. The request is used up. */
static int ask(struct starter *s, enum message type, struct parcel *request, uint32_t *ret_value)
{
	struct parcel answer;
	uint32_t answer_type = 0;
	uint32_t error;
	int r;

	parcel_init(&answer);
	r = s->fd < 0 ? -ENOTCONN : parcel_send(request, s->fd, type);
	if (r == 0) {
		r = receive(s->fd, ANSWER_LIMIT_MS, &answer, &answer_type);
	}
	error = parcel_get_u32(&answer);
	*ret_value = parcel_get_u32(&answer);
	if (r < 0 || answer_type != ANSWER || !parcel_is_used_up(&answer)) {
		/* An answer that comes late would be taken for that to the next question. */
		fd_close(&s->fd);
		r = -ENOTCONN;
	} else {
		r = -(int)error;
	}
	parcel_done(&answer);
	parcel_done(request);
	return r;
}

int starter_start(struct starter *starter, const char *path, int fd, pid_t *ret_pid)
{
	struct parcel request;
	uint32_t pid;
	int r;

	parcel_init(&request);
	parcel_put_text(&request, path);
	parcel_put_fd(&request, fd);
	r = ask(starter, START, &request, &pid);
	if (r == 0) {
		*ret_pid = (pid_t)pid;
	}
	return r;
}

int starter_signal(struct starter *starter, int number)
{
	struct parcel request;
	uint32_t unused;

	parcel_init(&request);
	parcel_put_u32(&request, (uint32_t)number);
	return ask(starter, SIGNAL, &request, &unused);
}

int starter_wait(struct starter *starter, unsigned int limit_ms, int *ret_status)
{
	struct parcel request;
	uint32_t status;
	int r;

	parcel_init(&request);
	parcel_put_u32(&request, limit_ms);
	r = ask(starter, WAIT, &request, &status);
	if (r == 0) {
		*ret_status = (int)status;
	}
	return r;
}
