/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: a planned hand-over (docs/ARCHITECTURE.md).
 *   predecessor  the process that serves. It starts another one, tells it everything, and ends when that serves;
 *                until it has given the word (GO) it can go on as if nothing had happened, and after any
 *                failure of the other it does.
 *   successor    the process that was started. Until it has the word it touches no file, no socket and no ring; if it
 *                fails, it says why and ends at once.
 *
 * They talk over a socketpair, in parcels (base/parcel.h), one of each kind in this order. What is in them
 * is written down where it is packed: HANDOVER_START here below, the others in bdev/, device/, vhost_user/,
 * controller/ and mgmt/, in files named handover.c or functions named *_save. Whatever changes there, raises
 * HANDOVER_VERSION: a successor of another version refuses, and the predecessor goes on.
 *
 * Owner of all: the control thread.
 */
#ifndef VHT_API_HANDOVER_H
#define VHT_API_HANDOVER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/loop.h"
#include "base/parcel.h"
#include "mgmt/handover_status.h"

#define HANDOVER_MAGIC	 UINT32_C(0x4f485456) /* "VTHO" */
#define HANDOVER_VERSION 1

enum handover_parcel {
	HANDOVER_START = 1, /* -> magic, version, cores, log level */
	HANDOVER_READY,	    /* <- environment and reactors have been started */
	HANDOVER_CONFIG,    /* -> the status of hand-overs, management, bdevs, controllers */
	HANDOVER_PREPARED,  /* <- all of that is there */
	HANDOVER_SESSIONS,  /* -> when the pause began, devices and sessions */
	HANDOVER_RESTORED,  /* <- all rings could be started */
	HANDOVER_GO,	    /* -> the word */
	HANDOVER_SERVING,   /* <- they are served */
	HANDOVER_CANNOT,    /* <- at any time: why */
};

enum predecessor_stage {
	PREDECESSOR_IDLE,
	PREDECESSOR_STARTING,	/* waits for READY */
	PREDECESSOR_PREPARING,	/* for PREPARED */
	PREDECESSOR_SUSPENDING, /* for its own rings to stop */
	PREDECESSOR_RESTORING,	/* for RESTORED */
	PREDECESSOR_COMMITTED,	/* for SERVING */
	PREDECESSOR_ENDING,	/* for the death of a successor that has failed */
};

struct vht_target;

struct predecessor {
	enum predecessor_stage stage;
	enum predecessor_stage failed_at;
	pid_t pid;
	int fd;
	struct loop_watch *watch;
	struct loop_timer *timer;
	struct parcel out; /* being sent, if out_type is not 0 */
	uint32_t out_type;
	struct parcel in;
	uint64_t suspended_at; /* ns */
};

/* For the caller of clock_gettime(): all processes of a machine agree on it. */
uint64_t handover_now_ns(void);

/* Starts a successor; binary NULL: the program that lies where ours came from. What comes of it: t->handover. */
int predecessor_begin(struct vht_target *t, const char *binary, const char **ret_why);
/* The target is to stop: ends the successor if it can still be. False: there is none. */
bool predecessor_cancel(struct vht_target *t);
/* A wish to stop came too late for us, and is meant for whoever serves. */
void predecessor_pass_stop_on(struct vht_target *t);
/* The same for one that came in the last moment, which nobody has looked at. */
void predecessor_ends(struct vht_target *t);
void predecessor_done(struct vht_target *t);

/* All rings are served, and the caller's files are in order: the predecessor ends. */
void successor_serves(struct vht_target *t);

#endif
