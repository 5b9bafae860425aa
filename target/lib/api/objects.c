/* SPDX-License-Identifier: BSD-3-Clause */
/* The public API: bdevs and controllers of a target that has been started. */
#include <errno.h>

#include "api/api.h"
#include "bdev/bdev.h"

int vht_target_add_null(struct vht_target *target, const struct vht_bdev_options *opts,
			const char **ret_why)
{
	const struct bdev_null_options options = {
		.name = opts->name,
		.size = opts->size,
		.block_size = opts->block_size,
	};
	struct bdev *bdev;

	return bdev_null_create(&options, &bdev, ret_why);
}

int vht_target_add_malloc(struct vht_target *target, const struct vht_bdev_options *opts,
			  const char **ret_why)
{
	const struct bdev_malloc_options options = {
		.name = opts->name,
		.size = opts->size,
		.block_size = opts->block_size == 0 ? 512 : opts->block_size,
		.numa_node = ENV_ANY_NODE,
	};
	struct bdev *bdev;

	return bdev_malloc_create(&options, &bdev, ret_why);
}

int vht_target_add_aio(struct vht_target *target, const struct vht_bdev_options *opts,
		       const char **ret_why)
{
	const struct bdev_aio_options options = {
		.name = opts->name,
		.filename = opts->filename,
		.block_size = opts->block_size,
		.read_only = opts->read_only,
	};
	struct bdev *bdev;

	return bdev_aio_create(&options, &bdev, ret_why);
}

static struct controller_options controller_options(const struct vht_controller_options *opts)
{
	return (struct controller_options){
		.name = opts->name,
		.cpumask = opts->cpumask,
		.listen_fd = opts->listen_fd,
	};
}

int vht_target_add_blk(struct vht_target *target, const struct vht_controller_options *opts,
		       const char **ret_why)
{
	const struct controller_options options = controller_options(opts);
	const struct controller_blk_options blk = {
		.bdev = opts->bdev,
		.read_only = opts->read_only,
		.serial = opts->serial,
		.queues = opts->queues,
	};

	return controller_create_blk(target->target, &options, &blk, ret_why);
}

int vht_target_add_scsi(struct vht_target *target, const struct vht_controller_options *opts,
			const char **ret_why)
{
	const struct controller_options options = controller_options(opts);
	const struct scsi_options scsi = { .request_queues = opts->queues };

	return controller_create_scsi(target->target, &options, &scsi, ret_why);
}

int vht_target_add_scsi_disk(struct vht_target *target, const char *controller, unsigned int number,
			     const char *bdev, const char **ret_why)
{
	return controller_add_scsi_target(target->target, controller, number, bdev, ret_why);
}
