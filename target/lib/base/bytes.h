/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: a bounds-checked cursor over bytes that somebody else wrote (socket payload, request
 * header, CDB, parameter list), always over a private copy (rules R1, R4). A read past the end
 * yields 0 and sets `failed`, which stays set: parse everything, then ask once. The writer is its
 * mirror: a write past the end is dropped and sets `truncated`, `wanted` counts all the same.
 */
#ifndef VHT_BASE_BYTES_H
#define VHT_BASE_BYTES_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes_reader {
	const uint8_t *data;
	size_t len;
	size_t pos;
	bool failed;
};

static inline struct bytes_reader bytes_reader(const void *data, size_t len)
{
	return (struct bytes_reader){ .data = data, .len = len };
}

static inline size_t bytes_left(const struct bytes_reader *r)
{
	return r->len - r->pos;
}

static inline void bytes_get(struct bytes_reader *r, void *buf, size_t len)
{
	if (r->failed || bytes_left(r) < len) {
		r->failed = true;
		memset(buf, 0, len);
		return;
	}
	memcpy(buf, r->data + r->pos, len);
	r->pos += len;
}

static inline void bytes_skip(struct bytes_reader *r, size_t len)
{
	if (r->failed || bytes_left(r) < len) {
		r->failed = true;
		return;
	}
	r->pos += len;
}

#define BYTES_DEFINE_GET(name, type, convert)                       \
	static inline type bytes_get_##name(struct bytes_reader *r) \
	{                                                           \
		type v;                                             \
		bytes_get(r, &v, sizeof(v));                        \
		return (type)convert(v);                            \
	}

BYTES_DEFINE_GET(u8, uint8_t, )
BYTES_DEFINE_GET(le16, uint16_t, le16toh)
BYTES_DEFINE_GET(le32, uint32_t, le32toh)
BYTES_DEFINE_GET(le64, uint64_t, le64toh)
BYTES_DEFINE_GET(be16, uint16_t, be16toh)
BYTES_DEFINE_GET(be32, uint32_t, be32toh)
BYTES_DEFINE_GET(be64, uint64_t, be64toh)

struct bytes_writer {
	uint8_t *data;
	size_t len;
	size_t pos;    /* bytes really written */
	size_t wanted; /* bytes that would have been written with room for all */
	bool truncated;
};

static inline struct bytes_writer bytes_writer(void *data, size_t len)
{
	return (struct bytes_writer){ .data = data, .len = len };
}

static inline void bytes_put(struct bytes_writer *w, const void *buf, size_t len)
{
	size_t room = w->len - w->pos;
	size_t n = len < room ? len : room;

	memcpy(w->data + w->pos, buf, n);
	w->pos += n;
	w->wanted += len;
	w->truncated = w->truncated || n < len;
}

#define BYTES_DEFINE_PUT(name, type, convert)                                   \
	static inline void bytes_put_##name(struct bytes_writer *w, type value) \
	{                                                                       \
		type v = (type)convert(value);                                  \
		bytes_put(w, &v, sizeof(v));                                    \
	}

BYTES_DEFINE_PUT(u8, uint8_t, )
BYTES_DEFINE_PUT(le16, uint16_t, htole16)
BYTES_DEFINE_PUT(le32, uint32_t, htole32)
BYTES_DEFINE_PUT(le64, uint64_t, htole64)
BYTES_DEFINE_PUT(be16, uint16_t, htobe16)
BYTES_DEFINE_PUT(be32, uint32_t, htobe32)
BYTES_DEFINE_PUT(be64, uint64_t, htobe64)

#endif
