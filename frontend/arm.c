// SPDX-License-Identifier: GPL-2.0
/*
 * arm.c - notice sockets as they connect and listen.
 *
 * The tracepoint on TCP's state changes is the one place that every socket passes, whatever the
 * program. It runs with the socket locked, in process or soft interrupt context.
 */
#include <linux/tracepoint.h>
#include <net/addrconf.h>

#include "peer.h"
#include "sock.h"

static struct tracepoint *xway_tracepoint;

static bool xway_remote_is_loopback(const struct sock *sk)
{
#if IS_ENABLED(CONFIG_IPV6)
	if (sk->sk_family == AF_INET6 && !ipv6_addr_v4mapped(&sk->sk_v6_daddr))
		return ipv6_addr_loopback(&sk->sk_v6_daddr);
#endif
	return ipv4_is_loopback(sk->sk_daddr);
}

/* A client has begun to connect: it must be armed before any thread can be inside TCP with it. */
static void xway_arm_client(struct sock *sk)
{
	const struct xway_overlay *overlay = xway_sock_overlay(sk);
	struct xway_conn *conn;

	if (!overlay || !sk->sk_socket || sk->sk_socket->ops != overlay->base_ops ||
	    !xway_peers_any() || xway_remote_is_loopback(sk) || READ_ONCE(xway_leaving) ||
	    !READ_ONCE(xway_param_enable) || tcp_sk(sk)->fastopen_req ||
	    xway_defers_connect(sk))
		return;
	conn = xway_conn_new(sk, overlay, XWAY_ROLE_CLIENT, GFP_ATOMIC);
	if (conn)
		xway_sock_arm(sk, conn);
}

/* Do the bytes of @sk stay in this guest? */
static bool xway_sock_is_local(const struct sock *sk)
{
	const struct dst_entry *dst;
	bool local;

	rcu_read_lock();
	dst = rcu_dereference(sk->sk_dst_cache);
	local = xway_remote_is_loopback(sk) || (dst && dst->dev && dst->dev->flags & IFF_LOOPBACK);
	rcu_read_unlock();
	return local;
}

void xway_passed_over(const struct sock *sk, const struct xway_peer *peer)
{
	enum xway_why why = XWAY_WHY_EARLIER;

	if (sk->sk_kern_sock)
		return;
	if (!peer)
		why = xway_sock_is_local(sk) ? XWAY_WHY_LOCAL : XWAY_WHY_NOT_PEER;
	else if (!READ_ONCE(xway_param_enable))
		why = XWAY_WHY_DISABLED;
	else if (tcp_sk(sk)->syn_fastopen)
		why = XWAY_WHY_FASTOPEN;
	else if (!xway_sock_overlay(sk))
		why = XWAY_WHY_ULP;
	xway_stat_why(peer ? peer->account : NULL, xway_account_of_net(sock_net(sk)), why);
}

/* A client is connected: now its neighbour is known. Not a peer: it is TCP's own again. */
static void xway_client_established(struct sock *sk)
{
	struct xway_conn *conn = xway_conn_of(sk);
	struct xway_peer *peer = NULL;

	if (xway_peers_any() && (conn || !(sk->sk_kern_sock || xway_sock_is_local(sk))))
		peer = xway_peer_of_sock(sk);
	if (!conn) {
		xway_passed_over(sk, peer);
	} else if (peer && !tcp_sk(sk)->syn_fastopen) {
		xway_conn_set_peer(conn, peer->domid, peer->account);
		xway_conn_established(conn, sk);
		if (peer->ready)
			xway_conn_hello(conn);
		else
			xway_conn_why(conn, XWAY_WHY_NO_FRONTEND);
	} else {
		xway_sock_disarm(sk);
		xway_conn_orphan(conn, false);
		xway_conn_put(conn);	/* the socket's */
		xway_passed_over(sk, peer);
	}
	xway_conn_put(conn);
	xway_peer_put(peer);
}

static void xway_on_state(void *data, const struct sock *csk, const int old, const int new)
{
	struct sock *sk = (struct sock *)csk;

	if (sk->sk_protocol != IPPROTO_TCP || sk->sk_type != SOCK_STREAM ||
	    (sk->sk_family != AF_INET && sk->sk_family != AF_INET6))
		return;
	if (new == TCP_SYN_SENT)
		xway_arm_client(sk);
	else if (new == TCP_ESTABLISHED && old == TCP_SYN_SENT)
		xway_client_established(sk);
	else if (new == TCP_LISTEN)
		xway_listener_add(sk);
	else if (new == TCP_CLOSE && old == TCP_LISTEN)
		xway_listener_del(sk);
}

static void xway_find_tracepoint(struct tracepoint *tp, void *data)
{
	if (!strcmp(tp->name, "inet_sock_set_state"))
		xway_tracepoint = tp;
}

int xway_arm_init(void)
{
	for_each_kernel_tracepoint(xway_find_tracepoint, NULL);
	if (!xway_tracepoint) {
		pr_err("this kernel has no tracepoint inet_sock_set_state: CONFIG_TRACEPOINTS is needed\n");
		return -EOPNOTSUPP;
	}
	return tracepoint_probe_register(xway_tracepoint, xway_on_state, NULL);
}

void xway_arm_exit(void)
{
	tracepoint_probe_unregister(xway_tracepoint, xway_on_state, NULL);
	tracepoint_synchronize_unregister();
}
