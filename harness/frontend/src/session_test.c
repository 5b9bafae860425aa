/* SPDX-License-Identifier: BSD-3-Clause */
/* Sessions against a back-end of every habit. Data and crashes are in reconnect_test.c. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "rig.h"

#define ALL_PROTOCOL                                                         \
	(VFE_PF_MQ | VFE_PF_REPLY_ACK | VFE_PF_CONFIG | VFE_PF_BACKEND_REQ | \
	 VFE_PF_CONFIGURE_MEM_SLOTS)

static const struct fake_config modern = {
	.features = VFE_F_INDIRECT_DESC | VFE_F_EVENT_IDX | VFE_F_RING_PACKED | VFE_F_BLK_MQ |
		    VFE_F_BLK_SIZE_MAX | VFE_F_BLK_BLK_SIZE,
	.protocol_features = ALL_PROTOCOL,
	.queues = 4,
	.config_max = 256,
};

static void modern_backend(void **state)
{
	const struct vfe_wish wish = { .device = VFE_BLK };
	struct vfe_blk_info info;
	struct rig rig;

	rig_open(&rig, &modern, 1, 4);
	assert_int_equal(vfe_negotiate(rig.session, &wish), 0);
	assert_int_equal(vfe_protocol_features(rig.session), ALL_PROTOCOL);
	assert_int_equal(vfe_max_queues(rig.session), 4);
	assert_true((vfe_features(rig.session) & VFE_F_RING_PACKED) == 0); /* nobody asked */
	assert_int_equal(vfe_blk_info(rig.session, &info), 0);
	assert_int_equal(info.capacity, RIG_DISK_SIZE);
	assert_int_equal(info.queues, 4);
	/* SIZE_MAX is offered with the value 0. */
	assert_int_equal(info.size_max, UINT32_MAX);
	rig_start_queues(&rig, 16, false);
	rig_check_io(&rig);
	rig_close(&rig);
}

static void packed_and_indirect(void **state)
{
	const struct vfe_wish wish = { .device = VFE_BLK, .packed = true };
	struct rig rig;

	rig_open(&rig, &modern, 2, 2);
	assert_int_equal(vfe_negotiate(rig.session, &wish), 0);
	assert_true((vfe_features(rig.session) & VFE_F_RING_PACKED) != 0);
	rig_start_queues(&rig, 7, true);
	rig_check_io(&rig);
	rig_close(&rig);
}

/* No message is acknowledged, memory comes as a table, one queue, nothing is said about events. */
static void old_backend(void **state)
{
	const struct fake_config old = { .protocol_features = VFE_PF_CONFIG,
					 .queues = 1,
					 .config_max = 60 };
	const struct vfe_wish wish = { .device = VFE_BLK };
	struct vfe_blk_info info;
	struct rig rig;

	rig_open(&rig, &old, 3, 1);
	assert_int_equal(vfe_negotiate(rig.session, &wish), 0);
	assert_int_equal(vfe_max_queues(rig.session), 1);
	assert_int_equal(vfe_blk_info(rig.session, &info), 0);
	assert_int_equal(info.capacity, RIG_DISK_SIZE);
	assert_int_equal(info.block_size, 512);
	rig_start_queues(&rig, 16, true); /* not offered: direct */
	rig_check_io(&rig);
	rig_close(&rig);
}

static void short_config(void **state)
{
	static const struct {
		unsigned int max;
		size_t asked;
		size_t got;
	} cases[] = {
		{ 256, 256, 256 }, { 96, 256, 96 }, { 60, 96, 60 }, { 60, 60, 60 },
		{ 36, 60, 36 },	   { 35, 60, 34 },  { 8, 60, 8 },
	};
	const struct vfe_wish wish = { .device = VFE_BLK };
	struct fake_config config = modern;
	uint64_t buf[32];
	struct rig rig;
	unsigned int i;
	size_t got;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		config.config_max = cases[i].max;
		rig_open(&rig, &config, 1, 0);
		assert_int_equal(vfe_negotiate(rig.session, &wish), 0);
		memset(buf, 0xee, sizeof(buf));
		assert_int_equal(vfe_config_read(rig.session, buf, cases[i].asked, &got), 0);
		assert_int_equal(got, cases[i].got);
		assert_int_equal(buf[0], RIG_DISK_SIZE / 512);
		rig_close(&rig);
	}
	config.config_max = 4;
	rig_open(&rig, &config, 1, 0);
	assert_int_equal(vfe_negotiate(rig.session, &wish), 0);
	assert_int_equal(vfe_config_read(rig.session, buf, 60, &got), -EREMOTEIO);
	rig_close(&rig);
}

static void refusals(void **state)
{
	const struct vfe_wish packed = { .device = VFE_BLK, .packed = true };
	const struct vfe_wish wish = { .device = VFE_BLK, .without_protocol = VFE_PF_CONFIG };
	const struct vfe_queue_options options = { .size = 8, .segments = 3 };
	struct fake_config config = modern;
	struct vfe_queue *queue;
	uint8_t byte;
	struct rig rig;
	size_t got;

	config.features = 0;
	rig_open(&rig, &config, 1, 0);
	assert_int_equal(vfe_negotiate(rig.session, &packed), -ENOTSUP);
	assert_non_null(strstr(vfe_why(rig.session), "packed"));
	rig_close(&rig);

	config = modern;
	config.refuse = VFE_SET_VRING_ADDR;
	rig_open(&rig, &config, 1, 0);
	assert_int_equal(vfe_negotiate(rig.session, &wish), 0);
	assert_int_equal(vfe_config_read(rig.session, &byte, 1, &got), -ENOTSUP);
	assert_int_equal(vfe_share(rig.session, rig.memory), 0);
	assert_int_equal(vfe_queue_new(rig.session, 0, &options, &queue), 0);
	assert_int_equal(vfe_queue_start(queue), -EREMOTEIO);
	assert_non_null(strstr(vfe_why(rig.session), "SET_VRING_ADDR"));
	vfe_queue_free(queue);
	rig_close(&rig);
}

static void config_changes(void **state)
{
	const struct vfe_wish wish = { .device = VFE_BLK };
	struct rig rig;

	rig_open(&rig, &modern, 1, 0);
	/* The fake announces a change as soon as it has the channel, before it answers. */
	assert_int_equal(vfe_negotiate(rig.session, &wish), 0);
	assert_int_equal(vfe_config_changes(rig.session), 1);
	assert_int_equal(vfe_config_changes(rig.session), 1);
	rig_close(&rig);
}

static void nobody_there(void **state)
{
	struct vfe_session *session;

	assert_int_equal(vfe_connect("/nonexistent/socket", 20, &session), -ENOENT);
}

static void many_regions(void **state)
{
	const struct vfe_wish wish = { .device = VFE_BLK };
	struct rig rig;

	rig_open(&rig, &modern, 1, 4);
	rig_use_regions(&rig, 8);
	assert_int_equal(vfe_negotiate(rig.session, &wish), 0);
	rig_start_queues(&rig, 64, true);
	rig_check_io(&rig);
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(modern_backend), cmocka_unit_test(packed_and_indirect),
		cmocka_unit_test(old_backend),	  cmocka_unit_test(short_config),
		cmocka_unit_test(refusals),	  cmocka_unit_test(config_changes),
		cmocka_unit_test(nobody_there),	  cmocka_unit_test(many_regions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
