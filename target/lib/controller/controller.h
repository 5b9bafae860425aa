/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside of the controller layer: what target.c, controller.c and session.c share. Owner of all:
 * control thread.
 *
 * The life of a controller: created -> listening -> (connected -> listening)* -> deleted. One that is
 * deleted by force while it is connected keeps its name until the last request is finished. While
 * connected, its session hands rings over and takes them back; all of them run on one core, chosen
 * when the first ring starts.
 *
 * Its device may be changed at any time: controller_update() tells the queues. It is unsettled until all
 * have answered, and may be changed once more meanwhile.
 */
#ifndef VHT_CONTROLLER_CONTROLLER_H
#define VHT_CONTROLLER_CONTROLLER_H

#include <sys/queue.h>

#include "base/log.h"
#include "controller/core.h"
#include "controller/listener.h"
#include "controller/qos.h"
#include "controller/target.h"
#include "vhost_user/session.h"

/* Byte budget of one request (rule R2): above what any driver sends, and bounded. */
#define MAX_REQUEST_BYTES (UINT64_C(64) << 20)

/* A core and how many controllers run on it. */
struct placement {
	struct core *core;
	unsigned int controllers;
};

struct target {
	struct loop *loop;
	char *socket_dir;
	struct env_cpuset cores;
	bool listening;
	bool shutting_down;
	bool closing_sessions; /* the list of controllers is being walked */
	bool trim_due;	       /* a bdev has become smaller, its storage not yet */
	void (*shutdown_done)(void *arg);
	void *shutdown_arg;
	unsigned int placement_n;
	struct placement *placements; /* ordered by core number */
	TAILQ_HEAD(, controller) controllers;
};

/* One queue of a controller over all its sessions: what runs now, and the totals of what ran. */
struct controller_queue {
	struct core_queue run; /* .vq != NULL: handed over */
	struct controller *controller;
	bool started_ever;
	uint16_t size;
	struct virtq_stats totals;
};

struct controller {
	struct target *target;
	char *name;
	char *path;
	char *origin;  /* "file:line" that asked for it, or NULL */
	int listen_fd; /* handed in and not yet used, or -1 */
	struct env_cpuset cpumask;
	struct virtio_device *device;
	bool is_scsi;
	bool unsettled;
	struct listener listener;
	struct vu_session *session;
	bool deleting;		     /* when the session is over */
	struct placement *placement; /* while any ring of the session runs */
	struct msg fds_closed;	     /* the answer to close_fds */
	struct qos qos;
	struct controller_qos qos_settings; /* what was asked for */
	uint64_t features;
	uint64_t sessions;
	unsigned int queue_n;
	struct controller_queue *queues;
	struct log_limiter limiter;
	TAILQ_ENTRY(controller) link;
};

/* target.c: one that is not being deleted */
int controller_find_staying(struct target *target, const char *name,
			    struct controller **ret_controller, const char **ret_why);

/* session.c */
void controller_connection_waits(void *arg);
void controller_close_session(struct controller *controller, const char *reason);

/* change.c: after the device was changed; and whenever a queue has been updated or is stopped. */
void controller_update(struct controller *controller);
void controller_settle(struct controller *controller);
void target_trim_bdevs(struct target *target); /* as soon as nobody can be using what was cut off */

/* info.c: adds what the queue has counted since it was started. */
void controller_add_queue_stats(struct virtq_stats *sum, const struct virtq *vq);
/* target.c: called when the controller's session is gone; the controller may be, too, afterwards. */
void target_session_ended(struct controller *controller);
/* placement.c: the core of the mask that runs the fewest controllers, lowest number on ties. */
struct placement *placement_choose(struct target *target, const struct env_cpuset *mask);

#endif
