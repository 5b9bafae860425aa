/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: a target goes on in another process (docs/ARCHITECTURE.md, "A planned hand-over"). Here is what that
 * process needs of bdevs, controllers and sessions, in two parcels: what was configured, while all of it is being
 * served; then, as late as possible, what drivers and front-ends have said and how far their rings have come.
 *
 *	the one that hands over                          the one that takes over
 *	target_save_config            ---- parcel --->   target_restore_config (of a target that is held)
 *	target_suspend: rings stop
 *	target_save_sessions          ---- parcel --->   target_restore_sessions: rings start, not served yet
 *	                              <--- all is well, from here on the rings are the other's ---
 *	                                                 target_release
 *	target_resume, if it fails before that
 *
 * Between the first and the last step nobody changes the configuration. Owner: control thread.
 */
#ifndef VHT_CONTROLLER_HANDOVER_H
#define VHT_CONTROLLER_HANDOVER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/parcel.h"
#include "controller/target.h"

/* ---- the one that hands over ---- */

void target_save_config(struct target *target, struct parcel *parcel);
/* Every session finishes the message at hand and its requests. Connections and messages wait from now on. */
void target_suspend(struct target *target, void (*done)(void *arg, int result), void *arg);
/* Of a target that is suspended. */
void target_save_sessions(const struct target *target, struct parcel *parcel);
/* As if nothing had happened; also before it was suspended: that is not answered then. done(): the configuration
 * may be changed again. */
void target_resume(struct target *target, void (*done)(void *arg, int result), void *arg);
/* The other process had the rings, and is dead: as after the death of a target, front-ends connect anew. */
void target_end_sessions(struct target *target, const char *reason,
			 void (*done)(void *arg, int result), void *arg);

/* ---- the one that takes over: a new target with `held` ---- */

int target_restore_config(struct target *target, struct parcel *parcel, const char **ret_why);
/*
 * done() comes when all rings have started that can, with the first error of ours (a front-end's own mistake
 * ends its own session, after the release).
 */
int target_restore_sessions(struct target *target, struct parcel *parcel,
			    void (*done)(void *arg, int result), void *arg, const char **ret_why);
/* done(): all rings are being served. */
void target_release(struct target *target, void (*done)(void *arg, int result), void *arg);
/* How many rings run. */
unsigned int target_running_queues(const struct target *target);

#endif
