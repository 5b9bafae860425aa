/* SPDX-License-Identifier: BSD-3-Clause */
/* T23 to T30: addresses and framing of good requests (virtio 1.2, 2.7.4). */
#include <string.h>

#include "case.h"

struct place {
	enum want want;
	uint64_t gpa;
	uint32_t len;
};

/* A read into a buffer at this address. */
static void read_to(struct rig *rig, const void *arg)
{
	const struct place *place = arg;
	const struct rig_options how = { 0 };
	struct request request;

	if (!rig_start(rig, &how)) {
		return;
	}
	rig_read(rig, 0, RIG_SECTOR, VFE_SECTOR, &request);
	request.segs[request.data_at] = (struct vfe_seg){ place->gpa, place->len };
	if (rig_submit(rig, &request)) {
		rig_expect(rig, 0, place->want);
	}
}

#define PLACE(...)            \
	&(const struct place) \
	{                     \
		__VA_ARGS__   \
	}

/* T25: one buffer, two regions: here the second one does not lie behind the first. */
static void across_regions(struct rig *rig, const void *arg)
{
	const struct rig_options how = { 0 };
	const struct vfe_raw_region *regions;
	const uint32_t before = 300;
	struct request request;
	uint8_t got[RIG_DATA];

	(void)arg;
	if (!rig_start(rig, &how) || !rig_fill(rig, RIG_SECTOR, RIG_DATA)) {
		return;
	}
	vfe_raw_memory_regions(rig->memory, &regions);
	rig_read(rig, 0, RIG_SECTOR, RIG_DATA, &request);
	request.segs[request.data_at].gpa = RIG_SCRATCH - before;
	if (!rig_submit(rig, &request)) {
		return;
	}
	rig_expect(rig, 0, WANT_OK);
	memcpy(got, regions[0].map + RIG_REGION - before, before);
	memcpy(got + before, regions[1].map, RIG_DATA - before);
	rig_expect_pattern(rig, got, RIG_DATA);
	/* The other way: write it elsewhere, and look there. */
	rig_write(rig, 0, 2 * RIG_SECTOR, RIG_DATA, &request);
	request.segs[request.data_at].gpa = RIG_SCRATCH - before;
	if (!rig->failed && rig_submit(rig, &request)) {
		rig_expect(rig, 0, WANT_OK);
		rig_read(rig, 0, 2 * RIG_SECTOR, RIG_DATA, &request);
		if (rig_submit(rig, &request)) {
			rig_expect(rig, 0, WANT_OK);
			rig_expect_pattern(rig, rig_data(rig, 0), RIG_DATA);
		}
	}
}

/* T27: 4 GiB and 8 MiB; in 32 bits that is 8 MiB, which the end of the disk would have room for. */
static void lengths_beyond_32_bits(struct rig *rig, const void *arg)
{
	const struct rig_options how = { .with = VFE_F_INDIRECT_DESC, .indirect = true };
	const unsigned int pieces = 513;
	const uint32_t piece = 8 << 20;
	struct request request;
	struct vfe_seg last;
	uint64_t sector;
	unsigned int i;

	(void)arg;
	if (!rig_start(rig, &how)) {
		return;
	}
	if (rig->blocks * rig->block < piece) {
		rig_skip(rig, "needs a disk of 8 MiB");
		return;
	}
	sector = (rig->blocks * rig->block - piece) / VFE_SECTOR;
	rig_read(rig, 0, sector, piece, &request);
	last = request.segs[2];
	for (i = 0; i < pieces; i++) {
		request.segs[request.data_at + i] = (struct vfe_seg){ RIG_SCRATCH, piece };
	}
	if (rig->options->device == VFE_BLK) {
		request.segs[1 + pieces] = last;
	}
	request.in_n = pieces + 1;
	if (rig_submit(rig, &request)) {
		rig_expect(rig, 0,
			   rig->options->device == VFE_BLK ? WANT_BROKEN : WANT_BROKEN_HERE);
	}
}

/* T28: the status, or the response, lies in the buffer that the data goes to. */
static void status_in_the_data(struct rig *rig, const void *arg)
{
	const struct rig_options how = { 0 };
	bool blk = rig->options->device == VFE_BLK;
	const uint32_t at = 100;
	struct request request;
	enum outcome outcome;
	uint8_t status;

	(void)arg;
	if (!rig_start(rig, &how)) {
		return;
	}
	rig_read(rig, 0, RIG_SECTOR, VFE_SECTOR, &request);
	request.segs[blk ? 2 : 1].gpa = rig_data_gpa(rig, 0) + at;
	memset(rig_data(rig, 0), 0xff, VFE_SECTOR);
	if (!rig_submit(rig, &request)) {
		return;
	}
	outcome = rig_await(rig, 1, RIG_DEADLINE_MS);
	status = rig_data(rig, 0)[at + (blk ? 0 : offsetof(struct vfe_scsi_reply, response))];
	if (rig->options->strict && (outcome != OUTCOME_DONE || status != 0)) {
		rig_fail(rig, "%s, and the status is %u",
			 outcome == OUTCOME_DONE ? "it came back" : "it did not come back", status);
	}
}

/* T29 */
static void header_in_single_bytes(struct rig *rig, const void *arg)
{
	const struct rig_options how = { 0 };
	struct request request;
	struct vfe_seg header;
	unsigned int i;

	(void)arg;
	if (!rig_start(rig, &how) || !rig_fill(rig, RIG_SECTOR, RIG_DATA)) {
		return;
	}
	rig_read(rig, 0, RIG_SECTOR, RIG_DATA, &request);
	header = request.segs[0];
	memmove(&request.segs[header.len], &request.segs[1], 2 * sizeof(request.segs[0]));
	for (i = 0; i < header.len; i++) {
		request.segs[i] = (struct vfe_seg){ header.gpa + i, 1 };
	}
	request.out_n = header.len;
	if (rig_submit(rig, &request)) {
		rig_expect(rig, 0, WANT_OK);
		rig_expect_pattern(rig, rig_data(rig, 0), RIG_DATA);
	}
}

/* T30: what the device writes is one buffer; for blk its last byte is the status. */
static void one_buffer_for_all(struct rig *rig, const void *arg)
{
	const struct rig_options how = { 0 };
	bool blk = rig->options->device == VFE_BLK;
	uint8_t *data;
	const struct vfe_scsi_reply *reply;
	struct request request;
	enum outcome outcome;
	uint8_t status;

	(void)arg;
	if (!rig_start(rig, &how) || !rig_fill(rig, RIG_SECTOR, RIG_DATA)) {
		return;
	}
	data = rig->scratch;
	rig_read(rig, 0, RIG_SECTOR, RIG_DATA, &request);
	request.segs[1] =
		(struct vfe_seg){ RIG_SCRATCH, request.segs[1].len + request.segs[2].len };
	request.in_n = 1;
	memset(data, 0xff, request.segs[1].len);
	if (!rig_submit(rig, &request)) {
		return;
	}
	outcome = rig_await(rig, 1, RIG_DEADLINE_MS);
	reply = (const struct vfe_scsi_reply *)(void *)data;
	status = blk ? data[RIG_DATA] : reply->response;
	if (outcome != OUTCOME_DONE || status != 0) {
		rig_fail(rig, "%s, and the status is %u",
			 outcome == OUTCOME_DONE ? "it came back" : "it did not come back", status);
	}
	rig_expect_pattern(rig, blk ? data : data + request.segs[1].len - RIG_DATA, RIG_DATA);
}

static const struct hostile_case cases[] = {
	{ "T23", "an address at the end of the address space", ON_ALL, read_to,
	  PLACE(WANT_BROKEN, UINT64_MAX, 2) },
	{ "T23", "address and length wrap to what is memory", ON_ALL, read_to,
	  PLACE(WANT_BROKEN, RIG_GUEST - (1ull << 32), UINT32_MAX) },
	{ "T24", "a buffer up to the last byte of memory", ON_ALL, read_to,
	  PLACE(WANT_OK, RIG_END - VFE_SECTOR, VFE_SECTOR) },
	{ "T24", "a buffer one byte beyond the end of memory", ON_ALL, read_to,
	  PLACE(WANT_BROKEN, RIG_END - VFE_SECTOR + 1, VFE_SECTOR) },
	{ "T24", "a buffer that begins at the end of memory", ON_ALL, read_to,
	  PLACE(WANT_BROKEN, RIG_END, VFE_SECTOR) },
	{ "T24", "a buffer that begins one byte before memory", ON_ALL, read_to,
	  PLACE(WANT_BROKEN, RIG_GUEST - 1, VFE_SECTOR) },
	{ "T25", "buffers across two regions", ON_ALL, across_regions, NULL },
	{ "T26", "a buffer in a hole", ON_ALL, read_to,
	  PLACE(WANT_BROKEN, RIG_END + (64 << 20), VFE_SECTOR) },
	{ "T26", "a buffer at address 0", ON_ALL, read_to, PLACE(WANT_BROKEN, 0, VFE_SECTOR) },
	{ "T27", "lengths that add up to more than 32 bits hold", ON_ALL, lengths_beyond_32_bits,
	  NULL },
	{ "T28", "the status in the middle of the data", ON_ALL, status_in_the_data, NULL },
	{ "T29", "a header in pieces of one byte", ON_ALL, header_in_single_bytes, NULL },
	{ "T30", "data and status in one buffer", ON_ALL, one_buffer_for_all, NULL },
};

const struct case_table address_table = CASE_TABLE(cases);
