// SPDX-License-Identifier: GPL-2.0
/*
 * conn.c - one connection, from armed to freed.
 */
#include "conn.h"

#include <linux/delay.h>
#include <linux/hashtable.h>
#include <linux/jhash.h>
#include <linux/net.h>
#include <linux/nospec.h>
#include <linux/slab.h>

#include "info.h"
#include "peer.h"
#include "rail.h"
#include "sock.h"
#include "total.h"

#define XWAY_TUPLE_BITS	10

static LIST_HEAD(xway_conns);
static DEFINE_SPINLOCK(xway_conns_lock);	/* _bh; protects xway_conns */

DEFINE_SPINLOCK(xway_tuple_lock);		/* _bh */
static DEFINE_HASHTABLE(xway_tuple_conns, XWAY_TUPLE_BITS);
static DEFINE_HASHTABLE(xway_tuple_hellos, XWAY_TUPLE_BITS);

static struct kmem_cache *xway_conn_cache;

int xway_conn_init(void)
{
	xway_conn_cache = KMEM_CACHE(xway_conn, SLAB_ACCOUNT);
	return xway_conn_cache ? 0 : -ENOMEM;
}

void xway_conn_exit(void)
{
	synchronize_rcu();	/* a timer that had the last reference to one: it is in here still */
	rcu_barrier();		/* those that are being freed */
	kmem_cache_destroy(xway_conn_cache);
}

static void xway_conn_free(struct rcu_head *rcu)
{
	kmem_cache_free(xway_conn_cache, container_of(rcu, struct xway_conn, rcu));
}

struct xway_conn *xway_conn_new(struct sock *sk, const struct xway_overlay *overlay,
				enum xway_role role, gfp_t gfp)
{
	struct xway_conn *conn = kmem_cache_zalloc(xway_conn_cache, gfp);

	if (!conn)
		return NULL;
	refcount_set(&conn->ref, 1);
	spin_lock_init(&conn->lock);
	mutex_init(&conn->tx_mutex);
	mutex_init(&conn->rx_mutex);
	timer_setup(&conn->timer, xway_conn_timer, 0);
	INIT_LIST_HEAD(&conn->ripe);
	INIT_HLIST_NODE(&conn->tuple_node);
	conn->sk = sk;
	conn->overlay = overlay;
	conn->role = role;
	conn->domid = DOMID_INVALID;
	conn->born = jiffies;
	conn->flip_at = jiffies;
	conn->net_account = xway_account_get(xway_account_of_net(sock_net(sk)));
	spin_lock_bh(&xway_conns_lock);
	list_add_tail(&conn->all, &xway_conns);
	spin_unlock_bh(&xway_conns_lock);
	xway_conn_stat_inc(conn, conns_armed);
	return conn;
}

void xway_conn_put(struct xway_conn *conn)
{
	if (!conn || !refcount_dec_and_test(&conn->ref))
		return;
	spin_lock_bh(&xway_conns_lock);
	list_del(&conn->all);
	spin_unlock_bh(&xway_conns_lock);
	spin_lock_bh(&xway_tuple_lock);
	hash_del(&conn->tuple_node);
	spin_unlock_bh(&xway_tuple_lock);
	xway_link_put(conn->link);
	xway_account_put(conn->peer_account);
	xway_account_put(conn->net_account);
	kvfree(conn->private);
	call_rcu(&conn->rcu, xway_conn_free);
}

struct xway_conn *xway_conn_of(const struct sock *sk)
{
	struct xway_conn *conn;

	rcu_read_lock();
	conn = xway_sock_conn_rcu(sk);
	if (conn && !refcount_inc_not_zero(&conn->ref))
		conn = NULL;
	rcu_read_unlock();
	return conn;
}

void xway_conn_set_peer(struct xway_conn *conn, domid_t domid, struct xway_account *account)
{
	conn->domid = domid;
	/* Pairs with the readers' dependency on the pointer: they find the counters. */
	if (!conn->peer_account)
		smp_store_release(&conn->peer_account, xway_account_get(account));
}

void xway_conns_each(void (*fn)(struct xway_conn *conn, void *arg), void *arg)
{
	struct xway_conn *conn;

	spin_lock_bh(&xway_conns_lock);
	list_for_each_entry(conn, &xway_conns, all)
		if (refcount_read(&conn->ref))
			fn(conn, arg);
	spin_unlock_bh(&xway_conns_lock);
}

bool xway_conns_any(void)
{
	return !list_empty(&xway_conns);
}

void xway_conns_finish(void)
{
	while (xway_conns_any()) {
		flush_workqueue(xway_wq);
		msleep(10);
	}
	flush_workqueue(xway_wq);
	xway_conns_reap_exit();
}

struct sock *__xway_conn_sock(struct xway_conn *conn)
{
	lockdep_assert_held(&conn->lock);
	if (conn->sk)
		sock_hold(conn->sk);
	return conn->sk;
}

struct sock *xway_conn_sock(struct xway_conn *conn)
{
	struct sock *sk;

	spin_lock_bh(&conn->lock);
	sk = __xway_conn_sock(conn);
	spin_unlock_bh(&conn->lock);
	return sk;
}

struct xway_wanting {
	domid_t domid;
	bool found;
};

static void xway_conn_is_wanting(struct xway_conn *conn, void *arg)
{
	struct xway_wanting *wanting = arg;

	if (conn->role == XWAY_ROLE_CLIENT && conn->domid == wanting->domid &&
	    test_bit(XWAY_CONN_ESTABLISHED, &conn->flags) &&
	    !test_bit(XWAY_CONN_TCP_ONLY, &conn->flags) &&
	    !test_bit(XWAY_CONN_ORPHAN, &conn->flags) && !READ_ONCE(conn->attached) &&
	    READ_ONCE(conn->why_tx) != XWAY_WHY_PEER_REFUSED)
		wanting->found = true;
}

bool xway_conns_wanting(domid_t domid)
{
	struct xway_wanting wanting = { .domid = domid };

	if (READ_ONCE(xway_param_enable))
		xway_conns_each(xway_conn_is_wanting, &wanting);
	return wanting.found;
}

void xway_conn_wake(struct xway_conn *conn)
{
	struct sock *sk = xway_conn_sock(conn);

	if (!sk)
		return;
	/* Readers through the socket's own callback (epoll, SIGIO); sleeping writers directly. */
	rcu_read_lock();
	sk->sk_data_ready(sk);
	sk->sk_write_space(sk);
	if (skwq_has_sleeper(rcu_dereference(sk->sk_wq)))
		wake_up_interruptible_poll(&rcu_dereference(sk->sk_wq)->wait,
					   EPOLLOUT | EPOLLWRNORM | EPOLLIN | EPOLLRDNORM);
	rcu_read_unlock();
	sock_put(sk);
}

static u32 xway_tuple_hash(const struct xway_tuple *tuple)
{
	static u32 seed;

	/* A HELLO's fields are its sender's choice. */
	net_get_random_once(&seed, sizeof(seed));
	return jhash_3words(tuple->client_isn, tuple->server_isn,
			    (__force u32)tuple->client_port << 16 |
			    (__force u32)tuple->server_port, seed);
}

static bool xway_tuple_equal(const struct xway_tuple *a, const struct xway_tuple *b)
{
	return a->client_isn == b->client_isn && a->server_isn == b->server_isn &&
	       a->client_port == b->client_port && a->server_port == b->server_port &&
	       ipv6_addr_equal(&a->client_addr, &b->client_addr) &&
	       ipv6_addr_equal(&a->server_addr, &b->server_addr);
}

static void xway_sock_addrs(const struct sock *sk, struct in6_addr *local,
			    struct in6_addr *remote)
{
#if IS_ENABLED(CONFIG_IPV6)
	if (sk->sk_family == AF_INET6) {
		*local = sk->sk_v6_rcv_saddr;
		*remote = sk->sk_v6_daddr;
		return;
	}
#endif
	ipv6_addr_set_v4mapped(sk->sk_rcv_saddr, local);
	ipv6_addr_set_v4mapped(sk->sk_daddr, remote);
}

/* The tuple of a socket that is established and has neither sent nor read. */
static void xway_tuple_of(struct xway_tuple *tuple, const struct sock *sk, enum xway_role role)
{
	const struct tcp_sock *tp = tcp_sk(sk);
	u32 local_isn = tp->write_seq - 1;
	u32 remote_isn = tp->copied_seq - 1;

	memset(tuple, 0, sizeof(*tuple));
	if (role == XWAY_ROLE_CLIENT) {
		xway_sock_addrs(sk, &tuple->client_addr, &tuple->server_addr);
		tuple->client_port = inet_sk(sk)->inet_sport;
		tuple->server_port = inet_sk(sk)->inet_dport;
		tuple->client_isn = local_isn;
		tuple->server_isn = remote_isn;
	} else {
		xway_sock_addrs(sk, &tuple->server_addr, &tuple->client_addr);
		tuple->server_port = inet_sk(sk)->inet_sport;
		tuple->client_port = inet_sk(sk)->inet_dport;
		tuple->server_isn = local_isn;
		tuple->client_isn = remote_isn;
	}
}

void xway_conn_established(struct xway_conn *conn, const struct sock *sk)
{
	xway_tuple_of(&conn->tuple, sk, conn->role);
	/* Pairs with test_bit() in readers of the tuple, each of which has taken a lock since. */
	smp_mb__before_atomic();
	set_bit(XWAY_CONN_ESTABLISHED, &conn->flags);
}

static void xway_msg_tuple(struct xway_tuple *tuple, const struct xway_msg *msg)
{
	memset(tuple, 0, sizeof(*tuple));
	memcpy(&tuple->client_addr, msg->client_addr, sizeof(tuple->client_addr));
	memcpy(&tuple->server_addr, msg->server_addr, sizeof(tuple->server_addr));
	tuple->client_port = (__force __be16)msg->client_port;
	tuple->server_port = (__force __be16)msg->server_port;
	tuple->client_isn = msg->client_isn;
	tuple->server_isn = msg->server_isn;
}

static struct xway_hello *__xway_hello_find(const struct xway_tuple *tuple, domid_t domid)
{
	struct xway_hello *hello;
	struct xway_tuple other;

	hash_for_each_possible(xway_tuple_hellos, hello, node, xway_tuple_hash(tuple)) {
		xway_msg_tuple(&other, &hello->msg);
		if (xway_tuple_equal(tuple, &other) &&
		    (domid == DOMID_INVALID || domid == hello->link->domid))
			return hello;
	}
	return NULL;
}

bool xway_conn_hello_waits(const struct sock *sk)
{
	struct xway_tuple tuple;
	bool found;

	xway_tuple_of(&tuple, sk, XWAY_ROLE_SERVER);
	spin_lock_bh(&xway_tuple_lock);
	found = __xway_hello_find(&tuple, DOMID_INVALID);
	spin_unlock_bh(&xway_tuple_lock);
	return found;
}

void xway_hello_forget(struct xway_hello *hello)
{
	lockdep_assert_held(&xway_tuple_lock);
	hash_del(&hello->node);
	memset(&hello->msg, 0, sizeof(hello->msg));
}

void xway_conn_expect_hello(struct xway_conn *conn)
{
	struct xway_hello *hello;
	struct xway_msg msg;

	spin_lock_bh(&xway_tuple_lock);
	hash_add(xway_tuple_conns, &conn->tuple_node, xway_tuple_hash(&conn->tuple));
	hello = __xway_hello_find(&conn->tuple, conn->domid);
	if (hello) {
		msg = hello->msg;
		xway_hello_forget(hello);
		xway_conn_accept_hello(conn, hello->link, &msg);
	} else if (conn->why_tx == XWAY_WHY_NONE) {
		xway_conn_why(conn, xway_total_is_short(conn->domid) ? XWAY_WHY_TOTAL_FULL :
			      XWAY_WHY_WAITING);
	}
	spin_unlock_bh(&xway_tuple_lock);
}

void xway_conn_on_hello(struct xway_link *link, const struct xway_msg *msg)
{
	struct xway_tuple tuple;
	struct xway_conn *conn;
	struct xway_hello *hello;
	u32 index = (msg->from & 0xffff) - 1;

	if (index >= link->hellos) {
		xway_link_violation(link, "a HELLO names no slot");
		return;
	}
	xway_link_stat_inc(link, hellos_received);
	xway_msg_tuple(&tuple, msg);
	spin_lock_bh(&xway_tuple_lock);
	hash_for_each_possible(xway_tuple_conns, conn, tuple_node, xway_tuple_hash(&tuple))
		/* A third domain may have watched the handshake: what dom0 says of the address counts. */
		if (xway_tuple_equal(&conn->tuple, &tuple) && conn->role == XWAY_ROLE_SERVER &&
		    (conn->domid == DOMID_INVALID || conn->domid == link->domid) &&
		    refcount_read(&conn->ref)) {
			xway_conn_accept_hello(conn, link, msg);
			goto out;
		}
	hello = &link->hello[array_index_nospec(index, link->hellos)];
	if (!hlist_unhashed(&hello->node))
		xway_hello_forget(hello);
	hello->msg = *msg;
	hash_add(xway_tuple_hellos, &hello->node, xway_tuple_hash(&tuple));
out:
	spin_unlock_bh(&xway_tuple_lock);
}

void xway_conns_forget_hellos(struct xway_link *link)
{
	unsigned int i;

	spin_lock_bh(&xway_tuple_lock);
	for (i = 0; link->hello && i < link->hellos; i++)
		if (!hlist_unhashed(&link->hello[i].node))
			xway_hello_forget(&link->hello[i]);
	spin_unlock_bh(&xway_tuple_lock);
}

void xway_conn_tcp_only(struct xway_conn *conn, enum xway_why why)
{
	bool attached;

	if (test_and_set_bit(XWAY_CONN_TCP_ONLY, &conn->flags))
		return;
	mutex_lock(&conn->tx_mutex);
	/* Attaching looks at the bit under the lock: if it has not seen it, it is complete now. */
	spin_lock_bh(&conn->lock);
	attached = conn->attached;
	spin_unlock_bh(&conn->lock);
	if (attached) {
		xway_tx_leave_ring(conn);
		xway_slot_set_flag(conn, XWAY_SLOT_TCP_ONLY);
		xway_ctl_send_id(conn->link, XWAY_MSG_WAKE, 0, conn->peer_id, conn->id);
	}
	xway_conn_why(conn, why);
	mutex_unlock(&conn->tx_mutex);
}
