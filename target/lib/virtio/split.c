/* SPDX-License-Identifier: BSD-3-Clause */
/* The split ring: virtio 1.2, 2.7. */
#include <errno.h>

#include "base/iov.h"
#include "env/env.h"
#include "virtio/ring.h"

/* Heads that are fetched together, so that their cache misses overlap. */
#define POP_CHUNK 16
/* An indirect table may cross region borders, each of which splits it. */
#define TABLE_PIECES 8
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

int split_init(struct virtq *vq, const struct virtq_config *config)
{
	struct split_ring *ring = &vq->split;
	uint64_t size = config->size;
	uint64_t event_bytes = vq->event_idx ? sizeof(uint16_t) : 0;

	/* virtio 1.2, 2.7: alignment 16, 2 and 4. */
	ring->desc =
		guest_mem_ring_ptr(vq->mem, config->desc_uva, size * sizeof(struct vring_desc), 16);
	ring->avail = guest_mem_ring_ptr(
		vq->mem, config->avail_uva,
		sizeof(struct vring_avail) + size * sizeof(uint16_t) + event_bytes, 2);
	ring->used = guest_mem_ring_ptr(
		vq->mem, config->used_uva,
		sizeof(struct vring_used) + size * sizeof(struct vring_used_elem) + event_bytes, 4);
	if (!ring->desc || !ring->avail || !ring->used) {
		return -EFAULT;
	}
	if (vq->indirect) {
		ring->table = env_zalloc(VIRTQ_MAX_SEGMENTS * sizeof(struct vring_desc), 0,
					 config->numa_node);
		if (!ring->table) {
			return -ENOMEM;
		}
	}
	ring->next_avail = config->base;
	ring->next_used = shared_get16(&ring->used->idx);
	ring->first_commit = true;
	split_disarm(vq);
	return 0;
}

void split_done(struct virtq *vq)
{
	env_free(vq->split.table);
}

uint16_t split_base(const struct virtq *vq)
{
	return vq->split.next_avail;
}

/* ---- chains ---- */

/* The one copy of a descriptor in the ring's own table (rule R1): two loads, host byte order. */
static struct vring_desc desc_load(const struct vring_desc *shared)
{
	uint64_t addr = le64toh(__atomic_load_n(&shared->addr, __ATOMIC_RELAXED));
	uint64_t rest = le64toh(__atomic_load_n((const uint64_t *)&shared->len, __ATOMIC_RELAXED));

	return (struct vring_desc){
		.addr = addr,
		.len = (uint32_t)rest,
		.flags = (uint16_t)(rest >> 32),
		.next = (uint16_t)(rest >> 48),
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

/* Copies the table that `d` refers to into ring->table. NULL, or why the ring is broken. */
static const char *table_load(struct virtq *vq, const struct vring_desc *d)
{
	struct iovec pieces[TABLE_PIECES];
	unsigned int piece_n = 0;

	if (!vq->indirect) {
		return "an indirect descriptor, which was not negotiated";
	}
	/* virtio 1.2, 2.7.5.3.1: the driver does not set both. */
	if ((d->flags & VRING_DESC_F_NEXT) != 0) {
		return "an indirect descriptor has a next one";
	}
	if (d->len == 0 || d->len % sizeof(struct vring_desc) != 0) {
		return "the length of an indirect table is not a multiple of 16";
	}
	if (d->len / sizeof(struct vring_desc) > VIRTQ_MAX_SEGMENTS) {
		return "an indirect table is too long";
	}
	if (guest_mem_translate(vq->mem, d->addr, d->len, pieces, TABLE_PIECES, &piece_n) < 0) {
		return "an indirect table lies outside of guest memory";
	}
	iov_gather(pieces, piece_n, 0, vq->split.table, d->len);
	/* The compiler must not go back to guest memory for what was copied just now. */
	__asm__ volatile("" ::: "memory");
	return NULL;
}

/* `before`: descriptors of the chain that came ahead of the table. */
static const char *walk_table(struct virtq *vq, struct virtq_gather *gather,
			      const struct vring_desc *indirect, unsigned int before)
{
	unsigned int table_n = indirect->len / sizeof(struct vring_desc);
	unsigned int steps = 0;
	uint16_t i = 0;
	const char *why = table_load(vq, indirect);

	while (!why) {
		struct vring_desc d = desc_decode(&vq->split.table[i]);

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
		d = desc_load(&vq->split.desc[d.next]);
	}
}

/*
 * The chains that drivers really send: a few descriptors in the ring or in one indirect table, each in
 * one region. NULL if it is not so or any rule is broken: then nothing has happened, and walk_chain()
 * starts anew from fresh copies, does everything and finds the words. Each descriptor is loaded once
 * here too, and no value of this walk outlives a NULL.
 */
static __attribute__((noinline)) struct virtq_req *
walk_common(struct virtq *vq, const struct vring_desc *first, uint16_t head)
{
	struct virtq_req *req = virtq_slot_peek(vq);
	const struct vring_desc *table = vq->split.desc;
	struct vring_desc d = *first;
	uint64_t out_len = 0;
	uint64_t in_len = 0;
	unsigned int table_n = vq->size;
	unsigned int n = 0;
	unsigned int out_n = 0;
	struct iovec *iov;

	if (!req) {
		return NULL;
	}
	iov = virtq_slot_iov(vq, req);
	if ((d.flags & VRING_DESC_F_INDIRECT) != 0) {
		table_n = d.len / sizeof(struct vring_desc);
		table = guest_mem_lookup(vq->mem, &vq->cache, d.addr, d.len);
		if (!vq->indirect || !table || ((uintptr_t)table | d.len) % sizeof(*table) != 0 ||
		    (d.flags & VRING_DESC_F_NEXT) != 0 || table_n > VIRTQ_MAX_SEGMENTS) {
			return NULL;
		}
		d = desc_load(&table[0]);
	}
	for (;;) {
		iov[n].iov_base = guest_mem_lookup(vq->mem, &vq->cache, d.addr, d.len);
		iov[n].iov_len = d.len;
		if (!iov[n].iov_base || (d.flags & VRING_DESC_F_INDIRECT) != 0) {
			return NULL;
		}
		if ((d.flags & VRING_DESC_F_WRITE) != 0) {
			in_len += d.len;
		} else if (out_n++ == n) {
			out_len += d.len;
		} else {
			return NULL; /* a readable one after a writable one */
		}
		n++;
		if ((d.flags & VRING_DESC_F_NEXT) == 0) {
			break;
		}
		if (n == VIRTQ_INLINE_IOV || d.next >= table_n) {
			return NULL;
		}
		d = desc_load(&table[d.next]);
	}
	if (out_len + in_len > vq->max_req_bytes) {
		return NULL;
	}
	virtq_slot_take(vq, req);
	req->iov = iov;
	req->out_n = (uint16_t)out_n;
	req->in_n = (uint16_t)(n - out_n);
	req->out_len = out_len;
	req->in_len = in_len;
	req->head = head;
	req->spill = VIRTQ_NO_SPILL;
	virtq_head_set_busy(vq, head, true);
	return req;
}

/* ---- fetching ---- */

struct fetched {
	struct vring_desc first;
	uint16_t head;
};

/* Reads up to n heads and their first descriptors; stops ahead of a bad head. */
static unsigned int fetch(struct virtq *vq, struct fetched *fetched, unsigned int n,
			  const char **ret_why)
{
	const struct split_ring *ring = &vq->split;
	unsigned int i;

	for (i = 0; i < n; i++) {
		uint16_t at = (uint16_t)(ring->next_avail + i) & vq->mask;
		uint16_t head = shared_get16(&ring->avail->ring[at]);

		if (head >= vq->size) {
			*ret_why = "an available head lies outside of the ring";
			n = i;
			break;
		}
		fetched[i].head = head;
		__builtin_prefetch(&ring->desc[head]);
	}
	for (i = 0; i < n; i++) {
		fetched[i].first = desc_load(&ring->desc[fetched[i].head]);
		if ((fetched[i].first.flags & VRING_DESC_F_INDIRECT) != 0) {
			/* Of no region: NULL, which does no harm. */
			__builtin_prefetch(
				guest_mem_lookup(vq->mem, &vq->cache, fetched[i].first.addr, 1));
		}
	}
	return n;
}

static unsigned int pop_chunk(struct virtq *vq, struct virtq_req **reqs, unsigned int n)
{
	struct fetched fetched[POP_CHUNK];
	const char *why = NULL;
	unsigned int i;

	n = fetch(vq, fetched, n, &why);
	for (i = 0; i < n; i++) {
		uint16_t head = fetched[i].head;

		if (virtq_head_busy(vq, head)) {
			why = "an available head is in flight already";
			break;
		}
		reqs[i] = walk_common(vq, &fetched[i].first, head);
		if (!reqs[i]) {
			struct virtq_gather gather = { 0 };

			why = walk_chain(vq, &gather, fetched[i].first);
			if (why) {
				break;
			}
			reqs[i] = virtq_gather_finish(vq, &gather, head);
			if (!reqs[i]) {
				return i;
			}
		}
		vq->split.next_avail++;
		if (reqs[i]->out_n > 0) {
			/* The device reads its request header next. */
			__builtin_prefetch(reqs[i]->iov[0].iov_base);
		}
	}
	if (why) {
		virtq_break(vq, why);
	}
	return i;
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

void split_unpop(struct virtq *vq)
{
	vq->split.next_avail--;
}

/* ---- publishing ---- */

bool split_publish(struct virtq *vq)
{
	struct split_ring *ring = &vq->split;
	uint16_t old = ring->next_used;
	unsigned int i;

	for (i = 0; i < vq->staged_n; i++) {
		struct vring_used_elem *elem = &ring->used->ring[ring->next_used & vq->mask];

		elem->id = htole32(vq->staged[i].head);
		elem->len = htole32(vq->staged[i].written);
		ring->next_used++;
	}
	/* Release: data, status bytes and used elements are visible before the index. */
	__atomic_store_n(&ring->used->idx, htole16(ring->next_used), __ATOMIC_RELEASE);
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

bool split_arm(struct virtq *vq)
{
	struct split_ring *ring = &vq->split;

	if (vq->event_idx) {
		shared_put16(avail_event(vq), ring->next_avail);
	} else {
		shared_put16(&ring->used->flags, 0);
	}
	/* Full: avail_event or flags is stored before the available index is loaded; the driver does
	 * it the other way round, so either it kicks or we see its request. */
	atomic_thread_fence(memory_order_seq_cst);
	return shared_get16(&ring->avail->idx) == ring->next_avail;
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
}
