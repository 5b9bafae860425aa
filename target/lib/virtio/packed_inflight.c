/* SPDX-License-Identifier: BSD-3-Clause */
/* What a packed ring finds of its predecessor when it starts, and what it leaves to its successor. */
#include "virtio/packed_inflight.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/likely.h"
#include "env/env.h"

static_assert(sizeof(struct inflight_packed_desc) == 32, "vhost-user, DescStatePacked");
static_assert(offsetof(struct inflight_packed_desc, last) == 4, "vhost-user, DescStatePacked");
static_assert(offsetof(struct inflight_packed_desc, flags) == 18, "vhost-user, DescStatePacked");
static_assert(offsetof(struct inflight_packed_desc, addr) == 24, "vhost-user, DescStatePacked");
static_assert(sizeof(struct inflight_packed_region) == 32, "vhost-user, QueueRegionPacked");
static_assert(offsetof(struct inflight_packed_region, old_free_head) == 14,
	      "vhost-user, QueueRegionPacked");
static_assert(offsetof(struct inflight_packed_region, old_used_wrap_counter) == 21,
	      "vhost-user, QueueRegionPacked");

#define REGION_VERSION 1

/* A request that was in flight, and when it was fetched. */
struct fetched {
	uint64_t counter;
	struct packed_kept kept;
	uint16_t id;
};

/* What the region says, read once (rule R10), and what is made of it. */
struct copy {
	struct inflight_packed_desc *desc;
	uint8_t *seen; /* by entry: on the free list, or of a request */
	struct packed_pos used;
	uint16_t free_head;
	struct fetched *fetched;
	unsigned int fetched_n;
	unsigned int descs; /* of all of them */
	struct inflight_packed_region region;
};

static int by_counter(const void *a, const void *b)
{
	const struct fetched *fa = a;
	const struct fetched *fb = b;

	if (fa->counter != fb->counter) {
		return fa->counter < fb->counter ? -1 : 1;
	}
	return fa->kept.head - fb->kept.head;
}

static struct packed_pos position(uint16_t at, uint8_t wrap)
{
	return (struct packed_pos){ .at = at, .bits = packed_used_bits(wrap != 0) };
}

static bool pos_is(const struct packed_pos *a, const struct packed_pos *b)
{
	return a->at == b->at && a->bits == b->bits;
}

/* The compiler must not go back to shared memory for what was copied just now. */
static void copied(void)
{
	atomic_signal_fence(memory_order_seq_cst);
}

static void copy_head(const struct inflight_packed_region *region, struct copy *copy)
{
	copy->region.version = __atomic_load_n(&region->version, __ATOMIC_ACQUIRE);
	copy->region.desc_num = __atomic_load_n(&region->desc_num, __ATOMIC_RELAXED);
	copy->region.free_heads = __atomic_load_n(&region->free_heads, __ATOMIC_RELAXED);
	copy->region.used = __atomic_load_n(&region->used, __ATOMIC_RELAXED);
	copied();
}

static int copy_entries(const struct inflight_packed_region *region, struct copy *copy)
{
	size_t n = copy->region.desc_num;

	copy->desc = calloc(n, sizeof(copy->desc[0]));
	copy->seen = calloc(n, sizeof(copy->seen[0]));
	copy->fetched = calloc(n, sizeof(copy->fetched[0]));
	if (copy->desc == NULL || copy->seen == NULL || copy->fetched == NULL) {
		return -ENOMEM;
	}
	memcpy(copy->desc, region->desc, n * sizeof(copy->desc[0]));
	copied();
	return 0;
}

static void copy_free(struct copy *copy)
{
	free(copy->desc);
	free(copy->seen);
	free(copy->fetched);
}

/* ---- the parts that outlive the start ---- */

static int parts_init(struct packed_inflight *inflight, const struct virtq_config *config,
		      unsigned int desc_num)
{
	inflight->next = env_zalloc(desc_num * sizeof(uint16_t), 0, config->numa_node);
	inflight->kept =
		env_zalloc(config->size * sizeof(struct packed_kept), 0, config->numa_node);
	return inflight->next == NULL || inflight->kept == NULL ? -ENOMEM : 0;
}

/* The version is stored last: a region that is half made is made anew. */
static int region_make(struct packed_inflight *inflight, const struct virtq *vq,
		       const struct virtq_config *config)
{
	struct inflight_packed_region *region = inflight->region;
	unsigned int i;
	int r = parts_init(inflight, config, config->size);

	if (r < 0) {
		return r;
	}
	memset(region->desc, 0, config->size * sizeof(region->desc[0]));
	for (i = 0; i < config->size; i++) {
		/* The last one leads out of the list. */
		inflight->next[i] = region->desc[i].next = (uint16_t)(i + 1);
	}
	region->features = 0;
	region->desc_num = config->size;
	packed_inflight_put_free(inflight);
	packed_inflight_put_used(inflight, &vq->packed.used, &vq->packed.used);
	/* Release: all of the above before the version. */
	__atomic_store_n(&region->version, REGION_VERSION, __ATOMIC_RELEASE);
	return 0;
}

/* ---- checks: NULL, or why the ring is broken ---- */

static const char *check_head(const struct copy *copy, uint16_t size, uint16_t area_size)
{
	const struct inflight_packed_region *region = &copy->region;

	if (region->version != REGION_VERSION || region->desc_num < size ||
	    region->desc_num > area_size) {
		return "the in-flight area has another version or size";
	}
	if (region->used_idx >= size || region->old_used_idx >= size ||
	    region->used_wrap_counter > 1 || region->old_used_wrap_counter > 1) {
		return "the used position of the in-flight area lies outside of the ring";
	}
	return NULL;
}

/*
 * Which half of the region is true? If the predecessor has died while it published a batch, the first descriptor of
 * it says whether the driver has been shown it: then it is not available any more in the round that it was in.
 */
static void decide(const struct virtq *vq, struct copy *copy)
{
	const struct inflight_packed_region *region = &copy->region;
	struct packed_pos old = position(region->old_used_idx, region->old_used_wrap_counter);
	struct packed_pos now = position(region->used_idx, region->used_wrap_counter);
	uint32_t rest = shared_get32(&vq->packed.desc[old.at].id_and_flags);

	copy->used = old;
	copy->free_head = region->old_free_head;
	if (!pos_is(&old, &now) && (rest & AVAIL_AND_USED) != packed_avail_bits(pos_wrap(&old))) {
		copy->used = now;
		copy->free_head = region->free_head;
	}
}

static const char *walk_free(struct copy *copy)
{
	uint16_t entry;

	for (entry = copy->free_head; entry < copy->region.desc_num;
	     entry = copy->desc[entry].next) {
		/* Each once, so a list that loops ends, too. */
		if (copy->seen[entry]) {
			return "the free list of the in-flight area loops";
		}
		copy->seen[entry] = true;
		copy->desc[entry].inflight = 0;
	}
	return NULL;
}

static const char *walk_request(struct copy *copy, uint16_t head, uint16_t size, uint8_t *busy)
{
	const struct inflight_packed_desc *first = &copy->desc[head];
	uint16_t entry = head;
	uint16_t last = head;
	unsigned int i;

	for (i = 0; i < first->num; i++) {
		if (entry >= copy->region.desc_num || copy->seen[entry]) {
			return "a request of the in-flight area has entries of others";
		}
		copy->seen[entry] = true;
		last = entry;
		entry = copy->desc[entry].next;
	}
	copy->descs += first->num;
	if (first->num == 0 || last != first->last || copy->descs > size) {
		return "a request of the in-flight area has too few or too many descriptors";
	}
	if (copy->desc[last].id >= size || busy[copy->desc[last].id]) {
		return "a buffer id of the in-flight area lies outside of the ring, or is there twice";
	}
	busy[copy->desc[last].id] = true;
	copy->fetched[copy->fetched_n++] = (struct fetched){
		.counter = first->counter,
		.kept = { head, last },
		.id = copy->desc[last].id,
	};
	return NULL;
}

static const char *walk_requests(struct copy *copy, uint16_t size, uint8_t *busy)
{
	const char *why = NULL;
	unsigned int i;

	for (i = 0; i < copy->region.desc_num && why == NULL; i++) {
		if (copy->desc[i].inflight != 0) {
			why = walk_request(copy, (uint16_t)i, size, busy);
		}
	}
	for (i = 0; i < copy->region.desc_num && why == NULL; i++) {
		why = copy->seen[i] ? NULL : "entries of the in-flight area are lost";
	}
	return why;
}

/*
 * The descriptors of what is in flight are the device's: still available, or overwritten by a batch of which the
 * driver was not shown the first. Those must not come to light when what lies before them is published in
 * another way, so they become available again; nobody reads more of them. With `repair` false it is only seen that
 * it can be done.
 */
static const char *reclaim(struct virtq *vq, const struct copy *copy, bool repair)
{
	struct packed_pos pos = copy->used;
	unsigned int i;

	for (i = 0; i < copy->descs; i++) {
		uint32_t *shared = &vq->packed.desc[pos.at].id_and_flags;
		uint32_t bits = packed_avail_bits(pos_wrap(&pos));
		uint32_t rest = shared_get32(shared);

		if ((rest & AVAIL_AND_USED) == pos.bits && repair) {
			shared_put32(shared, (rest & ~AVAIL_AND_USED) | bits);
		} else if ((rest & AVAIL_AND_USED) != pos.bits && (rest & AVAIL_AND_USED) != bits) {
			return "the in-flight area is of another ring: what is in flight there is not "
			       "available here";
		}
		pos_advance(&pos, 1, vq->size);
	}
	return NULL;
}

/* ---- taking over ---- */

/* The same in the area itself, in the order in which the predecessor would have done it. */
static void region_finish(struct packed_inflight *inflight, const struct copy *copy)
{
	struct inflight_packed_desc *desc = inflight->region->desc;
	unsigned int i;

	for (i = 0; i < copy->region.desc_num; i++) {
		if (copy->desc[i].inflight == 0) {
			__atomic_store_n(&desc[i].inflight, 0, __ATOMIC_RELAXED);
		}
	}
	packed_inflight_put_free(inflight);
	packed_inflight_put_used(inflight, &copy->used, &copy->used);
}

static int resubmit_in_order(struct packed_inflight *inflight, struct copy *copy, int numa_node)
{
	unsigned int n = copy->fetched_n;
	unsigned int i;

	if (n == 0) {
		return 0;
	}
	inflight->resubmit = env_zalloc(n * sizeof(uint16_t), 0, numa_node);
	inflight->saved =
		env_zalloc(copy->region.desc_num * sizeof(struct packed_words), 0, numa_node);
	if (inflight->resubmit == NULL || inflight->saved == NULL) {
		return -ENOMEM;
	}
	qsort(copy->fetched, n, sizeof(copy->fetched[0]), by_counter);
	for (i = 0; i < n; i++) {
		inflight->resubmit[i] = copy->fetched[i].id;
		inflight->kept[copy->fetched[i].id] = copy->fetched[i].kept;
	}
	for (i = 0; i < copy->region.desc_num; i++) {
		const struct inflight_packed_desc *desc = &copy->desc[i];

		inflight->saved[i] = (struct packed_words){
			.addr = desc->addr,
			.len = desc->len,
			.rest = desc->id | FLAG(desc->flags),
		};
	}
	inflight->counter = copy->fetched[n - 1].counter + 1;
	inflight->resubmit_n = n;
	return 0;
}

/* Everything is in order: from here on the region is ours. */
static int adopt(struct packed_inflight *inflight, struct virtq *vq,
		 const struct virtq_config *config, struct copy *copy)
{
	struct packed_ring *ring = &vq->packed;
	unsigned int i;
	int r = parts_init(inflight, config, copy->region.desc_num);

	if (r == 0) {
		r = resubmit_in_order(inflight, copy, config->numa_node);
	}
	if (r < 0) {
		return r;
	}
	for (i = 0; i < copy->region.desc_num; i++) {
		inflight->next[i] = copy->desc[i].next;
	}
	inflight->free_head = copy->free_head;
	(void)reclaim(vq, copy, true);
	region_finish(inflight, copy);
	ring->used = copy->used;
	ring->avail = copy->used;
	pos_advance(&ring->avail, copy->descs, vq->size);
	ring->avail.bits = packed_avail_bits(pos_wrap(&ring->avail));
	ring->room = vq->size - copy->descs;
	return 0;
}

static int take_over(struct packed_inflight *inflight, struct virtq *vq,
		     const struct virtq_config *config, struct copy *copy, const char **ret_why)
{
	int r;

	copy_head(inflight->region, copy);
	if (copy->region.version == 0) {
		if (vq->packed.room < vq->size) {
			*ret_why =
				"requests are in flight of which the in-flight area knows nothing";
			return 0;
		}
		return region_make(inflight, vq, config);
	}
	*ret_why = check_head(copy, config->size, inflight_area_queue_size(inflight->area));
	if (*ret_why != NULL) {
		return 0;
	}
	r = copy_entries(inflight->region, copy);
	if (r < 0) {
		return r;
	}
	decide(vq, copy);
	*ret_why = walk_free(copy);
	if (*ret_why == NULL) {
		*ret_why = walk_requests(copy, config->size, vq->busy);
	}
	if (*ret_why == NULL) {
		*ret_why = reclaim(vq, copy, false);
	}
	if (*ret_why == NULL) {
		return adopt(inflight, vq, config, copy);
	}
	memset(vq->busy, 0, vq->size); /* nothing is resubmitted */
	return 0;
}

int packed_inflight_new(struct virtq *vq, const struct virtq_config *config,
			struct packed_inflight **ret_inflight, const char **ret_why)
{
	struct packed_inflight *inflight = env_zalloc(sizeof(*inflight), 0, config->numa_node);
	struct copy copy = { 0 };
	int r;

	if (inflight == NULL) {
		return -ENOMEM;
	}
	inflight->area = inflight_area_ref(config->inflight);
	inflight->region =
		inflight_area_region(config->inflight, config->index, true, config->size);
	r = inflight->region == NULL ? -EINVAL : take_over(inflight, vq, config, &copy, ret_why);
	copy_free(&copy);
	if (r == 0 && inflight_area_is_lost(inflight->area)) {
		*ret_why = "the in-flight area is gone: its file was cut short";
	}
	if (r < 0) {
		packed_inflight_free(inflight);
		return r;
	}
	*ret_inflight = inflight;
	return 0;
}

void packed_inflight_free(struct packed_inflight *inflight)
{
	if (inflight == NULL) {
		return;
	}
	inflight_area_unref(inflight->area);
	env_free(inflight->next);
	env_free(inflight->kept);
	env_free(inflight->resubmit);
	env_free(inflight->saved);
	env_free(inflight);
}

/* ---- the data path ---- */

/*
 * The descriptors are loaded again: the copies that were checked are gone, and what is written here is checked by
 * whoever reads it. Entries are nobody's until the free list lacks them, so the order of these stores does not
 * matter.
 */
void packed_inflight_fetched(struct packed_inflight *inflight, const struct packed_desc *ring,
			     unsigned int at, unsigned int size, struct virtq_req **reqs,
			     unsigned int n)
{
	struct inflight_packed_desc *const desc = inflight->region->desc;
	struct packed_kept *const kept = inflight->kept;
	const uint16_t *const next = inflight->next;
	const struct packed_desc *const end = ring + size;
	const struct packed_desc *from = ring + at;
	struct virtq_req **const reqs_end = reqs + n;
	uint64_t counter = inflight->counter;
	unsigned int entry = inflight->free_head;

	do {
		struct virtq_req *req = *reqs;
		unsigned int id = req->head;
		unsigned int descs = req->descs;
		struct inflight_packed_desc *const first = &desc[entry];
		unsigned int last;

		kept[id].head = (uint16_t)entry;
		first->counter = counter++;
		first->inflight = 1;
		first->num = (uint16_t)descs;
		do {
			struct inflight_packed_desc *to = &desc[entry];

			to->addr = le64toh(__atomic_load_n(&from->addr, __ATOMIC_RELAXED));
			to->len = shared_get32(&from->len);
			to->flags = (uint16_t)(shared_get32(&from->id_and_flags) >> 16);
			to->id = (uint16_t)id;
			last = entry;
			entry = next[entry];
			if (unlikely(++from == end)) {
				from = ring;
			}
		} while (--descs > 0);
		first->last = (uint16_t)last;
		kept[id].last = (uint16_t)last;
		req->resubmitted = false;
	} while (++reqs < reqs_end);
	inflight->counter = counter;
	inflight->free_head = (uint16_t)entry;
	packed_inflight_put_free(inflight);
	/* That is stored before whatever the device does next. */
	atomic_signal_fence(memory_order_seq_cst);
}
