/* SPDX-License-Identifier: BSD-3-Clause */
#include "ring.h"

#include <endian.h>
#include <poll.h>
#include <string.h>

#include "../must.h"
#include "base/fd.h"
#include "trace.h"

/* Wide of any index that comes up here, in both directions. */
#define FAR 0x4000

struct used_elem {
	uint32_t id;
	uint32_t len;
};

/* ---- where things lie ---- */

static uint8_t *part(const struct ring *ring, uint32_t offset)
{
	return ring->ram->mem + ring->index * RING_BYTES + offset;
}

static struct desc *descs(const struct ring *ring)
{
	return (struct desc *)part(ring, 0);
}

/* flags, idx, ring[size], used_event */
static uint16_t *avail(const struct ring *ring, unsigned int i)
{
	return (uint16_t *)part(ring, RING_AVAIL) + i;
}

static uint16_t *used_flags(const struct ring *ring)
{
	return (uint16_t *)part(ring, RING_USED);
}

static struct used_elem *used(const struct ring *ring, unsigned int i)
{
	return (struct used_elem *)part(ring, RING_USED + 4) + i;
}

static uint64_t slot_at(const struct ring *ring, const struct request *request)
{
	uint64_t slot = ring->index * SLOTS + (uint64_t)(request - ring->requests);

	return SLOTS_AT + slot * SLOT_BYTES;
}

uint8_t *ring_out(const struct ring *ring, const struct request *request)
{
	return ring->ram->mem + slot_at(ring, request) + SLOT_OUT;
}

uint8_t *ring_in(const struct ring *ring, const struct request *request)
{
	return ring->ram->mem + slot_at(ring, request) + SLOT_IN;
}

uint64_t ring_in_offset(const struct ring *ring, const struct request *request)
{
	return slot_at(ring, request) + SLOT_IN;
}

uint64_t ring_table_at(const struct ring *ring, const struct request *request)
{
	return slot_at(ring, request) + SLOT_TABLE;
}

struct ring_area ring_used_area(const struct ring *ring)
{
	if (ring->packed) {
		return (struct ring_area){ 0, ring->size * (uint32_t)sizeof(struct desc) };
	}
	return (struct ring_area){ RING_USED + 2,
				   2 + ring->size * (uint32_t)sizeof(struct used_elem) };
}

/* ---- life ---- */

static void free_descs(struct ring *ring)
{
	uint16_t i;

	for (i = 0; i < ring->size; i++) {
		ring->free[i] = (uint16_t)(ring->size - 1 - i);
	}
	ring->free_n = ring->size;
}

void ring_reset(struct ring *ring, const struct ring_options *opts)
{
	uint16_t start = opts->start;
	unsigned int index = ring->index;

	ring_close_fds(ring);
	*ring = (struct ring){
		.index = index,
		.size = opts->size,
		.ram = opts->ram,
		.event_idx = opts->event_idx,
		.indirect = opts->indirect,
		.packed = opts->packed,
		.next_avail = start,
		.next_used = start,
		.checked_avail = start,
		.kick_fd = -1,
		.call_fd = -1,
		.next_call_fd = -1,
		.quiet = true,
		.quiet_used = start,
	};
	memset(part(ring, 0), 0, RING_BYTES);
	free_descs(ring);
	if (ring->packed) {
		packed_reset(ring);
	} else {
		*avail(ring, 1) = htole16(start);
		used_flags(ring)[1] = htole16(start);
	}
	ring_want_calls(ring, true);
}

void ring_close_fds(struct ring *ring)
{
	fd_close(&ring->kick_fd);
	fd_close(&ring->call_fd);
	fd_close(&ring->next_call_fd);
}

static void offer(struct ring *ring, struct request *request)
{
	if (ring->packed) {
		packed_offer(ring, request);
		return;
	}
	*avail(ring, 2 + (ring->next_avail & (ring->size - 1u))) = htole16(request->head);
	ring->next_avail++;
	*avail(ring, 1) = htole16(ring->next_avail);
}

void ring_resume(struct ring *ring)
{
	unsigned int i;

	ring_close_fds(ring);
	ring->swapping = false;
	ring->has_size = ring->has_addr = ring->has_kick = ring->enabled = false;
	ring->starts = ring->stops = 0;
	ring->has_base = false;
	ring->quiet = true;
	ring->quiet_used = ring_used_idx(ring);
	MUST(ring->next_used == ring->quiet_used);
	ring->next_avail = ring->checked_avail = ring->next_used;
	ring->unchecked = 0;
	if (!ring->packed) {
		*avail(ring, 1) = htole16(ring->next_avail);
	}
	ring_want_calls(ring, ring->wants_calls);
	for (i = 0; i < SLOTS; i++) {
		if (ring->requests[i].used) {
			offer(ring, &ring->requests[i]);
		}
	}
}

/* ---- requests ---- */

struct request *ring_free_slot(struct ring *ring)
{
	unsigned int i;

	for (i = 0; i < SLOTS; i++) {
		if (!ring->requests[i].used) {
			ring->requests[i] = (struct request){ 0 };
			return &ring->requests[i];
		}
	}
	return NULL;
}

static unsigned int cut(struct desc *list, unsigned int n, uint64_t at, uint32_t len,
			unsigned int pieces, uint16_t flags)
{
	uint32_t each = len / pieces;

	while (len > 0) {
		uint32_t take = pieces == 1 || each == 0 ? len : each;

		list[n++] = (struct desc){ htole64(RAM_GPA + at), htole32(take), flags, 0 };
		at += take;
		len -= take;
		pieces--;
	}
	return n;
}

unsigned int ring_cut(const struct ring *ring, const struct request *request, struct desc *list)
{
	uint64_t at = slot_at(ring, request);
	unsigned int n;

	n = cut(list, 0, at + SLOT_OUT, request->out_len, request->out_pieces, 0);
	return cut(list, n, at + SLOT_IN, request->in_len, request->in_pieces, F_WRITE);
}

static void link_chain(struct desc *at, const uint16_t *order, const struct desc *list,
		       unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++) {
		bool last = i + 1 == n;
		struct desc d = list[i];

		d.flags = htole16(d.flags | (last ? 0 : F_NEXT));
		d.next = htole16(last ? 0 : order[i + 1]);
		memcpy(&at[order[i]], &d, sizeof(d));
	}
}

static void build_indirect(struct ring *ring, struct request *request, const struct desc *list,
			   unsigned int n)
{
	uint64_t table = ring_table_at(ring, request);
	uint16_t order[PIECES_MAX];
	unsigned int i;

	for (i = 0; i < n; i++) {
		order[i] = (uint16_t)i;
	}
	link_chain((struct desc *)(ring->ram->mem + table), order, list, n);
	descs(ring)[request->descs[0]] = (struct desc){
		.addr = htole64(RAM_GPA + table),
		.len = htole32(n * (uint32_t)sizeof(struct desc)),
		.flags = htole16(F_INDIRECT),
	};
}

bool ring_submit(struct ring *ring, struct request *request, unsigned int out_pieces,
		 unsigned int in_pieces, bool indirect)
{
	struct desc list[PIECES_MAX];
	unsigned int n;
	unsigned int i;

	MUST(out_pieces + in_pieces <= PIECES_MAX);
	MUST(request->out_len <= SLOT_OUT_MAX && request->in_len + GUARD_BYTES <= SLOT_IN_MAX);
	request->out_pieces = out_pieces;
	request->in_pieces = in_pieces;
	n = ring_cut(ring, request, list);
	request->indirect = ring->indirect && (indirect || n > ring->free_n);
	request->desc_n = request->indirect ? 1 : n;
	if (request->desc_n > ring->free_n) {
		return false;
	}
	for (i = 0; i < request->desc_n; i++) {
		request->descs[i] = ring->free[--ring->free_n];
	}
	memset(ring_in(ring, request) - GUARD_BYTES, GUARD, GUARD_BYTES);
	memset(ring_in(ring, request) + request->in_len, GUARD, GUARD_BYTES);
	if (!ring->packed && request->indirect) {
		build_indirect(ring, request, list, n);
	} else if (!ring->packed) {
		link_chain(descs(ring), request->descs, list, n);
	}
	request->head = request->descs[0];
	request->used = true;
	ring->outstanding++;
	offer(ring, request);
	TRACE("  ring %u: request type %#x, tag %llu, head %u, available index %u\n", ring->index,
	      (unsigned int)request->type, (unsigned long long)request->tag, request->head,
	      ring->next_avail);
	return true;
}

/* ---- notifications ---- */

void ring_kick(struct ring *ring, bool always)
{
	uint16_t old = ring->checked_avail;
	uint16_t now = ring->next_avail;
	uint16_t event = le16toh(*(uint16_t *)used(ring, ring->size)); /* avail_event */
	bool needed = (le16toh(*used_flags(ring)) & 1) == 0;
	bool news = now != old;

	if (ring->packed) {
		needed = packed_kick_needed(ring);
		/* After a whole number of times round both counters the position is the old one. */
		news = ring->unchecked > 0;
	} else if (ring->event_idx) {
		needed = (uint16_t)(now - event - 1) < (uint16_t)(now - old);
	}
	if (ring->kick_fd < 0) {
		return; /* thought about again when there is one */
	}
	ring->checked_avail = now;
	ring->unchecked = 0;
	if (always || (needed && news)) {
		TRACE("  ring %u: kick\n", ring->index);
		eventfd_signal(ring->kick_fd);
	}
}

void ring_want_calls(struct ring *ring, bool want)
{
	ring->wants_calls = want;
	if (ring->packed) {
		packed_want_calls(ring, want);
		return;
	}
	*avail(ring, 0) = htole16(ring->event_idx || want ? 0 : 1);
	*avail(ring, 2u + ring->size) =
		htole16((uint16_t)(want ? ring->next_used : ring->next_used - FAR));
}

static bool was_called(const struct ring *ring)
{
	struct pollfd fds[2] = {
		{ .fd = ring->call_fd, .events = POLLIN },
		{ .fd = ring->next_call_fd, .events = POLLIN },
	};

	return poll(fds, 2, 0) > 0;
}

/* ---- used requests ---- */

uint16_t ring_used_idx(const struct ring *ring)
{
	return ring->packed ? packed_used(ring) : le16toh(used_flags(ring)[1]);
}

uint32_t ring_base(const struct ring *ring)
{
	uint32_t used = ring_used_idx(ring);

	return ring->packed ? used | used << 16 : used;
}

static struct request *find(struct ring *ring, uint32_t head)
{
	unsigned int i;

	for (i = 0; i < SLOTS; i++) {
		if (ring->requests[i].used && ring->requests[i].head == head) {
			return &ring->requests[i];
		}
	}
	return NULL;
}

static void check_guards(const struct ring *ring, const struct request *request)
{
	const uint8_t *in = ring_in(ring, request);
	unsigned int i;

	for (i = 0; i < GUARD_BYTES; i++) {
		MUST(in[(int)i - GUARD_BYTES] == GUARD && in[request->in_len + i] == GUARD);
	}
}

static bool split_take(struct ring *ring, uint32_t *ret_id, uint32_t *ret_len)
{
	struct used_elem elem;

	if (ring->next_used == ring_used_idx(ring)) {
		return false;
	}
	elem = *used(ring, ring->next_used & (ring->size - 1u));
	*ret_id = le32toh(elem.id);
	*ret_len = le32toh(elem.len);
	ring->next_used++;
	return true;
}

struct request *ring_reap(struct ring *ring, uint32_t *ret_len)
{
	struct request *request;
	uint32_t id;
	unsigned int i;

	if (!(ring->packed ? packed_take(ring, &id, ret_len) : split_take(ring, &id, ret_len))) {
		return NULL;
	}
	request = find(ring, id);
	MUST(request != NULL); /* nobody asked for it, or it was returned before */
	check_guards(ring, request);
	MUST(*ret_len <= request->in_len);
	for (i = 0; i < request->desc_n; i++) {
		ring->free[ring->free_n++] = request->descs[i];
	}
	TRACE("  ring %u: head %u returned, used index %u\n", ring->index, request->head,
	      ring->next_used);
	return request;
}

void ring_free(struct ring *ring, struct request *request)
{
	request->used = false;
	ring->outstanding--;
}

void ring_check(struct ring *ring)
{
	uint16_t idx = ring_used_idx(ring);

	MUST(ring->packed || (uint16_t)(idx - ring->next_used) <= ring->outstanding);
	MUST(!ring->quiet || idx == ring->quiet_used);
	/* While a call descriptor is being taken away it may be gone already. */
	if (ring->wants_calls && ring->call_fd >= 0 && idx != ring->next_used &&
	    (!ring->swapping || ring->next_call_fd >= 0)) {
		MUST(was_called(ring));
	}
}
