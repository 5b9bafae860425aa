/* SPDX-License-Identifier: BSD-3-Clause */
/* What no well-behaved guest does. */
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../must.h"
#include "base/fd.h"
#include "guest.h"

#define RAW_MAX 512
#define FDS_MAX 3

static int some_fd(const struct guest *g, uint8_t kind)
{
	switch (kind % 4) {
	case 0:
		return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	case 1:
		return fcntl(g->ram.fd, F_DUPFD_CLOEXEC, 0);
	case 2:
		return fcntl(g->peer.fd, F_DUPFD_CLOEXEC, 0); /* of the connection itself */
	default:
		return open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
}

/*
 * u8: descriptors (2 bits), whether size and flags are right | u8 request | u8 length | the payload |
 * u8 for each descriptor
 */
void guest_raw_message(struct guest *g, struct bytes_reader *in)
{
	uint8_t how = bytes_get_u8(in);
	struct vu_header header = { .request = bytes_get_u8(in), .flags = VU_VERSION };
	uint8_t wire[RAW_MAX];
	size_t len = bytes_get_u8(in);
	unsigned int fd_n = how & 3;
	int fds[FDS_MAX];
	unsigned int i;

	if (!guest_connected(g) || g->parted) {
		return;
	}
	guest_be_hostile(g);
	len = len < bytes_left(in) ? len : bytes_left(in);
	header.size = (uint32_t)len;
	if ((how & 0x0c) == 0x0c) {
		header.size = bytes_get_le32(in);
		header.flags = bytes_get_u8(in);
		len = len < bytes_left(in) ? len : bytes_left(in);
	}
	header.flags |= (how & 0x10) != 0 ? VU_FLAG_NEED_REPLY : 0;
	memcpy(wire, &header, sizeof(header));
	bytes_get(in, wire + sizeof(header), len);
	for (i = 0; i < fd_n; i++) {
		fds[i] = some_fd(g, bytes_get_u8(in));
		MUST(fds[i] >= 0);
	}
	peer_send_raw(&g->peer, wire, sizeof(header) + len, fds, fd_n);
	for (i = 0; i < fd_n; i++) {
		fd_close(&fds[i]);
	}
}

static void write_anywhere(struct guest *g, struct bytes_reader *in)
{
	uint32_t at = bytes_get_le32(in) % (RAM_SIZE - 8);
	uint8_t how = bytes_get_u8(in);
	uint64_t value = bytes_get_le64(in);

	if ((how & 1) != 0) { /* in a ring */
		at = (how >> 1) % RINGS_MAX * RING_BYTES + at % (RING_USED + 600);
	}
	memcpy(g->ram.mem + at, &value, 1u << (how >> 6));
}

void guest_spoil(struct guest *g, struct bytes_reader *in)
{
	uint8_t how = bytes_get_u8(in);

	if (!guest_connected(g) || g->parted || g->ram.lost) {
		return;
	}
	guest_be_hostile(g);
	if (how < 0xe8) {
		write_anywhere(g, in);
	} else if (how < 0xf0) {
		log_cut_short(&g->log);
	} else {
		ram_cut_short(&g->ram, how % 4 * 0x19000);
	}
}
