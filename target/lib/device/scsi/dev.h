/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: the device behind struct virtio_device, shared by scsi.c (life, config space), targets.c
 * (which logical units there are), request.c (request queues), tmf.c (control queue) and event.c (event
 * queue). All queues of one device run on one reactor, so whatever commands of different queues share
 * needs no lock.
 */
#ifndef VHT_DEVICE_SCSI_DEV_H
#define VHT_DEVICE_SCSI_DEV_H

#include <stdatomic.h>
#include <sys/queue.h>

#include "device/scsi/cmd.h"
#include "device/scsi/lu.h"
#include "device/scsi/scsi.h"
#include "virtio/device.h"

/* Task management functions that wait for tasks at the same time; more stay in the ring. A mask of
 * them is kept in each task. */
#define SCSI_TMF_SLOTS 8

/* Bounds on what a driver may write to the config space: private copies of CDBs and the response of a
 * request have room for that many (request.c). */
#define SCSI_SENSE_SIZE_MAX 256
#define SCSI_CDB_SIZE_MAX   256

/* As the config space has it: how many commands a driver has under way for one disk. */
#define SCSI_CMD_PER_LUN 128

/* Commands that wait for room in their bdev; more stay in the rings. Task management walks over all
 * tasks, which must not take long. A driver that obeys cmd_per_lun never has more. */
#define SCSI_MAX_WAITING (SCSI_MAX_TARGETS * SCSI_CMD_PER_LUN)

struct scsi_request_queue;
struct scsi_control_queue;
struct scsi_tmf;

STAILQ_HEAD(scsi_tmf_list, scsi_tmf);

/* What a driver has to hear of a target. */
enum scsi_event {
	SCSI_EVENT_ADDED = 1 << 0,
	SCSI_EVENT_REMOVED = 1 << 1,
	SCSI_EVENT_RESIZED = 1 << 2,
};

/* Owner: the reactor. */
struct scsi_events {
	struct device_queue *queue; /* NULL: not running */
	uint8_t pending[SCSI_MAX_TARGETS];
	bool missed;
	struct scsi_event_stats stats; /* relaxed; read by anyone */
};

struct scsi_device {
	struct virtio_device device; /* first */
	unsigned int request_queues;
	struct scsi_limits limits;
	uint64_t features; /* negotiated; changes only while no queue is running */

	/* Logical units that there shall be, written by the control thread; and those that there were,
	 * which the reactor may not have let go of. */
	_Atomic(struct scsi_lu *) wanted[SCSI_MAX_TARGETS];
	STAILQ_HEAD(, scsi_lu) old;

	/* Config space, written by the control thread while reactors may read: relaxed atomics. A queue
	 * uses the values that it found when it was started. */
	uint32_t sense_size;
	uint32_t cdb_size;

	/* the reactor's: */
	struct scsi_lu *lus[SCSI_MAX_TARGETS]; /* NULL: no such target */
	struct scsi_events events;
	struct bdev_channels *channels;
	unsigned int running;	/* request queues */
	unsigned int waiting_n; /* commands in the waiting lists of all logical units */
	struct scsi_control_queue *control;
	struct scsi_tmf *tmf_slots[SCSI_TMF_SLOTS];
	struct scsi_tmf_list tmf_ready; /* to be answered in the next round */
};

static inline struct scsi_device *scsi_device_of(const struct virtio_device *device)
{
	return (struct scsi_device *)(uintptr_t)device; /* `device` is its first member */
}

/* false: no such target. *ret_lu NULL: the target has no such logical unit. */
static inline bool scsi_device_find(struct scsi_device *dev, const uint8_t *lun,
				    struct scsi_address *ret_address, struct scsi_lu **ret_lu)
{
	struct scsi_lu *lu;

	if (!scsi_address_parse(lun, ret_address) || ret_address->target >= SCSI_MAX_TARGETS) {
		return false;
	}
	lu = dev->lus[ret_address->target];
	if (lu == NULL || lu->leaving) {
		return false;
	}
	*ret_lu = ret_address->lun == 0 ? lu : NULL;
	return true;
}

/* ---- targets.c ---- */

/* Lets there be what there shall be. False: not all of it yet, once more in the next round. */
bool scsi_reconcile(struct scsi_device *dev);
bool scsi_queue_update(struct device_queue *queue);
void scsi_settled(struct virtio_device *device, bool running);
void scsi_remove_all_targets(struct scsi_device *dev); /* no queue is running */

/* ---- handover.c ---- */

void scsi_save_state(const struct virtio_device *device, struct parcel *parcel);
int scsi_restore_state(struct virtio_device *device, struct parcel *parcel);

/* ---- event.c ---- */

/* Does nothing for a driver that takes no events of this kind. */
void scsi_event_post(struct scsi_device *dev, unsigned int target, enum scsi_event what);
void scsi_events_forget(struct scsi_device *dev); /* nobody is there who could have missed them */
void scsi_events_negotiated(struct scsi_device *dev);
/* The address of a logical unit as events have it. */
void scsi_event_lun(uint8_t *lun, unsigned int target, uint16_t number);
int scsi_event_queue_start(struct scsi_device *dev, struct virtq *vq,
			   struct device_queue **ret_queue);
unsigned int scsi_event_queue_poll(struct scsi_device *dev, struct device_queue *queue);
void scsi_event_queue_stop(struct scsi_device *dev, struct device_queue *queue);

/* ---- request.c ---- */

struct scsi_request {
	struct virtq_req vr; /* first */
	struct scsi_request_queue *queue;
	/* The element in which the response ends may also hold the beginning of data-in, which the
	 * command trims: here is how it was. */
	struct iovec *shared;
	struct iovec shared_was;
	struct scsi_cmd cmd;
};

int scsi_request_queue_start(struct scsi_device *dev, struct virtq *vq, unsigned int index,
			     struct device_queue **ret_queue);
unsigned int scsi_request_queue_poll(struct scsi_device *dev, struct device_queue *queue);
void scsi_request_queue_drain(struct scsi_device *dev, struct device_queue *queue);
/* Ends a task from outside: one that waits for room is answered now, others when the bdev is done. */
void scsi_request_end(struct scsi_device *dev, struct scsi_cmd *cmd, uint8_t response);

/* ---- tmf.c ---- */

struct scsi_tmf {
	struct virtq_req vr; /* first */
	uint8_t response;
	uint8_t response_len;
	unsigned int remaining; /* tasks that it waits for */
	STAILQ_ENTRY(scsi_tmf) link;
};

int scsi_control_queue_start(struct scsi_device *dev, struct virtq *vq,
			     struct device_queue **ret_queue);
unsigned int scsi_control_queue_poll(struct scsi_device *dev, struct device_queue *queue);
void scsi_control_queue_drain(struct scsi_device *dev, struct device_queue *queue);
void scsi_control_queue_stop(struct scsi_device *dev, struct device_queue *queue);
/* A task was answered that the functions in `mask` wait for. */
void scsi_tmf_task_done(struct scsi_device *dev, uint8_t mask);

#endif
