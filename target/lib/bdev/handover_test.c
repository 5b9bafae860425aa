/* SPDX-License-Identifier: BSD-3-Clause */
/* Bdevs as another process goes on with them. Here it is the same one, which has forgotten them. */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/parcel.h"
#include "bdev/testing.h"
#include "env/env.h"

#define SIZE (UINT64_C(4) << 20)

static char path[] = "/tmp/vht-handover-XXXXXX";

static void make(void)
{
	const struct bdev_malloc_options ram = {
		.name = "M",
		.size = SIZE,
		.block_size = 4096,
		.numa_node = ENV_ANY_NODE,
	};
	const struct bdev_null_options null = { .name = "N", .size = 512 };
	const struct bdev_aio_options file = { .name = "A", .filename = path };
	const char *reason = "";
	struct bdev *bdev;
	int fd;

	strcpy(path + strlen(path) - 6, "XXXXXX");
	fd = mkstemp(path);
	assert_int_equal(ftruncate(fd, (off_t)SIZE), 0);
	close(fd);
	assert_int_equal(bdev_malloc_create(&ram, &bdev, &reason), 0);
	assert_int_equal(bdev_null_create(&null, &bdev, &reason), 0);
	if (bdev_aio_create(&file, &bdev, &reason) != 0) {
		fail_msg("%s", reason);
	}
}

static int delete_all(void **state)
{
	bdev_delete_all();
	unlink(path);
	return 0;
}

/* All of them, as they arrive elsewhere. */
static void travel(struct parcel *ret_parcel)
{
	struct parcel out;
	uint32_t type;
	int fds[2];

	parcel_init(&out);
	parcel_init(ret_parcel);
	bdev_save_all(&out);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(parcel_send(&out, fds[0], 1), 0);
	assert_int_equal(parcel_recv(ret_parcel, fds[1], &type), 1);
	parcel_done(&out);
	close(fds[0]);
	close(fds[1]);
}

static void write_to(const char *name, uint8_t *data)
{
	struct test_reactor r;

	test_reactor_open(&r, bdev_find(name));
	assert_int_equal(test_io(&r, BDEV_WRITE, 8192, data, 4096), 0);
	test_reactor_close(&r);
}

static void data_survive(void **state)
{
	static const char *const names[] = { "M", "N", "A" };
	_Alignas(4096) static uint8_t data[4096];
	_Alignas(4096) static uint8_t back[4096];
	struct bdev before[3];
	struct parcel parcel;
	const char *reason = "";
	struct test_reactor r;
	unsigned int i;

	make();
	test_fill(data, sizeof(data), 1);
	write_to("M", data);
	write_to("A", data);
	for (i = 0; i < 3; i++) {
		before[i] = *bdev_find(names[i]);
	}
	travel(&parcel);
	bdev_delete_all();
	unlink(path); /* the open file is what counts */
	if (bdev_restore_all(&parcel, &reason) != 0) {
		fail_msg("%s", reason);
	}
	assert_true(parcel_is_used_up(&parcel));
	parcel_done(&parcel);
	for (i = 0; i < 3; i++) {
		const struct bdev *bdev = bdev_find(names[i]);

		assert_ptr_equal(bdev->ops, before[i].ops);
		assert_string_equal(bdev->product, before[i].product);
		assert_string_equal(bdev->serial, before[i].serial);
		assert_memory_equal(&bdev->info, &before[i].info, sizeof(bdev->info));
		if (i == 1) {
			continue;
		}
		test_reactor_open(&r, bdev_find(names[i]));
		assert_int_equal(test_io(&r, BDEV_READ, 8192, back, 4096), 0);
		assert_memory_equal(back, data, 4096);
		assert_int_equal(test_io(&r, BDEV_DISCARD, 0, NULL, SIZE), 0);
		assert_int_equal(test_io(&r, BDEV_READ, 8192, back, 4096), 0);
		assert_int_equal(back[0] | back[4095], 0);
		test_reactor_close(&r);
	}
	/* It can still grow, and gives back what it loses. */
	assert_int_equal(bdev_resize(bdev_find("M"), 2 * SIZE, &reason), 0);
	assert_int_equal(bdev_resize(bdev_find("M"), SIZE, &reason), 0);
	bdev_trim(bdev_find("M"));
}

/* They are there still, and nothing is left of what was made before the failure but what is registered. */
static void names_that_are_taken(void **state)
{
	struct parcel parcel;
	const char *reason = "";

	make();
	travel(&parcel);
	assert_int_equal(bdev_restore_all(&parcel, &reason), -EEXIST);
	assert_non_null(strstr(reason, "there is a bdev 'M' already"));
	parcel_done(&parcel);
}

/* Cut off anywhere, or with any byte changed, it is refused or makes other bdevs: nothing else happens. */
static void what_cannot_be(void **state)
{
	const char *reason = "";
	struct parcel parcel;
	size_t len = 1;
	size_t at;

	make();
	for (at = 0; at < len; at++) {
		travel(&parcel);
		len = parcel.len;
		bdev_delete_all();
		if (at % 2 == 0) {
			parcel.len = at;
		} else {
			parcel.data[at] ^= 0x81;
		}
		(void)bdev_restore_all(&parcel, &reason);
		parcel_done(&parcel);
		bdev_delete_all();
		unlink(path);
		make();
		unlink(path);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(data_survive, delete_all),
		cmocka_unit_test_teardown(names_that_are_taken, delete_all),
		cmocka_unit_test_teardown(what_cannot_be, delete_all),
	};

	return cmocka_run_group_tests_name("bdev.handover", tests, NULL, NULL);
}
