/* SPDX-License-Identifier: BSD-3-Clause */
/* Results as text and as JSON. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include <jansson.h>

#include "options.h"
#include "stats.h"

/* The workload and how the target was talked to. */
json_t *report_workload(const struct options *options);
json_t *report_result(const struct load_result *result, const struct histogram *latency);
void report_print(const struct options *options, const struct load_result *result,
		  const struct histogram *latency);
/* `ratios`: one per group of options->groups; `others`: percent of a processor, `made`: groups. */
json_t *report_compare(const struct options *options, const double *medians,
		       const struct interval *ratio, const double *ratios, double others,
		       unsigned int made);
/* Takes the object over. 0, or a negative errno and a message. */
int report_write(const char *path, json_t *object);

#endif
