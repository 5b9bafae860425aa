/* SPDX-License-Identifier: BSD-3-Clause */
/* T40 to T50: requests of the block device (virtio 1.2, 5.2.6). */
#include <string.h>

#include "case.h"

/* Every request type has its data behind the header or before the status, at rig_data(rig, 0). */
static void submit(struct rig *rig, uint32_t type, uint64_t sector, uint32_t bytes, bool in)
{
	struct request request;

	if (in) {
		rig_read(rig, 0, sector, bytes, &request);
	} else {
		rig_write(rig, 0, sector, bytes, &request);
	}
	rig->blk_frames[0].type = type;
	(void)rig_submit(rig, &request);
}

/* ---- T40, T41, T42: where the disk ends, and what its blocks are ---- */

enum from {
	FROM_START,
	FROM_END, /* in sectors */
};

struct access {
	enum from from;
	uint64_t sector;
	uint32_t bytes;
	enum want want;
};

static void access_both_ways(struct rig *rig, const struct access *access)
{
	uint64_t sector = access->sector;
	unsigned int i;

	if (access->from == FROM_END) {
		sector = rig->blk.capacity / VFE_SECTOR - access->sector;
	}
	for (i = 0; i < 2 && !rig->failed; i++) {
		submit(rig, i == 0 ? VFE_BLK_IN : VFE_BLK_OUT, sector, access->bytes, i == 0);
		if (!rig->failed) {
			rig_expect(rig, 0, access->want);
		}
	}
}

static void access_disk(struct rig *rig, const void *arg)
{
	const struct access *access = arg;
	const struct rig_options how = { 0 };

	if (!rig_start(rig, &how)) {
		return;
	}
	if (rig->block > VFE_SECTOR) {
		rig_skip(rig, "needs a disk with blocks of 512 bytes");
		return;
	}
	access_both_ways(rig, access);
}

#define ACCESS(...)            \
	&(const struct access) \
	{                      \
		__VA_ARGS__    \
	}

static void part_of_a_block(struct rig *rig, const void *arg)
{
	static const struct access parts[] = {
		{ FROM_START, 0, 512, WANT_ERROR }, { FROM_START, 1, 4096, WANT_ERROR },
		{ FROM_START, 7, 512, WANT_ERROR }, { FROM_END, 1, 512, WANT_ERROR },
		{ FROM_START, 8, 4096, WANT_OK },
	};
	const struct rig_options how = { 0 };
	unsigned int i;

	(void)arg;
	if (!rig_start(rig, &how)) {
		return;
	}
	if (rig->block != 4096) {
		rig_skip(rig, "needs a disk with blocks of 4096 bytes");
		return;
	}
	for (i = 0; i < sizeof(parts) / sizeof(parts[0]) && !rig->failed; i++) {
		access_both_ways(rig, &parts[i]);
	}
}

/* ---- T43 ---- */

static void write_what_is_read_only(struct rig *rig, const void *arg)
{
	const struct rig_options how = { .with = VFE_F_BLK_RO };
	static const uint32_t types[] = { VFE_BLK_OUT, VFE_BLK_DISCARD, VFE_BLK_WRITE_ZEROES };
	unsigned int i;

	(void)arg;
	if (!rig_start(rig, &how)) {
		return;
	}
	for (i = 0; i < sizeof(types) / sizeof(types[0]) && !rig->failed; i++) {
		memset(rig_data(rig, 0), 0, VFE_SECTOR);
		submit(rig, types[i], 0,
		       types[i] == VFE_BLK_OUT ? VFE_SECTOR : sizeof(struct vfe_blk_range), false);
		rig_expect(rig, 0, WANT_ERROR);
	}
	/* A driver that did not look at the feature is not to be trusted with it either. */
	rig_expect_usable(rig);
}

/* ---- T44, T45, T49: ranges ---- */

struct range_case {
	uint32_t type;
	uint32_t n;   /* ranges, all the same */
	uint32_t cut; /* bytes that the last one lacks */
	struct vfe_blk_range range;
	enum want want;
};

static void submit_ranges(struct rig *rig, const struct range_case *row)
{
	struct vfe_blk_range *ranges = (struct vfe_blk_range *)(void *)rig->data;
	unsigned int i;

	for (i = 0; i < row->n; i++) {
		ranges[i] = row->range;
	}
	submit(rig, row->type, 0, row->n * (uint32_t)sizeof(*ranges) - row->cut, false);
}

static void give_ranges(struct rig *rig, const void *arg)
{
	const struct range_case *row = arg;
	const struct rig_options how = {
		.with = row->type == VFE_BLK_DISCARD ? VFE_F_BLK_DISCARD : VFE_F_BLK_WRITE_ZEROES,
	};

	if (!rig_start(rig, &how)) {
		return;
	}
	submit_ranges(rig, row);
	if (!rig->failed) {
		rig_expect(rig, 0, row->want);
	}
}

#define RANGES(...)                \
	&(const struct range_case) \
	{                          \
		__VA_ARGS__        \
	}

static void zeroes_that_unmap(struct rig *rig, const void *arg)
{
	const struct rig_options how = { .with = VFE_F_BLK_WRITE_ZEROES };
	const struct range_case row = {
		.type = VFE_BLK_WRITE_ZEROES,
		.n = 1,
		.range = { RIG_SECTOR, RIG_DATA / VFE_SECTOR, VFE_BLK_RANGE_UNMAP },
	};
	const uint8_t *data;
	unsigned int i;

	(void)arg;
	if (!rig_start(rig, &how) || !rig_fill(rig, RIG_SECTOR, RIG_DATA)) {
		return;
	}
	submit_ranges(rig, &row);
	rig_expect(rig, 0, WANT_OK);
	data = rig_data(rig, 0);
	memset(rig_data(rig, 0), 0xff, RIG_DATA);
	submit(rig, VFE_BLK_IN, RIG_SECTOR, RIG_DATA, true);
	rig_expect(rig, 0, WANT_OK);
	for (i = 0; i < RIG_DATA && !rig->failed; i++) {
		if (data[i] != 0) {
			rig_fail(rig, "byte %u of what was zeroed is 0x%02x", i, data[i]);
		}
	}
}

/* ---- T46 ---- */

/* The serial number into `room` bytes, in two pieces if that can be. */
static void id_into(struct rig *rig, uint32_t room, bool split, uint8_t *ret_id)
{
	struct request request;

	memset(rig_data(rig, 0), 0xee, RIG_DATA);
	rig_read(rig, 0, 0, room, &request);
	rig->blk_frames[0].type = VFE_BLK_GET_ID;
	if (split) {
		request.segs[3] = request.segs[2];
		request.segs[2] = (struct vfe_seg){ request.segs[1].gpa + 3, room - 3 };
		request.segs[1].len = 3;
		request.in_n = 3;
	}
	if (rig_submit(rig, &request)) {
		rig_expect(rig, 0, room < VFE_BLK_ID_LEN ? WANT_OK_HERE : WANT_OK);
	}
	memcpy(ret_id, rig_data(rig, 0), VFE_BLK_ID_LEN);
	if (!rig->failed &&
	    rig_data(rig, 0)[room < VFE_BLK_ID_LEN ? room : VFE_BLK_ID_LEN] != 0xee) {
		rig_fail(rig, "GET_ID into %u bytes wrote behind the serial number", room);
	}
}

static void serial_numbers(struct rig *rig, const void *arg)
{
	static const uint32_t rooms[] = { 1, 19, 20, 21, 100 };
	const struct rig_options how = { 0 };
	uint8_t whole[VFE_BLK_ID_LEN];
	uint8_t part[VFE_BLK_ID_LEN];
	unsigned int i;

	(void)arg;
	if (!rig_start(rig, &how)) {
		return;
	}
	id_into(rig, VFE_BLK_ID_LEN, false, whole);
	for (i = 0; i < 2 * sizeof(rooms) / sizeof(rooms[0]) && !rig->failed; i++) {
		uint32_t room = rooms[i / 2];
		uint32_t n = room < VFE_BLK_ID_LEN ? room : VFE_BLK_ID_LEN;

		if (room <= 3 && i % 2 == 1) {
			continue;
		}
		id_into(rig, room, i % 2 == 1, part);
		if (rig->options->strict && memcmp(part, whole, n) != 0) {
			rig_fail(rig, "GET_ID into %u bytes gives another serial number", room);
		}
		if (!rig->options->strict && !rig_recover(rig)) {
			return;
		}
	}
}

/* ---- T47, T48 ---- */

static void flush_not_negotiated(struct rig *rig, const void *arg)
{
	const struct rig_options how = { .without = VFE_F_BLK_FLUSH | VFE_F_BLK_CONFIG_WCE };

	(void)arg;
	if (rig_start(rig, &how)) {
		submit(rig, VFE_BLK_FLUSH, 0, 0, true);
		rig_expect(rig, 0, WANT_OK_HERE);
	}
}

static void unknown_types(struct rig *rig, const void *arg)
{
	/* 2: SCSI commands of old; 10: GET_LIFETIME; 14: SECURE_ERASE; 15 and more: zones. */
	static const uint32_t types[] = { 2, 3, 9, 10, 14, 15, 99, 0x40000000, 0xffffffff };
	const struct rig_options how = { 0 };
	unsigned int i;

	(void)arg;
	if (!rig_start(rig, &how)) {
		return;
	}
	for (i = 0; i < 2 * sizeof(types) / sizeof(types[0]) && !rig->failed; i++) {
		submit(rig, types[i / 2], 0, i % 2 == 0 ? 0 : VFE_SECTOR, i % 4 < 2);
		rig_expect(rig, 0, WANT_UNSUPPORTED);
	}
}

/* ---- T50 ---- */

struct write_config {
	uint32_t offset;
	uint32_t size;
	uint8_t value;
};

static void config_writes(struct rig *rig, const void *arg)
{
	/* 32: writeback (5.2.4), the one field that may be written, one byte long. */
	static const struct write_config writes[] = {
		{ 32, 1, 2 },  { 32, 1, 0xff },	 { 32, 0, 0 }, { 32, 2, 0 },	{ 31, 1, 0 },
		{ 33, 1, 0 },  { 31, 2, 0 },	 { 0, 8, 0 },  { 0, 60, 0 },	{ 60, 4, 0 },
		{ 255, 1, 0 }, { 0, 256, 0xff }, { 20, 4, 0 }, { 34, 2, 0xff },
	};
	const struct rig_options how = { .with_protocol = VFE_PF_CONFIG };
	struct vfe_message message;
	uint8_t before[60];
	uint8_t after[60];
	size_t got;
	unsigned int i;

	(void)arg;
	if (!rig_open(rig, &how) ||
	    vfe_config_read(rig->session, before, sizeof(before), &got) < 0) {
		return;
	}
	for (i = 0; i < sizeof(writes) / sizeof(writes[0]) && !rig->failed; i++) {
		memset(&message, 0, sizeof(message));
		message.header.request = VFE_SET_CONFIG;
		message.header.size = VFE_WIRE_CONFIG_HEADER + writes[i].size;
		message.payload.config.offset = writes[i].offset;
		message.payload.config.size = writes[i].size;
		memset(message.payload.config.bytes, writes[i].value, writes[i].size);
		if (!rig_expect_refused(rig, "a write to the configuration",
					rig_ask(rig, &message))) {
			return;
		}
	}
	if (rig->options->strict &&
	    vfe_config_read(rig->session, after, sizeof(after), &got) == 0 &&
	    memcmp(before, after, sizeof(after)) != 0) {
		rig_fail(rig, "a refused write has changed the configuration");
	}
}

#define BLK (ON_BLK | ON_RING)

#define RANGE(sector, sectors, flags)  \
	{                              \
		sector, sectors, flags \
	}

static const struct hostile_case cases[] = {
	{ "T40", "sector = 2^64 - 1", BLK, access_disk,
	  ACCESS(FROM_START, UINT64_MAX, VFE_SECTOR, WANT_ERROR) },
	{ "T40", "sector * 512 = 2^64", BLK, access_disk,
	  ACCESS(FROM_START, 1ull << 55, VFE_SECTOR, WANT_ERROR) },
	{ "T40", "sector + length wraps", BLK, access_disk,
	  ACCESS(FROM_START, (1ull << 55) - 1, 2 * VFE_SECTOR, WANT_ERROR) },
	{ "T41", "the last sector", BLK, access_disk, ACCESS(FROM_END, 1, VFE_SECTOR, WANT_OK) },
	{ "T41", "one sector beyond the end", BLK, access_disk,
	  ACCESS(FROM_END, 1, 2 * VFE_SECTOR, WANT_ERROR) },
	{ "T41", "one byte beyond the end", BLK, access_disk,
	  ACCESS(FROM_END, 1, VFE_SECTOR + 1, WANT_ERROR) },
	{ "T41", "a sector that begins at the end", BLK, access_disk,
	  ACCESS(FROM_END, 0, VFE_SECTOR, WANT_ERROR) },
	{ "T41", "a part of a sector", BLK, access_disk,
	  ACCESS(FROM_START, 0, VFE_SECTOR - 1, WANT_ERROR) },
	{ "T42", "parts of blocks of 4096 bytes", BLK, part_of_a_block, NULL },
	{ "T43", "a change of a read-only disk", BLK, write_what_is_read_only, NULL },
	{ "T44", "discard with an unknown flag", BLK, give_ranges,
	  RANGES(VFE_BLK_DISCARD, 1, 0, RANGE(RIG_SECTOR, 8, 0x80000000), WANT_UNSUPPORTED) },
	{ "T44", "discard with the unmap flag", BLK, give_ranges,
	  RANGES(VFE_BLK_DISCARD, 1, 0, RANGE(RIG_SECTOR, 8, 1), WANT_UNSUPPORTED) },
	{ "T44", "write zeroes with an unknown flag", BLK, give_ranges,
	  RANGES(VFE_BLK_WRITE_ZEROES, 1, 0, RANGE(RIG_SECTOR, 8, 2), WANT_UNSUPPORTED) },
	{ "T44", "a discard that ends behind the disk", BLK, give_ranges,
	  RANGES(VFE_BLK_DISCARD, 1, 0, RANGE(0, 0xffffffff, 0), WANT_ERROR) },
	{ "T44", "a discard whose end wraps", BLK, give_ranges,
	  RANGES(VFE_BLK_DISCARD, 1, 0, RANGE(UINT64_MAX - 7, 16, 0), WANT_ERROR) },
	{ "T44", "a range that is cut off", BLK, give_ranges,
	  RANGES(VFE_BLK_DISCARD, 2, 1, RANGE(RIG_SECTOR, 8, 0), WANT_ERROR) },
	{ "T45", "zeroes that unmap", BLK, zeroes_that_unmap, NULL },
	{ "T46", "the serial number into buffers of all sizes", BLK, serial_numbers, NULL },
	{ "T47", "a flush that was not negotiated", BLK, flush_not_negotiated, NULL },
	{ "T48", "types that there are not", BLK, unknown_types, NULL },
	{ "T49", "a discard of 256 ranges", BLK, give_ranges,
	  RANGES(VFE_BLK_DISCARD, 256, 0, RANGE(RIG_SECTOR, 8, 0), WANT_OK_HERE) },
	{ "T49", "a discard of 257 ranges", BLK, give_ranges,
	  RANGES(VFE_BLK_DISCARD, 257, 0, RANGE(RIG_SECTOR, 8, 0), WANT_ERROR) },
	{ "T49", "256 zeroings of the whole address space", BLK, give_ranges,
	  RANGES(VFE_BLK_WRITE_ZEROES, 256, 0, RANGE(0, 0xffffffff, 0), WANT_ERROR) },
	{ "T50", "configuration writes that are not allowed", ON_BLK | ON_SPLIT, config_writes,
	  NULL },
};

const struct case_table blk_table = CASE_TABLE(cases);
