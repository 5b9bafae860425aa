/* SPDX-License-Identifier: BSD-3-Clause */
/* The life of an aio bdev. Control thread. */
#include "bdev/aio.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/parcel.h"
#include "base/why.h"

static void aio_close(struct bdev *bdev)
{
	struct aio_bdev *aio = (struct aio_bdev *)bdev;

	aio_helper_stop(&aio->helper);
	fd_close(&aio->fd);
	free(aio);
}

static int aio_rescan(struct bdev *bdev, uint64_t *ret_size, const char **ret_why)
{
	int rc = aio_probe_size((const struct aio_bdev *)bdev, ret_size, ret_why);

	if (rc != 0) {
		*ret_why = why("%s: %s", bdev->name, *ret_why);
	}
	return rc;
}

static void aio_save(const struct bdev *bdev, struct parcel *parcel)
{
	const struct aio_bdev *aio = (const struct aio_bdev *)bdev;

	/* The open file rather than its name: it may have been renamed, or this process has lost the right. */
	parcel_put_fd(parcel, aio->fd);
	parcel_put_u8(parcel, aio->direct);
	parcel_put_u8(parcel, aio->is_block_device);
	parcel_put_u32(parcel, aio->memory_align);
	parcel_put_u32(parcel, aio->length_align);
}

static const struct bdev_ops aio_ops = {
	.driver = "aio",
	.close = aio_close,
	.rescan = aio_rescan,
	.channel_open = aio_channel_open,
	.channel_close = aio_channel_close,
	.submit = aio_submit,
	.commit = aio_commit,
	.poll = aio_poll,
	.event_fd = aio_event_fd,
	.save = aio_save,
};

/* Opening a pipe or a terminal could block or do things: look first. */
static int check_type(const char *filename, const char **ret_why)
{
	struct stat st;

	if (stat(filename, &st) != 0) {
		int rc = -errno;

		*ret_why = why("%s", strerror(-rc));
		return rc;
	}
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) {
		*ret_why = why("neither a regular file nor a block device");
		return -EINVAL;
	}
	return 0;
}

static int open_file(struct aio_bdev *aio, const char *filename, bool read_only,
		     const char **ret_why)
{
	int flags = (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC;
	int locked = 0;
	int rc = check_type(filename, ret_why);

	if (rc != 0) {
		return rc;
	}
	aio->fd = open(filename, flags | O_DIRECT);
	aio->direct = aio->fd >= 0;
	if (aio->fd < 0 && errno == EINVAL) {
		/* Some file systems (tmpfs before Linux 6.6) have no direct I/O. The page cache it
		 * is then; requests are carried out while they are submitted. */
		aio->fd = open(filename, flags);
	}
	if (aio->fd < 0) {
		rc = -errno;
		*ret_why = why("cannot open it for reading%s: %s", read_only ? "" : " and writing",
			       strerror(-rc));
		return rc;
	}
	/* Block devices open all the same when they are set read-only; each write would fail. */
	if (!read_only && ioctl(aio->fd, BLKROGET, &locked) == 0 && locked != 0) {
		*ret_why = why("the block device is read-only");
		return -EROFS;
	}
	return 0;
}

/* Channels are opened later, by reactors, which have nobody to complain to. */
static int check_kernel(const char **ret_why)
{
	io_context_t context = NULL;
	int rc = io_setup(AIO_QUEUE_DEPTH, &context);

	if (rc != 0) {
		*ret_why = why("no Linux AIO: %s%s", strerror(-rc),
			       rc == -EAGAIN ? " (raise the sysctl fs.aio-max-nr)" : "");
		return rc;
	}
	io_destroy(context);
	return 0;
}

static int start(struct aio_bdev *aio, const struct bdev_aio_options *opts, const char **ret_why)
{
	struct bdev_info *info = &aio->bdev.info;
	int rc = open_file(aio, opts->filename, opts->read_only, ret_why);

	if (rc == 0) {
		rc = aio_probe(aio, opts, ret_why);
	}
	if (rc == 0) {
		rc = check_kernel(ret_why);
	}
	if (rc != 0) {
		*ret_why = why("%s: %s: %s", opts->name, opts->filename, *ret_why);
		return rc;
	}
	rc = bdev_check_new(opts->name, info->size, info->block_size, ret_why);
	if (rc != 0) {
		return rc;
	}
	rc = aio_helper_start(&aio->helper);
	if (rc != 0) {
		*ret_why = why("%s: cannot start a thread: %s", opts->name, strerror(-rc));
		return rc;
	}
	bdev_init(&aio->bdev, &aio_ops, opts->name, "AIO disk");
	return 0;
}

static int take_over(struct aio_bdev *aio, struct parcel *parcel, const char **ret_why)
{
	int rc;

	aio->fd = parcel_get_fd(parcel);
	aio->direct = parcel_get_bool(parcel);
	aio->is_block_device = parcel_get_bool(parcel);
	aio->memory_align = parcel_get_u32(parcel);
	aio->length_align = parcel_get_u32(parcel);
	if (parcel->failed || aio->fd < 0 || !is_power_of_two(aio->memory_align) ||
	    !is_power_of_two(aio->length_align)) {
		*ret_why = why("its file does not come along");
		return -EINVAL;
	}
	rc = check_kernel(ret_why);
	if (rc == 0) {
		rc = aio_helper_start(&aio->helper);
		if (rc != 0) {
			*ret_why = why("cannot start a thread: %s", strerror(-rc));
		}
	}
	return rc;
}

int bdev_aio_restore(const struct bdev *as, struct parcel *parcel, struct bdev **ret_bdev,
		     const char **ret_why)
{
	struct aio_bdev *aio = calloc(1, sizeof(*aio));
	int rc;

	if (aio == NULL) {
		*ret_why = why("out of memory");
		return -ENOMEM;
	}
	rc = take_over(aio, parcel, ret_why);
	if (rc != 0) {
		fd_close(&aio->fd);
		free(aio);
		return rc;
	}
	aio->bdev = *as;
	aio->bdev.ops = &aio_ops;
	*ret_bdev = &aio->bdev;
	return 0;
}

int bdev_aio_create(const struct bdev_aio_options *opts, struct bdev **ret_bdev,
		    const char **ret_why)
{
	struct aio_bdev *aio;
	int rc;

	if (opts->name == NULL || opts->filename == NULL) {
		*ret_why = why("an aio bdev needs a name and a file name");
		return -EINVAL;
	}
	aio = calloc(1, sizeof(*aio));
	if (aio == NULL) {
		*ret_why = why("%s: out of memory", opts->name);
		return -ENOMEM;
	}
	aio->fd = -1;
	rc = start(aio, opts, ret_why);
	if (rc != 0) {
		fd_close(&aio->fd);
		free(aio);
		return rc;
	}
	rc = bdev_register(&aio->bdev, ret_why);
	if (rc != 0) {
		aio_close(&aio->bdev);
		return rc;
	}
	*ret_bdev = &aio->bdev;
	return 0;
}
