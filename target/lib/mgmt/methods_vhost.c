/* SPDX-License-Identifier: BSD-3-Clause */
/* Methods that list, create, change and delete controllers. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/why.h"
#include "controller/target.h"
#include "mgmt/rpc.h"

static int done(json_t **ret_result)
{
	*ret_result = json_true();
	return 0;
}

/* ---- showing ---- */

static json_t *list_luns(const char *bdev, const char *key)
{
	return json_pack("[{s:i, s:s}]", "id", 0, key, bdev);
}

/* The targets of a scsi controller; lun_key: what 17.07 and later call a LUN's bdev. */
static json_t *list_targets(const struct controller_info *info, const char *lun_key)
{
	json_t *list = json_array();
	unsigned int i;

	for (i = 0; i < SCSI_MAX_TARGETS; i++) {
		char name[16];

		if (info->targets[i].bdev == NULL) {
			continue;
		}
		snprintf(name, sizeof(name), "Target %u", i);
		json_array_append_new(list,
				      json_pack("{s:i, s:i, s:s, s:o}", "scsi_dev_num", (int)i,
						"id", (int)i, "target_name", name, "luns",
						list_luns(info->targets[i].bdev, lun_key)));
	}
	return list;
}

static json_t *describe_backend(const struct controller_info *info)
{
	if (strcmp(info->type, "blk") == 0) {
		return json_pack("{s:{s:b, s:s}}", "block", "readonly", info->read_only, "bdev",
				 info->bdev);
	}
	return json_pack("{s:o}", "scsi", list_targets(info, "bdev_name"));
}

static json_t *describe(const struct controller *controller)
{
	struct controller_info info;
	char mask[ENV_CPUSET_TEXT];
	char features[24];
	json_t *core;

	controller_get_info(controller, &info);
	env_cpuset_format(&info.cpumask, mask, sizeof(mask));
	snprintf(features, sizeof(features), "0x%llx", (unsigned long long)info.features);
	core = info.core >= 0 ? json_integer(info.core) : json_null();
	return json_pack("{s:s, s:s, s:s, s:s, s:b, s:o, s:s, s:I, s:i, s:o}", "ctrlr", info.name,
			 "type", info.type, "cpumask", mask, "socket", info.socket_path,
			 "connected", info.connected, "lcore", core, "features", features,
			 "sessions_accepted", (json_int_t)info.sessions, "max_queues",
			 (int)controller_max_queues(controller), "backend_specific",
			 describe_backend(&info));
}

static int not_found(struct rpc_call *call, const char *name)
{
	call->why = why("there is no controller named '%.100s'", name);
	return -ENODEV;
}

/* Calls make for every controller, or the one that the first parameter names. */
static int list_controllers(struct rpc_call *call,
			    json_t *(*make)(const struct controller *controller),
			    json_t **ret_result)
{
	const char *name = call->values[0].text;
	const struct controller *controller = NULL;
	json_t *list;

	if (name != NULL && controller_find(call->server->target, name) == NULL) {
		return not_found(call, name);
	}
	list = json_array();
	while ((controller = controller_next(call->server->target, controller)) != NULL) {
		struct controller_info info;
		json_t *one;

		controller_get_info(controller, &info);
		if (name != NULL && strcmp(info.name, name) != 0) {
			continue;
		}
		one = make(controller);
		if (one != NULL) {
			json_array_append_new(list, one);
		}
	}
	*ret_result = list;
	return 0;
}

static int get_controllers(struct rpc_call *call, json_t **ret_result)
{
	return list_controllers(call, describe, ret_result);
}

/* The two lists of 17.07 in their old form. */
static json_t *describe_old_scsi(const struct controller *controller)
{
	struct controller_info info;
	char mask[ENV_CPUSET_TEXT];

	controller_get_info(controller, &info);
	if (strcmp(info.type, "scsi") != 0) {
		return NULL;
	}
	env_cpuset_format(&info.cpumask, mask, sizeof(mask));
	return json_pack("{s:s, s:s, s:o}", "ctrlr", info.name, "cpu_mask", mask, "scsi_devs",
			 list_targets(&info, "name"));
}

static json_t *describe_old_blk(const struct controller *controller)
{
	struct controller_info info;
	char mask[ENV_CPUSET_TEXT];

	controller_get_info(controller, &info);
	if (strcmp(info.type, "blk") != 0) {
		return NULL;
	}
	env_cpuset_format(&info.cpumask, mask, sizeof(mask));
	return json_pack("{s:s, s:s, s:b, s:s}", "ctrlr", info.name, "cpu_mask", mask, "readonly",
			 info.read_only, "bdev", info.bdev);
}

static int get_scsi_controllers(struct rpc_call *call, json_t **ret_result)
{
	return list_controllers(call, describe_old_scsi, ret_result);
}

static int get_blk_controllers(struct rpc_call *call, json_t **ret_result)
{
	return list_controllers(call, describe_old_blk, ret_result);
}

static json_t *describe_queue(const struct controller_queue_info *queue)
{
	const struct virtq_stats *s = &queue->stats;
	json_t *broken = queue->broken != NULL ? json_string(queue->broken) : json_null();

	return json_pack("{s:i, s:b, s:i, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "queue",
			 (int)queue->index, "running", queue->running, "size", (int)queue->size,
			 "broken", broken, "requests", (json_int_t)s->requests, "read_bytes",
			 (json_int_t)s->read_bytes, "written_bytes", (json_int_t)s->written_bytes,
			 "kicks", (json_int_t)s->kicks, "calls", (json_int_t)s->calls,
			 "suppressed_calls", (json_int_t)s->suppressed_calls, "batches",
			 (json_int_t)s->batches, "malformed", (json_int_t)s->malformed);
}

static json_t *describe_stats(const struct controller *controller)
{
	struct controller_queue_info queue;
	struct controller_info info;
	json_t *queues = json_array();
	unsigned int i;

	controller_get_info(controller, &info);
	for (i = 0; i < controller_max_queues(controller); i++) {
		if (controller_get_queue(controller, i, &queue)) {
			json_array_append_new(queues, describe_queue(&queue));
		}
	}
	return json_pack("{s:s, s:s, s:b, s:o}", "ctrlr", info.name, "type", info.type, "connected",
			 info.connected, "queues", queues);
}

static int get_stats(struct rpc_call *call, json_t **ret_result)
{
	json_t *list;
	int r = list_controllers(call, describe_stats, &list);

	if (r == 0) {
		*ret_result = json_pack("{s:I, s:o}", "tick_rate", (json_int_t)env_ticks_hz(),
					"controllers", list);
	}
	return r;
}

/* ---- changing ---- */

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

const struct rpc_method rpc_vhost_methods[] = {
	{ "vhost_get_controllers",
	  NULL,
	  "get_vhost_controllers",
	  get_controllers,
	  { { "name", "ctrlr", RPC_STRING, false } } },
	{ "vhost_get_scsi_controllers",
	  "get_vhost_scsi_controllers",
	  NULL,
	  get_scsi_controllers,
	  { { "name", "ctrlr", RPC_STRING, false } } },
	{ "vhost_get_blk_controllers",
	  "get_vhost_blk_controllers",
	  NULL,
	  get_blk_controllers,
	  { { "name", "ctrlr", RPC_STRING, false } } },
	{ "vhost_get_stats", NULL, NULL, get_stats, { { "name", "ctrlr", RPC_STRING, false } } },
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
