/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: the machine underneath: cores, memory that devices may reach, and ticks. Two
 * implementations: dpdk.c (the daemon; the only place that includes rte_*.h) and posix.c (unit
 * tests, fuzzers, valgrind). Threads: env_init, env_done and the core functions belong to the main
 * thread; between the two, memory and ticks may be used by any.
 */
#ifndef VHT_ENV_ENV_H
#define VHT_ENV_ENV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ENV_MAX_CORES 1024
#define ENV_ANY_NODE  (-1)

/* A set of processor numbers. */
struct env_cpuset {
	uint64_t bits[ENV_MAX_CORES / 64];
};

static inline bool env_cpuset_has(const struct env_cpuset *set, unsigned int core)
{
	return core < ENV_MAX_CORES && (set->bits[core / 64] >> (core % 64) & 1) != 0;
}

static inline void env_cpuset_add(struct env_cpuset *set, unsigned int core)
{
	set->bits[core / 64] |= UINT64_C(1) << (core % 64);
}

bool env_cpuset_is_empty(const struct env_cpuset *set);
bool env_cpuset_is_subset(const struct env_cpuset *set, const struct env_cpuset *of);

/*
 * Parses "0x3", "3" (hexadecimal mask, any length) or "[0-3,8]" (list). -EINVAL: malformed or
 * empty set; -ERANGE: a core number of ENV_MAX_CORES or more.
 */
int env_cpuset_parse(const char *text, struct env_cpuset *ret_set);
/* Writes "0x3" style text, always NUL-terminated. ENV_CPUSET_TEXT bytes are enough for any set. */
#define ENV_CPUSET_TEXT (ENV_MAX_CORES / 4 + 3)
void env_cpuset_format(const struct env_cpuset *set, char *buf, size_t len);

struct env_options {
	const char *name;	    /* program name, for the log */
	struct env_cpuset cores;    /* a reactor may run on each; all must be usable here */
	unsigned int mem_limit_mib; /* bound on hugepage memory; nothing is taken ahead; 0: none */
	bool no_huge;		    /* do not use hugepages even when there are some */
	bool quiet;
};

/*
 * Takes hugepages when the machine has free ones, otherwise works without. On failure returns a
 * negative errno and sets *ret_why (base/why.h).
 */
int env_init(const struct env_options *opts, const char **ret_why);
void env_done(void);
bool env_has_hugepages(void);
const char *env_version(void); /* for --version: "DPDK 22.11.11" or "posix" */

/* Are all cores of the set online and permitted to this process? If not: the lowest that is not. */
bool env_cores_usable(const struct env_cpuset *set, unsigned int *ret_bad_core);
int env_core_numa_node(unsigned int core); /* 0 on machines without NUMA */
/* Of the page at this address; ENV_ANY_NODE: the kernel does not say. */
int env_memory_numa_node(const void *addr);

/* Starts fn(arg) on a thread bound to the core; env_core_join() waits for its end. Main thread. */
int env_core_start(unsigned int core, int (*fn)(void *arg), void *arg);
int env_core_join(unsigned int core);

/* Zeroed memory a device could reach; align is a power of two (0: cache line). NULL: none left. */
void *env_zalloc(size_t size, size_t align, int numa_node);
void env_free(void *ptr); /* NULL is fine */

/*
 * A large zeroed area (a ramdisk): its pages appear when first touched, huge ones where the system
 * has them. -ENOMEM when the machine cannot hold it (size against the memory available now).
 */
int env_big_alloc(size_t size, int numa_node, void **ret_ptr);
void env_big_free(void *ptr, size_t size); /* NULL is fine */

/*
 * The same as a shared file (a memfd), so that it can be handed to another process, and with addresses to spare
 * behind it: it grows and shrinks without being moved.
 */
struct env_area {
	uint8_t *ptr;
	size_t size;
	int fd;
	/* private: */
	size_t room;
	int numa_node;
};

/* For up to `room` bytes one day; with less room when there are not so many addresses. */
int env_area_alloc(struct env_area *ret_area, size_t size, size_t room, int numa_node);
/* The area behind a descriptor of another process, which is taken over; not on failure. -EINVAL: it cannot be. */
int env_area_adopt(struct env_area *ret_area, int fd, size_t room, int numa_node);
/*
 * -ENOSPC: beyond its room; -ENOMEM. Whoever uses what is taken away must have stopped before. What is
 * added is zeroed, also where the area had been larger before.
 */
int env_area_resize(struct env_area *area, size_t size);
/* Zeroes a range, and gives the memory of whole pages back. */
void env_area_clear(struct env_area *area, size_t offset, size_t len);
void env_area_free(struct env_area *area); /* zeroed or freed: fine */
static inline size_t env_area_room(const struct env_area *area)
{
	return area->room;
}

/* The largest size that env_big_alloc() would grant now, bytes. */
uint64_t env_memory_available(void);

uint64_t env_ticks(void);
uint64_t env_ticks_hz(void);

static inline void env_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield" ::: "memory");
#endif
}

#endif
