// SPDX-License-Identifier: GPL-2.0
/*
 * accept.c - listeners: arm what they accept.
 */
#include <linux/slab.h>
#include <linux/sched/signal.h>

#include "link.h"
#include "peer.h"
#include "sock.h"

/* A listener whose operations we have replaced. */
struct xway_listener {
	struct list_head	list;
	struct sock		*sk;
};

static LIST_HEAD(xway_listeners);
static DEFINE_SPINLOCK(xway_listeners_lock);	/* _bh; protects xway_listeners */

void xway_listener_add(struct sock *sk)
{
	const struct xway_overlay *overlay = xway_sock_overlay(sk);
	struct xway_listener *listener;

	if (!overlay || !sk->sk_socket || sk->sk_socket->ops != overlay->base_ops)
		return;
	listener = kmalloc(sizeof(*listener), GFP_ATOMIC);
	if (!listener)
		return;
	listener->sk = sk;
	spin_lock_bh(&xway_listeners_lock);
	if (READ_ONCE(xway_leaving)) {
		spin_unlock_bh(&xway_listeners_lock);
		kfree(listener);
		return;
	}
	list_add_tail(&listener->list, &xway_listeners);
	WRITE_ONCE(sk->sk_socket->ops, &overlay->listen_ops);
	spin_unlock_bh(&xway_listeners_lock);
}

/* xway_listeners_lock held: the socket is alive as long as it is in the list. */
static void __xway_listener_restore(struct xway_listener *listener)
{
	struct sock *sk = listener->sk;

	list_del(&listener->list);
	if (sk->sk_socket)
		WRITE_ONCE(sk->sk_socket->ops, xway_sock_family(sk)->base_ops);
	kfree(listener);
}

void xway_listener_del(struct sock *sk)
{
	struct xway_listener *listener;

	spin_lock_bh(&xway_listeners_lock);
	list_for_each_entry(listener, &xway_listeners, list)
		if (listener->sk == sk) {
			__xway_listener_restore(listener);
			break;
		}
	spin_unlock_bh(&xway_listeners_lock);
}

void xway_listeners_each(void (*fn)(struct sock *sk, void *arg), void *arg)
{
	struct xway_listener *listener;

	spin_lock_bh(&xway_listeners_lock);
	list_for_each_entry(listener, &xway_listeners, list)
		fn(listener->sk, arg);
	spin_unlock_bh(&xway_listeners_lock);
}

void xway_listeners_exit(void)
{
	struct xway_listener *listener, *next;

	spin_lock_bh(&xway_listeners_lock);
	list_for_each_entry_safe(listener, next, &xway_listeners, list) {
		struct sock *sk = listener->sk;

		__xway_listener_restore(listener);
		/* Whoever sleeps in our accept() goes out and comes back in TCP's. */
		sk->sk_state_change(sk);
	}
	spin_unlock_bh(&xway_listeners_lock);
}

/* Arm @sk, whose other end may be @peer, or NULL, if that can be. @sk is locked. */
static bool xway_accept_arm(struct sock *sk, const struct xway_overlay *overlay,
			    const struct xway_peer *peer)
{
	struct xway_conn *conn;

	/* Unloading waits for us only from here on if we have armed nothing before it looked. */
	if (!READ_ONCE(xway_param_enable) || READ_ONCE(xway_leaving) ||
	    xway_sock_overlay(sk) != overlay || tcp_sk(sk)->syn_fastopen ||
	    (!peer && !xway_conn_hello_waits(sk)))
		return false;
	conn = xway_conn_new(sk, overlay, XWAY_ROLE_SERVER, GFP_KERNEL);
	if (!conn)
		return false;
	if (peer) {
		xway_conn_set_peer(conn, peer->domid, peer->account);
		if (!peer->ready)
			xway_conn_why(conn, XWAY_WHY_NO_FRONTEND);
	}
	xway_conn_established(conn, sk);
	xway_sock_arm(sk, conn);
	xway_conn_expect_hello(conn);
	return true;
}

/* @newsock has just been accepted by @overlay's base: arm it if its other end may be a peer. */
static void xway_accepted(struct socket *newsock, const struct xway_overlay *overlay)
{
	struct xway_peer *peer = NULL;
	struct sock *sk = newsock->sk;
	bool armed = false;

	/* It was given the listener's operations. */
	WRITE_ONCE(newsock->ops, overlay->base_ops);
	if (xway_peers_any()) {
		xway_ctl_look_all();	/* its HELLO may lie there */
		peer = xway_peer_of_sock(sk);
		lock_sock(sk);
		armed = xway_accept_arm(sk, overlay, peer);
		release_sock(sk);
	}
	if (!armed)
		xway_passed_over(sk, peer);
	xway_peer_put(peer);
}

/* Sleep until @sk may have something to accept. 0: look again. */
static int xway_accept_wait(struct socket *sock, const struct xway_overlay *overlay, long *timeo)
{
	struct sock *sk = sock->sk;
	DEFINE_WAIT(wait);
	int err = 0;

	prepare_to_wait_exclusive(sk_sleep(sk), &wait, TASK_INTERRUPTIBLE);
	if (!reqsk_queue_empty(&inet_csk(sk)->icsk_accept_queue))
		err = 0;
	else if (READ_ONCE(sock->ops) != &overlay->listen_ops)
		err = xway_sock_restart();
	else if (signal_pending(current))
		err = sock_intr_errno(*timeo);
	else if (!*timeo)
		err = -EAGAIN;
	else if (READ_ONCE(sk->sk_state) == TCP_LISTEN)
		*timeo = schedule_timeout(*timeo);
	finish_wait(sk_sleep(sk), &wait);
	return err;
}

int xway_accept(struct socket *sock, struct socket *newsock, XWAY_ACCEPT_PARAMS)
{
	int idx = srcu_read_lock(&xway_srcu);
	const struct xway_overlay *overlay = xway_sock_family(sock->sk);
	bool nonblock = XWAY_ACCEPT_FLAGS & O_NONBLOCK;
	long timeo = sock_rcvtimeo(sock->sk, nonblock);
	int err;

	for (;;) {
		err = xway_accept_now(overlay->base_ops, sock, newsock, XWAY_ACCEPT_ARGS);
		if (err != -EAGAIN || nonblock)
			break;
		err = xway_accept_wait(sock, overlay, &timeo);
		if (err)
			break;
	}
	if (err)
		WRITE_ONCE(newsock->ops, overlay->base_ops);
	else
		xway_accepted(newsock, overlay);
	srcu_read_unlock(&xway_srcu, idx);
	return err;
}
