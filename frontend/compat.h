/* SPDX-License-Identifier: GPL-2.0 */
/*
 * compat.h - the places where the kernels that xway builds for differ.
 */
#ifndef XWAY_COMPAT_H
#define XWAY_COMPAT_H

#include <linux/fcntl.h>
#include <linux/net.h>
#include <linux/version.h>
#include <net/inet_sock.h>
#include <net/sock.h>

/* 6.5 replaced sendpage by MSG_SPLICE_PAGES, and made ioctl return its number in kernel memory. */
#define XWAY_HAVE_SENDPAGE	(LINUX_VERSION_CODE < KERNEL_VERSION(6, 5, 0))
#define XWAY_IOCTL_KERNEL_ARG	(LINUX_VERSION_CODE >= KERNEL_VERSION(6, 5, 0))

/* 6.6 gathered the flags of struct inet_sock. TCP_FASTOPEN_CONNECT waits for the first send. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
#define xway_defers_connect(sk)	inet_test_bit(DEFER_CONNECT, sk)
#else
#define xway_defers_connect(sk)	(inet_sk(sk)->defer_connect)
#endif

/* 6.10 packed the arguments of accept. xway_accept_now() is @ops' accept, but never sleeps. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 10, 0)
#define XWAY_ACCEPT_PARAMS	struct proto_accept_arg *arg
#define XWAY_ACCEPT_ARGS	arg
#define XWAY_ACCEPT_FLAGS	arg->flags

static inline int xway_accept_now(const struct proto_ops *ops, struct socket *sock,
				  struct socket *newsock, XWAY_ACCEPT_PARAMS)
{
	int flags = arg->flags;
	int err;

	arg->flags |= O_NONBLOCK;
	err = ops->accept(sock, newsock, arg);
	arg->flags = flags;
	return err;
}
#else
#define XWAY_ACCEPT_PARAMS	int flags, bool kern
#define XWAY_ACCEPT_ARGS	flags, kern
#define XWAY_ACCEPT_FLAGS	flags

static inline int xway_accept_now(const struct proto_ops *ops, struct socket *sock,
				  struct socket *newsock, XWAY_ACCEPT_PARAMS)
{
	return ops->accept(sock, newsock, flags | O_NONBLOCK, kern);
}
#endif

#endif /* XWAY_COMPAT_H */
