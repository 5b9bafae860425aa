/* SPDX-License-Identifier: BSD-3-Clause */
#include "mutator.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define SEED 0x9e3779b97f4a7c15

struct mutator {
	pthread_t thread;
	bool stop;
	uint64_t written;
	uint64_t helped; /* as many of the caller's */
	uint64_t state;	 /* of the caller's random numbers */
	unsigned int n;
	struct flip flips[FLIPS_MAX];
};

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void put(const struct flip *flip, uint64_t value)
{
	switch (flip->width) {
	case 1:
		__atomic_store_n((uint8_t *)flip->field, (uint8_t)value, __ATOMIC_RELAXED);
		break;
	case 2:
		__atomic_store_n((uint16_t *)flip->field, (uint16_t)value, __ATOMIC_RELAXED);
		break;
	case 4:
		__atomic_store_n((uint32_t *)flip->field, (uint32_t)value, __ATOMIC_RELAXED);
		break;
	default:
		__atomic_store_n((uint64_t *)flip->field, value, __ATOMIC_RELAXED);
		break;
	}
}

static void flip_one(const struct mutator *m, uint64_t *state)
{
	uint64_t random = next_random(state);
	const struct flip *flip = &m->flips[(random >> 32) % m->n];

	put(flip, flip->values[(uint32_t)random % flip->n]);
}

static void *mutate(void *arg)
{
	struct mutator *m = arg;
	uint64_t state = SEED;

	while (!__atomic_load_n(&m->stop, __ATOMIC_RELAXED)) {
		flip_one(m, &state);
		m->written++;
	}
	return NULL;
}

int mutator_start(const struct flip *flips, unsigned int n, struct mutator **ret_mutator)
{
	struct mutator *m;
	int r;

	if (n == 0 || n > FLIPS_MAX) {
		return -EINVAL;
	}
	m = calloc(1, sizeof(*m));
	if (m == NULL) {
		return -ENOMEM;
	}
	memcpy(m->flips, flips, n * sizeof(*flips));
	m->n = n;
	m->state = SEED / 2;
	r = pthread_create(&m->thread, NULL, mutate, m);
	if (r != 0) {
		free(m);
		return -r;
	}
	*ret_mutator = m;
	return 0;
}

void mutator_help(struct mutator *m, unsigned int n)
{
	m->helped += n;
	while (n-- > 0) {
		flip_one(m, &m->state);
	}
}

uint64_t mutator_stop(struct mutator *m)
{
	uint64_t written;

	if (m == NULL) {
		return 0;
	}
	__atomic_store_n(&m->stop, true, __ATOMIC_RELAXED);
	pthread_join(m->thread, NULL);
	written = m->written + m->helped;
	free(m);
	return written;
}
