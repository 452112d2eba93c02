// SPDX-License-Identifier: GPL-2.0
/*
 * attach.c - both ends of a connection find each other's slots.
 */
#include "conn.h"

#include <linux/hashtable.h>
#include <linux/nospec.h>
#include <linux/slab.h>

#include "info.h"
#include "rail.h"
#include "sock.h"
#include "total.h"
#include "trace.h"

/* ---- slots -------------------------------------------------------------------------------- */

/* A slot for @conn, whose lock is held; false when all are taken. The slot owns a reference. */
static bool xway_slot_take(struct xway_conn *conn, struct xway_link *link)
{
	struct xway_link_slot *slot;
	unsigned int i, n;
	bool found = false;

	spin_lock_bh(&link->lock);
	if (READ_ONCE(link->state) != XWAY_LINK_UP || link->slots_used == link->slots)
		goto out;
	for (n = 0, i = link->slot_next; n < link->slots; n++, i = (i + 1) % link->slots) {
		slot = &link->slot[i];
		if (slot->conn)
			continue;
		xway_conn_hold(conn);
		slot->conn = conn;
		slot->gen++;
		link->slots_used++;
		link->slot_next = (i + 1) % link->slots;
		conn->id = (u32)slot->gen << 16 | (i + 1);
		conn->slot = xway_region_slot(&link->region, i);
		memset(conn->slot, 0, sizeof(*conn->slot));
		conn->slot->id = conn->id;
		/* Half a wrap ahead: nothing to be woken for yet. */
		conn->slot->room_event = 1u << 31;
		found = true;
		break;
	}
out:
	spin_unlock_bh(&link->lock);
	if (found) {
		kref_get(&link->ref);
		conn->link = link;
	} else {
		xway_conns_reap_now();	/* some may wait for no more than that */
	}
	return found;
}

/* Give the slot back. conn->lock held; the caller drops the slot's reference afterwards. */
static struct xway_link *__xway_slot_give(struct xway_conn *conn)
{
	struct xway_link *link = conn->link;
	struct xway_link_slot *slot = &link->slot[(conn->id & 0xffff) - 1];

	spin_lock_bh(&link->lock);
	slot->conn = NULL;
	if (!--link->slots_used)
		link->rest_since = jiffies;
	xway_store(&conn->slot->id, 0);
	spin_unlock_bh(&link->lock);
	conn->id = 0;
	conn->peer_id = 0;
	conn->slot = NULL;
	conn->link = NULL;
	clear_bit(XWAY_CONN_HELLO_SENT, &conn->flags);
	clear_bit(XWAY_CONN_CLOSE_SENT, &conn->flags);
	clear_bit(XWAY_CONN_PEER_CLOSED, &conn->flags);
	return link;
}

void xway_slot_give(struct xway_conn *conn)
{
	struct xway_link *link = NULL;

	spin_lock_bh(&conn->lock);
	if (conn->id)
		link = __xway_slot_give(conn);
	spin_unlock_bh(&conn->lock);
	if (link) {
		xway_link_put(link);
		xway_conn_put(conn);
	}
}

struct xway_conn *xway_slot_conn(struct xway_link *link, u32 id)
{
	u32 index = (id & 0xffff) - 1;
	struct xway_conn *conn = NULL;

	if (index >= link->slots)
		return NULL;
	index = array_index_nospec(index, link->slots);
	spin_lock_bh(&link->lock);
	conn = link->slot[index].conn;
	if (conn && link->slot[index].gen == id >> 16)
		xway_conn_hold(conn);
	else
		conn = NULL;
	spin_unlock_bh(&link->lock);
	return conn;
}

struct xway_conn *xway_slot_next(struct xway_link *link, unsigned int *i)
{
	struct xway_conn *conn = NULL;

	spin_lock_bh(&link->lock);
	while (!conn && *i < link->slots)
		conn = link->slot[(*i)++].conn;
	if (conn)
		xway_conn_hold(conn);
	spin_unlock_bh(&link->lock);
	return conn;
}

/* ---- attaching ---------------------------------------------------------------------------- */

/* conn->lock held, slot taken; tx and rx are as new, see xway_conn_unattach(). */
static void __xway_conn_attach(struct xway_conn *conn, u32 peer_id)
{
	conn->peer_id = peer_id;
	conn->peer_slot = xway_view_slot(&conn->link->view,
					 array_index_nospec((peer_id & 0xffff) - 1,
							    conn->link->hellos));
	clear_bit(XWAY_CONN_HELLO_SENT, &conn->flags);
	if (test_bit(XWAY_CONN_TCP_ONLY, &conn->flags))
		conn->slot->flags = XWAY_SLOT_TCP_ONLY;
	else
		xway_conn_why(conn, XWAY_WHY_NONE);
	/* Pairs with the acquiring reads of `attached` by those that hold a mutex only. */
	smp_store_release(&conn->attached, true);
	trace_xway_attach(conn);
	xway_conn_stat_inc(conn, conns_attached);
}

/* May @conn be attached at all? conn->lock held. */
static bool __xway_conn_attachable(const struct xway_conn *conn)
{
	return !conn->attached && !conn->id && !conn->private && xway_param_enable &&
	       test_bit(XWAY_CONN_ESTABLISHED, &conn->flags) &&
	       !test_bit(XWAY_CONN_TCP_ONLY, &conn->flags) &&
	       !test_bit(XWAY_CONN_ORPHAN, &conn->flags) && !READ_ONCE(xway_leaving);
}

/* It may not; the other reasons have been noted where they arose. conn->lock held. */
static void __xway_conn_not_attached(struct xway_conn *conn)
{
	if (!xway_param_enable && !conn->attached &&
	    !test_bit(XWAY_CONN_TCP_ONLY, &conn->flags))
		xway_conn_why(conn, XWAY_WHY_DISABLED);
}

void xway_conn_hello(struct xway_conn *conn)
{
	struct xway_link *link = xway_link_get(conn->domid);
	struct xway_msg msg = { .type = XWAY_MSG_HELLO };

	if (!link || !xway_link_is_up(link)) {
		xway_conn_why(conn, xway_total_is_short(conn->domid) ? XWAY_WHY_TOTAL_FULL :
			      XWAY_WHY_LINKING);
		xway_link_want(conn->domid);
		goto out;
	}
	spin_lock_bh(&conn->lock);
	if (!__xway_conn_attachable(conn)) {
		__xway_conn_not_attached(conn);
		goto out_unlock;
	}
	if (!xway_slot_take(conn, link)) {
		xway_conn_why(conn, XWAY_WHY_SLOTS_FULL);
		goto out_unlock;
	}
	set_bit(XWAY_CONN_HELLO_SENT, &conn->flags);
	xway_conn_why(conn, XWAY_WHY_WAITING);
	msg.from = conn->id;
	msg.client_isn = conn->tuple.client_isn;
	msg.server_isn = conn->tuple.server_isn;
	msg.client_port = (__force u16)conn->tuple.client_port;
	msg.server_port = (__force u16)conn->tuple.server_port;
	memcpy(msg.client_addr, &conn->tuple.client_addr, sizeof(msg.client_addr));
	memcpy(msg.server_addr, &conn->tuple.server_addr, sizeof(msg.server_addr));
	xway_ctl_post(link, &msg);
	xway_conn_stat_inc(conn, hellos_sent);
out_unlock:
	spin_unlock_bh(&conn->lock);
out:
	xway_link_put(link);
}

void xway_conn_accept_hello(struct xway_conn *conn, struct xway_link *link,
			    const struct xway_msg *msg)
{
	u16 decline = XWAY_DECLINE_REFUSED;

	spin_lock_bh(&conn->lock);
	if (!__xway_conn_attachable(conn)) {
		__xway_conn_not_attached(conn);
		goto decline;
	}
	decline = xway_link_is_up(link) ? XWAY_DECLINE_BUSY : XWAY_DECLINE_QUIESCING;
	if (!xway_slot_take(conn, link)) {
		xway_conn_why(conn, decline == XWAY_DECLINE_BUSY ? XWAY_WHY_SLOTS_FULL :
			      XWAY_WHY_LINK_DOWN);
		goto decline;
	}
	xway_conn_set_peer(conn, link->domid, link->account);
	__xway_conn_attach(conn, msg->from);
	xway_ctl_post_id(link, XWAY_MSG_ATTACH, 0, msg->from, conn->id);
	spin_unlock_bh(&conn->lock);
	return;
decline:
	spin_unlock_bh(&conn->lock);
	xway_ctl_post_id(link, XWAY_MSG_DECLINE, decline, msg->from, 0);
	xway_link_stat_inc(link, declines_sent);
}

void xway_conn_on_attach(struct xway_link *link, const struct xway_msg *msg)
{
	struct xway_conn *conn = xway_slot_conn(link, msg->to);

	if (!conn)
		return;
	if ((msg->from & 0xffff) - 1 >= link->hellos) {
		xway_link_violation(link, "an ATTACH names no slot");
		goto out;
	}
	spin_lock_bh(&conn->lock);
	if (conn->id == msg->to && test_bit(XWAY_CONN_HELLO_SENT, &conn->flags)) {
		if (test_bit(XWAY_CONN_ORPHAN, &conn->flags)) {
			/* Our unanswered CLOSE crossed it; this one the peer can place. */
			clear_bit(XWAY_CONN_HELLO_SENT, &conn->flags);
			set_bit(XWAY_CONN_CLOSE_SENT, &conn->flags);
			xway_ctl_post_id(link, XWAY_MSG_CLOSE, 0, msg->from, conn->id);
		} else {
			/* The peer's first bytes, if there are any, come with a WAKE behind this. */
			__xway_conn_attach(conn, msg->from);
		}
	}
	spin_unlock_bh(&conn->lock);
out:
	xway_conn_put(conn);
}

void xway_conn_on_decline(struct xway_link *link, const struct xway_msg *msg)
{
	struct xway_conn *conn = xway_slot_conn(link, msg->to);
	enum xway_why why = XWAY_WHY_PEER_REFUSED;

	if (!conn)
		return;
	xway_link_stat_inc(link, declines_received);
	if (msg->arg == XWAY_DECLINE_BUSY)
		why = XWAY_WHY_PEER_BUSY;
	else if (msg->arg == XWAY_DECLINE_QUIESCING)
		why = XWAY_WHY_LINK_DOWN;
	if (test_bit(XWAY_CONN_HELLO_SENT, &conn->flags) && conn->id == msg->to) {
		xway_slot_give(conn);
		xway_conn_why(conn, why);
	}
	xway_conn_put(conn);
}

/* The link over which @conn waits for an answer, with a reference; NULL if it does not. */
static struct xway_link *xway_conn_waits_on(struct xway_conn *conn)
{
	struct xway_link *link = NULL;

	spin_lock_bh(&conn->lock);
	if (test_bit(XWAY_CONN_HELLO_SENT, &conn->flags) && conn->link) {
		link = conn->link;
		kref_get(&link->ref);
	}
	spin_unlock_bh(&conn->lock);
	return link;
}

void xway_conn_look(struct xway_conn *conn)
{
	struct xway_link *link;

	if (likely(!test_bit(XWAY_CONN_HELLO_SENT, &conn->flags)))
		return;
	link = xway_conn_waits_on(conn);
	if (link)
		xway_ctl_look(link);
	xway_link_put(link);
}

void xway_conn_hear_out(struct xway_conn *conn)
{
	struct xway_link *link = xway_conn_waits_on(conn);

	if (link)
		xway_ctl_hear_out(link);
	xway_link_put(link);
}

static void xway_conn_hello_if(struct xway_conn *conn, void *arg)
{
	const struct xway_link *link = arg;

	if (conn->role == XWAY_ROLE_CLIENT && conn->domid == link->domid)
		xway_conn_hello(conn);
}

void xway_conns_link_up(struct xway_link *link)
{
	xway_conns_each(xway_conn_hello_if, link);
}

/* ---- wake --------------------------------------------------------------------------------- */

void xway_conn_on_wake(struct xway_link *link, const struct xway_msg *msg)
{
	struct xway_conn *conn = xway_slot_conn(link, msg->to);
	struct sock *sk;
	bool asked = false;

	if (!conn)
		return;
	spin_lock_bh(&conn->lock);
	sk = __xway_conn_sock(conn);
	if (conn->attached)
		asked = xway_load(&conn->peer_slot->flags) & XWAY_SLOT_TCP_ONLY;
	spin_unlock_bh(&conn->lock);
	if (!sk) {
		/* An orphan waits for its last bytes to be taken. */
		xway_conn_queue(conn);
	} else {
		xway_wait_woken(&conn->rx_waiter);
		xway_wait_woken(&conn->tx_waiter);
		xway_info_later(conn);
		rcu_read_lock();	/* the struct socket may go meanwhile */
		if (xway_rx_readable(conn, sk))
			sk->sk_data_ready(sk);
		else if (READ_ONCE(sk->sk_rcvlowat) > 1 && xway_rx_ring_unread(conn))
			xway_rx_watch_lowat(conn);	/* TCP bytes that lie before are on their way */
		/* Wakes only who waits, and only if there is room. */
		sk->sk_write_space(sk);
		rcu_read_unlock();
		if (asked)
			xway_conn_wake(conn);
		sock_put(sk);
	}
	xway_conn_put(conn);
}
