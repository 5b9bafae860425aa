/* SPDX-License-Identifier: BSD-3-Clause */
/* What happens to bdevs that controllers use: another size, another one in their place, none any more. */
#include <errno.h>
#include <string.h>

#include "base/why.h"
#include "controller/controller.h"
#include "device/blk.h"

static int find_bdev(const char *name, struct bdev **ret_bdev, const char **ret_why)
{
	struct bdev *bdev = name != NULL ? bdev_find(name) : NULL;

	if (bdev == NULL) {
		*ret_why = why("there is no bdev named '%s'", name != NULL ? name : "");
		return -ENODEV;
	}
	*ret_bdev = bdev;
	return 0;
}

/* The driver of a block device reads its configuration space again. */
static void tell_front_end(struct controller *controller)
{
	if (controller->session != NULL) {
		/* Without a channel for it, the next one who asks sees it. */
		(void)vu_session_config_changed(controller->session);
	}
}

static bool uses(const struct controller *controller, const struct bdev *bdev)
{
	unsigned int i;

	if (!controller->is_scsi) {
		return blk_bdev(controller->device) == bdev;
	}
	for (i = 0; i < SCSI_MAX_TARGETS; i++) {
		if (scsi_target_bdev(controller->device, i) == bdev) {
			return true;
		}
	}
	return false;
}

/* ---- another size ---- */

static void size_changed(struct target *target, struct bdev *bdev, uint64_t before)
{
	struct controller *controller;

	if (bdev_size(bdev) == before) {
		return;
	}
	target->trim_due = true;
	TAILQ_FOREACH (controller, &target->controllers, link) {
		if (!uses(controller, bdev)) {
			continue;
		}
		/* Also where there is nothing to tell the queues: then no request of theirs is beyond the
		 * end any more. */
		controller_update(controller);
		if (!controller->is_scsi) {
			tell_front_end(controller);
		}
	}
	target_trim_bdevs(target);
}

int target_resize_bdev(struct target *target, const char *name, uint64_t size, const char **ret_why)
{
	struct bdev *bdev;
	uint64_t before;
	int r = find_bdev(name, &bdev, ret_why);

	if (r < 0) {
		return r;
	}
	before = bdev_size(bdev);
	r = bdev_resize(bdev, size, ret_why);
	if (r == 0) {
		size_changed(target, bdev, before);
	}
	return r;
}

int target_rescan_bdev(struct target *target, const char *name, const char **ret_why)
{
	struct bdev *bdev;
	uint64_t before;
	int r = find_bdev(name, &bdev, ret_why);

	if (r < 0) {
		return r;
	}
	before = bdev_size(bdev);
	r = bdev_rescan(bdev, ret_why);
	if (r == 0) {
		size_changed(target, bdev, before);
	}
	return r;
}

/* ---- another one, or none ---- */

static void take_away(struct controller *controller, const struct bdev *bdev)
{
	unsigned int i;

	if (!controller->is_scsi) {
		blk_lose_bdev(controller->device);
	}
	for (i = 0; controller->is_scsi && i < SCSI_MAX_TARGETS; i++) {
		if (scsi_target_bdev(controller->device, i) == bdev) {
			scsi_remove_target(controller->device, i);
		}
	}
	log_notice("%s: bdev %s is taken away", controller->name, bdev->name);
	controller_update(controller);
}

int target_delete_bdev(struct target *target, const char *name, bool force, const char **ret_why)
{
	struct controller *controller;
	struct bdev *bdev;
	int r = find_bdev(name, &bdev, ret_why);

	if (r < 0) {
		return r;
	}
	TAILQ_FOREACH (controller, &target->controllers, link) {
		if (force && uses(controller, bdev)) {
			take_away(controller, bdev);
		}
	}
	r = bdev_delete(name, ret_why);
	if (r == -EBUSY && !force) {
		*ret_why = why("%s; 'force' takes it away from %s", *ret_why,
			       bdev->claims == 1 ? "it" : "them");
	}
	return r;
}

int controller_set_bdev(struct target *target, const char *name, const char *bdev_name,
			const char **ret_why)
{
	struct controller *controller;
	struct bdev *bdev;
	int r = controller_find_staying(target, name, &controller, ret_why);

	if (r == 0) {
		r = find_bdev(bdev_name, &bdev, ret_why);
	}
	if (r < 0) {
		return r;
	}
	if (controller->is_scsi) {
		*ret_why = why(
			"controller %s is not a blk controller: remove a target and add another",
			name);
		return -EINVAL;
	}
	r = blk_set_bdev(controller->device, bdev, controller->session != NULL, ret_why);
	if (r < 0) {
		*ret_why = why("%s: %s", name, *ret_why);
		return r;
	}
	controller_update(controller);
	tell_front_end(controller);
	return 0;
}
