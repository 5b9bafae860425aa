/* SPDX-License-Identifier: BSD-3-Clause */
/* A device is changed under its running queues: each is told on its reactor, then the device settles. */
#include <string.h>

#include "controller/controller.h"

static bool all_settled(struct target *target)
{
	struct controller *controller;

	TAILQ_FOREACH (controller, &target->controllers, link) {
		if (controller->unsettled) {
			return false;
		}
	}
	return true;
}

void target_trim_bdevs(struct target *target)
{
	struct bdev *bdev = NULL;

	/* Then every reactor that serves a bdev has been through its loop since the size was changed. */
	if (!target->trim_due || !all_settled(target)) {
		return;
	}
	target->trim_due = false;
	while ((bdev = bdev_next(bdev)) != NULL) {
		bdev_trim(bdev);
	}
}

static void report_failed_targets(struct controller *controller)
{
	unsigned int number;
	int error;

	while (controller->is_scsi &&
	       scsi_take_failed_target(controller->device, &number, &error)) {
		log_error("%s: target %u is removed again: its bdev cannot be opened: %s",
			  controller->name, number, strerror(-error));
	}
}

void controller_settle(struct controller *controller)
{
	bool running = false;
	unsigned int i;

	if (!controller->unsettled) {
		return;
	}
	for (i = 0; i < controller->queue_n; i++) {
		const struct core_queue *run = &controller->queues[i].run;

		if (run->vq == NULL) {
			continue;
		}
		if (!core_queue_is_updated(run)) {
			return;
		}
		running = true;
	}
	controller->unsettled = false;
	controller->device->ops->settled(controller->device, running);
	report_failed_targets(controller);
	target_trim_bdevs(controller->target);
}

void controller_update(struct controller *controller)
{
	unsigned int i;

	controller->unsettled = true;
	for (i = 0; i < controller->queue_n; i++) {
		if (controller->queues[i].run.vq != NULL) {
			core_update_queue(&controller->queues[i].run);
		}
	}
	controller_settle(controller);
}
