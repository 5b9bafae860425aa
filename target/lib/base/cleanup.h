/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts: scope clean-up for set-up code. A local declared CLEANUP(x_freep) is released when its
 * scope ends, on every path; STEAL() takes it out again when it has found an owner. Not for the
 * data path.
 */
#ifndef VHT_BASE_CLEANUP_H
#define VHT_BASE_CLEANUP_H

#include <stdlib.h>

#define CLEANUP(fn) __attribute__((cleanup(fn)))

/* Returns the pointer held by the variable and leaves NULL behind. */
#define STEAL(var)                               \
	__extension__({                          \
		__typeof__(var) stolen_ = (var); \
		(var) = NULL;                    \
		stolen_;                         \
	})

/* Defines name##p(T **), suitable for CLEANUP, out of a destructor name(T *) that accepts NULL. */
#define DEFINE_CLEANUP(type, name)            \
	static inline void name##p(type *var) \
	{                                     \
		name(*var);                   \
	}

static inline void freep(void *var)
{
	free(*(void **)var);
}

#endif
