/* SPDX-License-Identifier: GPL-2.0 */
/*
 * compat.h - the places where the kernels that xway builds for differ.
 */
#ifndef XWAY_COMPAT_H
#define XWAY_COMPAT_H

#include <linux/version.h>

/* 6.5 replaced sendpage by MSG_SPLICE_PAGES, and made ioctl return its number in kernel memory. */
#define XWAY_HAVE_SENDPAGE	(LINUX_VERSION_CODE < KERNEL_VERSION(6, 5, 0))
#define XWAY_IOCTL_KERNEL_ARG	(LINUX_VERSION_CODE >= KERNEL_VERSION(6, 5, 0))

/* 6.10 packed the arguments of accept. */
#define XWAY_ACCEPT_ARG		(LINUX_VERSION_CODE >= KERNEL_VERSION(6, 10, 0))

#endif /* XWAY_COMPAT_H */
