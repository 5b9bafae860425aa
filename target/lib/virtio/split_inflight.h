/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: which requests of a split ring have been fetched and not published (vhost-user, "Inflight I/O
 * tracking"), so that whoever serves the ring after us, be it after our death, does all of them, none
 * twice, in the order in which they were fetched.
 *
 * The rule that holds after every single store: the heads that are marked are exactly those of the available
 * ring from used->idx on that the next owner does not find by itself when it begins at used->idx + the
 * number of marked heads. While a batch is being published, its heads are those of the list from
 * last_batch_head on, used->idx - used_idx of them, and do not count as marked.
 *
 * What must be ordered, and against what. The next owner maps the same memory, so only the order of our own
 * stores counts, as the compiler left it (x86 keeps it); each point says which accesses it is about.
 *   fetch    counter before mark; all marks of a batch before any effect of its requests
 *   publish  the list before used->idx; used->idx before the marks are taken away; those before used_idx
 *
 * Owner: the reactor of the queue; made and freed by the control thread.
 */
#ifndef VHT_VIRTIO_SPLIT_INFLIGHT_H
#define VHT_VIRTIO_SPLIT_INFLIGHT_H

#include "virtio/inflight.h"
#include "virtio/ring.h"

/* "DescStateSplit" */
struct inflight_split_desc {
	uint8_t inflight;
	uint8_t padding[5];
	uint16_t next;
	uint64_t counter;
};

/* "QueueRegionSplit" */
struct inflight_split_region {
	uint64_t features;
	uint16_t version;
	uint16_t desc_num;
	uint16_t last_batch_head;
	uint16_t used_idx;
	struct inflight_split_desc desc[];
};

struct split_inflight {
	struct inflight_area *area;
	struct inflight_split_region *region; /* shared: written, never read */
	uint64_t counter;
	uint16_t last_batch_head;
	/* The heads that were marked when the ring started, as they were fetched; those from `next` on wait
	 * to be popped (again). */
	uint16_t *resubmit;
	unsigned int resubmit_n;
	unsigned int resubmit_next;
	bool abandoned; /* the front-end may have handed the area to a successor: nothing is written */
};

/*
 * Takes the region of a queue over. used_idx: what the ring says. -EINVAL: the area has no room for the queue;
 * -ENOMEM. *ret_why is set if what was found there cannot be: the ring is broken, and nothing is resubmitted.
 */
int split_inflight_new(const struct virtq_config *config, uint16_t used_idx,
		       struct split_inflight **ret_inflight, const char **ret_why);
void split_inflight_free(struct split_inflight *inflight); /* NULL is fine */

static inline unsigned int split_inflight_waiting(const struct split_inflight *inflight)
{
	return inflight->resubmit_n - inflight->resubmit_next;
}

/* These were fetched from the available ring, in this order. */
static inline void split_inflight_fetched(struct split_inflight *inflight, struct virtq_req **reqs,
					  unsigned int n)
{
	struct inflight_split_desc *desc = inflight->region->desc;
	uint64_t counter = inflight->counter;
	unsigned int i;

	for (i = 0; i < n; i++) {
		struct virtq_req *req = reqs[i];
		struct inflight_split_desc *entry = &desc[req->head];

		__atomic_store_n(&entry->counter, counter++, __ATOMIC_RELAXED);
		/* Release: the counter of this head and the marks before it are stored before its mark. */
		__atomic_store_n(&entry->inflight, 1, __ATOMIC_RELEASE);
		req->resubmitted = false;
	}
	inflight->counter = counter;
	/* The marks are stored before whatever the device does next. */
	atomic_signal_fence(memory_order_seq_cst);
}

/* It goes back to the available ring, of which it was the last to be fetched. */
static inline void split_inflight_unfetched(struct split_inflight *inflight, uint16_t head)
{
	if (!inflight->abandoned) {
		__atomic_store_n(&inflight->region->desc[head].inflight, 0, __ATOMIC_RELEASE);
	}
}

/* Before used->idx is stored, with release: that orders the list before it. */
static inline void split_inflight_link(struct split_inflight *inflight,
				       const struct virtq_staged *staged, unsigned int n)
{
	struct inflight_split_desc *desc = inflight->region->desc;
	uint16_t last = inflight->last_batch_head;
	unsigned int i;

	for (i = 0; i < n; i++) {
		uint16_t head = (uint16_t)staged[i].head;

		__atomic_store_n(&desc[head].next, last, __ATOMIC_RELAXED);
		last = head;
	}
	inflight->last_batch_head = last;
	__atomic_store_n(&inflight->region->last_batch_head, last, __ATOMIC_RELAXED);
}

/* After used->idx was stored. */
static inline void split_inflight_published(struct split_inflight *inflight,
					    const struct virtq_staged *staged, unsigned int n,
					    uint16_t used_idx)
{
	struct inflight_split_desc *desc = inflight->region->desc;
	unsigned int i;

	/* Release: used->idx is stored before the marks go. */
	atomic_thread_fence(memory_order_release);
	for (i = 0; i < n; i++) {
		__atomic_store_n(&desc[staged[i].head].inflight, 0, __ATOMIC_RELAXED);
	}
	/* Release: the marks are gone before used_idx says so. */
	__atomic_store_n(&inflight->region->used_idx, used_idx, __ATOMIC_RELEASE);
}

#endif
