/* SPDX-License-Identifier: BSD-3-Clause */
/* Finds the layout of the running fio, makes the struct it wants, and checks that the layout is right. */
#include <string.h>

#include "fio_abi.h"

const struct fioabi_layout *fioabi_find(const char *version)
{
	const struct fioabi_layout *layout = &fioabi_layout_of_source;

	if (layout != NULL && strcmp(layout->version, version) == 0) {
		return layout;
	}
	for (layout = fioabi_layouts; layout->version != NULL; layout++) {
		if (strcmp(layout->version, version) == 0) {
			return layout;
		}
	}
	return NULL;
}

/* ---- fio's option table ---- */

static const struct fioabi_option *look_up(const struct fioabi_option *table, const char *name)
{
	unsigned int i;

	for (i = 0; i < FIOABI_TABLE_LEN && table[i].name != NULL; i++) {
		if (strcmp(table[i].name, name) == 0) {
			return &table[i];
		}
	}
	return NULL;
}

/* An option of this type, whose value lies somewhere. */
static const struct fioabi_option *look_up_typed(const struct fioabi_option *table,
						 const char *name, enum fioabi_type type)
{
	const struct fioabi_option *option = look_up(table, name);

	if (option == NULL || option->type != (int)type || option->offset[0] == 0) {
		return NULL;
	}
	return option;
}

static bool has_value(const struct fioabi_option *option, unsigned int n, const char *word,
		      uint64_t value)
{
	return option->values[n].word != NULL && strcmp(option->values[n].word, word) == 0 &&
	       option->values[n].value == value;
}

const char *fioabi_check_options(const struct fioabi_option *table, size_t bytes,
				 struct fioabi_job_options *ret_options)
{
	const struct fioabi_option *name, *rw, *depth, *thread, *stonewall, *align, *range;
	unsigned int i;

	if (bytes != FIOABI_TABLE_LEN * sizeof(*table)) {
		return "its option table has another length";
	}
	name = look_up_typed(table, "name", FIOABI_STR_STORE);
	rw = look_up_typed(table, "rw", FIOABI_STR);
	depth = look_up_typed(table, "iodepth", FIOABI_INT);
	thread = look_up_typed(table, "thread", FIOABI_STR_SET);
	stonewall = look_up_typed(table, "stonewall", FIOABI_STR_SET);
	align = look_up_typed(table, "iomem_align", FIOABI_INT);
	range = look_up_typed(table, "bsrange", FIOABI_RANGE);
	if (name == NULL || rw == NULL || depth == NULL || thread == NULL || stonewall == NULL ||
	    align == NULL || range == NULL) {
		return "its option table lacks an option, or has it with another type";
	}
	/* What stands in the later members of known options. */
	if (depth->preset == NULL || strcmp(depth->preset, "1") != 0 || depth->min != 1 ||
	    depth->interval != 1 || !has_value(rw, 0, "read", FIOABI_DOES_READ) ||
	    !has_value(rw, 1, "write", FIOABI_DOES_WRITE) ||
	    !has_value(rw, 2, "trim", FIOABI_DOES_TRIM) || range->parent == NULL ||
	    strcmp(range->parent, "rw") != 0 || range->category == 0) {
		return "the entries of its option table have another layout";
	}
	*ret_options = (struct fioabi_job_options){
		.name = name->offset[0],
		.directions = rw->offset[0],
		.iodepth = depth->offset[0],
		.thread = thread->offset[0],
		.stonewall = stonewall->offset[0],
		.mem_align = align->offset[0],
	};
	for (i = 0; i < 3; i++) {
		ret_options->min_bs[i] = range->offset[2 * i];
		ret_options->max_bs[i] = range->offset[2 * i + 1];
	}
	return NULL;
}

/* ---- the struct of functions ---- */

/* ISO C has no conversion of function pointers to void pointers; their bytes can be copied. */
static void put(void *ops, size_t offset, const void *value, size_t size)
{
	memcpy((char *)ops + offset, value, size);
}

#define PUT(member) put(ret_ops, at->member, &engine->member, sizeof(engine->member))

void fioabi_make_ops(const struct fioabi_layout *layout, const struct fioabi_engine *engine,
		     void *ret_ops)
{
	__typeof__(&layout->ops) at = &layout->ops;

	memset(ret_ops, 0, FIOABI_OPS_MAX);
	put(ret_ops, at->version, &layout->ops_version, sizeof(layout->ops_version));
	PUT(name);
	PUT(flags);
	PUT(setup);
	PUT(init);
	PUT(queue);
	PUT(commit);
	PUT(getevents);
	PUT(event);
	PUT(cleanup);
	PUT(open_file);
	PUT(close_file);
	PUT(iomem_alloc);
	PUT(iomem_free);
	PUT(io_u_init);
	PUT(option_struct_size);
	PUT(options);
}

/* ---- members ---- */

const char *fioabi_check_td(const struct fioabi_layout *layout, const struct fio_td *td,
			    const void *ops)
{
	__typeof__(&layout->td) at = &layout->td;
	const struct fio_disk *const *files;

	if (fioabi_ptr(td, at->io_ops) != ops) {
		return "the job's engine is not where it should be";
	}
	if (fioabi_ptr(td, at->engine_options) == NULL) {
		return "the job's engine options are not where they should be";
	}
	if (fioabi_ptr(td, at->io_ops_data) != NULL || fioabi_ptr(td, at->orig_buffer) != NULL ||
	    fioabi_u32(td, at->error) != 0) {
		return "the job has data or an error of its engine before it has begun";
	}
	files = fioabi_ptr(td, at->files);
	if (fioabi_u32(td, at->files_index) == 0 || files == NULL || files[0] == NULL) {
		return "the job's files are not where they should be";
	}
	if ((int)fioabi_u32(files[0], layout->disk.fd) != -1 ||
	    fioabi_u64(files[0], layout->disk.real_file_size) != UINT64_MAX ||
	    fioabi_ptr(files[0], layout->disk.file_name) == NULL) {
		return "the members of a file are not where they should be";
	}
	return NULL;
}

const char *fioabi_check_new_unit(const struct fioabi_layout *layout, const struct fio_unit *unit,
				  unsigned int number)
{
	__typeof__(&layout->unit) at = &layout->unit;

	/* fio numbers them there before the engine gets them. */
	if (fioabi_u32(unit, at->index) != number || fioabi_ptr(unit, at->file) != NULL ||
	    fioabi_u32(unit, at->error) != 0 || fioabi_u64(unit, at->resid) != 0) {
		return "the members of a new request are not where they should be";
	}
	return NULL;
}

static bool within(const struct fioabi_expect *expect, const void *p, uint64_t len)
{
	uintptr_t begin = (uintptr_t)expect->buffer;
	uintptr_t at = (uintptr_t)p;

	return at >= begin && len <= expect->buffer_len &&
	       at - begin <= expect->buffer_len - (size_t)len;
}

const char *fioabi_check_unit(const struct fioabi_layout *layout, const struct fio_unit *unit,
			      const struct fioabi_expect *expect)
{
	static const unsigned int does[] = { FIOABI_DOES_READ, FIOABI_DOES_WRITE,
					     FIOABI_DOES_TRIM };
	__typeof__(&layout->unit) at = &layout->unit;
	uint32_t direction = fioabi_u32(unit, at->ddir);
	uint64_t len = fioabi_u64(unit, at->xfer_buflen);
	uint64_t offset = fioabi_u64(unit, at->offset);

	if (fioabi_ptr(unit, at->file) != expect->disk) {
		return "a request's file is not the job's";
	}
	if (direction > FIOABI_TRIM ||
	    ((expect->does & does[direction]) == 0 && direction != FIOABI_READ)) {
		return "a request's direction is none of the job's";
	}
	if (len == 0 || len != fioabi_u64(unit, at->buflen) || len > expect->max_len) {
		return "a request's length is none of the job's";
	}
	if (offset > expect->capacity || len > expect->capacity - offset) {
		return "a request's offset is beyond the disk";
	}
	if (fioabi_u32(unit, at->error) != 0 || fioabi_u64(unit, at->resid) != 0) {
		return "a request has failed before it was begun";
	}
	if (direction == FIOABI_TRIM) {
		return NULL;
	}
	if (fioabi_ptr(unit, at->buf) != fioabi_ptr(unit, at->xfer_buf) ||
	    !within(expect, fioabi_ptr(unit, at->xfer_buf), len)) {
		return "a request's memory is not the job's";
	}
	return NULL;
}
