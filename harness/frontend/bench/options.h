/* SPDX-License-Identifier: BSD-3-Clause */
/* Concepts: the command line of vhost-bench(1). The table in options.c makes both the parser and --help. */
#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H

#include "load.h"
#include "spawn.h"

#define OPTIONS_TARGETS_MAX 2

enum options_result {
	OPTIONS_RUN,
	OPTIONS_DONE, /* --help: exit 0 */
	OPTIONS_BAD,  /* a message was written: exit 2 */
};

enum bench_mode {
	MODE_RUN,
	MODE_COMPARE,
	MODE_CALIBRATE,
	MODE_INSTRUCTIONS,
};

/* A target with what is special about it. */
struct target {
	char *name; /* a socket's path, or what to spawn */
	bool spawned;
	struct load_config load;
	struct spawn_config spawn;
};

struct options {
	enum bench_mode mode;
	struct load_config load; /* what all targets have in common */
	struct spawn_config spawn;
	struct target targets[OPTIONS_TARGETS_MAX];
	unsigned int target_n;
	int cpu; /* of this program, -1: any */
	double seconds;
	double warmup;
	bool prefill;
	const char *json;    /* file, "-": standard output */
	unsigned int groups; /* compare: of four blocks */
	double block_seconds;
	double disturbance;	   /* compare: percent of a processor that others may use */
	bool leave_running;	   /* compare: do not stop the rival */
	uint64_t requests;	   /* instructions: of the longer run */
	const char *callgrind_out; /* instructions: file to keep its counts in, NULL: none */
	const char *workload;	   /* as given */
};

/* The strings point into argv, which is modified. */
enum options_result options_parse(int argc, char **argv, struct options *ret_options);

#endif
