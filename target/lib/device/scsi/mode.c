/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * MODE SENSE and MODE SELECT, 6 and 10 (SPC-4, 6.11 to 6.14; SBC-3, 6.5): the caching and the control
 * page. Nothing can be changed: MODE SELECT takes what is in force already and refuses the rest.
 */
#include <string.h>

#include "base/bytes.h"
#include "base/iov.h"
#include "device/scsi/cmd.h"

#define PAGE_CACHING 0x08
#define PAGE_CONTROL 0x0a
#define PAGE_ALL     0x3f
#define SUBPAGE_ALL  0xff

#define MODE_MAX 128 /* header, block descriptor and all pages are well below this */

enum page_control {
	PC_CURRENT,
	PC_CHANGEABLE,
	PC_DEFAULT,
	PC_SAVED,
};

struct mode_page {
	uint8_t code;
	uint8_t len; /* without the two bytes before it */
};

static const struct mode_page pages[] = {
	{ PAGE_CACHING, 18 },
	{ PAGE_CONTROL, 10 },
};

#define PAGES (sizeof(pages) / sizeof(pages[0]))

static void put_page(struct bytes_writer *w, const struct scsi_lu *lu, const struct mode_page *page,
		     enum page_control control)
{
	uint8_t body[18] = { 0 };

	/* SPC-4, 6.11.3: changeable values are a mask, all zero here. */
	if (control != PC_CHANGEABLE) {
		if (page->code == PAGE_CACHING && lu->bdev->info.write_cache) {
			body[0] = 0x04; /* WCE */
		}
		if (page->code == PAGE_CONTROL) {
			body[1] =
				0x10; /* QUEUE ALGORITHM MODIFIER 1: order is the driver's matter */
			body[6] = 0xff; /* BUSY TIMEOUT PERIOD: unlimited */
			body[7] = 0xff;
		}
	}
	bytes_put_u8(w, page->code);
	bytes_put_u8(w, page->len);
	bytes_put(w, body, page->len);
}

static void put_block_descriptor(struct bytes_writer *w, const struct scsi_lu *lu, bool long_lba)
{
	if (long_lba) {
		bytes_put_be64(w, lu->blocks);
		bytes_put_be32(w, 0);
		bytes_put_be32(w, lu->block_size);
		return;
	}
	/* SBC-3, 6.5.2.2: all ones when the number does not fit. */
	bytes_put_be32(w, lu->blocks < UINT32_MAX ? (uint32_t)lu->blocks : UINT32_MAX);
	bytes_put_be32(w, lu->block_size); /* at most 65536: the first byte is reserved and zero */
}

static void put_header(struct bytes_writer *w, const struct scsi_lu *lu, size_t total,
		       size_t descriptor, bool ten)
{
	uint8_t specific = 0;

	if (lu->read_only) {
		specific |= 0x80; /* WP */
	}
	if (lu->bdev->info.write_cache) {
		specific |= 0x10; /* DPOFUA */
	}
	if (ten) {
		bytes_put_be16(w, (uint16_t)(total - 2));
		bytes_put_u8(w, 0);
		bytes_put_u8(w, specific);
		bytes_put_u8(w, descriptor == 16 ? 0x01 : 0); /* LONGLBA */
		bytes_put_u8(w, 0);
		bytes_put_be16(w, (uint16_t)descriptor);
	} else {
		bytes_put_u8(w, (uint8_t)(total - 1));
		bytes_put_u8(w, 0);
		bytes_put_u8(w, specific);
		bytes_put_u8(w, (uint8_t)descriptor);
	}
}

enum scsi_step scsi_mode_sense(struct scsi_cmd *cmd)
{
	bool ten = cmd->op->cdb_len == 10;
	bool no_descriptor = (cmd->cdb[1] & 0x08) != 0;
	bool long_lba = ten && (cmd->cdb[1] & 0x10) != 0;
	enum page_control control = cmd->cdb[2] >> 6;
	uint8_t code = cmd->cdb[2] & 0x3f;
	uint8_t subpage = cmd->cdb[3];
	size_t descriptor = no_descriptor ? 0 : long_lba ? 16 : 8;
	uint8_t data[MODE_MAX];
	struct bytes_writer w = bytes_writer(data, sizeof(data));
	uint8_t body[MODE_MAX];
	struct bytes_writer all = bytes_writer(body, sizeof(body));
	size_t i;

	if (control == PC_SAVED) {
		return scsi_check(cmd, SCSI_NO_SAVING);
	}
	if (subpage != 0 && subpage != SUBPAGE_ALL) {
		return scsi_bad_cdb(cmd, 3);
	}
	for (i = 0; i < PAGES; i++) {
		if (code == PAGE_ALL || code == pages[i].code) {
			put_page(&all, cmd->lu, &pages[i], control);
		}
	}
	if (all.pos == 0) {
		return scsi_bad_cdb(cmd, 2);
	}
	put_header(&w, cmd->lu, (ten ? 8 : 4) + descriptor + all.pos, descriptor, ten);
	if (descriptor > 0) {
		put_block_descriptor(&w, cmd->lu, long_lba);
	}
	bytes_put(&w, body, all.pos);
	return scsi_reply(cmd, data, w.pos, ten ? scsi_be16(cmd->cdb + 7) : cmd->cdb[4]);
}

/* ---- MODE SELECT ---- */

struct mode_list {
	struct bytes_reader r;
	size_t descriptor; /* length of the block descriptors */
	bool long_lba;
};

/* The header. Mode data length is reserved, WP and DPOFUA are ignored (SBC-3, 6.5.2.1). */
static void get_header(struct mode_list *list, bool ten)
{
	list->long_lba = false;
	if (ten) {
		bytes_skip(&list->r, 4);
		list->long_lba = (bytes_get_u8(&list->r) & 0x01) != 0;
		bytes_skip(&list->r, 1);
		list->descriptor = bytes_get_be16(&list->r);
	} else {
		bytes_skip(&list->r, 3);
		list->descriptor = bytes_get_u8(&list->r);
	}
}

/* Zero blocks means "leave it"; anything but what is in force would be a re-format. */
static bool descriptor_is_ours(struct mode_list *list, const struct scsi_lu *lu)
{
	uint8_t ours[16];
	uint8_t theirs[16];
	struct bytes_writer w = bytes_writer(ours, sizeof(ours));
	size_t number = list->long_lba ? 8 : 4;
	static const uint8_t none[8];

	put_block_descriptor(&w, lu, list->long_lba);
	if (list->descriptor != w.pos) {
		return false;
	}
	bytes_get(&list->r, theirs, w.pos);
	if (list->r.failed) {
		return true; /* said below, as a length error */
	}
	return memcmp(ours + number, theirs + number, w.pos - number) == 0 &&
	       (memcmp(ours, theirs, number) == 0 || memcmp(none, theirs, number) == 0);
}

static bool page_is_ours(struct mode_list *list, const struct scsi_lu *lu)
{
	uint8_t code = bytes_get_u8(&list->r);
	uint8_t len = bytes_get_u8(&list->r);
	uint8_t ours[MODE_MAX];
	uint8_t theirs[MODE_MAX];
	struct bytes_writer w = bytes_writer(ours, sizeof(ours));
	size_t i;

	/* PS (80h) is reserved here; SPF (40h) would be a subpage, of which there are none. */
	for (i = 0; i < PAGES; i++) {
		if ((code & 0x7f) == pages[i].code && len == pages[i].len) {
			put_page(&w, lu, &pages[i], PC_CURRENT);
			bytes_get(&list->r, theirs, len);
			return list->r.failed || memcmp(ours + 2, theirs, len) == 0;
		}
	}
	return list->r.failed;
}

enum scsi_step scsi_mode_select(struct scsi_cmd *cmd)
{
	bool ten = cmd->op->cdb_len == 10;
	size_t len = ten ? scsi_be16(cmd->cdb + 7) : cmd->cdb[4];
	uint8_t data[MODE_MAX];
	struct mode_list list;
	size_t at;

	if ((cmd->cdb[1] & 0x01) != 0 || (cmd->cdb[1] & 0x10) == 0) {
		return scsi_bad_cdb(cmd, 1); /* SP: no saving. PF: not the page format of SPC */
	}
	if (len == 0) {
		return scsi_good(cmd, 0);
	}
	if (len > cmd->out.len) {
		return scsi_overrun(cmd);
	}
	if (len > sizeof(data)) {
		return scsi_check(cmd, SCSI_PARAMETER_LIST_LENGTH);
	}
	iov_gather(cmd->out.iov, cmd->out.iov_n, 0, data, len);
	list.r = bytes_reader(data, len);
	get_header(&list, ten);
	at = list.r.pos;
	if (!list.r.failed && list.descriptor > 0 && !descriptor_is_ours(&list, cmd->lu)) {
		return scsi_bad_parameter(cmd, (unsigned int)at);
	}
	while (!list.r.failed && bytes_left(&list.r) > 0) {
		at = list.r.pos;
		if (!page_is_ours(&list, cmd->lu)) {
			return scsi_bad_parameter(cmd, (unsigned int)at);
		}
	}
	/* SPC-4, 6.9: the list was cut in a header, descriptor or page. */
	return list.r.failed ? scsi_check(cmd, SCSI_PARAMETER_LIST_LENGTH) : scsi_good(cmd, len);
}
