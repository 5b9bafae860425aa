/* SPDX-License-Identifier: BSD-3-Clause */
/* Inside of the public API: what its files share. */
#ifndef VHT_API_API_H
#define VHT_API_API_H

#include <vhost_target/target.h>

#include "controller/target.h"

struct target *api_target(const struct vht_target *target); /* not NULL after start */

#endif
