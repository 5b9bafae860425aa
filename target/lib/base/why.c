/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/why.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define WHY_BYTES 1024

const char *why(const char *fmt, ...)
{
	static _Thread_local char text[WHY_BYTES];
	char fresh[WHY_BYTES]; /* an argument may be the previous text */
	va_list args;

	va_start(args, fmt);
	vsnprintf(fresh, sizeof(fresh), fmt, args);
	va_end(args);
	memcpy(text, fresh, strlen(fresh) + 1);
	return text;
}
