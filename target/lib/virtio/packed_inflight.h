/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: which requests of a packed ring have been fetched and not published (vhost-user, "Inflight I/O
 * tracking"), so that whoever serves the ring after us, be it after our death, does all of them, none twice,
 * in the order in which they were fetched.
 *   entry      room for one descriptor: a used descriptor overwrites one of the ring, so those of the ring are
 *              copied. A request takes one for each of its descriptors, linked from its head to its last.
 *   free list  the other entries. An entry on it is not in flight, whatever its mark says.
 *   old, new   each position and the head of the free list is there twice: as it was before a batch is being
 *              published, and as it will be then. The flags in the ring decide which of them is true.
 *
 * The rule that holds after every single store: what is in flight are the marked entries that are not on the
 * (old or new) free list. Their descriptors lie in the ring from the (old or new) used position on, one
 * behind the other, and the next one to fetch behind all of them.
 *
 * What must be ordered, and against what. The next owner maps the same memory, so only the order of our own
 * stores counts, as the compiler left it (x86 keeps it); each point says which accesses it is about.
 *   fetch    entries before the free list that lacks them; that before any effect of their requests
 *   publish  new free list, then new position, before the flags in the ring; those before the marks are taken
 *            away; those before the old free list becomes the new one; that before the old position does
 * Fields that change together are one store.
 *
 * Owner: the reactor of the queue; made and freed by the control thread.
 */
#ifndef VHT_VIRTIO_PACKED_INFLIGHT_H
#define VHT_VIRTIO_PACKED_INFLIGHT_H

#include "virtio/inflight.h"
#include "virtio/packed_ring.h"

/* "DescStatePacked" */
struct inflight_packed_desc {
	uint8_t inflight;
	uint8_t padding;
	uint16_t next;
	uint16_t last;
	uint16_t num;
	uint64_t counter;
	uint16_t id;
	uint16_t flags;
	uint32_t len;
	uint64_t addr;
};

/* "QueueRegionPacked" */
struct inflight_packed_region {
	uint64_t features;
	uint16_t version;
	uint16_t desc_num;
	union {
		struct {
			uint16_t free_head;
			uint16_t old_free_head;
		};
		uint32_t free_heads;
	};
	union {
		struct {
			uint16_t used_idx;
			uint16_t old_used_idx;
			uint8_t used_wrap_counter;
			uint8_t old_used_wrap_counter;
		};
		uint64_t used;
	};
	uint64_t padding;
	struct inflight_packed_desc desc[];
};

/* The entries of a request. */
struct packed_kept {
	uint16_t head;
	uint16_t last;
};

struct packed_inflight {
	struct inflight_area *area;
	struct inflight_packed_region *region; /* shared: written, never read */
	uint64_t counter;
	uint16_t *next;		  /* by entry, as in the region */
	struct packed_kept *kept; /* by buffer id, while that is in flight */
	uint16_t free_head;
	bool abandoned; /* the front-end may have handed the area to a successor: nothing is written */
	/* The buffer ids that were in flight when the ring started, as they were fetched; those from
	 * resubmit_next on wait to be popped (again). Their descriptors are in `saved`, by entry. */
	unsigned int resubmit_n;
	unsigned int resubmit_next;
	uint16_t *resubmit;
	struct packed_words *saved;
};

/*
 * Takes the region of a queue over. `vq` has its ring, and `avail` and `used` as the front-end gave them; they
 * become those of the region, if that is not new. -EINVAL: the area has no room for the queue; -ENOMEM. *ret_why is
 * set if what was found there cannot be: the ring is broken, and nothing is resubmitted.
 */
int packed_inflight_new(struct virtq *vq, const struct virtq_config *config,
			struct packed_inflight **ret_inflight, const char **ret_why);
void packed_inflight_free(struct packed_inflight *inflight); /* NULL is fine */

static inline unsigned int packed_inflight_waiting(const struct packed_inflight *inflight)
{
	return inflight->resubmit_n - inflight->resubmit_next;
}

static inline void packed_inflight_put_free(struct packed_inflight *inflight)
{
	const struct inflight_packed_region region = {
		.free_head = inflight->free_head,
		.old_free_head = inflight->free_head,
	};

	/* Release: what became of the entries is stored before the list that has or lacks them. */
	__atomic_store_n(&inflight->region->free_heads, region.free_heads, __ATOMIC_RELEASE);
}

/* These n (not 0) were fetched from the ring, in this order, the first of them at `at`. */
void packed_inflight_fetched(struct packed_inflight *inflight, const struct packed_desc *ring,
			     unsigned int at, unsigned int size, struct virtq_req **reqs,
			     unsigned int n);

/* The entries of a buffer become the beginning of the free list that `*free_head` is the head of. */
static inline void packed_inflight_give_back(struct packed_inflight *inflight, uint16_t id,
					     uint16_t *free_head)
{
	struct packed_kept kept = inflight->kept[id];

	inflight->next[kept.last] = *free_head;
	__atomic_store_n(&inflight->region->desc[kept.last].next, *free_head, __ATOMIC_RELAXED);
	*free_head = kept.head;
}

/* It goes back to the ring, of which it was the last to be fetched. */
static inline void packed_inflight_unfetched(struct packed_inflight *inflight, uint16_t id)
{
	if (!inflight->abandoned) {
		packed_inflight_give_back(inflight, id, &inflight->free_head);
		packed_inflight_put_free(inflight);
		__atomic_store_n(&inflight->region->desc[inflight->free_head].inflight, 0,
				 __ATOMIC_RELEASE);
	}
}

static inline void packed_inflight_put_used(struct packed_inflight *inflight,
					    const struct packed_pos *old,
					    const struct packed_pos *now)
{
	const struct inflight_packed_region region = {
		.used_idx = (uint16_t)now->at,
		.old_used_idx = (uint16_t)old->at,
		.used_wrap_counter = pos_wrap(now),
		.old_used_wrap_counter = pos_wrap(old),
	};

	/* Release: the heads of the free lists are stored before the positions that belong to them. */
	__atomic_store_n(&inflight->region->used, region.used, __ATOMIC_RELEASE);
}

/* Before the used descriptors are written. Returns the used position that there will be then. */
static inline struct packed_pos
packed_inflight_publishing(struct packed_inflight *inflight, const struct virtq_staged *staged,
			   unsigned int n, const struct packed_pos *used, unsigned int size)
{
	struct packed_pos now = *used;
	uint16_t free_head = inflight->free_head;
	unsigned int descs = 0;
	unsigned int i;

	for (i = 0; i < n; i++) {
		packed_inflight_give_back(inflight, staged[i].head, &free_head);
		descs += staged[i].descs;
	}
	pos_advance(&now, descs, size);
	inflight->free_head = free_head;
	/* The new head alone: the old one stays. Release: the list before its head. */
	__atomic_store_n(&inflight->region->free_head, free_head, __ATOMIC_RELEASE);
	packed_inflight_put_used(inflight, used, &now);
	/* Release: all of that is stored before the first used descriptor. */
	atomic_thread_fence(memory_order_release);
	return now;
}

/* After the flags were stored that show them. */
static inline void packed_inflight_published(struct packed_inflight *inflight,
					     const struct virtq_staged *staged, unsigned int n,
					     const struct packed_pos *now)
{
	struct inflight_packed_desc *desc = inflight->region->desc;
	unsigned int i;

	/* Release: those flags are stored before the marks go. */
	atomic_thread_fence(memory_order_release);
	for (i = 0; i < n; i++) {
		__atomic_store_n(&desc[inflight->kept[staged[i].head].head].inflight, 0,
				 __ATOMIC_RELAXED);
	}
	packed_inflight_put_free(inflight);
	packed_inflight_put_used(inflight, now, now);
}

#endif
