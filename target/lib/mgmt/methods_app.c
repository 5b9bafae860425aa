/* SPDX-License-Identifier: BSD-3-Clause */
/* Methods about the program itself: version, methods, log, reactors, end. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <vhost_target/version.h>

#include "base/coverage.h"
#include "base/log.h"
#include "base/why.h"
#include "env/env.h"
#include "mgmt/rpc.h"
#include "reactor/reactor.h"

static const char *const level_names[] = {
	[LOG_LEVEL_ERROR] = "ERROR", [LOG_LEVEL_WARNING] = "WARNING", [LOG_LEVEL_NOTICE] = "NOTICE",
	[LOG_LEVEL_INFO] = "INFO",   [LOG_LEVEL_DEBUG] = "DEBUG",
};
#define LEVEL_N (sizeof(level_names) / sizeof(level_names[0]))

static int done(json_t **ret_result)
{
	*ret_result = json_true();
	return 0;
}

static bool append_names(const struct rpc_method *method, void *arg)
{
	json_t *names = arg;

	json_array_append_new(names, json_string(method->name));
	if (method->alias != NULL) {
		json_array_append_new(names, json_string(method->alias));
	}
	if (method->old_name != NULL) {
		json_array_append_new(names, json_string(method->old_name));
	}
	return false;
}

static bool append_current_name(const struct rpc_method *method, void *arg)
{
	json_array_append_new(arg, json_string(method->name));
	return false;
}

static int get_methods(struct rpc_call *call, json_t **ret_result)
{
	*ret_result = json_array();
	rpc_each_method(call->values[0].yes ? append_current_name : append_names, *ret_result);
	return 0;
}

static int get_version(struct rpc_call *call, json_t **ret_result)
{
	int major = 0;
	int minor = 0;
	int patch = 0;

	sscanf(VHT_VERSION, "%d.%d.%d", &major, &minor, &patch);
	*ret_result = json_pack("{s:s, s:{s:i, s:i, s:i, s:s}, s:s}", "version",
				"vhost " VHT_VERSION, "fields", "major", major, "minor", minor,
				"patch", patch, "suffix", "", "environment", env_version());
	return 0;
}

static int set_level(struct rpc_call *call, json_t **ret_result)
{
	const char *wanted = call->values[0].text;
	unsigned int i;

	for (i = 0; i < LEVEL_N; i++) {
		if (strcasecmp(wanted, level_names[i]) == 0) {
			log_set_level((enum log_level)i);
			return done(ret_result);
		}
	}
	call->why =
		why("there is no log level '%.40s': ERROR, WARNING, NOTICE, INFO or DEBUG", wanted);
	return -EINVAL;
}

static int get_level(struct rpc_call *call, json_t **ret_result)
{
	*ret_result = json_string(level_names[log_get_level()]);
	return 0;
}

/* 17.07 had a flag per component; there is one debug log here. */
static int set_flag(struct rpc_call *call, json_t **ret_result)
{
	log_set_level(LOG_LEVEL_DEBUG);
	return done(ret_result);
}

static int clear_flag(struct rpc_call *call, json_t **ret_result)
{
	log_set_level(LOG_LEVEL_NOTICE);
	return done(ret_result);
}

static int get_flags(struct rpc_call *call, json_t **ret_result)
{
	*ret_result = json_pack("{s:b}", "all", log_get_level() == LOG_LEVEL_DEBUG);
	return 0;
}

static int get_reactors(struct rpc_call *call, json_t **ret_result)
{
	json_t *list = json_array();
	struct reactor *reactor;

	for (reactor = reactor_next(NULL); reactor != NULL; reactor = reactor_next(reactor)) {
		struct reactor_stats stats;

		reactor_get_stats(reactor, &stats);
		json_array_append_new(list, json_pack("{s:i, s:i, s:I, s:I, s:I}", "lcore",
						      (int)reactor_core(reactor), "numa_node",
						      env_core_numa_node(reactor_core(reactor)),
						      "rounds", (json_int_t)stats.rounds,
						      "busy_rounds", (json_int_t)stats.busy_rounds,
						      "sleeps", (json_int_t)stats.sleeps));
	}
	*ret_result =
		json_pack("{s:I, s:o}", "tick_rate", (json_int_t)env_ticks_hz(), "reactors", list);
	return 0;
}

static int shut_down(struct rpc_call *call, json_t **ret_result)
{
	call->server->shutdown_requested = true;
	return done(ret_result);
}

static int kill_instance(struct rpc_call *call, json_t **ret_result)
{
	static const char *const orderly[] = { "SIGINT", "SIGTERM", "SIGQUIT", "SIGHUP" };
	const char *name = call->values[0].text;
	unsigned int i;

	for (i = 0; i < sizeof(orderly) / sizeof(orderly[0]); i++) {
		if (strcmp(name, orderly[i]) == 0 || strcmp(name, orderly[i] + 3) == 0) {
			return shut_down(call, ret_result);
		}
	}
	if (strcmp(name, "SIGKILL") == 0 || strcmp(name, "KILL") == 0) {
		kill(getpid(), SIGKILL);
	}
	call->why =
		why("sig_name '%.40s' is none of SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGKILL", name);
	return -EINVAL;
}

#ifdef VHT_COVERAGE
static int gcov_dump(struct rpc_call *call, json_t **ret_result)
{
	coverage_dump();
	return done(ret_result); /* GCOVR_EXCL_LINE: after the counts */
}
#endif

const struct rpc_method rpc_app_methods[] = {
#ifdef VHT_COVERAGE
	{ "gcov_dump", NULL, NULL, gcov_dump, { { NULL } } },
#endif
	{ "rpc_get_methods",
	  "get_rpc_methods",
	  NULL,
	  get_methods,
	  { { "current", NULL, RPC_BOOL, false } } },
	{ "spdk_get_version", NULL, "get_version", get_version, { { NULL } } },
	{ "framework_get_reactors", NULL, NULL, get_reactors, { { NULL } } },
	{ "log_set_level",
	  NULL,
	  "log_set_print_level",
	  set_level,
	  { { "level", NULL, RPC_STRING, true } } },
	{ "log_get_level", NULL, "log_get_print_level", get_level, { { NULL } } },
	{ "log_set_flag", "set_trace_flag", NULL, set_flag, { { "flag", NULL, RPC_STRING, true } } },
	{ "log_clear_flag",
	  "clear_trace_flag",
	  NULL,
	  clear_flag,
	  { { "flag", NULL, RPC_STRING, true } } },
	{ "log_get_flags", "get_trace_flags", NULL, get_flags, { { NULL } } },
	{ "spdk_kill_instance",
	  "kill_instance",
	  NULL,
	  kill_instance,
	  { { "sig_name", NULL, RPC_STRING, true } } },
	{ "shutdown", NULL, NULL, shut_down, { { NULL } } },
	{ NULL },
};
