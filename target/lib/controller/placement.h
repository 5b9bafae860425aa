/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts
 *   unit    what is placed: a queue, or all queues of a device that has to be on one reactor.
 *   weight  of a unit: 1, and up to 7 more for each of its queues, by the work that this has done since placement was
 *           looked at last, compared with the queue that has done most. So idle units are spread by their
 *           number, and busy ones by what they do.
 *   place   a core, and the weight of what is on it, or on its way to it.
 *
 * When a queue starts it gets the place of its controller's Cpumask that is best: on the NUMA node of its ring
 * if there is one, then the least weight, then the lowest core. It stays there until the controller is spread anew:
 * the Cpumask changes, or somebody asks.
 *
 * Nothing is counted while queues come and go: whoever decides looks at all that run. Owner: control thread.
 */
#ifndef VHT_CONTROLLER_PLACEMENT_H
#define VHT_CONTROLLER_PLACEMENT_H

#include <stdint.h>

#include "env/env.h"
#include "virtio/virtqueue.h"

struct controller;
struct controller_queue;
struct core;
struct target;

#define PLACEMENT_WEIGHT_MAX 8
#define PLACEMENT_WORK_MIN   1000

struct place {
	struct core *core;
	unsigned int number; /* of the core */
	int numa_node;
	unsigned int weight;
};

/* The best of those in the mask; `stay` (NULL: none) is better than others that are as good. NULL: none is in it. */
struct place *placement_pick(struct place *places, unsigned int n, const struct env_cpuset *mask,
			     int numa_node, const struct core *stay);
/* What a queue has done, in one number: requests, and the bytes that were moved for them. */
uint64_t placement_work(const struct virtq_stats *stats);
/* `busiest`: the most that any queue has done in the same time; too little is nothing to arrange things by. */
unsigned int placement_weight(uint64_t work, uint64_t busiest);

/* Where a queue that starts shall be. queue->numa_node is set. */
struct core *placement_of_new(struct controller_queue *queue);
/* Says anew where each running queue of the controller shall be. */
void placement_spread(struct controller *controller);

#endif
