/* SPDX-License-Identifier: BSD-3-Clause */
/* What management and the configuration file say about a controller's quality of service. */
#include <errno.h>

#include "base/why.h"
#include "controller/controller.h"

#define MIB (UINT64_C(1) << 20)

/* Reactors that sleep until a limit allows more have to look anew. */
static void wake_queues(struct controller *controller)
{
	unsigned int i;

	for (i = 0; i < controller->queue_n; i++) {
		if (controller->queues[i].run.vq != NULL) {
			core_poke_queue(&controller->queues[i].run);
		}
	}
}

int controller_set_coalescing(struct target *target, const char *name, uint64_t delay_us,
			      uint64_t iops_threshold, const char **ret_why)
{
	struct controller *controller;
	int r = controller_find_staying(target, name, &controller, ret_why);

	if (r < 0) {
		return r;
	}
	if (delay_us > CONTROLLER_MAX_DELAY_US) {
		*ret_why = why("%s: a delay of %llu us is too long: %d us at most", name,
			       (unsigned long long)delay_us, CONTROLLER_MAX_DELAY_US);
		return -EINVAL;
	}
	if (iops_threshold > UINT32_MAX) {
		*ret_why = why("%s: a threshold of %llu requests per second is too high", name,
			       (unsigned long long)iops_threshold);
		return -EINVAL;
	}
	controller->qos_settings.delay_us = delay_us;
	controller->qos_settings.iops_threshold = iops_threshold;
	qos_set_coalescing(&controller->qos, delay_us, iops_threshold);
	wake_queues(controller);
	return 0;
}

int controller_set_limits(struct target *target, const char *name, uint64_t ios_per_sec,
			  uint64_t mbytes_per_sec, const char **ret_why)
{
	struct controller *controller;
	int r = controller_find_staying(target, name, &controller, ret_why);

	if (r < 0) {
		return r;
	}
	if (ios_per_sec > UINT32_MAX || mbytes_per_sec > UINT32_MAX) {
		*ret_why = why("%s: a limit is too high: use 0 for none", name);
		return -EINVAL;
	}
	controller->qos_settings.ios_per_sec = ios_per_sec;
	controller->qos_settings.mbytes_per_sec = mbytes_per_sec;
	qos_set_limits(&controller->qos, ios_per_sec, mbytes_per_sec * MIB);
	wake_queues(controller);
	return 0;
}
