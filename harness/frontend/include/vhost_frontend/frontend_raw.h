/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: the inside of the front-end, for tests that break the rules. Here nothing is checked:
 *
 *   message   any request, flags, length, bytes and descriptors can be sent, in any state of a session
 *             (vfe_connect alone says nothing to the back-end).
 *   ring      a view gives the pointers to a queue's rings in shared memory; descriptors and indices are
 *             written directly. A queue that is driven this way is not driven by vfe_queue_add and its
 *             kin, which keep private copies of the indices.
 *   set-up    vfe_raw_ring_start sends the messages that start a ring with any addresses and sizes.
 *
 * The wire formats are those of the vhost-user specification ("Message Specification", native byte
 * order) and of virtio 1.2, 2.7 and 2.8 (little-endian).
 */
#ifndef VHOST_FRONTEND_FRONTEND_RAW_H
#define VHOST_FRONTEND_FRONTEND_RAW_H

#include "vhost_frontend/frontend.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- messages ---- */

enum vfe_request {
	VFE_GET_FEATURES = 1,
	VFE_SET_FEATURES = 2,
	VFE_SET_OWNER = 3,
	VFE_RESET_OWNER = 4,
	VFE_SET_MEM_TABLE = 5,
	VFE_SET_LOG_BASE = 6,
	VFE_SET_LOG_FD = 7,
	VFE_SET_VRING_NUM = 8,
	VFE_SET_VRING_ADDR = 9,
	VFE_SET_VRING_BASE = 10,
	VFE_GET_VRING_BASE = 11,
	VFE_SET_VRING_KICK = 12,
	VFE_SET_VRING_CALL = 13,
	VFE_SET_VRING_ERR = 14,
	VFE_GET_PROTOCOL_FEATURES = 15,
	VFE_SET_PROTOCOL_FEATURES = 16,
	VFE_GET_QUEUE_NUM = 17,
	VFE_SET_VRING_ENABLE = 18,
	VFE_SET_BACKEND_REQ_FD = 21,
	VFE_GET_CONFIG = 24,
	VFE_SET_CONFIG = 25,
	VFE_GET_INFLIGHT_FD = 31,
	VFE_SET_INFLIGHT_FD = 32,
	VFE_RESET_DEVICE = 34,
	VFE_GET_MAX_MEM_SLOTS = 36,
	VFE_ADD_MEM_REG = 37,
	VFE_REM_MEM_REG = 38,
	VFE_SET_STATUS = 39,
	VFE_GET_STATUS = 40,
};

#define VFE_BACKEND_CONFIG_CHANGE 2

#define VFE_FLAG_VERSION    1u
#define VFE_FLAG_REPLY	    (1u << 2)
#define VFE_FLAG_NEED_REPLY (1u << 3)
#define VFE_VRING_NO_FD	    (1ull << 8)

#define VFE_PAYLOAD_MAX 4096
#define VFE_FDS_MAX	32
#define VFE_CONFIG_MAX	256

struct vfe_wire_header {
	uint32_t request;
	uint32_t flags;
	uint32_t size;
};

struct vfe_wire_state {
	uint32_t index;
	uint32_t num;
};

struct vfe_wire_addr {
	uint32_t index;
	uint32_t flags;
	uint64_t desc;
	uint64_t used;
	uint64_t avail;
	uint64_t log;
};

struct vfe_wire_region {
	uint64_t guest_address;
	uint64_t size;
	uint64_t user_address;
	uint64_t mmap_offset;
};

struct vfe_wire_mem_table {
	uint32_t region_n;
	uint32_t padding;
	struct vfe_wire_region regions[VFE_MEMORY_REGIONS_MAX];
};

struct vfe_wire_mem_reg {
	uint64_t padding;
	struct vfe_wire_region region;
};

struct vfe_wire_config {
	uint32_t offset;
	uint32_t size;
	uint32_t flags;
	uint8_t bytes[VFE_CONFIG_MAX];
};

#define VFE_WIRE_CONFIG_HEADER 12

struct vfe_wire_inflight {
	uint64_t mmap_size;
	uint64_t mmap_offset;
	uint16_t queue_n;
	uint16_t queue_size;
	uint32_t padding; /* on the wire, as the implementations of both sides have it */
};

struct vfe_message {
	struct vfe_wire_header header;
	union {
		uint64_t u64;
		struct vfe_wire_state state;
		struct vfe_wire_addr addr;
		struct vfe_wire_mem_table mem_table;
		struct vfe_wire_mem_reg mem_reg;
		struct vfe_wire_config config;
		struct vfe_wire_inflight inflight;
		uint8_t bytes[VFE_PAYLOAD_MAX];
	} payload;
	int fds[VFE_FDS_MAX];
	unsigned int fd_n;
};

/* Sends header.size bytes of payload behind the header, and the descriptors (which stay the caller's). */
int vfe_raw_send(struct vfe_session *session, const struct vfe_message *message);
/* Sends `len` bytes as they are. */
int vfe_raw_send_bytes(struct vfe_session *session, const void *bytes, size_t len, const int *fds,
		       unsigned int fd_n);
/*
 * Receives one message. Its descriptors are the caller's to close. -ETIMEDOUT, -ECONNRESET, or -EPROTO
 * for a message that is longer than VFE_PAYLOAD_MAX.
 */
int vfe_raw_recv(struct vfe_session *session, struct vfe_message *ret_message);
void vfe_raw_close_fds(struct vfe_message *message);
/* Sends with NEED_REPLY and returns the back-end's answer: 0, or -EREMOTEIO if it refused. */
int vfe_raw_send_acked(struct vfe_session *session, struct vfe_message *message);
/* Sends a request without payload and waits for its answer. */
int vfe_raw_query(struct vfe_session *session, enum vfe_request request,
		  struct vfe_message *ret_message);

/* ---- memory ---- */

struct vfe_raw_region {
	struct vfe_wire_region wire;
	uint8_t *map;
	int fd;
};

unsigned int vfe_raw_memory_regions(const struct vfe_memory *memory,
				    const struct vfe_raw_region **ret_regions);
/* The user address (for SET_VRING_ADDR) of a pointer into the memory. */
uint64_t vfe_raw_memory_uva(const struct vfe_memory *memory, const void *p);

/* ---- rings ---- */

#define VFE_DESC_NEXT	  1
#define VFE_DESC_WRITE	  2
#define VFE_DESC_INDIRECT 4
#define VFE_DESC_AVAIL	  (1 << 7)
#define VFE_DESC_USED	  (1 << 15)

#define VFE_AVAIL_NO_INTERRUPT 1
#define VFE_USED_NO_NOTIFY     1

/* virtio 1.2, 2.8.14: enum of the packed event suppression flags */
#define VFE_EVENT_ENABLE  0
#define VFE_EVENT_DISABLE 1
#define VFE_EVENT_DESC	  2

struct vfe_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next;
};

struct vfe_avail {
	uint16_t flags;
	uint16_t idx;
	uint16_t ring[]; /* size entries, then used_event */
};

struct vfe_used_elem {
	uint32_t id;
	uint32_t len;
};

struct vfe_used {
	uint16_t flags;
	uint16_t idx;
	struct vfe_used_elem ring[]; /* size entries, then avail_event */
};

struct vfe_packed_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t id;
	uint16_t flags;
};

struct vfe_packed_event {
	uint16_t off_wrap;
	uint16_t flags;
};

/* Pointers into shared memory; those of the other format are NULL. */
struct vfe_raw_view {
	unsigned int size;
	struct vfe_desc *desc;
	struct vfe_avail *avail;
	struct vfe_used *used;
	uint16_t *used_event;
	uint16_t *avail_event;
	struct vfe_packed_desc *packed;
	struct vfe_packed_event *driver_event;
	struct vfe_packed_event *device_event;
	int kick_fd; /* write 8 bytes to kick */
	int call_fd; /* non-blocking */
	int err_fd;  /* becomes readable when the device gives the ring up */
};

void vfe_raw_view(struct vfe_queue *queue, struct vfe_raw_view *ret_view);

/* Anything at all; the descriptors may be -1 for "none". */
struct vfe_raw_ring {
	uint32_t index;
	uint32_t size;
	uint32_t base;
	struct vfe_wire_addr addr;
	int kick_fd;
	int call_fd;
	int err_fd;
	bool enable; /* send SET_VRING_ENABLE if protocol features were negotiated */
};

/* What vfe_queue_start would send for a new queue. */
void vfe_raw_ring_of(const struct vfe_queue *queue, struct vfe_raw_ring *ret_ring);
/* NUM, BASE, ADDR, ERR, KICK, CALL, ENABLE; stops at the first that is refused. */
int vfe_raw_ring_start(struct vfe_session *session, const struct vfe_raw_ring *ring);
/* GET_VRING_BASE. */
int vfe_raw_ring_stop(struct vfe_session *session, uint32_t index, uint32_t *ret_base);

/*
 * A session without a back-end, with these features: whoever holds the view of its queues plays the device.
 * vfe_raw_queue_ready puts a queue into the state of a new, running one.
 */
int vfe_raw_session_new(uint64_t features, struct vfe_memory *memory,
			struct vfe_session **ret_session);
void vfe_raw_queue_ready(struct vfe_queue *queue);

/* The in-flight area as it is mapped here; NULL if there is none. */
void *vfe_raw_inflight(struct vfe_session *session, size_t *ret_size);
/* The driver has reset its device: all queues are stopped, and the next that starts asks for a new area. */
void vfe_raw_inflight_drop(struct vfe_session *session);
/* When the back-end took the connection (CLOCK_MONOTONIC). */
uint64_t vfe_raw_connected_ns(const struct vfe_session *session);

#ifdef __cplusplus
}
#endif

#endif
