/* SPDX-License-Identifier: BSD-3-Clause */
/* A device is changed under its running queues: each is told on its reactor, then the device settles. */
#include <stddef.h>
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

static bool report_failed_targets(struct controller *controller)
{
	bool failed = false;
	unsigned int number;
	int error;

	while (controller->is_scsi &&
	       scsi_take_failed_target(controller->device, &number, &error)) {
		log_error("%s: target %u is removed again: its bdev cannot be opened: %s",
			  controller->name, number, strerror(-error));
		failed = true;
	}
	return failed;
}

void controller_settle(struct controller *controller)
{
	bool running = false;
	bool once_more;
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
	once_more = controller->device->ops->settled(controller->device, running);
	once_more = report_failed_targets(controller) || once_more;
	if (once_more) {
		controller_update(controller);
	} else {
		target_trim_bdevs(controller->target);
	}
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

static void asked_on_loop(struct msg *msg)
{
	struct controller *controller =
		(struct controller *)((char *)msg - offsetof(struct controller, update));

	/* Release: orders our use of the message before the flag that lets it be posted again. */
	atomic_store_explicit(&controller->update_out, false, memory_order_release);
	controller_update(controller);
}

/* On a reactor. The message is there before the answer to the stop of the queue that asks, so before the end of
 * the controller. */
static void ask_update(struct virtio_device *device)
{
	struct controller *controller = device->owner;

	/* Acquire: the mirror of asked_on_loop(). */
	if (!atomic_exchange_explicit(&controller->update_out, true, memory_order_acquire)) {
		controller->update.fn = asked_on_loop;
		loop_post(controller->target->loop, &controller->update);
	}
}

void controller_listen_to_device(struct controller *controller)
{
	controller->device->owner = controller;
	controller->device->ask_update = ask_update;
}
