/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: requests of the virtio SCSI host (virtio 1.2, 5.6). Queue 0 takes task management, queue 1 buffers for
 * events, queues from VFE_SCSI_REQUESTS on commands. A frame holds the request with its CDB, the response with the
 * sense data, and some bytes for parameter lists; it lies in shared memory and is in use from vfe_scsi_add until its
 * request has been reaped. CDBs are built by the vfe_cdb functions, which return their length.
 */
#ifndef VHOST_FRONTEND_SCSI_H
#define VHOST_FRONTEND_SCSI_H

#include "vhost_frontend/frontend.h"

#ifdef __cplusplus
extern "C" {
#endif

#define VFE_SCSI_CONTROL  0
#define VFE_SCSI_EVENTS	  1
#define VFE_SCSI_REQUESTS 2 /* the first one */

#define VFE_CDB_MAX	   32
#define VFE_SENSE_MAX	   96
#define VFE_SCSI_DATA	   32	/* bytes of parameter data in a frame */
#define VFE_SCSI_SEGS_MAX  1024 /* most data segments of one request */
#define VFE_SCSI_UNTOUCHED 0xff /* what the response byte holds until the device writes it */

enum vfe_scsi_response {
	VFE_SCSI_OK = 0, /* of task management: complete */
	VFE_SCSI_OVERRUN = 1,
	VFE_SCSI_ABORTED = 2,
	VFE_SCSI_BAD_TARGET = 3,
	VFE_SCSI_RESET = 4,
	VFE_SCSI_BUSY = 5,
	VFE_SCSI_TRANSPORT_FAILURE = 6,
	VFE_SCSI_TARGET_FAILURE = 7,
	VFE_SCSI_NEXUS_FAILURE = 8,
	VFE_SCSI_FAILURE = 9,
	VFE_SCSI_FUNCTION_SUCCEEDED = 10,
	VFE_SCSI_FUNCTION_REJECTED = 11,
	VFE_SCSI_INCORRECT_LUN = 12,
};

enum vfe_scsi_status {
	VFE_STATUS_GOOD = 0x00,
	VFE_STATUS_CHECK_CONDITION = 0x02,
	VFE_STATUS_BUSY = 0x08,
	VFE_STATUS_RESERVATION_CONFLICT = 0x18,
	VFE_STATUS_TASK_SET_FULL = 0x28,
};

enum vfe_scsi_tmf {
	VFE_TMF_ABORT_TASK = 0,
	VFE_TMF_ABORT_TASK_SET = 1,
	VFE_TMF_CLEAR_ACA = 2,
	VFE_TMF_CLEAR_TASK_SET = 3,
	VFE_TMF_I_T_NEXUS_RESET = 4,
	VFE_TMF_LOGICAL_UNIT_RESET = 5,
	VFE_TMF_QUERY_TASK = 6,
	VFE_TMF_QUERY_TASK_SET = 7,
};

struct vfe_scsi_address {
	uint8_t target;
	uint16_t lun;
};

struct vfe_scsi_request {
	uint8_t lun[8];
	uint64_t tag;
	uint8_t task_attr;
	uint8_t prio;
	uint8_t crn;
	uint8_t cdb[VFE_CDB_MAX];
} __attribute__((packed));

struct vfe_scsi_reply {
	uint32_t sense_len;
	uint32_t residual;
	uint16_t status_qualifier;
	uint8_t status;	  /* enum vfe_scsi_status */
	uint8_t response; /* enum vfe_scsi_response */
	uint8_t sense[VFE_SENSE_MAX];
} __attribute__((packed));

/* The request and the reply up to the sense data lie in one cache line. */
struct vfe_scsi_frame {
	struct vfe_scsi_request request;
	struct vfe_scsi_reply reply;
	uint8_t unused[1];
	uint8_t data[VFE_SCSI_DATA];
};

struct vfe_scsi_task_frame {
	uint32_t type;
	uint32_t function;
	uint8_t lun[8];
	uint64_t tag;
	uint8_t response;
	uint8_t unused[39];
};

struct vfe_scsi_event {
	uint32_t event; /* bit 31: others were missed */
	uint8_t lun[8];
	uint32_t reason;
};

struct vfe_scsi_info {
	uint32_t queues; /* for requests */
	uint32_t seg_max;
	uint32_t max_sectors;
	uint32_t cmd_per_lun;
	uint16_t max_target;
	uint32_t max_lun;
};

/* Back-ends without a configuration space get the values that the specification suggests. */
int vfe_scsi_info(struct vfe_session *session, struct vfe_scsi_info *ret_info);

/* `n` frames in a row; NULL: no room. */
struct vfe_scsi_frame *vfe_scsi_frames(struct vfe_memory *memory, unsigned int n);

/*
 * Adds a command; `in`: the data goes from the device to us. The tag is the frame's address. A CDB that was made in
 * frame->request.cdb is used where it is.
 */
int vfe_scsi_add(struct vfe_queue *queue, struct vfe_scsi_frame *frame,
		 struct vfe_scsi_address address, const uint8_t *cdb, size_t cdb_len, bool in,
		 const struct vfe_seg *data, unsigned int data_n, void *cookie);
/* UNMAP of one range; its parameter list is kept in the frame. */
int vfe_scsi_add_unmap(struct vfe_queue *queue, struct vfe_scsi_frame *frame,
		       struct vfe_scsi_address address, uint64_t lba, uint32_t blocks,
		       void *cookie);
/*
 * How the command ended. 0; -EIO: a status other than GOOD, or a transport failure; -ENODEV: no such target; -ENXIO:
 * no such logical unit; -EBUSY; -ECANCELED: aborted or reset; -EOVERFLOW: more data than buffers; -EPROTO: no
 * response was written, or a strange one.
 */
int vfe_scsi_result(const struct vfe_scsi_frame *frame);
/* The sense key and the additional code (ASC in the upper byte) of a command that ended with sense data. */
bool vfe_scsi_sense(const struct vfe_scsi_frame *frame, uint8_t *ret_key, uint16_t *ret_code);

/* Task management, on queue VFE_SCSI_CONTROL. The response stays in the frame. */
int vfe_scsi_add_task(struct vfe_queue *queue, struct vfe_scsi_task_frame *frame,
		      struct vfe_scsi_address address, enum vfe_scsi_tmf function, uint64_t tag,
		      void *cookie);
/* A buffer for one event, on queue VFE_SCSI_EVENTS. */
int vfe_scsi_add_event(struct vfe_queue *queue, struct vfe_scsi_event *event, void *cookie);

/* For setting up: asks with READ CAPACITY (16), and again when a unit attention comes first. */
int vfe_scsi_capacity(struct vfe_queue *queue, struct vfe_scsi_frame *frame,
		      struct vfe_scsi_address address, int timeout_ms, uint64_t *ret_blocks,
		      uint32_t *ret_block_size);

/* ---- CDBs; `cdb` has room for VFE_CDB_MAX bytes ---- */

size_t vfe_cdb_test_unit_ready(uint8_t *cdb);
size_t vfe_cdb_inquiry(uint8_t *cdb, bool vpd, uint8_t page, uint16_t allocation);
size_t vfe_cdb_report_luns(uint8_t *cdb, uint32_t allocation);
size_t vfe_cdb_read_capacity10(uint8_t *cdb);
size_t vfe_cdb_read_capacity16(uint8_t *cdb, uint32_t allocation);
size_t vfe_cdb_mode_sense6(uint8_t *cdb, uint8_t page, uint8_t allocation);
size_t vfe_cdb_read10(uint8_t *cdb, uint32_t lba, uint16_t blocks);
size_t vfe_cdb_write10(uint8_t *cdb, uint32_t lba, uint16_t blocks);
/* READ or WRITE (10) once more, at another place. */
void vfe_cdb_seek10(uint8_t *cdb, uint32_t lba);
size_t vfe_cdb_read16(uint8_t *cdb, uint64_t lba, uint32_t blocks);
size_t vfe_cdb_write16(uint8_t *cdb, uint64_t lba, uint32_t blocks);
size_t vfe_cdb_sync_cache10(uint8_t *cdb, uint32_t lba, uint16_t blocks);
size_t vfe_cdb_unmap(uint8_t *cdb, uint16_t list_len);
size_t vfe_cdb_write_same16(uint8_t *cdb, uint64_t lba, uint32_t blocks, bool unmap);

#ifdef __cplusplus
}
#endif

#endif
