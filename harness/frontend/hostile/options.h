/* SPDX-License-Identifier: BSD-3-Clause */
/* Concepts: the command line of vhost-hostile(1). */
#ifndef HOSTILE_OPTIONS_H
#define HOSTILE_OPTIONS_H

#include <stdbool.h>

#include "vhost_frontend/frontend.h"

#define OPTIONS_CASES_MAX 128

struct options {
	const char *socket;
	enum vfe_device_type device;
	bool packed;
	bool strict;
	bool list;
	const char *cases[OPTIONS_CASES_MAX]; /* none: all */
	unsigned int case_n;
	const char *bystander; /* socket, NULL: none */
	enum vfe_device_type bystander_device;
	unsigned int limit_ms; /* the longest that the bystander may wait */
	unsigned int race_ms;  /* how long each race goes on */
	unsigned int scsi_target;
	char *const *command; /* starts the target, NULL: it runs already */
};

enum options_result {
	OPTIONS_RUN,
	OPTIONS_DONE, /* --help: exit 0 */
	OPTIONS_BAD,  /* a message was written: exit 2 */
};

enum options_result options_parse(int argc, char **argv, struct options *ret_options);

#endif
