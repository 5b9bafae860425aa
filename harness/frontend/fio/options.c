/* SPDX-License-Identifier: BSD-3-Clause */
#include "options.h"

#define AT(member)                                      \
	{                                               \
		offsetof(struct engine_options, member) \
	}
#define QUEUE_SIZE_MAX 32768

struct fioabi_option engine_option_table[] = {
	{
		.name = "socket",
		.long_name = "Socket of the controller",
		.type = FIOABI_STR_STORE,
		.offset = AT(socket),
		.help = "Path of the vhost-user socket (default: the job's filename)",
		.category = FIOABI_CATEGORY_ENGINE,
	},
	{
		.name = "device",
		.long_name = "Device type",
		.type = FIOABI_STR,
		.offset = AT(device),
		.help = "What the controller is",
		.preset = "blk",
		.values = { { .word = "blk", .value = DEVICE_BLK, .help = "virtio block device" },
			    { .word = "scsi", .value = DEVICE_SCSI, .help = "virtio SCSI host" } },
		.category = FIOABI_CATEGORY_ENGINE,
	},
	{
		.name = "lun",
		.long_name = "SCSI disk",
		.type = FIOABI_INT,
		.offset = AT(lun),
		.max = 255,
		.help = "device=scsi: number of the SCSI target whose LUN 0 is the disk",
		.preset = "0",
		.category = FIOABI_CATEGORY_ENGINE,
	},
	{
		.name = "queues",
		.long_name = "Queues of the job",
		.type = FIOABI_INT,
		.offset = AT(queues),
		.min = 1,
		.max = 254,
		.help = "Queues over which this job spreads its requests",
		.preset = "1",
		.category = FIOABI_CATEGORY_ENGINE,
	},
	{
		.name = "queue_size",
		.long_name = "Queue size",
		.type = FIOABI_INT,
		.offset = AT(queue_size),
		.max = QUEUE_SIZE_MAX,
		.help = "Descriptors of a queue (default: what iodepth needs)",
		.preset = "0",
		.category = FIOABI_CATEGORY_ENGINE,
	},
	{
		.name = "ring",
		.long_name = "Ring format",
		.type = FIOABI_STR,
		.offset = AT(ring),
		.help = "Format of the queues",
		.preset = "split",
		.values = { { .word = "split", .value = RING_SPLIT, .help = "Split rings" },
			    { .word = "packed", .value = RING_PACKED, .help = "Packed rings" } },
		.category = FIOABI_CATEGORY_ENGINE,
	},
	{
		.name = "indirect",
		.long_name = "Indirect descriptors",
		.type = FIOABI_BOOL,
		.offset = AT(indirect),
		.max = 1,
		.help = "Put each request into one indirect descriptor, as guests do",
		.preset = "1",
		.category = FIOABI_CATEGORY_ENGINE,
	},
	{
		.name = "hugepage",
		.long_name = "Huge pages",
		.type = FIOABI_INT,
		.offset = AT(huge_page),
		.max = 1u << 30,
		.help = "Size of the huge pages of the shared memory, as 2m (default: 0, none)",
		.preset = "0",
		.category = FIOABI_CATEGORY_ENGINE,
	},
	{
		.name = "poll",
		.long_name = "Poll for completions",
		.type = FIOABI_BOOL,
		.offset = AT(poll),
		.max = 1,
		.help = "Spin until requests complete, instead of sleeping; takes a core",
		.preset = "0",
		.category = FIOABI_CATEGORY_ENGINE,
	},
	{
		.name = "connect_timeout",
		.long_name = "Time-out of the connection",
		.type = FIOABI_INT,
		.offset = AT(connect_timeout),
		.min = 1,
		.max = 3600 * 1000,
		.help = "Longest wait for the socket, and for each answer, in milliseconds",
		.preset = "10000",
		.category = FIOABI_CATEGORY_ENGINE,
	},
	{ .name = NULL },
};

const char *engine_options_check(const struct engine_options *options)
{
	uint32_t page = options->huge_page;
	uint32_t size = options->queue_size;

	if ((options->device != DEVICE_BLK && options->device != DEVICE_SCSI) ||
	    (options->ring != RING_SPLIT && options->ring != RING_PACKED) ||
	    options->indirect > 1 || options->poll > 1 || options->connect_timeout == 0 ||
	    options->queues == 0) {
		return "this fio does not put engine options where they are expected";
	}
	if (options->device == DEVICE_BLK && options->lun != 0) {
		return "lun= is for device=scsi";
	}
	if (page != 0 && (page < 65536 || (page & (page - 1)) != 0)) {
		return "hugepage= wants the size of a huge page, as 2m";
	}
	if (size != 0 && (size < 4 || size > QUEUE_SIZE_MAX)) {
		return "queue_size= wants 4 to 32768";
	}
	if (options->ring == RING_SPLIT && (size & (size - 1)) != 0) {
		return "queue_size= wants a power of two for split rings";
	}
	return NULL;
}
