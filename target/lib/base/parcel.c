/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/parcel.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"

/* Well within the default send buffer of a socket, and what SCM_RIGHTS takes at once (253). */
#define PACKET_BYTES ((size_t)32 << 10)
#define PACKET_FDS   128
#define FIRST_ROOM   ((size_t)4 << 10)

/* Length of a text that is NULL. */
#define NO_TEXT UINT32_MAX

struct packet_header {
	uint32_t type; /* little endian, both */
	uint32_t more;
};

union fd_control {
	struct cmsghdr align;
	char space[CMSG_SPACE(sizeof(int) * PACKET_FDS)];
};

void parcel_init(struct parcel *parcel)
{
	*parcel = (struct parcel){ 0 };
}

void parcel_done(struct parcel *parcel)
{
	while (parcel->received && parcel->fd_pos < parcel->fd_n) {
		fd_close(&parcel->fds[parcel->fd_pos++]);
	}
	free(parcel->data);
	free(parcel->fds);
	parcel_init(parcel);
}

static int reserve(struct parcel *parcel, size_t more)
{
	size_t room = parcel->room > 0 ? parcel->room : FIRST_ROOM;
	uint8_t *grown;

	if (more > PARCEL_MAX_BYTES - parcel->len) {
		return -EMSGSIZE;
	}
	while (room - parcel->len < more) {
		room *= 2;
	}
	if (room == parcel->room) {
		return 0;
	}
	grown = realloc(parcel->data, room);
	if (grown == NULL) {
		return -ENOMEM;
	}
	parcel->data = grown;
	parcel->room = room;
	return 0;
}

static int reserve_fds(struct parcel *parcel, unsigned int more)
{
	unsigned int room = parcel->fd_room > 0 ? parcel->fd_room : PACKET_FDS;
	int *grown;

	if (more > PARCEL_MAX_FDS - parcel->fd_n) {
		return -EMSGSIZE;
	}
	while (room - parcel->fd_n < more) {
		room *= 2;
	}
	if (room == parcel->fd_room) {
		return 0;
	}
	grown = reallocarray(parcel->fds, room, sizeof(*grown));
	if (grown == NULL) {
		return -ENOMEM;
	}
	parcel->fds = grown;
	parcel->fd_room = room;
	return 0;
}

/* ---- packing ---- */

void parcel_put(struct parcel *parcel, const void *data, size_t len)
{
	if (parcel->failed || reserve(parcel, len) < 0) {
		parcel->failed = true;
	} else if (len > 0) {
		memcpy(parcel->data + parcel->len, data, len);
		parcel->len += len;
	}
}

void parcel_put_u8(struct parcel *parcel, uint8_t value)
{
	parcel_put(parcel, &value, sizeof(value));
}

void parcel_put_u32(struct parcel *parcel, uint32_t value)
{
	uint32_t wire = htole32(value);

	parcel_put(parcel, &wire, sizeof(wire));
}

void parcel_put_u64(struct parcel *parcel, uint64_t value)
{
	uint64_t wire = htole64(value);

	parcel_put(parcel, &wire, sizeof(wire));
}

void parcel_put_text(struct parcel *parcel, const char *text)
{
	size_t len = text != NULL ? strlen(text) : 0;

	if (len >= PARCEL_MAX_TEXT) {
		parcel->failed = true;
		return;
	}
	parcel_put_u32(parcel, text != NULL ? (uint32_t)len : NO_TEXT);
	/* With its zero byte, so that the reader can use it where it is. */
	if (text != NULL) {
		parcel_put(parcel, text, len + 1);
	}
}

void parcel_put_block(struct parcel *parcel, const void *data, size_t len)
{
	parcel_put_u64(parcel, len);
	parcel_put(parcel, data, len);
}

void parcel_put_fd(struct parcel *parcel, int fd)
{
	parcel_put_u8(parcel, fd >= 0);
	if (fd < 0) {
		return;
	}
	if (parcel->failed || reserve_fds(parcel, 1) < 0) {
		parcel->failed = true;
		return;
	}
	parcel->fds[parcel->fd_n++] = fd;
}

/* ---- unpacking ---- */

static const uint8_t *take(struct parcel *parcel, size_t len)
{
	const uint8_t *at;

	/* Also of nothing at all, whose address would be NULL. */
	if (parcel->failed || parcel->data == NULL || len > parcel->len - parcel->pos) {
		parcel->failed = true;
		return NULL;
	}
	at = parcel->data + parcel->pos;
	parcel->pos += len;
	return at;
}

void parcel_get(struct parcel *parcel, void *buf, size_t len)
{
	const uint8_t *at = take(parcel, len);

	if (at != NULL) {
		memcpy(buf, at, len);
	} else {
		memset(buf, 0, len);
	}
}

bool parcel_get_bool(struct parcel *parcel)
{
	uint8_t value = parcel_get_u8(parcel);

	parcel->failed = parcel->failed || value > 1;
	return value == 1;
}

uint8_t parcel_get_u8(struct parcel *parcel)
{
	uint8_t value;

	parcel_get(parcel, &value, sizeof(value));
	return value;
}

uint32_t parcel_get_u32(struct parcel *parcel)
{
	uint32_t wire;

	parcel_get(parcel, &wire, sizeof(wire));
	return le32toh(wire);
}

uint64_t parcel_get_u64(struct parcel *parcel)
{
	uint64_t wire;

	parcel_get(parcel, &wire, sizeof(wire));
	return le64toh(wire);
}

uint32_t parcel_get_below(struct parcel *parcel, uint32_t end)
{
	uint32_t value = parcel_get_u32(parcel);

	if (value >= end) {
		parcel->failed = true;
		return 0;
	}
	return value;
}

const char *parcel_get_text(struct parcel *parcel)
{
	uint32_t len = parcel_get_u32(parcel);
	const char *text;

	if (len == NO_TEXT) {
		return NULL;
	}
	if (len >= PARCEL_MAX_TEXT) {
		parcel->failed = true;
		return NULL;
	}
	text = (const char *)take(parcel, len + 1u);
	if (text == NULL || strnlen(text, len + 1u) != len) {
		parcel->failed = true;
		return NULL;
	}
	return text;
}

const char *parcel_get_name(struct parcel *parcel)
{
	const char *text = parcel_get_text(parcel);

	if (text == NULL) {
		parcel->failed = true;
		return "";
	}
	return text;
}

const uint8_t *parcel_get_block(struct parcel *parcel, size_t max, size_t *ret_len)
{
	uint64_t len = parcel_get_u64(parcel);
	const uint8_t *at;

	if (len > max) {
		parcel->failed = true;
		len = 0;
	}
	at = take(parcel, len);
	*ret_len = at != NULL ? len : 0;
	return at;
}

int parcel_get_fd(struct parcel *parcel)
{
	if (!parcel_get_bool(parcel)) {
		return -1;
	}
	if (parcel->fd_pos == parcel->fd_n) {
		parcel->failed = true;
		return -1;
	}
	return parcel->fds[parcel->fd_pos++];
}

bool parcel_is_used_up(const struct parcel *parcel)
{
	return !parcel->failed && parcel->pos == parcel->len && parcel->fd_pos == parcel->fd_n;
}

/* ---- travelling ---- */

/* One packet of what is left. */
static int send_packet(struct parcel *parcel, int fd, uint32_t type)
{
	size_t left = parcel->len - parcel->pos;
	unsigned int fds_left = parcel->fd_n - parcel->fd_pos;
	size_t len = left < PACKET_BYTES ? left : PACKET_BYTES;
	unsigned int fd_n = fds_left < PACKET_FDS ? fds_left : PACKET_FDS;
	struct packet_header header = {
		.type = htole32(type),
		.more = htole32(len < left || fd_n < fds_left),
	};
	struct iovec iov[] = {
		{ .iov_base = &header, .iov_len = sizeof(header) },
		{ .iov_base = len > 0 ? parcel->data + parcel->pos : NULL, .iov_len = len },
	};
	struct msghdr hdr = { .msg_iov = iov, .msg_iovlen = 2 };
	union fd_control control;
	struct cmsghdr *cmsg;
	ssize_t n;

	if (fd_n > 0) {
		memset(&control, 0, sizeof(control));
		hdr.msg_control = &control;
		hdr.msg_controllen = CMSG_SPACE(sizeof(int) * fd_n);
		cmsg = CMSG_FIRSTHDR(&hdr);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int) * fd_n);
		memcpy(CMSG_DATA(cmsg), parcel->fds + parcel->fd_pos, sizeof(int) * fd_n);
	}
	do {
		n = sendmsg(fd, &hdr, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	if (n < 0) {
		/* Descriptors on their way are counted; they are fewer when the peer has read some. */
		return errno == ETOOMANYREFS ? -EAGAIN : -errno;
	}
	parcel->pos += len;
	parcel->fd_pos += fd_n;
	return header.more != 0;
}

int parcel_send(struct parcel *parcel, int fd, uint32_t type)
{
	int r;

	if (parcel->failed) {
		return -ENOMEM;
	}
	do {
		r = send_packet(parcel, fd, type);
	} while (r > 0);
	return r;
}

static int take_fds(struct parcel *parcel, struct msghdr *hdr)
{
	struct cmsghdr *cmsg;
	int r = 0;

	for (cmsg = CMSG_FIRSTHDR(hdr); cmsg != NULL; cmsg = CMSG_NXTHDR(hdr, cmsg)) {
		int fds[PACKET_FDS];
		unsigned int n;
		unsigned int i;

		if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS) {
			continue;
		}
		n = (unsigned int)((cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(fds, CMSG_DATA(cmsg), n * sizeof(int));
		if (reserve_fds(parcel, n) < 0) {
			r = -ENOMEM;
		}
		for (i = 0; i < n; i++) {
			if (r < 0) {
				fd_close(&fds[i]);
			} else {
				parcel->fds[parcel->fd_n++] = fds[i];
			}
		}
	}
	/* There was room for all: this process has no more descriptors to give. */
	return hdr->msg_flags & MSG_CTRUNC ? -EMFILE : r;
}

/* 1: more of the parcel comes; 0: that was its last packet. */
static int recv_packet(struct parcel *parcel, int fd)
{
	bool first = !parcel->received;
	struct packet_header header;
	union fd_control control;
	struct iovec iov[2] = { { .iov_base = &header, .iov_len = sizeof(header) } };
	struct msghdr hdr = {
		.msg_iov = iov,
		.msg_iovlen = 2,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n;
	int r = reserve(parcel, PACKET_BYTES);

	if (r < 0) {
		return r;
	}
	iov[1] = (struct iovec){ .iov_base = parcel->data + parcel->len, .iov_len = PACKET_BYTES };
	do {
		n = recvmsg(fd, &hdr, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n <= 0) {
		return n == 0 ? -ECONNRESET : -errno;
	}
	parcel->received = true;
	r = take_fds(parcel, &hdr);
	if (r < 0) {
		return r;
	}
	if ((size_t)n < sizeof(header) || (hdr.msg_flags & MSG_TRUNC) != 0 ||
	    (!first && le32toh(header.type) != parcel->type)) {
		return -EPROTO;
	}
	parcel->type = le32toh(header.type);
	parcel->len += (size_t)n - sizeof(header);
	return header.more != 0;
}

int parcel_recv(struct parcel *parcel, int fd, uint32_t *ret_type)
{
	int r;

	do {
		r = recv_packet(parcel, fd);
	} while (r > 0);
	if (r < 0) {
		return r == -EAGAIN ? 0 : r;
	}
	*ret_type = parcel->type;
	return 1;
}
