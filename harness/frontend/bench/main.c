/* SPDX-License-Identifier: BSD-3-Clause */
/* vhost-bench(1): one target measured; the other modes are in files of their own. */
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "modes.h"
#include "options.h"
#include "report.h"
#include "side.h"

static void pin(int cpu)
{
	cpu_set_t set;

	if (cpu < 0) {
		return;
	}
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0) {
		perror("vhost-bench: --cpu");
	}
}

static int write_result(const struct options *options, const struct load_result *result,
			const struct histogram *latency)
{
	if (options->json == NULL || strcmp(options->json, "-") != 0) {
		report_print(options, result, latency);
	}
	return options->json == NULL ?
		       0 :
		       report_write(options->json,
				    json_pack("{s:s, s:o, s:o}", "target", options->targets[0].name,
					      "workload", report_workload(options), "result",
					      report_result(result, latency)));
}

static int measure(const struct options *options)
{
	static struct histogram latency;
	struct load_result result;
	struct side side;
	int r = side_open(&side, &options->targets[0]);

	if (r < 0) {
		return 1;
	}
	histogram_reset(&latency);
	r = options->prefill ? side_prefill(&side) : 0;
	if (r == 0) {
		r = side_run(&side, options->warmup, NULL, &result);
	}
	if (r == 0) {
		r = side_run(&side, options->seconds, &latency, &result);
	}
	if (r == 0) {
		r = write_result(options, &result, &latency);
	}
	if (r == 0 && result.errors > 0) {
		fprintf(stderr, "vhost-bench: requests failed\n");
		r = -1;
	}
	return side_close(&side) < 0 || r < 0 ? 1 : 0;
}

int main(int argc, char **argv)
{
	struct options options;

	switch (options_parse(argc, argv, &options)) {
	case OPTIONS_DONE:
		return 0;
	case OPTIONS_BAD:
		return 2;
	case OPTIONS_RUN:
		break;
	}
	clock_calibrate();
	pin(options.cpu);
	switch (options.mode) {
	case MODE_COMPARE:
		return mode_compare(&options);
	case MODE_CALIBRATE:
		return mode_calibrate(&options);
	case MODE_INSTRUCTIONS:
		return mode_instructions(&options);
	default:
		return measure(&options);
	}
}
