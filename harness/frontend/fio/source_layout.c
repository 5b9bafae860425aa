/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The layout of a fio that was configured and built from source (meson setup -Dfio_source=DIR): its headers
 * say where the members are. The only file that includes them.
 */
#include "config-host.h"

#include "fio.h"

#include "fio_abi.h"

_Static_assert(sizeof(struct fioabi_option) == sizeof(struct fio_option), "an option");
_Static_assert(offsetof(struct fioabi_option, offset) == offsetof(struct fio_option, off1), "");
_Static_assert(offsetof(struct fioabi_option, max) == offsetof(struct fio_option, maxval), "");
_Static_assert(offsetof(struct fioabi_option, min) == offsetof(struct fio_option, minval), "");
_Static_assert(offsetof(struct fioabi_option, interval) == offsetof(struct fio_option, interval),
	       "");
_Static_assert(offsetof(struct fioabi_option, help) == offsetof(struct fio_option, help), "");
_Static_assert(offsetof(struct fioabi_option, preset) == offsetof(struct fio_option, def), "");
_Static_assert(offsetof(struct fioabi_option, values) == offsetof(struct fio_option, posval), "");
_Static_assert(offsetof(struct fioabi_option, parent) == offsetof(struct fio_option, parent), "");
_Static_assert(offsetof(struct fioabi_option, category) == offsetof(struct fio_option, category),
	       "");
_Static_assert(sizeof(struct fioabi_value) == sizeof(struct value_pair), "a value of an option");
_Static_assert(FIOABI_STR == FIO_OPT_STR && FIOABI_STR_STORE == FIO_OPT_STR_STORE &&
		       FIOABI_RANGE == FIO_OPT_RANGE && FIOABI_INT == FIO_OPT_INT &&
		       FIOABI_BOOL == FIO_OPT_BOOL && FIOABI_STR_SET == FIO_OPT_STR_SET,
	       "types of options");
_Static_assert(FIOABI_TABLE_LEN == FIO_MAX_OPTS, "the option table");
_Static_assert(FIOABI_DISKLESS == FIO_DISKLESSIO && FIOABI_NO_EXTEND == FIO_NOEXTEND &&
		       FIOABI_NO_DISK_UTIL == FIO_NODISKUTIL && FIOABI_MEM_ALIGN == FIO_MEMALIGN &&
		       FIOABI_NO_FILE_HASH == FIO_NOFILEHASH && FIOABI_NO_OFFLOAD == FIO_NO_OFFLOAD,
	       "flags of an engine");
_Static_assert(FIOABI_COMPLETED == FIO_Q_COMPLETED && FIOABI_QUEUED == FIO_Q_QUEUED &&
		       FIOABI_BUSY == FIO_Q_BUSY,
	       "what queue returns");
_Static_assert(FIOABI_READ == DDIR_READ && FIOABI_WRITE == DDIR_WRITE && FIOABI_TRIM == DDIR_TRIM &&
		       FIOABI_SYNC == DDIR_SYNC && FIOABI_DATASYNC == DDIR_DATASYNC,
	       "directions");
_Static_assert(FIOABI_DOES_READ == TD_DDIR_READ && FIOABI_DOES_WRITE == TD_DDIR_WRITE &&
		       FIOABI_DOES_TRIM == TD_DDIR_TRIM,
	       "directions of a job");
_Static_assert(sizeof(struct ioengine_ops) <= FIOABI_OPS_MAX, "");

#define OPS(member)  offsetof(struct ioengine_ops, member)
#define TD(member)   offsetof(struct thread_data, member)
#define UNIT(member) offsetof(struct io_u, member)

const struct fioabi_layout fioabi_layout_of_source = {
	.version = FIO_SOURCE_VERSION,
	.ops_version = FIO_IOOPS_VERSION,
	.ops = { .name = OPS(name),
		 .version = OPS(version),
		 .flags = OPS(flags),
		 .setup = OPS(setup),
		 .init = OPS(init),
		 .queue = OPS(queue),
		 .commit = OPS(commit),
		 .getevents = OPS(getevents),
		 .event = OPS(event),
		 .cleanup = OPS(cleanup),
		 .open_file = OPS(open_file),
		 .close_file = OPS(close_file),
		 .iomem_alloc = OPS(iomem_alloc),
		 .iomem_free = OPS(iomem_free),
		 .io_u_init = OPS(io_u_init),
		 .option_struct_size = OPS(option_struct_size),
		 .options = OPS(options) },
	.td = { .options = TD(o),
		.engine_options = TD(eo),
		.files = TD(files),
		.files_index = TD(files_index),
		.error = TD(error),
		.orig_buffer = TD(orig_buffer),
		.io_ops = TD(io_ops),
		.io_ops_data = TD(io_ops_data) },
	.unit = { .file = UNIT(file),
		  .ddir = UNIT(ddir),
		  .buflen = UNIT(buflen),
		  .offset = UNIT(offset),
		  .buf = UNIT(buf),
		  .xfer_buf = UNIT(xfer_buf),
		  .xfer_buflen = UNIT(xfer_buflen),
		  .resid = UNIT(resid),
		  .error = UNIT(error),
		  .index = UNIT(index),
		  .engine_data = UNIT(engine_data) },
	.disk = { .fd = offsetof(struct fio_file, fd),
		  .file_name = offsetof(struct fio_file, file_name),
		  .real_file_size = offsetof(struct fio_file, real_file_size) },
};
