/* SPDX-License-Identifier: BSD-3-Clause */
/* The options that the engine adds to a job. */
#ifndef VHOST_FIO_OPTIONS_H
#define VHOST_FIO_OPTIONS_H

#include "fio_abi.h"

/* Numbers that do not come up by chance: that they are there shows that fio puts our options where we look. */
enum device_kind {
	DEVICE_BLK = 0x0b1c0001,
	DEVICE_SCSI = 0x5c510001,
};

enum ring_kind {
	RING_SPLIT = 0x59170001,
	RING_PACKED = 0x9ac40001,
};

/* fio writes here; the first member is its own. */
struct engine_options {
	void *of_fio;
	char *socket;
	uint32_t device;
	uint32_t ring;
	uint32_t lun;
	uint32_t queues;
	uint32_t queue_size;
	uint32_t huge_page;
	uint32_t indirect;
	uint32_t poll;
	uint32_t connect_timeout;
};

extern struct fioabi_option engine_option_table[];

/* NULL, or why they cannot be. */
const char *engine_options_check(const struct engine_options *options);

#endif
