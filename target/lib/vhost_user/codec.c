/* SPDX-License-Identifier: BSD-3-Clause */
#include "vhost_user/codec.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/bytes.h"

static_assert(sizeof(struct vu_header) == 12, "vhost-user, Header: three 32-bit fields");

void vu_assembler_init(struct vu_assembler *a)
{
	a->have = 0;
	a->message.fd_n = 0;
}

void vu_assembler_done(struct vu_assembler *a, struct fd_bag *rest)
{
	vu_message_drop_fds(&a->message, rest);
	a->have = 0;
}

/* Bytes of the whole message, as far as it is known. */
static size_t message_length(const struct vu_assembler *a)
{
	if (a->have < sizeof(struct vu_header)) {
		return sizeof(struct vu_header);
	}
	return sizeof(struct vu_header) + a->message.header.size;
}

uint8_t *vu_assembler_space(struct vu_assembler *a)
{
	return a->message.wire + a->have;
}

size_t vu_assembler_wanted(const struct vu_assembler *a)
{
	return message_length(a) - a->have;
}

/* vhost-user, Header. The remaining flag bits are reserved, and a request is no reply. */
static int check_header(const struct vu_header *header)
{
	if ((header->flags & ~VU_FLAG_NEED_REPLY) != VU_VERSION) {
		return -EPROTO;
	}
	return header->size <= VU_PAYLOAD_MAX ? 0 : -EPROTO;
}

int vu_assembler_received(struct vu_assembler *a, size_t n)
{
	bool had_header = a->have >= sizeof(struct vu_header);

	a->have += n;
	if (a->have < sizeof(struct vu_header)) {
		return 0;
	}
	if (!had_header && check_header(&a->message.header) < 0) {
		/* Nobody may rely on this size any more. */
		a->message.header.size = 0;
		a->have = 0;
		return -EPROTO;
	}
	return a->have == message_length(a);
}

int vu_assembler_add_fds(struct vu_assembler *a, const int *fds, unsigned int n)
{
	struct vu_message *message = &a->message;
	unsigned int i;

	if (n > VU_FDS_MAX - message->fd_n) {
		return -EPROTO;
	}
	for (i = 0; i < n; i++) {
		message->fds[message->fd_n++] = fds[i];
	}
	return 0;
}

void vu_assembler_take(struct vu_assembler *a, struct vu_message *ret_message)
{
	memcpy(ret_message->wire, a->message.wire, a->have);
	ret_message->fd_n = a->message.fd_n;
	memcpy(ret_message->fds, a->message.fds, sizeof(ret_message->fds[0]) * a->message.fd_n);
	vu_assembler_init(a);
}

void vu_message_drop_fds(struct vu_message *message, struct fd_bag *rest)
{
	unsigned int i;

	for (i = 0; i < message->fd_n; i++) {
		fd_bag_put(rest, &message->fds[i]);
	}
	message->fd_n = 0;
}

int vu_message_take_fd(struct vu_message *message)
{
	int fd;

	if (message->fd_n != 1) {
		return -1;
	}
	fd = message->fds[0];
	message->fd_n = 0;
	return fd;
}

static struct bytes_reader payload_reader(const struct vu_message *message)
{
	size_t size = message->header.size;

	return bytes_reader(message->payload, size <= VU_PAYLOAD_MAX ? size : 0);
}

static uint32_t get_u32(struct bytes_reader *r)
{
	uint32_t v;

	bytes_get(r, &v, sizeof(v));
	return v;
}

static uint64_t get_u64(struct bytes_reader *r)
{
	uint64_t v;

	bytes_get(r, &v, sizeof(v));
	return v;
}

/* Everything was there and nothing is left over. */
static int decoded(const struct bytes_reader *r)
{
	return r->failed || bytes_left(r) != 0 ? -EPROTO : 0;
}

int vu_decode_u64(const struct vu_message *message, uint64_t *ret_value)
{
	struct bytes_reader r = payload_reader(message);
	uint64_t value = get_u64(&r);

	if (decoded(&r) < 0) {
		return -EPROTO;
	}
	*ret_value = value;
	return 0;
}

int vu_decode_vring_state(const struct vu_message *message, struct vu_vring_state *ret_state)
{
	struct bytes_reader r = payload_reader(message);
	struct vu_vring_state state;

	state.index = get_u32(&r);
	state.num = get_u32(&r);
	if (decoded(&r) < 0) {
		return -EPROTO;
	}
	*ret_state = state;
	return 0;
}

int vu_decode_vring_addr(const struct vu_message *message, struct vu_vring_addr *ret_addr)
{
	struct bytes_reader r = payload_reader(message);
	struct vu_vring_addr addr;

	addr.index = get_u32(&r);
	addr.flags = get_u32(&r);
	addr.descriptor = get_u64(&r);
	addr.used = get_u64(&r);
	addr.available = get_u64(&r);
	addr.log = get_u64(&r);
	if (decoded(&r) < 0) {
		return -EPROTO;
	}
	*ret_addr = addr;
	return 0;
}

int vu_decode_log(const struct vu_message *message, struct vu_log *ret_log)
{
	struct bytes_reader r = payload_reader(message);
	struct vu_log log;

	log.mmap_size = get_u64(&r);
	log.mmap_offset = get_u64(&r);
	if (decoded(&r) < 0) {
		return -EPROTO;
	}
	*ret_log = log;
	return 0;
}

static struct vu_region get_region(struct bytes_reader *r)
{
	struct vu_region region;

	region.guest_address = get_u64(r);
	region.size = get_u64(r);
	region.user_address = get_u64(r);
	region.mmap_offset = get_u64(r);
	return region;
}

int vu_decode_mem_table(const struct vu_message *message, struct vu_region *regions,
			unsigned int *ret_region_n)
{
	struct bytes_reader r = payload_reader(message);
	uint32_t n = get_u32(&r);
	uint32_t i;

	bytes_skip(&r, 4); /* padding */
	if (r.failed || n > VU_REGIONS_MAX) {
		return -EPROTO;
	}
	for (i = 0; i < n; i++) {
		regions[i] = get_region(&r);
	}
	if (decoded(&r) < 0) {
		return -EPROTO;
	}
	*ret_region_n = n;
	return 0;
}

int vu_decode_mem_reg(const struct vu_message *message, struct vu_region *ret_region)
{
	struct bytes_reader r = payload_reader(message);
	struct vu_region region;

	bytes_skip(&r, 8); /* padding */
	region = get_region(&r);
	if (decoded(&r) < 0) {
		return -EPROTO;
	}
	*ret_region = region;
	return 0;
}

int vu_decode_inflight(const struct vu_message *message, struct vu_inflight *ret_inflight)
{
	struct bytes_reader r = payload_reader(message);
	struct vu_inflight inflight;
	uint32_t padding;

	inflight.mmap_size = get_u64(&r);
	inflight.mmap_offset = get_u64(&r);
	bytes_get(&r, &inflight.num_queues, sizeof(inflight.num_queues));
	bytes_get(&r, &inflight.queue_size, sizeof(inflight.queue_size));
	if (bytes_left(&r) >= sizeof(padding)) {
		bytes_get(&r, &padding, sizeof(padding));
	}
	if (decoded(&r) < 0) {
		return -EPROTO;
	}
	*ret_inflight = inflight;
	return 0;
}

int vu_decode_config(const struct vu_message *message, struct vu_config *ret_config,
		     const uint8_t **ret_data, size_t *ret_data_len)
{
	struct bytes_reader r = payload_reader(message);
	struct vu_config config;

	config.offset = get_u32(&r);
	config.size = get_u32(&r);
	config.flags = get_u32(&r);
	if (r.failed) {
		return -EPROTO;
	}
	*ret_config = config;
	*ret_data = r.data + r.pos;
	*ret_data_len = bytes_left(&r);
	return 0;
}

void vu_reply_init(struct vu_message *reply, uint32_t request)
{
	reply->header = (struct vu_header){
		.request = request,
		.flags = VU_VERSION | VU_FLAG_REPLY,
		.size = 0,
	};
	reply->fd_n = 0;
}

void vu_reply_put(struct vu_message *reply, const void *data, size_t len)
{
	struct bytes_writer w = bytes_writer(reply->payload, VU_PAYLOAD_MAX);

	w.pos = reply->header.size;
	bytes_put(&w, data, len);
	reply->header.size = (uint32_t)w.pos;
}

void vu_reply_put_u64(struct vu_message *reply, uint64_t value)
{
	vu_reply_put(reply, &value, sizeof(value));
}
