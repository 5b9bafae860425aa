/* SPDX-License-Identifier: BSD-3-Clause */
/* The process that hands over: a state for each answer that it waits for, and a limit for each. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "api/api.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/why.h"
#include "controller/handover.h"

#define PATH_BYTES 4096
/* Of one that has been killed and has closed all its descriptors. */
#define DEATH_LIMIT_MS 1000

/* Milliseconds. EAL may take long on a machine with many hugepages. Guests wait from SUSPENDING on. */
static const unsigned int limits[] = {
	[PREDECESSOR_STARTING] = 60000,	 [PREDECESSOR_PREPARING] = 30000,
	[PREDECESSOR_SUSPENDING] = 5000, [PREDECESSOR_RESTORING] = 5000,
	[PREDECESSOR_COMMITTED] = 5000,	 [PREDECESSOR_ENDING] = 1000,
};

static const char *const too_late[] = {
	[PREDECESSOR_STARTING] = "the new process has not started in time",
	[PREDECESSOR_PREPARING] = "the new process has not opened all disks in time",
	[PREDECESSOR_SUSPENDING] = "I/O did not come back in time",
	[PREDECESSOR_RESTORING] = "the new process has not taken the sessions over in time",
	[PREDECESSOR_COMMITTED] = "the new process does not serve",
};

uint64_t handover_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void enter(struct vht_target *t, enum predecessor_stage stage)
{
	t->predecessor.stage = stage;
	if (stage == PREDECESSOR_IDLE) {
		loop_timer_cancel(t->predecessor.timer);
	} else {
		loop_timer_set(t->predecessor.timer, limits[stage]);
	}
}

/* ---- it has failed ---- */

/* How it ended, if nobody knows better. r: of the question for the status. */
static void note_end(struct vht_target *t, int r, int status)
{
	char *reason = t->handover.reason;
	size_t room = sizeof(t->handover.reason);

	if (reason[0] != '\0') {
		return;
	}
	if (r < 0) {
		snprintf(reason, room, "the new process has gone away");
	} else if (WIFSIGNALED(status)) {
		snprintf(reason, room, "the new process was ended by signal %d", WTERMSIG(status));
	} else {
		snprintf(reason, room, "the new process ended with status %d", WEXITSTATUS(status));
	}
}

static void as_before(void *arg, int result)
{
	struct vht_target *t = arg;

	enter(t, PREDECESSOR_IDLE);
	t->handover.state = HANDOVER_FAILED;
	if (t->mgmt != NULL) {
		mgmt_pause(t->mgmt, false);
	}
	if (t->stop_wanted) {
		t->stop_wanted = false;
		api_begin_shutdown(t);
	}
}

/* It is dead, or will not run one more instruction: everything is ours again. */
static void go_on(struct vht_target *t, unsigned int wait_ms)
{
	struct predecessor *p = &t->predecessor;
	int status = 0;
	int r;

	loop_unwatch(p->watch);
	p->watch = NULL;
	fd_close(&p->fd);
	parcel_done(&p->out);
	parcel_done(&p->in);
	r = starter_wait(t->starter, wait_ms, &status);
	note_end(t, r, status);
	loop_timer_cancel(p->timer);
	log_warning("the hand-over has failed, this process goes on: %s", t->handover.reason);
	if (p->failed_at == PREDECESSOR_COMMITTED) {
		target_end_sessions(t->target, "the process that had taken over is dead", as_before,
				    t);
	} else if (p->failed_at >= PREDECESSOR_SUSPENDING) {
		target_resume(t->target, as_before, t);
	} else {
		as_before(t, 0);
	}
}

static void end_in_favour(struct vht_target *t)
{
	log_notice("handed over to process %ld, this one ends", (long)t->predecessor.pid);
	enter(t, PREDECESSOR_IDLE);
	if (t->stop_wanted) {
		predecessor_pass_stop_on(t);
	}
	t->handed_over = true;
	t->ended = true;
}

/* reason NULL: its death says it all. */
static void fail(struct vht_target *t, const char *reason)
{
	struct predecessor *p = &t->predecessor;
	int r = starter_signal(t->starter, SIGKILL);

	if (r < 0 && reason != NULL && p->stage == PREDECESSOR_COMMITTED) {
		/* It has the rings, and may use them at any time: two must not. */
		log_error("%s, and it cannot be ended: %s", reason, strerror(-r));
		end_in_favour(t);
		return;
	}
	if (p->stage != PREDECESSOR_ENDING) {
		p->failed_at = p->stage;
		if (reason != NULL) {
			snprintf(t->handover.reason, sizeof(t->handover.reason), "%s", reason);
		}
	}
	/* Its end of the socketpair is closed when its last thread is gone. */
	enter(t, PREDECESSOR_ENDING);
}

static void late(void *arg)
{
	struct vht_target *t = arg;

	if (t->predecessor.stage == PREDECESSOR_ENDING) {
		go_on(t, 0);
	} else {
		fail(t, too_late[t->predecessor.stage]);
	}
}

/* ---- messages there ---- */

static void send_on(struct vht_target *t)
{
	struct predecessor *p = &t->predecessor;
	int r = parcel_send(&p->out, p->fd, p->out_type);

	if (r == -EAGAIN) {
		loop_watch_set_events(p->watch, EPOLLIN | EPOLLOUT);
		return;
	}
	loop_watch_set_events(p->watch, EPOLLIN);
	parcel_done(&p->out);
	p->out_type = 0;
	/* One that is dead is noticed by what it does not say. */
	if (r < 0 && r != -EPIPE && r != -ECONNRESET) {
		fail(t, why("the new process cannot be told: %s", strerror(-r)));
	}
}

static void send_parcel(struct vht_target *t, enum handover_parcel type)
{
	t->predecessor.out_type = type;
	send_on(t);
}

static void send_start(struct vht_target *t)
{
	struct parcel *out = &t->predecessor.out;
	char mask[ENV_CPUSET_TEXT];

	env_cpuset_format(&t->cores, mask, sizeof(mask));
	parcel_put_u32(out, HANDOVER_MAGIC);
	parcel_put_u32(out, HANDOVER_VERSION);
	parcel_put_text(out, mask);
	parcel_put_u32(out, log_get_level());
	send_parcel(t, HANDOVER_START);
}

/* From here on the configuration stays as it is: requests to change it wait. */
static void send_config(struct vht_target *t)
{
	struct parcel *out = &t->predecessor.out;

	enter(t, PREDECESSOR_PREPARING);
	parcel_put_u64(out, t->handover.count);
	parcel_put_u64(out, t->handover.longest_pause_ns);
	parcel_put_u8(out, t->mgmt != NULL);
	if (t->mgmt != NULL) {
		mgmt_pause(t->mgmt, true);
		mgmt_save(t->mgmt, out);
	}
	target_save_config(t->target, out);
	send_parcel(t, HANDOVER_CONFIG);
}

static void all_suspended(void *arg, int result)
{
	struct vht_target *t = arg;
	struct parcel *out = &t->predecessor.out;

	enter(t, PREDECESSOR_RESTORING);
	parcel_put_u64(out, t->predecessor.suspended_at);
	target_save_sessions(t->target, out);
	send_parcel(t, HANDOVER_SESSIONS);
}

/* ---- messages back ---- */

/* An answer to what we wait for; anything else it cannot say now. */
static void answered(struct vht_target *t, uint32_t type)
{
	struct predecessor *p = &t->predecessor;

	if (type == HANDOVER_CANNOT) {
		fail(t, parcel_get_name(&p->in));
	} else if (type == HANDOVER_READY && p->stage == PREDECESSOR_STARTING) {
		send_config(t);
	} else if (type == HANDOVER_PREPARED && p->stage == PREDECESSOR_PREPARING) {
		enter(t, PREDECESSOR_SUSPENDING);
		p->suspended_at = handover_now_ns();
		target_suspend(t->target, all_suspended, t);
	} else if (type == HANDOVER_RESTORED && p->stage == PREDECESSOR_RESTORING) {
		enter(t, PREDECESSOR_COMMITTED);
		send_parcel(t, HANDOVER_GO);
	} else if (type == HANDOVER_SERVING && p->stage == PREDECESSOR_COMMITTED) {
		end_in_favour(t);
	} else {
		fail(t, "the new process says what makes no sense");
	}
}

static void socket_ready(void *arg, uint32_t events)
{
	struct vht_target *t = arg;
	struct predecessor *p = &t->predecessor;
	uint32_t type;
	int r;

	if ((events & EPOLLOUT) != 0 && p->out_type != 0) {
		send_on(t);
	}
	r = parcel_recv(&p->in, p->fd, &type);
	if (r == 1) {
		if (p->stage != PREDECESSOR_ENDING) {
			answered(t, type);
		}
		parcel_done(&p->in);
	} else if (r < 0) {
		fail(t, NULL);
		go_on(t, DEATH_LIMIT_MS); /* its last thread is gone: this takes no time */
	}
}

/* ---- the beginning ---- */

/* Where our program came from: after an update another one lies there. */
static int own_program(char *path, size_t room, const char **ret_why)
{
	static const char deleted[] = " (deleted)";
	ssize_t n = readlink("/proc/self/exe", path, room - 1);
	size_t len = n > 0 ? (size_t)n : 0;
	size_t tail = sizeof(deleted) - 1;

	if (len == 0 || len == room - 1) {
		*ret_why = why("cannot find the program of this process: name one");
		return -ENOENT;
	}
	path[len] = '\0';
	if (len > tail && strcmp(path + len - tail, deleted) == 0) {
		path[len - tail] = '\0';
	}
	return 0;
}

static int start_program(struct vht_target *t, const char *binary, int fd, const char **ret_why)
{
	int r = starter_start(t->starter, binary, fd, &t->predecessor.pid);

	if (r == -EBUSY) {
		*ret_why = why("the new process of the last attempt has not ended yet");
	} else if (r == -ENOTCONN) {
		*ret_why = why("the starter of this process is dead: it cannot hand over any more");
	} else if (r < 0) {
		*ret_why = why("cannot start %s: %s", binary, strerror(-r));
	}
	return r;
}

static int connect_and_start(struct vht_target *t, const char *binary, const char **ret_why)
{
	struct predecessor *p = &t->predecessor;
	int fds[2];
	int status;
	int r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0) {
		r = -errno;
		*ret_why = why("cannot make a socketpair: %s", strerror(-r));
		return r;
	}
	r = start_program(t, binary, fds[1], ret_why);
	fd_close(&fds[1]);
	if (r < 0) {
		fd_close(&fds[0]);
		return r;
	}
	p->fd = fds[0];
	r = loop_watch(t->loop, p->fd, EPOLLIN, socket_ready, t, &p->watch);
	if (r < 0) {
		*ret_why = why("cannot watch a socketpair: %s", strerror(-r));
		(void)starter_signal(t->starter, SIGKILL);
		(void)starter_wait(t->starter, DEATH_LIMIT_MS, &status);
		fd_close(&p->fd);
	}
	return r;
}

int predecessor_begin(struct vht_target *t, const char *binary, const char **ret_why)
{
	struct predecessor *p = &t->predecessor;
	char path[PATH_BYTES];
	int r = 0;

	if (t->starter == NULL) {
		*ret_why = why("hand-overs are switched off (--no-handover)");
		return -ENOTSUP;
	}
	if (p->stage != PREDECESSOR_IDLE || !t->serving) {
		*ret_why = why("%s", p->stage != PREDECESSOR_IDLE ?
					     "a hand-over is under way" :
					     "the target does not serve now");
		return -EBUSY;
	}
	if (p->timer == NULL) {
		r = loop_timer_new(t->loop, late, t, &p->timer);
	}
	if (r < 0) {
		*ret_why = why("out of memory");
	} else if (binary != NULL && binary[0] != '/') {
		*ret_why = why("'%s' is no absolute path", binary);
		r = -EINVAL;
	} else if (binary == NULL) {
		binary = path;
		r = own_program(path, sizeof(path), ret_why);
	}
	if (r == 0) {
		r = connect_and_start(t, binary, ret_why);
	}
	if (r < 0) {
		return r;
	}
	log_notice("handing over to process %ld, %s", (long)p->pid, binary);
	t->handover.state = HANDOVER_RUNNING;
	t->handover.reason[0] = '\0';
	enter(t, PREDECESSOR_STARTING);
	send_start(t);
	return 0;
}

void predecessor_pass_stop_on(struct vht_target *t)
{
	(void)starter_signal(t->starter, SIGTERM);
}

void predecessor_ends(struct vht_target *t)
{
	struct pollfd stop = { .fd = t->stop_fd, .events = POLLIN };

	if (poll(&stop, 1, 0) > 0) {
		predecessor_pass_stop_on(t);
	}
}

bool predecessor_cancel(struct vht_target *t)
{
	switch (t->predecessor.stage) {
	case PREDECESSOR_IDLE:
		return false;
	case PREDECESSOR_COMMITTED:
	case PREDECESSOR_ENDING:
		break;
	default:
		fail(t, "the target is being stopped");
		break;
	}
	return true;
}

void predecessor_done(struct vht_target *t)
{
	loop_timer_free(t->predecessor.timer);
	t->predecessor.timer = NULL;
}
