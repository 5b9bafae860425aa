/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: the legal use of each request as data: sizes, descriptors, what must have been negotiated,
 * and who handles it (rule R13). A request is handled in two halves, because rings may have to be
 * stopped in between: prepare checks everything and says which, apply makes the change.
 */
#ifndef VHT_VHOST_USER_DISPATCH_H
#define VHT_VHOST_USER_DISPATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "vhost_user/message.h"

struct vu_session;

struct vu_request_spec {
	const char *name;
	uint16_t payload_min, payload_max;
	uint8_t fds_min, fds_max;
	bool needs_features;	   /* SET_FEATURES has been seen */
	bool needs_ring_enabling;  /* VHOST_USER_F_PROTOCOL_FEATURES has been negotiated */
	uint64_t needs_protocol;   /* all of these protocol features have been negotiated */
	bool replies;		   /* has a reply of its own, which apply fills in */
	bool empty_reply_is_error; /* and an empty one says that the request failed */
	bool reply_is_ack; /* and it is what an acknowledgement would be, also of a failure */
	/* A ring may lie outside of guest memory afterwards: it waits for a later request of this kind. */
	bool rings_may_wait;
	/* Both return 0 or a negative errno by vu_refuse(). NULL: nothing to check. */
	int (*prepare)(struct vu_session *session, struct vu_message *message);
	int (*apply)(struct vu_session *session, struct vu_message *message);
};

/* NULL: a request that this back-end does not know. */
const struct vu_request_spec *vu_dispatch_find(uint32_t request);

/* Are size, descriptors and negotiated features right for it? */
int vu_dispatch_check(struct vu_session *session, const struct vu_request_spec *spec,
		      const struct vu_message *message);

/* negotiate.c */
int vu_get_features(struct vu_session *session, struct vu_message *message);
int vu_set_features_prepare(struct vu_session *session, struct vu_message *message);
int vu_set_features(struct vu_session *session, struct vu_message *message);
int vu_get_protocol_features(struct vu_session *session, struct vu_message *message);
int vu_set_protocol_features(struct vu_session *session, struct vu_message *message);
int vu_set_owner(struct vu_session *session, struct vu_message *message);
int vu_reset_owner(struct vu_session *session, struct vu_message *message);
int vu_get_queue_num(struct vu_session *session, struct vu_message *message);
/* config.c */
int vu_get_config(struct vu_session *session, struct vu_message *message);
int vu_set_config(struct vu_session *session, struct vu_message *message);
/* memory.c */
int vu_set_mem_table_prepare(struct vu_session *session, struct vu_message *message);
int vu_set_mem_table(struct vu_session *session, struct vu_message *message);
int vu_get_max_mem_slots(struct vu_session *session, struct vu_message *message);
int vu_add_mem_reg_prepare(struct vu_session *session, struct vu_message *message);
int vu_add_mem_reg(struct vu_session *session, struct vu_message *message);
int vu_rem_mem_reg_prepare(struct vu_session *session, struct vu_message *message);
int vu_rem_mem_reg(struct vu_session *session, struct vu_message *message);
/* migration.c */
int vu_set_log_base_prepare(struct vu_session *session, struct vu_message *message);
int vu_set_log_base(struct vu_session *session, struct vu_message *message);
int vu_set_log_fd_prepare(struct vu_session *session, struct vu_message *message);
int vu_set_log_fd(struct vu_session *session, struct vu_message *message);
/* rings.c */
int vu_set_vring_num(struct vu_session *session, struct vu_message *message);
int vu_set_vring_addr(struct vu_session *session, struct vu_message *message);
int vu_set_vring_base(struct vu_session *session, struct vu_message *message);
int vu_get_vring_base_prepare(struct vu_session *session, struct vu_message *message);
int vu_get_vring_base(struct vu_session *session, struct vu_message *message);
int vu_set_vring_kick_prepare(struct vu_session *session, struct vu_message *message);
int vu_set_vring_kick(struct vu_session *session, struct vu_message *message);
int vu_set_vring_call_prepare(struct vu_session *session, struct vu_message *message);
int vu_set_vring_call(struct vu_session *session, struct vu_message *message);
int vu_set_vring_err_prepare(struct vu_session *session, struct vu_message *message);
int vu_set_vring_err(struct vu_session *session, struct vu_message *message);
int vu_set_vring_enable_prepare(struct vu_session *session, struct vu_message *message);
int vu_set_vring_enable(struct vu_session *session, struct vu_message *message);
/* inflight.c */
int vu_get_inflight_fd(struct vu_session *session, struct vu_message *message);
int vu_set_inflight_fd_prepare(struct vu_session *session, struct vu_message *message);
int vu_set_inflight_fd(struct vu_session *session, struct vu_message *message);
/* status.c */
int vu_reset_device_prepare(struct vu_session *session, struct vu_message *message);
int vu_reset_device(struct vu_session *session, struct vu_message *message);
int vu_set_status_prepare(struct vu_session *session, struct vu_message *message);
int vu_set_status(struct vu_session *session, struct vu_message *message);
int vu_get_status(struct vu_session *session, struct vu_message *message);
/* backend.c */
int vu_set_backend_req_fd_prepare(struct vu_session *session, struct vu_message *message);
int vu_set_backend_req_fd(struct vu_session *session, struct vu_message *message);

#endif
