/* SPDX-License-Identifier: BSD-3-Clause */
/* One request of the block device, from its header to its status byte: virtio 1.2, 5.2.6. */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/iov.h"
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
	struct virtq_stats *stats = virtq_stats(queue->queue.vq);
	uint32_t written = req->written;

	if (result == 0 && req->type == BLK_T_IN) {
		virtq_count(&stats->read_bytes, req->io.len);
	} else if (result == 0 && req->type == BLK_T_OUT) {
		virtq_count(&stats->written_bytes, req->io.len);
	}
	table_release(queue, req);
	*req->status = blk_status(result);
	if (result != 0) {
		/* The used length says what was written from the start of the buffers. After an
		 * error that is the status byte, or nothing if data was to come before it. */
		written = req->vreq.in_len == 1;
	}
	virtq_push(queue->queue.vq, &req->vreq, written);
}

/* The driver broke a rule and can be told so. */
static void request_refuse(struct blk_request *req)
{
	virtq_count(&virtq_stats(req->queue->queue.vq)->malformed, 1);
	request_end(req, -EINVAL);
}

/* ---- checks ---- */

/* 0: [sector, sector + len bytes) is a range of whole blocks of the disk, starting at *ret_offset. */
static int check_range(const struct blk_device *blk, uint64_t sector, uint64_t len,
		       uint64_t *ret_offset)
{
	const struct bdev_info *info = &blk->bdev->info;
	uint64_t offset;

	if (!checked_mul(sector, BLK_SECTOR, &offset) || !range_inside(offset, len, info->size)) {
		return -EINVAL;
	}
	/* 5.2.6.1 asks for multiples of 512; the disk may have larger blocks. */
	if ((offset | len) % info->block_size != 0) {
		return -EINVAL;
	}
	*ret_offset = offset;
	return 0;
}

static int check_zap_range(const struct blk_device *blk, uint32_t type,
			   const struct blk_range *range)
{
	uint32_t known_flags = type == BLK_T_WRITE_ZEROES ? BLK_RANGE_F_UNMAP : 0;
	uint64_t len = (uint64_t)range->sectors * BLK_SECTOR;
	uint64_t offset;

	/* 5.2.6.2: a device MUST answer UNSUPP if any unknown flag is set, and for discard if the
	 * unmap flag is. */
	if ((range->flags & ~known_flags) != 0) {
		return -EOPNOTSUPP;
	}
	if (len > blk->bdev->info.max_discard) {
		return -EINVAL;
	}
	return check_range(blk, range->sector, len, &offset);
}

/* ---- carrying out ---- */

static void on_io_done(struct bdev_io *io);

static bool io_submit(struct blk_request *req)
{
	req->io.done = on_io_done;
	return bdev_submit(req->queue->channel, &req->io) != -EAGAIN;
}

static void io_set_range(struct blk_request *req)
{
	const struct blk_range *range = &req->ranges[req->range_next];

	req->io.op = req->type == BLK_T_DISCARD ? BDEV_DISCARD : BDEV_WRITE_ZEROES;
	req->io.flags = (range->flags & BLK_RANGE_F_UNMAP) != 0 ? BDEV_IO_MAY_UNMAP : 0;
	req->io.offset = range->sector * BLK_SECTOR;
	req->io.len = (uint64_t)range->sectors * BLK_SECTOR;
}

/*
 * Submits the next part of the request, or ends it. False: the bdev has no room; everything is as
 * before, call again.
 */
static bool request_advance(struct blk_request *req)
{
	while (req->range_next < req->range_n && req->ranges[req->range_next].sectors == 0) {
		req->range_next++;
	}
	if (req->range_next < req->range_n) {
		io_set_range(req);
		if (!io_submit(req)) {
			return false;
		}
		req->range_next++;
		return true;
	}
	if (req->flush_after) {
		/* io.len still counts what was written. */
		req->io.op = BDEV_FLUSH;
		if (!io_submit(req)) {
			return false;
		}
		req->flush_after = false;
		return true;
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

static void on_io_done(struct bdev_io *io)
{
	struct blk_request *req =
		(struct blk_request *)((uint8_t *)io - offsetof(struct blk_request, io));

	if (io->status != 0 || (req->range_next == req->range_n && !req->flush_after)) {
		request_end(req, io->status);
	} else if (!request_advance(req)) {
		TAILQ_INSERT_TAIL(&req->queue->unfinished, req, link);
	}
}

/* ---- request types. True: taken or ended; false: no room now ---- */

/* iov_slice(), and how most drivers frame their requests: header and status in pieces of their own. */
static inline void cut(struct iovec **iov, unsigned int *iov_n, uint64_t skip, uint64_t len)
{
	struct iovec *first = *iov;

	if (skip == 0 && *iov_n == 2 && first[0].iov_len == len) {
		*iov_n = 1;
	} else if (*iov_n == 2 && first[0].iov_len == skip && first[1].iov_len == len) {
		*iov = first + 1;
		*iov_n = 1;
	} else {
		iov_slice(iov, iov_n, skip, len);
	}
}

static bool start_io(struct blk_request *req, enum bdev_op op, struct iovec *iov,
		     unsigned int iov_n, uint64_t skip, uint64_t len)
{
	const struct blk_device *blk = req->queue->blk;
	uint64_t offset;

	if (op == BDEV_WRITE && blk->read_only) {
		/* 5.2.6.2: a write to a read-only device MUST end with IOERR. */
		request_end(req, -EROFS);
		return true;
	}
	if (check_range(blk, req->sector, len, &offset) < 0) {
		request_refuse(req);
		return true;
	}
	/* A second slice of the same pieces, after no room was found, would cut them again. */
	if (!req->io.iov) {
		cut(&iov, &iov_n, skip, len);
		req->io.iov = iov;
		req->io.iov_n = iov_n;
	}
	req->io.op = op;
	req->io.flags = 0;
	req->io.offset = offset;
	req->io.len = len;
	if (len == 0) {
		request_end(req, 0);
		return true;
	}
	req->flush_after = op == BDEV_WRITE && blk_writes_through(blk);
	return io_submit(req);
}

static bool start_flush(struct blk_request *req)
{
	/* Also when FLUSH was not negotiated: it does what it says and harms nobody. */
	req->io.op = BDEV_FLUSH;
	req->io.flags = 0;
	req->io.offset = 0;
	req->io.len = 0;
	req->io.iov_n = 0;
	return io_submit(req);
}

static void get_id(struct blk_request *req)
{
	const struct virtq_req *vreq = &req->vreq;
	uint64_t room = vreq->in_len - 1;
	size_t n = room < BLK_ID_LEN ? (size_t)room : BLK_ID_LEN;

	iov_scatter(virtq_req_in(vreq), vreq->in_n, 0, req->queue->blk->serial, n);
	if (room > BLK_ID_LEN) {
		req->written = BLK_ID_LEN; /* nothing lies between the ID and the status */
	}
	request_end(req, 0);
}

/* Copies the ranges to private memory, once; the caller has found room for them. */
static void ranges_load(struct blk_request *req, unsigned int n)
{
	uint8_t raw[BLK_MAX_RANGES * BLK_RANGE_LEN];
	struct bytes_reader r = bytes_reader(raw, n * BLK_RANGE_LEN);
	unsigned int i;

	iov_gather(virtq_req_out(&req->vreq), req->vreq.out_n, BLK_HEADER_LEN, raw,
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
		r = check_zap_range(blk, req->type, &req->ranges[i]);
	}
	if (r == -EOPNOTSUPP) {
		request_end(req, r);
		return true;
	}
	if (r < 0) {
		request_refuse(req);
		return true;
	}
	req->flush_after = req->type == BLK_T_WRITE_ZEROES && blk_writes_through(blk);
	if (!request_advance(req)) {
		table_release(queue, req);
		return false;
	}
	return true;
}

static bool dispatch(struct blk_request *req)
{
	struct virtq_req *vreq = &req->vreq;

	switch (req->type) {
	case BLK_T_IN:
		return start_io(req, BDEV_READ, virtq_req_in(vreq), vreq->in_n, 0,
				vreq->in_len - 1);
	case BLK_T_OUT:
		return start_io(req, BDEV_WRITE, virtq_req_out(vreq), vreq->out_n, BLK_HEADER_LEN,
				vreq->out_len - BLK_HEADER_LEN);
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

/* The one copy of the header (rule R4); returns its length, less than BLK_HEADER_LEN if it is short. */
static inline size_t header_load(const struct virtq_req *vreq, uint8_t raw[BLK_HEADER_LEN])
{
	const struct iovec *out = virtq_req_out(vreq);

	if (vreq->out_n == 0 || out[0].iov_len < BLK_HEADER_LEN) {
		return iov_gather(out, vreq->out_n, 0, raw, BLK_HEADER_LEN);
	}
	memcpy(raw, out[0].iov_base, BLK_HEADER_LEN);
	/* The compiler must not go back to guest memory for what was copied just now. */
	__asm__ volatile("" ::: "memory");
	return BLK_HEADER_LEN;
}

/* Reads the header and finds the status byte, wherever the driver's framing put them (2.7.4). */
static bool request_parse(struct blk_request *req)
{
	struct virtq *vq = req->queue->queue.vq;
	struct virtq_req *vreq = &req->vreq;
	const struct iovec *last;
	uint8_t raw[BLK_HEADER_LEN];
	struct bytes_reader r;

	req->parsed = true;
	req->ranges = NULL;
	req->range_n = 0;
	req->range_next = 0;
	req->flush_after = false;
	req->io.iov = NULL;
	if (vreq->in_len == 0) {
		virtq_break(vq, "a blk request has no writable byte for its status");
		virtq_push(vq, vreq, 0);
		return false;
	}
	last = &virtq_req_in(vreq)[vreq->in_n - 1];
	req->status = (uint8_t *)last->iov_base + last->iov_len - 1;
	r = bytes_reader(raw, header_load(vreq, raw));
	req->type = bytes_get_le32(&r);
	bytes_skip(&r, 4); /* reserved */
	req->sector = bytes_get_le64(&r);
	/* The used length if everything is written: all of it for reads, else just the status. */
	req->written = req->type == BLK_T_IN || req->type == BLK_T_GET_ID ? (uint32_t)vreq->in_len :
									    vreq->in_len == 1;
	if (r.failed) {
		request_refuse(req);
		return false;
	}
	return true;
}

bool blk_request_start(struct blk_request *req)
{
	if (!req->parsed && !request_parse(req)) {
		return true;
	}
	return dispatch(req);
}
