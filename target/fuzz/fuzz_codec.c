/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fuzzer F1: the message assembler and all payload decoders. The input is a stream of bytes as it comes
 * out of a socket; the first byte says in how small pieces it arrives. Whatever the bytes: no more is
 * asked for than one message can hold, the pieces make no difference, and decoders only hand out what
 * lies inside the payload. A third time descriptors come along with the pieces: all of them are closed.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/fd.h"
#include "leaks.h"
#include "must.h"
#include "vhost_user/codec.h"
#include "vhost_user/dispatch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void decode_all(const struct vu_message *message)
{
	struct vu_region regions[VU_REGIONS_MAX];
	unsigned int region_n = UINT32_MAX;
	struct vu_vring_state state;
	struct vu_vring_addr addr;
	struct vu_region region;
	struct vu_config config;
	struct vu_log log;
	const uint8_t *bytes;
	size_t bytes_len;
	uint64_t value;

	if (vu_decode_u64(message, &value) == 0) {
		MUST(message->header.size == VU_U64_SIZE);
		MUST(memcmp(&value, message->payload, sizeof(value)) == 0);
	}
	if (vu_decode_vring_state(message, &state) == 0) {
		MUST(message->header.size == VU_VRING_STATE_SIZE);
	}
	if (vu_decode_vring_addr(message, &addr) == 0) {
		MUST(message->header.size == VU_VRING_ADDR_SIZE);
	}
	if (vu_decode_log(message, &log) == 0) {
		MUST(message->header.size == VU_LOG_SIZE);
		MUST(memcmp(&log, message->payload, sizeof(log)) == 0);
	}
	if (vu_decode_mem_table(message, regions, &region_n) == 0) {
		MUST(region_n <= VU_REGIONS_MAX);
		MUST(message->header.size == VU_MEM_TABLE_HEADER_SIZE + VU_REGION_SIZE * region_n);
		MUST(memcmp(regions, message->payload + VU_MEM_TABLE_HEADER_SIZE,
			    VU_REGION_SIZE * region_n) == 0);
	} else {
		MUST(region_n == UINT32_MAX);
	}
	if (vu_decode_mem_reg(message, &region) == 0) {
		MUST(message->header.size == VU_MEM_REG_SIZE);
		MUST(memcmp(&region, message->payload + 8, VU_REGION_SIZE) == 0);
	}
	if (vu_decode_config(message, &config, &bytes, &bytes_len) == 0) {
		MUST(bytes_len == message->header.size - VU_CONFIG_HEADER_SIZE);
		MUST(bytes == message->payload + VU_CONFIG_HEADER_SIZE);
	}
}

/* Cuts the stream into messages; returns a checksum over them and how the stream ended. */
static uint64_t run(const uint8_t *data, size_t len, size_t piece)
{
	static struct vu_message message;
	struct vu_assembler a;
	uint64_t sum = 0;
	size_t pos = 0;
	uint32_t i;
	int r = 0;

	vu_assembler_init(&a);
	while (r >= 0 && pos < len) {
		size_t n = vu_assembler_wanted(&a);

		MUST(n > 0 && n <= sizeof(struct vu_header) + VU_PAYLOAD_MAX);
		n = n < piece ? n : piece;
		n = n < len - pos ? n : len - pos;
		memcpy(vu_assembler_space(&a), data + pos, n);
		pos += n;
		r = vu_assembler_received(&a, n);
		MUST(r == 0 || r == 1 || r == -EPROTO);
		if (r != 1) {
			continue;
		}
		vu_assembler_take(&a, &message);
		MUST(message.header.size <= VU_PAYLOAD_MAX);
		MUST((message.header.flags & VU_FLAG_VERSION_MASK) == VU_VERSION);
		MUST(message.fd_n == 0);
		decode_all(&message);
		vu_dispatch_find(message.header.request);
		sum = sum * 31 + message.header.request;
		for (i = 0; i < message.header.size; i++) {
			sum = sum * 31 + message.payload[i];
		}
	}
	vu_assembler_done(&a, NULL);
	return sum * 31 + (uint64_t)-r;
}

/* As many descriptors as the byte that comes next says. Each is good for one piece. */
static int add_descriptors(struct vu_assembler *a, uint8_t next, unsigned int *ret_n)
{
	int fds[VU_FDS_MAX + 1];
	unsigned int n = (next & 7) < 5 ? 0 : next % (VU_FDS_MAX + 2);
	unsigned int i;

	for (i = 0; i < n; i++) {
		fds[i] = eventfd(0, EFD_CLOEXEC);
		MUST(fds[i] >= 0);
	}
	*ret_n = n;
	if (vu_assembler_add_fds(a, fds, n) == 0) {
		return 0;
	}
	while (n > 0) {
		fd_close(&fds[--n]);
	}
	return -1;
}

static void run_with_descriptors(const uint8_t *data, size_t len, size_t piece)
{
	static struct vu_message message;
	struct vu_assembler a;
	unsigned int fd_n = 0;
	size_t pos = 0;
	int fd;

	vu_assembler_init(&a);
	while (pos < len) {
		size_t n = vu_assembler_wanted(&a);
		unsigned int added;
		int r;

		if (add_descriptors(&a, data[pos], &added) < 0) {
			MUST(fd_n + added > VU_FDS_MAX);
			break;
		}
		fd_n += added;
		n = n < piece ? n : piece;
		n = n < len - pos ? n : len - pos;
		memcpy(vu_assembler_space(&a), data + pos, n);
		pos += n;
		r = vu_assembler_received(&a, n);
		if (r < 0) {
			break;
		}
		if (r == 1) {
			vu_assembler_take(&a, &message);
			MUST(message.fd_n == fd_n && fd_n <= VU_FDS_MAX);
			fd = vu_message_take_fd(&message);
			MUST((fd >= 0) == (fd_n == 1));
			fd_close(&fd);
			vu_message_drop_fds(&message, NULL);
			fd_n = 0;
		}
	}
	vu_assembler_done(&a, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct leaks before = leaks_start();

	if (len > 0) {
		MUST(run(data + 1, len - 1, (size_t)data[0] + 1) ==
		     run(data + 1, len - 1, SIZE_MAX));
		run_with_descriptors(data + 1, len - 1, (size_t)data[0] + 1);
	}
	leaks_check(&before);
	return 0;
}
