/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside of the public API: what its files share. The life of a target: new (target.c), start.c,
 * objects.c, run.c, free (target.c).
 */
#ifndef VHT_API_API_H
#define VHT_API_API_H

#include <vhost_target/target.h>

#include "base/loop.h"
#include "config/config.h"
#include "controller/target.h"
#include "mgmt/mgmt.h"

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

/* Callback of several: ends all sessions; `ended` is set when that is done, or late (`stuck`). */
void api_begin_shutdown(void *arg);

#endif
