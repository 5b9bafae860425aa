/* SPDX-License-Identifier: BSD-3-Clause */
#include "controller/controller.h"

struct placement *placement_choose(struct target *target, const struct env_cpuset *mask)
{
	struct placement *best = NULL;
	unsigned int i;

	for (i = 0; i < target->placement_n; i++) {
		struct placement *p = &target->placements[i];

		if (env_cpuset_has(mask, reactor_core(core_reactor(p->core))) &&
		    (best == NULL || p->controllers < best->controllers)) {
			best = p;
		}
	}
	/* Not NULL: a Cpumask is a non-empty subset of the cores (checked when the controller was made). */
	return best;
}
