/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Large areas, and the question of how much memory there is. Large areas never come from EAL's
 * heap: they shall cost nothing until they are touched and may be larger than what is set aside as
 * huge pages at boot.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/fd.h"
#include "env/internal.h"

#define HUGE_PAGE ((size_t)2 << 20)
#define NO_LIMIT  (UINT64_C(1) << 60) /* cgroup v1 says "no limit" with a number near 2^63 */
#define MAX_NODES 1024
/* The unit of st_blocks. */
#define STAT_BLOCK 512

/* Bytes handed out by env_big_alloc(), whether touched or not. */
static _Atomic uint64_t promised;

/* The files of all areas. The lock is for set-up only: areas come and go on several threads. */
static struct {
	pthread_mutex_t lock;
	int *fds;
	unsigned int n;
} area_files = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* The number behind `key` at the beginning of a line: "MemAvailable:  123 kB" and "file 123". */
static uint64_t number_in_file(const char *path, const char *key)
{
	size_t key_len = strlen(key);
	char line[256];
	uint64_t value = 0;
	FILE *file = fopen(path, "re");

	if (file == NULL) {
		return 0;
	}
	while (fgets(line, sizeof(line), file) != NULL) {
		if (strncmp(line, key, key_len) == 0) {
			value = strtoull(line + key_len, NULL, 10);
			break;
		}
	}
	fclose(file);
	return value;
}

/* One control group's names for the same things. */
struct cgroup_version {
	const char *base;
	const char *limit;
	const char *usage;
	const char *cache[2];
};

static const struct cgroup_version cgroup_v1 = {
	.base = "/sys/fs/cgroup/memory",
	.limit = "memory.limit_in_bytes",
	.usage = "memory.usage_in_bytes",
	.cache = { "total_inactive_file ", "total_active_file " },
};

static const struct cgroup_version cgroup_v2 = {
	.base = "/sys/fs/cgroup",
	.limit = "memory.max",
	.usage = "memory.current",
	.cache = { "inactive_file ", "active_file " },
};

static uint64_t cgroup_number(const char *dir, const char *name, const char *key)
{
	char path[2 * ENV_PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return number_in_file(path, key);
}

/* What is left in one group. Page cache counts as used there but is given up when needed. */
static uint64_t cgroup_left(const struct cgroup_version *v, const char *dir)
{
	uint64_t limit = cgroup_number(dir, v->limit, ""); /* "max" reads as 0 */
	uint64_t usage = cgroup_number(dir, v->usage, "");
	uint64_t cache = cgroup_number(dir, "memory.stat", v->cache[0]) +
			 cgroup_number(dir, "memory.stat", v->cache[1]);

	if (limit == 0 || limit >= NO_LIMIT) {
		return UINT64_MAX;
	}
	usage = usage > cache ? usage - cache : 0;
	return limit > usage ? limit - usage : 0;
}

/* The least that is left in the group and all groups above it. */
static uint64_t cgroup_available(const char *root, const struct cgroup_version *v,
				 const char *group)
{
	char dir[ENV_PATH_MAX];
	uint64_t least = UINT64_MAX;
	size_t base_len;
	int n = snprintf(dir, sizeof(dir), "%s%s", root, v->base);

	if (n < 0 || (size_t)n + strlen(group) >= sizeof(dir)) {
		return UINT64_MAX;
	}
	base_len = (size_t)n;
	strcpy(dir + base_len, group);
	for (;;) {
		uint64_t left = cgroup_left(v, dir);
		char *slash;

		least = left < least ? left : least;
		slash = strrchr(dir, '/');
		if (strlen(dir) <= base_len || slash < dir + base_len) {
			return least;
		}
		*slash = '\0';
	}
}

uint64_t env_available_under(const char *root)
{
	char path[ENV_PATH_MAX];
	char line[ENV_PATH_MAX];
	uint64_t available;
	FILE *file;

	snprintf(path, sizeof(path), "%s/proc/meminfo", root);
	available = number_in_file(path, "MemAvailable:") * 1024;

	/* Lines "<id>:<controllers>:<path>"; version 2 is the line without controllers. */
	snprintf(path, sizeof(path), "%s/proc/self/cgroup", root);
	file = fopen(path, "re");
	if (file == NULL) {
		return available;
	}
	while (fgets(line, sizeof(line), file) != NULL) {
		char *controllers = strchr(line, ':');
		char *group = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
		const struct cgroup_version *v;
		uint64_t left;

		if (group == NULL) {
			continue;
		}
		*group++ = '\0';
		group[strcspn(group, "\n")] = '\0';
		if (controllers[1] == '\0') {
			v = &cgroup_v2;
		} else if (strcmp(controllers + 1, "memory") == 0) {
			v = &cgroup_v1;
		} else {
			continue;
		}
		left = cgroup_available(root, v, group);
		available = left < available ? left : available;
	}
	fclose(file);
	return available;
}

uint64_t env_free_hugepages(const char *root)
{
	char dir[ENV_PATH_MAX];
	char path[2 * ENV_PATH_MAX];
	struct dirent *entry;
	uint64_t total = 0;
	DIR *sizes;

	snprintf(dir, sizeof(dir), "%s/sys/kernel/mm/hugepages", root);
	sizes = opendir(dir);
	if (sizes == NULL) {
		return 0;
	}
	while ((entry = readdir(sizes)) != NULL) {
		unsigned long long page_kib;

		if (sscanf(entry->d_name, "hugepages-%llukB", &page_kib) != 1) {
			continue;
		}
		snprintf(path, sizeof(path), "%s/%s/free_hugepages", dir, entry->d_name);
		total += number_in_file(path, "") * page_kib * 1024;
	}
	closedir(sizes);
	return total;
}

/* Private memory this process has touched, from "size resident shared ..." in pages. */
static uint64_t private_bytes(void)
{
	unsigned long long resident = 0, shared = 0;
	FILE *file = fopen("/proc/self/statm", "re");

	if (file == NULL) {
		return 0;
	}
	if (fscanf(file, "%*u %llu %llu", &resident, &shared) != 2 || shared > resident) {
		resident = shared = 0;
	}
	fclose(file);
	return (resident - shared) * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Pages that areas have, which are shared memory: whoever touched them. */
static uint64_t area_bytes(void)
{
	uint64_t blocks = 0;
	struct stat st;

	pthread_mutex_lock(&area_files.lock);
	for (unsigned int i = 0; i < area_files.n; i++) {
		blocks += fstat(area_files.fds[i], &st) == 0 ? (uint64_t)st.st_blocks : 0;
	}
	pthread_mutex_unlock(&area_files.lock);
	return blocks * STAT_BLOCK;
}

/*
 * Pages appear when touched, so the memory that is available now may be promised already. What we
 * could have in all is what is left plus what we touched; the promises must fit into that.
 */
uint64_t env_memory_available(void)
{
	uint64_t available = env_available_under("");
	uint64_t taken = atomic_load(&promised);
	uint64_t all;

	if (available == 0) {
		return 0;
	}
	all = available + private_bytes() + area_bytes();
	all = all > taken ? all - taken : 0;
	return all < available ? all : available;
}

/* A wish, not a condition: the kernel takes other nodes when this one is full. */
static int prefer_node(void *ptr, size_t size, int node)
{
	unsigned long mask[MAX_NODES / (8 * sizeof(unsigned long))] = { 0 };
	const size_t bits = 8 * sizeof(mask[0]);

	if (node >= MAX_NODES) {
		return -EINVAL;
	}
	mask[(size_t)node / bits] = 1ul << ((size_t)node % bits);
	if (syscall(SYS_mbind, ptr, size, MPOL_PREFERRED, mask, MAX_NODES + 1, 0) != 0 &&
	    errno == EINVAL) {
		return -EINVAL; /* no such node; anything else (no NUMA, a container) does not matter */
	}
	return 0;
}

/* Maps a file, or (-1) anonymous memory, at a multiple of the huge page size. MAP_FAILED: there are not so
 * many addresses. */
static void *map_aligned(int fd, size_t size)
{
	const int anonymous = MAP_PRIVATE | MAP_ANONYMOUS;
	void *where;
	size_t head;
	char *ptr;

	ptr = mmap(NULL, size + HUGE_PAGE, PROT_NONE, anonymous | MAP_NORESERVE, -1, 0);
	if (ptr == MAP_FAILED) {
		return MAP_FAILED;
	}
	head = (HUGE_PAGE - (uintptr_t)ptr % HUGE_PAGE) % HUGE_PAGE;
	if (head > 0) {
		munmap(ptr, head);
	}
	munmap(ptr + head + size, HUGE_PAGE - head);
	where = mmap(ptr + head, size, PROT_READ | PROT_WRITE,
		     MAP_FIXED | MAP_NORESERVE | (fd >= 0 ? MAP_SHARED : anonymous), fd, 0);
	if (where == MAP_FAILED) {
		munmap(ptr + head, size);
	}
	return where;
}

static int prepare(void *ptr, size_t size, int numa_node)
{
	int rc = numa_node >= 0 ? prefer_node(ptr, size, numa_node) : 0;

	if (rc == 0) {
		/* Both are hints: fewer page faults, and no guest data in a core file. */
		(void)madvise(ptr, size, MADV_HUGEPAGE);
		(void)madvise(ptr, size, MADV_DONTDUMP);
	}
	return rc;
}

/* Is there memory for so much more, and room for it and its alignment in a size_t? */
static bool is_possible(size_t size)
{
	uint64_t end;

	return checked_add(size, 2 * HUGE_PAGE, &end) && size <= env_memory_available();
}

static size_t round_to_pages(size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (size + page - 1) / page * page;
}

static int remember_file(int fd)
{
	int rc = -ENOMEM;
	int *grown;

	pthread_mutex_lock(&area_files.lock);
	grown = reallocarray(area_files.fds, area_files.n + 1, sizeof(*grown));
	if (grown != NULL) {
		area_files.fds = grown;
		grown[area_files.n++] = fd;
		rc = 0;
	}
	pthread_mutex_unlock(&area_files.lock);
	return rc;
}

static void forget_file(int fd)
{
	unsigned int i;

	pthread_mutex_lock(&area_files.lock);
	for (i = 0; i < area_files.n && area_files.fds[i] != fd; i++) {
	}
	if (i < area_files.n) {
		area_files.fds[i] = area_files.fds[--area_files.n];
	}
	if (area_files.n == 0) {
		free(area_files.fds);
		area_files.fds = NULL;
	}
	pthread_mutex_unlock(&area_files.lock);
}

/* Maps area->fd, which has the size already. */
static int area_map(struct env_area *area)
{
	size_t len = round_to_pages(area->size);
	uint64_t end;
	int rc;

	area->room = area->room > len && checked_add(area->room, 2 * HUGE_PAGE, &end) ?
			     round_to_pages(area->room) :
			     len;
	area->ptr = map_aligned(area->fd, area->room);
	if (area->ptr == MAP_FAILED && area->room > len) {
		area->room = len;
		area->ptr = map_aligned(area->fd, area->room);
	}
	if (area->ptr == MAP_FAILED) {
		return -ENOMEM;
	}
	rc = prepare(area->ptr, area->room, area->numa_node);
	rc = rc == 0 ? remember_file(area->fd) : rc;
	if (rc != 0) {
		munmap(area->ptr, area->room);
		return rc;
	}
	atomic_fetch_add(&promised, len);
	return 0;
}

int env_area_alloc(struct env_area *ret_area, size_t size, size_t room, int numa_node)
{
	struct env_area area = { .size = size, .room = room, .numa_node = numa_node };
	int rc;

	if (size == 0) {
		return -EINVAL;
	}
	if (!is_possible(size)) {
		return -ENOMEM;
	}
	area.fd = memfd_create("vhost-area", MFD_CLOEXEC);
	if (area.fd < 0) {
		return -errno;
	}
	rc = ftruncate(area.fd, (off_t)size) < 0 ? -errno : area_map(&area);
	if (rc != 0) {
		fd_close(&area.fd);
		return rc;
	}
	*ret_area = area;
	return 0;
}

int env_area_adopt(struct env_area *ret_area, int fd, size_t room, int numa_node)
{
	struct env_area area = { .fd = fd, .room = room, .numa_node = numa_node };
	struct stat st;
	int rc;

	if (!fd_is_shared_memory(fd) || fstat(fd, &st) < 0 || st.st_size <= 0) {
		return -EINVAL;
	}
	area.size = (size_t)st.st_size;
	rc = area_map(&area);
	if (rc == 0) {
		*ret_area = area;
	}
	return rc;
}

/* The file has what the area has: pages beyond its end are gone, and come back as zeroes. */
int env_area_resize(struct env_area *area, size_t size)
{
	size_t old_len = round_to_pages(area->size);
	size_t len = round_to_pages(size);

	if (size == 0) {
		return -EINVAL;
	}
	if (size > area->room) {
		return -ENOSPC;
	}
	if (len > old_len && len - old_len > env_memory_available()) {
		return -ENOMEM;
	}
	if (ftruncate(area->fd, (off_t)size) < 0) {
		return -errno;
	}
	atomic_fetch_add(&promised, len - old_len); /* wraps when it is less, and that is right */
	area->size = size;
	return 0;
}

void env_area_clear(struct env_area *area, size_t offset, size_t len)
{
	if (fallocate(area->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
		      (off_t)len) < 0) {
		memset(area->ptr + offset, 0, len);
	}
}

void env_area_free(struct env_area *area)
{
	if (area->ptr != NULL) {
		forget_file(area->fd);
		munmap(area->ptr, area->room);
		fd_close(&area->fd);
		atomic_fetch_sub(&promised, round_to_pages(area->size));
		*area = (struct env_area){ 0 };
	}
}

/* What need not outlive the process is anonymous memory. */
int env_big_alloc(size_t size, int numa_node, void **ret_ptr)
{
	size_t len;
	void *ptr;
	int rc;

	if (size == 0) {
		return -EINVAL;
	}
	if (!is_possible(size)) {
		return -ENOMEM;
	}
	len = round_to_pages(size);
	ptr = map_aligned(-1, len);
	if (ptr == MAP_FAILED) {
		return -ENOMEM;
	}
	rc = prepare(ptr, len, numa_node);
	if (rc != 0) {
		munmap(ptr, len);
		return rc;
	}
	atomic_fetch_add(&promised, len);
	*ret_ptr = ptr;
	return 0;
}

void env_big_free(void *ptr, size_t size)
{
	if (ptr != NULL) {
		munmap(ptr, round_to_pages(size));
		atomic_fetch_sub(&promised, round_to_pages(size));
	}
}

void *env_heap_zalloc(size_t size, size_t align)
{
	void *ptr;

	align = align < ENV_CACHE_LINE ? ENV_CACHE_LINE : align;
	if (posix_memalign(&ptr, align, size) != 0) {
		return NULL;
	}
	return memset(ptr, 0, size);
}
