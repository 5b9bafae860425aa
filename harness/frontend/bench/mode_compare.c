/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two targets in one run. Blocks go A B B A: a drift of the machine that lasts longer than a group touches both
 * alike. One ratio per group; their median and its bootstrap interval are the result.
 */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "modes.h"
#include "others.h"
#include "report.h"
#include "side.h"
#include "stats.h"

/* Before the measured part of a block: a target that was stopped comes to speed. */
#define LEAD_SHARE 0.2
/* Groups that are made at most, as a multiple of those wanted. */
#define ATTEMPTS 3

struct group {
	double iops[2];
	double others; /* percent of a processor */
};

/* For the signal handler: processes that may be stopped. */
static volatile pid_t stopped[2];

static void wake_all(int number)
{
	unsigned int i;

	for (i = 0; i < 2; i++) {
		if (stopped[i] > 0) {
			kill(stopped[i], SIGCONT);
		}
	}
	if (number != 0) {
		signal(number, SIG_DFL);
		raise(number);
	}
}

static void stop_other(const struct options *options, const struct side *sides, unsigned int which)
{
	if (options->leave_running || sides[0].pid <= 0 || sides[1].pid <= 0 ||
	    sides[0].pid == sides[1].pid) {
		return;
	}
	stopped[1 - which] = sides[1 - which].pid;
	kill(sides[1 - which].pid, SIGSTOP);
	kill(sides[which].pid, SIGCONT);
	stopped[which] = 0;
}

static int run_block(const struct options *options, struct side *sides, unsigned int which,
		     struct histogram *latency, double *ret_iops)
{
	struct load_result result;
	int r;

	stop_other(options, sides, which);
	r = side_run(&sides[which], options->block_seconds * LEAD_SHARE, NULL, &result);
	if (r == 0) {
		r = side_run(&sides[which], options->block_seconds, latency, &result);
	}
	if (r == 0 && result.errors > 0) {
		fprintf(stderr, "vhost-bench: %s: %llu requests failed\n",
			sides[which].target->name, (unsigned long long)result.errors);
		r = -1;
	}
	if (r == 0) {
		*ret_iops = (double)result.requests * 1e9 / (double)result.ns;
	}
	return r;
}

static int run_group(const struct options *options, struct side *sides, struct histogram *latency,
		     struct group *ret_group)
{
	static const unsigned int order[] = { 0, 1, 1, 0 };
	struct others others = { .cpus = { options->cpu, options->spawn.cpu },
				 .pids = { sides[0].pid, sides[1].pid } };
	double product[2] = { 1, 1 };
	double iops;
	unsigned int i;
	int r;

	others_begin(&others);
	for (i = 0; i < 4; i++) {
		r = run_block(options, sides, order[i], &latency[order[i]], &iops);
		if (r < 0) {
			return r;
		}
		product[order[i]] *= iops;
	}
	ret_group->iops[0] = sqrt(product[0]);
	ret_group->iops[1] = sqrt(product[1]);
	ret_group->others = others_end(&others);
	/* Somebody was never scheduled: a ratio cannot be made of it. */
	if (!(product[0] > 0 && product[1] > 0)) {
		ret_group->others = HUGE_VAL;
	}
	return 0;
}

static int by_others(const void *a, const void *b)
{
	const struct group *x = a;
	const struct group *y = b;

	return (x->others > y->others) - (x->others < y->others);
}

/* The least disturbed groups come first; *ret_n: how many were made. */
static int run_groups(const struct options *options, struct side *sides, struct histogram *latency,
		      struct group *groups, unsigned int *ret_n)
{
	unsigned int calm = 0;
	unsigned int n;
	int r;

	for (n = 0; n < options->groups * ATTEMPTS && calm < options->groups; n++) {
		r = run_group(options, sides, latency, &groups[n]);
		if (r < 0) {
			return r;
		}
		calm += groups[n].others <= options->disturbance;
	}
	qsort(groups, n, sizeof(*groups), by_others);
	*ret_n = n;
	if (isinf(groups[options->groups - 1].others)) {
		fprintf(stderr, "vhost-bench: others take the processors: no result\n");
		return -1;
	}
	return 0;
}

static int report(const struct options *options, const struct group *groups, unsigned int made,
		  const struct histogram *latency)
{
	unsigned int n = options->groups;
	double *ratios = calloc(n, sizeof(*ratios));
	double *values = calloc(n, sizeof(*values));
	double medians[2];
	struct interval ratio;
	unsigned int i, side;
	int r = 0;

	if (ratios == NULL || values == NULL) {
		abort();
	}
	for (side = 0; side < 2; side++) {
		for (i = 0; i < n; i++) {
			values[i] = groups[i].iops[side];
		}
		medians[side] = stats_median(values, n);
	}
	for (i = 0; i < n; i++) {
		ratios[i] = groups[i].iops[0] / groups[i].iops[1];
	}
	ratio = stats_bootstrap_median(ratios, n, options->load.seed);
	if (options->json == NULL || options->json[0] != '-') {
		printf("A %-24s median IOPS %.0f, mean latency %.2f us\n"
		       "B %-24s median IOPS %.0f, mean latency %.2f us\n"
		       "A / B  %.3f  (95 %%: %.3f to %.3f; %u groups of A B B A)\n"
		       "others used up to %.0f %% of a processor (%u groups made)\n",
		       options->targets[0].name, medians[0], histogram_mean(&latency[0]) / 1e3,
		       options->targets[1].name, medians[1], histogram_mean(&latency[1]) / 1e3,
		       ratio.mid, ratio.low, ratio.high, n, groups[n - 1].others, made);
	}
	if (options->json != NULL) {
		r = report_write(options->json, report_compare(options, medians, &ratio, ratios,
							       groups[n - 1].others, made));
	}
	free(ratios);
	free(values);
	return r;
}

int mode_compare(const struct options *options)
{
	static struct histogram latency[2];
	struct group *groups = calloc(options->groups * ATTEMPTS, sizeof(*groups));
	struct side sides[2] = { 0 };
	unsigned int made, i;
	int r;

	if (groups == NULL) {
		abort();
	}
	histogram_reset(&latency[0]);
	histogram_reset(&latency[1]);
	signal(SIGINT, wake_all);
	signal(SIGTERM, wake_all);
	r = side_open(&sides[0], &options->targets[0]);
	if (r == 0) {
		r = side_open(&sides[1], &options->targets[1]);
	}
	for (i = 0; i < 2 && r == 0 && options->prefill; i++) {
		r = side_prefill(&sides[i]);
	}
	if (r == 0) {
		r = run_groups(options, sides, latency, groups, &made);
	}
	wake_all(0);
	if (r == 0) {
		r = report(options, groups, made, latency);
	}
	for (i = 0; i < 2; i++) {
		r = side_close(&sides[i]) < 0 ? -1 : r;
	}
	free(groups);
	return r < 0 ? 1 : 0;
}
