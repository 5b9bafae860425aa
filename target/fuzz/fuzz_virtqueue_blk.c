/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fuzzer F2: a ring with block requests, by a driver that mostly keeps the rules; packed if bit 3 of the mode says
 * so. The input is
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
#define LARGE_RING 2048 /* more than a queue has slots */

struct run {
	struct bytes_reader in;
	struct test_bdev disk;
	struct bdev_channels channels;
	struct virtio_device *device;
	struct device_queue *queue;
	struct virtq *vq;
	struct ring_driver rd;
	uint64_t max_req_bytes;
	uint16_t cursor;	    /* next descriptor to use; packed: next id */
	uint16_t used;		    /* what the device has published */
	unsigned int out;	    /* packed: descriptors that have not come back */
	uint16_t taken[LARGE_RING]; /* packed: by id */
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

static void queue_open(struct run *run, uint32_t base)
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
static uint32_t queue_close(struct run *run)
{
	unsigned int turns;
	uint32_t base;

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
	uint32_t base = queue_close(run);

	if (broken && run->rd.is_packed) {
		rd_packed_layout(&run->rd, 0);
		run->out = 0;
		base = VIRTQ_PACKED_BASE_INITIAL;
	} else if (broken) {
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

/* ---- descriptors: `next` is the id of a packed one ---- */

static struct rd_desc desc_get(const struct run *run, const void *at)
{
	struct rd_desc desc;

	memcpy(&desc, at, sizeof(desc));
	if (run->rd.is_packed) {
		uint16_t id = desc.flags;

		desc.flags = desc.next;
		desc.next = id;
	}
	return desc;
}

static void desc_set(const struct run *run, void *at, struct rd_desc desc)
{
	if (run->rd.is_packed) {
		uint16_t id = desc.next;

		desc.next = desc.flags;
		desc.flags = id;
	}
	memcpy(at, &desc, sizeof(desc));
}

/* Writes one descriptor, to the ring or to a table, as the driver means it. */
static void put_desc(const struct run *run, struct rd_desc *at, const struct rd_buf *buf, bool last,
		     uint16_t next)
{
	desc_set(run, at,
		 (struct rd_desc){
			 .addr = htole64(buf->gpa),
			 .len = htole32(buf->len),
			 .flags = htole16((buf->write ? RD_F_WRITE : 0) | (last ? 0 : RD_F_NEXT)),
			 .next = htole16(last ? 0 : next),
		 });
}

/* One lie in a descriptor. */
static void spoil(struct run *run, struct rd_desc *at)
{
	uint8_t what = bytes_get_u8(&run->in);
	struct rd_desc desc = desc_get(run, at);
	uint8_t bits;

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
		bits = bytes_get_u8(&run->in);
		desc.flags ^= htole16((uint16_t)((bits & 7) | ((bits & 8) != 0 ? RD_F_AVAIL : 0) |
						 ((bits & 16) != 0 ? RD_F_USED : 0)));
		break;
	case 4:
		desc.next = bytes_get_le16(&run->in);
		break;
	default:
		desc.len = 0;
	}
	desc_set(run, at, desc);
}

/* The i-th descriptor of the request to come. */
static uint16_t place(const struct run *run, unsigned int i)
{
	unsigned int first = run->rd.is_packed ? run->rd.next_avail & ~RD_WRAP : run->cursor;

	return (uint16_t)((first + i) % run->rd.size);
}

/* Takes note of what has come back, as far as it makes sense. */
static void packed_reap(struct run *run)
{
	struct ring_driver *rd = &run->rd;

	while (run->out > 0) {
		const struct rd_packed_desc *desc = &rd->packed[rd->next_used & ~RD_WRAP];
		uint16_t id = le16toh(desc->id);
		uint16_t bits = (rd->next_used & RD_WRAP) != 0 ? RD_F_AVAIL | RD_F_USED : 0;

		if ((le16toh(desc->flags) & (RD_F_AVAIL | RD_F_USED)) != bits || id >= rd->size ||
		    run->taken[id] == 0 || run->taken[id] > run->out) {
			return;
		}
		run->out -= run->taken[id];
		rd->next_used = rd_packed_advance(rd, rd->next_used, run->taken[id]);
		run->taken[id] = 0;
	}
}

/* Is there room for so many descriptors more? A split ring's driver does not care. */
static bool has_room(struct run *run, unsigned int n)
{
	if (!run->rd.is_packed) {
		return true;
	}
	packed_reap(run);
	return run->out + n <= run->rd.size;
}

/* Makes what was put at the next `n` places available. */
static void publish(struct run *run, unsigned int n)
{
	struct ring_driver *rd = &run->rd;
	uint16_t head = place(run, 0);
	uint16_t id = run->cursor % rd->size;
	unsigned int i;

	if (!rd->is_packed) {
		run->cursor = (uint16_t)(run->cursor + n);
		rd_offer(rd, head);
		return;
	}
	for (i = 0; i < n; i++) {
		struct rd_packed_desc *desc = &rd->packed[rd->next_avail & ~RD_WRAP];
		uint16_t bits = (rd->next_avail & RD_WRAP) != 0 ? RD_F_AVAIL : RD_F_USED;

		desc->flags |= htole16(bits);
		desc->id = htole16(id);
		rd->next_avail = rd_packed_advance(rd, rd->next_avail, 1);
	}
	run->cursor = (uint16_t)(id + 1);
	run->taken[id] = (uint16_t)n;
	run->out += n;
}

static void put_table(struct run *run, struct rd_desc *head, uint64_t table, unsigned int n)
{
	struct rd_buf whole = { table, n * (uint32_t)sizeof(struct rd_desc), false };
	struct rd_desc desc;

	put_desc(run, head, &whole, true, 0);
	desc = desc_get(run, head);
	desc.flags = htole16(RD_F_INDIRECT);
	desc_set(run, head, desc);
}

static void add_chain(struct run *run, const struct rd_buf *bufs, unsigned int n, uint8_t how)
{
	struct ring_driver *rd = &run->rd;
	uint64_t table = some_gpa(run);
	bool indirect = (how & 1) != 0;
	struct rd_desc *at[PIECES_MAX];
	struct rd_desc *head = &rd->desc[place(run, 0)];
	unsigned int i;

	if (!has_room(run, indirect ? 1 : n)) {
		return;
	}
	for (i = 0; i < n; i++) {
		at[i] = indirect ? (struct rd_desc *)rd_ptr(rd, table) + i :
				   &rd->desc[place(run, i)];
		put_desc(run, at[i], &bufs[i], i + 1 == n,
			 indirect ? (uint16_t)(i + 1) : place(run, i + 1));
	}
	if (indirect) {
		put_table(run, head, table, n);
	}
	publish(run, indirect ? 1 : n);
	if ((how & 6) == 6) {
		spoil(run, at[bytes_get_u8(&run->in) % n]);
	}
	if (indirect && (how & 0x18) == 0x18) {
		spoil(run, head);
	}
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
 * Up to 1500 flushes with one header and one status byte for all, which share a descriptor or (packed) a table:
 * more than a queue has slots, if the ring is that large.
 */
static void add_many(struct run *run)
{
	unsigned int n = bytes_get_le16(&run->in) % 1500;
	uint64_t header = some_gpa(run);
	uint64_t table = header + 32;
	uint16_t last = place(run, 0);
	struct rd_buf first = { header, BLK_HEADER_LEN, false };
	struct rd_buf status = { header + BLK_HEADER_LEN, 1, true };

	put_header(run, header, BLK_T_FLUSH, 0);
	if (run->rd.is_packed) {
		put_desc(run, rd_ptr(&run->rd, table), &first, false, 0);
		put_desc(run, (struct rd_desc *)rd_ptr(&run->rd, table) + 1, &status, true, 0);
	} else {
		put_desc(run, &run->rd.desc[last], &status, true, 0);
		run->cursor++;
	}
	while (n-- > 0 && has_room(run, 1)) {
		struct rd_desc *head = &run->rd.desc[place(run, 0)];

		if (run->rd.is_packed) {
			put_table(run, head, table, 2);
		} else {
			put_desc(run, head, &first, false, last);
		}
		publish(run, 1);
	}
}

/* A write of whole sectors in up to 1024 pieces of one byte or more, from an indirect table. */
static void add_large(struct run *run)
{
	unsigned int n = 2 + bytes_get_le16(&run->in) % 1024;
	uint64_t header = some_gpa(run);
	uint64_t table = some_gpa(run);
	struct rd_desc *at = rd_ptr(&run->rd, table);
	struct rd_buf buf = { header, BLK_HEADER_LEN, false };
	unsigned int i;

	if (!has_room(run, 1)) {
		return;
	}
	put_header(run, header, BLK_T_OUT, 0);
	put_desc(run, &at[0], &buf, false, 1);
	for (i = 1; i < n; i++) {
		/* The last one fills up the sectors. */
		buf = (struct rd_buf){ header + 1 + i * 2, i + 1 < n ? 1 : 2048 - (n - 2), false };
		put_desc(run, &at[i], &buf, false, (uint16_t)(i + 1));
	}
	buf = (struct rd_buf){ header, 1, true };
	put_desc(run, &at[n], &buf, true, 0);
	put_table(run, &run->rd.desc[place(run, 0)], table, n + 1);
	publish(run, 1);
}

/* Two lies about the whole ring: of a head or id, and of how far the driver is. */
static void offer_anything(struct run *run)
{
	uint16_t what = bytes_get_le16(&run->in);

	if (run->rd.is_packed) {
		run->cursor = what;
		publish(run, 1);
		run->rd.packed[place(run, run->rd.size - 1)].id = htole16(what);
	} else {
		rd_offer(&run->rd, what);
	}
}

static void move_anywhere(struct run *run)
{
	uint16_t to = bytes_get_le16(&run->in);

	if (run->rd.is_packed) {
		run->rd.next_avail = (uint16_t)((to & ~RD_WRAP) % run->rd.size | (to & RD_WRAP));
	} else {
		*run->rd.avail_idx = to;
		run->rd.next_avail = le16toh(to);
	}
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
		offer_anything(run);
		break;
	case 1:
		move_anywhere(run);
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
	if (virtq_inflight(run->vq) == 0 && op % 16 == 7 && !run->rd.is_packed) {
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
	run->channels = (struct bdev_channels){ 0 };
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
		ring.size = LARGE_RING;
	}
	if ((mode & 8) != 0 && ring.size > 2) {
		ring.size--; /* no power of two */
	}
	run.max_req_bytes = (mode & 4) != 0 ? 4096 : 0;
	ring.region_n = 1 + (shape >> 4 & 3);
	if ((mode & 8) != 0) {
		/* The last descriptor of the second round. */
		ring.start = (shape & 0x80) != 0 ? RD_WRAP | (uint16_t)(ring.size - 1) : 0;
	} else {
		ring.start = (shape & 0x80) != 0 ? 65530 : 0;
	}
	ring.features = (uint64_t)(features & 1) << VIRTIO_RING_F_INDIRECT_DESC |
			(uint64_t)(features >> 1 & 1) << VIRTIO_RING_F_EVENT_IDX |
			(uint64_t)(mode >> 3 & 1) << VIRTIO_F_RING_PACKED;
	rd_open(&run.rd, &ring);
	device_open(&run, disk, features);
	queue_open(&run, rd_config(&run.rd, sizeof(struct virtq_req)).base);
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
