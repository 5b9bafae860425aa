/* SPDX-License-Identifier: BSD-3-Clause */
/* Concepts: results of the daemon as people read them. */
#ifndef VHOSTCTL_SHOW_H
#define VHOSTCTL_SHOW_H

#include <jansson.h>

void show_controllers(const json_t *result);
void show_bdevs(const json_t *result);
void show_stats(const json_t *result);
void show_reactors(const json_t *result);
void show_lines(const json_t *result); /* a list of strings */
void show_handover(const json_t *result);
void show_version(const json_t *result);
void show_json(const json_t *result);
/* The name of what was made; nothing for "true". */
void show_short(const json_t *result);

#endif
