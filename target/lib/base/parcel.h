/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts
 *   parcel  bytes and descriptors that one process of ours packs and another one unpacks, in the same order:
 *           the state that a planned hand-over carries (docs/ARCHITECTURE.md). Numbers are little endian;
 *           text and byte strings have their length in front.
 *   packet  how a parcel travels: over a socketpair of type SOCK_SEQPACKET, in pieces of bounded size, each
 *           with the type of its parcel and whether more of it comes.
 *
 * As with bytes.h, failure is remembered: pack or unpack everything, then ask once. What is read is checked
 * against PARCEL_MAX_*, and never beyond its end. Owner: one thread at a time.
 */
#ifndef VHT_BASE_PARCEL_H
#define VHT_BASE_PARCEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Far above what ten thousand rings need; they bound what a broken peer can make us take. */
#define PARCEL_MAX_BYTES ((size_t)64 << 20)
#define PARCEL_MAX_FDS	 (1u << 18)
#define PARCEL_MAX_TEXT	 4096

struct parcel {
	bool failed; /* no memory, or the other side packed something else */
	/* private: */
	uint8_t *data;
	size_t len;
	size_t room;
	size_t pos; /* of the next to be unpacked; of the next to be sent */
	int *fds;
	unsigned int fd_n;
	unsigned int fd_room;
	unsigned int fd_pos;
	uint32_t type;
	bool received; /* descriptors that nobody has taken out are ours to close */
};

void parcel_init(struct parcel *parcel);
/* Descriptors that were packed stay their owner's. A zeroed parcel is fine. */
void parcel_done(struct parcel *parcel);

/* ---- packing ---- */

void parcel_put(struct parcel *parcel, const void *data, size_t len);
void parcel_put_u8(struct parcel *parcel, uint8_t value);
void parcel_put_u32(struct parcel *parcel, uint32_t value);
void parcel_put_u64(struct parcel *parcel, uint64_t value);
void parcel_put_text(struct parcel *parcel, const char *text); /* NULL is kept apart from "" */
void parcel_put_block(struct parcel *parcel, const void *data, size_t len);
void parcel_put_fd(struct parcel *parcel, int fd); /* negative: none. Open until it is sent. */

/* ---- unpacking: 0, NULL, false or -1 after a failure ---- */

void parcel_get(struct parcel *parcel, void *buf, size_t len);
bool parcel_get_bool(struct parcel *parcel); /* anything but 0 and 1 is a failure */
uint8_t parcel_get_u8(struct parcel *parcel);
uint32_t parcel_get_u32(struct parcel *parcel);
uint64_t parcel_get_u64(struct parcel *parcel);
/* A number below `end`. */
uint32_t parcel_get_below(struct parcel *parcel, uint32_t end);
/* Inside the parcel, without a zero byte in it and with one behind it; NULL was packed, or failure. */
const char *parcel_get_text(struct parcel *parcel);
/* The same, where NULL is a failure, too; "" then. */
const char *parcel_get_name(struct parcel *parcel);
/* Inside the parcel. */
const uint8_t *parcel_get_block(struct parcel *parcel, size_t max, size_t *ret_len);
int parcel_get_fd(struct parcel *parcel); /* the caller's now */
/* Has all been unpacked, and nothing failed? */
bool parcel_is_used_up(const struct parcel *parcel);

/* ---- travelling ---- */

/* Sends what the socket takes without waiting. 0: all of it is out. -EAGAIN: not yet. Or errno. */
int parcel_send(struct parcel *parcel, int fd, uint32_t type);
/*
 * Receives what is there without waiting. 1: the parcel is complete, *ret_type is what it is. 0: not yet.
 * -ECONNRESET: the end of the connection; -EPROTO, -EMSGSIZE: not a parcel; -ENOMEM; or errno.
 */
int parcel_recv(struct parcel *parcel, int fd, uint32_t *ret_type);

#endif
