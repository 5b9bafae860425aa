/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: an honest guest on another controller of the same target, which does a little I/O all the time, in
 * a thread of its own, checks what it reads, and knows how long it had to wait.
 */
#ifndef HOSTILE_BYSTANDER_H
#define HOSTILE_BYSTANDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "options.h"

struct bystander;

struct bystander_report {
	uint64_t requests;
	uint64_t worst_ns;
	uint64_t sum_ns;
};

/* Returns when its first request has come back. */
int bystander_start(const struct options *options, struct bystander **ret_bystander, char *ret_why,
		    size_t why_len);
/* Forgets what was measured so far. */
void bystander_begin(struct bystander *bystander);
/* What was measured since then, up to now. */
struct bystander_report bystander_look(struct bystander *bystander);
/*
 * What was measured since then, after one request more that began just now. False, with a reason: it waits for
 * longer than `limit_ms`, lost its session, or read what it did not write.
 */
bool bystander_end(struct bystander *bystander, unsigned int limit_ms,
		   struct bystander_report *ret_report, char *ret_why, size_t why_len);
void bystander_stop(struct bystander *bystander); /* NULL is fine */

#endif
