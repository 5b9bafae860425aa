/* SPDX-License-Identifier: BSD-3-Clause */
#include "stats.h"

#include <stdlib.h>
#include <string.h>

#include "random.h"

#define RESAMPLES 4000

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a;
	double y = *(const double *)b;

	return (x > y) - (x < y);
}

double stats_median(double *values, unsigned int n)
{
	qsort(values, n, sizeof(*values), by_value);
	return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

struct interval stats_bootstrap_median(const double *values, unsigned int n, uint64_t seed)
{
	double *drawn = malloc(n * sizeof(*drawn));
	double *medians = malloc(RESAMPLES * sizeof(*medians));
	struct interval result = { 0 };
	unsigned int i, k;

	if (drawn == NULL || medians == NULL) {
		abort();
	}
	for (i = 0; i < RESAMPLES; i++) {
		for (k = 0; k < n; k++) {
			drawn[k] = values[random_below(&seed, n)];
		}
		medians[i] = stats_median(drawn, n);
	}
	qsort(medians, RESAMPLES, sizeof(*medians), by_value);
	result.low = medians[RESAMPLES * 25 / 1000];
	result.high = medians[RESAMPLES * 975 / 1000 - 1];
	memcpy(drawn, values, n * sizeof(*drawn));
	result.mid = stats_median(drawn, n);
	free(drawn);
	free(medians);
	return result;
}
