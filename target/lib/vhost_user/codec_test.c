/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "vhost_user/codec.h"
#include "vhost_user/fixture.h"

static void put(struct vu_assembler *a, const void *bytes, size_t n)
{
	memcpy(vu_assembler_space(a), bytes, n);
}

static void test_one_byte_at_a_time(void **state)
{
	struct vu_header header = { .request = 8, .flags = VU_VERSION, .size = 3 };
	struct vu_assembler a;
	struct vu_message message;
	size_t i;

	vu_assembler_init(&a);
	for (i = 0; i < sizeof(header); i++) {
		assert_int_equal(vu_assembler_wanted(&a), sizeof(header) - i);
		put(&a, (const char *)&header + i, 1);
		assert_int_equal(vu_assembler_received(&a, 1), 0);
	}
	for (i = 0; i < 3; i++) {
		assert_int_equal(vu_assembler_wanted(&a), 3 - i);
		put(&a, &"abc"[i], 1);
		assert_int_equal(vu_assembler_received(&a, 1), i == 2);
	}
	vu_assembler_take(&a, &message);
	assert_int_equal(message.header.request, 8);
	assert_memory_equal(message.payload, "abc", 3);
	assert_int_equal(message.fd_n, 0);
	assert_int_equal(vu_assembler_wanted(&a), sizeof(header));
}

static int header_result(uint32_t flags, uint32_t size)
{
	struct vu_header header = { .request = 1, .flags = flags, .size = size };
	struct vu_assembler a;

	vu_assembler_init(&a);
	put(&a, &header, sizeof(header));
	return vu_assembler_received(&a, sizeof(header));
}

static void test_header_rules(void **state)
{
	assert_int_equal(header_result(1, 0), 1);
	assert_int_equal(header_result(1 | VU_FLAG_NEED_REPLY, 0), 1);
	assert_int_equal(header_result(1, VU_PAYLOAD_MAX), 0);
	assert_int_equal(header_result(1, VU_PAYLOAD_MAX + 1), -EPROTO);
	assert_int_equal(header_result(1, UINT32_MAX), -EPROTO);
	assert_int_equal(header_result(0, 0), -EPROTO);
	assert_int_equal(header_result(2, 0), -EPROTO);
	assert_int_equal(header_result(3, 0), -EPROTO);
	assert_int_equal(header_result(1 | VU_FLAG_REPLY, 0), -EPROTO);
	assert_int_equal(header_result(1 | 1u << 4, 0), -EPROTO);
	assert_int_equal(header_result(1 | 1u << 31, 0), -EPROTO);
}

static void test_too_many_descriptors(void **state)
{
	unsigned int before = count_open_fds();
	struct vu_assembler a;
	int fds[VU_FDS_MAX];
	unsigned int i;

	vu_assembler_init(&a);
	for (i = 0; i < VU_FDS_MAX; i++) {
		fds[i] = eventfd(0, EFD_CLOEXEC);
	}
	assert_int_equal(vu_assembler_add_fds(&a, fds, 5), 0);
	assert_int_equal(vu_assembler_add_fds(&a, fds + 5, 3), 0);
	fds[0] = eventfd(0, EFD_CLOEXEC);
	assert_int_equal(vu_assembler_add_fds(&a, fds, 1), -EPROTO);
	close(fds[0]); /* it is still ours */
	assert_int_equal(count_open_fds(), before + VU_FDS_MAX);
	vu_assembler_done(&a, NULL);
	assert_int_equal(count_open_fds(), before);
}

static struct vu_message message_of(const void *payload, uint32_t size)
{
	struct vu_message message = { .header = {
					      .request = 1, .flags = VU_VERSION, .size = size } };

	memcpy(message.payload, payload, size);
	return message;
}

static void test_fixed_payloads_need_their_exact_size(void **state)
{
	static const uint8_t zeroes[64];
	struct vu_vring_state vring;
	struct vu_vring_addr addr;
	struct vu_region region;
	uint64_t value;
	uint32_t size;

	for (size = 0; size < sizeof(zeroes); size++) {
		struct vu_message message = message_of(zeroes, size);

		assert_int_equal(vu_decode_u64(&message, &value), size == 8 ? 0 : -EPROTO);
		assert_int_equal(vu_decode_vring_state(&message, &vring), size == 8 ? 0 : -EPROTO);
		assert_int_equal(vu_decode_vring_addr(&message, &addr), size == 40 ? 0 : -EPROTO);
		assert_int_equal(vu_decode_mem_reg(&message, &region), size == 40 ? 0 : -EPROTO);
	}
}

static void test_vring_addr_fields(void **state)
{
	const uint64_t words[5] = { 3 | 1ull << 32, 10, 20, 30, 40 };
	struct vu_message message = message_of(words, sizeof(words));
	struct vu_vring_addr addr;

	assert_int_equal(vu_decode_vring_addr(&message, &addr), 0);
	assert_int_equal(addr.index, 3);
	assert_int_equal(addr.flags, 1);
	assert_int_equal(addr.descriptor, 10);
	assert_int_equal(addr.used, 20);
	assert_int_equal(addr.available, 30);
	assert_int_equal(addr.log, 40);
}

static void test_mem_reg_fields(void **state)
{
	const uint64_t words[5] = { UINT64_MAX, 10, 20, 30, 40 }; /* padding is not looked at */
	struct vu_message message = message_of(words, sizeof(words));
	struct vu_region region;

	assert_int_equal(vu_decode_mem_reg(&message, &region), 0);
	assert_int_equal(region.guest_address, 10);
	assert_int_equal(region.size, 20);
	assert_int_equal(region.user_address, 30);
	assert_int_equal(region.mmap_offset, 40);
}

static void test_mem_table_counts_must_agree(void **state)
{
	struct vu_region regions[VU_REGIONS_MAX];
	uint64_t words[1 + 4 * (VU_REGIONS_MAX + 1)] = { 0 };
	unsigned int n = 99;
	uint32_t claimed;
	uint32_t sent;

	for (claimed = 0; claimed <= VU_REGIONS_MAX + 1; claimed++) {
		for (sent = 0; sent <= VU_REGIONS_MAX + 1; sent++) {
			words[0] = claimed | 0xdeadull << 32; /* padding is not looked at */
			struct vu_message message = message_of(words, 8 + 32 * sent);
			bool good = claimed == sent && claimed <= VU_REGIONS_MAX;

			n = 99;
			assert_int_equal(vu_decode_mem_table(&message, regions, &n),
					 good ? 0 : -EPROTO);
			assert_int_equal(n, good ? claimed : 99);
		}
	}
	words[0] = 0xffffffff;
	struct vu_message huge = message_of(words, 8 + 32);
	assert_int_equal(vu_decode_mem_table(&huge, regions, &n), -EPROTO);
}

static void test_config_payload(void **state)
{
	const uint32_t words[4] = { 1, 2, 3, 4 };
	struct vu_message message = message_of(words, sizeof(words));
	struct vu_config config;
	const uint8_t *data;
	size_t data_len;

	assert_int_equal(vu_decode_config(&message, &config, &data, &data_len), 0);
	assert_int_equal(config.offset, 1);
	assert_int_equal(config.size, 2);
	assert_int_equal(config.flags, 3);
	assert_int_equal(data_len, 4);
	assert_int_equal(data[0], 4);
	message.header.size = 11;
	assert_int_equal(vu_decode_config(&message, &config, &data, &data_len), -EPROTO);
}

static void test_replies(void **state)
{
	struct vu_message reply;
	uint64_t value;

	vu_reply_init(&reply, VU_GET_QUEUE_NUM);
	assert_int_equal(reply.header.size, 0);
	vu_reply_put_u64(&reply, 0x1122334455667788);
	assert_int_equal(reply.header.request, VU_GET_QUEUE_NUM);
	assert_int_equal(reply.header.flags, 5);
	assert_int_equal(reply.header.size, 8);
	memcpy(&value, reply.payload, 8);
	assert_int_equal(value, 0x1122334455667788);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_byte_at_a_time),
		cmocka_unit_test(test_header_rules),
		cmocka_unit_test(test_too_many_descriptors),
		cmocka_unit_test(test_fixed_payloads_need_their_exact_size),
		cmocka_unit_test(test_vring_addr_fields),
		cmocka_unit_test(test_mem_reg_fields),
		cmocka_unit_test(test_mem_table_counts_must_agree),
		cmocka_unit_test(test_config_payload),
		cmocka_unit_test(test_replies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
