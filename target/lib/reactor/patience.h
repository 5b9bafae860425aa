/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: how long an adaptive reactor that finds nothing to do stays awake. Going to sleep and waking up take some
 * microseconds, which a disk's answer had better not wait for. So with requests under way the window is longer, if
 * answers come within it; a disk that takes longer is waited for asleep. All times are in ticks.
 */
#ifndef VHT_REACTOR_PATIENCE_H
#define VHT_REACTOR_PATIENCE_H

#include <stdbool.h>
#include <stdint.h>

/* The longest window with requests under way, in windows without. */
#define PATIENCE_LONGEST 16

struct patience {
	uint64_t idle;	    /* length of the window when nothing is under way */
	uint64_t under_way; /* when something is; from `idle` to PATIENCE_LONGEST times that */
};

/* May it sleep after so long? */
static inline bool patience_is_over(const struct patience *patience, uint64_t idle_for,
				    bool under_way)
{
	return idle_for >= (under_way ? patience->under_way : patience->idle);
}

/* A sleep with requests under way took so long. */
static inline void patience_learn(struct patience *patience, uint64_t slept)
{
	uint64_t longest = PATIENCE_LONGEST * patience->idle;

	if (slept > longest) {
		patience->under_way = patience->idle;
	} else if (patience->under_way < longest) {
		patience->under_way *= 2;
	}
}

#endif
