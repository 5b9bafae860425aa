/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/scsi/rig.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

static void ask_update(struct virtio_device *device)
{
	((struct rig *)device->owner)->asked = true;
}

struct rig *rig_new(const struct fake_disk_options *opts)
{
	static const struct fake_disk_options defaults;
	struct scsi_options scsi = { .request_queues = RIG_QUEUES - 2 };
	struct rig *rig = calloc(1, sizeof(*rig));
	unsigned int i;

	assert_non_null(rig);
	assert_int_equal(scsi_new(&scsi, &rig->device), 0);
	rig->device->owner = rig;
	rig->device->ask_update = ask_update;
	for (i = 0; i < 2; i++) {
		fake_disk_open(&rig->disk[i], opts != NULL ? opts : &defaults);
		assert_int_equal(scsi_add_target(rig->device, i == 0 ? RIG_TARGET : RIG_TARGET_2,
						 &rig->disk[i].bdev, false, NULL),
				 0);
	}
	rig->device->ops->session_begins(rig->device);
	rig->device->ops->negotiated(rig->device, 0);
	return rig;
}

void rig_start_queue(struct rig *rig, unsigned int index)
{
	const struct virtio_device_ops *ops = rig->device->ops;
	struct rig_queue *q = &rig->q[index];
	struct virtq_config config;

	rd_open(&q->rd,
		&(struct rd_options){ .size = RIG_RING,
				      .features = UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC });
	config = rd_config(&q->rd, ops->req_size(rig->device, index));
	assert_int_equal(virtq_new(&config, &q->vq), 0);
	assert_int_equal(
		ops->queue_start(rig->device, index, q->vq, &rig->channels[q->core], &q->dq), 0);
	assert_int_equal(q->dq->index, index);
	memset(q->used_len, 0xff, sizeof(q->used_len));
	q->draining = false;
}

void rig_start(struct rig *rig)
{
	unsigned int i;

	for (i = 0; i < RIG_QUEUES; i++) {
		rig_start_queue(rig, i);
	}
}

static void reap(struct rig *rig, struct rig_queue *q)
{
	uint16_t head;
	uint32_t len;

	while (rd_reap(&q->rd, &head, &len)) {
		assert_int_equal(q->used_len[head], RIG_NOT_DONE);
		q->used_len[head] = len;
		q->order[head] = rig->seen++;
	}
}

static void update_queue(struct rig *rig, struct rig_queue *q)
{
	/* One that drains is up to date when it has stopped. */
	if (q->dq == NULL || (!q->draining && rig->device->ops->queue_update(q->dq))) {
		q->updating = false;
	}
}

static unsigned int round_of_core(struct rig *rig, unsigned int core)
{
	unsigned int work = 0;
	unsigned int i;

	for (i = 0; i < RIG_QUEUES; i++) {
		struct rig_queue *q = &rig->q[i];

		if (q->core == core && q->updating) {
			update_queue(rig, q);
		}
		if (q->core != core || q->dq == NULL) {
			continue;
		}
		if (q->draining) {
			rig->device->ops->queue_drain(q->dq);
		} else if (!q->dq->quiescent) {
			work += rig->device->ops->queue_poll(q->dq);
		}
	}
	work += bdev_channels_poll(&rig->channels[core]);
	for (i = 0; i < RIG_QUEUES; i++) {
		if (rig->q[i].core == core && rig->q[i].dq != NULL) {
			work += virtq_commit(rig->q[i].vq);
			/* The worst order for task management: the control queue is published first. */
			reap(rig, &rig->q[i]);
		}
	}
	rig->channels[core].round++;
	return work;
}

/* The control thread: what the device has asked for. A queue that has been updated meanwhile is updated again. */
static void see_to_update(struct rig *rig)
{
	unsigned int i;

	for (i = 0; i < RIG_QUEUES && rig->asked; i++) {
		rig->q[i].updating = rig->q[i].dq != NULL;
		rig->update_out = true;
	}
	rig->asked = false;
	for (i = 0; i < RIG_QUEUES; i++) {
		if (rig->q[i].updating) {
			return;
		}
	}
	if (rig->update_out) {
		rig->update_out = false;
		rig->asked = rig->device->ops->settled(rig->device, true);
	}
}

unsigned int rig_round(struct rig *rig)
{
	unsigned int work = 0;
	unsigned int core;

	for (core = 0; core < RIG_CORES; core++) {
		work += round_of_core(rig, core);
	}
	see_to_update(rig);
	return work;
}

bool rig_update(struct rig *rig)
{
	bool running = false;
	bool done = true;
	unsigned int i;

	for (i = 0; i < RIG_QUEUES; i++) {
		if (rig->q[i].dq != NULL) {
			running = true;
			done = rig->device->ops->queue_update(rig->q[i].dq) && done;
		}
	}
	if (done && rig->device->ops->settled(rig->device, running)) {
		return rig_update(rig);
	}
	return done;
}

void rig_stop_queue(struct rig *rig, unsigned int index)
{
	struct rig_queue *q = &rig->q[index];
	unsigned int rounds = 0;

	q->draining = true;
	do {
		rig_round(rig);
		assert_true(rounds++ < 1000);
	} while (virtq_inflight(q->vq) > 0);
	virtq_commit(q->vq);
	reap(rig, q);
	rig->device->ops->queue_stop(q->dq);
	q->dq = NULL;
	virtq_free(q->vq);
	rd_close(&q->rd);
}

void rig_free(struct rig *rig)
{
	unsigned int i;

	for (i = 0; i < RIG_QUEUES; i++) {
		if (rig->q[i].dq != NULL) {
			rig_stop_queue(rig, i);
		}
	}
	rig->device->ops->free(rig->device);
	for (i = 0; i < 2; i++) {
		assert_int_equal(rig->disk[i].bdev.claims, 0);
		fake_disk_close(&rig->disk[i]);
	}
	for (i = 0; i < RIG_CORES; i++) {
		assert_true(LIST_EMPTY(&rig->channels[i].list));
	}
	free(rig);
}

void rig_put_head(uint8_t *head, unsigned int target, uint64_t tag, const uint8_t *cdb)
{
	struct bytes_writer w = bytes_writer(head, RIG_HEAD_LEN);

	bytes_put(&w, (uint8_t[8]){ 1, (uint8_t)target, 0x40 }, 8);
	bytes_put_le64(&w, tag);
	bytes_put(&w, (uint8_t[3]){ 0 }, 3);
	bytes_put(&w, cdb, SCSI_CDB_MAX);
}

struct rig_request rig_send(struct rig *rig, unsigned int queue, unsigned int target, uint64_t tag,
			    const uint8_t *cdb, uint32_t out_len, uint32_t in_len)
{
	struct rig_queue *q = &rig->q[queue];
	struct rig_request req = { .queue = queue };
	struct rd_buf bufs[4];
	unsigned int n = 0;

	bufs[n++] = (struct rd_buf){ rd_alloc(&q->rd, RIG_HEAD_LEN, 16), RIG_HEAD_LEN, false };
	rig_put_head(rd_ptr(&q->rd, bufs[0].gpa), target, tag, cdb);
	if (out_len > 0) {
		bufs[n] = (struct rd_buf){ rd_alloc(&q->rd, out_len, 16), out_len, false };
		req.out = rd_ptr(&q->rd, bufs[n++].gpa);
		memset(req.out, 0x3c, out_len);
	}
	bufs[n] = (struct rd_buf){ rd_alloc(&q->rd, RIG_RESP_LEN, 16), RIG_RESP_LEN, true };
	req.resp = rd_ptr(&q->rd, bufs[n++].gpa);
	memset(req.resp, 0xee, RIG_RESP_LEN);
	if (in_len > 0) {
		bufs[n] = (struct rd_buf){ rd_alloc(&q->rd, in_len, 16), in_len, true };
		req.in = rd_ptr(&q->rd, bufs[n++].gpa);
		memset(req.in, 0xee, in_len);
	}
	req.head = rd_add(&q->rd, bufs, n);
	assert_true(req.head >= 0);
	q->used_len[req.head] = RIG_NOT_DONE;
	return req;
}

struct rig_request rig_send_tmf(struct rig *rig, uint32_t subtype, unsigned int target,
				unsigned int lun, uint64_t tag)
{
	struct rig_queue *q = &rig->q[RIG_CONTROL];
	struct rig_request req = { .queue = RIG_CONTROL };
	struct rd_buf bufs[2] = {
		{ rd_alloc(&q->rd, 24, 16), 24, false },
		{ rd_alloc(&q->rd, 1, 16), 1, true },
	};
	struct bytes_writer w = bytes_writer(rd_ptr(&q->rd, bufs[0].gpa), 24);

	bytes_put_le32(&w, VIRTIO_SCSI_T_TMF);
	bytes_put_le32(&w, subtype);
	bytes_put(&w, (uint8_t[8]){ 1, (uint8_t)target, 0x40, (uint8_t)lun }, 8);
	bytes_put_le64(&w, tag);
	req.resp = rd_ptr(&q->rd, bufs[1].gpa);
	req.resp[0] = 0xff;
	req.head = rd_add(&q->rd, bufs, 2);
	assert_true(req.head >= 0);
	q->used_len[req.head] = RIG_NOT_DONE;
	return req;
}

bool rig_is_done(const struct rig *rig, const struct rig_request *req)
{
	return rig->q[req->queue].used_len[req->head] != RIG_NOT_DONE;
}

unsigned int rig_order(const struct rig *rig, const struct rig_request *req)
{
	assert_true(rig_is_done(rig, req));
	return rig->q[req->queue].order[req->head];
}

void rig_assert(const struct rig *rig, const struct rig_request *req, uint8_t response,
		uint8_t status, uint32_t residual, enum scsi_condition condition)
{
	struct bytes_reader r = bytes_reader(req->resp, RIG_RESP_LEN);
	uint32_t sense_len = bytes_get_le32(&r);
	const uint8_t *sense = req->resp + 12;
	unsigned int i;

	assert_true(rig_is_done(rig, req));
	assert_int_equal(bytes_get_le32(&r), residual);
	assert_int_equal(bytes_get_le16(&r), 0);
	assert_int_equal(bytes_get_u8(&r), status);
	assert_int_equal(bytes_get_u8(&r), response);
	assert_int_equal(sense_len, condition != 0 ? SCSI_SENSE_LEN : 0);
	if (condition != 0) {
		assert_int_equal(sense[2] << 16 | sense[12] << 8 | sense[13], condition);
	}
	for (i = sense_len; i < 96; i++) {
		assert_int_equal(sense[i], 0);
	}
}
