/* SPDX-License-Identifier: BSD-3-Clause */
#include "report.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const double percentiles[] = { 50, 90, 95, 99, 99.9, 99.99 };
#define PERCENTILE_N (sizeof(percentiles) / sizeof(percentiles[0]))

static double per(uint64_t n, uint64_t of)
{
	return of == 0 ? 0 : (double)n / (double)of;
}

static double iops(const struct load_result *result)
{
	return result->ns == 0 ? 0 : (double)result->requests * 1e9 / (double)result->ns;
}

void report_print(const struct options *options, const struct load_result *result,
		  const struct histogram *latency)
{
	unsigned int i;

	printf("%s %u bytes, %u queue%s, ", options->workload, options->load.block,
	       options->load.queues, options->load.queues == 1 ? "" : "s");
	if (options->load.rate > 0) {
		printf("%.0f/s\n", options->load.rate);
	} else {
		printf("depth %u\n", options->load.depth);
	}
	printf("  IOPS      %.0f (%.1f MB/s), errors %llu\n", iops(result),
	       iops(result) * options->load.block / 1e6, (unsigned long long)result->errors);
	if (options->load.rate > 0) {
		printf("  unsent    %llu requests were due and found no free slot\n",
		       (unsigned long long)result->missed);
	}
	printf("  latency   mean %.2f us, min %.2f, max %.2f\n", histogram_mean(latency) / 1e3,
	       latency->n == 0 ? 0.0 : (double)latency->min / 1e3, (double)latency->max / 1e3);
	printf("           ");
	for (i = 0; i < PERCENTILE_N; i++) {
		printf(" p%g %.2f", percentiles[i],
		       (double)histogram_percentile(latency, percentiles[i]) / 1e3);
	}
	printf(" us\n");
	printf("  per request: kicks %.4f, calls %.4f; requests per batch %.1f; sleeps %llu\n",
	       per(result->kicks, result->requests), per(result->calls, result->requests),
	       per(result->requests, result->batches), (unsigned long long)result->waits);
}

json_t *report_workload(const struct options *options)
{
	const struct load_config *load = &options->load;

	return json_pack("{s:s, s:i, s:i, s:i, s:i, s:i, s:f, s:s, s:s, s:b, s:b, s:b, s:s, s:i}",
			 "rw", options->workload, "bs", (int)load->block, "read_percent",
			 (int)load->read_percent, "queues", (int)load->queues, "depth",
			 (int)load->depth, "batch", (int)load->batch, "rate", load->rate, "device",
			 load->scsi ? "scsi" : "blk", "ring", load->packed ? "packed" : "split",
			 "indirect", (int)load->indirect, "event_idx", (int)!load->no_event_idx,
			 "inflight", (int)load->inflight, "completion",
			 load->event ? "event" : "poll", "cpu", options->cpu);
}

static json_t *latency_json(const struct histogram *latency)
{
	json_t *bins = json_array();
	json_t *points = json_object();
	char name[16];
	unsigned int i;

	for (i = 0; i < PERCENTILE_N; i++) {
		snprintf(name, sizeof(name), "%g", percentiles[i]);
		json_object_set_new(
			points, name,
			json_integer((json_int_t)histogram_percentile(latency, percentiles[i])));
	}
	for (i = 0; i < HISTOGRAM_BINS; i++) {
		if (latency->bins[i] > 0) {
			json_array_append_new(bins,
					      json_pack("[I, I, I]", histogram_bin_low(i),
							histogram_bin_high(i), latency->bins[i]));
		}
	}
	return json_pack("{s:I, s:f, s:I, s:I, s:o, s:o}", "n", (json_int_t)latency->n, "mean",
			 histogram_mean(latency), "min",
			 (json_int_t)(latency->n == 0 ? 0 : latency->min), "max",
			 (json_int_t)latency->max, "percentiles", points, "bins", bins);
}

json_t *report_result(const struct load_result *result, const struct histogram *latency)
{
	return json_pack("{s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "iops", iops(result),
			 "requests", (json_int_t)result->requests, "errors",
			 (json_int_t)result->errors, "ns", (json_int_t)result->ns, "kicks",
			 (json_int_t)result->kicks, "calls", (json_int_t)result->calls, "batches",
			 (json_int_t)result->batches, "sleeps", (json_int_t)result->waits, "unsent",
			 (json_int_t)result->missed, "latency_ns", latency_json(latency));
}

json_t *report_compare(const struct options *options, const double *medians,
		       const struct interval *ratio, const double *ratios, double others,
		       unsigned int made)
{
	json_t *each = json_array();
	unsigned int i;

	for (i = 0; i < options->groups; i++) {
		json_array_append_new(each, json_real(ratios[i]));
	}
	return json_pack("{s:o, s:{s:s, s:f}, s:{s:s, s:f}, s:{s:f, s:f, s:f, s:o}, s:f, s:i}",
			 "workload", report_workload(options), "a", "target",
			 options->targets[0].name, "iops", medians[0], "b", "target",
			 options->targets[1].name, "iops", medians[1], "ratio", "median",
			 ratio->mid, "low", ratio->low, "high", ratio->high, "groups", each,
			 "others_percent", others, "groups_made", (int)made);
}

int report_write(const char *path, json_t *object)
{
	FILE *f = strcmp(path, "-") == 0 ? stdout : fopen(path, "we");
	int r = 0;

	if (f == NULL || json_dumpf(object, f, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) < 0 ||
	    fputc('\n', f) == EOF) {
		r = -EIO;
		fprintf(stderr, "vhost-bench: %s: %s\n", path, strerror(errno));
	}
	if (f != NULL && f != stdout && fclose(f) != 0 && r == 0) {
		r = -EIO;
	}
	json_decref(object);
	return r;
}
