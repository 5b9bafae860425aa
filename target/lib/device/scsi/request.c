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
#include "device/scsi/dev.h"

#define BATCH	       32
#define SENSE_SIZE_MAX 256 /* scsi.c lets no driver ask for more */

struct scsi_request_queue {
	struct device_queue dq; /* first */
	struct scsi_device *dev;
	uint32_t sense_size;
	uint32_t cdb_size;
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

static void count_bytes(struct virtq *vq, const struct scsi_cmd *cmd)
{
	struct virtq_stats *stats = virtq_stats(vq);

	if (cmd->in.len > 0) {
		virtq_count(&stats->read_bytes, cmd->transferred);
	} else {
		virtq_count(&stats->written_bytes, cmd->transferred);
	}
}

static void put_response(struct scsi_request *req)
{
	const struct scsi_request_queue *queue = req->queue;
	const struct scsi_cmd *cmd = &req->cmd;
	uint64_t residual = cmd->in.len + cmd->out.len - cmd->transferred;
	uint32_t sense_len = cmd->sense_len < queue->sense_size ? cmd->sense_len :
								  queue->sense_size;
	uint8_t resp[VIRTIO_SCSI_RESP_LEN + SENSE_SIZE_MAX];
	struct bytes_writer w = bytes_writer(resp, sizeof(resp));

	bytes_put_le32(&w, sense_len);
	bytes_put_le32(&w, residual < UINT32_MAX ? (uint32_t)residual : UINT32_MAX);
	bytes_put_le16(&w, 0);
	bytes_put_u8(&w, cmd->status);
	bytes_put_u8(&w, cmd->response);
	bytes_put(&w, cmd->sense, sense_len);
	memset(resp + w.pos, 0, queue->sense_size - sense_len);
	*req->shared = req->shared_was;
	iov_scatter(req->vr.in, virtq_req_in_n(&req->vr), 0, resp,
		    VIRTIO_SCSI_RESP_LEN + queue->sense_size);
}

/* The command is over: cmd holds the result, or was ended from outside. */
static void complete(struct scsi_request *req)
{
	struct scsi_request_queue *queue = req->queue;
	struct scsi_cmd *cmd = &req->cmd;
	uint64_t data_in = 0;
	uint8_t tmf_mask = cmd->tmf_mask;

	if (cmd->lu != NULL) {
		scsi_cmd_finish(cmd);
		TAILQ_REMOVE(&cmd->lu->tasks, cmd, task_link);
	}
	if (cmd->ended_by != 0) {
		cmd->response = cmd->ended_by;
		cmd->status = SCSI_STATUS_GOOD;
		cmd->sense_len = 0;
		cmd->transferred = 0;
	}
	put_response(req);
	count_bytes(queue->dq.vq, cmd);
	if (cmd->in.len > 0) {
		data_in = cmd->transferred;
	}
	virtq_push(queue->dq.vq, &req->vr,
		   (uint32_t)(VIRTIO_SCSI_RESP_LEN + queue->sense_size + data_in));
	if (tmf_mask != 0) {
		scsi_tmf_task_done(queue->dev, tmf_mask);
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
	if (first) {
		TAILQ_INSERT_HEAD(&cmd->lu->waiting, cmd, wait_link);
	} else {
		TAILQ_INSERT_TAIL(&cmd->lu->waiting, cmd, wait_link);
	}
	cmd->waiting = true;
	req->queue->dev->waiting_n++;
}

static void stop_waiting(struct scsi_device *dev, struct scsi_cmd *cmd)
{
	TAILQ_REMOVE(&cmd->lu->waiting, cmd, wait_link);
	cmd->waiting = false;
	dev->waiting_n--;
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

static void start(struct scsi_request *req)
{
	struct scsi_cmd *cmd = &req->cmd;

	if (cmd->lu != NULL) {
		TAILQ_INSERT_TAIL(&cmd->lu->tasks, cmd, task_link);
	}
	cmd->io.done = io_done;
	run_steps(req, scsi_cmd_start(cmd), false);
}

/*
 * Offers the bdev those that it had no room for, oldest first, until it has none again. This comes
 * before the ring is looked at, so newer commands do not overtake them.
 */
static void retry(struct scsi_device *dev, struct scsi_lu *lu)
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
		stop_waiting(dev, cmd);
		if (cmd->step == SCSI_DONE) {
			complete(request_of(cmd));
		} else if (r == BDEV_DONE) {
			run_steps(request_of(cmd), advance(cmd), true);
		}
	}
}

/* ---- parsing ---- */

/* Leaves in cmd->in what follows the response in the writable part. */
static void split_writable(struct scsi_request *req, uint32_t resp_len)
{
	struct iovec *iov = req->vr.in;
	unsigned int iov_n = virtq_req_in_n(&req->vr);
	uint64_t left = resp_len;

	/* The element with the last byte of the response; the caller knows that it exists. */
	req->shared = iov;
	while (left > req->shared->iov_len) {
		left -= req->shared->iov_len;
		req->shared++;
	}
	req->shared_was = *req->shared;

	req->cmd.in.len = req->vr.in_len - resp_len;
	iov_slice(&iov, &iov_n, resp_len, req->cmd.in.len);
	req->cmd.in.iov = iov;
	req->cmd.in.iov_n = iov_n;
}

static void split_readable(struct scsi_request *req, uint32_t head_len)
{
	struct iovec *iov = req->vr.out;
	unsigned int iov_n = virtq_req_out_n(&req->vr);

	req->cmd.out.len = req->vr.out_len - head_len;
	iov_slice(&iov, &iov_n, head_len, req->cmd.out.len);
	req->cmd.out.iov = iov;
	req->cmd.out.iov_n = iov_n;
}

static void receive(struct scsi_request_queue *queue, struct scsi_request *req)
{
	uint32_t resp_len = VIRTIO_SCSI_RESP_LEN + queue->sense_size;
	uint32_t head_len = VIRTIO_SCSI_REQ_LEN + queue->cdb_size;
	uint32_t cdb_len = queue->cdb_size < SCSI_CDB_MAX ? queue->cdb_size : SCSI_CDB_MAX;
	uint8_t head[VIRTIO_SCSI_REQ_LEN + SCSI_CDB_MAX] = { 0 };
	struct scsi_cmd *cmd = &req->cmd;
	struct bytes_reader r = bytes_reader(head, sizeof(head));
	uint8_t lun[SCSI_ADDRESS_LEN];
	struct scsi_address address;
	struct virtq_stats *stats = virtq_stats(queue->dq.vq);

	req->queue = queue;
	if (req->vr.in_len < resp_len) {
		/* Rule R6: no room to answer in. */
		virtq_break(queue->dq.vq, "a SCSI request has no room for its response");
		virtq_push(queue->dq.vq, &req->vr, 0);
		return;
	}
	cmd->ended_by = 0;
	cmd->tmf_mask = 0;
	cmd->waiting = false;
	cmd->out = (struct scsi_data){ 0 };
	split_writable(req, resp_len);
	if (req->vr.out_len < head_len) {
		virtq_count(&stats->malformed, 1);
		answer(req, VIRTIO_SCSI_S_FAILURE);
		return;
	}
	iov_gather(req->vr.out, virtq_req_out_n(&req->vr), 0, head, VIRTIO_SCSI_REQ_LEN + cdb_len);
	split_readable(req, head_len);
	/* virtio 1.2, 5.6.6.1.2: not both without VIRTIO_SCSI_F_INOUT, which is not offered. */
	if (cmd->in.len > 0 && cmd->out.len > 0) {
		virtq_count(&stats->malformed, 1);
		answer(req, VIRTIO_SCSI_S_FAILURE);
		return;
	}
	bytes_get(&r, lun, sizeof(lun));
	cmd->tag = bytes_get_le64(&r);
	/* task_attr, prio, crn: all attributes are treated as SIMPLE, as 5.6.6.1 allows. */
	bytes_skip(&r, 3);
	bytes_get(&r, cmd->cdb, sizeof(cmd->cdb));
	cmd->cdb_len = (uint16_t)cdb_len;
	if (!scsi_device_find(queue->dev, lun, &address, &cmd->lu)) {
		answer(req, VIRTIO_SCSI_S_BAD_TARGET);
		return;
	}
	start(req);
}

/* ---- device_queue ---- */

int scsi_request_queue_start(struct scsi_device *dev, struct virtq *vq, unsigned int index,
			     struct device_queue **ret_queue)
{
	struct scsi_request_queue *queue = calloc(1, sizeof(*queue));

	if (queue == NULL) {
		return -ENOMEM;
	}
	queue->dq.device = &dev->device;
	queue->dq.vq = vq;
	queue->dq.index = index;
	queue->dev = dev;
	queue->sense_size = __atomic_load_n(&dev->sense_size, __ATOMIC_RELAXED);
	queue->cdb_size = __atomic_load_n(&dev->cdb_size, __ATOMIC_RELAXED);
	*ret_queue = &queue->dq;
	return 0;
}

unsigned int scsi_request_queue_poll(struct scsi_device *dev, struct device_queue *dq)
{
	struct scsi_request_queue *queue = request_queue_of(dq);
	struct virtq_req *reqs[BATCH];
	unsigned int i;
	unsigned int n;

	if (dev->waiting_n > 0) {
		for (i = 0; i < SCSI_MAX_TARGETS; i++) {
			if (dev->lus[i].bdev != NULL) {
				retry(dev, &dev->lus[i]);
			}
		}
	}
	if (dev->waiting_n >= SCSI_MAX_WAITING) {
		return 0;
	}
	n = virtq_pop(dq->vq, reqs, BATCH);
	for (i = 0; i < n; i++) {
		receive(queue, (struct scsi_request *)reqs[i]);
	}
	return n;
}

void scsi_request_queue_drain(struct scsi_device *dev, struct device_queue *dq)
{
	struct scsi_request_queue *queue = request_queue_of(dq);
	unsigned int i;

	if (queue->draining) {
		return; /* nothing of it has begun to wait since */
	}
	queue->draining = true;
	for (i = 0; i < SCSI_MAX_TARGETS; i++) {
		struct scsi_lu *lu = &dev->lus[i];
		struct scsi_cmd *cmd = lu->bdev != NULL ? TAILQ_FIRST(&lu->waiting) : NULL;

		while (cmd != NULL) {
			struct scsi_cmd *next = TAILQ_NEXT(cmd, wait_link);

			if (request_of(cmd)->queue == queue) {
				stop_waiting(dev, cmd);
				give_up_busy(request_of(cmd));
			}
			cmd = next;
		}
	}
}

void scsi_request_end(struct scsi_device *dev, struct scsi_cmd *cmd, uint8_t response)
{
	cmd->ended_by = response;
	if (cmd->waiting) {
		stop_waiting(dev, cmd);
		complete(request_of(cmd));
	}
}
