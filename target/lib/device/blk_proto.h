/* SPDX-License-Identifier: BSD-3-Clause */
/* Wire format of the virtio block device: virtio 1.2, 5.2. Everything is little-endian. */
#ifndef VHT_DEVICE_BLK_PROTO_H
#define VHT_DEVICE_BLK_PROTO_H

#include <stdint.h>

/* 5.2.3 feature bits */
#define BLK_F_SEG_MAX	   2
#define BLK_F_RO	   5
#define BLK_F_BLK_SIZE	   6
#define BLK_F_FLUSH	   9
#define BLK_F_TOPOLOGY	   10
#define BLK_F_CONFIG_WCE   11
#define BLK_F_MQ	   12
#define BLK_F_DISCARD	   13
#define BLK_F_WRITE_ZEROES 14

/* 5.2.6 request types */
#define BLK_T_IN	   0
#define BLK_T_OUT	   1
#define BLK_T_FLUSH	   4
#define BLK_T_GET_ID	   8
#define BLK_T_DISCARD	   11
#define BLK_T_WRITE_ZEROES 13

/* 5.2.6 status */
#define BLK_S_OK     0
#define BLK_S_IOERR  1
#define BLK_S_UNSUPP 2

#define BLK_SECTOR 512
#define BLK_ID_LEN 20

#define BLK_RANGE_F_UNMAP 1

/* le32 type, le32 reserved, le64 sector */
#define BLK_HEADER_LEN 16

/* struct virtio_blk_discard_write_zeroes: le64 sector, le32 num_sectors, le32 flags */
struct blk_range {
	uint64_t sector;
	uint32_t sectors;
	uint32_t flags;
};
#define BLK_RANGE_LEN 16

/* 5.2.4: the configuration space up to secure_erase_sector_alignment, and the only writable field */
#define BLK_CONFIG_LEN	     72
#define BLK_CONFIG_WRITEBACK 32

#endif
