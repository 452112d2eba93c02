/* SPDX-License-Identifier: GPL-2.0 */
/*
 * compat.h - the places where the kernels that xway builds for differ.
 *
 * What all kernels have is used where there is such a thing. What has moved is looked for; a parameter
 * that came or went is read from the header by Kbuild, as stable trees take such changes from later
 * versions; the version decides the rest.
 */
#ifndef XWAY_COMPAT_H
#define XWAY_COMPAT_H

#include <linux/fcntl.h>
#if __has_include(<linux/hex.h>)
#include <linux/hex.h>		/* mac_pton(), once in kernel.h */
#endif
#include <linux/net.h>
#include <linux/version.h>
#include <net/inet_sock.h>
#if __has_include(<net/ipv6_stubs.h>)
#include <net/ipv6_stubs.h>
#endif
#include <net/ndisc.h>
#include <net/sock.h>
#include <net/tcp.h>

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

/* The table of IPv6 neighbours. Where IPv6 is no module any more, no stub stands for it. */
#if __has_include(<net/ipv6_stubs.h>)
#define XWAY_ND_TBL	(ipv6_stub->nd_tbl)
#else
#define XWAY_ND_TBL	(&nd_tbl)
#endif

/* Linux 7 took the length of an address from recvmsg. XWAY_RECVMSG_ADDR_LEN comes from Kbuild. */
#ifdef XWAY_RECVMSG_ADDR_LEN
#define XWAY_RECVMSG_PARAMS(flags)	int flags, int *addr_len
#define XWAY_RECVMSG_ARGS(flags)	flags, addr_len
#else
#define XWAY_RECVMSG_PARAMS(flags)	int flags
#define XWAY_RECVMSG_ARGS(flags)	flags
#endif

/* @prot's recvmsg for a stream, which has no addresses to tell. */
static inline int xway_recv_stream(const struct proto *prot, struct sock *sk, struct msghdr *msg,
				   size_t len, int flags)
{
#ifdef XWAY_RECVMSG_ADDR_LEN
	int unused = 0;

	return prot->recvmsg(sk, msg, len, flags, &unused);
#else
	return prot->recvmsg(sk, msg, len, flags);
#endif
}

/* Are the segments of @sk signed? 6.7 has TCP-AO beside MD5. */
static inline bool xway_signs_segments(const struct sock *sk)
{
	bool signs = false;

#ifdef CONFIG_TCP_MD5SIG
	signs |= !!rcu_access_pointer(tcp_sk(sk)->md5sig_info);
#endif
#ifdef CONFIG_TCP_AO
	signs |= !!rcu_access_pointer(tcp_sk(sk)->ao_info);
#endif
	return signs;
}

#endif /* XWAY_COMPAT_H */
