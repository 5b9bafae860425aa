/* SPDX-License-Identifier: BSD-3-Clause */
/* The session: it begins, the target is watched, it ends. */
#include "guest.h"

#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../must.h"
#include "base/fd.h"

void guest_init(struct guest *g)
{
	unsigned int i;

	g->peer.fd = -1;
	g->half_fd = -1;
	ram_init(&g->ram);
	ram_init(&g->old);
	log_init(&g->log);
	for (i = 0; i < RINGS_MAX; i++) {
		g->rings[i].index = i;
		g->rings[i].kick_fd = g->rings[i].call_fd = g->rings[i].next_call_fd = -1;
	}
}

void guest_done(struct guest *g)
{
	unsigned int i;

	MUST(!guest_has_session(g));
	for (i = 0; i < RINGS_MAX; i++) {
		ring_close_fds(&g->rings[i]);
	}
	ram_close(&g->ram);
	ram_close(&g->old);
	log_forget(&g->log);
}

/* ---- it begins ---- */

static void reset_session(struct guest *g)
{
	struct controller_info info;
	unsigned int i;

	controller_get_info(controller_find(g->target, g->controller), &info);
	g->accepted = false;
	g->session = info.sessions + 1 + (g->parted && g->parted_session > info.sessions);
	/* One that was hostile may have sent its own socket, and keeps the connection alive by it. */
	g->unsure = g->parted && g->parted_hostile;
	g->hostile = false;
	g->moving = false;
	g->region_n = 0;
	g->has_spare = false;
	g->remapping = 0;
	g->mem_set = false;
	g->features_said = false;
	g->features_set = false;
	g->told_due = false;
	log_forget(&g->log);
	for (i = 0; i < RINGS_MAX; i++) {
		g->rings[i].logs = false;
	}
}

/* Both counters of a packed ring are 1 at first, and 0 at the end of the second round. */
static uint16_t start_of(bool packed, bool near_wrap, uint16_t size)
{
	if (packed) {
		return near_wrap ? (uint16_t)(size - 1) : 0x8000;
	}
	return near_wrap ? 65530 : 0;
}

static void begin_fresh(struct guest *g, struct bytes_reader *in, bool packed)
{
	static const uint16_t sizes[2][4] = { { 4, 16, 64, 8 }, { 3, 16, 61, 7 } };
	uint8_t shape = bytes_get_u8(in);
	uint16_t size = sizes[packed][shape >> 2 & 3];
	unsigned int i;

	if (g->parted) {
		/* The session that is ending keeps what it has. */
		ram_close(&g->old);
		g->old = g->ram;
		g->parted_rings = false;
		ram_open(&g->ram);
	} else if (g->ram.fd < 0 || g->ram.lost || (shape & 0x80) != 0) {
		ram_close(&g->ram);
		ram_open(&g->ram);
	} else {
		ram_thaw(&g->ram);
	}
	g->protocol = (shape & 0x60) != 0x60;
	g->features = UINT64_C(1) << VIRTIO_F_VERSION_1;
	g->features |= (shape & 0x20) != 0 ? g->offered : 0;
	g->features |= (uint64_t)(shape & 1) << VIRTIO_RING_F_EVENT_IDX;
	g->features |= (uint64_t)(shape >> 1 & 1) << VIRTIO_RING_F_INDIRECT_DESC;
	g->features |= (uint64_t)packed << VIRTIO_F_RING_PACKED;
	for (i = 0; i < g->driver->rings; i++) {
		ring_reset(&g->rings[i],
			   &(struct ring_options){
				   .ram = &g->ram,
				   .size = size,
				   .start = start_of(packed, (shape & 0x10) != 0, size),
				   .event_idx = (shape & 1) != 0,
				   .indirect = (shape & 2) != 0,
				   .packed = packed,
			   });
	}
}

/* The front-end is back with the guest it had, and offers again what was not answered. */
static void begin_again(struct guest *g)
{
	unsigned int i;
	unsigned int s;
	unsigned int k;

	ram_thaw(&g->ram);
	for (i = 0; i < g->driver->rings; i++) {
		struct ring *ring = &g->rings[i];

		for (s = 0; s < SLOTS; s++) {
			struct request *r = &ring->requests[s];

			for (k = 0; r->used && k < r->range_n; k++) {
				struct range range = r->ranges[k];

				/* What they write lies in `pending` still. */
				MUST(r->effect == EFFECT_READ ?
					     disk_claim_read(g->disk, range.offset, range.len) :
					     disk_claim_write(g->disk, range.offset, range.len,
							      g->disk->pending + range.offset));
			}
		}
		ring_resume(ring);
	}
}

void guest_connect(struct guest *g, struct bytes_reader *in)
{
	uint8_t how = bytes_get_u8(in);
	bool again = (how & 1) != 0 && g->can_resume && !g->parted;

	if (guest_connected(g) || g->half_fd >= 0 || (g->careful && g->parted) ||
	    !peer_connect(&g->peer, &g->addr, g->addr_len)) {
		return;
	}
	reset_session(g);
	if (again) {
		begin_again(g);
	} else {
		begin_fresh(g, in, (how & 2) != 0);
	}
	g->can_resume = false;
}

/* ---- it ends ---- */

bool guest_has_session(const struct guest *g)
{
	return guest_connected(g) || g->parted;
}

/* The target uses none of the memory any more, and no request is on its way. */
static void released(struct guest *g)
{
	unsigned int i;

	for (i = 0; i < g->driver->rings && !g->parted_hostile; i++) {
		const struct ram *ram = g->parted_rings ? &g->ram : &g->old;
		struct ring_area used = g->parted_used[i];

		/* A ring that was abandoned published nothing more. */
		if ((g->abandoned >> i & 1) != 0 && !ram->lost) {
			MUST(memcmp(g->abandoned_used[i], ram->mem + i * RING_BYTES + used.offset,
				    used.len) == 0);
		}
	}
	g->abandoned = 0;
	g->can_resume = false;
	if (g->parted_rings && !g->parted_hostile && !g->ram.lost) {
		for (i = 0; i < g->driver->rings; i++) {
			g->rings[i].wants_calls = false;
			g->rings[i].quiet = false;
		}
		guest_reap_all(g);
		g->can_resume = !g->moving;
	}
	disk_settle(g->disk);
	if (g->parted_rings) {
		ram_freeze(&g->ram);
	}
	ram_freeze(&g->old);
	g->parted_released = true;
}

static void session_over(struct guest *g)
{
	if (!g->parted_released) {
		released(g);
	}
	g->parted = false;
	g->parted_rings = false;
	fd_close(&g->half_fd);
}

void guest_ring_starts(const struct guest *g)
{
	struct controller_info info;

	controller_get_info(controller_find(g->target, g->controller), &info);
	/* Its memory may be somebody else's by now. */
	MUST(!g->parted || g->parted_hostile || info.sessions > g->parted_session);
}

void guest_ring_abandoned(struct guest *g, unsigned int index)
{
	const struct ram *ram = g->parted_rings ? &g->ram : &g->old;
	struct ring_area used = g->parted_used[index];

	/* A front-end that half closed its end is still there, but it has left. */
	if (!g->parted || g->parted_released || ram->lost) {
		return;
	}
	g->abandoned |= 1u << index;
	memcpy(g->abandoned_used[index], ram->mem + index * RING_BYTES + used.offset, used.len);
}

static void part(struct guest *g)
{
	unsigned int i;

	g->parted = true;
	g->parted_rings = true;
	g->parted_released = false;
	g->parted_session = g->session;
	g->parted_hostile = g->hostile;
	log_off(&g->log);
	for (i = 0; i < RINGS_MAX; i++) {
		g->parted_used[i] = ring_used_area(&g->rings[i]);
	}
}

void guest_part(struct guest *g, enum parting how)
{
	const uint32_t half = VU_GET_FEATURES;

	if (!guest_connected(g) || g->parted || (g->careful && !g->accepted)) {
		return;
	}
	if (how == PART_MID_MESSAGE) {
		peer_send_raw(&g->peer, &half, sizeof(half), NULL, 0);
	}
	if (how == PART_SHUTDOWN) {
		shutdown(g->peer.fd, SHUT_WR);
		g->half_fd = g->peer.fd;
		g->peer.fd = -1;
	} else {
		peer_close(&g->peer);
	}
	part(g);
}

/* ---- while it lasts ---- */

void guest_disk_changed(struct guest *g, bool has_disk)
{
	g->changes++;
	if (has_disk != g->has_disk) {
		/* The device must know what the driver takes. */
		g->told_due = guest_connected(g) && !g->parted && g->features_set;
		g->has_disk = has_disk;
	}
}

static bool was_accepted(const struct controller_info *info, uint64_t session)
{
	return info->sessions >= session;
}

static bool is_over(const struct controller_info *info, uint64_t session)
{
	return info->sessions > session || (info->sessions == session && !info->connected);
}

void guest_be_hostile(struct guest *g)
{
	g->hostile = true;
	g->unsure = true;
	g->disk->unwatched = true;
}

static void read_replies(struct guest *g, bool shutting_down)
{
	enum peer_got got;

	while ((got = peer_receive(&g->peer)) == PEER_REPLY) {
		if (g->peer.out_of_step) {
			continue;
		}
		MUST(g->peer.reply.header.flags == (VU_VERSION | VU_FLAG_REPLY));
		while (true) {
			struct peer_message m = g->peer.sent[0];
			const struct vu_message *reply = &g->peer.reply;
			uint64_t value;

			MUST(g->peer.sent_n > 0);
			peer_forget_oldest(&g->peer);
			if (!m.replies && !m.acknowledged) {
				guest_message_done(g, &m, true, NULL);
				continue;
			}
			MUST(reply->header.request == m.request);
			memcpy(&value, reply->payload, sizeof(value));
			MUST(m.replies || reply->header.size == sizeof(value));
			guest_message_done(g, &m, m.replies || value == 0, reply);
			break;
		}
	}
	if (got == PEER_END) {
		/* A well-behaved front-end is not thrown out. */
		MUST(g->unsure || shutting_down);
		peer_close(&g->peer);
		if (!g->parted) {
			/* The end is what the target says last. */
			part(g);
			released(g);
		}
	}
}

void guest_listen(struct guest *g, bool shutting_down)
{
	struct controller *controller = controller_find(g->target, g->controller);
	struct controller_info info = { .sessions = UINT64_MAX };

	if (!guest_has_session(g)) {
		return;
	}
	if (controller != NULL) {
		controller_get_info(controller, &info);
	}
	if (g->parted && is_over(&info, g->parted_session)) {
		session_over(g);
	}
	if (!guest_connected(g)) {
		return;
	}
	g->accepted = was_accepted(&info, g->session);
	read_replies(g, shutting_down);
	if (!guest_connected(g) && g->parted_session == g->session && !g->accepted) {
		session_over(g); /* it never began */
	}
}

void guest_look(struct guest *g)
{
	unsigned int i;

	if (!guest_connected(g) || g->hostile || g->ram.lost) {
		return;
	}
	for (i = 0; i < g->driver->rings; i++) {
		ring_check(&g->rings[i]);
	}
}
