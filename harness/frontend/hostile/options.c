/* SPDX-License-Identifier: BSD-3-Clause */
#include "options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT_MS 1000
#define RACE_MS	 2000

static const char usage[] =
	"usage: vhost-hostile SOCKET [options] [-- COMMAND...]\n"
	"       vhost-hostile --list [--device blk|scsi] [--ring split|packed]\n"
	"\n"
	"Does to a vhost-user target what no honest driver does, and reports in TAP whether it stood it.\n"
	"\n"
	"  --device blk|scsi      what the socket serves (blk)\n"
	"  --ring split|packed    the format of the rings (split)\n"
	"  --case Tn              only this case; may be repeated\n"
	"  --list                 name the cases\n"
	"  --strict               hold the target to what ours documents, not only to the specifications\n"
	"  --bystander SOCKET     another controller of the target, which must not notice anything\n"
	"  --bystander-device D   what that one serves (blk)\n"
	"  --limit-ms N           the longest that the bystander may wait for something (1000)\n"
	"  --race-ms N            how long fields are flipped in each race (2000)\n"
	"  --target N             the SCSI target that has a disk (0)\n"
	"  -- COMMAND...          starts the target; it is started again whenever a case has ended it\n";

static bool parse_device(const char *text, enum vfe_device_type *ret_device)
{
	bool scsi = strcmp(text, "scsi") == 0;

	if (!scsi && strcmp(text, "blk") != 0) {
		fprintf(stderr, "vhost-hostile: no such device: %s (blk, scsi)\n", text);
		return false;
	}
	*ret_device = scsi ? VFE_SCSI : VFE_BLK;
	return true;
}

static bool parse_ring(const char *text, bool *ret_packed)
{
	bool packed = strcmp(text, "packed") == 0;

	if (!packed && strcmp(text, "split") != 0) {
		fprintf(stderr, "vhost-hostile: no such ring: %s (split, packed)\n", text);
		return false;
	}
	*ret_packed = packed;
	return true;
}

static bool parse_number(const char *text, unsigned int max, unsigned int *ret_number)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end != '\0' || n > max) {
		fprintf(stderr, "vhost-hostile: not a number up to %u: %s\n", max, text);
		return false;
	}
	*ret_number = (unsigned int)n;
	return true;
}

static bool add_case(struct options *options, const char *id)
{
	if (options->case_n == OPTIONS_CASES_MAX) {
		fprintf(stderr, "vhost-hostile: too many cases\n");
		return false;
	}
	options->cases[options->case_n++] = id;
	return true;
}

static bool take(struct options *options, int c, const char *value)
{
	switch (c) {
	case 'd':
		return parse_device(value, &options->device);
	case 'r':
		return parse_ring(value, &options->packed);
	case 'c':
		return add_case(options, value);
	case 'l':
		options->list = true;
		return true;
	case 's':
		options->strict = true;
		return true;
	case 'b':
		options->bystander = value;
		return true;
	case 'B':
		return parse_device(value, &options->bystander_device);
	case 'L':
		return parse_number(value, 1000000, &options->limit_ms);
	case 'R':
		return parse_number(value, 1000000, &options->race_ms);
	case 't':
		return parse_number(value, 255, &options->scsi_target);
	default:
		return false;
	}
}

enum options_result options_parse(int argc, char **argv, struct options *ret_options)
{
	static const struct option known[] = {
		{ "device", required_argument, NULL, 'd' },
		{ "ring", required_argument, NULL, 'r' },
		{ "case", required_argument, NULL, 'c' },
		{ "list", no_argument, NULL, 'l' },
		{ "strict", no_argument, NULL, 's' },
		{ "bystander", required_argument, NULL, 'b' },
		{ "bystander-device", required_argument, NULL, 'B' },
		{ "limit-ms", required_argument, NULL, 'L' },
		{ "race-ms", required_argument, NULL, 'R' },
		{ "target", required_argument, NULL, 't' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	struct options options = { .limit_ms = LIMIT_MS, .race_ms = RACE_MS };
	int c;

	/* "-": what is no option comes as 1, wherever it stands; what follows "--" is left over. */
	while ((c = getopt_long(argc, argv, "-h", known, NULL)) != -1) {
		if (c == 'h') {
			fputs(usage, stdout);
			return OPTIONS_DONE;
		}
		if (c == 1 && options.socket == NULL) {
			options.socket = optarg;
		} else if (c == '?' || !take(&options, c, optarg)) {
			fputs(usage, stderr);
			return OPTIONS_BAD;
		}
	}
	if (optind < argc) {
		options.command = argv + optind;
	}
	if (options.socket == NULL && !options.list) {
		fputs(usage, stderr);
		return OPTIONS_BAD;
	}
	*ret_options = options;
	return OPTIONS_RUN;
}
