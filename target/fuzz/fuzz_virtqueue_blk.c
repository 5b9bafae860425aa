/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fuzzer F2: a split ring with block requests, by a driver that mostly keeps the rules. The input is
 *
 *	u8 mode | u8 ring | u8 disk | u8 features | then, as bit 0 of the mode says,
 *	  0: a program, one u8 operation after the other with its arguments (struct run, below)
 *	  1: an image of the ring and the memory behind it, as it is
 *
 * Whatever it is: the device stays inside of guest memory and of the disk, publishes only what it has
 * fetched, and a queue that is stopped comes to rest.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <ring_driver.h>
#include <test_bdev.h>

#include "base/bytes.h"
#include "device/blk.h"
#include "device/blk_proto.h"
#include "must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define DISK_SIZE 32768
#define MEM_SIZE  (256u << 10)
#define OPS_MAX	  200
/* More rounds than any request has parts. */
#define TURNS_MAX  2000
#define PIECES_MAX 64
#define HOLD_ALL   4000 /* more than there are requests */

struct run {
	struct bytes_reader in;
	struct test_bdev disk;
	struct bdev_channels channels;
	struct virtio_device *device;
	struct device_queue *queue;
	struct virtq *vq;
	struct ring_driver rd;
	uint64_t max_req_bytes;
	uint16_t cursor; /* next descriptor to use */
	uint16_t used;	 /* what the device has published */
};

/* ---- oracles ---- */

/* Does the piece lie in one region of guest memory, as the device has it mapped? */
static bool in_guest_memory(const struct run *run, const struct iovec *iov)
{
	const uint8_t *start = iov->iov_base;
	unsigned int i;

	for (i = 0; i < run->rd.region_n; i++) {
		struct iovec region;
		unsigned int n = 0;

		MUST(guest_mem_translate(run->rd.guest_mem, rd_region(&run->rd, i),
					 run->rd.region_size, &region, 1, &n) == 0);
		if (start >= (const uint8_t *)region.iov_base && iov->iov_len <= region.iov_len &&
		    (size_t)(start - (const uint8_t *)region.iov_base) <=
			    region.iov_len - iov->iov_len) {
			return true;
		}
	}
	return false;
}

static void check_io(void *arg, const struct bdev_io *io)
{
	const struct run *run = arg;
	unsigned int i;

	for (i = 0; (io->op == BDEV_READ || io->op == BDEV_WRITE) && i < io->iov_n; i++) {
		MUST(in_guest_memory(run, &io->iov[i]));
	}
}

static void turn(struct run *run, bool poll_queue)
{
	unsigned int popped = 0;
	unsigned int published;

	if (poll_queue) {
		popped = run->device->ops->queue_poll(run->queue);
		MUST(popped <= run->rd.size);
	} else {
		run->device->ops->queue_drain(run->queue);
	}
	bdev_channels_poll(&run->channels);
	published = virtq_commit(run->vq);
	MUST(published <= run->rd.size);
	run->used = (uint16_t)(run->used + published);
}

/* ---- life of the queue ---- */

static void queue_open(struct run *run, uint16_t base)
{
	struct virtq_config config =
		rd_config(&run->rd, run->device->ops->req_size(run->device, 0));

	config.base = base;
	config.max_req_bytes = run->max_req_bytes;
	MUST(virtq_new(&config, &run->vq) == 0);
	MUST(run->device->ops->queue_start(run->device, 0, run->vq, &run->channels, &run->queue) ==
	     0);
}

/* Returns where a successor goes on. */
static uint16_t queue_close(struct run *run)
{
	unsigned int turns;
	uint16_t base;

	run->disk.hold = 0;
	for (turns = 0; virtq_inflight(run->vq) > 0; turns++) {
		MUST(turns < TURNS_MAX);
		turn(run, false);
	}
	turn(run, false);
	MUST(run->disk.outstanding == 0);
	base = virtq_base(run->vq);
	run->device->ops->queue_stop(run->queue);
	virtq_free(run->vq);
	return base;
}

/* What was given back is served by the successor; a broken ring starts anew behind its trouble. */
static void restart(struct run *run)
{
	bool broken = virtq_is_broken(run->vq);
	uint16_t base = queue_close(run);

	if (broken) {
		base = run->rd.next_avail;
		*run->rd.avail_idx = htole16(base);
		run->cursor = 0;
	}
	queue_open(run, base);
}

/* ---- what the driver does ---- */

/* With 64 KiB of guest memory behind it. */
static uint64_t some_gpa(struct run *run)
{
	uint64_t span = MEM_SIZE - (run->rd.alloc_start & ~15ull) - 65536;

	return RD_GPA + (run->rd.alloc_start & ~15ull) + bytes_get_le16(&run->in) * 16ull % span;
}

/* Cuts len bytes at gpa into pieces of the list, with gaps between them. */
static unsigned int cut(struct run *run, struct rd_buf *bufs, unsigned int n, uint64_t gpa,
			uint32_t len, bool write)
{
	unsigned int pieces = 1 + bytes_get_u8(&run->in) % 20;
	uint32_t each = len / pieces;

	while (len > 0 && n < PIECES_MAX) {
		uint32_t take = each == 0 || len < 2 * each || n + 1 == PIECES_MAX ? len : each;

		bufs[n++] = (struct rd_buf){ gpa, take, write };
		gpa += take + (pieces & 1);
		len -= take;
	}
	return n;
}

static void put_header(struct run *run, uint64_t gpa, uint32_t type, uint64_t sector)
{
	uint8_t *p = rd_ptr(&run->rd, gpa);

	type = htole32(type);
	sector = htole64(sector);
	memcpy(p, &type, sizeof(type));
	memcpy(p + 8, &sector, sizeof(sector));
}

static uint32_t some_type(struct run *run)
{
	static const uint32_t types[] = { BLK_T_IN,	BLK_T_OUT,     BLK_T_FLUSH,
					  BLK_T_GET_ID, BLK_T_DISCARD, BLK_T_WRITE_ZEROES,
					  BLK_T_OUT,	BLK_T_IN };
	uint8_t choice = bytes_get_u8(&run->in);

	return choice < 0xf8 ? types[choice % 8] : bytes_get_le32(&run->in);
}

static uint64_t some_sector(struct run *run)
{
	uint8_t choice = bytes_get_u8(&run->in);

	return choice < 0xf8 ? choice % 70 : bytes_get_le64(&run->in);
}

static void put_ranges(struct run *run, uint64_t gpa, unsigned int n)
{
	struct bytes_writer w = bytes_writer(rd_ptr(&run->rd, gpa), n * BLK_RANGE_LEN);

	while (n-- > 0) {
		bytes_put_le64(&w, some_sector(run));
		bytes_put_le32(&w, bytes_get_u8(&run->in) % 9);
		bytes_put_le32(&w, bytes_get_u8(&run->in) > 0xf0);
	}
}

/* Writes one descriptor, to the ring or to a table, as the driver means it. */
static void put_desc(struct rd_desc *at, const struct rd_buf *buf, bool last, uint16_t next)
{
	struct rd_desc desc = {
		.addr = htole64(buf->gpa),
		.len = htole32(buf->len),
		.flags = htole16((buf->write ? RD_F_WRITE : 0) | (last ? 0 : RD_F_NEXT)),
		.next = htole16(last ? 0 : next),
	};

	memcpy(at, &desc, sizeof(desc));
}

/* One lie in a descriptor. */
static void spoil(struct run *run, struct rd_desc *at)
{
	uint8_t what = bytes_get_u8(&run->in);
	struct rd_desc desc;

	memcpy(&desc, at, sizeof(desc));
	switch (what % 6) {
	case 0:
		desc.addr = bytes_get_le64(&run->in);
		break;
	case 1:
		desc.addr = RD_GPA + MEM_SIZE - bytes_get_u8(&run->in);
		break;
	case 2:
		desc.len = bytes_get_le32(&run->in);
		break;
	case 3:
		desc.flags ^= bytes_get_u8(&run->in) & 7;
		break;
	case 4:
		desc.next = bytes_get_le16(&run->in);
		break;
	default:
		desc.len = 0;
	}
	memcpy(at, &desc, sizeof(desc));
}

static void add_chain(struct run *run, const struct rd_buf *bufs, unsigned int n, uint8_t how)
{
	struct ring_driver *rd = &run->rd;
	uint16_t mask = (uint16_t)(rd->size - 1);
	uint16_t head = run->cursor & mask;
	uint64_t table = some_gpa(run);
	bool indirect = (how & 1) != 0;
	struct rd_desc *first = indirect ? rd_ptr(rd, table) : rd->desc;
	unsigned int i;

	for (i = 0; i < n; i++) {
		uint16_t at = (uint16_t)(indirect ? i : (run->cursor + i) & mask);
		uint16_t next = (uint16_t)(indirect ? i + 1 : (at + 1) & mask);

		put_desc(&first[at], &bufs[i], i + 1 == n, next);
	}
	if ((how & 6) == 6) {
		i = bytes_get_u8(&run->in) % n;
		spoil(run, &first[indirect ? i : (run->cursor + i) & mask]);
	}
	if (indirect) {
		struct rd_buf whole = { table, n * (uint32_t)sizeof(struct rd_desc), false };

		put_desc(&rd->desc[head], &whole, true, 0);
		rd->desc[head].flags = htole16(RD_F_INDIRECT);
		if ((how & 0x18) == 0x18) {
			spoil(run, &rd->desc[head]);
		}
	}
	run->cursor = (uint16_t)(run->cursor + (indirect ? 1 : n));
	rd_offer(rd, head);
}

static void add_request(struct run *run)
{
	uint8_t how = bytes_get_u8(&run->in);
	uint32_t type = some_type(run);
	uint64_t header = some_gpa(run);
	uint64_t data = some_gpa(run);
	uint32_t len = (uint32_t)(bytes_get_u8(&run->in) % 20) * BLK_SECTOR;
	struct rd_buf bufs[PIECES_MAX];
	unsigned int n = 0;

	put_header(run, header, type, some_sector(run));
	if (type == BLK_T_DISCARD || type == BLK_T_WRITE_ZEROES) {
		len = len / BLK_SECTOR * BLK_RANGE_LEN;
		put_ranges(run, data, len / BLK_RANGE_LEN);
	} else if (type == BLK_T_GET_ID) {
		len /= 64;
	}
	if ((how & 0x60) == 0x60) {
		len += bytes_get_u8(&run->in);
	}
	n = cut(run, bufs, n, header, BLK_HEADER_LEN, false);
	n = cut(run, bufs, n, data, len,
		type != BLK_T_OUT && type != BLK_T_DISCARD && type != BLK_T_WRITE_ZEROES);
	if ((how & 0x80) != 0 && n > 0 && bufs[n - 1].write) {
		bufs[n - 1].len++; /* status at the end of the data */
	} else if (n < PIECES_MAX) {
		bufs[n++] = (struct rd_buf){ some_gpa(run), 1, true };
	}
	add_chain(run, bufs, n, how);
}

/*
 * Up to 1500 flushes with one header and one status byte for all, which share a descriptor: more than a
 * queue has slots, if the ring is that large.
 */
static void add_many(struct run *run)
{
	unsigned int n = bytes_get_le16(&run->in) % 1500;
	uint64_t header = some_gpa(run);
	uint16_t mask = (uint16_t)(run->rd.size - 1);
	uint16_t last = run->cursor++ & mask;
	struct rd_buf first = { header, BLK_HEADER_LEN, false };
	struct rd_buf status = { header + BLK_HEADER_LEN, 1, true };

	put_header(run, header, BLK_T_FLUSH, 0);
	put_desc(&run->rd.desc[last], &status, true, 0);
	while (n-- > 0) {
		uint16_t head = run->cursor++ & mask;

		put_desc(&run->rd.desc[head], &first, false, last);
		rd_offer(&run->rd, head);
	}
}

/* A write of whole sectors in up to 1024 pieces of one byte or more, from an indirect table. */
static void add_large(struct run *run)
{
	unsigned int n = 2 + bytes_get_le16(&run->in) % 1024;
	uint64_t header = some_gpa(run);
	uint64_t table = some_gpa(run);
	struct rd_desc *at = rd_ptr(&run->rd, table);
	uint16_t head = run->cursor++ & (run->rd.size - 1);
	struct rd_buf buf = { header, BLK_HEADER_LEN, false };
	struct rd_buf whole = { table, (n + 1) * (uint32_t)sizeof(struct rd_desc), false };
	unsigned int i;

	put_header(run, header, BLK_T_OUT, 0);
	put_desc(&at[0], &buf, false, 1);
	for (i = 1; i < n; i++) {
		/* The last one fills up the sectors. */
		buf = (struct rd_buf){ header + 1 + i * 2, i + 1 < n ? 1 : 2048 - (n - 2), false };
		put_desc(&at[i], &buf, false, (uint16_t)(i + 1));
	}
	buf = (struct rd_buf){ header, 1, true };
	put_desc(&at[n], &buf, true, 0);
	put_desc(&run->rd.desc[head], &whole, true, 0);
	run->rd.desc[head].flags = htole16(RD_F_INDIRECT);
	rd_offer(&run->rd, head);
}

static void change_disk(struct run *run)
{
	uint8_t choice = bytes_get_u8(&run->in);

	run->disk.depth = choice & 7; /* 0: no bound */
	run->disk.hold = (choice >> 3 & 3) == 3 ? HOLD_ALL : choice >> 3 & 3;
	run->disk.newest_first = (choice & 0x20) != 0;
	run->disk.fail = (choice & 0x40) != 0 ? -EIO : 0;
}

static void touch_config(struct run *run)
{
	uint8_t buf[VIRTIO_CONFIG_SPACE_MAX];
	uint32_t offset = bytes_get_u8(&run->in);
	uint32_t len = bytes_get_u8(&run->in);

	memset(buf, bytes_get_u8(&run->in), sizeof(buf));
	run->device->ops->config_write(run->device, offset, buf, len);
	MUST((run->device->ops->config_read(run->device, offset, buf, len) == 0) ==
	     (offset + len <= VIRTIO_CONFIG_SPACE_MAX));
}

static void run_operation(struct run *run)
{
	uint8_t op = bytes_get_u8(&run->in);

	switch (op % 16) {
	case 0:
		rd_offer(&run->rd, bytes_get_le16(&run->in));
		break;
	case 1:
		*run->rd.avail_idx = bytes_get_le16(&run->in);
		run->rd.next_avail = le16toh(*run->rd.avail_idx);
		break;
	case 2:
		/* Any byte of the ring or of what requests lie in. */
		run->rd.mem[(uint32_t)bytes_get_le16(&run->in)] = bytes_get_u8(&run->in);
		break;
	case 3:
		change_disk(run);
		break;
	case 4:
		restart(run);
		break;
	case 5:
		touch_config(run);
		break;
	case 6:
		virtq_arm(run->vq);
		turn(run, true);
		virtq_disarm(run->vq);
		break;
	case 7:
	case 8:
		turn(run, true);
		break;
	case 9:
		if (op == 0xf9) {
			add_many(run);
		} else {
			add_large(run);
		}
		break;
	default:
		add_request(run);
	}
	if (virtq_is_broken(run->vq)) {
		restart(run);
	}
	if (virtq_inflight(run->vq) == 0 && op % 16 == 7) {
		run->cursor = 0;
	}
}

/* ---- one input ---- */

static void device_open(struct run *run, uint8_t disk, uint8_t features)
{
	struct blk_options opts = { .bdev = &run->disk.bdev, .queues = 1 + (disk >> 4 & 1) };

	test_bdev_init(&run->disk, DISK_SIZE, (disk & 1) != 0 ? 4096 : 512);
	run->disk.bdev.info.write_cache = (disk & 2) != 0;
	run->disk.bdev.info.max_discard = (disk & 4) != 0 ? 4096 : DISK_SIZE;
	run->disk.check_io = check_io;
	run->disk.check_arg = run;
	opts.read_only = (disk & 8) != 0;
	MUST(blk_new(&opts, &run->device) == 0);
	/* Bits 9 to 14: FLUSH, TOPOLOGY, CONFIG_WCE, MQ, DISCARD, WRITE_ZEROES. */
	run->device->ops->negotiated(run->device, run->device->ops->features(run->device) &
							  ~((uint64_t)(features >> 2) << 9));
	LIST_INIT(&run->channels.list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct run run;
	struct rd_options ring = { .mem_size = MEM_SIZE };
	unsigned int i;
	uint8_t mode;
	uint8_t shape;
	uint8_t disk;
	uint8_t features;

	memset(&run, 0, sizeof(run));
	run.in = bytes_reader(data, len);
	mode = bytes_get_u8(&run.in);
	shape = bytes_get_u8(&run.in);
	disk = bytes_get_u8(&run.in);
	features = bytes_get_u8(&run.in);
	ring.size = (uint16_t)(1u << shape % 9); /* 1 to 256 */
	if ((mode & 2) != 0) {
		ring.size = 2048; /* more than a queue has slots */
	}
	run.max_req_bytes = (mode & 4) != 0 ? 4096 : 0;
	ring.region_n = 1 + (shape >> 4 & 3);
	ring.start = (shape & 0x80) != 0 ? 65530 : 0;
	ring.features = (uint64_t)(features & 1) << VIRTIO_RING_F_INDIRECT_DESC |
			(uint64_t)(features >> 1 & 1) << VIRTIO_RING_F_EVENT_IDX;
	rd_open(&run.rd, &ring);
	device_open(&run, disk, features);
	queue_open(&run, ring.start);
	if ((mode & 1) != 0) {
		size_t n = bytes_left(&run.in) < MEM_SIZE ? bytes_left(&run.in) : MEM_SIZE;

		bytes_get(&run.in, run.rd.mem, n);
		for (i = 0; i < 4; i++) {
			turn(&run, true);
		}
	} else {
		for (i = 0; i < OPS_MAX && bytes_left(&run.in) > 0; i++) {
			run_operation(&run);
		}
		turn(&run, true);
	}
	queue_close(&run);
	run.device->ops->free(run.device);
	MUST(run.disk.bdev.claims == 0 && run.disk.channels == 0);
	test_bdev_done(&run.disk);
	rd_close(&run.rd);
	return 0;
}
