/* SPDX-License-Identifier: GPL-2.0 */
/*
 * sock.h - the overlay: how a TCP socket comes to call us, and how it gets rid of us.
 *
 * DOC: Theory of operation
 *
 * One overlay a family: copies of TCP's struct proto and struct proto_ops with some functions
 * replaced. An armed socket points to the copies, and its ULP slot to its connection. TCP itself
 * is called through the saved originals only.
 *
 * No socket holds a reference to the module: it can be unloaded while connections live. For that
 * the copies are on the heap and are never freed. Unloading gives each socket its original
 * pointers back, overwrites the replaced functions in the copies, for whoever still has a copied
 * pointer in hand (accept() reads sock->ops twice), and waits until nobody runs our code. What
 * stays behind is a few KiB a load.
 *
 * A program that sleeps in one of our functions meanwhile is sent out by a system call restart,
 * and comes back in TCP's own.
 */
#ifndef XWAY_SOCK_H
#define XWAY_SOCK_H

#include <net/tcp.h>

#include "compat.h"
#include "conn.h"

struct xway_peer;

struct xway_overlay {
	struct proto		prot;
	struct proto_ops	ops;		/* of connected sockets */
	struct proto_ops	listen_ops;
	struct tcp_ulp_ops	ulp;		/* marks our sockets, and names them for ss */
	const struct proto	*base_prot;
	const struct proto_ops	*base_ops;
};

int xway_sock_init(void);
/* Give every socket back to TCP. The links are down, nothing arms sockets any more. Sleeps. */
void xway_sock_exit(void);

/* The overlay of the family of @sk, armed or not. */
const struct xway_overlay *xway_sock_family(const struct sock *sk);
/* The overlay for a plain TCP socket that we may arm; NULL if it is anything else. */
const struct xway_overlay *xway_sock_overlay(const struct sock *sk);
static inline const struct proto *xway_base_prot(const struct xway_conn *conn)
{
	return conn->overlay->base_prot;
}

/* The connection of @sk, without a reference, under RCU. */
struct xway_conn *xway_sock_conn_rcu(const struct sock *sk);
/* Put the overlay on, or take it off. @sk is locked. The socket's reference to conn moves along. */
void xway_sock_arm(struct sock *sk, struct xway_conn *conn);
struct xway_conn *xway_sock_disarm(struct sock *sk);

/* Has @sk been taken off the overlay while we slept? @partial: bytes have been moved already. */
bool xway_sock_must_restart(const struct sock *sk, bool partial);
/* How long to sleep at most: a socket that was given back has nobody left to wake its sleepers. */
long xway_sock_slice(const struct sock *sk, long timeo);
/* Leave the system call and come back through the socket's present functions. */
int xway_sock_restart(void);

/* arm.c */
int xway_arm_init(void);
void xway_arm_exit(void);
/*
 * @sk, just established with @peer, NULL: nobody that we know, is not armed and stays on TCP: count
 * why. Any context but hard irq.
 */
void xway_passed_over(const struct sock *sk, const struct xway_peer *peer);

/* accept.c: listeners */
int xway_accept(struct socket *sock, struct socket *newsock, XWAY_ACCEPT_PARAMS);
void xway_listener_add(struct sock *sk);	/* @sk is locked */
void xway_listener_del(struct sock *sk);	/* @sk is locked */
void xway_listeners_exit(void);
void xway_listeners_each(void (*fn)(struct sock *sk, void *arg), void *arg);

#endif /* XWAY_SOCK_H */
