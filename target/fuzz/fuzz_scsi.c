/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fuzzer F3: SCSI commands with their data, without a virtqueue. The input is
 *
 *	u8 disk | u8 limits | then commands, one after the other:
 *	u8 how | CDB (the bytes that its opcode calls for) | u16 data-out | u16 data-in | u8 pieces |
 *	u8 parameter bytes | the parameter bytes
 *
 * Whatever it is: a command ends after a bounded number of steps, stays inside of its buffers and of
 * the disk, says what SCSI allows it to say, and does not change a read-only disk.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <test_bdev.h>

#include "base/bytes.h"
#include "base/iov.h"
#include "device/scsi/cmd.h"
#include "must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define DISK_SIZE    (256u << 10)
#define DATA_MAX     65535
#define PIECES_MAX   16
#define COMMANDS_MAX 50
/* The longest: WRITE SAME or VERIFY in pieces, UNMAP of all descriptors in single blocks. */
#define STEPS_MAX 20000

struct run {
	struct bytes_reader in;
	struct test_bdev disk;
	struct bdev_channels channels;
	struct bdev_channel *channel;
	struct scsi_lu lu;
	struct scsi_cmd cmd;
	struct iovec out_iov[PIECES_MAX];
	struct iovec in_iov[PIECES_MAX];
	bool done;
};

static void io_done(struct bdev_io *io)
{
	struct run *run = (struct run *)((uint8_t *)io - offsetof(struct run, cmd.io));

	run->done = true;
}

/* test_bdev looks after the rest of the contract. */
static void check_io(void *arg, const struct bdev_io *io)
{
	const struct run *run = arg;

	MUST(io->op == BDEV_READ || io->op == BDEV_FLUSH || !run->lu.read_only);
}

static void open_disk(struct run *run)
{
	static const uint32_t block_sizes[] = { 512, 512, 4096, 65536 };
	uint8_t disk = bytes_get_u8(&run->in);
	uint8_t limits = bytes_get_u8(&run->in);
	struct scsi_limits scsi_limits = {
		.max_unmap_lba_count = (limits & 1) != 0 ? 4194304 : limits >> 4,
		.max_unmap_block_descriptor_count = limits >> 2 & 7,
		.max_write_same_length = (limits & 2) != 0 ? 512 : 0,
		.optimal_unmap_granularity = limits >> 5,
		.unmap_granularity_alignment = limits >> 6,
		.ugavalid = (limits & 0x80) != 0,
	};
	struct scsi_lu_options opts = { .bdev = &run->disk.bdev, .limits = &scsi_limits };
	struct bdev_info *info = &run->disk.bdev.info;

	test_bdev_init(&run->disk, DISK_SIZE, block_sizes[disk & 3]);
	run->disk.check_io = check_io;
	run->disk.check_arg = run;
	info->can_discard = (disk & 4) == 0;
	info->can_write_zeroes = (disk & 8) == 0;
	info->write_cache = (disk & 16) == 0;
	info->max_discard = (disk & 32) == 0 ? DISK_SIZE : 70000;
	info->physical_block_size = info->block_size << (limits >> 3 & 3);
	info->opt_io_size = (limits & 0x40) != 0 ? 65536 : 0;
	opts.read_only = (disk & 0xc0) == 0xc0;
	run->channels = (struct bdev_channels){ 0 };
	MUST(bdev_channels_get(&run->channels, &run->disk.bdev, &run->channel) == 0);
	MUST(scsi_lu_init(&run->lu, &opts) == 0);
	run->lu.channel = run->channel;
}

static void close_disk(struct run *run)
{
	scsi_lu_done(&run->lu);
	bdev_channels_put(&run->channels, run->channel);
	test_bdev_done(&run->disk);
}

/* A buffer of its own for each command, cut into pieces, so that ASan sees every byte too far. */
static void make_data(struct scsi_data *data, struct iovec *iov, uint8_t *buf, uint32_t len,
		      unsigned int pieces)
{
	uint32_t each = len / pieces;
	unsigned int n = 0;

	data->iov = iov;
	data->len = len;
	while (len > 0) {
		uint32_t take = n + 1 == pieces || each == 0 ? len : each;

		iov[n++] = (struct iovec){ buf, take };
		buf += take;
		len -= take;
	}
	data->iov_n = n;
}

static uint16_t cdb_length(uint8_t opcode)
{
	static const uint16_t lengths[8] = { 6, 10, 10, SCSI_CDB_MAX, 16, 12, 16, 16 };

	return lengths[opcode >> 5];
}

static void check_result(const struct run *run, uint64_t out_len, uint64_t in_len)
{
	const struct scsi_cmd *cmd = &run->cmd;

	MUST(cmd->response == VIRTIO_SCSI_S_OK || cmd->response == VIRTIO_SCSI_S_OVERRUN);
	MUST(cmd->transferred <= (in_len > 0 ? in_len : out_len));
	MUST(run->lu.scratch_user == NULL);
	if (cmd->status == SCSI_STATUS_GOOD) {
		MUST(cmd->sense_len == 0);
		return;
	}
	MUST(cmd->status == SCSI_STATUS_CHECK_CONDITION);
	MUST(cmd->response == VIRTIO_SCSI_S_OK && cmd->transferred == 0);
	MUST(cmd->sense_len == SCSI_SENSE_LEN && (cmd->sense[0] & 0x7f) == 0x70);
	MUST(cmd->sense[2] != 0 && cmd->sense[7] == SCSI_SENSE_LEN - 8);
}

static void execute(struct run *run)
{
	struct scsi_cmd *cmd = &run->cmd;
	enum scsi_step step = scsi_cmd_start(cmd);
	unsigned int steps = 0;

	while (step != SCSI_DONE) {
		MUST(step == SCSI_SUBMIT && steps++ < STEPS_MAX);
		run->done = false;
		cmd->io.done = io_done;
		MUST(bdev_submit(run->channel, &cmd->io) == 0);
		bdev_channels_poll(&run->channels);
		MUST(run->done);
		step = scsi_cmd_advance(cmd);
	}
	scsi_cmd_finish(cmd);
}

static void run_command(struct run *run)
{
	struct scsi_cmd *cmd = &run->cmd;
	static const int errors[] = { EIO, ENOSPC, EROFS, ENXIO, EOPNOTSUPP, ETIMEDOUT };
	uint8_t how = bytes_get_u8(&run->in);
	uint8_t opcode = bytes_get_u8(&run->in);
	uint16_t cdb_len = cdb_length(opcode);
	uint32_t out_len;
	uint32_t in_len;
	uint8_t pieces;
	uint8_t *out;
	uint8_t *in;

	memset(cmd, 0xa5, sizeof(*cmd)); /* nobody may rely on zeroes in a used slot */
	memset(cmd->cdb, 0, sizeof(cmd->cdb));
	cmd->cdb[0] = opcode;
	bytes_get(&run->in, cmd->cdb + 1, cdb_len - 1U);
	cmd->cdb_len = (how & 1) != 0 ? how >> 3 : SCSI_CDB_MAX;
	cmd->lu = (how & 6) == 6 ? NULL : &run->lu;
	*run->lu.ua |= (how & 0xe0) == 0xe0 ? SCSI_UA_BIT_RESET : 0;
	*run->lu.ua |= (how & 0xf0) == 0xc0 ? SCSI_UA_BIT_NEXUS_LOSS : 0;
	run->disk.fail = (how & 0x70) == 0x60 ?
				 -errors[(how & 0x0f) % (sizeof(errors) / sizeof(errors[0]))] :
				 0;
	out_len = bytes_get_le16(&run->in);
	in_len = bytes_get_le16(&run->in);
	if (out_len > 0 && in_len > 0) {
		*((how & 8) != 0 ? &out_len : &in_len) = 0; /* as request.c sees to */
	}
	pieces = bytes_get_u8(&run->in);
	out = calloc(1, out_len + 1);
	in = malloc(in_len + 1);
	MUST(out != NULL && in != NULL);
	if (out_len > 0) {
		uint32_t n = bytes_get_u8(&run->in);

		n = n < out_len ? n : out_len;
		bytes_get(&run->in, out, n < bytes_left(&run->in) ? n : bytes_left(&run->in));
	}
	make_data(&cmd->out, run->out_iov, out, out_len, 1 + pieces % PIECES_MAX);
	make_data(&cmd->in, run->in_iov, in, in_len, 1 + pieces / PIECES_MAX);
	in[in_len] = 0x99;

	execute(run);
	MUST(in[in_len] == 0x99);
	check_result(run, out_len, in_len);
	free(out);
	free(in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct run run;
	unsigned int n;

	run.in = bytes_reader(data, len);
	open_disk(&run);
	for (n = 0; n < COMMANDS_MAX && bytes_left(&run.in) > 0 && !run.in.failed; n++) {
		run_command(&run);
	}
	close_disk(&run);
	return 0;
}
