/* SPDX-License-Identifier: BSD-3-Clause */
/* One queue without a back-end, and the model of a device on its other side. */
#ifndef TESTS_RING_EXERCISE_H
#define TESTS_RING_EXERCISE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model.h"

struct exercise {
	struct vfe_memory *memory;
	struct vfe_session *session;
	struct vfe_queue *queue;
	struct model_ring model;
	uint8_t *data; /* one page in the memory */
};

void exercise_open(struct exercise *e, uint64_t features, unsigned int size, unsigned int segments,
		   bool indirect);
void exercise_close(struct exercise *e);

/* Adds requests of random shapes, completes them in random order, until `rounds` went through. */
void exercise_random(uint64_t features, unsigned int size, unsigned int segments, bool indirect,
		     unsigned int rounds);
/* As many requests as fit, and what add says then. */
void exercise_full(uint64_t features);
/* Kicks come when asked for and not otherwise. */
void exercise_kicks(uint64_t features);
/* A caller that polls never causes a call; one that waits gets it. */
void exercise_calls(uint64_t features);
/* Requests of a queue whose device died come back, once. */
void exercise_abandon(uint64_t features);
/* The device returns something that it does not have. */
void exercise_bad_id(uint64_t features);

#endif
