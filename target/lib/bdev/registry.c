/* SPDX-License-Identifier: BSD-3-Clause */
/* The named bdevs, the channels of one reactor, and the checks that all drivers share. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/checked.h"
#include "base/iov.h"
#include "base/why.h"
#include "bdev/driver.h"

/* File systems and guests count in signed 64-bit bytes. */
#define MAX_SIZE ((uint64_t)INT64_MAX)

static TAILQ_HEAD(, bdev) bdevs = TAILQ_HEAD_INITIALIZER(bdevs);

static bool name_is_valid(const char *name)
{
	size_t len = strlen(name);

	if (len == 0 || len > BDEV_NAME_MAX) {
		return false;
	}
	for (size_t i = 0; i < len; i++) {
		/* Names go into log lines, SCSI strings and JSON. */
		if (!isprint((unsigned char)name[i])) {
			return false;
		}
	}
	return true;
}

static int check_name(const char *name, const char **ret_why)
{
	if (name == NULL || !name_is_valid(name)) {
		*ret_why = why("a bdev's name has 1 to %d printable characters", BDEV_NAME_MAX);
		return -EINVAL;
	}
	if (bdev_find(name) != NULL) {
		*ret_why = why("there is a bdev '%s' already", name);
		return -EEXIST;
	}
	return 0;
}

static int check_size(const char *name, uint64_t size, uint32_t block_size, const char **ret_why)
{
	if (size == 0 || size > MAX_SIZE || size % block_size != 0) {
		*ret_why = why("%s: size of %" PRIu64
			       " bytes is not a positive multiple of the block size %" PRIu32,
			       name, size, block_size);
		return -EINVAL;
	}
	return 0;
}

int bdev_check_new(const char *name, uint64_t size, uint32_t block_size, const char **ret_why)
{
	int rc = check_name(name, ret_why);

	if (rc != 0) {
		return rc;
	}
	if (!is_power_of_two(block_size) || block_size < BDEV_MIN_BLOCK_SIZE ||
	    block_size > BDEV_MAX_BLOCK_SIZE) {
		*ret_why = why("%s: block size %" PRIu32 " is not a power of two from %d to %d",
			       name, block_size, BDEV_MIN_BLOCK_SIZE, BDEV_MAX_BLOCK_SIZE);
		return -EINVAL;
	}
	return check_size(name, size, block_size, ret_why);
}

void bdev_init(struct bdev *bdev, const struct bdev_ops *ops, const char *name, const char *product)
{
	bdev->ops = ops;
	strncpy(bdev->name, name, BDEV_NAME_MAX);
	strncpy(bdev->product, product, BDEV_PRODUCT_MAX);
	strncpy(bdev->serial, name, BDEV_SERIAL_MAX);
}

int bdev_register(struct bdev *bdev, const char **ret_why)
{
	int rc = bdev_check_new(bdev->name, bdev->info.size, bdev->info.block_size, ret_why);

	if (rc == 0) {
		TAILQ_INSERT_TAIL(&bdevs, bdev, link);
	}
	return rc;
}

struct bdev *bdev_find(const char *name)
{
	struct bdev *bdev;

	TAILQ_FOREACH (bdev, &bdevs, link) {
		if (strcmp(bdev->name, name) == 0) {
			return bdev;
		}
	}
	return NULL;
}

struct bdev *bdev_next(const struct bdev *bdev)
{
	return bdev == NULL ? TAILQ_FIRST(&bdevs) : TAILQ_NEXT(bdev, link);
}

static void close_if_unused(struct bdev *bdev)
{
	if (bdev->deleted && bdev->claims == 0 && bdev->leaving == 0) {
		bdev->ops->close(bdev);
	}
}

int bdev_delete(const char *name, const char **ret_why)
{
	struct bdev *bdev = bdev_find(name);

	if (bdev == NULL) {
		*ret_why = why("there is no bdev '%s'", name);
		return -ENOENT;
	}
	if (bdev->claims > 0) {
		*ret_why = why("bdev '%s' is in use by %u device%s", name, bdev->claims,
			       bdev->claims == 1 ? "" : "s");
		return -EBUSY;
	}
	TAILQ_REMOVE(&bdevs, bdev, link);
	bdev->deleted = true;
	close_if_unused(bdev);
	return 0;
}

void bdev_delete_all(void)
{
	struct bdev *bdev;

	while ((bdev = TAILQ_FIRST(&bdevs)) != NULL) {
		TAILQ_REMOVE(&bdevs, bdev, link);
		bdev->ops->close(bdev);
	}
}

void bdev_claim(struct bdev *bdev)
{
	bdev->claims++;
}

void bdev_release(struct bdev *bdev)
{
	bdev->claims--;
}

void bdev_leave(struct bdev *bdev)
{
	bdev->claims--;
	bdev->leaving++;
}

void bdev_left(struct bdev *bdev)
{
	bdev->leaving--;
	close_if_unused(bdev);
}

static void set_size(struct bdev *bdev, uint64_t size)
{
	__atomic_store_n(&bdev->info.size, size, __ATOMIC_RELAXED);
}

int bdev_resize(struct bdev *bdev, uint64_t size, const char **ret_why)
{
	int rc = check_size(bdev->name, size, bdev->info.block_size, ret_why);

	if (rc != 0) {
		return rc;
	}
	if (bdev->ops->resize == NULL) {
		*ret_why = why("the size of %s, a %s bdev, cannot be changed", bdev->name,
			       bdev->ops->driver);
		return -ENOTSUP;
	}
	rc = bdev->ops->resize(bdev, size, ret_why);
	if (rc == 0) {
		set_size(bdev, size);
	}
	return rc;
}

int bdev_rescan(struct bdev *bdev, const char **ret_why)
{
	uint64_t size;
	int rc;

	if (bdev->ops->rescan == NULL) {
		*ret_why = why("%s, a %s bdev, has nothing behind it whose size could change",
			       bdev->name, bdev->ops->driver);
		return -ENOTSUP;
	}
	rc = bdev->ops->rescan(bdev, &size, ret_why);
	if (rc == 0) {
		rc = check_size(bdev->name, size, bdev->info.block_size, ret_why);
	}
	if (rc == 0) {
		set_size(bdev, size);
	}
	return rc;
}

void bdev_trim(struct bdev *bdev)
{
	if (bdev->ops->trim != NULL) {
		bdev->ops->trim(bdev);
	}
}

int bdev_channels_get(struct bdev_channels *channels, struct bdev *bdev,
		      struct bdev_channel **ret_channel)
{
	struct bdev_channel *channel;
	int rc;

	LIST_FOREACH (channel, &channels->list, link) {
		if (channel->bdev == bdev) {
			channel->users++;
			*ret_channel = channel;
			return 0;
		}
	}
	rc = bdev->ops->channel_open(bdev, &channel);
	if (rc != 0) {
		return rc;
	}
	channel->bdev = bdev;
	channel->submit = bdev->ops->submit;
	channel->hurried = channels->hurried;
	channel->users = 1;
	LIST_INSERT_HEAD(&channels->list, channel, link);
	channels->opened++;
	*ret_channel = channel;
	return 0;
}

void bdev_channels_put(struct bdev_channels *channels, struct bdev_channel *channel)
{
	if (--channel->users == 0) {
		LIST_REMOVE(channel, link);
		channel->bdev->ops->channel_close(channel);
	}
}

void bdev_channels_hold(struct bdev_channels *channels, bool hold)
{
	struct bdev_channel *channel;
	struct bdev_channel *next;

	for (channel = LIST_FIRST(&channels->list); channel != NULL; channel = next) {
		next = LIST_NEXT(channel, link);
		if (hold == channel->held) {
			continue;
		}
		channel->held = hold;
		if (hold) {
			channel->users++;
		} else {
			bdev_channels_put(channels, channel);
		}
	}
}

void bdev_channels_hurry(struct bdev_channels *channels, bool hurried)
{
	struct bdev_channel *channel;

	channels->hurried = hurried;
	LIST_FOREACH (channel, &channels->list, link) {
		channel->hurried = hurried;
	}
}

unsigned int bdev_channels_poll(struct bdev_channels *channels)
{
	struct bdev_channel *channel;
	unsigned int completed = 0;

	LIST_FOREACH (channel, &channels->list, link) {
		const struct bdev_ops *ops = channel->bdev->ops;

		if (ops->commit != NULL) {
			ops->commit(channel);
		}
		if (ops->poll != NULL) {
			completed += ops->poll(channel);
		}
	}
	return completed;
}

int bdev_channel_event_fd(struct bdev_channel *channel)
{
	const struct bdev_ops *ops = channel->bdev->ops;

	return ops->event_fd != NULL ? ops->event_fd(channel) : -1;
}

int bdev_check_any_io(const struct bdev *bdev, const struct bdev_io *io)
{
	const struct bdev_info *info = &bdev->info;

	switch (io->op) {
	case BDEV_FLUSH:
		return 0;
	case BDEV_READ:
		break;
	case BDEV_WRITE:
		if (info->read_only) {
			return -EROFS;
		}
		break;
	case BDEV_DISCARD:
		if (info->read_only || !info->can_discard) {
			return info->read_only ? -EROFS : -ENOTSUP;
		}
		break;
	case BDEV_WRITE_ZEROES:
		if (info->read_only || !info->can_write_zeroes) {
			return info->read_only ? -EROFS : -ENOTSUP;
		}
		break;
	default:
		return -ENOTSUP;
	}
	if (((io->offset | io->len) & (info->block_size - 1)) != 0 ||
	    !range_inside(io->offset, io->len, bdev_size(bdev))) {
		return -EINVAL;
	}
	if ((io->op == BDEV_READ || io->op == BDEV_WRITE) &&
	    iov_length(io->iov, io->iov_n) != io->len) {
		return -EINVAL;
	}
	return 0;
}
