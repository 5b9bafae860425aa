/* SPDX-License-Identifier: BSD-3-Clause */
/* T67 to T72: guest memory that is not what it says, or changes (vhost-user, SET_MEM_TABLE). */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "case.h"

#define SLOT_TRIES 33
#define WRITES	   20 /* as many chains of three as the ring has room for */

/* ---- T67: the file behind memory is cut short ---- */

enum cut {
	CUT_ALL,
	CUT_DATA, /* the second region: the ring stays, the data is gone */
};

/* With what is left of the ring, a request whose header and data are gone. */
static bool offer_what_is_gone(struct rig *rig, const struct request *request, enum cut cut)
{
	if (cut == CUT_DATA) {
		if (vfe_queue_add(rig->queue, request->segs, request->out_n, request->in_n, rig) <
		    0) {
			rig_fail(rig, "cannot add a request");
			return false;
		}
		vfe_queue_publish(rig->queue);
	}
	/* Whoever polls finds it; the others are woken up. */
	rig_kick(rig);
	return true;
}

static void cut_short(struct rig *rig, const void *arg)
{
	const enum cut cut = *(const enum cut *)arg;
	const struct rig_options how = { .unsealed = true };
	const struct vfe_raw_region *regions;
	struct vfe_message message;
	struct request request;
	unsigned int i;
	int r;

	if (!rig_start(rig, &how)) {
		return;
	}
	rig_expect_usable(rig);
	rig_write(rig, 0, RIG_SECTOR, VFE_SECTOR, &request);
	request.segs[request.data_at].gpa = RIG_SCRATCH;
	/* One that the target may be at work on when it happens. */
	if (rig->failed || !rig_submit(rig, &request)) {
		return;
	}
	vfe_raw_memory_regions(rig->memory, &regions);
	for (i = cut == CUT_ALL ? 0 : 1; i < 2; i++) {
		if (ftruncate(regions[i].fd, 0) < 0) {
			rig_fail(rig, "cannot cut the file");
		}
	}
	/* From here on our own pointers to it lead nowhere as well. */
	if (rig->failed || !offer_what_is_gone(rig, &request, cut) || !rig->options->strict) {
		return;
	}
	r = vfe_raw_recv(rig->session, &message);
	if (r == 0 || r == -ETIMEDOUT) {
		rig_fail(rig, "the session goes on without its memory");
	}
}

#define CUT(what)         \
	&(const enum cut) \
	{                 \
		what      \
	}

/* ---- T68, T69: tables ---- */

#define MIB (1ull << 20)

struct table {
	const char *what;
	unsigned int n;
	struct vfe_wire_region regions[2];
};

static bool send_table(struct rig *rig, const struct table *table)
{
	const struct vfe_raw_region *regions;
	struct vfe_message message = { .header = { VFE_SET_MEM_TABLE, 0, 0 } };
	unsigned int i;

	vfe_raw_memory_regions(rig->memory, &regions);
	message.payload.mem_table.region_n = table->n;
	for (i = 0; i < table->n; i++) {
		message.payload.mem_table.regions[i] = table->regions[i];
		message.fds[i] = regions[0].fd;
	}
	message.fd_n = table->n;
	message.header.size = 8 + table->n * (uint32_t)sizeof(table->regions[0]);
	return rig_expect_refused(rig, table->what, rig_ask(rig, &message));
}

static const struct table overlaps[] = {
	{ "the same region twice", 2, { { 0, MIB, 0x10000000, 0 }, { 0, MIB, 0x10000000, 0 } } },
	{ "guest addresses that overlap",
	  2,
	  { { 0, MIB, 0x10000000, 0 }, { MIB / 2, MIB, 0x20000000, MIB } } },
	{ "one guest address inside of another region",
	  2,
	  { { 0, 4 * MIB, 0x10000000, 0 }, { MIB, 4096, 0x20000000, 0 } } },
	{ "user addresses that overlap",
	  2,
	  { { 0, MIB, 0x10000000, 0 }, { 16 * MIB, MIB, 0x10000000 + MIB / 2, MIB } } },
};

static const struct table overflows[] = {
	{ "a region of no bytes", 1, { { 0, 0, 0x10000000, 0 } } },
	{ "a region longer than its file", 1, { { 0, RIG_REGION + 4096, 0x10000000, 0 } } },
	{ "a region behind its file", 1, { { 0, 4096, 0x10000000, RIG_REGION } } },
	{ "offset and size that wrap", 1, { { 0, 8192, 0x10000000, UINT64_MAX - 4095 } } },
	{ "a size of 2^64 - 1", 1, { { 4096, UINT64_MAX, 0x10000000, 0 } } },
	{ "a guest address that wraps", 1, { { UINT64_MAX - 4095, 8192, 0x10000000, 0 } } },
	{ "a user address that wraps", 1, { { 0, 8192, UINT64_MAX - 4095, 0 } } },
	{ "offset and size beyond 2^63", 1, { { 0, 1ull << 63, 0x10000000, 1ull << 63 } } },
};

static void refuse_tables(struct rig *rig, const struct table *tables, unsigned int n)
{
	const struct rig_options how = { 0 };
	unsigned int i;

	for (i = 0; i < n && !rig->failed; i++) {
		rig_close(rig);
		if (!rig_start(rig, &how) || !send_table(rig, &tables[i])) {
			return;
		}
		/* A table that was refused has changed nothing. */
		if (rig->options->strict && rig->queue != NULL) {
			rig_expect_usable(rig);
		}
	}
}

static void overlapping_regions(struct rig *rig, const void *arg)
{
	(void)arg;
	refuse_tables(rig, overlaps, sizeof(overlaps) / sizeof(overlaps[0]));
}

static void regions_that_overflow(struct rig *rig, const void *arg)
{
	(void)arg;
	refuse_tables(rig, overflows, sizeof(overflows) / sizeof(overflows[0]));
}

/* The table says another number than there are regions or descriptors. */
static void tables_that_lie(struct rig *rig, const void *arg)
{
	static const uint32_t counts[] = { 0, 2, 8, 9, 0x7fffffff, 0xffffffff };
	const struct rig_options how = { 0 };
	const struct vfe_raw_region *regions;
	unsigned int i;

	(void)arg;
	for (i = 0; i < sizeof(counts) / sizeof(counts[0]) && !rig->failed; i++) {
		struct vfe_message message = { .header = { VFE_SET_MEM_TABLE, 0, 40 }, .fd_n = 1 };

		rig_close(rig);
		if (!rig_open(rig, &how)) {
			return;
		}
		vfe_raw_memory_regions(rig->memory, &regions);
		message.payload.mem_table.region_n = counts[i];
		message.payload.mem_table.regions[0] = regions[0].wire;
		message.fds[0] = regions[0].fd;
		(void)rig_expect_refused(rig, "a table that lies about its length",
					 rig_ask(rig, &message));
	}
}

/* ---- T70, T71: memory slots ---- */

static enum taken send_slot(struct rig *rig, enum vfe_request request,
			    const struct vfe_wire_region *region, int fd)
{
	struct vfe_message message = {
		.header = { request, 0, sizeof(struct vfe_wire_mem_reg) },
		.payload.mem_reg.region = *region,
		.fds = { fd },
		.fd_n = fd < 0 ? 0 : 1,
	};

	return rig_ask(rig, &message);
}

/* Whoever offers slots says how many; one that does not must refuse the first. */
static void many_slots(struct rig *rig, const void *arg)
{
	const struct rig_options how = { 0 };
	const struct vfe_raw_region *regions;
	struct vfe_message reply;
	uint64_t most = 0;
	unsigned int i;

	(void)arg;
	if (!rig_open(rig, &how)) {
		return;
	}
	if ((vfe_protocol_features(rig->session) & VFE_PF_CONFIGURE_MEM_SLOTS) != 0 &&
	    vfe_raw_query(rig->session, VFE_GET_MAX_MEM_SLOTS, &reply) == 0) {
		most = reply.payload.u64;
	}
	vfe_raw_memory_regions(rig->memory, &regions);
	for (i = 0; i < SLOT_TRIES || i <= most; i++) {
		struct vfe_wire_region region = { 0x100000000 + i * 0x10000ull, 4096,
						  0x7f0000000000 + i * 0x10000ull, 0 };
		enum taken taken = send_slot(rig, VFE_ADD_MEM_REG, &region, regions[0].fd);

		/* The two that are there count as well. */
		if (i + 2 >= most &&
		    !rig_expect_refused(rig, "a region more than there are slots", taken)) {
			return;
		}
		if (taken == TAKEN_STALLED) {
			rig_fail(rig, "region %u was %s", i, taken_name(taken));
			return;
		}
		if (most > 1024 && i > 1024) {
			break;
		}
	}
}

/* A write of its own block for each frame, all offered at once: some are under way when the next message comes. */
static void build_writes(struct rig *rig, unsigned int round, struct request *ret_requests)
{
	unsigned int i;

	for (i = 0; i < WRITES; i++) {
		memset(rig_data(rig, i), (int)(round * WRITES + i), RIG_DATA);
		rig_write(rig, i, RIG_SECTOR + i * (RIG_DATA / VFE_SECTOR), RIG_DATA,
			  &ret_requests[i]);
	}
}

static bool offer_all(struct rig *rig, const struct request *requests)
{
	unsigned int i;

	rig->raw = false;
	rig->done = 0;
	for (i = 0; i < WRITES; i++) {
		if (vfe_queue_add(rig->queue, requests[i].segs, requests[i].out_n, requests[i].in_n,
				  rig) < 0) {
			rig_fail(rig, "cannot add a request: %s", vfe_why(rig->session));
			return false;
		}
	}
	vfe_queue_publish(rig->queue);
	return true;
}

static void slot_removed_during_requests(struct rig *rig, const void *arg)
{
	static struct request requests[WRITES];
	const struct rig_options how = { .with_protocol = VFE_PF_CONFIGURE_MEM_SLOTS };
	const struct vfe_raw_region *regions;
	struct vfe_wire_region unknown = { 0x100000000, 4096, 0x7f0000000000, 0 };
	enum outcome outcome;
	enum taken taken;
	unsigned int i;

	(void)arg;
	for (i = 0; i < 20 && !rig->failed; i++) {
		rig_close(rig);
		if (!rig_start(rig, &how)) {
			return;
		}
		vfe_raw_memory_regions(rig->memory, &regions);
		build_writes(rig, i, requests);
		if (!offer_all(rig, requests)) {
			return;
		}
		taken = send_slot(rig, VFE_REM_MEM_REG, i % 2 == 0 ? &regions[1].wire : &unknown,
				  -1);
		outcome = rig_await(rig, WRITES, RIG_DEADLINE_MS);
		if (taken == TAKEN_STALLED) {
			rig_fail(rig, "REM_MEM_REG during requests was followed by silence");
		} else if (outcome == OUTCOME_LIED ||
			   (rig->options->strict && outcome == OUTCOME_SILENT)) {
			rig_fail(rig, "%u of %u requests came back, and the ring is not broken",
				 rig->done, WRITES);
		}
	}
}

/* ---- T71, T72: memory changes during requests ---- */

/* Reads back what the writes of this round have written. */
static void expect_written(struct rig *rig, unsigned int round)
{
	struct request request;
	unsigned int i;

	for (i = 0; i < WRITES && !rig->failed; i++) {
		uint8_t *data = rig_data(rig, i);
		uint8_t pattern = (uint8_t)(round * WRITES + i);

		memset(data, ~pattern, RIG_DATA);
		rig_read(rig, i, RIG_SECTOR + i * (RIG_DATA / VFE_SECTOR), RIG_DATA, &request);
		if (!rig_submit(rig, &request)) {
			return;
		}
		rig_expect(rig, (int)i, WANT_OK);
		if (data[0] != pattern || memcmp(data, data + 1, RIG_DATA - 1) != 0) {
			rig_fail(rig, "round %u: block %u is not what was written", round, i);
		}
	}
}

/* The table that is there already, in one message whether or not the target has memory slots. */
static enum taken send_same_table(struct rig *rig)
{
	const struct vfe_raw_region *regions;
	struct vfe_message message = { .header = { VFE_SET_MEM_TABLE, 0, 0 }, .fd_n = 2 };
	unsigned int i;

	vfe_raw_memory_regions(rig->memory, &regions);
	message.payload.mem_table.region_n = 2;
	for (i = 0; i < 2; i++) {
		message.payload.mem_table.regions[i] = regions[i].wire;
		message.fds[i] = regions[i].fd;
	}
	message.header.size = 8 + 2 * (uint32_t)sizeof(regions[0].wire);
	return rig_ask(rig, &message);
}

/* A region that nobody uses is added, and taken away the next time. */
static enum taken toggle_slot(struct rig *rig, unsigned int round)
{
	struct vfe_wire_region region = { 0x100000000, 4096, 0x7f0000000000, 0 };
	const struct vfe_raw_region *regions;

	vfe_raw_memory_regions(rig->memory, &regions);
	return round % 2 == 0 ? send_slot(rig, VFE_ADD_MEM_REG, &region, regions[0].fd) :
				send_slot(rig, VFE_REM_MEM_REG, &region, -1);
}

static void memory_changes_during_requests(struct rig *rig, const void *arg)
{
	static struct request requests[WRITES];
	const bool slots = *(const bool *)arg;
	const struct rig_options how = { .with_protocol = slots ? VFE_PF_CONFIGURE_MEM_SLOTS : 0 };
	enum taken taken;
	unsigned int round;
	unsigned int i;

	if (!rig_start(rig, &how)) {
		return;
	}
	for (round = 0; round < 20 && !rig->failed; round++) {
		build_writes(rig, round, requests);
		if (!offer_all(rig, requests)) {
			return;
		}
		taken = slots ? toggle_slot(rig, round) : send_same_table(rig);
		if (taken != TAKEN_ACCEPTED && taken != TAKEN_UNKNOWN) {
			if (rig->options->strict || taken != TAKEN_ENDED) {
				rig_fail(rig, "the change was %s", taken_name(taken));
			}
			return; /* others end the connection instead */
		}
		if (rig_await(rig, WRITES, RIG_DEADLINE_MS) != OUTCOME_DONE) {
			rig_fail(rig, "round %u: %u of %u requests came back", round, rig->done,
				 WRITES);
		}
		for (i = 0; i < WRITES && !rig->failed; i++) {
			if (rig_answer(rig, i) != ANSWER_OK) {
				rig_fail(rig, "round %u: status %u", round, rig_status(rig, i));
			}
		}
		expect_written(rig, round);
	}
}

#define OLD_BYTE 0x5a

/* From now on the second region, here and there, is a new file with what the old one holds. */
static bool move_second_region(struct rig *rig, const struct vfe_raw_region *regions, int fd)
{
	struct vfe_message message = {
		.header = { VFE_SET_MEM_TABLE, 0, 8 + 2 * sizeof(struct vfe_wire_region) },
		.payload.mem_table = { .region_n = 2,
				       .regions = { regions[0].wire, regions[1].wire } },
		.fds = { regions[0].fd, fd },
		.fd_n = 2,
	};
	enum taken taken;

	if (pwrite(fd, regions[1].map, RIG_REGION, 0) != (ssize_t)RIG_REGION) {
		rig_fail(rig, "cannot copy memory: %s", strerror(errno));
		return false;
	}
	taken = rig_ask(rig, &message);
	if (taken != TAKEN_ACCEPTED && taken != TAKEN_UNKNOWN) {
		if (rig->options->strict) {
			rig_fail(rig, "a table with other memory was %s", taken_name(taken));
		}
		return false;
	}
	if (mmap(regions[1].map, RIG_REGION, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
		 0) == MAP_FAILED) {
		rig_fail(rig, "cannot map memory: %s", strerror(errno));
		return false;
	}
	return true;
}

/* What the front-end got back by the acknowledgement is neither read nor written any more. */
static void region_gets_other_memory(struct rig *rig, const void *arg)
{
	const struct rig_options how = { 0 };
	const struct vfe_raw_region *regions;
	uint8_t *old;
	size_t i;
	int fd;

	(void)arg;
	if (!rig_start(rig, &how) || !rig_fill(rig, RIG_SECTOR, RIG_DATA)) {
		return;
	}
	vfe_raw_memory_regions(rig->memory, &regions);
	old = mmap(NULL, RIG_REGION, PROT_READ | PROT_WRITE, MAP_SHARED, regions[1].fd, 0);
	fd = memfd_create("guest", MFD_CLOEXEC);
	if (old == MAP_FAILED || fd < 0) {
		rig_fail(rig, "no memory");
	} else if (move_second_region(rig, regions, fd)) {
		memset(old, OLD_BYTE, RIG_REGION);
		rig_expect_usable(rig);
		rig_expect_pattern(rig, rig_data(rig, 0), RIG_DATA);
		(void)rig_fill(rig, 2 * RIG_SECTOR, RIG_DATA);
		for (i = 0; i < RIG_REGION && !rig->failed; i++) {
			if (old[i] != OLD_BYTE) {
				rig_fail(rig, "byte %zu of the old memory was written", i);
			}
		}
	}
	munmap(old, RIG_REGION);
	close(fd);
}

#define SLOTS(yes)    \
	&(const bool) \
	{             \
		yes   \
	}

static const struct hostile_case cases[] = {
	{ "T67", "all memory is cut off under a running ring", ON_DISK | ON_SPLIT, cut_short,
	  CUT(CUT_ALL) },
	{ "T67", "the memory of the data is cut off", ON_DISK | ON_SPLIT, cut_short,
	  CUT(CUT_DATA) },
	{ "T68", "regions that overlap", ON_DISK | ON_SPLIT, overlapping_regions, NULL },
	{ "T69", "regions that overflow", ON_DISK | ON_SPLIT, regions_that_overflow, NULL },
	{ "T69", "tables that lie about their length", ON_DISK | ON_SPLIT, tables_that_lie, NULL },
	{ "T70", "more regions than there are slots", ON_DISK | ON_SPLIT, many_slots, NULL },
	{ "T71", "a region is removed during requests", ON_DISK | ON_SPLIT,
	  slot_removed_during_requests, NULL },
	{ "T71", "a region comes and goes during requests", ON_DISK | ON_SPLIT,
	  memory_changes_during_requests, SLOTS(true) },
	{ "T72", "the memory table changes during requests", ON_DISK | ON_SPLIT,
	  memory_changes_during_requests, SLOTS(false) },
	{ "T72", "a region gets other memory", ON_DISK | ON_SPLIT, region_gets_other_memory, NULL },
};

const struct case_table memory_table = CASE_TABLE(cases);
