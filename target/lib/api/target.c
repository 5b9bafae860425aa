/* SPDX-License-Identifier: BSD-3-Clause */
/* The public API: puts the layers together in their order. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "api/api.h"
#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/why.h"
#include "bdev/bdev.h"
#include "config/config.h"
#include "env/env.h"
#include "mgmt/mgmt.h"
#include "reactor/reactor.h"
#include "virtio/guest_mem.h"

#define DEFAULT_REACTOR_MASK "0x1"
#define DEFAULT_RPC_NAME     "vhost-rpc.sock"
#define MAX_PASSED_FDS	     1024
/* Sockets are gone at once; so long may outstanding I/O take to come back before we give up. */
#define SHUTDOWN_LIMIT_MS 800

struct vht_target {
	struct vht_options opts; /* the strings are our own copies */
	struct config *config;
	struct config_listen_fd *fds;
	unsigned int fd_n;
	struct loop *loop;
	int stop_fd;
	struct loop_watch *stop_watch;
	struct loop_timer *stop_timer;
	struct target *target;
	struct mgmt *mgmt;
	bool env_ready;
	bool reactors_ready;
	bool stopping;
	bool ended;
	bool stuck;
};

const char *vht_version(void)
{
	return VHT_VERSION;
}

struct target *api_target(const struct vht_target *target)
{
	return target->target;
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

static void begin_shutdown(void *arg)
{
	struct vht_target *t = arg;

	if (t->stopping) {
		return;
	}
	t->stopping = true;
	loop_timer_set(t->stop_timer, SHUTDOWN_LIMIT_MS);
	target_shutdown(t->target, shut_down_done, t);
}

static void stop_requested(void *arg, uint32_t events)
{
	struct vht_target *t = arg;

	eventfd_drain(t->stop_fd);
	begin_shutdown(t);
}

void vht_target_stop(struct vht_target *target)
{
	eventfd_signal(target->stop_fd);
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
	r = t->stop_fd < 0 ? -errno : loop_new(&t->loop);
	if (r == 0) {
		r = loop_timer_new(t->loop, shut_down_late, t, &t->stop_timer);
	}
	if (r == 0) {
		r = loop_watch(t->loop, t->stop_fd, EPOLLIN, stop_requested, t, &t->stop_watch);
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
	begin_shutdown(t);
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
		loop_unwatch(t->stop_watch);
		loop_free(t->loop);
	}
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

/* ---- start ---- */

static int choose_cores(const struct vht_target *t, struct env_cpuset *ret_cores,
			const char **ret_why)
{
	const char *mask = t->opts.reactor_mask;
	unsigned int line = 0;
	unsigned int bad;
	int r;

	if (mask == NULL && t->config != NULL) {
		mask = config_reactor_mask(t->config, &line);
	}
	if (mask == NULL) {
		mask = DEFAULT_REACTOR_MASK;
	}
	r = env_cpuset_parse(mask, ret_cores);
	if (r < 0) {
		*ret_why = why("'%s' is no core mask (-m, ReactorMask); write it like 0x3 or [0-1]",
			       mask);
	} else if (!env_cores_usable(ret_cores, &bad)) {
		r = -ENODEV;
		*ret_why = why("core %u of the reactor mask %s is offline or not permitted to this "
			       "process ('taskset -p $$' shows which are): correct %s",
			       bad, mask, line > 0 ? "ReactorMask" : "-m");
	}
	if (r < 0 && line > 0) {
		*ret_why = why("%s:%u: %s", config_name(t->config), line, *ret_why);
	}
	return r;
}

static int start_reactors(struct vht_target *t, const struct env_cpuset *cores,
			  const char **ret_why)
{
	static const enum reactor_mode modes[] = {
		[VHT_MODE_ADAPTIVE] = REACTOR_ADAPTIVE,
		[VHT_MODE_POLL] = REACTOR_POLL,
		[VHT_MODE_EVENT] = REACTOR_EVENT,
	};
	const struct env_options env = {
		.name = t->opts.name,
		.cores = *cores,
		.mem_limit_mib = t->opts.mem_limit_mib,
		.no_huge = t->opts.no_huge,
		.quiet = t->opts.quiet,
	};
	const struct reactor_options reactor = {
		.mode = modes[t->opts.mode],
		.idle_us = t->opts.idle_us,
	};
	int r;

	r = env_init(&env, ret_why);
	if (r < 0) {
		return r;
	}
	t->env_ready = true;
	r = guest_mem_install_sigbus_handler();
	if (r < 0) {
		*ret_why = why("cannot install the SIGBUS handler: %s", strerror(-r));
		return r;
	}
	r = reactors_start(cores, &reactor);
	if (r < 0) {
		*ret_why = why("cannot start the reactors: %s", strerror(-r));
		return r;
	}
	t->reactors_ready = true;
	return 0;
}

int vht_target_start(struct vht_target *target, const char **ret_why)
{
	struct vht_target *t = target;
	struct target_options opts = { .loop = t->loop, .socket_dir = t->opts.socket_dir };
	int r;

	if (t->target != NULL) {
		*ret_why = why("the target was started already");
		return -EALREADY;
	}
	r = choose_cores(t, &opts.cores, ret_why);
	if (r == 0) {
		r = start_reactors(t, &opts.cores, ret_why);
	}
	if (r < 0) {
		return r;
	}
	r = target_new(&opts, &t->target);
	if (r < 0) {
		*ret_why = why("cannot create the target: %s", strerror(-r));
		return r;
	}
	if (t->config == NULL) {
		return 0;
	}
	return config_apply(t->config, t->target, t->fds, t->fd_n, ret_why);
}

/* ---- run ---- */

static char *default_rpc_path(const struct vht_target *t)
{
	const char *dir = t->opts.socket_dir;
	bool slash;
	char *path;
	size_t len;

	if (dir == NULL || dir[0] == '\0') {
		return strdup(DEFAULT_RPC_NAME);
	}
	slash = dir[strlen(dir) - 1] != '/';
	len = strlen(dir) + slash + sizeof(DEFAULT_RPC_NAME);
	path = malloc(len);
	if (path != NULL) {
		strcpy(path, dir);
		strcat(path, slash ? "/" : "");
		strcat(path, DEFAULT_RPC_NAME);
	}
	return path;
}

/*
 * A path that somebody asked for must work. The default place may be taken, by a second daemon in the
 * same directory: that one runs without management, as both did before there was any.
 */
static int open_management(struct vht_target *t, const char **ret_why)
{
	const char *asked = t->opts.rpc_path;
	CLEANUP(freep) char *chosen = NULL;
	struct mgmt_options opts = {
		.loop = t->loop,
		.target = t->target,
		.shutdown = begin_shutdown,
		.arg = t,
	};
	int r;

	if (asked == NULL &&
	    (t->opts.no_rpc || (t->config != NULL && !config_rpc_enabled(t->config)))) {
		return 0;
	}
	if (asked == NULL && t->config != NULL) {
		asked = config_rpc_path(t->config);
	}
	chosen = asked != NULL ? strdup(asked) : default_rpc_path(t);
	if (chosen == NULL) {
		*ret_why = why("out of memory");
		return -ENOMEM;
	}
	opts.path = chosen;
	r = mgmt_new(&opts, &t->mgmt, ret_why);
	if (r < 0 && asked == NULL) {
		log_warning("no management socket: %s (-r PATH gives it another place)", *ret_why);
		return 0;
	}
	if (r == 0) {
		log_notice("management: %s", chosen);
	}
	return r;
}

static void say_ready(const struct vht_target *t)
{
	const struct controller *controller = NULL;
	unsigned int n = 0;

	while ((controller = controller_next(t->target, controller)) != NULL) {
		n++;
	}
	log_notice("ready: %u controller%s, %s, %s", n, n == 1 ? "" : "s", env_version(),
		   env_has_hugepages() ? "with hugepages" :
					 "without hugepages (none are free; they are not needed)");
}

int vht_target_run(struct vht_target *target, const char **ret_why)
{
	struct vht_target *t = target;
	int r;

	if (t->target == NULL) {
		*ret_why = why("the target was not started");
		return -EINVAL;
	}
	r = open_management(t, ret_why);
	if (r == 0) {
		r = target_listen(t->target, ret_why);
	}
	if (r < 0) {
		return r;
	}
	say_ready(t);
	while (r == 0 && !t->ended) {
		r = loop_run_once(t->loop, -1);
	}
	/* Its socket goes with the others, even when the rest must be left behind. */
	mgmt_free(t->mgmt);
	t->mgmt = NULL;
	if (r < 0) {
		*ret_why = why("the event loop failed: %s", strerror(-r));
		return r;
	}
	if (t->stuck) {
		*ret_why = why("I/O did not come back within %d ms", SHUTDOWN_LIMIT_MS);
		return -ETIMEDOUT;
	}
	return 0;
}
