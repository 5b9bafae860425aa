/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: the table of all sections and keys of the start-up file. It is what the manual page
 * vhost.conf(5) describes; a key that is in neither is a typing error.
 */
#ifndef VHT_CONFIG_SCHEMA_H
#define VHT_CONFIG_SCHEMA_H

#include "config/model.h"

enum key_kind {
	KEY_TEXT,
	KEY_NUMBER, /* decimal, min..max */
	KEY_BOOL,
	KEY_MASK,  /* core mask or list */
	KEY_WORDS, /* several values, the key may be repeated; whoever uses it checks them */
	KEY_ANY,   /* whatever there is */
};

enum key_use {
	KEY_USED,
	KEY_NO_EFFECT,	   /* means nothing here, and nothing is lost by that */
	KEY_NO_EFFECT_YET, /* asks for something this version does not have: a notice */
	KEY_UNAVAILABLE,   /* would make a device that this version cannot make: an error */
};

struct schema_key {
	const char *name;
	enum key_kind kind;
	enum key_use use;
	uint64_t min, max; /* KEY_NUMBER */
	const char *shape; /* KEY_WORDS: what its values mean, for messages */
	unsigned int words_min, words_max;
};

struct schema_section {
	const char *name;
	enum section_id id;
	bool numbered; /* "VhostBlk0": the name is followed by a number, which is only a label */
	const char *missing; /* what the section's KEY_UNAVAILABLE would make: "NVMe bdevs" */
	const struct schema_key *keys; /* up to a NULL name */
};

extern const struct schema_section schema_sections[]; /* up to a NULL name */

#endif
