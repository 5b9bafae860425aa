/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: the process behind the socket, seen from outside: who it is (the kernel says who listens), whether
 * it lives, how many descriptors it has open and how many pieces of guest memory it maps. If the process
 * belongs to somebody else the numbers cannot be read; then they are not checked, which the report says.
 */
#ifndef HOSTILE_WATCH_H
#define HOSTILE_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct watch {
	pid_t pid;
	bool readable;
	int fds;      /* the baseline */
	int mappings; /* the same */
};

/* Finds the process. Fails with -errno when nobody listens on the socket within the time. */
int watch_find(struct watch *watch, const char *socket, unsigned int timeout_ms);
/* What there is now is what shall be there later. */
void watch_take_baseline(struct watch *watch);
bool watch_alive(const struct watch *watch);
/* Waits until descriptors and mappings are back at the baseline. False, with a reason: they are not. */
bool watch_expect_baseline(struct watch *watch, unsigned int timeout_ms, char *ret_why,
			   size_t why_len);

#endif
