/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: runs cases one after the other and checks, around each, what all of them must leave behind:
 *
 *   the target lives                        (else it is started again, or the run is over)
 *   its other session waited for no request longer than the limit, and read what it had written
 *   its descriptors and mappings of guest memory are those of before
 *   a good session can use the disk
 */
#ifndef HOSTILE_RUNNER_H
#define HOSTILE_RUNNER_H

#include <sys/types.h>

#include "bystander.h"
#include "case.h"
#include "watch.h"

struct runner {
	const struct options *options;
	pid_t child; /* 0: not ours */
	struct watch watch;
	struct bystander *bystander;
	char gone[128]; /* how the target ended */
};

enum verdict {
	VERDICT_OK,
	VERDICT_SKIPPED,
	VERDICT_FAILED,
};

struct verdict_text {
	char why[600];
	char note[600];
};

/* Starts the target if it is ours, and finds it. -errno with a reason. */
int runner_up(struct runner *runner, char *ret_why, size_t why_len);
enum verdict runner_case(struct runner *runner, const struct hostile_case *running,
			 struct verdict_text *ret_text);
bool runner_target_alive(struct runner *runner);
/* Ends the target if it is ours; true: as it should end. */
bool runner_down(struct runner *runner, char *ret_why, size_t why_len);

#endif
