/* SPDX-License-Identifier: BSD-3-Clause */
/* T51 to T59 and T62: commands of the SCSI host (virtio 1.2, 5.6.6.1; SPC-4, SBC-3). */
#include <string.h>

#include "case.h"

#define ANY_RESPONSE 0xff
#define ANY_LENGTH   UINT32_MAX
#define UNTOUCHED    0xee

struct command {
	uint8_t cdb[VFE_CDB_MAX];
	uint32_t bytes; /* of data */
	bool in;
	enum want want;
	uint8_t response; /* ours has to give */
	uint32_t filled;  /* bytes that come back if it succeeds, or ANY_LENGTH */
	bool sectors;	  /* it counts in blocks of 512 bytes */
	uint8_t data[40];
};

struct lun {
	uint8_t bytes[8]; /* [1] 0: the target with the disk */
	enum want want;
	uint8_t response;
};

static void check_response(struct rig *rig, uint8_t response)
{
	if (rig->options->strict && response != ANY_RESPONSE && rig_status(rig, 0) != response) {
		rig_fail(rig, "response %u instead of %u", rig_status(rig, 0), response);
	}
}

/* virtio 1.2, 5.6.6.1: the residual is what was left over of the buffer. */
static void check_filled(struct rig *rig, const struct command *row)
{
	uint32_t residual = rig->scsi_frames[0].reply.residual;
	uint32_t i;

	if (!row->in || row->filled == ANY_LENGTH || rig_answer(rig, 0) != ANSWER_OK) {
		return;
	}
	for (i = row->filled; i < RIG_DATA; i++) {
		if (rig_data(rig, 0)[i] != UNTOUCHED) {
			rig_fail(rig, "byte %u was written, of %u that were asked for", i,
				 row->filled);
			return;
		}
	}
	if (rig->options->strict && residual != row->bytes - row->filled) {
		rig_fail(rig, "the residual is %u, of %u bytes of which %u were filled", residual,
			 row->bytes, row->filled);
	}
}

static void give_command(struct rig *rig, const void *arg)
{
	const struct command *row = arg;
	const struct rig_options how = { 0 };
	struct request request;

	if (!rig_start(rig, &how)) {
		return;
	}
	if (row->sectors && rig->block != VFE_SECTOR) {
		rig_skip(rig, "needs a disk with blocks of 512 bytes");
		return;
	}
	rig_command(rig, 0, row->cdb, sizeof(row->cdb), row->in, row->bytes, &request);
	memset(rig_data(rig, 0), row->in ? UNTOUCHED : 0, RIG_DATA);
	if (!row->in) {
		memcpy(rig_data(rig, 0), row->data, sizeof(row->data));
	}
	if (rig_submit(rig, &request)) {
		rig_expect(rig, 0, row->want);
		check_response(rig, row->response);
		check_filled(rig, row);
	}
}

#define COMMAND(...)            \
	&(const struct command) \
	{                       \
		__VA_ARGS__     \
	}

/* ---- T51, T52, T53: whom it is for ---- */

static void address_luns(struct rig *rig, const struct lun *luns, unsigned int n)
{
	const struct rig_options how = { 0 };
	struct request request;
	unsigned int i;

	if (!rig_start(rig, &how)) {
		return;
	}
	for (i = 0; i < n && !rig->failed; i++) {
		uint8_t *lun = rig->scsi_frames[0].request.lun;

		rig_read(rig, 0, 0, 0, &request);
		memcpy(lun, luns[i].bytes, sizeof(luns[i].bytes));
		if (luns[i].bytes[1] == 0) {
			lun[1] = (uint8_t)rig->options->scsi_target;
		}
		if (rig_submit(rig, &request)) {
			rig_expect(rig, 0, luns[i].want);
			check_response(rig, luns[i].response);
		}
	}
}

static void not_a_target(struct rig *rig, const void *arg)
{
	static const struct lun luns[] = {
		{ { 0, 0, 0x40 }, WANT_ERROR, VFE_SCSI_BAD_TARGET },
		{ { 2, 0, 0x40 }, WANT_ERROR, VFE_SCSI_BAD_TARGET },
		{ { 0x40, 0, 0x40 }, WANT_ERROR, VFE_SCSI_BAD_TARGET },
		{ { 0xff, 0, 0x40 }, WANT_ERROR, VFE_SCSI_BAD_TARGET },
	};

	(void)arg;
	address_luns(rig, luns, sizeof(luns) / sizeof(luns[0]));
}

static void targets_beyond_the_last(struct rig *rig, const void *arg)
{
	static const struct lun luns[] = {
		{ { 1, 8, 0x40 }, WANT_ERROR, VFE_SCSI_BAD_TARGET },
		{ { 1, 255, 0x40 }, WANT_ERROR, VFE_SCSI_BAD_TARGET },
	};

	(void)arg;
	address_luns(rig, luns, sizeof(luns) / sizeof(luns[0]));
}

static void forms_of_luns(struct rig *rig, const void *arg)
{
	static const struct lun luns[] = {
		{ { 1, 0, 0x40, 0 }, WANT_OK, VFE_SCSI_OK },	     /* flat */
		{ { 1, 0, 0x00, 0 }, WANT_OK_HERE, VFE_SCSI_OK },    /* peripheral device */
		{ { 1, 0, 0x40, 1 }, WANT_ANSWER, ANY_RESPONSE },    /* LUN 1 */
		{ { 1, 0, 0x00, 1 }, WANT_ANSWER, ANY_RESPONSE },    /* the same */
		{ { 1, 0, 0x7f, 0xff }, WANT_ANSWER, ANY_RESPONSE }, /* the highest */
		{ { 1, 0, 0x80, 0 }, WANT_ANSWER, ANY_RESPONSE },    /* logical unit */
		{ { 1, 0, 0xc1, 0x01 }, WANT_ANSWER, ANY_RESPONSE }, /* well known: REPORT LUNS */
		{ { 1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff }, WANT_ANSWER, ANY_RESPONSE },
		{ { 1, 0, 0x40, 0, 0, 0, 0, 1 }, WANT_ANSWER, ANY_RESPONSE }, /* a fourth level */
	};

	(void)arg;
	address_luns(rig, luns, sizeof(luns) / sizeof(luns[0]));
}

/* ---- T55 ---- */

static void data_both_ways(struct rig *rig, const void *arg)
{
	const struct rig_options how = { 0 };
	struct request request;

	(void)arg;
	if (!rig_start(rig, &how)) {
		return;
	}
	rig_read(rig, 0, RIG_SECTOR, rig->block, &request);
	request.segs[3] = request.segs[2];
	request.segs[2] = request.segs[1];
	request.segs[1] = (struct vfe_seg){ RIG_SCRATCH, rig->block };
	request.out_n = 2;
	if (rig_submit(rig, &request)) {
		rig_expect(rig, 0, WANT_ERROR);
		check_response(rig, VFE_SCSI_FAILURE);
	}
}

/* ---- a request that is too short ---- */

static void short_header(struct rig *rig, const void *arg)
{
	const struct rig_options how = { 0 };
	struct request request;

	(void)arg;
	if (!rig_start(rig, &how)) {
		return;
	}
	rig_read(rig, 0, 0, 0, &request);
	request.segs[0].len = 18;
	if (rig_submit(rig, &request)) {
		rig_expect(rig, 0, WANT_ERROR);
	}
}

static void no_room_for_the_response(struct rig *rig, const void *arg)
{
	const struct rig_options how = { 0 };
	struct request request;

	(void)arg;
	if (!rig_start(rig, &how)) {
		return;
	}
	rig_read(rig, 0, 0, 0, &request);
	request.segs[1].len = 107;
	if (rig_submit(rig, &request)) {
		rig_expect(rig, -1, WANT_BROKEN_HERE);
	}
}

#define SCSI	      (ON_SCSI | ON_RING)
#define IN(n)	      .in = true, .bytes = (n)
#define OUT(n)	      .bytes = (n)
#define OK_OF(want_)  .want = (want_), .response = VFE_SCSI_OK
#define FILLS(n)      .filled = (n)
#define ANY_OF(want_) .want = (want_), .response = ANY_RESPONSE
#define INQUIRY(n)    .cdb = { 0x12, 0, 0, (n) >> 8, (n)&0xff }
#define UNMAP(n)      .cdb = { 0x42, 0, 0, 0, 0, 0, 0, (n) >> 8, (n)&0xff }
#define PR_OUT(n) \
	.cdb = { 0x5f, 0, 0, 0, 0, (n) >> 24 & 0xff, (n) >> 16 & 0xff, (n) >> 8 & 0xff, (n)&0xff }

static const struct hostile_case cases[] = {
	{ "T51", "a LUN that does not begin with 1", SCSI, not_a_target, NULL },
	{ "T52", "targets 8 and 255", SCSI, targets_beyond_the_last, NULL },
	{ "T53", "all forms of LUNs", SCSI, forms_of_luns, NULL },
	{ "T54", "less room than the data needs", SCSI, give_command,
	  COMMAND(.cdb = { 0x28, [8] = 2 }, IN(512), .want = WANT_ERROR,
		  .response = VFE_SCSI_OVERRUN) },
	{ "T54", "more room than the data needs", SCSI, give_command,
	  COMMAND(.cdb = { 0x28, [5] = 64, [8] = 1 }, IN(4096), OK_OF(WANT_OK), FILLS(512),
		  .sectors = true) },
	{ "T54", "less data than the command needs", SCSI, give_command,
	  COMMAND(.cdb = { 0x2a, [5] = 64, [8] = 2 }, OUT(512), .want = WANT_ERROR,
		  .response = VFE_SCSI_OVERRUN) },
	{ "T54", "a header that is cut off", SCSI, short_header, NULL },
	{ "T54", "no room for the response", SCSI, no_room_for_the_response, NULL },
	{ "T55", "data in both directions", SCSI, data_both_ways, NULL },
	{ "T56", "INQUIRY, 0 bytes", SCSI, give_command,
	  COMMAND(INQUIRY(0), IN(512), OK_OF(WANT_OK)) },
	{ "T56", "INQUIRY, 1 byte", SCSI, give_command,
	  COMMAND(INQUIRY(1), IN(512), OK_OF(WANT_OK), FILLS(1)) },
	{ "T56", "INQUIRY, 36 bytes", SCSI, give_command,
	  COMMAND(INQUIRY(36), IN(512), OK_OF(WANT_OK), FILLS(36)) },
	{ "T56", "INQUIRY, 65535 bytes", SCSI, give_command,
	  COMMAND(INQUIRY(65535), IN(512), OK_OF(WANT_OK), FILLS(ANY_LENGTH)) },
	{ "T56", "INQUIRY, 65535 bytes into one", SCSI, give_command,
	  COMMAND(INQUIRY(65535), IN(1), ANY_OF(WANT_ANSWER), FILLS(1)) },
	{ "T57", "MODE SELECT (6), 255 bytes of which there are 4", SCSI, give_command,
	  COMMAND(.cdb = { 0x15, 0x10, 0, 0, 255 }, OUT(4), ANY_OF(WANT_ERROR)) },
	{ "T57", "MODE SELECT (10), 65535 bytes of which there are 8", SCSI, give_command,
	  COMMAND(.cdb = { 0x55, 0x10, [7] = 0xff, [8] = 0xff }, OUT(8), ANY_OF(WANT_ERROR)) },
	{ "T57", "MODE SELECT (10), a page longer than the list", SCSI, give_command,
	  COMMAND(.cdb = { 0x55, 0x10, [8] = 16 }, OUT(16), ANY_OF(WANT_ERROR),
		  .data = { [8] = 0x08, [9] = 0xff }) },
	{ "T57", "MODE SELECT (10), block descriptors longer than the list", SCSI, give_command,
	  COMMAND(.cdb = { 0x55, 0x10, [8] = 16 }, OUT(16), ANY_OF(WANT_ERROR),
		  .data = { [6] = 0xff, [7] = 0xf8 }) },
	{ "T58", "UNMAP, lengths longer than the list", SCSI, give_command,
	  COMMAND(UNMAP(24), OUT(24), ANY_OF(WANT_ANSWER),
		  .data = { 0xff, 0xff, 0xff, 0xf0, [15] = 64, [19] = 8 }) },
	{ "T58", "UNMAP, a descriptor that is cut off", SCSI, give_command,
	  COMMAND(UNMAP(24), OUT(24), ANY_OF(WANT_ANSWER),
		  .data = { 0, 21, 0, 15, [15] = 64, [19] = 8 }) },
	{ "T58", "UNMAP, a list longer than the data", SCSI, give_command,
	  COMMAND(UNMAP(65535), OUT(24), ANY_OF(WANT_ERROR),
		  .data = { 0, 22, 0, 16, [15] = 64, [19] = 8 }) },
	{ "T58", "UNMAP, a range behind the disk", SCSI, give_command,
	  COMMAND(UNMAP(24), OUT(24), ANY_OF(WANT_ERROR),
		  .data = { 0, 22, 0, 16, [8] = 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
			    0xff, 0xff, 0xff, 0xff }) },
	{ "T59", "WRITE SAME (16), 0 blocks", SCSI, give_command,
	  COMMAND(.cdb = { 0x93, [9] = 64 }, OUT(512), ANY_OF(WANT_ANSWER)) },
	{ "T59", "WRITE SAME (16), 0 blocks and UNMAP", SCSI, give_command,
	  COMMAND(.cdb = { 0x93, 0x08, [9] = 64 }, OUT(512), ANY_OF(WANT_ANSWER)) },
	{ "T59", "WRITE SAME (16), more blocks than there are", SCSI, give_command,
	  COMMAND(.cdb = { 0x93, [10] = 0xff, 0xff, 0xff, 0xff }, OUT(512), ANY_OF(WANT_ERROR)) },
	{ "T59", "WRITE SAME (10), 0 blocks", SCSI, give_command,
	  COMMAND(.cdb = { 0x41, [5] = 64 }, OUT(512), ANY_OF(WANT_ANSWER)) },
	{ "T62", "PERSISTENT RESERVE OUT, no parameters", SCSI, give_command,
	  COMMAND(PR_OUT(0u), OUT(0), ANY_OF(WANT_ERROR)) },
	{ "T62", "PERSISTENT RESERVE OUT, 1 byte", SCSI, give_command,
	  COMMAND(PR_OUT(1u), OUT(1), ANY_OF(WANT_ERROR)) },
	{ "T62", "PERSISTENT RESERVE OUT, 25 bytes", SCSI, give_command,
	  COMMAND(PR_OUT(25u), OUT(25), ANY_OF(WANT_ERROR)) },
	{ "T62", "PERSISTENT RESERVE OUT, 4 GiB of which there are 24 bytes", SCSI, give_command,
	  COMMAND(PR_OUT(0xffffffffu), OUT(24), ANY_OF(WANT_ERROR)) },
};

const struct case_table scsi_table = CASE_TABLE(cases);
