/* SPDX-License-Identifier: BSD-3-Clause */
/* One request of the block device, from its header to its status byte: virtio 1.2, 5.2.6. */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/iov.h"
#include "base/likely.h"
#include "device/blk_internal.h"

/* ---- the end of a request ---- */

/* The one place where errno becomes virtio status. */
static uint8_t blk_status(int result)
{
	if (result == 0) {
		return BLK_S_OK;
	}
	return result == -EOPNOTSUPP ? BLK_S_UNSUPP : BLK_S_IOERR;
}

static void table_release(struct blk_queue *queue, struct blk_request *req)
{
	if (req->ranges && req->ranges != &req->range) {
		/* ranges is the first and only member of its table. */
		queue->free_tables[queue->free_table_n++] = (struct blk_range_table *)req->ranges;
	}
	req->ranges = NULL;
}

static void request_end(struct blk_request *req, int result)
{
	struct blk_queue *queue = req->queue;
	/* The used length says what was written from the start of the buffers. After an error that is
	 * the status byte, or nothing if data was to come before it. */
	uint32_t written = result == 0 ? req->written : req->vreq.in_len == 1;

	table_release(queue, req);
	*req->status = blk_status(result);
	virtq_push(queue->queue.vq, &req->vreq, written);
}

static inline void rw_end_well(struct blk_queue *queue, struct blk_request *req, bool is_read)
{
	uint64_t in_len = req->vreq.in_len;

	*req->status = BLK_S_OK;
	/* Of a write nothing, if room for data was to come before the status. */
	virtq_push(queue->queue.vq, &req->vreq, is_read ? (uint32_t)in_len : in_len == 1);
}

/* The end of a read or write of `len` bytes. */
static inline void rw_end(struct blk_queue *queue, struct blk_request *req, bool is_read,
			  uint64_t len, int result)
{
	if (unlikely(result != 0)) {
		request_end(req, result);
		return;
	}
	virtq_count(is_read ? &queue->stats->read_bytes : &queue->stats->written_bytes, len);
	rw_end_well(queue, req, is_read);
}

/* The driver broke a rule and can be told so. */
static void request_refuse(struct blk_request *req)
{
	virtq_count(&req->queue->stats->malformed, 1);
	request_end(req, -EINVAL);
}

/* ---- checks ---- */

/* Is [sector, sector + len bytes) a range of whole blocks of the disk? *ret_offset: of its start, bytes. */
static inline bool range_is_fine(const struct bdev *bdev, uint64_t sector, uint64_t len,
				 uint64_t *ret_offset)
{
	uint64_t size = bdev_size(bdev);
	uint64_t offset = sector * BLK_SECTOR;

	*ret_offset = offset;
	/* 5.2.6.1 asks for multiples of 512; the disk may have larger blocks. */
	return sector <= size / BLK_SECTOR && len <= size - offset &&
	       ((offset | len) & (bdev->info.block_size - 1)) == 0;
}

static int check_zap_range(const struct bdev *bdev, uint32_t type, const struct blk_range *range)
{
	uint32_t known_flags = type == BLK_T_WRITE_ZEROES ? BLK_RANGE_F_UNMAP : 0;
	uint64_t len = (uint64_t)range->sectors * BLK_SECTOR;
	uint64_t offset;

	/* 5.2.6.2: a device MUST answer UNSUPP if any unknown flag is set, and for discard if the
	 * unmap flag is. */
	if ((range->flags & ~known_flags) != 0) {
		return -EOPNOTSUPP;
	}
	if (len > bdev->info.max_discard) {
		return -EINVAL;
	}
	return range_is_fine(bdev, range->sector, len, &offset) ? 0 : -EINVAL;
}

/* ---- carrying out, in steps: ranges, a flush ---- */

static void on_step_done(struct bdev_io *io);

static struct blk_request *request_of(struct bdev_io *io)
{
	return (struct blk_request *)((uint8_t *)io - offsetof(struct blk_request, io));
}

/* Prepares the next step. False: there is none. */
static bool next_step(struct blk_request *req)
{
	struct bdev_io *io = &req->io;
	const struct blk_range *range;

	while (req->range_next < req->range_n && req->ranges[req->range_next].sectors == 0) {
		req->range_next++;
	}
	if (req->range_next < req->range_n) {
		range = &req->ranges[req->range_next];
		io->op = req->type == BLK_T_DISCARD ? BDEV_DISCARD : BDEV_WRITE_ZEROES;
		io->flags = (range->flags & BLK_RANGE_F_UNMAP) != 0 ? BDEV_IO_MAY_UNMAP : 0;
		io->offset = range->sector * BLK_SECTOR;
		io->len = (uint64_t)range->sectors * BLK_SECTOR;
		return true;
	}
	if (req->flush_after) {
		io->op = BDEV_FLUSH;
		io->flags = 0;
		io->offset = 0;
		io->len = 0;
		return true;
	}
	return false;
}

static void step_is_taken(struct blk_request *req)
{
	if (req->io.op == BDEV_FLUSH) {
		req->flush_after = false;
	} else {
		req->range_next++;
	}
}

/* Submits the steps that are left, or ends the request. False: the bdev has no room; call again. */
static bool request_advance(struct blk_request *req)
{
	int r;

	req->io.iov_n = 0;
	req->io.done = on_step_done;
	while (next_step(req)) {
		r = bdev_submit(req->queue->channel, &req->io);
		if (r == -EAGAIN) {
			return false;
		}
		step_is_taken(req);
		if (r != BDEV_DONE) {
			return true;
		}
		if (req->io.status != 0) {
			request_end(req, req->io.status);
			return true;
		}
	}
	request_end(req, 0);
	return true;
}

void blk_request_retry_unfinished(struct blk_queue *queue)
{
	struct blk_request *req;

	while ((req = TAILQ_FIRST(&queue->unfinished)) != NULL) {
		TAILQ_REMOVE(&queue->unfinished, req, link);
		if (!request_advance(req)) {
			TAILQ_INSERT_HEAD(&queue->unfinished, req, link);
			return;
		}
	}
}

static void advance_or_wait(struct blk_request *req)
{
	if (!request_advance(req)) {
		TAILQ_INSERT_TAIL(&req->queue->unfinished, req, link);
	}
}

static void on_step_done(struct bdev_io *io)
{
	struct blk_request *req = request_of(io);

	if (io->status != 0) {
		request_end(req, io->status);
	} else {
		advance_or_wait(req);
	}
}

/* ---- reads and writes ---- */

static void on_read_done(struct bdev_io *io)
{
	struct blk_request *req = request_of(io);

	rw_end(req->queue, req, true, io->len, io->status);
}

static void on_write_done(struct bdev_io *io)
{
	struct blk_request *req = request_of(io);

	rw_end(req->queue, req, false, io->len, io->status);
}

/* The write is not over before it is stable. */
static void on_write_through_done(struct bdev_io *io)
{
	struct blk_request *req = request_of(io);

	if (io->status != 0) {
		request_end(req, io->status);
		return;
	}
	virtq_count(&req->queue->stats->written_bytes, io->len);
	req->written = req->vreq.in_len == 1;
	req->flush_after = true;
	req->range_n = 0;
	req->range_next = 0;
	advance_or_wait(req);
}

/* Once more. False: the bdev has no room; call it again. */
static bool rw_submit(struct blk_request *req)
{
	int r = bdev_submit(req->queue->channel, &req->io);

	if (r == BDEV_DONE) {
		req->io.done(&req->io);
	}
	return r != -EAGAIN;
}

/* What reads and writes have in common. */
static inline __attribute__((always_inline)) bool start_rw(struct blk_queue *queue,
							   struct blk_request *req, enum bdev_op op,
							   uint64_t sector, uint64_t len)
{
	struct bdev_io *io = &req->io;
	int r;

	io->op = op;
	io->flags = 0;
	io->len = len;
	if (unlikely(!range_is_fine(queue->channel->bdev, sector, len, &io->offset))) {
		request_refuse(req);
		return true;
	}
	if (unlikely(len == 0)) {
		request_end(req, 0);
		return true;
	}
	r = bdev_submit(queue->channel, io);
	if (likely(r == BDEV_DONE)) {
		if (unlikely(io->status != 0)) {
			request_end(req, io->status);
		} else if (op == BDEV_READ || likely(io->done == on_write_done)) {
			queue->bytes[op == BDEV_WRITE] += len;
			rw_end_well(queue, req, op == BDEV_READ);
		} else {
			io->done(io);
		}
		return true;
	}
	return r == BDEV_TAKEN;
}

static inline bool start_read(struct blk_queue *queue, struct blk_request *req, uint64_t sector)
{
	const struct virtq_req *vreq = &req->vreq;
	uint64_t len = vreq->in_len - 1;

	req->io.iov = vreq->in;
	req->io.iov_n = virtq_req_in_n(vreq) - 1;
	if (unlikely(vreq->end[-1].iov_len != 1)) {
		/* The status does not have a piece of its own. */
		struct iovec *iov = vreq->in;

		req->io.iov_n++;
		iov_slice(&iov, &req->io.iov_n, 0, len);
	}
	req->io.done = on_read_done;
	return start_rw(queue, req, BDEV_READ, sector, len);
}

static inline bool start_write(struct blk_queue *queue, struct blk_request *req, uint64_t sector)
{
	const struct blk_device *blk = queue->blk;
	const struct virtq_req *vreq = &req->vreq;
	uint64_t len = vreq->out_len - BLK_HEADER_LEN;
	struct iovec *iov = vreq->out;
	unsigned int iov_n = virtq_req_out_n(vreq);

	if (unlikely(blk->read_only)) {
		/* 5.2.6.2: a write to a read-only device MUST end with IOERR. */
		request_end(req, -EROFS);
		return true;
	}
	iov_drop(&iov, &iov_n, BLK_HEADER_LEN, len);
	req->io.iov = iov;
	req->io.iov_n = iov_n;
	req->io.done = blk_writes_through(blk, queue->channel->bdev) ? on_write_through_done :
								       on_write_done;
	return start_rw(queue, req, BDEV_WRITE, sector, len);
}

/* ---- the other types. True: taken or ended; false: no room now ---- */

static bool start_flush(struct blk_request *req)
{
	/* Also when FLUSH was not negotiated: it does what it says and harms nobody. */
	req->range_n = 0;
	req->range_next = 0;
	req->flush_after = true;
	return request_advance(req);
}

static void get_id(struct blk_request *req)
{
	const struct virtq_req *vreq = &req->vreq;
	uint64_t room = vreq->in_len - 1;
	size_t n = room < BLK_ID_LEN ? (size_t)room : BLK_ID_LEN;

	iov_scatter(vreq->in, virtq_req_in_n(vreq), 0, req->queue->blk->serial, n);
	/* Of more, nothing lies between the ID and the status. */
	req->written = room > BLK_ID_LEN ? BLK_ID_LEN : (uint32_t)room + 1;
	request_end(req, 0);
}

/* Copies the ranges to private memory, once; the caller has found room for them. */
static void ranges_load(struct blk_request *req, unsigned int n)
{
	uint8_t raw[BLK_MAX_RANGES * BLK_RANGE_LEN];
	struct bytes_reader r = bytes_reader(raw, n * BLK_RANGE_LEN);
	unsigned int i;

	iov_gather(req->vreq.out, virtq_req_out_n(&req->vreq), BLK_HEADER_LEN, raw,
		   n * BLK_RANGE_LEN);
	for (i = 0; i < n; i++) {
		req->ranges[i].sector = bytes_get_le64(&r);
		req->ranges[i].sectors = bytes_get_le32(&r);
		req->ranges[i].flags = bytes_get_le32(&r);
	}
	req->range_n = (uint16_t)n;
	req->range_next = 0;
}

static bool start_zap(struct blk_request *req, unsigned int feature)
{
	struct blk_queue *queue = req->queue;
	const struct blk_device *blk = queue->blk;
	const struct bdev *bdev = queue->channel->bdev;
	uint64_t bytes = req->vreq.out_len - BLK_HEADER_LEN;
	unsigned int n = (unsigned int)(bytes / BLK_RANGE_LEN);
	unsigned int i;
	int r = 0;

	if (blk->read_only) {
		request_end(req, -EROFS);
		return true;
	}
	if (!blk_has(blk->negotiated, feature)) {
		request_end(req, -EOPNOTSUPP);
		return true;
	}
	if (bytes == 0 || bytes % BLK_RANGE_LEN != 0 || bytes / BLK_RANGE_LEN > BLK_MAX_RANGES) {
		request_refuse(req);
		return true;
	}
	if (n == 1) {
		req->ranges = &req->range;
	} else if (queue->free_table_n > 0) {
		req->ranges = queue->free_tables[--queue->free_table_n]->ranges;
	} else {
		return false;
	}
	ranges_load(req, n);
	/* All are checked before the first is carried out. */
	for (i = 0; i < n && r == 0; i++) {
		r = check_zap_range(bdev, req->type, &req->ranges[i]);
	}
	if (r == -EOPNOTSUPP) {
		request_end(req, r);
		return true;
	}
	if (r < 0) {
		request_refuse(req);
		return true;
	}
	req->flush_after = req->type == BLK_T_WRITE_ZEROES && blk_writes_through(blk, bdev);
	if (!request_advance(req)) {
		table_release(queue, req);
		return false;
	}
	return true;
}

static bool start_other(struct blk_request *req)
{
	req->written = req->vreq.in_len == 1;
	switch (req->type) {
	case BLK_T_FLUSH:
		return start_flush(req);
	case BLK_T_GET_ID:
		get_id(req);
		return true;
	case BLK_T_DISCARD:
		return start_zap(req, BLK_F_DISCARD);
	case BLK_T_WRITE_ZEROES:
		return start_zap(req, BLK_F_WRITE_ZEROES);
	default:
		/* 5.2.6.2: an unknown type MUST be answered with UNSUPP. */
		request_end(req, -EOPNOTSUPP);
		return true;
	}
}

/* ---- the beginning of a request ---- */

struct header {
	uint32_t type;
	uint64_t sector;
};

/* The one copy of the header (rule R4), however the driver cut it (2.7.4). False: it is too short. */
static inline bool header_load(const struct virtq_req *vreq, struct header *ret_header)
{
	const struct iovec *out = vreq->out;
	uint64_t type; /* the upper half is reserved */
	uint64_t sector;

	if (likely(out != vreq->in && out->iov_len >= BLK_HEADER_LEN)) {
		memcpy(&type, out->iov_base, sizeof(type));
		memcpy(&sector, (const uint8_t *)out->iov_base + sizeof(type), sizeof(sector));
	} else {
		uint64_t words[BLK_HEADER_LEN / sizeof(uint64_t)];

		if (iov_gather(out, virtq_req_out_n(vreq), 0, words, sizeof(words)) <
		    sizeof(words)) {
			return false;
		}
		type = words[0];
		sector = words[1];
	}
	/* The compiler must not go back to guest memory for what was copied just now. */
	__asm__ volatile("" : "+r"(type), "+r"(sector));
	ret_header->type = (uint32_t)le64toh(type);
	ret_header->sector = le64toh(sector);
	return true;
}

static inline __attribute__((always_inline)) bool request_start(struct blk_queue *queue,
								struct blk_request *req)
{
	struct virtq_req *vreq = &req->vreq;
	const struct iovec *last = vreq->end - 1;
	struct header header;

	if (unlikely(vreq->in_len == 0)) {
		virtq_break(queue->queue.vq, "a blk request has no writable byte for its status");
		virtq_push(queue->queue.vq, vreq, 0);
		return true;
	}
	/* The last writable byte, wherever that is. */
	req->status = (uint8_t *)last->iov_base + last->iov_len - 1;
	if (unlikely(!header_load(vreq, &header))) {
		request_refuse(req);
		return true;
	}
	/* The type is remembered for what comes later. */
	if (likely(header.type == BLK_T_IN && start_read(queue, req, header.sector))) {
		return true;
	}
	req->type = header.type;
	if (unlikely(header.type == BLK_T_IN)) {
		return false;
	}
	if (likely(header.type == BLK_T_OUT)) {
		return start_write(queue, req, header.sector);
	}
	return start_other(req);
}

/* ---- many ---- */

static inline void count_bytes(struct blk_queue *queue)
{
	virtq_count(&queue->stats->read_bytes, queue->bytes[0]);
	virtq_count(&queue->stats->written_bytes, queue->bytes[1]);
	queue->bytes[0] = queue->bytes[1] = 0;
}

void blk_requests_start(struct blk_queue *queue, struct virtq_req *const *reqs, unsigned int n)
{
	unsigned int tried;
	unsigned int i;

	for (i = 0; i < n; i++) {
		struct blk_request *req = (struct blk_request *)reqs[i];

		req->queue = queue;
		if (unlikely(!request_start(queue, req))) {
			break;
		}
	}
	count_bytes(queue);
	tried = i;
	/* In order: what waits must be the newest, to be given back when the queue stops. */
	for (; i < n; i++) {
		struct blk_request *req = (struct blk_request *)reqs[i];

		req->queue = queue;
		req->tried = i == tried;
		TAILQ_INSERT_TAIL(&queue->waiting, req, link);
	}
}

static bool start_again(struct blk_request *req)
{
	if (!req->tried) {
		bool started;

		req->tried = true;
		started = request_start(req->queue, req);
		count_bytes(req->queue);
		return started;
	}
	/* Not from the beginning: that would cut the iovecs again. */
	return req->type == BLK_T_IN || req->type == BLK_T_OUT ? rw_submit(req) : start_other(req);
}

void blk_requests_retry_waiting(struct blk_queue *queue)
{
	struct blk_request *req;

	while ((req = TAILQ_FIRST(&queue->waiting)) != NULL) {
		TAILQ_REMOVE(&queue->waiting, req, link);
		if (!start_again(req)) {
			TAILQ_INSERT_HEAD(&queue->waiting, req, link);
			return;
		}
	}
}
