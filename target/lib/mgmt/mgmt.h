/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: management by JSON-RPC 2.0 over a UNIX stream socket (mode 0600): requests are JSON
 * objects one after the other, each answered in order by one object and a newline. Methods have
 * their current names and those of 17.07 (docs/RPC.md). Owner: control thread; a slow or hostile client
 * holds up nobody: bounded buffers, bounded number of clients.
 */
#ifndef VHT_MGMT_MGMT_H
#define VHT_MGMT_MGMT_H

#include "base/loop.h"
#include "controller/target.h"
#include "mgmt/handover_status.h"

struct mgmt;
struct parcel;

struct mgmt_options {
	struct loop *loop;
	struct target *target;
	const char *path;	     /* of the socket */
	void (*shutdown)(void *arg); /* the method spdk_kill_instance / shutdown was called */
	/* The method handover was called; binary NULL: the program's own. Negative errno: it cannot begin. */
	int (*hand_over)(void *arg, const char *binary, const char **ret_why);
	void (*handover_status)(void *arg, struct handover_status *ret_status);
	void *arg;
};

/*
 * A planned hand-over. Paused: no request is read. Saved with all its clients, and what they have sent and not yet
 * been answered; restored paused, and shared until it is released.
 */
void mgmt_pause(struct mgmt *mgmt, bool paused);
void mgmt_save(const struct mgmt *mgmt, struct parcel *parcel);
int mgmt_restore(const struct mgmt_options *opts, struct parcel *parcel, struct mgmt **ret_mgmt,
		 const char **ret_why);
void mgmt_release(struct mgmt *mgmt);

/* A socket that nobody listens on any more is replaced; any other file is an error. */
int mgmt_new(const struct mgmt_options *opts, struct mgmt **ret_mgmt, const char **ret_why);
void mgmt_free(struct mgmt *mgmt); /* unlinks the socket; NULL is fine */

#endif
