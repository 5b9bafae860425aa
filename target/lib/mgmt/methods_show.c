/* SPDX-License-Identifier: BSD-3-Clause */
/* Methods that show controllers and what their queues have counted. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/why.h"
#include "controller/target.h"
#include "mgmt/rpc.h"

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
		return json_pack("{s:{s:b, s:s?}}", "block", "readonly", info->read_only, "bdev",
				 info->bdev);
	}
	return json_pack("{s:o}", "scsi", list_targets(info, "bdev_name"));
}

static json_t *list_cores(const struct env_cpuset *cores)
{
	json_t *list = json_array();
	unsigned int i;

	for (i = 0; i < ENV_MAX_CORES; i++) {
		if (env_cpuset_has(cores, i)) {
			json_array_append_new(list, json_integer(i));
		}
	}
	return list;
}

static json_t *describe_limits(const struct controller_qos *qos)
{
	return json_pack("{s:I, s:I}", "rw_ios_per_sec", (json_int_t)qos->ios_per_sec,
			 "rw_mbytes_per_sec", (json_int_t)qos->mbytes_per_sec);
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
	return json_pack("{s:s, s:s, s:s, s:o, s:b, s:o, s:o, s:s, s:I, s:i, s:I, s:I, s:o, s:o}",
			 "ctrlr", info.name, "type", info.type, "cpumask", mask, "socket",
			 rpc_text(info.socket_path), "connected", info.connected, "lcore", core,
			 "lcores", list_cores(&info.cores), "features", features,
			 "sessions_accepted", (json_int_t)info.sessions, "max_queues",
			 (int)controller_max_queues(controller), "delay_base_us",
			 (json_int_t)info.qos.delay_us, "iops_threshold",
			 (json_int_t)info.qos.iops_threshold, "assigned_rate_limits",
			 describe_limits(&info.qos), "backend_specific", describe_backend(&info));
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
	return json_pack("{s:s, s:s, s:b, s:s?}", "ctrlr", info.name, "cpu_mask", mask, "readonly",
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
	json_t *core = queue->core >= 0 ? json_integer(queue->core) : json_null();

	return json_pack("{s:i, s:b, s:o, s:i, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
			 "queue", (int)queue->index, "running", queue->running, "lcore", core,
			 "size", (int)queue->size, "broken", broken, "requests",
			 (json_int_t)s->requests, "read_bytes", (json_int_t)s->read_bytes,
			 "written_bytes", (json_int_t)s->written_bytes, "kicks",
			 (json_int_t)s->kicks, "calls", (json_int_t)s->calls, "suppressed_calls",
			 (json_int_t)s->suppressed_calls, "batches", (json_int_t)s->batches,
			 "malformed", (json_int_t)s->malformed);
}

static json_t *describe_stats(const struct controller *controller)
{
	struct controller_queue_info queue;
	struct controller_info info;
	json_t *queues = json_array();
	json_t *events = NULL;
	unsigned int i;

	controller_get_info(controller, &info);
	for (i = 0; i < controller_max_queues(controller); i++) {
		if (controller_get_queue(controller, i, &queue)) {
			json_array_append_new(queues, describe_queue(&queue));
		}
	}
	if (strcmp(info.type, "scsi") == 0) {
		events = json_pack("{s:I, s:I}", "delivered", (json_int_t)info.events.delivered,
				   "missed", (json_int_t)info.events.missed);
	}
	return json_pack("{s:s, s:s, s:b, s:o, s:o*}", "ctrlr", info.name, "type", info.type,
			 "connected", info.connected, "queues", queues, "events", events);
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

const struct rpc_method rpc_show_methods[] = {
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
	{ NULL },
};
