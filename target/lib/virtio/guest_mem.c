/* SPDX-License-Identifier: BSD-3-Clause */
#include "virtio/guest_mem.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/fd.h"
#include "virtio/mem_fault.h"

/* Snapshots that came from one another by guest_mem_with() and guest_mem_without(). */
struct lineage {
	atomic_uint refs;
	atomic_bool lost;
};

/* Shared by all snapshots that have the region. */
struct mapping {
	atomic_uint refs;
	int fault_slot;
	int fd;	   /* our own, for whoever takes the memory over */
	void *map; /* starts on a page of the file, not always where the region does */
	size_t len;
};

struct region {
	uint64_t gpa;
	uint64_t size;
	uint8_t *host; /* of gpa */
	/* For rings and changes of the table only. */
	uint64_t uva;
	uint64_t fd_offset;
	struct mapping *mapping;
};

struct guest_mem {
	atomic_uint refs;
	struct lineage *lineage;
	unsigned int region_n;
	struct region regions[]; /* ascending gpa */
};

/* ---- reference counts: any thread ---- */

static void ref(atomic_uint *refs)
{
	atomic_fetch_add_explicit(refs, 1, memory_order_relaxed);
}

/* True: that was the last one. */
static bool unref(atomic_uint *refs)
{
	/* Release: our uses come before the end of it; acquire: so do those of all other users. */
	return atomic_fetch_sub_explicit(refs, 1, memory_order_acq_rel) == 1;
}

static void mapping_unref(struct mapping *mapping)
{
	if (unref(&mapping->refs)) {
		mem_fault_unwatch(mapping->fault_slot);
		munmap(mapping->map, mapping->len);
		fd_close(&mapping->fd);
		free(mapping);
	}
}

struct guest_mem *guest_mem_ref(struct guest_mem *mem)
{
	ref(&mem->refs);
	return mem;
}

void guest_mem_unref(struct guest_mem *mem)
{
	unsigned int i;

	if (!mem || !unref(&mem->refs)) {
		return;
	}
	/* The lineage goes last: a fault in a mapping is noted there. */
	for (i = 0; i < mem->region_n; i++) {
		mapping_unref(mem->regions[i].mapping);
	}
	if (unref(&mem->lineage->refs)) {
		free(mem->lineage);
	}
	free(mem);
}

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
		    !checked_add(r->uva, r->size, &end)) {
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
		      struct region *ret_region)
{
	CLEANUP(freep) struct mapping *mapping = calloc(1, sizeof(*mapping));
	struct stat st;
	uint64_t unit;
	uint64_t skip;

	if (!mapping) {
		return -ENOMEM;
	}
	atomic_init(&mapping->refs, 1);
	if (fstat(in->fd, &st) < 0) {
		return -errno;
	}
	if (!S_ISREG(st.st_mode) || !range_inside(in->fd_offset, in->size, (uint64_t)st.st_size)) {
		return -EINVAL;
	}
	unit = map_unit(&st);
	skip = in->fd_offset & (unit - 1);
	/* Whole units: munmap(2) of hugepages wants that. No overflow: both are below 2^63. */
	mapping->len = (skip + in->size + unit - 1) & ~(unit - 1);
	mapping->map = mmap(NULL, mapping->len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
			    in->fd, (off_t)(in->fd_offset - skip));
	if (mapping->map == MAP_FAILED) {
		return -errno;
	}
	mapping->fault_slot = mem_fault_watch(mapping->map, mapping->len, lost);
	if (mapping->fault_slot < 0) {
		munmap(mapping->map, mapping->len);
		return mapping->fault_slot;
	}
	mapping->fd = fcntl(in->fd, F_DUPFD_CLOEXEC, 0);
	if (mapping->fd < 0) {
		int r = -errno;

		mem_fault_unwatch(mapping->fault_slot);
		munmap(mapping->map, mapping->len);
		return r;
	}
	/* Guest memory has no place in a core file; advice that is not taken does no harm. */
	madvise(mapping->map, mapping->len, MADV_DONTDUMP);
	*ret_region = (struct region){
		.gpa = in->gpa,
		.size = in->size,
		.host = (uint8_t *)mapping->map + skip,
		.uva = in->uva,
		.fd_offset = in->fd_offset,
	};
	ret_region->mapping = STEAL(mapping);
	return 0;
}

/* A snapshot without regions and room for some. base: whose lineage it continues, NULL: none. */
static struct guest_mem *snapshot_new(const struct guest_mem *base, unsigned int region_max)
{
	struct guest_mem *mem = calloc(1, sizeof(*mem) + region_max * sizeof(mem->regions[0]));

	if (!mem) {
		return NULL;
	}
	atomic_init(&mem->refs, 1);
	if (base) {
		mem->lineage = base->lineage;
		ref(&mem->lineage->refs);
		return mem;
	}
	mem->lineage = calloc(1, sizeof(*mem->lineage));
	if (!mem->lineage) {
		free(mem);
		return NULL;
	}
	atomic_init(&mem->lineage->refs, 1);
	return mem;
}

static void snapshot_share(struct guest_mem *mem, const struct region *region)
{
	ref(&region->mapping->refs);
	mem->regions[mem->region_n++] = *region;
}

/* The regions of base (may be NULL), which are shared, and others, which are mapped. */
static int snapshot_build(const struct guest_mem *base, const struct guest_mem_region *added,
			  unsigned int added_n, struct guest_mem **ret_mem)
{
	CLEANUP(freep) struct guest_mem_region *all = NULL;
	CLEANUP(guest_mem_unrefp) struct guest_mem *mem = NULL;
	unsigned int base_n = base ? base->region_n : 0;
	unsigned int n = base_n + added_n;
	unsigned int shared = 0;
	unsigned int i;
	int r;

	if (added_n == 0 || added_n > GUEST_MEM_MAX_REGIONS || n > GUEST_MEM_MAX_REGIONS) {
		return -EINVAL;
	}
	all = calloc(n, sizeof(*all));
	mem = snapshot_new(base, n);
	if (!all || !mem) {
		return -ENOMEM;
	}
	for (i = 0; i < base_n; i++) {
		all[i] = (struct guest_mem_region){
			.gpa = base->regions[i].gpa,
			.size = base->regions[i].size,
			.uva = base->regions[i].uva,
			.fd = -1,
		};
	}
	for (i = 0; i < added_n; i++) {
		all[base_n + i] = added[i];
	}
	r = check_layout(all, n);
	for (i = 0; i < n && r == 0; i++) {
		/* Both are sorted, and no two regions begin at the same address. */
		if (shared < base_n && base->regions[shared].gpa == all[i].gpa) {
			snapshot_share(mem, &base->regions[shared++]);
			continue;
		}
		r = region_map(&all[i], &mem->lineage->lost, &mem->regions[i]);
		if (r == 0) {
			mem->region_n++;
		}
	}
	if (r < 0) {
		return r;
	}
	*ret_mem = STEAL(mem);
	return 0;
}

int guest_mem_new(const struct guest_mem_region *regions, unsigned int region_n,
		  struct guest_mem **ret_mem)
{
	return snapshot_build(NULL, regions, region_n, ret_mem);
}

int guest_mem_with(const struct guest_mem *mem, const struct guest_mem_region *region,
		   struct guest_mem **ret_mem)
{
	return snapshot_build(mem, region, 1, ret_mem);
}

int guest_mem_without(const struct guest_mem *mem, const struct guest_mem_region *region,
		      struct guest_mem **ret_mem)
{
	struct guest_mem *rest;
	unsigned int at;
	unsigned int i;

	for (at = 0; at < mem->region_n; at++) {
		const struct region *r = &mem->regions[at];

		if (r->gpa == region->gpa && r->size == region->size && r->uva == region->uva) {
			break;
		}
	}
	if (at == mem->region_n) {
		return -ENOENT;
	}
	if (mem->region_n == 1) {
		*ret_mem = NULL;
		return 0;
	}
	rest = snapshot_new(mem, mem->region_n - 1);
	if (!rest) {
		return -ENOMEM;
	}
	for (i = 0; i < mem->region_n; i++) {
		if (i != at) {
			snapshot_share(rest, &mem->regions[i]);
		}
	}
	*ret_mem = rest;
	return 0;
}

unsigned int guest_mem_region_n(const struct guest_mem *mem)
{
	return mem->region_n;
}

void guest_mem_get_region(const struct guest_mem *mem, unsigned int index,
			  struct guest_mem_region *ret_region)
{
	const struct region *region = &mem->regions[index];

	*ret_region = (struct guest_mem_region){
		.gpa = region->gpa,
		.size = region->size,
		.uva = region->uva,
		.fd_offset = region->fd_offset,
		.fd = region->mapping->fd,
	};
}

/* ---- the translator: any thread ---- */

/* The region that holds gpa, or NULL. Most guests have one to three. */
static inline const struct region *region_find(const struct guest_mem *mem, uint64_t gpa)
{
	unsigned int low = 0;
	unsigned int high = mem->region_n;

	while (low < high) {
		unsigned int middle = (low + high) / 2;
		const struct region *region = &mem->regions[middle];

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
	const struct region *end = mem->regions + mem->region_n;
	const struct region *region;
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
	const struct region *region = region_find(mem, gpa);
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

uint64_t guest_mem_end(const struct guest_mem *mem)
{
	const struct region *last = &mem->regions[mem->region_n - 1];

	return last->gpa + last->size;
}

void *guest_mem_ring_ptr(const struct guest_mem *mem, uint64_t uva, uint64_t len, uint64_t align)
{
	unsigned int i;

	for (i = 0; i < mem->region_n; i++) {
		const struct region *region = &mem->regions[i];
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

bool guest_mem_address(const struct guest_mem *mem, const void *host, uint64_t *ret_gpa,
		       uint64_t *ret_left)
{
	unsigned int i;

	for (i = 0; i < mem->region_n; i++) {
		const struct region *region = &mem->regions[i];
		/* Below the region it wraps to a number that no size reaches. */
		uint64_t offset = (uintptr_t)host - (uintptr_t)region->host;

		if (offset < region->size) {
			*ret_gpa = region->gpa + offset;
			*ret_left = region->size - offset;
			return true;
		}
	}
	return false;
}

bool guest_mem_is_lost(const struct guest_mem *mem)
{
	return atomic_load_explicit(&mem->lineage->lost, memory_order_relaxed);
}
