/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fuzzer F4: the start-up file. Whatever the text: it is refused with a reason that names the file, or
 * every section and key in it is a known one whose values can be read. What is accepted in strict mode
 * is accepted without it too.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "config/schema.h"
#include "must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(const struct config *config)
{
	const struct config_section *section;
	const struct config_item *item;
	unsigned int line;

	STAILQ_FOREACH (section, &config->sections, link) {
		MUST(section->schema != NULL && section->line > 0);
		STAILQ_FOREACH (item, &section->items, link) {
			MUST(item->schema != NULL && item->line > 0);
			MUST(item->superseded || item->schema->kind == KEY_ANY ||
			     item->value_n > 0);
			MUST(item->schema->use != KEY_UNAVAILABLE);
		}
		config_get_text(section, "Name");
		config_get_number(section, "Queues", 0);
		config_get_bool(section, "ReadOnly", false);
	}
	config_reactor_mask(config, &line);
	config_rpc_enabled(config);
	config_rpc_path(config, &line);
}

static bool parse(const char *text, size_t len, bool strict)
{
	struct config *config = NULL;
	const char *reason = NULL;

	if (config_parse("f", text, len, strict, &config, &reason) < 0) {
		MUST(config == NULL);
		MUST(strncmp(reason, "f:", 2) == 0);
		return false;
	}
	check(config);
	config_free(config);
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	bool strict;
	bool lenient;

	log_set_level(LOG_LEVEL_ERROR);
	strict = parse((const char *)data, len, true);
	lenient = parse((const char *)data, len, false);
	MUST(lenient || !strict);
	return 0;
}
