/* SPDX-License-Identifier: BSD-3-Clause */
#include "controller/target.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/notify.h"
#include "base/utf8.h"
#include "base/why.h"
#include "controller/controller.h"
#include "device/blk.h"

/* The front-end often runs as another user of the same group. */
#define SOCKET_MODE 0660

static int make_cores(struct target *target, bool held)
{
	struct reactor *reactor;

	for (reactor = reactor_next(NULL); reactor != NULL; reactor = reactor_next(reactor)) {
		struct place *grown =
			reallocarray(target->places, target->place_n + 1, sizeof(*grown));
		int r;

		if (grown == NULL) {
			return -ENOMEM;
		}
		target->places = grown;
		grown += target->place_n;
		*grown = (struct place){ .number = reactor_core(reactor) };
		grown->numa_node = env_core_numa_node(grown->number);
		r = held ? core_new_held(reactor, target->loop, &grown->core) :
			   core_new(reactor, target->loop, &grown->core);
		if (r < 0) {
			return r;
		}
		target->place_n++;
	}
	return target->place_n > 0 ? 0 : -EINVAL;
}

int target_new(const struct target_options *opts, struct target **ret_target)
{
	struct target *target = calloc(1, sizeof(*target));
	int r = -ENOMEM;

	if (target == NULL) {
		return -ENOMEM;
	}
	TAILQ_INIT(&target->controllers);
	notify_prepare(); /* this thread has calls and errors to tell when rings start */
	target->loop = opts->loop;
	target->cores = opts->cores;
	target->mem_slots = opts->mem_slots;
	target->socket_dir = strdup(opts->socket_dir != NULL ? opts->socket_dir : "");
	if (target->socket_dir != NULL) {
		r = make_cores(target, opts->held);
	}
	if (r < 0) {
		/* The reactors may have the cores' pollers already: they are freed at the end. */
		target_free(target);
		return r;
	}
	*ret_target = target;
	return 0;
}

void target_free(struct target *target)
{
	unsigned int i;

	if (target == NULL) {
		return;
	}
	for (i = 0; i < target->place_n; i++) {
		core_free(target->places[i].core);
	}
	free(target->places);
	free(target->socket_dir);
	free(target);
}

/* ---- controllers come and go ---- */

static void controller_free(struct controller *controller)
{
	if (controller == NULL) {
		return;
	}
	listener_close(&controller->listener);
	if (controller->listen_fd >= 0) {
		close(controller->listen_fd);
	}
	if (controller->device != NULL) {
		controller->device->ops->free(controller->device);
	}
	free(controller->queues);
	free(controller->name);
	free(controller->path);
	free(controller->origin);
	free(controller);
}

DEFINE_CLEANUP(struct controller *, controller_free)

int controller_parse_cpumask(const struct controller *controller, const char *text,
			     struct env_cpuset *ret_cpumask, const char **ret_why)
{
	const struct env_cpuset *cores = &controller->target->cores;
	char have[ENV_CPUSET_TEXT];
	struct env_cpuset mask;

	if (text == NULL) {
		*ret_cpumask = *cores;
		return 0;
	}
	if (env_cpuset_parse(text, &mask) < 0) {
		*ret_why =
			why("%s: Cpumask '%s' is not a core mask: use hexadecimal as 0x3, or [0-1]",
			    controller->name, text);
		return -EINVAL;
	}
	if (!env_cpuset_is_subset(&mask, cores)) {
		env_cpuset_format(cores, have, sizeof(have));
		*ret_why = why(
			"%s: Cpumask %s is not a subset of the ReactorMask %s (cpumask %s not a "
			"subset of app mask %s): use cores of the ReactorMask, or widen it",
			controller->name, text, have, text, have);
		return -EINVAL;
	}
	*ret_cpumask = mask;
	return 0;
}

static int being_deleted(const char *name, const char **ret_why)
{
	*ret_why =
		why("controller %s is being deleted, its last requests are not finished yet", name);
	return -EBUSY;
}

/* A controller without its device. On failure the socket that was handed in is closed. */
static int prepare(struct target *target, const struct controller_options *opts,
		   struct controller **ret_controller, const char **ret_why)
{
	struct controller *controller CLEANUP(controller_freep) = calloc(1, sizeof(*controller));
	const struct controller *existing;
	int r;

	if (controller == NULL) {
		if (opts->listen_fd >= 0) {
			close(opts->listen_fd);
		}
		*ret_why = why("out of memory");
		return -ENOMEM;
	}
	controller->target = target;
	controller->listen_fd = opts->listen_fd;
	if (target->shutting_down) {
		*ret_why = why("the target is shutting down");
		return -ESHUTDOWN;
	}
	if (opts->name == NULL || opts->name[0] == '\0') {
		*ret_why = why("Can't register controller with no name");
		return -EINVAL;
	}
	if (!utf8_is_printable(opts->name)) {
		*ret_why =
			why("the name of controller '%s' is not printable text in ASCII or UTF-8",
			    opts->name);
		return -EINVAL;
	}
	existing = controller_find(target, opts->name);
	if (existing != NULL && existing->deleting) {
		return being_deleted(opts->name, ret_why);
	}
	if (existing != NULL) {
		*ret_why = why("controller %s exists already: give each a Name of its own",
			       opts->name);
		return -EEXIST;
	}
	controller->name = strdup(opts->name);
	controller->origin = opts->origin != NULL ? strdup(opts->origin) : NULL;
	if (controller->name == NULL || (opts->origin != NULL && controller->origin == NULL)) {
		*ret_why = why("out of memory");
		return -ENOMEM;
	}
	r = controller_parse_cpumask(controller, opts->cpumask, &controller->cpumask, ret_why);
	if (r == 0) {
		r = listener_path(target->socket_dir, opts->name, &controller->path, ret_why);
	}
	if (r < 0) {
		return r;
	}
	*ret_controller = STEAL(controller);
	return 0;
}

static int listen_now(struct controller *controller, const char **ret_why)
{
	int fd = controller->listen_fd;

	controller->listen_fd = -1;
	return listener_open(&controller->listener, controller->target->loop, controller->path, fd,
			     SOCKET_MODE, controller_connection_waits, controller, ret_why);
}

/* Takes the controller over, also on failure. */
static int finish(struct controller *controller_given, const char **ret_why)
{
	struct controller *controller CLEANUP(controller_freep) = controller_given;
	unsigned int i;
	int r;

	controller->queue_n = controller->device->ops->max_queues(controller->device);
	controller->queues = calloc(controller->queue_n, sizeof(*controller->queues));
	if (controller->queues == NULL) {
		*ret_why = why("out of memory");
		return -ENOMEM;
	}
	for (i = 0; i < controller->queue_n; i++) {
		controller->queues[i].controller = controller;
	}
	controller_listen_to_device(controller);
	if (controller->target->listening) {
		r = listen_now(controller, ret_why);
		if (r < 0) {
			return r;
		}
	}
	TAILQ_INSERT_TAIL(&controller->target->controllers, controller, link);
	STEAL(controller);
	return 0;
}

int controller_create_blk(struct target *target, const struct controller_options *opts,
			  const struct controller_blk_options *blk, const char **ret_why)
{
	struct controller *controller CLEANUP(controller_freep) = NULL;
	struct bdev *bdev;
	int r;

	r = prepare(target, opts, &controller, ret_why);
	if (r < 0) {
		return r;
	}
	bdev = blk->bdev != NULL ? bdev_find(blk->bdev) : NULL;
	if (bdev == NULL) {
		*ret_why = why("%s: there is no bdev named '%s': create it, or correct Dev",
			       opts->name, blk->bdev != NULL ? blk->bdev : "");
		return -ENODEV;
	}
	const struct blk_options options = {
		.bdev = bdev,
		.read_only = blk->read_only,
		.serial = blk->serial,
		.queues = blk->queues,
	};

	r = blk_new(&options, &controller->device);
	if (r < 0) {
		*ret_why = why("%s: cannot make a blk device of bdev %s: %s%s", opts->name,
			       bdev->name, strerror(-r),
			       r == -EINVAL ? " (1 to 256 queues are possible)" : "");
		return r;
	}
	return finish(STEAL(controller), ret_why);
}

int controller_create_scsi(struct target *target, const struct controller_options *opts,
			   const struct scsi_options *scsi, const char **ret_why)
{
	struct controller *controller CLEANUP(controller_freep) = NULL;
	int r;

	r = prepare(target, opts, &controller, ret_why);
	if (r < 0) {
		return r;
	}
	r = scsi_new(scsi, &controller->device);
	if (r < 0) {
		*ret_why = why("%s: cannot make a scsi device: %s%s", opts->name, strerror(-r),
			       r == -EINVAL ? " (1 to 254 request queues are possible)" : "");
		return r;
	}
	controller->is_scsi = true;
	return finish(STEAL(controller), ret_why);
}

int controller_create(struct target *target, const struct controller_options *opts,
		      struct virtio_device *device, bool is_scsi, const char **ret_why)
{
	struct controller *controller CLEANUP(controller_freep) = NULL;
	int r = prepare(target, opts, &controller, ret_why);

	if (r < 0) {
		device->ops->free(device);
		return r;
	}
	controller->device = device;
	controller->is_scsi = is_scsi;
	return finish(STEAL(controller), ret_why);
}

static bool has_targets(const struct controller *controller)
{
	unsigned int i;

	for (i = 0; controller->is_scsi && i < SCSI_MAX_TARGETS; i++) {
		if (scsi_target_bdev(controller->device, i) != NULL) {
			return true;
		}
	}
	return false;
}

int controller_find_staying(struct target *target, const char *name,
			    struct controller **ret_controller, const char **ret_why)
{
	struct controller *controller = controller_find(target, name);

	if (controller == NULL) {
		*ret_why = why("there is no controller named '%s'", name);
		return -ENOENT;
	}
	if (controller->deleting) {
		return being_deleted(name, ret_why);
	}
	*ret_controller = controller;
	return 0;
}

int controller_delete(struct target *target, const char *name, bool force, const char **ret_why)
{
	struct controller *controller;
	int r = controller_find_staying(target, name, &controller, ret_why);

	if (r < 0) {
		return r;
	}
	if (!force && controller->session != NULL) {
		*ret_why = why("controller %s is in use: a front-end is connected; 'force' ends "
			       "its connection",
			       name);
		return -EBUSY;
	}
	if (!force && has_targets(controller)) {
		*ret_why = why("controller %s still has targets: remove them first, or use 'force'",
			       name);
		return -EBUSY;
	}
	if (controller->session != NULL) {
		controller->deleting = true;
		listener_close(&controller->listener);
		controller_close_session(controller, "the controller is deleted");
		return 0;
	}
	TAILQ_REMOVE(&target->controllers, controller, link);
	controller_free(controller);
	return 0;
}

static int find_scsi(struct target *target, const char *name, struct controller **ret_controller,
		     const char **ret_why)
{
	struct controller *controller;
	int r = controller_find_staying(target, name, &controller, ret_why);

	if (r < 0) {
		return r;
	}
	if (!controller->is_scsi) {
		*ret_why = why("controller %s is not a scsi controller", name);
		return -EINVAL;
	}
	*ret_controller = controller;
	return 0;
}

int controller_add_scsi_target(struct target *target, const char *name, unsigned int number,
			       const char *bdev_name, const char **ret_why)
{
	struct controller *controller;
	struct bdev *bdev;
	int r = find_scsi(target, name, &controller, ret_why);

	if (r < 0) {
		return r;
	}
	bdev = bdev_find(bdev_name);
	if (bdev == NULL) {
		*ret_why = why("%s: there is no bdev named '%s': create it, or correct Dev", name,
			       bdev_name);
		return -ENODEV;
	}
	r = scsi_add_target(controller->device, number, bdev, false, NULL);
	if (r == -EINVAL) {
		*ret_why = why("%s: target number %u is too big: use 0 to %u", name, number,
			       SCSI_MAX_TARGETS - 1);
	} else if (r == -EEXIST) {
		*ret_why = why("%s: target %u is occupied by %s", name, number,
			       scsi_target_bdev(controller->device, number)->name);
	} else if (r < 0) {
		*ret_why = why("%s: cannot add target %u: %s", name, number, strerror(-r));
	} else {
		controller_update(controller);
	}
	return r;
}

int controller_remove_scsi_target(struct target *target, const char *name, unsigned int number,
				  const char **ret_why)
{
	struct controller *controller;
	int r = find_scsi(target, name, &controller, ret_why);

	if (r < 0) {
		return r;
	}
	r = scsi_remove_target(controller->device, number);
	if (r < 0) {
		*ret_why = why("%s: there is no target %u", name, number);
	} else {
		controller_update(controller);
	}
	return r;
}

/* ---- sockets open, everything ends ---- */

int target_listen(struct target *target, const char **ret_why)
{
	struct controller *controller;

	TAILQ_FOREACH (controller, &target->controllers, link) {
		int r = listen_now(controller, ret_why);

		if (r < 0) {
			if (controller->origin != NULL) {
				*ret_why = why("%s: %s", controller->origin, *ret_why);
			}
			TAILQ_FOREACH (controller, &target->controllers, link) {
				listener_close(&controller->listener);
			}
			return r;
		}
	}
	target->listening = true;
	return 0;
}

/* When the last session of a target that shuts down is over, all of it is. */
static void end_if_unused(struct target *target)
{
	struct controller *controller;

	if (!target->shutting_down) {
		return;
	}
	TAILQ_FOREACH (controller, &target->controllers, link) {
		if (controller->session != NULL) {
			return;
		}
	}
	while ((controller = TAILQ_FIRST(&target->controllers)) != NULL) {
		TAILQ_REMOVE(&target->controllers, controller, link);
		controller_free(controller);
	}
	if (target->shutdown_done != NULL) {
		void (*done)(void *arg) = target->shutdown_done;

		target->shutdown_done = NULL;
		done(target->shutdown_arg);
	}
}

void target_session_ended(struct controller *controller)
{
	struct target *target = controller->target;

	target_suspend_goes_on(target, controller);
	/* The walk of target_shutdown() still needs its place in the list. */
	if (controller->deleting && !target->closing_sessions) {
		TAILQ_REMOVE(&target->controllers, controller, link);
		controller_free(controller);
	}
	end_if_unused(target);
}

void target_shutdown(struct target *target, void (*done)(void *arg), void *arg)
{
	struct controller *controller;

	if (target->shutting_down) {
		return;
	}
	target->shutdown_done = done;
	target->shutdown_arg = arg;
	TAILQ_FOREACH (controller, &target->controllers, link) {
		listener_close(&controller->listener);
	}
	/* From here on the last session to end calls done; none can end before all are told. */
	target->closing_sessions = true;
	TAILQ_FOREACH (controller, &target->controllers, link) {
		controller_close_session(controller, "the target shuts down");
	}
	target->closing_sessions = false;
	target->shutting_down = true;
	end_if_unused(target);
}
