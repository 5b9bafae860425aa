/* SPDX-License-Identifier: BSD-3-Clause */
/* A block device whose disk is resized, replaced or taken away under a running queue. */
#include <errno.h>

#include <blk_fixture.h>

#define SIZE	(UINT64_C(1) << 20) /* of the fixture's disk */
#define SECTORS (SIZE / 512)

static uint64_t capacity(const struct virtio_device *device)
{
	uint64_t sectors;

	assert_int_equal(device->ops->config_read(device, 0, &sectors, sizeof(sectors)), 0);
	return le64toh(sectors);
}

static bool tell_queue(struct blk_fixture *f)
{
	return f->device->ops->queue_update(f->queue);
}

static void update(struct blk_fixture *f)
{
	assert_true(tell_queue(f));
	f->device->ops->settled(f->device, true);
}

/* The byte that a read of the first sector finds. */
static uint8_t first_byte(struct blk_fixture *f)
{
	uint64_t data = rd_alloc(&f->rd, 512, 512);

	assert_int_equal(blk_run(f, BLK_T_IN, 0, data, 512), BLK_S_OK);
	return *(uint8_t *)rd_ptr(&f->rd, data);
}

static void other_disk(struct test_bdev *disk, uint64_t size)
{
	test_bdev_init(disk, size, 512);
	memset(disk->data, 2, size);
}

static void the_end_moves_with_the_size(void **state)
{
	struct blk_fixture f;
	uint64_t data;

	blk_open(&f, NULL);
	data = rd_alloc(&f.rd, 1024, 512);
	assert_int_equal(capacity(f.device), SECTORS);
	f.disk.bdev.info.size = SIZE / 2;
	assert_int_equal(capacity(f.device), SECTORS / 2);
	assert_int_equal(blk_run(&f, BLK_T_IN, SECTORS / 2 - 1, data, 512), BLK_S_OK);
	assert_int_equal(blk_run(&f, BLK_T_IN, SECTORS / 2, data, 512), BLK_S_IOERR);
	assert_int_equal(blk_run(&f, BLK_T_IN, SECTORS / 2 - 1, data, 1024), BLK_S_IOERR);
	update(&f);
	f.disk.bdev.info.size = SIZE;
	assert_int_equal(blk_run(&f, BLK_T_IN, SECTORS - 1, data, 512), BLK_S_OK);
	blk_close(&f);
}

/* With requests in the disk, and some that found no room in it. */
static void another_disk_takes_its_place(void **state)
{
	volatile uint8_t *status[8];
	struct test_bdev other;
	struct blk_fixture f;
	uint64_t data[8];
	const char *text;

	blk_open(&f, NULL);
	memset(f.disk.data, 1, SIZE);
	other_disk(&other, SIZE * 2);
	f.disk.depth = 3;
	f.disk.hold = 3;
	for (unsigned int i = 0; i < 8; i++) {
		data[i] = rd_alloc(&f.rd, 512, 512);
		status[i] = blk_add(&f, BLK_T_IN, i, data[i], 512);
	}
	blk_turn(&f);
	assert_int_equal(f.disk.outstanding, 3);
	assert_int_equal(blk_set_bdev(f.device, &other.bdev, true, &text), 0);
	assert_ptr_equal(blk_bdev(f.device), &other.bdev);
	assert_int_equal(capacity(f.device), SECTORS * 2);
	assert_int_equal(f.disk.bdev.claims, 0);
	assert_int_equal(f.disk.bdev.leaving, 1);
	assert_int_equal(other.bdev.claims, 1);
	/* As long as it waits, nothing more is begun. */
	for (unsigned int i = 0; i < 3; i++) {
		assert_false(tell_queue(&f));
		assert_true(f.queue->quiescent);
		assert_int_equal(virtq_inflight(f.vq), 3);
	}
	assert_int_equal(other.channels, 0);
	f.disk.hold = 0;
	bdev_channels_poll(&f.channels);
	assert_int_equal(f.disk.channels, 1);
	update(&f);
	assert_false(f.queue->quiescent);
	assert_int_equal(f.disk.channels, 0);
	assert_int_equal(f.disk.bdev.leaving, 0);
	assert_int_equal(blk_round(&f), 8);
	for (unsigned int i = 0; i < 8; i++) {
		assert_int_equal(*status[i], BLK_S_OK);
		assert_int_equal(*(uint8_t *)rd_ptr(&f.rd, data[i]), i < 3 ? 1 : 2);
	}
	assert_int_equal(blk_run(&f, BLK_T_IN, SECTORS * 2 - 1, data[0], 512), BLK_S_OK);
	blk_close(&f);
	assert_int_equal(other.bdev.claims, 0);
	assert_int_equal(other.channels, 0);
	test_bdev_done(&other);
}

static void a_lost_disk_gives_errors(void **state)
{
	volatile uint8_t *under_way;
	struct test_bdev other;
	struct blk_fixture f;
	uint64_t data;
	const char *text;

	blk_open(&f, NULL);
	other_disk(&other, SIZE / 2);
	data = rd_alloc(&f.rd, 512, 512);
	f.disk.hold = 1;
	under_way = blk_add(&f, BLK_T_IN, 0, data, 512);
	blk_turn(&f);
	blk_lose_bdev(f.device);
	blk_lose_bdev(f.device);
	assert_null(blk_bdev(f.device));
	assert_false(tell_queue(&f));
	f.disk.hold = 0;
	bdev_channels_poll(&f.channels);
	update(&f);
	assert_int_equal(blk_round(&f), 1);
	assert_int_equal(*under_way, BLK_S_OK); /* the disk had it */
	assert_int_equal(f.disk.bdev.claims + f.disk.bdev.leaving, 0);
	assert_int_equal(f.disk.channels, 0);

	assert_int_equal(blk_run(&f, BLK_T_IN, 0, data, 512), BLK_S_IOERR);
	assert_int_equal(blk_run(&f, BLK_T_OUT, 0, data, 512), BLK_S_IOERR);
	assert_int_equal(blk_run(&f, BLK_T_FLUSH, 0, 0, 0), BLK_S_IOERR);
	assert_int_equal(blk_run(&f, BLK_T_GET_ID, 0, data, 20), BLK_S_OK);
	/* The guest goes on seeing its disk... */
	assert_int_equal(capacity(f.device), SECTORS);
	/* ...the next one sees one without blocks. */
	blk_queue_close(&f);
	f.device->ops->session_begins(f.device);
	assert_int_equal(capacity(f.device), 0);
	blk_queue_open(&f);
	assert_int_equal(blk_run(&f, BLK_T_IN, 0, data, 512), BLK_S_IOERR);

	assert_int_equal(blk_set_bdev(f.device, &other.bdev, true, &text), 0);
	assert_int_equal(capacity(f.device), SECTORS / 2);
	update(&f);
	assert_int_equal(first_byte(&f), 2);
	/* Once more, and never found again. */
	blk_lose_bdev(f.device);
	update(&f);
	blk_close(&f);
	assert_int_equal(other.bdev.claims + other.bdev.leaving, 0);
	test_bdev_done(&other);
}

/* Several changes before the queue hears of any. */
static void only_the_last_change_counts(void **state)
{
	struct test_bdev other;
	struct blk_fixture f;
	const char *text;

	blk_open(&f, NULL);
	memset(f.disk.data, 1, SIZE);
	other_disk(&other, SIZE);
	assert_int_equal(blk_set_bdev(f.device, &f.disk.bdev, true, &text), 0); /* it has it */
	for (unsigned int i = 0; i < 10; i++) {
		assert_int_equal(blk_set_bdev(f.device, &other.bdev, true, &text), 0);
		blk_lose_bdev(f.device);
		assert_int_equal(blk_set_bdev(f.device, &f.disk.bdev, true, &text), 0);
	}
	assert_int_equal(f.disk.bdev.claims, 1);
	assert_int_equal(f.disk.bdev.leaving, 10);
	assert_int_equal(other.bdev.leaving, 10);
	update(&f);
	assert_int_equal(f.disk.bdev.leaving + other.bdev.leaving, 0);
	assert_int_equal(first_byte(&f), 1);
	/* A pause that came to nothing. */
	f.disk.hold = 1;
	blk_add(&f, BLK_T_IN, 0, rd_alloc(&f.rd, 512, 512), 512);
	blk_turn(&f);
	assert_int_equal(blk_set_bdev(f.device, &other.bdev, true, &text), 0);
	assert_false(tell_queue(&f));
	assert_int_equal(blk_set_bdev(f.device, &f.disk.bdev, true, &text), 0);
	update(&f);
	assert_false(f.queue->quiescent);
	f.disk.hold = 0;
	assert_int_equal(blk_round(&f), 1);
	blk_set_bdev(f.device, &other.bdev, true, &text);
	blk_close(&f);
	assert_int_equal(other.bdev.claims + other.bdev.leaving, 0);
	test_bdev_done(&other);
}

static void a_disk_must_fit_while_a_guest_knows_it(void **state)
{
	static const struct {
		struct bdev_info info;
		const char *text;
	} cases[] = {
		{ { .block_size = 4096, .can_discard = true, .can_write_zeroes = true },
		  "its blocks have 4096 bytes, and the guest knows blocks of 512" },
		{ { .block_size = 512, .read_only = true }, "it is read-only" },
		{ { .block_size = 512, .can_write_zeroes = true }, "it cannot discard" },
		{ { .block_size = 512, .can_discard = true }, "it cannot write zeroes" },
		{ { .block_size = 512, .can_discard = true, .can_write_zeroes = true },
		  "are shorter" },
	};
	struct test_bdev other;
	struct blk_fixture f;
	const char *text;

	blk_open(&f, NULL);
	other_disk(&other, SIZE);
	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		other.bdev.info = cases[i].info;
		other.bdev.info.size = SIZE;
		other.bdev.info.physical_block_size = other.bdev.info.block_size;
		assert_int_equal(blk_set_bdev(f.device, &other.bdev, true, &text), -EINVAL);
		if (strstr(text, cases[i].text) == NULL) {
			fail_msg("'%s' does not say '%s'", text, cases[i].text);
		}
		assert_int_equal(other.bdev.claims, 0);
	}
	assert_int_equal(first_byte(&f), 0);
	/* A cache is no difference that matters: writes are flushed if the guest cannot. */
	other.bdev.info = f.disk.bdev.info;
	other.bdev.info.write_cache = true;
	assert_int_equal(blk_set_bdev(f.device, &other.bdev, true, &text), 0);
	update(&f);
	assert_int_equal(blk_run(&f, BLK_T_OUT, 0, rd_alloc(&f.rd, 512, 512), 512), BLK_S_OK);
	assert_int_equal(other.log[other.log_n - 1].op, BDEV_FLUSH);
	blk_queue_close(&f);

	/* For the next guest, any will do. */
	f.disk.bdev.info.read_only = true;
	assert_int_equal(blk_set_bdev(f.device, &f.disk.bdev, false, &text), 0);
	f.device->ops->settled(f.device, false);
	f.device->ops->session_begins(f.device);
	assert_true(f.device->ops->features(f.device) >> BLK_F_RO & 1);
	assert_false(f.device->ops->features(f.device) >> BLK_F_FLUSH & 1);
	assert_int_equal(blk_set_bdev(f.device, &other.bdev, false, &text), 0);
	f.device->ops->session_begins(f.device);
	assert_false(f.device->ops->features(f.device) >> BLK_F_RO & 1);
	assert_true(f.device->ops->features(f.device) >> BLK_F_FLUSH & 1);
	blk_queue_open(&f);
	blk_close(&f);
	test_bdev_done(&other);
}

/* A ring whose new disk cannot be opened stands still, until it is started again. */
static void a_disk_that_cannot_be_opened(void **state)
{
	struct test_bdev other;
	struct blk_fixture f;
	const char *text;

	blk_open(&f, NULL);
	other_disk(&other, SIZE);
	other.fail_open = -EAGAIN;
	assert_int_equal(blk_set_bdev(f.device, &other.bdev, true, &text), 0);
	update(&f);
	assert_true(virtq_is_broken(f.vq));
	assert_int_equal(f.disk.channels, 0);
	blk_turn(&f);
	update(&f);
	blk_drain(&f);
	blk_queue_close(&f);
	other.fail_open = 0;
	blk_queue_open(&f);
	assert_int_equal(first_byte(&f), 2);
	blk_close(&f);
	test_bdev_done(&other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_end_moves_with_the_size),
		cmocka_unit_test(another_disk_takes_its_place),
		cmocka_unit_test(a_lost_disk_gives_errors),
		cmocka_unit_test(only_the_last_change_counts),
		cmocka_unit_test(a_disk_must_fit_while_a_guest_knows_it),
		cmocka_unit_test(a_disk_that_cannot_be_opened),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
