/* SPDX-License-Identifier: BSD-3-Clause */
#include "config/schema.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "env/env.h"

/* A name that differs in more places than this is not offered as what was meant. */
#define NEAR_ENOUGH	  3
#define NAME_MAX_COMPARED 40

static unsigned int min3(unsigned int a, unsigned int b, unsigned int c)
{
	unsigned int ab = a < b ? a : b;

	return ab < c ? ab : c;
}

/* Edit distance (insert, delete, replace), case-insensitive; "far" for long names. */
static unsigned int distance(const char *a, const char *b)
{
	unsigned int row[NAME_MAX_COMPARED + 1];
	size_t a_len = strlen(a);
	size_t b_len = strlen(b);
	size_t i;
	size_t j;

	if (a_len > NAME_MAX_COMPARED || b_len > NAME_MAX_COMPARED) {
		return NEAR_ENOUGH + 1;
	}
	for (j = 0; j <= b_len; j++) {
		row[j] = (unsigned int)j;
	}
	for (i = 1; i <= a_len; i++) {
		unsigned int diagonal = row[0];

		row[0] = (unsigned int)i;
		for (j = 1; j <= b_len; j++) {
			bool same = tolower((unsigned char)a[i - 1]) ==
				    tolower((unsigned char)b[j - 1]);
			unsigned int above = row[j];

			row[j] = min3(above + 1, row[j - 1] + 1, diagonal + (same ? 0 : 1));
			diagonal = above;
		}
	}
	return row[b_len];
}

struct nearest {
	const char *name;
	unsigned int distance;
};

static void consider(struct nearest *best, const char *candidate, const char *name)
{
	unsigned int d = distance(candidate, name);

	/* More than half of a short name is no slip of the finger. */
	if (d <= NEAR_ENOUGH && 2 * d <= strlen(candidate) && d < best->distance) {
		*best = (struct nearest){ .name = candidate, .distance = d };
	}
}

static int unknown_key(const struct config *config, const struct config_section *section,
		       const struct config_item *item, const char **ret_why)
{
	struct nearest best = { .distance = NEAR_ENOUGH + 1 };
	const struct schema_key *key;

	for (key = section->schema->keys; key->name != NULL; key++) {
		consider(&best, key->name, item->key);
	}
	if (best.name != NULL) {
		return config_fail(config, item->line, -EINVAL, ret_why,
				   "unknown key '%.40s' in section [%s]; did you mean '%s'?",
				   item->key, section->name, best.name);
	}
	return config_fail(config, item->line, -EINVAL, ret_why,
			   "unknown key '%.40s' in section [%s]; vhost.conf(5) lists its keys",
			   item->key, section->name);
}

static int unknown_section(const struct config *config, const struct config_section *section,
			   const char **ret_why)
{
	struct nearest best = { .distance = NEAR_ENOUGH + 1 };
	const struct schema_section *known;
	char stem[NAME_MAX_COMPARED + 1];
	size_t n;

	for (n = 0; n < NAME_MAX_COMPARED && section->name[n] != '\0'; n++) {
		stem[n] = section->name[n];
	}
	while (n > 0 && isdigit((unsigned char)stem[n - 1])) {
		n--;
	}
	stem[n] = '\0';
	for (known = schema_sections; known->name != NULL; known++) {
		consider(&best, known->name, known->numbered ? stem : section->name);
	}
	if (best.name != NULL) {
		return config_fail(config, section->line, -EINVAL, ret_why,
				   "unknown section [%.40s]; did you mean [%s%s]?", section->name,
				   best.name, section->name + strlen(stem));
	}
	return config_fail(config, section->line, -EINVAL, ret_why,
			   "unknown section [%.40s]; vhost.conf(5) lists the sections",
			   section->name);
}

/* "VhostScsi12" is section VhostScsi; the number is only a label. */
static int resolve_section(const struct config *config, struct config_section *section,
			   const char **ret_why)
{
	const struct schema_section *known;

	for (known = schema_sections; known->name != NULL; known++) {
		size_t len = strlen(known->name);
		const char *suffix = section->name + len;

		if (strncasecmp(section->name, known->name, len) != 0) {
			continue;
		}
		if (!known->numbered) {
			if (*suffix == '\0') {
				section->schema = known;
				return 0;
			}
			continue;
		}
		if (*suffix == '\0' || suffix[strspn(suffix, "0123456789")] != '\0') {
			return config_fail(
				config, section->line, -EINVAL, ret_why,
				"section [%.40s] has non-numeric suffix: write [%s0], [%s1]...",
				section->name, known->name, known->name);
		}
		section->schema = known;
		return 0;
	}
	return unknown_section(config, section, ret_why);
}

static int check_number(const struct config *config, const struct config_item *item,
			const char **ret_why)
{
	const struct schema_key *key = item->schema;
	const char *text = item->values[0];
	uint64_t value;
	int r;

	r = config_parse_number(text, &value);
	if (r == -EINVAL) {
		return config_fail(config, item->line, -EINVAL, ret_why,
				   "%s: '%.40s' is not a decimal number", key->name, text);
	}
	if (r < 0 || value < key->min || value > key->max) {
		return config_fail(config, item->line, -EINVAL, ret_why,
				   "%s: %.40s is not within %llu..%llu", key->name, text,
				   (unsigned long long)key->min, (unsigned long long)key->max);
	}
	return 0;
}

static int check_mask(const struct config *config, const struct config_item *item,
		      const char **ret_why)
{
	struct env_cpuset set;
	int r = env_cpuset_parse(item->values[0], &set);

	if (r == -ERANGE) {
		return config_fail(config, item->line, -EINVAL, ret_why,
				   "%s: '%.80s' names a core beyond %u", item->schema->name,
				   item->values[0], ENV_MAX_CORES - 1);
	}
	if (r < 0) {
		return config_fail(config, item->line, -EINVAL, ret_why,
				   "%s: '%.80s' is no core mask; write it like 0x3 or [0-1]",
				   item->schema->name, item->values[0]);
	}
	return 0;
}

static int check_words(const struct config *config, const struct config_item *item,
		       const char **ret_why)
{
	const struct schema_key *key = item->schema;

	if (item->value_n < key->words_min || item->value_n > key->words_max) {
		return config_fail(config, item->line, -EINVAL, ret_why,
				   "%s has %u value%s; it is written: %s %s", key->name,
				   item->value_n, item->value_n == 1 ? "" : "s", key->name,
				   key->shape);
	}
	return 0;
}

static int check_bool(const struct config *config, const struct config_item *item,
		      const char **ret_why)
{
	bool value;

	if (config_parse_bool(item->values[0], &value) < 0) {
		return config_tolerate(config, item->line, ret_why,
				       "%s: '%.40s' is neither Yes nor No; the default is used",
				       item->schema->name, item->values[0]);
	}
	return 0;
}

static int check_value(const struct config *config, struct config_item *item, const char **ret_why)
{
	int r;

	switch (item->schema->kind) {
	case KEY_WORDS:
		return check_words(config, item, ret_why);
	case KEY_ANY:
		return 0;
	case KEY_TEXT:
	case KEY_NUMBER:
	case KEY_BOOL:
	case KEY_MASK:
		break;
	}
	if (item->value_n == 0) {
		item->superseded = true;
		return config_tolerate(config, item->line, ret_why,
				       "%s has no value; the line has no effect",
				       item->schema->name);
	}
	if (item->value_n > 1) {
		r = config_tolerate(config, item->line, ret_why,
				    "%s takes one value; '%.40s' behind it has no meaning",
				    item->schema->name, item->values[1]);
		if (r < 0) {
			return r;
		}
	}
	switch (item->schema->kind) {
	case KEY_NUMBER:
		return check_number(config, item, ret_why);
	case KEY_BOOL:
		return check_bool(config, item, ret_why);
	case KEY_MASK:
		return check_mask(config, item, ret_why);
	default:
		return 0;
	}
}

static bool may_repeat(const struct schema_key *key)
{
	return key->kind == KEY_WORDS || key->kind == KEY_ANY;
}

static int check_repetition(const struct config *config, const struct config_section *section,
			    struct config_item *item, const char **ret_why)
{
	const struct config_item *first;

	if (may_repeat(item->schema) || item->superseded) {
		return 0;
	}
	STAILQ_FOREACH (first, &section->items, link) {
		if (first == item) {
			return 0;
		}
		if (first->schema == item->schema && !first->superseded) {
			break;
		}
	}
	item->superseded = true;
	return config_tolerate(config, item->line, ret_why,
			       "%s was set on line %u already; this line has no effect",
			       item->schema->name, first->line);
}

static int check_use(const struct config *config, const struct config_section *section,
		     const struct config_item *item, const char **ret_why)
{
	switch (item->schema->use) {
	case KEY_USED:
	case KEY_NO_EFFECT:
		return 0;
	case KEY_NO_EFFECT_YET:
		log_notice("%s:%u: %s is accepted but has no effect in this version", config->name,
			   item->line, item->schema->name);
		return 0;
	case KEY_UNAVAILABLE:
		break;
	}
	return config_fail(
		config, item->line, -ENOTSUP, ret_why,
		"section [%s]: %s are not available in this version; remove '%s' and what "
		"uses it",
		section->name, section->schema->missing, item->schema->name);
}

static int check_item(const struct config *config, const struct config_section *section,
		      struct config_item *item, const char **ret_why)
{
	const struct schema_key *key;
	int r;

	for (key = section->schema->keys; key->name != NULL; key++) {
		if (strcasecmp(key->name, item->key) == 0) {
			break;
		}
	}
	if (key->name == NULL) {
		return unknown_key(config, section, item, ret_why);
	}
	item->schema = key;
	r = check_use(config, section, item, ret_why);
	if (r == 0) {
		r = check_value(config, item, ret_why);
	}
	if (r == 0) {
		r = check_repetition(config, section, item, ret_why);
	}
	return r;
}

int schema_check(struct config *config, const char **ret_why)
{
	struct config_section *section;
	struct config_item *item;
	int r;

	STAILQ_FOREACH (section, &config->sections, link) {
		r = resolve_section(config, section, ret_why);
		if (r < 0) {
			return r;
		}
		STAILQ_FOREACH (item, &section->items, link) {
			r = check_item(config, section, item, ret_why);
			if (r < 0) {
				return r;
			}
		}
	}
	return 0;
}

enum section_id schema_section_id(const struct config_section *section)
{
	return section->schema->id;
}
