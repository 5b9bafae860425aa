/* SPDX-License-Identifier: BSD-3-Clause */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "config/lexer.h"
#include "config/model.h"

/* Some editors put it at the beginning of UTF-8 text. */
static const char byte_order_mark[] = "\xef\xbb\xbf";

static struct config_section *find_section(struct config *config, const char *name)
{
	struct config_section *section;

	STAILQ_FOREACH (section, &config->sections, link) {
		if (strcasecmp(section->name, name) == 0) {
			return section;
		}
	}
	return NULL;
}

static int open_section(struct config *config, const char *name, unsigned int line,
			struct config_section **ret_section)
{
	struct config_section *section = find_section(config, name);

	if (section != NULL) {
		*ret_section = section;
		return 0;
	}
	section = calloc(1, sizeof(*section));
	if (section == NULL || (section->name = strdup(name)) == NULL) {
		free(section);
		return -ENOMEM;
	}
	section->line = line;
	STAILQ_INIT(&section->items);
	STAILQ_INSERT_TAIL(&config->sections, section, link);
	*ret_section = section;
	return 0;
}

static int add_item(struct config_section *section, const struct lexer_words *w, unsigned int line)
{
	struct config_item *item = calloc(1, sizeof(*item));
	unsigned int i;

	if (item == NULL) {
		return -ENOMEM;
	}
	item->line = line;
	item->value_n = w->n - 1;
	item->key = strdup(w->buf + w->starts[0]);
	item->values = calloc(w->n, sizeof(*item->values));
	if (item->key == NULL || item->values == NULL) {
		config_item_free(item);
		return -ENOMEM;
	}
	for (i = 0; i < item->value_n; i++) {
		item->values[i] = strdup(w->buf + w->starts[i + 1]);
		if (item->values[i] == NULL) {
			config_item_free(item);
			return -ENOMEM;
		}
	}
	STAILQ_INSERT_TAIL(&section->items, item, link);
	return 0;
}

/*
 * "[Name]". One that does not parse is an error even when not strict: the lines below it would become
 * part of the section above.
 */
static int read_header(struct config *config, struct lexer *lexer, struct lexer_words *w,
		       struct config_section **ret_section, const char **ret_why)
{
	unsigned int line = lexer->line;
	char *name;
	int ch;

	lexer_advance(lexer);
	lexer_skip_blanks(lexer);
	name = w->buf;
	w->used = 0;
	while ((ch = lexer_peek(lexer)) != LEXER_END && ch != ']' && !iscntrl(ch)) {
		lexer_advance(lexer);
		name[w->used++] = (char)ch;
	}
	while (w->used > 0 && lexer_is_blank((unsigned char)name[w->used - 1])) {
		w->used--;
	}
	name[w->used] = '\0';
	if (ch != ']') {
		return config_fail(config, line, -EINVAL, ret_why,
				   "the section header '[%.40s' has no closing ']'", name);
	}
	if (w->used == 0) {
		return config_fail(config, line, -EINVAL, ret_why,
				   "the section header '[]' has no name");
	}
	lexer_advance(lexer);
	lexer_skip_blanks(lexer);
	if (lexer_peek(lexer) != LEXER_END && lexer_peek(lexer) != '#') {
		int r = config_tolerate(config, line, ret_why,
					"text behind the section header [%.40s] has no meaning",
					name);

		if (r < 0) {
			return r;
		}
	}
	if (open_section(config, name, line, ret_section) < 0) {
		return config_fail(config, line, -ENOMEM, ret_why, "out of memory");
	}
	return 0;
}

static int read_line(struct config *config, struct lexer *lexer, struct lexer_words *w,
		     struct config_section **section, const char **ret_why)
{
	const char *wrong;
	unsigned int line;
	int r;

	lexer_skip_blanks(lexer);
	line = lexer->line;
	if (lexer_peek(lexer) == LEXER_END || lexer_peek(lexer) == '#') {
		return 0;
	}
	if (lexer_peek(lexer) == '[') {
		return read_header(config, lexer, w, section, ret_why);
	}
	r = lexer_read_words(lexer, w, &wrong);
	if (r == 0 && wrong != NULL) {
		return config_tolerate(config, line, ret_why, "%s; the line has no effect", wrong);
	}
	if (r == 0 && *section == NULL) {
		return config_tolerate(
			config, line, ret_why,
			"'%.40s' stands before the first [section]; the line has no effect",
			w->buf);
	}
	if (r == 0) {
		r = add_item(*section, w, line);
	}
	if (r < 0) {
		return config_fail(config, line, r, ret_why, "out of memory");
	}
	return 0;
}

/* Texts have none: this is a program, a disk, or text in 16-bit characters. */
static int refuse_nul(const struct config *config, const char *text, size_t len,
		      const char **ret_why)
{
	const char *nul = memchr(text, '\0', len);
	unsigned int line = 1;

	if (nul == NULL) {
		return 0;
	}
	for (; text < nul; text++) {
		line += *text == '\n' ? 1 : 0;
	}
	return config_fail(config, line, -EINVAL, ret_why,
			   "a NUL byte: the file is no text in ASCII or UTF-8");
}

static int read_text(struct config *config, const char *text, size_t len, const char **ret_why)
{
	struct lexer lexer = { .text = text, .len = len, .line = 1 };
	struct config_section *section = NULL;
	struct lexer_words w = { 0 };
	int r = 0;

	if (lexer_words_init(&w, len) < 0) {
		return config_fail(config, 1, -ENOMEM, ret_why, "out of memory");
	}
	if (len >= strlen(byte_order_mark) &&
	    memcmp(text, byte_order_mark, strlen(byte_order_mark)) == 0) {
		lexer.pos = strlen(byte_order_mark);
	}
	while (r == 0 && lexer.pos < lexer.len) {
		r = read_line(config, &lexer, &w, &section, ret_why);
		lexer_next_line(&lexer);
	}
	lexer_words_done(&w);
	return r;
}

DEFINE_CLEANUP(struct config *, config_free)

int config_parse(const char *name, const char *text, size_t len, bool strict,
		 struct config **ret_config, const char **ret_why)
{
	CLEANUP(config_freep) struct config *config = calloc(1, sizeof(*config));
	int r;

	if (config == NULL) {
		*ret_why = why("%s: out of memory", name);
		return -ENOMEM;
	}
	STAILQ_INIT(&config->sections);
	config->strict = strict;
	config->name = strdup(name);
	if (config->name == NULL) {
		*ret_why = why("%s: out of memory", name);
		return -ENOMEM;
	}
	r = refuse_nul(config, text, len, ret_why);
	if (r == 0) {
		r = read_text(config, text, len, ret_why);
	}
	if (r < 0) {
		return r;
	}
	if (STAILQ_EMPTY(&config->sections)) {
		*ret_why =
			why("%s: no [section] in it: this is not a vhost configuration file", name);
		return -EINVAL;
	}
	r = schema_check(config, ret_why);
	if (r < 0) {
		return r;
	}
	*ret_config = STEAL(config);
	return 0;
}
