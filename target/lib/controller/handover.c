/* SPDX-License-Identifier: BSD-3-Clause */
#include "controller/handover.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/why.h"
#include "controller/controller.h"
#include "device/blk.h"

/* They bound what a broken peer can make us take. */
#define MAX_CONTROLLERS 65536

/* ---- waiting for all of them ---- */

static void begin_waiting(struct target *target, void (*done)(void *arg, int result), void *arg)
{
	target->handover.pending = 1; /* the one who asks: nobody is told before all were asked */
	target->handover.result = 0;
	target->handover.done = done;
	target->handover.arg = arg;
}

static void stop_waiting(struct target *target)
{
	struct controller *controller;

	target->handover.done = NULL;
	TAILQ_FOREACH (controller, &target->controllers, link) {
		controller->handover_pending = false;
	}
}

static void one_is_done(struct target *target, int result)
{
	void (*done)(void *arg, int result) = target->handover.done;

	if (done == NULL) {
		return;
	}
	if (target->handover.result == 0) {
		target->handover.result = result;
	}
	if (--target->handover.pending == 0) {
		target->handover.done = NULL;
		done(target->handover.arg, target->handover.result);
	}
}

static void controller_is_done(struct controller *controller, int result)
{
	if (controller->handover_pending) {
		controller->handover_pending = false;
		one_is_done(controller->target, result);
	}
}

void controller_suspended(void *owner)
{
	controller_is_done(owner, 0);
}

void controller_resumed(void *owner, int result)
{
	controller_is_done(owner, result);
}

/* A session that is over needs no more suspending. */
void target_suspend_goes_on(struct target *target, struct controller *controller)
{
	unsigned int i;

	for (i = 0; i < controller->queue_n; i++) {
		controller->queues[i].kept = 0;
	}
	controller_is_done(controller, 0);
}

/* ---- queues stay on their cores, in both processes ---- */

static void keep_cores(struct controller *controller)
{
	unsigned int i;

	for (i = 0; i < controller->queue_n; i++) {
		struct controller_queue *queue = &controller->queues[i];

		if (queue->run.vq != NULL) {
			queue->kept = 1 + reactor_core(core_reactor(queue->wanted));
		}
	}
}

struct core *controller_kept_core(struct controller_queue *queue)
{
	unsigned int kept = queue->kept;

	queue->kept = 0;
	return kept != 0 ? controller_find_core(queue->controller, kept - 1) : NULL;
}

/* ---- what was configured ---- */

static bool travels(const struct controller *controller)
{
	return !controller->deleting; /* its session ends before anything is handed over */
}

static uint32_t count_controllers(const struct target *target)
{
	const struct controller *controller;
	uint32_t n = 0;

	TAILQ_FOREACH (controller, &target->controllers, link) {
		n += travels(controller);
	}
	return n;
}

void target_save_config(struct target *target, struct parcel *parcel)
{
	struct controller *controller;

	bdev_save_all(parcel);
	parcel_put_u32(parcel, count_controllers(target));
	TAILQ_FOREACH (controller, &target->controllers, link) {
		char mask[ENV_CPUSET_TEXT];

		if (!travels(controller)) {
			continue;
		}
		env_cpuset_format(&controller->cpumask, mask, sizeof(mask));
		parcel_put_text(parcel, controller->name);
		parcel_put_text(parcel, mask);
		parcel_put_u8(parcel, controller->is_scsi);
		if (controller->is_scsi) {
			scsi_save(controller->device, parcel);
		} else {
			blk_save(controller->device, parcel);
		}
		parcel_put_u64(parcel, controller->qos_settings.delay_us);
		parcel_put_u64(parcel, controller->qos_settings.iops_threshold);
		parcel_put_u64(parcel, controller->qos_settings.ios_per_sec);
		parcel_put_u64(parcel, controller->qos_settings.mbytes_per_sec);
		listener_save(&controller->listener, parcel);
	}
}

static int restore_qos(struct target *target, const char *name, struct parcel *parcel,
		       const char **ret_why)
{
	uint64_t delay_us = parcel_get_u64(parcel);
	uint64_t iops_threshold = parcel_get_u64(parcel);
	uint64_t ios_per_sec = parcel_get_u64(parcel);
	uint64_t mbytes_per_sec = parcel_get_u64(parcel);
	int r = controller_set_coalescing(target, name, delay_us, iops_threshold, ret_why);

	return r < 0 ? r :
		       controller_set_limits(target, name, ios_per_sec, mbytes_per_sec, ret_why);
}

static int restore_controller(struct target *target, struct parcel *parcel, const char **ret_why)
{
	struct controller_options opts = { .listen_fd = -1 };
	struct virtio_device *device;
	bool is_scsi;
	int r;

	opts.name = parcel_get_name(parcel);
	opts.cpumask = parcel_get_name(parcel);
	is_scsi = parcel_get_bool(parcel);
	if (parcel->failed) {
		*ret_why = why("a controller that cannot be");
		return -EPROTO;
	}
	r = is_scsi ? scsi_restore(parcel, &device, ret_why) :
		      blk_restore(parcel, &device, ret_why);
	if (r == 0) {
		r = controller_create(target, &opts, device, is_scsi, ret_why);
	}
	if (r == 0) {
		r = restore_qos(target, opts.name, parcel, ret_why);
	}
	if (r == 0) {
		struct controller *controller = controller_find(target, opts.name);

		r = listener_restore(&controller->listener, target->loop, parcel,
				     controller_connection_waits, controller, ret_why);
	}
	if (r < 0) {
		*ret_why = why("controller %s: %s", opts.name, *ret_why);
	}
	return r;
}

int target_restore_config(struct target *target, struct parcel *parcel, const char **ret_why)
{
	int r = bdev_restore_all(parcel, ret_why);
	uint32_t n;

	if (r < 0) {
		return r;
	}
	n = parcel_get_below(parcel, MAX_CONTROLLERS + 1);
	for (; n > 0 && r == 0; n--) {
		r = restore_controller(target, parcel, ret_why);
	}
	if (r == 0 && parcel->failed) {
		*ret_why = why("the description of the controllers is not complete");
		r = -EPROTO;
	}
	target->suspended = true;
	return r;
}

/* ---- the one that hands over ---- */

/* Not while a device is about to let go of a bdev: that would be closed under its channel. */
static void hold_channels(struct target *target)
{
	const struct controller *controller;
	unsigned int i;

	TAILQ_FOREACH (controller, &target->controllers, link) {
		if (controller->unsettled || controller->deleting) {
			return;
		}
	}
	for (i = 0; i < target->place_n; i++) {
		core_hold_channels(target->places[i].core, true, NULL, NULL);
	}
}

static void core_is_done(void *arg)
{
	one_is_done(arg, 0);
}

void target_suspend(struct target *target, void (*done)(void *arg, int result), void *arg)
{
	struct controller *controller;
	struct controller *next;

	begin_waiting(target, done, arg);
	target->suspended = true;
	hold_channels(target);
	TAILQ_FOREACH (controller, &target->controllers, link) {
		listener_pause(&controller->listener, true);
		if (controller->session != NULL) {
			controller->handover_pending = true;
			target->handover.pending++;
			keep_cores(controller);
		}
	}
	for (controller = TAILQ_FIRST(&target->controllers); controller != NULL;
	     controller = next) {
		next = TAILQ_NEXT(controller, link);
		if (controller->session != NULL) {
			vu_session_suspend(
				controller->session); /* perhaps its end, and that of both */
		}
	}
	one_is_done(target, 0);
}

static void save_stats(const struct controller *controller, struct parcel *parcel)
{
	unsigned int i;

	parcel_put_u32(parcel, controller->queue_n);
	for (i = 0; i < controller->queue_n; i++) {
		const struct controller_queue *queue = &controller->queues[i];
		const struct virtq_stats *s = &queue->totals;

		parcel_put_u8(parcel, queue->started_ever);
		if (!queue->started_ever) {
			continue;
		}
		parcel_put_u32(parcel, queue->size);
		parcel_put_u32(parcel, queue->kept);
		parcel_put_u64(parcel, s->requests);
		parcel_put_u64(parcel, s->read_bytes);
		parcel_put_u64(parcel, s->written_bytes);
		parcel_put_u64(parcel, s->kicks);
		parcel_put_u64(parcel, s->calls);
		parcel_put_u64(parcel, s->suppressed_calls);
		parcel_put_u64(parcel, s->batches);
		parcel_put_u64(parcel, s->malformed);
	}
}

static int restore_stats(struct controller *controller, struct parcel *parcel)
{
	unsigned int i;

	if (parcel_get_u32(parcel) != controller->queue_n) {
		return -EPROTO;
	}
	for (i = 0; i < controller->queue_n; i++) {
		struct controller_queue *queue = &controller->queues[i];
		struct virtq_stats *s = &queue->totals;

		queue->started_ever = parcel_get_bool(parcel);
		if (!queue->started_ever) {
			continue;
		}
		queue->size = (uint16_t)parcel_get_below(parcel, VIRTQ_MAX_SIZE + 1);
		queue->kept = parcel_get_below(parcel, ENV_MAX_CORES + 1);
		s->requests = parcel_get_u64(parcel);
		s->read_bytes = parcel_get_u64(parcel);
		s->written_bytes = parcel_get_u64(parcel);
		s->kicks = parcel_get_u64(parcel);
		s->calls = parcel_get_u64(parcel);
		s->suppressed_calls = parcel_get_u64(parcel);
		s->batches = parcel_get_u64(parcel);
		s->malformed = parcel_get_u64(parcel);
	}
	return 0;
}

void target_save_sessions(const struct target *target, struct parcel *parcel)
{
	const struct controller *controller;

	parcel_put_u32(parcel, count_controllers(target));
	TAILQ_FOREACH (controller, &target->controllers, link) {
		if (!travels(controller)) {
			continue;
		}
		parcel_put_text(parcel, controller->name);
		parcel_put_u64(parcel, controller->sessions);
		parcel_put_u64(parcel, controller->features);
		save_stats(controller, parcel);
		controller->device->ops->save(controller->device, parcel);
		parcel_put_u8(parcel, controller->session != NULL);
		if (controller->session != NULL) {
			vu_session_save(controller->session, parcel);
		}
	}
}

void target_resume(struct target *target, void (*done)(void *arg, int result), void *arg)
{
	struct controller *controller;
	struct controller *next;
	unsigned int i;

	stop_waiting(target);
	target->suspended = false;
	for (controller = TAILQ_FIRST(&target->controllers); controller != NULL;
	     controller = next) {
		next = TAILQ_NEXT(controller, link);
		if (!controller->deleting) {
			listener_pause(&controller->listener, false);
		}
		if (controller->session != NULL) {
			vu_session_resume(controller->session);
		}
	}
	/* Behind the starts, on each reactor that has some. */
	begin_waiting(target, done, arg);
	target->handover.pending += target->place_n;
	for (i = 0; i < target->place_n; i++) {
		core_hold_channels(target->places[i].core, false, core_is_done, target);
	}
	one_is_done(target, 0);
}

void target_end_sessions(struct target *target, const char *reason,
			 void (*done)(void *arg, int result), void *arg)
{
	struct controller *controller;
	struct controller *next;

	for (controller = TAILQ_FIRST(&target->controllers); controller != NULL;
	     controller = next) {
		next = TAILQ_NEXT(controller, link);
		controller_close_session(controller, reason);
	}
	target_resume(target, done, arg);
}

/* ---- the one that takes over ---- */

static int restore_session(struct controller *controller, struct parcel *parcel,
			   const char **ret_why)
{
	int r;

	controller->sessions = parcel_get_u64(parcel);
	controller->features = parcel_get_u64(parcel);
	r = restore_stats(controller, parcel);
	if (r == 0) {
		r = controller->device->ops->restore(controller->device, parcel);
	}
	if (r == 0 && parcel_get_bool(parcel)) {
		r = vu_session_restore(controller->target->loop, parcel, controller->queue_n,
				       &controller_owner_ops, controller, &controller->session);
		if (r == 0) {
			vu_session_limit_mem_slots(controller->session,
						   controller->target->mem_slots);
		}
	}
	if (r < 0) {
		*ret_why =
			why("controller %s: its session cannot be taken over: %s", controller->name,
			    r == -ENOTSUP ?
				    "the front-end uses features that this version does not have" :
				    strerror(-r));
	}
	return r;
}

static int restore_all(struct target *target, struct parcel *parcel, const char **ret_why)
{
	struct controller *controller;
	int r = 0;

	if (parcel_get_u32(parcel) != count_controllers(target)) {
		*ret_why = why("there are other controllers than were announced");
		return -EPROTO;
	}
	TAILQ_FOREACH (controller, &target->controllers, link) {
		if (strcmp(parcel_get_name(parcel), controller->name) != 0) {
			*ret_why = why("there are other controllers than were announced");
			return -EPROTO;
		}
		r = restore_session(controller, parcel, ret_why);
		if (r < 0) {
			return r;
		}
	}
	return r;
}

int target_restore_sessions(struct target *target, struct parcel *parcel,
			    void (*done)(void *arg, int result), void *arg, const char **ret_why)
{
	struct controller *controller;
	int r = restore_all(target, parcel, ret_why);

	if (r == 0 && parcel->failed) {
		*ret_why = why("the description of the sessions is not complete");
		r = -EPROTO;
	}
	if (r < 0) {
		return r;
	}
	begin_waiting(target, done, arg);
	TAILQ_FOREACH (controller, &target->controllers, link) {
		if (controller->session != NULL) {
			controller->handover_pending = true;
			target->handover.pending++;
		}
	}
	TAILQ_FOREACH (controller, &target->controllers, link) {
		if (controller->session != NULL) {
			vu_session_resume(controller->session);
		}
	}
	one_is_done(target, 0);
	return 0;
}

void target_release(struct target *target, void (*done)(void *arg, int result), void *arg)
{
	struct controller *controller;
	unsigned int i;

	begin_waiting(target, done, arg);
	target->handover.pending += target->place_n;
	for (i = 0; i < target->place_n; i++) {
		core_release(target->places[i].core, core_is_done, target);
	}
	target->suspended = false;
	target->listening = true;
	target->trim_due =
		true; /* the other process may have done so since it told us of its bdevs */
	TAILQ_FOREACH (controller, &target->controllers, link) {
		listener_release(&controller->listener);
		if (controller->session != NULL) {
			vu_session_release(controller->session);
		}
	}
	target_trim_bdevs(target);
	one_is_done(target, 0);
}

unsigned int target_running_queues(const struct target *target)
{
	const struct controller *controller;
	unsigned int n = 0;
	unsigned int i;

	TAILQ_FOREACH (controller, &target->controllers, link) {
		for (i = 0; i < controller->queue_n; i++) {
			n += controller->queues[i].run.vq != NULL;
		}
	}
	return n;
}
