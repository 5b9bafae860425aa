/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Instructions of a target per request. The target runs under callgrind twice, with few and with many requests; the
 * difference leaves start and end out. Requests go in batches, the next when the target has gone to sleep, so the
 * count does not depend on the clock: each batch costs one wake-up, and is not seen in parts.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "modes.h"
#include "report.h"
#include "side.h"

/* Of the shorter run: enough to touch everything once. */
#define BASE_REQUESTS	  3200
#define SLEEP_DEADLINE_NS 20000000000u
#define LOOK_NS		  200000

/* Are all of its threads asleep? Under valgrind one that works is never. */
static bool all_asleep(pid_t pid)
{
	char path[300];
	char text[256];
	struct dirent *entry;
	bool asleep = true;
	DIR *dir;
	FILE *f;
	char *rest;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.') {
			continue;
		}
		snprintf(path, sizeof(path), "/proc/%d/task/%.32s/stat", (int)pid, entry->d_name);
		f = fopen(path, "re");
		if (f == NULL) {
			continue;
		}
		rest = fgets(text, sizeof(text), f) != NULL ? strrchr(text, ')') : NULL;
		asleep &= rest != NULL && rest[2] == 'S';
		fclose(f);
	}
	if (dir != NULL) {
		closedir(dir);
	}
	return asleep;
}

/* Between two batches: returns when the target wants a kick and sleeps. */
static int wait_asleep(void *arg)
{
	const struct side *side = arg;
	const struct timespec look = { .tv_nsec = LOOK_NS };
	uint64_t begin = clock_ns();
	unsigned int seen = 0;

	while (seen < 2) {
		seen = load_target_is_armed(side->load) && all_asleep(side->pid) ? seen + 1 : 0;
		if (clock_ns() - begin > SLEEP_DEADLINE_NS) {
			return -ETIMEDOUT;
		}
		nanosleep(&look, NULL);
	}
	return 0;
}

static int read_total(const char *path, uint64_t *ret_total)
{
	unsigned long long total;
	char line[512];
	int r = -ENOENT;
	FILE *f = fopen(path, "re");

	while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
		if (sscanf(line, "summary: %llu", &total) == 1 ||
		    sscanf(line, "totals: %llu", &total) == 1) {
			*ret_total = total;
			r = 0;
		}
	}
	if (f != NULL) {
		fclose(f);
	}
	return r;
}

/* One run of the target, of which callgrind writes to `out`; *ret_total: the instructions of its whole life. */
static int count(const struct options *options, uint64_t requests, const char *out,
		 uint64_t *ret_total)
{
	static char to[PATH_MAX + sizeof("--callgrind-out-file=")];
	/* Not counted: at its end DPDK spins until a core has come back, which takes as long as it takes. */
	const char *const wrapper[] = { "valgrind",
					"--tool=callgrind",
					"--toggle-collect=rte_eal_wait_lcore",
					"--collect-atstart=yes",
					to,
					NULL };
	struct target target = options->targets[0];
	struct load_result result;
	struct side side;
	int r;

	snprintf(to, sizeof(to), "--callgrind-out-file=%s", out);
	target.spawn.wrapper = wrapper;
	target.spawn.mode = "event";
	target.load.event = true;
	target.load.timeout_ms = 60000;
	r = side_open(&side, &target);
	if (r == 0) {
		r = load_run_batches(side.load, requests, wait_asleep, &side, &result);
		if (r < 0 || result.errors > 0) {
			fprintf(stderr, "vhost-bench: %s: %s\n", target.name,
				r < 0 ? strerror(-r) : "requests failed");
			r = -EIO;
		}
		r = side_close(&side) < 0 ? -EIO : r;
	}
	return r == 0 ? read_total(out, ret_total) : r;
}

/* The longer run's counts are kept if --callgrind-out names a file for them. */
static int count_twice(const struct options *options, uint64_t *ret_base, uint64_t *ret_total)
{
	char temporary[] = "/tmp/vhost-bench-callgrind-XXXXXX";
	const char *kept = options->callgrind_out;
	int fd = mkstemp(temporary);
	int r;

	if (fd < 0) {
		return -errno;
	}
	close(fd);
	r = count(options, BASE_REQUESTS, temporary, ret_base);
	if (r == 0) {
		r = count(options, BASE_REQUESTS + options->requests,
			  kept != NULL ? kept : temporary, ret_total);
	}
	unlink(temporary);
	return r;
}

int mode_instructions(const struct options *options)
{
	uint64_t base, total;
	double each;
	int r = count_twice(options, &base, &total);

	if (r < 0) {
		fprintf(stderr, "vhost-bench: nothing was counted: %s\n", strerror(-r));
		return 1;
	}
	each = ((double)total - (double)base) / (double)options->requests;
	if (options->json == NULL || strcmp(options->json, "-") != 0) {
		printf("%.1f instructions per request (%s, %u bytes, batches of %u, %llu requests)\n",
		       each, options->workload, options->load.block, options->load.batch,
		       (unsigned long long)options->requests);
	}
	if (options->json != NULL) {
		r = report_write(options->json,
				 json_pack("{s:s, s:o, s:f, s:I}", "target",
					   options->targets[0].name, "workload",
					   report_workload(options), "instructions_per_request",
					   each, "requests", (json_int_t)options->requests));
	}
	return r < 0 ? 1 : 0;
}
