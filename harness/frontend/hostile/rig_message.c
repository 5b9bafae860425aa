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

static bool has_reply(uint32_t request)
{
	switch (request) {
	case VFE_GET_FEATURES:
	case VFE_GET_PROTOCOL_FEATURES:
	case VFE_GET_QUEUE_NUM:
	case VFE_GET_VRING_BASE:
	case VFE_GET_CONFIG:
	case VFE_GET_INFLIGHT_FD:
	case VFE_GET_MAX_MEM_SLOTS:
	case VFE_GET_STATUS:
		return true;
	default:
		return false;
	}
}

static enum taken judge(const struct vfe_message *asked, struct vfe_message *reply)
{
	bool refused;

	vfe_raw_close_fds(reply);
	if (reply->header.request != asked->header.request) {
		return TAKEN_UNKNOWN;
	}
	/* An empty GET_CONFIG is the refusal; other answers say it in words of 8 bytes, 0 is success. */
	refused = has_reply(asked->header.request) ?
			  reply->header.size == 0 :
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
	struct vfe_message reply;
	int r;

	message->header.flags = VFE_FLAG_VERSION | (acked ? VFE_FLAG_NEED_REPLY : 0);
	r = vfe_raw_send(rig->session, message);
	if (r == 0 && !acked && !has_reply(message->header.request)) {
		return knock(rig);
	}
	if (r == 0) {
		r = vfe_raw_recv(rig->session, &reply);
	}
	if (r == 0) {
		return judge(message, &reply);
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
