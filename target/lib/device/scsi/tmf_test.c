/* SPDX-License-Identifier: BSD-3-Clause */
/* T60, T61: task management and asynchronous notifications. */
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "device/scsi/rig.h"
#include "virtio/inflight.h"

#define ABORT_TASK VIRTIO_SCSI_T_TMF_ABORT_TASK
#define LU_RESET   VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET
#define COMPLETE   VIRTIO_SCSI_S_FUNCTION_COMPLETE
#define SUCCEEDED  VIRTIO_SCSI_S_FUNCTION_SUCCEEDED
#define REJECTED   VIRTIO_SCSI_S_FUNCTION_REJECTED
#define GOOD	   SCSI_STATUS_GOOD
#define READ(lba)  CDB(SCSI_READ_10, 0, BE32(lba), 0, BE16(1))
#define WRITE(lba) CDB(SCSI_WRITE_10, 0, BE32(lba), 0, BE16(1))
#define TUR	   CDB(SCSI_TEST_UNIT_READY)

static void rounds(struct rig *rig, unsigned int n)
{
	while (n-- > 0) {
		rig_round(rig);
	}
}

static uint8_t ask(struct rig *rig, uint32_t subtype, unsigned int target, unsigned int lun,
		   uint64_t tag)
{
	struct rig_request tmf = rig_send_tmf(rig, subtype, target, lun, tag);

	rounds(rig, 3);
	assert_true(rig_is_done(rig, &tmf));
	assert_int_equal(rig->q[RIG_CONTROL].used_len[tmf.head], 1);
	return tmf.resp[0];
}

static void every_function_of_an_idle_disk(void **state)
{
	static const struct {
		uint32_t subtype;
		uint8_t response;
	} cases[] = {
		{ VIRTIO_SCSI_T_TMF_ABORT_TASK, COMPLETE },
		{ VIRTIO_SCSI_T_TMF_ABORT_TASK_SET, COMPLETE },
		{ VIRTIO_SCSI_T_TMF_CLEAR_ACA, REJECTED },
		{ VIRTIO_SCSI_T_TMF_CLEAR_TASK_SET, COMPLETE },
		{ VIRTIO_SCSI_T_TMF_I_T_NEXUS_RESET, COMPLETE },
		{ VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET, COMPLETE },
		{ VIRTIO_SCSI_T_TMF_QUERY_TASK, COMPLETE },
		{ VIRTIO_SCSI_T_TMF_QUERY_TASK_SET, COMPLETE },
		{ 8, REJECTED },
		{ 0xffffffff, REJECTED },
	};
	struct rig *rig = rig_new(NULL);
	size_t i;

	rig_start(rig);
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(ask(rig, cases[i].subtype, RIG_TARGET, 0, 1), cases[i].response);
	}
	assert_int_equal(ask(rig, LU_RESET, 0, 0, 1), VIRTIO_SCSI_S_BAD_TARGET);
	assert_int_equal(ask(rig, LU_RESET, 255, 0, 1), VIRTIO_SCSI_S_BAD_TARGET);
	assert_int_equal(ask(rig, LU_RESET, RIG_TARGET, 1, 1), VIRTIO_SCSI_S_INCORRECT_LUN);
	assert_int_equal(ask(rig, VIRTIO_SCSI_T_TMF_I_T_NEXUS_RESET, RIG_TARGET, 1, 1), COMPLETE);
	rig_free(rig);
}

static void abort_waits_for_the_disk(void **state)
{
	struct rig *rig = rig_new(NULL);
	struct rig_request victim;
	struct rig_request other;
	struct rig_request tmf;

	rig_start(rig);
	rig->disk[0].hold = true;
	victim = rig_send(rig, RIG_A, RIG_TARGET, 7, READ(0), 0, 512);
	other = rig_send(rig, RIG_B, RIG_TARGET, 8, READ(1), 0, 512);
	rig_round(rig);
	assert_int_equal(ask(rig, VIRTIO_SCSI_T_TMF_QUERY_TASK, RIG_TARGET, 0, 7), SUCCEEDED);
	assert_int_equal(ask(rig, VIRTIO_SCSI_T_TMF_QUERY_TASK, RIG_TARGET, 0, 9), COMPLETE);
	assert_int_equal(ask(rig, VIRTIO_SCSI_T_TMF_QUERY_TASK, RIG_TARGET_2, 0, 7), COMPLETE);
	assert_int_equal(ask(rig, VIRTIO_SCSI_T_TMF_QUERY_TASK_SET, RIG_TARGET, 0, 0), SUCCEEDED);

	tmf = rig_send_tmf(rig, ABORT_TASK, RIG_TARGET, 0, 7);
	rounds(rig, 5);
	assert_false(rig_is_done(rig, &tmf));
	assert_false(rig_is_done(rig, &victim));
	rig->disk[0].hold = false;
	rounds(rig, 2);
	rig_assert(rig, &victim, VIRTIO_SCSI_S_ABORTED, GOOD, 512, 0);
	rig_assert(rig, &other, VIRTIO_SCSI_S_OK, GOOD, 0, 0);
	assert_int_equal(tmf.resp[0], COMPLETE);
	/* Its answer is seen after that of the task, though its ring is published first. */
	assert_true(rig_order(rig, &tmf) > rig_order(rig, &victim));
	/* T61: the tag is gone. */
	assert_int_equal(ask(rig, ABORT_TASK, RIG_TARGET, 0, 7), COMPLETE);
	rig_free(rig);
}

static void reset_ends_everything_of_one_disk(void **state)
{
	struct rig *rig = rig_new(NULL);
	struct rig_request r[6];
	struct rig_request apart;
	struct rig_request tmf;
	struct rig_request after;
	unsigned int i;

	rig_start(rig);
	rig->disk[0].room = 3;
	rig->disk[0].hold = true;
	rig->disk[1].hold = true;
	for (i = 0; i < 6; i++) {
		r[i] = rig_send(rig, RIG_A + i % 2, RIG_TARGET, i, WRITE(i), 512, 0);
	}
	apart = rig_send(rig, RIG_A, RIG_TARGET_2, 100, WRITE(0), 512, 0);
	rig_round(rig);
	assert_int_equal(rig->disk[0].outstanding, 3);
	tmf = rig_send_tmf(rig, LU_RESET, RIG_TARGET, 0, 0);
	rig_round(rig);
	/* Those that the disk never saw are answered first, the others when it is done with them. */
	for (i = 0; i < 6; i++) {
		assert_int_equal(rig_is_done(rig, &r[i]), i == 1 || i == 3 || i == 5);
	}
	rounds(rig, 3);
	assert_false(rig_is_done(rig, &tmf));
	rig->disk[0].hold = false;
	rounds(rig, 2);
	for (i = 0; i < 6; i++) {
		rig_assert(rig, &r[i], VIRTIO_SCSI_S_RESET, GOOD, 512, 0);
		assert_true(rig_order(rig, &r[i]) < rig_order(rig, &tmf));
	}
	assert_int_equal(tmf.resp[0], COMPLETE);
	assert_false(rig_is_done(rig, &apart));
	rig->disk[1].hold = false;

	after = rig_send(rig, RIG_B, RIG_TARGET, 9, TUR, 0, 0);
	rig_round(rig);
	rig_assert(rig, &after, VIRTIO_SCSI_S_OK, SCSI_STATUS_CHECK_CONDITION, 0,
		   SCSI_UA_DEVICE_RESET);
	after = rig_send(rig, RIG_B, RIG_TARGET, 9, TUR, 0, 0);
	rig_round(rig);
	rig_assert(rig, &after, VIRTIO_SCSI_S_OK, GOOD, 0, 0);
	assert_int_equal(ask(rig, VIRTIO_SCSI_T_TMF_I_T_NEXUS_RESET, RIG_TARGET_2, 0, 0), COMPLETE);
	after = rig_send(rig, RIG_B, RIG_TARGET_2, 9, TUR, 0, 0);
	rig_round(rig);
	rig_assert(rig, &after, VIRTIO_SCSI_S_OK, SCSI_STATUS_CHECK_CONDITION, 0,
		   SCSI_UA_NEXUS_LOSS);
	/* A new session does not hear of what happened to the old one. */
	assert_int_equal(ask(rig, LU_RESET, RIG_TARGET, 0, 0), COMPLETE);
	for (i = 0; i < RIG_QUEUES; i++) {
		rig_stop_queue(rig, i);
	}
	rig->device->ops->session_begins(rig->device);
	rig_start(rig);
	after = rig_send(rig, RIG_B, RIG_TARGET, 9, TUR, 0, 0);
	rig_round(rig);
	rig_assert(rig, &after, VIRTIO_SCSI_S_OK, GOOD, 0, 0);
	rig_free(rig);
}

static void several_functions_for_one_task(void **state)
{
	struct rig *rig = rig_new(NULL);
	struct rig_request victim;
	struct rig_request tmf[SCSI_MAX_TARGETS + 4];
	unsigned int i;

	rig_start(rig);
	rig->disk[0].hold = true;
	victim = rig_send(rig, RIG_A, RIG_TARGET, 7, READ(0), 0, 512);
	rig_round(rig);
	for (i = 0; i < 12; i++) {
		tmf[i] = rig_send_tmf(rig, i == 0 ? ABORT_TASK : LU_RESET, RIG_TARGET, 0, 7);
	}
	rounds(rig, 20);
	/* More than can wait at a time stay in the ring. */
	assert_int_equal(virtq_inflight(rig->q[RIG_CONTROL].vq), 8);
	rig->disk[0].hold = false;
	rounds(rig, 20);
	rig_assert(rig, &victim, VIRTIO_SCSI_S_ABORTED, GOOD, 512, 0); /* the first one says how */
	for (i = 0; i < 12; i++) {
		assert_true(rig_is_done(rig, &tmf[i]));
		assert_int_equal(tmf[i].resp[0], COMPLETE);
		assert_true(rig_order(rig, &tmf[i]) > rig_order(rig, &victim));
	}
	rig_free(rig);
}

/* A command of several steps does not begin the next one once it was ended. */
static void an_ended_command_takes_no_further_step(void **state)
{
	struct rig *rig = rig_new(NULL);
	struct rig_request victim;
	struct rig_request tmf;

	rig_start(rig);
	rig->disk[0].hold = true;
	victim = rig_send(rig, RIG_A, RIG_TARGET, 7, CDB(SCSI_WRITE_SAME_16, 0, BE64(0), BE32(500)),
			  512, 0);
	rig_round(rig);
	tmf = rig_send_tmf(rig, VIRTIO_SCSI_T_TMF_ABORT_TASK_SET, RIG_TARGET, 0, 0);
	rig_round(rig);
	rig->disk[0].hold = false;
	rounds(rig, 3);
	rig_assert(rig, &victim, VIRTIO_SCSI_S_ABORTED, GOOD, 512, 0);
	assert_int_equal(tmf.resp[0], COMPLETE);
	assert_int_equal(rig->disk[0].log_n, 1);
	/* And has given back what it held. */
	victim = rig_send(rig, RIG_B, RIG_TARGET, 8, CDB(SCSI_WRITE_SAME_16, 0, BE64(0), BE32(500)),
			  512, 0);
	rounds(rig, 4);
	rig_assert(rig, &victim, VIRTIO_SCSI_S_OK, GOOD, 0, 0);
	rig_free(rig);
}

static void stopping_the_control_queue_waits_for_its_functions(void **state)
{
	struct rig *rig = rig_new(NULL);
	struct rig_request victim;
	struct rig_request tmf;

	rig_start(rig);
	rig->disk[0].hold = true;
	victim = rig_send(rig, RIG_A, RIG_TARGET, 7, READ(0), 0, 512);
	rig_round(rig);
	tmf = rig_send_tmf(rig, ABORT_TASK, RIG_TARGET, 0, 7);
	rig_round(rig);
	rig->q[RIG_CONTROL].draining = true;
	rounds(rig, 2);
	assert_false(rig_is_done(rig, &tmf));
	rig->disk[0].hold = false;
	rounds(rig, 2);
	assert_true(rig_is_done(rig, &tmf));
	assert_int_equal(tmf.resp[0], COMPLETE);
	rig_assert(rig, &victim, VIRTIO_SCSI_S_ABORTED, GOOD, 512, 0);
	rig_free(rig);
}

/* ---- after a crash ---- */

static void begin_anew(struct rig *rig, struct rig_queue *q, struct inflight_area *area)
{
	struct virtq_config config =
		rd_config(&q->rd, rig->device->ops->req_size(rig->device, RIG_CONTROL));

	virtq_free(q->vq);
	config.base = q->rd.is_packed ? VIRTQ_PACKED_BASE_INITIAL : 0;
	config.inflight = area;
	assert_int_equal(virtq_new(&config, &q->vq), 0);
}

static void reject_what_a_predecessor_was_told(uint64_t ring_features)
{
	struct inflight_shape shape = { .queue_n = 1,
					.queue_size = RIG_RING,
					.packed = ring_features != 0 };
	const struct rd_options options = { .size = RIG_RING, .features = ring_features };
	struct rig *rig = rig_new(NULL);
	struct rig_queue *q = &rig->q[RIG_CONTROL];
	struct inflight_area *area;
	struct rig_request tmf;
	struct virtq_req *req;
	int fd;

	shape.size = inflight_area_bytes(&shape);
	assert_int_equal(inflight_area_make(&shape, &fd), 0);
	assert_int_equal(inflight_area_map(&shape, fd, &area), 0);
	close(fd);
	rig_start(rig);
	rig->device->ops->queue_stop(q->dq);
	rd_close(&q->rd);
	rd_open(&q->rd, &options);
	begin_anew(rig, q, area);
	tmf = rig_send_tmf(rig, ABORT_TASK, RIG_TARGET, 0, 7);
	assert_int_equal(virtq_pop(q->vq, &req, 1), 1);
	begin_anew(rig, q, area);
	assert_int_equal(rig->device->ops->queue_start(rig->device, RIG_CONTROL, q->vq,
						       &rig->channels[0], &q->dq),
			 0);
	rounds(rig, 3);
	assert_true(rig_is_done(rig, &tmf));
	assert_int_equal(tmf.resp[0], REJECTED);
	assert_int_equal(ask(rig, LU_RESET, RIG_TARGET, 0, 1), COMPLETE);
	rig_free(rig);
	inflight_area_unref(area);
}

static void what_a_predecessor_was_told_is_rejected(void **state)
{
	reject_what_a_predecessor_was_told(0);
	reject_what_a_predecessor_was_told(UINT64_C(1) << VIRTIO_F_RING_PACKED);
}

/* ---- other control requests ---- */

static struct rig_request send_control(struct rig *rig, const uint8_t *out, uint32_t out_len,
				       uint32_t in_len)
{
	struct rig_queue *q = &rig->q[RIG_CONTROL];
	struct rig_request req = { .queue = RIG_CONTROL };
	struct rd_buf bufs[2];
	unsigned int n = 0;
	uint64_t resp = rd_alloc(&q->rd, 16, 16);

	bufs[n] = (struct rd_buf){ rd_alloc(&q->rd, 64, 16), out_len, false };
	memcpy(rd_ptr(&q->rd, bufs[n].gpa), out, out_len);
	n += out_len > 0;
	bufs[n] = (struct rd_buf){ resp, in_len, true };
	n += in_len > 0;
	req.resp = rd_ptr(&q->rd, resp);
	memset(req.resp, 0xee, 16);
	req.head = rd_add(&q->rd, bufs, n);
	q->used_len[req.head] = RIG_NOT_DONE;
	rounds(rig, 3);
	return req;
}

static void notifications_have_no_events(void **state)
{
	static const uint8_t types[] = { VIRTIO_SCSI_T_AN_QUERY, VIRTIO_SCSI_T_AN_SUBSCRIBE };
	struct rig *rig = rig_new(NULL);
	struct rig_request r;
	size_t i;

	rig_start(rig);
	for (i = 0; i < 2; i++) {
		uint8_t out[16] = { types[i], 0, 0, 0, 1, RIG_TARGET, 0x40, 0, 0, 0, 0, 0, 0xff };

		r = send_control(rig, out, 16, 5);
		assert_true(rig_is_done(rig, &r));
		assert_int_equal(rig->q[RIG_CONTROL].used_len[r.head], 5);
		assert_memory_equal(r.resp, "\0\0\0\0\0\xee", 6);
		out[5] = 0;
		r = send_control(rig, out, 16, 5);
		assert_memory_equal(r.resp, "\0\0\0\0\x03\xee", 6);
		out[5] = RIG_TARGET;
		out[7] = 9;
		r = send_control(rig, out, 16, 5);
		assert_memory_equal(r.resp, "\0\0\0\0\x0c\xee", 6);
		r = send_control(rig, out, 15, 5);
		assert_memory_equal(r.resp, "\0\0\0\0\x0b\xee", 6);
	}
	rig_free(rig);
}

static void malformed_control_requests(void **state)
{
	static const struct {
		uint8_t type;
		uint32_t out_len;
		uint32_t in_len;
		bool breaks;
	} cases[] = {
		{ VIRTIO_SCSI_T_TMF, 23, 1, false }, /* cut in the tag */
		{ VIRTIO_SCSI_T_TMF, 4, 1, false },
		{ 77, 24, 1, false }, /* no such type */
		{ 77, 4, 16, false },
		{ VIRTIO_SCSI_T_TMF, 3, 1, true }, /* not even a type */
		{ VIRTIO_SCSI_T_TMF, 0, 1, true },
		{ VIRTIO_SCSI_T_TMF, 24, 0, true },
		{ VIRTIO_SCSI_T_AN_QUERY, 16, 4, true },
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t out[24] = { cases[i].type };
		struct rig *rig = rig_new(NULL);
		struct rig_request r;

		rig_start(rig);
		r = send_control(rig, out, cases[i].out_len, cases[i].in_len);
		assert_int_equal(virtq_is_broken(rig->q[RIG_CONTROL].vq), cases[i].breaks);
		assert_int_equal(rig_is_done(rig, &r), !cases[i].breaks);
		assert_int_equal(virtq_inflight(rig->q[RIG_CONTROL].vq), 0);
		if (!cases[i].breaks) {
			assert_int_equal(r.resp[0], REJECTED);
		}
		rig_free(rig);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_function_of_an_idle_disk),
		cmocka_unit_test(abort_waits_for_the_disk),
		cmocka_unit_test(reset_ends_everything_of_one_disk),
		cmocka_unit_test(several_functions_for_one_task),
		cmocka_unit_test(an_ended_command_takes_no_further_step),
		cmocka_unit_test(stopping_the_control_queue_waits_for_its_functions),
		cmocka_unit_test(what_a_predecessor_was_told_is_rejected),
		cmocka_unit_test(notifications_have_no_events),
		cmocka_unit_test(malformed_control_requests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
