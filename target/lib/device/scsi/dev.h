/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts
 *   device  the one behind struct virtio_device, shared by scsi.c (life, config space), targets.c (which logical
 *           units there are), part.c, request.c (request queues), tmf.c (control queue) and event.c (event queue).
 *   part    what of it is on one reactor: the queues that run there, and a logical unit of its own for each
 *           disk, with the tasks that came over those queues. So commands of different queues share only what
 *           their reactor owns, and need no lock. A part without queues has nothing.
 *   known   what the driver was told of a target, or will be when it takes the event.
 */
#ifndef VHT_DEVICE_SCSI_DEV_H
#define VHT_DEVICE_SCSI_DEV_H

#include <pthread.h>
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

struct scsi_control_queue;
struct scsi_request_queue;
struct scsi_tmf;

/* What a driver has to hear of a target. */
enum scsi_event {
	SCSI_EVENT_ADDED = 1 << 0,
	SCSI_EVENT_REMOVED = 1 << 1,
	SCSI_EVENT_RESIZED = 1 << 2,
};

/* Whoever tells posts them, the reactor of the event queue delivers them. */
struct scsi_events {
	_Atomic uint8_t pending[SCSI_MAX_TARGETS];
	atomic_bool missed;
	struct scsi_event_stats stats; /* relaxed; read by anyone */
};

/* A task management function that is carried out, each part seeing to its own tasks. */
struct scsi_tmf_slot {
	/* Which one it is, or 0: the slot is free. Written by the reactor of the control queue, and with it
	 * (release) what follows. */
	atomic_uint order;
	struct scsi_tmf *tmf; /* only that reactor's */
	_Atomic uint32_t subtype;
	_Atomic uint8_t target;
	_Atomic uint64_t tag;
	atomic_bool found; /* by any part: the task, or any task, that is asked for */
};

/* What a part has done about the function in a slot. */
struct scsi_part_tmf {
	unsigned int begun;	/* its order */
	unsigned int remaining; /* tasks that it waits for */
	uint64_t round;		/* in which the last of them was answered */
	/* Its order, when those answers are published. Read by the control queue's reactor. */
	atomic_uint done;
};

/* Owner: its reactor. */
struct scsi_part {
	struct scsi_device *dev;
	struct bdev_channels *channels; /* of its reactor, and what it is found by */
	struct scsi_part *next;		/* constant */
	atomic_uint queues;		/* that run here; read by the control queue's reactor */
	unsigned int running;		/* request queues among them */
	unsigned int waiting_n;		/* commands in the waiting lists of all logical units */
	struct scsi_lu *lus[SCSI_MAX_TARGETS]; /* NULL: no such target */
	/* What they were made after. Read by anyone. */
	_Atomic(struct scsi_lu *) has[SCSI_MAX_TARGETS];
	struct device_queue *events; /* the event queue, if it runs here */
	struct scsi_part_tmf tmf[SCSI_TMF_SLOTS];
};

/* What all kinds of queues begin with. */
struct scsi_queue {
	struct device_queue dq; /* first */
	struct scsi_part *part;
};

struct scsi_device {
	struct virtio_device device; /* first */
	unsigned int request_queues;
	struct scsi_limits limits;
	uint64_t features; /* negotiated; changes only while no queue is running */

	/* Logical units that there shall be, written by the control thread; and those that there were,
	 * which reactors may not have let go of. */
	_Atomic(struct scsi_lu *) wanted[SCSI_MAX_TARGETS];
	STAILQ_HEAD(, scsi_lu) old;
	/* Whoever tells holds the lock: nobody does who moves data. */
	pthread_mutex_t telling;
	struct {
		struct scsi_lu *lu; /* NULL: no such target */
		uint64_t blocks;
	} known[SCSI_MAX_TARGETS];

	/* Config space, written by the control thread while reactors may read: relaxed atomics. A queue
	 * uses the values that it found when it was started. */
	uint32_t sense_size;
	uint32_t cdb_size;

	struct scsi_events events;
	/* One for each reactor that ever served it: they come and stay. */
	_Atomic(struct scsi_part *) parts;
	struct scsi_tmf_slot tmf[SCSI_TMF_SLOTS];
	unsigned int tmf_order; /* of the last function; the control queue's reactor's */
};

static inline struct scsi_device *scsi_device_of(const struct virtio_device *device)
{
	return (struct scsi_device *)(uintptr_t)device; /* `device` is its first member */
}

/* false: no such target. *ret_lu NULL: the target has no such logical unit. */
static inline bool scsi_part_find(struct scsi_part *part, const uint8_t *lun,
				  struct scsi_address *ret_address, struct scsi_lu **ret_lu)
{
	struct scsi_lu *lu;

	if (!scsi_address_parse(lun, ret_address) || ret_address->target >= SCSI_MAX_TARGETS) {
		return false;
	}
	lu = part->lus[ret_address->target];
	if (lu == NULL || lu->leaving) {
		return false;
	}
	*ret_lu = ret_address->lun == 0 ? lu : NULL;
	return true;
}

/* ---- targets.c ---- */

/* The driver is to know what all parts have, and what none has any more: posts events and unit attentions. True:
 * there is an event. Control thread, or a reactor in an update. */
bool scsi_tell(struct scsi_device *dev);
bool scsi_settled(struct virtio_device *device, bool running);
void scsi_remove_all_targets(struct scsi_device *dev); /* no queue is running */

/* ---- part.c: on the part's reactor ---- */

/* A queue begins to run with these channels. Negative errno. */
int scsi_part_enter(struct scsi_device *dev, struct bdev_channels *channels,
		    struct scsi_part **ret_part);
void scsi_part_leave(struct scsi_part *part); /* it has stopped */
/* The same for request queues, in between: the channels of the bdevs are open while one runs. */
int scsi_part_open(struct scsi_part *part);
void scsi_part_close(struct scsi_part *part);
bool scsi_queue_update(struct device_queue *queue);
void scsi_parts_free(struct scsi_device *dev); /* control thread; no queue is running */

/* ---- handover.c ---- */

void scsi_save_state(const struct virtio_device *device, struct parcel *parcel);
int scsi_restore_state(struct virtio_device *device, struct parcel *parcel);

/* ---- event.c ---- */

/* Whoever tells. False, and nothing is done: the driver takes no events of this kind. */
bool scsi_event_post(struct scsi_device *dev, unsigned int target, enum scsi_event what);
void scsi_events_forget(struct scsi_device *dev); /* nobody is there who could have missed them */
void scsi_events_negotiated(struct scsi_device *dev);
/* The address of a logical unit as events have it. */
void scsi_event_lun(uint8_t *lun, unsigned int target, uint16_t number);
int scsi_event_queue_start(struct scsi_part *part, struct virtq *vq,
			   struct device_queue **ret_queue);
unsigned int scsi_event_queue_poll(struct device_queue *queue);
void scsi_event_queue_update(struct device_queue *queue); /* there may be news */

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

int scsi_request_queue_start(struct scsi_part *part, struct virtq *vq, unsigned int index,
			     struct device_queue **ret_queue);
unsigned int scsi_request_queue_poll(struct device_queue *queue);
void scsi_request_queue_drain(struct device_queue *queue);
/* Ends a task from outside: one that waits for room is answered now, others when the bdev is done. */
void scsi_request_end(struct scsi_part *part, struct scsi_cmd *cmd, uint8_t response);

/* ---- tmf.c ---- */

struct scsi_tmf {
	struct virtq_req vr; /* first */
	uint8_t response;
	uint8_t response_len;
	STAILQ_ENTRY(scsi_tmf) link;
};

int scsi_control_queue_start(struct scsi_part *part, struct virtq *vq,
			     struct device_queue **ret_queue);
unsigned int scsi_control_queue_poll(struct device_queue *queue);
void scsi_control_queue_drain(struct device_queue *queue);
/* A task of the part was answered that the functions in `mask` wait for. */
void scsi_tmf_task_done(struct scsi_part *part, uint8_t mask);
/* The first queue of the part enters: it has no task that a function under way could mean. */
void scsi_tmf_skip(struct scsi_part *part);
/* Sees to what the part has to do for the functions under way. False: not over yet, once more in the next round.
 * *ret_restless: which comes without an event. */
bool scsi_tmf_update(struct scsi_part *part, bool *ret_restless);

#endif
