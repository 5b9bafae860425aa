/* SPDX-License-Identifier: BSD-3-Clause */
/* All bdevs as another process of ours goes on with them, in the order of their making. */
#include <errno.h>
#include <string.h>

#include "base/parcel.h"
#include "base/why.h"
#include "bdev/driver.h"

/* More than anybody has; it bounds what a broken peer can make us take. */
#define MAX_BDEVS 65536

static const struct {
	const char *name;
	int (*restore)(const struct bdev *as, struct parcel *parcel, struct bdev **ret_bdev,
		       const char **ret_why);
} drivers[] = {
	{ "null", bdev_null_restore },
	{ "malloc", bdev_malloc_restore },
	{ "aio", bdev_aio_restore },
};
#define DRIVER_N (sizeof(drivers) / sizeof(drivers[0]))

void bdev_save_info(const struct bdev *bdev, struct parcel *parcel)
{
	const struct bdev_info *info = &bdev->info;

	parcel_put_text(parcel, bdev->name);
	parcel_put_text(parcel, bdev->product);
	parcel_put_text(parcel, bdev->serial);
	parcel_put_u64(parcel, info->size);
	parcel_put_u32(parcel, info->block_size);
	parcel_put_u32(parcel, info->physical_block_size);
	parcel_put_u32(parcel, info->min_io_size);
	parcel_put_u32(parcel, info->opt_io_size);
	parcel_put_u64(parcel, info->max_discard);
	parcel_put_u32(parcel, info->discard_granularity);
	parcel_put_u8(parcel, info->read_only);
	parcel_put_u8(parcel, info->write_cache);
	parcel_put_u8(parcel, info->can_discard);
	parcel_put_u8(parcel, info->can_write_zeroes);
	parcel_put_u8(parcel, info->rotational);
}

static void get_text(struct parcel *parcel, char *buf, size_t room)
{
	const char *text = parcel_get_name(parcel);

	if (strlen(text) >= room) {
		parcel->failed = true;
		text = "";
	}
	strcpy(buf, text);
}

void bdev_restore_info(struct bdev *bdev, struct parcel *parcel)
{
	struct bdev_info *info = &bdev->info;

	get_text(parcel, bdev->name, sizeof(bdev->name));
	get_text(parcel, bdev->product, sizeof(bdev->product));
	get_text(parcel, bdev->serial, sizeof(bdev->serial));
	info->size = parcel_get_u64(parcel);
	info->block_size = parcel_get_u32(parcel);
	info->physical_block_size = parcel_get_u32(parcel);
	info->min_io_size = parcel_get_u32(parcel);
	info->opt_io_size = parcel_get_u32(parcel);
	info->max_discard = parcel_get_u64(parcel);
	info->discard_granularity = parcel_get_u32(parcel);
	info->read_only = parcel_get_bool(parcel);
	info->write_cache = parcel_get_bool(parcel);
	info->can_discard = parcel_get_bool(parcel);
	info->can_write_zeroes = parcel_get_bool(parcel);
	info->rotational = parcel_get_bool(parcel);
	if (!is_power_of_two(info->block_size) || !is_power_of_two(info->physical_block_size) ||
	    info->physical_block_size < info->block_size) {
		parcel->failed = true;
	}
}

void bdev_save_all(struct parcel *parcel)
{
	const struct bdev *bdev;
	uint32_t n = 0;

	for (bdev = bdev_next(NULL); bdev != NULL; bdev = bdev_next(bdev)) {
		n++;
	}
	parcel_put_u32(parcel, n);
	for (bdev = bdev_next(NULL); bdev != NULL; bdev = bdev_next(bdev)) {
		parcel_put_text(parcel, bdev->ops->driver);
		bdev_save_info(bdev, parcel);
		bdev->ops->save(bdev, parcel);
	}
}

static int restore_one(struct parcel *parcel, const char **ret_why)
{
	const char *driver = parcel_get_name(parcel);
	struct bdev as = { .ops = NULL };
	struct bdev *bdev;
	unsigned int i;
	int rc;

	bdev_restore_info(&as, parcel);
	if (parcel->failed) {
		*ret_why = why("a bdev that cannot be");
		return -EPROTO;
	}
	for (i = 0; i < DRIVER_N && strcmp(drivers[i].name, driver) != 0; i++) {
	}
	if (i == DRIVER_N) {
		*ret_why = why("%s: there are no %.20s bdevs in this version", as.name, driver);
		return -ENOTSUP;
	}
	/* Before anything is made of it: so that to register it cannot fail. */
	rc = bdev_check_new(as.name, as.info.size, as.info.block_size, ret_why);
	if (rc != 0) {
		return rc;
	}
	rc = drivers[i].restore(&as, parcel, &bdev, ret_why);
	if (rc != 0) {
		*ret_why = why("%s: %s", as.name, *ret_why);
		return rc;
	}
	return bdev_register(bdev, ret_why);
}

int bdev_restore_all(struct parcel *parcel, const char **ret_why)
{
	uint32_t n = parcel_get_below(parcel, MAX_BDEVS + 1);
	int rc = 0;

	for (; n > 0 && rc == 0; n--) {
		rc = restore_one(parcel, ret_why);
	}
	return rc;
}
