/* SPDX-License-Identifier: BSD-3-Clause */
/* Concepts: a side is a target with the load that is put on it. Every failure has been reported on stderr. */
#ifndef BENCH_SIDE_H
#define BENCH_SIDE_H

#include "options.h"

struct side {
	const struct target *target;
	struct spawned *spawned; /* NULL: it was there before us */
	struct load *load;
	pid_t pid; /* of the process that listens; 0: not known */
};

int side_open(struct side *side, const struct target *target);
/* load_run, with its failure reported. */
int side_run(struct side *side, double seconds, struct histogram *latency,
	     struct load_result *ret_result);
/* Writes all of the disk that the load uses. */
int side_prefill(struct side *side);
/* 0, or an error if a spawned target did not end well. */
int side_close(struct side *side);

#endif
