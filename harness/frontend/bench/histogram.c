/* SPDX-License-Identifier: BSD-3-Clause */
#include "histogram.h"

#include <math.h>
#include <string.h>

void histogram_reset(struct histogram *h)
{
	memset(h, 0, sizeof(*h));
	h->min = UINT64_MAX;
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
	unsigned int i;

	for (i = 0; i < HISTOGRAM_BINS; i++) {
		into->bins[i] += from->bins[i];
	}
	into->n += from->n;
	into->sum += from->sum;
	into->max = from->max > into->max ? from->max : into->max;
	into->min = from->min < into->min ? from->min : into->min;
}

uint64_t histogram_bin_low(unsigned int bin)
{
	unsigned int exponent;

	if (bin < HISTOGRAM_SUB) {
		return bin;
	}
	exponent = bin / HISTOGRAM_SUB - 1;
	return (uint64_t)(HISTOGRAM_SUB + bin % HISTOGRAM_SUB) << exponent;
}

uint64_t histogram_bin_high(unsigned int bin)
{
	return bin + 1 < HISTOGRAM_BINS ? histogram_bin_low(bin + 1) - 1 : UINT64_MAX;
}

uint64_t histogram_percentile(const struct histogram *h, double percent)
{
	uint64_t wanted = (uint64_t)ceil((double)h->n * percent / 100.0);
	uint64_t seen = 0;
	uint64_t high;
	unsigned int i;

	if (h->n == 0) {
		return 0;
	}
	wanted = wanted == 0 ? 1 : wanted;
	for (i = 0; i < HISTOGRAM_BINS; i++) {
		seen += h->bins[i];
		if (seen >= wanted) {
			break;
		}
	}
	high = i < HISTOGRAM_BINS ? histogram_bin_high(i) : UINT64_MAX;
	return high < h->max ? high : h->max;
}

double histogram_mean(const struct histogram *h)
{
	return h->n == 0 ? 0 : h->sum / (double)h->n;
}
