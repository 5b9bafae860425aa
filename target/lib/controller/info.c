/* SPDX-License-Identifier: BSD-3-Clause */
/* What management shows of controllers and queues. */
#include <string.h>

#include "controller/controller.h"
#include "device/blk.h"

struct controller *controller_next(struct target *target, const struct controller *controller)
{
	return controller == NULL ? TAILQ_FIRST(&target->controllers) :
				    TAILQ_NEXT(controller, link);
}

struct controller *controller_find(struct target *target, const char *name)
{
	struct controller *controller;

	TAILQ_FOREACH (controller, &target->controllers, link) {
		if (strcmp(controller->name, name) == 0) {
			return controller;
		}
	}
	return NULL;
}

/* -1: it does not run. Of a queue on the move: where it was, or goes. */
static int core_of(const struct controller_queue *queue)
{
	if (queue->run.vq == NULL || queue->run.state == CORE_QUEUE_IDLE) {
		return -1;
	}
	return (int)reactor_core(core_reactor(queue->run.core));
}

void controller_get_info(const struct controller *controller, struct controller_info *ret_info)
{
	unsigned int i;

	*ret_info = (struct controller_info){
		.name = controller->name,
		.type = controller->device->ops->type,
		.socket_path = controller->path,
		.cpumask = controller->cpumask,
		.connected = controller->session != NULL,
		.core = -1,
		.features = controller->features,
		.sessions = controller->sessions,
		.qos = controller->qos_settings,
	};
	for (i = 0; i < controller->queue_n; i++) {
		int core = core_of(&controller->queues[i]);

		if (core >= 0) {
			ret_info->core = ret_info->core < 0 ? core : ret_info->core;
			env_cpuset_add(&ret_info->cores, (unsigned int)core);
		}
	}
	if (!controller->is_scsi) {
		const struct bdev *bdev = blk_bdev(controller->device);

		ret_info->read_only = blk_is_read_only(controller->device);
		ret_info->bdev = bdev != NULL ? bdev->name : NULL;
	} else {
		scsi_get_event_stats(controller->device, &ret_info->events);
	}
	for (i = 0; controller->is_scsi && i < SCSI_MAX_TARGETS; i++) {
		const struct bdev *bdev = scsi_target_bdev(controller->device, i);

		ret_info->targets[i].bdev = bdev != NULL ? bdev->name : NULL;
	}
}

unsigned int controller_max_queues(const struct controller *controller)
{
	return controller->queue_n;
}

void controller_add_queue_stats(struct virtq_stats *sum, const struct virtq *vq)
{
	struct virtq_stats now;

	virtq_read_stats(vq, &now);
	sum->requests += now.requests;
	sum->read_bytes += now.read_bytes;
	sum->written_bytes += now.written_bytes;
	sum->kicks += now.kicks;
	sum->calls += now.calls;
	sum->suppressed_calls += now.suppressed_calls;
	sum->batches += now.batches;
	sum->malformed += now.malformed;
}

bool controller_get_queue(const struct controller *controller, unsigned int index,
			  struct controller_queue_info *ret_info)
{
	const struct controller_queue *queue;

	if (index >= controller->queue_n || !controller->queues[index].started_ever) {
		return false;
	}
	queue = &controller->queues[index];
	*ret_info = (struct controller_queue_info){
		.index = index,
		.running = queue->run.vq != NULL,
		.core = core_of(queue),
		.size = queue->size,
		.stats = queue->totals,
	};
	if (queue->run.vq != NULL) {
		controller_add_queue_stats(&ret_info->stats, queue->run.vq);
		ret_info->broken = virtq_broken_reason(queue->run.vq);
	}
	return true;
}
