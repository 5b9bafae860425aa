/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control queue (virtio 1.2, 5.6.6.2): task management functions and asynchronous notifications.
 *
 * What a bdev has taken cannot be called back. So a function that ends tasks marks them; each is
 * answered when the bdev is done with it, with S_ABORTED or S_RESET and nothing of its data, and the
 * last one makes the function ready. A ready function is answered in the next round: the answers to the
 * tasks were published at the end of this one, and a driver that sees the function complete may rely
 * on finding them all.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/iov.h"
#include "device/scsi/dev.h"

#define TMF_LEN 24 /* type 4, subtype 4, lun 8, id 8 */
#define AN_LEN	16 /* type 4, lun 8, event_requested 4 */

#define TMF_RESP_LEN 1 /* response */
#define AN_RESP_LEN  5 /* event_actual 4, response */

struct scsi_control_queue {
	struct device_queue dq; /* first */
	struct scsi_device *dev;
	bool draining;
};

/* ---- answers ---- */

static void push(struct scsi_control_queue *queue, struct scsi_tmf *tmf)
{
	uint8_t resp[AN_RESP_LEN] = { 0 }; /* event_actual: there are no events to subscribe to */

	resp[tmf->response_len - 1] = tmf->response;
	iov_scatter(tmf->vr.in, virtq_req_in_n(&tmf->vr), 0, resp, tmf->response_len);
	virtq_push(queue->dq.vq, &tmf->vr, tmf->response_len);
}

static unsigned int push_ready(struct scsi_control_queue *queue)
{
	struct scsi_device *dev = queue->dev;
	struct scsi_tmf *tmf;
	unsigned int n = 0;

	while ((tmf = STAILQ_FIRST(&dev->tmf_ready)) != NULL) {
		STAILQ_REMOVE_HEAD(&dev->tmf_ready, link);
		push(queue, tmf);
		n++;
	}
	return n;
}

static void make_ready(struct scsi_device *dev, struct scsi_tmf *tmf)
{
	/* While the queue is being stopped there is no next round to wait for; if it only moves, there is. */
	if (dev->control->draining && !dev->control->dq.moves) {
		push(dev->control, tmf);
		return;
	}
	STAILQ_INSERT_TAIL(&dev->tmf_ready, tmf, link);
}

static unsigned int free_slot(const struct scsi_device *dev)
{
	unsigned int i;

	for (i = 0; i < SCSI_TMF_SLOTS; i++) {
		if (dev->tmf_slots[i] == NULL) {
			break;
		}
	}
	return i;
}

static void task_of_slot_done(struct scsi_device *dev, unsigned int slot)
{
	struct scsi_tmf *tmf = dev->tmf_slots[slot];

	tmf->remaining--;
	if (tmf->remaining == 0) {
		dev->tmf_slots[slot] = NULL;
		make_ready(dev, tmf);
	}
}

void scsi_tmf_task_done(struct scsi_device *dev, uint8_t mask)
{
	unsigned int i;

	for (i = 0; i < SCSI_TMF_SLOTS; i++) {
		if ((mask >> i & 1) != 0) {
			task_of_slot_done(dev, i);
		}
	}
}

/* ---- the functions ---- */

static struct scsi_cmd *find_task(struct scsi_lu *lu, uint64_t tag)
{
	struct scsi_cmd *cmd;

	TAILQ_FOREACH (cmd, &lu->tasks, task_link) {
		if (cmd->tag == tag) {
			return cmd;
		}
	}
	return NULL;
}

/* Ends one task, or all of the logical unit (only NULL); tmf is ready when they are answered. */
static void end_tasks(struct scsi_device *dev, struct scsi_tmf *tmf, struct scsi_lu *lu,
		      struct scsi_cmd *only, uint8_t response)
{
	unsigned int slot = free_slot(dev); /* queue_poll made sure that there is one */
	struct scsi_cmd *cmd = only != NULL ? only : TAILQ_FIRST(&lu->tasks);

	tmf->response = VIRTIO_SCSI_S_FUNCTION_COMPLETE;
	tmf->remaining = 1; /* for this walk */
	dev->tmf_slots[slot] = tmf;
	while (cmd != NULL) {
		struct scsi_cmd *next = only != NULL ? NULL : TAILQ_NEXT(cmd, task_link);

		tmf->remaining++;
		cmd->tmf_mask |= (uint8_t)(1U << slot);
		/* May answer it right away. The first function to end a task says how. */
		scsi_request_end(dev, cmd, cmd->ended_by != 0 ? cmd->ended_by : response);
		cmd = next;
	}
	task_of_slot_done(dev, slot);
}

static void respond(struct scsi_device *dev, struct scsi_tmf *tmf, uint8_t response)
{
	tmf->response = response;
	make_ready(dev, tmf);
}

static void task_function(struct scsi_device *dev, struct scsi_tmf *tmf, uint32_t subtype,
			  struct scsi_lu *lu, uint64_t tag)
{
	struct scsi_cmd *task;

	switch (subtype) {
	case VIRTIO_SCSI_T_TMF_ABORT_TASK:
		task = find_task(lu, tag);
		/* SAM-5, 7.2: a task that is not there (any more) is not an error. */
		if (task == NULL) {
			respond(dev, tmf, VIRTIO_SCSI_S_FUNCTION_COMPLETE);
		} else {
			end_tasks(dev, tmf, lu, task, VIRTIO_SCSI_S_ABORTED);
		}
		return;
	case VIRTIO_SCSI_T_TMF_ABORT_TASK_SET:
	case VIRTIO_SCSI_T_TMF_CLEAR_TASK_SET: /* the same with one initiator */
		end_tasks(dev, tmf, lu, NULL, VIRTIO_SCSI_S_ABORTED);
		return;
	case VIRTIO_SCSI_T_TMF_I_T_NEXUS_RESET:
		lu->ua |= SCSI_UA_BIT_NEXUS_LOSS;
		end_tasks(dev, tmf, lu, NULL, VIRTIO_SCSI_S_RESET);
		return;
	case VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET:
		lu->ua |= SCSI_UA_BIT_RESET;
		end_tasks(dev, tmf, lu, NULL, VIRTIO_SCSI_S_RESET);
		return;
	case VIRTIO_SCSI_T_TMF_QUERY_TASK:
		respond(dev, tmf,
			find_task(lu, tag) != NULL ? VIRTIO_SCSI_S_FUNCTION_SUCCEEDED :
						     VIRTIO_SCSI_S_FUNCTION_COMPLETE);
		return;
	case VIRTIO_SCSI_T_TMF_QUERY_TASK_SET:
		respond(dev, tmf,
			!TAILQ_EMPTY(&lu->tasks) ? VIRTIO_SCSI_S_FUNCTION_SUCCEEDED :
						   VIRTIO_SCSI_S_FUNCTION_COMPLETE);
		return;
	default:
		/* CLEAR ACA too: INQUIRY says NORMACA = 0, so there is no ACA to be cleared. */
		respond(dev, tmf, VIRTIO_SCSI_S_FUNCTION_REJECTED);
		return;
	}
}

static void task_management(struct scsi_device *dev, struct scsi_tmf *tmf, struct bytes_reader *r)
{
	uint32_t subtype = bytes_get_le32(r);
	uint8_t lun[SCSI_ADDRESS_LEN];
	struct scsi_address address;
	struct scsi_lu *lu;
	uint64_t tag;

	bytes_get(r, lun, sizeof(lun));
	tag = bytes_get_le64(r);
	if (subtype > VIRTIO_SCSI_T_TMF_QUERY_TASK_SET) {
		respond(dev, tmf, VIRTIO_SCSI_S_FUNCTION_REJECTED);
	} else if (!scsi_device_find(dev, lun, &address, &lu)) {
		respond(dev, tmf, VIRTIO_SCSI_S_BAD_TARGET);
	} else if (lu == NULL && subtype != VIRTIO_SCSI_T_TMF_I_T_NEXUS_RESET) {
		respond(dev, tmf, VIRTIO_SCSI_S_INCORRECT_LUN);
	} else {
		/* A nexus is one with the target: whatever LUN is named, its only one is LUN 0. */
		task_function(dev, tmf, subtype, lu != NULL ? lu : dev->lus[address.target], tag);
	}
}

static void notification(struct scsi_device *dev, struct scsi_tmf *tmf, struct bytes_reader *r)
{
	uint8_t lun[SCSI_ADDRESS_LEN];
	struct scsi_address address;
	struct scsi_lu *lu;

	bytes_get(r, lun, sizeof(lun));
	if (!scsi_device_find(dev, lun, &address, &lu)) {
		respond(dev, tmf, VIRTIO_SCSI_S_BAD_TARGET);
	} else if (lu == NULL) {
		respond(dev, tmf, VIRTIO_SCSI_S_INCORRECT_LUN);
	} else {
		respond(dev, tmf, VIRTIO_SCSI_S_OK);
	}
}

static void broken(struct scsi_control_queue *queue, struct scsi_tmf *tmf, const char *reason)
{
	virtq_break(queue->dq.vq, reason);
	virtq_push(queue->dq.vq, &tmf->vr, 0);
}

static void receive(struct scsi_control_queue *queue, struct scsi_tmf *tmf)
{
	struct scsi_device *dev = queue->dev;
	uint8_t head[TMF_LEN] = { 0 };
	size_t len = iov_gather(tmf->vr.out, virtq_req_out_n(&tmf->vr), 0, head, sizeof(head));
	struct bytes_reader r = bytes_reader(head, len);
	uint32_t type = bytes_get_le32(&r);
	bool is_tmf = type == VIRTIO_SCSI_T_TMF;
	bool is_an = type == VIRTIO_SCSI_T_AN_QUERY || type == VIRTIO_SCSI_T_AN_SUBSCRIBE;

	/* Rule R6: a request whose type is not there, or an answer that has no room, break the ring. */
	tmf->response_len = is_an ? AN_RESP_LEN : TMF_RESP_LEN;
	if (r.failed) {
		broken(queue, tmf, "a SCSI control request is too short");
	} else if (tmf->vr.in_len < tmf->response_len) {
		broken(queue, tmf, "a SCSI control request has no room for its response");
	} else if (is_tmf && virtq_req_is_resubmitted(&tmf->vr)) {
		/* The tasks that it was about are resubmitted, too, by queues that may not even run yet: to
		 * find none of them would not mean that none comes. Drivers go on with the next stronger
		 * function, which is new. */
		respond(dev, tmf, VIRTIO_SCSI_S_FUNCTION_REJECTED);
	} else if (is_tmf && len >= TMF_LEN) {
		task_management(dev, tmf, &r);
	} else if (is_an && len >= AN_LEN) {
		notification(dev, tmf, &r);
	} else {
		virtq_count(&virtq_stats(queue->dq.vq)->malformed, 1);
		respond(dev, tmf, VIRTIO_SCSI_S_FUNCTION_REJECTED);
	}
}

/* ---- device_queue ---- */

int scsi_control_queue_start(struct scsi_device *dev, struct virtq *vq,
			     struct device_queue **ret_queue)
{
	struct scsi_control_queue *queue = calloc(1, sizeof(*queue));

	if (queue == NULL) {
		return -ENOMEM;
	}
	queue->dq.device = &dev->device;
	queue->dq.vq = vq;
	queue->dq.index = VIRTIO_SCSI_Q_CONTROL;
	queue->dq.no_io = true;
	queue->dev = dev;
	dev->control = queue;
	*ret_queue = &queue->dq;
	return 0;
}

unsigned int scsi_control_queue_poll(struct scsi_device *dev, struct device_queue *dq)
{
	struct scsi_control_queue *queue = (struct scsi_control_queue *)dq;
	unsigned int work = push_ready(queue);
	struct virtq_req *req;

	/* One in a round: a function walks over all tasks of a disk, and others want their turn. */
	if (free_slot(dev) < SCSI_TMF_SLOTS && virtq_pop(dq->vq, &req, 1) == 1) {
		receive(queue, (struct scsi_tmf *)req);
		work++;
	}
	return work;
}

void scsi_control_queue_drain(struct scsi_device *dev, struct device_queue *dq)
{
	struct scsi_control_queue *queue = (struct scsi_control_queue *)dq;

	queue->draining = true;
	push_ready(queue);
}

void scsi_control_queue_stop(struct scsi_device *dev, struct device_queue *dq)
{
	dev->control = NULL;
	free(dq);
}
