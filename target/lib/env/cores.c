/* SPDX-License-Identifier: BSD-3-Clause */
/* What the kernel says about processors; the same for both implementations of env. */
#include <dirent.h>
#include <errno.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/why.h"
#include "env/internal.h"

/* sched_getaffinity() fails with EINVAL when the kernel knows more cores than the set holds. */
#define KERNEL_MAX_CORES 16384

int env_affinity(struct env_cpuset *ret_set)
{
	struct env_cpuset set = { 0 };
	size_t size = CPU_ALLOC_SIZE(KERNEL_MAX_CORES);
	cpu_set_t *cpus = CPU_ALLOC(KERNEL_MAX_CORES);

	if (cpus == NULL) {
		return -ENOMEM;
	}
	CPU_ZERO_S(size, cpus);
	if (sched_getaffinity(0, size, cpus) != 0) {
		int rc = -errno;

		CPU_FREE(cpus);
		return rc;
	}
	for (unsigned int core = 0; core < ENV_MAX_CORES; core++) {
		if (CPU_ISSET_S(core, size, cpus)) {
			env_cpuset_add(&set, core);
		}
	}
	CPU_FREE(cpus);
	*ret_set = set;
	return 0;
}

bool env_cores_usable(const struct env_cpuset *set, unsigned int *ret_bad_core)
{
	struct env_cpuset usable;

	if (env_affinity(&usable) != 0) {
		usable = (struct env_cpuset){ 0 };
	}
	for (unsigned int core = 0; core < ENV_MAX_CORES; core++) {
		if (env_cpuset_has(set, core) && !env_cpuset_has(&usable, core)) {
			*ret_bad_core = core;
			return false;
		}
	}
	return true;
}

int env_check_cores(const struct env_cpuset *cores, const char **ret_why)
{
	unsigned int bad;

	if (env_cpuset_is_empty(cores)) {
		*ret_why = "the reactor mask is empty";
		return -EINVAL;
	}
	if (!env_cores_usable(cores, &bad)) {
		*ret_why = why("core %u of the reactor mask is offline or not permitted to this "
			       "process (see 'taskset -p' and 'nproc --all')",
			       bad);
		return -ENODEV;
	}
	return 0;
}

int env_core_numa_node(unsigned int core)
{
	char path[64];
	struct dirent *entry;
	int node = 0;
	DIR *dir;

	/* The directory of a processor holds a link "node<N>" to the node it belongs to. */
	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%u", core);
	dir = opendir(path);
	if (dir == NULL) {
		return 0;
	}
	while ((entry = readdir(dir)) != NULL) {
		if (sscanf(entry->d_name, "node%d", &node) == 1) {
			break;
		}
	}
	closedir(dir);
	return node;
}

int env_memory_numa_node(const void *addr)
{
	int node;

	/* ENOSYS without NUMA, EPERM in containers. A page that cannot be had is an error, no SIGBUS. */
	if (syscall(SYS_get_mempolicy, &node, NULL, 0, addr, MPOL_F_NODE | MPOL_F_ADDR) < 0) {
		return ENV_ANY_NODE;
	}
	return node;
}
