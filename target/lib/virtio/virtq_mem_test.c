/* SPDX-License-Identifier: BSD-3-Clause */
/* A queue changes its snapshot of guest memory while requests are out. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>
#include <virtq_fixture.h>

#include "virtio/ring.h"

#define SIZE   16
#define NEW_N  4096
#define NEW_AT (RD_GPA + (UINT64_C(1) << 40))
/* In the region of the ring, behind it. */
#define KEPT (RD_GPA + (512 << 10))

/* 1 MiB each; the first holds the ring. */
static void open_two_regions(struct fixture *f)
{
	fixture_open(f, &(struct rd_options){ .size = SIZE,
					      .mem_size = 2 << 20,
					      .region_n = 2,
					      .features = EVENT_IDX });
}

static struct guest_mem_region region_of(const struct fixture *f, unsigned int i)
{
	return (struct guest_mem_region){
		.gpa = rd_region(&f->rd, i),
		.size = f->rd.region_size,
		.uva = RD_UVA + i * f->rd.region_size,
	};
}

static struct guest_mem *without(struct fixture *f, unsigned int i)
{
	struct guest_mem_region region = region_of(f, i);
	struct guest_mem *mem;

	assert_int_equal(guest_mem_without(f->rd.guest_mem, &region, &mem), 0);
	return mem;
}

static struct guest_mem *with_new_region(struct fixture *f)
{
	int fd = memfd_create("new", MFD_CLOEXEC);
	struct guest_mem_region region = {
		.gpa = NEW_AT, .size = NEW_N, .uva = RD_UVA + (UINT64_C(1) << 40), .fd = fd
	};
	struct guest_mem *mem;

	assert_int_equal(ftruncate(fd, NEW_N), 0);
	assert_int_equal(guest_mem_with(f->rd.guest_mem, &region, &mem), 0);
	close(fd);
	return mem;
}

/* The test's own reference is not what keeps a snapshot alive. */
static void set_mem(struct fixture *f, struct guest_mem *mem)
{
	assert_int_equal(virtq_set_mem(f->vq, mem), 0);
	guest_mem_unref(mem);
}

static void add(struct fixture *f, uint64_t gpa)
{
	struct rd_buf buf = { gpa, 512, true };

	assert_true(rd_add(&f->rd, &buf, 1) >= 0);
}

static void finish(struct fixture *f, struct virtq_req *req)
{
	virtq_push(f->vq, req, 512);
	assert_int_equal(virtq_commit(f->vq), 1);
}

static bool is_mapped(const void *p)
{
	return msync((void *)((uintptr_t)p & ~UINT64_C(4095)), 4096, MS_ASYNC) == 0;
}

static void test_new_memory_is_used_at_once(void **state)
{
	struct fixture f;
	struct virtq_req *old;
	struct virtq_req *req;

	open_two_regions(&f);
	add(&f, rd_region(&f.rd, 1));
	old = pop_one(f.vq);
	set_mem(&f, with_new_region(&f));
	add(&f, NEW_AT);
	req = pop_one(f.vq);
	memset(req->in[0].iov_base, 1, 512);
	finish(&f, req);
	assert_false(virtq_mem_settled(f.vq));
	finish(&f, old);
	assert_true(virtq_mem_settled(f.vq));
	assert_false(virtq_is_broken(f.vq));
	fixture_close(&f);
}

static void test_without_the_switch_it_is_refused(void **state)
{
	struct fixture f;
	struct virtq_req *req;

	open_two_regions(&f);
	add(&f, NEW_AT);
	assert_int_equal(virtq_pop(f.vq, &req, 1), 0);
	assert_true(virtq_is_broken(f.vq));
	fixture_close(&f);
}

/* What was found by way of the old snapshot is not remembered (struct guest_mem_cache). */
static void test_removed_memory_is_gone_for_new_requests(void **state)
{
	struct fixture f;
	struct virtq_req *req;

	open_two_regions(&f);
	add(&f, rd_region(&f.rd, 1));
	finish(&f, pop_one(f.vq));
	set_mem(&f, without(&f, 1));
	assert_true(virtq_mem_settled(f.vq));
	add(&f, rd_region(&f.rd, 1));
	assert_int_equal(virtq_pop(f.vq, &req, 1), 0);
	assert_string_equal(virtq_broken_reason(f.vq),
			    "a descriptor points outside of guest memory");
	fixture_close(&f);
}

/* The mapping lives as long as a request that uses it, and no longer, whatever else goes on. */
static void test_removed_memory_lives_as_long_as_its_requests(void **state)
{
	struct fixture f;
	struct virtq_req *old;
	struct guest_mem *less;
	uint8_t *data;
	int i;

	open_two_regions(&f);
	add(&f, rd_region(&f.rd, 1));
	old = pop_one(f.vq);
	data = old->in[0].iov_base;
	less = without(&f, 1);
	guest_mem_unref(f.rd.guest_mem); /* as a session does */
	f.rd.guest_mem = guest_mem_ref(less);
	set_mem(&f, less);
	for (i = 0; i < 3 * SIZE; i++) {
		add(&f, KEPT);
		finish(&f, pop_one(f.vq));
		assert_false(virtq_mem_settled(f.vq));
		while (rd_reap(&f.rd, &(uint16_t){ 0 }, &(uint32_t){ 0 })) {
		}
	}
	assert_true(is_mapped(data));
	memset(data, 1, 512);
	finish(&f, old);
	assert_true(is_mapped(data)); /* nobody has looked yet */
	assert_true(virtq_mem_settled(f.vq));
	assert_false(is_mapped(data));
	fixture_close(&f);
}

/* The same heads are in use all the time; nobody has to wait for those that came after. */
static void test_heads_that_are_used_again(void **state)
{
	struct fixture f;
	struct virtq_req *old[SIZE];
	struct virtq_req *again;
	uint16_t head;
	uint32_t len;
	int i;

	open_two_regions(&f);
	for (i = 0; i < SIZE; i++) {
		add(&f, rd_region(&f.rd, 1));
		old[i] = pop_one(f.vq);
	}
	set_mem(&f, without(&f, 1));
	for (i = 0; i < SIZE; i++) {
		finish(&f, old[i]);
		assert_int_equal(virtq_mem_settled(f.vq), i == SIZE - 1);
		assert_true(rd_reap(&f.rd, &head, &len));
		add(&f, KEPT);
		again = pop_one(f.vq);
		assert_int_equal(again->head, head);
	}
	fixture_close(&f);
}

/* Freed in the middle of a switch: both snapshots go (the leak checker looks). */
static void test_freed_in_the_middle(void **state)
{
	struct fixture f;

	open_two_regions(&f);
	add(&f, rd_region(&f.rd, 1));
	pop_one(f.vq);
	set_mem(&f, without(&f, 1));
	fixture_close(&f);
}

static void test_ring_outside_of_new_memory(void **state)
{
	struct fixture f;
	struct guest_mem *mem;

	open_two_regions(&f);
	mem = without(&f, 0);
	assert_int_equal(virtq_set_mem(f.vq, mem), -EFAULT);
	guest_mem_unref(mem);
	/* It goes on as if nothing had been asked. */
	add(&f, KEPT);
	finish(&f, pop_one(f.vq));
	assert_true(rd_reap(&f.rd, &(uint16_t){ 0 }, &(uint32_t){ 0 }));
	fixture_close(&f);
}

/* The ring is mapped elsewhere now: indexes, notifications and the used ring go there. */
static void test_ring_is_mapped_anew(void **state)
{
	struct fixture f;
	struct guest_mem_region region;
	struct guest_mem *mem;
	const void *before;

	open_two_regions(&f);
	before = f.vq->split.used;
	region = region_of(&f, 0);
	region.fd = f.rd.mem_fd;
	assert_int_equal(guest_mem_new(&region, 1, &mem), 0);
	set_mem(&f, mem);
	assert_true(virtq_mem_settled(f.vq));
	guest_mem_unref(f.rd.guest_mem);
	f.rd.guest_mem = NULL;
	assert_ptr_not_equal(f.vq->split.used, before);
	assert_false(is_mapped(before));
	assert_true(virtq_arm(f.vq));
	assert_int_equal(*f.rd.avail_event, 0);
	add(&f, KEPT);
	finish(&f, pop_one(f.vq));
	assert_true(rd_reap(&f.rd, &(uint16_t){ 0 }, &(uint32_t){ 0 }));
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_new_memory_is_used_at_once),
		cmocka_unit_test(test_without_the_switch_it_is_refused),
		cmocka_unit_test(test_removed_memory_is_gone_for_new_requests),
		cmocka_unit_test(test_removed_memory_lives_as_long_as_its_requests),
		cmocka_unit_test(test_heads_that_are_used_again),
		cmocka_unit_test(test_freed_in_the_middle),
		cmocka_unit_test(test_ring_outside_of_new_memory),
		cmocka_unit_test(test_ring_is_mapped_anew),
	};

	return cmocka_run_group_tests_name("virtio.virtq_mem", tests, NULL, NULL);
}
