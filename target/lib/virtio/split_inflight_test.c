/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A target that dies between any two stores to what outlives it, and the one that goes on. The shared pages are
 * write-protected, so each single store is seen; after it they are copied: this is what a successor finds.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "virtio/split_inflight.h"
#include <virtq_fixture.h>

#define SIZE   8
#define PAGE   4096
#define OFFERS 4096
#define STEPS  400
#define DEATHS 4096

/* The memory that outlives a target, and the driver that goes on. */
struct world {
	struct ring_driver rd;
	int fd;
	uint8_t *area_bytes; /* the front-end's mapping */
	struct inflight_area *area;
	void *ring_page; /* the device's mappings */
	void *area_page;
};

/* What was there when a target died. */
struct death {
	uint8_t ring[PAGE];
	uint8_t area[PAGE];
	uint16_t offered; /* since the beginning */
	uint16_t used;
};

static uint16_t offers[OFFERS]; /* heads, in order */
static uint16_t uses[OFFERS];
static struct death *deaths;
static size_t death_n;
static struct world *watched;

static const struct inflight_shape shape = { .size = PAGE, .queue_n = 1, .queue_size = SIZE };

static void world_open(struct world *w, uint64_t features)
{
	const struct rd_options options = { .size = SIZE,
					    .features = features,
					    .mem_size = 1 << 16 };
	struct inflight_shape small = shape;

	rd_open(&w->rd, &options);
	small.size = inflight_area_bytes(&small);
	assert_int_equal(inflight_area_make(&small, &w->fd), 0);
	assert_int_equal(inflight_area_map(&small, w->fd, &w->area), 0);
	w->area_bytes = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, w->fd, 0);
	assert_ptr_not_equal(w->area_bytes, MAP_FAILED);
	w->area_page = inflight_area_region(w->area, 0, false, SIZE);
	w->ring_page = guest_mem_ring_ptr(w->rd.guest_mem, RD_UVA, PAGE, PAGE);
	assert_non_null(w->area_page);
	assert_non_null(w->ring_page);
}

static void world_close(struct world *w)
{
	munmap(w->area_bytes, PAGE);
	close(w->fd);
	inflight_area_unref(w->area);
	rd_close(&w->rd);
}

static struct virtq *start(struct world *w, uint16_t base)
{
	struct virtq_config config = rd_config(&w->rd, sizeof(struct virtq_req));
	struct virtq *vq;

	config.base = base;
	config.inflight = w->area;
	assert_int_equal(virtq_new(&config, &vq), 0);
	return vq;
}

/* ---- each store ---- */

static void remember(void)
{
	struct death *death = &deaths[death_n];
	uint16_t used = le16toh(*watched->rd.used_idx);

	assert_true(death_n < DEATHS);
	death->used = death_n == 0 ? 0 : deaths[death_n - 1].used;
	for (; death->used != used; death->used++) {
		uses[death->used] = (uint16_t)le32toh(watched->rd.used_ring[death->used % SIZE].id);
	}
	death->offered = watched->rd.next_avail;
	memcpy(death->ring, watched->rd.mem, PAGE);
	memcpy(death->area, watched->area_bytes, PAGE);
	death_n++;
}

#ifdef __x86_64__

#define TRAP_FLAG 0x100

static void protect(int how)
{
	if (mprotect(watched->ring_page, PAGE, how) < 0 ||
	    mprotect(watched->area_page, PAGE, how) < 0) {
		abort();
	}
}

static void on_store(int sig, siginfo_t *info, void *context)
{
	uintptr_t page = (uintptr_t)info->si_addr & ~(uintptr_t)(PAGE - 1);

	if (watched == NULL ||
	    (page != (uintptr_t)watched->ring_page && page != (uintptr_t)watched->area_page)) {
		abort();
	}
	protect(PROT_READ | PROT_WRITE);
	((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] |= TRAP_FLAG;
}

static void on_stored(int sig, siginfo_t *info, void *context)
{
	((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
	remember();
	protect(PROT_READ);
}

static void watch(struct world *w)
{
	struct sigaction store = { .sa_sigaction = on_store, .sa_flags = SA_SIGINFO };
	struct sigaction stored = { .sa_sigaction = on_stored, .sa_flags = SA_SIGINFO };

	sigaction(SIGSEGV, &store, NULL);
	sigaction(SIGTRAP, &stored, NULL);
	watched = w;
	protect(PROT_READ);
}

static void unwatch(void)
{
	protect(PROT_READ | PROT_WRITE);
	remember();
	watched = NULL;
}

#else /* elsewhere: what is there after each call */

static void watch(struct world *w)
{
	watched = w;
}

static void unwatch(void)
{
	remember();
	watched = NULL;
}

#endif

/* ---- the successor ---- */

static void bury(struct world *w, const struct death *death)
{
	memcpy(w->rd.mem, death->ring, PAGE);
	memcpy(w->area_bytes, death->area, PAGE);
}

/* What was offered and not used, in order; the n-th use of a head is that of its n-th offer. */
static unsigned int unfinished(const struct death *death, uint16_t *ret_heads)
{
	int open[SIZE] = { 0 };
	unsigned int n = 0;
	unsigned int i;

	for (i = 0; i < death->used; i++) {
		open[uses[i]]++;
	}
	for (i = 0; i < death->offered; i++) {
		if (open[offers[i]]-- <= 0) {
			ret_heads[n++] = offers[i];
		}
	}
	for (i = 0; i < SIZE; i++) {
		assert_true(open[i] <= 0); /* P2: none was used more often than it was offered */
	}
	return n;
}

/* P1, P2, P3, P5: the successor gets what is left, once, in order, can finish it, and says so. */
static void succeed(struct world *w, const struct death *death)
{
	uint16_t heads[OFFERS];
	unsigned int n = unfinished(death, heads);
	struct virtq_req *reqs[SIZE];
	struct virtq *vq;
	unsigned int i;

	assert_true(n <= SIZE);
	bury(w, death);
	rd_drain(w->rd.call_fd);
	vq = start(w, death->used);
	assert_false(virtq_is_broken(vq));
	assert_int_equal(rd_drain(w->rd.call_fd) > 0, true);
	for (i = 0; i < n; i++) {
		reqs[i] = pop_one(vq);
		assert_int_equal(reqs[i]->head, heads[i]);
	}
	assert_int_equal(virtq_pop(vq, reqs, 1), 0);
	assert_false(virtq_is_broken(vq));
	assert_int_equal(virtq_base(vq), death->used);
	for (i = n; i > 0; i--) {
		virtq_push(vq, reqs[i - 1], 0);
	}
	virtq_commit(vq);
	assert_int_equal(virtq_base(vq), death->offered);
	virtq_free(vq);

	vq = start(w, death->offered);
	assert_int_equal(virtq_pop(vq, reqs, 1), 0);
	assert_false(virtq_is_broken(vq));
	virtq_free(vq);
}

/* A successor that dies while it takes over; then comes the next one. */
static void succeed_twice(struct world *w, const struct death *death)
{
	size_t first = death_n;
	struct virtq *vq;
	size_t i;

	bury(w, death);
	deaths[death_n++] = *death; /* `used` goes on from there */
	w->rd.next_avail = death->offered;
	watch(w);
	vq = start(w, death->used);
	unwatch();
	virtq_free(vq);
	for (i = first + 1; i < death_n; i++) {
		succeed(w, &deaths[i]);
	}
	death_n = first;
}

/* ---- a life ---- */

struct life {
	struct world world;
	struct virtq *vq;
	struct virtq_req *out[SIZE]; /* popped, oldest first */
	unsigned int out_n;
	unsigned int newest_n; /* so many of the newest have not been finished yet */
	unsigned int unpopped;
	unsigned int resubmitted;
};

static void offer(struct life *life)
{
	const struct rd_buf buf = { rd_alloc(&life->world.rd, 16, 16), 16, true };
	int head = rd_add(&life->world.rd, &buf, 1);

	rd_free_all(&life->world.rd);
	if (head >= 0) {
		offers[(uint16_t)(life->world.rd.next_avail - 1)] = (uint16_t)head;
	}
}

static void reap(struct life *life)
{
	uint16_t head;
	uint32_t len;

	while (rd_reap(&life->world.rd, &head, &len)) {
	}
}

static void finish(struct life *life, unsigned int i)
{
	virtq_push(life->vq, life->out[i], 1);
	memmove(&life->out[i], &life->out[i + 1], (life->out_n - i - 1) * sizeof(life->out[0]));
	life->out_n--;
	if (life->newest_n > life->out_n - i) {
		life->newest_n = life->out_n - i;
	}
}

static void restart(struct life *life)
{
	virtq_free(life->vq);
	life->out_n = life->newest_n = 0;
	life->vq = start(&life->world, le16toh(*life->world.rd.used_idx));
}

static void step(struct life *life)
{
	unsigned int n;
	unsigned int i;

	switch (rand() % 12) {
	case 0 ... 3:
		offer(life);
		break;
	case 4 ... 6:
		n = virtq_pop(life->vq, life->out + life->out_n, 1 + (unsigned int)rand() % 4);
		for (i = 0; i < n; i++) {
			life->resubmitted += virtq_req_is_resubmitted(life->out[life->out_n + i]);
		}
		life->out_n += n;
		life->newest_n += n;
		break;
	case 7:
		/* Newest first, which is what never reached a disk. */
		for (n = (unsigned int)rand() % 3; n > 0 && life->newest_n > 0; n--) {
			virtq_unpop(life->vq, life->out[--life->out_n]);
			life->newest_n--;
			life->unpopped++;
		}
		break;
	case 8 ... 9:
		if (life->out_n > 0) {
			finish(life, (unsigned int)rand() % life->out_n);
		}
		break;
	case 10:
		virtq_commit(life->vq);
		reap(life);
		break;
	default:
		if (rand() % 2 == 0) {
			restart(life);
		}
		break;
	}
}

static void live(uint64_t features, unsigned int seed)
{
	struct life life = { 0 };
	struct world after;
	unsigned int i;
	size_t n;
	size_t k;

	srand(seed);
	death_n = 0;
	deaths = calloc(DEATHS, sizeof(*deaths));
	assert_non_null(deaths);
	world_open(&life.world, features);
	life.vq = start(&life.world, 0);
	watched = &life.world;
	remember();
	for (i = 0; i < STEPS; i++) {
		watch(&life.world);
		step(&life);
		unwatch();
		assert_false(virtq_is_broken(life.vq));
	}
	assert_true(life.unpopped > 0);
	assert_true(life.resubmitted > 0);
	virtq_free(life.vq);
	world_close(&life.world);

	world_open(&after, features);
	n = death_n;
	for (k = 0; k < n; k++) {
		succeed(&after, &deaths[k]);
	}
	for (k = 0; k < n; k += 4) {
		succeed_twice(&after, &deaths[k]);
	}
	world_close(&after);
	free(deaths);
}

static void test_death_after_each_store(void **state)
{
	unsigned int seed;

	for (seed = 1; seed <= 4; seed++) {
		live(seed % 2 == 0 ? EVENT_IDX : 0, seed);
	}
}

/* The first start may die, too: a region without a version is made anew, whatever else is there. */
static void test_death_in_the_first_start(void **state)
{
	struct world w;
	struct virtq *vq;
	size_t n;
	size_t k;

	death_n = 0;
	deaths = calloc(DEATHS, sizeof(*deaths));
	assert_non_null(deaths);
	world_open(&w, 0);
	watch(&w);
	vq = start(&w, 0);
	unwatch();
	virtq_free(vq);
	n = death_n;
	assert_true(n > 4);
	for (k = 0; k < n; k++) {
		bury(&w, &deaths[k]);
		vq = start(&w, 0);
		assert_false(virtq_is_broken(vq));
		assert_false(virtq_has_resubmits(vq));
		virtq_free(vq);
	}
	world_close(&w);
	free(deaths);
}

/* ---- life with what is left ---- */

static void add_one(struct world *w)
{
	const struct rd_buf buf = { rd_alloc(&w->rd, 16, 16), 16, true };

	assert_true(rd_add(&w->rd, &buf, 1) >= 0);
}

/* A region whose ring has a past: what it has used before is not taken for a batch that was cut off. */
static void test_a_ring_with_a_past(void **state)
{
	const struct rd_options options = { .size = SIZE, .mem_size = 1 << 16, .start = 65533 };
	struct world w;
	struct virtq *vq;
	int i;

	world_open(&w, 0);
	rd_close(&w.rd);
	rd_open(&w.rd, &options);
	vq = start(&w, 65533);
	virtq_free(vq); /* before its first commit */
	vq = start(&w, 65533);
	assert_false(virtq_is_broken(vq));
	for (i = 0; i < 5; i++) {
		add_one(&w);
	}
	for (i = 0; i < 4; i++) {
		struct virtq_req *req = pop_one(vq);

		if (i != 2) {
			virtq_push(vq, req, 0);
		}
	}
	virtq_commit(vq);
	virtq_free(vq);

	vq = start(&w, 0); /* 65533 + 3 */
	assert_int_equal(pop_one(vq)->head, 2);
	assert_true(virtq_base(vq) == 0);
	assert_int_equal(pop_one(vq)->head, 4);
	virtq_free(vq);
	world_close(&w);
}

/* A head that waits to be resubmitted is in flight; kicks do not matter for it; no memory hangs on it. */
static void test_waiting_resubmits(void **state)
{
	struct world w;
	struct virtq *vq;
	struct virtq_req *req;

	world_open(&w, 0);
	vq = start(&w, 0);
	add_one(&w);
	add_one(&w);
	pop_one(vq);
	pop_one(vq);
	virtq_free(vq);

	vq = start(&w, 0);
	assert_true(virtq_has_resubmits(vq));
	assert_false(virtq_arm(vq)); /* there is something to do */
	assert_int_equal(virtq_set_mem(vq, w.rd.guest_mem), 0);
	assert_true(virtq_mem_settled(vq));
	req = pop_one(vq);
	assert_true(virtq_req_is_resubmitted(req));
	virtq_unpop(vq, req);
	assert_int_equal(virtq_base(vq), 0);
	assert_int_equal(pop_one(vq)->head, 0);
	assert_int_equal(pop_one(vq)->head, 1);
	assert_false(virtq_has_resubmits(vq));
	assert_true(virtq_arm(vq));
	/* The driver offers one of them again, which it may not. */
	rd_offer(&w.rd, 1);
	assert_int_equal(virtq_pop(vq, &req, 1), 0);
	assert_true(virtq_is_broken(vq));
	virtq_free(vq);
	world_close(&w);
}

/* The area may be a successor's already. */
static void test_abandoned(void **state)
{
	struct inflight_split_region *region;
	struct world w;
	struct virtq *vq;
	struct virtq_req *reqs[3];
	int i;

	world_open(&w, 0);
	region = (struct inflight_split_region *)w.area_bytes;
	vq = start(&w, 0);
	for (i = 0; i < 3; i++) {
		add_one(&w);
	}
	assert_int_equal(virtq_pop(vq, reqs, 3), 3);
	virtq_unpop(vq, reqs[2]);
	assert_int_equal(region->desc[2].inflight, 0);
	virtq_push(vq, reqs[0], 0);
	virtq_abandon(vq);
	virtq_unpop(vq, reqs[1]);
	assert_int_equal(virtq_commit(vq), 0);
	assert_int_equal(region->desc[0].inflight, 1);
	assert_int_equal(region->desc[1].inflight, 1);
	virtq_free(vq);
	world_close(&w);
}

static void test_requests_that_are_new_say_so(void **state)
{
	struct world w;
	struct virtq *vq;
	struct virtq_req *req;

	world_open(&w, 0);
	vq = start(&w, 0);
	add_one(&w);
	pop_one(vq);
	virtq_free(vq);
	vq = start(&w, 0);
	req = pop_one(vq);
	assert_true(virtq_req_is_resubmitted(req));
	virtq_push(vq, req, 0);
	virtq_commit(vq);
	add_one(&w);
	assert_ptr_equal(pop_one(vq), req); /* the same slot */
	assert_false(virtq_req_is_resubmitted(req));
	virtq_free(vq);
	world_close(&w);
}

/* ---- areas that lie (T78) ---- */

static void expect_broken(struct world *w, uint16_t base)
{
	struct virtq *vq = start(w, base);
	struct virtq_req *req;

	assert_true(virtq_is_broken(vq));
	assert_int_equal(virtq_pop(vq, &req, 1), 0);
	assert_int_equal(virtq_commit(vq), 0);
	assert_int_equal(rd_drain(w->rd.err_fd), 1);
	virtq_free(vq);
}

static void test_lies(void **state)
{
	struct inflight_split_region *region;
	struct world w;

	world_open(&w, 0);
	region = (struct inflight_split_region *)w.area_bytes;
	*region = (struct inflight_split_region){ .version = 2, .desc_num = SIZE };
	expect_broken(&w, 0);
	*region = (struct inflight_split_region){ .version = 1, .desc_num = SIZE - 1 };
	expect_broken(&w, 0);
	region->desc[0].inflight = 1; /* a batch may have been cut off */
	*region = (struct inflight_split_region){ .version = 1, .desc_num = SIZE, .used_idx = 1 };
	expect_broken(&w, 0);
	*region = (struct inflight_split_region){
		.version = 1, .desc_num = SIZE, .used_idx = (uint16_t)-1, .last_batch_head = SIZE
	};
	expect_broken(&w, 0);
	*region =
		(struct inflight_split_region){ .version = 1, .desc_num = SIZE, .used_idx = 65534 };
	region->desc[0].next = 0xffff;
	expect_broken(&w, 0);
	world_close(&w);
}

static void test_random_areas(void **state)
{
	struct world w;
	unsigned int round;
	unsigned int i;

	srand(78);
	world_open(&w, 0);
	for (round = 0; round < 20000; round++) {
		struct virtq_req *reqs[SIZE];
		struct virtq *vq;
		unsigned int n;

		for (i = 0; i < inflight_area_bytes(&shape); i++) {
			w.area_bytes[i] = (uint8_t)rand();
		}
		if (round % 4 != 0) {
			*(struct inflight_split_region *)w.area_bytes =
				(struct inflight_split_region){
					.version = 1,
					.desc_num = SIZE,
					.used_idx = (uint16_t) - (rand() % 10),
					.last_batch_head = (uint16_t)(rand() % 9)
				};
		}
		vq = start(&w, 0);
		n = virtq_pop(vq, reqs, SIZE);
		for (i = 0; i < n; i++) {
			virtq_push(vq, reqs[i], 0);
		}
		virtq_commit(vq);
		virtq_free(vq);
		*w.rd.used_idx = 0;
	}
	world_close(&w);
}

/* Written only: what the front-end scribbles meanwhile leads nowhere. */
static void test_scribbles(void **state)
{
	struct world w;
	struct virtq *vq;
	unsigned int round;
	unsigned int i;

	srand(9);
	world_open(&w, 0);
	vq = start(&w, 0);
	for (round = 0; round < 200; round++) {
		struct virtq_req *req;
		uint16_t head;
		uint32_t len;

		add_one(&w);
		rd_free_all(&w.rd);
		req = pop_one(vq);
		for (i = 0; i < inflight_area_bytes(&shape); i++) {
			w.area_bytes[i] = (uint8_t)rand();
		}
		virtq_push(vq, req, 0);
		assert_int_equal(virtq_commit(vq), 1);
		assert_true(rd_reap(&w.rd, &head, &len));
	}
	virtq_free(vq);
	world_close(&w);
}

static void test_no_room(void **state)
{
	struct virtq_config config;
	struct virtq *vq;
	struct world w;

	world_open(&w, 0);
	config = rd_config(&w.rd, sizeof(struct virtq_req));
	config.inflight = w.area;
	config.index = 1;
	assert_int_equal(virtq_new(&config, &vq), -EINVAL);
	world_close(&w);
}

/* Rule R9 for the area: no harm, and the session is told. */
static void test_cut_short(void **state)
{
	struct inflight_shape cut = shape;
	struct inflight_area *area;
	struct virtq_config config;
	struct virtq_req *req;
	struct world w;
	struct virtq *vq;
	int fd = memfd_create("cut", MFD_CLOEXEC);

	assert_int_equal(guest_mem_install_sigbus_handler(), 0);
	world_open(&w, 0);
	assert_int_equal(ftruncate(fd, PAGE), 0);
	assert_int_equal(inflight_area_map(&cut, fd, &area), 0);
	config = rd_config(&w.rd, sizeof(struct virtq_req));
	config.inflight = area;
	assert_int_equal(virtq_new(&config, &vq), 0);
	add_one(&w);
	add_one(&w);
	assert_int_equal(ftruncate(fd, 0), 0);
	req = pop_one(vq);
	virtq_push(vq, req, 0);
	assert_int_equal(virtq_commit(vq), 1);
	assert_int_equal(virtq_pop(vq, &req, 1), 0);
	assert_true(virtq_is_broken(vq));
	assert_true(virtq_memory_is_lost(vq));
	virtq_free(vq);

	/* At the start. */
	rd_drain(w.rd.err_fd);
	inflight_area_unref(area);
	assert_int_equal(ftruncate(fd, PAGE), 0);
	assert_int_equal(inflight_area_map(&cut, fd, &area), 0);
	assert_int_equal(ftruncate(fd, 0), 0);
	config.inflight = area;
	assert_int_equal(virtq_new(&config, &vq), 0);
	assert_true(virtq_is_broken(vq));
	virtq_free(vq);
	inflight_area_unref(area);
	close(fd);
	world_close(&w);
}

/* ---- the area itself ---- */

static void test_shapes(void **state)
{
	const struct inflight_shape good = { .size = 1 << 20, .queue_n = 2, .queue_size = 128 };
	struct inflight_shape bad;
	struct inflight_area *area;
	int fd = memfd_create("shapes", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, 1 << 20), 0);
	bad = good;
	bad.queue_n = 0;
	assert_int_equal(inflight_area_map(&bad, fd, &area), -EINVAL);
	bad = good;
	bad.queue_size = 0;
	assert_int_equal(inflight_area_map(&bad, fd, &area), -EINVAL);
	bad.queue_size = 32769;
	assert_int_equal(inflight_area_map(&bad, fd, &area), -EINVAL);
	bad = good;
	bad.size = inflight_area_bytes(&good) - 1;
	assert_int_equal(inflight_area_map(&bad, fd, &area), -EINVAL);
	bad = good;
	bad.offset = PAGE;
	assert_int_equal(inflight_area_map(&bad, fd, &area), -EINVAL);
	bad.offset = UINT64_MAX - PAGE + 1;
	assert_int_equal(inflight_area_map(&bad, fd, &area), -EINVAL);
	bad.size = PAGE * 2;
	bad.offset = 1;
	assert_int_equal(inflight_area_map(&bad, fd, &area), -EINVAL);
	bad.offset = PAGE;
	assert_int_equal(inflight_area_map(&bad, fd, &area), 0);
	assert_non_null(inflight_area_region(area, 1, false, 128));
	assert_null(inflight_area_region(area, 2, false, 128));
	assert_null(inflight_area_region(area, 0, false, 256));
	assert_null(inflight_area_region(area, 0, true, 128));
	inflight_area_unref(area);
	close(fd);
	/* As others lay it out: vhost-user leaves the place of a region open. */
	assert_int_equal(inflight_area_bytes(&good), 2 * (16 + 16 * 128 + 48));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_death_after_each_store),
		cmocka_unit_test(test_death_in_the_first_start),
		cmocka_unit_test(test_a_ring_with_a_past),
		cmocka_unit_test(test_waiting_resubmits),
		cmocka_unit_test(test_abandoned),
		cmocka_unit_test(test_requests_that_are_new_say_so),
		cmocka_unit_test(test_lies),
		cmocka_unit_test(test_random_areas),
		cmocka_unit_test(test_scribbles),
		cmocka_unit_test(test_no_room),
		cmocka_unit_test(test_cut_short),
		cmocka_unit_test(test_shapes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
