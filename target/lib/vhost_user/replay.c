/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The transport of recorded bytes. A record is
 *
 *	u16 n (little endian) | n bytes: descriptors | the rest: what the front-end sent
 *
 * The descriptor bytes are used up message by message: one byte gives the count (modulo 9), then one
 * byte for each descriptor its kind (modulo the number of kinds). When they have run out, messages come
 * without. A record that is shorter than it says is cut, never refused.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/fd.h"
#include "vhost_user/codec.h"
#include "vhost_user/transport.h"

#define LARGE_MEMORY (1 << 20)
#define SMALL_MEMORY 4096

struct replay_transport {
	struct vu_transport transport;
	struct bytes_reader descriptors;
	struct bytes_reader stream;
	struct vu_assembler in;
	unsigned int sent;
};

static struct replay_transport *of(const struct vu_transport *transport)
{
	return (struct replay_transport *)transport;
}

static int new_memory(off_t size)
{
	int fd = memfd_create("replay", MFD_CLOEXEC);

	if (fd >= 0 && ftruncate(fd, size) < 0) {
		fd_close(&fd);
	}
	return fd;
}

static int new_pipe_end(void)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0) {
		return -1;
	}
	fd_close(&fds[0]);
	return fds[1];
}

static int new_socket(void)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) {
		return -1;
	}
	fd_close(&fds[0]);
	return fds[1];
}

static int new_descriptor(uint8_t kind)
{
	switch (kind % 6) {
	case 0:
		return eventfd(0, EFD_CLOEXEC);
	case 1:
		return new_memory(LARGE_MEMORY);
	case 2:
		return new_memory(SMALL_MEMORY);
	case 3:
		return new_pipe_end();
	case 4:
		return new_socket();
	default:
		return open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
}

static int add_descriptors(struct replay_transport *replay)
{
	unsigned int count = bytes_get_u8(&replay->descriptors) % (VU_FDS_MAX + 1);
	int fds[VU_FDS_MAX];
	unsigned int n = 0;

	while (n < count) {
		fds[n] = new_descriptor(bytes_get_u8(&replay->descriptors));
		if (fds[n] < 0) {
			break;
		}
		n++;
	}
	if (vu_assembler_add_fds(&replay->in, fds, n) < 0) {
		while (n > 0) {
			fd_close(&fds[--n]);
		}
		return -EPROTO;
	}
	return 0;
}

static int replay_recv(struct vu_transport *transport, struct vu_message *ret_msg)
{
	struct replay_transport *replay = of(transport);
	int complete = 0;

	if (add_descriptors(replay) < 0) {
		return -EPROTO;
	}
	while (!complete) {
		size_t n = vu_assembler_wanted(&replay->in);

		if (n > bytes_left(&replay->stream)) {
			return -ECONNRESET;
		}
		bytes_get(&replay->stream, vu_assembler_space(&replay->in), n);
		complete = vu_assembler_received(&replay->in, n);
		if (complete < 0) {
			return complete;
		}
	}
	vu_assembler_take(&replay->in, ret_msg);
	return 1;
}

static int replay_send(struct vu_transport *transport, const struct vu_message *msg)
{
	of(transport)->sent++;
	return 0;
}

static int replay_fd(const struct vu_transport *transport)
{
	return -1;
}

static void replay_free(struct vu_transport *transport)
{
	struct replay_transport *replay = of(transport);

	vu_assembler_done(&replay->in, transport->rest);
	free(replay);
}

static const struct vu_transport_ops replay_ops = {
	.recv = replay_recv,
	.send = replay_send,
	.fd = replay_fd,
	.free = replay_free,
};

int vu_replay_new(const uint8_t *data, size_t len, struct vu_transport **ret_transport)
{
	struct replay_transport *replay = calloc(1, sizeof(*replay));
	struct bytes_reader record = bytes_reader(data, len);
	size_t n;

	if (replay == NULL) {
		return -ENOMEM;
	}
	n = bytes_get_le16(&record);
	if (n > bytes_left(&record)) {
		n = bytes_left(&record);
	}
	replay->transport.ops = &replay_ops;
	replay->descriptors = bytes_reader(data + record.pos, n);
	replay->stream = bytes_reader(data + record.pos + n, bytes_left(&record) - n);
	vu_assembler_init(&replay->in);
	*ret_transport = &replay->transport;
	return 0;
}

unsigned int vu_replay_sent(const struct vu_transport *transport)
{
	return of(transport)->sent;
}
