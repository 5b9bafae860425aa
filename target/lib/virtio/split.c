/* SPDX-License-Identifier: BSD-3-Clause */
/* The split ring: virtio 1.2, 2.7. */
#include <errno.h>

#include "base/likely.h"
#include "base/notify.h"
#include "virtio/ring.h"
#include "virtio/split_inflight.h"

/* Heads that are fetched together, so that their cache misses overlap. */
#define POP_CHUNK 16
/* Distances in the 16 bit index space: how far behind next_avail the notification index is put while
 * the ring is polled, and after how many requests it is put there again. */
#define EVENT_BEHIND  0x8000
#define EVENT_REFRESH 0x4000

static uint16_t *used_event(const struct virtq *vq)
{
	return &vq->split.avail->ring[vq->size];
}

static uint16_t *avail_event(const struct virtq *vq)
{
	return (uint16_t *)&vq->split.used->ring[vq->size];
}

int split_find(struct virtq *vq, const struct guest_mem *mem)
{
	uint64_t size = vq->size;
	uint64_t event_bytes = vq->event_idx ? sizeof(uint16_t) : 0;
	/* virtio 1.2, 2.7: alignment 16, 2 and 4. */
	void *desc = guest_mem_ring_ptr(mem, vq->desc_uva, size * sizeof(struct vring_desc), 16);
	void *avail = guest_mem_ring_ptr(
		mem, vq->avail_uva,
		sizeof(struct vring_avail) + size * sizeof(uint16_t) + event_bytes, 2);
	void *used = guest_mem_ring_ptr(
		mem, vq->used_uva,
		sizeof(struct vring_used) + size * sizeof(struct vring_used_elem) + event_bytes, 4);

	if (!desc || !avail || !used) {
		return -EFAULT;
	}
	vq->split.desc = desc;
	vq->split.avail = avail;
	vq->split.used = used;
	return 0;
}

/* Goes on where a predecessor stopped. */
static int resume(struct virtq *vq, const struct virtq_config *config)
{
	struct split_ring *ring = &vq->split;
	const char *why = NULL;
	unsigned int i;
	int r = split_inflight_new(config, ring->next_used, &ring->inflight, &why);

	if (r < 0) {
		return r;
	}
	if (why != NULL) {
		virtq_break(vq, why);
		return 0;
	}
	for (i = 0; i < ring->inflight->resubmit_n; i++) {
		vq->busy[ring->inflight->resubmit[i]] = true;
	}
	/* What the ring shows as used is done. The front-end may have asked the ring when it saw a predecessor leave
	 * that published the last of it afterwards. */
	if (ring->base_minus_used != 0 && (uint16_t)-ring->base_minus_used <= (uint16_t)vq->size) {
		ring->next_avail = ring->next_used;
		ring->base_minus_used = 0;
	}
	/* They lie in the available ring behind the base, though not one after the other. */
	ring->next_avail = (uint16_t)(ring->next_avail + ring->inflight->resubmit_n);
	/* The predecessor may have died between its last used element and the call for it. */
	if (vq->call_fd >= 0) {
		notify_eventfd(vq->call_fd);
	}
	return 0;
}

int split_init(struct virtq *vq, const struct virtq_config *config)
{
	struct split_ring *ring = &vq->split;
	int r;

	if (config->base > UINT16_MAX) {
		return -EINVAL;
	}
	r = split_find(vq, vq->mem);
	if (r < 0) {
		return r;
	}
	ring->next_avail = (uint16_t)config->base;
	ring->next_used = shared_get16(&ring->used->idx);
	ring->base_minus_used = (uint16_t)(config->base - ring->next_used);
	ring->first_commit = true;
	if (config->inflight != NULL) {
		r = resume(vq, config);
		if (r < 0) {
			return r;
		}
	}
	split_disarm(vq);
	return 0;
}

void split_done(struct virtq *vq)
{
	split_inflight_free(vq->split.inflight);
}

uint16_t split_base(const struct virtq *vq)
{
	const struct split_ring *ring = &vq->split;

	/* With an in-flight area: without what is marked there, published or not. */
	return ring->inflight == NULL ? ring->next_avail :
					(uint16_t)(ring->next_used + ring->base_minus_used);
}

void split_abandon(struct virtq *vq)
{
	if (vq->split.inflight != NULL) {
		vq->split.inflight->abandoned = true;
	}
}

unsigned int split_resubmits(const struct virtq *vq)
{
	return vq->split.inflight == NULL ? 0 : split_inflight_waiting(vq->split.inflight);
}

void split_forget_resubmits(const struct virtq *vq, uint8_t *flags)
{
	const struct split_inflight *inflight = vq->split.inflight;
	unsigned int n = split_resubmits(vq);

	for (; n > 0; n--) {
		flags[inflight->resubmit[inflight->resubmit_n - n]] = false;
	}
}

bool split_inflight_is_lost(const struct virtq *vq)
{
	return vq->split.inflight != NULL && inflight_area_is_lost(vq->split.inflight->area);
}

/* ---- chains ---- */

/* A descriptor in three loads, as the short way below takes it apart. */
struct desc_words {
	uint64_t addr;
	uint32_t len;
	uint32_t rest; /* flags, next << 16 */
};

#define DESC_KIND (VRING_DESC_F_WRITE | VRING_DESC_F_INDIRECT)

/* The one copy of a descriptor in the ring's own table (rule R1), host byte order. */
static inline struct desc_words desc_load(const struct vring_desc *shared)
{
	return (struct desc_words){
		.addr = le64toh(__atomic_load_n(&shared->addr, __ATOMIC_RELAXED)),
		.len = le32toh(__atomic_load_n(&shared->len, __ATOMIC_RELAXED)),
		.rest = le32toh(
			__atomic_load_n((const uint32_t *)&shared->flags, __ATOMIC_RELAXED)),
	};
}

static inline struct vring_desc desc_of(struct desc_words words)
{
	return (struct vring_desc){
		.addr = words.addr,
		.len = words.len,
		.flags = (uint16_t)words.rest,
		.next = (uint16_t)(words.rest >> 16),
	};
}

static struct vring_desc desc_decode(const struct vring_desc *d)
{
	return (struct vring_desc){
		.addr = le64toh(d->addr),
		.len = le32toh(d->len),
		.flags = le16toh(d->flags),
		.next = le16toh(d->next),
	};
}

/* `before`: descriptors of the chain that came ahead of the table. */
static const char *walk_table(struct virtq *vq, struct virtq_gather *gather,
			      const struct vring_desc *indirect, unsigned int before)
{
	unsigned int table_n = indirect->len / sizeof(struct vring_desc);
	unsigned int steps = 0;
	uint16_t i = 0;
	const struct vring_desc *table = vq->table;
	const char *why = NULL;

	/* virtio 1.2, 2.7.5.3.1: the driver does not set both. */
	if ((indirect->flags & VRING_DESC_F_NEXT) != 0) {
		return "an indirect descriptor has a next one";
	}
	why = virtq_load_table(vq, indirect->addr, indirect->len);
	while (!why) {
		struct vring_desc d = desc_decode(&table[i]);

		/* Counted, so that a loop ends here (rule R5). Queues are often shorter than the
		 * requests of their drivers: VIRTQ_MAX_SEGMENTS bounds the whole chain. */
		if (++steps > table_n || before + steps > VIRTQ_MAX_SEGMENTS) {
			return "a descriptor chain is too long or loops";
		}
		if ((d.flags & VRING_DESC_F_INDIRECT) != 0) {
			return "an indirect table refers to another";
		}
		why = virtq_gather_add(vq, gather, d.addr, d.len,
				       (d.flags & VRING_DESC_F_WRITE) != 0);
		if (why || (d.flags & VRING_DESC_F_NEXT) == 0) {
			return why;
		}
		if (d.next >= table_n) {
			return "a next descriptor lies outside of its table";
		}
		i = d.next;
	}
	return why;
}

static __attribute__((noinline)) const char *
walk_chain(struct virtq *vq, struct virtq_gather *gather, struct vring_desc d)
{
	unsigned int limit = vq->size < VIRTQ_MAX_SEGMENTS ? vq->size : VIRTQ_MAX_SEGMENTS;
	unsigned int steps = 0;
	const char *why;

	for (;;) {
		if (++steps > limit) {
			return "a descriptor chain is too long or loops";
		}
		if ((d.flags & VRING_DESC_F_INDIRECT) != 0) {
			/* virtio 1.2, 2.7.5.3.2: the write-only flag means nothing here, and
			 * ordinary descriptors may come before. */
			return walk_table(vq, gather, &d, steps - 1);
		}
		why = virtq_gather_add(vq, gather, d.addr, d.len,
				       (d.flags & VRING_DESC_F_WRITE) != 0);
		if (why || (d.flags & VRING_DESC_F_NEXT) == 0) {
			return why;
		}
		if (d.next >= vq->size) {
			return "a next descriptor lies outside of the ring";
		}
		d = desc_of(desc_load(&vq->split.desc[d.next]));
	}
}

/* The table of an indirect descriptor where it lies. False: not in one known piece, or against the rules. */
static inline bool table_in_place(struct virtq *vq, struct desc_words d,
				  const struct vring_desc **ret_table, uint32_t *ret_n)
{
	void *table;

	if (!vq->indirect || !guest_mem_translate_known(&vq->cache, d.addr, d.len, &table)) {
		return false;
	}
	*ret_table = table;
	*ret_n = d.len / (uint32_t)sizeof(struct vring_desc);
	return ((uintptr_t)table | d.len) % sizeof(struct vring_desc) == 0 &&
	       (d.rest & VRING_DESC_F_NEXT) == 0 && *ret_n <= VIRTQ_MAX_SEGMENTS;
}

/* Translates one descriptor into *iov. */
static inline bool piece(const struct virtq *vq, struct desc_words d, struct iovec *iov)
{
	iov->iov_len = d.len;
	return guest_mem_translate_known(&vq->cache, d.addr, d.len, &iov->iov_base);
}

/*
 * The chains that drivers really send: a few descriptors in the ring or in one indirect table, each in
 * a region that the cache knows, those that we read first. False: it is another chain, or breaks a rule.
 * Then nothing has happened, and walk_any() starts anew from fresh copies, does everything and finds the
 * words. Each descriptor is loaded once here too, and no value of this walk outlives a failure.
 *
 * This is where most instructions of a request go. It calls nothing, so that its variables stay in
 * registers.
 */
static inline __attribute__((always_inline)) bool walk_common(struct virtq *vq, struct desc_words d,
							      struct virtq_req *req)
{
	struct iovec *iov = req->out;
	struct iovec *const end = iov + VIRTQ_INLINE_IOV;
	const struct vring_desc *table = vq->split.desc;
	uint32_t table_n = vq->size;
	uint64_t out_len = 0;
	uint64_t in_len = 0;

	if ((d.rest & DESC_KIND) != 0 && (d.rest & VRING_DESC_F_INDIRECT) != 0) {
		if (unlikely(!table_in_place(vq, d, &table, &table_n))) {
			return false;
		}
		d = desc_load(&table[0]);
	}
	while ((d.rest & DESC_KIND) == 0) {
		if (!piece(vq, d, iov)) {
			return false;
		}
		/* The device reads its request header next. */
		__builtin_prefetch(iov->iov_base);
		out_len += d.len;
		iov++;
		if (unlikely((d.rest & VRING_DESC_F_NEXT) == 0)) {
			req->in = iov;
			goto walked;
		}
		if (unlikely(iov == end || d.rest >> 16 >= table_n)) {
			return false;
		}
		d = desc_load(&table[d.rest >> 16]);
	}
	req->in = iov;
	for (;;) {
		if (unlikely((d.rest & DESC_KIND) != VRING_DESC_F_WRITE) || !piece(vq, d, iov)) {
			return false;
		}
		in_len += d.len;
		iov++;
		if ((d.rest & VRING_DESC_F_NEXT) == 0) {
			break;
		}
		if (unlikely(iov == end || d.rest >> 16 >= table_n)) {
			return false;
		}
		d = desc_load(&table[d.rest >> 16]);
	}
walked:
	req->end = iov;
	req->out_len = out_len;
	req->in_len = in_len;
	return likely(out_len + in_len <= vq->max_req_bytes);
}

/* Every other chain. False: the ring is broken (*ret_why), or there is no room for the request now. */
static __attribute__((noinline)) bool walk_any(struct virtq *vq, uint16_t head,
					       struct virtq_req *req, const char **ret_why)
{
	struct virtq_gather gather = { 0 };

	*ret_why = walk_chain(vq, &gather, desc_of(desc_load(&vq->split.desc[head])));
	return *ret_why == NULL && virtq_gather_finish(vq, &gather, req);
}

/* ---- fetching ---- */

static inline uint16_t head_load(const struct virtq *vq, unsigned int i)
{
	return shared_get16(&vq->split.avail->ring[(vq->split.next_avail + i) & vq->mask]);
}

/*
 * Makes the cache misses of the next n requests overlap. What is read here is a hint, loaded again before it
 * is used; an address that is no good does no harm to a prefetch.
 */
static inline void prefetch_chains(const struct virtq *vq, unsigned int n)
{
	const struct vring_desc *desc = vq->split.desc;
	unsigned int i;

	for (i = 0; i < n; i++) {
		uint16_t head = head_load(vq, i);

		__builtin_prefetch(&desc[head]);
		/* The rest of a short chain lies behind it, as most drivers place them. */
		__builtin_prefetch(&desc[head + 2]);
	}
	for (i = 0; vq->indirect && i < n; i++) {
		uint16_t head = head_load(vq, i);

		if (head < vq->size) {
			struct desc_words d = desc_load(&desc[head]);
			void *table = NULL;

			if ((d.rest & VRING_DESC_F_INDIRECT) == 0) {
				break; /* they are rarely mixed */
			}
			guest_mem_translate_known(&vq->cache, d.addr, 1, &table);
			__builtin_prefetch(table);
		}
	}
}

/* There are as many free slots. */
static unsigned int pop_chunk(struct virtq *vq, struct virtq_req **reqs, unsigned int n)
{
	struct virtq_req **top = vq->free_slots + vq->free_slot_n;
	const struct vring_desc *desc = vq->split.desc;
	uint8_t *busy = vq->busy;
	const char *why = NULL;
	unsigned int i;

	prefetch_chains(vq, n);
	for (i = 0; i < n; i++) {
		struct virtq_req *req = *--top;
		uint16_t head = head_load(vq, i);

		if (unlikely(head >= vq->size)) {
			why = "an available head lies outside of the ring";
			break;
		}
		if (unlikely(busy[head])) {
			why = "an available head is in flight already";
			break;
		}
		if (unlikely(!walk_common(vq, desc_load(&desc[head]), req)) &&
		    !walk_any(vq, head, req, &why)) {
			break;
		}
		busy[head] = true;
		req->head = head;
		reqs[i] = req;
	}
	vq->free_slot_n -= i;
	vq->split.next_avail = (uint16_t)(vq->split.next_avail + i);
	if (unlikely(vq->split.inflight != NULL)) {
		split_inflight_fetched(vq->split.inflight, reqs, i);
	}
	if (unlikely(why != NULL)) {
		virtq_break(vq, why);
	}
	return i;
}

/* The requests of a predecessor; they are few, and not in a hurry. */
static __attribute__((noinline)) unsigned int
pop_resubmits(struct virtq *vq, struct virtq_req **reqs, unsigned int max)
{
	struct split_inflight *inflight = vq->split.inflight;
	const char *why = NULL;
	unsigned int n = 0;

	vq->starved = vq->free_slot_n == 0;
	while (n < max && vq->free_slot_n > 0 && split_inflight_waiting(inflight) > 0) {
		struct virtq_req *req = vq->free_slots[vq->free_slot_n - 1];
		uint16_t head = inflight->resubmit[inflight->resubmit_next];

		if (!walk_any(vq, head, req, &why)) {
			break;
		}
		vq->free_slot_n--;
		inflight->resubmit_next++;
		req->head = head;
		req->resubmitted = true;
		reqs[n++] = req;
	}
	if (why != NULL) {
		virtq_break(vq, why);
	}
	return n;
}

unsigned int split_pop(struct virtq *vq, struct virtq_req **reqs, unsigned int max)
{
	struct split_ring *ring = &vq->split;
	/* Acquire: the index is read before the ring entries and descriptors it speaks of. */
	uint16_t idx = le16toh(__atomic_load_n(&ring->avail->idx, __ATOMIC_ACQUIRE));
	unsigned int n = (uint16_t)(idx - ring->next_avail);
	unsigned int done = 0;

	if (n > vq->size) {
		virtq_break(vq, "the available index jumped by more than the queue size");
		return 0;
	}
	if (unlikely(ring->inflight != NULL)) {
		if (inflight_area_is_lost(ring->inflight->area)) {
			virtq_break(vq, "the in-flight area is gone: its file was cut short");
			return 0;
		}
		if (split_inflight_waiting(ring->inflight) > 0) {
			return pop_resubmits(vq, reqs, max);
		}
	}
	if (n > vq->free_slot_n) {
		n = vq->free_slot_n;
		vq->starved = n == 0;
	}
	n = n < max ? n : max;
	while (done < n) {
		unsigned int want = n - done < POP_CHUNK ? n - done : POP_CHUNK;
		unsigned int got = pop_chunk(vq, reqs + done, want);

		done += got;
		if (got < want || virtq_is_broken(vq)) {
			break;
		}
	}
	if (vq->polled && (uint16_t)(ring->next_avail - ring->suppressed_at) >= EVENT_REFRESH) {
		split_disarm(vq);
	}
	return done;
}

void split_unpop(struct virtq *vq, const struct virtq_req *req)
{
	struct split_inflight *inflight = vq->split.inflight;

	if (req->resubmitted) {
		/* It stays in flight, and so busy, but holds no memory. */
		inflight->resubmit[--inflight->resubmit_next] = req->head;
		vq->old_busy[req->head] = false;
		return;
	}
	vq->busy[req->head] = false;
	vq->split.next_avail--;
	if (inflight != NULL) {
		split_inflight_unfetched(inflight, req->head);
	}
}

/* ---- publishing ---- */

/* The n used elements behind `old` are written, their index is not. */
static void log_elements(struct virtq *vq, uint16_t old, unsigned int n)
{
	unsigned int first = old & vq->mask;
	unsigned int up = n < vq->size - first ? n : vq->size - first; /* to the end of the ring */
	const size_t size = sizeof(struct vring_used_elem);

	virtq_log_used(vq, offsetof(struct vring_used, ring) + first * size, up * size);
	virtq_log_used(vq, offsetof(struct vring_used, ring), (n - up) * size);
}

bool split_publish(struct virtq *vq)
{
	struct split_ring *ring = &vq->split;
	uint16_t old = ring->next_used;
	unsigned int n = vq->staged_n;
	unsigned int i;

	if (unlikely(ring->inflight != NULL)) {
		split_inflight_link(ring->inflight, vq->staged, n);
	}
	for (i = 0; i < n; i++) {
		struct virtq_staged staged = vq->staged[i];

		ring->used->ring[(old + i) & vq->mask] = (struct vring_used_elem){
			.id = htole32(staged.head),
			.len = htole32(staged.written),
		};
		vq->busy[staged.head] = false;
	}
	vq->staged_n = 0;
	if (virtq_logs(vq)) {
		log_elements(vq, old, n);
	}
	ring->next_used = (uint16_t)(old + n);
	/* Release: data, status bytes and used elements are visible before the index. */
	__atomic_store_n(&ring->used->idx, htole16(ring->next_used), __ATOMIC_RELEASE);
	if (virtq_logs(vq)) {
		virtq_log_used(vq, offsetof(struct vring_used, idx), sizeof(ring->used->idx));
		virtq_log_done(vq);
	}
	if (unlikely(ring->inflight != NULL)) {
		split_inflight_published(ring->inflight, vq->staged, n, ring->next_used);
	}
	/* Full: the index is stored before used_event or flags is loaded. The driver stores those
	 * before it loads the index, so one of the two sees the other's store. */
	atomic_thread_fence(memory_order_seq_cst);
	if (!vq->event_idx) {
		return (shared_get16(&ring->avail->flags) & VRING_AVAIL_F_NO_INTERRUPT) == 0;
	}
	if (ring->first_commit) {
		/* What the driver was told by whoever served the ring before us is not known. */
		ring->first_commit = false;
		return true;
	}
	/* virtio 1.2, 2.7.7.2: call if this batch went past used_event. */
	return (uint16_t)(ring->next_used - shared_get16(used_event(vq)) - 1) <
	       (uint16_t)(ring->next_used - old);
}

/* ---- notifications ---- */

/* avail_event with EVENT_IDX, the flags without. */
static void log_wish(struct virtq *vq)
{
	virtq_log_used(vq,
		       vq->event_idx ? offsetof(struct vring_used, ring) +
					       vq->size * sizeof(struct vring_used_elem) :
				       offsetof(struct vring_used, flags),
		       sizeof(uint16_t));
}

bool split_arm(struct virtq *vq)
{
	struct split_ring *ring = &vq->split;

	if (vq->event_idx) {
		shared_put16(avail_event(vq), ring->next_avail);
	} else {
		shared_put16(&ring->used->flags, 0);
	}
	if (virtq_logs(vq)) {
		log_wish(vq);
	}
	/* Full: avail_event or flags is stored before the available index is loaded; the driver does
	 * it the other way round, so either it kicks or we see its request. */
	atomic_thread_fence(memory_order_seq_cst);
	return shared_get16(&ring->avail->idx) == ring->next_avail && split_resubmits(vq) == 0;
}

void split_disarm(struct virtq *vq)
{
	struct split_ring *ring = &vq->split;

	if (vq->event_idx) {
		/* No flag switches kicks off with EVENT_IDX (virtio 1.2, 2.7.10.1); an index that the
		 * driver's next 32768 requests do not reach does. */
		shared_put16(avail_event(vq), (uint16_t)(ring->next_avail - EVENT_BEHIND));
	} else {
		shared_put16(&ring->used->flags, VRING_USED_F_NO_NOTIFY);
	}
	ring->suppressed_at = ring->next_avail;
	if (virtq_logs(vq)) {
		log_wish(vq);
	}
}
