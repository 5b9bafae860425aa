/* SPDX-License-Identifier: BSD-3-Clause */
/* A driver that rewrites LUN, CDB and data of its requests while they are read (T36, T37). */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "device/scsi/dev.h"
#include "device/scsi/rig.h"

#define DATA	   512
#define CDB_AT	   19		       /* virtio 1.2, 5.6.6.1 */
#define DATA_END   (SCSI_CDB_MAX + 24) /* from there: what is not 0 at first */
#define ROUNDS_MAX 1000
#define LEAST_MS   700
#define MOST_MS	   20000

struct mutator {
	uint8_t *head; /* and the data behind it */
	atomic_bool stop;
};

/* A guest: its races with us are the purpose. */
__attribute__((no_sanitize("thread"))) static void *mutate(void *arg)
{
	static const uint8_t lun[8][3] = { { 1, RIG_TARGET, 0x40 }, { 0, RIG_TARGET, 0x40 },
					   { 1, RIG_TARGET, 0x40 }, { 1, 0, 0x40 },
					   { 1, RIG_TARGET, 0x40 }, { 1, RIG_TARGET_2, 0x40 },
					   { 1, RIG_TARGET, 0x40 }, { 1, 255, 0xff } };
	const struct mutator *m = arg;
	uint64_t x = 88172645463325252u;

	while (!atomic_load_explicit(&m->stop, memory_order_relaxed)) {
		volatile uint8_t *p;
		unsigned int i;

		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		if ((x & 3) == 0) {
			i = (unsigned int)(x >> 8) % 3;
			m->head[i] = lun[x >> 32 & 7][i];
			continue;
		}
		/* Opcode and control bytes stay, mostly: the fields between decide how far it gets. */
		p = m->head + CDB_AT + 1 + (x >> 32) % (((x & 4) != 0 ? 14 : DATA_END));
		*p = (x >> 16 & 3) != 0 ? 0 : (uint8_t)(x >> 24);
	}
	return NULL;
}

struct command {
	uint8_t cdb[SCSI_CDB_MAX];
	bool out;
	uint8_t data[24];
};

static const struct command commands[] = {
	{ { SCSI_READ_10, [8] = 1 }, false, { 0 } },
	{ { SCSI_READ_16, [13] = 1 }, false, { 0 } },
	{ { SCSI_WRITE_10, [8] = 1 }, true, { 0 } },
	{ { SCSI_WRITE_16, [13] = 1 }, true, { 0 } },
	{ { SCSI_UNMAP, [8] = 24 }, true, { 0, 22, 0, 16, [15] = 8, [19] = 8 } },
	{ { SCSI_WRITE_SAME_16, [13] = 1 }, true, { 0 } },
	{ { SCSI_MODE_SELECT_10, 0x10, [8] = 8 }, true, { 0 } },
	{ { SCSI_INQUIRY, [4] = 36 }, false, { 0 } },
	{ { SCSI_REPORT_LUNS, [9] = 64 }, false, { 0 } },
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

/* Its response: the fake disk does not stand what lies outside of it. */
static uint8_t give(struct rig *rig, uint64_t area, uint64_t reply, const struct command *command)
{
	struct rig_queue *q = &rig->q[RIG_A];
	struct rd_buf bufs[3] = { { area, RIG_HEAD_LEN, false } };
	const uint8_t *resp = rd_ptr(&q->rd, reply);
	unsigned int rounds;
	int head;

	rig_put_head(rd_ptr(&q->rd, area), RIG_TARGET, 1, command->cdb);
	memset(rd_ptr(&q->rd, area + RIG_HEAD_LEN), 0, DATA);
	memcpy(rd_ptr(&q->rd, area + RIG_HEAD_LEN), command->data, sizeof(command->data));
	memset(rd_ptr(&q->rd, reply), 0xee, RIG_RESP_LEN);
	bufs[1] = command->out ? (struct rd_buf){ area + RIG_HEAD_LEN, DATA, false } :
				 (struct rd_buf){ reply, RIG_RESP_LEN, true };
	bufs[2] = command->out ? (struct rd_buf){ reply, RIG_RESP_LEN, true } :
				 (struct rd_buf){ reply + RIG_RESP_LEN, DATA, true };
	head = rd_add(&q->rd, bufs, 3);
	assert_true(head >= 0);
	q->used_len[head] = RIG_NOT_DONE;
	for (rounds = 0; q->used_len[head] == RIG_NOT_DONE; rounds++) {
		assert_true(rounds < ROUNDS_MAX);
		rig_round(rig);
	}
	assert_false(virtq_is_broken(q->vq));
	assert_true(resp[11] <= VIRTIO_SCSI_S_FAILURE);
	return resp[11] == VIRTIO_SCSI_S_OK ? resp[10] : 0xff;
}

static long ms_since(const struct timespec *start)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (now.tv_sec - start->tv_sec) * 1000 + (now.tv_nsec - start->tv_nsec) / 1000000;
}

static void requests_that_change(void **state)
{
	struct rig *rig = rig_new(NULL);
	struct ring_driver *rd = &rig->q[RIG_A].rd;
	struct mutator m = { 0 };
	struct timespec start;
	pthread_t thread;
	unsigned int good = 0;
	unsigned int bad = 0;
	unsigned int turn = 0;
	uint64_t area;
	uint64_t reply;

	rig_start(rig);
	area = rd_alloc(rd, RIG_HEAD_LEN + DATA, 64);
	reply = rd_alloc(rd, RIG_RESP_LEN + DATA, 64);
	m.head = rd_ptr(rd, area);
	assert_int_equal(pthread_create(&thread, NULL, mutate, &m), 0);
	clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		uint8_t status = give(rig, area, reply, &commands[turn++ % COMMANDS]);

		*(status == SCSI_STATUS_GOOD ? &good : &bad) += 1;
	} while (ms_since(&start) < (good > 0 && bad > 0 ? LEAST_MS : MOST_MS));
	atomic_store(&m.stop, true);
	pthread_join(thread, NULL);
	assert_true(good > 0);
	assert_true(bad > 0);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_that_change),
	};

	return cmocka_run_group_tests_name("device.scsi.mutation", tests, NULL, NULL);
}
