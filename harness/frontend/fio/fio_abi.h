/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: what an engine that lives outside of fio must know of fio's inside.
 *
 * fio loads an engine with dlopen and hands it pointers to its own structs. No distribution ships headers
 * for them, so this file describes, in words of its own, the few members that the engine touches:
 *
 *   layout   where those members are in one version of fio. Structs of fio are never declared: they are
 *            opaque here, and read and written through the layout.
 *   option   an entry of fio's option tables, one layout in all versions that are known. Our own options
 *            are such a table, and fio's table, which its binary exports, tells where the options of a job
 *            are.
 *   ops      the struct of functions that fio calls. It is filled in when the engine is loaded, as the
 *            layout says.
 *
 * A layout is right for one version of fio as one distribution builds it, so nothing is believed: when it
 * is loaded the engine looks for the version, and checks fio's option table; before the first request of
 * a job it checks the members. fioabi_find and the fioabi_check functions return NULL or one sentence that
 * says what is not as expected.
 *
 * The layouts that come with the engine are in layouts.c; docs/FIO.md says how they were found. One more
 * can be built from a source tree of fio (meson setup -Dfio_source=DIR).
 */
#ifndef VHOST_FIO_ABI_H
#define VHOST_FIO_ABI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fio_td;	 /* fio's state of one job */
struct fio_unit; /* fio's state of one request */
struct fio_disk; /* fio's state of one file */

struct fioabi_layout {
	const char *version; /* as `fio --version` prints it */
	int ops_version;
	/* The engine's functions. */
	struct {
		uint16_t name, version, flags, setup, init, queue, commit, getevents, event,
			cleanup, open_file, close_file, iomem_alloc, iomem_free, io_u_init,
			option_struct_size, options;
	} ops;
	struct {
		uint32_t options, engine_options, files, files_index, error, orig_buffer, io_ops,
			io_ops_data;
	} td;
	struct {
		uint16_t file, ddir, buflen, offset, buf, xfer_buf, xfer_buflen, resid, error,
			index, engine_data;
	} unit;
	struct {
		uint16_t fd, file_name, real_file_size;
	} disk;
};

/* Those that come with the engine; the last has no version. */
extern const struct fioabi_layout fioabi_layouts[];
/* The one of a source tree, if the engine was built with one. It goes first. */
extern const struct fioabi_layout fioabi_layout_of_source __attribute__((weak));

/* ---- options ---- */

enum fioabi_type {
	FIOABI_STR = 1,
	FIOABI_STR_STORE = 6,
	FIOABI_RANGE = 7,
	FIOABI_INT = 8,
	FIOABI_BOOL = 10,
	FIOABI_STR_SET = 12,
};

#define FIOABI_CATEGORY_ENGINE 0x40
#define FIOABI_VALUES	       32
#define FIOABI_TABLE_LEN       512

struct fioabi_value {
	const char *word;
	uint64_t value;
	const char *help;
	int unused0;
	void *unused1;
};

struct fioabi_option {
	const char *name;
	const char *long_name;
	const char *alias;
	int type;
	uint32_t offset[6]; /* of the value, or values, in the struct of options */
	uint64_t max;
	int min;
	double max_float;
	double min_float;
	uint32_t interval;
	uint32_t max_len;
	int negate;
	int priority;
	void *callback;
	const char *help;
	const char *preset;
	struct fioabi_value values[FIOABI_VALUES];
	const char *parent;
	int hide;
	int hide_on_set;
	const char *inverse;
	struct fioabi_option *inverse_option;
	int (*verify)(const struct fioabi_option *option, void *data);
	const char *profile;
	void *profile_options;
	uint64_t category;
	uint64_t group;
	void *unused;
	int is_seconds;
	int is_time;
	int no_warning;
	int power_of_two;
	int no_free;
};

_Static_assert(sizeof(struct fioabi_option) == 0x5e8, "the length of an option in fio's tables");
_Static_assert(offsetof(struct fioabi_option, preset) == 0x78, "");
_Static_assert(offsetof(struct fioabi_option, category) == 0x5b8, "");

/* Where options of a job are, behind td.options. Found in fio's own table by name. */
struct fioabi_job_options {
	uint32_t name;
	uint32_t directions;
	uint32_t iodepth;
	uint32_t thread;
	uint32_t stonewall;
	uint32_t mem_align;
	uint32_t min_bs[3];
	uint32_t max_bs[3];
};

/* ---- what fio passes around ---- */

enum fioabi_flags {
	FIOABI_DISKLESS = 1 << 2,     /* there is no file */
	FIOABI_NO_EXTEND = 1 << 3,    /* nor can it grow */
	FIOABI_NO_DISK_UTIL = 1 << 4, /* nor are there statistics of the kernel */
	FIOABI_MEM_ALIGN = 1 << 9,
	FIOABI_NO_FILE_HASH = 1 << 13,
	FIOABI_NO_OFFLOAD = 1 << 15, /* the thread of the job calls, and no other */
};

enum fioabi_queue_result {
	FIOABI_COMPLETED = 0,
	FIOABI_QUEUED = 1,
	FIOABI_BUSY = 2,
};

enum fioabi_direction {
	FIOABI_READ = 0,
	FIOABI_WRITE = 1,
	FIOABI_TRIM = 2,
	FIOABI_SYNC = 3,
	FIOABI_DATASYNC = 4,
};

/* Bits of the option rw. */
#define FIOABI_DOES_READ  1
#define FIOABI_DOES_WRITE 2
#define FIOABI_DOES_TRIM  8

struct timespec;

/* The functions of the engine, in their types; fio's struct is made of it. */
struct fioabi_engine {
	const char *name;
	int flags;
	int (*setup)(struct fio_td *td);
	int (*init)(struct fio_td *td);
	int (*queue)(struct fio_td *td, struct fio_unit *unit);
	int (*commit)(struct fio_td *td);
	int (*getevents)(struct fio_td *td, unsigned int min, unsigned int max,
			 const struct timespec *timeout);
	struct fio_unit *(*event)(struct fio_td *td, int n);
	void (*cleanup)(struct fio_td *td);
	int (*open_file)(struct fio_td *td, struct fio_disk *disk);
	int (*close_file)(struct fio_td *td, struct fio_disk *disk);
	int (*iomem_alloc)(struct fio_td *td, size_t size);
	void (*iomem_free)(struct fio_td *td);
	int (*io_u_init)(struct fio_td *td, struct fio_unit *unit);
	int option_struct_size;
	struct fioabi_option *options;
};

/* ---- finding and checking ---- */

/* The layout of this version of fio; NULL: none of ours. */
const struct fioabi_layout *fioabi_find(const char *version);
/*
 * Looks up the options of a job in fio's table of `bytes` bytes. Returns NULL, or why the table is not what
 * is described above.
 */
const char *fioabi_check_options(const struct fioabi_option *table, size_t bytes,
				 struct fioabi_job_options *ret_options);
#define FIOABI_OPS_MAX 1024
/* Fills `ret_ops`, which has FIOABI_OPS_MAX bytes, with the struct that fio wants. */
void fioabi_make_ops(const struct fioabi_layout *layout, const struct fioabi_engine *engine,
		     void *ret_ops);
/* Is this a job, whose engine is `ops`, before it is set up? */
const char *fioabi_check_td(const struct fioabi_layout *layout, const struct fio_td *td,
			    const void *ops);
/* Is this a new request, the one of this number? */
const char *fioabi_check_new_unit(const struct fioabi_layout *layout, const struct fio_unit *unit,
				  unsigned int number);
struct fioabi_expect {
	const struct fio_disk *disk;
	const void *buffer;
	size_t buffer_len;
	uint64_t capacity;
	uint64_t max_len;
	unsigned int does; /* FIOABI_DOES_ bits */
};
/* Is this a request to do something to the disk with memory of the buffer? */
const char *fioabi_check_unit(const struct fioabi_layout *layout, const struct fio_unit *unit,
			      const struct fioabi_expect *expect);

/* ---- members ---- */

static inline const void *fioabi_at_const(const void *base, size_t offset)
{
	return (const char *)base + offset;
}

static inline void *fioabi_at(void *base, size_t offset)
{
	return (char *)base + offset;
}

static inline uint64_t fioabi_u64(const void *base, size_t offset)
{
	return *(const uint64_t *)fioabi_at_const(base, offset);
}

static inline uint32_t fioabi_u32(const void *base, size_t offset)
{
	return *(const uint32_t *)fioabi_at_const(base, offset);
}

static inline void *fioabi_ptr(const void *base, size_t offset)
{
	return *(void *const *)fioabi_at_const(base, offset);
}

static inline void fioabi_set_u64(void *base, size_t offset, uint64_t value)
{
	*(uint64_t *)fioabi_at(base, offset) = value;
}

static inline void fioabi_set_u32(void *base, size_t offset, uint32_t value)
{
	*(uint32_t *)fioabi_at(base, offset) = value;
}

static inline void fioabi_set_ptr(void *base, size_t offset, void *value)
{
	*(void **)fioabi_at(base, offset) = value;
}

#endif
