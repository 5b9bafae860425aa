/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: starts a target of its own, so that one command makes a figure. What to start is written
 * PROGRAM-BDEV: "vhost-null", "vhost-malloc", "vhost-aio" (our daemon with a configuration made for it),
 * "qsd-null", "qsd-file" (qemu-storage-daemon). Its socket, configuration and log lie in a directory of their own
 * under $TMPDIR, which is removed when the target has ended.
 */
#ifndef BENCH_SPAWN_H
#define BENCH_SPAWN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct spawn_config {
	int cpu;		    /* of the target; -1: any */
	uint64_t size_mb;	    /* of null and malloc disks */
	const char *file;	    /* of aio and file disks */
	const char *program;	    /* the daemon; NULL: look for it */
	const char *mode;	    /* of our daemon: adaptive, poll, event */
	const char *const *wrapper; /* words to put before the program, up to a NULL; NULL: none */
	unsigned int queues;
	bool scsi;
};

struct spawned;

/* Returns when the target listens. ret_why (of why_len bytes) says what was wrong. */
int spawn_start(const struct spawn_config *config, const char *what, struct spawned **ret_spawned,
		char *ret_why, size_t why_len);
const char *spawn_socket(const struct spawned *spawned);
pid_t spawn_pid(const struct spawned *spawned);
/* SIGTERM, and a wait with a deadline; 0 if it ended as it should, else that was said on stderr. NULL is fine. */
int spawn_stop(struct spawned *spawned);

#endif
