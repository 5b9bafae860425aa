/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "env/internal.h"

#define MIB (UINT64_C(1) << 20)

static char root[] = "/tmp/vht-memory-XXXXXX";

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

/* Each test sees an empty tree that it fills with what the kernel would show. */
static int make_root(void **state)
{
	strcpy(root + strlen(root) - 6, "XXXXXX");
	return mkdtemp(root) == NULL;
}

static int remove_root(void **state)
{
	return nftw(root, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static void put(const char *name, const char *text)
{
	char path[512];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", root, name);
	for (char *p = path + strlen(root) + 1; (p = strchr(p, '/')) != NULL; p++) {
		*p = '\0';
		(void)mkdir(path, 0700);
		*p = '/';
	}
	file = fopen(path, "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static void machine_without_cgroups(void **state)
{
	assert_int_equal(env_available_under(root), 0);
	put("proc/meminfo", "MemTotal:  8192 kB\nMemFree: 1 kB\nMemAvailable:    4096 kB\n");
	assert_int_equal(env_available_under(root), 4 * MIB);
}

static void cgroup_v2_limit_of_a_parent_counts(void **state)
{
	put("proc/meminfo", "MemAvailable:    1048576 kB\n");
	put("proc/self/cgroup", "0::/user/vm\n");
	put("sys/fs/cgroup/user/vm/memory.max", "max\n");
	put("sys/fs/cgroup/user/vm/memory.current", "1000\n");
	put("sys/fs/cgroup/user/memory.max", "104857600\n");
	put("sys/fs/cgroup/user/memory.current", "62914560\n");
	/* Page cache of the group can be dropped: 60 MiB used, 10 of them cache. */
	put("sys/fs/cgroup/user/memory.stat",
	    "anon 1\ninactive_anon 9\ninactive_file 6291456\nactive_file 4194304\n");
	assert_int_equal(env_available_under(root), 50 * MIB);
}

static void cgroup_v1_limit_counts(void **state)
{
	put("proc/meminfo", "MemAvailable:    1048576 kB\n");
	put("proc/self/cgroup", "5:devices:/\n4:memory:/box\n0::/\n");
	put("sys/fs/cgroup/memory/box/memory.limit_in_bytes", "10485760\n");
	put("sys/fs/cgroup/memory/box/memory.usage_in_bytes", "4194304\n");
	put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
	put("sys/fs/cgroup/memory/memory.usage_in_bytes", "4194304\n");
	assert_int_equal(env_available_under(root), 6 * MIB);
	/* More used than allowed, for instance after the limit was lowered. */
	put("sys/fs/cgroup/memory/box/memory.usage_in_bytes", "99999999\n");
	assert_int_equal(env_available_under(root), 0);
}

static void free_hugepages_of_all_sizes(void **state)
{
	assert_int_equal(env_free_hugepages(root), 0);
	put("sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "3\n");
	put("sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages", "2\n");
	assert_int_equal(env_free_hugepages(root), 3 * 2 * MIB + 2 * 1024 * MIB);
}

static void big_areas_are_zero_aligned_and_lazy(void **state)
{
	const size_t size = 64 * MIB + 5;
	uint64_t before = env_memory_available();
	char *ptr;

	assert_true(before > size);
	assert_int_equal(env_big_alloc(size, ENV_ANY_NODE, (void **)&ptr), 0);
	assert_int_equal((uintptr_t)ptr % (2 * MIB), 0);
	assert_int_equal(ptr[0] | ptr[size / 2] | ptr[size - 1], 0);
	memset(ptr, 1, 4096);
	ptr[size - 1] = 1;
	env_big_free(ptr, size);
	env_big_free(NULL, size);
}

static void promises_count_before_they_are_touched(void **state)
{
	uint64_t all = env_memory_available();
	size_t size = all / 4 * 3;
	void *first, *second = NULL;

	assert_int_equal(env_big_alloc(size, ENV_ANY_NODE, &first), 0);
	assert_int_equal(env_big_alloc(size, ENV_ANY_NODE, &second), -ENOMEM);
	assert_null(second);
	env_big_free(first, size);
	assert_int_equal(env_big_alloc(size, ENV_ANY_NODE, &second), 0);
	env_big_free(second, size);
}

static void impossible_areas(void **state)
{
	void *ptr = NULL;

	assert_int_equal(env_big_alloc(0, ENV_ANY_NODE, &ptr), -EINVAL);
	assert_int_equal(env_big_alloc((size_t)1 << 55, ENV_ANY_NODE, &ptr), -ENOMEM);
	assert_int_equal(env_big_alloc(SIZE_MAX, ENV_ANY_NODE, &ptr), -ENOMEM);
	assert_int_equal(env_big_alloc(4096, 100000, &ptr), -EINVAL);
	assert_null(ptr);
}

static void areas_grow_and_shrink_where_they_are(void **state)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct env_area area = { 0 };
	uint8_t *ptr;

	env_area_free(&area);
	assert_int_equal(env_area_alloc(&area, 4 * MIB + 512, 1024 * MIB, ENV_ANY_NODE), 0);
	ptr = area.ptr;
	memset(ptr, 1, area.size);
	assert_int_equal(env_area_resize(&area, 8 * MIB), 0);
	assert_ptr_equal(area.ptr, ptr);
	assert_int_equal(area.size, 8 * MIB);
	assert_int_equal(ptr[4 * MIB + 511], 1);
	assert_int_equal(ptr[4 * MIB + 512] | ptr[8 * MIB - 1], 0);
	memset(ptr, 2, area.size);

	/* What was taken away comes back as zeroes: in the last page, too. */
	assert_int_equal(env_area_resize(&area, MIB + 512), 0);
	assert_int_equal(env_area_resize(&area, MIB + 1024), 0);
	assert_int_equal(env_area_resize(&area, 2 * MIB), 0);
	assert_int_equal(ptr[MIB + 511], 2);
	assert_int_equal(ptr[MIB + 512] | ptr[MIB + 1024] | ptr[MIB + page] | ptr[2 * MIB - 1], 0);

	assert_int_equal(env_area_resize(&area, 1024 * MIB + 1), -ENOSPC);
	assert_int_equal(env_area_resize(&area, 0), -EINVAL);
	assert_int_equal(area.size, 2 * MIB);
	env_area_free(&area);
	assert_null(area.ptr);
}

static void growth_is_a_promise(void **state)
{
	uint64_t all = env_memory_available();
	struct env_area area;
	void *ptr;

	assert_int_equal(env_area_alloc(&area, MIB, all * 2, ENV_ANY_NODE), 0);
	assert_int_equal(env_area_resize(&area, all * 2), -ENOMEM);
	assert_int_equal(env_area_resize(&area, all / 4 * 3), 0);
	assert_int_equal(env_big_alloc(all / 2, ENV_ANY_NODE, &ptr), -ENOMEM);
	assert_int_equal(env_area_resize(&area, MIB), 0);
	assert_int_equal(env_big_alloc(all / 2, ENV_ANY_NODE, &ptr), 0);
	env_big_free(ptr, all / 2);
	env_area_free(&area);
}

static void areas_are_handed_on(void **state)
{
	struct env_area area;
	struct env_area other = { 0 };
	int ends[2];

	assert_int_equal(env_area_alloc(&area, 4 * MIB, 8 * MIB, ENV_ANY_NODE), 0);
	area.ptr[4 * MIB - 1] = 7;
	assert_int_equal(env_area_adopt(&other, dup(area.fd), 8 * MIB, ENV_ANY_NODE), 0);
	assert_int_equal(other.size, 4 * MIB);
	assert_int_equal(other.ptr[4 * MIB - 1], 7);
	env_area_free(&area);
	assert_int_equal(env_area_resize(&other, 8 * MIB), 0);
	assert_int_equal(other.ptr[4 * MIB - 1] + other.ptr[8 * MIB - 1], 7);
	env_area_free(&other);

	assert_int_equal(pipe(ends), 0);
	assert_int_equal(env_area_adopt(&other, ends[0], MIB, ENV_ANY_NODE), -EINVAL);
	assert_null(other.ptr);
	close(ends[0]);
	close(ends[1]);
}

static void what_is_cleared_is_zero_and_free(void **state)
{
	struct env_area area;
	struct stat before, after;

	assert_int_equal(env_area_alloc(&area, 8 * MIB, 0, ENV_ANY_NODE), 0);
	memset(area.ptr, 1, area.size);
	assert_int_equal(fstat(area.fd, &before), 0);
	env_area_clear(&area, MIB + 1, 6 * MIB);
	assert_int_equal(fstat(area.fd, &after), 0);
	assert_int_equal(area.ptr[MIB] + area.ptr[7 * MIB + 1], 2);
	assert_int_equal(area.ptr[MIB + 1] | area.ptr[4 * MIB] | area.ptr[7 * MIB], 0);
	assert_true(before.st_blocks - after.st_blocks >= (blkcnt_t)(4 * MIB / 512));
	env_area_free(&area);
}

static void room_is_a_wish(void **state)
{
	struct env_area area;

	assert_int_equal(env_area_alloc(&area, MIB, (size_t)1 << 60, ENV_ANY_NODE), 0);
	assert_int_equal(env_area_resize(&area, 2 * MIB), -ENOSPC);
	assert_int_equal(env_area_resize(&area, MIB / 2), 0);
	env_area_free(&area);
	assert_int_equal(env_area_alloc(&area, MIB, SIZE_MAX, ENV_ANY_NODE), 0);
	env_area_free(&area);
}

static void heap_memory_is_zero_and_aligned(void **state)
{
	static const size_t aligns[] = { 0, 1, 64, 512, 4096, 65536 };

	for (size_t i = 0; i < sizeof(aligns) / sizeof(aligns[0]); i++) {
		size_t expected = aligns[i] < ENV_CACHE_LINE ? ENV_CACHE_LINE : aligns[i];
		unsigned char *ptr = env_heap_zalloc(1000, aligns[i]);

		assert_non_null(ptr);
		assert_int_equal((uintptr_t)ptr % expected, 0);
		for (int j = 0; j < 1000; j++) {
			assert_int_equal(ptr[j], 0);
		}
		memset(ptr, 0xff, 1000);
		free(ptr);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(machine_without_cgroups, make_root, remove_root),
		cmocka_unit_test_setup_teardown(cgroup_v2_limit_of_a_parent_counts, make_root,
						remove_root),
		cmocka_unit_test_setup_teardown(cgroup_v1_limit_counts, make_root, remove_root),
		cmocka_unit_test_setup_teardown(free_hugepages_of_all_sizes, make_root,
						remove_root),
		cmocka_unit_test(big_areas_are_zero_aligned_and_lazy),
		cmocka_unit_test(promises_count_before_they_are_touched),
		cmocka_unit_test(impossible_areas),
		cmocka_unit_test(areas_grow_and_shrink_where_they_are),
		cmocka_unit_test(growth_is_a_promise),
		cmocka_unit_test(areas_are_handed_on),
		cmocka_unit_test(what_is_cleared_is_zero_and_free),
		cmocka_unit_test(room_is_a_wish),
		cmocka_unit_test(heap_memory_is_zero_and_aligned),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
