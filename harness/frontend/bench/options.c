/* SPDX-License-Identifier: BSD-3-Clause */
#include "options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "option_values.h"
#include "vhost_frontend/blk.h"

enum option_id {
	OPT_RW = 256,
	OPT_BS,
	OPT_DEPTH,
	OPT_BATCH,
	OPT_RATE,
	OPT_QUEUES,
	OPT_QUEUE_SIZE,
	OPT_READ_PERCENT,
	OPT_SPAN,
	OPT_SEED,
	OPT_RING,
	OPT_INDIRECT,
	OPT_NO_EVENT_IDX,
	OPT_INFLIGHT,
	OPT_COMPLETION,
	OPT_HUGEPAGE,
	OPT_DEVICE,
	OPT_TARGET,
	OPT_CPU,
	OPT_SECONDS,
	OPT_WARMUP,
	OPT_PREFILL,
	OPT_JSON,
	OPT_SPAWN,
	OPT_TARGET_CPU,
	OPT_TARGET_SIZE,
	OPT_TARGET_FILE,
	OPT_TARGET_PROGRAM,
	OPT_TARGET_MODE,
	OPT_COMPARE,
	OPT_GROUPS,
	OPT_BLOCK_SECONDS,
	OPT_DISTURBANCE,
	OPT_LEAVE_RUNNING,
	OPT_CALIBRATE,
	OPT_INSTRUCTIONS,
	OPT_REQUESTS,
	OPT_CALLGRIND_OUT,
	OPT_HELP,
};

struct option_text {
	enum option_id id;
	const char *name;
	const char *value; /* NULL: a switch */
	const char *help;
};

static const struct option_text texts[] = {
	{ 0, NULL, NULL, "what to do" },
	{ OPT_RW, "rw", "PATTERN",
	  "randread (default), randwrite, read, write, mix (random, see --read-percent)" },
	{ OPT_BS, "bs", "SIZE", "bytes of a request (4k)" },
	{ OPT_DEPTH, "depth", "N", "requests in flight per queue (32)" },
	{ OPT_RATE, "rate", "N",
	  "requests per second over all; latency counts from when each is due" },
	{ OPT_READ_PERCENT, "read-percent", "N", "reads of mix (70)" },
	{ OPT_BATCH, "batch", "N",
	  "most requests taken and sent at a time (half the depth, 32 at most)" },
	{ OPT_QUEUES, "queues", "N", "queues, all served by one thread (1)" },
	{ OPT_SPAN, "span", "SIZE", "use the first SIZE bytes of the disk (all)" },
	{ OPT_SEED, "seed", "N", "of the random offsets (1)" },
	{ OPT_SECONDS, "seconds", "T", "length of the measurement (5)" },
	{ OPT_WARMUP, "warmup", "T", "seconds of load before it (1)" },
	{ OPT_PREFILL, "prefill", NULL, "write all that will be used once, before anything else" },
	{ 0, NULL, NULL, "how to talk to the target" },
	{ OPT_DEVICE, "device", "TYPE", "blk (default) or scsi" },
	{ OPT_TARGET, "scsi-target", "N", "scsi: the target number (0); LUN 0 of it is used" },
	{ OPT_RING, "ring", "FORMAT", "split (default) or packed" },
	{ OPT_QUEUE_SIZE, "queue-size", "N", "descriptors per ring (what the depth needs)" },
	{ OPT_INDIRECT, "indirect", NULL, "indirect descriptors" },
	{ OPT_NO_EVENT_IDX, "no-event-idx", NULL, "do not negotiate EVENT_IDX" },
	{ OPT_INFLIGHT, "inflight", NULL, "let the target keep what is in flight, as QEMU does" },
	{ OPT_COMPLETION, "completion", "MODE", "poll (default) or event: sleep until called" },
	{ OPT_HUGEPAGE, "hugepage", "SIZE", "size of the pages of the shared memory, as 2M" },
	{ OPT_CPU, "cpu", "N", "run on this processor" },
	{ OPT_JSON, "json", "FILE", "write the result as JSON; - is standard output" },
	{ 0, NULL, NULL, "a target of its own, instead of SOCKET" },
	{ OPT_SPAWN, "spawn", "TARGET",
	  "vhost-null, vhost-malloc, vhost-aio, qsd-null (also: qsd), qsd-file" },
	{ OPT_TARGET_CPU, "target-cpu", "N", "its processor" },
	{ OPT_TARGET_SIZE, "target-size", "SIZE", "of null and malloc disks (1G)" },
	{ OPT_TARGET_FILE, "target-file", "PATH", "of aio and file disks" },
	{ OPT_TARGET_PROGRAM, "target-program", "PATH", "the daemon, if it is not this build's" },
	{ OPT_TARGET_MODE, "target-mode", "MODE", "adaptive (default), poll or event" },
	{ 0, NULL, NULL, "two targets, in turns: A B B A A B B A ..." },
	{ OPT_COMPARE, "compare", NULL, "print the ratio of the first one's IOPS to the second's" },
	{ OPT_GROUPS, "groups", "N", "groups of four blocks (10)" },
	{ OPT_BLOCK_SECONDS, "block-seconds", "T", "measured part of a block (0.25)" },
	{ OPT_DISTURBANCE, "disturbance", "PERCENT",
	  "repeat a group in which others took more of a processor (30)" },
	{ OPT_LEAVE_RUNNING, "leave-running", NULL,
	  "do not stop a target in the other one's blocks" },
	{ 0, NULL, NULL, "other measurements" },
	{ OPT_CALIBRATE, "calibrate", NULL, "what this program and this processor can do at most" },
	{ OPT_INSTRUCTIONS, "instructions", NULL,
	  "instructions of the spawned target per request, counted by callgrind" },
	{ OPT_REQUESTS, "requests", "N", "instructions: requests of the longer run (32000)" },
	{ OPT_CALLGRIND_OUT, "callgrind-out", "FILE",
	  "instructions: keep the counts there, for callgrind_annotate" },
	{ OPT_HELP, "help", NULL, "show this text" },
};
#define BATCH_DEFAULT 32
#define TEXT_N	      (sizeof(texts) / sizeof(texts[0]))

static void print_help(void)
{
	char left[64];
	unsigned int i;

	printf("usage: vhost-bench [options] SOCKET\n"
	       "       vhost-bench [options] --spawn TARGET\n"
	       "       vhost-bench [options] --compare A B   (sockets, or --spawn twice)\n"
	       "       vhost-bench [options] --calibrate\n"
	       "       vhost-bench [options] --instructions --spawn TARGET\n");
	for (i = 0; i < TEXT_N; i++) {
		if (texts[i].name == NULL) {
			printf("\n%s:\n", texts[i].help);
			continue;
		}
		snprintf(left, sizeof(left), "--%s%s%s", texts[i].name,
			 texts[i].value != NULL ? " " : "",
			 texts[i].value != NULL ? texts[i].value : "");
		printf("  %-25s %s\n", left, texts[i].help);
	}
	printf("\nvhost-bench(1) says it at more length.\n");
}

static bool parse_workload(const char *text, struct options *options)
{
	static const struct {
		const char *name;
		bool random;
		unsigned int read_percent;
	} workloads[] = {
		{ "randread", true, 100 }, { "randwrite", true, 0 }, { "read", false, 100 },
		{ "write", false, 0 },	   { "mix", true, 101 },
	};
	unsigned int i;

	for (i = 0; i < sizeof(workloads) / sizeof(workloads[0]); i++) {
		if (strcmp(text, workloads[i].name) == 0) {
			options->workload = workloads[i].name;
			options->load.random = workloads[i].random;
			options->load.read_percent = workloads[i].read_percent;
			return true;
		}
	}
	return false;
}

static bool add_target(struct options *options, char *name, bool spawned)
{
	if (options->target_n == OPTIONS_TARGETS_MAX) {
		return false;
	}
	options->targets[options->target_n++] = (struct target){ .name = name, .spawned = spawned };
	return true;
}

static bool apply_load(enum option_id id, const char *value, struct options *options)
{
	struct load_config *load = &options->load;
	uint64_t size;
	unsigned int n;

	switch (id) {
	case OPT_RW:
		return parse_workload(value, options);
	case OPT_BS:
		if (!parse_size(value, &size) || size % VFE_SECTOR != 0 || size > 64u << 20) {
			return false;
		}
		load->block = (uint32_t)size;
		return true;
	case OPT_DEPTH:
		return parse_whole(value, 1, 32768 / 3, &load->depth);
	case OPT_BATCH:
		return parse_whole(value, 1, 256, &load->batch);
	case OPT_RATE:
		return parse_number(value, 0.001, 1e9, &load->rate);
	case OPT_QUEUES:
		return parse_whole(value, 1, 256, &load->queues);
	case OPT_QUEUE_SIZE:
		return parse_whole(value, 1, 32768, &load->queue_size);
	case OPT_SPAN:
		return parse_size(value, &load->span);
	case OPT_SEED:
		if (!parse_whole(value, 0, UINT32_MAX, &n)) {
			return false;
		}
		load->seed = n;
		return true;
	case OPT_RING:
		return parse_either(value, "split", "packed", &load->packed);
	case OPT_COMPLETION:
		return parse_either(value, "poll", "event", &load->event);
	case OPT_DEVICE:
		return parse_either(value, "blk", "scsi", &load->scsi);
	case OPT_TARGET:
		return parse_whole(value, 0, 255, &load->target);
	case OPT_INDIRECT:
		load->indirect = true;
		return true;
	case OPT_NO_EVENT_IDX:
		load->no_event_idx = true;
		return true;
	case OPT_INFLIGHT:
		load->inflight = true;
		return true;
	case OPT_HUGEPAGE:
		if (!parse_size(value, &size) || (size & (size - 1)) != 0) {
			return false;
		}
		load->huge_page = size;
		return true;
	default:
		return false;
	}
}

static bool apply(enum option_id id, char *value, struct options *options,
		  unsigned int *read_percent)
{
	struct spawn_config *spawn = &options->spawn;
	uint64_t size;
	unsigned int n;

	switch (id) {
	case OPT_READ_PERCENT:
		return parse_whole(value, 0, 100, read_percent);
	case OPT_CPU:
		return parse_whole(value, 0, 1023, &n) && (options->cpu = (int)n, true);
	case OPT_TARGET_CPU:
		return parse_whole(value, 0, 1023, &n) && (spawn->cpu = (int)n, true);
	case OPT_SECONDS:
		return parse_number(value, 0.01, 86400, &options->seconds);
	case OPT_WARMUP:
		return parse_number(value, 0, 3600, &options->warmup);
	case OPT_PREFILL:
		options->prefill = true;
		return true;
	case OPT_JSON:
		options->json = value;
		return true;
	case OPT_SPAWN:
		return add_target(options, value, true);
	case OPT_TARGET_SIZE:
		if (!parse_size(value, &size) || size < 1u << 20) {
			return false;
		}
		spawn->size_mb = size >> 20;
		return true;
	case OPT_TARGET_FILE:
		spawn->file = value;
		return true;
	case OPT_TARGET_PROGRAM:
		spawn->program = value;
		return true;
	case OPT_TARGET_MODE:
		return parse_mode(value, &spawn->mode);
	case OPT_COMPARE:
		options->mode = MODE_COMPARE;
		return true;
	case OPT_GROUPS:
		return parse_whole(value, 2, 10000, &options->groups);
	case OPT_BLOCK_SECONDS:
		return parse_number(value, 0.01, 3600, &options->block_seconds);
	case OPT_DISTURBANCE:
		return parse_number(value, 0, 10000, &options->disturbance);
	case OPT_LEAVE_RUNNING:
		options->leave_running = true;
		return true;
	case OPT_CALIBRATE:
		options->mode = MODE_CALIBRATE;
		return true;
	case OPT_INSTRUCTIONS:
		options->mode = MODE_INSTRUCTIONS;
		return true;
	case OPT_REQUESTS:
		return parse_whole(value, 1000, 100000000, &n) && (options->requests = n, true);
	case OPT_CALLGRIND_OUT:
		options->callgrind_out = value;
		return true;
	default:
		return apply_load(id, value, options);
	}
}

/* ---- the whole ---- */

/* NAME,KEY=VALUE,...: what is special about this target. */
static bool finish_target(const struct options *options, struct target *target)
{
	char *rest = strchr(target->name, ',');
	char *value;

	target->load = options->load;
	target->spawn = options->spawn;
	if (strncmp(target->name, "qsd", 3) == 0) {
		target->spawn.program = NULL; /* --target-program is about our daemon */
	}
	while (rest != NULL) {
		*rest++ = '\0';
		char *key = rest;

		rest = strchr(key, ',');
		if (rest != NULL) {
			*rest = '\0';
		}
		value = strchr(key, '=');
		if (value == NULL) {
			return false;
		}
		*value++ = '\0';
		if (!(strcmp(key, "device") == 0 &&
		      parse_either(value, "blk", "scsi", &target->load.scsi)) &&
		    !(strcmp(key, "ring") == 0 &&
		      parse_either(value, "split", "packed", &target->load.packed)) &&
		    !(strcmp(key, "inflight") == 0 &&
		      parse_either(value, "off", "on", &target->load.inflight)) &&
		    !(strcmp(key, "mode") == 0 && parse_mode(value, &target->spawn.mode)) &&
		    !(strcmp(key, "program") == 0 && (target->spawn.program = value, true)) &&
		    !(strcmp(key, "file") == 0 && (target->spawn.file = value, true))) {
			return false;
		}
	}
	target->spawn.scsi = target->load.scsi;
	target->spawn.queues = target->load.queues;
	return true;
}

/*
 * A batch of the whole depth makes client and target wait for each other in turns; half of it, and both work at the
 * same time. Instructions are counted in whole batches.
 */
static unsigned int default_batch(const struct options *options)
{
	unsigned int batch = options->mode == MODE_INSTRUCTIONS ? BATCH_DEFAULT :
								  options->load.depth / 2;

	return batch == 0 ? 1 : batch < BATCH_DEFAULT ? batch : BATCH_DEFAULT;
}

static bool check(const struct options *options)
{
	unsigned int wanted = options->mode == MODE_COMPARE   ? 2 :
			      options->mode == MODE_CALIBRATE ? 0 :
								1;

	if (options->target_n != wanted) {
		fprintf(stderr, "vhost-bench: %u targets are wanted here, not %u (--help)\n",
			wanted, options->target_n);
		return false;
	}
	if (options->mode == MODE_INSTRUCTIONS && !options->targets[0].spawned) {
		fprintf(stderr, "vhost-bench: --instructions goes with --spawn\n");
		return false;
	}
	if (options->load.rate > 0 && options->load.event) {
		fprintf(stderr,
			"vhost-bench: --rate polls: it does not go with --completion event\n");
		return false;
	}
	return true;
}

static void set_defaults(struct options *options)
{
	*options = (struct options){
		.load = { .random = true,
			  .read_percent = 100,
			  .block = 4096,
			  .depth = 32,
			  .queues = 1,
			  .seed = 1,
			  .timeout_ms = 10000 },
		.spawn = { .cpu = -1, .size_mb = 1024, .mode = "adaptive" },
		.cpu = -1,
		.seconds = 5,
		.warmup = 1,
		.groups = 10,
		.block_seconds = 0.25,
		.disturbance = 30,
		.requests = 32000,
		.workload = "randread",
	};
}

enum options_result options_parse(int argc, char **argv, struct options *ret_options)
{
	struct option longs[TEXT_N + 1] = { 0 };
	unsigned int read_percent = 70;
	unsigned int i, n = 0;
	int id, at;

	set_defaults(ret_options);
	for (i = 0; i < TEXT_N; i++) {
		if (texts[i].name != NULL) {
			longs[n++] = (struct option){ texts[i].name, texts[i].value != NULL, NULL,
						      (int)texts[i].id };
		}
	}
	while ((id = getopt_long(argc, argv, "", longs, &at)) != -1) {
		if (id == OPT_HELP) {
			print_help();
			return OPTIONS_DONE;
		}
		if (id == '?') {
			return OPTIONS_BAD;
		}
		if (!apply((enum option_id)id, optarg, ret_options, &read_percent)) {
			fprintf(stderr, "vhost-bench: --%s cannot be '%s' (--help)\n",
				longs[at].name, optarg != NULL ? optarg : "");
			return OPTIONS_BAD;
		}
	}
	for (; optind < argc; optind++) {
		if (!add_target(ret_options, argv[optind], false)) {
			fprintf(stderr, "vhost-bench: too many targets\n");
			return OPTIONS_BAD;
		}
	}
	if (ret_options->load.read_percent > 100) {
		ret_options->load.read_percent = read_percent;
	}
	if (ret_options->load.batch == 0) {
		ret_options->load.batch = default_batch(ret_options);
	}
	for (i = 0; i < ret_options->target_n; i++) {
		if (!finish_target(ret_options, &ret_options->targets[i])) {
			fprintf(stderr,
				"vhost-bench: target '%s': a key or value is wrong (--help)\n",
				ret_options->targets[i].name);
			return OPTIONS_BAD;
		}
	}
	return check(ret_options) ? OPTIONS_RUN : OPTIONS_BAD;
}
