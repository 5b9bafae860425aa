/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A request queue (virtio 1.2, 5.6.6.1). The readable part of a request is a header with the CDB, then
 * data-out; the writable part is a response with sense data, then data-in. Where the driver cuts its
 * buffers plays no role (virtio 1.2, 2.7.4).
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/iov.h"
#include "base/likely.h"
#include "device/scsi/quick.h"

#define BATCH	       32
#define SENSE_SIZE_MAX 256 /* scsi.c lets no driver ask for more */
/* Few drivers ask for another size. */
#define DEFAULT_RESP_LEN (VIRTIO_SCSI_RESP_LEN + VIRTIO_SCSI_SENSE_SIZE)

struct scsi_request_queue {
	struct scsi_queue q; /* first */
	struct virtq_stats *stats;
	uint32_t sense_size;
	uint32_t cdb_size;
	uint32_t cdb_len;	 /* what is kept of a CDB */
	uint32_t head_len;	 /* what comes before data-out */
	uint32_t resp_len;	 /* what comes before data-in */
	uint32_t quick_head_len; /* head_len where the short way is open, else 0 */
	bool draining;
};

static struct scsi_request_queue *request_queue_of(struct device_queue *queue)
{
	return (struct scsi_request_queue *)queue;
}

static struct scsi_request *request_of(struct scsi_cmd *cmd)
{
	return (struct scsi_request *)((uint8_t *)cmd - offsetof(struct scsi_request, cmd));
}

/* ---- the response ---- */

static inline void put_le32(uint8_t *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof(v));
}

static void count_bytes(struct virtq_stats *stats, const struct scsi_cmd *cmd)
{
	if (cmd->in.len > 0) {
		virtq_count(&stats->read_bytes, cmd->transferred);
	} else {
		virtq_count(&stats->written_bytes, cmd->transferred);
	}
}

/* The response with its sense data, resp_len bytes. */
static inline void write_response(const struct scsi_request *req, uint8_t *resp)
{
	const struct scsi_request_queue *queue = req->queue;
	const struct scsi_cmd *cmd = &req->cmd;
	uint64_t residual = cmd->in.len + cmd->out.len - cmd->transferred;
	uint32_t sense_len = 0;

	memset(resp + VIRTIO_SCSI_RESP_LEN, 0, queue->sense_size);
	if (unlikely(cmd->sense_len > 0)) {
		sense_len = cmd->sense_len < queue->sense_size ? cmd->sense_len : queue->sense_size;
		memcpy(resp + VIRTIO_SCSI_RESP_LEN, cmd->sense, sense_len);
	}
	put_le32(resp, sense_len);
	put_le32(resp + 4, residual < UINT32_MAX ? (uint32_t)residual : UINT32_MAX);
	put_le32(resp + 8, (uint32_t)cmd->status << 16 | (uint32_t)cmd->response << 24);
}

static void put_response(struct scsi_request *req)
{
	const struct virtq_req *vr = &req->vr;
	uint32_t len = req->queue->resp_len;
	uint8_t resp[VIRTIO_SCSI_RESP_LEN + SENSE_SIZE_MAX];

	if (unlikely(req->shared != NULL)) {
		*req->shared = req->shared_was;
	}
	if (likely(vr->in->iov_len >= len)) {
		write_response(req, vr->in->iov_base);
	} else {
		write_response(req, resp);
		iov_scatter(vr->in, virtq_req_in_n(vr), 0, resp, len);
	}
}

/* The command is over: cmd holds the result, or was ended from outside. */
static void complete(struct scsi_request *req)
{
	struct scsi_request_queue *queue = req->queue;
	struct scsi_cmd *cmd = &req->cmd;
	uint64_t data_in = 0;
	uint8_t tmf_mask = cmd->tmf_mask;

	scsi_cmd_finish(cmd);
	if (unlikely(cmd->listed)) {
		TAILQ_REMOVE(&cmd->lu->tasks, cmd, task_link);
	}
	if (unlikely(cmd->ended_by != 0)) {
		cmd->response = cmd->ended_by;
		cmd->status = SCSI_STATUS_GOOD;
		cmd->sense_len = 0;
		cmd->transferred = 0;
	}
	put_response(req);
	count_bytes(queue->stats, cmd);
	if (cmd->in.len > 0) {
		data_in = cmd->transferred;
	}
	virtq_push(queue->q.dq.vq, &req->vr, queue->resp_len + (uint32_t)data_in);
	if (unlikely(tmf_mask != 0)) {
		scsi_tmf_task_done(queue->q.part, tmf_mask);
	}
}

/* An answer to something that did not become a command. */
static void answer(struct scsi_request *req, uint8_t response)
{
	struct scsi_cmd *cmd = &req->cmd;

	cmd->lu = NULL;
	cmd->response = response;
	cmd->status = SCSI_STATUS_GOOD;
	cmd->sense_len = 0;
	cmd->transferred = 0;
	complete(req);
}

/* ---- running a command ---- */

static void give_up_busy(struct scsi_request *req)
{
	struct scsi_cmd *cmd = &req->cmd;

	/*
	 * The queue is being stopped and the bdev has no room. SAM-5, 5.3: BUSY, the initiator sends the
	 * command again. All commands that get here have the same effect when they are done twice.
	 */
	cmd->status = SCSI_STATUS_BUSY;
	cmd->sense_len = 0;
	cmd->transferred = 0;
	complete(req);
}

/* Task management has to find it from now on. */
static inline void list_task(struct scsi_cmd *cmd)
{
	if (!cmd->listed) {
		TAILQ_INSERT_TAIL(&cmd->lu->tasks, cmd, task_link);
		cmd->listed = true;
	}
}

static void wait_for_room(struct scsi_request *req, bool first)
{
	struct scsi_cmd *cmd = &req->cmd;

	if (req->queue->draining) {
		give_up_busy(req);
		return;
	}
	/*
	 * A command that has begun goes before those that have not. It may hold what they wait for, the
	 * scratch buffer, so this is also what keeps them from waiting for each other.
	 */
	list_task(cmd);
	if (first) {
		TAILQ_INSERT_HEAD(&cmd->lu->waiting, cmd, wait_link);
	} else {
		TAILQ_INSERT_TAIL(&cmd->lu->waiting, cmd, wait_link);
	}
	cmd->waiting = true;
	req->queue->q.part->waiting_n++;
}

static void stop_waiting(struct scsi_part *part, struct scsi_cmd *cmd)
{
	TAILQ_REMOVE(&cmd->lu->waiting, cmd, wait_link);
	cmd->waiting = false;
	part->waiting_n--;
}

static enum scsi_step advance(struct scsi_cmd *cmd)
{
	return cmd->ended_by != 0 ? SCSI_DONE : scsi_cmd_advance(cmd);
}

/*
 * Goes on from a step until the command is over, or the bdev has taken what it is to do next, or it has to
 * wait. It has `begun` if the bdev has done something for it.
 */
static void run_steps(struct scsi_request *req, enum scsi_step step, bool begun)
{
	struct scsi_cmd *cmd = &req->cmd;

	while (step == SCSI_SUBMIT) {
		int r = bdev_submit(cmd->lu->channel, &cmd->io);

		if (r == -EAGAIN) {
			break;
		}
		if (r == BDEV_TAKEN) {
			list_task(cmd);
			return;
		}
		begun = true;
		step = advance(cmd);
	}
	if (step == SCSI_DONE) {
		complete(req);
	} else {
		wait_for_room(req, begun);
	}
}

static void io_done(struct bdev_io *io)
{
	struct scsi_cmd *cmd = (struct scsi_cmd *)((uint8_t *)io - offsetof(struct scsi_cmd, io));

	run_steps(request_of(cmd), advance(cmd), true);
}

/*
 * Offers the bdev those that it had no room for, oldest first, until it has none again. This comes
 * before the ring is looked at, so newer commands do not overtake them.
 */
static void retry(struct scsi_part *part, struct scsi_lu *lu)
{
	struct scsi_cmd *cmd;
	int r;

	while ((cmd = TAILQ_FIRST(&lu->waiting)) != NULL) {
		if (cmd->step == SCSI_WAIT && scsi_cmd_resume(cmd) == SCSI_WAIT) {
			return;
		}
		r = cmd->step == SCSI_SUBMIT ? bdev_submit(lu->channel, &cmd->io) : BDEV_TAKEN;
		if (r == -EAGAIN) {
			return;
		}
		stop_waiting(part, cmd);
		if (cmd->step == SCSI_DONE) {
			complete(request_of(cmd));
		} else if (r == BDEV_DONE) {
			run_steps(request_of(cmd), advance(cmd), true);
		}
	}
}

/* ---- parsing ---- */

/* Leaves in cmd->in what follows the response in the writable part. */
static inline void split_writable(struct scsi_request *req, uint32_t resp_len)
{
	struct scsi_data *in = &req->cmd.in;
	struct iovec *iov = req->vr.in;
	uint64_t left = resp_len;

	in->iov = iov;
	in->iov_n = virtq_req_in_n(&req->vr);
	in->len = req->vr.in_len - resp_len;
	req->shared = NULL;
	if (unlikely(iov->iov_len != resp_len)) {
		/* The element with the last byte of the response; the caller knows that it exists. */
		while (left > iov->iov_len) {
			left -= iov->iov_len;
			iov++;
		}
		req->shared = iov;
		req->shared_was = *iov;
	}
	iov_drop(&in->iov, &in->iov_n, resp_len, in->len);
}

static inline void split_readable(struct scsi_request *req, uint32_t head_len)
{
	struct scsi_data *out = &req->cmd.out;

	out->iov = req->vr.out;
	out->iov_n = virtq_req_out_n(&req->vr);
	out->len = req->vr.out_len - head_len;
	iov_drop(&out->iov, &out->iov_n, head_len, out->len);
}

/* The one copy of the request header with its CDB (rule R4). */
static inline void load_head(const struct scsi_request_queue *queue, struct scsi_request *req,
			     uint8_t head[VIRTIO_SCSI_REQ_LEN + SCSI_CDB_MAX])
{
	const struct iovec *iov = req->vr.out;
	unsigned int iov_n = virtq_req_out_n(&req->vr);
	size_t len = VIRTIO_SCSI_REQ_LEN + queue->cdb_len;

	if (likely(queue->cdb_len == SCSI_CDB_MAX)) {
		iov_gather(iov, iov_n, 0, head, VIRTIO_SCSI_REQ_LEN + SCSI_CDB_MAX);
	} else {
		memset(head, 0, VIRTIO_SCSI_REQ_LEN + SCSI_CDB_MAX);
		iov_gather(iov, iov_n, 0, head, len);
	}
	/* The compiler must not go back to guest memory for what was copied just now. */
	__asm__ volatile("" : "+m"(*(uint8_t(*)[VIRTIO_SCSI_REQ_LEN + SCSI_CDB_MAX]) head));
}

/* Behind the tag: task_attr, prio, crn. All attributes are treated as SIMPLE, as 5.6.6.1 allows. */
static void load_tag(struct scsi_cmd *cmd, const uint8_t *head)
{
	memcpy(&cmd->tag, head + SCSI_ADDRESS_LEN, sizeof(cmd->tag));
	cmd->tag = le64toh(cmd->tag);
}

/* What of the request and the virtio part of its command is the same for all. */
static void init_command(struct scsi_request_queue *queue, struct scsi_request *req)
{
	struct scsi_cmd *cmd = &req->cmd;

	req->queue = queue;
	cmd->ended_by = 0;
	cmd->tmf_mask = 0;
	cmd->listed = false;
	cmd->waiting = false;
}

/* An answer to a request that breaks the rules. */
static void refuse(struct scsi_request *req)
{
	virtq_count(&req->queue->stats->malformed, 1);
	answer(req, VIRTIO_SCSI_S_FAILURE);
}

static void receive(struct scsi_request_queue *queue, struct scsi_request *req)
{
	uint8_t head[VIRTIO_SCSI_REQ_LEN + SCSI_CDB_MAX];
	struct scsi_cmd *cmd = &req->cmd;
	struct scsi_address address;

	if (unlikely(req->vr.in_len < queue->resp_len)) {
		/* Rule R6: no room to answer in. */
		virtq_break(queue->q.dq.vq, "a SCSI request has no room for its response");
		virtq_push(queue->q.dq.vq, &req->vr, 0);
		return;
	}
	init_command(queue, req);
	split_writable(req, queue->resp_len);
	if (unlikely(req->vr.out_len < queue->head_len)) {
		cmd->out.len = 0;
		refuse(req);
		return;
	}
	load_head(queue, req, head);
	split_readable(req, queue->head_len);
	/* virtio 1.2, 5.6.6.1.2: not both without VIRTIO_SCSI_F_INOUT, which is not offered. */
	if (unlikely(cmd->in.len > 0 && cmd->out.len > 0)) {
		refuse(req);
		return;
	}
	load_tag(cmd, head);
	memcpy(cmd->cdb, head + VIRTIO_SCSI_REQ_LEN, sizeof(cmd->cdb));
	cmd->cdb_len = (uint16_t)queue->cdb_len;
	if (unlikely(!scsi_part_find(queue->q.part, head, &address, &cmd->lu))) {
		answer(req, VIRTIO_SCSI_S_BAD_TARGET);
		return;
	}
	cmd->io.done = io_done;
	run_steps(req, scsi_cmd_start(cmd), false);
}

/* ---- the short way ---- */

/* The bdev has not carried it out on the spot, or not well: from here on it is a command like others. */
static __attribute__((noinline)) void go_on(struct scsi_request_queue *queue,
					    struct scsi_request *req, struct scsi_lu *lu,
					    struct scsi_quick_cdb cdb, int submitted)
{
	struct scsi_cmd *cmd = &req->cmd;

	init_command(queue, req);
	split_writable(req, queue->resp_len);
	split_readable(req, queue->head_len);
	load_tag(cmd, req->vr.out->iov_base);
	cmd->lu = lu;
	cmd->cdb_len = (uint16_t)queue->cdb_len;
	scsi_quick_begun(cmd, cdb);
	if (submitted == BDEV_TAKEN) {
		list_task(cmd);
	} else if (submitted == BDEV_DONE) {
		run_steps(req, advance(cmd), true);
	} else {
		wait_for_room(req, false);
	}
}

/* What the short way looks at of a header, each byte loaded once (rule R4). */
static inline uint64_t load_quick(const uint8_t *head, struct scsi_quick_cdb *ret_cdb)
{
	uint64_t words[3];

	memcpy(&words[0], head, sizeof(words[0]));
	memcpy(&words[1], head + VIRTIO_SCSI_REQ_LEN, sizeof(words[1]));
	memcpy(&words[2], head + VIRTIO_SCSI_REQ_LEN + 8, sizeof(words[2]));
	/* The compiler must not go back to guest memory for what was loaded just now. */
	__asm__ volatile("" : "+r"(words[0]), "+r"(words[1]), "+r"(words[2]));
	ret_cdb->first = be64toh(words[1]);
	ret_cdb->second = be64toh(words[2]);
	return be64toh(words[0]);
}

/*
 * For what drivers send all the time: reads and writes that ask for nothing else, of blocks that exist, with
 * pieces of their own for header and response, and data of just the right length. False: it is something
 * else; nothing has happened, and receive() starts anew from a fresh copy.
 */
static inline bool receive_quick(struct scsi_request_queue *queue, struct scsi_request *req)
{
	struct virtq_req *vr = &req->vr;
	struct bdev_io *io = &req->cmd.io;
	struct scsi_quick_cdb cdb;
	struct scsi_lu *lu;
	uint64_t address;
	uint8_t *resp;
	int r;

	if (unlikely(vr->out == vr->in || vr->in == vr->end ||
		     vr->out->iov_len != queue->quick_head_len ||
		     vr->in->iov_len != DEFAULT_RESP_LEN)) {
		return false;
	}
	address = load_quick(vr->out->iov_base, &cdb);
	lu = scsi_quick_find(queue->q.part, address);
	if (unlikely(lu == NULL)) {
		return false;
	}
	if (scsi_quick_is_write(cdb)) {
		io->op = BDEV_WRITE;
		io->iov = vr->out + 1;
		io->iov_n = virtq_req_out_n(vr) - 1;
		io->len = vr->out_len - queue->quick_head_len;
		if (unlikely(vr->in_len != DEFAULT_RESP_LEN || lu->read_only)) {
			return false;
		}
	} else {
		io->op = BDEV_READ;
		io->iov = vr->in + 1;
		io->iov_n = virtq_req_in_n(vr) - 1;
		io->len = vr->in_len - DEFAULT_RESP_LEN;
		if (unlikely(vr->out_len != queue->quick_head_len)) {
			return false;
		}
	}
	if (unlikely(!scsi_quick_range(lu, cdb, io->len, &io->offset))) {
		return false;
	}
	io->flags = 0;
	io->done = io_done;
	r = bdev_submit(lu->channel, io);
	if (unlikely(r != BDEV_DONE || io->status != 0)) {
		go_on(queue, req, lu, cdb, r);
		return true;
	}
	/* OK, GOOD, no residual, no sense data: all are zero. What lies where sense data would be stays as the
	 * driver had it (5.6.6.1: sense_len says how much of it is valid). */
	resp = vr->in->iov_base;
	memset(resp, 0, 8);
	memset(resp + 8, 0, 4);
	if (io->op == BDEV_READ) {
		virtq_count(&queue->stats->read_bytes, io->len);
		virtq_push(queue->q.dq.vq, vr, (uint32_t)vr->in_len);
	} else {
		virtq_count(&queue->stats->written_bytes, io->len);
		virtq_push(queue->q.dq.vq, vr, DEFAULT_RESP_LEN);
	}
	return true;
}

/* ---- device_queue ---- */

int scsi_request_queue_start(struct scsi_part *part, struct virtq *vq, unsigned int index,
			     struct device_queue **ret_queue)
{
	struct scsi_request_queue *queue = calloc(1, sizeof(*queue));

	if (queue == NULL) {
		return -ENOMEM;
	}
	queue->q.dq.device = &part->dev->device;
	queue->q.dq.vq = vq;
	queue->q.dq.index = index;
	queue->q.part = part;
	queue->stats = virtq_stats(vq);
	queue->sense_size = __atomic_load_n(&part->dev->sense_size, __ATOMIC_RELAXED);
	queue->cdb_size = __atomic_load_n(&part->dev->cdb_size, __ATOMIC_RELAXED);
	queue->cdb_len = queue->cdb_size < SCSI_CDB_MAX ? queue->cdb_size : SCSI_CDB_MAX;
	queue->head_len = VIRTIO_SCSI_REQ_LEN + queue->cdb_size;
	queue->resp_len = VIRTIO_SCSI_RESP_LEN + queue->sense_size;
	if (queue->resp_len == DEFAULT_RESP_LEN && queue->cdb_len >= SCSI_QUICK_LEN) {
		queue->quick_head_len = queue->head_len;
	}
	*ret_queue = &queue->q.dq;
	return 0;
}

static void retry_all(struct scsi_part *part)
{
	unsigned int i;

	for (i = 0; i < SCSI_MAX_TARGETS; i++) {
		if (part->lus[i] != NULL) {
			retry(part, part->lus[i]);
		}
	}
}

unsigned int scsi_request_queue_poll(struct device_queue *dq)
{
	struct scsi_request_queue *queue = request_queue_of(dq);
	struct scsi_part *part = queue->q.part;
	struct virtq_req *reqs[BATCH];
	unsigned int i;
	unsigned int n;

	if (part->waiting_n > 0) {
		retry_all(part);
	}
	if (part->waiting_n >= SCSI_MAX_WAITING) {
		return 0;
	}
	n = virtq_pop(dq->vq, reqs, BATCH);
	for (i = 0; i < n; i++) {
		struct scsi_request *req = (struct scsi_request *)reqs[i];

		if (unlikely(!receive_quick(queue, req))) {
			receive(queue, req);
		}
	}
	return n;
}

void scsi_request_queue_drain(struct device_queue *dq)
{
	struct scsi_request_queue *queue = request_queue_of(dq);
	struct scsi_part *part = queue->q.part;
	unsigned int i;

	if (dq->moves) {
		retry_all(part);
		return;
	}
	if (queue->draining) {
		return; /* nothing of it has begun to wait since */
	}
	queue->draining = true;
	for (i = 0; i < SCSI_MAX_TARGETS; i++) {
		struct scsi_lu *lu = part->lus[i];
		struct scsi_cmd *cmd = lu != NULL ? TAILQ_FIRST(&lu->waiting) : NULL;

		while (cmd != NULL) {
			struct scsi_cmd *next = TAILQ_NEXT(cmd, wait_link);

			if (request_of(cmd)->queue == queue) {
				stop_waiting(part, cmd);
				give_up_busy(request_of(cmd));
			}
			cmd = next;
		}
	}
}

void scsi_request_end(struct scsi_part *part, struct scsi_cmd *cmd, uint8_t response)
{
	cmd->ended_by = response;
	if (cmd->waiting) {
		stop_waiting(part, cmd);
		complete(request_of(cmd));
	}
}
