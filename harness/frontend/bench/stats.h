/* SPDX-License-Identifier: BSD-3-Clause */
/* Statistics of a few paired measurements. */
#ifndef BENCH_STATS_H
#define BENCH_STATS_H

#include <stdint.h>

struct interval {
	double low;
	double mid;
	double high;
};

/* Reorders `values`. */
double stats_median(double *values, unsigned int n);
/*
 * The median of values and its 95 % bootstrap interval (percentile method): the values are drawn anew, with
 * replacement, many times; so far would another such series be off. n >= 1.
 */
struct interval stats_bootstrap_median(const double *values, unsigned int n, uint64_t seed);

#endif
