/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control queue (virtio 1.2, 5.6.6.2): task management functions and asynchronous notifications.
 *
 * What a bdev has taken cannot be called back. So a function that ends tasks marks them; each is answered when the
 * bdev is done with it, with S_ABORTED or S_RESET and nothing of its data. The tasks of a disk are in the parts of
 * the device: the function lies in a slot, and each part sees to its own tasks, that of the control queue at once
 * and the others in an update. A part is done with it in the round after the last answer, when all of them are
 * published; and when all parts are, the function is answered: a driver that sees it complete may rely on finding
 * them.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/iov.h"
#include "base/likely.h"
#include "device/scsi/dev.h"

#define TMF_LEN 24 /* type 4, subtype 4, lun 8, id 8 */
#define AN_LEN	16 /* type 4, lun 8, event_requested 4 */

#define TMF_RESP_LEN 1 /* response */
#define AN_RESP_LEN  5 /* event_actual 4, response */

STAILQ_HEAD(scsi_tmf_list, scsi_tmf);

struct scsi_control_queue {
	struct scsi_queue q;	    /* first */
	struct scsi_tmf_list ready; /* to be answered in the next round */
	unsigned int under_way;	    /* slots that are not free */
};

/* ---- a part and its tasks ---- */

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

static void task_done(struct scsi_part *part, unsigned int slot)
{
	part->tmf[slot].remaining--;
	part->tmf[slot].round = part->channels->round;
}

void scsi_tmf_task_done(struct scsi_part *part, uint8_t mask)
{
	unsigned int i;

	for (i = 0; i < SCSI_TMF_SLOTS; i++) {
		if ((mask >> i & 1) != 0) {
			task_done(part, i);
		}
	}
}

static void end_task(struct scsi_part *part, unsigned int slot, struct scsi_cmd *cmd,
		     uint8_t response)
{
	part->tmf[slot].remaining++;
	cmd->tmf_mask |= (uint8_t)(1U << slot);
	/* May answer it right away. The first function to end a task says how. */
	scsi_request_end(part, cmd, cmd->ended_by != 0 ? cmd->ended_by : response);
}

static void end_tasks(struct scsi_part *part, unsigned int slot, struct scsi_lu *lu,
		      uint8_t response)
{
	struct scsi_cmd *cmd;
	struct scsi_cmd *next;

	for (cmd = TAILQ_FIRST(&lu->tasks); cmd != NULL; cmd = next) {
		next = TAILQ_NEXT(cmd, task_link);
		end_task(part, slot, cmd, response);
	}
}

/* What lies in a slot. A part that was not waited for may be late, and the slot another function's by now. */
struct function {
	unsigned int order;
	uint32_t subtype;
	uint8_t target;
	uint64_t tag;
};

/* order 0: nothing does. */
static struct function look_at(const struct scsi_tmf_slot *slot)
{
	struct function f;

	do {
		/* Acquire: the mirror of post(). */
		f.order = atomic_load_explicit(&slot->order, memory_order_acquire);
		f.subtype = atomic_load_explicit(&slot->subtype, memory_order_relaxed);
		f.target = atomic_load_explicit(&slot->target, memory_order_relaxed);
		f.tag = atomic_load_explicit(&slot->tag, memory_order_relaxed);
		/* Acquire: none of these was loaded after what is loaded next. */
		atomic_thread_fence(memory_order_acquire);
	} while (f.order != 0 &&
		 f.order != atomic_load_explicit(&slot->order, memory_order_relaxed));
	return f;
}

static void carry_out(struct scsi_part *part, unsigned int n, const struct function *f,
		      struct scsi_lu *lu)
{
	struct scsi_tmf_slot *slot = &part->dev->tmf[n];
	struct scsi_cmd *task;

	switch (f->subtype) {
	case VIRTIO_SCSI_T_TMF_ABORT_TASK:
		task = find_task(lu, f->tag);
		/* SAM-5, 7.2: a task that is not there (any more) is not an error. */
		if (task != NULL) {
			end_task(part, n, task, VIRTIO_SCSI_S_ABORTED);
		}
		break;
	case VIRTIO_SCSI_T_TMF_ABORT_TASK_SET:
	case VIRTIO_SCSI_T_TMF_CLEAR_TASK_SET: /* the same with one initiator */
		end_tasks(part, n, lu, VIRTIO_SCSI_S_ABORTED);
		break;
	case VIRTIO_SCSI_T_TMF_I_T_NEXUS_RESET:
	case VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET:
		end_tasks(part, n, lu, VIRTIO_SCSI_S_RESET);
		break;
	case VIRTIO_SCSI_T_TMF_QUERY_TASK:
		if (find_task(lu, f->tag) != NULL) {
			atomic_store(&slot->found, true);
		}
		break;
	case VIRTIO_SCSI_T_TMF_QUERY_TASK_SET:
		if (!TAILQ_EMPTY(&lu->tasks)) {
			atomic_store(&slot->found, true);
		}
		break;
	}
}

static void begin(struct scsi_part *part, unsigned int n, const struct function *f)
{
	struct scsi_lu *lu = part->lus[f->target];

	part->tmf[n].begun = f->order;
	part->tmf[n].remaining = 1; /* for this walk */
	if (lu != NULL) {
		carry_out(part, n, f, lu);
	}
	task_done(part, n);
}

static void report_done(struct scsi_part_tmf *mine, uint64_t round)
{
	if (mine->remaining == 0 && mine->round != round) {
		/* Release: the answers to its tasks are in the rings. */
		atomic_store_explicit(&mine->done, mine->begun, memory_order_release);
	}
}

void scsi_tmf_skip(struct scsi_part *part)
{
	unsigned int i;

	/* Sequentially consistent: so is post(), which looks the other way round. Either it sees this part, and has
	 * it updated, or the function is seen here. */
	atomic_thread_fence(memory_order_seq_cst);
	for (i = 0; i < SCSI_TMF_SLOTS; i++) {
		unsigned int order = atomic_load(&part->dev->tmf[i].order);

		part->tmf[i].begun = order;
		part->tmf[i].remaining = 0;
		atomic_store(&part->tmf[i].done, order);
	}
}

bool scsi_tmf_update(struct scsi_part *part, bool *ret_restless)
{
	bool all_done = true;
	unsigned int i;

	*ret_restless = false;
	for (i = 0; i < SCSI_TMF_SLOTS; i++) {
		struct scsi_part_tmf *mine = &part->tmf[i];
		struct function f = look_at(&part->dev->tmf[i]);

		report_done(mine, part->channels->round);
		if (f.order != 0 && f.order != mine->begun) {
			begin(part, i, &f);
		}
		if (mine->begun != mine->done) {
			all_done = false;
			*ret_restless = *ret_restless || mine->remaining == 0;
		}
	}
	return all_done;
}

/* ---- answers ---- */

static void push(struct scsi_control_queue *queue, struct scsi_tmf *tmf)
{
	uint8_t resp[AN_RESP_LEN] = { 0 }; /* event_actual: there are no events to subscribe to */

	resp[tmf->response_len - 1] = tmf->response;
	iov_scatter(tmf->vr.in, virtq_req_in_n(&tmf->vr), 0, resp, tmf->response_len);
	virtq_push(queue->q.dq.vq, &tmf->vr, tmf->response_len);
}

static void respond(struct scsi_control_queue *queue, struct scsi_tmf *tmf, uint8_t response)
{
	tmf->response = response;
	STAILQ_INSERT_TAIL(&queue->ready, tmf, link);
}

/* By all parts. */
static bool is_done(const struct scsi_device *dev, unsigned int slot)
{
	const struct scsi_part *part;

	for (part = atomic_load(&dev->parts); part != NULL; part = part->next) {
		/* Acquire: the mirror of report_done(). */
		if (atomic_load(&part->queues) > 0 &&
		    atomic_load_explicit(&part->tmf[slot].done, memory_order_acquire) !=
			    dev->tmf[slot].order) {
			return false;
		}
	}
	return true;
}

static void push_done(struct scsi_control_queue *queue, struct scsi_tmf_slot *slot)
{
	bool asks = slot->subtype == VIRTIO_SCSI_T_TMF_QUERY_TASK ||
		    slot->subtype == VIRTIO_SCSI_T_TMF_QUERY_TASK_SET;

	slot->tmf->response = asks && slot->found ? VIRTIO_SCSI_S_FUNCTION_SUCCEEDED :
						    VIRTIO_SCSI_S_FUNCTION_COMPLETE;
	push(queue, slot->tmf);
	queue->under_way--;
	atomic_store_explicit(&slot->order, 0, memory_order_relaxed);
	/* Release: orders this before what the next function writes, for look_at(). */
	atomic_thread_fence(memory_order_release);
}

/* Answers what is ready and what is done. */
static unsigned int push_all(struct scsi_control_queue *queue)
{
	struct scsi_part *part = queue->q.part;
	struct scsi_tmf *tmf;
	unsigned int n = 0;
	unsigned int i;

	queue->q.dq.restless = false;
	while ((tmf = STAILQ_FIRST(&queue->ready)) != NULL) {
		STAILQ_REMOVE_HEAD(&queue->ready, link);
		push(queue, tmf);
		n++;
	}
	for (i = 0; i < SCSI_TMF_SLOTS && queue->under_way > 0; i++) {
		struct scsi_tmf_slot *slot = &part->dev->tmf[i];

		if (slot->order == 0) {
			continue;
		}
		report_done(&part->tmf[i], part->channels->round);
		if (is_done(part->dev, i)) {
			push_done(queue, slot);
			n++;
		} else if (part->tmf[i].remaining == 0) {
			/* No event of this reactor tells when another is done. */
			queue->q.dq.restless = true;
		}
	}
	return n;
}

/* ---- the functions ---- */

static unsigned int free_slot(const struct scsi_device *dev)
{
	unsigned int i = 0;

	while (dev->tmf[i].order != 0) {
		i++;
	}
	return i;
}

static bool is_alone(const struct scsi_part *part)
{
	const struct scsi_part *other;

	for (other = atomic_load(&part->dev->parts); other != NULL; other = other->next) {
		if (other != part && atomic_load(&other->queues) > 0) {
			return false;
		}
	}
	return true;
}

/* For all parts. */
static void post(struct scsi_control_queue *queue, struct scsi_tmf *tmf, uint32_t subtype,
		 uint8_t target, uint64_t tag)
{
	struct scsi_part *part = queue->q.part;
	struct scsi_device *dev = part->dev;
	unsigned int n = free_slot(dev); /* queue_poll made sure that there is one */
	struct scsi_tmf_slot *slot = &dev->tmf[n];
	struct function f;

	if (++dev->tmf_order == 0) {
		dev->tmf_order++; /* 0 is none */
	}
	queue->under_way++;
	slot->tmf = tmf;
	atomic_store_explicit(&slot->subtype, subtype, memory_order_relaxed);
	atomic_store_explicit(&slot->target, target, memory_order_relaxed);
	atomic_store_explicit(&slot->tag, tag, memory_order_relaxed);
	atomic_store_explicit(&slot->found, false, memory_order_relaxed);
	/* Release: orders what the function is before it, for look_at(). */
	atomic_store_explicit(&slot->order, dev->tmf_order, memory_order_release);
	f = look_at(slot);
	begin(part, n, &f);
	/* Sequentially consistent: the mirror of scsi_tmf_skip(). */
	atomic_thread_fence(memory_order_seq_cst);
	if (!is_alone(part)) {
		dev->device.ask_update(&dev->device);
	}
}

static void task_function(struct scsi_control_queue *queue, struct scsi_tmf *tmf, uint32_t subtype,
			  uint8_t target, uint64_t tag)
{
	struct scsi_lu *lu = queue->q.part->lus[target];

	switch (subtype) {
	case VIRTIO_SCSI_T_TMF_I_T_NEXUS_RESET:
		scsi_lu_add_ua(lu, SCSI_UA_BIT_NEXUS_LOSS);
		break;
	case VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET:
		scsi_lu_add_ua(lu, SCSI_UA_BIT_RESET);
		break;
	case VIRTIO_SCSI_T_TMF_CLEAR_ACA:
		/* INQUIRY says NORMACA = 0, so there is no ACA to be cleared. */
		respond(queue, tmf, VIRTIO_SCSI_S_FUNCTION_REJECTED);
		return;
	}
	post(queue, tmf, subtype, target, tag);
}

static void task_management(struct scsi_control_queue *queue, struct scsi_tmf *tmf,
			    struct bytes_reader *r)
{
	uint32_t subtype = bytes_get_le32(r);
	uint8_t lun[SCSI_ADDRESS_LEN];
	struct scsi_address address;
	struct scsi_lu *lu;
	uint64_t tag;

	bytes_get(r, lun, sizeof(lun));
	tag = bytes_get_le64(r);
	if (subtype > VIRTIO_SCSI_T_TMF_QUERY_TASK_SET) {
		respond(queue, tmf, VIRTIO_SCSI_S_FUNCTION_REJECTED);
	} else if (!scsi_part_find(queue->q.part, lun, &address, &lu)) {
		respond(queue, tmf, VIRTIO_SCSI_S_BAD_TARGET);
	} else if (lu == NULL && subtype != VIRTIO_SCSI_T_TMF_I_T_NEXUS_RESET) {
		respond(queue, tmf, VIRTIO_SCSI_S_INCORRECT_LUN);
	} else {
		/* A nexus is one with the target: whatever LUN is named, its only one is LUN 0. */
		task_function(queue, tmf, subtype, address.target, tag);
	}
}

static void notification(struct scsi_control_queue *queue, struct scsi_tmf *tmf,
			 struct bytes_reader *r)
{
	uint8_t lun[SCSI_ADDRESS_LEN];
	struct scsi_address address;
	struct scsi_lu *lu;

	bytes_get(r, lun, sizeof(lun));
	if (!scsi_part_find(queue->q.part, lun, &address, &lu)) {
		respond(queue, tmf, VIRTIO_SCSI_S_BAD_TARGET);
	} else if (lu == NULL) {
		respond(queue, tmf, VIRTIO_SCSI_S_INCORRECT_LUN);
	} else {
		respond(queue, tmf, VIRTIO_SCSI_S_OK);
	}
}

static void broken(struct scsi_control_queue *queue, struct scsi_tmf *tmf, const char *reason)
{
	virtq_break(queue->q.dq.vq, reason);
	virtq_push(queue->q.dq.vq, &tmf->vr, 0);
}

static void receive(struct scsi_control_queue *queue, struct scsi_tmf *tmf)
{
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
		respond(queue, tmf, VIRTIO_SCSI_S_FUNCTION_REJECTED);
	} else if (is_tmf && len >= TMF_LEN) {
		task_management(queue, tmf, &r);
	} else if (is_an && len >= AN_LEN) {
		notification(queue, tmf, &r);
	} else {
		virtq_count(&virtq_stats(queue->q.dq.vq)->malformed, 1);
		respond(queue, tmf, VIRTIO_SCSI_S_FUNCTION_REJECTED);
	}
}

/* ---- device_queue ---- */

int scsi_control_queue_start(struct scsi_part *part, struct virtq *vq,
			     struct device_queue **ret_queue)
{
	struct scsi_control_queue *queue = calloc(1, sizeof(*queue));

	if (queue == NULL) {
		return -ENOMEM;
	}
	queue->q.dq.device = &part->dev->device;
	queue->q.dq.vq = vq;
	queue->q.dq.index = VIRTIO_SCSI_Q_CONTROL;
	queue->q.dq.no_io = true;
	queue->q.part = part;
	STAILQ_INIT(&queue->ready);
	*ret_queue = &queue->q.dq;
	return 0;
}

unsigned int scsi_control_queue_poll(struct device_queue *dq)
{
	struct scsi_control_queue *queue = (struct scsi_control_queue *)dq;
	unsigned int work = 0;
	struct virtq_req *req;

	if (unlikely(queue->under_way > 0 || !STAILQ_EMPTY(&queue->ready))) {
		work = push_all(queue);
	}

	/* One in a round: a function walks over all tasks of a disk, and others want their turn. */
	if (queue->under_way < SCSI_TMF_SLOTS && virtq_pop(dq->vq, &req, 1) == 1) {
		receive(queue, (struct scsi_tmf *)req);
		work++;
	}
	return work;
}

void scsi_control_queue_drain(struct device_queue *dq)
{
	push_all((struct scsi_control_queue *)dq);
}
