/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a well-behaved front-end says, and what follows from the answers. A message that the target may
 * refuse in the state it is in makes the session unsure.
 */
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "../must.h"
#include "base/fd.h"
#include "device/blk_proto.h"
#include "guest.h"

static const uint64_t protocol_features =
	1ull << VU_PROTOCOL_F_MQ | 1ull << VU_PROTOCOL_F_LOG_SHMFD |
	1ull << VU_PROTOCOL_F_REPLY_ACK | 1ull << VU_PROTOCOL_F_BACKEND_REQ |
	1ull << VU_PROTOCOL_F_CONFIG | 1ull << VU_PROTOCOL_F_RESET_DEVICE |
	1ull << VU_PROTOCOL_F_CONFIGURE_MEM_SLOTS | 1ull << VU_PROTOCOL_F_STATUS;

/* ---- sending ---- */

static bool say_with(struct guest *g, struct peer_message m, const void *payload, uint32_t len,
		     const int *fds, unsigned int fd_n)
{
	m.replies = m.request == VU_GET_FEATURES || m.request == VU_GET_PROTOCOL_FEATURES ||
		    m.request == VU_GET_QUEUE_NUM || m.request == VU_GET_VRING_BASE ||
		    m.request == VU_GET_CONFIG || m.request == VU_GET_MAX_MEM_SLOTS ||
		    m.request == VU_GET_STATUS || m.request == VU_SET_LOG_BASE;
	m.acknowledged = !m.replies && g->peer.reply_ack;
	if (!peer_send(&g->peer, &m, payload, len, fds, fd_n)) {
		g->unsure = true;
		return false;
	}
	return true;
}

static bool say(struct guest *g, uint32_t request)
{
	return say_with(g, (struct peer_message){ .request = request }, "", 0, NULL, 0);
}

static bool say_u64(struct guest *g, uint32_t request, uint64_t value)
{
	return say_with(g, (struct peer_message){ .request = request }, &value, sizeof(value), NULL,
			0);
}

static bool say_state(struct guest *g, uint32_t request, struct ring *ring, uint32_t num)
{
	const struct vu_vring_state state = { ring->index, num };
	struct peer_message m = { .request = request, .ring = ring->index };

	/* What starts the ring later than this message is told from what did before. */
	m.value = (uint64_t)ring->starts << 32 | num;
	return say_with(g, m, &state, sizeof(state), NULL, 0);
}

/* ---- one ring ---- */

/* The target may have the ring from here on. */
static void may_start(struct ring *ring)
{
	ring->starts++;
	ring->quiet = false;
}

/* Refused while the ring runs. */
static bool dare(struct guest *g, const struct ring *ring, bool daring)
{
	if (ring->quiet) {
		return true;
	}
	g->unsure = g->unsure || daring;
	return daring;
}

/* Until it is answered nobody knows where in the ring the target is. */
static void say_stop(struct guest *g, uint32_t request, struct ring *ring, uint32_t num)
{
	ring->stops += say_state(g, request, ring, num);
}

static void say_base(struct guest *g, struct ring *ring)
{
	ring->has_base = true;
	say_state(g, VU_SET_VRING_BASE, ring, ring_base(ring));
}

static void say_addr(struct guest *g, struct ring *ring, bool log)
{
	uint64_t at = RAM_UVA + ring->index * RING_BYTES;
	unsigned int i;
	const struct vu_vring_addr addr = {
		.index = ring->index,
		.descriptor = at,
		.available = at + RING_AVAIL,
		.used = at + RING_USED,
		.flags = log ? VU_VRING_F_LOG : 0,
		.log = RAM_GPA + ring->index * RING_BYTES + RING_USED,
	};

	if (!log) {
		ring->addr++;
		/* Nothing is expected from here on, also of what is out. */
		ring->logs = false;
		for (i = 0; i < SLOTS; i++) {
			ring->requests[i].ring_logged = false;
		}
	}
	say_with(g,
		 (struct peer_message){
			 .request = VU_SET_VRING_ADDR,
			 .ring = ring->index,
			 .value = log ? ++ring->addr : 0,
		 },
		 &addr, sizeof(addr), NULL, 0);
}

static void say_kick(struct guest *g, struct ring *ring)
{
	const uint64_t value = ring->index;
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	MUST(fd >= 0);
	if (!g->features_said) {
		g->unsure = true;
	}
	may_start(ring);
	say_with(g, (struct peer_message){ .request = VU_SET_VRING_KICK, .ring = ring->index },
		 &value, sizeof(value), &fd, 1);
	/* Kicks wait in the new one until the target has it. */
	fd_close(&ring->kick_fd);
	ring->kick_fd = fd;
}

static void say_call(struct guest *g, struct ring *ring, bool none)
{
	const uint64_t value = ring->index | (none ? VU_VRING_NO_FD : 0);
	int fd = none ? -1 : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (ring->swapping) {
		fd_close(&fd);
		return;
	}
	if (!say_with(g, (struct peer_message){ .request = VU_SET_VRING_CALL, .ring = ring->index },
		      &value, sizeof(value), &fd, none ? 0 : 1)) {
		fd_close(&fd);
		return;
	}
	ring->next_call_fd = fd;
	ring->swapping = true;
}

static void say_err(struct guest *g, struct ring *ring)
{
	const uint64_t value = ring->index;
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	MUST(fd >= 0);
	say_with(g, (struct peer_message){ .request = VU_SET_VRING_ERR, .ring = ring->index },
		 &value, sizeof(value), &fd, 1);
	fd_close(&fd);
}

static void say_enable(struct guest *g, struct ring *ring, bool enable)
{
	if (!g->features_said || !g->protocol) {
		return; /* rings cannot be enabled and disabled */
	}
	if (enable) {
		may_start(ring);
		say_state(g, VU_SET_VRING_ENABLE, ring, true);
	} else {
		say_stop(g, VU_SET_VRING_ENABLE, ring, false);
	}
}

void guest_ring_message(struct guest *g, struct bytes_reader *in)
{
	uint8_t which = bytes_get_u8(in);
	struct ring *ring = &g->rings[(which >> 4) % g->driver->rings];
	bool daring = (which & 0x80) != 0;

	if (!guest_connected(g) || g->ram.lost) {
		return;
	}
	switch (which & 15) {
	case 0:
		if (dare(g, ring, daring)) {
			say_state(g, VU_SET_VRING_NUM, ring, ring->size);
		}
		break;
	case 1:
		say_addr(g, ring, false); /* a ring that runs goes on */
		break;
	case 2:
		/* Behind a stop it would be taken, and be that of a moment before. */
		if (dare(g, ring, daring && ring->stops == 0)) {
			say_base(g, ring);
		}
		break;
	case 3:
	case 4:
	case 5:
		if (ring->quiet) {
			say_base(g, ring);
		}
		say_kick(g, ring);
		break;
	case 6:
	case 7:
		say_call(g, ring, daring);
		break;
	case 8:
		say_err(g, ring);
		break;
	case 9:
	case 10:
		if (ring->quiet) {
			say_base(g, ring);
		}
		say_enable(g, ring, true);
		break;
	case 11:
	case 12:
		say_enable(g, ring, false);
		break;
	default:
		say_stop(g, VU_GET_VRING_BASE, ring, ring->has_base);
	}
}

/* ---- memory ---- */

/* From now on the driver uses a copy of its memory. Nothing is on its way that would be missed. */
static bool move(struct guest *g)
{
	unsigned int i;

	if (guest_outstanding(g) > 0 || g->moving || g->parted ||
	    (g->old.fd >= 0 && g->old.frozen == NULL)) {
		return false;
	}
	ram_close(&g->old);
	g->old = g->ram;
	ram_copy(&g->ram, &g->old);
	for (i = 0; i < g->driver->rings; i++) {
		g->rings[i].ram = &g->ram;
	}
	return true;
}

static void say_memory(struct guest *g, uint32_t cuts, bool shuffled, bool elsewhere)
{
	struct {
		uint32_t n;
		uint32_t padding;
		struct vu_region regions[VU_REGIONS_MAX];
	} table = { 0 };
	int fds[VU_REGIONS_MAX];
	unsigned int i;

	elsewhere = elsewhere && move(g);
	table.n = ram_table(cuts, shuffled, table.regions);
	for (i = 0; i < table.n; i++) {
		fds[i] = g->ram.fd;
	}
	if (say_with(g, (struct peer_message){ .request = VU_SET_MEM_TABLE, .value = elsewhere },
		     &table, VU_MEM_TABLE_HEADER_SIZE + table.n * VU_REGION_SIZE, fds, table.n)) {
		g->moving = g->moving || elsewhere;
	}
	memcpy(g->regions, table.regions, sizeof(g->regions));
	g->region_n = table.n;
	g->has_spare = false;
}

/* last: of a change that takes several. */
static void say_region(struct guest *g, uint32_t request, const struct vu_region *region, bool last)
{
	const struct {
		uint64_t padding;
		struct vu_region region;
	} payload = { .region = *region };

	if (!say_with(g, (struct peer_message){ .request = request, .value = last }, &payload,
		      sizeof(payload), &g->ram.fd, request == VU_ADD_MEM_REG) &&
	    last) {
		g->remapping--;
	}
}

/* A region that no request uses comes and goes, whatever the rings are at. */
static void say_spare(struct guest *g)
{
	const struct vu_region spare = ram_spare();

	if (g->region_n == 0) {
		return; /* rings would be looked for in it */
	}
	g->has_spare = !g->has_spare;
	say_region(g, g->has_spare ? VU_ADD_MEM_REG : VU_REM_MEM_REG, &spare, false);
}

/*
 * All regions go, one by one, and come back in other pieces, as when firmware moves memory; the rings
 * run. Nothing is on its way, and nothing is made available before it is over.
 */
static void say_remap(struct guest *g, uint32_t cuts, bool shuffled)
{
	struct vu_region regions[VU_REGIONS_MAX];
	unsigned int n = ram_table(cuts, shuffled, regions);
	unsigned int i;

	if (guest_outstanding(g) > 0 || g->parted) {
		return;
	}
	g->remapping++;
	for (i = 0; i < g->region_n; i++) {
		say_region(g, VU_REM_MEM_REG, &g->regions[i], false);
	}
	for (i = 0; i < n; i++) {
		say_region(g, VU_ADD_MEM_REG, &regions[i], i + 1 == n);
	}
	memcpy(g->regions, regions, sizeof(g->regions));
	g->region_n = n;
}

void guest_memory_message(struct guest *g, struct bytes_reader *in)
{
	uint8_t how = bytes_get_u8(in);
	uint32_t cuts = bytes_get_le32(in);

	if (!guest_connected(g) || g->ram.lost) {
		return;
	}
	if ((how & 4) == 0) {
		say_memory(g, cuts, (how & 1) != 0, (how & 2) != 0);
	} else if (g->peer.reply_ack && (how & 2) != 0) { /* slots were negotiated */
		say_remap(g, cuts, (how & 1) != 0);
	} else if (g->peer.reply_ack) {
		say_spare(g);
	}
}

/* ---- the session ---- */

static void say_features(struct guest *g)
{
	const uint64_t features = g->features | (g->protocol ? VU_F_PROTOCOL_FEATURES : 0) |
				  (g->log.said ? VU_F_LOG_ALL : 0);

	g->features_said = true;
	say_with(g,
		 (struct peer_message){ .request = VU_SET_FEATURES,
					.value = g->log.said ? g->log.epoch : 0 },
		 &features, sizeof(features), NULL, 0);
}

/* ---- live migration ---- */

static void say_log(struct guest *g)
{
	const struct vu_log log = { .mmap_size = LOG_BYTES };
	int fd = log_send(&g->log);

	if (fd >= 0) {
		say_with(g, (struct peer_message){ .request = VU_SET_LOG_BASE }, &log, sizeof(log),
			 &fd, 1);
	}
}

static void say_log_fd(struct guest *g)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	MUST(fd >= 0);
	say_with(g, (struct peer_message){ .request = VU_SET_LOG_FD }, "", 0, &fd, 1);
	fd_close(&fd);
}

static void say_logging(struct guest *g, unsigned int which)
{
	if (which % 5 == 0) {
		say_log(g);
	} else if (which % 5 == 1 && g->log.now.fd >= 0 && g->features_said) {
		g->log.said = true;
		say_features(g);
	} else if (which % 5 == 2 && g->features_said) {
		log_off(&g->log);
		say_features(g);
	} else if (which % 5 == 3) {
		say_addr(g, &g->rings[which / 5 % g->driver->rings], true);
	} else if (which % 5 == 4) {
		say_log_fd(g);
	}
}

static void say_config(struct guest *g, uint32_t offset, uint32_t size, const uint8_t *data)
{
	struct {
		struct vu_config config;
		uint8_t data[VU_CONFIG_MAX];
	} payload = { .config = { .offset = offset, .size = size } };

	if (!g->peer.reply_ack) {
		return; /* protocol features were not negotiated */
	}
	if (data != NULL) {
		memcpy(payload.data, data, size);
	}
	say_with(g,
		 (struct peer_message){
			 .request = data != NULL ? VU_SET_CONFIG : VU_GET_CONFIG,
			 .value = size,
		 },
		 &payload, VU_CONFIG_HEADER_SIZE + size, NULL, 0);
}

static void say_protocol_features(struct guest *g)
{
	if (!g->protocol || g->peer.reply_ack) {
		return;
	}
	say(g, VU_GET_PROTOCOL_FEATURES);
	say_u64(g, VU_SET_PROTOCOL_FEATURES, protocol_features);
	g->peer.reply_ack = true;
}

static void say_backend_channel(struct guest *g)
{
	int fds[2];

	if (!g->peer.reply_ack) {
		return;
	}
	MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
	say_with(g, (struct peer_message){ .request = VU_SET_BACKEND_REQ_FD }, "", 0, fds, 1);
	fd_close(&fds[0]);
	fd_close(&fds[1]);
}

/* As QEMU: the rings are stopped first. Afterwards all is negotiated and said anew. */
static void say_reset(struct guest *g)
{
	unsigned int i;

	for (i = 0; i < g->driver->rings; i++) {
		say_state(g, VU_GET_VRING_BASE, &g->rings[i], g->rings[i].has_base);
		g->rings[i].has_base = false;
	}
	say(g, VU_RESET_DEVICE);
	g->features_said = false;
	log_off(&g->log);
	for (i = 0; i < g->driver->rings; i++) {
		g->rings[i].logs = false;
	}
}

/* What needs protocol features of its own. */
static void say_special(struct guest *g, unsigned int which)
{
	if (!g->peer.reply_ack) {
		return;
	}
	if (which >= 20) {
		say_logging(g, which);
		return;
	}
	switch (which % 4) {
	case 0:
		say(g, VU_GET_MAX_MEM_SLOTS);
		break;
	case 1:
		say_reset(g);
		break;
	case 2:
		say_u64(g, VU_SET_STATUS, 1 + which);
		break;
	default:
		say(g, VU_GET_STATUS);
	}
}

void guest_message(struct guest *g, struct bytes_reader *in)
{
	uint8_t which = bytes_get_u8(in);
	uint8_t writeback = which >> 7;

	if (!guest_connected(g)) {
		return;
	}
	switch (which % 10) {
	case 0:
		say(g, VU_GET_FEATURES);
		break;
	case 1:
		say_protocol_features(g);
		break;
	case 2:
		say(g, VU_SET_OWNER);
		break;
	case 3:
		say(g, VU_RESET_OWNER);
		break;
	case 4:
		say_features(g);
		break;
	case 5:
		say(g, VU_GET_QUEUE_NUM);
		break;
	case 6:
		say_config(g, which, VU_CONFIG_MAX - which, NULL);
		break;
	case 7:
		if ((g->features >> BLK_F_CONFIG_WCE & 1) != 0) {
			say_config(g, BLK_CONFIG_WRITEBACK, 1, &writeback);
		}
		break;
	case 8:
		say_backend_channel(g);
		break;
	default:
		if (which < 10) {
			say(g, VU_GET_PROTOCOL_FEATURES);
		} else {
			say_special(g, which / 10);
		}
	}
}

static void say_ring(struct guest *g, struct ring *ring)
{
	if (dare(g, ring, false)) {
		say_state(g, VU_SET_VRING_NUM, ring, ring->size);
		say_base(g, ring);
		say_addr(g, ring, false);
	}
	say_kick(g, ring);
	say_call(g, ring, false);
}

void guest_start(struct guest *g, struct bytes_reader *in)
{
	uint8_t cuts = bytes_get_u8(in);
	unsigned int i;

	if (!guest_connected(g) || g->ram.lost) {
		return;
	}
	say(g, VU_GET_FEATURES);
	say_protocol_features(g);
	say(g, VU_GET_QUEUE_NUM);
	say(g, VU_SET_OWNER);
	say_features(g);
	say_config(g, 0, 60, NULL);
	say_memory(g, (uint32_t)cuts << 4, false, false);
	for (i = 0; i < g->driver->rings; i++) {
		say_ring(g, &g->rings[i]);
	}
	for (i = 0; i < g->driver->rings; i++) {
		say_enable(g, &g->rings[i], true);
	}
}

/* ---- answers ---- */

static void ring_stopped(struct ring *ring, const struct peer_message *m)
{
	if (m->value >> 32 == ring->starts) {
		ring->quiet = true;
		ring->quiet_used = ring_used_idx(ring);
	}
}

static void base_told(struct guest *g, struct ring *ring, const struct peer_message *m,
		      const struct vu_message *reply)
{
	struct vu_vring_state state;

	memcpy(&state, reply->payload, sizeof(state));
	MUST(reply->header.size == VU_VRING_STATE_SIZE && state.index == ring->index);
	if (g->hostile || g->ram.lost) {
		return;
	}
	/* All that was taken from the ring has been answered. */
	MUST(state.num == ring_base(ring) || g->unsure || (uint32_t)m->value == false);
	ring->has_kick = false;
	ring_stopped(ring, m);
}

static void call_swapped(struct guest *g, struct ring *ring)
{
	struct pollfd old = { .fd = ring->call_fd, .events = POLLIN };
	bool was_none = ring->call_fd < 0;

	/*
	 * What came in the old one is carried over by the front-end, if the ring stands still. If it runs
	 * the target says it anew, since the front-end may have looked for the last time before.
	 */
	if (!was_none && ring->next_call_fd >= 0 && (g->unsure || !guest_ring_runs(g, ring)) &&
	    poll(&old, 1, 0) > 0) {
		eventfd_signal(ring->next_call_fd);
	}
	fd_close(&ring->call_fd);
	ring->call_fd = ring->next_call_fd;
	ring->next_call_fd = -1;
	ring->swapping = false;
	if (was_none && !g->hostile && !g->ram.lost) {
		guest_reap(g, ring); /* nothing told it so far */
	}
}

static void memory_swapped(struct guest *g, const struct peer_message *m)
{
	g->mem_set = true;
	if (m->value != 0) {
		g->moving = false;
		ram_freeze(&g->old);
	}
}

static void slot_changed(struct guest *g, const struct peer_message *m)
{
	if (m->value != 0) {
		g->remapping--;
		g->mem_set = true;
	}
}

static void device_reset(struct guest *g)
{
	unsigned int i;

	for (i = 0; i < RINGS_MAX; i++) {
		struct ring *ring = &g->rings[i];

		ring->has_size = ring->has_addr = ring->has_kick = ring->enabled = false;
	}
	g->features_set = false;
}

static void features_set(struct guest *g)
{
	unsigned int i;

	for (i = 0; i < RINGS_MAX && !g->features_set; i++) {
		g->rings[i].enabled = !g->protocol;
	}
	g->features_set = true;
}

void guest_message_done(struct guest *g, const struct peer_message *m, bool ok,
			const struct vu_message *reply)
{
	struct ring *ring = &g->rings[m->ring];

	if (m->request == VU_GET_VRING_BASE ||
	    (m->request == VU_SET_VRING_ENABLE && (uint32_t)m->value == 0)) {
		ring->stops--;
	}
	if (!ok) {
		MUST(g->unsure);
		if (m->request == VU_ADD_MEM_REG && m->value != 0) {
			g->remapping--;
		}
		return;
	}
	switch (m->request) {
	case VU_SET_FEATURES:
		features_set(g);
		log_confirmed(&g->log, (uint32_t)m->value);
		break;
	case VU_SET_LOG_BASE:
		log_sent(&g->log);
		break;
	case VU_SET_MEM_TABLE:
		memory_swapped(g, m);
		break;
	case VU_ADD_MEM_REG:
	case VU_REM_MEM_REG:
		slot_changed(g, m);
		break;
	case VU_RESET_DEVICE:
		device_reset(g);
		break;
	case VU_GET_STATUS:
		/* A ring is broken: not one of a driver that keeps the rules. */
		MUST(reply->header.size == sizeof(uint64_t));
		MUST((reply->payload[0] & VU_STATUS_NEEDS_RESET) == 0 || g->unsure || g->ram.lost);
		break;
	case VU_SET_VRING_NUM:
		ring->has_size = true;
		break;
	case VU_SET_VRING_ADDR:
		ring->has_addr = true;
		ring->logs = m->value == ring->addr;
		break;
	case VU_SET_VRING_KICK:
		ring->has_kick = true;
		break;
	case VU_SET_VRING_CALL:
		call_swapped(g, ring);
		break;
	case VU_SET_VRING_ENABLE:
		ring->enabled = (uint32_t)m->value == 1;
		if (!ring->enabled && !g->hostile && !g->ram.lost) {
			ring_stopped(ring, m);
		}
		break;
	case VU_GET_VRING_BASE:
		base_told(g, ring, m, reply);
		break;
	case VU_GET_CONFIG:
		MUST(reply->header.size == VU_CONFIG_HEADER_SIZE + m->value);
		break;
	default:
		break;
	}
}
