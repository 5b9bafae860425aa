/* SPDX-License-Identifier: BSD-3-Clause */
#include "vhost_user/dispatch.h"

#include <errno.h>

#include "vhost_user/session_private.h"

#define EMPTY		    .payload_min = 0, .payload_max = 0
#define EXACTLY(n)	    .payload_min = (n), .payload_max = (n)
#define NEEDS_PROTOCOL(bit) .needs_protocol = 1ull << (bit)

/* vhost-user, "Front-end message types" */
static const struct vu_request_spec specs[] = {
	[VU_GET_FEATURES] = {
		.name = "GET_FEATURES",
		EMPTY,
		.replies = true,
		.apply = vu_get_features,
	},
	[VU_SET_FEATURES] = {
		.name = "SET_FEATURES",
		EXACTLY(VU_U64_SIZE),
		.prepare = vu_set_features_prepare,
		.apply = vu_set_features,
	},
	[VU_SET_OWNER] = {
		.name = "SET_OWNER",
		EMPTY,
		.apply = vu_set_owner,
	},
	[VU_RESET_OWNER] = {
		.name = "RESET_OWNER",
		EMPTY,
		.apply = vu_reset_owner,
	},
	[VU_SET_MEM_TABLE] = {
		.name = "SET_MEM_TABLE",
		.payload_min = VU_MEM_TABLE_HEADER_SIZE + VU_REGION_SIZE,
		.payload_max = VU_MEM_TABLE_HEADER_SIZE + VU_REGION_SIZE * VU_REGIONS_MAX,
		.fds_min = 1,
		.fds_max = VU_REGIONS_MAX,
		.prepare = vu_set_mem_table_prepare,
		.apply = vu_set_mem_table,
	},
	[VU_SET_LOG_BASE] = {
		.name = "SET_LOG_BASE",
		EXACTLY(VU_LOG_SIZE),
		.fds_min = 1,
		.fds_max = 1,
		NEEDS_PROTOCOL(VU_PROTOCOL_F_LOG_SHMFD),
		.replies = true,
		.reply_is_ack = true,
		.prepare = vu_set_log_base_prepare,
		.apply = vu_set_log_base,
	},
	[VU_SET_LOG_FD] = {
		.name = "SET_LOG_FD",
		EMPTY,
		.fds_min = 1,
		.fds_max = 1,
		NEEDS_PROTOCOL(VU_PROTOCOL_F_LOG_SHMFD),
		.prepare = vu_set_log_fd_prepare,
		.apply = vu_set_log_fd,
	},
	[VU_SET_VRING_NUM] = {
		.name = "SET_VRING_NUM",
		EXACTLY(VU_VRING_STATE_SIZE),
		.apply = vu_set_vring_num,
	},
	[VU_SET_VRING_ADDR] = {
		.name = "SET_VRING_ADDR",
		EXACTLY(VU_VRING_ADDR_SIZE),
		.apply = vu_set_vring_addr,
	},
	[VU_SET_VRING_BASE] = {
		.name = "SET_VRING_BASE",
		EXACTLY(VU_VRING_STATE_SIZE),
		.apply = vu_set_vring_base,
	},
	[VU_GET_VRING_BASE] = {
		.name = "GET_VRING_BASE",
		EXACTLY(VU_VRING_STATE_SIZE),
		.replies = true,
		.prepare = vu_get_vring_base_prepare,
		.apply = vu_get_vring_base,
	},
	[VU_SET_VRING_KICK] = {
		.name = "SET_VRING_KICK",
		EXACTLY(VU_U64_SIZE),
		.fds_max = 1,
		.needs_features = true,
		.prepare = vu_set_vring_kick_prepare,
		.apply = vu_set_vring_kick,
	},
	[VU_SET_VRING_CALL] = {
		/* QEMU sends it before SET_FEATURES. */
		.name = "SET_VRING_CALL",
		EXACTLY(VU_U64_SIZE),
		.fds_max = 1,
		.prepare = vu_set_vring_call_prepare,
		.apply = vu_set_vring_call,
	},
	[VU_SET_VRING_ERR] = {
		.name = "SET_VRING_ERR",
		EXACTLY(VU_U64_SIZE),
		.fds_max = 1,
		.prepare = vu_set_vring_err_prepare,
		.apply = vu_set_vring_err,
	},
	[VU_GET_PROTOCOL_FEATURES] = {
		.name = "GET_PROTOCOL_FEATURES",
		EMPTY,
		.replies = true,
		.apply = vu_get_protocol_features,
	},
	[VU_SET_PROTOCOL_FEATURES] = {
		/* Legal before SET_FEATURES, and without its bit 30. */
		.name = "SET_PROTOCOL_FEATURES",
		EXACTLY(VU_U64_SIZE),
		.apply = vu_set_protocol_features,
	},
	[VU_GET_QUEUE_NUM] = {
		/* Legal once MQ was seen in the reply to GET_PROTOCOL_FEATURES. */
		.name = "GET_QUEUE_NUM",
		EMPTY,
		.replies = true,
		.apply = vu_get_queue_num,
	},
	[VU_SET_VRING_ENABLE] = {
		.name = "SET_VRING_ENABLE",
		EXACTLY(VU_VRING_STATE_SIZE),
		.needs_ring_enabling = true,
		.prepare = vu_set_vring_enable_prepare,
		.apply = vu_set_vring_enable,
	},
	[VU_SET_BACKEND_REQ_FD] = {
		.name = "SET_BACKEND_REQ_FD",
		EMPTY,
		.fds_min = 1,
		.fds_max = 1,
		NEEDS_PROTOCOL(VU_PROTOCOL_F_BACKEND_REQ),
		.prepare = vu_set_backend_req_fd_prepare,
		.apply = vu_set_backend_req_fd,
	},
	[VU_GET_CONFIG] = {
		.name = "GET_CONFIG",
		.payload_min = VU_CONFIG_HEADER_SIZE,
		.payload_max = VU_CONFIG_HEADER_SIZE + VU_CONFIG_MAX,
		NEEDS_PROTOCOL(VU_PROTOCOL_F_CONFIG),
		.replies = true,
		.empty_reply_is_error = true,
		.apply = vu_get_config,
	},
	[VU_SET_CONFIG] = {
		.name = "SET_CONFIG",
		.payload_min = VU_CONFIG_HEADER_SIZE,
		.payload_max = VU_CONFIG_HEADER_SIZE + VU_CONFIG_MAX,
		NEEDS_PROTOCOL(VU_PROTOCOL_F_CONFIG),
		.apply = vu_set_config,
	},
	[VU_GET_INFLIGHT_FD] = {
		.name = "GET_INFLIGHT_FD",
		.payload_min = VU_INFLIGHT_SIZE,
		.payload_max = VU_INFLIGHT_PADDED_SIZE,
		NEEDS_PROTOCOL(VU_PROTOCOL_F_INFLIGHT_SHMFD),
		.replies = true,
		.apply = vu_get_inflight_fd,
	},
	[VU_SET_INFLIGHT_FD] = {
		.name = "SET_INFLIGHT_FD",
		.payload_min = VU_INFLIGHT_SIZE,
		.payload_max = VU_INFLIGHT_PADDED_SIZE,
		.fds_min = 1,
		.fds_max = 1,
		NEEDS_PROTOCOL(VU_PROTOCOL_F_INFLIGHT_SHMFD),
		.prepare = vu_set_inflight_fd_prepare,
		.apply = vu_set_inflight_fd,
	},
	[VU_RESET_DEVICE] = {
		.name = "RESET_DEVICE",
		EMPTY,
		NEEDS_PROTOCOL(VU_PROTOCOL_F_RESET_DEVICE),
		.prepare = vu_reset_device_prepare,
		.apply = vu_reset_device,
	},
	[VU_GET_MAX_MEM_SLOTS] = {
		.name = "GET_MAX_MEM_SLOTS",
		EMPTY,
		NEEDS_PROTOCOL(VU_PROTOCOL_F_CONFIGURE_MEM_SLOTS),
		.replies = true,
		.apply = vu_get_max_mem_slots,
	},
	[VU_ADD_MEM_REG] = {
		.name = "ADD_MEM_REG",
		EXACTLY(VU_MEM_REG_SIZE),
		.fds_min = 1,
		.fds_max = 1,
		NEEDS_PROTOCOL(VU_PROTOCOL_F_CONFIGURE_MEM_SLOTS),
		.rings_may_wait = true,
		.prepare = vu_add_mem_reg_prepare,
		.apply = vu_add_mem_reg,
	},
	[VU_REM_MEM_REG] = {
		/* Older front-ends send a descriptor, which has no use: "the back-end MUST close it". */
		.name = "REM_MEM_REG",
		EXACTLY(VU_MEM_REG_SIZE),
		.fds_max = 1,
		NEEDS_PROTOCOL(VU_PROTOCOL_F_CONFIGURE_MEM_SLOTS),
		.rings_may_wait = true,
		.prepare = vu_rem_mem_reg_prepare,
		.apply = vu_rem_mem_reg,
	},
	[VU_SET_STATUS] = {
		.name = "SET_STATUS",
		EXACTLY(VU_U64_SIZE),
		NEEDS_PROTOCOL(VU_PROTOCOL_F_STATUS),
		.prepare = vu_set_status_prepare,
		.apply = vu_set_status,
	},
	[VU_GET_STATUS] = {
		.name = "GET_STATUS",
		EMPTY,
		NEEDS_PROTOCOL(VU_PROTOCOL_F_STATUS),
		.replies = true,
		.apply = vu_get_status,
	},
};

const struct vu_request_spec *vu_dispatch_find(uint32_t request)
{
	if (request >= sizeof(specs) / sizeof(specs[0]) || specs[request].apply == NULL) {
		return NULL;
	}
	return &specs[request];
}

int vu_dispatch_check(struct vu_session *session, const struct vu_request_spec *spec,
		      const struct vu_message *message)
{
	uint32_t size = message->header.size;

	if (size < spec->payload_min || size > spec->payload_max) {
		return vu_refuse(session, -EPROTO, "payload of a wrong size");
	}
	if (message->fd_n < spec->fds_min || message->fd_n > spec->fds_max) {
		return vu_refuse(session, -EPROTO, "wrong number of file descriptors");
	}
	if (spec->needs_features && !session->features_set) {
		return vu_refuse(session, -EPROTO, "comes before SET_FEATURES");
	}
	if (spec->needs_ring_enabling && !(session->features & VU_F_PROTOCOL_FEATURES)) {
		return vu_refuse(session, -EPROTO,
				 "needs feature bit 30, which was not negotiated");
	}
	if ((session->protocol_features & spec->needs_protocol) != spec->needs_protocol) {
		return vu_refuse(session, -EPROTO,
				 "needs a protocol feature that was not negotiated");
	}
	return 0;
}
