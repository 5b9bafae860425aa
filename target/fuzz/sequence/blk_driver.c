/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests to a virtio block device (virtio 1.2, 5.2.6). */
#include <string.h>

#include "../must.h"
#include "device/blk_proto.h"
#include "guest.h"

#define DATA_MAX 4096

static bool has(const struct guest *g, unsigned int feature)
{
	return (g->features >> feature & 1) != 0;
}

static void put_header(const struct ring *ring, struct request *r, uint32_t type, uint64_t sector)
{
	struct bytes_writer w = bytes_writer(ring_out(ring, r), BLK_HEADER_LEN);

	r->type = (int)type;
	bytes_put_le32(&w, type);
	bytes_put_le32(&w, 0);
	bytes_put_le64(&w, sector);
	r->out_len = BLK_HEADER_LEN;
	r->in_len = 1;
}

/* Some blocks that lie inside of the disk, in bytes. */
static struct range some_range(const struct guest *g, struct bytes_reader *in)
{
	uint32_t block = g->disk->bdev.info.block_size;
	uint32_t most = DATA_MAX / block;
	uint64_t first = bytes_get_u8(in) % (DISK_SIZE / block);
	uint64_t n = 1 + bytes_get_u8(in) % most;

	n = n < DISK_SIZE / block - first ? n : DISK_SIZE / block - first;
	return (struct range){ first * block, (uint32_t)n * block };
}

static bool make_read(struct guest *g, struct ring *ring, struct request *r,
		      struct bytes_reader *in)
{
	struct range range = some_range(g, in);

	put_header(ring, r, BLK_T_IN, range.offset / BLK_SECTOR);
	r->in_len = range.len + 1;
	memset(ring_in(ring, r), 0xee, r->in_len);
	r->effect = EFFECT_READ;
	r->ranges[r->range_n++] = range;
	return disk_claim_read(g->disk, range.offset, range.len);
}

static bool make_write(struct guest *g, struct ring *ring, struct request *r,
		       struct bytes_reader *in)
{
	struct range range = some_range(g, in);
	uint8_t *data = ring_out(ring, r) + BLK_HEADER_LEN;
	uint32_t i;

	put_header(ring, r, BLK_T_OUT, range.offset / BLK_SECTOR);
	r->out_len += range.len;
	g->tag++;
	for (i = 0; i < range.len; i += 8) {
		uint64_t word = g->tag << 16 | i;

		memcpy(data + i, &word, sizeof(word));
	}
	if (g->disk->bdev.info.read_only) {
		r->refused = true;
		return true;
	}
	r->effect = EFFECT_WRITE;
	r->ranges[r->range_n++] = range;
	return disk_claim_write(g->disk, range.offset, range.len, data);
}

static bool make_zap(struct guest *g, struct ring *ring, struct request *r, uint32_t type,
		     struct bytes_reader *in)
{
	unsigned int feature = type == BLK_T_DISCARD ? BLK_F_DISCARD : BLK_F_WRITE_ZEROES;
	struct bytes_writer w = bytes_writer(ring_out(ring, r) + BLK_HEADER_LEN, SLOT_OUT_MAX);
	unsigned int n = 1 + bytes_get_u8(in) % RANGES_MAX;

	put_header(ring, r, type, 0);
	r->out_len += n * BLK_RANGE_LEN;
	r->refused = g->disk->bdev.info.read_only || !has(g, feature);
	r->effect = EFFECT_WRITE;
	while (n-- > 0) {
		struct range range = some_range(g, in);

		bytes_put_le64(&w, range.offset / BLK_SECTOR);
		bytes_put_le32(&w, range.len / BLK_SECTOR);
		bytes_put_le32(&w, 0);
		if (r->refused) {
			continue;
		}
		if (!disk_claim_write(g->disk, range.offset, range.len, NULL)) {
			while (r->range_n > 0) {
				r->range_n--;
				disk_write_done(g->disk, r->ranges[r->range_n].offset,
						r->ranges[r->range_n].len, false);
			}
			return false;
		}
		r->ranges[r->range_n++] = range;
	}
	return true;
}

static bool make(struct guest *g, struct ring *ring, struct request *r, struct bytes_reader *in)
{
	switch (bytes_get_u8(in) % 13) {
	case 0:
	case 1:
	case 2:
		return make_read(g, ring, r, in);
	case 3:
	case 4:
	case 5:
	case 6:
		return make_write(g, ring, r, in);
	case 7:
		put_header(ring, r, BLK_T_FLUSH, 0);
		return true;
	case 8:
		put_header(ring, r, BLK_T_GET_ID, 0);
		r->in_len = BLK_ID_LEN + 1;
		return true;
	case 9:
		return make_zap(g, ring, r, BLK_T_DISCARD, in);
	case 10:
		return make_zap(g, ring, r, BLK_T_WRITE_ZEROES, in);
	case 11: /* beyond the end */
		put_header(ring, r, BLK_T_IN, DISK_SECTORS - 1);
		r->in_len = 2 * BLK_SECTOR + 1;
		r->refused = true;
		return true;
	default: /* unknown */
		put_header(ring, r, 0x77, 0);
		r->refused = true;
		return true;
	}
}

static void check_contents(const struct guest *g, const struct ring *ring, const struct request *r,
			   uint32_t len)
{
	const uint8_t *in = ring_in(ring, r);

	if (r->type == BLK_T_IN) {
		MUST(len == r->in_len);
		MUST(memcmp(in, g->disk->shadow + r->ranges[0].offset, r->ranges[0].len) == 0);
	} else if (r->type == BLK_T_GET_ID) {
		MUST(len == r->in_len);
		MUST(strncmp((const char *)in, g->disk->bdev.serial, BLK_ID_LEN) == 0);
	} else {
		MUST(len == 1);
	}
}

static bool check(struct guest *g, const struct ring *ring, const struct request *r, uint32_t len)
{
	uint8_t status = ring_in(ring, r)[r->in_len - 1];

	MUST(status <= BLK_S_UNSUPP);
	if (status == BLK_S_OK) {
		MUST(!r->refused);
		check_contents(g, ring, r, len);
		return true;
	}
	/* A request in parts that had begun cannot go on when the disk is full and the queue stops. */
	MUST(r->refused ||
	     (status == BLK_S_IOERR &&
	      (r->failures != g->disk->failures || r->refusals != g->disk->refusals ||
	       r->changes != g->changes || !r->sure || g->disk->bdev.info.size < DISK_SIZE)));
	return false;
}

const struct guest_driver blk_driver = {
	.type = "blk",
	.rings = 2,
	.make = make,
	.check = check,
};
