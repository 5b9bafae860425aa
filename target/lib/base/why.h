/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: the one line that tells an operator what went wrong and what to do. A function that can
 * fail for an operator's reason returns a negative errno and sets *ret_why to such a line. The text
 * lives in a buffer of the calling thread and is valid until that thread formats the next one.
 */
#ifndef VHT_BASE_WHY_H
#define VHT_BASE_WHY_H

/* Formats the line. The arguments may include the previous line. */
const char *why(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
