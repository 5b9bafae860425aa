/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fuzzer F1, second half: whole sessions. The input is
 *
 *	u8 options | u8 n | n bytes: when the owner answers | a record for the replay transport
 *
 * Messages and answers of the owner are interleaved as the n bytes say. The scripted owner aborts when
 * the session breaks its contract; here we check that everything ends and that no descriptor and no
 * memory is left.
 */
#include <stdint.h>

#include "base/bytes.h"
#include "leaks.h"
#include "must.h"
#include "vhost_user/scripted_owner.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define OPTION_DELAYED	   0x01
#define OPTION_START_FAILS 0x02
#define OPTION_NO_CONFIG   0x04
#define OPTION_CLOSE	   0x08
#define OPTION_MEM_FAILS   0x10

/* More than the longest input has messages. */
#define TURNS_MAX 100000

/* Whoever was told to change the memory or the log of the rings has been: nobody is left behind with the old one. */
static void check_rings(const struct scripted_owner *owner)
{
	const struct vu_ring *first = NULL;
	unsigned int i;

	for (i = 0; i < owner->max_queues && owner->session != NULL && !owner->pending; i++) {
		const struct vu_ring *ring = &owner->rings[i];

		if (owner->running[i]) {
			MUST(first == NULL ||
			     (first->mem == ring->mem && first->log.log == ring->log.log));
			first = ring;
		}
	}
}

static void run(struct scripted_owner *owner, struct bytes_reader *schedule)
{
	unsigned int turn;

	for (turn = 0; turn < TURNS_MAX && owner->session != NULL; turn++) {
		uint8_t step = bytes_get_u8(schedule);

		if (owner->pending && (schedule->failed || (step & 1))) {
			scripted_owner_answer(owner);
		} else if (step == 0xfe) {
			vu_session_close(owner->session, "fuzzer");
		} else if (step == 0xfc) {
			vu_session_config_changed(owner->session);
		} else {
			vu_session_process(owner->session);
		}
		check_rings(owner);
	}
	/* The record is at its end: so must the session be. */
	MUST(owner->session == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct bytes_reader input = bytes_reader(data, len);
	uint8_t options = bytes_get_u8(&input);
	size_t n = bytes_get_u8(&input);
	struct bytes_reader schedule;
	struct vu_transport *transport;
	static struct scripted_owner owner;
	struct leaks before = leaks_start();

	if (input.failed) {
		return 0;
	}
	n = n < bytes_left(&input) ? n : bytes_left(&input);
	schedule = bytes_reader(data + input.pos, n);
	bytes_skip(&input, n);
	scripted_owner_init(&owner);
	owner.delayed = options & OPTION_DELAYED;
	owner.start_result = options & OPTION_START_FAILS ? -14 : 0;
	owner.config_result = options & OPTION_NO_CONFIG ? -5 : 0;
	owner.close_in_start = options & OPTION_CLOSE;
	owner.set_mem_result = options & OPTION_MEM_FAILS ? -14 : 0;
	owner.progress = options >> 5;
	if (vu_replay_new(data + input.pos, bytes_left(&input), &transport) < 0 ||
	    vu_session_new(NULL, transport, owner.max_queues, &scripted_owner_ops, &owner,
			   &owner.session) < 0) {
		return 0;
	}
	run(&owner, &schedule);
	leaks_check(&before);
	return 0;
}
