/* SPDX-License-Identifier: BSD-3-Clause */
/* Concepts: names that people read, in logs, tables and JSON. */
#ifndef VHT_BASE_UTF8_H
#define VHT_BASE_UTF8_H

#include <stdbool.h>

/* Is all of it valid UTF-8 (RFC 3629) without control characters? */
bool utf8_is_printable(const char *text);

#endif
