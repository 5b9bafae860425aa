/* SPDX-License-Identifier: BSD-3-Clause */
#include "vhost_user/fixture.h"

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "vhost_user/codec.h"

unsigned int count_open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned int n = 0;

	assert_non_null(dir);
	while (readdir(dir) != NULL) {
		n++;
	}
	closedir(dir);
	return n;
}

int fixture_setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct vu_transport *transport;
	int fds[2];

	assert_non_null(f);
	scripted_owner_init(&f->owner);
	assert_int_equal(loop_new(&f->loop), 0);
	f->memory = memfd_create("fixture", MFD_CLOEXEC);
	assert_int_equal(ftruncate(f->memory, FIXTURE_MEMORY_SIZE), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	f->peer = fds[0];
	f->fds_before = count_open_fds() - 1; /* fds[1] goes with the session */
	assert_int_equal(vu_socket_new(fds[1], &transport), 0);
	assert_int_equal(vu_session_new(f->loop, transport, f->owner.max_queues,
					&scripted_owner_ops, &f->owner, &f->owner.session),
			 0);
	*state = f;
	return 0;
}

int fixture_teardown(void **state)
{
	struct fixture *f = *state;

	f->owner.delayed = false;
	f->owner.close_in_start = false;
	scripted_owner_answer(&f->owner);
	if (f->owner.session != NULL) {
		vu_session_close(f->owner.session, "end of test");
	}
	assert_null(f->owner.session);
	assert_int_equal(count_open_fds(), f->fds_before);
	close(f->peer);
	close(f->memory);
	loop_free(f->loop);
	free(f);
	return 0;
}

void settle(struct fixture *f)
{
	int i;

	/* Each round handles some messages; no test sends more than these rounds can take. */
	for (i = 0; i < 8; i++) {
		assert_int_equal(loop_run_once(f->loop, 0), 0);
	}
}

bool peer_sees_end(struct fixture *f)
{
	char byte;

	return recv(f->peer, &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 0;
}

void send_request(struct fixture *f, uint32_t request, uint32_t flags, const void *payload,
		  size_t size, const int *fds, unsigned int fd_n)
{
	struct vu_header header = { .request = request,
				    .flags = VU_VERSION | flags,
				    .size = (uint32_t)size };
	struct iovec iov[2] = {
		{ .iov_base = &header, .iov_len = sizeof(header) },
		{ .iov_base = (void *)payload, .iov_len = size },
	};
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int) * 64)];
	} control = { 0 };
	struct msghdr hdr = { .msg_iov = iov, .msg_iovlen = 2 };
	struct cmsghdr *cmsg;

	if (fd_n > 0) {
		hdr.msg_control = &control;
		hdr.msg_controllen = CMSG_SPACE(sizeof(int) * fd_n);
		cmsg = CMSG_FIRSTHDR(&hdr);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int) * fd_n);
		memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * fd_n);
	}
	if (sendmsg(f->peer, &hdr, MSG_NOSIGNAL) < 0) {
		assert_true(errno == EPIPE || errno == ECONNRESET);
	}
	settle(f);
}

void send_u64(struct fixture *f, uint32_t request, uint64_t value)
{
	send_request(f, request, 0, &value, sizeof(value), NULL, 0);
}

void send_state(struct fixture *f, uint32_t request, uint32_t index, uint32_t num)
{
	struct vu_vring_state state = { .index = index, .num = num };

	send_request(f, request, 0, &state, sizeof(state), NULL, 0);
}

void send_notifier(struct fixture *f, uint32_t request, uint32_t index)
{
	uint64_t value = index;
	int fd = eventfd(0, EFD_CLOEXEC);

	assert_true(fd >= 0);
	send_request(f, request, 0, &value, sizeof(value), &fd, 1);
	close(fd);
}

void send_addr(struct fixture *f, uint32_t index)
{
	uint64_t start = FIXTURE_UVA + 0x10000ull * index;
	struct vu_vring_addr addr = {
		.index = index,
		.descriptor = start,
		.available = start + 0x4000,
		.used = start + 0x8000,
	};

	send_request(f, VU_SET_VRING_ADDR, 0, &addr, sizeof(addr), NULL, 0);
}

void send_memory(struct fixture *f, uint32_t flags)
{
	struct {
		uint32_t n, padding;
		struct vu_region region;
	} table = {
		.n = 1,
		.region = {
			.guest_address = FIXTURE_GPA,
			.size = FIXTURE_MEMORY_SIZE,
			.user_address = FIXTURE_UVA,
		},
	};

	send_request(f, VU_SET_MEM_TABLE, flags, &table, sizeof(table), &f->memory, 1);
}

int read_reply(struct fixture *f, uint32_t request, void *payload, size_t room)
{
	struct vu_header header;
	ssize_t n = recv(f->peer, &header, sizeof(header), MSG_DONTWAIT);

	if (n <= 0) {
		return -1;
	}
	assert_int_equal(n, sizeof(header));
	assert_int_equal(header.request, request);
	assert_int_equal(header.flags, VU_VERSION | VU_FLAG_REPLY);
	assert_true(header.size <= room);
	if (header.size > 0) {
		assert_int_equal(recv(f->peer, payload, header.size, MSG_DONTWAIT), header.size);
	}
	return (int)header.size;
}

uint64_t read_u64(struct fixture *f, uint32_t request)
{
	uint64_t value;

	assert_int_equal(read_reply(f, request, &value, sizeof(value)), sizeof(value));
	return value;
}

void negotiate(struct fixture *f)
{
	uint64_t features;

	send_request(f, VU_GET_FEATURES, 0, NULL, 0, NULL, 0);
	features = read_u64(f, VU_GET_FEATURES);
	assert_int_equal(features, f->owner.features | VU_F_PROTOCOL_FEATURES | VU_F_LOG_ALL);
	send_request(f, VU_GET_PROTOCOL_FEATURES, 0, NULL, 0, NULL, 0);
	send_u64(f, VU_SET_PROTOCOL_FEATURES, read_u64(f, VU_GET_PROTOCOL_FEATURES));
	send_u64(f, VU_SET_FEATURES, features & ~VU_F_LOG_ALL);
}

void start_ring(struct fixture *f, uint32_t index)
{
	send_state(f, VU_SET_VRING_NUM, index, 128);
	send_state(f, VU_SET_VRING_BASE, index, 0);
	send_addr(f, index);
	send_notifier(f, VU_SET_VRING_CALL, index);
	send_notifier(f, VU_SET_VRING_KICK, index);
	send_state(f, VU_SET_VRING_ENABLE, index, 1);
}
