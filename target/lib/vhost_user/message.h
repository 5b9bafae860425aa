/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: the wire format of vhost-user. Names in parentheses are section titles of the vhost-user
 * specification. All numbers are in host byte order ("Message Specification").
 */
#ifndef VHT_VHOST_USER_MESSAGE_H
#define VHT_VHOST_USER_MESSAGE_H

#include <stdint.h>

/* The longest payload that is read at all. Those that we understand need 268 bytes; the room beyond
 * lets a request that we do not know pass through as a whole, so that it can be refused politely. */
#define VU_PAYLOAD_MAX 4096
/* Descriptors with one message; SET_MEM_TABLE carries the most. */
#define VU_FDS_MAX     8
#define VU_REGIONS_MAX 8
/* The ring index of SET_VRING_KICK and its siblings has eight bits. */
#define VU_RINGS_MAX  256
#define VU_CONFIG_MAX 256

/* "Header" */
#define VU_VERSION	     1u
#define VU_FLAG_VERSION_MASK 0x3u
#define VU_FLAG_REPLY	     (1u << 2)
#define VU_FLAG_NEED_REPLY   (1u << 3)

/* "Front-end message types" */
enum vu_request {
	VU_GET_FEATURES = 1,
	VU_SET_FEATURES = 2,
	VU_SET_OWNER = 3,
	VU_RESET_OWNER = 4,
	VU_SET_MEM_TABLE = 5,
	VU_SET_LOG_BASE = 6,
	VU_SET_LOG_FD = 7,
	VU_SET_VRING_NUM = 8,
	VU_SET_VRING_ADDR = 9,
	VU_SET_VRING_BASE = 10,
	VU_GET_VRING_BASE = 11,
	VU_SET_VRING_KICK = 12,
	VU_SET_VRING_CALL = 13,
	VU_SET_VRING_ERR = 14,
	VU_GET_PROTOCOL_FEATURES = 15,
	VU_SET_PROTOCOL_FEATURES = 16,
	VU_GET_QUEUE_NUM = 17,
	VU_SET_VRING_ENABLE = 18,
	VU_SET_BACKEND_REQ_FD = 21,
	VU_GET_CONFIG = 24,
	VU_SET_CONFIG = 25,
	VU_GET_INFLIGHT_FD = 31,
	VU_SET_INFLIGHT_FD = 32,
	VU_RESET_DEVICE = 34,
	VU_GET_MAX_MEM_SLOTS = 36,
	VU_ADD_MEM_REG = 37,
	VU_REM_MEM_REG = 38,
	VU_SET_STATUS = 39,
	VU_GET_STATUS = 40,
};

/* "Back-end message types" */
enum vu_backend_request {
	VU_BACKEND_CONFIG_CHANGE_MSG = 2,
};

/* VHOST_USER_F_PROTOCOL_FEATURES, a virtio feature bit ("Communication") */
#define VU_F_PROTOCOL_FEATURES (1ull << 30)
/* VHOST_F_LOG_ALL, another one ("Migration") */
#define VU_F_LOG_ALL (1ull << 26)
/* Those that are between the front-end and us: no device and no driver knows of them. */
#define VU_F_OURS (VU_F_PROTOCOL_FEATURES | VU_F_LOG_ALL)

/* "Protocol features", bit numbers */
#define VU_PROTOCOL_F_MQ		  0
#define VU_PROTOCOL_F_LOG_SHMFD		  1
#define VU_PROTOCOL_F_REPLY_ACK		  3
#define VU_PROTOCOL_F_BACKEND_REQ	  5
#define VU_PROTOCOL_F_CONFIG		  9
#define VU_PROTOCOL_F_INFLIGHT_SHMFD	  12
#define VU_PROTOCOL_F_RESET_DEVICE	  13
#define VU_PROTOCOL_F_CONFIGURE_MEM_SLOTS 15
#define VU_PROTOCOL_F_STATUS		  16

/* SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR: the u64 */
#define VU_VRING_INDEX_MASK 0xffull
#define VU_VRING_NO_FD	    (1ull << 8)

struct vu_header {
	uint32_t request;
	uint32_t flags;
	uint32_t size;
};

struct vu_message {
	union {
		struct {
			struct vu_header header;
			uint8_t payload[VU_PAYLOAD_MAX];
		};
		uint8_t wire[sizeof(struct vu_header) + VU_PAYLOAD_MAX];
	};
	unsigned int fd_n;
	int fds[VU_FDS_MAX]; /* -1: taken out */
};

/* "A vring state description" */
struct vu_vring_state {
	uint32_t index;
	uint32_t num;
};

/* "A vring address description" */
struct vu_vring_addr {
	uint32_t index;
	uint32_t flags;
	uint64_t descriptor;
	uint64_t used;
	uint64_t available;
	uint64_t log;
};

/* VHOST_VRING_F_LOG, a flag of it */
#define VU_VRING_F_LOG 1u

/* "Log description" */
struct vu_log {
	uint64_t mmap_size;
	uint64_t mmap_offset;
};

/* "Memory region description" */
struct vu_region {
	uint64_t guest_address;
	uint64_t size;
	uint64_t user_address;
	uint64_t mmap_offset;
};

/* "Virtio device config space" */
struct vu_config {
	uint32_t offset;
	uint32_t size;
	uint32_t flags;
};

#define VU_CONFIG_FLAG_WRITABLE	 0
#define VU_CONFIG_FLAG_MIGRATION 1

/* "Inflight description" */
struct vu_inflight {
	uint64_t mmap_size;
	uint64_t mmap_offset;
	uint16_t num_queues;
	uint16_t queue_size;
};

/* The device status of SET_STATUS and GET_STATUS: virtio 1.2, 2.1 */
#define VU_STATUS_DRIVER_OK   4
#define VU_STATUS_NEEDS_RESET 64
#define VU_STATUS_MAX	      255

/* What the fixed parts take on the wire. */
#define VU_U64_SIZE		 8
#define VU_VRING_STATE_SIZE	 8
#define VU_VRING_ADDR_SIZE	 40
#define VU_LOG_SIZE		 16
#define VU_MEM_TABLE_HEADER_SIZE 8
#define VU_REGION_SIZE		 32
#define VU_MEM_REG_SIZE		 40
#define VU_CONFIG_HEADER_SIZE	 12
/* QEMU sends the structure with the padding behind it. */
#define VU_INFLIGHT_SIZE	20
#define VU_INFLIGHT_PADDED_SIZE 24

#endif
