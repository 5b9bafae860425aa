/* SPDX-License-Identifier: BSD-3-Clause */
#include "side.h"

#include <stdio.h>
#include <string.h>

int side_open(struct side *side, const struct target *target)
{
	char why[1024] = "";
	int r;

	*side = (struct side){ .target = target };
	if (target->spawned) {
		r = spawn_start(&target->spawn, target->name, &side->spawned, why, sizeof(why));
		if (r < 0) {
			fprintf(stderr, "vhost-bench: %s: %s\n", target->name, why);
			return r;
		}
	}
	r = load_open(&target->load,
		      side->spawned != NULL ? spawn_socket(side->spawned) : target->name,
		      &side->load, why, sizeof(why));
	if (r < 0) {
		fprintf(stderr, "vhost-bench: %s: %s (%s)\n", target->name, why, strerror(-r));
		(void)side_close(side);
		return r;
	}
	side->pid = side->spawned != NULL ? spawn_pid(side->spawned) : load_peer(side->load);
	return 0;
}

static int told(const struct side *side, int r)
{
	if (r < 0) {
		fprintf(stderr, "vhost-bench: %s: %s (%s)\n", side->target->name,
			load_why(side->load), strerror(-r));
	}
	return r;
}

int side_run(struct side *side, double seconds, struct histogram *latency,
	     struct load_result *ret_result)
{
	return told(side, load_run(side->load, (uint64_t)(seconds * 1e9), latency, ret_result));
}

int side_prefill(struct side *side)
{
	return told(side, load_prefill(side->load));
}

int side_close(struct side *side)
{
	int r;

	load_close(side->load);
	side->load = NULL;
	r = spawn_stop(side->spawned);
	side->spawned = NULL;
	return r;
}
