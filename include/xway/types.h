/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
/*
 * types.h - fixed-width types for the kernel, C11 and C++20.
 */
#ifndef XWAY_TYPES_H
#define XWAY_TYPES_H

#include <linux/types.h>

#ifdef __KERNEL__
#include <linux/build_bug.h>
#include <linux/errno.h>
#include <linux/stddef.h>
#define XWAY_ASSERT(cond) static_assert(cond)
#else
#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#ifdef __cplusplus
#define XWAY_ASSERT(cond) static_assert(cond, #cond)
#else
#define XWAY_ASSERT(cond) _Static_assert(cond, #cond)
#endif
#endif

#define XWAY_ASSERT_AT(type, field, offset) XWAY_ASSERT(offsetof(type, field) == (offset))

#endif /* XWAY_TYPES_H */
