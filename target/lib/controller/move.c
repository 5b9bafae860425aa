/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Queues move to other cores while they run. It is said where each shall be (`wanted`), and here it is made so,
 * one step whenever a queue can take one: it leaves the core where it is as soon as its session asks nothing else
 * of it, and enters the other one.
 *
 * A queue that cannot enter (a bdev has no more channels) goes back to where it came from. If it cannot be there
 * either any more, its session ends; with an in-flight area the front-end loses nothing by it.
 */
#include <errno.h>
#include <string.h>

#include "base/why.h"
#include "controller/controller.h"

void controller_go_on_moving(struct controller *controller)
{
	unsigned int i;

	for (i = 0; i < controller->queue_n; i++) {
		struct controller_queue *queue = &controller->queues[i];

		if (queue->run.vq != NULL && queue->run.core != queue->wanted &&
		    core_queue_may_leave(&queue->run)) {
			queue->from = queue->run.core;
			core_leave_queue(&queue->run);
		}
	}
	for (i = 0; i < controller->queue_n; i++) {
		struct controller_queue *queue = &controller->queues[i];

		if (queue->run.vq != NULL && !queue->stranded &&
		    core_queue_may_enter(&queue->run)) {
			core_enter_queue(queue->wanted, &queue->run);
		}
	}
}

static unsigned int core_number(const struct core *core)
{
	return reactor_core(core_reactor(core));
}

static void cannot_enter(struct controller_queue *queue, int error)
{
	struct controller *controller = queue->controller;

	log_limited(&controller->limiter, LOG_LEVEL_WARNING,
		    "%s: queue %u cannot run on core %u: %s; %s", controller->name,
		    queue->run.index, core_number(queue->run.core), strerror(-error),
		    queue->from != NULL ? "it goes back" : "its session ends");
	if (queue->from != NULL) {
		queue->wanted = queue->from;
		queue->from = NULL;
		return;
	}
	queue->stranded = true;
	core_abandon_queue(&queue->run);
	vu_session_close(controller->session, "no core can run a queue of it");
}

void controller_queue_moved(struct core_queue *run, int result)
{
	struct controller_queue *queue = (struct controller_queue *)run;

	if (result < 0 && run->state == CORE_QUEUE_AWAY) {
		cannot_enter(queue, result);
	} else if (run->state == CORE_QUEUE_RUNNING) {
		queue->from = NULL;
	}
	controller_go_on_moving(queue->controller);
}

/* ---- what the operator asks for ---- */

int controller_set_cpumask(struct target *target, const char *name, const char *cpumask,
			   const char **ret_why)
{
	struct controller *controller;
	int r = controller_find_staying(target, name, &controller, ret_why);

	if (r == 0) {
		r = controller_parse_cpumask(controller, cpumask, &controller->cpumask, ret_why);
	}
	if (r < 0) {
		return r;
	}
	placement_spread(controller);
	controller_go_on_moving(controller);
	return 0;
}

struct core *controller_find_core(const struct controller *controller, unsigned int number)
{
	const struct target *target = controller->target;
	unsigned int i;

	for (i = 0; i < target->place_n; i++) {
		if (target->places[i].number == number &&
		    env_cpuset_has(&controller->cpumask, number)) {
			return target->places[i].core;
		}
	}
	return NULL;
}

int controller_move_queue(struct target *target, const char *name, unsigned int index,
			  unsigned int number, const char **ret_why)
{
	struct controller *controller;
	char mask[ENV_CPUSET_TEXT];
	struct core *core;
	int r = controller_find_staying(target, name, &controller, ret_why);

	if (r < 0) {
		return r;
	}
	core = controller_find_core(controller, number);
	if (core == NULL) {
		env_cpuset_format(&controller->cpumask, mask, sizeof(mask));
		*ret_why = why("%s: core %u is not in its Cpumask %s", name, number, mask);
		return -EINVAL;
	}
	if (index >= controller->queue_n || controller->queues[index].run.vq == NULL) {
		*ret_why = why("%s: queue %u does not run", name, index);
		return -ENOENT;
	}
	controller->queues[index].wanted = core;
	controller_go_on_moving(controller);
	return 0;
}

int controller_rebalance(struct target *target, const char *name, const char **ret_why)
{
	struct controller *controller;
	int r;

	if (name != NULL) {
		r = controller_find_staying(target, name, &controller, ret_why);
		if (r < 0) {
			return r;
		}
		placement_spread(controller);
		controller_go_on_moving(controller);
		return 0;
	}
	TAILQ_FOREACH (controller, &target->controllers, link) {
		placement_spread(controller);
		controller_go_on_moving(controller);
	}
	return 0;
}
