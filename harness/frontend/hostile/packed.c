/* SPDX-License-Identifier: BSD-3-Clause */
/* T16 to T22: packed rings (virtio 1.2, 2.8). Skipped where the target does not offer them. */
#include <string.h>

#include "case.h"
#include "mutator.h"

/* ---- one raw request at the beginning of a new ring, with a lie in it ---- */

struct lie {
	enum want want;
	unsigned int copies; /* of the request, all with the same id */
	uint16_t id;
	uint16_t more_flags; /* in each descriptor */
	bool whole_ring;     /* every descriptor is available, not only those of the request */
};

static void put(struct rig *rig, unsigned int at, struct vfe_seg seg, const struct lie *lie,
		uint16_t flags)
{
	rig->view.packed[at] = (struct vfe_packed_desc){
		.addr = seg.gpa,
		.len = seg.len,
		.id = lie->id,
		.flags = (uint16_t)(flags | lie->more_flags | VFE_DESC_AVAIL),
	};
}

/* Everything but the flags of the first one, which make all of it the device's. */
static uint16_t put_all(struct rig *rig, const struct request *request, const struct lie *lie)
{
	unsigned int n = request->out_n + request->in_n;
	unsigned int at = 0;
	uint16_t first;
	unsigned int c;
	unsigned int i;

	for (c = 0; c < lie->copies; c++) {
		for (i = 0; i < n; i++) {
			put(rig, at++, request->segs[i], lie,
			    (uint16_t)((i >= request->out_n ? VFE_DESC_WRITE : 0) |
				       (i + 1 < n ? VFE_DESC_NEXT : 0)));
		}
	}
	for (; lie->whole_ring && at < rig->view.size; at++) {
		put(rig, at, request->segs[n - 1], lie, VFE_DESC_WRITE);
	}
	first = rig->view.packed[0].flags;
	rig->view.packed[0].flags = 0;
	return first;
}

static void offer_lie(struct rig *rig, const void *arg)
{
	const struct lie *lie = arg;
	const struct rig_options how = { 0 };
	struct request request;
	uint16_t first;

	if (!rig_start(rig, &how)) {
		return;
	}
	rig_read(rig, 0, RIG_SECTOR, VFE_SECTOR, &request);
	first = put_all(rig, &request, lie);
	rig->raw = true;
	rig->done = 0;
	/* The other fields before the flags. */
	__atomic_store_n(&rig->view.packed[0].flags, first, __ATOMIC_RELEASE);
	rig_kick(rig);
	if (lie->copies > 1) {
		/* The first one may well have come back before the second was looked at. */
		if (rig->options->strict && rig_await(rig, 2, RIG_DEADLINE_MS) != OUTCOME_BROKEN) {
			rig_fail(rig, "an id that was in flight was taken once more");
		}
		return;
	}
	rig_expect(rig, 0, lie->want);
}

#define LIE(...)            \
	&(const struct lie) \
	{                   \
		__VA_ARGS__ \
	}

/* ---- rings of odd sizes, round and round ---- */

static void round_and_round(struct rig *rig, const void *arg)
{
	const unsigned int size = *(const unsigned int *)arg;
	const struct rig_options how = { .size = size };
	struct request request;
	unsigned int i;

	if (!rig_start(rig, &how) || !rig_fill(rig, RIG_SECTOR, VFE_SECTOR)) {
		return;
	}
	/* Of two and of three descriptors in turn: each index is the first of one and crosses the end. */
	for (i = 0; i < 12 * size && !rig->failed; i++) {
		rig_read(rig, 0, RIG_SECTOR, i % 2 == 0 ? VFE_SECTOR : 0, &request);
		memset(rig_data(rig, 0), 0, VFE_SECTOR);
		if (!rig_submit(rig, &request)) {
			return;
		}
		rig_expect(rig, 0, WANT_OK);
		if (i % 2 == 0) {
			rig_expect_pattern(rig, rig_data(rig, 0), VFE_SECTOR);
		}
	}
}

#define SIZE(n)               \
	&(const unsigned int) \
	{                     \
		n             \
	}

/* ---- indirect tables ---- */

struct table {
	enum want want;
	uint32_t len; /* 0xffff0000: of the good table */
	uint64_t gpa;
	uint16_t flags; /* of the descriptor that refers to it */
	uint16_t inner; /* of the first one in the table, besides its own */
};

#define GOOD_LEN 0xffff0000u

static void packed_table_of(struct rig *rig, const void *arg)
{
	const struct table *row = arg;
	const struct rig_options how = { .with = VFE_F_INDIRECT_DESC };
	const struct lie honest = { .copies = 1 };
	struct vfe_packed_desc *table;
	struct request request;
	struct vfe_seg seg;
	unsigned int i;
	uint16_t first;

	if (!rig_start(rig, &how)) {
		return;
	}
	table = (struct vfe_packed_desc *)(void *)rig->scratch;
	rig_read(rig, 0, RIG_SECTOR, VFE_SECTOR, &request);
	for (i = 0; i < request.out_n + request.in_n; i++) {
		table[i] = (struct vfe_packed_desc){
			.addr = request.segs[i].gpa,
			.len = request.segs[i].len,
			.flags = (uint16_t)((i >= request.out_n ? VFE_DESC_WRITE : 0) |
					    (i == 0 ? row->inner : 0)),
		};
	}
	seg = (struct vfe_seg){ row->gpa, row->len == GOOD_LEN ? (uint32_t)(i * sizeof(table[0])) :
								 row->len };
	put(rig, 0, seg, &honest, VFE_DESC_INDIRECT | row->flags);
	first = rig->view.packed[0].flags;
	rig->raw = true;
	rig->done = 0;
	__atomic_store_n(&rig->view.packed[0].flags, first, __ATOMIC_RELEASE);
	rig_kick(rig);
	rig_expect(rig, 0, row->want);
}

#define TABLE(...)            \
	&(const struct table) \
	{                     \
		__VA_ARGS__   \
	}

#define LOOK_MS	   20
#define HELP_FLIPS 2000

/* ---- T22: flags that change while they are looked at ---- */

static void flags_that_change(struct rig *rig, const void *arg)
{
	const struct rig_options how = { 0 };
	struct flip flips[RIG_SIZE];
	struct mutator *mutator;
	struct request request;
	unsigned int rounds = 0;
	unsigned int i;

	(void)arg;
	if (!rig_start(rig, &how)) {
		return;
	}
	for (i = 0; i < RIG_SIZE; i++) {
		flips[i] = (struct flip){
			.field = &rig->view.packed[i].flags,
			.width = sizeof(uint16_t),
			.n = 6,
			.values = { VFE_DESC_AVAIL, VFE_DESC_USED, VFE_DESC_AVAIL | VFE_DESC_NEXT,
				    VFE_DESC_AVAIL | VFE_DESC_WRITE,
				    VFE_DESC_AVAIL | VFE_DESC_INDIRECT, 0xffff },
		};
	}
	if (mutator_start(flips, RIG_SIZE, &mutator) < 0) {
		rig_fail(rig, "no second thread");
		return;
	}
	/* The mutator alone offers what it likes; here the ring is only brought back. */
	for (i = 0; i < rig->options->race_ms / LOOK_MS && !rig->failed && rig_alive(rig); i++) {
		rig_read(rig, 0, RIG_SECTOR, VFE_SECTOR, &request);
		if (vfe_queue_add(rig->queue, request.segs, request.out_n, request.in_n, rig) ==
		    0) {
			vfe_queue_publish(rig->queue);
		}
		rig_kick(rig);
		mutator_help(mutator, HELP_FLIPS);
		rig->raw = true;
		(void)rig_await(rig, UINT32_MAX, LOOK_MS);
		rounds++;
		(void)rig_restart(rig);
	}
	rig_note(rig, "%llu flips, %u rings", (unsigned long long)mutator_stop(mutator), rounds);
	if (!rig->failed && rig_recover(rig)) {
		rig_expect_usable(rig);
	}
}

#define PACKED (ON_DISK | ON_PACKED)

static const struct hostile_case cases[] = {
	{ "T16", "packed: id = queue size", PACKED, offer_lie,
	  LIE(.want = WANT_BROKEN_HERE, .copies = 1, .id = RIG_SIZE) },
	{ "T17", "packed: id = 0xffff", PACKED, offer_lie,
	  LIE(.want = WANT_BROKEN_HERE, .copies = 1, .id = 0xffff) },
	{ "T18", "packed: the same id twice", PACKED, offer_lie,
	  LIE(.want = WANT_BROKEN_HERE, .copies = 2, .id = 1) },
	{ "T19", "packed: a ring full of NEXT", PACKED, offer_lie,
	  LIE(.want = WANT_BROKEN, .copies = 1, .more_flags = VFE_DESC_NEXT, .whole_ring = true) },
	{ "T20", "packed: a ring of 3, round and round", PACKED, round_and_round, SIZE(3) },
	{ "T20", "packed: a ring of 5, round and round", PACKED, round_and_round, SIZE(5) },
	{ "T20", "packed: a ring of 7, round and round", PACKED, round_and_round, SIZE(7) },
	{ "T20", "packed: a ring of 8, round and round", PACKED, round_and_round, SIZE(8) },
	{ "T21", "packed: an indirect table", PACKED, packed_table_of,
	  TABLE(WANT_OK, GOOD_LEN, RIG_SCRATCH, 0, 0) },
	{ "T21", "packed: an indirect table of 0 bytes", PACKED, packed_table_of,
	  TABLE(WANT_BROKEN, 0, RIG_SCRATCH, 0, 0) },
	{ "T21", "packed: an indirect table of 17 bytes", PACKED, packed_table_of,
	  TABLE(WANT_BROKEN, 17, RIG_SCRATCH, 0, 0) },
	{ "T21", "packed: an indirect table of 4 GiB", PACKED, packed_table_of,
	  TABLE(WANT_BROKEN, 0xfffffff0, RIG_SCRATCH, 0, 0) },
	{ "T21", "packed: an indirect table at the end of memory", PACKED, packed_table_of,
	  TABLE(WANT_BROKEN, GOOD_LEN, RIG_END - 8, 0, 0) },
	/* virtio 1.2, 2.8.7: in a table all flags but one are reserved, and ignored by the device. */
	{ "T21", "packed: an indirect table in an indirect table", PACKED, packed_table_of,
	  TABLE(WANT_OK_HERE, GOOD_LEN, RIG_SCRATCH, 0, VFE_DESC_INDIRECT) },
	{ "T21", "packed: INDIRECT and NEXT in one descriptor", PACKED, packed_table_of,
	  TABLE(WANT_BROKEN_HERE, GOOD_LEN, RIG_SCRATCH, VFE_DESC_NEXT, 0) },
	{ "T22", "packed: flags that change while they are read", PACKED, flags_that_change, NULL },
};

const struct case_table packed_table = CASE_TABLE(cases);
