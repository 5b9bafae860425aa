/* SPDX-License-Identifier: BSD-3-Clause */
#include "table.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define MAX_COLUMNS 16

struct table {
	unsigned int columns;
	unsigned int cells; /* of the header too */
	char **text;
	size_t width[MAX_COLUMNS];
	bool text_column[MAX_COLUMNS];
};

static void *must(void *ptr)
{
	if (ptr == NULL) {
		fprintf(stderr, "vhostctl: out of memory\n");
		exit(2);
	}
	return ptr;
}

static void add(struct table *t, char *text)
{
	unsigned int column = t->cells % t->columns;
	size_t len = strlen(text);

	t->text = must(reallocarray(t->text, t->cells + 1, sizeof(*t->text)));
	t->text[t->cells] = text;
	if (len > t->width[column]) {
		t->width[column] = len;
	}
	if (t->cells >= t->columns && strcmp(text, "-") != 0 &&
	    (!isdigit((unsigned char)text[0]) || text[1] == 'x')) {
		t->text_column[column] = true;
	}
	t->cells++;
}

struct table *table_new(const char *headers)
{
	struct table *t = must(calloc(1, sizeof(*t)));
	char *copy = must(strdup(headers));
	char *names[MAX_COLUMNS];
	char *state;
	char *name;
	unsigned int i;

	for (name = strtok_r(copy, " ", &state); name != NULL && t->columns < MAX_COLUMNS;
	     name = strtok_r(NULL, " ", &state)) {
		names[t->columns++] = name;
	}
	for (i = 0; i < t->columns; i++) {
		add(t, must(strdup(names[i])));
	}
	free(copy);
	return t;
}

void table_cell(struct table *table, const char *fmt, ...)
{
	va_list args;
	char *text;

	va_start(args, fmt);
	if (vasprintf(&text, fmt, args) < 0) {
		text = NULL;
	}
	va_end(args);
	add(table, must(text));
}

void table_size(struct table *table, uint64_t bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double value = (double)bytes;
	unsigned int unit = 0;

	while (value >= 1024.0 && unit < sizeof(units) / sizeof(units[0]) - 1) {
		value /= 1024.0;
		unit++;
	}
	table_cell(table, unit == 0 ? "%.0f %s" : "%.4g %s", value, units[unit]);
}

void table_print(const struct table *table, FILE *out)
{
	unsigned int i;

	for (i = 0; i < table->cells; i++) {
		unsigned int column = i % table->columns;
		bool last = column + 1 == table->columns;
		int width = (int)table->width[column];

		if (!table->text_column[column]) {
			fprintf(out, "%*s", width, table->text[i]);
		} else if (last) {
			fputs(table->text[i], out);
		} else {
			fprintf(out, "%-*s", width, table->text[i]);
		}
		fputs(last ? "\n" : "  ", out);
	}
}

void table_free(struct table *table)
{
	while (table->cells > 0) {
		free(table->text[--table->cells]);
	}
	free(table->text);
	free(table);
}
