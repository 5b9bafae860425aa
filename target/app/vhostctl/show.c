/* SPDX-License-Identifier: BSD-3-Clause */
#include "show.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "table.h"

static const char *text(const json_t *object, const char *key)
{
	const char *value = json_string_value(json_object_get(object, key));

	return value != NULL ? value : "-";
}

static long long number(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

static bool yes(const json_t *object, const char *key)
{
	return json_is_true(json_object_get(object, key));
}

static void print(struct table *table)
{
	table_print(table, stdout);
	table_free(table);
}

/* "Malloc0", "Malloc0 (read-only)", or "0:Malloc0 1:Null0" */
static void disks_cell(struct table *table, const json_t *controller)
{
	const json_t *backend = json_object_get(controller, "backend_specific");
	const json_t *block = json_object_get(backend, "block");
	const json_t *scsi = json_object_get(backend, "scsi");
	const json_t *target;
	char list[1024] = "";
	size_t used = 0;
	size_t i;

	if (block != NULL) {
		table_cell(table, "%s%s", text(block, "bdev"),
			   yes(block, "readonly") ? " (read-only)" : "");
		return;
	}
	json_array_foreach (scsi, i, target) {
		const json_t *lun = json_array_get(json_object_get(target, "luns"), 0);
		int n = snprintf(list + used, sizeof(list) - used, "%s%lld:%s", i > 0 ? " " : "",
				 number(target, "scsi_dev_num"), text(lun, "bdev_name"));

		if (n < 0 || (size_t)n >= sizeof(list) - used) {
			break;
		}
		used += (size_t)n;
	}
	table_cell(table, "%s", used > 0 ? list : "-");
}

/* "0", "0,2", "0-3,8" */
static void cores_cell(struct table *table, const json_t *controller)
{
	const json_t *cores = json_object_get(controller, "lcores");
	char list[256] = "";
	size_t used = 0;
	size_t i = 0;

	while (i < json_array_size(cores)) {
		long long first = json_integer_value(json_array_get(cores, i));
		long long last = first;
		int n;

		for (i++; json_integer_value(json_array_get(cores, i)) == last + 1; i++) {
			last++;
		}
		n = snprintf(list + used, sizeof(list) - used, "%s%lld", used > 0 ? "," : "",
			     first);
		if (n >= 0 && last > first) {
			used += (size_t)n;
			used = used < sizeof(list) ? used : sizeof(list) - 1;
			n = snprintf(list + used, sizeof(list) - used, "-%lld", last);
		}
		if (n < 0 || (size_t)n >= sizeof(list) - used) {
			break;
		}
		used += (size_t)n;
	}
	table_cell(table, "%s", used > 0 ? list : "-");
}

/* "50us>60000/s": how long calls are held back, above which rate. */
static void coalescing_cell(struct table *table, const json_t *controller)
{
	if (number(controller, "delay_base_us") == 0) {
		table_cell(table, "-");
		return;
	}
	table_cell(table, "%lldus>%lld/s", number(controller, "delay_base_us"),
		   number(controller, "iops_threshold"));
}

/* "5000/s", "100MiB/s", "5000/s 100MiB/s" */
static void limits_cell(struct table *table, const json_t *controller)
{
	const json_t *limits = json_object_get(controller, "assigned_rate_limits");
	long long ios = number(limits, "rw_ios_per_sec");
	long long mbytes = number(limits, "rw_mbytes_per_sec");

	if (ios > 0 && mbytes > 0) {
		table_cell(table, "%lld/s %lldMiB/s", ios, mbytes);
	} else if (ios > 0) {
		table_cell(table, "%lld/s", ios);
	} else if (mbytes > 0) {
		table_cell(table, "%lldMiB/s", mbytes);
	} else {
		table_cell(table, "-");
	}
}

void show_controllers(const json_t *result)
{
	struct table *table = table_new("NAME TYPE CPUMASK CORES FRONT-END SESSIONS COALESCING "
					"LIMITS SOCKET DISKS");
	const json_t *controller;
	size_t i;

	json_array_foreach (result, i, controller) {
		table_cell(table, "%s", text(controller, "ctrlr"));
		table_cell(table, "%s", text(controller, "type"));
		table_cell(table, "%s", text(controller, "cpumask"));
		cores_cell(table, controller);
		table_cell(table, "%s", yes(controller, "connected") ? "connected" : "none");
		table_cell(table, "%lld", number(controller, "sessions_accepted"));
		coalescing_cell(table, controller);
		limits_cell(table, controller);
		table_cell(table, "%s", text(controller, "socket"));
		disks_cell(table, controller);
	}
	print(table);
}

void show_bdevs(const json_t *result)
{
	struct table *table = table_new("NAME DRIVER SIZE BLOCK CLAIMS MODE SERIAL");
	const json_t *bdev;
	size_t i;

	json_array_foreach (result, i, bdev) {
		table_cell(table, "%s", text(bdev, "name"));
		table_cell(table, "%s", text(bdev, "driver"));
		table_size(table, (uint64_t)number(bdev, "num_blocks") *
					  (uint64_t)number(bdev, "block_size"));
		table_cell(table, "%lld", number(bdev, "block_size"));
		table_cell(table, "%lld", number(bdev, "claims"));
		table_cell(table, "%s", yes(bdev, "read_only") ? "read-only" : "read-write");
		table_cell(table, "%s", text(bdev, "serial"));
	}
	print(table);
}

/* How many of one there are for each of the other; "-": none at all. */
static void table_ratio(struct table *table, const json_t *queue, const char *these,
			const char *those, int digits)
{
	long long divisor = number(queue, those);

	if (divisor == 0) {
		table_cell(table, "-");
	} else {
		table_cell(table, "%.*f", digits, (double)number(queue, these) / (double)divisor);
	}
}

static void stats_row(struct table *table, const json_t *controller, const json_t *queue)
{
	static const char *const counters[] = { "kicks", "calls", "suppressed_calls" };
	const char *broken = json_string_value(json_object_get(queue, "broken"));
	size_t i;

	table_cell(table, "%s", text(controller, "ctrlr"));
	table_cell(table, "%lld", number(queue, "queue"));
	if (json_is_integer(json_object_get(queue, "lcore"))) {
		table_cell(table, "%lld", number(queue, "lcore"));
	} else {
		table_cell(table, "-");
	}
	table_cell(table, "%lld", number(queue, "requests"));
	table_size(table, (uint64_t)number(queue, "read_bytes"));
	table_size(table, (uint64_t)number(queue, "written_bytes"));
	for (i = 0; i < sizeof(counters) / sizeof(counters[0]); i++) {
		table_cell(table, "%lld", number(queue, counters[i]));
	}
	table_ratio(table, queue, "calls", "requests", 3);
	table_ratio(table, queue, "requests", "batches", 1);
	table_cell(table, "%lld", number(queue, "malformed"));
	if (broken != NULL) {
		table_cell(table, "broken: %s", broken);
	} else {
		table_cell(table, "%s", yes(queue, "running") ? "running" : "stopped");
	}
}

void show_stats(const json_t *result)
{
	struct table *table =
		table_new("CONTROLLER QUEUE CORE REQUESTS READ WRITTEN KICKS CALLS SUPPRESSED "
			  "CALLS/REQ BATCH MALFORMED STATE");
	const json_t *controller;
	const json_t *queue;
	size_t i;
	size_t j;

	json_array_foreach (json_object_get(result, "controllers"), i, controller) {
		json_array_foreach (json_object_get(controller, "queues"), j, queue) {
			stats_row(table, controller, queue);
		}
	}
	print(table);
}

void show_reactors(const json_t *result)
{
	struct table *table = table_new("CORE NODE ROUNDS BUSY SLEEPS");
	const json_t *reactor;
	size_t i;

	json_array_foreach (json_object_get(result, "reactors"), i, reactor) {
		table_cell(table, "%lld", number(reactor, "lcore"));
		table_cell(table, "%lld", number(reactor, "numa_node"));
		table_cell(table, "%lld", number(reactor, "rounds"));
		table_cell(table, "%lld", number(reactor, "busy_rounds"));
		table_cell(table, "%lld", number(reactor, "sleeps"));
	}
	print(table);
}

void show_lines(const json_t *result)
{
	const json_t *line;
	size_t i;

	json_array_foreach (result, i, line) {
		printf("%s\n", json_string_value(line));
	}
}

void show_handover(const json_t *result)
{
	const json_t *pause = json_object_get(result, "pause_ms");
	const json_t *longest = json_object_get(result, "longest_pause_ms");
	const char *reason = json_string_value(json_object_get(result, "reason"));

	printf("process %lld, hand-overs: %lld", number(result, "pid"), number(result, "count"));
	if (number(result, "count") > 0) {
		printf(", pause of the last %.3f ms, longest %.3f ms", json_real_value(pause),
		       json_real_value(longest));
	}
	if (strcmp(text(result, "state"), "running") == 0) {
		printf("; another one is under way");
	}
	if (reason != NULL) {
		printf("; the last attempt failed: %s", reason);
	}
	printf("\n");
}

void show_version(const json_t *result)
{
	printf("%s (%s)\n", text(result, "version"), text(result, "environment"));
}

void show_json(const json_t *result)
{
	json_dumpf(result, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
	printf("\n");
}

void show_short(const json_t *result)
{
	if (json_is_string(result)) {
		printf("%s\n", json_string_value(result));
	} else if (!json_is_true(result)) {
		show_json(result);
	}
}
