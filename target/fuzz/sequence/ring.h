/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: one ring from the driver's side, split (ring.c) or packed (packed.c), and the requests it has out. A
 * well-behaved driver: what it finds in the used ring must be what it asked for, each once.
 *
 * Layout of guest memory: RING_BYTES for each ring, then SLOT_BYTES for each request slot of each ring:
 * its readable part, its writable part with guard bytes around, its indirect table.
 */
#ifndef VHT_FUZZ_RING_H
#define VHT_FUZZ_RING_H

#include <stdbool.h>
#include <stdint.h>

#include "ram.h"

#define RINGS_MAX     4
#define RING_SIZE_MAX 64
#define RING_BYTES    RAM_UNIT
#define RING_AVAIL    0x800
#define RING_USED     0x1000

#define SLOTS	     8
#define SLOTS_AT     (RINGS_MAX * RING_BYTES)
#define SLOT_BYTES   0x2400
#define SLOT_OUT     0
#define SLOT_OUT_MAX 0x1100
#define SLOT_IN	     0x1180
#define SLOT_IN_MAX  0x1080
#define SLOT_TABLE   0x2240
#define PIECES_MAX   16
#define GUARD	     0x5a
#define GUARD_BYTES  16

#define RANGES_MAX 3

struct range {
	uint64_t offset;
	uint32_t len;
};

enum effect {
	EFFECT_NONE,
	EFFECT_READ,
	EFFECT_WRITE, /* new data, or zeroes */
};

/* A request that is out. Written by whoever made it; the ring looks after `used` and `head`. */
struct request {
	bool used;
	uint16_t head;
	uint16_t descs[PIECES_MAX];
	unsigned int desc_n;
	unsigned int out_pieces, in_pieces; /* that its parts were cut into */
	bool indirect;
	uint32_t out_len;
	uint32_t in_len;
	int type;			 /* the device's name for it */
	bool refused;			 /* the device must not carry it out */
	bool optional;			 /* it may refuse to */
	bool ended_from_outside;	 /* a task management function may have hit it */
	unsigned int failures, refusals; /* of the disk, when it was made */
	unsigned int changes;		 /* of the guest's disk, likewise */
	bool sure;			 /* the device certainly had its disk then */
	uint32_t log_epoch;		 /* in which it was made, 0: nothing was logged */
	bool ring_logged;
	uint64_t tag;
	enum effect effect;
	struct range ranges[RANGES_MAX];
	unsigned int range_n;
};

struct ring {
	unsigned int index;
	uint16_t size;
	bool event_idx;
	bool indirect;
	bool packed;
	const struct ram *ram;
	/* Indexes; packed: positions, with the wrap counter in bit 15. */
	uint16_t next_avail;
	uint16_t next_used;
	uint16_t checked_avail; /* next_avail when the driver last thought about a kick */
	unsigned int unchecked; /* packed: descriptors since then */
	uint16_t free[RING_SIZE_MAX];
	unsigned int free_n;
	struct request requests[SLOTS];
	unsigned int outstanding;

	/* Notifications. Calls: two descriptors while they are being swapped. */
	int kick_fd;
	int call_fd;
	int next_call_fd;
	bool swapping;
	bool wants_calls;

	/* What the target has been told and has confirmed. */
	bool has_size, has_addr, has_kick, enabled;
	/* Sent, maybe not carried out yet: what can start the ring; not answered yet: what stops it. */
	unsigned int starts;
	unsigned int stops;
	bool has_base; /* was sent */
	bool logs;     /* its used ring is logged, confirmed */
	uint32_t addr; /* number of the last SET_VRING_ADDR */
	bool quiet;    /* the target does not have it */
	uint16_t quiet_used;
};

struct ring_options {
	const struct ram *ram;
	uint16_t size;
	uint16_t start; /* of both indexes or positions */
	bool event_idx;
	bool indirect;
	bool packed;
};

void ring_reset(struct ring *ring, const struct ring_options *opts);
/* The same ring for a new session: offers again what is still out. */
void ring_resume(struct ring *ring);
void ring_close_fds(struct ring *ring);

/* Where in memory the writable part lies. */
uint64_t ring_in_offset(const struct ring *ring, const struct request *request);
uint8_t *ring_out(const struct ring *ring, const struct request *request);
uint8_t *ring_in(const struct ring *ring, const struct request *request);
struct request *ring_free_slot(struct ring *ring); /* NULL: all are out; cleared otherwise */
/* Cuts both parts into pieces and makes the request available. False: not enough descriptors. */
bool ring_submit(struct ring *ring, struct request *request, unsigned int out_pieces,
		 unsigned int in_pieces, bool indirect);

/* Kicks if the driver has to; always: even if not. */
void ring_kick(struct ring *ring, bool always);
void ring_want_calls(struct ring *ring, bool want);
/* The next request that was returned, to be freed by the caller. NULL: there is none. */
struct request *ring_reap(struct ring *ring, uint32_t *ret_len);
void ring_free(struct ring *ring, struct request *request);

uint16_t ring_used_idx(const struct ring *ring); /* packed: the position that is used next */
/* For SET_VRING_BASE, when no request is in flight. */
uint32_t ring_base(const struct ring *ring);
/* What must hold at any time. */
void ring_check(struct ring *ring);

/* Where the target publishes what it has done, in the RING_BYTES of a ring. */
struct ring_area {
	uint32_t offset;
	uint32_t len; /* at most RING_AREA_MAX */
};
#define RING_AREA_MAX (RING_SIZE_MAX * 16)
struct ring_area ring_used_area(const struct ring *ring);

/* ---- inside ---- */

/* A descriptor, of both formats: next is the id in a packed ring. */
struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next;
};

#define F_NEXT	   1
#define F_WRITE	   2
#define F_INDIRECT 4

/* Cuts a request's parts; returns how many descriptors. Addresses and lengths as in the ring, flags not. */
unsigned int ring_cut(const struct ring *ring, const struct request *request, struct desc *list);
uint64_t ring_table_at(const struct ring *ring, const struct request *request);

void packed_reset(struct ring *ring);
void packed_offer(struct ring *ring, struct request *request);
bool packed_kick_needed(const struct ring *ring);
void packed_want_calls(struct ring *ring, bool want);
uint16_t packed_used(const struct ring *ring);
/* Takes the next used descriptor. False: there is none. */
bool packed_take(struct ring *ring, uint32_t *ret_id, uint32_t *ret_len);

#endif
