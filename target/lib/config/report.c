/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "config/model.h"

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
