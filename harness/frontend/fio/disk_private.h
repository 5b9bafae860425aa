/* SPDX-License-Identifier: BSD-3-Clause */
/* The two types of device behind disk.h. */
#ifndef VHOST_FIO_DISK_PRIVATE_H
#define VHOST_FIO_DISK_PRIVATE_H

#include "disk.h"

struct disk_type {
	size_t frame_size;
	/* Fills in what the session, which has no queue yet, tells about the disk. */
	int (*look)(struct vfe_session *session, const struct engine_options *options,
		    struct disk_info *ret_info, char *ret_why);
	void *(*frames)(struct vfe_memory *memory, unsigned int n);
	/* Before the first request of a job on this queue: takes what the device has to say first. */
	int (*greet)(struct vfe_queue *queue, const struct engine_options *options, void *frame);
	int (*add)(const struct engine_options *options, const struct disk_info *info,
		   struct vfe_queue *queue, const struct disk_request *request,
		   const struct vfe_seg *data, unsigned int data_n);
	int (*result)(const void *frame);
};

extern const struct disk_type disk_blk;
extern const struct disk_type disk_scsi;

#endif
