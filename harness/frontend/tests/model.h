/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: the device side of a ring, plain and slow, for tests of the driver side. It knows nothing of the
 * library but the wire structs, and believes everything that the driver says.
 */
#ifndef TESTS_MODEL_H
#define TESTS_MODEL_H

#include "vhost_frontend/frontend_raw.h"

#define MODEL_SEGS_MAX 32

struct model_seg {
	uint64_t gpa;
	uint32_t len;
	bool write;
};

struct model_chain {
	uint16_t id;	/* split: the head */
	uint16_t slots; /* descriptors that it takes in a packed ring */
	unsigned int seg_n;
	struct model_seg segs[MODEL_SEGS_MAX];
};

struct model_ring {
	struct vfe_raw_view view; /* only the pointers are used */
	bool packed;
	bool event_idx;
	void *(*translate)(void *arg, uint64_t gpa);
	void *arg;
	uint16_t avail_pos; /* split: free-running */
	uint16_t used_pos;
	bool avail_wrap;
	bool used_wrap;
	uint16_t signalled;  /* split: used_pos at the last decision about a call */
	unsigned int pushed; /* packed: descriptors used since that decision */
};

void model_init(struct model_ring *ring);
bool model_pop(struct model_ring *ring, struct model_chain *ret_chain);
/* Split: the chain that begins at `head`, available or not. */
void model_read_head(const struct model_ring *ring, uint16_t head, struct model_chain *ret_chain);
void model_push(struct model_ring *ring, const struct model_chain *chain, uint32_t written);
/* Does the driver want a call for what has been pushed since the last question? */
bool model_call_wanted(struct model_ring *ring);
/* Ask for a kick at the next request; ask for none. */
void model_arm(struct model_ring *ring);
void model_disarm(struct model_ring *ring);

#endif
