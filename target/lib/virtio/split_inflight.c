/* SPDX-License-Identifier: BSD-3-Clause */
/* What a split ring finds of its predecessor when it starts. */
#include "virtio/split_inflight.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "env/env.h"

static_assert(sizeof(struct inflight_split_desc) == 16, "vhost-user, DescStateSplit");
static_assert(sizeof(struct inflight_split_region) == 16, "vhost-user, QueueRegionSplit");

#define REGION_VERSION 1

/* A head that was in flight, and when it was fetched. */
struct fetched {
	uint64_t counter;
	uint16_t head;
};

/* What the region says, read once (rule R10). */
struct copy {
	uint16_t version;
	uint16_t desc_num;
	uint16_t last_batch_head;
	uint16_t used_idx;
	struct inflight_split_desc *desc;
};

static int by_counter(const void *a, const void *b)
{
	const struct fetched *fa = a;
	const struct fetched *fb = b;

	if (fa->counter != fb->counter) {
		return fa->counter < fb->counter ? -1 : 1;
	}
	return fa->head - fb->head;
}

static void copy_region(const struct inflight_split_region *region, uint16_t size,
			struct copy *copy)
{
	copy->version = __atomic_load_n(&region->version, __ATOMIC_ACQUIRE);
	copy->desc_num = __atomic_load_n(&region->desc_num, __ATOMIC_RELAXED);
	copy->last_batch_head = __atomic_load_n(&region->last_batch_head, __ATOMIC_RELAXED);
	copy->used_idx = __atomic_load_n(&region->used_idx, __ATOMIC_RELAXED);
	memcpy(copy->desc, region->desc, size * sizeof(copy->desc[0]));
	/* The compiler must not go back to shared memory for what was copied just now. */
	atomic_signal_fence(memory_order_seq_cst);
}

/* The version is stored last: a region that is half made is made anew. */
static void region_make(struct inflight_split_region *region, uint16_t size, uint16_t used_idx)
{
	memset(region->desc, 0, size * sizeof(region->desc[0]));
	region->features = 0;
	region->desc_num = size;
	region->last_batch_head = 0;
	/* Not 0: the ring may have a past of which this area knows nothing. */
	region->used_idx = used_idx;
	/* Release: all of the above before the version. */
	__atomic_store_n(&region->version, REGION_VERSION, __ATOMIC_RELEASE);
}

static bool anything_marked(const struct copy *copy, uint16_t size)
{
	unsigned int i;

	for (i = 0; i < size; i++) {
		if (copy->desc[i].inflight != 0) {
			return true;
		}
	}
	return false;
}

/*
 * The predecessor may have stopped after it published its last batch and before all marks were gone: walks the
 * list and takes them away in the copy. NULL, or why the ring is broken.
 */
static const char *finish_batch(struct copy *copy, uint16_t size, uint16_t used_idx)
{
	uint16_t left = (uint16_t)(used_idx - copy->used_idx);
	uint16_t head = copy->last_batch_head;

	/* Nothing is in flight: no batch can have been cut off. A target that does not know of the area may have
	 * served the ring since, for any number of requests. */
	if (!anything_marked(copy, size)) {
		return NULL;
	}
	if (left > size) {
		return "the in-flight area is of another ring: its used index is too far away";
	}
	/* Counted, so a list that loops ends, too. */
	for (; left > 0; left--) {
		if (head >= size) {
			return "the last batch of the in-flight area leads out of the ring";
		}
		copy->desc[head].inflight = 0;
		head = copy->desc[head].next;
	}
	return NULL;
}

/* The same in the area itself, in the order in which the predecessor would have done it. */
static void region_finish_batch(struct inflight_split_region *region, const struct copy *copy,
				uint16_t size, uint16_t used_idx)
{
	unsigned int i;

	for (i = 0; i < size; i++) {
		if (copy->desc[i].inflight == 0) {
			__atomic_store_n(&region->desc[i].inflight, 0, __ATOMIC_RELAXED);
		}
	}
	/* Release: the marks are gone before used_idx says so. */
	__atomic_store_n(&region->used_idx, used_idx, __ATOMIC_RELEASE);
}

static int resubmit_in_order(struct split_inflight *inflight, const struct copy *copy,
			     uint16_t size, int numa_node)
{
	struct fetched *fetched = calloc(size, sizeof(*fetched));
	unsigned int n = 0;
	uint16_t i;

	inflight->resubmit = env_zalloc(size * sizeof(uint16_t), 0, numa_node);
	if (fetched == NULL || inflight->resubmit == NULL) {
		free(fetched);
		return -ENOMEM;
	}
	for (i = 0; i < size; i++) {
		if (copy->desc[i].inflight != 0) {
			fetched[n++] = (struct fetched){ copy->desc[i].counter, i };
		}
	}
	qsort(fetched, n, sizeof(fetched[0]), by_counter);
	for (i = 0; i < n; i++) {
		inflight->resubmit[i] = fetched[i].head;
	}
	if (n > 0) {
		inflight->counter = fetched[n - 1].counter + 1;
	}
	inflight->resubmit_n = n;
	free(fetched);
	return 0;
}

static int take_over(struct split_inflight *inflight, const struct virtq_config *config,
		     struct copy *copy, uint16_t used_idx, const char **ret_why)
{
	copy_region(inflight->region, config->size, copy);
	if (inflight_area_is_lost(inflight->area)) {
		*ret_why = "the in-flight area is gone: its file was cut short";
		return 0;
	}
	if (copy->version == 0) {
		region_make(inflight->region, config->size, used_idx);
		return 0;
	}
	if (copy->version != REGION_VERSION || copy->desc_num < config->size) {
		*ret_why = "the in-flight area has another version or size";
		return 0;
	}
	*ret_why = finish_batch(copy, config->size, used_idx);
	if (*ret_why != NULL) {
		return 0;
	}
	region_finish_batch(inflight->region, copy, config->size, used_idx);
	return resubmit_in_order(inflight, copy, config->size, config->numa_node);
}

int split_inflight_new(const struct virtq_config *config, uint16_t used_idx,
		       struct split_inflight **ret_inflight, const char **ret_why)
{
	struct split_inflight *inflight = env_zalloc(sizeof(*inflight), 0, config->numa_node);
	struct copy copy = { .desc = calloc(config->size, sizeof(copy.desc[0])) };
	int r = -ENOMEM;

	if (inflight != NULL && copy.desc != NULL) {
		inflight->area = inflight_area_ref(config->inflight);
		inflight->region =
			inflight_area_region(config->inflight, config->index, false, config->size);
		r = inflight->region == NULL ?
			    -EINVAL :
			    take_over(inflight, config, &copy, used_idx, ret_why);
	}
	free(copy.desc);
	if (r < 0) {
		split_inflight_free(inflight);
		return r;
	}
	*ret_inflight = inflight;
	return 0;
}

void split_inflight_free(struct split_inflight *inflight)
{
	if (inflight == NULL) {
		return;
	}
	inflight_area_unref(inflight->area);
	env_free(inflight->resubmit);
	env_free(inflight);
}
