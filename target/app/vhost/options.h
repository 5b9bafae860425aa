/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: the command line of vhost(8): that of the 17.07 vhost application and a few long options
 * of ours. The table in options.c makes both the parser and the text of -h.
 */
#ifndef VHOST_OPTIONS_H
#define VHOST_OPTIONS_H

#include <stdbool.h>
#include <vhost_target/target.h>

#define OPTIONS_MAX_FDS 256

enum options_result {
	OPTIONS_RUN,
	OPTIONS_DONE, /* -h and the like: exit 0 */
	OPTIONS_BAD,  /* a message was written: exit 1 */
};

struct passed_fd {
	const char *controller; /* NULL: the only one */
	int fd;
};

struct options {
	struct vht_options target;
	const char *config_path; /* NULL: none was given */
	const char *pid_file;
	bool no_core_dumps;
	bool no_handover;
	bool no_seccomp;
	bool quiet;
	bool debug;
	unsigned int fd_n;
	struct passed_fd fds[OPTIONS_MAX_FDS];
	/* One disk without a configuration file. */
	const char *blk_file;
	const char *socket_path;
	bool read_only;
};

/* The strings point into argv, which may be modified. */
enum options_result options_parse(int argc, char **argv, struct options *ret_options);

#endif
