/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: the start-up file as characters and words, inside of config/ only.
 *   lexer   a place in the text. Joined lines (a backslash hides the end of a line) look like one; the
 *           line number counts those of the file.
 *   words   what one line says, with quotes and backslashes taken off and without its comment.
 */
#ifndef VHT_CONFIG_LEXER_H
#define VHT_CONFIG_LEXER_H

#include <stdbool.h>
#include <stddef.h>

#define LEXER_END (-1)

struct lexer {
	const char *text;
	size_t len;
	size_t pos;
	unsigned int line; /* starts at 1 */
};

/* `buf` holds the words one after the other, each with its NUL. */
struct lexer_words {
	char *buf;
	size_t used;
	size_t *starts;
	unsigned int n;
	unsigned int room;
};

/* len: of the text, so that any line of it has room. */
int lexer_words_init(struct lexer_words *words, size_t len);
void lexer_words_done(struct lexer_words *words);

/* The next character of the line, or LEXER_END. */
int lexer_peek(struct lexer *lexer);
void lexer_advance(struct lexer *lexer);
void lexer_next_line(struct lexer *lexer);
bool lexer_is_blank(int ch);
bool lexer_skip_blanks(struct lexer *lexer); /* were there any? */

/* Reads the rest of the line. -ENOMEM, or 0 and *ret_wrong = what does not parse (NULL: nothing). */
int lexer_read_words(struct lexer *lexer, struct lexer_words *words, const char **ret_wrong);

#endif
