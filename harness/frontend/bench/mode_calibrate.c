/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What can be had at most: of this program, with a device that costs nothing; and of a processor that only copies
 * blocks, which is the bound of any ramdisk.
 */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "clock.h"
#include "modes.h"
#include "random.h"
#include "report.h"
#include "stats.h"

#define ROUNDS 5
/* Copies between two looks at the clock. */
#define COPIES_PER_LOOK 32
#define PAGE		4096u

static void pin(int cpu)
{
	cpu_set_t set;

	if (cpu >= 0) {
		CPU_ZERO(&set);
		CPU_SET(cpu, &set);
		sched_setaffinity(0, sizeof(set), &set);
	}
}

/*
 * Copies blocks from random places of `from` into as many buffers as the load has, as a ramdisk would that had
 * nothing else to do. Returns blocks per second.
 */
static double copy_loop(const struct options *options, const uint8_t *from, uint8_t *to)
{
	uint64_t state = options->load.seed;
	uint64_t block = options->load.block;
	uint64_t blocks = (options->spawn.size_mb << 20) / block;
	uint64_t buffers = (uint64_t)options->load.depth * options->load.queues;
	uint64_t begin = clock_ticks();
	uint64_t end = begin + clock_to_ticks((uint64_t)(options->seconds / ROUNDS * 1e9));
	uint64_t n = 0;
	uint64_t now;
	unsigned int i;

	do {
		for (i = 0; i < COPIES_PER_LOOK; i++, n++) {
			memcpy(to + n % buffers * block,
			       from + random_below(&state, blocks) * block, block);
			/* The copy shall happen although nobody looks at it. */
			__asm__ volatile("" : : "r"(to) : "memory");
		}
		now = clock_ticks();
	} while (now < end);
	return (double)n * 1e9 / (double)clock_to_ns(now - begin);
}

static void *map_filled(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED) {
		return NULL;
	}
	memset(p, 0x5a, size);
	return p;
}

/* -1: there is no memory for it. */
static double measure_copy(const struct options *options)
{
	size_t from_size = options->spawn.size_mb << 20;
	size_t to_size = (size_t)options->load.depth * options->load.queues * options->load.block;
	uint8_t *from = map_filled(from_size);
	uint8_t *to = map_filled(to_size);
	double rates[ROUNDS];
	double rate = -1;
	unsigned int i;

	if (from != NULL && to != NULL) {
		pin(options->spawn.cpu);
		copy_loop(options, from, to);
		for (i = 0; i < ROUNDS; i++) {
			rates[i] = copy_loop(options, from, to);
		}
		rate = stats_median(rates, ROUNDS);
		pin(options->cpu);
	}
	if (from != NULL) {
		munmap(from, from_size);
	}
	if (to != NULL) {
		munmap(to, to_size);
	}
	return rate;
}

static int measure_ring(const struct options *options, double *ret_rate)
{
	double rates[ROUNDS];
	struct load *load;
	unsigned int i;
	int r = load_open_mirror(&options->load, &load);

	if (r < 0) {
		return r;
	}
	for (i = 0; i < ROUNDS && r == 0; i++) {
		r = load_run_mirrored(load, (uint64_t)(options->seconds / ROUNDS * 1e9), &rates[i]);
	}
	load_close(load);
	if (r == 0) {
		*ret_rate = stats_median(rates, ROUNDS);
	}
	return r;
}

int mode_calibrate(const struct options *options)
{
	double copy, ring;
	int r = measure_ring(options, &ring);

	if (r < 0) {
		fprintf(stderr, "vhost-bench: %s\n", strerror(-r));
		return 1;
	}
	copy = measure_copy(options);
	if (copy < 0) {
		fprintf(stderr, "vhost-bench: no memory for the copy loop (--target-size)\n");
		return 1;
	}
	if (options->json == NULL || strcmp(options->json, "-") != 0) {
		printf("empty ring  %.0f requests/s: this program alone, against a device that costs nothing\n"
		       "copy loop   %.0f blocks/s of %u bytes, from random places of %llu MiB\n",
		       ring, copy, options->load.block, (unsigned long long)options->spawn.size_mb);
	}
	if (options->json != NULL) {
		r = report_write(options->json,
				 json_pack("{s:o, s:f, s:f, s:I}", "workload",
					   report_workload(options), "ring_per_second", ring,
					   "copies_per_second", copy, "copy_memory_mib",
					   (json_int_t)options->spawn.size_mb));
	}
	return r < 0 ? 1 : 0;
}
