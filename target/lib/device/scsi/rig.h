/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: for unit tests only. A whole SCSI device with its queues, fake disks behind it and a ring
 * driver on each queue, turned round by round as the owner of a device does.
 */
#ifndef VHT_DEVICE_SCSI_RIG_H
#define VHT_DEVICE_SCSI_RIG_H

#include "device/scsi/testing.h"

#include <ring_driver.h>

#include "device/scsi/scsi.h"
#include "virtio/device.h"

#define RIG_CONTROL 0
#define RIG_EVENT   1
#define RIG_A	    2 /* two request queues */
#define RIG_B	    3
#define RIG_QUEUES  4
#define RIG_CORES   2

#define RIG_RING     64
#define RIG_NOT_DONE UINT32_MAX
#define RIG_HEAD_LEN 51	 /* virtio 1.2, 5.6.6.1, with a CDB of 32 */
#define RIG_RESP_LEN 108 /* and sense of 96 */
#define RIG_TARGET   2	 /* of disk[0]; disk[1] is the next but one */
#define RIG_TARGET_2 4

struct rig_queue {
	struct ring_driver rd;
	struct virtq *vq;
	struct device_queue *dq;
	unsigned int core; /* on which it runs: 0, if the test says nothing else before the start */
	bool draining;
	bool updating;
	uint32_t used_len[RIG_RING];  /* by head; RIG_NOT_DONE */
	unsigned int order[RIG_RING]; /* by head: the how many-th of all queues it was seen */
};

struct rig {
	struct virtio_device *device;
	struct fake_disk disk[2];
	struct bdev_channels channels[RIG_CORES];
	struct rig_queue q[RIG_QUEUES];
	unsigned int seen;
	bool asked; /* for an update, by the device */
	bool update_out;
};

struct rig *
rig_new(const struct fake_disk_options *opts); /* NULL: defaults; queues are not running */
void rig_start(struct rig *rig);	       /* all queues */
void rig_start_queue(struct rig *rig, unsigned int index);
/* One round of the owner, core by core: update and poll queues, poll channels, publish; then the driver looks at
 * each ring. */
unsigned int rig_round(struct rig *rig);
void rig_stop_queue(struct rig *rig, unsigned int index);
/* What the owner of a device does when it was changed. False: it has to wait, and settles later. */
bool rig_update(struct rig *rig);
void rig_free(struct rig *rig);

/* A request as Linux frames it: head, data-out, response, data-in. */
struct rig_request {
	unsigned int queue;
	int head;
	uint8_t *out;
	uint8_t *resp;
	uint8_t *in;
};

/* target < 256, LUN 0 in flat form. */
struct rig_request rig_send(struct rig *rig, unsigned int queue, unsigned int target, uint64_t tag,
			    const uint8_t *cdb, uint32_t out_len, uint32_t in_len);
/* Writes the head of a request: RIG_HEAD_LEN bytes. */
void rig_put_head(uint8_t *head, unsigned int target, uint64_t tag, const uint8_t *cdb);
bool rig_is_done(const struct rig *rig, const struct rig_request *req);
unsigned int rig_order(const struct rig *rig, const struct rig_request *req);
/* The request is done, with this in its response. Sense is checked against `condition` if not 0. */
void rig_assert(const struct rig *rig, const struct rig_request *req, uint8_t response,
		uint8_t status, uint32_t residual, enum scsi_condition condition);

/* A task management function; its only byte of response begins as FFh. */
struct rig_request rig_send_tmf(struct rig *rig, uint32_t subtype, unsigned int target,
				unsigned int lun, uint64_t tag);

#endif
