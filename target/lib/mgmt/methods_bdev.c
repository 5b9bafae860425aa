/* SPDX-License-Identifier: BSD-3-Clause */
/* Methods that list, create, resize and delete bdevs. */
#include <errno.h>
#include <string.h>

#include "base/checked.h"
#include "base/why.h"
#include "bdev/bdev.h"
#include "controller/target.h"
#include "env/env.h"
#include "mgmt/rpc.h"

#define MIB (UINT64_C(1) << 20)

static json_t *describe(const struct bdev *bdev)
{
	const struct bdev_info *info = &bdev->info;

	return json_pack("{s:s, s:[], s:s, s:s, s:s, s:I, s:I, s:I, s:b, s:i, s:b, s:b,"
			 " s:{s:b, s:b, s:b, s:b, s:b}, s:{}}",
			 "name", bdev->name, "aliases", "product_name", bdev->product, "driver",
			 bdev->ops->driver, "serial", bdev->serial, "block_size",
			 (json_int_t)info->block_size, "physical_block_size",
			 (json_int_t)info->physical_block_size, "num_blocks",
			 (json_int_t)(info->size / info->block_size), "claimed", bdev->claims > 0,
			 "claims", (int)bdev->claims, "read_only", info->read_only, "write_cache",
			 info->write_cache, "supported_io_types", "read", 1, "write",
			 !info->read_only, "flush", 1, "unmap",
			 info->can_discard && !info->read_only, "write_zeroes",
			 info->can_write_zeroes && !info->read_only, "driver_specific");
}

static int not_found(struct rpc_call *call, const char *name)
{
	call->why = why("there is no bdev named '%.63s'", name);
	return -ENODEV;
}

static int get_bdevs(struct rpc_call *call, json_t **ret_result)
{
	const char *name = call->values[0].text;
	const struct bdev *bdev = NULL;
	json_t *list;

	if (name != NULL && bdev_find(name) == NULL) {
		return not_found(call, name);
	}
	list = json_array();
	while ((bdev = bdev_next(bdev)) != NULL) {
		if (name == NULL || strcmp(bdev->name, name) == 0) {
			json_array_append_new(list, describe(bdev));
		}
	}
	*ret_result = list;
	return 0;
}

/* The methods of 17.07 answered with a list of the names. */
static int created(const struct rpc_call *call, const struct bdev *bdev, json_t **ret_result)
{
	*ret_result = call->old_name ? json_pack("[s]", bdev->name) : json_string(bdev->name);
	return 0;
}

/* A count of blocks and their size, as the size of a bdev. */
static int read_size(struct rpc_call *call, const struct rpc_value *blocks,
		     const struct rpc_value *block_size, uint64_t *ret_size)
{
	uint64_t size;

	if (block_size->number < 1 || block_size->number > UINT32_MAX) {
		call->why = why("block_size has to be a power of two, 512 to 65536");
		return -EINVAL;
	}
	if (blocks->number < 1 ||
	    !checked_mul((uint64_t)blocks->number, (uint64_t)block_size->number, &size)) {
		call->why = why("num_blocks has to be at least 1, and the size to fit 64 bits");
		return -EINVAL;
	}
	*ret_size = size;
	return 0;
}

static int create_malloc(struct rpc_call *call, json_t **ret_result)
{
	struct bdev_malloc_options opts = {
		.name = call->values[2].text,
		.numa_node = ENV_ANY_NODE,
	};
	struct bdev *bdev;
	int r;

	r = read_size(call, &call->values[0], &call->values[1], &opts.size);
	if (r == 0) {
		opts.block_size = (uint32_t)call->values[1].number;
		r = bdev_malloc_create(&opts, &bdev, &call->why);
	}
	return r < 0 ? r : created(call, bdev, ret_result);
}

static int create_null(struct rpc_call *call, json_t **ret_result)
{
	struct bdev_null_options opts = { .name = call->values[0].text };
	struct bdev *bdev;
	int r;

	r = read_size(call, &call->values[1], &call->values[2], &opts.size);
	if (r == 0) {
		opts.block_size = (uint32_t)call->values[2].number;
		r = bdev_null_create(&opts, &bdev, &call->why);
	}
	return r < 0 ? r : created(call, bdev, ret_result);
}

static int create_aio(struct rpc_call *call, json_t **ret_result)
{
	const struct rpc_value *block_size = &call->values[2];
	struct bdev_aio_options opts = {
		.name = call->values[0].text,
		.filename = call->values[1].text,
		.read_only = call->values[3].yes,
	};
	struct bdev *bdev;
	int r;

	if (block_size->number < 0 || block_size->number > UINT32_MAX) {
		call->why = why("block_size has to be a power of two, 512 to 65536, or 0 for the "
				"device's own");
		return -EINVAL;
	}
	opts.block_size = (uint32_t)block_size->number;
	r = bdev_aio_create(&opts, &bdev, &call->why);
	return r < 0 ? r : created(call, bdev, ret_result);
}

/* The bdev that the first parameter names; driver NULL: any. */
static int find(struct rpc_call *call, const char *driver, const struct bdev **ret_bdev)
{
	const char *name = call->values[0].text;
	const struct bdev *bdev = bdev_find(name);

	if (bdev == NULL) {
		return not_found(call, name);
	}
	if (driver != NULL && strcmp(bdev->ops->driver, driver) != 0) {
		call->why =
			why("bdev %s is a %s bdev, not a %s bdev", name, bdev->ops->driver, driver);
		return -EINVAL;
	}
	*ret_bdev = bdev;
	return 0;
}

static int resize_bdev(struct rpc_call *call, const char *driver, json_t **ret_result)
{
	const struct rpc_value *mib = &call->values[1];
	const struct rpc_value *blocks = &call->values[2];
	const struct bdev *bdev;
	bool fits = false;
	uint64_t size;
	int r = find(call, driver, &bdev);

	if (r < 0) {
		return r;
	}
	if (mib->given == blocks->given) {
		call->why = why("either new_size (in MiB) or num_blocks is needed");
		return -EINVAL;
	}
	if (mib->given) {
		fits = mib->number > 0 && checked_mul((uint64_t)mib->number, MIB, &size);
	} else {
		fits = blocks->number > 0 &&
		       checked_mul((uint64_t)blocks->number, bdev->info.block_size, &size);
	}
	if (!fits) {
		call->why = why("the new size has to be at least 1, and to fit 64 bits in bytes");
		return -EINVAL;
	}
	r = target_resize_bdev(call->server->target, bdev->name, size, &call->why);
	if (r == 0) {
		*ret_result = json_true();
	}
	return r;
}

static int resize_malloc(struct rpc_call *call, json_t **ret_result)
{
	return resize_bdev(call, "malloc", ret_result);
}

static int resize_null(struct rpc_call *call, json_t **ret_result)
{
	return resize_bdev(call, "null", ret_result);
}

static int rescan_aio(struct rpc_call *call, json_t **ret_result)
{
	const struct bdev *bdev;
	int r = find(call, "aio", &bdev);

	if (r == 0) {
		r = target_rescan_bdev(call->server->target, bdev->name, &call->why);
	}
	if (r == 0) {
		*ret_result = json_true();
	}
	return r;
}

static int delete_bdev(struct rpc_call *call, const char *driver, json_t **ret_result)
{
	const struct bdev *bdev;
	int r = find(call, driver, &bdev);

	if (r == 0) {
		r = target_delete_bdev(call->server->target, bdev->name, call->values[1].yes,
				       &call->why);
	}
	if (r == 0) {
		*ret_result = json_true();
	}
	return r;
}

static int delete_malloc(struct rpc_call *call, json_t **ret_result)
{
	return delete_bdev(call, "malloc", ret_result);
}

static int delete_null(struct rpc_call *call, json_t **ret_result)
{
	return delete_bdev(call, "null", ret_result);
}

static int delete_aio(struct rpc_call *call, json_t **ret_result)
{
	return delete_bdev(call, "aio", ret_result);
}

static int delete_any(struct rpc_call *call, json_t **ret_result)
{
	return delete_bdev(call, NULL, ret_result);
}

const struct rpc_method rpc_bdev_methods[] = {
	{ "bdev_get_bdevs", "get_bdevs", NULL, get_bdevs, { { "name", NULL, RPC_STRING, false } } },
	{ "bdev_malloc_create",
	  "construct_malloc_bdev",
	  NULL,
	  create_malloc,
	  { { "num_blocks", NULL, RPC_NUMBER, true },
	    { "block_size", NULL, RPC_NUMBER, true },
	    { "name", NULL, RPC_STRING, false } } },
	{ "bdev_malloc_resize",
	  NULL,
	  NULL,
	  resize_malloc,
	  { { "name", NULL, RPC_STRING, true },
	    { "new_size", NULL, RPC_NUMBER, false },
	    { "num_blocks", NULL, RPC_NUMBER, false } } },
	{ "bdev_malloc_delete",
	  NULL,
	  "delete_malloc_bdev",
	  delete_malloc,
	  { { "name", NULL, RPC_STRING, true }, { "force", NULL, RPC_BOOL, false } } },
	{ "bdev_null_create",
	  "construct_null_bdev",
	  NULL,
	  create_null,
	  { { "name", NULL, RPC_STRING, true },
	    { "num_blocks", NULL, RPC_NUMBER, true },
	    { "block_size", NULL, RPC_NUMBER, true } } },
	{ "bdev_null_resize",
	  NULL,
	  NULL,
	  resize_null,
	  { { "name", NULL, RPC_STRING, true },
	    { "new_size", NULL, RPC_NUMBER, false },
	    { "num_blocks", NULL, RPC_NUMBER, false } } },
	{ "bdev_null_delete",
	  NULL,
	  "delete_null_bdev",
	  delete_null,
	  { { "name", NULL, RPC_STRING, true }, { "force", NULL, RPC_BOOL, false } } },
	{ "bdev_aio_create",
	  "construct_aio_bdev",
	  NULL,
	  create_aio,
	  { { "name", NULL, RPC_STRING, true },
	    { "filename", "fname", RPC_STRING, true },
	    { "block_size", NULL, RPC_NUMBER, false },
	    { "readonly", "read_only", RPC_BOOL, false } } },
	{ "bdev_aio_rescan", NULL, NULL, rescan_aio, { { "name", NULL, RPC_STRING, true } } },
	{ "bdev_aio_delete",
	  NULL,
	  "delete_aio_bdev",
	  delete_aio,
	  { { "name", NULL, RPC_STRING, true }, { "force", NULL, RPC_BOOL, false } } },
	{ "bdev_delete",
	  "delete_bdev",
	  NULL,
	  delete_any,
	  { { "name", NULL, RPC_STRING, true }, { "force", NULL, RPC_BOOL, false } } },
	{ NULL },
};
