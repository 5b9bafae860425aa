/* SPDX-License-Identifier: BSD-3-Clause */
/* Methods that say which cores run the queues of controllers. */
#include <errno.h>

#include "base/why.h"
#include "controller/target.h"
#include "mgmt/rpc.h"

static int done(int r, json_t **ret_result)
{
	if (r == 0) {
		*ret_result = json_true();
	}
	return r;
}

static int set_cpumask(struct rpc_call *call, json_t **ret_result)
{
	return done(controller_set_cpumask(call->server->target, call->values[0].text,
					   call->values[1].text, &call->why),
		    ret_result);
}

static int move_queue(struct rpc_call *call, json_t **ret_result)
{
	int64_t index = call->values[1].number;
	int64_t core = call->values[2].number;

	if (index < 0 || index > UINT16_MAX || core < 0 || core >= ENV_MAX_CORES) {
		call->why = why("%lld and %lld are not the numbers of a queue and a core",
				(long long)index, (long long)core);
		return -EINVAL;
	}
	return done(controller_move_queue(call->server->target, call->values[0].text,
					  (unsigned int)index, (unsigned int)core, &call->why),
		    ret_result);
}

static int rebalance(struct rpc_call *call, json_t **ret_result)
{
	return done(controller_rebalance(call->server->target, call->values[0].text, &call->why),
		    ret_result);
}

const struct rpc_method rpc_cores_methods[] = {
	{ "vhost_controller_set_cpumask",
	  NULL,
	  NULL,
	  set_cpumask,
	  { { "ctrlr", NULL, RPC_STRING, true }, { "cpumask", NULL, RPC_STRING, false } } },
	{ "vhost_controller_move_queue",
	  NULL,
	  NULL,
	  move_queue,
	  { { "ctrlr", NULL, RPC_STRING, true },
	    { "queue", NULL, RPC_NUMBER, true },
	    { "lcore", "core", RPC_NUMBER, true } } },
	{ "vhost_controller_rebalance",
	  NULL,
	  NULL,
	  rebalance,
	  { { "ctrlr", "name", RPC_STRING, false } } },
	{ NULL },
};
