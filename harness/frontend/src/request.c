/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests with answers, on top of single messages. */
#include <errno.h>

#include "internal.h"

static const char *const names[] = {
	[VFE_GET_FEATURES] = "GET_FEATURES",
	[VFE_SET_FEATURES] = "SET_FEATURES",
	[VFE_SET_OWNER] = "SET_OWNER",
	[VFE_RESET_OWNER] = "RESET_OWNER",
	[VFE_SET_MEM_TABLE] = "SET_MEM_TABLE",
	[VFE_SET_LOG_BASE] = "SET_LOG_BASE",
	[VFE_SET_LOG_FD] = "SET_LOG_FD",
	[VFE_SET_VRING_NUM] = "SET_VRING_NUM",
	[VFE_SET_VRING_ADDR] = "SET_VRING_ADDR",
	[VFE_SET_VRING_BASE] = "SET_VRING_BASE",
	[VFE_GET_VRING_BASE] = "GET_VRING_BASE",
	[VFE_SET_VRING_KICK] = "SET_VRING_KICK",
	[VFE_SET_VRING_CALL] = "SET_VRING_CALL",
	[VFE_SET_VRING_ERR] = "SET_VRING_ERR",
	[VFE_GET_PROTOCOL_FEATURES] = "GET_PROTOCOL_FEATURES",
	[VFE_SET_PROTOCOL_FEATURES] = "SET_PROTOCOL_FEATURES",
	[VFE_GET_QUEUE_NUM] = "GET_QUEUE_NUM",
	[VFE_SET_VRING_ENABLE] = "SET_VRING_ENABLE",
	[VFE_SET_BACKEND_REQ_FD] = "SET_BACKEND_REQ_FD",
	[VFE_GET_CONFIG] = "GET_CONFIG",
	[VFE_SET_CONFIG] = "SET_CONFIG",
	[VFE_GET_INFLIGHT_FD] = "GET_INFLIGHT_FD",
	[VFE_SET_INFLIGHT_FD] = "SET_INFLIGHT_FD",
	[VFE_RESET_DEVICE] = "RESET_DEVICE",
	[VFE_GET_MAX_MEM_SLOTS] = "GET_MAX_MEM_SLOTS",
	[VFE_ADD_MEM_REG] = "ADD_MEM_REG",
	[VFE_REM_MEM_REG] = "REM_MEM_REG",
	[VFE_SET_STATUS] = "SET_STATUS",
	[VFE_GET_STATUS] = "GET_STATUS",
};

const char *vfe_request_name(uint32_t request)
{
	if (request >= sizeof(names) / sizeof(names[0]) || names[request] == NULL) {
		return "unknown request";
	}
	return names[request];
}

/* Receives the answer to `request`. */
static int recv_reply(struct vfe_session *session, uint32_t request,
		      struct vfe_message *ret_message)
{
	int r = vfe_raw_recv(session, ret_message);

	if (r < 0) {
		return r;
	}
	if (ret_message->header.request != request ||
	    (ret_message->header.flags & VFE_FLAG_REPLY) == 0) {
		vfe_raw_close_fds(ret_message);
		return vfe_fail(session, -EPROTO, "%s was answered by request %u, flags 0x%x",
				vfe_request_name(request), ret_message->header.request,
				ret_message->header.flags);
	}
	return 0;
}

int vfe_raw_send_acked(struct vfe_session *session, struct vfe_message *message)
{
	struct vfe_message reply;
	int r;

	message->header.flags = VFE_FLAG_VERSION | VFE_FLAG_NEED_REPLY;
	r = vfe_raw_send(session, message);
	if (r == 0) {
		r = recv_reply(session, message->header.request, &reply);
	}
	if (r < 0) {
		return r;
	}
	vfe_raw_close_fds(&reply);
	if (reply.header.size != sizeof(uint64_t) || reply.payload.u64 != 0) {
		return vfe_fail(session, -EREMOTEIO, "the back-end refused %s",
				vfe_request_name(message->header.request));
	}
	return 0;
}

int vfe_send_checked(struct vfe_session *session, struct vfe_message *message)
{
	if ((session->protocol_features & VFE_PF_REPLY_ACK) != 0) {
		return vfe_raw_send_acked(session, message);
	}
	message->header.flags = VFE_FLAG_VERSION;
	return vfe_raw_send(session, message);
}

int vfe_send_u64(struct vfe_session *session, enum vfe_request request, uint64_t value)
{
	struct vfe_message message = { .header = { request, VFE_FLAG_VERSION, sizeof(value) },
				       .payload.u64 = value };

	return vfe_raw_send(session, &message);
}

int vfe_raw_query(struct vfe_session *session, enum vfe_request request,
		  struct vfe_message *ret_message)
{
	struct vfe_wire_header header = { request, VFE_FLAG_VERSION, 0 };
	int r = vfe_raw_send_bytes(session, &header, sizeof(header), NULL, 0);

	return r < 0 ? r : recv_reply(session, request, ret_message);
}

int vfe_query_u64(struct vfe_session *session, enum vfe_request request, uint64_t *ret_value)
{
	struct vfe_message reply;
	int r = vfe_raw_query(session, request, &reply);

	if (r < 0) {
		return r;
	}
	vfe_raw_close_fds(&reply);
	if (reply.header.size != sizeof(uint64_t)) {
		return vfe_fail(session, -EPROTO, "%s was answered with %u bytes",
				vfe_request_name(request), reply.header.size);
	}
	*ret_value = reply.payload.u64;
	return 0;
}
