/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: a histogram of latencies with bins that grow with the value: 128 to each power of two, so a bin is at
 * most 0.8 % wide and all values of 64 bits fit. Bins of two histograms can be added.
 */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

#define HISTOGRAM_SUB_BITS 7
#define HISTOGRAM_SUB	   (1u << HISTOGRAM_SUB_BITS)
#define HISTOGRAM_BINS	   ((64 - HISTOGRAM_SUB_BITS + 1) * HISTOGRAM_SUB)

struct histogram {
	uint64_t n;
	uint64_t min;
	uint64_t max;
	double sum;
	uint64_t bins[HISTOGRAM_BINS];
};

static inline unsigned int histogram_bin(uint64_t value)
{
	unsigned int exponent;

	if (value < HISTOGRAM_SUB) {
		return (unsigned int)value;
	}
	/* The top bit and the next seven. */
	exponent = 63u - (unsigned int)__builtin_clzll(value) - HISTOGRAM_SUB_BITS;
	return (exponent + 1) * HISTOGRAM_SUB +
	       (unsigned int)(value >> exponent & (HISTOGRAM_SUB - 1));
}

static inline void histogram_add(struct histogram *h, uint64_t value)
{
	h->bins[histogram_bin(value)]++;
	h->n++;
	h->sum += (double)value;
	if (value > h->max) {
		h->max = value;
	}
	if (value < h->min) {
		h->min = value;
	}
}

void histogram_reset(struct histogram *h);
void histogram_merge(struct histogram *into, const struct histogram *from);
/* The least and the greatest value that fall into a bin. */
uint64_t histogram_bin_low(unsigned int bin);
uint64_t histogram_bin_high(unsigned int bin);
/* The value that `percent` of all values do not exceed, to the width of a bin; 0 if there are none. */
uint64_t histogram_percentile(const struct histogram *h, double percent);
double histogram_mean(const struct histogram *h);

#endif
