/* SPDX-License-Identifier: BSD-3-Clause */
#include "virtio/virtqueue.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/iov.h"
#include "base/likely.h"
#include "base/notify.h"
#include "env/env.h"
#include "virtio/planted.h"
#include "virtio/ring.h"

/* Iovecs in a spill block of each kind, and how many blocks a queue of n slots gets. The first takes
 * a scattered 128 KiB request, the second what seg_max 126 allows, the third anything at all. */
static const struct {
	uint16_t iov;
	uint16_t slots_per_block;
	uint16_t min;
	uint16_t max;
} spill_plan[VIRTQ_SPILL_KINDS] = {
	{ .iov = 40, .slots_per_block = 1, .min = 4, .max = 256 },
	{ .iov = 136, .slots_per_block = 4, .min = 4, .max = 64 },
	{ .iov = VIRTQ_MAX_SEGMENTS, .slots_per_block = UINT16_MAX, .min = 2, .max = 2 },
};

#define CACHE_LINE 64
/* Of a descriptor, in a table too, of both formats. */
#define DESC_BYTES 16
/* An indirect table may cross region borders, each of which splits it. */
#define TABLE_PIECES 8

/* ---- life: control thread ---- */

static int slots_init(struct virtq *vq, const struct virtq_config *config)
{
	size_t inline_bytes = VIRTQ_INLINE_IOV * sizeof(struct iovec);
	size_t slot_bytes;
	unsigned int i;

	vq->slot_n = vq->size < VIRTQ_MAX_SLOTS ? vq->size : VIRTQ_MAX_SLOTS;
	vq->iov_offset = (config->req_size + 15) & ~(size_t)15;
	slot_bytes = (vq->iov_offset + inline_bytes + CACHE_LINE - 1) & ~(size_t)(CACHE_LINE - 1);
	vq->slots = env_zalloc(vq->slot_n * slot_bytes, CACHE_LINE, config->numa_node);
	vq->free_slots = env_zalloc(vq->slot_n * sizeof(*vq->free_slots), 0, config->numa_node);
	if (!vq->slots || !vq->free_slots) {
		return -ENOMEM;
	}
	for (i = 0; i < vq->slot_n; i++) {
		struct virtq_req *req = (struct virtq_req *)(vq->slots + i * slot_bytes);

		req->out = virtq_slot_iov(vq, req);
		req->spill = VIRTQ_NO_SPILL;
		vq->free_slots[vq->slot_n - 1 - i] = req;
	}
	vq->free_slot_n = vq->slot_n;
	return 0;
}

static int spill_init(struct virtq *vq, int numa_node)
{
	unsigned int k;
	uint16_t i;

	for (k = 0; k < VIRTQ_SPILL_KINDS; k++) {
		struct spill_kind *kind = &vq->spill[k];
		unsigned int n = vq->slot_n / spill_plan[k].slots_per_block;

		n = n < spill_plan[k].min ? spill_plan[k].min : n;
		n = n > spill_plan[k].max ? spill_plan[k].max : n;
		kind->block_iov = spill_plan[k].iov;
		kind->blocks = env_zalloc((size_t)n * kind->block_iov * sizeof(struct iovec),
					  CACHE_LINE, numa_node);
		kind->free = env_zalloc(n * sizeof(uint16_t), 0, numa_node);
		if (!kind->blocks || !kind->free) {
			return -ENOMEM;
		}
		for (i = 0; i < n; i++) {
			kind->free[i] = (uint16_t)(n - 1 - i);
		}
		kind->free_n = (uint16_t)n;
	}
	return 0;
}

static int parts_init(struct virtq *vq, const struct virtq_config *config)
{
	int r;

	vq->staged = env_zalloc(vq->size * sizeof(struct virtq_staged), 0, config->numa_node);
	vq->busy = env_zalloc(vq->size, 0, config->numa_node);
	vq->old_busy = env_zalloc(vq->size, 0, config->numa_node);
	vq->gather = env_zalloc(VIRTQ_MAX_SEGMENTS * sizeof(struct iovec), 0, config->numa_node);
	if (!vq->staged || !vq->busy || !vq->old_busy || !vq->gather) {
		return -ENOMEM;
	}
	if (vq->indirect) {
		vq->table = env_zalloc(VIRTQ_MAX_SEGMENTS * DESC_BYTES, 0, config->numa_node);
		if (!vq->table) {
			return -ENOMEM;
		}
	}
	r = slots_init(vq, config);
	if (r < 0) {
		return r;
	}
	r = spill_init(vq, config->numa_node);
	if (r < 0) {
		return r;
	}
	return vq->is_packed ? packed_init(vq, config) : split_init(vq, config);
}

bool virtq_size_is_good(uint32_t size, bool is_packed)
{
	/* virtio 1.2, 2.7 and 2.8.10.1: the size of a split ring is a power of two. */
	return size > 0 && size <= VIRTQ_MAX_SIZE && (is_packed || is_power_of_two(size));
}

int virtq_new(const struct virtq_config *config, struct virtq **ret_vq)
{
	bool is_packed = (config->features >> VIRTIO_F_RING_PACKED & 1) != 0;
	struct virtq *vq;
	int r;

	if (!virtq_size_is_good(config->size, is_packed) ||
	    config->req_size < sizeof(struct virtq_req)) {
		return -EINVAL;
	}
	vq = env_zalloc(sizeof(*vq), CACHE_LINE, config->numa_node);
	if (!vq) {
		return -ENOMEM;
	}
	vq->mem = guest_mem_ref(config->mem);
	vq->is_packed = is_packed;
	vq->size = config->size;
	vq->mask = config->size - 1u;
	vq->indirect = (config->features >> VIRTIO_RING_F_INDIRECT_DESC & 1) != 0;
	vq->event_idx = (config->features >> VIRTIO_RING_F_EVENT_IDX & 1) != 0;
	/* The used ring reports 32 bit, so one request has less than 2^32 bytes in any case. */
	vq->max_req_bytes = config->max_req_bytes > 0 && config->max_req_bytes < UINT32_MAX ?
				    config->max_req_bytes :
				    UINT32_MAX;
	vq->desc_uva = config->desc_uva;
	vq->avail_uva = config->avail_uva;
	vq->used_uva = config->used_uva;
	vq->kick_fd = config->kick_fd;
	vq->call_fd = config->call_fd;
	vq->err_fd = config->err_fd;
	vq->polled = true;
	virtq_log_init(vq, &config->log);
	r = parts_init(vq, config);
	if (r < 0) {
		virtq_free(vq);
		return r;
	}
	*ret_vq = vq;
	return 0;
}

void virtq_free(struct virtq *vq)
{
	unsigned int k;

	if (!vq) {
		return;
	}
	if (vq->is_packed) {
		packed_done(vq);
	} else {
		split_done(vq);
	}
	for (k = 0; k < VIRTQ_SPILL_KINDS; k++) {
		env_free(vq->spill[k].blocks);
		env_free(vq->spill[k].free);
	}
	env_free(vq->slots);
	env_free(vq->free_slots);
	env_free(vq->staged);
	env_free(vq->busy);
	env_free(vq->old_busy);
	env_free(vq->gather);
	env_free(vq->table);
	guest_mem_unref(vq->old_mem);
	guest_mem_unref(vq->mem);
	dirty_log_unref(vq->log.log);
	env_free(vq);
}

/* ---- from descriptors to requests ---- */

const char *virtq_gather_add(struct virtq *vq, struct virtq_gather *gather, uint64_t addr,
			     uint32_t len, bool writable)
{
	unsigned int n = writable ? gather->in_n : gather->out_n;
	int r;

	if (writable) {
		gather->writable_seen = true;
	} else if (gather->writable_seen) {
		/* virtio 1.2, 2.7.4.2: device-writable descriptors come after all readable ones. */
		return "a device-readable descriptor follows a device-writable one";
	}
	/* At most VIRTQ_MAX_SEGMENTS times 2^32: the sum cannot wrap. */
	if (gather->out_len + gather->in_len + len > vq->max_req_bytes) {
		return "a request is longer than the byte budget";
	}
	guest_mem_learn(vq->mem, &vq->cache, addr, len);
	/* The writable pieces start a list of their own, so that none can merge with a readable one. */
	r = guest_mem_translate(vq->mem, addr, len,
				writable ? vq->gather + gather->out_n : vq->gather,
				writable ? VIRTQ_MAX_SEGMENTS - gather->out_n : VIRTQ_MAX_SEGMENTS,
				&n);
	if (r == -E2BIG) {
		return "a request has too many pieces";
	}
	if (r < 0) {
		return "a descriptor points outside of guest memory";
	}
	if (writable) {
		gather->in_n = (uint16_t)n;
		gather->in_len += len;
	} else {
		gather->out_n = (uint16_t)n;
		gather->out_len += len;
	}
	return NULL;
}

const char *virtq_load_table(struct virtq *vq, uint64_t addr, uint32_t len)
{
	struct iovec pieces[TABLE_PIECES];
	unsigned int piece_n = 0;

	if (!vq->indirect) {
		return "an indirect descriptor, which was not negotiated";
	}
	if (len == 0 || len % DESC_BYTES != 0) {
		return "the length of an indirect table is not a multiple of 16";
	}
	if (len / DESC_BYTES > VIRTQ_MAX_SEGMENTS) {
		return "an indirect table is too long";
	}
	if (guest_mem_translate(vq->mem, addr, len, pieces, TABLE_PIECES, &piece_n) < 0) {
		return "an indirect table lies outside of guest memory";
	}
	iov_gather(pieces, piece_n, 0, vq->table, len);
	/* The compiler must not go back to guest memory for what was copied just now. */
	__asm__ volatile("" ::: "memory");
	return NULL;
}

/* Room for n iovecs of a request: in its slot, or a spill block. False: none is free now. */
static bool iov_place(struct virtq *vq, struct virtq_req *req, unsigned int n)
{
	unsigned int k;

	if (n <= VIRTQ_INLINE_IOV) {
		return true;
	}
	for (k = 0; k < VIRTQ_SPILL_KINDS; k++) {
		struct spill_kind *kind = &vq->spill[k];

		if (n <= kind->block_iov && kind->free_n > 0) {
			req->spill = kind->free[--kind->free_n];
			req->spill_kind = (uint8_t)k;
			req->out = kind->blocks + (size_t)req->spill * kind->block_iov;
			return true;
		}
	}
	return false;
}

bool virtq_gather_finish(struct virtq *vq, const struct virtq_gather *gather, struct virtq_req *req)
{
	unsigned int n = (unsigned int)gather->out_n + gather->in_n;

	if (!iov_place(vq, req, n)) {
		vq->starved = true;
		return false;
	}
	memcpy(req->out, vq->gather, n * sizeof(struct iovec));
	req->in = req->out + gather->out_n;
	req->end = req->out + n;
	req->out_len = gather->out_len;
	req->in_len = gather->in_len;
	return true;
}

static inline void req_release(struct virtq *vq, struct virtq_req *req)
{
	if (req->spill != VIRTQ_NO_SPILL) {
		struct spill_kind *kind = &vq->spill[req->spill_kind];

		kind->free[kind->free_n++] = req->spill;
		req->spill = VIRTQ_NO_SPILL;
		req->out = virtq_slot_iov(vq, req);
	}
	vq->free_slots[vq->free_slot_n++] = req;
	vq->starved = false;
}

/* ---- the data path: reactor ---- */

unsigned int virtq_pop(struct virtq *vq, struct virtq_req **reqs, unsigned int max)
{
	unsigned int n;

	if (virtq_is_broken(vq)) {
		return 0;
	}
	if (guest_mem_is_lost(vq->mem)) {
		virtq_break(vq, "guest memory is gone: its file was cut short");
		return 0;
	}
	/* The next chain, which may be long, is not walked again for nothing. */
	if (vq->starved) {
		return 0;
	}
	n = unlikely(vq->meter != NULL) ? virtq_pop_metered(vq, reqs, max) :
					  virtq_pop_format(vq, reqs, max);
	planted_pop(reqs, n);
	if (n > 0) {
		virtq_count(&vq->stats.requests, n);
		virtq_count(&vq->stats.batches, 1);
	}
	return n;
}

void virtq_unpop(struct virtq *vq, struct virtq_req *req)
{
	if (vq->is_packed) {
		packed_unpop(vq, req);
	} else {
		split_unpop(vq, req);
	}
	req_release(vq, req);
	virtq_count(&vq->stats.requests, (uint64_t)-1);
}

bool virtq_req_is_resubmitted(const struct virtq_req *req)
{
	return req->resubmitted;
}

bool virtq_has_resubmits(const struct virtq *vq)
{
	return !virtq_is_broken(vq) &&
	       (vq->is_packed ? packed_resubmits(vq) : split_resubmits(vq)) > 0;
}

static inline void push(struct virtq *vq, struct virtq_req *req, uint32_t written)
{
	/* Heads stay busy until they are published, so there are never more than vq->size of them. */
	vq->staged[vq->staged_n++] = (struct virtq_staged){
		.head = req->head,
		.descs = req->descs,
		.written = written,
	};
	req_release(vq, req);
}

/* Apart: a call in virtq_push() would cost those that log nothing a frame on the stack. */
static __attribute__((noinline)) void push_logged(struct virtq *vq, struct virtq_req *req,
						  uint32_t written)
{
	virtq_log_request(vq, req);
	push(vq, req, written);
}

void virtq_push(struct virtq *vq, struct virtq_req *req, uint32_t written)
{
	if (virtq_logs(vq)) {
		push_logged(vq, req, written);
		return;
	}
	push(vq, req, written);
	planted_push(vq, vq->staged_n);
}

static void staged_clear(struct virtq *vq)
{
	unsigned int i;

	for (i = 0; i < vq->staged_n; i++) {
		vq->busy[vq->staged[i].head] = false;
	}
	vq->staged_n = 0;
}

unsigned int virtq_commit(struct virtq *vq)
{
	unsigned int n = vq->staged_n;
	bool call;

	if (n == 0) {
		return 0;
	}
	if (virtq_is_broken(vq)) {
		staged_clear(vq);
		return 0;
	}
	call = vq->is_packed ? packed_publish(vq) : split_publish(vq);
	if (!call || vq->call_fd < 0) {
		virtq_count(&vq->stats.suppressed_calls, 1);
	} else if (likely(vq->call_gap == 0)) {
		notify_eventfd(vq->call_fd);
		virtq_count(&vq->stats.calls, 1);
	} else {
		virtq_call_later(vq);
	}
	return n;
}

void virtq_abandon(struct virtq *vq)
{
	staged_clear(vq);
	if (vq->is_packed) {
		packed_abandon(vq);
	} else {
		split_abandon(vq);
	}
}

/* ---- notifications ---- */

bool virtq_arm(struct virtq *vq)
{
	if (virtq_is_broken(vq)) {
		return true;
	}
	if (vq->kick_fd < 0) {
		return false; /* kicks would go nowhere: the ring can only be polled */
	}
	vq->polled = false;
	/* Requests that wait for a slot can only go on after a completion, which wakes us. */
	return (vq->is_packed ? packed_arm(vq) : split_arm(vq)) || vq->starved;
}

void virtq_leave(struct virtq *vq)
{
	vq->starved = false; /* what waits for room here has room at its next owner's */
	if (!virtq_arm(vq) && vq->kick_fd >= 0) {
		notify_eventfd(vq->kick_fd);
	}
}

/*
 * Takes the counter of an eventfd. The front-end shares the open file and can make it blocking
 * again at any time, so this asks for "do not wait" anew with each read; kernels before 5.9 cannot
 * do that for eventfds.
 */
static uint64_t kicks_take(int fd)
{
	uint64_t count = 0;
	struct iovec iov = { .iov_base = &count, .iov_len = sizeof(count) };
	ssize_t n = preadv2(fd, &iov, 1, -1, RWF_NOWAIT);

	if (n < 0 && errno == EOPNOTSUPP) {
		n = read(fd, &count, sizeof(count));
	}
	return n == (ssize_t)sizeof(count) ? count : 0;
}

void virtq_disarm(struct virtq *vq)
{
	vq->polled = true;
	if (!virtq_is_broken(vq)) {
		if (vq->is_packed) {
			packed_disarm(vq);
		} else {
			split_disarm(vq);
		}
	}
	if (vq->kick_fd >= 0) {
		virtq_count(&vq->stats.kicks, kicks_take(vq->kick_fd));
	}
}

int virtq_kick_fd(const struct virtq *vq)
{
	return vq->kick_fd;
}

void virtq_set_call_fd(struct virtq *vq, int call_fd)
{
	vq->call_fd = call_fd;
	vq->call_due = false;
	if (call_fd >= 0) {
		notify_eventfd(call_fd);
	}
}

/* ---- state ---- */

void virtq_break(struct virtq *vq, const char *reason)
{
	if (virtq_is_broken(vq)) {
		return;
	}
	__atomic_store_n(&vq->broken, reason, __ATOMIC_RELAXED);
	virtq_count(&vq->stats.malformed, 1);
	if (vq->err_fd >= 0) {
		notify_eventfd(vq->err_fd);
	}
}

bool virtq_is_broken(const struct virtq *vq)
{
	return virtq_broken_reason(vq) != NULL;
}

const char *virtq_broken_reason(const struct virtq *vq)
{
	return __atomic_load_n(&vq->broken, __ATOMIC_RELAXED);
}

bool virtq_memory_is_lost(const struct virtq *vq)
{
	return guest_mem_is_lost(vq->mem) ||
	       (vq->is_packed ? packed_inflight_is_lost(vq) : split_inflight_is_lost(vq)) ||
	       (virtq_logs(vq) && dirty_log_is_lost(vq->log.log));
}

unsigned int virtq_inflight(const struct virtq *vq)
{
	return vq->slot_n - vq->free_slot_n;
}

uint32_t virtq_base(const struct virtq *vq)
{
	return vq->is_packed ? packed_base(vq) : split_base(vq);
}

struct virtq_stats *virtq_stats(struct virtq *vq)
{
	return &vq->stats;
}

void virtq_read_stats(const struct virtq *vq, struct virtq_stats *ret_stats)
{
	const struct virtq_stats *s = &vq->stats;

	*ret_stats = (struct virtq_stats){
		.requests = __atomic_load_n(&s->requests, __ATOMIC_RELAXED),
		.read_bytes = __atomic_load_n(&s->read_bytes, __ATOMIC_RELAXED),
		.written_bytes = __atomic_load_n(&s->written_bytes, __ATOMIC_RELAXED),
		.kicks = __atomic_load_n(&s->kicks, __ATOMIC_RELAXED),
		.calls = __atomic_load_n(&s->calls, __ATOMIC_RELAXED),
		.suppressed_calls = __atomic_load_n(&s->suppressed_calls, __ATOMIC_RELAXED),
		.batches = __atomic_load_n(&s->batches, __ATOMIC_RELAXED),
		.malformed = __atomic_load_n(&s->malformed, __ATOMIC_RELAXED),
	};
}
