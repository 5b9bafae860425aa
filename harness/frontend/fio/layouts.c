/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Layouts of fio as Debian builds it for amd64: 3.33-3 (Debian 12), 3.39-1 (Debian 13), 3.41-2. Each number
 * was read from the machine code of that binary; docs/FIO.md names the functions.
 */
#include "fio_abi.h"

#ifdef __x86_64__
#define OPS_BEGIN                                                                                 \
	.name = 0x10, .version = 0x18, .flags = 0x1c, .setup = 0x28, .init = 0x30, .queue = 0x48, \
	.commit = 0x50, .getevents = 0x58, .event = 0x60

#define UNIT_BEGIN                                                                                 \
	.file = 0x20, .ddir = 0x2c, .buflen = 0x40, .offset = 0x48, .buf = 0x58, .xfer_buf = 0x68, \
	.xfer_buflen = 0x70, .resid = 0x88, .error = 0x90

#define DISK .fd = 0x14, .file_name = 0x28, .real_file_size = 0x30
#endif

const struct fioabi_layout fioabi_layouts[] = {
#ifdef __x86_64__
	{
		.version = "fio-3.33",
		.ops_version = 31,
		.ops = { OPS_BEGIN, .cleanup = 0x78, .open_file = 0x80, .close_file = 0x88,
			 .iomem_alloc = 0xb8, .iomem_free = 0xc0, .io_u_init = 0xc8,
			 .option_struct_size = 0xf8, .options = 0x100 },
		.td = { .options = 0x18,
			.engine_options = 0x1078,
			.files = 0x2e1a0,
			.files_index = 0x2e1b4,
			.error = 0x2e268,
			.orig_buffer = 0x2e280,
			.io_ops = 0x2e600,
			.io_ops_data = 0x2e610 },
		.unit = { UNIT_BEGIN, .index = 0x98, .engine_data = 0x98 },
		.disk = { DISK },
	},
	{
		.version = "fio-3.39",
		.ops_version = 36,
		.ops = { OPS_BEGIN, .cleanup = 0x78, .open_file = 0x80, .close_file = 0x88,
			 .iomem_alloc = 0xb8, .iomem_free = 0xc0, .io_u_init = 0xc8,
			 .option_struct_size = 0x110, .options = 0x118 },
		.td = { .options = 0x18,
			.engine_options = 0xdc0,
			.files = 0x2def0,
			.files_index = 0x2df04,
			.error = 0x2dfb8,
			.orig_buffer = 0x2dfd0,
			.io_ops = 0x2e3c0,
			.io_ops_data = 0x2e3d0 },
		.unit = { UNIT_BEGIN, .index = 0x94, .engine_data = 0x98 },
		.disk = { DISK },
	},
	{
		.version = "fio-3.41",
		.ops_version = 39,
		.ops = { OPS_BEGIN, .cleanup = 0x70, .open_file = 0x78, .close_file = 0x80,
			 .iomem_alloc = 0xb0, .iomem_free = 0xb8, .io_u_init = 0xc0,
			 .option_struct_size = 0x110, .options = 0x118 },
		.td = { .options = 0x18,
			.engine_options = 0xde8,
			.files = 0x2df18,
			.files_index = 0x2df2c,
			.error = 0x2dfe0,
			.orig_buffer = 0x2dff8,
			.io_ops = 0x2e420,
			.io_ops_data = 0x2e430 },
		.unit = { .file = 0x20,
			  .ddir = 0x2c,
			  .buflen = 0x48,
			  .offset = 0x50,
			  .buf = 0x60,
			  .xfer_buf = 0x70,
			  .xfer_buflen = 0x78,
			  .resid = 0x90,
			  .error = 0x98,
			  .index = 0xa0,
			  .engine_data = 0xa8 },
		.disk = { DISK },
	},
#endif
	{ .version = NULL },
};
