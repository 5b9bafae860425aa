/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vhostctl(1): management of a running vhost daemon. Exit status: 0 done, 1 the daemon refused,
 * 2 wrong usage or no daemon.
 */
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <vhost_target/version.h>

#include "client.h"
#include "show.h"

#define DEFAULT_SOCKET	   "vhost-rpc.sock"
#define SOCKET_VARIABLE	   "VHOST_RPC_SOCKET"
#define MAX_ARGUMENTS	   3
#define MIB		   (INT64_C(1) << 20)
#define DEFAULT_BLOCK_SIZE 512
/* The daemon itself gives up long before. */
#define HANDOVER_LIMIT_S 180
#define HANDOVER_POLL_MS 20

#define EXIT_REFUSED 1
#define EXIT_USAGE   2

/*
 * A command is a method whose first parameters are given by position; others follow as name=value.
 * The pseudo parameter "size_mib" becomes num_blocks.
 */
struct command {
	const char *name;
	const char *method;
	const char *arguments[MAX_ARGUMENTS + 1];
	unsigned int required;
	void (*show)(const json_t *result);
	const char *usage;
};

static const struct command commands[] = {
	{ "controllers", "vhost_get_controllers", { "name" }, 0, show_controllers, "[NAME]" },
	{ "stats", "vhost_get_stats", { "name" }, 0, show_stats, "[CONTROLLER]" },
	{ "bdevs", "bdev_get_bdevs", { "name" }, 0, show_bdevs, "[NAME]" },
	{ "reactors", "framework_get_reactors", { NULL }, 0, show_reactors, "" },
	{ "create-malloc",
	  "bdev_malloc_create",
	  { "name", "size_mib", "block_size" },
	  2,
	  show_short,
	  "NAME SIZE-MIB [BLOCK-SIZE]" },
	{ "create-null",
	  "bdev_null_create",
	  { "name", "size_mib", "block_size" },
	  2,
	  show_short,
	  "NAME SIZE-MIB [BLOCK-SIZE]" },
	{ "create-aio",
	  "bdev_aio_create",
	  { "name", "filename", "block_size" },
	  2,
	  show_short,
	  "NAME FILE [BLOCK-SIZE] [readonly=yes]" },
	{ "resize-malloc",
	  "bdev_malloc_resize",
	  { "name", "new_size" },
	  2,
	  show_short,
	  "NAME SIZE-MIB" },
	{ "resize-null", "bdev_null_resize", { "name", "new_size" }, 2, show_short, "NAME SIZE-MIB" },
	{ "rescan-aio", "bdev_aio_rescan", { "name" }, 1, show_short, "NAME" },
	{ "delete-bdev", "bdev_delete", { "name" }, 1, show_short, "NAME [force=yes]" },
	{ "create-blk",
	  "vhost_create_blk_controller",
	  { "ctrlr", "dev_name" },
	  2,
	  show_short,
	  "NAME BDEV [cpumask=MASK] [readonly=yes] [serial=TEXT] [queues=N]" },
	{ "create-scsi",
	  "vhost_create_scsi_controller",
	  { "ctrlr" },
	  1,
	  show_short,
	  "NAME [cpumask=MASK] [queues=N]" },
	{ "set-cpumask",
	  "vhost_controller_set_cpumask",
	  { "ctrlr", "cpumask" },
	  1,
	  show_short,
	  "CONTROLLER [MASK]" },
	{ "move-queue",
	  "vhost_controller_move_queue",
	  { "ctrlr", "queue", "lcore" },
	  3,
	  show_short,
	  "CONTROLLER QUEUE CORE" },
	{ "rebalance", "vhost_controller_rebalance", { "ctrlr" }, 0, show_short, "[CONTROLLER]" },
	{ "set-bdev",
	  "vhost_blk_controller_set_bdev",
	  { "ctrlr", "bdev_name" },
	  2,
	  show_short,
	  "CONTROLLER BDEV" },
	{ "add-target",
	  "vhost_scsi_controller_add_target",
	  { "ctrlr", "scsi_target_num", "bdev_name" },
	  3,
	  show_short,
	  "CONTROLLER NUMBER BDEV (number -1: the first that is free)" },
	{ "remove-target",
	  "vhost_scsi_controller_remove_target",
	  { "ctrlr", "scsi_target_num" },
	  2,
	  show_short,
	  "CONTROLLER NUMBER" },
	{ "set-coalescing",
	  "vhost_controller_set_coalescing",
	  { "ctrlr", "delay_base_us", "iops_threshold" },
	  3,
	  show_short,
	  "CONTROLLER DELAY-US IOPS-THRESHOLD" },
	{ "set-limits",
	  "vhost_controller_set_qos_limit",
	  { "ctrlr" },
	  1,
	  show_short,
	  "CONTROLLER [rw_ios_per_sec=N] [rw_mbytes_per_sec=N]" },
	{ "delete-controller",
	  "vhost_delete_controller",
	  { "ctrlr" },
	  1,
	  show_short,
	  "NAME [force=yes]" },
	{ "log-level",
	  "log_set_level",
	  { "level" },
	  1,
	  show_short,
	  "ERROR|WARNING|NOTICE|INFO|DEBUG" },
	{ "handover", "handover", { "binary" }, 0, show_handover, "[BINARY]" },
	{ "handover-status", "handover_get_status", { NULL }, 0, show_handover, "" },
	{ "version", "spdk_get_version", { NULL }, 0, show_version, "" },
	{ "methods", "rpc_get_methods", { NULL }, 0, show_lines, "" },
	{ "shutdown", "shutdown", { NULL }, 0, show_short, "" },
};

#define COMMAND_N (sizeof(commands) / sizeof(commands[0]))

/* Parameters that are text even when they look like a number. */
static const char *const text_parameters[] = { "name",	   "ctrlr",   "dev_name", "bdev_name",
					       "lun_name", "cpumask", "serial",	  "filename",
					       "fname",	   "level",   "flag",	  "sig_name",
					       "binary" };

static void usage(FILE *out)
{
	unsigned int i;

	fprintf(out, "usage: vhostctl [-s SOCKET] [-j] COMMAND [ARGUMENT...] [NAME=VALUE...]\n"
		     "       vhostctl [-s SOCKET] METHOD [NAME=VALUE...]\n\n"
		     "  -s, --socket SOCKET  management socket (default: $" SOCKET_VARIABLE
		     ", else ./" DEFAULT_SOCKET ")\n"
		     "  -j, --json           show results as JSON\n"
		     "  -h, --help           show this text\n"
		     "  -V, --version        show the version of vhostctl\n\n"
		     "commands:\n");
	for (i = 0; i < COMMAND_N; i++) {
		fprintf(out, "  %-18s %s\n", commands[i].name, commands[i].usage);
	}
	fprintf(out,
		"\n'vhostctl methods' lists the daemon's methods; vhostctl(1) explains all.\n");
}

static const struct command *find_command(const char *name)
{
	unsigned int i;

	for (i = 0; i < COMMAND_N; i++) {
		if (strcmp(commands[i].name, name) == 0) {
			return &commands[i];
		}
	}
	return NULL;
}

static bool is_text_parameter(const char *name)
{
	size_t i;

	for (i = 0; i < sizeof(text_parameters) / sizeof(text_parameters[0]); i++) {
		if (strcmp(text_parameters[i], name) == 0) {
			return true;
		}
	}
	return false;
}

/* Text, yes or no, or anything that is JSON. */
static json_t *to_json(const char *name, const char *value)
{
	json_t *json;

	if (is_text_parameter(name)) {
		return json_string(value);
	}
	if (strcasecmp(value, "yes") == 0) {
		return json_true();
	}
	if (strcasecmp(value, "no") == 0) {
		return json_false();
	}
	json = json_loads(value, JSON_DECODE_ANY, NULL);
	return json != NULL ? json : json_string(value);
}

static int set(json_t *params, const char *name, const char *value)
{
	if (json_object_set_new(params, name, to_json(name, value)) < 0) {
		fprintf(stderr, "vhostctl: '%s' is not UTF-8 text\n", value);
		return -EINVAL;
	}
	return 0;
}

/* The daemon counts in blocks, people in MiB. */
static int set_blocks(json_t *params)
{
	json_t *size = json_object_get(params, "size_mib");
	json_t *block_size = json_object_get(params, "block_size");
	json_int_t mib = json_integer_value(size);
	json_int_t block = block_size != NULL ? json_integer_value(block_size) : DEFAULT_BLOCK_SIZE;

	if (size == NULL) {
		return 0;
	}
	if (!json_is_integer(size) || mib < 1 || mib > INT64_MAX / MIB) {
		fprintf(stderr, "vhostctl: the size has to be a whole number of MiB\n");
		return -EINVAL;
	}
	if (block < 1 || mib * MIB % block != 0) {
		fprintf(stderr, "vhostctl: the size has to be a multiple of the block size\n");
		return -EINVAL;
	}
	json_object_set_new(params, "num_blocks", json_integer(mib * MIB / block));
	json_object_set_new(params, "block_size", json_integer(block));
	json_object_del(params, "size_mib");
	return 0;
}

static int read_arguments(const struct command *command, char **words, json_t *params)
{
	unsigned int position = 0;

	for (; *words != NULL; words++) {
		char *equals = strchr(*words, '=');
		const char *name = command != NULL ? command->arguments[position] : NULL;
		int r;

		if (name != NULL && (equals == NULL || position < command->required)) {
			r = set(params, name, *words);
			position++;
		} else if (equals != NULL) {
			*equals = '\0';
			r = set(params, *words, equals + 1);
		} else {
			fprintf(stderr, "vhostctl: '%s': NAME=VALUE was expected\n", *words);
			return -EINVAL;
		}
		if (r < 0) {
			return r;
		}
	}
	if (command != NULL && position < command->required) {
		fprintf(stderr, "usage: vhostctl %s %s\n", command->name, command->usage);
		return -EINVAL;
	}
	return set_blocks(params);
}

/*
 * A hand-over has begun. Who answers while it is under way is the old daemon, afterwards the new one, or the
 * old one again.
 */
static enum client_result wait_for_handover(const char *socket_path, json_t **ret_status)
{
	const struct timespec interval = { .tv_nsec = HANDOVER_POLL_MS * 1000000 };
	enum client_result result;
	const char *state;
	unsigned int tries;

	for (tries = 0; tries < HANDOVER_LIMIT_S * 1000 / HANDOVER_POLL_MS; tries++) {
		result = client_call(socket_path, "handover_get_status", NULL, ret_status);
		if (result != CLIENT_OK) {
			return result;
		}
		state = json_string_value(json_object_get(*ret_status, "state"));
		if (state != NULL && strcmp(state, "failed") == 0) {
			fprintf(stderr,
				"vhostctl: the hand-over has failed, the daemon goes on: %s\n",
				json_string_value(json_object_get(*ret_status, "reason")));
			json_decref(*ret_status);
			return CLIENT_REFUSED;
		}
		if (state == NULL || strcmp(state, "running") != 0) {
			return CLIENT_OK;
		}
		json_decref(*ret_status);
		nanosleep(&interval, NULL);
	}
	fprintf(stderr, "vhostctl: the hand-over is still under way\n");
	return CLIENT_FAILED;
}

static enum client_result call(const char *socket_path, const char *method, json_t *params,
			       json_t **ret_result)
{
	enum client_result result = client_call(socket_path, method, params, ret_result);

	if (result == CLIENT_OK && strcmp(method, "handover") == 0) {
		json_decref(*ret_result);
		result = wait_for_handover(socket_path, ret_result);
	}
	return result;
}

static int run(const char *socket_path, bool as_json, char **words)
{
	const struct command *command = find_command(words[0]);
	json_t *params = json_object();
	json_t *result;

	if (command == NULL && strchr(words[0], '_') == NULL) {
		fprintf(stderr, "vhostctl: there is no command '%s'; -h lists them\n", words[0]);
		json_decref(params);
		return EXIT_USAGE;
	}
	if (read_arguments(command, words + 1, params) < 0) {
		json_decref(params);
		return EXIT_USAGE;
	}
	switch (call(socket_path, command != NULL ? command->method : words[0], params, &result)) {
	case CLIENT_REFUSED:
		return EXIT_REFUSED;
	case CLIENT_FAILED:
		return EXIT_USAGE;
	case CLIENT_OK:
		break;
	}
	(command != NULL && !as_json ? command->show : show_json)(result);
	json_decref(result);
	return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_USAGE;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "socket", required_argument, NULL, 's' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	const char *socket_path = getenv(SOCKET_VARIABLE);
	bool as_json = false;
	int id;

	/* '+': options end at the command; its arguments may begin with '-'. */
	while ((id = getopt_long(argc, argv, "+s:jhV", longs, NULL)) != -1) {
		switch (id) {
		case 's':
			socket_path = optarg;
			break;
		case 'j':
			as_json = true;
			break;
		case 'h':
			usage(stdout);
			return EXIT_SUCCESS;
		case 'V':
			printf("vhostctl %s\n", VHT_VERSION);
			return EXIT_SUCCESS;
		default:
			usage(stderr);
			return EXIT_USAGE;
		}
	}
	if (optind == argc) {
		usage(stderr);
		return EXIT_USAGE;
	}
	if (socket_path == NULL || socket_path[0] == '\0') {
		socket_path = DEFAULT_SOCKET;
	}
	return run(socket_path, as_json, argv + optind);
}
