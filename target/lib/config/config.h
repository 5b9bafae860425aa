/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: the start-up file. config_parse() turns its text into sections and values, with the line
 * each came from; config_apply() makes bdevs and controllers of it through the same calls that
 * management uses. Sockets are opened afterwards, by the program. Owner: control thread.
 */
#ifndef VHT_CONFIG_CONFIG_H
#define VHT_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include "controller/target.h"

struct config;

/*
 * strict: a line, section or key that is not understood is an error instead of a logged warning.
 * On failure *ret_why is "<path>:<line>: <what is wrong and what to do>" (valid until the next call).
 */
int config_load(const char *path, bool strict, struct config **ret_config, const char **ret_why);
int config_parse(const char *name, const char *text, size_t len, bool strict,
		 struct config **ret_config, const char **ret_why);
void config_free(struct config *config);

/* Values that the program needs before the environment starts. NULL: not in the file. */
const char *config_reactor_mask(const struct config *config);

/* [Rpc]: should the management socket be there, and where (NULL: default place). */
bool config_rpc_enabled(const struct config *config);
const char *config_rpc_path(const struct config *config);

/* Creates all bdevs, then all scsi controllers, then all blk controllers, in file order. */
int config_apply(const struct config *config, struct target *target, const char **ret_why);

#endif
