/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: a vhost-user-blk back-end for tests, with the habits that back-ends have as switches, and a death that
 * comes where it hurts most. It runs in a process of its own; its disk is memory that outlives it.
 *
 *   in-flight area   as the specification lays it out for split rings; for packed ones a simpler layout of its own
 *                    (the area is the back-end's business): chains are kept whole, oldest first.
 */
#ifndef TESTS_FAKE_BACKEND_H
#define TESTS_FAKE_BACKEND_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum fake_death {
	FAKE_NONE,
	FAKE_FETCHED,	/* a batch was fetched and marked, nothing of it done */
	FAKE_EXECUTED,	/* its work was done, nothing published */
	FAKE_PUBLISHED, /* published, still marked as in flight */
	FAKE_HALF,	/* packed: one of several was published */
};

struct fake_config {
	uint64_t features;	    /* offered, besides VERSION_1 and PROTOCOL_FEATURES */
	uint64_t protocol_features; /* offered */
	unsigned int queues;
	unsigned int config_max; /* a longer GET_CONFIG is refused */
	uint32_t size_max;
	uint8_t *disk; /* shared */
	uint64_t disk_size;
	enum fake_death death;
	unsigned int death_after; /* requests that come first */
	uint64_t seed;
	uint32_t refuse; /* the request that is answered by a refusal; 0: none */
};

/* A listening socket at `path`. */
int fake_listen(const char *path);
/* Forks a back-end that serves one connection, then exits with 0. */
pid_t fake_start(const struct fake_config *config, int listen_fd);
/* Waits for its end; returns its exit status, or 128 + the signal. */
int fake_wait(pid_t pid);

#endif
