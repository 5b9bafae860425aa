/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: the start-up file. config_parse() turns its text into sections and values, with the line
 * each came from, and checks all that can be checked without a machine; config_apply() makes bdevs
 * and controllers of it through the same calls that management uses. Sockets are opened afterwards,
 * by the program. Owner: control thread.
 *
 * Every failure is a negative errno with "<file>:<line>: <what is wrong and what to do>" in *ret_why
 * (base/why.h). Things that are odd but have one clear meaning are logged as warnings.
 */
#ifndef VHT_CONFIG_CONFIG_H
#define VHT_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include "controller/target.h"

struct config;

/*
 * An unknown section or key and a bad value are always errors. A line that does not parse, a value
 * too many and a key given twice are logged and passed over, as they always were; strict: errors too.
 */
int config_load(const char *path, bool strict, struct config **ret_config, const char **ret_why);
int config_parse(const char *name, const char *text, size_t len, bool strict,
		 struct config **ret_config, const char **ret_why);
void config_free(struct config *config); /* NULL is fine */

/* Values that the program needs before the environment starts. NULL: not in the file. ret_line: its
 * line in config_name(). */
const char *config_reactor_mask(const struct config *config, unsigned int *ret_line);
const char *config_name(const struct config *config);

/* [Rpc]: should the management socket be there, and where (NULL: default place; otherwise said on line
 * *ret_line). */
bool config_rpc_enabled(const struct config *config);
const char *config_rpc_path(const struct config *config, unsigned int *ret_line);

/* A listening socket that the program was started with. */
struct config_listen_fd {
	const char *controller; /* its Name; NULL: the only controller of the file */
	int fd;			/* >= 0; set to -1 when a controller has taken it over */
};

/* Creates all bdevs, then all scsi controllers, then all blk controllers, in file order. What was
 * made before a failure stays, for target_free() and bdev_delete_all(). */
int config_apply(const struct config *config, struct target *target, struct config_listen_fd *fds,
		 unsigned int fd_n, const char **ret_why);

#endif
