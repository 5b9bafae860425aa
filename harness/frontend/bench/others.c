/* SPDX-License-Identifier: BSD-3-Clause */
#include "others.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"

/* Of the fields of a cpu line: user nice system idle iowait irq softirq steal. */
#define FIELD_N	     8
#define FIELD_IDLE   3
#define FIELD_IOWAIT 4

static bool wanted(const struct others *others, const char *line)
{
	int cpu;

	if (others->cpus[0] < 0 || others->cpus[1] < 0) {
		return strncmp(line, "cpu ", 4) == 0;
	}
	return sscanf(line, "cpu%d", &cpu) == 1 && line[3] != ' ' &&
	       (cpu == others->cpus[0] || cpu == others->cpus[1]);
}

static uint64_t busy_ticks(const struct others *others)
{
	FILE *f = fopen("/proc/stat", "re");
	unsigned long long v[FIELD_N];
	uint64_t sum = 0;
	char line[512];
	unsigned int i;

	if (f == NULL) {
		return 0;
	}
	while (fgets(line, sizeof(line), f) != NULL) {
		if (!wanted(others, line) ||
		    sscanf(line, "%*s %llu %llu %llu %llu %llu %llu %llu %llu", &v[0], &v[1], &v[2],
			   &v[3], &v[4], &v[5], &v[6], &v[7]) != FIELD_N) {
			continue;
		}
		for (i = 0; i < FIELD_N; i++) {
			sum += i == FIELD_IDLE || i == FIELD_IOWAIT ? 0 : v[i];
		}
	}
	fclose(f);
	return sum;
}

static uint64_t process_ticks(pid_t pid)
{
	char path[64];
	char text[1024] = "";
	unsigned long long user, system;
	char *rest;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (f == NULL) {
		return 0;
	}
	if (fgets(text, sizeof(text), f) == NULL) {
		text[0] = '\0';
	}
	fclose(f);
	/* The name, in parentheses, may hold anything. */
	rest = strrchr(text, ')');
	if (rest == NULL ||
	    sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user,
		   &system) != 2) {
		return 0;
	}
	return user + system;
}

static uint64_t others_ns(const struct others *others)
{
	uint64_t hz = (uint64_t)sysconf(_SC_CLK_TCK);
	uint64_t ours = process_ticks(getpid());
	uint64_t busy = busy_ticks(others);
	unsigned int i;

	for (i = 0; i < OTHERS_PIDS_MAX; i++) {
		ours += others->pids[i] > 0 ? process_ticks(others->pids[i]) : 0;
	}
	return (busy - ours) * (1000000000u / hz);
}

void others_begin(struct others *others)
{
	others->busy_ns = others_ns(others);
	others->ns = clock_ns();
}

double others_end(const struct others *others)
{
	int64_t busy = (int64_t)(others_ns(others) - others->busy_ns);
	double percent = (double)busy * 100.0 / (double)(clock_ns() - others->ns);

	return percent > 0 ? percent : 0;
}
