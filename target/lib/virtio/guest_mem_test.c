/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "virtio/guest_mem.h"
#include "virtio/mem_fault.h"

#ifndef MFD_HUGE_2MB
#define MFD_HUGE_2MB (21u << 26)
#endif

#define PAGE UINT64_C(4096)
#define GPA  UINT64_C(0x100000)
#define UVA  UINT64_C(0x7f0000000000)

static int memfd_of(uint64_t size)
{
	int fd = memfd_create("guest_mem_test", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	return fd;
}

/* Fills each page of the file with its number + 1. */
static void number_pages(int fd, unsigned int n)
{
	uint8_t page[PAGE];
	unsigned int i;

	for (i = 0; i < n; i++) {
		memset(page, (int)(i + 1), sizeof(page));
		assert_int_equal(pwrite(fd, page, sizeof(page), (off_t)(i * PAGE)), sizeof(page));
	}
}

/* ---- layouts ---- */

enum fd_kind {
	FD_MEMFD,
	FD_PIPE,
	FD_DIRECTORY,
	FD_CLOSED,
	FD_READ_ONLY
};

static void test_layouts(void **state)
{
	static const struct {
		const char *name;
		enum fd_kind fd;
		int result;
		unsigned int n;
		struct guest_mem_region r[2];
	} cases[] = {
		{ "none", FD_MEMFD, -EINVAL, 0, { { 0 } } },
		{ "one", FD_MEMFD, 0, 1, { { GPA, PAGE, UVA, 0 } } },
		{ "empty", FD_MEMFD, -EINVAL, 1, { { GPA, 0, UVA, 0 } } },
		{ "gpa wraps", FD_MEMFD, -EINVAL, 1, { { UINT64_MAX - 1, PAGE, UVA, 0 } } },
		{ "gpa ends at 2^64", FD_MEMFD, -EINVAL, 1, { { -PAGE, PAGE, UVA, 0 } } },
		{ "uva wraps", FD_MEMFD, -EINVAL, 1, { { GPA, PAGE, -PAGE + 1, 0 } } },
		{ "offset wraps", FD_MEMFD, -EINVAL, 1, { { GPA, PAGE, UVA, -PAGE + 1 } } },
		{ "offset beyond off_t", FD_MEMFD, -EINVAL, 1, { { GPA, PAGE, UVA, INT64_MAX } } },
		{ "size wraps", FD_MEMFD, -EINVAL, 1, { { 0, UINT64_MAX, 0, 0 } } },
		{ "huge", FD_MEMFD, -EINVAL, 1, { { 0, GUEST_MEM_MAX_BYTES + 1, 0, 0 } } },
		{ "whole file", FD_MEMFD, 0, 1, { { GPA, 4 * PAGE, UVA, 0 } } },
		{ "1 byte beyond the file", FD_MEMFD, -EINVAL, 1, { { GPA, 4 * PAGE, UVA, 1 } } },
		{ "far beyond the file", FD_MEMFD, -EINVAL, 1, { { GPA, PAGE, UVA, 99 * PAGE } } },
		{ "unaligned offset", FD_MEMFD, 0, 1, { { GPA, PAGE, UVA, 100 } } },
		{ "two, adjacent",
		  FD_MEMFD,
		  0,
		  2,
		  { { GPA, PAGE, UVA, 0 }, { GPA + PAGE, PAGE, UVA + PAGE, PAGE } } },
		{ "two, descending",
		  FD_MEMFD,
		  0,
		  2,
		  { { GPA + PAGE, PAGE, UVA + PAGE, PAGE }, { GPA, PAGE, UVA, 0 } } },
		{ "gpa overlaps",
		  FD_MEMFD,
		  -EINVAL,
		  2,
		  { { GPA, PAGE, UVA, 0 }, { GPA + PAGE - 1, PAGE, UVA + PAGE, PAGE } } },
		{ "same gpa",
		  FD_MEMFD,
		  -EINVAL,
		  2,
		  { { GPA, PAGE, UVA, 0 }, { GPA, PAGE, UVA + PAGE, PAGE } } },
		{ "uva overlaps",
		  FD_MEMFD,
		  -EINVAL,
		  2,
		  { { GPA, PAGE, UVA + 1, 0 }, { GPA + PAGE, PAGE, UVA, PAGE } } },
		{ "second is bad",
		  FD_MEMFD,
		  -EINVAL,
		  2,
		  { { GPA, PAGE, UVA, 0 }, { GPA + PAGE, PAGE, UVA + PAGE, 4 * PAGE } } },
		{ "pipe", FD_PIPE, -EINVAL, 1, { { GPA, PAGE, UVA, 0 } } },
		{ "directory", FD_DIRECTORY, -EINVAL, 1, { { GPA, PAGE, UVA, 0 } } },
		{ "closed", FD_CLOSED, -EBADF, 1, { { GPA, PAGE, UVA, 0 } } },
		{ "read-only", FD_READ_ONLY, -EACCES, 1, { { GPA, PAGE, UVA, 0 } } },
	};
	int memfd = memfd_of(4 * PAGE);
	int pipes[2];
	char path[64];
	int fds[FD_READ_ONLY + 1];
	unsigned int i;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", memfd);
	assert_int_equal(pipe(pipes), 0);
	fds[FD_MEMFD] = memfd;
	fds[FD_PIPE] = pipes[0];
	fds[FD_DIRECTORY] = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fds[FD_CLOSED] = -1;
	fds[FD_READ_ONLY] = open(path, O_RDONLY | O_CLOEXEC);
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct guest_mem_region r[2] = { cases[i].r[0], cases[i].r[1] };
		struct guest_mem *mem = NULL;
		int result;

		r[0].fd = r[1].fd = fds[cases[i].fd];
		result = guest_mem_new(r, cases[i].n, &mem);
		if (result != cases[i].result) {
			fail_msg("%s: %d, expected %d", cases[i].name, result, cases[i].result);
		}
		if (result < 0) {
			assert_null(mem); /* ret_mem is untouched on failure */
		}
		guest_mem_unref(mem);
	}
	for (i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		close(fds[i]);
	}
	close(pipes[1]);
}

static void test_region_limit(void **state)
{
	static struct guest_mem_region r[GUEST_MEM_MAX_REGIONS + 1];
	int fd = memfd_of(PAGE);
	struct guest_mem *mem = NULL;
	struct iovec iov;
	unsigned int i;
	unsigned int n;

	for (i = 0; i <= GUEST_MEM_MAX_REGIONS; i++) {
		/* Every other page, so that all are found only by a search that works. */
		r[i] = (struct guest_mem_region){
			.gpa = 2 * i * PAGE, .size = PAGE, .uva = UVA + i * PAGE, .fd = fd
		};
	}
	assert_int_equal(guest_mem_new(r, GUEST_MEM_MAX_REGIONS + 1, &mem), -EINVAL);
	assert_int_equal(guest_mem_new(r, GUEST_MEM_MAX_REGIONS, &mem), 0);
	for (i = 0; i < GUEST_MEM_MAX_REGIONS; i++) {
		n = 0;
		assert_int_equal(guest_mem_translate(mem, 2 * i * PAGE, PAGE, &iov, 1, &n), 0);
		n = 0;
		assert_int_equal(guest_mem_translate(mem, (2 * i + 1) * PAGE, 1, &iov, 1, &n),
				 -EFAULT);
	}
	guest_mem_unref(mem);
	close(fd);
}

/* ---- translation ---- */

/* Pages 1 2 | 4 5 (adjacent, exchanged in the file) | hole | 3, at unaligned file offset. */
static struct guest_mem *three_regions(void)
{
	int fd = memfd_of(8 * PAGE);
	struct guest_mem_region r[] = {
		{ .gpa = GPA, .size = 2 * PAGE, .uva = UVA, .fd_offset = 3 * PAGE, .fd = fd },
		{ .gpa = GPA + 2 * PAGE, .size = 2 * PAGE, .uva = UVA + 8 * PAGE, .fd = fd },
		{ .gpa = GPA + 8 * PAGE,
		  .size = PAGE,
		  .uva = UVA + 16 * PAGE,
		  .fd_offset = 5 * PAGE + 512,
		  .fd = fd },
	};
	struct guest_mem *mem;

	number_pages(fd, 8);
	assert_int_equal(guest_mem_new(r, 3, &mem), 0);
	close(fd); /* the mapping outlives it */
	return mem;
}

static void test_translate(void **state)
{
	static const struct {
		const char *name;
		uint64_t gpa;
		uint64_t len;
		int result;
		unsigned int pieces;
		uint8_t first; /* byte at the start of the first and the end of the last piece */
		uint8_t last;
	} cases[] = {
		{ "nothing", GPA, 0, 0, 0, 0, 0 },
		{ "nothing, nowhere", 0, 0, 0, 0, 0, 0 },
		{ "first byte", GPA, 1, 0, 1, 4, 4 },
		{ "all of a region", GPA, 2 * PAGE, 0, 1, 4, 5 },
		{ "last byte of a region", GPA + 2 * PAGE - 1, 1, 0, 1, 5, 5 },
		{ "across the border", GPA + 2 * PAGE - 1, 2, 0, 2, 5, 1 },
		{ "both regions", GPA, 4 * PAGE, 0, 2, 4, 2 },
		{ "last byte before the hole", GPA + 4 * PAGE - 1, 1, 0, 1, 2, 2 },
		{ "1 byte into the hole", GPA, 4 * PAGE + 1, -EFAULT, 0, 0, 0 },
		{ "in the hole", GPA + 5 * PAGE, 1, -EFAULT, 0, 0, 0 },
		{ "over the hole", GPA, 9 * PAGE, -EFAULT, 0, 0, 0 },
		{ "unaligned mapping", GPA + 8 * PAGE, PAGE, 0, 1, 6, 7 },
		{ "behind everything", GPA + 9 * PAGE, 1, -EFAULT, 0, 0, 0 },
		{ "end + 1", GPA + 8 * PAGE, PAGE + 1, -EFAULT, 0, 0, 0 },
		{ "before everything", GPA - 1, 2, -EFAULT, 0, 0, 0 },
		{ "address 0", 0, 1, -EFAULT, 0, 0, 0 },
		{ "wraps", UINT64_MAX, 2, -EFAULT, 0, 0, 0 },
		{ "all there is", 0, UINT64_MAX, -EFAULT, 0, 0, 0 },
		{ "length wraps back in", GPA, UINT64_MAX, -EFAULT, 0, 0, 0 },
	};
	struct guest_mem *mem = three_regions();
	unsigned int i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct iovec iov[4];
		unsigned int n = 0;
		int result = guest_mem_translate(mem, cases[i].gpa, cases[i].len, iov, 4, &n);

		if (result != cases[i].result || n != cases[i].pieces) {
			fail_msg("%s: %d, %u pieces", cases[i].name, result, n);
		}
		if (n > 0) {
			const uint8_t *end =
				(const uint8_t *)iov[n - 1].iov_base + iov[n - 1].iov_len;

			assert_int_equal(*(const uint8_t *)iov[0].iov_base, cases[i].first);
			assert_int_equal(end[-1], cases[i].last);
		}
	}
	guest_mem_unref(mem);
}

static void test_translate_appends(void **state)
{
	struct guest_mem *mem = three_regions();
	struct iovec iov[2];
	unsigned int n = 0;

	assert_int_equal(guest_mem_translate(mem, GPA, 100, iov, 2, &n), 0);
	assert_int_equal(guest_mem_translate(mem, GPA + 100, 100, iov, 2, &n), 0);
	assert_int_equal(n, 1); /* contiguous: merged */
	assert_int_equal(iov[0].iov_len, 200);
	/* Fails at the hole, after it grew the last element and took another: all undone. */
	assert_int_equal(guest_mem_translate(mem, GPA + 200, 4 * PAGE, iov, 2, &n), -EFAULT);
	assert_int_equal(n, 1);
	assert_int_equal(iov[0].iov_len, 200);
	/* No room for a second element. */
	assert_int_equal(guest_mem_translate(mem, GPA + 200, 3 * PAGE, iov, 1, &n), -E2BIG);
	assert_int_equal(n, 1);
	assert_int_equal(iov[0].iov_len, 200);
	assert_int_equal(guest_mem_translate(mem, GPA, 1, iov, 2, &n), 0);
	assert_int_equal(n, 2); /* not contiguous */
	guest_mem_unref(mem);
}

static void test_ring_ptr(void **state)
{
	struct guest_mem *mem = three_regions();
	uint8_t *p = guest_mem_ring_ptr(mem, UVA + PAGE, PAGE, 16);

	assert_non_null(p);
	assert_int_equal(p[0], 5);
	assert_null(guest_mem_ring_ptr(mem, UVA + PAGE, PAGE + 1, 16)); /* leaves the region */
	assert_null(guest_mem_ring_ptr(mem, UVA + PAGE + 8, 16, 16));	/* misaligned */
	assert_non_null(guest_mem_ring_ptr(mem, UVA + PAGE + 8, 16, 8));
	assert_null(guest_mem_ring_ptr(mem, UVA + 2 * PAGE, 1, 1)); /* hole */
	assert_null(guest_mem_ring_ptr(mem, UVA - 1, 1, 1));
	assert_null(guest_mem_ring_ptr(mem, GPA, 1, 1)); /* not a front-end address */
	assert_null(guest_mem_ring_ptr(mem, UVA, UINT64_MAX, 1));
	assert_null(guest_mem_ring_ptr(mem, UINT64_MAX, 2, 1));
	guest_mem_unref(mem);
}

static void test_references(void **state)
{
	struct guest_mem *mem = three_regions();
	struct guest_mem *again = guest_mem_ref(mem);
	struct iovec iov;
	unsigned int n = 0;

	guest_mem_unref(mem);
	assert_int_equal(guest_mem_translate(again, GPA, 1, &iov, 1, &n), 0);
	assert_int_equal(*(uint8_t *)iov.iov_base, 4); /* still mapped */
	guest_mem_unref(again);
	guest_mem_unref(NULL);
}

/* ---- changes of the table ---- */

/* The byte at gpa, -1: not guest memory. */
static int byte_at(const struct guest_mem *mem, uint64_t gpa)
{
	struct iovec iov;
	unsigned int n = 0;

	if (guest_mem_translate(mem, gpa, 1, &iov, 1, &n) < 0) {
		return -1;
	}
	return *(const uint8_t *)iov.iov_base;
}

static void *host_of(const struct guest_mem *mem, uint64_t gpa)
{
	struct iovec iov;
	unsigned int n = 0;

	return guest_mem_translate(mem, gpa, 1, &iov, 1, &n) < 0 ? NULL : iov.iov_base;
}

static void test_with_and_without(void **state)
{
	int fd = memfd_of(4 * PAGE);
	struct guest_mem_region hole = {
		.gpa = GPA + 4 * PAGE, .size = 4 * PAGE, .uva = UVA + 32 * PAGE, .fd = fd
	};
	struct guest_mem_region first = { .gpa = GPA, .size = 2 * PAGE, .uva = UVA };
	struct guest_mem *old = three_regions();
	struct guest_mem *more;
	struct guest_mem *less;

	number_pages(fd, 4);
	assert_int_equal(guest_mem_with(old, &hole, &more), 0);
	assert_int_equal(byte_at(more, GPA + 4 * PAGE), 1);
	assert_int_equal(byte_at(more, GPA + 7 * PAGE), 4);
	assert_int_equal(byte_at(more, GPA + 8 * PAGE), 6);
	assert_non_null(guest_mem_ring_ptr(more, UVA + 32 * PAGE, 4 * PAGE, 16));
	/* The old one has not changed, and what stays lies where it lay: nothing was mapped anew. */
	assert_int_equal(byte_at(old, GPA + 4 * PAGE), -1);
	assert_ptr_equal(host_of(old, GPA), host_of(more, GPA));
	assert_ptr_equal(host_of(old, GPA + 8 * PAGE), host_of(more, GPA + 8 * PAGE));
	guest_mem_unref(old);
	assert_int_equal(byte_at(more, GPA), 4);

	assert_int_equal(guest_mem_without(more, &first, &less), 0);
	assert_int_equal(byte_at(less, GPA), -1);
	assert_int_equal(byte_at(less, GPA + 2 * PAGE), 1);
	assert_int_equal(byte_at(less, GPA + 4 * PAGE), 1);
	assert_null(guest_mem_ring_ptr(less, UVA, 1, 1));
	assert_int_equal(byte_at(more, GPA), 4); /* for those who still use it */
	guest_mem_unref(more);
	guest_mem_unref(less);
	close(fd);
}

/* A mapping ends with the last snapshot that has the region, no sooner and no later. */
static void test_mapping_ends_with_its_last_snapshot(void **state)
{
	struct guest_mem_region first = { .gpa = GPA, .size = 2 * PAGE, .uva = UVA };
	struct guest_mem *old = three_regions();
	struct guest_mem *less;
	void *gone = host_of(old, GPA);
	void *kept = host_of(old, GPA + 2 * PAGE);

	assert_int_equal(guest_mem_without(old, &first, &less), 0);
	assert_int_equal(msync(gone, PAGE, MS_ASYNC), 0);
	guest_mem_unref(old);
	assert_int_equal(msync(gone, PAGE, MS_ASYNC), -1);
	assert_int_equal(msync(kept, PAGE, MS_ASYNC), 0);
	guest_mem_unref(less);
	assert_int_equal(msync(kept, PAGE, MS_ASYNC), -1);
}

static void test_from_nothing_to_nothing(void **state)
{
	int fd = memfd_of(2 * PAGE);
	struct guest_mem_region a = { .gpa = GPA, .size = PAGE, .uva = UVA, .fd = fd };
	struct guest_mem_region b = { .gpa = 0, .size = PAGE, .uva = UVA + PAGE, .fd = fd };
	struct guest_mem *one;
	struct guest_mem *two;
	struct guest_mem *none;

	assert_int_equal(guest_mem_with(NULL, &a, &one), 0);
	assert_int_equal(guest_mem_with(one, &b, &two), 0);
	guest_mem_unref(one);
	assert_int_equal(guest_mem_without(two, &a, &one), 0);
	guest_mem_unref(two);
	assert_int_equal(byte_at(one, 0), 0);
	assert_int_equal(guest_mem_without(one, &b, &none), 0);
	assert_null(none);
	guest_mem_unref(one);
	close(fd);
}

/* T68, T69: what is refused leaves the table as it is. */
static void test_changes_refused(void **state)
{
	int fd = memfd_of(4 * PAGE);
	static const struct {
		const char *name;
		int result;
		struct guest_mem_region r;
	} cases[] = {
		{ "same region again", -EINVAL, { GPA, 2 * PAGE, UVA, 0 } },
		{ "gpa overlaps the end", -EINVAL, { GPA + 4 * PAGE - 1, PAGE, UVA + 64 * PAGE } },
		{ "gpa overlaps the start", -EINVAL, { GPA - 1, 2, UVA + 64 * PAGE } },
		{ "gpa covers all", -EINVAL, { 0, 1 << 30, UVA + 64 * PAGE } },
		{ "uva overlaps", -EINVAL, { GPA + 4 * PAGE, PAGE, UVA + PAGE } },
		{ "empty", -EINVAL, { GPA + 4 * PAGE, 0, UVA + 64 * PAGE } },
		{ "wraps", -EINVAL, { UINT64_MAX, PAGE, UVA + 64 * PAGE } },
		{ "beyond its file", -EINVAL, { GPA + 4 * PAGE, PAGE, UVA + 64 * PAGE, 4 * PAGE } },
		{ "too large", -EINVAL, { 1ull << 45, GUEST_MEM_MAX_BYTES, UVA + 64 * PAGE } },
	};
	static const struct guest_mem_region absent[] = {
		{ GPA, 2 * PAGE, UVA + 1 },
		{ GPA, 2 * PAGE - 1, UVA },
		{ GPA + 1, 2 * PAGE, UVA },
		{ GPA, PAGE, UVA },
		{ GPA, 4 * PAGE, UVA },
		{ GPA + 8 * PAGE, 2 * PAGE, UVA },
		{ 0, 0, 0 },
	};
	struct guest_mem *mem = three_regions();
	struct guest_mem *changed = NULL;
	unsigned int i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct guest_mem_region r = cases[i].r;
		int result;

		r.fd = fd;
		result = guest_mem_with(mem, &r, &changed);
		if (result != cases[i].result) {
			fail_msg("%s: %d, expected %d", cases[i].name, result, cases[i].result);
		}
	}
	for (i = 0; i < sizeof(absent) / sizeof(absent[0]); i++) {
		assert_int_equal(guest_mem_without(mem, &absent[i], &changed), -ENOENT);
	}
	assert_null(changed);
	assert_int_equal(byte_at(mem, GPA), 4);
	guest_mem_unref(mem);
	close(fd);
}

/* In the worst order, each region ahead of all others; then taken out from the middle. */
static void test_region_by_region(void **state)
{
	int fd = memfd_of(PAGE);
	struct guest_mem *mem = NULL;
	struct guest_mem *next;
	unsigned int i;

	for (i = GUEST_MEM_MAX_REGIONS; i-- > 0;) {
		struct guest_mem_region r = {
			.gpa = 2 * i * PAGE, .size = PAGE, .uva = UVA + 2 * i * PAGE, .fd = fd
		};

		assert_int_equal(guest_mem_with(mem, &r, &next), 0);
		guest_mem_unref(mem);
		mem = next;
	}
	for (i = 0; i < GUEST_MEM_MAX_REGIONS; i++) {
		assert_int_equal(byte_at(mem, 2 * i * PAGE), 0);
		assert_int_equal(byte_at(mem, (2 * i + 1) * PAGE), -1);
	}
	assert_int_equal(
		guest_mem_with(mem,
			       &(struct guest_mem_region){ .gpa = PAGE, .size = PAGE, .fd = fd },
			       &next),
		-EINVAL);
	for (i = 0; i < GUEST_MEM_MAX_REGIONS; i++) {
		unsigned int at = (i + GUEST_MEM_MAX_REGIONS / 2) % GUEST_MEM_MAX_REGIONS;
		struct guest_mem_region r = { .gpa = 2 * at * PAGE,
					      .size = PAGE,
					      .uva = UVA + 2 * at * PAGE };

		assert_int_equal(guest_mem_without(mem, &r, &next), 0);
		guest_mem_unref(mem);
		mem = next;
	}
	assert_null(mem);
	close(fd);
}

/*
 * Hugepages are mapped and given back as whole pages, wherever in one a region begins. When there are none
 * free, the first touch is a SIGBUS, which a queue must survive too.
 */
static void test_hugepages(void **state)
{
	const uint64_t huge = 2 << 20;
	int fd = memfd_create("guest_mem_test", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);
	struct guest_mem_region r = { .gpa = GPA, .size = 2 * PAGE, .uva = UVA, .fd = fd };
	struct guest_mem *mem;
	struct iovec iov;
	unsigned int n = 0;
	void *page;

	if (fd < 0) {
		print_message("skipped: no hugepages of 2 MiB in this kernel: %s\n",
			      strerror(errno));
		skip();
	}
	assert_int_equal(ftruncate(fd, (off_t)(2 * huge)), 0);
	r.fd_offset = huge - PAGE; /* over the border of two hugepages */
	assert_int_equal(guest_mem_install_sigbus_handler(), 0);
	assert_int_equal(guest_mem_new(&r, 1, &mem), 0);
	assert_int_equal(guest_mem_translate(mem, GPA, 2 * PAGE, &iov, 1, &n), 0);
	assert_int_equal((uintptr_t)iov.iov_base % huge, huge - PAGE);
	memset(iov.iov_base, 7, iov.iov_len);
	assert_int_equal(((uint8_t *)iov.iov_base)[2 * PAGE - 1], 7);
	page = (uint8_t *)iov.iov_base - (huge - PAGE);
	assert_int_equal(msync(page, PAGE, MS_ASYNC), 0);
	guest_mem_unref(mem);
	/* Nothing of it is mapped any more. */
	assert_int_equal(msync(page, PAGE, MS_ASYNC), -1);
	assert_int_equal(msync((uint8_t *)page + 2 * huge - PAGE, PAGE, MS_ASYNC), -1);
	close(fd);
}

/* ---- SIGBUS ---- */

static void test_file_cut_short(void **state)
{
	int fd = memfd_of(4 * PAGE);
	struct guest_mem_region r = { .gpa = GPA, .size = 4 * PAGE, .uva = UVA, .fd = fd };
	struct guest_mem *other = three_regions();
	struct guest_mem *mem;
	struct iovec iov;
	struct iovec other_iov;
	unsigned int n = 0;
	volatile uint8_t *p;

	number_pages(fd, 4);
	assert_int_equal(guest_mem_install_sigbus_handler(), 0);
	assert_int_equal(guest_mem_new(&r, 1, &mem), 0);
	assert_int_equal(guest_mem_translate(mem, GPA, 4 * PAGE, &iov, 1, &n), 0);
	p = iov.iov_base;
	assert_int_equal(p[3 * PAGE], 4);
	assert_int_equal(ftruncate(fd, PAGE), 0);
	assert_false(guest_mem_is_lost(mem));
	assert_int_equal(p[3 * PAGE], 0); /* SIGBUS, absorbed */
	assert_true(guest_mem_is_lost(mem));
	p[PAGE] = 7; /* goes nowhere, harms nobody */
	assert_int_equal(p[PAGE], 7);
	assert_false(guest_mem_is_lost(other));
	n = 0;
	assert_int_equal(guest_mem_translate(other, GPA, 1, &other_iov, 1, &n), 0);
	assert_int_equal(*(uint8_t *)other_iov.iov_base, 4);
	guest_mem_unref(mem);
	guest_mem_unref(other);
	close(fd);
}

/* R9 holds for regions that came later, and all who share memory with the lost one hear of it. */
static void test_added_file_cut_short(void **state)
{
	int fd = memfd_of(2 * PAGE);
	struct guest_mem_region r = {
		.gpa = GPA + 4 * PAGE, .size = 2 * PAGE, .uva = UVA + 64 * PAGE, .fd = fd
	};
	struct guest_mem *old = three_regions();
	struct guest_mem *other = three_regions();
	struct guest_mem *more;
	struct guest_mem *less;
	volatile uint8_t *p;

	assert_int_equal(guest_mem_install_sigbus_handler(), 0);
	assert_int_equal(guest_mem_with(old, &r, &more), 0);
	assert_int_equal(ftruncate(fd, PAGE), 0);
	p = host_of(more, GPA + 5 * PAGE);
	assert_int_equal(*p, 0);
	assert_true(guest_mem_is_lost(more));
	assert_true(guest_mem_is_lost(old));
	assert_false(guest_mem_is_lost(other));
	assert_int_equal(guest_mem_without(more, &r, &less), 0);
	assert_true(guest_mem_is_lost(less));
	guest_mem_unref(old);
	guest_mem_unref(more);
	guest_mem_unref(less);
	guest_mem_unref(other);
	close(fd);
}

/* A SIGBUS that is none of guest memory ends the program as it always did. */
static void test_other_sigbus(void **state)
{
	int how;

	for (how = 0; how < 2; how++) {
		pid_t pid = fork();
		int status;

		assert_true(pid >= 0);
		if (pid == 0) {
			int fd = memfd_create("x", MFD_CLOEXEC);
			volatile uint8_t *p;

			signal(SIGBUS, SIG_DFL);
			guest_mem_install_sigbus_handler();
			if (how == 0) {
				raise(SIGBUS);
				_exit(1);
			}
			/* A page of an empty file, not watched. */
			p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
			_exit(p[0] + 2);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		assert_int_equal(WTERMSIG(status), SIGBUS);
	}
}

static void test_fault_table_is_bounded(void **state)
{
	static atomic_bool lost;
	int i;

	for (i = 0; i < MEM_FAULT_MAX_MAPPINGS; i++) {
		assert_int_equal(mem_fault_watch((void *)(uintptr_t)((i + 1) * PAGE), PAGE, &lost),
				 i);
	}
	assert_int_equal(mem_fault_watch((void *)PAGE, PAGE, &lost), -ENOSPC);
	mem_fault_unwatch(77);
	assert_int_equal(mem_fault_watch((void *)PAGE, PAGE, &lost), 77);
	for (i = 0; i < MEM_FAULT_MAX_MAPPINGS; i++) {
		mem_fault_unwatch(i);
	}
}

/* What the cache knows is what the translator would say; what it does not know it does not make up. */
static void test_cache(void **state)
{
	static const struct {
		uint64_t gpa, len;
		bool known;
	} cases[] = {
		{ 0x10000, 1, true },
		{ 0x10000, 2 * PAGE, true },
		{ 0x10000 + PAGE, PAGE, true },
		{ 0x10000, 2 * PAGE + 1, false },
		{ 0x10000, 0, false },
		{ 0xffff, 1, false },
		{ 0xffff, 2, false },
		{ 0x10000 + 2 * PAGE, 1, false },
		{ 0x10000 + PAGE, UINT64_MAX, false },
		{ 0, UINT64_MAX, false },
		{ UINT64_MAX, 1, false },
		{ UINT64_MAX, 0x10002, false },
		{ 0x40000, PAGE, true },
		{ 0x40000, PAGE + 1, false },
		{ 0x80000, 1, false }, /* a region, and not in the cache */
	};
	struct guest_mem_region regions[] = {
		{ .gpa = 0x10000, .size = 2 * PAGE, .uva = 0x10000 },
		{ .gpa = 0x40000, .size = PAGE, .uva = 0x40000 },
		{ .gpa = 0x80000, .size = PAGE, .uva = 0x80000 },
	};
	struct guest_mem_cache cache = { 0 };
	int fd = memfd_create("guest", MFD_CLOEXEC);
	struct guest_mem *mem;
	unsigned int i;
	void *ptr;

	assert_int_equal(ftruncate(fd, 2 * PAGE), 0);
	for (i = 0; i < 3; i++) {
		regions[i].fd = fd;
	}
	assert_int_equal(guest_mem_new(regions, 3, &mem), 0);
	assert_false(guest_mem_translate_known(&cache, 0x10000, 1, &ptr)); /* an empty one */
	guest_mem_learn(mem, &cache, 0x20000, 1);			   /* no memory */
	guest_mem_learn(mem, &cache, 0x40000, 1);
	guest_mem_learn(mem, &cache, 0x10000, 1);
	guest_mem_learn(mem, &cache, 0x10000, 1); /* does not push the other one out */
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct iovec iov;
		unsigned int n = 0;

		assert_int_equal(guest_mem_translate_known(&cache, cases[i].gpa, cases[i].len,
							   &ptr),
				 cases[i].known);
		if (cases[i].known) {
			assert_int_equal(guest_mem_translate(mem, cases[i].gpa, cases[i].len, &iov,
							     1, &n),
					 0);
			assert_ptr_equal(ptr, iov.iov_base);
		}
	}
	guest_mem_learn(mem, &cache, 0x80000, 1); /* the one that was learnt first goes */
	assert_true(guest_mem_translate_known(&cache, 0x80000, PAGE, &ptr));
	assert_true(guest_mem_translate_known(&cache, 0x10000, 1, &ptr));
	assert_false(guest_mem_translate_known(&cache, 0x40000, 1, &ptr));
	guest_mem_unref(mem);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_layouts),
		cmocka_unit_test(test_region_limit),
		cmocka_unit_test(test_translate),
		cmocka_unit_test(test_translate_appends),
		cmocka_unit_test(test_cache),
		cmocka_unit_test(test_ring_ptr),
		cmocka_unit_test(test_references),
		cmocka_unit_test(test_with_and_without),
		cmocka_unit_test(test_mapping_ends_with_its_last_snapshot),
		cmocka_unit_test(test_from_nothing_to_nothing),
		cmocka_unit_test(test_changes_refused),
		cmocka_unit_test(test_region_by_region),
		cmocka_unit_test(test_hugepages),
		cmocka_unit_test(test_file_cut_short),
		cmocka_unit_test(test_added_file_cut_short),
		cmocka_unit_test(test_other_sigbus),
		cmocka_unit_test(test_fault_table_is_bounded),
	};

	return cmocka_run_group_tests_name("virtio.guest_mem", tests, NULL, NULL);
}
