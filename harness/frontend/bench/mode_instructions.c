/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Work of a target per request: instructions, and what else callgrind counts (branches, system calls); kicks and calls
 * as this side sees them. The target runs under callgrind twice, with few and with many requests; the
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
#define EVENTS_MAX	  16
#define EVENT_NAME_MAX	  16

/* What callgrind counted in the whole life of a target. */
struct counts {
	unsigned int n;
	char names[EVENTS_MAX][EVENT_NAME_MAX];
	unsigned long long values[EVENTS_MAX];
};

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

/* The words behind the colon. */
static void read_names(char *words, struct counts *counts)
{
	char *state;

	counts->n = 0;
	for (char *name = strtok_r(words, " \n", &state); name != NULL && counts->n < EVENTS_MAX;
	     name = strtok_r(NULL, " \n", &state)) {
		snprintf(counts->names[counts->n++], EVENT_NAME_MAX, "%s", name);
	}
}

/* Zeros at the end are left out of the file. */
static void read_values(char *words, struct counts *counts)
{
	char *end;

	memset(counts->values, 0, sizeof(counts->values));
	for (unsigned int i = 0; i < counts->n; i++, words = end) {
		counts->values[i] = strtoull(words, &end, 10);
	}
}

static int read_counts(const char *path, struct counts *ret_counts)
{
	char line[512];
	int r = -ENOENT;
	FILE *f = fopen(path, "re");

	ret_counts->n = 0;
	while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
		if (strncmp(line, "events: ", strlen("events: ")) == 0) {
			read_names(line + strlen("events: "), ret_counts);
		} else if ((strncmp(line, "summary: ", strlen("summary: ")) == 0 ||
			    strncmp(line, "totals: ", strlen("totals: ")) == 0) &&
			   ret_counts->n > 0) {
			read_values(strchr(line, ':') + 1, ret_counts);
			r = 0;
		}
	}
	if (f != NULL) {
		fclose(f);
	}
	return r;
}

/* One run of the target, of which callgrind writes to `out`. */
static int count(const struct options *options, uint64_t requests, const char *out,
		 struct counts *ret_counts, struct load_result *ret_result)
{
	static char to[PATH_MAX + sizeof("--callgrind-out-file=")];
	/*
	 * Not counted: DPDK waits until a thread has started (the second one, from 24.03 on the third), and at its end
	 * until a core has come back, which takes as long as it takes.
	 */
	const char *const wrapper[] = { "valgrind",
					"--tool=callgrind",
					"--toggle-collect=rte_eal_wait_lcore",
					"--toggle-collect=rte_ctrl_thread_create",
					"--toggle-collect=rte_thread_create_control",
					"--collect-atstart=yes",
					"--collect-systime=yes",
					"--branch-sim=yes",
					to,
					NULL };
	struct target target = options->targets[0];
	struct side side;
	int r;

	snprintf(to, sizeof(to), "--callgrind-out-file=%s", out);
	target.spawn.wrapper = wrapper;
	target.spawn.mode = "event";
	target.load.event = true;
	target.load.timeout_ms = 60000;
	r = side_open(&side, &target);
	if (r == 0) {
		r = load_run_batches(side.load, requests, wait_asleep, &side, ret_result);
		if (r < 0 || ret_result->errors > 0) {
			fprintf(stderr, "vhost-bench: %s: %s\n", target.name,
				r < 0 ? strerror(-r) : "requests failed");
			r = -EIO;
		}
		r = side_close(&side) < 0 ? -EIO : r;
	}
	return r == 0 ? read_counts(out, ret_counts) : r;
}

/* The longer run's counts are kept if --callgrind-out names a file for them; *ret_result is that run's. */
static int count_twice(const struct options *options, struct counts *ret_base,
		       struct counts *ret_all, struct load_result *ret_result)
{
	char temporary[] = "/tmp/vhost-bench-callgrind-XXXXXX";
	const char *kept = options->callgrind_out;
	int fd = mkstemp(temporary);
	int r;

	if (fd < 0) {
		return -errno;
	}
	close(fd);
	r = count(options, BASE_REQUESTS, temporary, ret_base, ret_result);
	if (r == 0) {
		r = count(options, BASE_REQUESTS + options->requests,
			  kept != NULL ? kept : temporary, ret_all, ret_result);
	}
	unlink(temporary);
	return r == 0 && ret_base->n != ret_all->n ? -EPROTO : r;
}

/* Of each event, per request. */
static json_t *differences(const struct options *options, const struct counts *base,
			   const struct counts *all)
{
	json_t *each = json_object();

	for (unsigned int i = 0; i < all->n; i++) {
		double more = (double)all->values[i] - (double)base->values[i];

		json_object_set_new(each, all->names[i],
				    json_real(more / (double)options->requests));
	}
	return each;
}

static double per_request(const struct load_result *result, uint64_t n)
{
	return (double)n / (double)result->requests;
}

int mode_instructions(const struct options *options)
{
	struct counts base, all;
	struct load_result result = { 0 };
	json_t *events;
	double each;
	int r = count_twice(options, &base, &all, &result);

	if (r < 0) {
		fprintf(stderr, "vhost-bench: nothing was counted: %s\n", strerror(-r));
		return 1;
	}
	events = differences(options, &base, &all);
	each = json_real_value(json_object_get(events, "Ir"));
	if (options->json == NULL || strcmp(options->json, "-") != 0) {
		printf("%.1f instructions per request (%s, %u bytes, batches of %u, %llu requests)\n",
		       each, options->workload, options->load.block, options->load.batch,
		       (unsigned long long)options->requests);
	}
	if (options->json == NULL) {
		json_decref(events);
		return 0;
	}
	r = report_write(options->json,
			 json_pack("{s:s, s:o, s:f, s:I, s:I, s:o, s:f, s:f}", "target",
				   options->targets[0].name, "workload", report_workload(options),
				   "instructions_per_request", each, "requests",
				   (json_int_t)options->requests, "requests_in_file",
				   (json_int_t)result.requests, "events_per_request", events,
				   "kicks_per_request", per_request(&result, result.kicks),
				   "calls_per_request", per_request(&result, result.calls)));
	return r < 0 ? 1 : 0;
}
