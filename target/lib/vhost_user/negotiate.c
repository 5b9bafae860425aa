/* SPDX-License-Identifier: BSD-3-Clause */
/* Features, protocol features and the like. */
#include <errno.h>

#include "vhost_user/session_private.h"

#define OFFERED_PROTOCOL_FEATURES                                                         \
	(1ull << VU_PROTOCOL_F_MQ | 1ull << VU_PROTOCOL_F_LOG_SHMFD |                     \
	 1ull << VU_PROTOCOL_F_REPLY_ACK | 1ull << VU_PROTOCOL_F_BACKEND_REQ |            \
	 1ull << VU_PROTOCOL_F_CONFIG | 1ull << VU_PROTOCOL_F_INFLIGHT_SHMFD |            \
	 1ull << VU_PROTOCOL_F_RESET_DEVICE | 1ull << VU_PROTOCOL_F_CONFIGURE_MEM_SLOTS | \
	 1ull << VU_PROTOCOL_F_STATUS)

uint64_t vu_protocol_features(void)
{
	return OFFERED_PROTOCOL_FEATURES;
}

static uint64_t offered_features(struct vu_session *session)
{
	return session->ops->features(session->owner) | VU_F_OURS;
}

int vu_get_features(struct vu_session *session, struct vu_message *message)
{
	vu_reply_put_u64(&session->reply, offered_features(session));
	return 0;
}

int vu_set_features_prepare(struct vu_session *session, struct vu_message *message)
{
	uint64_t features;

	if (vu_decode_u64(message, &features) < 0) {
		return vu_refuse(session, -EPROTO, "malformed payload");
	}
	if (features & ~offered_features(session)) {
		return vu_refuse_fatally(session, -EINVAL, "feature bits that were not offered");
	}
	if (!vu_any_ring_running(session)) {
		return 0;
	}
	if ((features ^ session->features) & ~VU_F_LOG_ALL) {
		return vu_refuse(session, -EBUSY, "other features while a ring is running");
	}
	if ((features & VU_F_LOG_ALL) && session->log == NULL) {
		return vu_refuse(session, -EINVAL, "logging without a log while a ring is running");
	}
	return 0;
}

/*
 * vhost-user, "Ring states": without VHOST_USER_F_PROTOCOL_FEATURES rings start enabled, with it
 * disabled. Front-ends repeat SET_FEATURES at each start of the device; that is no new beginning.
 */
static void reset_enabled(struct vu_session *session, uint64_t features)
{
	unsigned int i;

	for (i = 0; i < session->slot_n; i++) {
		session->slots[i].enabled = !(features & VU_F_PROTOCOL_FEATURES);
	}
}

int vu_set_features(struct vu_session *session, struct vu_message *message)
{
	uint64_t features;
	unsigned int i;

	if (vu_decode_u64(message, &features) < 0) {
		return vu_refuse(session, -EPROTO, "malformed payload");
	}
	if (vu_any_ring_running(session)) {
		session->features = features; /* logging comes or goes, and nothing else */
		return 0;
	}
	if (!session->features_set || ((features ^ session->features) & VU_F_PROTOCOL_FEATURES)) {
		reset_enabled(session, features);
	}
	for (i = 0; i < session->slot_n; i++) {
		session->slots[i].refused = false;
	}
	session->features = features;
	session->features_set = true;
	session->ops->negotiated(session->owner, features & ~VU_F_OURS);
	return 0;
}

int vu_get_protocol_features(struct vu_session *session, struct vu_message *message)
{
	vu_reply_put_u64(&session->reply, OFFERED_PROTOCOL_FEATURES);
	return 0;
}

int vu_set_protocol_features(struct vu_session *session, struct vu_message *message)
{
	uint64_t features;

	if (vu_decode_u64(message, &features) < 0) {
		return vu_refuse(session, -EPROTO, "malformed payload");
	}
	if (features & ~OFFERED_PROTOCOL_FEATURES) {
		return vu_refuse_fatally(session, -EINVAL,
					 "protocol features that were not offered");
	}
	session->protocol_features = features;
	return 0;
}

/* The connection itself is the session: nothing to do. */
int vu_set_owner(struct vu_session *session, struct vu_message *message)
{
	return 0;
}

/* Deprecated; the specification recommends to ignore it. */
int vu_reset_owner(struct vu_session *session, struct vu_message *message)
{
	return 0;
}

int vu_get_queue_num(struct vu_session *session, struct vu_message *message)
{
	vu_reply_put_u64(&session->reply, session->slot_n);
	return 0;
}
