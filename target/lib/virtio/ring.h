/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: the inside of a virtqueue, for virtqueue.c and the ring formats only. virtqueue.c owns what
 * all formats share: request slots, spill blocks, staged completions, notifications, statistics. A
 * format (split.c, packed.c) knows how requests lie in guest memory. Which one it is is asked once for a
 * batch.
 *
 *   slot    room of one request: the device's struct, then VIRTQ_INLINE_IOV iovecs. There are
 *           min(size, VIRTQ_MAX_SLOTS) of them; last in, first out, so that few are hot. In a free
 *           one req->out and req->spill say already that the pieces lie in the slot.
 *   spill   a block of iovecs for a request that has more pieces than fit inline. Three sizes; one of
 *           the largest kind is always free while nothing is in flight, so a queue cannot get stuck.
 *   gather  the request that is being parsed: its pieces collect in vq->gather and move to a slot
 *           when all of the chain has been checked.
 *
 * Owner of everything: the reactor of the queue.
 */
#ifndef VHT_VIRTIO_RING_H
#define VHT_VIRTIO_RING_H

#include <endian.h>
#include <stdatomic.h>

#include "base/likely.h"
#include "virtio/virtqueue.h"

/* A 4 KiB blk request has 3 pieces, a 128 KiB one of scattered pages 34. */
#define VIRTQ_INLINE_IOV 6
/* Bounds what a front-end can make us allocate with rings of 32768 entries. */
#define VIRTQ_MAX_SLOTS	  1024
#define VIRTQ_SPILL_KINDS 3
#define VIRTQ_NO_SPILL	  UINT16_MAX

/* ---- split ring in guest memory: virtio 1.2, 2.7.5, 2.7.6, 2.7.8; all little-endian ---- */

#define VRING_DESC_F_NEXT	   1
#define VRING_DESC_F_WRITE	   2
#define VRING_DESC_F_INDIRECT	   4
#define VRING_AVAIL_F_NO_INTERRUPT 1
#define VRING_USED_F_NO_NOTIFY	   1

struct vring_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next;
};

struct vring_avail {
	uint16_t flags;
	uint16_t idx;
	uint16_t ring[]; /* size entries, then used_event */
};

struct vring_used_elem {
	uint32_t id;
	uint32_t len;
};

struct vring_used {
	uint16_t flags;
	uint16_t idx;
	struct vring_used_elem ring[]; /* size entries, then avail_event */
};

/* ---- packed ring in guest memory: virtio 1.2, 2.8.13, 2.8.14. Fields that are next to each other and belong
 * together are one here, which one load or store takes. ---- */

#define PACKED_DESC_F_AVAIL (1 << 7)
#define PACKED_DESC_F_USED  (1 << 15)

struct packed_desc {
	uint64_t addr;
	uint32_t len;
	uint32_t id_and_flags; /* 16 bits each; the other flags are those of split rings */
};

#define PACKED_EVENT_ENABLE  0
#define PACKED_EVENT_DISABLE 1
#define PACKED_EVENT_DESC    2
#define PACKED_EVENT_FLAGS   3

struct packed_event {
	uint32_t off_wrap_and_flags; /* index (15 bits), wrap counter (1); flags */
};

/* One load or store of a field that the driver may change at any instant (rule R1). */
static inline uint16_t shared_get16(const uint16_t *p)
{
	return le16toh(__atomic_load_n(p, __ATOMIC_RELAXED));
}

static inline void shared_put16(uint16_t *p, uint16_t v)
{
	__atomic_store_n(p, htole16(v), __ATOMIC_RELAXED);
}

/* ---- the queue ---- */

struct virtq_staged {
	uint16_t head;
	uint16_t descs;
	uint32_t written;
};

struct split_inflight;

struct split_ring {
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t next_avail; /* free-running, as in the ring */
	uint16_t next_used;
	uint16_t suppressed_at; /* next_avail when avail_event was last pushed out of reach */
	bool first_commit;
	struct split_inflight *inflight; /* NULL: what is in flight is not kept */
	uint16_t base_minus_used;	 /* at the start; 0 unless the front-end is odd */
};

struct packed_inflight;

struct packed_pos {
	uint32_t at;
	uint32_t bits; /* the AVAIL and USED flags of descriptors there, in place of the wrap counter */
};

struct packed_ring {
	struct packed_desc *desc;
	struct packed_event *driver;
	struct packed_event *device;
	struct packed_pos avail; /* next to fetch */
	struct packed_pos used;	 /* next to write */
	unsigned int room;	 /* descriptors from `avail` on that are not in flight */
	bool first_commit;
	struct packed_inflight *inflight; /* NULL: what is in flight is not kept */
};

struct spill_kind {
	struct iovec *blocks;
	uint16_t *free; /* stack of block numbers */
	uint16_t block_iov;
	uint16_t free_n;
};

/* What has been gathered of the request being parsed. */
struct virtq_gather {
	uint64_t out_len;
	uint64_t in_len;
	uint16_t out_n;
	uint16_t in_n;
	bool writable_seen;
};

struct virtq {
	struct guest_mem *mem;
	bool is_packed;
	union {
		struct split_ring split;
		struct packed_ring packed;
	};
	uint64_t desc_uva, avail_uva, used_uva;
	uint16_t size;
	unsigned int mask; /* size - 1, for split rings */
	bool indirect;
	bool event_idx;
	bool starved; /* pop stopped for want of a slot or spill block: completions wake it */
	bool polled;  /* notifications are off */
	uint64_t max_req_bytes;
	const char *broken; /* relaxed atomic: management reads it */

	struct virtq_req **free_slots; /* a stack */
	unsigned int free_slot_n;
	unsigned int slot_n;
	uint8_t *slots;
	size_t iov_offset;    /* of the inline iovecs in a slot */
	struct iovec *gather; /* VIRTQ_MAX_SEGMENTS */
	void *table;	      /* private copy of an indirect table */
	struct guest_mem_cache cache;
	struct spill_kind spill[VIRTQ_SPILL_KINDS];

	struct virtq_staged *staged;
	unsigned int staged_n;
	uint8_t *busy; /* by head or buffer id: popped and not yet published */
	/* virtq_mem.c: the snapshot before the last switch, NULL: nobody uses it any more, and which heads
	 * were busy at that time and have been all along. */
	struct guest_mem *old_mem;
	uint8_t *old_busy;
	struct ring_log log;
	/* virtq_qos.c */
	struct virtq_meter *meter; /* NULL: any number may be popped */
	uint64_t call_gap;	   /* ticks between two calls, 0: any */
	uint64_t call_at;	   /* not before that; of no meaning without a gap */
	bool call_due;		   /* a call is held back */

	int kick_fd;
	int call_fd;
	int err_fd;
	struct virtq_stats stats;
};

/* ---- virtqueue.c, for the formats ---- */

/* Adds one checked descriptor to the request being gathered. NULL, or why the ring is broken. */
const char *virtq_gather_add(struct virtq *vq, struct virtq_gather *gather, uint64_t addr,
			     uint32_t len, bool writable);
/* Copies an indirect table of len bytes to vq->table. NULL, or why the ring is broken. */
const char *virtq_load_table(struct virtq *vq, uint64_t addr, uint32_t len);
/* Moves it into a free slot. False: no spill block is free now; vq->starved is set. */
bool virtq_gather_finish(struct virtq *vq, const struct virtq_gather *gather,
			 struct virtq_req *req);

/* ---- virtq_log.c: what has been written to guest memory. Each but the first: only if virtq_logs(). ---- */

static inline bool virtq_logs(const struct virtq *vq)
{
	return unlikely(vq->log.log != NULL);
}

void virtq_log_init(struct virtq *vq, const struct ring_log *log);
/* Memory of this snapshot, or of the one before. */
void virtq_log_memory(struct virtq *vq, const void *host, uint64_t len);
void virtq_log_request(struct virtq *vq, const struct virtq_req *req);
/* A part of the used ring, or of the device's event suppression. */
void virtq_log_used(struct virtq *vq, uint64_t offset, uint64_t len);
/* A batch has been published and logged. */
void virtq_log_done(struct virtq *vq);

/* ---- virtq_qos.c, for virtqueue.c ---- */

/* As virtq_pop_format(), no more than vq->meter allows. */
unsigned int virtq_pop_metered(struct virtq *vq, struct virtq_req **reqs, unsigned int max);
/* Calls the driver, which wants it and has an eventfd, no sooner than the gap allows. */
void virtq_call_later(struct virtq *vq);

/* The VIRTQ_INLINE_IOV iovecs of a slot. */
static inline struct iovec *virtq_slot_iov(const struct virtq *vq, struct virtq_req *req)
{
	return (struct iovec *)((uint8_t *)req + vq->iov_offset);
}

/* ---- the split format ---- */

/* Looks the parts of the ring up. -EFAULT: one of them is not (aligned) memory; nothing has changed. */
int split_find(struct virtq *vq, const struct guest_mem *mem);
int split_init(struct virtq *vq, const struct virtq_config *config);
void split_done(struct virtq *vq);
unsigned int split_pop(struct virtq *vq, struct virtq_req **reqs, unsigned int max);
void split_unpop(struct virtq *vq, const struct virtq_req *req);
/* Publishes all staged requests, and unstages them; does the driver want to be called? */
bool split_publish(struct virtq *vq);
/* Turns kicks on; is nothing available? */
bool split_arm(struct virtq *vq);
void split_disarm(struct virtq *vq);
uint16_t split_base(const struct virtq *vq);
/* From now on the in-flight area is a successor's. */
void split_abandon(struct virtq *vq);
/* How many requests of a predecessor wait to be popped. */
unsigned int split_resubmits(const struct virtq *vq);
/* Clears their flags. */
void split_forget_resubmits(const struct virtq *vq, uint8_t *flags);
bool split_inflight_is_lost(const struct virtq *vq);

/* ---- the packed format: the same; -EINVAL: no such base ---- */

int packed_find(struct virtq *vq, const struct guest_mem *mem);
int packed_init(struct virtq *vq, const struct virtq_config *config);
void packed_done(struct virtq *vq);
unsigned int packed_pop(struct virtq *vq, struct virtq_req **reqs, unsigned int max);
void packed_unpop(struct virtq *vq, const struct virtq_req *req);
bool packed_publish(struct virtq *vq);
bool packed_arm(struct virtq *vq);
void packed_disarm(struct virtq *vq);
uint32_t packed_base(const struct virtq *vq);
void packed_abandon(struct virtq *vq);
unsigned int packed_resubmits(const struct virtq *vq);
void packed_forget_resubmits(const struct virtq *vq, uint8_t *flags);
bool packed_inflight_is_lost(const struct virtq *vq);

static inline unsigned int virtq_pop_format(struct virtq *vq, struct virtq_req **reqs,
					    unsigned int max)
{
	return vq->is_packed ? packed_pop(vq, reqs, max) : split_pop(vq, reqs, max);
}

#endif
