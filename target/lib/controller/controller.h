/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside of the controller layer: what target.c, controller.c and session.c share. Owner of all:
 * control thread.
 *
 * The life of a controller: created -> listening -> (connected -> listening)* -> deleted. One that is
 * deleted by force while it is connected keeps its name until the last request is finished. While
 * connected, its session hands rings over and takes them back; each runs on a core of its own choice
 * (placement.h), and may be moved to another one.
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
#include "controller/placement.h"
#include "controller/qos.h"
#include "controller/target.h"
#include "vhost_user/session.h"

/* Byte budget of one request (rule R2): above what any driver sends, and bounded. */
#define MAX_REQUEST_BYTES (UINT64_C(64) << 20)

struct target {
	struct loop *loop;
	char *socket_dir;
	struct env_cpuset cores;
	unsigned int mem_slots; /* of sessions */
	bool listening;
	bool shutting_down;
	bool closing_sessions; /* the list of controllers is being walked */
	bool suspended;	       /* no connection is accepted */
	/* Who waits for sessions to be suspended, to be resumed or for cores to be released, one at a time. */
	struct {
		unsigned int pending;
		int result; /* the first error */
		void (*done)(void *arg, int result);
		void *arg;
	} handover;
	bool trim_due; /* a bdev has become smaller, its storage not yet */
	void (*shutdown_done)(void *arg);
	void *shutdown_arg;
	unsigned int place_n;
	struct place *places; /* ordered by core number */
	uint64_t looked_at;   /* placement.c: when, in ticks */
	TAILQ_HEAD(, controller) controllers;
};

/* One queue of a controller over all its sessions: what runs now, and the totals of what ran. */
struct controller_queue {
	struct core_queue run; /* .vq != NULL: handed over */
	struct controller *controller;
	bool started_ever;
	uint16_t size;
	struct virtq_stats totals;
	/* move.c, while .vq != NULL: */
	struct core *wanted; /* where it shall run */
	struct core *
		from; /* where it goes back to if it cannot; NULL: it is there, or has been asked */
	bool stranded;	   /* no core can run it: its session ends */
	unsigned int kept; /* handover.c: 1 + the core that it was on, and shall be on; 0: any */
	/* placement.c: */
	int numa_node;	    /* of its ring */
	uint64_t work_seen; /* at the last look */
	uint64_t work;	    /* between the last two */
	unsigned int weight;
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
	struct msg update; /* its device asks for one */
	atomic_bool update_out;
	bool handover_pending; /* its session has yet to be suspended or resumed */
	struct listener listener;
	struct vu_session *session;
	bool deleting;	       /* when the session is over */
	struct msg fds_closed; /* the answer to close_fds */
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

/* One on a device that is there; takes the device over, also on failure. */
int controller_create(struct target *target, const struct controller_options *opts,
		      struct virtio_device *device, bool is_scsi, const char **ret_why);

/* handover.c */
void controller_suspended(void *owner);
void controller_resumed(void *owner, int result);
/* Where a queue that starts was before; NULL: it is not placed yet. Asked once. */
struct core *controller_kept_core(struct controller_queue *queue);
void target_suspend_goes_on(struct target *target, struct controller *controller);

/* session.c */
extern const struct vu_owner_ops controller_owner_ops;
void controller_connection_waits(void *arg);
void controller_close_session(struct controller *controller, const char *reason);

/* change.c: after the device was changed; and whenever a queue has been updated or is stopped. */
void controller_update(struct controller *controller);
void controller_settle(struct controller *controller);
/* What a device calls that wants its queues updated. Before the first one starts. */
void controller_listen_to_device(struct controller *controller);
void target_trim_bdevs(struct target *target); /* as soon as nobody can be using what was cut off */

/* info.c: adds what the queue has counted since it was started. */
void controller_add_queue_stats(struct virtq_stats *sum, const struct virtq *vq);
/* target.c: called when the controller's session is gone; the controller may be, too, afterwards. */
void target_session_ended(struct controller *controller);
/* target.c: a Cpumask, NULL: the whole ReactorMask. */
int controller_parse_cpumask(const struct controller *controller, const char *text,
			     struct env_cpuset *ret_cpumask, const char **ret_why);

/* move.c: a core of its Cpumask, or NULL; the answer to a queue's moves; and lets those go on that are waiting,
 * whenever a queue has become free to. */
struct core *controller_find_core(const struct controller *controller, unsigned int number);
void controller_queue_moved(struct core_queue *run, int result);
void controller_go_on_moving(struct controller *controller);

#endif
