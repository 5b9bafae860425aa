/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: what other programs (and, under a hypervisor, other guests: steal) took of the processors while we
 * measured. From /proc/stat, in hundredths of a second; so it says something about runs of a second and more.
 */
#ifndef BENCH_OTHERS_H
#define BENCH_OTHERS_H

#include <stdint.h>
#include <sys/types.h>

#define OTHERS_PIDS_MAX 2

struct others {
	int cpus[2];		     /* the ones to look at; any of them -1: all */
	pid_t pids[OTHERS_PIDS_MAX]; /* not counted as others, besides ourselves; 0: none */
	uint64_t ns;
	uint64_t busy_ns; /* all of the processors' work minus ours */
};

void others_begin(struct others *others);
/* Percent of one processor since others_begin. */
double others_end(const struct others *others);

#endif
