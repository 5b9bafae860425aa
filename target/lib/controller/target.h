/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts
 *   target      all that one daemon serves: controllers by name, where their sockets lie, the cores.
 *   controller  one vhost socket: a device, its Cpumask, at most one session. The controller wires
 *               session, device, bdev and reactor; it is the only layer that knows there are threads.
 *
 * Start: everything is created first, then target_listen() opens all sockets. A controller that is
 * created later listens at once. All calls: control thread; every failure is a negative errno with
 * one line for the operator in *ret_why (valid until the next call).
 */
#ifndef VHT_CONTROLLER_TARGET_H
#define VHT_CONTROLLER_TARGET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/loop.h"
#include "device/scsi/scsi.h"
#include "env/env.h"
#include "virtio/virtqueue.h"

struct target;
struct controller;

struct target_options {
	struct loop *loop;
	const char *socket_dir;	 /* NULL or "": the current directory, names are used as they are */
	struct env_cpuset cores; /* the ReactorMask; reactors are running */
	bool held;		 /* nothing is served before target_release(): handover.h */
	unsigned int mem_slots;	 /* that front-ends are offered; 0: all there are */
};

int target_new(const struct target_options *opts, struct target **ret_target);
/* Opens the listening sockets of all controllers. On failure those opened are gone again. */
int target_listen(struct target *target, const char **ret_why);
/* Ends all sessions, unlinks all sockets; calls done when the last queue is back. */
void target_shutdown(struct target *target, void (*done)(void *arg), void *arg);
void target_free(struct target *target); /* after shutdown; NULL is fine */

struct controller_options {
	const char *name;    /* the socket's file name */
	const char *cpumask; /* NULL: the whole ReactorMask */
	/* -1: make the socket; otherwise a listening socket, taken over, also on failure. */
	int listen_fd;
	const char *origin; /* "file:line" for messages of target_listen(); NULL: none */
};

struct controller_blk_options {
	const char *bdev;
	bool read_only;
	const char *serial;  /* NULL: the bdev's */
	unsigned int queues; /* 0: default */
};

int controller_create_blk(struct target *target, const struct controller_options *opts,
			  const struct controller_blk_options *blk, const char **ret_why);
int controller_create_scsi(struct target *target, const struct controller_options *opts,
			   const struct scsi_options *scsi, const char **ret_why);
/*
 * -EBUSY while a front-end is connected or (scsi) targets are attached, unless force: then the
 * connection is ended, and the controller is gone when its last request is finished. -ENOENT.
 */
int controller_delete(struct target *target, const char *name, bool force, const char **ret_why);
/*
 * Under a front-end that is connected, too: its driver hears of it. A target that is removed takes no more
 * commands from now on, and its bdev is free (it may be deleted) although requests may be under way still.
 */
int controller_add_scsi_target(struct target *target, const char *name, unsigned int number,
			       const char *bdev, const char **ret_why);
int controller_remove_scsi_target(struct target *target, const char *name, unsigned int number,
				  const char **ret_why);

/*
 * On which cores the queues of a controller run. All take effect while requests are under way, and the
 * driver notices nothing; the queues have arrived a moment later. -EINVAL: no such core or mask; -ENOENT.
 * set_cpumask and rebalance place all queues anew (controller/placement.h; name NULL: of all controllers).
 * move_queue holds until then, or until the queue is started anew; a device whose queues have to be on one
 * reactor moves with all of them.
 */
int controller_set_cpumask(struct target *target, const char *name, const char *cpumask,
			   const char **ret_why);
int controller_move_queue(struct target *target, const char *name, unsigned int index,
			  unsigned int core, const char **ret_why);
int controller_rebalance(struct target *target, const char *name, const char **ret_why);

/*
 * Another bdev in the place of the one that a blk controller has, or has lost. The requests that the old one
 * has are finished first. -EINVAL: while a front-end is connected, one that its driver would be hurt by.
 */
int controller_set_bdev(struct target *target, const char *name, const char *bdev,
			const char **ret_why);

/*
 * Quality of service, at any time, for all queues of the controller together (controller/qos.h). 0: off.
 * Coalescing: while there are more than iops_threshold requests per second, two calls of one queue lie at least
 * delay_us apart. Limits: mbytes are MiB of payload. -EINVAL: out of range.
 */
#define CONTROLLER_MAX_DELAY_US 1000000 /* far below what guests wait for a disk */

struct controller_qos {
	uint64_t delay_us;
	uint64_t iops_threshold;
	uint64_t ios_per_sec;
	uint64_t mbytes_per_sec;
};

int controller_set_coalescing(struct target *target, const char *name, uint64_t delay_us,
			      uint64_t iops_threshold, const char **ret_why);
int controller_set_limits(struct target *target, const char *name, uint64_t ios_per_sec,
			  uint64_t mbytes_per_sec, const char **ret_why);

/*
 * Bdevs that controllers may be using; their drivers hear of it. force: the bdev is taken away from them.
 * Requests to a blk controller then fail until it is given another one; targets of scsi controllers are
 * removed. -ENODEV: no such bdev; or as the functions of bdev.h.
 */
int target_resize_bdev(struct target *target, const char *name, uint64_t size,
		       const char **ret_why);
int target_rescan_bdev(struct target *target, const char *name, const char **ret_why);
int target_delete_bdev(struct target *target, const char *name, bool force, const char **ret_why);

/* What management shows. */
struct controller_info {
	const char *name;
	const char *type; /* "blk", "scsi" */
	const char *socket_path;
	struct env_cpuset cpumask;
	bool connected;
	struct env_cpuset cores; /* that run queues of it */
	int core;		 /* of the first of these queues, -1: none runs */
	uint64_t features;	 /* negotiated */
	uint64_t sessions;	 /* accepted since the start */
	struct controller_qos qos;
	bool read_only;			/* blk */
	const char *bdev;		/* blk; NULL: it was taken away */
	struct scsi_event_stats events; /* scsi */
	struct {
		const char *bdev;    /* NULL: no such target */
	} targets[SCSI_MAX_TARGETS]; /* scsi */
};

struct controller_queue_info {
	unsigned int index;
	bool running;
	int core; /* where it runs, -1: it does not */
	unsigned int size;
	const char *broken;	  /* reason, NULL: fine */
	struct virtq_stats stats; /* totals since the controller exists */
};

/* NULL: first. The order of creation. */
struct controller *controller_next(struct target *target, const struct controller *controller);
struct controller *controller_find(struct target *target, const char *name);
void controller_get_info(const struct controller *controller, struct controller_info *ret_info);
/* false: no queue of that index was ever started. */
bool controller_get_queue(const struct controller *controller, unsigned int index,
			  struct controller_queue_info *ret_info);
unsigned int controller_max_queues(const struct controller *controller);

#endif
