/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>

#include "bdev/testing.h"

static struct bdev *create(const char *name)
{
	struct bdev_null_options opts = { .name = name, .size = 1 << 20 };
	struct bdev *bdev = NULL;
	const char *text;

	assert_int_equal(bdev_null_create(&opts, &bdev, &text), 0);
	return bdev;
}

static int create_error(const char *name, uint64_t size, uint32_t block_size, const char *expected)
{
	struct bdev_null_options opts = { .name = name, .size = size, .block_size = block_size };
	struct bdev *bdev = NULL;
	const char *text = NULL;
	int rc = bdev_null_create(&opts, &bdev, &text);

	assert_null(bdev);
	assert_non_null(text);
	if (strstr(text, expected) == NULL) {
		fail_msg("'%s' does not say '%s'", text, expected);
	}
	return rc;
}

static int delete_all(void **state)
{
	bdev_delete_all();
	return bdev_next(NULL) == NULL ? 0 : -1;
}

static void names_are_unique_and_listed_in_order(void **state)
{
	struct bdev *a = create("a");
	struct bdev *b = create("B disk");

	assert_ptr_equal(bdev_find("a"), a);
	assert_ptr_equal(bdev_find("B disk"), b);
	assert_null(bdev_find("A"));
	assert_ptr_equal(bdev_next(NULL), a);
	assert_ptr_equal(bdev_next(a), b);
	assert_null(bdev_next(b));
	assert_int_equal(create_error("a", 1 << 20, 0, "already"), -EEXIST);
	assert_string_equal(b->name, "B disk");
	assert_string_equal(b->serial, "B disk");
	assert_string_equal(b->product, "Null disk");
}

static void bad_names_and_sizes_are_refused(void **state)
{
	char name[BDEV_NAME_MAX + 2];

	memset(name, 'n', sizeof(name));
	name[BDEV_NAME_MAX + 1] = '\0';
	assert_int_equal(create_error(name, 1 << 20, 0, "63 printable"), -EINVAL);
	name[BDEV_NAME_MAX] = '\0';
	create(name);
	assert_int_equal(create_error("", 1 << 20, 0, "printable"), -EINVAL);
	assert_int_equal(create_error(NULL, 1 << 20, 0, "printable"), -EINVAL);
	assert_int_equal(create_error("a\nb", 1 << 20, 0, "printable"), -EINVAL);
	assert_int_equal(create_error("x", 0, 0, "0 bytes"), -EINVAL);
	assert_int_equal(create_error("x", 1000, 0, "multiple of the block size 512"), -EINVAL);
	assert_int_equal(create_error("x", UINT64_MAX - 511, 0, "multiple"), -EINVAL);
	assert_int_equal(create_error("x", 1 << 20, 513, "power of two"), -EINVAL);
	assert_int_equal(create_error("x", 1 << 20, 256, "power of two"), -EINVAL);
	assert_int_equal(create_error("x", 1 << 20, 131072, "power of two"), -EINVAL);
	assert_null(bdev_find("x"));
}

static void a_claimed_bdev_is_not_deleted(void **state)
{
	struct bdev *bdev = create("a");
	const char *text = "";

	assert_int_equal(bdev_delete("b", &text), -ENOENT);
	assert_string_equal(text, "there is no bdev 'b'");
	bdev_claim(bdev);
	bdev_claim(bdev);
	assert_int_equal(bdev_delete("a", &text), -EBUSY);
	assert_string_equal(text, "bdev 'a' is in use by 2 devices");
	bdev_release(bdev);
	assert_int_equal(bdev_delete("a", &text), -EBUSY);
	bdev_release(bdev);
	assert_int_equal(bdev_delete("a", &text), 0);
	assert_null(bdev_find("a"));
}

static void a_bdev_is_closed_when_the_last_has_left(void **state)
{
	struct bdev *bdev = create("a");
	const char *text = "";

	bdev_claim(bdev);
	bdev_claim(bdev);
	bdev_leave(bdev);
	assert_int_equal(bdev_delete("a", &text), -EBUSY);
	assert_string_equal(text, "bdev 'a' is in use by 1 device");
	bdev_leave(bdev);
	assert_int_equal(bdev_delete("a", &text), 0);
	/* The name is free, while its last requests may still be under way. */
	assert_null(bdev_find("a"));
	assert_ptr_not_equal(create("a"), bdev);
	bdev_left(bdev);
	assert_string_equal(bdev->name, "a");
	bdev_left(bdev); /* closes it, which the sanitizer sees */
	/* Leaving without being deleted. */
	bdev = bdev_find("a");
	bdev_claim(bdev);
	bdev_leave(bdev);
	bdev_left(bdev);
	assert_ptr_equal(bdev_find("a"), bdev);
	assert_int_equal(bdev_delete("a", &text), 0);
}

static void sizes_change_within_the_rules(void **state)
{
	struct bdev *bdev = create("a");
	const char *text = "";

	assert_int_equal(bdev_resize(bdev, 4096, &text), 0);
	assert_int_equal(bdev_size(bdev), 4096);
	assert_int_equal(bdev_resize(bdev, 0, &text), -EINVAL);
	assert_int_equal(bdev_resize(bdev, 4097, &text), -EINVAL);
	assert_non_null(strstr(text, "a: size of 4097 bytes is not a positive multiple"));
	assert_int_equal(bdev_resize(bdev, UINT64_MAX - 511, &text), -EINVAL);
	assert_int_equal(bdev_rescan(bdev, &text), -ENOTSUP);
	assert_non_null(strstr(text, "a, a null bdev, has nothing behind it"));
	assert_int_equal(bdev_size(bdev), 4096);
	bdev_trim(bdev);
}

static void a_reactor_opens_one_channel_for_all_its_queues(void **state)
{
	struct bdev_channels one = { 0 }, other = { 0 };
	struct bdev *a = create("a"), *b = create("b");
	struct bdev_channel *first, *second, *third, *fourth;

	assert_int_equal(bdev_channels_get(&one, a, &first), 0);
	assert_int_equal(bdev_channels_get(&one, a, &second), 0);
	assert_int_equal(bdev_channels_get(&one, b, &third), 0);
	assert_int_equal(bdev_channels_get(&other, a, &fourth), 0);
	assert_ptr_equal(first, second);
	assert_ptr_not_equal(first, third);
	assert_ptr_not_equal(first, fourth);
	assert_int_equal(bdev_channel_event_fd(first), -1);
	bdev_channels_put(&one, first);
	assert_ptr_equal(LIST_NEXT(LIST_FIRST(&one.list), link), first);
	bdev_channels_put(&one, second);
	bdev_channels_put(&one, third);
	assert_true(LIST_EMPTY(&one.list));
	bdev_channels_put(&other, fourth);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(names_are_unique_and_listed_in_order, delete_all),
		cmocka_unit_test_teardown(bad_names_and_sizes_are_refused, delete_all),
		cmocka_unit_test_teardown(a_claimed_bdev_is_not_deleted, delete_all),
		cmocka_unit_test_teardown(a_bdev_is_closed_when_the_last_has_left, delete_all),
		cmocka_unit_test_teardown(sizes_change_within_the_rules, delete_all),
		cmocka_unit_test_teardown(a_reactor_opens_one_channel_for_all_its_queues,
					  delete_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
