/* SPDX-License-Identifier: BSD-3-Clause */
/* The public API: a target from its beginning to its end. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "api/api.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/why.h"
#include "bdev/bdev.h"
#include "env/env.h"
#include "reactor/reactor.h"

#define MAX_PASSED_FDS 1024

const char *vht_version(void)
{
	return VHT_VERSION;
}

const char *vht_environment(void)
{
	return env_version();
}

/* ---- stopping ---- */

static void shut_down_done(void *arg)
{
	struct vht_target *t = arg;

	t->ended = true;
}

static void shut_down_late(void *arg)
{
	struct vht_target *t = arg;

	t->ended = true;
	t->stuck = true;
}

void api_begin_shutdown(void *arg)
{
	struct vht_target *t = arg;

	if (t->stopping) {
		return;
	}
	if (t->handed_over) {
		predecessor_pass_stop_on(t);
		return;
	}
	/* In the middle of a hand-over: when it is over, whoever serves then stops. */
	if (t->successor_fd >= 0 || predecessor_cancel(t)) {
		t->stop_wanted = true;
		return;
	}
	t->serving = false;
	t->stopping = true;
	loop_timer_set(t->stop_timer, SHUTDOWN_LIMIT_MS);
	target_shutdown(t->target, shut_down_done, t);
}

static void stop_requested(void *arg, uint32_t events)
{
	struct vht_target *t = arg;

	eventfd_drain(t->stop_fd);
	api_begin_shutdown(t);
}

void vht_target_stop(struct vht_target *target)
{
	eventfd_signal(target->stop_fd);
}

static void handover_requested(void *arg, uint32_t events)
{
	struct vht_target *t = arg;
	const char *reason;

	eventfd_drain(t->handover_fd);
	if (predecessor_begin(t, NULL, &reason) < 0) {
		log_warning("cannot hand over: %s", reason);
	}
}

void vht_target_hand_over(struct vht_target *target)
{
	eventfd_signal(target->handover_fd);
}

/* ---- new and free ---- */

static int copy_text(const char **text)
{
	if (*text != NULL) {
		*text = strdup(*text);
		return *text == NULL ? -ENOMEM : 0;
	}
	return 0;
}

static int copy_options(struct vht_target *t, const struct vht_options *opts)
{
	const char **texts[] = { &t->opts.name, &t->opts.reactor_mask, &t->opts.socket_dir,
				 &t->opts.rpc_path };
	unsigned int i;
	int r = 0;

	t->opts = *opts;
	for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (r < 0) {
			*texts[i] = NULL;
		} else {
			r = copy_text(texts[i]);
		}
	}
	return r;
}

static int open_loop(struct vht_target *t)
{
	int r;

	t->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	t->handover_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = t->stop_fd < 0 || t->handover_fd < 0 ? -errno : loop_new(&t->loop);
	if (r == 0) {
		r = loop_timer_new(t->loop, shut_down_late, t, &t->stop_timer);
	}
	if (r == 0) {
		r = loop_watch(t->loop, t->stop_fd, EPOLLIN, stop_requested, t, &t->stop_watch);
	}
	if (r == 0) {
		r = loop_watch(t->loop, t->handover_fd, EPOLLIN, handover_requested, t,
			       &t->handover_watch);
	}
	return r;
}

int vht_target_new(const struct vht_options *opts, struct vht_target **ret_target,
		   const char **ret_why)
{
	struct vht_target *t;
	int r;

	if (opts->size != sizeof(*opts)) {
		*ret_why = why("the program was built with another version of the library");
		return -EINVAL;
	}
	t = calloc(1, sizeof(*t));
	if (t == NULL) {
		*ret_why = why("out of memory");
		return -ENOMEM;
	}
	t->stop_fd = -1;
	t->handover_fd = -1;
	t->successor_fd = -1;
	t->predecessor.fd = -1;
	/* Nothing is open yet, and there are no threads. */
	r = opts->argv != NULL ? starter_new(opts->argv, &t->starter) : 0;
	if (r < 0) {
		*ret_why = why("cannot start a process for hand-overs: %s", strerror(-r));
		free(t);
		return r;
	}
	r = copy_options(t, opts);
	if (r == 0) {
		r = open_loop(t);
	}
	if (r < 0) {
		*ret_why = why("cannot start: %s", strerror(-r));
		vht_target_free(t);
		return r;
	}
	*ret_target = t;
	return 0;
}

/* Sessions end, sockets go; true when nothing runs any more. */
static bool end_target(struct vht_target *t)
{
	if (t->target == NULL) {
		return true;
	}
	api_begin_shutdown(t);
	while (!t->ended && loop_run_once(t->loop, -1) == 0) {
	}
	return t->ended && !t->stuck;
}

void vht_target_free(struct vht_target *target)
{
	struct vht_target *t = target;

	if (t == NULL || !end_target(t)) {
		/* Reactors still use it: what is left belongs to them until the process ends. */
		return;
	}
	mgmt_free(t->mgmt);
	if (t->reactors_ready) {
		reactors_stop();
	}
	target_free(t->target);
	bdev_delete_all();
	if (t->env_ready) {
		env_done();
	}
	if (t->loop != NULL) {
		loop_timer_free(t->stop_timer);
		predecessor_done(t);
		loop_unwatch(t->handover_watch);
		loop_unwatch(t->stop_watch);
		loop_free(t->loop);
	}
	starter_free(t->starter);
	fd_close(&t->handover_fd);
	fd_close(&t->stop_fd);
	config_free(t->config);
	while (t->fd_n > 0) {
		free((void *)t->fds[--t->fd_n].controller);
	}
	free(t->fds);
	free((void *)t->opts.name);
	free((void *)t->opts.reactor_mask);
	free((void *)t->opts.socket_dir);
	free((void *)t->opts.rpc_path);
	free(t);
}

/* ---- before start ---- */

int vht_target_load_config(struct vht_target *target, const char *path, const char **ret_why)
{
	if (target->config != NULL) {
		*ret_why = why("a configuration file was loaded already");
		return -EALREADY;
	}
	return config_load(path, target->opts.strict, &target->config, ret_why);
}

int vht_target_pass_fd(struct vht_target *target, const char *name, int fd, const char **ret_why)
{
	struct config_listen_fd *grown;
	char *copy = NULL;
	unsigned int i;

	for (i = 0; i < target->fd_n; i++) {
		if (target->fds[i].fd == fd) {
			*ret_why = why("file descriptor %d is passed in twice", fd);
			return -EINVAL;
		}
	}
	if (fd < 0 || target->fd_n == MAX_PASSED_FDS) {
		*ret_why = why("file descriptor %d cannot be passed in", fd);
		return -EINVAL;
	}
	grown = reallocarray(target->fds, target->fd_n + 1, sizeof(*grown));
	if (grown != NULL) {
		target->fds = grown;
	}
	if (grown == NULL || (name != NULL && (copy = strdup(name)) == NULL)) {
		*ret_why = why("out of memory");
		return -ENOMEM;
	}
	target->fds[target->fd_n++] = (struct config_listen_fd){ .controller = copy, .fd = fd };
	return 0;
}
