/* SPDX-License-Identifier: BSD-3-Clause */
/* What an opened file or block device is like: size, alignment, limits. Control thread. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/why.h"
#include "bdev/aio.h"

/* File systems report their preferred size of a request as "block size"; a sector is no larger. */
#define MAX_PHYSICAL_BLOCK 4096
/* The helper thread does these; longer ones would make others wait too long. */
#define MAX_DISCARD (UINT64_C(256) << 20)

/* A number from /sys/dev/block/<device>/queue, where the device may be a partition. */
static uint64_t queue_number(dev_t dev, const char *name)
{
	static const char *const formats[] = {
		"/sys/dev/block/%u:%u/queue/%s",
		"/sys/dev/block/%u:%u/../queue/%s",
	};
	unsigned long long value = 0;

	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		char path[128];
		FILE *file;
		int n;

		snprintf(path, sizeof(path), formats[i], major(dev), minor(dev), name);
		file = fopen(path, "re");
		if (file == NULL) {
			continue;
		}
		n = fscanf(file, "%llu", &value);
		fclose(file);
		return n == 1 ? value : 0;
	}
	return 0;
}

/* The smallest transfer that direct I/O takes here, found by trying; 0 when none works. */
static uint32_t try_alignments(int fd)
{
	void *buf;
	uint32_t align;

	if (posix_memalign(&buf, BDEV_MAX_BLOCK_SIZE, BDEV_MAX_BLOCK_SIZE) != 0) {
		return 0;
	}
	for (align = BDEV_MIN_BLOCK_SIZE; align <= BDEV_MAX_BLOCK_SIZE; align *= 2) {
		if (pread(fd, buf, align, 0) >= 0 || errno != EINVAL) {
			break; /* any other error will show itself again, with a request */
		}
	}
	free(buf);
	return align <= BDEV_MAX_BLOCK_SIZE ? align : 0;
}

static int probe_alignment(struct aio_bdev *aio, const char **ret_why)
{
	uint32_t align;

	if (!aio->direct) {
		aio->memory_align = 1;
		aio->length_align = 1;
		return 0;
	}
#ifdef STATX_DIOALIGN
	struct statx stx;

	if (statx(aio->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) == 0 &&
	    (stx.stx_mask & STATX_DIOALIGN) != 0 && is_power_of_two(stx.stx_dio_mem_align) &&
	    is_power_of_two(stx.stx_dio_offset_align)) {
		aio->memory_align = stx.stx_dio_mem_align;
		aio->length_align = stx.stx_dio_offset_align;
		return 0;
	}
#endif
	align = try_alignments(aio->fd);
	if (align == 0) {
		*ret_why = why("the file system refuses direct I/O in units of up to %d bytes",
			       BDEV_MAX_BLOCK_SIZE);
		return -EINVAL;
	}
	aio->memory_align = align;
	aio->length_align = align;
	return 0;
}

static int check_block_size(const struct aio_bdev *aio, const struct bdev_aio_options *opts,
			    uint32_t *block_size, const char **ret_why)
{
	int logical = BDEV_DEFAULT_BLOCK_SIZE;
	uint32_t least;

	if (aio->is_block_device && ioctl(aio->fd, BLKSSZGET, &logical) != 0) {
		int rc = -errno;

		*ret_why = why("no logical block size: %s", strerror(-rc));
		return rc;
	}
	least = aio->length_align > (uint32_t)logical ? aio->length_align : (uint32_t)logical;
	if (opts->block_size == 0) {
		*block_size = least;
		return 0;
	}
	if (!is_power_of_two(opts->block_size)) {
		*ret_why = why("block size %" PRIu32 " is not a power of two", opts->block_size);
		return -EINVAL;
	}
	if (opts->block_size < least) {
		*ret_why = why("a block size of %" PRIu32 " is not possible: it takes at least "
			       "%" PRIu32 " bytes at a time",
			       opts->block_size, least);
		return -EINVAL;
	}
	*block_size = opts->block_size;
	return 0;
}

int aio_probe_size(const struct aio_bdev *aio, uint64_t *ret_size, const char **ret_why)
{
	uint32_t block_size = aio->bdev.info.block_size;
	struct stat st;
	uint64_t size;

	if (fstat(aio->fd, &st) != 0) {
		int rc = -errno;

		*ret_why = why("%s", strerror(-rc));
		return rc;
	}
	size = (uint64_t)st.st_size;
	if (aio->is_block_device && ioctl(aio->fd, BLKGETSIZE64, &size) != 0) {
		int rc = -errno;

		*ret_why = why("no size: %s", strerror(-rc));
		return rc;
	}
	if (size == 0) {
		*ret_why = why("it is empty%s", aio->is_block_device ?
							"" :
							"; give it a size with 'truncate -s SIZE'");
		return -EINVAL;
	}
	if (size % block_size != 0) {
		*ret_why = why("it is %" PRIu64 " bytes, not a multiple of the block size %" PRIu32
			       "; use 'truncate -s %%%" PRIu32 "' to extend it",
			       size, block_size, block_size);
		return -EINVAL;
	}
	*ret_size = size;
	return 0;
}

static uint32_t power_of_two_below(uint64_t value)
{
	uint32_t power = 1;

	while (power < (UINT32_C(1) << 31) && (uint64_t)power * 2 <= value) {
		power *= 2;
	}
	return power;
}

static void describe_file(const struct aio_bdev *aio, const struct stat *st, struct bdev_info *info)
{
	uint32_t preferred = power_of_two_below((uint64_t)st->st_blksize);
	uint32_t physical = preferred < MAX_PHYSICAL_BLOCK ? preferred : MAX_PHYSICAL_BLOCK;

	info->physical_block_size = physical > info->block_size ? physical : info->block_size;
	info->opt_io_size = preferred > info->physical_block_size ? preferred : 0;
	info->rotational = queue_number(st->st_dev, "rotational") == 1;
	/* A hole beyond the end of the file changes nothing, and tells whether there can be holes. */
	info->can_discard = !info->read_only &&
			    fallocate(aio->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				      (off_t)info->size, (off_t)info->block_size) == 0;
	info->discard_granularity = info->physical_block_size;
}

static void describe_device(const struct aio_bdev *aio, const struct stat *st,
			    struct bdev_info *info)
{
	unsigned int physical = 0, minimum = 0, optimum = 0;

	(void)ioctl(aio->fd, BLKPBSZGET, &physical);
	(void)ioctl(aio->fd, BLKIOMIN, &minimum);
	(void)ioctl(aio->fd, BLKIOOPT, &optimum);
	info->physical_block_size = is_power_of_two(physical) && physical > info->block_size ?
					    physical :
					    info->block_size;
	info->min_io_size = minimum;
	info->opt_io_size = optimum;
	info->rotational = queue_number(st->st_rdev, "rotational") == 1;
	info->can_discard = !info->read_only && queue_number(st->st_rdev, "discard_max_bytes") > 0;
	info->discard_granularity = (uint32_t)queue_number(st->st_rdev, "discard_granularity");
}

int aio_probe(struct aio_bdev *aio, const struct bdev_aio_options *opts, const char **ret_why)
{
	struct bdev_info *info = &aio->bdev.info;
	struct stat st;
	int rc;

	if (fstat(aio->fd, &st) != 0) {
		rc = -errno;
		*ret_why = why("%s", strerror(-rc));
		return rc;
	}
	aio->is_block_device = S_ISBLK(st.st_mode);
	rc = probe_alignment(aio, ret_why);
	if (rc == 0) {
		rc = check_block_size(aio, opts, &info->block_size, ret_why);
	}
	if (rc == 0) {
		rc = aio_probe_size(aio, &info->size, ret_why);
	}
	if (rc != 0) {
		return rc;
	}
	info->read_only = opts->read_only;
	/* Written data may wait in the drive's cache, or in the page cache without direct I/O. */
	info->write_cache = true;
	info->can_write_zeroes = !info->read_only;
	info->max_discard = MAX_DISCARD;
	if (aio->is_block_device) {
		describe_device(aio, &st, info);
	} else {
		describe_file(aio, &st, info);
	}
	return 0;
}
