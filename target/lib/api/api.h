/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside of the public API: what its files share. The life of a target: new (target.c), start.c,
 * objects.c, run.c, free (target.c).
 */
#ifndef VHT_API_API_H
#define VHT_API_API_H

#include <vhost_target/target.h>

#include "api/handover.h"
#include "api/starter.h"
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
	struct env_cpuset cores; /* of the reactors */
	int stop_fd;
	struct loop_watch *stop_watch;
	struct loop_timer *stop_timer;
	struct target *target;
	struct mgmt *mgmt;
	int handover_fd; /* eventfd: a hand-over was asked for by signal */
	struct loop_watch *handover_watch;
	struct handover_status handover;
	struct starter *starter; /* NULL: there are no hand-overs */
	struct predecessor predecessor;
	int successor_fd; /* of one that has taken over and does not serve yet, or -1 */
	bool stop_wanted; /* when the hand-over is over, on either side */
	bool handed_over;
	bool env_ready;
	bool reactors_ready;
	bool serving;
	bool stopping;
	bool ended;
	bool stuck;
};

/* Environment, reactors and target on t->cores. held: nothing is served yet. */
int api_start(struct vht_target *t, bool held, const char **ret_why);
struct mgmt_options api_mgmt_options(struct vht_target *t, const char *path);

/* Callback of several: ends all sessions; `ended` is set when that is done, or late (`stuck`). */
void api_begin_shutdown(void *arg);

#endif
