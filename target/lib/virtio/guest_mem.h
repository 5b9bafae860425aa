/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts
 *   region      a piece of guest memory that the front-end shared as a file descriptor.
 *   snapshot    (struct guest_mem) an immutable, reference-counted set of mapped regions. A change of
 *               the memory table makes a new snapshot, which shares the mappings of the regions that
 *               stay; a mapping ends with the last snapshot that has it.
 *   translator  the only way from a guest address to a pointer (rule R3): guest_mem_translate(), and
 *               guest_mem_translate_known() for what lies in one region.
 *
 * Guest memory may change under us at any instant, and the file behind it may be cut short: a SIGBUS
 * inside a mapping replaces it by zero pages and marks all snapshots that came from one another as
 * lost (rule R9).
 * Threads: a snapshot may be read by any; reference counting is atomic.
 */
#ifndef VHT_VIRTIO_GUEST_MEM_H
#define VHT_VIRTIO_GUEST_MEM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/cleanup.h"
#include "base/likely.h"

/* vhost-user front-ends are told so: GET_MAX_MEM_SLOTS. */
#define GUEST_MEM_MAX_REGIONS 512
/* All regions of a snapshot together: a sparse file must not eat up the address space of the process,
 * which all sessions share (128 TiB on x86-64). */
#define GUEST_MEM_MAX_BYTES (UINT64_C(1) << 44)

struct guest_mem_region {
	uint64_t gpa;  /* guest physical address */
	uint64_t size; /* bytes */
	uint64_t uva;  /* the front-end's own address of it: ring addresses are given in these */
	uint64_t fd_offset; /* where the region starts in fd */
	int fd;		    /* borrowed: a mapping has its own */
};

struct guest_mem;

/*
 * Maps all regions. -EINVAL: none, too many, too large, empty, overflowing, overlapping in guest or
 * front-end addresses, beyond the end of its file, or fd not a regular file; -ENOSPC: the process has
 * too many mappings (virtio/mem_fault.h); or mmap(2)'s errno.
 */
int guest_mem_new(const struct guest_mem_region *regions, unsigned int region_n,
		  struct guest_mem **ret_mem);
/* mem (NULL: nothing) and one more region. Fails as guest_mem_new() does. */
int guest_mem_with(const struct guest_mem *mem, const struct guest_mem_region *region,
		   struct guest_mem **ret_mem);
/* mem without its region of this gpa, size and uva; NULL if that was the last. -ENOENT: no such region. */
int guest_mem_without(const struct guest_mem *mem, const struct guest_mem_region *region,
		      struct guest_mem **ret_mem);
/* The regions of mem, ascending gpa; the descriptor stays its own. */
unsigned int guest_mem_region_n(const struct guest_mem *mem);
void guest_mem_get_region(const struct guest_mem *mem, unsigned int index,
			  struct guest_mem_region *ret_region);
struct guest_mem *guest_mem_ref(struct guest_mem *mem);
void guest_mem_unref(struct guest_mem *mem); /* NULL is fine */
DEFINE_CLEANUP(struct guest_mem *, guest_mem_unref)

/*
 * Appends the pieces of [gpa, gpa + len) to iov, of which *iov_n of iov_max elements are in use.
 * Pieces that are contiguous here are merged with the element before them if it ends there.
 * -EFAULT: some byte is not guest memory. -E2BIG: more pieces than room. len 0 appends nothing.
 * On failure *iov_n is unchanged.
 */
int guest_mem_translate(const struct guest_mem *mem, uint64_t gpa, uint64_t len, struct iovec *iov,
			unsigned int iov_max, unsigned int *iov_n);

/*
 * The two regions that a user of a snapshot hit last: with them the translator needs a few instructions
 * for nearly every address (guests below 3 GiB have one region, others two that matter). Zeroed:
 * empty. Owner: whoever translates; never kept beyond the snapshot.
 */
struct guest_mem_cache {
	/* private: */
	struct {
		uint64_t gpa;
		uint64_t size;
		uint8_t *host; /* of gpa */
	} hit[2];
};

/*
 * The translator for the common case: [gpa, gpa + len) is not empty and lies in one region that the cache
 * knows. False: it is not so, *ret_ptr is untouched; guest_mem_translate() knows all regions.
 */
static inline bool guest_mem_translate_known(const struct guest_mem_cache *cache, uint64_t gpa,
					     uint64_t len, void **ret_ptr)
{
	uint64_t offset = gpa - cache->hit[0].gpa;
	uint64_t end = offset + len;

	/* Below the region the offset wraps to a number that no size reaches. Either the end is as
	 * large, or it has wrapped again, or the length is 0: then it is not behind the offset. */
	if (likely(end <= cache->hit[0].size && offset < end)) {
		*ret_ptr = cache->hit[0].host + offset;
		return true;
	}
	offset = gpa - cache->hit[1].gpa;
	end = offset + len;
	if (end <= cache->hit[1].size && offset < end) {
		*ret_ptr = cache->hit[1].host + offset;
		return true;
	}
	return false;
}

/* Looks for the region that [gpa, gpa + len) lies in; if there is one, the cache has it from now on. */
void guest_mem_learn(const struct guest_mem *mem, struct guest_mem_cache *cache, uint64_t gpa,
		     uint64_t len);

/* The guest address behind the last byte. */
uint64_t guest_mem_end(const struct guest_mem *mem);

/* The pointer to [uva, uva + len), front-end addresses, which must lie in one region and be aligned
 * to `align`; NULL otherwise. For rings only. */
void *guest_mem_ring_ptr(const struct guest_mem *mem, uint64_t uva, uint64_t len, uint64_t align);

/* The way back, for the dirty log: the guest address of a byte that the translator gave, and how many bytes its
 * region has from there on. False: it is not in this snapshot. */
bool guest_mem_address(const struct guest_mem *mem, const void *host, uint64_t *ret_gpa,
		       uint64_t *ret_left);

/* Has a mapping of this snapshot, or of one it came from, been lost to SIGBUS? A relaxed load. */
bool guest_mem_is_lost(const struct guest_mem *mem);
/* Installs the SIGBUS handler; once, by the program, before the first session. */
int guest_mem_install_sigbus_handler(void);

#endif
