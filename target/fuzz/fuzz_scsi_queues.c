/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fuzzer F3, second half: the queues of the SCSI device. The driver keeps the rules of the ring (those
 * are fuzz_virtqueue_blk's) and breaks those of the requests: lengths, framing, addresses, task
 * management at the worst moment, queues stopped in the middle and moved between two reactors, disks that come
 * and go. The input is a program, one u8 operation after the other with its arguments (struct run, below).
 *
 * Whatever it is: every request is answered once or its ring breaks, a queue that is stopped comes to
 * rest, and nothing of one disk is left over when all have stopped.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <ring_driver.h>
#include <test_bdev.h>

#include "base/bytes.h"
#include "device/scsi/proto.h"
#include "device/scsi/scsi.h"
#include "must.h"
#include "virtio/device.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define QUEUES	     4 /* control, event, two for requests */
#define CORES	     2
#define RING	     16
#define MEM_SIZE     (256u << 10)
#define DISK_SIZE    (256u << 10)
#define OPS_MAX	     300
#define ROUNDS_MAX   5000 /* more than any request has steps */
#define PIECES_MAX   12
#define MESSAGES_MAX 4096 /* bytes of one part of a request */

struct queue {
	struct ring_driver rd;
	struct virtq *vq;
	struct device_queue *dq;
	unsigned int core;
	bool draining;
	bool updating;
	unsigned int added;
	unsigned int reaped;
};

struct run {
	struct bytes_reader in;
	struct test_bdev disk[2];
	struct bdev_channels channels[CORES];
	struct virtio_device *device;
	bool asked; /* for an update */
	bool update_out;
	struct queue q[QUEUES];
	uint8_t tag;
	uint32_t head_len, resp_len; /* as the config space has them */
};

/* ---- the owner ---- */

static void take_turn(struct run *run, struct queue *q)
{
	const struct virtio_device_ops *ops = run->device->ops;

	/* One that drains is up to date when it has stopped. */
	if (q->updating && !q->draining && ops->queue_update(q->dq)) {
		q->updating = false;
	}
	if (q->draining) {
		ops->queue_drain(q->dq);
	} else if (!q->dq->quiescent && !virtq_is_broken(q->vq)) {
		MUST(ops->queue_poll(q->dq) <= RING + 8);
	}
}

static void round_of_core(struct run *run, unsigned int core)
{
	unsigned int i;

	for (i = 0; i < QUEUES; i++) {
		if (run->q[i].core == core && run->q[i].dq != NULL) {
			take_turn(run, &run->q[i]);
		}
	}
	bdev_channels_poll(&run->channels[core]);
	run->channels[core].round++;
	for (i = 0; i < QUEUES; i++) {
		struct queue *q = &run->q[i];
		uint16_t head;
		uint32_t len;

		if (q->core != core || q->dq == NULL) {
			continue;
		}
		virtq_commit(q->vq);
		while (rd_reap(&q->rd, &head, &len)) {
			q->reaped++;
			MUST(q->reaped <= q->added);
		}
	}
}

/* The control thread: a change. A queue that has been updated meanwhile is updated once more. */
static void update(struct run *run)
{
	unsigned int i;

	run->update_out = true;
	for (i = 0; i < QUEUES; i++) {
		run->q[i].updating = run->q[i].dq != NULL;
	}
}

static void see_to_update(struct run *run)
{
	bool running = false;
	unsigned int i;

	if (run->asked) {
		run->asked = false;
		update(run);
	}
	for (i = 0; i < QUEUES; i++) {
		if (run->q[i].updating) {
			return;
		}
		running = running || run->q[i].dq != NULL;
	}
	if (run->update_out) {
		run->update_out = false;
		if (run->device->ops->settled(run->device, running)) {
			update(run);
		}
	}
}

static void round_of(struct run *run)
{
	unsigned int core;

	for (core = 0; core < CORES; core++) {
		round_of_core(run, core);
	}
	see_to_update(run);
}

static void ask_update(struct virtio_device *device)
{
	((struct run *)device->owner)->asked = true;
}

static void start(struct run *run, unsigned int index)
{
	struct queue *q = &run->q[index];
	struct virtq_config config;

	rd_open(&q->rd, &(struct rd_options){ .size = RING, .mem_size = MEM_SIZE });
	config = rd_config(&q->rd, run->device->ops->req_size(run->device, index));
	MUST(virtq_new(&config, &q->vq) == 0);
	MUST(run->device->ops->queue_start(run->device, index, q->vq, &run->channels[q->core],
					   &q->dq) == 0);
	q->draining = false;
	q->updating = run->update_out;
	q->added = 0;
	q->reaped = 0;
}

static void drain(struct run *run, unsigned int index)
{
	struct queue *q = &run->q[index];

	if (q->dq != NULL && !q->draining) {
		q->draining = true;
		run->device->ops->queue_drain(q->dq);
	}
}

static void stop(struct run *run, unsigned int index)
{
	struct queue *q = &run->q[index];
	unsigned int rounds = 0;

	if (q->dq == NULL) {
		return;
	}
	drain(run, index);
	run->disk[0].hold = 0;
	run->disk[1].hold = 0;
	while (virtq_inflight(q->vq) > 0) {
		MUST(rounds++ < ROUNDS_MAX);
		round_of(run);
	}
	round_of(run);
	/* What was fetched was answered. */
	MUST(virtq_is_broken(q->vq) || virtq_base(q->vq) == (uint16_t)q->reaped);
	run->device->ops->queue_stop(q->dq);
	q->dq = NULL;
	q->updating = false;
	virtq_free(q->vq);
	rd_close(&q->rd);
}

/* To the other reactor, as the owner does it. */
static void move(struct run *run, unsigned int index)
{
	struct queue *q = &run->q[index];
	unsigned int rounds = 0;

	if (q->dq == NULL || q->draining) {
		return;
	}
	run->disk[0].hold = 0;
	run->disk[1].hold = 0;
	q->dq->moves = true;
	q->draining = true;
	do {
		MUST(rounds++ < ROUNDS_MAX);
		round_of(run);
	} while (virtq_inflight(q->vq) > 0);
	run->device->ops->queue_stop(q->dq);
	q->core = !q->core;
	MUST(run->device->ops->queue_start(run->device, index, q->vq, &run->channels[q->core],
					   &q->dq) == 0);
	q->draining = false;
	q->updating = run->update_out;
}

static void change_target(struct run *run, unsigned int target)
{
	if (scsi_remove_target(run->device, target) < 0) {
		/* It may be on its way out still: then the bdev has both for a while. */
		MUST(scsi_add_target(run->device, target, &run->disk[target].bdev, false, NULL) ==
		     0);
	}
	update(run);
}

/* ---- the driver ---- */

static unsigned int cut(struct run *run, struct rd_buf *bufs, unsigned int n, uint64_t gpa,
			uint32_t len, bool write)
{
	unsigned int pieces = 1 + bytes_get_u8(&run->in) % 5;
	uint32_t each = len / pieces;

	while (len > 0) {
		uint32_t take = pieces == 1 || each == 0 ? len : each;

		bufs[n++] = (struct rd_buf){ gpa, take, write };
		gpa += take;
		len -= take;
		pieces--;
	}
	return n;
}

/* Makes a request of a prepared readable part and in_len bytes of writable memory available. */
static void offer(struct run *run, struct queue *q, const uint8_t *out, uint32_t out_len,
		  uint32_t in_len)
{
	struct rd_buf bufs[PIECES_MAX];
	uint64_t gpa;
	unsigned int n = 0;

	if (q->dq == NULL || q->added - q->reaped >= RING) {
		return;
	}
	if (q->added == q->reaped) {
		rd_free_all(&q->rd);
	}
	if (q->rd.alloc_next + 2 * MESSAGES_MAX + 64 > MEM_SIZE) {
		return;
	}
	gpa = rd_alloc(&q->rd, out_len + in_len + 1, 16);
	memcpy(rd_ptr(&q->rd, gpa), out, out_len);
	n = cut(run, bufs, n, gpa, out_len, false);
	n = cut(run, bufs, n, gpa + out_len, in_len, true);
	if (n > 0 && rd_add(&q->rd, bufs, n) >= 0) {
		q->added++;
	}
}

static void put_lun(struct run *run, struct bytes_writer *w)
{
	uint8_t choice = bytes_get_u8(&run->in);
	uint8_t lun[8] = { 1, choice & 1, 0x40 };

	if (choice >= 0xf0) {
		bytes_get(&run->in, lun, sizeof(lun));
	}
	bytes_put(w, lun, sizeof(lun));
}

static void put_tag(struct run *run, struct bytes_writer *w)
{
	bytes_put_le64(w, run->tag - (uint64_t)(bytes_get_u8(&run->in) & 7));
}

/* A length that is right, or a little off, or anything. */
static uint32_t some_length(struct run *run, uint32_t right)
{
	uint8_t choice = bytes_get_u8(&run->in);

	if (choice < 0xd0) {
		return right;
	}
	if (choice < 0xf0) {
		return right + (choice & 7) < 4 ? 0 : right + (choice & 7) - 4;
	}
	return bytes_get_le16(&run->in) % MESSAGES_MAX;
}

static void command(struct run *run)
{
	static const uint8_t opcodes[] = {
		SCSI_READ_10,	    SCSI_WRITE_10, SCSI_WRITE_SAME_16, SCSI_UNMAP,
		SCSI_VERIFY_10,	    SCSI_INQUIRY,  SCSI_WRITE_16,      SCSI_TEST_UNIT_READY,
		SCSI_MODE_SELECT_6, SCSI_WRITE_10,
	};
	uint8_t how = bytes_get_u8(&run->in);
	uint8_t out[MESSAGES_MAX] = { 0 };
	struct bytes_writer w = bytes_writer(out, sizeof(out));
	uint8_t cdb[32] = { opcodes[(how >> 1) % sizeof(opcodes)] };
	uint32_t data = (1 + (uint32_t)(bytes_get_u8(&run->in) & 3)) * 512;
	uint32_t out_len;
	uint32_t in_len;
	bool to_guest;

	put_lun(run, &w);
	run->tag++;
	put_tag(run, &w);
	bytes_put(&w, (uint8_t[3]){ 0 }, 3);
	if (how >= 0xe0) {
		cdb[0] = bytes_get_u8(&run->in);
	}
	bytes_get(&run->in, cdb + 1, 1);
	cdb[5] = bytes_get_u8(&run->in); /* of the LBA, in 10 byte CDBs */
	cdb[8] = cdb[0] == SCSI_UNMAP ? 24 : (uint8_t)(data / 512);
	cdb[12] = bytes_get_u8(&run->in); /* of the length, in 16 byte CDBs */
	bytes_put(&w, cdb, sizeof(cdb));
	/* What would be an UNMAP list, or a pattern. */
	bytes_put(&w, (uint8_t[24]){ 0, 22, 0, 16, [15] = cdb[5], [19] = 8 }, 24);
	to_guest = cdb[0] == SCSI_READ_10 || cdb[0] == SCSI_INQUIRY || how >= 0xf0;
	out_len = some_length(run, run->head_len + (to_guest ? 0 : data));
	in_len = some_length(run, run->resp_len + (to_guest ? data : 0));
	offer(run, &run->q[2 + (how & 1)], out, out_len, in_len);
}

static void control(struct run *run)
{
	uint8_t how = bytes_get_u8(&run->in);
	uint8_t out[MESSAGES_MAX] = { 0 };
	struct bytes_writer w = bytes_writer(out, sizeof(out));
	bool is_tmf = how < 0xc0;
	uint32_t out_len;
	uint32_t in_len;

	bytes_put_le32(&w, is_tmf ? VIRTIO_SCSI_T_TMF : how & 7);
	if (is_tmf) {
		bytes_put_le32(&w, how % 9);
	}
	put_lun(run, &w);
	put_tag(run, &w);
	out_len = some_length(run, is_tmf ? 24 : 16);
	in_len = some_length(run, is_tmf ? 1 : 5);
	offer(run, &run->q[0], out, out_len, in_len);
}

static void change_disk(struct run *run)
{
	uint8_t choice = bytes_get_u8(&run->in);
	struct test_bdev *disk = &run->disk[choice & 1];

	disk->depth = choice >> 1 & 3; /* 0: no bound */
	disk->hold = choice >> 3 & 3;
	disk->newest_first = (choice & 0x20) != 0;
	disk->fail = (choice & 0xc0) == 0xc0 ? -EIO : 0;
}

static void write_config(struct run *run)
{
	uint8_t sizes[8];
	uint8_t offset = bytes_get_u8(&run->in);

	/* Takes effect on queues that are started from now on. */
	bytes_get(&run->in, sizes, sizeof(sizes));
	run->device->ops->config_write(run->device, offset, sizes, 1 + (offset & 7));
	MUST(run->device->ops->config_read(run->device, 20, sizes, 8) == 0);
	run->resp_len = 12 + (uint32_t)(sizes[0] | sizes[1] << 8);
	run->head_len = 19 + (uint32_t)(sizes[4] | sizes[5] << 8);
	MUST(run->resp_len <= 12 + 256 && run->head_len <= 19 + 256);
}

static void run_operation(struct run *run)
{
	uint8_t op = bytes_get_u8(&run->in);
	unsigned int i;

	switch (op % 16) {
	case 0:
	case 1:
	case 2:
	case 3:
	case 4:
		command(run);
		break;
	case 5:
	case 6:
		control(run);
		break;
	case 7:
		change_disk(run);
		break;
	case 8:
		drain(run, op >> 6);
		break;
	case 9:
		stop(run, op >> 6);
		break;
	case 10:
		if (run->q[op >> 6].dq == NULL) {
			start(run, op >> 6);
		}
		break;
	case 12:
		write_config(run);
		break;
	case 13:
		move(run, op >> 6);
		break;
	case 14:
		change_target(run, op >> 7);
		break;
	case 11: /* event buffers */
		offer(run, &run->q[1], (const uint8_t *)"", 0, op >> 4);
		break;
	default:
		for (i = 0; i < 1u + (op >> 6); i++) {
			round_of(run);
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct run run;
	struct scsi_options opts = { .request_queues = QUEUES - 2 };
	unsigned int i;

	memset(&run, 0, sizeof(run));
	run.in = bytes_reader(data, len);
	run.head_len = 51;
	run.resp_len = 108;
	MUST(scsi_new(&opts, &run.device) == 0);
	run.device->owner = &run;
	run.device->ask_update = ask_update;
	for (i = 0; i < 2; i++) {
		test_bdev_init(&run.disk[i], DISK_SIZE, 512);
		run.disk[i].bdev.info.write_cache = true;
		run.disk[i].bdev.info.can_write_zeroes = i == 0;
		MUST(scsi_add_target(run.device, i, &run.disk[i].bdev, false, NULL) == 0);
	}
	run.device->ops->session_begins(run.device);
	run.device->ops->negotiated(run.device, 0);
	for (i = 0; i < QUEUES; i++) {
		start(&run, i);
	}
	for (i = 0; i < OPS_MAX && bytes_left(&run.in) > 0; i++) {
		run_operation(&run);
	}
	for (i = 0; i < QUEUES; i++) {
		stop(&run, QUEUES - 1 - i);
	}
	for (i = 0; i < CORES; i++) {
		MUST(LIST_EMPTY(&run.channels[i].list));
	}
	run.device->ops->free(run.device);
	for (i = 0; i < 2; i++) {
		MUST(run.disk[i].outstanding == 0 && run.disk[i].bdev.claims == 0);
		test_bdev_done(&run.disk[i]);
	}
	return 0;
}
