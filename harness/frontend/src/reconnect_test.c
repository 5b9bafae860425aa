/* SPDX-License-Identifier: BSD-3-Clause */
/* A back-end that dies at the worst moments, again and again, under load. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rig.h"

#define BLOCKS	 64
#define BLOCK	 2048
#define SEEDS	 3
#define KILLS	 25
#define INFLIGHT (VFE_PF_REPLY_ACK | VFE_PF_CONFIG | VFE_PF_MQ | VFE_PF_INFLIGHT_SHMFD)

static const struct fake_config base = {
	.features = VFE_F_INDIRECT_DESC | VFE_F_EVENT_IDX | VFE_F_RING_PACKED,
	.protocol_features = INFLIGHT,
	.queues = 2,
	.config_max = 256,
};

/* One block of the disk: at most one write to it is open, so what it must hold is known. */
struct block {
	struct vfe_blk_frame *frame;
	uint32_t *data;
	struct vfe_seg seg;
	uint32_t version;
	bool open;
};

struct torture {
	struct rig rig;
	struct block blocks[BLOCKS];
	unsigned int deaths;
	uint64_t completed;
};

static void write_block(struct torture *t, unsigned int i)
{
	struct block *block = &t->blocks[i];
	struct vfe_queue *queue = t->rig.queues[i % t->rig.queue_n];
	unsigned int k;

	if (vfe_queue_room(queue, 3) == 0) {
		return;
	}
	block->version++;
	for (k = 0; k < BLOCK / 4; k++) {
		block->data[k] = i << 24 | block->version;
	}
	assert_int_equal(vfe_blk_add(queue, block->frame, VFE_BLK_OUT, i * BLOCK / 512, &block->seg,
				     1, block),
			 0);
	block->open = true;
}

/* Takes what is finished. A block that comes back twice, or was never sent, is an error. */
static void reap(struct torture *t)
{
	struct vfe_done done[8];
	unsigned int q;
	int n, i;

	for (q = 0; q < t->rig.queue_n; q++) {
		do {
			n = vfe_queue_reap(t->rig.queues[q], done, 8);
			assert_true(n >= 0);
			for (i = 0; i < n; i++) {
				struct block *block = done[i].cookie;

				assert_true(block->open);
				assert_int_equal(vfe_blk_result(block->frame), 0);
				block->open = false;
				t->completed++;
			}
		} while (n > 0);
	}
}

/* A successor may die while it is being set up: its first queue runs before the last. */
static void restart(struct torture *t, enum fake_death death)
{
	int r;

	do {
		assert_int_equal(fake_wait(t->rig.pid), 128 + 9);
		t->deaths++;
		t->rig.config.seed++;
		t->rig.config.death = t->deaths < KILLS ? death : FAKE_NONE;
		t->rig.config.death_after = (unsigned int)rand() % 40;
		t->rig.pid = fake_start(&t->rig.config, t->rig.listen_fd);
		r = vfe_reconnect(t->rig.session);
	} while (r == -ECONNRESET);
	assert_int_equal(r, 0);
}

static bool any_open(const struct torture *t)
{
	unsigned int i;

	for (i = 0; i < BLOCKS; i++) {
		if (t->blocks[i].open) {
			return true;
		}
	}
	return false;
}

static void run(struct torture *t, enum fake_death death)
{
	unsigned int i;
	int r;

	while (t->deaths < KILLS || any_open(t)) {
		for (i = 0; i < BLOCKS && t->deaths < KILLS; i++) {
			if (!t->blocks[i].open && rand() % 3 == 0) {
				write_block(t, i);
			}
		}
		for (i = 0; i < t->rig.queue_n; i++) {
			vfe_queue_publish(t->rig.queues[i]);
		}
		r = vfe_queues_wait(t->rig.queues, t->rig.queue_n, RIG_TIMEOUT_MS);
		reap(t);
		if (r == -ECONNRESET) {
			restart(t, death);
			continue;
		}
		assert_int_equal(r, 0);
	}
}

static void check_disk(const struct torture *t)
{
	unsigned int i, k;

	for (i = 0; i < BLOCKS; i++) {
		const uint32_t *words = (const uint32_t *)(t->rig.disk + (size_t)i * BLOCK);

		for (k = 0; k < BLOCK / 4 && t->blocks[i].version > 0; k++) {
			assert_int_equal(words[k], i << 24 | t->blocks[i].version);
		}
	}
}

static void torture(bool packed, unsigned int size, bool indirect, enum fake_death death,
		    uint64_t seed)
{
	const struct vfe_wish wish = { .device = VFE_BLK, .packed = packed };
	struct fake_config config = base;
	static struct torture t;
	unsigned int i;

	memset(&t, 0, sizeof(t));
	srand((unsigned int)seed);
	config.death = death;
	config.death_after = 20;
	rig_open(&t.rig, &config, seed * 1000, 2);
	assert_int_equal(vfe_negotiate(t.rig.session, &wish), 0);
	assert_true((vfe_protocol_features(t.rig.session) & VFE_PF_INFLIGHT_SHMFD) != 0);
	rig_start_queues(&t.rig, size, indirect);
	for (i = 0; i < BLOCKS; i++) {
		t.blocks[i].frame = vfe_blk_frames(t.rig.memory, 1);
		t.blocks[i].data = vfe_memory_alloc(t.rig.memory, BLOCK, 512);
		assert_non_null(t.blocks[i].data);
		t.blocks[i].seg =
			(struct vfe_seg){ vfe_memory_gpa(t.rig.memory, t.blocks[i].data), BLOCK };
	}
	run(&t, death);
	assert_int_equal(t.deaths, KILLS);
	assert_true(t.completed > KILLS);
	check_disk(&t);
	rig_close(&t.rig);
}

static void every_death(bool packed, unsigned int size, bool indirect)
{
	enum fake_death death;
	uint64_t seed;

	for (death = FAKE_FETCHED; death <= (packed ? FAKE_HALF : FAKE_PUBLISHED); death++) {
		for (seed = 1; seed <= SEEDS; seed++) {
			torture(packed, size, indirect, death, seed);
		}
	}
}

static void split_direct(void **state)
{
	every_death(false, 64, false);
}

static void split_indirect(void **state)
{
	every_death(false, 16, true);
}

static void packed_direct(void **state)
{
	every_death(true, 50, false);
}

static void packed_indirect(void **state)
{
	every_death(true, 17, true);
}

/* Without an in-flight area the driver sends again what was open. */
static void without_inflight(void **state)
{
	const struct vfe_wish wish = { .device = VFE_BLK,
				       .without_protocol = VFE_PF_INFLIGHT_SHMFD };
	struct fake_config config = base;
	struct vfe_blk_frame *frame;
	struct vfe_done done;
	struct rig rig;

	config.death = FAKE_FETCHED;
	rig_open(&rig, &config, 1, 1);
	assert_int_equal(vfe_negotiate(rig.session, &wish), 0);
	rig_start_queues(&rig, 16, false);
	frame = vfe_blk_frames(rig.memory, 1);
	assert_non_null(frame);
	assert_int_equal(vfe_blk_add(rig.queues[0], frame, VFE_BLK_FLUSH, 0, NULL, 0, frame), 0);
	assert_int_equal(vfe_queue_finish(rig.queues[0], RIG_TIMEOUT_MS, &done), -ECONNRESET);
	assert_false(vfe_alive(rig.session));
	assert_int_equal(fake_wait(rig.pid), 128 + 9);

	assert_int_equal(vfe_reconnect(rig.session), -EBUSY);
	assert_int_equal(vfe_queue_abandon(rig.queues[0], &done, 1), 1);
	assert_ptr_equal(done.cookie, frame);
	assert_int_equal(vfe_queue_abandon(rig.queues[0], &done, 1), 0);

	rig.config.death = FAKE_NONE;
	rig.pid = fake_start(&rig.config, rig.listen_fd);
	assert_int_equal(vfe_reconnect(rig.session), 0);
	assert_int_equal(vfe_queue_start(rig.queues[0]), 0);
	assert_int_equal(vfe_blk_add(rig.queues[0], frame, VFE_BLK_FLUSH, 0, NULL, 0, frame), 0);
	assert_int_equal(vfe_queue_finish(rig.queues[0], RIG_TIMEOUT_MS, &done), 0);
	assert_int_equal(vfe_blk_result(frame), 0);
	rig_close(&rig);
}

/* A successor that offers less than was negotiated is no successor. */
static void poorer_successor(void **state)
{
	const struct vfe_wish wish = { .device = VFE_BLK };
	struct rig rig;

	rig_open(&rig, &base, 1, 1);
	assert_int_equal(vfe_negotiate(rig.session, &wish), 0);
	rig_start_queues(&rig, 16, false);
	vfe_disconnect(rig.session);
	assert_int_equal(fake_wait(rig.pid), 0);

	rig.config.features &= ~VFE_F_EVENT_IDX;
	rig.pid = fake_start(&rig.config, rig.listen_fd);
	assert_int_equal(vfe_reconnect(rig.session), -ENOTSUP);
	assert_non_null(strstr(vfe_why(rig.session), "0x20000000"));
	vfe_disconnect(rig.session);
	assert_int_equal(fake_wait(rig.pid), 0);

	/* The right one comes later: the queue goes on. */
	rig.config.features |= VFE_F_EVENT_IDX;
	rig.pid = fake_start(&rig.config, rig.listen_fd);
	assert_int_equal(vfe_reconnect(rig.session), 0);
	rig_check_io(&rig);
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(split_direct),	    cmocka_unit_test(split_indirect),
		cmocka_unit_test(packed_direct),    cmocka_unit_test(packed_indirect),
		cmocka_unit_test(without_inflight), cmocka_unit_test(poorer_successor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
