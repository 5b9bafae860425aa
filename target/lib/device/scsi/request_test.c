/* SPDX-License-Identifier: BSD-3-Clause */
/* Request queues: framing, answers, waiting for room, being stopped. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "device/scsi/dev.h"
#include "device/scsi/rig.h"

#define OK   VIRTIO_SCSI_S_OK
#define GOOD SCSI_STATUS_GOOD

#define READ(lba, blocks)  CDB(SCSI_READ_10, 0, BE32(lba), 0, BE16(blocks))
#define WRITE(lba, blocks) CDB(SCSI_WRITE_10, 0, BE32(lba), 0, BE16(blocks))
#define FUA(lba, blocks)   CDB(SCSI_WRITE_10, 0x08, BE32(lba), 0, BE16(blocks))

static uint32_t used(const struct rig *rig, const struct rig_request *req)
{
	return rig->q[req->queue].used_len[req->head];
}

static void reads_and_writes(void **state)
{
	struct rig *rig = rig_new(NULL);
	struct rig_request w;
	struct rig_request r;
	struct virtq_stats stats;

	rig_start(rig);
	w = rig_send(rig, RIG_A, RIG_TARGET, 1, WRITE(8, 2), 1024, 0);
	rig_round(rig);
	rig_assert(rig, &w, OK, GOOD, 0, 0);
	assert_int_equal(used(rig, &w), RIG_RESP_LEN);
	assert_disk(&rig->disk[0], 4096, 1024, 0x3c);
	assert_disk(&rig->disk[1], 4096, 1024, 0x5a);
	r = rig_send(rig, RIG_B, RIG_TARGET, 2, READ(7, 2), 0, 4096);
	rig_round(rig);
	rig_assert(rig, &r, OK, GOOD, 3072, 0);
	assert_int_equal(used(rig, &r), RIG_RESP_LEN + 1024);
	assert_int_equal(r.in[511], 0x5a);
	assert_int_equal(r.in[512], 0x3c);
	assert_int_equal(r.in[1024], 0xee);
	virtq_read_stats(rig->q[RIG_A].vq, &stats);
	assert_int_equal(stats.written_bytes, 1024);
	virtq_read_stats(rig->q[RIG_B].vq, &stats);
	assert_int_equal(stats.read_bytes, 1024);
	rig_free(rig);
}

static void errors_carry_sense(void **state)
{
	struct rig *rig = rig_new(NULL);
	struct rig_request r;

	rig_start(rig);
	rig->disk[0].fail_op = BDEV_READ;
	rig->disk[0].fail_status = -EIO;
	r = rig_send(rig, RIG_A, RIG_TARGET, 1, READ(0, 1), 0, 512);
	rig_round(rig);
	rig_assert(rig, &r, OK, SCSI_STATUS_CHECK_CONDITION, 512, SCSI_READ_ERROR);
	assert_int_equal(used(rig, &r), RIG_RESP_LEN);
	r = rig_send(rig, RIG_A, RIG_TARGET, 1, READ(0, 2), 0, 512);
	rig_round(rig);
	rig_assert(rig, &r, VIRTIO_SCSI_S_OVERRUN, GOOD, 512, 0);
	rig_free(rig);
}

/* T51, T52: the response for what is not a target of ours. */
static void targets_that_do_not_exist(void **state)
{
	static const uint8_t targets[] = { 0, 1, 3, 5, 7, 8, 255 };
	struct rig *rig = rig_new(NULL);
	struct rig_request r;
	size_t i;

	rig_start(rig);
	for (i = 0; i < sizeof(targets); i++) {
		r = rig_send(rig, RIG_A, targets[i], 1, CDB(SCSI_INQUIRY, 0, 0, 0, 36), 0, 36);
		rig_round(rig);
		rig_assert(rig, &r, VIRTIO_SCSI_S_BAD_TARGET, GOOD, 36, 0);
	}
	rig_free(rig);
}

/* Sends head (with lun replaced) and response in the given pieces. Returns the response. */
static struct rig_request send_raw(struct rig *rig, const uint8_t *out, uint32_t out_len,
				   uint32_t out_piece, uint32_t in_len, uint32_t in_piece,
				   bool indirect)
{
	struct rig_queue *q = &rig->q[RIG_A];
	struct rig_request req = { .queue = RIG_A };
	struct rd_buf bufs[RIG_RING];
	uint64_t out_gpa = rd_alloc(&q->rd, out_len + 1, 16);
	uint64_t in_gpa = rd_alloc(&q->rd, in_len + 1, 16);
	unsigned int n = 0;
	uint32_t at;

	memcpy(rd_ptr(&q->rd, out_gpa), out, out_len);
	req.resp = rd_ptr(&q->rd, in_gpa);
	memset(req.resp, 0xee, in_len + 1);
	for (at = 0; at < out_len; at += out_piece) {
		uint32_t len = out_len - at < out_piece ? out_len - at : out_piece;

		assert_true(n < RIG_RING);
		bufs[n++] = (struct rd_buf){ out_gpa + at, len, false };
	}
	for (at = 0; at < in_len; at += in_piece) {
		uint32_t len = in_len - at < in_piece ? in_len - at : in_piece;

		assert_true(n < RIG_RING);
		bufs[n++] = (struct rd_buf){ in_gpa + at, len, true };
	}
	req.head = indirect ? rd_add_indirect(&q->rd, bufs, n) : rd_add(&q->rd, bufs, n);
	assert_true(req.head >= 0);
	q->used_len[req.head] = RIG_NOT_DONE;
	return req;
}

/* T28 to T30: where the driver cuts its buffers plays no role. */
static void framing_plays_no_role(void **state)
{
	static const uint32_t pieces[] = { 1, 3, 20, 50, 51, 52, 107, 108, 109, 300, 10000 };
	const uint32_t out_len = RIG_HEAD_LEN + 512;
	const uint32_t in_len = RIG_RESP_LEN + 512;
	uint8_t out[RIG_HEAD_LEN + 512];
	struct rig *rig = rig_new(NULL);
	struct rig_request r;
	size_t i;

	rig_start(rig);
	for (i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		uint32_t piece = pieces[i];
		bool indirect = in_len / piece > 30;

		if (in_len / piece >= RIG_RING) {
			piece = 13;
		}
		rig_put_head(out, RIG_TARGET, 1, WRITE(i, 1));
		memset(out + RIG_HEAD_LEN, (int)i + 1, 512);
		r = send_raw(rig, out, out_len, piece, RIG_RESP_LEN, piece > 2 ? piece : 3,
			     indirect);
		rig_round(rig);
		rig_assert(rig, &r, OK, GOOD, 0, 0);
		assert_disk(&rig->disk[0], i * 512, 512, (uint8_t)(i + 1));

		rig_put_head(out, RIG_TARGET, 1, READ(i, 1));
		r = send_raw(rig, out, RIG_HEAD_LEN, piece > 2 ? piece : 3, in_len, piece,
			     indirect);
		rig_round(rig);
		rig_assert(rig, &r, OK, GOOD, 0, 0);
		assert_int_equal(used(rig, &r), in_len);
		assert_int_equal(r.resp[RIG_RESP_LEN], i + 1);
		assert_int_equal(r.resp[RIG_RESP_LEN + 511], i + 1);
		assert_int_equal(r.resp[RIG_RESP_LEN + 512], 0xee);
		rd_free_all(&rig->q[RIG_A].rd);
	}
	/* The response in one element with data-in, of which the command uses a part only. */
	rig_put_head(out, RIG_TARGET, 1, READ(0, 1));
	r = send_raw(rig, out, RIG_HEAD_LEN, 10000, RIG_RESP_LEN + 2048, 10000, false);
	rig_round(rig);
	rig_assert(rig, &r, OK, GOOD, 1536, 0);
	assert_int_equal(r.resp[RIG_RESP_LEN + 511], 1);
	assert_int_equal(r.resp[RIG_RESP_LEN + 512], 0xee);
	rig_free(rig);
}

static void malformed_requests_are_answered_when_they_can_be(void **state)
{
	uint8_t out[RIG_HEAD_LEN + 512] = { 0 };
	struct rig *rig = rig_new(NULL);
	struct rig_request r;
	struct virtq_stats stats;

	rig_start(rig);
	rig_put_head(out, RIG_TARGET, 1, READ(0, 1));
	r = send_raw(rig, out, RIG_HEAD_LEN - 1, 1000, RIG_RESP_LEN + 512, 1000, false);
	rig_round(rig);
	rig_assert(rig, &r, VIRTIO_SCSI_S_FAILURE, GOOD, 512, 0);
	/* Data in both directions without VIRTIO_SCSI_F_INOUT (T55). */
	r = send_raw(rig, out, RIG_HEAD_LEN + 512, 1000, RIG_RESP_LEN + 512, 1000, false);
	rig_round(rig);
	rig_assert(rig, &r, VIRTIO_SCSI_S_FAILURE, GOOD, 1024, 0);
	out[0] = 0; /* T51 */
	r = send_raw(rig, out, RIG_HEAD_LEN, 1000, RIG_RESP_LEN + 512, 1000, false);
	rig_round(rig);
	rig_assert(rig, &r, VIRTIO_SCSI_S_BAD_TARGET, GOOD, 512, 0);
	assert_int_equal(rig->disk[0].log_n, 0);
	virtq_read_stats(rig->q[RIG_A].vq, &stats);
	assert_int_equal(stats.malformed, 2);
	/* No readable part at all. */
	r = send_raw(rig, out, 0, 1, RIG_RESP_LEN, 1000, false);
	rig_round(rig);
	rig_assert(rig, &r, VIRTIO_SCSI_S_FAILURE, GOOD, 0, 0);
	assert_false(virtq_is_broken(rig->q[RIG_A].vq));
	rig_free(rig);
}

static void without_room_for_a_response_the_ring_breaks(void **state)
{
	static const uint32_t lengths[] = { 0, 1, 12, RIG_RESP_LEN - 1 };
	uint8_t out[RIG_HEAD_LEN];
	size_t i;

	for (i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct rig *rig = rig_new(NULL);
		struct rig_request r;
		struct rig_request other;

		rig_start(rig);
		rig_put_head(out, RIG_TARGET, 1, READ(0, 1));
		r = send_raw(rig, out, RIG_HEAD_LEN, 1000, lengths[i], 1000, false);
		other = rig_send(rig, RIG_B, RIG_TARGET, 1, READ(0, 1), 0, 512);
		rig_round(rig);
		assert_true(virtq_is_broken(rig->q[RIG_A].vq));
		assert_false(rig_is_done(rig, &r));
		assert_int_equal(virtq_inflight(rig->q[RIG_A].vq), 0);
		rig_assert(rig, &other, OK, GOOD, 0, 0); /* everything else goes on */
		rig_free(rig);
	}
}

static void other_sizes_of_cdb_and_sense(void **state)
{
	static const struct {
		uint32_t sense_size;
		uint32_t cdb_size;
	} cases[] = { { 0, 16 }, { 8, 10 }, { 18, 64 }, { 256, 256 } };
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t out[19 + 256 + 512] = { 0 };
		uint32_t head_len = 19 + cases[i].cdb_size;
		uint32_t resp_len = 12 + cases[i].sense_size;
		uint32_t sense_len = cases[i].sense_size < 18 ? cases[i].sense_size : 18;
		uint32_t sizes[2] = { cases[i].sense_size, cases[i].cdb_size };
		struct rig *rig = rig_new(NULL);
		struct rig_request r;

		assert_int_equal(rig->device->ops->config_write(rig->device, 20, sizes, 8), 0);
		rig_start(rig);
		rig_put_head(out, RIG_TARGET, 1, WRITE(1, 1));
		memset(out + head_len, 0x77, 512);
		r = send_raw(rig, out, head_len + 512, 1000, resp_len, 1000, false);
		rig_round(rig);
		assert_int_equal(used(rig, &r), resp_len);
		assert_int_equal(scsi_be32(r.resp), 0);
		assert_int_equal(r.resp[11], OK);
		assert_int_equal(r.resp[resp_len], 0xee);
		assert_disk(&rig->disk[0], 512, 512, 0x77);

		rig_put_head(out, RIG_TARGET, 1, CDB(0xff));
		r = send_raw(rig, out, head_len, 1000, resp_len, 1000, false);
		rig_round(rig);
		assert_int_equal(r.resp[0], sense_len);
		assert_int_equal(r.resp[10], SCSI_STATUS_CHECK_CONDITION);
		assert_int_equal(r.resp[resp_len], 0xee);

		/* A 16 byte CDB does not fit into every cdb_size. */
		rig_put_head(out, RIG_TARGET, 1, CDB(SCSI_READ_16, 0, BE64(0), BE32(0)));
		r = send_raw(rig, out, head_len, 1000, resp_len, 1000, false);
		rig_round(rig);
		assert_int_equal(r.resp[10],
				 cases[i].cdb_size < 16 ? SCSI_STATUS_CHECK_CONDITION : GOOD);
		rig_free(rig);
	}
}

static void commands_wait_for_room(void **state)
{
	struct rig *rig = rig_new(NULL);
	struct rig_request r[20];
	unsigned int i;
	unsigned int rounds = 0;

	rig_start(rig);
	rig->disk[0].room = 2;
	for (i = 0; i < 20; i++) {
		r[i] = rig_send(rig, RIG_A + i % 2, RIG_TARGET, i, FUA(i, 1), 512, 0);
	}
	/* One disk being full is nothing to another. */
	r[19] = rig_send(rig, RIG_A, RIG_TARGET_2, 100, WRITE(0, 1), 512, 0);
	rig_round(rig);
	rig_assert(rig, &r[19], OK, GOOD, 0, 0);
	while (rig_round(rig) > 0) {
		assert_true(rounds++ < 100);
	}
	for (i = 0; i < 20; i++) {
		rig_assert(rig, &r[i], OK, GOOD, 0, 0);
	}
	assert_disk(&rig->disk[0], 0, 19 * 512, 0x3c);
	/* One after the other in the order of their arrival at the disk. */
	for (i = 2; i < 18; i++) {
		assert_true(rig_order(rig, &r[i]) < rig_order(rig, &r[i + 2]) || i >= 17);
	}
	rig_free(rig);
}

/* A continuation finds the bdev full while others wait for what it holds: nobody may get stuck. */
static void the_holder_of_the_scratch_buffer_goes_first(void **state)
{
	struct rig *rig = rig_new(NULL);
	struct rig_request ws[4];
	struct rig_request w[8];
	unsigned int i;
	unsigned int rounds = 0;

	rig_start(rig);
	rig->disk[0].room = 1;
	rig->disk[0].hold = true;
	for (i = 0; i < 4; i++) {
		ws[i] = rig_send(rig, RIG_A + i % 2, RIG_TARGET, i,
				 CDB(SCSI_WRITE_SAME_16, 0, BE64(i * 400), BE32(400)), 512, 0);
		ws[i].out[0] = (uint8_t)i;
	}
	rig_round(rig);
	for (i = 0; i < 8; i++) {
		w[i] = rig_send(rig, RIG_A + i % 2, RIG_TARGET, 50 + i, FUA(2000 + i, 1), 512, 0);
	}
	rig_round(rig);
	/* Somebody else has filled the bdev when the first piece is done. */
	rig->disk[0].room = 0;
	fake_disk_complete_one(&rig->disk[0]);
	rig_round(rig);
	assert_int_equal(rig->disk[0].outstanding, 0);
	rig->disk[0].room = 1;
	rig->disk[0].hold = false;
	while (rig->disk[0].log_n < 4 * 2 + 8 * 2 || rig_round(rig) > 0) {
		rig_round(rig);
		assert_true(rounds++ < 100);
	}
	for (i = 0; i < 4; i++) {
		rig_assert(rig, &ws[i], OK, GOOD, 0, 0);
		assert_int_equal(rig->disk[0].data[i * 400 * 512], i);
		assert_int_equal(rig->disk[0].data[(i * 400 + 399) * 512], i);
	}
	for (i = 0; i < 8; i++) {
		rig_assert(rig, &w[i], OK, GOOD, 0, 0);
	}
	rig_free(rig);
}

/* Tasks are walked over by task management: their number has a bound, the rest stays in the ring. */
static void a_crowd_waits_in_the_ring(void **state)
{
	struct rig *rig = rig_new(NULL);
	struct scsi_part *part;
	struct rig_request r;

	rig_start(rig);
	part = scsi_device_of(rig->device)->parts;
	r = rig_send(rig, RIG_A, RIG_TARGET, 1, WRITE(0, 1), 512, 0);
	part->waiting_n += SCSI_MAX_WAITING; /* as if there were so many */
	rig_round(rig);
	assert_int_equal(virtq_inflight(rig->q[RIG_A].vq), 0);
	assert_int_equal(virtq_base(rig->q[RIG_A].vq), 0);
	part->waiting_n -= 1;
	rig_round(rig);
	rig_assert(rig, &r, OK, GOOD, 0, 0);
	part->waiting_n -= SCSI_MAX_WAITING - 1;
	rig_free(rig);
}

/* One that goes to another reactor has its requests carried out: its driver notices nothing. */
static void moving_a_queue_answers_when_it_is_time(void **state)
{
	struct rig *rig = rig_new(NULL);
	struct rig_request taken;
	struct rig_request waits;

	rig_start(rig);
	rig->disk[0].room = 1;
	rig->disk[0].hold = true;
	taken = rig_send(rig, RIG_A, RIG_TARGET, 1, FUA(0, 1), 512, 0);
	rig_round(rig);
	waits = rig_send(rig, RIG_A, RIG_TARGET, 2, WRITE(1, 1), 512, 0);
	rig_round(rig);

	rig->q[RIG_A].draining = true;
	rig->q[RIG_A].dq->moves = true;
	rig->device->ops->queue_drain(rig->q[RIG_A].dq);
	rig_round(rig);
	assert_false(rig_is_done(rig, &taken));
	assert_false(rig_is_done(rig, &waits));
	rig->disk[0].hold = false;
	for (unsigned int i = 0; i < 4; i++) {
		rig->device->ops->queue_drain(rig->q[RIG_A].dq);
		rig_round(rig);
	}
	rig_assert(rig, &taken, OK, GOOD, 0, 0);
	rig_assert(rig, &waits, OK, GOOD, 0, 0);
	assert_int_equal(virtq_inflight(rig->q[RIG_A].vq), 0);
	assert_disk(&rig->disk[0], 512, 512, 0x3c);
	rig_free(rig);
}

static void stopping_a_queue_answers_busy(void **state)
{
	struct rig *rig = rig_new(NULL);
	struct rig_request taken;
	struct rig_request waits;
	struct rig_request other;

	rig_start(rig);
	rig->disk[0].room = 1;
	rig->disk[0].hold = true;
	taken = rig_send(rig, RIG_A, RIG_TARGET, 1, FUA(0, 1), 512, 0);
	rig_round(rig);
	waits = rig_send(rig, RIG_A, RIG_TARGET, 2, WRITE(1, 1), 512, 0);
	other = rig_send(rig, RIG_B, RIG_TARGET, 3, WRITE(2, 1), 512, 0);
	rig_round(rig);

	rig->q[RIG_A].draining = true;
	rig->device->ops->queue_drain(rig->q[RIG_A].dq);
	rig_round(rig);
	rig_assert(rig, &waits, OK, SCSI_STATUS_BUSY, 512, 0);
	assert_false(rig_is_done(rig, &taken));
	assert_int_equal(virtq_inflight(rig->q[RIG_A].vq), 1);

	/* Its write is done, but there is no room for the flush: nobody would offer it again. */
	rig->disk[0].room = 0;
	fake_disk_complete_one(&rig->disk[0]);
	rig_round(rig);
	rig_assert(rig, &taken, OK, SCSI_STATUS_BUSY, 512, 0);
	assert_int_equal(virtq_inflight(rig->q[RIG_A].vq), 0);
	/* The other queue goes on. */
	assert_false(rig_is_done(rig, &other));
	rig->disk[0].room = 1;
	rig->disk[0].hold = false;
	rig_round(rig);
	rig_assert(rig, &other, OK, GOOD, 0, 0);
	assert_disk(&rig->disk[0], 512, 512, 0x5a);
	rig_free(rig);
}

static void the_event_queue_keeps_its_buffers(void **state)
{
	struct rig *rig = rig_new(NULL);
	struct rig_queue *q = &rig->q[RIG_EVENT];
	struct rd_buf buf;
	unsigned int i;

	rig_start(rig);
	assert_true(q->dq->quiescent);
	for (i = 0; i < 8; i++) {
		buf = (struct rd_buf){ rd_alloc(&q->rd, 16, 16), 16, true };
		assert_true(rd_add(&q->rd, &buf, 1) >= 0);
	}
	rig_round(rig);
	assert_int_equal(rig->device->ops->queue_poll(q->dq), 0);
	/* A successor finds all of them. */
	assert_int_equal(virtq_base(q->vq), 0);
	assert_int_equal(virtq_inflight(q->vq), 0);
	assert_false(rig->q[RIG_A].dq->quiescent);
	assert_false(rig->q[RIG_CONTROL].dq->quiescent);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_and_writes),
		cmocka_unit_test(errors_carry_sense),
		cmocka_unit_test(targets_that_do_not_exist),
		cmocka_unit_test(framing_plays_no_role),
		cmocka_unit_test(malformed_requests_are_answered_when_they_can_be),
		cmocka_unit_test(without_room_for_a_response_the_ring_breaks),
		cmocka_unit_test(other_sizes_of_cdb_and_sense),
		cmocka_unit_test(commands_wait_for_room),
		cmocka_unit_test(the_holder_of_the_scratch_buffer_goes_first),
		cmocka_unit_test(a_crowd_waits_in_the_ring),
		cmocka_unit_test(moving_a_queue_answers_when_it_is_time),
		cmocka_unit_test(stopping_a_queue_answers_busy),
		cmocka_unit_test(the_event_queue_keeps_its_buffers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
