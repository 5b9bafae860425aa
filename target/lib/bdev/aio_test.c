/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bdev/aio.h"
#include "bdev/testing.h"

#define SIZE (UINT64_C(4) << 20)

static char dir[64];
static char path[96];

static int make_dir(void **state)
{
	/* /var/tmp: a file system on a disk, in contrast to /tmp, which may be tmpfs. */
	const char *parent = getenv("TMPDIR");

	snprintf(dir, sizeof(dir), "%s/vht-aio-XXXXXX", parent != NULL ? parent : "/var/tmp");
	if (mkdtemp(dir) == NULL) {
		return -1;
	}
	snprintf(path, sizeof(path), "%s/disk", dir);
	return 0;
}

static int remove_dir(void **state)
{
	bdev_delete_all();
	unlink(path);
	return rmdir(dir);
}

static void make_file(uint64_t size)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	close(fd);
}

static struct aio_bdev *create(bool read_only)
{
	struct bdev_aio_options opts = { .name = "aio0", .filename = path, .read_only = read_only };
	struct bdev *bdev = NULL;
	const char *text = "";

	if (bdev_aio_create(&opts, &bdev, &text) != 0) {
		fail_msg("%s", text);
	}
	return (struct aio_bdev *)bdev;
}

static struct aio_channel *channel_of(struct test_reactor *r)
{
	return (struct aio_channel *)r->channel;
}

static int create_error(const char *filename, uint32_t block_size, const char *expected)
{
	struct bdev_aio_options opts = {
		.name = "aio0",
		.filename = filename,
		.block_size = block_size,
	};
	struct bdev *bdev = NULL;
	const char *text = "";
	int rc = bdev_aio_create(&opts, &bdev, &text);

	assert_null(bdev);
	if (strstr(text, expected) == NULL) {
		fail_msg("'%s' does not say '%s'", text, expected);
	}
	return rc;
}

static void files_that_cannot_be_a_disk(void **state)
{
	assert_int_equal(create_error(path, 0, "No such file"), -ENOENT);
	assert_int_equal(create_error(dir, 0, "neither a regular file nor"), -EINVAL);
	assert_int_equal(create_error("/dev/null", 0, "neither a regular file nor"), -EINVAL);
	assert_int_equal(create_error(NULL, 0, "needs a name and a file"), -EINVAL);
	make_file(0);
	assert_int_equal(create_error(path, 0, "it is empty; give it a size"), -EINVAL);
	make_file(SIZE + 100);
	assert_int_equal(create_error(path, 4096,
				      "it is 4194404 bytes, not a multiple of the block size 4096; "
				      "use 'truncate -s %4096'"),
			 -EINVAL);
	make_file(SIZE);
	assert_int_equal(create_error(path, 256, "256"), -EINVAL);
	assert_int_equal(create_error(path, 768, "power of two"), -EINVAL);
	create(false);
	assert_int_equal(create_error(path, 0, "already"), -EEXIST);
}

static void what_a_file_is_like(void **state)
{
	struct bdev_info *info;

	make_file(SIZE);
	info = &create(false)->bdev.info;
	assert_int_equal(info->size, SIZE);
	assert_true(info->block_size >= 512 && info->block_size <= 4096);
	assert_true(info->physical_block_size >= info->block_size);
	assert_true(info->physical_block_size <= 4096);
	assert_true(info->write_cache);
	assert_true(info->can_write_zeroes);
	assert_false(info->read_only);
}

static void framings_with(bool with_ring)
{
	struct test_reactor r;
	struct aio_bdev *aio;

	make_file(SIZE);
	aio = create(false);
	test_reactor_open(&r, &aio->bdev);
	if (!with_ring) {
		channel_of(&r)->ring = NULL;
	}
	test_framings(&r, aio->bdev.info.block_size);
	assert_int_equal(channel_of(&r)->bounce_free_n, AIO_BOUNCE_COUNT);
	test_reactor_close(&r);
}

static void data_survives_every_framing(void **state)
{
	framings_with(true);
}

static void data_survives_without_the_mapped_ring(void **state)
{
	framings_with(false);
}

static void data_survives_the_page_cache(void **state)
{
	struct test_reactor r;
	struct aio_bdev *aio;

	make_file(SIZE);
	aio = create(false);
	/* As if the file system had refused O_DIRECT. */
	assert_int_equal(fcntl(aio->fd, F_SETFL, fcntl(aio->fd, F_GETFL) & ~O_DIRECT), 0);
	aio->direct = false;
	aio->memory_align = aio->length_align = 1;
	test_reactor_open(&r, &aio->bdev);
	test_framings(&r, aio->bdev.info.block_size);
	test_reactor_close(&r);
}

/* Aligned addresses do not help when the lengths between them are odd. */
static void odd_lengths_at_even_addresses(void **state)
{
	uint8_t *memory = aligned_alloc(4096, 3 * 4096), *back = aligned_alloc(4096, 4096);
	struct iovec iov[3] = { { memory, 100 }, { memory + 4096, 7 }, { memory + 8192, 3989 } };
	struct test_reactor r;
	struct test_io t;

	make_file(SIZE);
	test_reactor_open(&r, &create(false)->bdev);
	test_fill(memory, 3 * 4096, 5);
	test_io_init(&t, BDEV_WRITE, 4096, 4096, iov, 3);
	assert_int_equal(test_run(&r, &t), 0);
	assert_int_equal(test_io(&r, BDEV_READ, 4096, back, 4096), 0);
	assert_memory_equal(back, memory, 100);
	assert_memory_equal(back + 100, memory + 4096, 7);
	assert_memory_equal(back + 107, memory + 8192, 3989);
	test_reactor_close(&r);
	free(memory);
	free(back);
}

/* Elements as the kernel wants them, but too many for one call; some without bytes. */
static void more_elements_than_the_kernel_takes(void **state)
{
	enum {
		BLOCKS = 3000,
		HOLES = 2100 /* a whole call's worth of them, and more */
	};
	struct iovec *iov = calloc(BLOCKS + HOLES, sizeof(*iov));
	struct test_reactor r;
	struct aio_bdev *aio;
	uint32_t block;
	uint8_t *out, *in;
	struct test_io t;
	size_t len;

	make_file(16 * SIZE);
	aio = create(false);
	block = aio->bdev.info.block_size;
	len = (size_t)BLOCKS * block;
	out = aligned_alloc(4096, len);
	in = aligned_alloc(4096, len);
	test_reactor_open(&r, &aio->bdev);
	for (unsigned int i = 0; i < BLOCKS; i++) {
		unsigned int at = i < 100 ? i : i + HOLES;

		iov[at] = (struct iovec){ out + (BLOCKS - 1 - i) * block, block };
	}
	for (unsigned int i = 100; i < 100 + HOLES; i++) {
		iov[i].iov_base = out;
	}
	test_fill(out, len, 1);
	test_io_init(&t, BDEV_WRITE, block, len, iov, BLOCKS + HOLES);
	assert_int_equal(test_run(&r, &t), 0);
	assert_int_equal(test_io(&r, BDEV_READ, block, in, len), 0);
	for (unsigned int i = 0; i < BLOCKS; i++) {
		assert_memory_equal(in + i * block, out + (BLOCKS - 1 - i) * block, block);
	}
	memcpy(in, out, len);
	memset(out, 0, len);
	test_io_init(&t, BDEV_READ, block, len, iov, BLOCKS + HOLES);
	assert_int_equal(test_run(&r, &t), 0);
	assert_memory_equal(in, out, len);
	test_reactor_close(&r);
	free(out);
	free(in);
	free(iov);
}

/* ---- what the kernel has at a time is bounded: io_submit() would wait, and the reactor with it ---- */

static void long_elements_are_cut(void **state)
{
	static const size_t sizes[] = { 4096, (3 << 20) + 8192, 0, 1 << 20, (1 << 20) + 4096 };
	const size_t len = 12 << 20;
	uint8_t *out = aligned_alloc(4096, len), *in = aligned_alloc(4096, len);
	struct test_reactor r;
	struct test_io t;
	struct iovec iov[64];
	unsigned int n;

	make_file(2 * len);
	test_reactor_open(&r, &create(false)->bdev);
	n = test_cut(out, len, sizes, 5, iov, 64);
	test_fill(out, len, 5);
	test_io_init(&t, BDEV_WRITE, 4096, len, iov, n);
	assert_int_equal(bdev_submit(r.channel, &t.io), 0);
	aio_commit(r.channel);
	assert_in_range(channel_of(&r)->in_kernel, 1, AIO_PIECE_BYTES + 8 * AIO_ELEMENT_BYTES);
	test_wait(&r, 1);
	assert_int_equal(t.io.status, 0);
	assert_int_equal(test_io(&r, BDEV_READ, 4096, in, len), 0);
	assert_memory_equal(in, out, len);
	memset(out, 0, len);
	test_io_init(&t, BDEV_READ, 4096, len, iov, n);
	assert_int_equal(test_run(&r, &t), 0);
	assert_memory_equal(in, out, len);
	assert_int_equal(channel_of(&r)->in_kernel, 0);
	test_reactor_close(&r);
	free(out);
	free(in);
}

static void read_through_window(uint64_t window)
{
	static struct test_io ios[AIO_QUEUE_DEPTH];
	uint8_t *buf = aligned_alloc(4096, SIZE);
	struct iovec iov = { buf, SIZE };
	unsigned int before = test_completions;
	struct pollfd fd = { .events = POLLIN };
	struct test_reactor r;

	test_reactor_open(&r, bdev_find("aio0"));
	fd.fd = bdev_channel_event_fd(r.channel);
	channel_of(&r)->window = window;
	for (unsigned int i = 0; i < AIO_QUEUE_DEPTH; i++) {
		bool flush = i % 8 != 0;

		test_io_init(&ios[i], flush ? BDEV_FLUSH : BDEV_READ, 0, flush ? 0 : SIZE, &iov, 1);
		assert_int_equal(bdev_submit(r.channel, &ios[i].io), 0);
	}
	while (test_completions - before < AIO_QUEUE_DEPTH) {
		aio_commit(r.channel);
		assert_in_range(channel_of(&r)->in_kernel, 1, window);
		/* What waits for room gets it by a completion: its signal must come. */
		assert_int_equal(poll(&fd, 1, TEST_DEADLINE_SECONDS * 1000), 1);
		eventfd_drain(fd.fd);
		aio_poll(r.channel);
		assert_true(channel_of(&r)->in_kernel <= window);
	}
	for (unsigned int i = 0; i < AIO_QUEUE_DEPTH; i++) {
		assert_int_equal(ios[i].completions, 1);
		assert_int_equal(ios[i].io.status, 0);
	}
	assert_int_equal(channel_of(&r)->in_kernel, 0);
	test_reactor_close(&r);
	free(buf);
}

static void the_kernel_gets_no_more_than_the_window(void **state)
{
	make_file(SIZE);
	create(false);
	read_through_window(AIO_WINDOW_BYTES);
	read_through_window(AIO_CACHED_WINDOW_BYTES);
}

static void a_full_queue_says_so(void **state)
{
	static struct test_io ios[AIO_QUEUE_DEPTH + 1];
	uint8_t *memory = aligned_alloc(4096, (AIO_QUEUE_DEPTH + 1) * 4096);
	struct iovec iov[AIO_QUEUE_DEPTH + 1];
	struct test_reactor r;

	make_file(SIZE);
	test_reactor_open(&r, &create(false)->bdev);
	test_fill(memory, (AIO_QUEUE_DEPTH + 1) * 4096, 3);
	for (unsigned int i = 0; i <= AIO_QUEUE_DEPTH; i++) {
		iov[i] = (struct iovec){ memory + i * 4096, 4096 };
		test_io_init(&ios[i], BDEV_WRITE, i * 4096, 4096, &iov[i], 1);
		assert_int_equal(bdev_submit(r.channel, &ios[i].io),
				 i < AIO_QUEUE_DEPTH ? 0 : -EAGAIN);
	}
	test_wait(&r, AIO_QUEUE_DEPTH);
	assert_int_equal(test_run(&r, &ios[AIO_QUEUE_DEPTH]), 0);
	for (unsigned int i = 0; i <= AIO_QUEUE_DEPTH; i++) {
		uint8_t back[4096] __attribute__((aligned(4096)));

		assert_int_equal(ios[i].completions, 1);
		assert_int_equal(ios[i].io.status, 0);
		assert_int_equal(test_io(&r, BDEV_READ, i * 4096, back, 4096), 0);
		assert_memory_equal(back, memory + i * 4096, 4096);
	}
	test_reactor_close(&r);
	free(memory);
}

/* A queue that stops waits for what was taken, which must not be gigabytes. */
static void a_queue_full_of_bytes_says_so(void **state)
{
	const unsigned int fit = AIO_QUEUE_BYTES / SIZE;
	static struct test_io ios[AIO_QUEUE_BYTES / SIZE + 1];
	uint8_t *buf = aligned_alloc(4096, SIZE);
	struct iovec iov = { buf, SIZE };
	struct test_reactor r;

	make_file(SIZE);
	test_reactor_open(&r, &create(false)->bdev);
	for (unsigned int i = 0; i <= fit; i++) {
		test_io_init(&ios[i], BDEV_READ, 0, SIZE, &iov, 1);
		assert_int_equal(bdev_submit(r.channel, &ios[i].io), i < fit ? 0 : -EAGAIN);
	}
	test_wait(&r, fit);
	/* One that is longer than all of it is taken by itself. */
	test_io_init(&ios[0], BDEV_DISCARD, 0, 2 * AIO_QUEUE_BYTES, NULL, 0);
	assert_int_equal(test_run(&r, &ios[0]), -EINVAL);
	assert_int_equal(test_run(&r, &ios[fit]), 0);
	test_reactor_close(&r);
	free(buf);
}

/* More of them than there are bounce buffers, and each larger than one. */
static void misaligned_requests_wait_for_a_buffer(void **state)
{
	enum {
		N = AIO_BOUNCE_COUNT + 30,
		LEN = 3 * AIO_BOUNCE_BYTES - 4096
	};
	static struct test_io ios[N];
	static struct iovec iov[N];
	uint8_t *memory = aligned_alloc(4096, (size_t)N * LEN + 4096);
	uint8_t *back = aligned_alloc(4096, LEN);
	struct test_reactor r;

	make_file((uint64_t)N * LEN);
	test_reactor_open(&r, &create(false)->bdev);
	test_fill(memory, (size_t)N * LEN + 4096, 4);
	for (unsigned int i = 0; i < N; i++) {
		iov[i] = (struct iovec){ memory + 1 + (size_t)i * LEN, LEN };
		test_io_init(&ios[i], BDEV_WRITE, (uint64_t)i * LEN, LEN, &iov[i], 1);
		assert_int_equal(bdev_submit(r.channel, &ios[i].io), 0);
	}
	assert_int_equal(channel_of(&r)->bounce_free_n, 0);
	assert_false(STAILQ_EMPTY(&channel_of(&r)->bounce_waiting));
	test_wait(&r, N);
	assert_int_equal(channel_of(&r)->bounce_free_n, AIO_BOUNCE_COUNT);
	for (unsigned int i = 0; i < N; i++) {
		assert_int_equal(ios[i].io.status, 0);
		assert_int_equal(test_io(&r, BDEV_READ, (uint64_t)i * LEN, back, LEN), 0);
		assert_memory_equal(back, iov[i].iov_base, LEN);
	}
	test_reactor_close(&r);
	free(memory);
	free(back);
}

static void expect_zeroes(struct test_reactor *r, enum bdev_op op, uint32_t flags, uint64_t start,
			  uint64_t len)
{
	uint8_t *before = aligned_alloc(4096, SIZE), *after = aligned_alloc(4096, SIZE);
	struct test_io t;

	test_fill(before, SIZE, (uint32_t)(start + len) + flags);
	assert_int_equal(test_io(r, BDEV_WRITE, 0, before, SIZE), 0);
	test_io_init(&t, op, start, len, NULL, 0);
	t.io.flags = flags;
	assert_int_equal(test_run(r, &t), 0);
	memset(before + start, 0, len);
	assert_int_equal(test_io(r, BDEV_READ, 0, after, SIZE), 0);
	assert_memory_equal(before, after, SIZE);
	free(before);
	free(after);
}

static void cleared_ranges_read_as_zeroes(void **state)
{
	struct test_reactor r;
	struct aio_bdev *aio;
	uint64_t block;

	make_file(SIZE);
	aio = create(false);
	block = aio->bdev.info.block_size;
	test_reactor_open(&r, &aio->bdev);
	for (int without = 0; without < 3; without++) {
		/* Each step takes away what the file system may not have. */
		aio->helper.no_punch = without > 0;
		aio->helper.no_zero_range = without > 1;
		expect_zeroes(&r, BDEV_WRITE_ZEROES, 0, block, 5 * block);
		expect_zeroes(&r, BDEV_WRITE_ZEROES, BDEV_IO_MAY_UNMAP, 0, SIZE);
		expect_zeroes(&r, BDEV_WRITE_ZEROES, BDEV_IO_MAY_UNMAP, SIZE - block, block);
	}
	if (aio->bdev.info.can_discard) {
		expect_zeroes(&r, BDEV_DISCARD, 0, block, SIZE - 2 * block);
	}
	test_io_init(&(struct test_io){ 0 }, BDEV_DISCARD, 0, 0, NULL, 0);
	assert_int_equal(test_io(&r, BDEV_WRITE_ZEROES, 0, NULL, 0), 0);
	test_reactor_close(&r);
}

static void a_discard_frees_space(void **state)
{
	uint8_t *buf = aligned_alloc(4096, SIZE);
	struct stat before, after;
	struct test_reactor r;
	struct aio_bdev *aio;

	make_file(SIZE);
	aio = create(false);
	test_reactor_open(&r, &aio->bdev);
	test_fill(buf, SIZE, 9);
	assert_int_equal(test_io(&r, BDEV_WRITE, 0, buf, SIZE), 0);
	assert_int_equal(test_io(&r, BDEV_FLUSH, 0, NULL, 0), 0);
	assert_int_equal(stat(path, &before), 0);
	if (aio->bdev.info.can_discard) {
		assert_int_equal(test_io(&r, BDEV_DISCARD, 0, NULL, SIZE), 0);
		assert_int_equal(stat(path, &after), 0);
		assert_true(after.st_blocks < before.st_blocks);
		assert_int_equal(after.st_size, before.st_size);
	}
	test_reactor_close(&r);
	free(buf);
}

static void flush_works_both_ways(void **state)
{
	struct test_reactor r;

	make_file(SIZE);
	test_reactor_open(&r, &create(false)->bdev);
	assert_int_equal(test_io(&r, BDEV_FLUSH, 0, NULL, 0), 0);
	channel_of(&r)->flush_by_helper = true;
	assert_int_equal(test_io(&r, BDEV_FLUSH, 0, NULL, 0), 0);
	test_reactor_close(&r);
}

static void a_file_that_shrinks_gives_errors(void **state)
{
	uint8_t *buf = aligned_alloc(4096, 65536);
	struct test_reactor r;
	struct aio_bdev *aio;

	make_file(SIZE);
	aio = create(false);
	test_reactor_open(&r, &aio->bdev);
	memset(buf, 1, 65536);
	assert_int_equal(test_io(&r, BDEV_WRITE, 0, buf, 65536), 0);
	assert_int_equal(truncate(path, 8192), 0);
	assert_int_equal(test_io(&r, BDEV_READ, 4096, buf, 4096), 0);
	assert_int_equal(test_io(&r, BDEV_READ, 8192, buf, 4096), -EIO);
	/* The beginning is there, the rest is not: an error, not a short success. */
	assert_int_equal(test_io(&r, BDEV_READ, 4096, buf, 16384), -EIO);
	assert_int_equal(test_io(&r, BDEV_READ, 4096, buf + 1, 16384), -EIO);
	assert_int_equal(truncate(path, 8192 + 100), 0);
	assert_int_equal(test_io(&r, BDEV_READ, 4096, buf, 16384), -EIO);
	assert_int_equal(test_io(&r, BDEV_READ, 8192, buf + 1, 4096), -EIO);
	assert_int_equal(channel_of(&r)->bounce_free_n, AIO_BOUNCE_COUNT);
	test_reactor_close(&r);
	free(buf);
}

static void the_size_of_the_file_is_read_again(void **state)
{
	uint8_t *buf = aligned_alloc(4096, 4096);
	struct test_reactor r;
	const char *text = "";
	struct bdev *bdev;

	make_file(SIZE);
	bdev = &create(false)->bdev;
	test_reactor_open(&r, bdev);
	memset(buf, 1, 4096);
	assert_int_equal(truncate(path, SIZE * 2), 0);
	/* Nobody has said so yet. */
	assert_int_equal(test_io(&r, BDEV_WRITE, SIZE, buf, 4096), -EINVAL);
	assert_int_equal(bdev_rescan(bdev, &text), 0);
	assert_int_equal(bdev_size(bdev), SIZE * 2);
	assert_int_equal(test_io(&r, BDEV_WRITE, SIZE, buf, 4096), 0);
	assert_int_equal(truncate(path, 8192), 0);
	assert_int_equal(bdev_rescan(bdev, &text), 0);
	assert_int_equal(bdev_size(bdev), 8192);
	assert_int_equal(test_io(&r, BDEV_WRITE, 8192, buf, 4096), -EINVAL);

	/* No size for a disk: it stays as it was. */
	assert_int_equal(truncate(path, 4096 + 100), 0);
	assert_int_equal(bdev_rescan(bdev, &text), -EINVAL);
	assert_non_null(strstr(text, "aio0: it is 4196 bytes"));
	assert_int_equal(truncate(path, 0), 0);
	assert_int_equal(bdev_rescan(bdev, &text), -EINVAL);
	assert_non_null(strstr(text, "aio0: it is empty"));
	assert_int_equal(bdev_size(bdev), 8192);
	assert_int_equal(test_io(&r, BDEV_READ, 0, buf, 4096), -EIO);
	assert_int_equal(bdev_resize(bdev, 4096, &text), -ENOTSUP);
	test_reactor_close(&r);
	free(buf);
}

static void bad_requests_are_refused(void **state)
{
	uint8_t *buf = aligned_alloc(4096, 8192);
	struct iovec bad = { (void *)8192, 4096 };
	struct pollfd fd = { .events = POLLIN };
	struct test_reactor r;
	struct test_io t;
	struct stat st;

	make_file(SIZE);
	test_reactor_open(&r, &create(false)->bdev);
	fd.fd = bdev_channel_event_fd(r.channel);
	memset(buf, 0, 8192);
	assert_int_equal(test_io(&r, BDEV_WRITE, SIZE, buf, 4096), -EINVAL);
	assert_int_equal(test_io(&r, BDEV_WRITE, SIZE - 4096, buf, 8192), -EINVAL);
	assert_int_equal(test_io(&r, BDEV_WRITE, UINT64_MAX - 4095, buf, 4096), -EINVAL);
	assert_int_equal(test_io(&r, BDEV_READ, 1, buf, 4096), -EINVAL);
	assert_int_equal(test_io(&r, BDEV_WRITE_ZEROES, SIZE, NULL, 4096), -EINVAL);
	assert_int_equal(test_io(&r, BDEV_DISCARD, 4096, NULL, SIZE), -EINVAL);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, SIZE);
	/* Even a refusal is announced to a reactor that wants to sleep before it polls again. */
	test_io_init(&t, BDEV_READ, SIZE, 4096, NULL, 0);
	eventfd_drain(fd.fd);
	assert_int_equal(bdev_submit(r.channel, &t.io), 0);
	assert_int_equal(poll(&fd, 1, 0), 1);
	assert_int_equal(bdev_channels_poll(&r.channels), 1);
	assert_int_equal(t.io.status, -EINVAL);
	/* A guest's page that has gone: the error of the kernel comes through. */
	test_io_init(&t, BDEV_READ, 0, 4096, &bad, 1);
	assert_int_equal(test_run(&r, &t), -EFAULT);
	/* The next request is not harmed. */
	assert_int_equal(test_io(&r, BDEV_READ, 0, buf, 8192), 0);
	test_reactor_close(&r);
	free(buf);
}

static void a_read_only_disk_refuses_changes(void **state)
{
	uint8_t *buf = aligned_alloc(4096, 4096);
	struct test_reactor r;
	struct aio_bdev *aio;

	make_file(SIZE);
	assert_int_equal(chmod(path, 0400), 0);
	aio = create(true);
	assert_int_equal(fcntl(aio->fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	assert_true(aio->bdev.info.read_only);
	assert_false(aio->bdev.info.can_discard);
	test_reactor_open(&r, &aio->bdev);
	assert_int_equal(test_io(&r, BDEV_READ, 0, buf, 4096), 0);
	assert_int_equal(test_io(&r, BDEV_WRITE, 0, buf, 4096), -EROFS);
	assert_int_equal(test_io(&r, BDEV_DISCARD, 0, NULL, 4096), -EROFS);
	assert_int_equal(test_io(&r, BDEV_WRITE_ZEROES, 0, NULL, 4096), -EROFS);
	assert_int_equal(test_io(&r, BDEV_FLUSH, 0, NULL, 0), 0);
	test_reactor_close(&r);
	free(buf);
}

/* An error that io_submit() itself reports must not take its neighbours along. */
static void one_rejected_request_among_others(void **state)
{
	uint8_t *buf = aligned_alloc(4096, 3 * 4096);
	struct iovec iov[3];
	struct test_io ios[3];
	struct test_reactor r;

	make_file(SIZE);
	test_reactor_open(&r, &create(false)->bdev);
	for (int i = 0; i < 3; i++) {
		iov[i] = (struct iovec){ buf + i * 4096, 4096 };
		test_io_init(&ios[i], BDEV_READ, 0, 4096, &iov[i], 1);
		assert_int_equal(bdev_submit(r.channel, &ios[i].io), 0);
	}
	aio_request_of(&ios[1].io)->iocb.aio_fildes = -1;
	test_wait(&r, 3);
	assert_int_equal(ios[0].io.status, 0);
	assert_int_equal(ios[1].io.status, -EBADF);
	assert_int_equal(ios[2].io.status, 0);
	test_reactor_close(&r);
	free(buf);
}

/* ---- two reactors at once, all operations mixed, each in its own half ---- */

enum {
	ROUNDS = 150,
	SLOTS = 16,
	SLOT_BYTES = 8192
};

struct half {
	struct bdev *bdev;
	uint64_t start;
	const char *wrong;
};

static void half_failed(struct half *half, const char *what)
{
	half->wrong = what;
}

static bool half_wait(struct half *half, struct bdev_channels *channels,
		      struct bdev_channel *channel, unsigned int n)
{
	struct pollfd fd = { .fd = bdev_channel_event_fd(channel), .events = POLLIN };
	unsigned int completed = bdev_channels_poll(channels);

	while (completed < n) {
		if (poll(&fd, 1, TEST_DEADLINE_SECONDS * 1000) != 1) {
			half_failed(half, "no completion in time");
			return false;
		}
		eventfd_drain(fd.fd);
		completed += bdev_channels_poll(channels);
	}
	return true;
}

static bool half_round(struct half *half, struct bdev_channels *channels,
		       struct bdev_channel *channel, uint8_t *out, uint8_t *in, uint32_t round)
{
	struct test_io ios[SLOTS];
	struct iovec iov[SLOTS];
	const enum bdev_op steps[] = { BDEV_WRITE, BDEV_FLUSH, BDEV_WRITE_ZEROES, BDEV_READ };

	test_fill(out, SLOTS * SLOT_BYTES, round + (uint32_t)half->start);
	for (size_t step = 0; step < 4; step++) {
		uint8_t *buf = steps[step] == BDEV_READ ? in : out;
		unsigned int n = 0;

		for (unsigned int i = 0; i < SLOTS; i++) {
			uint64_t offset = half->start + i * SLOT_BYTES;

			/* Zeroes into every fourth slot; every other buffer is misaligned. */
			if (steps[step] == BDEV_WRITE_ZEROES && i % 4 != 0) {
				continue;
			}
			iov[n] = (struct iovec){ buf + i * SLOT_BYTES, SLOT_BYTES };
			test_io_init(&ios[n], steps[step], offset, SLOT_BYTES, &iov[n], 1);
			if (bdev_submit(channel, &ios[n].io) != 0) {
				half_failed(half, "submit");
				return false;
			}
			n++;
		}
		if (!half_wait(half, channels, channel, n)) {
			return false;
		}
		for (unsigned int i = 0; i < n; i++) {
			if (ios[i].io.status != 0 || ios[i].completions != 1) {
				half_failed(half, "a status");
				return false;
			}
		}
	}
	for (unsigned int i = 0; i < SLOTS; i += 4) {
		memset(out + i * SLOT_BYTES, 0, SLOT_BYTES);
	}
	if (memcmp(in, out, SLOTS * SLOT_BYTES) != 0) {
		half_failed(half, "the data");
		return false;
	}
	return true;
}

static void *use_half(void *arg)
{
	uint8_t *memory = aligned_alloc(4096, 2 * SLOTS * SLOT_BYTES + 4096);
	struct half *half = arg;

	for (uint32_t round = 0; round < ROUNDS && half->wrong == NULL; round++) {
		struct bdev_channels channels = { 0 };
		struct bdev_channel *channel;
		uint8_t *out = memory + (round % 2 == 0 ? 0 : 1);

		/* A new channel now and then: closing one races with the helper's last signal. */
		if (bdev_channels_get(&channels, half->bdev, &channel) != 0) {
			half_failed(half, "channel");
			break;
		}
		half_round(half, &channels, channel, out, out + SLOTS * SLOT_BYTES, round);
		bdev_channels_put(&channels, channel);
	}
	free(memory);
	return NULL;
}

static void two_reactors_share_a_disk(void **state)
{
	struct half halves[2] = { 0 };
	pthread_t threads[2];

	make_file(SIZE);
	halves[0].bdev = &create(false)->bdev;
	halves[1] = halves[0];
	halves[1].start = SIZE / 2;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(pthread_create(&threads[i], NULL, use_half, &halves[i]), 0);
	}
	for (int i = 0; i < 2; i++) {
		pthread_join(threads[i], NULL);
	}
	for (int i = 0; i < 2; i++) {
		if (halves[i].wrong != NULL) {
			fail_msg("reactor %d: %s", i, halves[i].wrong);
		}
	}
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, make_dir, remove_dir)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(files_that_cannot_be_a_disk),
		TEST(what_a_file_is_like),
		TEST(data_survives_every_framing),
		TEST(data_survives_without_the_mapped_ring),
		TEST(data_survives_the_page_cache),
		TEST(odd_lengths_at_even_addresses),
		TEST(more_elements_than_the_kernel_takes),
		TEST(long_elements_are_cut),
		TEST(the_kernel_gets_no_more_than_the_window),
		TEST(a_full_queue_says_so),
		TEST(a_queue_full_of_bytes_says_so),
		TEST(misaligned_requests_wait_for_a_buffer),
		TEST(cleared_ranges_read_as_zeroes),
		TEST(a_discard_frees_space),
		TEST(flush_works_both_ways),
		TEST(a_file_that_shrinks_gives_errors),
		TEST(the_size_of_the_file_is_read_again),
		TEST(bad_requests_are_refused),
		TEST(a_read_only_disk_refuses_changes),
		TEST(one_rejected_request_among_others),
		TEST(two_reactors_share_a_disk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
