/* SPDX-License-Identifier: BSD-3-Clause */
/* Concepts: ticks are what the processor counts for little; a run measures in ticks and reports in ns. */
#ifndef BENCH_CLOCK_H
#define BENCH_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline uint64_t clock_ticks(void)
{
#if defined(__x86_64__)
	return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
	uint64_t v;

	__asm__ volatile("mrs %0, cntvct_el0" : "=r"(v));
	return v;
#else
	return clock_ns();
#endif
}

/* Compares both clocks for some milliseconds; before anything below is used. */
void clock_calibrate(void);

extern double clock_ticks_per_ns;

static inline uint64_t clock_to_ticks(uint64_t ns)
{
	return (uint64_t)((double)ns * clock_ticks_per_ns);
}

static inline uint64_t clock_to_ns(uint64_t ticks)
{
	return (uint64_t)((double)ticks / clock_ticks_per_ns);
}

static inline void clock_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

#endif
