/* SPDX-License-Identifier: BSD-3-Clause */
/* Features and protocol features. */
#include <errno.h>

#include "internal.h"

#define RING_FEATURES \
	(VFE_F_INDIRECT_DESC | VFE_F_EVENT_IDX | VFE_F_PROTOCOL_FEATURES | VFE_F_VERSION_1)
#define BLK_FEATURES                                                                        \
	(VFE_F_BLK_SIZE_MAX | VFE_F_BLK_SEG_MAX | VFE_F_BLK_GEOMETRY | VFE_F_BLK_RO |       \
	 VFE_F_BLK_BLK_SIZE | VFE_F_BLK_FLUSH | VFE_F_BLK_TOPOLOGY | VFE_F_BLK_CONFIG_WCE | \
	 VFE_F_BLK_MQ | VFE_F_BLK_DISCARD | VFE_F_BLK_WRITE_ZEROES)
/* INOUT is left out: no request of ours goes both ways. */
#define SCSI_FEATURES (VFE_F_SCSI_HOTPLUG | VFE_F_SCSI_CHANGE)
#define PROTOCOL_FEATURES                                                    \
	(VFE_PF_MQ | VFE_PF_REPLY_ACK | VFE_PF_BACKEND_REQ | VFE_PF_CONFIG | \
	 VFE_PF_INFLIGHT_SHMFD | VFE_PF_CONFIGURE_MEM_SLOTS)

static uint64_t understood(const struct vfe_wish *wish)
{
	uint64_t device = wish->device == VFE_SCSI ? SCSI_FEATURES : BLK_FEATURES;

	return RING_FEATURES | device | (wish->packed ? VFE_F_RING_PACKED : 0);
}

static int choose_features(struct vfe_session *session)
{
	const struct vfe_wish *wish = &session->wish;
	uint64_t must = wish->require | (wish->packed ? VFE_F_RING_PACKED : 0);
	int r = vfe_query_u64(session, VFE_GET_FEATURES, &session->offered);

	if (r < 0) {
		return r;
	}
	session->features = session->offered & understood(wish) & ~wish->without;
	if ((must & ~session->features) != 0) {
		return vfe_fail(session, -ENOTSUP, "the back-end does not offer %s (bits 0x%llx)",
				(must & ~session->features) == VFE_F_RING_PACKED ?
					"packed rings" :
					"what is required",
				(unsigned long long)(must & ~session->features));
	}
	return 0;
}

static int choose_protocol_features(struct vfe_session *session)
{
	int r;

	session->protocol_features = 0;
	if ((session->features & VFE_F_PROTOCOL_FEATURES) == 0) {
		return 0;
	}
	r = vfe_query_u64(session, VFE_GET_PROTOCOL_FEATURES, &session->offered_protocol);
	if (r < 0) {
		return r;
	}
	session->protocol_features = session->offered_protocol & PROTOCOL_FEATURES &
				     ~session->wish.without_protocol;
	return vfe_send_u64(session, VFE_SET_PROTOCOL_FEATURES, session->protocol_features);
}

static int ask_queue_num(struct vfe_session *session)
{
	uint64_t n = 1;
	int r;

	if ((session->protocol_features & VFE_PF_MQ) != 0) {
		r = vfe_query_u64(session, VFE_GET_QUEUE_NUM, &n);
		if (r < 0) {
			return r;
		}
	}
	session->max_queues = n < VFE_QUEUES_MAX ? (unsigned int)n : VFE_QUEUES_MAX;
	return 0;
}

/* Everything up to SET_FEATURES; the sets of features have been chosen. */
static int declare(struct vfe_session *session)
{
	struct vfe_message owner = { .header = { VFE_SET_OWNER, 0, 0 } };
	struct vfe_message features = { .header = { VFE_SET_FEATURES, 0, sizeof(uint64_t) },
					.payload.u64 = session->features };
	int r = vfe_send_checked(session, &owner);

	if (r == 0 && (session->protocol_features & VFE_PF_BACKEND_REQ) != 0) {
		r = vfe_backend_channel_open(session);
	}
	return r == 0 ? vfe_send_checked(session, &features) : r;
}

int vfe_negotiate(struct vfe_session *session, const struct vfe_wish *wish)
{
	int r;

	session->wish = *wish;
	r = choose_features(session);
	if (r == 0) {
		r = choose_protocol_features(session);
	}
	if (r == 0) {
		r = ask_queue_num(session);
	}
	return r == 0 ? declare(session) : r;
}

int vfe_negotiate_again(struct vfe_session *session)
{
	uint64_t features = session->features;
	uint64_t protocol = session->protocol_features;
	int r = choose_features(session);

	if (r < 0) {
		return r;
	}
	/* The driver goes on with what it knows: the successor must offer it all. */
	if ((features & ~session->offered) != 0) {
		session->features = features;
		return vfe_fail(session, -ENOTSUP, "the successor lacks features 0x%llx",
				(unsigned long long)(features & ~session->offered));
	}
	session->features = features;
	r = choose_protocol_features(session);
	if (r < 0) {
		return r;
	}
	if (((protocol & ~session->protocol_features) & VFE_PF_INFLIGHT_SHMFD) != 0) {
		return vfe_fail(session, -ENOTSUP, "the successor has no in-flight area");
	}
	return declare(session);
}

uint64_t vfe_features(const struct vfe_session *session)
{
	return session->features;
}

uint64_t vfe_features_offered(const struct vfe_session *session)
{
	return session->offered;
}

uint64_t vfe_protocol_features(const struct vfe_session *session)
{
	return session->protocol_features;
}

unsigned int vfe_max_queues(const struct vfe_session *session)
{
	return session->max_queues;
}

enum vfe_device_type vfe_device_type(const struct vfe_session *session)
{
	return session->wish.device;
}
