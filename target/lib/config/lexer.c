/* SPDX-License-Identifier: BSD-3-Clause */
#include "config/lexer.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

int lexer_words_init(struct lexer_words *words, size_t len)
{
	*words = (struct lexer_words){ 0 };
	/* A word is never longer than its text, and its NUL replaces the blank or line end behind it. */
	words->buf = malloc(len + 2);
	return words->buf == NULL ? -ENOMEM : 0;
}

void lexer_words_done(struct lexer_words *words)
{
	free(words->buf);
	free(words->starts);
}

static bool skip_join(struct lexer *lexer)
{
	size_t left = lexer->len - lexer->pos;
	size_t joined;

	if (left < 1 || lexer->text[lexer->pos] != '\\') {
		return false;
	}
	if (left >= 2 && lexer->text[lexer->pos + 1] == '\n') {
		joined = 2;
	} else if (left >= 3 && lexer->text[lexer->pos + 1] == '\r' &&
		   lexer->text[lexer->pos + 2] == '\n') {
		joined = 3;
	} else {
		return false;
	}
	lexer->pos += joined;
	lexer->line++;
	return true;
}

int lexer_peek(struct lexer *lexer)
{
	while (skip_join(lexer)) {
	}
	if (lexer->pos == lexer->len || lexer->text[lexer->pos] == '\n') {
		return LEXER_END;
	}
	return (unsigned char)lexer->text[lexer->pos];
}

void lexer_advance(struct lexer *lexer)
{
	lexer->pos++;
}

void lexer_next_line(struct lexer *lexer)
{
	while (lexer_peek(lexer) != LEXER_END) {
		lexer_advance(lexer);
	}
	if (lexer->pos < lexer->len) {
		lexer->pos++;
		lexer->line++;
	}
}

bool lexer_is_blank(int ch)
{
	return ch == ' ' || ch == '\t' || ch == '\r' || ch == '\v' || ch == '\f';
}

bool lexer_skip_blanks(struct lexer *lexer)
{
	bool any = false;

	while (lexer_is_blank(lexer_peek(lexer))) {
		lexer_advance(lexer);
		any = true;
	}
	return any;
}

static int words_begin(struct lexer_words *words)
{
	if (words->n == words->room) {
		unsigned int room = words->room > 0 ? words->room * 2 : 16;
		size_t *starts = reallocarray(words->starts, room, sizeof(*starts));

		if (starts == NULL) {
			return -ENOMEM;
		}
		words->starts = starts;
		words->room = room;
	}
	words->starts[words->n++] = words->used;
	return 0;
}

/* One word: quotes and backslashes are taken off. Returns what is wrong with it, or NULL. */
static const char *read_word(struct lexer *lexer, struct lexer_words *words)
{
	int quote = 0;
	int ch;

	while ((ch = lexer_peek(lexer)) != LEXER_END && (quote != 0 || !lexer_is_blank(ch))) {
		lexer_advance(lexer);
		if (quote != 0 && ch == quote) {
			quote = 0;
			continue;
		}
		if (quote == 0 && (ch == '"' || ch == '\'')) {
			quote = ch;
			continue;
		}
		if (ch == '\\' && quote != '\'') {
			ch = lexer_peek(lexer);
			if (ch == LEXER_END) {
				return "nothing follows the backslash";
			}
			lexer_advance(lexer);
		}
		if (iscntrl(ch) && ch != '\t') {
			return "control character";
		}
		words->buf[words->used++] = (char)ch;
	}
	words->buf[words->used++] = '\0';
	return quote != 0 ? "a quote is not closed" : NULL;
}

int lexer_read_words(struct lexer *lexer, struct lexer_words *words, const char **ret_wrong)
{
	const char *wrong = NULL;

	words->used = 0;
	words->n = 0;
	lexer_skip_blanks(lexer);
	while (wrong == NULL && lexer_peek(lexer) != LEXER_END) {
		if (words_begin(words) < 0) {
			return -ENOMEM;
		}
		wrong = read_word(lexer, words);
		/* A '#' begins a comment only behind a blank: "Dev Disk#1" means a bdev "Disk#1". */
		if (lexer_skip_blanks(lexer) && lexer_peek(lexer) == '#') {
			break;
		}
	}
	*ret_wrong = wrong;
	return 0;
}
