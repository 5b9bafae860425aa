/* SPDX-License-Identifier: BSD-3-Clause */
/* T1 to T15: indices, heads and descriptor chains of a split ring (virtio 1.2, 2.7). */
#include <string.h>

#include "case.h"

/* ---- a good read, bent in a few places ---- */

enum field {
	NOTHING,
	ADDR,
	LEN,
	FLAGS,
	NEXT,
	/* Of the ring. */
	HEAD,
	/* Of the descriptor that refers to the table, if the chain is one. */
	TABLE_ADDR,
	TABLE_LEN,
	TABLE_FLAGS,
};

enum slot {
	FIRST,
	DATA,
	LAST,
};

struct patch {
	enum field field;
	enum slot slot;
	uint64_t value;
};

struct bend {
	enum want want;
	bool table;
	struct patch patches[4];
	/* Not 0: the descriptor that a device finds there which does not look whether it is there. It makes the request
	 * a good one. */
	unsigned int decoy;
	unsigned int at_decoy; /* what lies there: a copy of this descriptor */
};

static void patch_desc(struct vfe_desc *desc, enum field field, uint64_t value)
{
	switch (field) {
	case ADDR:
	case TABLE_ADDR:
		desc->addr = value;
		break;
	case LEN:
	case TABLE_LEN:
		desc->len = (uint32_t)value;
		break;
	case FLAGS:
	case TABLE_FLAGS:
		desc->flags = (uint16_t)value;
		break;
	default:
		desc->next = (uint16_t)value;
		break;
	}
}

static unsigned int slot_of(enum slot slot, const struct request *request)
{
	switch (slot) {
	case DATA:
		return request->data_at;
	case LAST:
		return request->out_n + request->in_n - 1;
	default:
		return 0;
	}
}

static void apply(struct rig *rig, const struct patch *patch, struct vfe_desc *chain,
		  const struct request *request)
{
	switch (patch->field) {
	case NOTHING:
		break;
	case HEAD:
		rig->view.avail->ring[0] = (uint16_t)patch->value;
		break;
	case TABLE_ADDR:
	case TABLE_LEN:
	case TABLE_FLAGS:
		patch_desc(&rig->view.desc[0], patch->field, patch->value);
		break;
	default:
		patch_desc(&chain[slot_of(patch->slot, request)], patch->field, patch->value);
		break;
	}
}

/*
 * Starts the ring again with its descriptors at the beginning of the scratch memory, where there is memory behind
 * them.
 */
static bool move_descriptors(struct rig *rig)
{
	struct vfe_raw_ring ring;
	uint32_t base;
	int r;

	vfe_raw_ring_of(rig->queue, &ring);
	rig->view.desc = (struct vfe_desc *)(void *)rig->scratch;
	ring.addr.desc = vfe_raw_memory_uva(rig->memory, rig->scratch);
	r = vfe_raw_ring_stop(rig->session, ring.index, &base);
	if (r == 0) {
		r = vfe_raw_ring_start(rig->session, &ring);
	}
	if (r < 0) {
		rig_fail(rig, "the ring does not start elsewhere: %s", vfe_why(rig->session));
	}
	return r == 0;
}

static void bend(struct rig *rig, const void *arg)
{
	const struct bend *row = arg;
	const struct rig_options how = { .with = row->table ? VFE_F_INDIRECT_DESC : 0 };
	struct vfe_desc *chain;
	struct request request;
	unsigned int i;

	if (!rig_start(rig, &how) || (row->decoy != 0 && !row->table && !move_descriptors(rig))) {
		return;
	}
	rig_read(rig, 0, RIG_SECTOR, VFE_SECTOR, &request);
	if (row->table) {
		chain = (struct vfe_desc *)(void *)rig->scratch;
		rig_table(chain, &request);
		rig->view.desc[0] = (struct vfe_desc){
			.addr = RIG_SCRATCH,
			.len = (uint32_t)((request.out_n + request.in_n) * sizeof(*chain)),
			.flags = VFE_DESC_INDIRECT,
		};
	} else {
		chain = rig->view.desc;
		rig_chain(rig, 0, &request);
	}
	if (row->decoy != 0) {
		chain[row->decoy] = chain[row->at_decoy];
	}
	rig_head(rig, 0);
	for (i = 0; i < sizeof(row->patches) / sizeof(row->patches[0]); i++) {
		apply(rig, &row->patches[i], chain, &request);
	}
	rig_offer(rig);
	rig_expect(rig, 0, row->want);
	if (rig->options->strict && row->want == WANT_BROKEN && !rig->failed && rig_restart(rig)) {
		/* The driver resets its device: all is well again. */
		rig_expect_usable(rig);
	}
}

#define BEND(...)            \
	&(const struct bend) \
	{                    \
		__VA_ARGS__  \
	}

/* ---- chains that are not bent in a place, but built ---- */

/* T1: every slot of the ring holds a good request, so only the index tells that something is wrong. */
static void index_jumps(struct rig *rig, const void *arg)
{
	const uint16_t index = *(const uint16_t *)arg;
	const struct rig_options how = { .with = VFE_F_INDIRECT_DESC };
	struct request request;
	enum outcome outcome;
	uint16_t i;

	if (!rig_start(rig, &how)) {
		return;
	}
	rig_read(rig, 0, 0, 0, &request);
	rig_table((struct vfe_desc *)(void *)rig->scratch, &request);
	for (i = 0; i < RIG_SIZE; i++) {
		rig->view.desc[i] = (struct vfe_desc){
			.addr = RIG_SCRATCH,
			.len = (uint32_t)((request.out_n + request.in_n) * sizeof(struct vfe_desc)),
			.flags = VFE_DESC_INDIRECT,
		};
		rig_head(rig, i);
	}
	rig->avail_idx = index;
	rig_offer(rig);
	/* Others may take what they find: requests that there never were, but all in the guest's own memory. */
	outcome = rig_await(rig, RIG_SIZE + 1,
			    rig->options->strict ? RIG_DEADLINE_MS : RIG_SILENCE_MS);
	if (rig->options->strict && outcome != OUTCOME_BROKEN) {
		rig_fail(rig, "%u requests came back, and the ring is not broken", rig->done);
	}
}

#define INDEX(n)          \
	&(const uint16_t) \
	{                 \
		n         \
	}

static void duplicate_head(struct rig *rig, const void *arg)
{
	const struct rig_options how = { 0 };
	struct request request;
	enum outcome outcome;

	(void)arg;
	if (!rig_start(rig, &how)) {
		return;
	}
	rig_read(rig, 0, RIG_SECTOR, VFE_SECTOR, &request);
	rig_chain(rig, 0, &request);
	rig_head(rig, 0);
	rig_head(rig, 0);
	rig_offer(rig);
	outcome = rig_await(rig, 2, rig->options->strict ? RIG_DEADLINE_MS : RIG_SILENCE_MS);
	/* Others may take it once more when the first one is over. */
	if (rig->options->strict && outcome != OUTCOME_BROKEN) {
		rig_fail(rig, "a head that was in flight: %u came back, and the ring is not broken",
			 rig->done);
	}
}

/* A read of as many blocks as it takes descriptors to fill the ring, each of one block. */
static void build_long(struct rig *rig, struct request *ret_request)
{
	unsigned int segments = RIG_SIZE - 2;
	unsigned int i;
	struct vfe_seg status;

	rig_read(rig, 0, RIG_SECTOR, segments * rig->block, ret_request);
	status = ret_request->segs[2];
	for (i = 0; i < segments; i++) {
		ret_request->segs[ret_request->data_at + i] =
			(struct vfe_seg){ RIG_SCRATCH + (uint64_t)i * rig->block, rig->block };
	}
	ret_request->in_n = RIG_SIZE - 1;
	if (rig->options->device == VFE_BLK) {
		ret_request->segs[RIG_SIZE - 1] = status;
	}
}

static void chain_as_long_as_the_ring(struct rig *rig, const void *arg)
{
	const struct rig_options how = { 0 };
	struct request request;

	(void)arg;
	if (!rig_start(rig, &how)) {
		return;
	}
	build_long(rig, &request);
	rig_chain(rig, 0, &request);
	rig_head(rig, 0);
	rig_offer(rig);
	rig_expect(rig, 0, WANT_OK);
}

/* There are no more descriptors than the ring has: one more is one that was there already. */
static void chain_longer_than_the_ring(struct rig *rig, const void *arg)
{
	const struct rig_options how = { 0 };
	struct request request;

	(void)arg;
	if (!rig_start(rig, &how)) {
		return;
	}
	build_long(rig, &request);
	rig_chain(rig, 0, &request);
	rig->view.desc[RIG_SIZE - 1].flags |= VFE_DESC_NEXT;
	rig->view.desc[RIG_SIZE - 1].next = RIG_SIZE - 2;
	rig_head(rig, 0);
	rig_offer(rig);
	rig_expect(rig, 0, WANT_BROKEN);
}

/* The table's entries lie in the table: it is a buffer of the request that it describes. */
static void table_that_holds_itself(struct rig *rig, const void *arg)
{
	const struct rig_options how = { .with = VFE_F_INDIRECT_DESC };
	struct request request;

	(void)arg;
	if (!rig_start(rig, &how)) {
		return;
	}
	rig_read(rig, 0, RIG_SECTOR, VFE_SECTOR, &request);
	request.segs[request.data_at].gpa = RIG_SCRATCH;
	rig_table((struct vfe_desc *)(void *)rig->scratch, &request);
	rig->view.desc[0] = (struct vfe_desc){
		.addr = RIG_SCRATCH,
		.len = (uint32_t)((request.out_n + request.in_n) * sizeof(struct vfe_desc)),
		.flags = VFE_DESC_INDIRECT,
	};
	rig_head(rig, 0);
	rig_offer(rig);
	rig_expect(rig, 0, WANT_OK_HERE);
}

/* T11: the two regions do not lie one behind the other here, so the table lies in two places. */
static void table_across_regions(struct rig *rig, const void *arg)
{
	const struct rig_options how = { .with = VFE_F_INDIRECT_DESC };
	const size_t before = 24; /* the second descriptor, too, lies in both */
	const struct vfe_raw_region *regions;
	struct vfe_desc table[3];
	struct request request;

	(void)arg;
	if (!rig_start(rig, &how) || !rig_fill(rig, RIG_SECTOR, RIG_DATA) || !rig_restart(rig)) {
		return;
	}
	vfe_raw_memory_regions(rig->memory, &regions);
	rig_read(rig, 0, RIG_SECTOR, RIG_DATA, &request);
	rig_table(table, &request);
	memcpy(regions[0].map + RIG_REGION - before, table, before);
	memcpy(regions[1].map, (uint8_t *)table + before, sizeof(table) - before);
	rig->view.desc[0] = (struct vfe_desc){
		.addr = RIG_SCRATCH - before,
		.len = sizeof(table),
		.flags = VFE_DESC_INDIRECT,
	};
	rig_head(rig, 0);
	rig_offer(rig);
	rig_expect(rig, 0, WANT_OK_HERE);
	if (rig->done == 1 && rig_answer(rig, 0) == ANSWER_OK) {
		rig_expect_pattern(rig, rig_data(rig, 0), RIG_DATA);
	}
}

/* T14: an empty descriptor with an address that leads nowhere, in front of each of the others and behind. */
static void empty_descriptors(struct rig *rig, const void *arg)
{
	const struct rig_options how = { 0 };
	struct request request;
	unsigned int at;

	(void)arg;
	if (!rig_start(rig, &how)) {
		return;
	}
	for (at = 0; at <= 3 && !rig->failed; at++) {
		rig_read(rig, 0, RIG_SECTOR, VFE_SECTOR, &request);
		memmove(&request.segs[at + 1], &request.segs[at],
			(3 - at) * sizeof(request.segs[0]));
		request.segs[at] = (struct vfe_seg){ UINT64_MAX - 100, 0 };
		if (at <= 1) {
			request.out_n++;
		} else {
			request.in_n++;
		}
		if (!rig_submit(rig, &request)) {
			return;
		}
		rig_expect(rig, 0, WANT_OK_HERE);
		if (!rig->options->strict && !rig_recover(rig)) {
			return;
		}
	}
}

/* T15: Windows describes 2 MiB in pages by 513 descriptors, whatever seg_max says. */
static void windows_chain(struct rig *rig, const void *arg)
{
	const struct rig_options how = { .with = VFE_F_INDIRECT_DESC, .indirect = true };
	const unsigned int pieces = 513;
	struct request request;
	struct vfe_seg last;
	uint64_t gpa;
	unsigned int i;

	(void)arg;
	if (!rig_start(rig, &how) || !rig_fill(rig, RIG_SECTOR, RIG_DATA)) {
		return;
	}
	rig_read(rig, 0, RIG_SECTOR, RIG_DATA, &request);
	gpa = rig_data_gpa(rig, 0);
	last = request.segs[2];
	for (i = 0; i < pieces; i++) {
		request.segs[request.data_at + i] = (struct vfe_seg){
			gpa + i,
			i + 1 < pieces ? 1 : RIG_DATA - (pieces - 1),
		};
	}
	if (rig->options->device == VFE_BLK) {
		request.segs[1 + pieces] = last;
	}
	request.in_n = pieces + 1;
	if (rig_submit(rig, &request)) {
		rig_expect(rig, 0, WANT_OK_HERE);
		if (rig->done == 1 && rig_answer(rig, 0) == ANSWER_OK) {
			rig_expect_pattern(rig, rig_data(rig, 0), RIG_DATA);
		}
	}
}

#define SPLIT (ON_DISK | ON_SPLIT)

static const struct hostile_case cases[] = {
	{ "T1", "the available index jumps by the queue size and one", SPLIT, index_jumps,
	  INDEX(RIG_SIZE + 1) },
	{ "T1", "the available index goes backwards", SPLIT, index_jumps, INDEX(0xffff) },
	{ "T2", "head = queue size", SPLIT, bend,
	  BEND(WANT_BROKEN, false, { { HEAD, FIRST, RIG_SIZE } }, RIG_SIZE, 0) },
	{ "T2", "head = 0xffff", SPLIT, bend,
	  BEND(WANT_BROKEN, false, { { HEAD, FIRST, 0xffff } }, 0xffff, 0) },
	{ "T3", "the same head twice", SPLIT, duplicate_head, NULL },
	{ "T4", "a descriptor that follows itself", SPLIT, bend,
	  BEND(WANT_BROKEN, false, { { NEXT, FIRST, 0 } }) },
	{ "T4", "an empty descriptor that follows itself", SPLIT, bend,
	  BEND(WANT_BROKEN, false, { { LEN, FIRST, 0 }, { NEXT, FIRST, 0 } }) },
	{ "T5", "two descriptors that follow each other", SPLIT, bend,
	  BEND(WANT_BROKEN, false,
	       { { FLAGS, LAST, VFE_DESC_NEXT | VFE_DESC_WRITE }, { NEXT, LAST, 1 } }) },
	{ "T6", "next = queue size", SPLIT, bend,
	  BEND(WANT_BROKEN, false, { { NEXT, FIRST, RIG_SIZE } }, RIG_SIZE, 1) },
	{ "T6", "next = 0xffff", SPLIT, bend,
	  BEND(WANT_BROKEN, false, { { NEXT, FIRST, 0xffff } }, 0xffff, 1) },
	{ "T6", "next outside of an indirect table", SPLIT, bend,
	  BEND(WANT_BROKEN, true, { { NEXT, FIRST, 3 } }, 3, 1) },
	{ "T7", "a chain as long as the ring", SPLIT, chain_as_long_as_the_ring, NULL },
	{ "T7", "a chain longer than the ring", SPLIT, chain_longer_than_the_ring, NULL },
	{ "T8", "an indirect table of 0 bytes", SPLIT, bend,
	  BEND(WANT_BROKEN, true, { { TABLE_LEN, FIRST, 0 } }) },
	{ "T8", "an indirect table of 8 bytes", SPLIT, bend,
	  BEND(WANT_BROKEN, true, { { TABLE_LEN, FIRST, 8 } }) },
	{ "T8", "an indirect table of 17 bytes", SPLIT, bend,
	  BEND(WANT_BROKEN, true, { { TABLE_LEN, FIRST, 17 } }) },
	{ "T8", "an indirect table of 65536 descriptors", SPLIT, bend,
	  BEND(WANT_BROKEN_HERE, true, { { TABLE_LEN, FIRST, 65536 * 16 } }) },
	{ "T8", "an indirect table of 4 GiB", SPLIT, bend,
	  BEND(WANT_BROKEN, true, { { TABLE_LEN, FIRST, 0xfffffff0 } }) },
	{ "T9", "an indirect table in an indirect table", SPLIT, bend,
	  BEND(WANT_BROKEN, true, { { FLAGS, FIRST, VFE_DESC_INDIRECT } }) },
	{ "T9", "an indirect table that holds itself", SPLIT, table_that_holds_itself, NULL },
	{ "T10", "INDIRECT and NEXT in one descriptor", SPLIT, bend,
	  BEND(WANT_BROKEN_HERE, true,
	       { { TABLE_FLAGS, FIRST, VFE_DESC_INDIRECT | VFE_DESC_NEXT } }) },
	{ "T11", "an indirect table with 8 bytes of memory left", SPLIT, bend,
	  BEND(WANT_BROKEN, true, { { TABLE_ADDR, FIRST, RIG_END - 8 } }) },
	{ "T11", "an empty indirect table there", SPLIT, bend,
	  BEND(WANT_BROKEN, true,
	       { { TABLE_ADDR, FIRST, RIG_END - 8 }, { TABLE_LEN, FIRST, 0 } }) },
	{ "T11", "an indirect table across two regions", SPLIT, table_across_regions, NULL },
	{ "T12", "a writable descriptor before a readable one", SPLIT, bend,
	  BEND(WANT_BROKEN_HERE, false,
	       { { FLAGS, FIRST, VFE_DESC_NEXT | VFE_DESC_WRITE }, { FLAGS, DATA, 0 } }) },
	{ "T13", "nothing that the device may write", SPLIT, bend,
	  BEND(WANT_BROKEN, false, { { FLAGS, FIRST, 0 } }) },
	{ "T14", "empty descriptors in each position", ON_ALL, empty_descriptors, NULL },
	{ "T15", "515 descriptors, as from Windows", ON_ALL, windows_chain, NULL },
};

const struct case_table chain_table = CASE_TABLE(cases);
