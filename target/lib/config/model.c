/* SPDX-License-Identifier: BSD-3-Clause */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <strings.h>

#include "config/model.h"

void config_item_free(struct config_item *item)
{
	unsigned int i;

	for (i = 0; item->values != NULL && i < item->value_n; i++) {
		free(item->values[i]);
	}
	free(item->values);
	free(item->key);
	free(item);
}

void config_free(struct config *config)
{
	struct config_section *section;
	struct config_item *item;

	if (config == NULL) {
		return;
	}
	while ((section = STAILQ_FIRST(&config->sections)) != NULL) {
		STAILQ_REMOVE_HEAD(&config->sections, link);
		while ((item = STAILQ_FIRST(&section->items)) != NULL) {
			STAILQ_REMOVE_HEAD(&section->items, link);
			config_item_free(item);
		}
		free(section->name);
		free(section);
	}
	free(config->name);
	free(config);
}

int config_parse_number(const char *text, uint64_t *ret_value)
{
	unsigned long long value;
	char *end;

	/* strtoull would take blanks and signs, and "-1" for a very large number. */
	if (!isdigit((unsigned char)text[0])) {
		return -EINVAL;
	}
	errno = 0;
	value = strtoull(text, &end, 10);
	if (*end != '\0') {
		return -EINVAL;
	}
	if (errno == ERANGE) {
		return -ERANGE;
	}
	*ret_value = value;
	return 0;
}

int config_parse_bool(const char *text, bool *ret_value)
{
	static const char *const yes[] = { "Yes", "Y", "True" };
	static const char *const no[] = { "No", "N", "False" };
	unsigned int i;

	for (i = 0; i < 3; i++) {
		if (strcasecmp(text, yes[i]) == 0) {
			*ret_value = true;
			return 0;
		}
		if (strcasecmp(text, no[i]) == 0) {
			*ret_value = false;
			return 0;
		}
	}
	return -EINVAL;
}

const struct config_section *config_next_section(const struct config *config,
						 const struct config_section *section,
						 enum section_id id)
{
	section = section == NULL ? STAILQ_FIRST(&config->sections) : STAILQ_NEXT(section, link);
	while (section != NULL && schema_section_id(section) != id) {
		section = STAILQ_NEXT(section, link);
	}
	return section;
}

const struct config_item *config_next_item(const struct config_section *section,
					   const struct config_item *item, const char *key)
{
	if (section == NULL) {
		return NULL;
	}
	item = item == NULL ? STAILQ_FIRST(&section->items) : STAILQ_NEXT(item, link);
	while (item != NULL && (item->superseded || strcasecmp(item->key, key) != 0)) {
		item = STAILQ_NEXT(item, link);
	}
	return item;
}

const char *config_get_text(const struct config_section *section, const char *key)
{
	const struct config_item *item = config_next_item(section, NULL, key);

	return item != NULL ? item->values[0] : NULL;
}

uint64_t config_get_number(const struct config_section *section, const char *key,
			   uint64_t otherwise)
{
	const char *text = config_get_text(section, key);
	uint64_t value;

	return text != NULL && config_parse_number(text, &value) == 0 ? value : otherwise;
}

bool config_get_bool(const struct config_section *section, const char *key, bool otherwise)
{
	const char *text = config_get_text(section, key);
	bool value;

	return text != NULL && config_parse_bool(text, &value) == 0 ? value : otherwise;
}

const char *config_name(const struct config *config)
{
	return config->name;
}

const char *config_reactor_mask(const struct config *config, unsigned int *ret_line)
{
	const struct config_section *section = config_next_section(config, NULL, SECTION_GLOBAL);
	const struct config_item *item = config_next_item(section, NULL, "ReactorMask");

	if (item == NULL) {
		return NULL;
	}
	*ret_line = item->line;
	return item->values[0];
}

bool config_rpc_enabled(const struct config *config)
{
	return config_get_bool(config_next_section(config, NULL, SECTION_RPC), "Enable", true);
}

const char *config_rpc_path(const struct config *config, unsigned int *ret_line)
{
	const struct config_section *section = config_next_section(config, NULL, SECTION_RPC);
	const struct config_item *item = config_next_item(section, NULL, "Listen");

	if (item == NULL || item->values[0][0] != '/') {
		return NULL;
	}
	*ret_line = item->line;
	return item->values[0];
}
