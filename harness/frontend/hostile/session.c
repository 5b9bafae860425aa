/* SPDX-License-Identifier: BSD-3-Clause */
/* T65, T80, T81, T85: connections that end, stall, or come in numbers. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "case.h"

#define CONNECTS 1000

/* ---- T65 ---- */

/* The beginning of a message, and then nobody is there any more. */
static void cut_message(struct rig *rig, const void *bytes, size_t len, int fd)
{
	if (!rig_connect(rig)) {
		return;
	}
	(void)vfe_raw_send_bytes(rig->session, bytes, len, &fd, fd < 0 ? 0 : 1);
	rig_leave(rig);
}

static void end_at_every_byte(struct rig *rig, const void *arg)
{
	const struct rig_options how = { 0 };
	const struct vfe_raw_region *regions;
	struct {
		struct vfe_wire_header header;
		struct vfe_wire_mem_table table;
	} message = { .header = { VFE_SET_MEM_TABLE, VFE_FLAG_VERSION, 40 }, .table.region_n = 1 };
	size_t len;

	(void)arg;
	if (!rig_open(rig, &how)) {
		return;
	}
	vfe_raw_memory_regions(rig->memory, &regions);
	message.table.regions[0] = regions[0].wire;
	rig_leave(rig);
	for (len = 1; len <= sizeof(message.header) + 40 && !rig->failed; len++) {
		cut_message(rig, &message, len, regions[0].fd);
		cut_message(rig, &message, len, -1);
	}
}

/* Half a message, and the other half only after the runner has seen that the bystander did not care. */
static void half_a_message(struct rig *rig, const void *arg)
{
	const struct rig_options how = { 0 };
	struct vfe_wire_header header = { VFE_GET_FEATURES, VFE_FLAG_VERSION, 0 };
	struct vfe_message reply;
	const uint8_t *bytes = (const uint8_t *)&header;

	(void)arg;
	if (!rig_start(rig, &how)) {
		return;
	}
	(void)vfe_raw_send_bytes(rig->session, bytes, 5, NULL, 0);
	/* Its own ring does not care either. */
	rig_expect_usable(rig);
	(void)vfe_raw_send_bytes(rig->session, bytes + 5, sizeof(header) - 5, NULL, 0);
	if (!rig->failed && vfe_raw_recv(rig->session, &reply) < 0) {
		rig_fail(rig, "the second half of a message was not answered: %s",
			 vfe_why(rig->session));
	}
}

/* ---- T80 ---- */

static void full_backend_channel(struct rig *rig, const void *arg)
{
	const struct rig_options how = { .with_protocol = VFE_PF_BACKEND_REQ };
	struct vfe_message message = { .header = { VFE_SET_BACKEND_REQ_FD, 0, 0 }, .fd_n = 1 };
	char rubbish[4096] = { 0 };
	int pair[2];

	(void)arg;
	if (!rig_start(rig, &how)) {
		return;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		rig_fail(rig, "no socket pair");
		return;
	}
	/* Both ways: it cannot write, and what it reads is no answer. */
	while (send(pair[1], rubbish, sizeof(rubbish), MSG_DONTWAIT) > 0) {
	}
	while (send(pair[0], rubbish, sizeof(rubbish), MSG_DONTWAIT) > 0) {
	}
	message.fds[0] = pair[1];
	if (rig_ask(rig, &message) == TAKEN_STALLED) {
		rig_fail(rig, "SET_BACKEND_REQ_FD was followed by silence");
	}
	close(pair[1]);
	if (!rig->failed && rig_alive(rig)) {
		rig_expect_usable(rig);
	}
	close(pair[0]);
}

/* ---- T81 ---- */

/* Waits for room in the backlog, if it must. */
static int connect_in_time(const char *path, unsigned int ms)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	const struct timeval patience = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strncpy(addr.sun_path, path, sizeof(addr.sun_path) - 1);
	if (fd >= 0 && (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0 ||
			connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Another target may take one connection at a time, or none any more: that is its own affair. */
static void many_connects(struct rig *rig, const void *arg)
{
	const struct vfe_wire_header header = { VFE_GET_FEATURES, VFE_FLAG_VERSION, 0 };
	unsigned int patience = rig->options->strict ? RIG_DEADLINE_MS : RIG_SILENCE_MS;
	unsigned int i;
	int fd;

	(void)arg;
	for (i = 0; i < CONNECTS; i++) {
		fd = connect_in_time(rig->options->socket, patience);
		if (fd < 0) {
			break;
		}
		if (i % 3 == 0) {
			(void)send(fd, &header, sizeof(header), MSG_NOSIGNAL);
		}
		close(fd);
	}
	rig_note(rig, "%u connects", i);
	if (rig->options->strict && i < CONNECTS) {
		rig_fail(rig, "connect %u of %u waited for more than %u ms", i + 1, CONNECTS,
			 patience);
	}
}

/* ---- T85 ---- */

/* Everything that a front-end says from its first message to a running ring. */
static void make_script(struct rig *rig, struct vfe_message *script, unsigned int *ret_n)
{
	const struct vfe_raw_region *regions;
	struct vfe_raw_ring ring;
	unsigned int n = 0;

	vfe_raw_memory_regions(rig->memory, &regions);
	vfe_raw_ring_of(rig->queue, &ring);
	script[n++] = (struct vfe_message){ .header = { VFE_GET_FEATURES, 1, 0 } };
	script[n++] = (struct vfe_message){ .header = { VFE_GET_PROTOCOL_FEATURES, 1, 0 } };
	script[n++] = (struct vfe_message){ .header = { VFE_SET_PROTOCOL_FEATURES, 1, 8 },
					    .payload.u64 = vfe_protocol_features(rig->session) };
	script[n++] = (struct vfe_message){ .header = { VFE_GET_QUEUE_NUM, 1, 0 } };
	script[n++] = (struct vfe_message){ .header = { VFE_SET_OWNER, 1, 0 } };
	script[n++] = (struct vfe_message){ .header = { VFE_SET_VRING_CALL, 1, 8 },
					    .payload.u64 = ring.index,
					    .fds = { ring.call_fd },
					    .fd_n = 1 };
	script[n++] =
		(struct vfe_message){ .header = { VFE_GET_CONFIG, 1, VFE_WIRE_CONFIG_HEADER + 36 },
				      .payload.config.size = 36 };
	script[n++] = (struct vfe_message){ .header = { VFE_SET_FEATURES, 1, 8 },
					    .payload.u64 = vfe_features(rig->session) };
	script[n] = (struct vfe_message){ .header = { VFE_SET_MEM_TABLE, 1, 8 + 2 * 32 },
					  .payload.mem_table.region_n = 2,
					  .fds = { regions[0].fd, regions[1].fd },
					  .fd_n = 2 };
	script[n].payload.mem_table.regions[0] = regions[0].wire;
	script[n++].payload.mem_table.regions[1] = regions[1].wire;
	script[n++] = (struct vfe_message){ .header = { VFE_SET_VRING_NUM, 1, 8 },
					    .payload.state = { ring.index, ring.size } };
	script[n++] = (struct vfe_message){ .header = { VFE_SET_VRING_BASE, 1, 8 },
					    .payload.state = { ring.index, 0 } };
	script[n++] = (struct vfe_message){ .header = { VFE_SET_VRING_ADDR, 1, sizeof(ring.addr) },
					    .payload.addr = ring.addr };
	script[n++] = (struct vfe_message){ .header = { VFE_SET_VRING_KICK, 1, 8 },
					    .payload.u64 = ring.index,
					    .fds = { ring.kick_fd },
					    .fd_n = 1 };
	script[n++] = (struct vfe_message){ .header = { VFE_SET_VRING_CALL, 1, 8 },
					    .payload.u64 = ring.index,
					    .fds = { ring.call_fd },
					    .fd_n = 1 };
	script[n++] = (struct vfe_message){ .header = { VFE_SET_VRING_ENABLE, 1, 8 },
					    .payload.state = { ring.index, 1 } };
	script[n++] = (struct vfe_message){ .header = { VFE_GET_VRING_BASE, 1, 8 },
					    .payload.state = { ring.index, 0 } };
	*ret_n = n;
}

#define SCRIPT_MAX 24

/* One session makes the ring and the script; the others play it, each one message further. */
static void leave_at_every_message(struct rig *rig, const void *arg)
{
	static struct vfe_message script[SCRIPT_MAX];
	const struct rig_options how = { 0 };
	struct rig player;
	struct request request;
	unsigned int n;
	unsigned int count;
	unsigned int i;

	(void)arg;
	if (!rig_start(rig, &how)) {
		return;
	}
	make_script(rig, script, &n);
	/* A request lies in the ring all the time: the target may take it, and is left alone with it. */
	rig_read(rig, 0, RIG_SECTOR, VFE_SECTOR, &request);
	vfe_disconnect(rig->session);
	for (count = 0; count <= n && !rig->failed; count++) {
		rig_init(&player, rig->options);
		if (!rig_connect(&player)) {
			rig_fail(rig, "%s", player.why);
			return;
		}
		memset(rig->view.used, 0, 4);
		rig_chain(rig, 0, &request);
		rig->avail_idx = 0;
		rig_head(rig, 0);
		rig_offer(rig);
		for (i = 0; i < count; i++) {
			(void)vfe_raw_send(player.session, &script[i]);
		}
		rig_leave(&player);
	}
	rig_note(rig, "%u messages", n);
}

static const struct hostile_case cases[] = {
	{ "T65", "the connection ends in each byte of a message", ON_DISK | ON_SPLIT,
	  end_at_every_byte, NULL },
	{ "T65", "half a message", ON_DISK | ON_SPLIT, half_a_message, NULL },
	{ "T80", "a back-end channel that is full both ways", ON_DISK | ON_SPLIT,
	  full_backend_channel, NULL },
	{ "T81", "a thousand connects", ON_DISK | ON_SPLIT, many_connects, NULL },
	{ "T85", "the connection ends behind each message", ON_DISK | ON_SPLIT,
	  leave_at_every_message, NULL },
};

const struct case_table session_table = CASE_TABLE(cases);
