/* SPDX-License-Identifier: BSD-3-Clause */
#include "ring_exercise.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MEMORY_SIZE (8u << 20)
#define PAGE	    4096

static void *translate(void *arg, uint64_t gpa)
{
	const struct vfe_raw_region *regions;

	assert_int_equal(vfe_raw_memory_regions(arg, &regions), 1);
	assert_true(gpa >= regions->wire.guest_address);
	assert_true(gpa - regions->wire.guest_address < regions->wire.size);
	return regions->map + (gpa - regions->wire.guest_address);
}

void exercise_open(struct exercise *e, uint64_t features, unsigned int size, unsigned int segments,
		   bool indirect)
{
	const struct vfe_memory_options memory = { .size = MEMORY_SIZE };
	const struct vfe_queue_options options = { .size = size,
						   .segments = segments,
						   .indirect = indirect };

	memset(e, 0, sizeof(*e));
	assert_int_equal(vfe_memory_new(&memory, &e->memory), 0);
	assert_int_equal(vfe_raw_session_new(features, e->memory, &e->session), 0);
	assert_int_equal(vfe_queue_new(e->session, 0, &options, &e->queue), 0);
	vfe_raw_queue_ready(e->queue);
	e->data = vfe_memory_alloc(e->memory, PAGE, PAGE);
	assert_non_null(e->data);
	vfe_raw_view(e->queue, &e->model.view);
	e->model.packed = (features & VFE_F_RING_PACKED) != 0;
	e->model.event_idx = (features & VFE_F_EVENT_IDX) != 0;
	e->model.translate = translate;
	e->model.arg = e->memory;
	model_init(&e->model);
}

void exercise_close(struct exercise *e)
{
	vfe_queue_free(e->queue);
	vfe_close(e->session);
	vfe_memory_free(e->memory);
}

/* ---- everything arrives, whole and once ---- */

struct shape {
	unsigned int out_n;
	unsigned int in_n;
	uint32_t stamp; /* the length of the first segment */
	bool open;
};

static void add_random(struct exercise *e, struct shape *shape, unsigned int segments,
		       uint32_t stamp)
{
	struct vfe_seg segs[MODEL_SEGS_MAX];
	unsigned int n = 1 + (unsigned int)rand() % segments;
	unsigned int i;

	shape->out_n = (unsigned int)rand() % (n + 1);
	shape->in_n = n - shape->out_n;
	shape->stamp = stamp;
	for (i = 0; i < n; i++) {
		segs[i] = (struct vfe_seg){ vfe_memory_gpa(e->memory, e->data) + i,
					    i == 0 ? stamp : i };
	}
	shape->open = vfe_queue_add(e->queue, segs, shape->out_n, shape->in_n, shape) == 0;
}

/* The chain is one that was added: find it by its stamp and compare all of it. */
static struct shape *check_chain(const struct exercise *e, const struct model_chain *chain,
				 struct shape *shapes, unsigned int shape_n)
{
	struct shape *shape = NULL;
	unsigned int i;

	for (i = 0; i < shape_n && shape == NULL; i++) {
		if (shapes[i].open && shapes[i].stamp == chain->segs[0].len) {
			shape = &shapes[i];
		}
	}
	assert_non_null(shape);
	assert_int_equal(chain->seg_n, shape->out_n + shape->in_n);
	for (i = 0; i < chain->seg_n; i++) {
		assert_int_equal(chain->segs[i].gpa, vfe_memory_gpa(e->memory, e->data) + i);
		assert_int_equal(chain->segs[i].len, i == 0 ? shape->stamp : i);
		assert_int_equal(chain->segs[i].write, i >= shape->out_n);
	}
	return shape;
}

static void complete_some(struct exercise *e, struct model_chain *chains, unsigned int *chain_n,
			  struct shape *shapes, unsigned int shape_n)
{
	struct vfe_done done[8];
	unsigned int at;
	int n, i;

	while (*chain_n > 0 && rand() % 4 != 0) {
		at = (unsigned int)rand() % *chain_n;
		model_push(&e->model, &chains[at],
			   check_chain(e, &chains[at], shapes, shape_n)->stamp ^ 1);
		chains[at] = chains[--*chain_n];
	}
	do {
		n = vfe_queue_reap(e->queue, done, 8);
		assert_true(n >= 0);
		for (i = 0; i < n; i++) {
			struct shape *shape = done[i].cookie;

			assert_true(shape->open);
			assert_int_equal(done[i].written, shape->stamp ^ 1);
			shape->open = false;
		}
	} while (n > 0);
}

void exercise_random(uint64_t features, unsigned int size, unsigned int segments, bool indirect,
		     unsigned int rounds)
{
	struct shape *shapes = calloc(size, sizeof(*shapes));
	struct model_chain *chains = calloc(size, sizeof(*chains));
	unsigned int chain_n = 0;
	uint32_t stamp = 1000;
	struct exercise e;
	unsigned int i, k;

	assert_non_null(shapes);
	assert_non_null(chains);
	srand(size * 31 + segments);
	exercise_open(&e, features, size, segments, indirect);
	for (i = 0; i < rounds; i++) {
		for (k = 0; k < size; k++) {
			if (!shapes[k].open && rand() % 2 == 0) {
				add_random(&e, &shapes[k], segments, stamp++);
			}
		}
		vfe_queue_publish(e.queue);
		while (chain_n < size && rand() % 8 != 0 && model_pop(&e.model, &chains[chain_n])) {
			chain_n++;
		}
		complete_some(&e, chains, &chain_n, shapes, size);
	}
	assert_true(stamp > 1000 + rounds / 8);
	exercise_close(&e);
	free(shapes);
	free(chains);
}

void exercise_full(uint64_t features)
{
	const struct vfe_seg segs[4] = { { 1, 1 }, { 2, 2 }, { 3, 3 }, { 4, 4 } };
	struct exercise e;
	unsigned int i;

	exercise_open(&e, features, 8, 3, false);
	assert_int_equal(vfe_queue_add(e.queue, segs, 4, 0, NULL), -E2BIG);
	assert_int_equal(vfe_queue_add(e.queue, segs, 0, 0, NULL), -EINVAL);
	assert_int_equal(vfe_queue_room(e.queue, 3), 2);
	for (i = 0; i < 2; i++) {
		assert_int_equal(vfe_queue_add(e.queue, segs, 1, 2, NULL), 0);
	}
	assert_int_equal(vfe_queue_room(e.queue, 3), 0);
	assert_int_equal(vfe_queue_room(e.queue, 2), 1);
	assert_int_equal(vfe_queue_add(e.queue, segs, 3, 0, NULL), -ENOSPC);
	assert_int_equal(vfe_queue_add(e.queue, segs, 2, 0, NULL), 0);
	assert_int_equal(vfe_queue_inflight(e.queue), 3);
	exercise_close(&e);
}

/* ---- notifications ---- */

static uint64_t taken(int fd)
{
	uint64_t n = 0;

	return read(fd, &n, sizeof(n)) == (ssize_t)sizeof(n) ? n : 0;
}

static void add_and_publish(struct exercise *e, unsigned int n)
{
	const struct vfe_seg seg = { vfe_memory_gpa(e->memory, e->data), 1 };

	while (n-- > 0) {
		assert_int_equal(vfe_queue_add(e->queue, &seg, 0, 1, e), 0);
	}
	vfe_queue_publish(e->queue);
}

static void serve_all(struct exercise *e)
{
	struct model_chain chain;

	while (model_pop(&e->model, &chain)) {
		model_push(&e->model, &chain, 0);
	}
}

static void reap_all(struct exercise *e, unsigned int wanted)
{
	struct vfe_done done[16];
	unsigned int sum = 0;
	int n;

	while ((n = vfe_queue_reap(e->queue, done, 16)) > 0) {
		sum += (unsigned int)n;
	}
	assert_int_equal(n, 0);
	assert_int_equal(sum, wanted);
}

void exercise_kicks(uint64_t features)
{
	struct exercise e;
	unsigned int i;

	exercise_open(&e, features, 16, 1, false);
	/* Again and again, so that indices and wrap counters go all ways. */
	for (i = 0; i < 200000; i++) {
		model_arm(&e.model);
		add_and_publish(&e, 1 + i % 5);
		assert_int_equal(taken(e.model.view.kick_fd), 1);
		model_disarm(&e.model);
		add_and_publish(&e, 1 + i % 3);
		assert_int_equal(taken(e.model.view.kick_fd), 0);
		serve_all(&e);
		reap_all(&e, 2 + i % 5 + i % 3);
	}
	assert_int_equal(vfe_queue_stats(e.queue)->kicks, i);
	assert_int_equal(vfe_queue_stats(e.queue)->published, 2 * i);
	exercise_close(&e);
}

void exercise_calls(uint64_t features)
{
	const uint64_t one = 1;
	struct exercise e;
	unsigned int i;

	exercise_open(&e, features, 16, 1, false);
	for (i = 0; i < 100000; i++) {
		add_and_publish(&e, 1 + i % 7);
		serve_all(&e);
		assert_false(model_call_wanted(&e.model));
		reap_all(&e, 1 + i % 7);
	}
	/* Nothing comes: the wait ends by its time, and has left calls off. */
	add_and_publish(&e, 1);
	assert_int_equal(vfe_queue_wait(e.queue, 1), -ETIMEDOUT);
	serve_all(&e);
	assert_false(model_call_wanted(&e.model));
	/* Something is there: no sleep. */
	assert_int_equal(vfe_queue_wait(e.queue, 10000), 0);
	assert_int_equal(vfe_queue_stats(e.queue)->waits, 1);
	reap_all(&e, 1);
	/* The signal ends the sleep and is counted. */
	assert_int_equal(write(e.model.view.call_fd, &one, sizeof(one)), sizeof(one));
	assert_int_equal(vfe_queue_wait(e.queue, 10000), 0);
	assert_int_equal(vfe_queue_stats(e.queue)->calls, 1);
	exercise_close(&e);
}

/* ---- ends ---- */

void exercise_abandon(uint64_t features)
{
	struct vfe_done done[4];
	struct exercise e;
	unsigned int n;
	unsigned int sum = 0;

	exercise_open(&e, features, 16, 1, false);
	add_and_publish(&e, 10);
	while ((n = vfe_queue_abandon(e.queue, done, 4)) > 0) {
		assert_ptr_equal(done[0].cookie, &e);
		sum += n;
	}
	assert_int_equal(sum, 10);
	assert_int_equal(vfe_queue_inflight(e.queue), 0);
	exercise_close(&e);
}

void exercise_bad_id(uint64_t features)
{
	const struct model_chain free_one = { .id = 5, .slots = 1 };
	const struct model_chain outside = { .id = 16, .slots = 1 };
	struct vfe_done done[4];
	struct exercise e;

	exercise_open(&e, features, 16, 1, false);
	add_and_publish(&e, 3);
	model_push(&e.model, &free_one, 0);
	assert_int_equal(vfe_queue_reap(e.queue, done, 4), -EPROTO);
	exercise_close(&e);

	exercise_open(&e, features, 16, 1, false);
	add_and_publish(&e, 3);
	model_push(&e.model, &outside, 0);
	assert_int_equal(vfe_queue_reap(e.queue, done, 4), -EPROTO);
	assert_non_null(strstr(vfe_why(e.session), "16"));
	exercise_close(&e);
}
