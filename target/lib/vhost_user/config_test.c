/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "vhost_user/fixture.h"

struct config_message {
	struct vu_config config;
	uint8_t data[VU_CONFIG_MAX];
};

static int get_config(struct fixture *f, uint32_t offset, uint32_t size, size_t sent,
		      struct config_message *reply)
{
	struct config_message message = { .config = { .offset = offset, .size = size } };

	send_request(f, VU_GET_CONFIG, 0, &message, sizeof(message.config) + sent, NULL, 0);
	return read_reply(f, VU_GET_CONFIG, reply, sizeof(*reply));
}

static void test_get_config(void **state)
{
	struct fixture *f = *state;
	struct config_message reply;
	unsigned int i;

	negotiate(f);
	for (i = 0; i < VU_CONFIG_MAX; i++) {
		f->owner.config[i] = (uint8_t)i;
	}
	assert_int_equal(get_config(f, 0, 60, 60, &reply), 72); /* as QEMU */
	assert_int_equal(reply.config.size, 60);
	assert_memory_equal(reply.data, f->owner.config, 60);
	assert_int_equal(get_config(f, 0, 60, 0, &reply), 72); /* description only */
	assert_int_equal(get_config(f, 40, 8, 256, &reply), 20);
	assert_int_equal(reply.config.offset, 40);
	assert_memory_equal(reply.data, f->owner.config + 40, 8);
	assert_int_equal(get_config(f, 0, 256, 256, &reply), 268);
	assert_int_equal(get_config(f, 256, 0, 0, &reply), 12);
}

static void test_get_config_errors_are_empty_replies(void **state)
{
	struct fixture *f = *state;
	struct config_message reply;

	negotiate(f);
	assert_int_equal(get_config(f, 0, 257, 256, &reply), 0);
	assert_int_equal(get_config(f, 1, 256, 256, &reply), 0);
	assert_int_equal(get_config(f, UINT32_MAX, 1, 1, &reply), 0);
	assert_int_equal(get_config(f, UINT32_MAX, UINT32_MAX, 1, &reply), 0);
	f->owner.config_result = -EIO;
	assert_int_equal(get_config(f, 0, 8, 8, &reply), 0);
	assert_non_null(f->owner.session);
}

static uint64_t set_config(struct fixture *f, uint32_t offset, uint32_t size, uint32_t flags,
			   size_t sent)
{
	struct config_message message = { .config = { offset, size, flags },
					  .data = { 0xaa, 0xbb } };

	send_request(f, VU_SET_CONFIG, VU_FLAG_NEED_REPLY, &message, sizeof(message.config) + sent,
		     NULL, 0);
	return read_u64(f, VU_SET_CONFIG);
}

/* T79 */
static void test_set_config(void **state)
{
	struct fixture *f = *state;

	negotiate(f);
	assert_int_equal(set_config(f, 32, 2, VU_CONFIG_FLAG_WRITABLE, 2), 0);
	assert_int_equal(f->owner.config[32], 0xaa);
	assert_int_equal(f->owner.config[33], 0xbb);
	assert_int_equal(set_config(f, 100, 1, VU_CONFIG_FLAG_MIGRATION, 1), 0);
	assert_int_equal(f->owner.config[100], 0xaa);
	assert_int_equal(f->owner.config[101], 0);
	assert_int_equal(set_config(f, 0, 1, 2, 1), EINVAL);
	assert_int_equal(set_config(f, 0xffffffff, 2, 0, 2), EINVAL);
	assert_int_equal(set_config(f, 255, 2, 0, 2), EINVAL);
	assert_int_equal(set_config(f, 0, 3, 0, 2), EPROTO);
	f->owner.config_result = -EPERM;
	assert_int_equal(set_config(f, 0, 1, 0, 1), EPERM);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_get_config),
		TEST(test_get_config_errors_are_empty_replies),
		TEST(test_set_config),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
