/* SPDX-License-Identifier: BSD-3-Clause */
/* Methods about planned hand-overs: begin one, and what has become of it. */
#include <errno.h>
#include <unistd.h>

#include "base/why.h"
#include "mgmt/rpc.h"

#define NS_PER_MS 1e6

static const char *const state_names[] = {
	[HANDOVER_NEVER] = "never",
	[HANDOVER_RUNNING] = "running",
	[HANDOVER_DONE] = "done",
	[HANDOVER_FAILED] = "failed",
};

static int cannot(struct rpc_call *call)
{
	call->why = why("this program does not know how to start its successor");
	return -ENOTSUP;
}

/* What comes of it is asked for later: perhaps another process answers then. */
static int hand_over(struct rpc_call *call, json_t **ret_result)
{
	const struct rpc_server *server = call->server;
	int r = server->hand_over == NULL ?
			cannot(call) :
			server->hand_over(server->arg, call->values[0].text, &call->why);

	if (r == 0) {
		*ret_result = json_true();
	}
	return r;
}

static int get_status(struct rpc_call *call, json_t **ret_result)
{
	const struct rpc_server *server = call->server;
	struct handover_status status;
	json_t *reason;

	if (server->handover_status == NULL) {
		return cannot(call);
	}
	server->handover_status(server->arg, &status);
	reason = status.state == HANDOVER_FAILED ? rpc_text(status.reason) : json_null();
	*ret_result = json_pack("{s:s, s:I, s:I, s:f, s:f, s:o}", "state",
				state_names[status.state], "pid", (json_int_t)getpid(), "count",
				(json_int_t)status.count, "pause_ms",
				(double)status.pause_ns / NS_PER_MS, "longest_pause_ms",
				(double)status.longest_pause_ns / NS_PER_MS, "reason", reason);
	return 0;
}

const struct rpc_method rpc_handover_methods[] = {
	{ "handover", NULL, NULL, hand_over, { { "binary", NULL, RPC_STRING, false } } },
	{ "handover_get_status", NULL, NULL, get_status, { { NULL } } },
	{ NULL },
};
