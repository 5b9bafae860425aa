/* SPDX-License-Identifier: BSD-3-Clause */
/* Targets that come, go and change their size under running queues, as commands see it. */
#include <errno.h>
#include <string.h>

#include "device/scsi/dev.h"
#include "device/scsi/rig.h"

#define OK    VIRTIO_SCSI_S_OK
#define GOOD  SCSI_STATUS_GOOD
#define CHECK SCSI_STATUS_CHECK_CONDITION

#define READ(lba)     CDB(SCSI_READ_10, 0, BE32(lba), 0, BE16(1))
#define TUR	      CDB(SCSI_TEST_UNIT_READY)
#define READ_CAPACITY CDB(SCSI_READ_CAPACITY_10)

static struct rig *running_rig(void)
{
	struct rig *rig = rig_new(NULL);

	rig_start(rig);
	return rig;
}

/* The answer to one command: its response, or its condition when that is OK. */
static int ask(struct rig *rig, unsigned int target, const uint8_t *cdb, uint32_t in_len)
{
	struct rig_request r = rig_send(rig, RIG_A, target, 1, cdb, 0, in_len);

	rig_round(rig);
	assert_true(rig_is_done(rig, &r));
	if (r.resp[11] != OK || r.resp[10] == GOOD) {
		return r.resp[11];
	}
	assert_int_equal(r.resp[10], CHECK);
	return r.resp[12 + 2] << 16 | r.resp[12 + 12] << 8 | r.resp[12 + 13];
}

static uint32_t last_block(struct rig *rig, unsigned int target)
{
	struct rig_request r = rig_send(rig, RIG_B, target, 1, READ_CAPACITY, 0, 8);

	rig_round(rig);
	rig_assert(rig, &r, OK, GOOD, 0, 0);
	return scsi_be32(r.in);
}

static void a_target_is_added(void **state)
{
	struct rig *rig = running_rig();
	struct fake_disk disk;

	fake_disk_open(&disk, &(struct fake_disk_options){ .blocks = 100 });
	assert_int_equal(ask(rig, 7, TUR, 0), VIRTIO_SCSI_S_BAD_TARGET);
	assert_int_equal(scsi_add_target(rig->device, 7, &disk.bdev, false, NULL), 0);
	assert_int_equal(ask(rig, 7, TUR, 0), VIRTIO_SCSI_S_BAD_TARGET); /* not told yet */
	/* Nobody who could be told has seen the other size. */
	disk.bdev.info.size = 50 * 512;
	assert_true(rig_update(rig));
	assert_int_equal(ask(rig, 7, READ(49), 512), OK);
	assert_int_equal(last_block(rig, 7), 49);
	/* No events were negotiated: the other targets say that there is a new one. */
	assert_int_equal(ask(rig, RIG_TARGET, TUR, 0), SCSI_UA_LUNS_CHANGED);
	assert_int_equal(ask(rig, RIG_TARGET, TUR, 0), OK);
	assert_int_equal(ask(rig, RIG_TARGET_2, TUR, 0), SCSI_UA_LUNS_CHANGED);
	rig_free(rig);
	assert_int_equal(disk.bdev.claims + disk.bdev.leaving, 0);
	fake_disk_close(&disk);
}

/* It takes no more commands, and goes when those that it has taken are answered. */
static void a_target_is_removed(void **state)
{
	struct rig *rig = running_rig();
	struct rig_request in_disk;
	struct rig_request no_room;
	struct rig_request other;

	rig->disk[0].hold = true;
	rig->disk[0].room = 1;
	in_disk = rig_send(rig, RIG_A, RIG_TARGET, 1, READ(0), 0, 512);
	no_room = rig_send(rig, RIG_B, RIG_TARGET, 2, READ(1), 0, 512);
	rig_round(rig);
	assert_int_equal(scsi_remove_target(rig->device, RIG_TARGET), 0);
	assert_null(scsi_target_bdev(rig->device, RIG_TARGET));
	assert_int_equal(rig->disk[0].bdev.claims, 0);
	assert_false(rig_update(rig));
	assert_false(rig_update(rig));
	assert_int_equal(ask(rig, RIG_TARGET, TUR, 0), VIRTIO_SCSI_S_BAD_TARGET);
	other = rig_send(rig, RIG_A, RIG_TARGET_2, 3, READ(0), 0, 512);
	rig_round(rig);
	rig_assert(rig, &other, OK, GOOD, 0, 0);
	assert_false(rig_is_done(rig, &in_disk));
	assert_false(rig_is_done(rig, &no_room));
	assert_int_equal(rig->disk[0].bdev.leaving, 1);

	rig->disk[0].hold = false;
	rig_round(rig);
	rig_assert(rig, &in_disk, OK, GOOD, 0, 0);
	assert_false(rig_update(rig));
	rig_round(rig);
	rig_assert(rig, &no_room, OK, GOOD, 0, 0);
	assert_true(rig_update(rig));
	assert_int_equal(rig->disk[0].bdev.leaving, 0);
	assert_int_equal(ask(rig, RIG_TARGET, TUR, 0), VIRTIO_SCSI_S_BAD_TARGET);
	/* Functions for a target that is not there. */
	other = rig_send_tmf(rig, VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET, RIG_TARGET, 0, 0);
	rig_round(rig);
	rig_round(rig);
	assert_int_equal(other.resp[0], VIRTIO_SCSI_S_BAD_TARGET);
	rig_free(rig);
}

/* The next one on the same number waits for it; a function that waits for its commands goes on. */
static void a_target_is_replaced(void **state)
{
	struct rig *rig = running_rig();
	struct rig_request under_way;
	struct rig_request tmf;
	struct fake_disk disk;

	fake_disk_open(&disk, &(struct fake_disk_options){ .blocks = 100 });
	rig->disk[0].hold = true;
	under_way = rig_send(rig, RIG_A, RIG_TARGET, 1, READ(0), 0, 512);
	rig_round(rig);
	tmf = rig_send_tmf(rig, VIRTIO_SCSI_T_TMF_ABORT_TASK, RIG_TARGET, 0, 1);
	rig_round(rig);
	assert_int_equal(scsi_remove_target(rig->device, RIG_TARGET), 0);
	assert_int_equal(scsi_add_target(rig->device, RIG_TARGET, &disk.bdev, false, NULL), 0);
	assert_int_equal(scsi_add_target(rig->device, RIG_TARGET, &disk.bdev, false, NULL),
			 -EEXIST);
	assert_false(rig_update(rig));
	assert_int_equal(ask(rig, RIG_TARGET, TUR, 0), VIRTIO_SCSI_S_BAD_TARGET);
	rig->disk[0].hold = false;
	rig_round(rig);
	rig_assert(rig, &under_way, VIRTIO_SCSI_S_ABORTED, GOOD, 512, 0);
	assert_true(rig_update(rig));
	rig_round(rig);
	assert_int_equal(tmf.resp[0], VIRTIO_SCSI_S_FUNCTION_COMPLETE);
	assert_int_equal(last_block(rig, RIG_TARGET), 99);
	/* Back and forth before the reactor hears of it. */
	for (unsigned int i = 0; i < 5; i++) {
		assert_int_equal(scsi_remove_target(rig->device, RIG_TARGET), 0);
		assert_int_equal(scsi_add_target(rig->device, RIG_TARGET, &disk.bdev, true, NULL),
				 0);
	}
	assert_int_equal(disk.bdev.claims, 1);
	assert_int_equal(disk.bdev.leaving, 5);
	assert_true(rig_update(rig));
	assert_int_equal(disk.bdev.leaving, 0);
	assert_int_equal(last_block(rig, RIG_TARGET), 99);
	rig_free(rig);
	assert_int_equal(disk.bdev.claims, 0);
	fake_disk_close(&disk);
}

/* Queues stop while it waits. */
static void a_stop_finishes_a_removal(void **state)
{
	struct rig *rig = running_rig();

	rig->disk[0].hold = true;
	rig_send(rig, RIG_A, RIG_TARGET, 1, READ(0), 0, 512);
	rig_round(rig);
	assert_int_equal(scsi_remove_target(rig->device, RIG_TARGET), 0);
	assert_false(rig_update(rig));
	rig->disk[0].hold = false;
	for (unsigned int i = 0; i < RIG_QUEUES; i++) {
		rig_stop_queue(rig, i);
	}
	assert_true(LIST_EMPTY(&rig->channels[0].list));
	assert_true(rig_update(rig));
	assert_int_equal(rig->disk[0].bdev.leaving, 0);
	rig_start(rig);
	assert_int_equal(ask(rig, RIG_TARGET, TUR, 0), VIRTIO_SCSI_S_BAD_TARGET);
	rig_free(rig);
}

/* A control queue alone has no channels; targets come and go all the same. */
static void without_request_queues(void **state)
{
	struct rig *rig = rig_new(NULL);
	struct fake_disk disk;

	fake_disk_open(&disk, &(struct fake_disk_options){ 0 });
	rig_start_queue(rig, RIG_CONTROL);
	rig_start_queue(rig, RIG_EVENT);
	assert_int_equal(scsi_add_target(rig->device, 0, &disk.bdev, false, NULL), 0);
	assert_int_equal(scsi_remove_target(rig->device, RIG_TARGET_2), 0);
	assert_true(rig_update(rig));
	assert_true(LIST_EMPTY(&rig->channels[0].list));
	assert_int_equal(rig->disk[1].bdev.leaving, 0);
	rig_start_queue(rig, RIG_A);
	assert_int_equal(ask(rig, 0, TUR, 0), OK);
	assert_int_equal(ask(rig, RIG_TARGET_2, TUR, 0), VIRTIO_SCSI_S_BAD_TARGET);
	rig_free(rig);
	fake_disk_close(&disk);
}

static void a_target_that_cannot_be_opened(void **state)
{
	struct rig *rig = running_rig();
	unsigned int target = 0;
	struct fake_disk disk;
	int error = 0;

	fake_disk_open(&disk, &(struct fake_disk_options){ 0 });
	disk.open_status = -EAGAIN;
	assert_false(scsi_take_failed_target(rig->device, &target, &error));
	assert_int_equal(scsi_add_target(rig->device, 5, &disk.bdev, false, NULL), 0);
	assert_true(rig_update(rig));
	assert_int_equal(ask(rig, 5, TUR, 0), VIRTIO_SCSI_S_BAD_TARGET);
	assert_true(scsi_take_failed_target(rig->device, &target, &error));
	assert_int_equal(target, 5);
	assert_int_equal(error, -EAGAIN);
	assert_false(scsi_take_failed_target(rig->device, &target, &error));
	assert_null(scsi_target_bdev(rig->device, 5));
	/* Others may have opened it. */
	assert_int_equal(disk.bdev.claims + disk.bdev.leaving, 1);
	assert_true(rig_update(rig));
	assert_int_equal(disk.bdev.claims + disk.bdev.leaving, 0);
	disk.open_status = 0;
	assert_int_equal(scsi_add_target(rig->device, 5, &disk.bdev, false, NULL), 0);
	assert_true(rig_update(rig));
	assert_int_equal(ask(rig, 5, TUR, 0), OK);
	rig_free(rig);
	fake_disk_close(&disk);
}

static void the_capacity_changes(void **state)
{
	struct rig *rig = running_rig();
	uint64_t size = rig->disk[0].bdev.info.size;
	uint32_t blocks = (uint32_t)(size / 512);

	assert_int_equal(last_block(rig, RIG_TARGET), blocks - 1);
	rig->disk[0].bdev.info.size = size / 2;
	assert_true(rig_update(rig));
	assert_int_equal(ask(rig, RIG_TARGET_2, TUR, 0), OK);
	/* The next command of this disk hears of it, once. */
	assert_int_equal(ask(rig, RIG_TARGET, READ(0), 512), SCSI_UA_CAPACITY_CHANGED);
	assert_int_equal(ask(rig, RIG_TARGET, READ(0), 512), OK);
	assert_int_equal(last_block(rig, RIG_TARGET), blocks / 2 - 1);
	assert_int_equal(ask(rig, RIG_TARGET, READ(blocks / 2), 512), SCSI_LBA_OUT_OF_RANGE);
	assert_true(rig_update(rig));
	assert_int_equal(ask(rig, RIG_TARGET, TUR, 0), OK);
	rig->disk[0].bdev.info.size = size;
	assert_true(rig_update(rig));
	assert_int_equal(ask(rig, RIG_TARGET, TUR, 0), SCSI_UA_CAPACITY_CHANGED);
	assert_int_equal(ask(rig, RIG_TARGET, READ(blocks - 1), 512), OK);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_target_is_added),
		cmocka_unit_test(a_target_is_removed),
		cmocka_unit_test(a_target_is_replaced),
		cmocka_unit_test(a_stop_finishes_a_removal),
		cmocka_unit_test(without_request_queues),
		cmocka_unit_test(a_target_that_cannot_be_opened),
		cmocka_unit_test(the_capacity_changes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
