/* SPDX-License-Identifier: BSD-3-Clause */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "config/model.h"

/* Far above any real file (a line is some 20 bytes); bounds what a wrong path can make us read. */
#define FILE_MAX_BYTES (16u << 20)

#define END (-1)

/* The text with lines joined: a backslash at the end of a line hides the end of that line. */
struct cursor {
	const char *text;
	size_t len;
	size_t pos;
	unsigned int line;
};

/* The words of one line. `buf` holds them one after the other, each with its NUL. */
struct words {
	char *buf;
	size_t used;
	size_t *starts;
	unsigned int n;
	unsigned int room;
};

static bool skip_join(struct cursor *c)
{
	size_t left = c->len - c->pos;
	size_t joined;

	if (left < 1 || c->text[c->pos] != '\\') {
		return false;
	}
	if (left >= 2 && c->text[c->pos + 1] == '\n') {
		joined = 2;
	} else if (left >= 3 && c->text[c->pos + 1] == '\r' && c->text[c->pos + 2] == '\n') {
		joined = 3;
	} else {
		return false;
	}
	c->pos += joined;
	c->line++;
	return true;
}

/* The next character; '\n' is left to next_line(). */
static int peek(struct cursor *c)
{
	while (skip_join(c)) {
	}
	if (c->pos == c->len || c->text[c->pos] == '\n') {
		return END;
	}
	return (unsigned char)c->text[c->pos];
}

static void advance(struct cursor *c)
{
	c->pos++;
}

static void next_line(struct cursor *c)
{
	while (peek(c) != END) {
		advance(c);
	}
	if (c->pos < c->len) {
		c->pos++;
		c->line++;
	}
}

static bool is_blank(int ch)
{
	return ch == ' ' || ch == '\t' || ch == '\r' || ch == '\v' || ch == '\f';
}

static bool skip_blanks(struct cursor *c)
{
	bool any = false;

	while (is_blank(peek(c))) {
		advance(c);
		any = true;
	}
	return any;
}

static int words_begin(struct words *w)
{
	if (w->n == w->room) {
		unsigned int room = w->room > 0 ? w->room * 2 : 16;
		size_t *starts = reallocarray(w->starts, room, sizeof(*starts));

		if (starts == NULL) {
			return -ENOMEM;
		}
		w->starts = starts;
		w->room = room;
	}
	w->starts[w->n++] = w->used;
	return 0;
}

/* One word: quotes and backslashes are taken off. Returns what is wrong with it, or NULL. */
static const char *read_word(struct cursor *c, struct words *w)
{
	int quote = 0;
	int ch;

	while ((ch = peek(c)) != END && (quote != 0 || !is_blank(ch))) {
		advance(c);
		if (quote != 0 && ch == quote) {
			quote = 0;
			continue;
		}
		if (quote == 0 && (ch == '"' || ch == '\'')) {
			quote = ch;
			continue;
		}
		if (ch == '\\' && quote != '\'') {
			ch = peek(c);
			if (ch == END) {
				return "nothing follows the backslash";
			}
			advance(c);
		}
		if (iscntrl(ch) && ch != '\t') {
			return "control character";
		}
		w->buf[w->used++] = (char)ch;
	}
	w->buf[w->used++] = '\0';
	return quote != 0 ? "a quote is not closed" : NULL;
}

/* -ENOMEM, or 0 and *ret_wrong = what does not parse (NULL: nothing). */
static int read_words(struct cursor *c, struct words *w, const char **ret_wrong)
{
	const char *wrong = NULL;

	w->used = 0;
	w->n = 0;
	skip_blanks(c);
	while (wrong == NULL && peek(c) != END) {
		if (words_begin(w) < 0) {
			return -ENOMEM;
		}
		wrong = read_word(c, w);
		/* A '#' begins a comment only behind a blank: "Dev Disk#1" means a bdev "Disk#1". */
		if (skip_blanks(c) && peek(c) == '#') {
			break;
		}
	}
	*ret_wrong = wrong;
	return 0;
}

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

static void item_free(struct config_item *item)
{
	unsigned int i;

	for (i = 0; item->values != NULL && i < item->value_n; i++) {
		free(item->values[i]);
	}
	free(item->values);
	free(item->key);
	free(item);
}

static int add_item(struct config_section *section, const struct words *w, unsigned int line)
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
		item_free(item);
		return -ENOMEM;
	}
	for (i = 0; i < item->value_n; i++) {
		item->values[i] = strdup(w->buf + w->starts[i + 1]);
		if (item->values[i] == NULL) {
			item_free(item);
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
static int read_header(struct config *config, struct cursor *c, struct words *w,
		       struct config_section **ret_section, const char **ret_why)
{
	unsigned int line = c->line;
	char *name;
	int ch;

	advance(c);
	skip_blanks(c);
	name = w->buf;
	w->used = 0;
	while ((ch = peek(c)) != END && ch != ']' && !iscntrl(ch)) {
		advance(c);
		name[w->used++] = (char)ch;
	}
	while (w->used > 0 && is_blank((unsigned char)name[w->used - 1])) {
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
	advance(c);
	skip_blanks(c);
	if (peek(c) != END && peek(c) != '#') {
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

static int read_line(struct config *config, struct cursor *c, struct words *w,
		     struct config_section **section, const char **ret_why)
{
	const char *wrong;
	unsigned int line;
	int r;

	skip_blanks(c);
	line = c->line;
	if (peek(c) == END || peek(c) == '#') {
		return 0;
	}
	if (peek(c) == '[') {
		return read_header(config, c, w, section, ret_why);
	}
	r = read_words(c, w, &wrong);
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

static int read_text(struct config *config, const char *text, size_t len, const char **ret_why)
{
	struct cursor c = { .text = text, .len = len, .line = 1 };
	struct config_section *section = NULL;
	struct words w = { 0 };
	int r = 0;

	/* A word is never longer than its text, and its NUL replaces the blank or line end behind it. */
	w.buf = malloc(len + 2);
	if (w.buf == NULL) {
		return config_fail(config, 1, -ENOMEM, ret_why, "out of memory");
	}
	while (r == 0 && c.pos < c.len) {
		r = read_line(config, &c, &w, &section, ret_why);
		next_line(&c);
	}
	free(w.buf);
	free(w.starts);
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
	r = read_text(config, text, len, ret_why);
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
			item_free(item);
		}
		free(section->name);
		free(section);
	}
	free(config->name);
	free(config);
}

/* Reads to the end, whatever kind of file it is; *ret_text is the caller's. */
static int read_file(int fd, char **ret_text, size_t *ret_len)
{
	CLEANUP(freep) char *text = NULL;
	size_t room = 0;
	size_t len = 0;

	for (;;) {
		ssize_t n;

		if (len == room) {
			char *grown;

			room = room > 0 ? room * 2 : 16384;
			grown = room <= FILE_MAX_BYTES ? realloc(text, room) : NULL;
			if (grown == NULL) {
				return room <= FILE_MAX_BYTES ? -ENOMEM : -EFBIG;
			}
			text = grown;
		}
		n = read(fd, text + len, room - len);
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n < 0) {
			return -errno;
		}
		if (n == 0) {
			break;
		}
		len += (size_t)n;
	}
	*ret_text = STEAL(text);
	*ret_len = len;
	return 0;
}

int config_load(const char *path, bool strict, struct config **ret_config, const char **ret_why)
{
	CLEANUP(freep) char *text = NULL;
	CLEANUP(fd_close) int fd = -1;
	size_t len;
	int r;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	r = fd < 0 ? -errno : read_file(fd, &text, &len);
	if (r < 0) {
		*ret_why = why("cannot read the configuration file %s: %s", path, strerror(-r));
		return r;
	}
	return config_parse(path, text, len, strict, ret_config, ret_why);
}

static const char *at_line(const struct config *config, unsigned int line, const char *fmt,
			   va_list args)
{
	char text[512];

	vsnprintf(text, sizeof(text), fmt, args);
	return why("%s:%u: %s", config->name, line, text);
}

int config_fail(const struct config *config, unsigned int line, int error, const char **ret_why,
		const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	*ret_why = at_line(config, line, fmt, args);
	va_end(args);
	return error;
}

int config_tolerate(const struct config *config, unsigned int line, const char **ret_why,
		    const char *fmt, ...)
{
	const char *text;
	va_list args;

	va_start(args, fmt);
	text = at_line(config, line, fmt, args);
	va_end(args);
	if (config->strict) {
		*ret_why = text;
		return -EINVAL;
	}
	log_warning("%s", text);
	return 0;
}
