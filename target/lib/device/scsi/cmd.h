/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts
 *   command   one CDB with its data buffers, from its start to its status. It knows nothing of virtio:
 *             request.c makes it out of a virtqueue request, tests and fuzzers out of thin air.
 *   op        a line of the command table: how long the CDB is, what it may do, which functions run it.
 *   step      a command runs in steps. `start` looks at the CDB, and either the command is finished or
 *             cmd->io is filled in and is to be submitted; when the bdev has completed it, `advance`
 *             decides about the next step. So there are no chains of callbacks.
 *
 * Owner: the device's reactor.
 */
#ifndef VHT_DEVICE_SCSI_CMD_H
#define VHT_DEVICE_SCSI_CMD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/uio.h>

#include "base/checked.h"
#include "bdev/bdev.h"
#include "device/scsi/lu.h"
#include "device/scsi/proto.h"
#include "device/scsi/sense.h"

#define SCSI_CDB_MAX 32 /* longer ones are cut: no command that we know needs more than 16 */

enum scsi_step {
	SCSI_DONE,   /* status, response, sense and `transferred` are set */
	SCSI_SUBMIT, /* submit cmd->io; when it is done: scsi_cmd_advance() */
	SCSI_WAIT, /* the scratch buffer is in use: scsi_cmd_resume() when another command is done */
};

/* A data buffer: guest memory, already checked and translated. */
struct scsi_data {
	struct iovec *iov; /* may be trimmed by the command */
	unsigned int iov_n;
	uint64_t len;
};

/* A run of blocks to be unmapped or zeroed, in bytes. */
struct scsi_extent {
	uint64_t offset;
	uint64_t len;
};

struct scsi_op;

struct scsi_cmd {
	/* The submitter: */
	struct scsi_lu *lu;   /* NULL: the target exists, this logical unit of it does not */
	struct scsi_data out; /* from the guest; at most one of the two holds any bytes */
	struct scsi_data in;  /* to the guest */
	uint64_t tag;
	uint16_t cdb_len; /* bytes that the initiator sent; the rest of cdb is zero */
	uint8_t cdb[SCSI_CDB_MAX];

	/* The result: */
	uint8_t response; /* enum virtio_scsi_response */
	uint8_t status;
	uint8_t sense_len; /* 0 or SCSI_SENSE_LEN */
	uint8_t sense[SCSI_SENSE_LEN];
	uint64_t transferred; /* bytes of the data buffer used, from its start */

	/* The submitter's, for task management: */
	uint8_t ended_by; /* answer with this response instead (S_ABORTED, S_RESET); 0: none */
	uint8_t tmf_mask; /* the task management functions that wait for this task */
	bool listed;	  /* is in lu->tasks: the bdev has something to do with it, or it waits */
	bool waiting;	  /* is in lu->waiting */
	enum scsi_step step; /* the last one */
	TAILQ_ENTRY(scsi_cmd) task_link;
	TAILQ_ENTRY(scsi_cmd) wait_link;

	/* While it runs: */
	const struct scsi_op *op;
	uint8_t stage;	    /* private to the op */
	uint32_t io_flags;  /* of each piece */
	uint64_t pos, left; /* bytes of the medium still to be worked on */
	struct iovec piece; /* of the scratch buffer */
	struct bdev_io io;
	unsigned int extent_i, extent_n;
	struct scsi_extent extents[SCSI_MAX_UNMAP_DESCRIPTORS];
};

enum scsi_op_flags {
	SCSI_OP_ANY_LUN = 1 << 0,   /* also answers for a logical unit that does not exist */
	SCSI_OP_PAST_UA = 1 << 1,   /* SAM-5, 5.14: not stopped by a unit attention */
	SCSI_OP_WRITES = 1 << 2,    /* changes the medium */
	SCSI_OP_UNMAP = 1 << 3,	    /* there only when the disk has UNMAP */
	SCSI_OP_BY_ACTION = 1 << 4, /* the service action decides: see the second table */
};

struct scsi_op {
	enum scsi_step (*start)(struct scsi_cmd *cmd);
	enum scsi_step (*advance)(struct scsi_cmd *cmd); /* NULL: `start` finishes it */
	uint8_t cdb_len;
	uint8_t flags;
	uint8_t opcode; /* with `action`: of a command that its service action selects */
	uint8_t action;
	uint8_t usage[15]; /* SPC-4, 6.35.3: which bits of CDB bytes 1... are looked at */
};

/* The table of commands: the one a CDB asks for, and a walk over all (NULL: the first). */
const struct scsi_op *scsi_op_find(const struct scsi_lu *lu, uint8_t opcode, uint8_t action);
const struct scsi_op *scsi_op_next(const struct scsi_lu *lu, const struct scsi_op *op);
/* The opcode is one whose service action selects the command. */
bool scsi_opcode_has_actions(uint8_t opcode);
bool scsi_op_has_action(const struct scsi_op *op);
uint8_t scsi_op_opcode(const struct scsi_op *op);

/*
 * The life of a command. The fields of the submitter are set; all other fields may hold anything.
 * scsi_cmd_finish() once after SCSI_DONE, or to give the command up between two steps.
 */
enum scsi_step scsi_cmd_start(struct scsi_cmd *cmd);
enum scsi_step scsi_cmd_advance(struct scsi_cmd *cmd); /* cmd->io is done */
enum scsi_step scsi_cmd_resume(struct scsi_cmd *cmd);  /* after SCSI_WAIT */
static inline void scsi_cmd_finish(struct scsi_cmd *cmd)
{
	if (cmd->lu != NULL && cmd->lu->scratch_user == cmd) {
		cmd->lu->scratch_user = NULL;
	}
}

/* ---- for the ops: every way for a step to end ---- */

void scsi_cmd_init(struct scsi_cmd *cmd); /* nothing has gone wrong yet */
enum scsi_step scsi_good(struct scsi_cmd *cmd, uint64_t transferred);
enum scsi_step scsi_check(struct scsi_cmd *cmd, enum scsi_condition condition);
enum scsi_step scsi_bad_cdb(struct scsi_cmd *cmd, unsigned int byte); /* 24/00 + field pointer */
enum scsi_step scsi_bad_parameter(struct scsi_cmd *cmd, unsigned int byte); /* 26/00, ditto */
enum scsi_step scsi_bad_lba(struct scsi_cmd *cmd, uint64_t lba); /* 21/00 + INFORMATION */
/* virtio 1.2, 5.6.6.1: the CDB requires more data than the driver's buffers hold. */
enum scsi_step scsi_overrun(struct scsi_cmd *cmd);
/* Sends up to `allocation` bytes of buf as the command's data-in. */
enum scsi_step scsi_reply(struct scsi_cmd *cmd, const void *buf, size_t len, uint64_t allocation);
enum scsi_step scsi_submit(struct scsi_cmd *cmd, enum bdev_op op, uint64_t offset, uint64_t len);

/* ---- for the ops: looking at the CDB ---- */

static inline uint16_t scsi_be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t scsi_be32(const uint8_t *p)
{
	return (uint32_t)scsi_be16(p) << 16 | scsi_be16(p + 2);
}

static inline uint64_t scsi_be64(const uint8_t *p)
{
	return (uint64_t)scsi_be32(p) << 32 | scsi_be32(p + 4);
}

struct scsi_range {
	uint64_t lba;
	uint32_t blocks;
};

/* LBA and number of blocks where 6, 10, 12 and 16 byte CDBs of block commands have them. */
struct scsi_range scsi_cdb_range(const struct scsi_cmd *cmd);
unsigned int scsi_cdb_length_byte(const struct scsi_cmd *cmd); /* the first byte of that number */
/* false: some block of it does not exist. */
static inline bool scsi_range_exists(const struct scsi_lu *lu, struct scsi_range range)
{
	return range_inside(range.lba, range.blocks, lu->blocks);
}
/* The scratch buffer is cmd's from now on, until scsi_cmd_finish(); false: in use. */
bool scsi_take_scratch(struct scsi_cmd *cmd);

/* ---- the ops, by file ---- */

enum scsi_step scsi_inquiry(struct scsi_cmd *cmd); /* inquiry.c */

enum scsi_step scsi_mode_sense(struct scsi_cmd *cmd); /* mode.c */
enum scsi_step scsi_mode_select(struct scsi_cmd *cmd);

enum scsi_step scsi_test_unit_ready(struct scsi_cmd *cmd); /* unit.c */
enum scsi_step scsi_request_sense(struct scsi_cmd *cmd);
enum scsi_step scsi_report_luns(struct scsi_cmd *cmd);
enum scsi_step scsi_read_capacity_10(struct scsi_cmd *cmd);
enum scsi_step scsi_read_capacity_16(struct scsi_cmd *cmd);
enum scsi_step scsi_start_stop(struct scsi_cmd *cmd);
enum scsi_step scsi_flushed(struct scsi_cmd *cmd);

enum scsi_step scsi_report_opcodes(struct scsi_cmd *cmd); /* opcodes.c */

enum scsi_step scsi_read(struct scsi_cmd *cmd); /* rw.c */
enum scsi_step scsi_write(struct scsi_cmd *cmd);
enum scsi_step scsi_rw_advance(struct scsi_cmd *cmd);
enum scsi_step scsi_synchronize_cache(struct scsi_cmd *cmd);
enum scsi_step scsi_verify(struct scsi_cmd *cmd);
enum scsi_step scsi_verify_advance(struct scsi_cmd *cmd);

enum scsi_step scsi_unmap(struct scsi_cmd *cmd); /* unmap.c */
enum scsi_step scsi_unmap_advance(struct scsi_cmd *cmd);
/* Longest discard or write-zeroes request that the bdev takes, in whole blocks. */
uint64_t scsi_longest_discard(const struct scsi_lu *lu);

enum scsi_step scsi_write_same(struct scsi_cmd *cmd); /* write_same.c */
enum scsi_step scsi_write_same_advance(struct scsi_cmd *cmd);

#endif
