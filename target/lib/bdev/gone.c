/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a device has instead of a bdev that was taken away from it: every request fails. It looks as the
 * other one did, so the device works on as if nothing had happened.
 */
#include <errno.h>
#include <stdlib.h>

#include "bdev/driver.h"

struct gone_channel {
	struct bdev_channel base;
	struct bdev_io_list submitted;
};

static int gone_channel_open(struct bdev *bdev, struct bdev_channel **ret_channel)
{
	struct gone_channel *channel = calloc(1, sizeof(*channel));

	if (channel == NULL) {
		return -ENOMEM;
	}
	STAILQ_INIT(&channel->submitted);
	*ret_channel = &channel->base;
	return 0;
}

static void gone_channel_close(struct bdev_channel *channel)
{
	free(channel);
}

static int gone_submit(struct bdev_channel *base, struct bdev_io *io)
{
	struct gone_channel *channel = (struct gone_channel *)base;

	STAILQ_INSERT_TAIL(&channel->submitted, io, link);
	return 0;
}

static unsigned int gone_poll(struct bdev_channel *base)
{
	struct gone_channel *channel = (struct gone_channel *)base;
	struct bdev_io_list batch = STAILQ_HEAD_INITIALIZER(batch);
	unsigned int completed = 0;
	struct bdev_io *io;

	/* What done() submits belongs to the next round. */
	STAILQ_CONCAT(&batch, &channel->submitted);
	while ((io = STAILQ_FIRST(&batch)) != NULL) {
		STAILQ_REMOVE_HEAD(&batch, link);
		bdev_complete(io, -ENODEV);
		completed++;
	}
	return completed;
}

static const struct bdev_ops gone_ops = {
	.driver = "gone",
	.channel_open = gone_channel_open,
	.channel_close = gone_channel_close,
	.submit = gone_submit,
	.poll = gone_poll,
};

void bdev_gone_init(struct bdev *gone, const struct bdev *bdev)
{
	bdev_init(gone, &gone_ops, bdev->name, bdev->product);
	gone->info = bdev->info;
}

bool bdev_is_gone(const struct bdev *bdev)
{
	return bdev->ops == &gone_ops;
}
