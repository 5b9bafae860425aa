/* SPDX-License-Identifier: BSD-3-Clause */
/* The protocol side of the fake back-end. */
#include "fake_private.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

int fake_listen(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memcpy(addr.sun_path, path, strlen(path) + 1);
	unlink(path);
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 4) < 0) {
		abort();
	}
	return fd;
}

/* The end of the connection is the end of the process. */
static void read_all(int fd, void *buf, size_t len, struct vfe_message *message)
{
	uint8_t control[CMSG_SPACE(sizeof(int) * VFE_FDS_MAX)];
	struct iovec iov = { buf, len };

	while (iov.iov_len > 0) {
		struct msghdr m = { .msg_iov = &iov,
				    .msg_iovlen = 1,
				    .msg_control = control,
				    .msg_controllen = sizeof(control) };
		ssize_t n = recvmsg(fd, &m, 0);
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);

		if (n <= 0) {
			_exit(0);
		}
		if (c != NULL && c->cmsg_type == SCM_RIGHTS) {
			message->fd_n = (unsigned int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
			memcpy(message->fds, CMSG_DATA(c), message->fd_n * sizeof(int));
		}
		iov.iov_base = (uint8_t *)iov.iov_base + n;
		iov.iov_len -= (size_t)n;
	}
}

static void send_reply(struct fake *f, struct vfe_message *message, uint32_t size, int fd)
{
	uint8_t control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov[2] = { { &message->header, sizeof(message->header) },
				{ message->payload.bytes, size } };
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = 2 };

	message->header.flags = VFE_FLAG_VERSION | VFE_FLAG_REPLY;
	message->header.size = size;
	if (fd >= 0) {
		m.msg_control = control;
		m.msg_controllen = sizeof(control);
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);

		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
	}
	if (sendmsg(f->fd, &m, MSG_NOSIGNAL) < 0) {
		_exit(0);
	}
}

static void *map_fd(int fd, uint64_t size, uint64_t offset)
{
	void *p = mmap(NULL, size + offset, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED) {
		abort();
	}
	return (uint8_t *)p + offset;
}

static void add_region(struct fake *f, const struct vfe_wire_region *region, int fd)
{
	f->regions[f->region_n].wire = *region;
	f->regions[f->region_n++].map = map_fd(fd, region->size, region->mmap_offset);
}

static void *from_user(struct fake *f, uint64_t address)
{
	unsigned int i;

	for (i = 0; i < f->region_n; i++) {
		uint64_t offset = address - f->regions[i].wire.user_address;

		if (offset < f->regions[i].wire.size) {
			return f->regions[i].map + offset;
		}
	}
	abort();
}

void *fake_from_guest(void *arg, uint64_t address)
{
	struct fake *f = arg;
	unsigned int i;

	for (i = 0; i < f->region_n; i++) {
		uint64_t offset = address - f->regions[i].wire.guest_address;

		if (offset < f->regions[i].wire.size) {
			return f->regions[i].map + offset;
		}
	}
	abort();
}

/* ---- requests ---- */

static void set_addr(struct fake *f, const struct vfe_wire_addr *addr)
{
	struct model_ring *ring = &f->queues[addr->index].model;
	struct vfe_raw_view *view = &ring->view;

	ring->packed = (f->features & VFE_F_RING_PACKED) != 0;
	ring->event_idx = (f->features & VFE_F_EVENT_IDX) != 0;
	ring->translate = fake_from_guest;
	ring->arg = f;
	if (ring->packed) {
		view->packed = from_user(f, addr->desc);
		view->driver_event = from_user(f, addr->avail);
		view->device_event = from_user(f, addr->used);
	} else {
		view->desc = from_user(f, addr->desc);
		view->avail = from_user(f, addr->avail);
		view->used = from_user(f, addr->used);
		view->used_event = &view->avail->ring[view->size];
		view->avail_event = (uint16_t *)&view->used->ring[view->size];
	}
}

static void get_config(struct fake *f, struct vfe_message *m)
{
	uint8_t config[VFE_CONFIG_MAX] = { 0 };
	uint64_t sectors = f->config.disk_size / 512;
	uint16_t queues = (uint16_t)f->config.queues;
	uint32_t block = 512;

	memcpy(config, &sectors, 8);
	memcpy(config + 8, &f->config.size_max, 4);
	memcpy(config + 20, &block, 4);
	memcpy(config + 34, &queues, 2);
	if (m->payload.config.size > f->config.config_max) {
		send_reply(f, m, 0, -1); /* as qemu-storage-daemon refuses */
		return;
	}
	memcpy(m->payload.config.bytes, config, m->payload.config.size);
	send_reply(f, m, VFE_WIRE_CONFIG_HEADER + m->payload.config.size, -1);
}

static void get_inflight(struct fake *f, struct vfe_message *m)
{
	struct vfe_wire_inflight *wire = &m->payload.inflight;
	int fd = memfd_create("inflight", 0);

	wire->mmap_size = fake_inflight_size(wire->queue_size) * wire->queue_n;
	wire->mmap_offset = 0;
	if (ftruncate(fd, (off_t)wire->mmap_size) < 0) {
		abort();
	}
	send_reply(f, m, sizeof(*wire), fd);
	close(fd);
}

static uint64_t offered_protocol(const struct fake *f)
{
	return f->config.protocol_features;
}

/* Requests that are answered by themselves. */
static bool answer(struct fake *f, struct vfe_message *m)
{
	uint32_t base;

	switch (m->header.request) {
	case VFE_GET_FEATURES:
		m->payload.u64 = f->config.features | VFE_F_VERSION_1 | VFE_F_PROTOCOL_FEATURES;
		send_reply(f, m, 8, -1);
		return true;
	case VFE_GET_PROTOCOL_FEATURES:
		m->payload.u64 = offered_protocol(f);
		send_reply(f, m, 8, -1);
		return true;
	case VFE_GET_QUEUE_NUM:
		m->payload.u64 = f->config.queues;
		send_reply(f, m, 8, -1);
		return true;
	case VFE_GET_CONFIG:
		get_config(f, m);
		return true;
	case VFE_GET_INFLIGHT_FD:
		get_inflight(f, m);
		return true;
	case VFE_GET_VRING_BASE:
		base = fake_queue_stop(&f->queues[m->payload.state.index]);
		m->payload.state.num = base;
		send_reply(f, m, sizeof(m->payload.state), -1);
		return true;
	default:
		return false;
	}
}

static void set_mem_table(struct fake *f, const struct vfe_message *m)
{
	unsigned int i;

	f->region_n = 0;
	for (i = 0; i < m->payload.mem_table.region_n; i++) {
		add_region(f, &m->payload.mem_table.regions[i], m->fds[i]);
	}
}

static void act(struct fake *f, const struct vfe_message *m)
{
	struct fake_queue *queue = &f->queues[m->payload.state.index % FAKE_QUEUES_MAX];

	switch (m->header.request) {
	case VFE_SET_FEATURES:
		f->features = m->payload.u64;
		break;
	case VFE_SET_MEM_TABLE:
		set_mem_table(f, m);
		break;
	case VFE_ADD_MEM_REG:
		add_region(f, &m->payload.mem_reg.region, m->fds[0]);
		break;
	case VFE_SET_INFLIGHT_FD:
		f->inflight_queue_size = m->payload.inflight.queue_size;
		f->inflight = map_fd(m->fds[0], m->payload.inflight.mmap_size,
				     m->payload.inflight.mmap_offset);
		break;
	case VFE_SET_BACKEND_REQ_FD:
		f->backend_fd = m->fds[0];
		fake_announce_config(f);
		break;
	case VFE_SET_VRING_NUM:
		queue->model.view.size = m->payload.state.num;
		break;
	case VFE_SET_VRING_BASE:
		queue->base = m->payload.state.num;
		break;
	case VFE_SET_VRING_ADDR:
		set_addr(f, &m->payload.addr);
		break;
	case VFE_SET_VRING_KICK:
		queue->kick_fd = m->fds[0];
		break;
	case VFE_SET_VRING_CALL:
		queue->call_fd = m->fds[0];
		break;
	case VFE_SET_VRING_ENABLE:
		fake_queue_start(f, queue);
		break;
	default:
		break;
	}
}

void fake_announce_config(struct fake *f)
{
	const struct vfe_wire_header header = { VFE_BACKEND_CONFIG_CHANGE, VFE_FLAG_VERSION, 0 };

	if (send(f->backend_fd, &header, sizeof(header), MSG_NOSIGNAL) < 0) {
		abort();
	}
}

static void one_message(struct fake *f)
{
	struct vfe_message m = { 0 };

	read_all(f->fd, &m.header, sizeof(m.header), &m);
	if (m.header.size > VFE_PAYLOAD_MAX) {
		abort();
	}
	read_all(f->fd, m.payload.bytes, m.header.size, &m);
	if (answer(f, &m)) {
		return;
	}
	if (m.header.request != f->config.refuse) {
		act(f, &m);
	}
	if ((m.header.flags & VFE_FLAG_NEED_REPLY) != 0) {
		m.payload.u64 = m.header.request == f->config.refuse;
		send_reply(f, &m, 8, -1);
	}
}

static void serve(const struct fake_config *config, int listen_fd)
{
	static struct fake f;
	struct pollfd fds[1 + FAKE_QUEUES_MAX];
	unsigned int i;

	f.config = *config;
	f.random = config->seed;
	f.fd = accept(listen_fd, NULL, NULL);
	for (;;) {
		fds[0] = (struct pollfd){ .fd = f.fd, .events = POLLIN };
		for (i = 0; i < FAKE_QUEUES_MAX; i++) {
			fds[1 + i] = (struct pollfd){
				.fd = f.queues[i].running ? f.queues[i].kick_fd : -1,
				.events = POLLIN,
			};
		}
		if (poll(fds, 1 + FAKE_QUEUES_MAX, -1) < 0) {
			abort();
		}
		if (fds[0].revents != 0) {
			one_message(&f);
			continue;
		}
		for (i = 0; i < FAKE_QUEUES_MAX; i++) {
			if (fds[1 + i].revents != 0) {
				fake_queue_serve(&f, &f.queues[i]);
			}
		}
	}
}

pid_t fake_start(const struct fake_config *config, int listen_fd)
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		serve(config, listen_fd);
	}
	return pid;
}

int fake_wait(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid) {
		return -1;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
