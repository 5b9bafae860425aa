/* SPDX-License-Identifier: BSD-3-Clause */
/* The public API: environment, reactors, and all that the configuration file describes. */
#include <errno.h>
#include <string.h>

#include "api/api.h"
#include "base/confine.h"
#include "base/why.h"
#include "env/env.h"
#include "reactor/reactor.h"
#include "virtio/guest_mem.h"

#define DEFAULT_REACTOR_MASK "0x1"

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

static int start_reactors(struct vht_target *t, const char **ret_why)
{
	static const enum reactor_mode modes[] = {
		[VHT_MODE_ADAPTIVE] = REACTOR_ADAPTIVE,
		[VHT_MODE_POLL] = REACTOR_POLL,
		[VHT_MODE_EVENT] = REACTOR_EVENT,
	};
	const struct env_options env = {
		.name = t->opts.name,
		.cores = t->cores,
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
	r = reactors_start(&t->cores, &reactor);
	if (r < 0) {
		*ret_why = why("cannot start the reactors: %s", strerror(-r));
		return r;
	}
	t->reactors_ready = true;
	return 0;
}

int api_start(struct vht_target *t, bool held, const char **ret_why)
{
	struct target_options opts = {
		.loop = t->loop,
		.socket_dir = t->opts.socket_dir,
		.held = held,
		.mem_slots = t->opts.mem_slots,
	};
	int r = t->opts.confine ? confine_capabilities() : 0;

	if (r < 0) {
		*ret_why = why("cannot give up capabilities: %s", strerror(-r));
		return r;
	}
	r = start_reactors(t, ret_why);
	if (r < 0) {
		return r;
	}
	opts.cores = t->cores;
	r = target_new(&opts, &t->target);
	if (r < 0) {
		*ret_why = why("cannot create the target: %s", strerror(-r));
	}
	return r;
}

int vht_target_start(struct vht_target *target, const char **ret_why)
{
	struct vht_target *t = target;
	int r;

	if (t->target != NULL) {
		*ret_why = why("the target was started already");
		return -EALREADY;
	}
	r = choose_cores(t, &t->cores, ret_why);
	if (r == 0) {
		r = api_start(t, false, ret_why);
	}
	if (r < 0 || t->config == NULL) {
		return r;
	}
	return config_apply(t->config, t->target, t->fds, t->fd_n, ret_why);
}
