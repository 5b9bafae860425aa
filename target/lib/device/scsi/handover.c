/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A SCSI device as another process goes on with it: how it was configured, then what its driver has said to it
 * and has yet to hear of it. No command is under way, and all changes are settled.
 */
#include <errno.h>
#include <string.h>

#include "base/parcel.h"
#include "base/why.h"
#include "device/scsi/dev.h"

static void save_limits(const struct scsi_limits *limits, struct parcel *parcel)
{
	parcel_put_u32(parcel, limits->max_unmap_lba_count);
	parcel_put_u32(parcel, limits->max_unmap_block_descriptor_count);
	parcel_put_u32(parcel, limits->optimal_unmap_granularity);
	parcel_put_u32(parcel, limits->unmap_granularity_alignment);
	parcel_put_u8(parcel, limits->ugavalid);
	parcel_put_u32(parcel, limits->max_write_same_length);
}

static void restore_limits(struct scsi_limits *limits, struct parcel *parcel)
{
	limits->max_unmap_lba_count = parcel_get_u32(parcel);
	limits->max_unmap_block_descriptor_count = parcel_get_u32(parcel);
	limits->optimal_unmap_granularity = parcel_get_u32(parcel);
	limits->unmap_granularity_alignment = parcel_get_u32(parcel);
	limits->ugavalid = parcel_get_bool(parcel);
	limits->max_write_same_length = parcel_get_u32(parcel);
}

void scsi_save(const struct virtio_device *device, struct parcel *parcel)
{
	const struct scsi_device *dev = scsi_device_of(device);
	unsigned int i;

	parcel_put_u32(parcel, dev->request_queues);
	save_limits(&dev->limits, parcel);
	for (i = 0; i < SCSI_MAX_TARGETS; i++) {
		const struct scsi_lu *lu =
			atomic_load_explicit(&dev->wanted[i], memory_order_relaxed);

		parcel_put_text(parcel, lu != NULL ? lu->bdev->name : NULL);
		if (lu != NULL) {
			parcel_put_u8(parcel, lu->read_only);
			parcel_put_text(parcel, lu->serial);
		}
	}
}

static int restore_targets(struct scsi_device *dev, struct parcel *parcel)
{
	unsigned int i;
	int r;

	for (i = 0; i < SCSI_MAX_TARGETS; i++) {
		const char *name = parcel_get_text(parcel);
		const char *serial;
		bool read_only;
		struct bdev *bdev;

		if (name == NULL) {
			continue;
		}
		bdev = bdev_find(name);
		read_only = parcel_get_bool(parcel);
		serial = parcel_get_name(parcel);
		if (parcel->failed || bdev == NULL) {
			return -EPROTO;
		}
		r = scsi_add_target(&dev->device, i, bdev, read_only, serial);
		if (r < 0) {
			return r;
		}
	}
	scsi_settled(&dev->device, false);
	return parcel->failed ? -EPROTO : 0;
}

int scsi_restore(struct parcel *parcel, struct virtio_device **ret_device, const char **ret_why)
{
	struct scsi_limits limits;
	struct scsi_options opts = { .limits = &limits, .request_queues = parcel_get_u32(parcel) };
	struct virtio_device *device;
	int r;

	restore_limits(&limits, parcel);
	r = parcel->failed ? -EPROTO : scsi_new(&opts, &device);
	if (r == 0) {
		r = restore_targets(scsi_device_of(device), parcel);
		if (r < 0) {
			device->ops->free(device);
		}
	}
	if (r < 0) {
		*ret_why = why("cannot make its SCSI device: %s", strerror(-r));
		return r;
	}
	*ret_device = device;
	return 0;
}

void scsi_save_state(const struct virtio_device *device, struct parcel *parcel)
{
	const struct scsi_device *dev = scsi_device_of(device);
	unsigned int i;

	parcel_put_u64(parcel, dev->features);
	parcel_put_u32(parcel, dev->sense_size);
	parcel_put_u32(parcel, dev->cdb_size);
	for (i = 0; i < SCSI_MAX_TARGETS; i++) {
		parcel_put_u32(parcel, dev->known[i].lu != NULL ? *dev->known[i].lu->ua : 0);
		parcel_put_u8(parcel, dev->events.pending[i]);
	}
	parcel_put_u8(parcel, dev->events.missed);
	parcel_put_u64(parcel, dev->events.stats.delivered);
	parcel_put_u64(parcel, dev->events.stats.missed);
}

int scsi_restore_state(struct virtio_device *device, struct parcel *parcel)
{
	struct scsi_device *dev = scsi_device_of(device);
	unsigned int i;

	dev->features = parcel_get_u64(parcel);
	dev->sense_size = parcel_get_below(parcel, SCSI_SENSE_SIZE_MAX + 1);
	dev->cdb_size = parcel_get_below(parcel, SCSI_CDB_SIZE_MAX + 1);
	for (i = 0; i < SCSI_MAX_TARGETS; i++) {
		uint32_t ua = parcel_get_u32(parcel);

		if (dev->known[i].lu != NULL) {
			*dev->known[i].lu->ua = ua;
		}
		dev->events.pending[i] = parcel_get_u8(parcel);
	}
	dev->events.missed = parcel_get_bool(parcel);
	dev->events.stats.delivered = parcel_get_u64(parcel);
	dev->events.stats.missed = parcel_get_u64(parcel);
	return parcel->failed ? -EPROTO : 0;
}
