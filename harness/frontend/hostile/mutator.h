/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: another processor of the guest. A thread writes values into chosen fields of shared memory, one
 * after the other in a random order, as fast as it can, while the device reads them.
 *
 * Where there are two processors the thread has none in the moment that matters: the device has woken up on one, and
 * whoever woke it is still on the other. So whoever offers requests does the same, instead of going to sleep.
 */
#ifndef HOSTILE_MUTATOR_H
#define HOSTILE_MUTATOR_H

#include <stdint.h>

#define FLIP_VALUES_MAX 8
#define FLIPS_MAX	96

struct flip {
	void *field;
	unsigned int width; /* bytes: 1, 2, 4 or 8; aligned to that */
	unsigned int n;
	uint64_t values[FLIP_VALUES_MAX];
};

struct mutator;

/* The flips are copied. */
int mutator_start(const struct flip *flips, unsigned int n, struct mutator **ret_mutator);
/* As the thread does, by the caller, `n` times. */
void mutator_help(struct mutator *mutator, unsigned int n);
/* Returns how many values it has written. NULL is fine. */
uint64_t mutator_stop(struct mutator *mutator);

#endif
