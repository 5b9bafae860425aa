/* SPDX-License-Identifier: BSD-3-Clause */
/* The packed ring: virtio 1.2, 2.8. Driver and device write to one ring of descriptors, each in order. */
#include <errno.h>

#include "base/likely.h"
#include "base/notify.h"
#include "virtio/packed_inflight.h"

/* Requests that are fetched together, so that the cache misses of their tables overlap. */
#define POP_CHUNK 16

/* ---- life ---- */

static struct packed_pos pos_from_base(uint32_t half, uint32_t (*bits)(bool wrap))
{
	return (struct packed_pos){
		.at = half & POSITION_MASK,
		.bits = bits((half & WRAP_IN_BASE) != 0),
	};
}

int packed_find(struct virtq *vq, const struct guest_mem *mem)
{
	/* virtio 1.2, 2.8.10.1: alignment 16, 4 and 4. */
	void *desc = guest_mem_ring_ptr(mem, vq->desc_uva,
					(uint64_t)vq->size * sizeof(struct packed_desc), 16);
	void *driver = guest_mem_ring_ptr(mem, vq->avail_uva, sizeof(struct packed_event), 4);
	void *device = guest_mem_ring_ptr(mem, vq->used_uva, sizeof(struct packed_event), 4);

	if (!desc || !driver || !device) {
		return -EFAULT;
	}
	vq->packed.desc = desc;
	vq->packed.driver = driver;
	vq->packed.device = device;
	return 0;
}

/* Goes on where a predecessor stopped. Where that was is not for the front-end to know, which has no index to read
 * it from, but for the in-flight area. */
static int resume(struct virtq *vq, const struct virtq_config *config)
{
	const char *why = NULL;
	int r = packed_inflight_new(vq, config, &vq->packed.inflight, &why);

	if (r < 0) {
		return r;
	}
	if (why != NULL) {
		virtq_break(vq, why);
		return 0;
	}
	/* The predecessor may have died between its last used descriptor and the call for it. */
	if (vq->call_fd >= 0) {
		notify_eventfd(vq->call_fd);
	}
	return 0;
}

int packed_init(struct virtq *vq, const struct virtq_config *config)
{
	struct packed_ring *ring = &vq->packed;
	unsigned int ahead;
	int r;

	ring->avail = pos_from_base(config->base, packed_avail_bits);
	ring->used = pos_from_base(config->base >> USED_BASE_SHIFT, packed_used_bits);
	if (ring->avail.at >= vq->size || ring->used.at >= vq->size) {
		return -EINVAL;
	}
	/* What our predecessor took and did not give back stays taken. */
	ahead = ring->avail.at - ring->used.at;
	if (pos_wrap(&ring->avail) != pos_wrap(&ring->used)) {
		ahead += vq->size;
	}
	if (ahead > vq->size) {
		return -EINVAL;
	}
	ring->room = vq->size - ahead;
	r = packed_find(vq, vq->mem);
	if (r < 0) {
		return r;
	}
	ring->first_commit = true;
	if (config->inflight != NULL) {
		r = resume(vq, config);
		if (r < 0) {
			return r;
		}
	}
	packed_disarm(vq);
	return 0;
}

void packed_done(struct virtq *vq)
{
	packed_inflight_free(vq->packed.inflight);
}

uint32_t packed_base(const struct virtq *vq)
{
	const struct packed_ring *ring = &vq->packed;
	uint32_t used = pos_off_wrap(&ring->used);

	/* With an in-flight area: without what is marked there. */
	return (ring->inflight == NULL ? pos_off_wrap(&ring->avail) : used) |
	       used << USED_BASE_SHIFT;
}

void packed_abandon(struct virtq *vq)
{
	if (vq->packed.inflight != NULL) {
		vq->packed.inflight->abandoned = true;
	}
}

unsigned int packed_resubmits(const struct virtq *vq)
{
	return vq->packed.inflight == NULL ? 0 : packed_inflight_waiting(vq->packed.inflight);
}

void packed_forget_resubmits(const struct virtq *vq, uint8_t *flags)
{
	const struct packed_inflight *inflight = vq->packed.inflight;
	unsigned int n = packed_resubmits(vq);

	for (; n > 0; n--) {
		flags[inflight->resubmit[inflight->resubmit_n - n]] = false;
	}
}

bool packed_inflight_is_lost(const struct virtq *vq)
{
	return vq->packed.inflight != NULL && inflight_area_is_lost(vq->packed.inflight->area);
}

/* ---- chains ---- */

/* The one copy of a descriptor (rule R1), host byte order; `rest` has been loaded. */
static inline struct packed_words desc_load_after(const struct packed_desc *shared, uint32_t rest)
{
	return (struct packed_words){
		.addr = le64toh(__atomic_load_n(&shared->addr, __ATOMIC_RELAXED)),
		.len = shared_get32(&shared->len),
		.rest = rest,
	};
}

static inline struct packed_words desc_load(const struct packed_desc *shared)
{
	return desc_load_after(shared, shared_get32(&shared->id_and_flags));
}

/* virtio 1.2, 2.8.7: only the write flag counts in a table, and its length says where it ends. */
static const char *walk_table(struct virtq *vq, struct virtq_gather *gather,
			      struct packed_words head)
{
	const struct packed_desc *table = vq->table;
	const char *why = NULL;
	unsigned int i;

	/* virtio 1.2, 2.8.19: the driver does not set both; nor does it mix them in one list. */
	if ((head.rest & FLAG_NEXT) != 0) {
		return "an indirect descriptor has a next one";
	}
	why = virtq_load_table(vq, head.addr, head.len);
	for (i = 0; !why && i < head.len / sizeof(*table); i++) {
		why = virtq_gather_add(vq, gather, le64toh(table[i].addr), le32toh(table[i].len),
				       (le32toh(table[i].id_and_flags) & FLAG_WRITE) != 0);
	}
	return why;
}

/* `d`, at `at` in the ring, and what follows it. The last descriptor has the id of the buffer. */
static const char *walk_chain(struct virtq *vq, struct virtq_gather *gather, struct packed_words d,
			      unsigned int at, unsigned int *ret_descs, uint16_t *ret_id)
{
	unsigned int limit = vq->size < VIRTQ_MAX_SEGMENTS ? vq->size : VIRTQ_MAX_SEGMENTS;
	unsigned int descs = 1;
	const char *why;

	if ((d.rest & FLAG_INDIRECT) != 0) {
		*ret_descs = 1;
		*ret_id = (uint16_t)d.rest;
		return walk_table(vq, gather, d);
	}
	for (;;) {
		why = virtq_gather_add(vq, gather, d.addr, d.len, (d.rest & FLAG_WRITE) != 0);
		if (why) {
			return why;
		}
		if ((d.rest & FLAG_NEXT) == 0) {
			*ret_descs = descs;
			*ret_id = (uint16_t)d.rest;
			return NULL;
		}
		/* Counted, so that flags that never end do no harm (rule R5). */
		if (++descs > limit) {
			return "a descriptor chain is too long";
		}
		at = at + 1 == vq->size ? 0 : at + 1;
		d = desc_load(&vq->packed.desc[at]);
		if ((d.rest & FLAG_INDIRECT) != 0) {
			return "an indirect descriptor in a chain of others";
		}
	}
}

/* Translates one descriptor into *iov. */
static inline bool piece(const struct virtq *vq, struct packed_words d, struct iovec *iov)
{
	iov->iov_len = d.len;
	return guest_mem_translate_known(&vq->cache, d.addr, d.len, &iov->iov_base);
}

/*
 * The chains that drivers really send: a few descriptors in the ring (next, up to `end`, then from
 * `start`) or in one table (next, up to `end`), each in a region that the cache knows, those that we read
 * first. False: it is another chain, or breaks a rule. Then nothing has happened, and walk_any() starts
 * anew, does everything and finds the words. Each descriptor is loaded once here too.
 *
 * This is where most instructions of a request go. It calls nothing, so that its variables stay in
 * registers; `table` is known at compile time.
 */
static inline __attribute__((always_inline)) bool
walk_common(const struct virtq *vq, const bool table, struct packed_words *d,
	    const struct packed_desc *next, const struct packed_desc *start,
	    const struct packed_desc *end, struct virtq_req *req)
{
	struct iovec *iov = req->out;
	struct iovec *const iov_end = iov + VIRTQ_INLINE_IOV;
	const uint32_t kind = table ? FLAG_WRITE : FLAG_WRITE | FLAG_INDIRECT;
	uint64_t out_len = 0;
	uint64_t in_len = 0;

	while ((d->rest & kind) == 0) {
		if (!piece(vq, *d, iov)) {
			return false;
		}
		/* The device reads its request header next. */
		__builtin_prefetch(iov->iov_base);
		out_len += d->len;
		iov++;
		if (unlikely(table ? next == end : (d->rest & FLAG_NEXT) == 0)) {
			req->in = iov;
			goto walked;
		}
		if (unlikely(iov == iov_end)) {
			return false;
		}
		if (!table && unlikely(next == end)) {
			next = start;
		}
		*d = desc_load(next++);
	}
	req->in = iov;
	for (;;) {
		if (unlikely((d->rest & kind) != FLAG_WRITE) || !piece(vq, *d, iov)) {
			return false;
		}
		in_len += d->len;
		iov++;
		if (table ? next == end : (d->rest & FLAG_NEXT) == 0) {
			break;
		}
		if (unlikely(iov == iov_end)) {
			return false;
		}
		if (!table && unlikely(next == end)) {
			next = start;
		}
		*d = desc_load(next++);
	}
walked:
	req->end = iov;
	req->out_len = out_len;
	req->in_len = in_len;
	return likely(out_len + in_len <= vq->max_req_bytes);
}

/* The table of an indirect descriptor, walked where it lies. */
static inline bool walk_common_table(struct virtq *vq, struct packed_words d, struct virtq_req *req)
{
	const struct packed_desc *table;
	uint32_t n = d.len / (uint32_t)sizeof(*table);
	void *at;

	if (unlikely(!vq->indirect || (d.rest & FLAG_NEXT) != 0 || n > VIRTQ_MAX_SEGMENTS) ||
	    !guest_mem_translate_known(&vq->cache, d.addr, d.len, &at) ||
	    unlikely(((uintptr_t)at | d.len) % sizeof(*table) != 0)) {
		return false;
	}
	table = at;
	d = desc_load(table);
	return walk_common(vq, true, &d, table + 1, NULL, table + n, req);
}

/* What of a buffer does not depend on where its pieces lie; `room`: descriptors that are not in flight.
 * virtio 1.2, 2.8.17, 2.8.21: the driver puts a list where there is room for it, with an id that is free. */
static const char *buffer_trouble(const struct virtq *vq, uint16_t id, unsigned int descs,
				  unsigned int room)
{
	if (id >= vq->size) {
		return "a buffer id lies outside of the ring";
	}
	if (descs > room) {
		return "descriptors in flight are available again";
	}
	return vq->busy[id] ? "a buffer id is in flight already" : NULL;
}

/* Every other chain. False: the ring is broken (*ret_why), or there is no room for the request now. */
static __attribute__((noinline)) bool walk_any(struct virtq *vq, struct packed_words d,
					       unsigned int at, unsigned int room,
					       struct virtq_req *req, const char **ret_why)
{
	struct virtq_gather gather = { 0 };
	unsigned int descs = 0;
	uint16_t id = 0;

	*ret_why = walk_chain(vq, &gather, d, at, &descs, &id);
	if (*ret_why == NULL) {
		*ret_why = buffer_trouble(vq, id, descs, room);
	}
	if (*ret_why != NULL || !virtq_gather_finish(vq, &gather, req)) {
		return false;
	}
	vq->busy[id] = true;
	req->head = id;
	req->descs = (uint16_t)descs;
	return true;
}

/* What the loop over the ring needs of it, where the compiler can keep it. */
struct ring_view {
	const struct packed_desc *start;
	const struct packed_desc *end;
	uint8_t *busy;
	unsigned int size;
};

static inline __attribute__((always_inline)) bool
walk(struct virtq *vq, const struct ring_view *ring, const struct packed_desc *head,
     struct packed_words d, unsigned int room, struct virtq_req *req, unsigned int *ret_descs)
{
	unsigned int descs = 1;
	unsigned int id;

	if ((d.rest & FLAG_INDIRECT) != 0) {
		if (!walk_common_table(vq, d, req)) {
			return false;
		}
	} else {
		if (!walk_common(vq, false, &d, head + 1, ring->start, ring->end, req)) {
			return false;
		}
		/* No piece was empty, none has been merged with another. */
		descs = (unsigned int)(req->end - req->out);
	}
	id = d.rest & 0xffff;
	if (unlikely(id >= ring->size || ring->busy[id] || descs > room)) {
		return false;
	}
	ring->busy[id] = true;
	req->head = (uint16_t)id;
	req->descs = (uint16_t)descs;
	*ret_descs = descs;
	return true;
}

/* ---- fetching ---- */

/* Acquire: the flags are loaded before all else that they show as available. */
static inline bool is_available(const struct packed_desc *desc, uint32_t bits, uint32_t *ret_rest)
{
	*ret_rest = le32toh(__atomic_load_n(&desc->id_and_flags, __ATOMIC_ACQUIRE));
	return (*ret_rest & AVAIL_AND_USED) == bits;
}

static bool next_is_available(const struct virtq *vq)
{
	const struct packed_pos *pos = &vq->packed.avail;
	uint32_t rest;

	return is_available(&vq->packed.desc[pos->at], pos->bits, &rest);
}

/*
 * Makes the cache misses of the next n tables overlap; the descriptors lie one behind the other, which needs
 * no help. What is read here is a hint, loaded again before it is used.
 */
static inline void prefetch_tables(const struct virtq *vq, unsigned int n)
{
	struct packed_pos pos = vq->packed.avail;

	for (; n > 0; n--) {
		const struct packed_desc *desc = &vq->packed.desc[pos.at];
		void *table = NULL;
		uint32_t rest;

		if (!is_available(desc, pos.bits, &rest) || (rest & FLAG_INDIRECT) == 0) {
			break; /* they are rarely mixed */
		}
		guest_mem_translate_known(&vq->cache, desc_load_after(desc, rest).addr, 1, &table);
		__builtin_prefetch(table);
		pos_advance(&pos, 1, vq->size);
	}
}

/* There are as many free slots. */
static unsigned int pop_chunk(struct virtq *vq, struct virtq_req **reqs, unsigned int n)
{
	const struct ring_view ring = {
		.start = vq->packed.desc,
		.end = vq->packed.desc + vq->size,
		.busy = vq->busy,
		.size = vq->size,
	};
	struct virtq_req **top = vq->free_slots + vq->free_slot_n;
	const struct packed_desc *head = ring.start + vq->packed.avail.at;
	uint32_t bits = vq->packed.avail.bits;
	unsigned int room = vq->packed.room;
	const char *why = NULL;
	unsigned int i;

	if (vq->indirect) {
		prefetch_tables(vq, n);
	}
	for (i = 0; i < n; i++) {
		struct virtq_req *req = *--top;
		struct packed_words d;
		unsigned int descs;
		uint32_t rest;

		if (!is_available(head, bits, &rest)) {
			break;
		}
		d = desc_load_after(head, rest);
		if (unlikely(!walk(vq, &ring, head, d, room, req, &descs))) {
			if (!walk_any(vq, d, (unsigned int)(head - ring.start), room, req, &why)) {
				break;
			}
			descs = req->descs;
		}
		room -= descs;
		head += descs;
		if (unlikely(head >= ring.end)) {
			head -= ring.size;
			bits ^= AVAIL_AND_USED;
		}
		reqs[i] = req;
	}
	vq->free_slot_n -= i;
	vq->packed.avail.at = (uint32_t)(head - ring.start);
	vq->packed.avail.bits = bits;
	vq->packed.room = room;
	if (unlikely(why != NULL)) {
		virtq_break(vq, why);
	}
	return i;
}

static __attribute__((noinline)) unsigned int pop_new(struct virtq *vq, struct virtq_req **reqs,
						      unsigned int max)
{
	unsigned int n = max < vq->free_slot_n ? max : vq->free_slot_n;
	unsigned int done = 0;

	if (unlikely(vq->free_slot_n == 0)) {
		vq->starved = next_is_available(vq);
		return 0;
	}
	while (done < n) {
		unsigned int want = n - done < POP_CHUNK ? n - done : POP_CHUNK;
		unsigned int got = pop_chunk(vq, reqs + done, want);

		done += got;
		if (got < want) {
			break;
		}
	}
	return done;
}

/* A request that a predecessor fetched: its descriptors are no more in the ring, but in the in-flight area. */
static const char *walk_saved(struct virtq *vq, struct virtq_gather *gather, uint16_t id,
			      unsigned int *ret_descs)
{
	const struct packed_inflight *inflight = vq->packed.inflight;
	const struct packed_kept kept = inflight->kept[id];
	unsigned int descs = 1;
	uint16_t entry;

	for (entry = kept.head;; entry = inflight->next[entry]) {
		const struct packed_words d = inflight->saved[entry];
		const char *why;

		if ((d.rest & FLAG_INDIRECT) != 0 && kept.head != kept.last) {
			return "an indirect descriptor in a chain of others";
		}
		why = (d.rest & FLAG_INDIRECT) != 0 ? walk_table(vq, gather, d) :
						      virtq_gather_add(vq, gather, d.addr, d.len,
								       (d.rest & FLAG_WRITE) != 0);
		if (why != NULL || entry == kept.last) {
			*ret_descs = descs;
			return why;
		}
		descs++;
	}
}

/* The requests of a predecessor; they are few, and not in a hurry. */
static unsigned int pop_resubmits(struct virtq *vq, struct virtq_req **reqs, unsigned int max)
{
	struct packed_inflight *inflight = vq->packed.inflight;
	unsigned int n = 0;

	vq->starved = vq->free_slot_n == 0;
	while (n < max && vq->free_slot_n > 0 && packed_inflight_waiting(inflight) > 0) {
		struct virtq_req *req = vq->free_slots[vq->free_slot_n - 1];
		uint16_t id = inflight->resubmit[inflight->resubmit_next];
		struct virtq_gather gather = { 0 };
		unsigned int descs = 0;
		const char *why = walk_saved(vq, &gather, id, &descs);

		if (why != NULL) {
			virtq_break(vq, why);
			break;
		}
		if (!virtq_gather_finish(vq, &gather, req)) {
			break;
		}
		vq->free_slot_n--;
		inflight->resubmit_next++;
		req->head = id;
		req->descs = (uint16_t)descs;
		req->resubmitted = true;
		reqs[n++] = req;
	}
	return n;
}

/* With an in-flight area. */
static __attribute__((noinline)) unsigned int pop_kept(struct virtq *vq, struct virtq_req **reqs,
						       unsigned int max)
{
	struct packed_inflight *inflight = vq->packed.inflight;
	unsigned int at = vq->packed.avail.at;
	unsigned int n;

	if (inflight_area_is_lost(inflight->area)) {
		virtq_break(vq, "the in-flight area is gone: its file was cut short");
		return 0;
	}
	if (packed_inflight_waiting(inflight) > 0) {
		return pop_resubmits(vq, reqs, max);
	}
	n = pop_new(vq, reqs, max);
	if (n > 0) {
		packed_inflight_fetched(inflight, vq->packed.desc, at, vq->size, reqs, n);
	}
	return n;
}

unsigned int packed_pop(struct virtq *vq, struct virtq_req **reqs, unsigned int max)
{
	return unlikely(vq->packed.inflight != NULL) ? pop_kept(vq, reqs, max) :
						       pop_new(vq, reqs, max);
}

void packed_unpop(struct virtq *vq, const struct virtq_req *req)
{
	struct packed_inflight *inflight = vq->packed.inflight;

	if (req->resubmitted) {
		/* It stays in flight, and so busy, but holds no memory. */
		inflight->resubmit[--inflight->resubmit_next] = req->head;
		vq->old_busy[req->head] = false;
		return;
	}
	vq->busy[req->head] = false;
	pos_retreat(&vq->packed.avail, req->descs, vq->size);
	vq->packed.room += req->descs;
	if (inflight != NULL) {
		packed_inflight_unfetched(inflight, req->head);
	}
}

/* ---- publishing ---- */

/* virtio 1.2, 2.8.10: does the driver ask for a call by one of the n descriptors from `old` on? */
static bool call_wanted(struct virtq *vq, const struct packed_pos *old, unsigned int n)
{
	/* Both fields at once: a position and the flags that make it valid belong together. */
	uint32_t driver = shared_get32(&vq->packed.driver->off_wrap_and_flags);
	unsigned int flags = driver >> 16 & PACKED_EVENT_FLAGS;
	unsigned int event = driver & POSITION_MASK;

	if (flags != PACKED_EVENT_DESC || !vq->event_idx) {
		return flags != PACKED_EVENT_DISABLE;
	}
	if (vq->packed.first_commit) {
		/* What the driver was told by whoever served the ring before us is not known. */
		vq->packed.first_commit = false;
		return true;
	}
	if (((driver & WRAP_IN_BASE) != 0) != pos_wrap(old)) {
		event += vq->size; /* in the next round */
	}
	return event - old->at < n;
}

/* n used descriptors from `old` on are written, but for the flags of the first. */
static void log_descriptors(struct virtq *vq, unsigned int old, unsigned int n)
{
	unsigned int up = n < vq->size - old ? n : vq->size - old; /* to the end of the ring */

	virtq_log_memory(vq, vq->packed.desc + old, up * sizeof(struct packed_desc));
	virtq_log_memory(vq, vq->packed.desc, (n - up) * sizeof(struct packed_desc));
}

static inline __attribute__((always_inline)) bool publish(struct virtq *vq)
{
	struct packed_ring *ring = &vq->packed;
	const struct packed_pos old = ring->used;
	struct packed_pos pos = old;
	const struct virtq_staged *staged = vq->staged;
	const struct virtq_staged *const end = staged + vq->staged_n;
	const unsigned int size = vq->size;
	uint8_t *busy = vq->busy;
	struct packed_desc *desc = &ring->desc[pos.at];
	struct packed_desc *const first = desc;
	/* The first one shows all of them to the driver, so its flags come last. */
	uint32_t first_rest;
	uint32_t *rest = &first_rest;
	unsigned int n;

	do {
		shared_put32(&desc->len, staged->written);
		shared_put32(rest,
			     staged->head | pos.bits | (staged->written > 0 ? FLAG_WRITE : 0));
		busy[staged->head] = false;
		pos_advance(&pos, staged->descs, size);
		desc = &ring->desc[pos.at];
		rest = &desc->id_and_flags;
	} while (++staged < end);
	n = pos.at - old.at + (pos.bits != old.bits ? size : 0);
	vq->staged_n = 0;
	ring->used = pos;
	ring->room += n;
	if (virtq_logs(vq)) {
		log_descriptors(vq, old.at, n);
	}
	/* Release: data, status bytes and used descriptors are visible before those flags. */
	__atomic_store_n(&first->id_and_flags, first_rest, __ATOMIC_RELEASE);
	if (virtq_logs(vq)) {
		virtq_log_memory(vq, first, sizeof(*first));
		virtq_log_done(vq);
	}
	/* Full: the flags are stored before the driver's wish is loaded. The driver stores that before
	 * it loads the flags, so one of the two sees the other's store. */
	atomic_thread_fence(memory_order_seq_cst);
	return call_wanted(vq, &old, n);
}

/* With an in-flight area. */
static __attribute__((noinline)) bool publish_kept(struct virtq *vq)
{
	struct packed_inflight *inflight = vq->packed.inflight;
	unsigned int n = vq->staged_n;
	const struct packed_pos now =
		packed_inflight_publishing(inflight, vq->staged, n, &vq->packed.used, vq->size);
	bool call = publish(vq);

	packed_inflight_published(inflight, vq->staged, n, &now);
	return call;
}

bool packed_publish(struct virtq *vq)
{
	return unlikely(vq->packed.inflight != NULL) ? publish_kept(vq) : publish(vq);
}

/* ---- notifications ---- */

static void wish(struct virtq *vq, uint32_t off_wrap_and_flags)
{
	shared_put32(&vq->packed.device->off_wrap_and_flags, off_wrap_and_flags);
	if (virtq_logs(vq)) {
		virtq_log_used(vq, 0, sizeof(struct packed_event));
	}
}

bool packed_arm(struct virtq *vq)
{
	struct packed_ring *ring = &vq->packed;
	uint32_t flags = vq->event_idx ? PACKED_EVENT_DESC : PACKED_EVENT_ENABLE;

	wish(vq, pos_off_wrap(&ring->avail) | flags << 16);
	/* Full: the wish for a kick is stored before the next descriptor is loaded; the driver does it
	 * the other way round, so either it kicks or we see its request. */
	atomic_thread_fence(memory_order_seq_cst);
	return !next_is_available(vq) && packed_resubmits(vq) == 0;
}

void packed_disarm(struct virtq *vq)
{
	wish(vq, (uint32_t)PACKED_EVENT_DISABLE << 16);
}
