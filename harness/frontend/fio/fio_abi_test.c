/* SPDX-License-Identifier: BSD-3-Clause */
/* The checks that keep the engine from running in a fio that it was not made for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "options.h"

#define TD_BYTES   (256 * 1024)
#define UNIT_BYTES 512
#define BLOCK	   4096

/* ---- fio's option table ---- */

struct table {
	struct fioabi_option options[FIOABI_TABLE_LEN];
};

/* What of fio's table matters, in no order that does. */
static struct table *new_table(void)
{
	static const struct fioabi_option some[] = {
		{ .name = "description", .type = FIOABI_STR_STORE, .offset = { 8 } },
		{ .name = "name", .type = FIOABI_STR_STORE, .offset = { 80 } },
		{ .name = "rw",
		  .type = FIOABI_STR,
		  .offset = { 152 },
		  .values = { { .word = "read", .value = FIOABI_DOES_READ },
			      { .word = "write", .value = FIOABI_DOES_WRITE },
			      { .word = "trim", .value = FIOABI_DOES_TRIM } } },
		{ .name = "iodepth",
		  .type = FIOABI_INT,
		  .offset = { 184 },
		  .preset = "1",
		  .min = 1,
		  .interval = 1 },
		{ .name = "bsrange",
		  .type = FIOABI_RANGE,
		  .offset = { 344, 368, 352, 376, 360, 384 },
		  .parent = "rw",
		  .category = 2 },
		{ .name = "iomem_align", .type = FIOABI_INT, .offset = { 1644 } },
		{ .name = "stonewall", .type = FIOABI_STR_SET, .offset = { 1676 } },
		{ .name = "thread", .type = FIOABI_STR_SET, .offset = { 1232 } },
	};
	struct table *table = calloc(1, sizeof(*table));

	assert_non_null(table);
	memcpy(table->options, some, sizeof(some));
	return table;
}

static struct fioabi_option *named(struct table *table, const char *name)
{
	struct fioabi_option *option = table->options;

	while (strcmp(option->name, name) != 0) {
		option++;
	}
	return option;
}

static void test_option_table(void **state)
{
	struct table *table = new_table();
	struct fioabi_job_options found;

	(void)state;
	assert_null(fioabi_check_options(table->options, sizeof(*table), &found));
	assert_int_equal(found.name, 80);
	assert_int_equal(found.directions, 152);
	assert_int_equal(found.iodepth, 184);
	assert_int_equal(found.thread, 1232);
	assert_int_equal(found.stonewall, 1676);
	assert_int_equal(found.mem_align, 1644);
	assert_int_equal(found.min_bs[1], 352);
	assert_int_equal(found.max_bs[2], 384);
	free(table);
}

static void assert_table_refused(struct table *table, size_t bytes, const char *part)
{
	struct fioabi_job_options found = { .iodepth = 77 };
	const char *why = fioabi_check_options(table->options, bytes, &found);

	assert_non_null(why);
	assert_non_null(strstr(why, part));
	assert_int_equal(found.iodepth, 77);
	free(table);
}

static void test_other_option_tables(void **state)
{
	struct table *table = new_table();

	(void)state;
	assert_table_refused(table, sizeof(*table) - 512 * 8, "another length");
	table = new_table();
	named(table, "thread")->name = "threads";
	assert_table_refused(table, sizeof(*table), "lacks an option");
	table = new_table();
	named(table, "iodepth")->type = FIOABI_BOOL;
	assert_table_refused(table, sizeof(*table), "another type");
	table = new_table();
	named(table, "bsrange")->offset[0] = 0;
	assert_table_refused(table, sizeof(*table), "lacks an option");
	table = new_table();
	named(table, "iodepth")->preset = NULL;
	assert_table_refused(table, sizeof(*table), "another layout");
	table = new_table();
	named(table, "rw")->values[2].value = FIOABI_DOES_WRITE;
	assert_table_refused(table, sizeof(*table), "another layout");
	table = new_table();
	named(table, "bsrange")->parent = "bs";
	assert_table_refused(table, sizeof(*table), "another layout");
}

/* ---- the struct of functions ---- */

static int some_setup(struct fio_td *td)
{
	return td == NULL ? 11 : 0;
}

static int some_queue(struct fio_td *td, struct fio_unit *unit)
{
	return td == NULL && unit == NULL ? FIOABI_BUSY : FIOABI_QUEUED;
}

static void test_ops(void **state)
{
	const struct fioabi_engine engine = {
		.name = "some",
		.flags = FIOABI_DISKLESS,
		.setup = some_setup,
		.queue = some_queue,
		.option_struct_size = 96,
		.options = engine_option_table,
	};
	const struct fioabi_layout *layout;
	unsigned char ops[FIOABI_OPS_MAX];

	(void)state;
	for (layout = fioabi_layouts; layout->version != NULL; layout++) {
		int (*setup)(struct fio_td * td);
		int (*queue)(struct fio_td * td, struct fio_unit * unit);

		fioabi_make_ops(layout, &engine, ops);
		assert_string_equal(fioabi_ptr(ops, layout->ops.name), "some");
		assert_int_equal(fioabi_u32(ops, layout->ops.version), layout->ops_version);
		assert_int_equal(fioabi_u32(ops, layout->ops.flags), FIOABI_DISKLESS);
		memcpy(&setup, ops + layout->ops.setup, sizeof(setup));
		memcpy(&queue, ops + layout->ops.queue, sizeof(queue));
		assert_int_equal(setup(NULL), 11);
		assert_int_equal(queue(NULL, NULL), FIOABI_BUSY);
		assert_int_equal(fioabi_u32(ops, layout->ops.option_struct_size), 96);
		assert_ptr_equal(fioabi_ptr(ops, layout->ops.options), engine_option_table);
	}
}

static void test_versions(void **state)
{
	(void)state;
#ifdef __x86_64__
	assert_non_null(fioabi_find("fio-3.33"));
	assert_int_equal(fioabi_find("fio-3.33")->ops_version, 31);
	assert_int_equal(fioabi_find("fio-3.39")->ops_version, 36);
	assert_int_equal(fioabi_find("fio-3.41")->ops_version, 39);
#endif
	assert_null(fioabi_find("fio-3.34"));
	assert_null(fioabi_find("fio-3.33-15-gabcd"));
	assert_null(fioabi_find(""));
}

/* ---- members ---- */

struct fake {
	const struct fioabi_layout *layout;
	void *td;
	void *files[1];
	void *disk;
	void *unit;
	char *buffer;
	int ops;
};

/* As fio has a job when it asks the engine to set it up, and a request when it queues it. */
static void new_fake(struct fake *fake, const struct fioabi_layout *layout)
{
	fake->layout = layout;
	fake->td = calloc(1, TD_BYTES);
	fake->disk = calloc(1, UNIT_BYTES);
	fake->unit = calloc(1, UNIT_BYTES);
	fake->buffer = calloc(4, BLOCK);
	assert_true(fake->td != NULL && fake->disk != NULL && fake->unit != NULL &&
		    fake->buffer != NULL);
	fake->files[0] = fake->disk;
	fioabi_set_ptr(fake->td, layout->td.io_ops, &fake->ops);
	fioabi_set_ptr(fake->td, layout->td.engine_options, fake->unit);
	fioabi_set_ptr(fake->td, layout->td.files, fake->files);
	fioabi_set_u32(fake->td, layout->td.files_index, 1);
	fioabi_set_u32(fake->disk, layout->disk.fd, (uint32_t)-1);
	fioabi_set_ptr(fake->disk, layout->disk.file_name, "job.0.0");
	fioabi_set_u64(fake->disk, layout->disk.real_file_size, UINT64_MAX);
}

static void free_fake(struct fake *fake)
{
	free(fake->td);
	free(fake->disk);
	free(fake->unit);
	free(fake->buffer);
}

static const char *check_td(struct fake *fake)
{
	return fioabi_check_td(fake->layout, fake->td, &fake->ops);
}

static void test_td(void **state)
{
	const struct fioabi_layout *layout;

	(void)state;
	for (layout = fioabi_layouts; layout->version != NULL; layout++) {
		const struct {
			uint32_t at;
			size_t size;
		} zero_wrong[] = { { layout->td.io_ops, sizeof(void *) },
				   { layout->td.engine_options, sizeof(void *) },
				   { layout->td.files, sizeof(void *) },
				   { layout->td.files_index, sizeof(uint32_t) } };
		const uint32_t set_wrong[] = { layout->td.io_ops_data, layout->td.orig_buffer,
					       layout->td.error };
		struct fake fake;
		unsigned int i;

		new_fake(&fake, layout);
		assert_null(check_td(&fake));
		for (i = 0; i < 4; i++) {
			char *member = (char *)fake.td + zero_wrong[i].at;
			char before[sizeof(void *)];

			memcpy(before, member, zero_wrong[i].size);
			memset(member, 0, zero_wrong[i].size);
			assert_non_null(check_td(&fake));
			memcpy(member, before, zero_wrong[i].size);
		}
		for (i = 0; i < 3; i++) {
			fioabi_set_u32(fake.td, set_wrong[i], 1);
			assert_non_null(check_td(&fake));
			fioabi_set_u32(fake.td, set_wrong[i], 0);
		}
		fioabi_set_u32(fake.disk, layout->disk.fd, 0);
		assert_non_null(check_td(&fake));
		fioabi_set_u32(fake.disk, layout->disk.fd, (uint32_t)-1);
		fioabi_set_u64(fake.disk, layout->disk.real_file_size, 0);
		assert_non_null(check_td(&fake));
		free_fake(&fake);
	}
}

static void test_new_unit(void **state)
{
	const struct fioabi_layout *layout;

	(void)state;
	for (layout = fioabi_layouts; layout->version != NULL; layout++) {
		struct fake fake;

		new_fake(&fake, layout);
		assert_null(fioabi_check_new_unit(layout, fake.unit, 0));
		assert_non_null(fioabi_check_new_unit(layout, fake.unit, 1));
		fioabi_set_u32(fake.unit, layout->unit.index, 7);
		assert_null(fioabi_check_new_unit(layout, fake.unit, 7));
		fioabi_set_u32(fake.unit, layout->unit.error, 1);
		assert_non_null(fioabi_check_new_unit(layout, fake.unit, 7));
		free_fake(&fake);
	}
}

static void fill_unit(struct fake *fake, uint32_t direction, uint64_t offset, uint64_t len)
{
	__typeof__(&fake->layout->unit) at = &fake->layout->unit;

	fioabi_set_ptr(fake->unit, at->file, fake->disk);
	fioabi_set_u32(fake->unit, at->ddir, direction);
	fioabi_set_u64(fake->unit, at->offset, offset);
	fioabi_set_u64(fake->unit, at->buflen, len);
	fioabi_set_u64(fake->unit, at->xfer_buflen, len);
	fioabi_set_ptr(fake->unit, at->buf, fake->buffer + BLOCK);
	fioabi_set_ptr(fake->unit, at->xfer_buf, fake->buffer + BLOCK);
}

static void test_unit(void **state)
{
	const struct fioabi_layout *layout;

	(void)state;
	for (layout = fioabi_layouts; layout->version != NULL; layout++) {
		__typeof__(&layout->unit) at = &layout->unit;
		struct fake fake;
		struct fioabi_expect expect = {
			.buffer_len = 4 * BLOCK,
			.capacity = 10 * BLOCK,
			.max_len = 2 * BLOCK,
			.does = FIOABI_DOES_WRITE,
		};

		new_fake(&fake, layout);
		expect.disk = fake.disk;
		expect.buffer = fake.buffer;
		fill_unit(&fake, FIOABI_WRITE, 8 * BLOCK, 2 * BLOCK);
		assert_null(fioabi_check_unit(layout, fake.unit, &expect));
		/* Verifying reads what was written. */
		fill_unit(&fake, FIOABI_READ, 0, BLOCK);
		assert_null(fioabi_check_unit(layout, fake.unit, &expect));
		fill_unit(&fake, FIOABI_TRIM, 0, BLOCK);
		assert_non_null(fioabi_check_unit(layout, fake.unit, &expect));
		fill_unit(&fake, 99, 0, BLOCK);
		assert_non_null(fioabi_check_unit(layout, fake.unit, &expect));
		fill_unit(&fake, FIOABI_WRITE, 9 * BLOCK, 2 * BLOCK);
		assert_non_null(fioabi_check_unit(layout, fake.unit, &expect));
		fill_unit(&fake, FIOABI_WRITE, UINT64_MAX - 10, BLOCK);
		assert_non_null(fioabi_check_unit(layout, fake.unit, &expect));
		fill_unit(&fake, FIOABI_WRITE, 0, 0);
		assert_non_null(fioabi_check_unit(layout, fake.unit, &expect));
		fill_unit(&fake, FIOABI_WRITE, 0, 3 * BLOCK);
		assert_non_null(fioabi_check_unit(layout, fake.unit, &expect));
		fill_unit(&fake, FIOABI_WRITE, 0, BLOCK);
		fioabi_set_ptr(fake.unit, at->file, fake.td);
		assert_non_null(fioabi_check_unit(layout, fake.unit, &expect));
		fill_unit(&fake, FIOABI_WRITE, 0, BLOCK);
		fioabi_set_ptr(fake.unit, at->xfer_buf, fake.buffer);
		assert_non_null(fioabi_check_unit(layout, fake.unit, &expect));
		fill_unit(&fake, FIOABI_WRITE, 0, BLOCK);
		expect.buffer = fake.buffer + 2 * BLOCK;
		assert_non_null(fioabi_check_unit(layout, fake.unit, &expect));
		free_fake(&fake);
	}
}

/* ---- our options ---- */

static void test_engine_options(void **state)
{
	const struct engine_options good = {
		.device = DEVICE_BLK,
		.ring = RING_SPLIT,
		.queues = 1,
		.indirect = 1,
		.connect_timeout = 1000,
	};
	struct engine_options options = good;

	(void)state;
	assert_null(engine_options_check(&options));
	options.device = 1;
	assert_non_null(strstr(engine_options_check(&options), "this fio"));
	options = good;
	options.ring = 0;
	assert_non_null(strstr(engine_options_check(&options), "this fio"));
	options = good;
	options.lun = 3;
	assert_non_null(strstr(engine_options_check(&options), "lun="));
	options.device = DEVICE_SCSI;
	assert_null(engine_options_check(&options));
	options.queue_size = 100;
	assert_non_null(strstr(engine_options_check(&options), "power of two"));
	options.ring = RING_PACKED;
	assert_null(engine_options_check(&options));
	options.huge_page = 3 << 20;
	assert_non_null(strstr(engine_options_check(&options), "hugepage="));
	options.huge_page = 2 << 20;
	assert_null(engine_options_check(&options));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_versions),
		cmocka_unit_test(test_option_table),
		cmocka_unit_test(test_other_option_tables),
		cmocka_unit_test(test_ops),
		cmocka_unit_test(test_td),
		cmocka_unit_test(test_new_unit),
		cmocka_unit_test(test_unit),
		cmocka_unit_test(test_engine_options),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
