/* SPDX-License-Identifier: BSD-3-Clause */
/* The public API: serves until it is stopped. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "api/api.h"
#include "base/cleanup.h"
#include "base/confine.h"
#include "base/log.h"
#include "base/why.h"

#define DEFAULT_RPC_NAME "vhost-rpc.sock"

static char *default_rpc_path(const struct vht_target *t)
{
	const char *dir = t->opts.socket_dir;
	const char *slash = "";
	char *path;

	if (dir == NULL) {
		dir = "";
	}
	if (dir[0] != '\0' && dir[strlen(dir) - 1] != '/') {
		slash = "/";
	}
	return asprintf(&path, "%s%s%s", dir, slash, DEFAULT_RPC_NAME) < 0 ? NULL : path;
}

static int hand_over(void *arg, const char *binary, const char **ret_why)
{
	return predecessor_begin(arg, binary, ret_why);
}

static void handover_status(void *arg, struct handover_status *ret_status)
{
	const struct vht_target *t = arg;

	*ret_status = t->handover;
}

struct mgmt_options api_mgmt_options(struct vht_target *t, const char *path)
{
	return (struct mgmt_options){
		.loop = t->loop,
		.target = t->target,
		.path = path,
		.shutdown = api_begin_shutdown,
		.hand_over = hand_over,
		.handover_status = handover_status,
		.arg = t,
	};
}

/*
 * A path that somebody asked for must work. The default place may be taken, by a second daemon in the
 * same directory: that one runs without management, as both did before there was any. *ret_missing, the
 * caller's to free, says why; NULL otherwise.
 */
static int open_management(struct vht_target *t, char **ret_missing, const char **ret_why)
{
	const char *asked = t->opts.rpc_path;
	CLEANUP(freep) char *chosen = NULL;
	struct mgmt_options opts;
	unsigned int line = 0;
	int r;

	if (asked == NULL &&
	    (t->opts.no_rpc || (t->config != NULL && !config_rpc_enabled(t->config)))) {
		return 0;
	}
	if (asked == NULL && t->config != NULL) {
		asked = config_rpc_path(t->config, &line);
	}
	chosen = asked != NULL ? strdup(asked) : default_rpc_path(t);
	if (chosen == NULL) {
		*ret_why = why("out of memory");
		return -ENOMEM;
	}
	opts = api_mgmt_options(t, chosen);
	r = mgmt_new(&opts, &t->mgmt, ret_why);
	if (r < 0 && asked == NULL) {
		*ret_missing = strdup(*ret_why);
		return 0;
	}
	if (r == 0) {
		log_notice("management: %s", chosen);
	} else if (line > 0) {
		*ret_why = why("%s:%u: %s", config_name(t->config), line, *ret_why);
	}
	return r;
}

/* Said once, and not for each socket that would have been there. */
static int check_directory(const struct vht_target *t, const char **ret_why)
{
	const char *dir = t->opts.socket_dir;
	struct stat st;
	int r = 0;

	if (dir == NULL || dir[0] == '\0') {
		return 0;
	}
	if (stat(dir, &st) < 0) {
		r = -errno;
	} else if (!S_ISDIR(st.st_mode)) {
		r = -ENOTDIR;
	}
	if (r < 0) {
		*ret_why = why("cannot make sockets in %s (-S): %s", dir, strerror(-r));
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

/* All that needs more rights has been done. A kernel without seccomp is no reason not to serve. */
static void confine(const struct vht_target *t)
{
	const char *reason;

	if (t->opts.confine && confine_system_calls(&reason) < 0) {
		log_warning("%s", reason);
	}
}

/* Sockets are opened, or were taken over. */
static int begin_serving(struct vht_target *t, const char **ret_why)
{
	CLEANUP(freep) char *no_management = NULL;
	int r;

	if (t->successor_fd >= 0) {
		confine(t);
		successor_serves(t);
		say_ready(t);
		return 0;
	}
	r = check_directory(t, ret_why);
	if (r == 0) {
		r = open_management(t, &no_management, ret_why);
	}
	if (r == 0) {
		r = target_listen(t->target, ret_why);
	}
	if (r < 0) {
		return r;
	}
	confine(t);
	if (no_management != NULL) {
		log_warning("no management socket: %s (-r PATH gives it another place)",
			    no_management);
	}
	say_ready(t);
	return 0;
}

int vht_target_run(struct vht_target *target, const char **ret_why)
{
	struct vht_target *t = target;
	int r;

	if (t->target == NULL) {
		*ret_why = why("the target was not started");
		return -EINVAL;
	}
	r = begin_serving(t, ret_why);
	if (r < 0) {
		return r;
	}
	t->serving = true;
	if (t->stop_wanted) {
		api_begin_shutdown(t);
	}
	while (r == 0 && !t->ended) {
		r = loop_run_once(t->loop, -1);
	}
	if (t->handed_over) {
		predecessor_ends(t);
		/* Before us: then the successor is the child of whoever hears of our end. */
		starter_free(t->starter);
		t->starter = NULL;
		return VHT_HANDED_OVER;
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
