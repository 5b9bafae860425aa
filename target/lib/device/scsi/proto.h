/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: the numbers of the wire. virtio 1.2, 5.6 for what surrounds a command; SPC-4, SBC-3 and
 * SAM-5 for the command itself. CDBs and their parameter data are big-endian, virtio is little-endian.
 */
#ifndef VHT_DEVICE_SCSI_PROTO_H
#define VHT_DEVICE_SCSI_PROTO_H

/* virtio 1.2, 5.6.3: feature bits */
#define VIRTIO_SCSI_F_HOTPLUG 1
#define VIRTIO_SCSI_F_CHANGE  2

/* virtio 1.2, 5.6.2: queues */
#define VIRTIO_SCSI_Q_CONTROL 0
#define VIRTIO_SCSI_Q_EVENT   1
#define VIRTIO_SCSI_Q_REQUEST 2 /* the first one */

/* virtio 1.2, 5.6.4: the config space */
#define VIRTIO_SCSI_CONFIG_SENSE_SIZE 20 /* offset of sense_size; cdb_size follows */
#define VIRTIO_SCSI_CONFIG_CDB_SIZE   24
#define VIRTIO_SCSI_CONFIG_LEN	      36
#define VIRTIO_SCSI_SENSE_SIZE	      96 /* after reset */
#define VIRTIO_SCSI_CDB_SIZE	      32 /* after reset */
#define VIRTIO_SCSI_EVENT_SIZE	      16

/* virtio 1.2, 5.6.6.1: lengths without the fields whose size is configurable */
#define VIRTIO_SCSI_REQ_LEN  19 /* lun 8, id 8, task_attr, prio, crn; then cdb */
#define VIRTIO_SCSI_RESP_LEN 12 /* sense_len, residual 4, status_qualifier 2, status, response */

/* virtio 1.2, 5.6.6.1 and 5.6.6.2: values of `response` */
enum virtio_scsi_response {
	VIRTIO_SCSI_S_OK = 0,
	VIRTIO_SCSI_S_FUNCTION_COMPLETE = 0,
	VIRTIO_SCSI_S_OVERRUN = 1,
	VIRTIO_SCSI_S_ABORTED = 2,
	VIRTIO_SCSI_S_BAD_TARGET = 3,
	VIRTIO_SCSI_S_RESET = 4,
	VIRTIO_SCSI_S_BUSY = 5,
	VIRTIO_SCSI_S_FAILURE = 9,
	VIRTIO_SCSI_S_FUNCTION_SUCCEEDED = 10,
	VIRTIO_SCSI_S_FUNCTION_REJECTED = 11,
	VIRTIO_SCSI_S_INCORRECT_LUN = 12,
};

/* virtio 1.2, 5.6.6.2: control requests */
enum virtio_scsi_control_type {
	VIRTIO_SCSI_T_TMF = 0,
	VIRTIO_SCSI_T_AN_QUERY = 1,
	VIRTIO_SCSI_T_AN_SUBSCRIBE = 2,
};

enum virtio_scsi_tmf {
	VIRTIO_SCSI_T_TMF_ABORT_TASK = 0,
	VIRTIO_SCSI_T_TMF_ABORT_TASK_SET = 1,
	VIRTIO_SCSI_T_TMF_CLEAR_ACA = 2,
	VIRTIO_SCSI_T_TMF_CLEAR_TASK_SET = 3,
	VIRTIO_SCSI_T_TMF_I_T_NEXUS_RESET = 4,
	VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET = 5,
	VIRTIO_SCSI_T_TMF_QUERY_TASK = 6,
	VIRTIO_SCSI_T_TMF_QUERY_TASK_SET = 7,
};

/* virtio 1.2, 5.6.6.3: events */
#define VIRTIO_SCSI_T_EVENTS_MISSED 0x80000000u

enum virtio_scsi_event_type {
	VIRTIO_SCSI_T_NO_EVENT = 0,
	VIRTIO_SCSI_T_TRANSPORT_RESET = 1,
	VIRTIO_SCSI_T_ASYNC_NOTIFY = 2,
	VIRTIO_SCSI_T_PARAM_CHANGE = 3,
};

enum virtio_scsi_reset_reason {
	VIRTIO_SCSI_EVT_RESET_HARD = 0,
	VIRTIO_SCSI_EVT_RESET_RESCAN = 1,
	VIRTIO_SCSI_EVT_RESET_REMOVED = 2,
};

/* SAM-5: status codes */
enum scsi_status {
	SCSI_STATUS_GOOD = 0x00,
	SCSI_STATUS_CHECK_CONDITION = 0x02,
	SCSI_STATUS_BUSY = 0x08,
};

enum scsi_opcode {
	SCSI_TEST_UNIT_READY = 0x00,
	SCSI_REQUEST_SENSE = 0x03,
	SCSI_READ_6 = 0x08,
	SCSI_WRITE_6 = 0x0a,
	SCSI_INQUIRY = 0x12,
	SCSI_MODE_SELECT_6 = 0x15,
	SCSI_MODE_SENSE_6 = 0x1a,
	SCSI_START_STOP_UNIT = 0x1b,
	SCSI_READ_CAPACITY_10 = 0x25,
	SCSI_READ_10 = 0x28,
	SCSI_WRITE_10 = 0x2a,
	SCSI_VERIFY_10 = 0x2f,
	SCSI_SYNCHRONIZE_CACHE_10 = 0x35,
	SCSI_WRITE_SAME_10 = 0x41,
	SCSI_UNMAP = 0x42,
	SCSI_MODE_SELECT_10 = 0x55,
	SCSI_MODE_SENSE_10 = 0x5a,
	SCSI_READ_16 = 0x88,
	SCSI_WRITE_16 = 0x8a,
	SCSI_VERIFY_16 = 0x8f,
	SCSI_SYNCHRONIZE_CACHE_16 = 0x91,
	SCSI_WRITE_SAME_16 = 0x93,
	SCSI_SERVICE_ACTION_IN_16 = 0x9e,
	SCSI_REPORT_LUNS = 0xa0,
	SCSI_MAINTENANCE_IN = 0xa3,
	SCSI_READ_12 = 0xa8,
	SCSI_WRITE_12 = 0xaa,
	SCSI_VERIFY_12 = 0xaf,
};

enum scsi_service_action {
	SCSI_SA_READ_CAPACITY_16 = 0x10,	 /* of SERVICE ACTION IN (16) */
	SCSI_SA_REPORT_SUPPORTED_OPCODES = 0x0c, /* of MAINTENANCE IN */
};

#endif
