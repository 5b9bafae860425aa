/* SPDX-License-Identifier: BSD-3-Clause */
/* Features and configuration space of the block device: virtio 1.2, 5.2.3 to 5.2.5. */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "device/blk_internal.h"

#define BIT(n) (UINT64_C(1) << (n))

uint64_t blk_offered_features(const struct blk_device *blk)
{
	const struct bdev_info *info = &blk->bdev->info;
	bool can_zap = !blk->read_only && info->max_discard >= info->block_size;
	/* SIZE_MAX is not offered: a segment may have any size. */
	uint64_t features = BIT(BLK_F_SEG_MAX) | BIT(BLK_F_BLK_SIZE) | BIT(BLK_F_TOPOLOGY);

	if (blk->queues > 1) {
		features |= BIT(BLK_F_MQ);
	}
	if (blk->read_only) {
		features |= BIT(BLK_F_RO);
	}
	/*
	 * virtio 1.2, 5.2.5.2: FLUSH SHOULD always be offered, and MUST be together with CONFIG_WCE.
	 * Without a volatile cache it is left out on purpose: a driver that sees it sends flushes,
	 * each a wasted round trip.
	 */
	if (info->write_cache) {
		features |= BIT(BLK_F_FLUSH) | BIT(BLK_F_CONFIG_WCE);
	}
	if (can_zap && info->can_discard) {
		features |= BIT(BLK_F_DISCARD);
	}
	if (can_zap && info->can_write_zeroes) {
		features |= BIT(BLK_F_WRITE_ZEROES);
	}
	return features;
}

/* What the driver sees in the writeback field. */
static bool writeback_mode(const struct blk_device *blk)
{
	/* 5.2.5.2: writeback starts as 0 if CONFIG_WCE is negotiated and FLUSH is not. */
	if (blk_has(blk->negotiated, BLK_F_CONFIG_WCE) && !blk_has(blk->negotiated, BLK_F_FLUSH)) {
		return false;
	}
	return atomic_load_explicit(&blk->writeback, memory_order_relaxed);
}

bool blk_writes_through(const struct blk_device *blk, const struct bdev *bdev)
{
	if (!bdev->info.write_cache) {
		return false; /* a completed write is stable anyway */
	}
	/* 5.2.6.2: with CONFIG_WCE the field decides; without it a driver that did not take FLUSH
	 * has no means to make anything stable, so every write must be. */
	if (blk_has(blk->negotiated, BLK_F_CONFIG_WCE)) {
		return !writeback_mode(blk);
	}
	return !blk_has(blk->negotiated, BLK_F_FLUSH);
}

static uint8_t log2_of(uint32_t power_of_two)
{
	return (uint8_t)__builtin_ctz(power_of_two);
}

static uint32_t at_most(uint64_t value, uint32_t max)
{
	return value < max ? (uint32_t)value : max;
}

static void config_fill(const struct blk_device *blk, uint8_t *ret_config)
{
	const struct bdev_info *info = &blk->bdev->info;
	struct bytes_writer w = bytes_writer(ret_config, BLK_CONFIG_LEN);
	uint64_t features = blk->offered;
	uint32_t block = info->block_size;
	uint32_t granularity = info->discard_granularity > block ? info->discard_granularity :
								   block;
	uint32_t zap_sectors = at_most(info->max_discard / block * block / BLK_SECTOR, UINT32_MAX);
	bool discard = blk_has(features, BLK_F_DISCARD);
	bool zeroes = blk_has(features, BLK_F_WRITE_ZEROES);

	bytes_put_le64(&w, blk->shows_nothing ? 0 : info->size / BLK_SECTOR); /* capacity */
	bytes_put_le32(&w, 0); /* size_max: not offered */
	bytes_put_le32(&w, BLK_SEG_MAX);
	bytes_put_le32(&w, 0); /* geometry: not offered */
	bytes_put_le32(&w, block);
	bytes_put_u8(&w, log2_of(info->physical_block_size / block)); /* physical_block_exp */
	bytes_put_u8(&w, 0);					      /* alignment_offset */
	bytes_put_le16(&w, (uint16_t)at_most(info->min_io_size / block, UINT16_MAX));
	bytes_put_le32(&w, info->opt_io_size / block);
	bytes_put_u8(&w, writeback_mode(blk));
	bytes_put_u8(&w, 0); /* unused0 */
	bytes_put_le16(&w, (uint16_t)blk->queues);
	bytes_put_le32(&w, discard ? zap_sectors : 0);
	bytes_put_le32(&w, discard ? BLK_MAX_RANGES : 0);
	bytes_put_le32(&w, discard ? granularity / BLK_SECTOR : 0);
	bytes_put_le32(&w, zeroes ? zap_sectors : 0);
	bytes_put_le32(&w, zeroes ? BLK_MAX_RANGES : 0);
	bytes_put_u8(&w, zeroes && info->can_discard); /* write_zeroes_may_unmap */
	bytes_put(&w, "\0\0", 3);		       /* unused1 */
	bytes_put_le32(&w, 0);			       /* secure erase: three fields, not offered */
	bytes_put_le64(&w, 0);
}

int blk_config_read(const struct virtio_device *device, uint32_t offset, void *buf, uint32_t len)
{
	const struct blk_device *blk = (const struct blk_device *)device;
	uint8_t config[VIRTIO_CONFIG_SPACE_MAX] = { 0 };

	if (!range_inside(offset, len, sizeof(config))) {
		return -EINVAL;
	}
	config_fill(blk, config);
	memcpy(buf, config + offset, len);
	return 0;
}

int blk_config_write(struct virtio_device *device, uint32_t offset, const void *buf, uint32_t len)
{
	struct blk_device *blk = (struct blk_device *)device;
	uint8_t value;

	/* The one writable field of 5.2.4 is writeback, and it has one byte. */
	if (offset != BLK_CONFIG_WRITEBACK || len != 1 ||
	    !blk_has(blk->offered, BLK_F_CONFIG_WCE)) {
		return -EINVAL;
	}
	memcpy(&value, buf, 1);
	if (value > 1) {
		return -EINVAL;
	}
	atomic_store_explicit(&blk->writeback, value == 1, memory_order_relaxed);
	return 0;
}
