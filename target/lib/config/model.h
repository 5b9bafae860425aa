/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts, inside of config/ only
 *   section   "[Name]" and all the lines below it, in file order; a second one of the same name
 *             continues the first.
 *   item      one line: a key and its values. A key may be there several times.
 *   schema    what sections and keys there are, and what their values look like.
 * A parsed file that passed schema_check() can be read with the config_get_* functions, which then
 * cannot fail.
 */
#ifndef VHT_CONFIG_MODEL_H
#define VHT_CONFIG_MODEL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/log.h"
#include "base/why.h"
#include "config/config.h"

struct schema_section;
struct schema_key;

struct config_item {
	char *key;
	char **values;
	unsigned int value_n;
	unsigned int line;
	const struct schema_key *schema; /* set by schema_check() */
	bool superseded;		 /* a single-valued key that an earlier line has set */
	STAILQ_ENTRY(config_item) link;
};

struct config_section {
	char *name;
	unsigned int line;
	const struct schema_section *schema; /* set by schema_check() */
	STAILQ_HEAD(, config_item) items;
	STAILQ_ENTRY(config_section) link;
};

struct config {
	char *name; /* of the file, for messages */
	bool strict;
	STAILQ_HEAD(, config_section) sections;
};

enum section_id {
	SECTION_GLOBAL,
	SECTION_RPC,
	SECTION_IOAT,
	SECTION_SCSI,
	SECTION_MALLOC,
	SECTION_NULL,
	SECTION_AIO,
	SECTION_NVME,
	SECTION_CEPH,
	SECTION_SPLIT,
	SECTION_GPT,
	SECTION_BDEV_ERROR,
	SECTION_PMEM,
	SECTION_VHOST_SCSI,
	SECTION_VHOST_BLK,
	SECTION_VHOST_NVME,
};

void config_item_free(struct config_item *item);

/* Resolves names, checks values. 0, or -EINVAL with a line in *ret_why. */
int schema_check(struct config *config, const char **ret_why);
enum section_id schema_section_id(const struct config_section *section);

/* The next section of a kind after `section` (NULL: the first), in file order. */
const struct config_section *config_next_section(const struct config *config,
						 const struct config_section *section,
						 enum section_id id);
/* The next line with the key after `item` (NULL: the first); section may be NULL. */
const struct config_item *config_next_item(const struct config_section *section,
					   const struct config_item *item, const char *key);

/* The first value of a key, or the default when the section or the key is not there. */
const char *config_get_text(const struct config_section *section, const char *key);
uint64_t config_get_number(const struct config_section *section, const char *key,
			   uint64_t otherwise);
bool config_get_bool(const struct config_section *section, const char *key, bool otherwise);

/* Whole decimal numbers only; -EINVAL: anything else; -ERANGE: beyond 64 bits. */
int config_parse_number(const char *text, uint64_t *ret_value);
int config_parse_bool(const char *text, bool *ret_value);

/* Sets *ret_why to "file:line: text" and returns `error`. */
int config_fail(const struct config *config, unsigned int line, int error, const char **ret_why,
		const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* For what is passed over with a warning, unless strict: then like config_fail(). */
int config_tolerate(const struct config *config, unsigned int line, const char **ret_why,
		    const char *fmt, ...) __attribute__((format(printf, 4, 5)));

#endif
