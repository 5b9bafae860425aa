/* SPDX-License-Identifier: BSD-3-Clause */
/* T64, T66, T73, T74, T79: single messages (vhost-user, "Front-end message types"). */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "case.h"

struct shape {
	uint32_t request;
	uint32_t size; /* of a good payload */
	unsigned int fds;
	bool any_size; /* more than one is good */
};

#define REGION_MESSAGE 40

static const struct shape shapes[] = {
	{ VFE_GET_FEATURES, 0, 0 },
	{ VFE_SET_FEATURES, 8, 0 },
	{ VFE_SET_OWNER, 0, 0 },
	{ VFE_RESET_OWNER, 0, 0 },
	{ VFE_SET_MEM_TABLE, REGION_MESSAGE, 1 },
	{ VFE_SET_LOG_BASE, 16, 1 },
	{ VFE_SET_LOG_FD, 0, 1 },
	{ VFE_SET_VRING_NUM, 8, 0 },
	{ VFE_SET_VRING_ADDR, 40, 0 },
	{ VFE_SET_VRING_BASE, 8, 0 },
	{ VFE_GET_VRING_BASE, 8, 0 },
	{ VFE_SET_VRING_KICK, 8, 1 },
	{ VFE_SET_VRING_CALL, 8, 1 },
	{ VFE_SET_VRING_ERR, 8, 1 },
	{ VFE_GET_PROTOCOL_FEATURES, 0, 0 },
	{ VFE_SET_PROTOCOL_FEATURES, 8, 0 },
	{ VFE_GET_QUEUE_NUM, 0, 0 },
	{ VFE_SET_VRING_ENABLE, 8, 0 },
	{ VFE_SET_BACKEND_REQ_FD, 0, 1 },
	{ VFE_GET_CONFIG, 72, 0, true },
	{ VFE_SET_CONFIG, 13, 0, true },
	{ VFE_GET_INFLIGHT_FD, 24, 0 },
	{ VFE_SET_INFLIGHT_FD, 24, 1 },
	{ VFE_RESET_DEVICE, 0, 0 },
	{ VFE_GET_MAX_MEM_SLOTS, 0, 0 },
	{ VFE_ADD_MEM_REG, REGION_MESSAGE, 1 },
	{ VFE_REM_MEM_REG, REGION_MESSAGE, 0 },
	{ VFE_SET_STATUS, 8, 0 },
	{ VFE_GET_STATUS, 0, 0 },
	{ 0, 8, 0 },
	{ 77, 8, 0 },
	{ 0xffffffff, 8, 0 },
};

/* ---- T64 ---- */

/* Sends a header that says `size`, that many bytes (but no more than one message can have), and the fds. */
static enum taken send_shape(struct rig *rig, uint32_t request, uint32_t size, int fd,
			     unsigned int fd_n)
{
	struct vfe_message message = { .header = { request, VFE_FLAG_VERSION, size },
				       .fd_n = fd_n };
	unsigned int i;
	int r;

	for (i = 0; i < fd_n; i++) {
		message.fds[i] = fd;
	}
	if (size <= VFE_PAYLOAD_MAX) {
		return rig_ask(rig, &message);
	}
	/* A lie about the length. Ours knows from the header; others may wait for all the rest. */
	if (vfe_raw_send(rig->session, &message) == 0 && !rig->options->strict) {
		vfe_disconnect(rig->session);
		return TAKEN_ENDED;
	}
	r = vfe_raw_recv(rig->session, &message);
	if (r == 0) {
		vfe_raw_close_fds(&message);
	}
	return r == -ETIMEDOUT ? TAKEN_STALLED : TAKEN_ENDED;
}

/* Was it taken as it should be? Then another session, since this one may have ended or changed. */
static bool judge_shape(struct rig *rig, const struct shape *shape, uint32_t size,
			unsigned int fd_n, enum taken taken)
{
	const struct rig_options how = { 0 };
	bool good = fd_n == shape->fds && (size == shape->size || shape->any_size);
	bool refused = taken == TAKEN_REFUSED || taken == TAKEN_ENDED;

	if (taken == TAKEN_STALLED || (rig->options->strict && !good && !refused)) {
		rig_fail(rig, "request %u of %u bytes with %u descriptors was %s", shape->request,
			 size, fd_n, taken_name(taken));
		return false;
	}
	rig_leave(rig);
	return rig_open(rig, &how);
}

static void wrong_shapes(struct rig *rig, const void *arg)
{
	static const unsigned int fd_counts[] = { 0, 1, 8, 28 };
	const struct rig_options how = { 0 };
	unsigned int tried = 0;
	unsigned int s, z, f;
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	(void)arg;
	if (!rig_open(rig, &how)) {
		close(fd);
		return;
	}
	for (s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++) {
		const struct shape *shape = &shapes[s];
		const uint32_t sizes[] = { 0, shape->size - 1, shape->size + 1, VFE_PAYLOAD_MAX,
					   0xffffffff };

		for (z = 0; z < sizeof(sizes) / sizeof(sizes[0]); z++) {
			for (f = 0; f < sizeof(fd_counts) / sizeof(fd_counts[0]); f++) {
				enum taken taken =
					send_shape(rig, shape->request, sizes[z], fd, fd_counts[f]);

				tried++;
				if (!judge_shape(rig, shape, sizes[z], fd_counts[f], taken)) {
					close(fd);
					return;
				}
			}
		}
	}
	close(fd);
	rig_note(rig, "%u messages", tried);
}

/* Header bits: another version, the reply flag, bits that have no meaning. */
static void wrong_headers(struct rig *rig, const void *arg)
{
	static const uint32_t flags[] = { 0,	     2, 3, 1 | VFE_FLAG_REPLY, 1 | 16, 1 | 1u << 31,
					  0xffffffff };
	const struct rig_options how = { 0 };
	unsigned int i;

	(void)arg;
	for (i = 0; i < sizeof(flags) / sizeof(flags[0]) && !rig->failed; i++) {
		struct vfe_wire_header header = { VFE_GET_FEATURES, flags[i], 0 };
		struct vfe_message reply;

		if (!rig_open(rig, &how)) {
			return;
		}
		if (vfe_raw_send_bytes(rig->session, &header, sizeof(header), NULL, 0) == 0 &&
		    rig->options->strict && vfe_raw_recv(rig->session, &reply) == 0) {
			vfe_raw_close_fds(&reply);
			rig_fail(rig, "a header with flags 0x%x was answered", flags[i]);
		}
		rig_close(rig);
	}
}

/* ---- T66 ---- */

enum kind {
	PIPE,
	TERMINAL,
	DIRECTORY,
	DEVICE,
	SOCKET,
	EPOLL,
	TIMER,
	SIGNALS,
	EVENTFD,
	READ_ONLY_MEMORY,
	SEALED_MEMORY,
	MEMORY,
	KINDS,
};

static const char *const kind_names[] = {
	[PIPE] = "a pipe",
	[TERMINAL] = "a terminal",
	[DIRECTORY] = "a directory",
	[DEVICE] = "/dev/null",
	[SOCKET] = "a socket",
	[EPOLL] = "an epoll descriptor",
	[TIMER] = "a timer",
	[SIGNALS] = "a signalfd",
	[EVENTFD] = "an eventfd",
	[READ_ONLY_MEMORY] = "memory to read only",
	[SEALED_MEMORY] = "memory that is sealed against writing",
	[MEMORY] = "an empty memory file",
};

/* Long enough for a region. */
static int open_memory(enum kind kind)
{
	int fd = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	char path[64];
	int again;

	if (fd < 0 || kind == MEMORY) {
		return fd;
	}
	if (ftruncate(fd, RIG_REGION) < 0 ||
	    (kind == SEALED_MEMORY && fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) < 0)) {
		close(fd);
		return -1;
	}
	if (kind == SEALED_MEMORY) {
		return fd;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, O_RDONLY | O_CLOEXEC);
	close(fd);
	return again;
}

/* All are blocking ones. ret_other: what must stay open beside it, or -1. */
static int open_kind(enum kind kind, int *ret_other)
{
	int pair[2] = { -1, -1 };
	sigset_t none;

	sigemptyset(&none);
	*ret_other = -1;
	switch (kind) {
	case PIPE:
		if (pipe2(pair, O_CLOEXEC) < 0) {
			return -1;
		}
		*ret_other = pair[0];
		return pair[1];
	case TERMINAL:
		return posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	case DIRECTORY:
		return open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	case DEVICE:
		return open("/dev/null", O_RDWR | O_CLOEXEC);
	case SOCKET:
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
			return -1;
		}
		*ret_other = pair[0];
		return pair[1];
	case EPOLL:
		return epoll_create1(EPOLL_CLOEXEC);
	case TIMER:
		return timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	case SIGNALS:
		return signalfd(-1, &none, SFD_CLOEXEC);
	case EVENTFD:
		return eventfd(0, EFD_CLOEXEC);
	default:
		return open_memory(kind);
	}
}

/* What the request wants, and what it gets. */
struct mismatch {
	uint32_t request;
	enum kind wants;
};

static void fill(struct rig *rig, const struct mismatch *m, int fd, struct vfe_message *ret_message)
{
	const struct vfe_raw_region *regions;

	memset(ret_message, 0, sizeof(*ret_message));
	ret_message->header.request = m->request;
	ret_message->fds[0] = fd;
	ret_message->fd_n = 1;
	if (m->request == VFE_SET_MEM_TABLE) {
		vfe_raw_memory_regions(rig->memory, &regions);
		ret_message->header.size = REGION_MESSAGE;
		ret_message->payload.mem_table.region_n = 1;
		ret_message->payload.mem_table.regions[0] = regions[0].wire;
	} else if (m->request != VFE_SET_BACKEND_REQ_FD) {
		ret_message->header.size = sizeof(uint64_t);
	}
}

static void wrong_kinds(struct rig *rig, const void *arg)
{
	static const struct mismatch places[] = {
		{ VFE_SET_VRING_KICK, EVENTFD },    { VFE_SET_VRING_CALL, EVENTFD },
		{ VFE_SET_VRING_ERR, EVENTFD },	    { VFE_SET_MEM_TABLE, MEMORY },
		{ VFE_SET_BACKEND_REQ_FD, SOCKET },
	};
	const struct rig_options how = { 0 };
	struct vfe_message message;
	unsigned int i;
	int kind;

	(void)arg;
	for (i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		for (kind = 0; kind < KINDS && !rig->failed; kind++) {
			char what[64];
			int other;
			int fd;

			/* An empty memory file is no memory either. */
			if (kind == (int)places[i].wants && kind != MEMORY) {
				continue;
			}
			rig_close(rig);
			if (!rig_open(rig, &how)) {
				return;
			}
			fd = open_kind(kind, &other);
			fill(rig, &places[i], fd, &message);
			snprintf(what, sizeof(what), "%s with request %u", kind_names[kind],
				 places[i].request);
			if (fd < 0) {
				rig_fail(rig, "cannot open %s", kind_names[kind]);
			} else if (rig_expect_refused(rig, what, rig_ask(rig, &message)) &&
				   rig->options->strict && !rig_alive(rig)) {
				rig_fail(rig, "%s ended the connection later", what);
			}
			close(fd);
			if (other >= 0) {
				close(other);
			}
		}
	}
}

/* ---- T73, T74 ---- */

static bool refuse_state(struct rig *rig, uint32_t request, uint32_t index, uint32_t num)
{
	struct vfe_message message = {
		.header = { request, 0, sizeof(struct vfe_wire_state) },
		.payload.state = { index, num },
	};
	char what[64];

	snprintf(what, sizeof(what), "request %u for ring %u", request, index);
	return rig_expect_refused(rig, what, rig_ask(rig, &message));
}

static void rings_that_there_are_not(struct rig *rig, const void *arg)
{
	static const uint32_t indices[] = { 255, 256, 257, 0x7fffffff, 0x80000000, 0xffffffff };
	static const uint32_t requests[] = { VFE_SET_VRING_NUM, VFE_SET_VRING_BASE,
					     VFE_SET_VRING_ENABLE, VFE_GET_VRING_BASE };
	const struct rig_options how = { 0 };
	unsigned int i;
	unsigned int r;

	(void)arg;
	if (!rig_open(rig, &how)) {
		return;
	}
	for (i = 0; i < sizeof(indices) / sizeof(indices[0]); i++) {
		struct vfe_message addr = {
			.header = { VFE_SET_VRING_ADDR, 0, sizeof(struct vfe_wire_addr) },
			.payload.addr.index = indices[i],
		};

		if (indices[i] < vfe_max_queues(rig->session)) {
			continue;
		}
		for (r = 0; r < sizeof(requests) / sizeof(requests[0]); r++) {
			if (!refuse_state(rig, requests[r], indices[i], 1)) {
				return;
			}
		}
		if (!rig_expect_refused(rig, "SET_VRING_ADDR", rig_ask(rig, &addr))) {
			return;
		}
	}
}

static void eventfds_of_rings_that_there_are_not(struct rig *rig, const void *arg)
{
	static const uint64_t values[] = { 255, 1 << 9, 0xffff, 0xffffffff, 1ull << 32, UINT64_MAX };
	static const uint32_t requests[] = { VFE_SET_VRING_KICK, VFE_SET_VRING_CALL,
					     VFE_SET_VRING_ERR };
	const struct rig_options how = { 0 };
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	unsigned int i;

	(void)arg;
	if (!rig_open(rig, &how)) {
		close(fd);
		return;
	}
	for (i = 0; i < 3 * sizeof(values) / sizeof(values[0]); i++) {
		struct vfe_message message = {
			.header = { requests[i % 3], 0, sizeof(uint64_t) },
			.payload.u64 = values[i / 3],
			.fds = { fd },
			.fd_n = 1,
		};

		if (values[i / 3] == 255 && vfe_max_queues(rig->session) > 255) {
			continue;
		}
		if (!rig_expect_refused(rig, "an eventfd for a ring that there is not",
					rig_ask(rig, &message))) {
			break;
		}
	}
	close(fd);
}

static void changes_of_a_running_ring(struct rig *rig, const void *arg)
{
	const struct rig_options how = { 0 };
	struct vfe_message addr = { .header = { VFE_SET_VRING_ADDR, 0,
						sizeof(struct vfe_wire_addr) } };
	uint32_t index = rig_queue_index(rig);
	unsigned int i;

	(void)arg;
	for (i = 0; i < 4 && !rig->failed; i++) {
		rig_close(rig);
		if (!rig_start(rig, &how)) {
			return;
		}
		/* Requests come and go meanwhile. */
		rig_expect_usable(rig);
		addr.payload.addr.index = index;
		if (i < 3) {
			(void)refuse_state(rig, i < 2 ? VFE_SET_VRING_NUM : VFE_SET_VRING_BASE,
					   index,
					   i == 0 ? 2 * RIG_SIZE :
					   i == 1 ? 1 :
						    17);
		} else {
			(void)rig_expect_refused(rig, "SET_VRING_ADDR of a running ring",
						 rig_ask(rig, &addr));
		}
		/* Others take it, and read on somewhere else: that is the front-end's own ring. */
		if (rig->options->strict && !rig->failed && rig->queue != NULL) {
			rig_expect_usable(rig);
		}
	}
}

static void ring_sizes(struct rig *rig, const void *arg)
{
	static const uint32_t sizes[] = { 0, 3, 1000, 65535, 65536, 0x80000000, 0xffffffff };
	const struct rig_options how = { 0 };
	unsigned int i;

	(void)arg;
	if (!rig_open(rig, &how)) {
		return;
	}
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		if (!refuse_state(rig, VFE_SET_VRING_NUM, rig_queue_index(rig), sizes[i])) {
			return;
		}
	}
}

/* ---- T79 ---- */

struct window {
	uint32_t offset;
	uint32_t size;
	uint32_t sent; /* bytes behind the description */
};

static void config_windows(struct rig *rig, const void *arg)
{
	static const struct window windows[] = {
		{ 0xffffffff, 1, 1 }, { 0xffffffff, 0xffffffff, 1 },
		{ 0, 0xffffffff, 1 }, { 256, 1, 1 },
		{ 255, 2, 2 },	      { 1, 256, 256 },
		{ 0, 257, 256 },      { 0x80000000, 0x80000000, 4 },
		{ 0, 200, 4 },	      { 0xfffffff0, 32, 32 },
	};
	const struct rig_options how = { .with_protocol = VFE_PF_CONFIG };
	unsigned int i;

	(void)arg;
	if (!rig_open(rig, &how)) {
		return;
	}
	for (i = 0; i < 2 * sizeof(windows) / sizeof(windows[0]); i++) {
		const struct window *w = &windows[i / 2];
		bool get = i % 2 == 0;
		struct vfe_message message = {
			.header = { get ? VFE_GET_CONFIG : VFE_SET_CONFIG, 0,
				    VFE_WIRE_CONFIG_HEADER + w->sent },
			.payload.config = { .offset = w->offset, .size = w->size },
		};
		char what[96];

		/* Less room than is asked for is fine for reading: the size field counts. */
		if (get && w->offset + (uint64_t)w->size <= VFE_CONFIG_MAX) {
			continue;
		}
		snprintf(what, sizeof(what), "%s of %u bytes at %u",
			 get ? "GET_CONFIG" : "SET_CONFIG", w->size, w->offset);
		if (!rig_expect_refused(rig, what, rig_ask(rig, &message))) {
			return;
		}
	}
}

static const struct hostile_case cases[] = {
	{ "T64", "every request in wrong sizes with wrong numbers of descriptors",
	  ON_DISK | ON_SPLIT, wrong_shapes, NULL },
	{ "T64", "headers of another version, replies, unknown flags", ON_DISK | ON_SPLIT,
	  wrong_headers, NULL },
	{ "T66", "descriptors of a wrong kind", ON_DISK | ON_SPLIT, wrong_kinds, NULL },
	{ "T73", "rings 255 and 256", ON_DISK | ON_SPLIT, rings_that_there_are_not, NULL },
	{ "T73", "eventfds of rings 255 and 256", ON_DISK | ON_SPLIT,
	  eventfds_of_rings_that_there_are_not, NULL },
	{ "T74", "a running ring gets another size, base and place", ON_DISK | ON_SPLIT,
	  changes_of_a_running_ring, NULL },
	{ "T74", "sizes that no ring has", ON_DISK | ON_SPLIT, ring_sizes, NULL },
	{ "T79", "the configuration outside of its space", ON_DISK | ON_SPLIT, config_windows,
	  NULL },
};

const struct case_table message_table = CASE_TABLE(cases);
