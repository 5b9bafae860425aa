/* SPDX-License-Identifier: BSD-3-Clause */
#include "controller/placement.h"

#include "controller/controller.h"

/* Looks are not closer to each other: all queues of a session start with the same view of things. */
#define LOOK_MS 100
/* Work that moves as many bytes as this costs twice as much as a short request. */
#define BYTES_PER_WORK (UINT64_C(16) << 10)

/* ---- sums ---- */

struct place *placement_pick(struct place *places, unsigned int n, const struct env_cpuset *mask,
			     int numa_node, const struct core *stay)
{
	struct place *best = NULL;
	bool best_is_near = false;
	unsigned int i;

	for (i = 0; i < n; i++) {
		struct place *place = &places[i];
		bool is_near = numa_node == ENV_ANY_NODE || place->numa_node == numa_node;

		if (!env_cpuset_has(mask, place->number) || (best_is_near && !is_near)) {
			continue;
		}
		if (best == NULL || is_near != best_is_near || place->weight < best->weight ||
		    (place->weight == best->weight && place->core == stay)) {
			best = place;
			best_is_near = is_near;
		}
	}
	return best;
}

uint64_t placement_work(const struct virtq_stats *stats)
{
	return stats->requests + (stats->read_bytes + stats->written_bytes) / BYTES_PER_WORK;
}

unsigned int placement_weight(uint64_t work, uint64_t busiest)
{
	if (busiest < PLACEMENT_WORK_MIN) {
		return 0;
	}
	return (unsigned int)((long double)work * (PLACEMENT_WEIGHT_MAX - 1) /
			      (long double)busiest);
}

/* ---- a look at all queues ---- */

static bool is_placed(const struct controller_queue *queue)
{
	return queue->run.vq != NULL && queue->wanted != NULL;
}

/* Leaves in queue->work what it has done since the last look. Returns the most that one has. */
static uint64_t measure(struct controller *controller)
{
	uint64_t busiest = 0;
	unsigned int i;

	for (i = 0; i < controller->queue_n; i++) {
		struct controller_queue *queue = &controller->queues[i];
		struct virtq_stats stats;
		uint64_t work;

		queue->work = 0;
		if (queue->run.vq == NULL) {
			continue;
		}
		virtq_read_stats(queue->run.vq, &stats);
		work = placement_work(&stats);
		/* Requests that were given back to the ring do not count any more. */
		queue->work = work > queue->work_seen ? work - queue->work_seen : 0;
		queue->work_seen = work;
		busiest = queue->work > busiest ? queue->work : busiest;
	}
	return busiest;
}

static void look(struct target *target)
{
	uint64_t now = env_ticks();
	struct controller *controller;
	uint64_t busiest = 0;
	unsigned int i;

	if (now - target->looked_at < LOOK_MS * env_ticks_hz() / 1000) {
		return;
	}
	target->looked_at = now;
	TAILQ_FOREACH (controller, &target->controllers, link) {
		uint64_t work = measure(controller);

		busiest = work > busiest ? work : busiest;
	}
	TAILQ_FOREACH (controller, &target->controllers, link) {
		for (i = 0; i < controller->queue_n; i++) {
			struct controller_queue *queue = &controller->queues[i];

			queue->weight = placement_weight(queue->work, busiest);
		}
	}
}

static bool has_placed(const struct controller *controller)
{
	unsigned int i;

	for (i = 0; i < controller->queue_n; i++) {
		if (is_placed(&controller->queues[i])) {
			return true;
		}
	}
	return false;
}

static void add_weight(struct target *target, const struct core *core, unsigned int weight)
{
	unsigned int i;

	for (i = 0; i < target->place_n; i++) {
		if (target->places[i].core == core) {
			target->places[i].weight += weight;
		}
	}
}

static void weigh_controller(struct target *target, const struct controller *controller)
{
	unsigned int i;

	for (i = 0; i < controller->queue_n; i++) {
		const struct controller_queue *queue = &controller->queues[i];

		if (is_placed(queue)) {
			add_weight(target, queue->wanted, 1 + queue->weight);
		}
	}
}

/* What is on each core; `except`: whose queues do not count (NULL: all do). */
static void weigh(struct target *target, const struct controller *except)
{
	const struct controller *controller;
	unsigned int i;

	for (i = 0; i < target->place_n; i++) {
		target->places[i].weight = 0;
	}
	TAILQ_FOREACH (controller, &target->controllers, link) {
		if (controller != except) {
			weigh_controller(target, controller);
		}
	}
}

/* ---- decisions ---- */

/* Not NULL: a Cpumask is a non-empty subset of the cores (checked when it was set). */
static struct place *pick(struct controller *controller, int numa_node, const struct core *stay)
{
	struct target *target = controller->target;

	return placement_pick(target->places, target->place_n, &controller->cpumask, numa_node,
			      stay);
}

struct core *placement_of_new(struct controller_queue *queue)
{
	struct controller *controller = queue->controller;
	const struct place *place;

	look(controller->target);
	weigh(controller->target, NULL);
	place = pick(controller, queue->numa_node, NULL);
	if (!has_placed(controller) && queue->numa_node != ENV_ANY_NODE &&
	    queue->numa_node != place->numa_node) {
		log_limited(
			&controller->limiter, LOG_LEVEL_NOTICE,
			"%s: no core of its Cpumask is on NUMA node %d, where the memory of its "
			"guest is",
			controller->name, queue->numa_node);
	}
	return place->core;
}

/* Of those that have no place yet: the heaviest, then the first. */
static struct controller_queue *next_to_place(struct controller *controller)
{
	struct controller_queue *next = NULL;
	unsigned int i;

	for (i = 0; i < controller->queue_n; i++) {
		struct controller_queue *queue = &controller->queues[i];

		if (queue->run.vq != NULL && queue->wanted == NULL &&
		    (next == NULL || queue->weight > next->weight)) {
			next = queue;
		}
	}
	return next;
}

void placement_spread(struct controller *controller)
{
	struct controller_queue *queue;
	unsigned int i;

	look(controller->target);
	weigh(controller->target, controller);
	for (i = 0; i < controller->queue_n; i++) {
		controller->queues[i].wanted = NULL;
	}
	while ((queue = next_to_place(controller)) != NULL) {
		struct place *place = pick(controller, queue->numa_node, queue->run.core);

		place->weight += 1 + queue->weight;
		queue->wanted = place->core;
	}
}
