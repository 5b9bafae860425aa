/* SPDX-License-Identifier: BSD-3-Clause */
/* T60, T61, T63: task management and events (virtio 1.2, 5.6.6.2 and 5.6.6.3). */
#include <string.h>

#include "case.h"

#define SIZE 16

static bool start_queue(struct rig *rig, unsigned int index, struct vfe_queue **ret_queue)
{
	const struct vfe_queue_options options = { .size = SIZE, .segments = 4 };
	int r = vfe_queue_new(rig->session, index, &options, ret_queue);

	if (r == 0) {
		r = vfe_queue_start(*ret_queue);
		if (r < 0) {
			vfe_queue_free(*ret_queue);
		}
	}
	if (r < 0) {
		rig_fail(rig, "queue %u does not start: %s", index, vfe_why(rig->session));
	}
	return r == 0;
}

struct function {
	uint32_t type;
	uint32_t function;
	uint32_t out_len;
	uint32_t in_len;
	uint8_t response; /* ours has to give */
	uint8_t target;	  /* 0: that with the disk */
};

#define WHOLE	     24 /* bytes of a task management request */
#define ANY_RESPONSE 0xff

/* The response is the last byte of what the device writes: 1 byte, or 5 for notifications. */
static void call_function(struct rig *rig, struct vfe_queue *queue, const struct function *f)
{
	struct vfe_scsi_task_frame *frame = (struct vfe_scsi_task_frame *)(void *)rig->scratch;
	uint8_t *reply = rig->scratch + sizeof(*frame);
	const struct vfe_seg segs[] = { { RIG_SCRATCH, f->out_len },
					{ RIG_SCRATCH + sizeof(*frame), f->in_len } };
	struct vfe_done done;
	uint8_t response;
	int r;

	*frame = (struct vfe_scsi_task_frame){
		.type = f->type,
		.function = f->function,
		.lun = { 1, f->target != 0 ? f->target : (uint8_t)rig->options->scsi_target, 0x40 },
		.tag = 4711,
	};
	memset(reply, VFE_SCSI_UNTOUCHED, 8);
	r = vfe_queue_add(queue, segs, 1, 1, rig);
	if (r == 0) {
		r = vfe_queue_finish(queue, RIG_DEADLINE_MS, &done);
	}
	response = reply[f->in_len - 1];
	if (r < 0) {
		rig_fail(rig, "type %u, function %u: no response (%s)", f->type, f->function,
			 vfe_why(rig->session));
	} else if (rig->options->strict && f->response != ANY_RESPONSE && response != f->response) {
		rig_fail(rig, "type %u, function %u: response %u instead of %u", f->type,
			 f->function, response, f->response);
	} else if (response > VFE_SCSI_INCORRECT_LUN) {
		rig_fail(rig, "type %u, function %u: there is no response %u", f->type, f->function,
			 response);
	}
}

static void all_functions(struct rig *rig, const void *arg)
{
	static const struct function functions[] = {
		{ 0, VFE_TMF_ABORT_TASK, WHOLE, 1, VFE_SCSI_OK, 0 },
		{ 0, VFE_TMF_ABORT_TASK_SET, WHOLE, 1, VFE_SCSI_OK, 0 },
		{ 0, VFE_TMF_CLEAR_ACA, WHOLE, 1, VFE_SCSI_FUNCTION_REJECTED, 0 },
		{ 0, VFE_TMF_CLEAR_TASK_SET, WHOLE, 1, VFE_SCSI_OK, 0 },
		{ 0, VFE_TMF_I_T_NEXUS_RESET, WHOLE, 1, VFE_SCSI_OK, 0 },
		{ 0, VFE_TMF_LOGICAL_UNIT_RESET, WHOLE, 1, VFE_SCSI_OK, 0 },
		{ 0, VFE_TMF_QUERY_TASK, WHOLE, 1, VFE_SCSI_OK, 0 },
		{ 0, VFE_TMF_QUERY_TASK_SET, WHOLE, 1, VFE_SCSI_OK, 0 },
		{ 0, 8, WHOLE, 1, VFE_SCSI_FUNCTION_REJECTED, 0 },
		{ 0, 0xffffffff, WHOLE, 1, VFE_SCSI_FUNCTION_REJECTED, 0 },
		{ 0, VFE_TMF_LOGICAL_UNIT_RESET, WHOLE, 1, VFE_SCSI_BAD_TARGET, 255 },
		{ 0, VFE_TMF_ABORT_TASK, 8, 1, VFE_SCSI_FUNCTION_REJECTED, 0 },
		{ 1, 0, 20, 5, ANY_RESPONSE, 0 },
		{ 2, 0, 20, 5, ANY_RESPONSE, 0 },
		{ 3, 0, WHOLE, 1, VFE_SCSI_FUNCTION_REJECTED, 0 },
		{ 0xffffffff, 0, WHOLE, 1, VFE_SCSI_FUNCTION_REJECTED, 0 },
	};
	const struct rig_options how = { 0 };
	struct vfe_queue *control;
	struct request request;
	unsigned int i;

	(void)arg;
	if (!rig_start(rig, &how) || !start_queue(rig, VFE_SCSI_CONTROL, &control)) {
		return;
	}
	for (i = 0; i < sizeof(functions) / sizeof(functions[0]) && !rig->failed; i++) {
		call_function(rig, control, &functions[i]);
		/* What a reset has to tell comes with the next command. */
		rig_read(rig, 0, 0, 0, &request);
		if (!rig->failed && rig_submit(rig, &request)) {
			rig_expect(rig, 0, WANT_ANSWER);
		}
	}
	vfe_queue_free(control);
}

/* A request without a type, and one without room for the response: nothing can be said about them. */
static void broken_control_requests(struct rig *rig, const void *arg)
{
	static const struct vfe_seg bad[][2] = {
		{ { RIG_SCRATCH, 3 }, { RIG_SCRATCH + 64, 1 } },
		{ { RIG_SCRATCH, WHOLE }, { RIG_SCRATCH + 64, 0 } },
	};
	const struct rig_options how = { 0 };
	struct vfe_queue *control;
	unsigned int i;

	(void)arg;
	for (i = 0; i < 2 && !rig->failed; i++) {
		struct rig_options again = how;
		struct vfe_queue *requests;

		rig_close(rig);
		if (!rig_start(rig, &again) || !start_queue(rig, VFE_SCSI_CONTROL, &control)) {
			return;
		}
		if (vfe_queue_add(control, bad[i], 1, 1, rig) == 0) {
			vfe_queue_publish(control);
		}
		/* Its own eventfd is looked at, through the rig. */
		requests = rig->queue;
		rig->queue = control;
		vfe_raw_view(control, &rig->view);
		rig_expect(rig, -1, WANT_BROKEN_HERE);
		rig->queue = requests;
		vfe_raw_view(requests, &rig->view);
		if (!rig->failed && rig_alive(rig)) {
			rig_expect_usable(rig);
		}
		vfe_queue_free(control);
	}
}

static void abort_of_what_is_over(struct rig *rig, const void *arg)
{
	const struct rig_options how = { 0 };
	const struct function abort = { 0, VFE_TMF_ABORT_TASK, WHOLE, 1, VFE_SCSI_OK, 0 };
	const struct function query = { 0, VFE_TMF_QUERY_TASK, WHOLE, 1, VFE_SCSI_OK, 0 };
	struct vfe_queue *control;
	struct request request;

	(void)arg;
	if (!rig_start(rig, &how) || !start_queue(rig, VFE_SCSI_CONTROL, &control)) {
		return;
	}
	rig_read(rig, 0, RIG_SECTOR, rig->block, &request);
	rig->scsi_frames[0].request.tag = 4711;
	if (rig_submit(rig, &request)) {
		rig_expect(rig, 0, WANT_OK);
	}
	if (!rig->failed) {
		call_function(rig, control, &abort);
	}
	if (!rig->failed) {
		call_function(rig, control, &query);
		rig_expect_usable(rig);
	}
	vfe_queue_free(control);
}

/* T63: buffers for events that cannot hold one. */
static void event_buffers(struct rig *rig, const void *arg)
{
	static const struct vfe_seg segs[] = {
		{ RIG_SCRATCH, 0 }, { RIG_SCRATCH, 1 },	 { RIG_SCRATCH, 15 },	   { RIG_END, 16 },
		{ UINT64_MAX, 16 }, { RIG_SCRATCH, 16 }, { RIG_SCRATCH, 1 << 20 },
	};
	const struct rig_options how = { 0 };
	struct vfe_queue *events;
	unsigned int writable;
	unsigned int i;

	(void)arg;
	for (writable = 0; writable < 2 && !rig->failed; writable++) {
		rig_close(rig);
		if (!rig_start(rig, &how) || !start_queue(rig, VFE_SCSI_EVENTS, &events)) {
			return;
		}
		for (i = 0; i < sizeof(segs) / sizeof(segs[0]); i++) {
			if (vfe_queue_add(events, &segs[i], 1 - writable, writable, rig) == 0) {
				vfe_queue_publish(events);
			}
			vfe_queue_kick(events);
		}
		if (rig_alive(rig)) {
			rig_expect_usable(rig);
		}
		if (!rig->failed && rig_alive(rig) && vfe_queue_stop(events) < 0) {
			rig_fail(rig, "the event queue does not stop: %s", vfe_why(rig->session));
		}
		vfe_queue_free(events);
	}
}

#define SCSI (ON_SCSI | ON_RING)

static const struct hostile_case cases[] = {
	{ "T60", "every task management function, and some that there are not", SCSI, all_functions,
	  NULL },
	{ "T60", "control requests without type or room", SCSI, broken_control_requests, NULL },
	{ "T61", "an abort of what is over", SCSI, abort_of_what_is_over, NULL },
	{ "T63", "event buffers that cannot hold an event", SCSI, event_buffers, NULL },
};

const struct case_table scsi_control_table = CASE_TABLE(cases);
