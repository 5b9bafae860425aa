/* SPDX-License-Identifier: BSD-3-Clause */
/* One device whose queues run on two reactors: the control queue and A on one, the event queue and B on the other. */
#include <string.h>

#include "device/scsi/dev.h"
#include "device/scsi/rig.h"

#define ABORT_TASK     VIRTIO_SCSI_T_TMF_ABORT_TASK
#define LU_RESET       VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET
#define QUERY_TASK     VIRTIO_SCSI_T_TMF_QUERY_TASK
#define QUERY_TASK_SET VIRTIO_SCSI_T_TMF_QUERY_TASK_SET
#define COMPLETE       VIRTIO_SCSI_S_FUNCTION_COMPLETE
#define SUCCEEDED      VIRTIO_SCSI_S_FUNCTION_SUCCEEDED
#define OK	       VIRTIO_SCSI_S_OK
#define GOOD	       SCSI_STATUS_GOOD
#define CHECK	       SCSI_STATUS_CHECK_CONDITION
#define READ(lba)      CDB(SCSI_READ_10, 0, BE32(lba), 0, BE16(1))
#define TUR	       CDB(SCSI_TEST_UNIT_READY)

/* More than any function here needs without a disk that holds it up. */
#define ENOUGH 8

static struct rig *rig_on_two_cores(void)
{
	struct rig *rig = rig_new(NULL);

	rig->q[RIG_EVENT].core = 1;
	rig->q[RIG_B].core = 1;
	rig->device->ops->negotiated(rig->device,
				     1u << VIRTIO_SCSI_F_HOTPLUG | 1u << VIRTIO_SCSI_F_CHANGE);
	rig_start(rig);
	return rig;
}

static void rounds(struct rig *rig, unsigned int n)
{
	while (n-- > 0) {
		rig_round(rig);
	}
}

static uint8_t ask(struct rig *rig, uint32_t subtype, uint64_t tag)
{
	struct rig_request tmf = rig_send_tmf(rig, subtype, RIG_TARGET, 0, tag);

	rounds(rig, ENOUGH);
	assert_true(rig_is_done(rig, &tmf));
	return tmf.resp[0];
}

static void run(struct rig *rig, unsigned int queue, const uint8_t *cdb, uint8_t status,
		enum scsi_condition condition)
{
	struct rig_request r = rig_send(rig, queue, RIG_TARGET, 1, cdb, 0, 0);

	rounds(rig, 2);
	rig_assert(rig, &r, OK, status, 0, condition);
}

static void each_reads_through_a_channel_of_its_own(void **state)
{
	struct rig *rig = rig_on_two_cores();
	struct rig_request a = rig_send(rig, RIG_A, RIG_TARGET, 1, READ(0), 0, 512);
	struct rig_request b = rig_send(rig, RIG_B, RIG_TARGET, 2, READ(1), 0, 512);

	assert_true(rig->disk[0].channels[0].is_open && rig->disk[0].channels[1].is_open);
	rounds(rig, 2);
	rig_assert(rig, &a, OK, GOOD, 0, 0);
	rig_assert(rig, &b, OK, GOOD, 0, 0);
	rig_stop_queue(rig, RIG_B);
	assert_false(rig->disk[0].channels[0].is_open && rig->disk[0].channels[1].is_open);
	rig_free(rig);
}

static void a_reset_waits_for_the_tasks_of_both(void **state)
{
	struct rig *rig = rig_on_two_cores();
	struct rig_request a;
	struct rig_request b;
	struct rig_request other;
	struct rig_request tmf;

	rig->disk[0].hold = true;
	a = rig_send(rig, RIG_A, RIG_TARGET, 1, READ(0), 0, 512);
	b = rig_send(rig, RIG_B, RIG_TARGET, 2, READ(1), 0, 512);
	other = rig_send(rig, RIG_B, RIG_TARGET_2, 3, READ(2), 0, 512);
	rig_round(rig);
	tmf = rig_send_tmf(rig, LU_RESET, RIG_TARGET, 0, 0);
	rounds(rig, ENOUGH);
	rig_assert(rig, &other, OK, GOOD, 0, 0);
	assert_false(rig_is_done(rig, &tmf));
	/* The first channel is that of the first core. */
	fake_disk_complete_one(&rig->disk[0]);
	rounds(rig, ENOUGH);
	rig_assert(rig, &a, VIRTIO_SCSI_S_RESET, GOOD, 512, 0);
	assert_false(rig_is_done(rig, &tmf));
	/* Only what the other does keeps this one from being answered, so its reactor must not sleep. */
	assert_true(rig->q[RIG_CONTROL].dq->restless);
	rig->disk[0].hold = false;
	rounds(rig, ENOUGH);
	rig_assert(rig, &b, VIRTIO_SCSI_S_RESET, GOOD, 512, 0);
	assert_true(rig_is_done(rig, &tmf));
	assert_int_equal(tmf.resp[0], COMPLETE);
	assert_true(rig_order(rig, &tmf) > rig_order(rig, &b));
	assert_false(rig->q[RIG_CONTROL].dq->restless);
	/* Whoever comes first hears of it, once. */
	run(rig, RIG_B, TUR, CHECK, SCSI_UA_DEVICE_RESET);
	run(rig, RIG_A, TUR, GOOD, 0);
	run(rig, RIG_B, TUR, GOOD, 0);
	rig_free(rig);
}

static void a_task_is_found_wherever_it_is(void **state)
{
	struct rig *rig = rig_on_two_cores();
	struct rig_request victim;

	assert_int_equal(ask(rig, QUERY_TASK, 7), COMPLETE);
	assert_int_equal(ask(rig, QUERY_TASK_SET, 7), COMPLETE);
	rig->disk[0].hold = true;
	victim = rig_send(rig, RIG_B, RIG_TARGET, 7, READ(0), 0, 512);
	rig_round(rig);
	assert_int_equal(ask(rig, QUERY_TASK, 7), SUCCEEDED);
	assert_int_equal(ask(rig, QUERY_TASK, 8), COMPLETE);
	assert_int_equal(ask(rig, QUERY_TASK_SET, 8), SUCCEEDED);
	assert_int_equal(ask(rig, ABORT_TASK, 8), COMPLETE);
	assert_false(rig_is_done(rig, &victim));
	rig->disk[0].hold = false;
	assert_int_equal(ask(rig, ABORT_TASK, 7), COMPLETE);
	assert_true(rig_is_done(rig, &victim));
	rig_free(rig);
}

/* A waiting task is answered by the update itself: its answer, too, is published before that to the function, however
 * often the control queue's reactor looks in between. */
static void a_task_without_room_is_ended_first(void **state)
{
	struct rig *rig = rig_on_two_cores();
	struct rig_request victim;
	struct rig_request tmf;

	rig->disk[0].room = 0;
	victim = rig_send(rig, RIG_B, RIG_TARGET, 7, READ(0), 0, 512);
	rig_round(rig);
	tmf = rig_send_tmf(rig, ABORT_TASK, RIG_TARGET, 0, 7);
	rig_round(rig);
	assert_true(rig->q[RIG_B].updating);
	/* The second core begins a round, and the first one has a whole one before that ends. */
	assert_false(rig->device->ops->queue_update(rig->q[RIG_B].dq));
	assert_false(rig->device->ops->queue_update(rig->q[RIG_EVENT].dq));
	rounds(rig, ENOUGH);
	rig_assert(rig, &victim, VIRTIO_SCSI_S_ABORTED, GOOD, 512, 0);
	assert_true(rig_is_done(rig, &tmf));
	assert_true(rig_order(rig, &tmf) > rig_order(rig, &victim));
	assert_int_equal(rig->disk[0].log_n, 0);
	rig_free(rig);
}

static void a_control_queue_that_stops_waits_for_the_other_core(void **state)
{
	struct rig *rig = rig_on_two_cores();
	struct rig_request victim;
	struct rig_request tmf;

	rig->disk[0].hold = true;
	victim = rig_send(rig, RIG_B, RIG_TARGET, 7, READ(0), 0, 512);
	rig_round(rig);
	tmf = rig_send_tmf(rig, LU_RESET, RIG_TARGET, 0, 7);
	rig_round(rig);
	rig->q[RIG_CONTROL].draining = true;
	rounds(rig, ENOUGH);
	assert_int_equal(virtq_inflight(rig->q[RIG_CONTROL].vq), 1);
	assert_true(rig->q[RIG_CONTROL].dq->restless);
	rig->disk[0].hold = false;
	rounds(rig, ENOUGH);
	assert_int_equal(virtq_inflight(rig->q[RIG_CONTROL].vq), 0);
	assert_true(rig_is_done(rig, &tmf));
	assert_int_equal(tmf.resp[0], COMPLETE);
	rig_assert(rig, &victim, VIRTIO_SCSI_S_RESET, GOOD, 512, 0);
	rig_stop_queue(rig, RIG_CONTROL);
	rig_free(rig);
}

/* One whose first queue comes when the function is under way is not asked to update, and not waited for. */
static void a_core_comes_meanwhile(void **state)
{
	struct rig *rig = rig_on_two_cores();
	struct rig_request victim;
	struct rig_request tmf;

	rig_stop_queue(rig, RIG_EVENT);
	rig_stop_queue(rig, RIG_B);
	rig->disk[0].hold = true;
	victim = rig_send(rig, RIG_A, RIG_TARGET, 7, READ(0), 0, 512);
	rig_round(rig);
	tmf = rig_send_tmf(rig, LU_RESET, RIG_TARGET, 0, 7);
	rounds(rig, ENOUGH);
	rig_start_queue(rig, RIG_B);
	rig->disk[0].hold = false;
	rounds(rig, ENOUGH);
	rig_assert(rig, &victim, VIRTIO_SCSI_S_RESET, GOOD, 512, 0);
	assert_true(rig_is_done(rig, &tmf));
	rig_free(rig);
}

static void a_target_goes_when_both_have_let_go(void **state)
{
	struct rig *rig = rig_on_two_cores();
	struct scsi_device *dev = scsi_device_of(rig->device);
	struct rig_request b;
	struct rig_request late;

	rig->disk[0].hold = true;
	b = rig_send(rig, RIG_B, RIG_TARGET, 1, READ(0), 0, 512);
	rig_round(rig);
	assert_int_equal(scsi_remove_target(rig->device, RIG_TARGET), 0);
	assert_false(rig_update(rig));
	late = rig_send(rig, RIG_A, RIG_TARGET, 2, READ(0), 0, 512);
	rounds(rig, 2);
	rig_assert(rig, &late, VIRTIO_SCSI_S_BAD_TARGET, GOOD, 512, 0);
	assert_int_equal(dev->events.pending[RIG_TARGET], 0);
	assert_true(rig->q[RIG_EVENT].dq->quiescent);
	rig->disk[0].hold = false;
	rounds(rig, 2);
	rig_assert(rig, &b, OK, GOOD, 0, 0);
	assert_true(rig_update(rig));
	/* The driver is told once, and the event queue is awake. */
	assert_int_equal(dev->events.pending[RIG_TARGET], SCSI_EVENT_REMOVED);
	assert_false(rig->q[RIG_EVENT].dq->quiescent);
	assert_int_equal(rig->disk[0].bdev.claims, 0);
	rig_free(rig);
}

static void the_size_is_the_same_for_both(void **state)
{
	struct rig *rig = rig_on_two_cores();
	uint64_t size = rig->disk[0].bdev.info.size;
	uint32_t blocks = (uint32_t)(size / 512);
	struct rig_request r;

	rig->disk[0].bdev.info.size = size / 2;
	assert_true(rig_update(rig));
	assert_int_equal(scsi_device_of(rig->device)->events.pending[RIG_TARGET],
			 SCSI_EVENT_RESIZED);
	run(rig, RIG_B, TUR, CHECK, SCSI_UA_CAPACITY_CHANGED);
	r = rig_send(rig, RIG_A, RIG_TARGET, 1, READ(blocks / 2), 0, 512);
	rounds(rig, 2);
	rig_assert(rig, &r, OK, CHECK, 512, SCSI_LBA_OUT_OF_RANGE);
	rig->disk[0].bdev.info.size = size;
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_reads_through_a_channel_of_its_own),
		cmocka_unit_test(a_reset_waits_for_the_tasks_of_both),
		cmocka_unit_test(a_task_is_found_wherever_it_is),
		cmocka_unit_test(a_task_without_room_is_ended_first),
		cmocka_unit_test(a_control_queue_that_stops_waits_for_the_other_core),
		cmocka_unit_test(a_core_comes_meanwhile),
		cmocka_unit_test(a_target_goes_when_both_have_let_go),
		cmocka_unit_test(the_size_is_the_same_for_both),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
