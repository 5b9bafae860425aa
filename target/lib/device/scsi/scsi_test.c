/* SPDX-License-Identifier: BSD-3-Clause */
/* The device as its owner sees it: targets, features, config space. */
#include <errno.h>
#include <string.h>

#include "device/scsi/testing.h"

#include "device/scsi/scsi.h"
#include "virtio/device.h"

static void targets_come_and_go(void **state)
{
	struct virtio_device *device;
	struct fake_disk disk;

	fake_disk_open(&disk, &(struct fake_disk_options){ 0 });
	assert_int_equal(scsi_new(&(struct scsi_options){ 0 }, &device), 0);
	assert_int_equal(scsi_add_target(device, 8, &disk.bdev, false, NULL), -EINVAL);
	assert_int_equal(scsi_add_target(device, 7, &disk.bdev, false, NULL), 0);
	assert_int_equal(scsi_add_target(device, 7, &disk.bdev, false, NULL), -EEXIST);
	assert_int_equal(scsi_add_target(device, 0, &disk.bdev, true, "s"), 0);
	assert_int_equal(disk.bdev.claims, 2);
	assert_ptr_equal(scsi_target_bdev(device, 7), &disk.bdev);
	assert_null(scsi_target_bdev(device, 1));
	assert_null(scsi_target_bdev(device, 8));
	assert_int_equal(scsi_remove_target(device, 8), -EINVAL);
	assert_int_equal(scsi_remove_target(device, 1), -ENOENT);
	assert_int_equal(scsi_remove_target(device, 7), 0);
	assert_int_equal(scsi_remove_target(device, 7), -ENOENT);
	assert_int_equal(disk.bdev.claims, 1);
	assert_int_equal(disk.bdev.leaving, 1);
	device->ops->settled(device, false);
	assert_int_equal(disk.bdev.leaving, 0);
	assert_int_equal(scsi_add_target(device, 7, &disk.bdev, false, NULL), 0);
	assert_int_equal(scsi_remove_target(device, 7), 0);
	assert_int_equal(disk.bdev.claims, 1);
	device->ops->free(device);
	assert_int_equal(disk.bdev.claims, 0);
	assert_int_equal(disk.bdev.leaving, 0);
	fake_disk_close(&disk);
}

static void numbers_of_queues(void **state)
{
	struct virtio_device *device;

	assert_int_equal(scsi_new(&(struct scsi_options){ .request_queues = 255 }, &device),
			 -EINVAL);
	assert_int_equal(scsi_new(&(struct scsi_options){ .request_queues = 254 }, &device), 0);
	assert_int_equal(device->ops->max_queues(device), 256);
	device->ops->free(device);
	assert_int_equal(scsi_new(&(struct scsi_options){ 0 }, &device), 0);
	assert_int_equal(device->ops->max_queues(device), 66);
	assert_string_equal(device->ops->type, "scsi");
	/* HOTPLUG and CHANGE, for QEMU's sake; not INOUT (0), nor T10_PI (3). */
	assert_int_equal(device->ops->features(device), 1 << 1 | 1 << 2);
	device->ops->free(device);
}

static uint32_t config_u32(struct virtio_device *device, uint32_t offset)
{
	uint8_t b[4];

	assert_int_equal(device->ops->config_read(device, offset, b, 4), 0);
	return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static void config_space(void **state)
{
	static const uint8_t expected[40] = {
		3,  0, 0, 0, 126, 0, 0, 0, 0xff, 0xff, 0, 0, 128, 0, 0, 0, 16, 0, 0, 0,
		96, 0, 0, 0, 32,  0, 0, 0, 0,	 0,    7, 0, 0,	  0, 0, 0, 0,  0, 0, 0,
	};
	struct virtio_device *device;
	uint8_t config[257];

	assert_int_equal(scsi_new(&(struct scsi_options){ .request_queues = 3 }, &device), 0);
	assert_int_equal(device->ops->config_read(device, 0, config, 40), 0);
	assert_memory_equal(config, expected, 40);
	assert_int_equal(device->ops->config_read(device, 30, config, 2), 0);
	assert_int_equal(config[0], 7);
	assert_int_equal(device->ops->config_read(device, 0, config, 256), 0);
	assert_int_equal(config[255], 0);
	assert_int_equal(device->ops->config_read(device, 256, config, 0), 0);
	assert_int_equal(device->ops->config_read(device, 0, config, 257), -EINVAL);
	assert_int_equal(device->ops->config_read(device, 255, config, 2), -EINVAL);
	assert_int_equal(device->ops->config_read(device, UINT32_MAX, config, 2), -EINVAL);
	device->ops->free(device);
}

static void two_fields_are_writable(void **state)
{
	static const struct {
		uint32_t offset;
		uint32_t len;
		uint32_t values[2];
		int result;
	} cases[] = {
		{ 20, 4, { 64 }, 0 },
		{ 24, 4, { 16 }, 0 },
		{ 20, 8, { 256, 256 }, 0 },
		{ 20, 4, { 0 }, 0 },
		{ 20, 4, { 257 }, -EINVAL },
		{ 24, 4, { UINT32_MAX }, -EINVAL },
		{ 20, 8, { 96, 257 }, -EINVAL },
		{ 23, 1, { 1 }, -EINVAL }, /* the highest byte of sense_size */
		{ 20, 1, { 18 }, 0 },
		{ 16, 4, { 16 }, -EINVAL },
		{ 19, 4, { 0 }, -EINVAL },
		{ 28, 4, { 0 }, -EINVAL },
		{ 26, 4, { 0 }, -EINVAL },
		{ 0, 4, { 1 }, -EINVAL },
		{ UINT32_MAX, 4, { 0 }, -EINVAL },
		{ 20, UINT32_MAX, { 0 }, -EINVAL },
	};
	struct virtio_device *device;
	size_t i;

	assert_int_equal(scsi_new(&(struct scsi_options){ 0 }, &device), 0);
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint32_t sense_size;
		uint32_t cdb_size;
		int r;

		/* What the case before has left is gone by either. */
		if (i % 2 == 0) {
			device->ops->negotiated(device, 0);
		} else {
			device->ops->reset(device);
		}
		assert_int_equal(config_u32(device, 20), 96);
		assert_int_equal(config_u32(device, 24), 32);
		r = device->ops->config_write(device, cases[i].offset, cases[i].values,
					      cases[i].len);
		assert_int_equal(r, cases[i].result);
		sense_size = config_u32(device, 20);
		cdb_size = config_u32(device, 24);
		if (r < 0) {
			assert_int_equal(sense_size, 96);
			assert_int_equal(cdb_size, 32);
		} else if (cases[i].offset == 20) {
			assert_int_equal(sense_size, cases[i].values[0]);
			assert_int_equal(cdb_size, cases[i].len == 8 ? cases[i].values[1] : 32);
		} else {
			assert_int_equal(sense_size, 96);
			assert_int_equal(cdb_size, cases[i].values[0]);
		}
	}
	device->ops->free(device);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(targets_come_and_go),
		cmocka_unit_test(numbers_of_queues),
		cmocka_unit_test(config_space),
		cmocka_unit_test(two_fields_are_writable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
