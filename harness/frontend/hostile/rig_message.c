/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages and how they are taken. */
#include "rig.h"

#include <errno.h>

const char *taken_name(enum taken taken)
{
	static const char *const names[] = {
		[TAKEN_ACCEPTED] = "accepted",
		[TAKEN_REFUSED] = "refused",
		[TAKEN_ENDED] = "answered by the end of the connection",
		[TAKEN_UNKNOWN] = "taken without a word",
		[TAKEN_STALLED] = "followed by silence",
	};

	return names[taken];
}

/* Of a reply that is no acknowledgement, at least; 0: there is none. */
static uint32_t reply_size(const struct rig *rig, uint32_t request)
{
	uint64_t features = vfe_protocol_features(rig->session);

	switch (request) {
	case VFE_GET_FEATURES:
	case VFE_GET_PROTOCOL_FEATURES:
	case VFE_GET_QUEUE_NUM:
		return sizeof(uint64_t);
	case VFE_GET_VRING_BASE:
		return sizeof(struct vfe_wire_state);
	case VFE_GET_CONFIG:
		return VFE_WIRE_CONFIG_HEADER;
	case VFE_GET_INFLIGHT_FD:
		return sizeof(struct vfe_wire_inflight);
	/* Whoever does not know them can only acknowledge. */
	case VFE_GET_MAX_MEM_SLOTS:
		return (features & VFE_PF_CONFIGURE_MEM_SLOTS) != 0 ? sizeof(uint64_t) : 0;
	case VFE_GET_STATUS:
		return (features & VFE_PF_STATUS) != 0 ? sizeof(uint64_t) : 0;
	default:
		return 0;
	}
}

static enum taken judge(const struct vfe_message *asked, uint32_t wanted, struct vfe_message *reply)
{
	bool refused;

	vfe_raw_close_fds(reply);
	if (reply->header.request != asked->header.request) {
		return TAKEN_UNKNOWN;
	}
	/* An acknowledgement has 8 bytes, and is 0 for success; an empty GET_CONFIG is a refusal. */
	refused = wanted > 0 ? reply->header.size < wanted :
			       reply->header.size == sizeof(uint64_t) && reply->payload.u64 != 0;
	return refused ? TAKEN_REFUSED : TAKEN_ACCEPTED;
}

/* Nothing was said to the message itself: what about the next one? */
static enum taken knock(struct rig *rig)
{
	struct vfe_message reply;
	int r = vfe_raw_query(rig->session, VFE_GET_FEATURES, &reply);

	if (r == 0) {
		vfe_raw_close_fds(&reply);
		return TAKEN_UNKNOWN;
	}
	return r == -ETIMEDOUT ? TAKEN_STALLED : TAKEN_ENDED;
}

enum taken rig_ask(struct rig *rig, struct vfe_message *message)
{
	bool acked = (vfe_protocol_features(rig->session) & VFE_PF_REPLY_ACK) != 0;
	uint32_t wanted = reply_size(rig, message->header.request);
	struct vfe_message reply;
	int r;

	message->header.flags = VFE_FLAG_VERSION | (acked ? VFE_FLAG_NEED_REPLY : 0);
	r = vfe_raw_send(rig->session, message);
	if (r == 0 && !acked && wanted == 0) {
		return knock(rig);
	}
	if (r == 0) {
		r = vfe_raw_recv(rig->session, &reply);
	}
	if (r == 0) {
		return judge(message, wanted, &reply);
	}
	return r == -ETIMEDOUT ? TAKEN_STALLED : TAKEN_ENDED;
}

bool rig_expect_refused(struct rig *rig, const char *what, enum taken taken)
{
	struct rig_options how = rig->how;

	if (taken == TAKEN_STALLED ||
	    (rig->options->strict && taken != TAKEN_REFUSED && taken != TAKEN_ENDED)) {
		rig_fail(rig, "%s was %s", what, taken_name(taken));
		return false;
	}
	if (taken != TAKEN_ENDED) {
		return true;
	}
	rig_leave(rig);
	return rig_open(rig, &how);
}
