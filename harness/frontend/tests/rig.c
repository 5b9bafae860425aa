/* SPDX-License-Identifier: BSD-3-Clause */
#include "rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define MEMORY_SIZE (4u << 20)
#define BLOCK	    2048

static void make_memory(struct rig *rig, unsigned int regions)
{
	const struct vfe_memory_options options = { .size = MEMORY_SIZE,
						    .regions = regions,
						    .gap = 1u << 20 };

	vfe_memory_free(rig->memory);
	assert_int_equal(vfe_memory_new(&options, &rig->memory), 0);
}

void rig_open(struct rig *rig, const struct fake_config *config, uint64_t seed, unsigned int queues)
{
	memset(rig, 0, sizeof(*rig));
	rig->config = *config;
	rig->config.seed = seed;
	rig->queue_n = queues;
	strcpy(rig->dir, "/tmp/vfe-test-XXXXXX");
	assert_non_null(mkdtemp(rig->dir));
	snprintf(rig->path, sizeof(rig->path), "%s/sock", rig->dir);
	rig->listen_fd = fake_listen(rig->path);
	rig->disk = mmap(NULL, RIG_DISK_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			 -1, 0);
	assert_true(rig->disk != MAP_FAILED);
	rig->config.disk = rig->disk;
	rig->config.disk_size = RIG_DISK_SIZE;
	rig->pid = fake_start(&rig->config, rig->listen_fd);
	assert_true(rig->pid > 0);
	make_memory(rig, 1);
	assert_int_equal(vfe_connect(rig->path, RIG_TIMEOUT_MS, &rig->session), 0);
}

void rig_use_regions(struct rig *rig, unsigned int regions)
{
	make_memory(rig, regions);
}

void rig_start_queues(struct rig *rig, unsigned int size, bool indirect)
{
	const struct vfe_queue_options options = { .size = size,
						   .segments = 3,
						   .indirect = indirect };
	unsigned int i;

	assert_int_equal(vfe_share(rig->session, rig->memory), 0);
	for (i = 0; i < rig->queue_n; i++) {
		assert_int_equal(vfe_queue_new(rig->session, i, &options, &rig->queues[i]), 0);
	}
	for (i = 0; i < rig->queue_n; i++) {
		assert_int_equal(vfe_queue_start(rig->queues[i]), 0);
	}
}

static void transfer(struct vfe_queue *queue, struct vfe_blk_frame *frame, bool in, uint64_t offset,
		     const struct vfe_seg *data)
{
	struct vfe_done done;

	assert_int_equal(vfe_blk_add(queue, frame, in ? VFE_BLK_IN : VFE_BLK_OUT, offset / 512,
				     data, 1, frame),
			 0);
	assert_int_equal(vfe_queue_finish(queue, RIG_TIMEOUT_MS, &done), 0);
	assert_ptr_equal(done.cookie, frame);
	assert_int_equal(vfe_blk_result(frame), 0);
	assert_int_equal(done.written, in ? BLOCK + 1 : 1);
}

void rig_check_io(struct rig *rig)
{
	struct vfe_blk_frame *frame = vfe_blk_frames(rig->memory, 1);
	uint8_t *data = vfe_memory_alloc(rig->memory, BLOCK, 512);
	struct vfe_seg seg = { vfe_memory_gpa(rig->memory, data), BLOCK };
	uint8_t expected[BLOCK];
	uint64_t at;
	unsigned int i;

	assert_non_null(frame);
	assert_non_null(data);
	for (at = 0; at < RIG_DISK_SIZE; at += BLOCK) {
		memset(data, (int)(at / BLOCK) + 1, BLOCK);
		transfer(rig->queues[at / BLOCK % rig->queue_n], frame, false, at, &seg);
	}
	for (at = 0; at < RIG_DISK_SIZE; at += BLOCK) {
		memset(expected, (int)(at / BLOCK) + 1, BLOCK);
		memset(data, 0, BLOCK);
		transfer(rig->queues[(at / BLOCK + 1) % rig->queue_n], frame, true, at, &seg);
		assert_memory_equal(data, expected, BLOCK);
		assert_memory_equal(rig->disk + at, expected, BLOCK);
	}
	/* Stop, go on where it was, stop for good. */
	for (i = 0; i < rig->queue_n; i++) {
		assert_int_equal(vfe_queue_stop(rig->queues[i]), 0);
		assert_int_equal(vfe_queue_start(rig->queues[i]), 0);
		transfer(rig->queues[i], frame, true, 0, &seg);
		assert_int_equal(vfe_queue_stop(rig->queues[i]), 0);
	}
}

void rig_close(struct rig *rig)
{
	unsigned int i;

	for (i = 0; i < rig->queue_n; i++) {
		vfe_queue_free(rig->queues[i]);
	}
	vfe_close(rig->session);
	vfe_memory_free(rig->memory);
	assert_int_equal(fake_wait(rig->pid), 0);
	close(rig->listen_fd);
	munmap(rig->disk, RIG_DISK_SIZE);
	unlink(rig->path);
	assert_int_equal(rmdir(rig->dir), 0);
}
