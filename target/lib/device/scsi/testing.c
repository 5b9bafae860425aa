/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/scsi/testing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/iov.h"

/* ---- the disk ---- */

static struct fake_disk *disk_of(struct bdev *bdev)
{
	return (struct fake_disk *)bdev;
}

static int fake_channel_open(struct bdev *bdev, struct bdev_channel **ret_channel)
{
	struct fake_disk *disk = disk_of(bdev);
	unsigned int i = 0;

	if (disk->open_status != 0) {
		return disk->open_status;
	}
	while (disk->channels[i].is_open) {
		i++;
		assert_true(i < FAKE_CHANNELS);
	}
	disk->channels[i].is_open = true;
	*ret_channel = &disk->channels[i].channel;
	return 0;
}

static void fake_channel_close(struct bdev_channel *channel)
{
	struct fake_channel *fake = (struct fake_channel *)channel;

	assert_true(STAILQ_EMPTY(&fake->queue));
	fake->is_open = false;
}

static int fake_submit(struct bdev_channel *channel, struct bdev_io *io)
{
	struct fake_disk *disk = disk_of(channel->bdev);

	/* What the contract of bdev.h asks of a submitter. */
	assert_int_equal(io->offset % disk->bdev.info.block_size, 0);
	assert_int_equal(io->len % disk->bdev.info.block_size, 0);
	assert_true(io->offset + io->len <= disk->bdev.info.size);
	if (io->op == BDEV_READ || io->op == BDEV_WRITE) {
		assert_int_equal(iov_length(io->iov, io->iov_n), io->len);
	}
	if (io->op == BDEV_DISCARD || io->op == BDEV_WRITE_ZEROES) {
		assert_true(io->len <= disk->bdev.info.max_discard);
	}
	if (disk->outstanding >= disk->room) {
		return -EAGAIN;
	}
	if (disk->log_n < FAKE_LOG) {
		disk->log[disk->log_n] =
			(struct fake_request){ io->op, io->flags, io->offset, io->len };
	}
	disk->log_n++;
	disk->outstanding++;
	STAILQ_INSERT_TAIL(&((struct fake_channel *)channel)->queue, io, link);
	return 0;
}

static void execute(struct fake_disk *disk, const struct bdev_io *io)
{
	uint8_t *at = disk->data + io->offset;

	switch (io->op) {
	case BDEV_READ:
		iov_scatter(io->iov, io->iov_n, 0, at, io->len);
		break;
	case BDEV_WRITE:
		iov_gather(io->iov, io->iov_n, 0, at, io->len);
		break;
	case BDEV_DISCARD:
		memset(at, FAKE_DISCARD, io->len);
		break;
	case BDEV_WRITE_ZEROES:
		memset(at, 0, io->len);
		break;
	case BDEV_FLUSH:
		break;
	}
}

static void complete_one(struct fake_disk *disk, struct fake_channel *channel)
{
	struct bdev_io *io = STAILQ_FIRST(&channel->queue);

	STAILQ_REMOVE_HEAD(&channel->queue, link);
	disk->outstanding--;
	io->status = 0;
	if (disk->fail_status != 0 && io->op == disk->fail_op) {
		io->status = disk->fail_status;
	} else {
		execute(disk, io);
	}
	io->done(io);
}

void fake_disk_complete_one(struct fake_disk *disk)
{
	unsigned int i = 0;

	while (STAILQ_EMPTY(&disk->channels[i].queue)) {
		i++;
		assert_true(i < FAKE_CHANNELS);
	}
	complete_one(disk, &disk->channels[i]);
}

static unsigned int fake_poll(struct bdev_channel *channel)
{
	struct fake_channel *fake = (struct fake_channel *)channel;
	struct fake_disk *disk = disk_of(channel->bdev);
	struct bdev_io *io;
	unsigned int n = 0;

	/* What is submitted by a completion waits for the next poll. */
	STAILQ_FOREACH (io, &fake->queue, link) {
		n += !disk->hold;
	}
	for (unsigned int i = 0; i < n; i++) {
		complete_one(disk, fake);
	}
	return n;
}

static const struct bdev_ops fake_ops = {
	.driver = "fake",
	.channel_open = fake_channel_open,
	.channel_close = fake_channel_close,
	.submit = fake_submit,
	.poll = fake_poll,
};

void fake_disk_open(struct fake_disk *disk, const struct fake_disk_options *opts)
{
	struct bdev_info *info = &disk->bdev.info;
	unsigned int i;

	memset(disk, 0, sizeof(*disk));
	for (i = 0; i < FAKE_CHANNELS; i++) {
		STAILQ_INIT(&disk->channels[i].queue);
		disk->channels[i].channel.bdev = &disk->bdev;
		disk->channels[i].channel.submit = fake_submit;
	}
	disk->bdev.ops = &fake_ops;
	strcpy(disk->bdev.name, "Fake0");
	strcpy(disk->bdev.product, "Fake disk");
	strcpy(disk->bdev.serial, "Fake0");
	info->block_size = opts->block_size != 0 ? opts->block_size : 512;
	info->size = (opts->blocks != 0 ? opts->blocks : 4096) * info->block_size;
	info->physical_block_size = opts->physical_block_size != 0 ? opts->physical_block_size :
								     info->block_size;
	info->max_discard = opts->max_discard != 0 ? opts->max_discard : info->size;
	info->read_only = opts->read_only;
	info->write_cache = !opts->no_write_cache;
	info->can_discard = !opts->no_discard;
	info->can_write_zeroes = !opts->no_write_zeroes;
	disk->room = 1000000;
	/* Disks of petabytes are for commands that transfer nothing. */
	disk->data = info->size <= UINT32_C(64) << 20 ? malloc(info->size) : NULL;
	if (disk->data != NULL) {
		memset(disk->data, 0x5a, info->size);
	}
}

void fake_disk_close(struct fake_disk *disk)
{
	assert_int_equal(disk->outstanding, 0);
	free(disk->data);
}

void assert_disk(const struct fake_disk *disk, uint64_t offset, uint64_t len, uint8_t value)
{
	uint64_t i;

	for (i = offset; i < offset + len; i++) {
		if (disk->data[i] != value) {
			fail_msg("byte %llu is %02x instead of %02x", (unsigned long long)i,
				 disk->data[i], value);
		}
	}
}

void assert_log(const struct fake_disk *disk, unsigned int i, enum bdev_op op, uint64_t offset,
		uint64_t len)
{
	assert_true(i < disk->log_n);
	assert_int_equal(disk->log[i].op, op);
	assert_int_equal(disk->log[i].offset, offset);
	assert_int_equal(disk->log[i].len, len);
}

/* ---- the bench ---- */

static void io_done(struct bdev_io *io)
{
}

struct bench *bench_new(const struct bench_options *opts)
{
	static const struct bench_options defaults;
	static const struct scsi_limits no_limits;
	struct bench *b = calloc(1, sizeof(*b));
	struct scsi_lu_options lu_opts = { 0 };

	assert_non_null(b);
	if (opts == NULL) {
		opts = &defaults;
	}
	fake_disk_open(&b->disk, &opts->disk);
	lu_opts.bdev = &b->disk.bdev;
	lu_opts.read_only = opts->read_only;
	lu_opts.serial = opts->serial;
	lu_opts.limits = memcmp(&opts->limits, &no_limits, sizeof(no_limits)) == 0 ?
				 &scsi_default_limits :
				 &opts->limits;
	assert_int_equal(scsi_lu_init(&b->lu, &lu_opts), 0);
	b->lu.channel = &b->disk.channels[0].channel;
	return b;
}

void bench_free(struct bench *b)
{
	scsi_lu_done(&b->lu);
	fake_disk_close(&b->disk);
	free(b);
}

static void run(struct bench *b, struct scsi_lu *lu, const uint8_t *cdb, uint64_t out_len,
		uint64_t in_len)
{
	struct scsi_cmd *cmd = &b->cmd;
	enum scsi_step step;
	unsigned int steps = 0;

	assert_true(out_len <= BENCH_DATA && in_len <= BENCH_DATA);
	memset(cmd, 0xa5, sizeof(*cmd)); /* nobody may rely on zeroes in a used slot */
	memset(b->in, 0xff, sizeof(b->in));
	b->out_iov = (struct iovec){ b->out, out_len };
	b->in_iov = (struct iovec){ b->in, in_len };
	cmd->lu = lu;
	cmd->out = (struct scsi_data){ &b->out_iov, out_len > 0, out_len };
	cmd->in = (struct scsi_data){ &b->in_iov, in_len > 0, in_len };
	cmd->tag = 1;
	cmd->cdb_len = SCSI_CDB_MAX;
	memcpy(cmd->cdb, cdb, SCSI_CDB_MAX);
	cmd->io.done = io_done;

	for (step = scsi_cmd_start(cmd); step != SCSI_DONE; step = scsi_cmd_advance(cmd)) {
		assert_int_equal(step, SCSI_SUBMIT);
		assert_true(steps++ < 100000);
		assert_int_equal(bdev_submit(lu->channel, &cmd->io), 0);
		fake_disk_complete_one(&b->disk);
	}
	scsi_cmd_finish(cmd);
	assert_null(b->lu.scratch_user);
}

void bench_run(struct bench *b, const uint8_t *cdb, uint64_t out_len, uint64_t in_len)
{
	run(b, &b->lu, cdb, out_len, in_len);
}

void bench_run_no_lu(struct bench *b, const uint8_t *cdb, uint64_t out_len, uint64_t in_len)
{
	run(b, NULL, cdb, out_len, in_len);
}

void assert_good(const struct bench *b, uint64_t transferred)
{
	assert_int_equal(b->cmd.response, VIRTIO_SCSI_S_OK);
	assert_int_equal(b->cmd.status, SCSI_STATUS_GOOD);
	assert_int_equal(b->cmd.sense_len, 0);
	assert_int_equal(b->cmd.transferred, transferred);
}

void assert_condition(const struct bench *b, enum scsi_condition condition)
{
	const uint8_t *sense = b->cmd.sense;

	assert_int_equal(b->cmd.response, VIRTIO_SCSI_S_OK);
	assert_int_equal(b->cmd.status, SCSI_STATUS_CHECK_CONDITION);
	assert_int_equal(b->cmd.sense_len, SCSI_SENSE_LEN);
	assert_int_equal(b->cmd.transferred, 0);
	assert_int_equal(sense[0] & 0x7f, 0x70);
	assert_int_equal(sense[7], SCSI_SENSE_LEN - 8);
	assert_int_equal(sense[2] << 16 | sense[12] << 8 | sense[13], condition);
}

void assert_bad_cdb(const struct bench *b, unsigned int byte)
{
	assert_condition(b, SCSI_INVALID_CDB_FIELD);
	assert_int_equal(b->cmd.sense[15], 0xc0);
	assert_int_equal(scsi_be16(b->cmd.sense + 16), byte);
}

void assert_bad_parameter(const struct bench *b, unsigned int byte)
{
	assert_condition(b, SCSI_INVALID_PARAMETER);
	assert_int_equal(b->cmd.sense[15], 0x80);
	assert_int_equal(scsi_be16(b->cmd.sense + 16), byte);
}

void assert_overrun(const struct bench *b)
{
	assert_int_equal(b->cmd.response, VIRTIO_SCSI_S_OVERRUN);
	assert_int_equal(b->cmd.status, SCSI_STATUS_GOOD);
	assert_int_equal(b->cmd.sense_len, 0);
	assert_int_equal(b->cmd.transferred, 0);
}
