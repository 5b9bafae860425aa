/* SPDX-License-Identifier: BSD-3-Clause */
/* The event queue: exactly the events that are due, in buffers of any kind or none. */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "device/scsi/dev.h"
#include "device/scsi/rig.h"

#define HOTPLUG (UINT64_C(1) << VIRTIO_SCSI_F_HOTPLUG)
#define CHANGE	(UINT64_C(1) << VIRTIO_SCSI_F_CHANGE)

#define RESCAN	VIRTIO_SCSI_EVT_RESET_RESCAN
#define REMOVED VIRTIO_SCSI_EVT_RESET_REMOVED
#define RESIZED 0x092a
#define NEW	6 /* a target that comes and goes */

#define NOT_USED 0xee

struct fixture {
	struct rig *rig;
	struct fake_disk disk;
	const uint8_t *buffers[RIG_RING]; /* in the order in which they were offered */
	int heads[RIG_RING];
	unsigned int buffer_n;
	unsigned int seen;
};

static struct fixture open_rig(uint64_t features)
{
	struct fixture f = { .rig = rig_new(NULL) };

	f.rig->device->ops->negotiated(f.rig->device, features);
	rig_start(f.rig);
	return f;
}

static void close_rig(struct fixture *f)
{
	rig_free(f->rig);
	fake_disk_close(&f->disk);
}

static void offer_of(struct fixture *f, uint32_t len, bool writable)
{
	struct rig_queue *q = &f->rig->q[RIG_EVENT];
	struct rd_buf buf = { rd_alloc(&q->rd, len, 16), len, writable };
	int head;

	memset(rd_ptr(&q->rd, buf.gpa), NOT_USED, len);
	f->buffers[f->buffer_n] = rd_ptr(&q->rd, buf.gpa);
	head = rd_add(&q->rd, &buf, 1);
	assert_true(head >= 0);
	q->used_len[head] = RIG_NOT_DONE;
	f->heads[f->buffer_n++] = head;
}

static void offer(struct fixture *f, unsigned int n)
{
	while (n-- > 0) {
		offer_of(f, VIRTIO_SCSI_EVENT_SIZE, true);
	}
}

static void add(struct fixture *f, unsigned int target)
{
	assert_int_equal(scsi_add_target(f->rig->device, target, &f->disk.bdev, false, NULL), 0);
	assert_true(rig_update(f->rig));
}

static void take(struct fixture *f, unsigned int target)
{
	assert_int_equal(scsi_remove_target(f->rig->device, target), 0);
	assert_true(rig_update(f->rig));
}

static void resize(struct fixture *f, unsigned int disk, uint64_t blocks)
{
	f->rig->disk[disk].bdev.info.size = blocks * 512;
	assert_true(rig_update(f->rig));
}

/* The next event that the driver sees. */
static void expect(struct fixture *f, uint32_t event, unsigned int target, uint32_t reason)
{
	struct bytes_reader r = bytes_reader(f->buffers[f->seen], VIRTIO_SCSI_EVENT_SIZE);
	uint8_t lun[8] = { 0 };

	rig_round(f->rig);
	assert_true(f->seen++ < f->buffer_n);
	if (event != VIRTIO_SCSI_T_EVENTS_MISSED) {
		lun[0] = 1;
		lun[1] = (uint8_t)target;
	}
	assert_int_equal(bytes_get_le32(&r), event);
	assert_memory_equal(r.data + r.pos, lun, sizeof(lun));
	bytes_skip(&r, sizeof(lun));
	assert_int_equal(bytes_get_le32(&r), reason);
}

/* Nothing more comes, and buffers that are left stay in the ring. */
static void expect_no_more(struct fixture *f)
{
	struct rig_queue *q = &f->rig->q[RIG_EVENT];

	rig_round(f->rig);
	assert_int_equal(virtq_base(q->vq), f->seen);
	assert_int_equal(virtq_inflight(q->vq), 0);
	for (unsigned int i = f->seen; i < f->buffer_n; i++) {
		assert_int_equal(f->buffers[i][0], NOT_USED);
	}
}

static struct scsi_event_stats stats_of(const struct fixture *f)
{
	struct scsi_event_stats stats;

	scsi_get_event_stats(f->rig->device, &stats);
	return stats;
}

static void what_happens_is_told(void **state)
{
	struct fixture f = open_rig(HOTPLUG | CHANGE);

	fake_disk_open(&f.disk, &(struct fake_disk_options){ 0 });
	offer(&f, 8);
	expect_no_more(&f);
	assert_true(f.rig->q[RIG_EVENT].dq->quiescent);
	add(&f, NEW);
	assert_false(f.rig->q[RIG_EVENT].dq->quiescent);
	expect(&f, VIRTIO_SCSI_T_TRANSPORT_RESET, NEW, RESCAN);
	expect_no_more(&f);
	assert_true(f.rig->q[RIG_EVENT].dq->quiescent);
	resize(&f, 0, 100);
	expect(&f, VIRTIO_SCSI_T_PARAM_CHANGE, RIG_TARGET, RESIZED);
	take(&f, NEW);
	expect(&f, VIRTIO_SCSI_T_TRANSPORT_RESET, NEW, REMOVED);
	/* Whoever is told by events is not told by sense. */
	for (unsigned int i = 0; i < 2; i++) {
		struct rig_request r =
			rig_send(f.rig, RIG_A, RIG_TARGET_2, i, CDB(SCSI_TEST_UNIT_READY), 0, 0);

		rig_round(f.rig);
		rig_assert(f.rig, &r, VIRTIO_SCSI_S_OK, SCSI_STATUS_GOOD, 0, 0);
	}
	expect_no_more(&f);
	assert_int_equal(stats_of(&f).delivered, 3);
	assert_int_equal(stats_of(&f).missed, 0);
	close_rig(&f);
}

/* An event is due when the last command has been answered, not before. */
static void a_removal_is_told_when_it_is_over(void **state)
{
	struct fixture f = open_rig(HOTPLUG | CHANGE);
	struct rig_request r;

	fake_disk_open(&f.disk, &(struct fake_disk_options){ 0 });
	offer(&f, 4);
	f.rig->disk[0].hold = true;
	r = rig_send(f.rig, RIG_A, RIG_TARGET, 1, CDB(SCSI_READ_10, 0, BE32(0), 0, BE16(1)), 0,
		     512);
	rig_round(f.rig);
	assert_int_equal(scsi_remove_target(f.rig->device, RIG_TARGET), 0);
	assert_int_equal(scsi_add_target(f.rig->device, RIG_TARGET, &f.disk.bdev, false, NULL), 0);
	assert_false(rig_update(f.rig));
	expect_no_more(&f);
	f.rig->disk[0].hold = false;
	rig_round(f.rig);
	assert_true(rig_is_done(f.rig, &r));
	assert_true(rig_update(f.rig));
	expect(&f, VIRTIO_SCSI_T_TRANSPORT_RESET, RIG_TARGET, REMOVED);
	expect(&f, VIRTIO_SCSI_T_TRANSPORT_RESET, RIG_TARGET, RESCAN);
	expect_no_more(&f);
	close_rig(&f);
}

static void only_what_was_negotiated(void **state)
{
	static const uint64_t features[] = { 0, HOTPLUG, CHANGE };

	for (unsigned int i = 0; i < 3; i++) {
		struct fixture f = open_rig(features[i]);

		fake_disk_open(&f.disk, &(struct fake_disk_options){ 0 });
		offer(&f, 8);
		add(&f, NEW);
		if (features[i] == HOTPLUG) {
			expect(&f, VIRTIO_SCSI_T_TRANSPORT_RESET, NEW, RESCAN);
		}
		resize(&f, 1, 100);
		if (features[i] == CHANGE) {
			expect(&f, VIRTIO_SCSI_T_PARAM_CHANGE, RIG_TARGET_2, RESIZED);
		}
		take(&f, NEW);
		if (features[i] == HOTPLUG) {
			expect(&f, VIRTIO_SCSI_T_TRANSPORT_RESET, NEW, REMOVED);
		}
		expect_no_more(&f);
		close_rig(&f);
	}
}

/* Events wait for buffers, and say the same as if there had been some all the time. */
static void without_buffers_events_wait(void **state)
{
	struct fixture f = open_rig(HOTPLUG | CHANGE);

	fake_disk_open(&f.disk, &(struct fake_disk_options){ 0 });
	take(&f, RIG_TARGET);
	add(&f, RIG_TARGET);
	resize(&f, 1, 100);
	resize(&f, 1, 200);
	resize(&f, 1, 300);
	add(&f, NEW);
	assert_int_equal(rig_round(f.rig), 0);
	assert_false(f.rig->q[RIG_EVENT].dq->quiescent);
	offer(&f, 1);
	expect(&f, VIRTIO_SCSI_T_TRANSPORT_RESET, RIG_TARGET, REMOVED);
	assert_int_equal(rig_round(f.rig), 0);
	offer(&f, 5);
	expect(&f, VIRTIO_SCSI_T_TRANSPORT_RESET, RIG_TARGET, RESCAN);
	expect(&f, VIRTIO_SCSI_T_PARAM_CHANGE, RIG_TARGET_2, RESIZED);
	expect(&f, VIRTIO_SCSI_T_TRANSPORT_RESET, NEW, RESCAN);
	expect_no_more(&f);
	assert_int_equal(stats_of(&f).missed, 0);
	close_rig(&f);
}

/* A change of size of what is removed, or is going to be scanned, is no news of its own. */
static void other_events_say_enough(void **state)
{
	struct fixture f = open_rig(HOTPLUG | CHANGE);

	fake_disk_open(&f.disk, &(struct fake_disk_options){ 0 });
	resize(&f, 1, 100);
	take(&f, RIG_TARGET_2);
	add(&f, NEW);
	f.disk.bdev.info.size /= 2;
	assert_true(rig_update(f.rig));
	offer(&f, 8);
	expect(&f, VIRTIO_SCSI_T_TRANSPORT_RESET, RIG_TARGET_2, REMOVED);
	expect(&f, VIRTIO_SCSI_T_TRANSPORT_RESET, NEW, RESCAN);
	expect_no_more(&f);
	assert_int_equal(stats_of(&f).missed, 0);
	close_rig(&f);
}

/* A target that comes and goes before the driver can be told is an event that it missed. */
static void events_are_missed(void **state)
{
	struct fixture f = open_rig(HOTPLUG | CHANGE);

	fake_disk_open(&f.disk, &(struct fake_disk_options){ 0 });
	add(&f, NEW);
	take(&f, NEW);
	offer(&f, 8);
	expect(&f, VIRTIO_SCSI_T_EVENTS_MISSED, 0, 0); /* of no target in particular */
	expect_no_more(&f);
	add(&f, NEW);
	expect(&f, VIRTIO_SCSI_T_TRANSPORT_RESET, NEW, RESCAN);
	close_rig(&f);
}

static void the_next_event_says_so(void **state)
{
	struct fixture f = open_rig(HOTPLUG | CHANGE);

	fake_disk_open(&f.disk, &(struct fake_disk_options){ 0 });
	take(&f, RIG_TARGET);
	for (unsigned int i = 0; i < 3; i++) {
		add(&f, RIG_TARGET);
		take(&f, RIG_TARGET);
	}
	add(&f, RIG_TARGET);
	resize(&f, 1, 100);
	offer(&f, 8);
	expect(&f, VIRTIO_SCSI_T_TRANSPORT_RESET | VIRTIO_SCSI_T_EVENTS_MISSED, RIG_TARGET,
	       REMOVED);
	expect(&f, VIRTIO_SCSI_T_TRANSPORT_RESET, RIG_TARGET, RESCAN);
	expect(&f, VIRTIO_SCSI_T_PARAM_CHANGE, RIG_TARGET_2, RESIZED);
	expect_no_more(&f);
	assert_int_equal(stats_of(&f).delivered, 3);
	assert_int_equal(stats_of(&f).missed, 1);
	close_rig(&f);
}

/* Case T63. */
static void buffers_that_hold_no_event(void **state)
{
	struct fixture f = open_rig(HOTPLUG | CHANGE);
	struct rig_queue *q = &f.rig->q[RIG_EVENT];
	struct virtq_stats stats;

	fake_disk_open(&f.disk, &(struct fake_disk_options){ 0 });
	for (unsigned int i = 0; i < 20; i++) {
		offer_of(&f, i % 2 == 0 ? VIRTIO_SCSI_EVENT_SIZE - 1 : 64, i % 2 == 0);
	}
	add(&f, NEW);
	/* A round has an end, whatever is offered. */
	rig_round(f.rig);
	assert_in_range(virtq_base(q->vq), 1, 10);
	rig_round(f.rig);
	rig_round(f.rig);
	assert_int_equal(virtq_base(q->vq), 20);
	for (unsigned int i = 0; i < 20; i++) {
		assert_int_equal(f.buffers[i][0], NOT_USED);
		assert_int_equal(q->used_len[f.heads[i]], 0);
	}
	virtq_read_stats(q->vq, &stats);
	assert_int_equal(stats.malformed, 20);
	assert_false(virtq_is_broken(q->vq));
	f.seen = 20;
	offer_of(&f, 100, true); /* a larger one will do */
	expect(&f, VIRTIO_SCSI_T_TRANSPORT_RESET | VIRTIO_SCSI_T_EVENTS_MISSED, NEW, RESCAN);
	assert_int_equal(f.buffers[20][VIRTIO_SCSI_EVENT_SIZE], NOT_USED);
	assert_int_equal(q->used_len[f.heads[20]], VIRTIO_SCSI_EVENT_SIZE);
	close_rig(&f);
}

/* The ring is stopped and started (a paused guest, a new memory table): nothing is lost. */
static void a_pause_loses_nothing(void **state)
{
	struct fixture f = open_rig(HOTPLUG | CHANGE);

	fake_disk_open(&f.disk, &(struct fake_disk_options){ 0 });
	for (unsigned int i = 0; i < RIG_QUEUES; i++) {
		rig_stop_queue(f.rig, i);
	}
	add(&f, NEW);
	resize(&f, 0, 100);
	f.rig->device->ops->negotiated(f.rig->device, HOTPLUG | CHANGE);
	rig_start(f.rig);
	offer(&f, 4);
	expect(&f, VIRTIO_SCSI_T_PARAM_CHANGE, RIG_TARGET, RESIZED);
	expect(&f, VIRTIO_SCSI_T_TRANSPORT_RESET, NEW, RESCAN);
	expect_no_more(&f);
	close_rig(&f);
}

/* Another driver takes no events of that kind; another front-end was not there. */
static void a_new_driver_looks_by_itself(void **state)
{
	for (unsigned int session = 0; session < 2; session++) {
		struct fixture f = open_rig(HOTPLUG | CHANGE);

		fake_disk_open(&f.disk, &(struct fake_disk_options){ 0 });
		add(&f, NEW);
		take(&f, NEW);
		add(&f, NEW);
		for (unsigned int i = 0; i < RIG_QUEUES; i++) {
			rig_stop_queue(f.rig, i);
		}
		take(&f, RIG_TARGET_2);
		if (session == 1) {
			f.rig->device->ops->session_begins(f.rig->device);
			f.rig->device->ops->negotiated(f.rig->device, HOTPLUG | CHANGE);
		} else {
			f.rig->device->ops->negotiated(f.rig->device, 0);
		}
		rig_start(f.rig);
		offer(&f, 4);
		expect_no_more(&f);
		close_rig(&f);
	}
}

static void addresses_of_events(void **state)
{
	static const struct {
		unsigned int target;
		uint16_t lun;
		uint8_t expected[8];
	} cases[] = {
		{ 0, 0, { 1, 0, 0, 0 } },
		{ 7, 255, { 1, 7, 0, 255 } },
		{ 7, 256, { 1, 7, 0x41, 0 } },
		{ 255, 16383, { 1, 255, 0x7f, 0xff } },
	};
	struct scsi_address address;
	uint8_t lun[8];

	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		memset(lun, 0xee, sizeof(lun));
		scsi_event_lun(lun, cases[i].target, cases[i].lun);
		assert_memory_equal(lun, cases[i].expected, sizeof(lun));
		/* A request may use the same address. */
		assert_true(scsi_address_parse(lun, &address));
		assert_int_equal(address.target, cases[i].target);
		assert_int_equal(address.lun, cases[i].lun);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_happens_is_told),
		cmocka_unit_test(a_removal_is_told_when_it_is_over),
		cmocka_unit_test(only_what_was_negotiated),
		cmocka_unit_test(without_buffers_events_wait),
		cmocka_unit_test(other_events_say_enough),
		cmocka_unit_test(events_are_missed),
		cmocka_unit_test(the_next_event_says_so),
		cmocka_unit_test(buffers_that_hold_no_event),
		cmocka_unit_test(a_pause_loses_nothing),
		cmocka_unit_test(a_new_driver_looks_by_itself),
		cmocka_unit_test(addresses_of_events),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
