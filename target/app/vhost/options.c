/* SPDX-License-Identifier: BSD-3-Clause */
#include "options.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"

enum {
	LONG_STRICT = 256,
	LONG_FD,
	LONG_PRINT_CAPABILITIES,
	LONG_MODE,
	LONG_IDLE_US,
	LONG_MEM_SLOTS,
	LONG_NO_HANDOVER,
	LONG_NO_HUGE,
	LONG_NO_SECCOMP,
	LONG_BLK_FILE,
	LONG_SOCKET_PATH,
	LONG_READ_ONLY,
};

/* One option: its letter (or LONG_...), long name, argument, explanation. */
struct option_row {
	int id;
	const char *name;
	const char *argument;
	const char *help;
};

static const struct option_row rows[] = {
	{ 'c', "config", "FILE", "configuration file (default: " VHOST_CONF_DEFAULT ")" },
	{ 'd', NULL, NULL, "leave the limit of core dumps as it is (default: raise it)" },
	{ 'e', NULL, "MASK", "trace point group mask; accepted, no effect" },
	{ 'f', NULL, "FILE", "write the process number to FILE, remove it at exit" },
	{ 'h', "help", NULL, "show this text" },
	{ 'i', NULL, "ID", "shared memory number; accepted, no effect" },
	{ 'm', NULL, "MASK",
	  "cores of the reactors, like 0x3 or [0-1]; overrides ReactorMask "
	  "(default: 0x1)" },
	{ 'n', NULL, "CHANNELS", "memory channels; accepted, no effect" },
	{ 'N', NULL, NULL, "no PCI devices; accepted, no effect: none are used" },
	{ 'p', NULL, "CORE", "main core; accepted, no effect: the control thread is not bound" },
	{ 'q', NULL, NULL, "log only warnings and errors" },
	{ 'r', "rpc-socket", "PATH",
	  "management socket (default: vhost-rpc.sock beside the "
	  "controllers' sockets)" },
	{ 's', NULL, "SIZE", "use at most SIZE MiB of hugepages (default: no bound)" },
	{ 'S', NULL, "DIR", "directory of the sockets (default: the current one)" },
	{ 't', NULL, "FLAG", "log debug messages; FLAG: all, bdev, config, rpc, scsi, vhost" },
	{ 'V', "version", NULL, "show the version" },
	{ LONG_STRICT, "strict", NULL, "refuse a configuration file with anything odd in it" },
	{ LONG_MODE, "mode", "MODE",
	  "adaptive (spin while busy, then sleep; default), poll (never "
	  "sleep), event (never spin)" },
	{ LONG_IDLE_US, "idle-us", "N", "adaptive: sleep after N idle microseconds" },
	{ LONG_MEM_SLOTS, "mem-slots", "N",
	  "offer N memory slots to front-ends (default: 512); for guests that another target serves, "
	  "too, which has fewer" },
	{ LONG_NO_HANDOVER, "no-handover", NULL,
	  "refuse hand-overs; no process is kept that could start another "
	  "one" },
	{ LONG_NO_HUGE, "no-huge", NULL, "use no hugepages, even when there are some" },
	{ LONG_NO_SECCOMP, "no-seccomp", NULL,
	  "keep all capabilities and system calls; without it, only what "
	  "serving needs" },
	{ LONG_FD, "fd", "[NAME=]NUM",
	  "serve controller NAME (or the only one) on listening socket "
	  "NUM, inherited from the parent process" },
	{ LONG_BLK_FILE, "blk-file", "FILE",
	  "no configuration: serve FILE as one block device, on "
	  "--socket-path or --fd" },
	{ LONG_SOCKET_PATH, "socket-path", "PATH", "the socket of --blk-file" },
	{ LONG_READ_ONLY, "read-only", NULL, "the disk of --blk-file cannot be written" },
	{ LONG_PRINT_CAPABILITIES, "print-capabilities", NULL,
	  "say as JSON what a manager of "
	  "back-ends may use" },
};

#define ROW_N (sizeof(rows) / sizeof(rows[0]))

static void usage(FILE *out, const char *program)
{
	unsigned int i;

	fprintf(out, "usage: %s [options]\n\n", program);
	for (i = 0; i < ROW_N; i++) {
		const struct option_row *row = &rows[i];
		char left[64];

		snprintf(left, sizeof(left), "%c%c%s%s%s%s%s", row->id < 256 ? '-' : ' ',
			 row->id < 256 ? row->id : ' ',
			 row->name == NULL ? "" : (row->id < 256 ? ", " : "  "),
			 row->name == NULL ? "" : "--", row->name == NULL ? "" : row->name,
			 row->argument == NULL ? "" : " ",
			 row->argument == NULL ? "" : row->argument);
		fprintf(out, "  %-26s %s\n", left, row->help);
	}
	fprintf(out, "\nvhost(8) explains them, vhost.conf(5) the configuration file.\n");
}

static void print_version(void)
{
	printf("vhost %s (%s)\n", vht_version(), vht_environment());
}

/* vhost-user specification, "Backend program conventions": what the block type may have. */
static void print_capabilities(void)
{
	printf("{\n"
	       "  \"type\": \"block\",\n"
	       "  \"features\": [\n"
	       "    \"read-only\",\n"
	       "    \"blk-file\"\n"
	       "  ]\n"
	       "}\n");
}

static int bad_value(const char *option, const char *text, const char *wanted)
{
	fprintf(stderr, "Option '%s': '%s' is not %s.\n", option, text, wanted);
	return -EINVAL;
}

static int parse_number(const char *option, const char *text, unsigned int max,
			unsigned int *ret_value)
{
	unsigned long value;
	char *end;

	errno = 0;
	value = isdigit((unsigned char)text[0]) ? strtoul(text, &end, 10) : 0;
	if (!isdigit((unsigned char)text[0]) || *end != '\0' || errno != 0 || value > max) {
		return bad_value(option, text, "a decimal number in range");
	}
	*ret_value = (unsigned int)value;
	return 0;
}

/* "NUM", or "NAME=NUM"; the last '=' counts. */
static int parse_fd(struct options *o, char *text)
{
	char *equals = strrchr(text, '=');
	unsigned int fd;

	if (o->fd_n == OPTIONS_MAX_FDS) {
		fprintf(stderr, "Option '--fd': more than %d of them.\n", OPTIONS_MAX_FDS);
		return -E2BIG;
	}
	if (parse_number("--fd", equals != NULL ? equals + 1 : text, INT32_MAX, &fd) < 0) {
		return -EINVAL;
	}
	if (equals != NULL) {
		*equals = '\0';
	}
	o->fds[o->fd_n++] = (struct passed_fd){
		.controller = equals != NULL ? text : NULL,
		.fd = (int)fd,
	};
	return 0;
}

static int parse_mode(const char *text, enum vht_mode *ret_mode)
{
	static const char *const names[] = {
		[VHT_MODE_ADAPTIVE] = "adaptive",
		[VHT_MODE_POLL] = "poll",
		[VHT_MODE_EVENT] = "event",
	};
	unsigned int i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(text, names[i]) == 0) {
			*ret_mode = (enum vht_mode)i;
			return 0;
		}
	}
	return bad_value("--mode", text, "adaptive, poll or event");
}

/* There is one debug log; the flags of 17.07 that name parts of it all turn it on. */
static int parse_trace_flag(const char *text)
{
	static const char *const flags[] = { "all", "bdev",	  "config",	"debug",
					     "rpc", "scsi",	  "vhost",	"vhost_blk",
					     "aio", "vhost_data", "vhost_ring", "vhost_scsi" };
	unsigned int i;

	for (i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		if (strcasecmp(text, flags[i]) == 0) {
			return 0;
		}
	}
	return bad_value("-t", text, "a trace flag");
}

static int no_effect(int id)
{
	log_notice("option -%c is accepted but has no effect", id);
	return 0;
}

static int take(struct options *o, int id, char *argument)
{
	switch (id) {
	case 'c':
		o->config_path = argument;
		return 0;
	case 'd':
		o->no_core_dumps = true;
		return 0;
	case 'f':
		o->pid_file = argument;
		return 0;
	case 'm':
		o->target.reactor_mask = argument;
		return 0;
	case 'q':
		o->quiet = true;
		o->target.quiet = true;
		log_set_level(LOG_LEVEL_WARNING);
		return 0;
	case 'r':
		o->target.rpc_path = argument;
		return 0;
	case 's':
		return parse_number("-s", argument, UINT32_MAX, &o->target.mem_limit_mib);
	case 'S':
		o->target.socket_dir = argument;
		return 0;
	case 't':
		o->debug = true;
		return parse_trace_flag(argument);
	case 'e':
	case 'i':
	case 'n':
	case 'N':
	case 'p':
		return no_effect(id);
	case LONG_STRICT:
		o->target.strict = true;
		return 0;
	case LONG_FD:
		return parse_fd(o, argument);
	case LONG_MODE:
		return parse_mode(argument, &o->target.mode);
	case LONG_IDLE_US:
		return parse_number("--idle-us", argument, 10 * 1000 * 1000, &o->target.idle_us);
	case LONG_MEM_SLOTS:
		return parse_number("--mem-slots", argument, VHT_MAX_MEM_SLOTS,
				    &o->target.mem_slots);
	case LONG_NO_HANDOVER:
		o->no_handover = true;
		return 0;
	case LONG_NO_HUGE:
		o->target.no_huge = true;
		return 0;
	case LONG_NO_SECCOMP:
		o->no_seccomp = true;
		return 0;
	case LONG_BLK_FILE:
		o->blk_file = argument;
		return 0;
	case LONG_SOCKET_PATH:
		o->socket_path = argument;
		return 0;
	case LONG_READ_ONLY:
		o->read_only = true;
		return 0;
	default:
		return -EINVAL;
	}
}

/* Options that only make sense together. */
static int check_together(const struct options *o)
{
	const char *wrong = NULL;

	if (o->blk_file == NULL) {
		if (o->socket_path != NULL || o->read_only) {
			wrong = "--socket-path and --read-only go with --blk-file; a configuration file "
				"names its own sockets";
		}
	} else if (o->config_path != NULL) {
		wrong = "--blk-file and -c exclude each other";
	} else if ((o->socket_path != NULL) == (o->fd_n > 0)) {
		wrong = "--blk-file needs either --socket-path or --fd";
	} else if (o->fd_n > 1 || (o->fd_n == 1 && o->fds[0].controller != NULL)) {
		wrong = "--blk-file takes one --fd NUM, without a name";
	}
	if (wrong != NULL) {
		fprintf(stderr, "%s.\n", wrong);
		return -EINVAL;
	}
	return 0;
}

static void fill_getopt(char *letters, struct option *longs)
{
	unsigned int i;

	*letters++ = ':'; /* say ':' for a missing argument, and print nothing */
	for (i = 0; i < ROW_N; i++) {
		const struct option_row *row = &rows[i];

		if (row->id < 256) {
			*letters++ = (char)row->id;
			if (row->argument != NULL) {
				*letters++ = ':';
			}
		}
		if (row->name != NULL) {
			*longs++ = (struct option){
				.name = row->name,
				.has_arg = row->argument != NULL ? required_argument : no_argument,
				.val = row->id,
			};
		}
	}
	*letters = '\0';
	*longs = (struct option){ 0 };
}

/* What getopt_long() did not like: a letter, or the word before optind. */
static void bad_option(const char *what, char **argv)
{
	if (optopt > 0 && optopt < 256) {
		fprintf(stderr, what, "-", (const char[]){ (char)optopt, '\0' });
	} else {
		fprintf(stderr, what, "", argv[optind - 1]);
	}
}

enum options_result options_parse(int argc, char **argv, struct options *ret_options)
{
	struct options *o = ret_options;
	struct option longs[ROW_N + 1];
	char letters[ROW_N * 2 + 2];
	int id;

	*o = (struct options){ .target = { .size = sizeof(o->target), .name = "vhost" } };
	fill_getopt(letters, longs);
	opterr = 0;
	while ((id = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
		switch (id) {
		case 'h':
			usage(stdout, argv[0]);
			return OPTIONS_DONE;
		case 'V':
			print_version();
			return OPTIONS_DONE;
		case LONG_PRINT_CAPABILITIES:
			print_capabilities();
			return OPTIONS_DONE;
		case '?':
			bad_option("Unknown option '%s%s'.\n", argv);
			usage(stderr, argv[0]);
			return OPTIONS_BAD;
		case ':':
			bad_option("Option '%s%s' needs an argument.\n", argv);
			usage(stderr, argv[0]);
			return OPTIONS_BAD;
		default:
			if (take(o, id, optarg) < 0) {
				return OPTIONS_BAD;
			}
		}
	}
	if (optind < argc) {
		fprintf(stderr, "Unexpected argument '%s': vhost takes options only.\n",
			argv[optind]);
		usage(stderr, argv[0]);
		return OPTIONS_BAD;
	}
	if (o->debug) {
		log_set_level(LOG_LEVEL_DEBUG);
	}
	return check_together(o) < 0 ? OPTIONS_BAD : OPTIONS_RUN;
}
