/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests to the queues of a virtio SCSI device (virtio 1.2, 5.6.6). */
#include <string.h>

#include "../must.h"
#include "device/scsi/proto.h"
#include "guest.h"

#define CDB_LEN	  32
#define HEAD_LEN  (VIRTIO_SCSI_REQ_LEN + CDB_LEN)
#define RESP_LEN  (VIRTIO_SCSI_RESP_LEN + VIRTIO_SCSI_SENSE_SIZE)
#define DATA_MAX  4096
#define TMF_LEN	  24
#define EVENT_LEN VIRTIO_SCSI_EVENT_SIZE

#define SENSE_ILLEGAL_REQUEST 5
#define SENSE_UNIT_ATTENTION  6

/* Types of requests beside the opcodes of commands. */
#define TYPE_TMF   0x1000
#define TYPE_EVENT 0x1001

/* ---- commands ---- */

struct command {
	uint8_t target;
	uint8_t lun;
	uint8_t cdb[CDB_LEN];
};

static struct range some_range(const struct guest *g, struct bytes_reader *in)
{
	uint32_t block = g->disk->bdev.info.block_size;
	uint64_t first = bytes_get_u8(in) % (DISK_SIZE / block);
	uint64_t n = 1 + bytes_get_u8(in) % (DATA_MAX / block);

	n = n < DISK_SIZE / block - first ? n : DISK_SIZE / block - first;
	return (struct range){ first * block, (uint32_t)n * block };
}

static void put_be(uint8_t *at, uint64_t value, unsigned int bytes)
{
	while (bytes-- > 0) {
		at[bytes] = (uint8_t)value;
		value >>= 8;
	}
}

/* LBA and length where CDBs of 10 and of 16 bytes have them. */
static void put_range(const struct guest *g, uint8_t *cdb, struct range range)
{
	uint32_t block = g->disk->bdev.info.block_size;

	if (cdb[0] >= 0x80) {
		put_be(cdb + 2, range.offset / block, 8);
		put_be(cdb + 10, range.len / block, 4);
	} else {
		put_be(cdb + 2, range.offset / block, 4);
		put_be(cdb + 7, range.len / block, 2);
	}
}

static void put_pattern(struct guest *g, uint8_t *data, uint32_t len)
{
	uint32_t i;

	g->tag++;
	for (i = 0; i < len; i += 8) {
		uint64_t word = g->tag << 16 | i;

		memcpy(data + i, &word, sizeof(word));
	}
}

static bool claim(struct guest *g, struct request *r, enum effect effect, struct range range,
		  const uint8_t *data)
{
	if (effect == EFFECT_WRITE && g->disk->bdev.info.read_only) {
		r->refused = true;
		return true;
	}
	r->effect = effect;
	r->ranges[r->range_n++] = range;
	return effect == EFFECT_READ ? disk_claim_read(g->disk, range.offset, range.len) :
				       disk_claim_write(g->disk, range.offset, range.len, data);
}

static bool make_unmap(struct guest *g, struct request *r, struct command *c, uint8_t *data,
		       struct range range)
{
	uint32_t block = g->disk->bdev.info.block_size;

	memset(data, 0, 24);
	put_be(data, 22, 2);
	put_be(data + 2, 16, 2);
	put_be(data + 8, range.offset / block, 8);
	put_be(data + 16, range.len / block, 4);
	put_be(c->cdb + 7, 24, 2);
	r->out_len += 24;
	r->optional = true;
	return claim(g, r, EFFECT_WRITE, range, NULL);
}

static bool make_write_same(struct guest *g, struct request *r, struct command *c, uint8_t *data,
			    struct range range, bool zeroes)
{
	uint32_t block = g->disk->bdev.info.block_size;
	uint8_t all[DATA_MAX];
	uint32_t i;

	put_range(g, c->cdb, range);
	if (zeroes) {
		memset(data, 0, block);
	} else {
		put_pattern(g, data, block);
	}
	for (i = 0; i < range.len; i += block) {
		memcpy(all + i, data, block);
	}
	r->out_len += block;
	return claim(g, r, EFFECT_WRITE, range, all);
}

/* Fills in the CDB and what goes with it. False: a part of the disk is spoken for. */
static bool make_command(struct guest *g, struct ring *ring, struct request *r, struct command *c,
			 struct bytes_reader *in)
{
	static const uint8_t opcodes[] = {
		SCSI_READ_10,	      SCSI_WRITE_10,
		SCSI_READ_16,	      SCSI_WRITE_16,
		SCSI_VERIFY_10,	      SCSI_WRITE_SAME_16,
		SCSI_UNMAP,	      SCSI_INQUIRY,
		SCSI_WRITE_10,	      SCSI_READ_10,
		SCSI_TEST_UNIT_READY, SCSI_WRITE_10,
		SCSI_MODE_SENSE_6,    SCSI_SYNCHRONIZE_CACHE_10,
	};
	uint8_t choice = bytes_get_u8(in);
	struct range range = some_range(g, in);
	uint8_t *data = ring_out(ring, r) + HEAD_LEN;

	c->cdb[0] = opcodes[choice % sizeof(opcodes)];
	r->type = c->cdb[0];
	switch (c->cdb[0]) {
	case SCSI_READ_10:
	case SCSI_READ_16:
		put_range(g, c->cdb, range);
		r->in_len += range.len;
		return claim(g, r, EFFECT_READ, range, NULL);
	case SCSI_WRITE_10:
	case SCSI_WRITE_16:
		put_range(g, c->cdb, range);
		c->cdb[1] = choice >= 0x80 ? 0x08 : 0; /* FUA */
		put_pattern(g, data, range.len);
		r->out_len += range.len;
		return claim(g, r, EFFECT_WRITE, range, data);
	case SCSI_VERIFY_10:
		put_range(g, c->cdb, range);
		return claim(g, r, EFFECT_READ, range, NULL);
	case SCSI_WRITE_SAME_16:
		return make_write_same(g, r, c, data, range, choice >= 0x80);
	case SCSI_UNMAP:
		return make_unmap(g, r, c, data, range);
	case SCSI_INQUIRY:
	case SCSI_MODE_SENSE_6:
		c->cdb[2] = c->cdb[0] == SCSI_MODE_SENSE_6 ? 0x3f : 0;
		c->cdb[4] = 96;
		r->in_len += 255;
		r->optional = c->cdb[0] == SCSI_MODE_SENSE_6;
		return true;
	default:
		return true;
	}
}

static void put_head(const struct guest *g, struct ring *ring, const struct request *r,
		     const struct command *c)
{
	struct bytes_writer w = bytes_writer(ring_out(ring, r), HEAD_LEN);
	const uint8_t lun[8] = { 1, c->target, 0x40, c->lun };

	bytes_put(&w, lun, sizeof(lun));
	bytes_put_le64(&w, r->tag);
	bytes_put(&w, "\0\0", 3);
	bytes_put(&w, c->cdb, CDB_LEN);
}

static bool make_on_request_queue(struct guest *g, struct ring *ring, struct request *r,
				  struct bytes_reader *in)
{
	uint8_t address = bytes_get_u8(in);
	struct command c = { 0 };

	c.target = address >= 0xf8;
	c.lun = address >= 0xfc;
	r->tag = ++g->tag;
	r->ended_from_outside = g->rings[VIRTIO_SCSI_Q_CONTROL].outstanding > 0;
	r->out_len = HEAD_LEN;
	r->in_len = RESP_LEN;
	if (c.target != 0 || !g->has_disk) {
		r->type = c.cdb[0] = SCSI_TEST_UNIT_READY;
		r->refused = c.target != 0;
		r->optional = true;
	} else if (!make_command(g, ring, r, &c, in)) {
		return false;
	}
	memset(ring_in(ring, r), 0xee, r->in_len);
	put_head(g, ring, r, &c);
	return true;
}

/* ---- task management ---- */

/* What is out now may be ended by it. */
static void may_end(struct guest *g, uint64_t tag, bool all)
{
	unsigned int i;
	unsigned int s;

	for (i = VIRTIO_SCSI_Q_REQUEST; i < g->driver->rings; i++) {
		for (s = 0; s < SLOTS; s++) {
			struct request *r = &g->rings[i].requests[s];

			if (r->used && (all || r->tag == tag)) {
				r->ended_from_outside = true;
			}
		}
	}
}

static bool make_on_control_queue(struct guest *g, struct ring *ring, struct request *r,
				  struct bytes_reader *in)
{
	struct bytes_writer w = bytes_writer(ring_out(ring, r), TMF_LEN);
	uint32_t subtype = bytes_get_u8(in) % 9;
	uint64_t tag = g->tag - (bytes_get_u8(in) & 7);
	static const uint8_t lun[8] = { 1, 0, 0x40, 0 };

	r->type = TYPE_TMF;
	r->out_len = TMF_LEN;
	r->in_len = 1;
	bytes_put_le32(&w, VIRTIO_SCSI_T_TMF);
	bytes_put_le32(&w, subtype);
	bytes_put(&w, lun, sizeof(lun));
	bytes_put_le64(&w, tag);
	if (subtype <= VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET) {
		may_end(g, tag, subtype != VIRTIO_SCSI_T_TMF_ABORT_TASK);
	}
	if (subtype == VIRTIO_SCSI_T_TMF_I_T_NEXUS_RESET ||
	    subtype == VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET) {
		g->resets++;
	}
	return true;
}

static bool make(struct guest *g, struct ring *ring, struct request *r, struct bytes_reader *in)
{
	switch (ring->index) {
	case VIRTIO_SCSI_Q_CONTROL:
		return make_on_control_queue(g, ring, r, in);
	case VIRTIO_SCSI_Q_EVENT:
		r->type = TYPE_EVENT;
		r->in_len = (bytes_get_u8(in) & 7) == 7 ? EVENT_LEN - 1 : EVENT_LEN;
		return true;
	default:
		return make_on_request_queue(g, ring, r, in);
	}
}

/* ---- answers ---- */

static bool may_be_busy(const struct guest *g, const struct request *r)
{
	return r->refusals != g->disk->refusals || r->type == SCSI_VERIFY_10 ||
	       r->type == SCSI_WRITE_SAME_16;
}

static bool may_fail(const struct guest *g, const struct request *r, uint8_t sense_key)
{
	return r->refused || r->optional || r->failures != g->disk->failures ||
	       (sense_key == SENSE_UNIT_ATTENTION && g->resets + g->resizes > 0) ||
	       (sense_key == SENSE_ILLEGAL_REQUEST &&
		(r->changes != g->changes || g->disk->bdev.info.size < DISK_SIZE));
}

static bool check_command(const struct guest *g, const struct ring *ring, const struct request *r,
			  uint32_t len)
{
	const uint8_t *in = ring_in(ring, r);
	uint8_t status = in[10];
	uint8_t response = in[11];

	if (response == VIRTIO_SCSI_S_ABORTED || response == VIRTIO_SCSI_S_RESET) {
		MUST(r->ended_from_outside);
		return false;
	}
	if (response == VIRTIO_SCSI_S_BAD_TARGET) {
		MUST(r->refused || r->changes != g->changes || !r->sure);
		return false;
	}
	MUST(response == VIRTIO_SCSI_S_OK);
	if (status == SCSI_STATUS_BUSY) {
		MUST(may_be_busy(g, r));
		return false;
	}
	if (status == SCSI_STATUS_CHECK_CONDITION) {
		MUST(in[0] >= 18); /* sense_len */
		MUST(may_fail(g, r, in[VIRTIO_SCSI_RESP_LEN + 2] & 0x0f));
		return false;
	}
	MUST(status == SCSI_STATUS_GOOD && !r->refused);
	if (r->type == SCSI_READ_10 || r->type == SCSI_READ_16) {
		MUST(len == r->in_len);
		MUST(memcmp(in + RESP_LEN, g->disk->shadow + r->ranges[0].offset,
			    r->ranges[0].len) == 0);
	}
	return true;
}

static void check_event(struct guest *g, const struct ring *ring, const struct request *r,
			uint32_t len)
{
	struct bytes_reader in = bytes_reader(ring_in(ring, r), EVENT_LEN);
	uint32_t event = bytes_get_le32(&in);
	uint8_t lun[8];
	uint32_t reason;

	bytes_get(&in, lun, sizeof(lun));
	reason = bytes_get_le32(&in);
	MUST(g->changes > 0);
	if (r->in_len < EVENT_LEN) {
		MUST(len == 0);
		return;
	}
	MUST(len == EVENT_LEN);
	switch (event & ~VIRTIO_SCSI_T_EVENTS_MISSED) {
	case VIRTIO_SCSI_T_NO_EVENT:
		MUST((event & VIRTIO_SCSI_T_EVENTS_MISSED) != 0);
		g->told_to_look = true;
		return;
	case VIRTIO_SCSI_T_PARAM_CHANGE:
		MUST((g->features >> VIRTIO_SCSI_F_CHANGE & 1) != 0);
		MUST(reason == 0x092a && g->resizes > 0);
		break;
	default:
		MUST((event & ~VIRTIO_SCSI_T_EVENTS_MISSED) == VIRTIO_SCSI_T_TRANSPORT_RESET);
		MUST((g->features >> VIRTIO_SCSI_F_HOTPLUG & 1) != 0);
		MUST(reason == VIRTIO_SCSI_EVT_RESET_RESCAN ||
		     reason == VIRTIO_SCSI_EVT_RESET_REMOVED);
		g->told_disk = reason == VIRTIO_SCSI_EVT_RESET_RESCAN;
		g->told_to_look = false;
	}
	MUST(memcmp(lun, "\1\0\0\0\0\0\0\0", sizeof(lun)) == 0);
}

static bool check(struct guest *g, const struct ring *ring, const struct request *r, uint32_t len)
{
	uint8_t response = ring_in(ring, r)[0];

	if (r->type == TYPE_TMF) {
		MUST(len == 1);
		MUST(response == VIRTIO_SCSI_S_FUNCTION_COMPLETE ||
		     response == VIRTIO_SCSI_S_FUNCTION_SUCCEEDED ||
		     response == VIRTIO_SCSI_S_FUNCTION_REJECTED ||
		     (response == VIRTIO_SCSI_S_BAD_TARGET && g->changes > 0));
		return true;
	}
	if (r->type == TYPE_EVENT) {
		check_event(g, ring, r, len);
		return true;
	}
	return check_command(g, ring, r, len);
}

const struct guest_driver scsi_driver = {
	.type = "scsi",
	.rings = 4,
	.make = make,
	.check = check,
};
