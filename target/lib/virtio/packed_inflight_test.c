/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A target that dies between any two stores to what outlives it, and the one that goes on. The shared pages are
 * write-protected, so each single store is seen; after it they are copied: this is what a successor finds. A driver
 * looks at each of these copies, too.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <packed_world.h>

#define SIZE   7
#define PAGE   4096
#define KEPT   512 /* of the pages: more is not written to */
#define OFFERS 4096
#define STEPS  250
#define DEATHS 16384
/* What QEMU says after a crash: where its device began, if that was the first time. */
#define STALE VIRTQ_PACKED_BASE_INITIAL

struct offer {
	uint16_t id;
	uint16_t descs;
	uint32_t bytes;
};

/* What was there when a target died. */
struct death {
	uint8_t ring[KEPT];
	uint8_t area[KEPT];
	unsigned int offered; /* since the beginning */
	unsigned int used;
	uint16_t used_pos; /* the driver has seen all before that */
};

static struct offer offers[OFFERS]; /* in order */
static unsigned int offer_n;
static uint16_t descs_of[SIZE]; /* by id: of those that are out */
static uint16_t uses[OFFERS];	/* ids */
static struct death *deaths;
static size_t death_n;
static struct world *watched;
static void *ring_page; /* the device's mappings */
static void *area_page;

static void open_world(struct world *w, uint64_t features)
{
	/* In the round with wrap counter 0. */
	const struct rd_options options = {
		.size = SIZE, .features = features, .mem_size = 1 << 16, .start = RD_WRAP | 5
	};

	world_open(w, &options, SIZE);
	assert_true(w->rd.alloc_start <= KEPT);
	assert_true(sizeof(struct inflight_packed_region) +
			    SIZE * sizeof(struct inflight_packed_desc) <=
		    KEPT);
}

/* ---- each store ---- */

/* Takes what the device shows in this ring; how many. */
static unsigned int look(const uint8_t *ring, uint16_t *pos, uint16_t *ret_ids)
{
	const struct rd_packed_desc *descs = (const struct rd_packed_desc *)ring;
	unsigned int n = 0;

	for (;;) {
		const struct rd_packed_desc *desc = &descs[*pos & ~(unsigned int)RD_WRAP];
		uint16_t bits = (*pos & RD_WRAP) != 0 ? RD_F_AVAIL | RD_F_USED : 0;
		uint16_t id = le16toh(desc->id);

		if ((le16toh(desc->flags) & (RD_F_AVAIL | RD_F_USED)) != bits || n == SIZE) {
			return n;
		}
		/* The device returns what it has. */
		if (id >= SIZE || descs_of[id] == 0) {
			abort();
		}
		ret_ids[n++] = id;
		*pos = rd_packed_advance(&watched->rd, *pos, descs_of[id]);
		descs_of[id] = 0;
	}
}

static void remember(void)
{
	struct death *death = &deaths[death_n];

	if (death_n == DEATHS) {
		abort();
	}
	death->used = death_n == 0 ? 0 : deaths[death_n - 1].used;
	death->used_pos = death_n == 0 ? watched->rd.next_used : deaths[death_n - 1].used_pos;
	death->used += look(watched->rd.mem, &death->used_pos, uses + death->used);
	death->offered = offer_n;
	memcpy(death->ring, watched->rd.mem, KEPT);
	memcpy(death->area, watched->area_bytes, KEPT);
	death_n++;
}

#ifdef __x86_64__

#define TRAP_FLAG 0x100

static void protect(int how)
{
	if (mprotect(ring_page, PAGE, how) < 0 || mprotect(area_page, PAGE, how) < 0) {
		abort();
	}
}

static void on_store(int sig, siginfo_t *info, void *context)
{
	void *page = (void *)((uintptr_t)info->si_addr & ~(uintptr_t)(PAGE - 1));

	if (watched == NULL || (page != ring_page && page != area_page)) {
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
	ring_page = guest_mem_ring_ptr(w->rd.guest_mem, RD_UVA, PAGE, PAGE);
	area_page = inflight_area_region(w->area, 0, true, SIZE);
	watched = w;
	protect(PROT_READ);
}

static void unwatch(void)
{
	protect(PROT_READ | PROT_WRITE);
	remember();
}

#else /* elsewhere: what is there after each call */

static void watch(struct world *w)
{
	watched = w;
}

static void unwatch(void)
{
	remember();
}

#endif

/* ---- the successor ---- */

static void bury(struct world *w, const struct death *death)
{
	memcpy(w->rd.mem, death->ring, KEPT);
	memcpy(w->area_bytes, death->area, KEPT);
}

/* What was offered and not used, in order; the n-th use of an id is that of its n-th offer. */
static unsigned int unfinished(const struct death *death, struct offer *ret_offers)
{
	int open[SIZE] = { 0 };
	unsigned int n = 0;
	unsigned int i;

	memset(descs_of, 0, sizeof(descs_of));
	for (i = 0; i < death->used; i++) {
		open[uses[i]]++;
	}
	for (i = 0; i < death->offered; i++) {
		if (open[offers[i].id]-- <= 0) {
			ret_offers[n++] = offers[i];
			descs_of[offers[i].id] = offers[i].descs;
		}
	}
	for (i = 0; i < SIZE; i++) {
		assert_true(open[i] <= 0); /* P2: none was used more often than it was offered */
	}
	return n;
}

/* Gives some back, and sees that the driver is shown these and no others. */
static void give_back(struct world *w, struct virtq *vq, struct virtq_req **reqs, unsigned int n,
		      uint16_t *pos)
{
	uint16_t sent[SIZE];
	uint16_t seen[SIZE];
	unsigned int i;

	for (i = 0; i < n; i++) {
		sent[i] = reqs[i]->head;
		virtq_push(vq, reqs[i], 0);
	}
	assert_int_equal(virtq_commit(vq), n);
	watched = w;
	assert_int_equal(look(w->rd.mem, pos, seen), n);
	assert_memory_equal(sent, seen, n * sizeof(sent[0]));
}

/* P1, P2, P3, P5: the successor gets what is left, once, in order, can finish it in any order, and says so. */
static void succeed(struct world *w, const struct death *death)
{
	static struct offer left[OFFERS];
	unsigned int n = unfinished(death, left);
	uint32_t base = death->used_pos | (uint32_t)death->used_pos << 16;
	uint16_t pos = death->used_pos;
	struct virtq_req *reqs[SIZE];
	struct virtq_req *none;
	struct virtq *vq;
	unsigned int i;

	assert_true(n <= SIZE);
	bury(w, death);
	rd_drain(w->rd.call_fd);
	vq = world_start(w, STALE);
	assert_false(virtq_is_broken(vq));
	assert_int_equal(rd_drain(w->rd.call_fd) > 0, true);
	for (i = 0; i < n; i++) {
		reqs[i] = pop_one(vq);
		assert_int_equal(reqs[i]->head, left[i].id);
		assert_int_equal(reqs[i]->descs, left[i].descs);
		assert_int_equal(reqs[i]->in_len, left[i].bytes);
	}
	assert_int_equal(virtq_pop(vq, &none, 1), 0);
	assert_false(virtq_is_broken(vq));
	assert_int_equal(virtq_base(vq), base);
	while (n > 0) {
		/* Some, in another order. */
		unsigned int some = 1 + (unsigned int)rand() % n;

		for (i = 0; i < n; i++) {
			unsigned int other = (unsigned int)rand() % n;
			struct virtq_req *req = reqs[i];

			reqs[i] = reqs[other];
			reqs[other] = req;
		}
		n -= some;
		give_back(w, vq, reqs + n, some, &pos);
	}
	base = pos | (uint32_t)pos << 16;
	assert_int_equal(virtq_base(vq), base);
	virtq_free(vq);

	vq = world_start(w, STALE);
	assert_int_equal(virtq_pop(vq, &none, 1), 0);
	assert_false(virtq_is_broken(vq));
	assert_int_equal(virtq_base(vq), base);
	virtq_free(vq);
}

/* A successor that dies while it takes over; then comes the next one. */
static void succeed_twice(struct world *w, const struct death *death)
{
	static struct offer left[OFFERS];
	size_t first = death_n;
	struct virtq *vq;
	size_t i;

	bury(w, death);
	(void)unfinished(death, left);
	deaths[death_n++] = *death; /* `used` goes on from there */
	offer_n = death->offered;
	watch(w);
	vq = world_start(w, STALE);
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
	bool indirect;
};

static void offer(struct life *life)
{
	bool indirect = life->indirect && rand() % 2 == 0;
	unsigned int n = 1 + (unsigned int)rand() % 3;
	unsigned int descs = indirect ? 1 : n;
	uint32_t len = 1 + (uint32_t)rand() % 64;

	if (life->world.rd.free_n >= descs) {
		uint16_t id = world_add(&life->world, n, len, indirect);

		if (!life->indirect) {
			rd_free_all(&life->world.rd); /* tables stay what they are */
		}
		assert_true(offer_n < OFFERS);
		offers[offer_n++] = (struct offer){ id, (uint16_t)descs, n * len };
		descs_of[id] = (uint16_t)descs;
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
	virtq_push(life->vq, life->out[i], (uint32_t)rand() % 2);
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
	life->vq = world_start(&life->world, STALE);
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
	struct life life = { .indirect = (features & INDIRECT) != 0 };
	struct world after;
	unsigned int i;
	size_t n;
	size_t k;

	srand(seed);
	death_n = 0;
	offer_n = 0;
	memset(descs_of, 0, sizeof(descs_of));
	deaths = calloc(DEATHS, sizeof(*deaths));
	assert_non_null(deaths);
	open_world(&life.world, PACKED | features);
	life.vq = world_start(&life.world, world_base(&life.world));
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

	open_world(&after, PACKED | features);
	/* The tables, as they are: they are not written over. */
	memcpy(after.rd.mem + KEPT, life.world.rd.mem + KEPT, after.rd.mem_size - KEPT);
	world_close(&life.world);
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
	static const uint64_t features[] = { 0, EVENT_IDX, INDIRECT, INDIRECT | EVENT_IDX };
	unsigned int i;

	for (i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
		live(features[i], i + 1);
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
	offer_n = 0;
	deaths = calloc(DEATHS, sizeof(*deaths));
	assert_non_null(deaths);
	open_world(&w, PACKED);
	watch(&w);
	vq = world_start(&w, world_base(&w));
	unwatch();
	virtq_free(vq);
	n = death_n;
	assert_true(n > 4);
	for (k = 0; k < n; k++) {
		bury(&w, &deaths[k]);
		vq = world_start(&w, world_base(&w));
		assert_false(virtq_is_broken(vq));
		assert_false(virtq_has_resubmits(vq));
		assert_int_equal(virtq_base(vq), world_base(&w));
		virtq_free(vq);
	}
	world_close(&w);
	free(deaths);
}

/*
 * All of the ring in one batch: both positions have the same index. The predecessor has died before, or after the
 * driver was shown it, who may have made use of that.
 */
static void test_a_batch_of_the_whole_ring(void **state)
{
	enum {
		NOT_SHOWN,
		SHOWN,
		OFFERED_AGAIN,
		CASES
	} what;
	unsigned int i;

	for (what = NOT_SHOWN; what < CASES; what++) {
		struct inflight_packed_region before;
		struct virtq_req *reqs[SIZE];
		struct world w;
		struct virtq *vq;

		open_world(&w, PACKED);
		vq = world_start(&w, world_base(&w));
		for (i = 0; i < SIZE; i++) {
			(void)world_add(&w, 1, 16, false);
		}
		assert_int_equal(virtq_pop(vq, reqs, SIZE), SIZE);
		before = *world_region(&w);
		for (i = 0; i < SIZE; i++) {
			virtq_push(vq, reqs[i], 0);
		}
		assert_int_equal(virtq_commit(vq), SIZE);
		virtq_free(vq);

		/* The end of it did not happen. */
		world_region(&w)->old_free_head = before.old_free_head;
		world_region(&w)->old_used_idx = before.old_used_idx;
		world_region(&w)->old_used_wrap_counter = before.old_used_wrap_counter;
		for (i = 0; i < SIZE; i++) {
			world_region(&w)->desc[i].inflight = 1;
		}
		if (what == NOT_SHOWN) {
			w.rd.packed[5].flags = htole16(RD_F_USED);
		}
		for (i = 0; what == OFFERED_AGAIN && i < SIZE; i++) {
			uint16_t id;
			uint32_t len;

			assert_true(rd_reap(&w.rd, &id, &len));
			(void)world_add(&w, 1, 16, false);
		}
		vq = world_start(&w, STALE);
		assert_false(virtq_is_broken(vq));
		assert_int_equal(virtq_has_resubmits(vq), what == NOT_SHOWN);
		assert_int_equal(virtq_pop(vq, reqs, SIZE), what == SHOWN ? 0 : SIZE);
		assert_false(virtq_is_broken(vq));
		virtq_free(vq);
		world_close(&w);
	}
}

/* ---- life with what is left ---- */

/* A buffer that waits to be resubmitted is in flight; kicks do not matter for it; no memory hangs on it. */
static void test_waiting_resubmits(void **state)
{
	struct world w;
	struct virtq *vq;
	struct virtq_req *req;

	open_world(&w, PACKED);
	vq = world_start(&w, world_base(&w));
	(void)world_add(&w, 2, 16, false);
	(void)world_add(&w, 1, 16, false);
	(void)pop_one(vq);
	(void)pop_one(vq);
	virtq_free(vq);

	vq = world_start(&w, STALE);
	assert_true(virtq_has_resubmits(vq));
	assert_false(virtq_arm(vq)); /* there is something to do */
	assert_int_equal(virtq_set_mem(vq, w.rd.guest_mem), 0);
	assert_true(virtq_mem_settled(vq));
	req = pop_one(vq);
	assert_true(virtq_req_is_resubmitted(req));
	virtq_unpop(vq, req);
	assert_int_equal(virtq_base(vq), world_base(&w));
	assert_int_equal(pop_one(vq)->head, 0);
	assert_int_equal(pop_one(vq)->head, 1);
	assert_false(virtq_has_resubmits(vq));
	assert_true(virtq_arm(vq));
	/* The driver offers one of them again, which it may not. */
	assert_int_equal(world_add(&w, 1, 16, false), 2);
	w.rd.packed[1].id = htole16(1);
	assert_int_equal(virtq_pop(vq, &req, 1), 0);
	assert_true(virtq_is_broken(vq));
	virtq_free(vq);
	world_close(&w);
}

/* One that was popped later is finished before one goes back. */
static void test_resubmits_out_of_order(void **state)
{
	struct virtq_req *reqs[3];
	struct world w;
	struct virtq *vq;
	int i;

	open_world(&w, PACKED);
	vq = world_start(&w, world_base(&w));
	for (i = 0; i < 3; i++) {
		(void)world_add(&w, 2, 16 + (uint32_t)i, false);
		(void)pop_one(vq);
	}
	virtq_free(vq);

	vq = world_start(&w, STALE);
	assert_int_equal(virtq_pop(vq, reqs, 3), 3);
	virtq_push(vq, reqs[2], 0);
	virtq_push(vq, reqs[1], 0);
	assert_int_equal(virtq_commit(vq), 2);
	virtq_unpop(vq, reqs[0]);
	reqs[0] = pop_one(vq);
	assert_int_equal(reqs[0]->head, 0);
	assert_int_equal(reqs[0]->in_len, 32);
	virtq_push(vq, reqs[0], 0);
	assert_int_equal(virtq_commit(vq), 1);
	assert_false(virtq_has_resubmits(vq));
	virtq_free(vq);
	world_close(&w);
}

/* The area may be a successor's already. */
static void test_abandoned(void **state)
{
	struct inflight_packed_region before;
	struct virtq_req *reqs[3];
	struct world w;
	struct virtq *vq;
	int i;

	open_world(&w, PACKED);
	vq = world_start(&w, world_base(&w));
	for (i = 0; i < 3; i++) {
		(void)world_add(&w, 1, 16, false);
	}
	assert_int_equal(virtq_pop(vq, reqs, 3), 3);
	virtq_unpop(vq, reqs[2]);
	assert_int_equal(world_region(&w)->desc[2].inflight, 0);
	before = *world_region(&w);
	assert_int_equal(before.old_free_head, 2);
	virtq_push(vq, reqs[0], 0);
	virtq_abandon(vq);
	virtq_unpop(vq, reqs[1]);
	assert_int_equal(virtq_commit(vq), 0);
	assert_memory_equal(world_region(&w), &before, sizeof(before));
	assert_int_equal(world_region(&w)->desc[0].inflight, 1);
	assert_int_equal(world_region(&w)->desc[1].inflight, 1);
	virtq_free(vq);
	world_close(&w);
}

static void test_requests_that_are_new_say_so(void **state)
{
	struct world w;
	struct virtq *vq;
	struct virtq_req *req;

	open_world(&w, PACKED);
	vq = world_start(&w, world_base(&w));
	(void)world_add(&w, 1, 16, false);
	(void)pop_one(vq);
	virtq_free(vq);
	vq = world_start(&w, STALE);
	req = pop_one(vq);
	assert_true(virtq_req_is_resubmitted(req));
	virtq_push(vq, req, 0);
	virtq_commit(vq);
	(void)world_add(&w, 1, 16, false);
	assert_ptr_equal(pop_one(vq), req); /* the same slot */
	assert_false(virtq_req_is_resubmitted(req));
	virtq_free(vq);
	world_close(&w);
}

/* More in flight than one pop takes, over the end of the ring; every second one is finished. */
static void sizes(uint16_t size)
{
	const struct rd_options options = { .size = size,
					    .features = PACKED,
					    .start = (uint16_t)(size - 1) };
	unsigned int n = size < 600 ? size : 600;
	unsigned int left = 0;
	unsigned int i;
	struct virtq_req *req;
	struct world w;
	struct virtq *vq;

	world_open(&w, &options, size);
	vq = world_start(&w, world_base(&w));
	for (i = 0; i < n; i++) {
		assert_int_equal(world_add(&w, 1, 16, false), i);
		rd_free_all(&w.rd);
	}
	for (i = 0; i < n; i++) {
		req = pop_one(vq);
		if (i % 2 == 0) {
			virtq_push(vq, req, 0);
		} else {
			left++;
		}
	}
	assert_int_equal(virtq_commit(vq), n - left);
	virtq_free(vq);

	vq = world_start(&w, STALE);
	for (i = 0; i < left; i++) {
		req = pop_one(vq);
		assert_true(virtq_req_is_resubmitted(req));
		assert_int_equal(req->head, 2 * i + 1);
		virtq_push(vq, req, 0);
	}
	assert_int_equal(virtq_pop(vq, &req, 1), 0);
	assert_false(virtq_is_broken(vq));
	assert_int_equal(virtq_commit(vq), left);
	assert_int_equal(virtq_base(vq), w.rd.next_avail * 0x10001u);
	virtq_free(vq);
	world_close(&w);
}

static void test_sizes(void **state)
{
	sizes(1);
	sizes(2);
	sizes(3);
	sizes(255);
	sizes(32767);
	sizes(32768);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_death_after_each_store),
		cmocka_unit_test(test_death_in_the_first_start),
		cmocka_unit_test(test_a_batch_of_the_whole_ring),
		cmocka_unit_test(test_waiting_resubmits),
		cmocka_unit_test(test_resubmits_out_of_order),
		cmocka_unit_test(test_abandoned),
		cmocka_unit_test(test_requests_that_are_new_say_so),
		cmocka_unit_test(test_sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
