/* SPDX-License-Identifier: BSD-3-Clause */
/* Methods that create, change and delete controllers. */
#include <errno.h>
#include <string.h>

#include "base/why.h"
#include "controller/target.h"
#include "mgmt/rpc.h"

static int done(json_t **ret_result)
{
	*ret_result = json_true();
	return 0;
}

static int not_found(struct rpc_call *call, const char *name)
{
	call->why = why("there is no controller named '%.100s'", name);
	return -ENODEV;
}

static int read_queues(struct rpc_call *call, const struct rpc_value *value, unsigned int max,
		       unsigned int *ret_queues)
{
	if (value->given && (value->number < 1 || value->number > max)) {
		call->why = why("queues has to be 1 to %u", max);
		return -EINVAL;
	}
	*ret_queues = (unsigned int)value->number;
	return 0;
}

static int create_blk(struct rpc_call *call, json_t **ret_result)
{
	const struct controller_options opts = {
		.name = call->values[0].text,
		.cpumask = call->values[2].text,
		.listen_fd = -1,
	};
	struct controller_blk_options blk = {
		.bdev = call->values[1].text,
		.read_only = call->values[3].yes,
		.serial = call->values[4].text,
	};
	int r;

	r = read_queues(call, &call->values[5], 256, &blk.queues);
	if (r == 0) {
		r = controller_create_blk(call->server->target, &opts, &blk, &call->why);
	}
	return r < 0 ? r : done(ret_result);
}

static int create_scsi(struct rpc_call *call, json_t **ret_result)
{
	const struct controller_options opts = {
		.name = call->values[0].text,
		.cpumask = call->values[1].text,
		.listen_fd = -1,
	};
	struct scsi_options scsi = { .limits = NULL };
	int r;

	r = read_queues(call, &call->values[2], 254, &scsi.request_queues);
	if (r == 0) {
		r = controller_create_scsi(call->server->target, &opts, &scsi, &call->why);
	}
	return r < 0 ? r : done(ret_result);
}

static int set_bdev(struct rpc_call *call, json_t **ret_result)
{
	int r = controller_set_bdev(call->server->target, call->values[0].text,
				    call->values[1].text, &call->why);

	return r < 0 ? r : done(ret_result);
}

static int delete_controller(struct rpc_call *call, json_t **ret_result)
{
	int r = controller_delete(call->server->target, call->values[0].text, call->values[1].yes,
				  &call->why);

	return r < 0 ? r : done(ret_result);
}

static int delete_typed(struct rpc_call *call, const char *type, json_t **ret_result)
{
	const char *name = call->values[0].text;
	const struct controller *controller = controller_find(call->server->target, name);
	struct controller_info info;

	if (controller == NULL) {
		return not_found(call, name);
	}
	controller_get_info(controller, &info);
	if (strcmp(info.type, type) != 0) {
		call->why = why("controller %s is a %s controller, not a %s controller", name,
				info.type, type);
		return -EINVAL;
	}
	return delete_controller(call, ret_result);
}

static int delete_scsi(struct rpc_call *call, json_t **ret_result)
{
	return delete_typed(call, "scsi", ret_result);
}

static int delete_blk(struct rpc_call *call, json_t **ret_result)
{
	return delete_typed(call, "blk", ret_result);
}

/* A target number; -1 stands for the first that is free. */
static int read_target(struct rpc_call *call, bool may_choose, unsigned int *ret_number)
{
	const struct controller *controller =
		controller_find(call->server->target, call->values[0].text);
	int64_t number = call->values[1].number;
	struct controller_info info;
	unsigned int i = 0;

	if (controller == NULL) {
		return not_found(call, call->values[0].text);
	}
	if (number == -1 && may_choose) {
		controller_get_info(controller, &info);
		while (i < SCSI_MAX_TARGETS && info.targets[i].bdev != NULL) {
			i++;
		}
		if (i == SCSI_MAX_TARGETS) {
			call->why = why("all %d targets are occupied", SCSI_MAX_TARGETS);
			return -ENOSPC;
		}
		*ret_number = i;
		return 0;
	}
	if (number < 0 || number >= SCSI_MAX_TARGETS) {
		call->why = why("target number %lld is not within 0..%d", (long long)number,
				SCSI_MAX_TARGETS - 1);
		return -EINVAL;
	}
	*ret_number = (unsigned int)number;
	return 0;
}

static int add_target(struct rpc_call *call, json_t **ret_result)
{
	unsigned int number;
	int r = read_target(call, true, &number);

	if (r == 0) {
		r = controller_add_scsi_target(call->server->target, call->values[0].text, number,
					       call->values[2].text, &call->why);
	}
	if (r < 0) {
		return r;
	}
	*ret_result = call->old_name ? json_true() : json_integer(number);
	return 0;
}

static int remove_target(struct rpc_call *call, json_t **ret_result)
{
	unsigned int number;
	int r = read_target(call, false, &number);

	if (r == 0) {
		r = controller_remove_scsi_target(call->server->target, call->values[0].text,
						  number, &call->why);
	}
	return r < 0 ? r : done(ret_result);
}

static int set_coalescing(struct rpc_call *call, json_t **ret_result)
{
	int64_t delay_us = call->values[1].number;
	int64_t threshold = call->values[2].number;
	int r;

	if (delay_us < 0 || threshold < 0) {
		call->why = why("delay_base_us and iops_threshold cannot be negative");
		return -EINVAL;
	}
	r = controller_set_coalescing(call->server->target, call->values[0].text,
				      (uint64_t)delay_us, (uint64_t)threshold, &call->why);
	return r < 0 ? r : done(ret_result);
}

/* A limit that is not named stays as it is. */
static int set_limits(struct rpc_call *call, json_t **ret_result)
{
	const char *name = call->values[0].text;
	const struct rpc_value *ios = &call->values[1];
	const struct rpc_value *mbytes = &call->values[2];
	const struct controller *controller = controller_find(call->server->target, name);
	struct controller_info info;
	int r;

	if (controller == NULL) {
		return not_found(call, name);
	}
	if (!ios->given && !mbytes->given) {
		call->why = why("which limit? rw_ios_per_sec, rw_mbytes_per_sec");
		return -EINVAL;
	}
	if (ios->number < 0 || mbytes->number < 0) {
		call->why = why("a limit cannot be negative: 0 is none");
		return -EINVAL;
	}
	controller_get_info(controller, &info);
	r = controller_set_limits(
		call->server->target, name,
		ios->given ? (uint64_t)ios->number : info.qos.ios_per_sec,
		mbytes->given ? (uint64_t)mbytes->number : info.qos.mbytes_per_sec, &call->why);
	return r < 0 ? r : done(ret_result);
}

const struct rpc_method rpc_vhost_methods[] = {
	{ "vhost_create_blk_controller",
	  "construct_vhost_blk_controller",
	  NULL,
	  create_blk,
	  { { "ctrlr", NULL, RPC_STRING, true },
	    { "dev_name", "bdev_name", RPC_STRING, true },
	    { "cpumask", NULL, RPC_STRING, false },
	    { "readonly", "read_only", RPC_BOOL, false },
	    { "serial", NULL, RPC_STRING, false },
	    { "queues", NULL, RPC_NUMBER, false } } },
	{ "vhost_create_scsi_controller",
	  "construct_vhost_scsi_controller",
	  NULL,
	  create_scsi,
	  { { "ctrlr", NULL, RPC_STRING, true },
	    { "cpumask", NULL, RPC_STRING, false },
	    { "queues", NULL, RPC_NUMBER, false } } },
	{ "vhost_blk_controller_set_bdev",
	  NULL,
	  NULL,
	  set_bdev,
	  { { "ctrlr", NULL, RPC_STRING, true }, { "bdev_name", "dev_name", RPC_STRING, true } } },
	{ "vhost_scsi_controller_add_target",
	  "add_vhost_scsi_lun",
	  NULL,
	  add_target,
	  { { "ctrlr", NULL, RPC_STRING, true },
	    { "scsi_target_num", "scsi_dev_num", RPC_NUMBER, true },
	    { "bdev_name", "lun_name", RPC_STRING, true } } },
	{ "vhost_scsi_controller_remove_target",
	  "remove_vhost_scsi_dev",
	  NULL,
	  remove_target,
	  { { "ctrlr", NULL, RPC_STRING, true },
	    { "scsi_target_num", "scsi_dev_num", RPC_NUMBER, true } } },
	{ "vhost_controller_set_coalescing",
	  "set_vhost_controller_coalescing",
	  NULL,
	  set_coalescing,
	  { { "ctrlr", NULL, RPC_STRING, true },
	    { "delay_base_us", NULL, RPC_NUMBER, true },
	    { "iops_threshold", NULL, RPC_NUMBER, true } } },
	{ "vhost_controller_set_qos_limit",
	  NULL,
	  NULL,
	  set_limits,
	  { { "ctrlr", "name", RPC_STRING, true },
	    { "rw_ios_per_sec", NULL, RPC_NUMBER, false },
	    { "rw_mbytes_per_sec", NULL, RPC_NUMBER, false } } },
	{ "vhost_delete_controller",
	  NULL,
	  NULL,
	  delete_controller,
	  { { "ctrlr", NULL, RPC_STRING, true }, { "force", NULL, RPC_BOOL, false } } },
	{ "vhost_delete_scsi_controller",
	  "remove_vhost_scsi_controller",
	  NULL,
	  delete_scsi,
	  { { "ctrlr", NULL, RPC_STRING, true } } },
	{ "vhost_delete_blk_controller",
	  "remove_vhost_blk_controller",
	  NULL,
	  delete_blk,
	  { { "ctrlr", NULL, RPC_STRING, true } } },
	{ NULL },
};
