/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts
 *   virtq    one virtqueue as the device side sees it. Devices pop requests and push them back; they
 *            never see a descriptor, nor know the ring format (split or packed, as negotiated).
 *   request  a checked descriptor chain: private copies of the descriptors, translated to iovecs, the
 *            device-readable ones first. Lives in a slot that the queue preallocated; the device's own
 *            per-request data lies behind it in the same slot.
 *   batch    pop takes what is there, push only stages, commit publishes all staged requests with one
 *            index update and decides once whether to call the driver.
 *   broken   a ring that told a lie (bad index, loop, address outside of guest memory...). It is not
 *            looked at any more, its error eventfd is raised; everything else goes on (rule R6).
 *
 * Owner: created and freed by the control thread; in between every function but virtq_read_stats() and
 * virtq_broken_reason() belongs to the reactor that the queue was handed to.
 */
#ifndef VHT_VIRTIO_VIRTQUEUE_H
#define VHT_VIRTIO_VIRTQUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "virtio/dirty_log.h"
#include "virtio/guest_mem.h"

#define VIRTQ_MAX_SIZE	   32768 /* virtio 1.2, 2.7: largest queue size, of both formats */
#define VIRTQ_MAX_SEGMENTS 1024	 /* descriptors in one chain or indirect table; Windows sends 515 */

#define VIRTIO_RING_F_INDIRECT_DESC 28
#define VIRTIO_RING_F_EVENT_IDX	    29
#define VIRTIO_F_VERSION_1	    32
#define VIRTIO_F_RING_PACKED	    34

/* The base of a packed ring that nobody has served yet: both positions 0, in the round that has wrap counter
 * 1 (virtio 1.2, 2.8.1). Of a split ring it is 0. */
#define VIRTQ_PACKED_BASE_INITIAL 0x80008000u

/* First member of a device's request struct. The device reads it; the queue writes it. */
struct virtq_req {
	struct iovec *out; /* the device-readable elements, up to ... */
	struct iovec *in;  /* ... these, which are device-writable, up to ... */
	struct iovec *end; /* ... here */
	uint64_t out_len;  /* bytes in the readable part */
	uint64_t in_len;   /* bytes in the writable part */
	/* private: */
	uint16_t head;	/* packed: buffer id */
	uint16_t descs; /* in a packed ring; split.c has no use for it */
	uint16_t spill; /* block number, VIRTQ_NO_SPILL: the pieces lie in the slot */
	uint8_t spill_kind;
	bool resubmitted; /* see virtq_req_is_resubmitted(); written with an in-flight area only */
};

static inline unsigned int virtq_req_out_n(const struct virtq_req *req)
{
	return (unsigned int)(req->in - req->out);
}

static inline unsigned int virtq_req_in_n(const struct virtq_req *req)
{
	return (unsigned int)(req->end - req->in);
}

/* Written by the reactor with relaxed stores, read by anyone with relaxed loads. */
struct virtq_stats {
	uint64_t requests;	   /* popped */
	uint64_t read_bytes;	   /* counted by the device: data to the driver */
	uint64_t written_bytes;	   /* counted by the device: data from the driver */
	uint64_t kicks;		   /* available-buffer notifications received */
	uint64_t calls;		   /* used-buffer notifications sent */
	uint64_t suppressed_calls; /* commits that needed none of their own */
	uint64_t batches;	   /* pops that found something */
	uint64_t malformed;	   /* requests or rings that broke a rule */
};

struct virtq_config {
	uint16_t size;	       /* a power of two if it is a split ring, <= VIRTQ_MAX_SIZE */
	uint64_t features;     /* negotiated bits */
	struct guest_mem *mem; /* the queue takes its own reference */
	uint64_t desc_uva, avail_uva, used_uva; /* front-end addresses of the three parts */
	/* Of a packed ring: of the descriptors, of the driver's and of the device's event suppression. */
	uint32_t base;		      /* where to go on, as in vhost-user SET_VRING_BASE */
	int kick_fd, call_fd, err_fd; /* borrowed, each may be -1 */
	size_t req_size;	/* of the device's request struct, >= sizeof(struct virtq_req) */
	uint64_t max_req_bytes; /* byte budget of one request (rule R2), 0: no bound but 2^32 */
	int numa_node;
	/* Where the queue keeps what is in flight, and which region is its own; NULL: nowhere. The queue takes
	 * its own reference. `base` then does not count the requests that are in flight there; of a packed ring it
	 * means nothing if the area has a past: then that says where to go on. */
	struct inflight_area *inflight;
	unsigned int index;
	/* The queue takes its own reference. A used ring that is not inside of the log breaks it, as all
	 * does that has to be logged and cannot be. */
	struct ring_log log;
};

struct virtq;

/* May a ring have that many entries? */
bool virtq_size_is_good(uint32_t size, bool is_packed);

/*
 * -EINVAL: bad size or base, or the in-flight area has no room for it; -EFAULT: a part of the ring is not
 * (aligned) guest memory; -ENOMEM. All memory that the queue will ever need is taken here. used_idx of a
 * split ring is read from it. An in-flight area that cannot be the one of this ring: the queue is made,
 * and broken.
 */
int virtq_new(const struct virtq_config *config, struct virtq **ret_vq);
void virtq_free(struct virtq *vq); /* NULL is fine. Requests that are still out are forgotten. */

/* Fetches up to max requests. 0: nothing there, no free slot, or the ring is broken. A request has at
 * most VIRTQ_MAX_SEGMENTS pieces (readable and writable together) and none of length 0. */
unsigned int virtq_pop(struct virtq *vq, struct virtq_req **reqs, unsigned int max);
/* Takes the last pop of this request back, as if it had never been fetched: the next pop, or whoever
 * serves the ring after us, finds it again. For requests that had no effect yet; newest first, with
 * nothing popped after them still out. */
void virtq_unpop(struct virtq *vq, struct virtq_req *req);
/* Was it fetched before, by a predecessor that may have carried it out, or a part of it? Such requests are
 * popped before all others, in the order in which they were fetched. */
bool virtq_req_is_resubmitted(const struct virtq_req *req);
/* Are there more of them? They are part of what a queue has to finish before it stops: without the in-flight
 * area nobody would find them again. */
bool virtq_has_resubmits(const struct virtq *vq);
/* Hands back a request of this queue; `written` = bytes put into its writable part, from its start. */
void virtq_push(struct virtq *vq, struct virtq_req *req, uint32_t written);
/* Publishes what was pushed; calls the driver if it wants to be called. Returns how many. */
unsigned int virtq_commit(struct virtq *vq);
/* Forgets what was pushed and not committed: the session is dead, its successor resubmits. Nothing shared is
 * written any more; requests that are out may still be given back. */
void virtq_abandon(struct virtq *vq);

/* ---- quality of service (virtq_qos.c): what is off costs nothing ---- */

/* How much a group of queues may pop. Filled by whoever bounds them, counted down as they pop. */
struct virtq_meter {
	unsigned int requests; /* that many more */
	uint64_t bytes; /* that much more payload, and the rest of a request; UINT64_MAX: any */
	unsigned int
		parts;	 /* no pop takes more than one of so many equal parts, at least a request */
	uint64_t popped; /* requests, all in all */
	uint64_t popped_bytes;
};

/* NULL: no bound. The meter stays the caller's. */
void virtq_set_meter(struct virtq *vq, struct virtq_meter *meter);

/*
 * Two calls of this queue lie at least so many ticks apart; a call that comes too early is held back, and what
 * is published meanwhile needs no other. 0: no call is held back, and one that was is made at once: so whoever
 * lets go of a queue leaves no call behind.
 */
void virtq_set_call_gap(struct virtq *vq, uint64_t ticks);
/* Makes the call that was held back, if its time has come. To be asked in each round. */
void virtq_call_if_due(struct virtq *vq, uint64_t now);
/* When that will be; UINT64_MAX: none is held back. */
uint64_t virtq_call_time(const struct virtq *vq);

/*
 * The ring goes to whoever owns it next, who may look at it only when it is kicked: asks for kicks, and gives one
 * back if something is available for which there may have been one already.
 */
void virtq_leave(struct virtq *vq);

/* Ask for kicks. False: something is available already (or became so), or there is no kick eventfd and
 * the ring can only be polled. What cannot be taken before a completion does not count as available. */
bool virtq_arm(struct virtq *vq);
/* No kicks, please: the queue is polled. Drains the kick eventfd and counts. */
void virtq_disarm(struct virtq *vq);
int virtq_kick_fd(const struct virtq *vq);
/* Swaps the call eventfd and signals the new one once (a call may have been lost between them). */
void virtq_set_call_fd(struct virtq *vq, int call_fd);

/*
 * The queue goes on with another snapshot: whatever is popped from now on lies there. -EFAULT: a part of
 * the ring does not; nothing has changed. Not again before the old snapshot is let go.
 */
int virtq_set_mem(struct virtq *vq, struct guest_mem *mem);
/* What is handed back or published from now on is logged there, or not at all; nothing is staged. */
void virtq_set_log(struct virtq *vq, const struct ring_log *log);
/* Lets the old snapshot go if none of the requests that were out at that time still is; true: it has
 * been. To be asked after each commit until then. */
bool virtq_mem_settled(struct virtq *vq);

/* The device found the driver at fault and has no way to tell it (no status byte). */
void virtq_break(struct virtq *vq, const char *reason);
bool virtq_is_broken(const struct virtq *vq);
const char *virtq_broken_reason(const struct virtq *vq); /* static text, NULL if not broken */
/* Guest memory, the in-flight area or the dirty log (rule R9). */
bool virtq_memory_is_lost(const struct virtq *vq);

unsigned int virtq_inflight(const struct virtq *vq); /* popped and not pushed */
/* For GET_VRING_BASE. Split: next available index. Packed: next position (15 bits) and wrap counter of what is
 * fetched, then of what is used. */
uint32_t virtq_base(const struct virtq *vq);

struct virtq_stats *virtq_stats(struct virtq *vq); /* for the device's byte counters */
void virtq_read_stats(const struct virtq *vq, struct virtq_stats *ret_stats); /* any thread */

static inline void virtq_count(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

#endif
