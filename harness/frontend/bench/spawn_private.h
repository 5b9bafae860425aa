/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BENCH_SPAWN_PRIVATE_H
#define BENCH_SPAWN_PRIVATE_H

#include "spawn.h"

#define ARGS_MAX 48

struct spawned {
	pid_t pid;
	char dir[128];
	char socket[160];
	char conf[160];
	char log[160];
	char text[8][512]; /* arguments that were put together */
	unsigned int text_n;
	char *args[ARGS_MAX];
	unsigned int arg_n;
};

/* spawn_command.c: fills the arguments, writes the configuration. */
int spawn_prepare(struct spawned *s, const struct spawn_config *config, const char *what,
		  char *ret_why, size_t why_len);

#endif
