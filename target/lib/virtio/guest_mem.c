/* SPDX-License-Identifier: BSD-3-Clause */
#include "virtio/guest_mem.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checked.h"
#include "virtio/mem_fault.h"

struct mapped_region {
	uint64_t gpa;
	uint64_t size;
	uint8_t *host; /* of gpa */
	/* For rings and destruction only. */
	uint64_t uva;
	void *map; /* the mapping starts on a page of the file, not always at host */
	size_t map_len;
	int fault_slot;
};

struct guest_mem {
	atomic_uint refs;
	atomic_bool lost;
	unsigned int region_n;
	struct mapped_region regions[]; /* ascending gpa */
};

/* ---- set-up: control thread ---- */

static int compare_gpa(const void *a, const void *b)
{
	const struct guest_mem_region *x = a;
	const struct guest_mem_region *y = b;

	return x->gpa < y->gpa ? -1 : x->gpa > y->gpa;
}

static int compare_uva(const void *a, const void *b)
{
	const struct guest_mem_region *x = a;
	const struct guest_mem_region *y = b;

	return x->uva < y->uva ? -1 : x->uva > y->uva;
}

/* Leaves the regions sorted by gpa. */
static int check_layout(struct guest_mem_region *regions, unsigned int n)
{
	unsigned int i;
	uint64_t total = 0;
	uint64_t end;

	for (i = 0; i < n; i++) {
		const struct guest_mem_region *r = &regions[i];

		if (r->size == 0 || !checked_add(r->gpa, r->size, &end) ||
		    !checked_add(r->uva, r->size, &end) ||
		    !checked_add(r->fd_offset, r->size, &end) || end > INT64_MAX) {
			return -EINVAL;
		}
		if (!checked_add(total, r->size, &total) || total > GUEST_MEM_MAX_BYTES) {
			return -EINVAL;
		}
	}
	qsort(regions, n, sizeof(*regions), compare_uva);
	for (i = 1; i < n; i++) {
		if (regions[i - 1].uva + regions[i - 1].size > regions[i].uva) {
			return -EINVAL;
		}
	}
	qsort(regions, n, sizeof(*regions), compare_gpa);
	for (i = 1; i < n; i++) {
		if (regions[i - 1].gpa + regions[i - 1].size > regions[i].gpa) {
			return -EINVAL;
		}
	}
	return 0;
}

/* The unit in which the file can be mapped: a hugetlbfs file says so by its block size. */
static uint64_t map_unit(const struct stat *st)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t block = (uint64_t)st->st_blksize;

	return block > page && is_power_of_two(block) ? block : page;
}

static int region_map(const struct guest_mem_region *in, atomic_bool *lost,
		      struct mapped_region *ret_region)
{
	struct stat st;
	uint64_t unit;
	uint64_t skip;
	uint64_t len;
	void *map;
	int slot;

	if (fstat(in->fd, &st) < 0) {
		return -errno;
	}
	if (!S_ISREG(st.st_mode) || !range_inside(in->fd_offset, in->size, (uint64_t)st.st_size)) {
		return -EINVAL;
	}
	unit = map_unit(&st);
	skip = in->fd_offset & (unit - 1);
	/* Whole units: munmap(2) of hugepages wants that. No overflow: both are below 2^63. */
	len = (skip + in->size + unit - 1) & ~(unit - 1);
	map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, in->fd,
		   (off_t)(in->fd_offset - skip));
	if (map == MAP_FAILED) {
		return -errno;
	}
	slot = mem_fault_watch(map, len, lost);
	if (slot < 0) {
		munmap(map, len);
		return slot;
	}
	/* Guest memory has no place in a core file; advice that is not taken does no harm. */
	madvise(map, len, MADV_DONTDUMP);
	*ret_region = (struct mapped_region){
		.gpa = in->gpa,
		.size = in->size,
		.host = (uint8_t *)map + skip,
		.uva = in->uva,
		.map = map,
		.map_len = len,
		.fault_slot = slot,
	};
	return 0;
}

int guest_mem_new(const struct guest_mem_region *regions, unsigned int region_n,
		  struct guest_mem **ret_mem)
{
	CLEANUP(freep) struct guest_mem_region *sorted = NULL;
	CLEANUP(guest_mem_unrefp) struct guest_mem *mem = NULL;
	unsigned int i;
	int r;

	if (region_n == 0 || region_n > GUEST_MEM_MAX_REGIONS) {
		return -EINVAL;
	}
	mem = calloc(1, sizeof(*mem) + region_n * sizeof(mem->regions[0]));
	if (!mem) {
		return -ENOMEM;
	}
	/* From here on leaving this function gives it back. */
	atomic_init(&mem->refs, 1);
	sorted = calloc(region_n, sizeof(*sorted));
	if (!sorted) {
		return -ENOMEM;
	}
	for (i = 0; i < region_n; i++) {
		sorted[i] = regions[i];
	}
	r = check_layout(sorted, region_n);
	if (r < 0) {
		return r;
	}
	for (i = 0; i < region_n; i++) {
		r = region_map(&sorted[i], &mem->lost, &mem->regions[i]);
		if (r < 0) {
			return r;
		}
		mem->region_n++;
	}
	*ret_mem = STEAL(mem);
	return 0;
}

struct guest_mem *guest_mem_ref(struct guest_mem *mem)
{
	atomic_fetch_add_explicit(&mem->refs, 1, memory_order_relaxed);
	return mem;
}

void guest_mem_unref(struct guest_mem *mem)
{
	unsigned int i;

	/* Release: our uses come before the unmapping; acquire: so do those of all other users. */
	if (!mem || atomic_fetch_sub_explicit(&mem->refs, 1, memory_order_acq_rel) != 1) {
		return;
	}
	for (i = 0; i < mem->region_n; i++) {
		struct mapped_region *region = &mem->regions[i];

		mem_fault_unwatch(region->fault_slot);
		munmap(region->map, region->map_len);
	}
	free(mem);
}

/* ---- the translator: any thread ---- */

/* The region that holds gpa, or NULL. Most guests have one to three. */
static inline const struct mapped_region *region_find(const struct guest_mem *mem, uint64_t gpa)
{
	unsigned int low = 0;
	unsigned int high = mem->region_n;

	while (low < high) {
		unsigned int middle = (low + high) / 2;
		const struct mapped_region *region = &mem->regions[middle];

		if (gpa < region->gpa) {
			high = middle;
		} else if (gpa - region->gpa >= region->size) {
			low = middle + 1;
		} else {
			return region;
		}
	}
	return NULL;
}

int guest_mem_translate(const struct guest_mem *mem, uint64_t gpa, uint64_t len, struct iovec *iov,
			unsigned int iov_max, unsigned int *iov_n)
{
	const struct mapped_region *end = mem->regions + mem->region_n;
	const struct mapped_region *region;
	unsigned int n = *iov_n;
	/* The last element of the caller may grow; this is its length if we fail after that. */
	size_t last_len = n > 0 ? iov[n - 1].iov_len : 0;
	int r = 0;

	if (len == 0) {
		return 0;
	}
	for (region = region_find(mem, gpa); len > 0; region++) {
		uint64_t offset;
		uint64_t piece;
		uint8_t *host;

		/* A hole: nothing at gpa, or the next region does not begin where this one ended.
		 * gpa cannot wrap: regions end below 2^64. */
		if (!region || region == end || gpa < region->gpa) {
			r = -EFAULT;
			break;
		}
		offset = gpa - region->gpa;
		piece = region->size - offset < len ? region->size - offset : len;
		host = region->host + offset;
		if (n > 0 && (uint8_t *)iov[n - 1].iov_base + iov[n - 1].iov_len == host) {
			iov[n - 1].iov_len += piece;
		} else if (n == iov_max) {
			r = -E2BIG;
			break;
		} else {
			iov[n++] = (struct iovec){ .iov_base = host, .iov_len = piece };
		}
		gpa += piece;
		len -= piece;
	}
	if (r < 0) {
		if (*iov_n > 0) {
			iov[*iov_n - 1].iov_len = last_len;
		}
		return r;
	}
	*iov_n = n;
	return 0;
}

void guest_mem_learn(const struct guest_mem *mem, struct guest_mem_cache *cache, uint64_t gpa,
		     uint64_t len)
{
	const struct mapped_region *region = region_find(mem, gpa);
	void *known;

	if (guest_mem_translate_known(cache, gpa, len, &known) || !region ||
	    !range_inside(gpa - region->gpa, len, region->size)) {
		return;
	}
	cache->hit[1] = cache->hit[0];
	cache->hit[0].gpa = region->gpa;
	cache->hit[0].size = region->size;
	cache->hit[0].host = region->host;
}

void *guest_mem_ring_ptr(const struct guest_mem *mem, uint64_t uva, uint64_t len, uint64_t align)
{
	unsigned int i;

	for (i = 0; i < mem->region_n; i++) {
		const struct mapped_region *region = &mem->regions[i];
		uint8_t *host;

		if (uva < region->uva || !range_inside(uva - region->uva, len, region->size)) {
			continue;
		}
		/* Both views: the driver's promise, and what our own loads and stores need. */
		host = region->host + (uva - region->uva);
		return ((uva | (uintptr_t)host) & (align - 1)) == 0 ? host : NULL;
	}
	return NULL;
}

bool guest_mem_is_lost(const struct guest_mem *mem)
{
	return atomic_load_explicit(&mem->lost, memory_order_relaxed);
}
