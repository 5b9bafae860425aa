/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * T31 to T39: fields change between the moments at which a careless device would check and use them. A batch of
 * good requests is offered again and again while the mutator writes into it; whatever the device reads, each batch
 * must come back or break the ring.
 */
#include <stddef.h>
#include <string.h>
#include <time.h>

#include "case.h"
#include "mutator.h"

#define BATCH	    8
#define DESCS	    3
#define HANG_MS	    2000
#define LOOK_MS	    10
#define HELP_TURNS  200
#define HELP_FLIPS  32
#define BAD_ADDRESS 0xfffffffffffff000ull

enum place {
	/* Of the descriptor of the data. */
	IN_LEN,
	IN_ADDR,
	IN_FLAGS,
	IN_NEXT,
	/* Of the request. */
	IN_TYPE,
	IN_SECTOR,
	IN_CDB_OPCODE,
	IN_CDB_LBA,
	IN_CDB_COUNT,
	IN_LUN,
	/* Of the range of a discard. */
	IN_RANGE_SECTOR,
	IN_RANGE_SECTORS,
	IN_RANGE_FLAGS,
	/* Of the ring. */
	IN_INDEX,
	IN_HEAD,
};

enum load {
	LOAD_READS,
	LOAD_WRITES,
	LOAD_DISCARDS,
	LOAD_TABLES, /* reads, by indirect tables */
};

struct spot {
	enum place place;
	unsigned int n;
	uint64_t values[FLIP_VALUES_MAX];
};

struct race {
	enum load load;
	bool status_stays;  /* no flip can keep the status byte from being written */
	bool may_be_silent; /* the device may have seen an index that offers nothing */
	struct spot spots[4];
	unsigned int spot_n;
};

struct tally {
	uint64_t batches;
	uint64_t broken;
	uint64_t ended;
};

/* ---- the good batch ---- */

static struct vfe_desc *chain_of(struct rig *rig, const struct race *race, unsigned int i)
{
	if (race->load == LOAD_TABLES) {
		return (struct vfe_desc *)(void *)(rig->scratch + (size_t)i * 4096);
	}
	return rig->view.desc + (size_t)i * DESCS;
}

static void build_discard(struct rig *rig, unsigned int i, struct request *ret_request)
{
	struct vfe_blk_range *range = (struct vfe_blk_range *)(void *)rig_data(rig, i);

	rig_write(rig, i, 0, sizeof(*range), ret_request);
	rig->blk_frames[i].type = VFE_BLK_DISCARD;
	range->sector = RIG_SECTOR;
	range->sectors = 8;
	range->flags = 0;
}

static void build(struct rig *rig, const struct race *race, unsigned int i)
{
	struct request request;

	switch (race->load) {
	case LOAD_WRITES:
		rig_write(rig, i, RIG_SECTOR, VFE_SECTOR, &request);
		break;
	case LOAD_DISCARDS:
		build_discard(rig, i, &request);
		break;
	default:
		rig_read(rig, i, RIG_SECTOR, VFE_SECTOR, &request);
		break;
	}
	if (race->load == LOAD_TABLES) {
		rig_table(chain_of(rig, race, i), &request);
		rig->view.desc[i * DESCS] = (struct vfe_desc){
			.addr = RIG_SCRATCH + i * 4096ull,
			.len = DESCS * sizeof(struct vfe_desc),
			.flags = VFE_DESC_INDIRECT,
		};
	} else {
		rig_chain(rig, i * DESCS, &request);
	}
}

/* ---- where the mutator writes ---- */

static struct flip locate(struct rig *rig, const struct race *race, enum place place,
			  unsigned int i)
{
	struct vfe_desc *chain = chain_of(rig, race, i);
	/* A response lies before data from the device. */
	bool behind = rig->options->device == VFE_SCSI && race->load != LOAD_WRITES;
	struct vfe_desc *data = &chain[behind ? 2 : 1];
	struct vfe_blk_frame *blk = rig->blk_frames + i;
	struct vfe_scsi_frame *scsi = rig->scsi_frames + i;
	struct vfe_blk_range *range = (struct vfe_blk_range *)(void *)rig_data(rig, i);

	switch (place) {
	case IN_LEN:
		return (struct flip){ .field = &data->len, .width = 4 };
	case IN_ADDR:
		return (struct flip){ .field = &data->addr, .width = 8 };
	case IN_FLAGS:
		return (struct flip){ .field = &data->flags, .width = 2 };
	case IN_NEXT:
		return (struct flip){ .field = &chain[0].next, .width = 2 };
	case IN_TYPE:
		return (struct flip){ .field = &blk->type, .width = 4 };
	case IN_SECTOR:
		return (struct flip){ .field = &blk->sector, .width = 8 };
	case IN_CDB_OPCODE:
		return (struct flip){ .field = &scsi->request.cdb[0], .width = 1 };
	case IN_CDB_LBA:
		return (struct flip){ .field = &scsi->request.cdb[6], .width = 1 };
	case IN_CDB_COUNT:
		return (struct flip){ .field = &scsi->request.cdb[12], .width = 1 };
	case IN_LUN:
		return (struct flip){ .field = &scsi->request.lun[i % 4], .width = 1 };
	case IN_RANGE_SECTOR:
		return (struct flip){ .field = &range->sector, .width = 8 };
	case IN_RANGE_SECTORS:
		return (struct flip){ .field = &range->sectors, .width = 4 };
	case IN_RANGE_FLAGS:
		return (struct flip){ .field = &range->flags, .width = 4 };
	case IN_HEAD:
		/* One in each batch, wherever in the ring it lies. */
		return (struct flip){ .field = &rig->view.avail->ring[i * (BATCH + 1) % RIG_SIZE],
				      .width = 2 };
	case IN_INDEX:
		break;
	}
	return (struct flip){ .field = &rig->view.avail->idx, .width = 2 };
}

static unsigned int all_flips(struct rig *rig, const struct race *race, struct flip *flips)
{
	unsigned int n = 0;
	unsigned int s;
	unsigned int i;

	for (s = 0; s < race->spot_n; s++) {
		for (i = 0; i < BATCH; i++) {
			struct flip *flip = &flips[n++];

			*flip = locate(rig, race, race->spots[s].place, i);
			flip->n = race->spots[s].n;
			memcpy(flip->values, race->spots[s].values, sizeof(flip->values));
		}
	}
	return n;
}

/* ---- the race ---- */

static bool out_of_time(const struct timespec *begin, unsigned int ms)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (now.tv_sec - begin->tv_sec) * 1000 + (now.tv_nsec - begin->tv_nsec) / 1000000 >=
	       (long)ms;
}

static void check_statuses(struct rig *rig)
{
	unsigned int i;

	for (i = 0; i < BATCH; i++) {
		enum answer answer = rig_answer(rig, i);

		if (answer == ANSWER_NONE || answer == ANSWER_ODD) {
			rig_fail(rig, "request %u came back with status %u", i, rig_status(rig, i));
		}
	}
}

/* Until it is over, or for so long that it does not matter any more. */
static void help(struct rig *rig, struct mutator *mutator)
{
	unsigned int i;

	for (i = 0; i < HELP_TURNS; i++) {
		uint16_t used = __atomic_load_n(&rig->view.used->idx, __ATOMIC_RELAXED);

		if ((uint16_t)(used - rig->used_idx) >= BATCH) {
			return;
		}
		mutator_help(mutator, HELP_FLIPS);
	}
}

static void one_batch(struct rig *rig, const struct race *race, struct mutator *mutator,
		      struct tally *tally)
{
	unsigned int i;

	for (i = 0; i < BATCH; i++) {
		build(rig, race, i);
		rig_head(rig, (uint16_t)(i * DESCS));
	}
	rig_offer(rig);
	help(rig, mutator);
	tally->batches++;
	switch (rig_await(rig, BATCH, race->may_be_silent ? LOOK_MS : HANG_MS)) {
	case OUTCOME_DONE:
		if (race->status_stays) {
			check_statuses(rig);
		}
		break;
	case OUTCOME_BROKEN:
		tally->broken++;
		(void)rig_restart(rig);
		break;
	case OUTCOME_ENDED:
		tally->ended++;
		break;
	default:
		/* Otherwise it is a broken ring of a target that does not say so. */
		if (rig->options->strict && !race->may_be_silent) {
			rig_fail(rig, "a batch neither came back nor broke the ring");
		} else {
			(void)rig_restart(rig);
		}
		break;
	}
}

static void run_race(struct rig *rig, const void *arg)
{
	const struct race *race = arg;
	const struct rig_options how = {
		.with = (race->load == LOAD_DISCARDS ? VFE_F_BLK_DISCARD : 0) |
			(race->load == LOAD_TABLES ? VFE_F_INDIRECT_DESC : 0),
	};
	struct tally tally = { 0 };
	uint64_t flips_done = 0;
	struct flip flips[FLIPS_MAX];
	struct timespec begin;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	while (!rig->failed && !rig->skipped && !out_of_time(&begin, rig->options->race_ms)) {
		struct mutator *mutator;

		/* A target that ends connections gets another one, with other memory to write into. */
		rig_close(rig);
		if (!rig_start(rig, &how)) {
			return;
		}
		if (mutator_start(flips, all_flips(rig, race, flips), &mutator) < 0) {
			rig_fail(rig, "no second thread");
			return;
		}
		while (!rig->failed && rig_alive(rig) &&
		       !out_of_time(&begin, rig->options->race_ms)) {
			one_batch(rig, race, mutator, &tally);
		}
		flips_done += mutator_stop(mutator);
	}
	rig_note(rig, "%llu flips, %llu batches, %llu broke the ring, %llu ended the connection",
		 (unsigned long long)flips_done, (unsigned long long)tally.batches,
		 (unsigned long long)tally.broken, (unsigned long long)tally.ended);
	if (!rig->failed && rig_recover(rig)) {
		rig_expect_usable(rig);
	}
}

#define RACE(...)            \
	&(const struct race) \
	{                    \
		__VA_ARGS__  \
	}

/* virtio 1.2, 5.2.6: IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES, and what there is not. */
#define TYPES                          \
	{                              \
		0, 1, 4, 8, 11, 13, 99 \
	}

static const struct hostile_case cases[] = {
	{ "T31", "the length of a descriptor changes", ON_DISK | ON_SPLIT, run_race,
	  RACE(LOAD_READS, false, false,
	       { { IN_LEN, 6, { 512, 1024, 4096, 1, 512, 0xffffffff } },
		 { IN_ADDR, 4, { RIG_SCRATCH, RIG_END - 512, RIG_SCRATCH - 256, BAD_ADDRESS } } },
	       2) },
	{ "T31", "the length of a descriptor of a write changes", ON_DISK | ON_SPLIT, run_race,
	  RACE(LOAD_WRITES, false, false,
	       { { IN_LEN, 6, { 512, 1024, 4096, 0, 512, 0x80000000 } } }, 1) },
	{ "T32", "the next of a descriptor changes", ON_DISK | ON_SPLIT, run_race,
	  RACE(LOAD_READS, false, false, { { IN_NEXT, 7, { 1, 4, 7, 2, 0, RIG_SIZE, 0xffff } } },
	       1) },
	{ "T33", "the flags of a descriptor change", ON_DISK | ON_SPLIT, run_race,
	  RACE(LOAD_READS, false, false, { { IN_FLAGS, 6, { 3, 1, 2, 0, 4, 7 } } }, 1) },
	{ "T34", "type and sector of a request change", ON_BLK | ON_SPLIT, run_race,
	  RACE(LOAD_READS, true, false,
	       { { IN_TYPE, 7, TYPES },
		 { IN_SECTOR, 5, { 0, 64, 1ull << 54, UINT64_MAX, 1ull << 55 } } },
	       2) },
	{ "T34", "type and sector of a write change", ON_BLK | ON_SPLIT, run_race,
	  RACE(LOAD_WRITES, true, false,
	       { { IN_TYPE, 7, TYPES },
		 { IN_SECTOR, 5, { 0, 64, 1ull << 54, UINT64_MAX, 1ull << 55 } } },
	       2) },
	{ "T35", "the range of a discard changes", ON_BLK | ON_SPLIT, run_race,
	  RACE(LOAD_DISCARDS, true, false,
	       { { IN_RANGE_SECTOR, 4, { 64, 0, 1ull << 55, UINT64_MAX } },
		 { IN_RANGE_SECTORS, 5, { 8, 0, 1, 0xffffffff, 0x800000 } },
		 { IN_RANGE_FLAGS, 4, { 0, 0, 1, 0x80000000 } } },
	       3) },
	{ "T36", "the CDB changes", ON_SCSI | ON_SPLIT, run_race,
	  RACE(LOAD_READS, true, false,
	       { { IN_CDB_OPCODE, 8, { 0x88, 0x12, 0x28, 0xa0, 0x9e, 0x1a, 0x00, 0xff } },
		 { IN_CDB_LBA, 3, { 0, 0x7f, 0xff } },
		 { IN_CDB_COUNT, 3, { 0, 1, 0xff } } },
	       3) },
	{ "T36", "the CDB of a command with data changes", ON_SCSI | ON_SPLIT, run_race,
	  RACE(LOAD_WRITES, true, false,
	       { { IN_CDB_OPCODE, 8, { 0x8a, 0x42, 0x93, 0x15, 0x55, 0x2a, 0x35, 0x5f } },
		 { IN_CDB_LBA, 3, { 0, 0x7f, 0xff } },
		 { IN_CDB_COUNT, 3, { 0, 1, 0xff } } },
	       3) },
	{ "T37", "the LUN changes", ON_SCSI | ON_SPLIT, run_race,
	  RACE(LOAD_READS, true, false, { { IN_LUN, 6, { 1, 0, 7, 0xff, 0x40, 0xc1 } } }, 1) },
	{ "T38", "an indirect table changes", ON_DISK | ON_SPLIT, run_race,
	  RACE(LOAD_TABLES, false, false,
	       { { IN_LEN, 5, { 512, 1024, 4096, 512, 0xffffffff } },
		 { IN_FLAGS, 5, { 3, 3, 1, 2, 4 } },
		 { IN_NEXT, 5, { 1, 2, 0, 3, 0xffff } },
		 { IN_ADDR, 3, { RIG_SCRATCH, RIG_END - 512, BAD_ADDRESS } } },
	       4) },
	{ "T39", "the available index changes", ON_DISK | ON_SPLIT, run_race,
	  RACE(LOAD_READS, false, true, { { IN_INDEX, 7, { 0, 1, 8, 9, 64, 65, 0xffff } } }, 1) },
	{ "T39", "the heads in the available ring change", ON_DISK | ON_SPLIT, run_race,
	  RACE(LOAD_READS, false, false, { { IN_HEAD, 6, { 0, 3, 21, 64, 0x8000, 0xffff } } }, 1) },
};

const struct case_table race_table = CASE_TABLE(cases);
