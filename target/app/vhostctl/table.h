/* SPDX-License-Identifier: BSD-3-Clause */
/* Concepts: rows of text, printed in columns as wide as they need; columns of numbers stand right. */
#ifndef VHOSTCTL_TABLE_H
#define VHOSTCTL_TABLE_H

#include <stdint.h>
#include <stdio.h>

struct table;

/* headers: one string with the columns' names, separated by blanks. Ends the program when there is
 * no memory; so does table_cell(). */
struct table *table_new(const char *headers);
/* Cells fill the rows from left to right. */
void table_cell(struct table *table, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A size in bytes, as "12.5 MiB". */
void table_size(struct table *table, uint64_t bytes);
void table_print(const struct table *table, FILE *out);
void table_free(struct table *table);

#endif
