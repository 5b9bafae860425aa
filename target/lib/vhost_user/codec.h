/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts
 *   assembler  collects the bytes and descriptors of one message as they come in, never asking for a
 *              byte of the next one, so that descriptors can be told apart by message.
 *   decoder    reads a payload into a struct. Sizes are bounded by the dispatch table before;
 *              decoders check everything again that they rely on, so they can be fuzzed alone.
 */
#ifndef VHT_VHOST_USER_CODEC_H
#define VHT_VHOST_USER_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/fd_bag.h"
#include "vhost_user/message.h"

struct vu_assembler {
	struct vu_message message;
	size_t have; /* bytes of message.wire */
};

void vu_assembler_init(struct vu_assembler *a);
/* Puts the descriptors that were received of a message into the bag; NULL: closes them. */
void vu_assembler_done(struct vu_assembler *a, struct fd_bag *rest);

/* Where the next bytes go, and how many at most. */
uint8_t *vu_assembler_space(struct vu_assembler *a);
size_t vu_assembler_wanted(const struct vu_assembler *a);

/* n bytes were put there. 1: the message is complete. 0: more. -EPROTO: not a vhost-user request. */
int vu_assembler_received(struct vu_assembler *a, size_t n);

/* Takes the descriptors over. -EPROTO: more than a message may have; then they are still the caller's. */
int vu_assembler_add_fds(struct vu_assembler *a, const int *fds, unsigned int n);

/* Hands the complete message out and starts a new one. */
void vu_assembler_take(struct vu_assembler *a, struct vu_message *ret_message);

/* The descriptors that nobody has taken out go into the bag; NULL: they are closed. */
void vu_message_drop_fds(struct vu_message *message, struct fd_bag *rest);
/* The only descriptor of the message; -1 if there is none. It is the caller's now. */
int vu_message_take_fd(struct vu_message *message);

/* Each: 0, or -EPROTO when the payload does not hold what it says. */
int vu_decode_u64(const struct vu_message *message, uint64_t *ret_value);
int vu_decode_vring_state(const struct vu_message *message, struct vu_vring_state *ret_state);
int vu_decode_vring_addr(const struct vu_message *message, struct vu_vring_addr *ret_addr);
int vu_decode_log(const struct vu_message *message, struct vu_log *ret_log);
/* Fills up to VU_REGIONS_MAX regions. */
int vu_decode_mem_table(const struct vu_message *message, struct vu_region *regions,
			unsigned int *ret_region_n);
/* "Single memory region description" */
int vu_decode_mem_reg(const struct vu_message *message, struct vu_region *ret_region);
/* With or without padding. */
int vu_decode_inflight(const struct vu_message *message, struct vu_inflight *ret_inflight);
/* *ret_data: the bytes behind the header of the description, *ret_data_len of them. */
int vu_decode_config(const struct vu_message *message, struct vu_config *ret_config,
		     const uint8_t **ret_data, size_t *ret_data_len);

/* Turns *reply into an empty reply to a request of this type. */
void vu_reply_init(struct vu_message *reply, uint32_t request);
void vu_reply_put(struct vu_message *reply, const void *data, size_t len);
void vu_reply_put_u64(struct vu_message *reply, uint64_t value);

#endif
