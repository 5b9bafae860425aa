/* SPDX-License-Identifier: BSD-3-Clause */
/* Concepts: what the two implementations of env share. Only for files in env/ and their tests. */
#ifndef VHT_ENV_INTERNAL_H
#define VHT_ENV_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

#include "env/env.h"

#define ENV_CACHE_LINE 64
#define ENV_PATH_MAX   512

/* The processors this thread may run on now, without those that are offline. */
int env_affinity(struct env_cpuset *ret_set);

/* Checks what both implementations ask of opts->cores. ret_why points to static text. */
int env_check_cores(const struct env_cpuset *cores, const char **ret_why);

/* Zeroed memory of the C library's heap; alignment as env_zalloc(). free() releases it. */
void *env_heap_zalloc(size_t size, size_t align);

/* Bytes of free huge pages of all sizes; root is "" or, in tests, a directory with a fake /sys. */
uint64_t env_free_hugepages(const char *root);

/*
 * Bytes that processes of this control group could still take, 0 if nothing can be found out about
 * the machine. root as above, for /proc and /sys/fs/cgroup.
 */
uint64_t env_available_under(const char *root);

#endif
