// SPDX-License-Identifier: GPL-2.0
/*
 * detach.c - a connection lets go of its slots: closed by either side, or its link goes down.
 */
#include "conn.h"

#include <linux/hashtable.h>
#include <linux/nospec.h>

#include "info.h"
#include "rail.h"
#include "sock.h"
#include "trace.h"

#define XWAY_REAP_INLINE 4	/* others that a closing program lets go of: more than come meanwhile */
#define XWAY_REAP_BATCH	64	/* connections in one run of the work */
#define XWAY_CONN_AGAIN	1	/* jiffies until whoever is inside a call has perhaps come out */

/*
 * Both mutexes, if no program is inside with one of them. It may be for long: pages of a dead file
 * system are faulted in under them. What xway_wq has to do for others does not wait for that, but
 * asks those who merely come and go to make room.
 */
static bool xway_conn_trylock(struct xway_conn *conn)
{
	if (mutex_trylock(&conn->tx_mutex)) {
		if (mutex_trylock(&conn->rx_mutex)) {
			if (test_bit(XWAY_CONN_WANTED, &conn->flags))
				clear_and_wake_up_bit(XWAY_CONN_WANTED, &conn->flags);
			return true;
		}
		mutex_unlock(&conn->tx_mutex);
	}
	set_bit(XWAY_CONN_WANTED, &conn->flags);
	return false;
}

void __xway_conn_yield(struct xway_conn *conn, struct mutex *mutex)
{
	mutex_unlock(mutex);
	/* Another program may hold the other mutex for ever; and who wanted us may be gone. */
	if (wait_on_bit_timeout(&conn->flags, XWAY_CONN_WANTED, TASK_UNINTERRUPTIBLE, XWAY_LOOK))
		clear_bit(XWAY_CONN_WANTED, &conn->flags);
	mutex_lock(mutex);
}

static void xway_conn_unlock(struct xway_conn *conn)
{
	mutex_unlock(&conn->rx_mutex);
	mutex_unlock(&conn->tx_mutex);
}

/* ---- letting go --------------------------------------------------------------------------- */

/* Both mutexes held: look at neither region for this connection again. */
static void xway_conn_unattach(struct xway_conn *conn, enum xway_end end)
{
	trace_xway_detach(conn, end);
	xway_tx_free_rings(conn, true);
	spin_lock_bh(&conn->lock);
	conn->tx_lost += conn->tx.prod - conn->tx.cons;
	smp_store_release(&conn->attached, false);
	__xway_conn_not_due(conn, BIT(XWAY_DUE_NUDGE) | BIT(XWAY_DUE_STALL));
	conn->stalled = false;
	clear_bit(XWAY_CONN_SETTLED, &conn->flags);
	conn->peer_slot = NULL;
	/* As new for the next attachment; a private copy needs its place in it until it is taken. */
	memset(&conn->tx, 0, sizeof(conn->tx));
	if (!conn->private)
		memset(&conn->rx, 0, sizeof(conn->rx));
	spin_unlock_bh(&conn->lock);
	xway_info_later(conn);
	xway_conn_stat_inc(conn, conns_detached);
}

/*
 * Send CLOSE once. Under the lock, because the answer frees the slot, and the bit comes last: from
 * then on the tasklet may.
 */
static void xway_conn_send_close(struct xway_conn *conn, u32 to)
{
	spin_lock_bh(&conn->lock);
	if (conn->id && !test_bit(XWAY_CONN_CLOSE_SENT, &conn->flags)) {
		xway_ctl_post_id(conn->link, XWAY_MSG_CLOSE, 0, to, conn->id);
		set_bit(XWAY_CONN_CLOSE_SENT, &conn->flags);
		/* Pairs with the barrier in xway_conn_on_close(): one of the two frees the slot. */
		smp_mb__after_atomic();
	}
	spin_unlock_bh(&conn->lock);
}

/* Both mutexes held: unattach, tell the peer, and free the slot if the peer has told us. */
static void xway_conn_close_slot(struct xway_conn *conn, enum xway_end end)
{
	xway_conn_unattach(conn, end);
	xway_conn_send_close(conn, conn->peer_id);
	if (test_bit(XWAY_CONN_PEER_CLOSED, &conn->flags))
		xway_slot_give(conn);
}

void xway_conn_reset(struct xway_conn *conn, struct sock *sk)
{
	bool lost = test_bit(XWAY_CONN_LOST, &conn->flags);

	if (READ_ONCE(sk->sk_state) != TCP_CLOSE) {
		/* As TCP says it of a reset; of lost bytes a receiver is told as of no other. */
		tcp_abort(sk, !lost && READ_ONCE(sk->sk_state) == TCP_CLOSE_WAIT ?
			      EPIPE : ECONNRESET);
		xway_conn_stat_inc(conn, conns_reset);
	}
	if (!lost)
		return;		/* what has arrived may be read, as after TCP's own reset */
	lock_sock(sk);
	sock_reset_flag(sk, SOCK_DONE);		/* a FIN is no end where bytes before it are missing */
	__skb_queue_purge(&sk->sk_receive_queue);
	WRITE_ONCE(tcp_sk(sk)->copied_seq, tcp_sk(sk)->rcv_nxt);
	release_sock(sk);
}

static void xway_conn_abort(struct xway_conn *conn)
{
	struct sock *sk = xway_conn_sock(conn);

	if (!sk)
		return;
	xway_conn_reset(conn, sk);
	sock_put(sk);
}

/*
 * Both mutexes held, socket gone: done once the peer has taken our bytes, or will never take them,
 * because its socket is gone as well.
 */
static void xway_conn_drain(struct xway_conn *conn)
{
	if (!conn->attached) {
		if (test_bit(XWAY_CONN_HELLO_SENT, &conn->flags))
			xway_conn_send_close(conn, 0);
		return;
	}
	xway_tx_leave_ring(conn);
	xway_slot_set_flag(conn, XWAY_SLOT_TCP_ONLY | XWAY_SLOT_GONE);
	/* Pairs with the same barrier there: of two that close at once, one sees the other's flag. */
	xway_mb();
	if (test_bit(XWAY_CONN_PEER_CLOSED, &conn->flags) ||
	    xway_load(&conn->peer_slot->flags) & XWAY_SLOT_GONE || !xway_tx_unread(conn)) {
		xway_conn_close_slot(conn, XWAY_END_CLOSED);
		return;
	}
	/* Wake us for the last byte. */
	xway_store(&conn->slot->room_event, conn->tx.prod - 1);
	/* Pairs with the full barrier after the peer's publication of cons. */
	xway_mb();
	if (!xway_tx_unread(conn))
		xway_conn_close_slot(conn, XWAY_END_CLOSED);
}

/* The slow part of closing: either side has gone. Both mutexes held, and let go. */
static void xway_conn_finish(struct xway_conn *conn)
{
	bool reset = false;

	if (test_bit(XWAY_CONN_ORPHAN, &conn->flags)) {
		xway_conn_drain(conn);
	} else if (conn->attached && test_bit(XWAY_CONN_PEER_CLOSED, &conn->flags)) {
		/* TCP answers data for a closed socket with a reset; so do we. */
		xway_tx_leave_ring(conn);
		reset = xway_tx_unread(conn);
		if (xway_rx_privatise(conn)) {
			set_bit(XWAY_CONN_LOST, &conn->flags);
			reset = true;
		}
		set_bit(XWAY_CONN_TCP_ONLY, &conn->flags);
		xway_conn_why(conn, XWAY_WHY_PEER_CLOSED);
		xway_conn_close_slot(conn, XWAY_END_PEER_CLOSED);
	}
	xway_conn_unlock(conn);
	if (reset)
		xway_conn_abort(conn);
	xway_conn_wake(conn);
}

static void xway_conns_reap(struct work_struct *work);

static LIST_HEAD(xway_ripe);			/* each holds a reference */
static DEFINE_SPINLOCK(xway_ripe_lock);		/* _bh */
static DECLARE_DELAYED_WORK(xway_reap_work, xway_conns_reap);

void xway_conn_queue(struct xway_conn *conn)
{
	spin_lock_bh(&xway_ripe_lock);
	if (list_empty(&conn->ripe)) {
		xway_conn_hold(conn);
		list_add_tail(&conn->ripe, &xway_ripe);
	}
	spin_unlock_bh(&xway_ripe_lock);
	if (test_bit(XWAY_CONN_ORPHAN, &conn->flags))
		queue_delayed_work(xway_wq, &xway_reap_work, XWAY_LOOK);
	else
		xway_conns_reap_now();
}

void xway_conns_reap_now(void)
{
	mod_delayed_work(xway_wq, &xway_reap_work, 0);
}

void xway_conns_reap_exit(void)
{
	cancel_delayed_work_sync(&xway_reap_work);
}

/* The first that is ripe, with its reference; with @orphan only if its socket is gone. */
static struct xway_conn *xway_ripe_next(bool orphan)
{
	struct xway_conn *conn;

	spin_lock_bh(&xway_ripe_lock);
	conn = list_first_entry_or_null(&xway_ripe, struct xway_conn, ripe);
	if (conn && orphan && !test_bit(XWAY_CONN_ORPHAN, &conn->flags))
		conn = NULL;
	if (conn)
		list_del_init(&conn->ripe);
	spin_unlock_bh(&xway_ripe_lock);
	return conn;
}

/* Owns the reference. */
static void xway_conn_reap(struct xway_conn *conn)
{
	if (xway_conn_trylock(conn)) {
		xway_conn_finish(conn);
	} else {
		spin_lock_bh(&conn->lock);
		__xway_conn_due_in(conn, XWAY_DUE_WORK, XWAY_CONN_AGAIN);
		spin_unlock_bh(&conn->lock);
	}
	xway_conn_put(conn);
}

static void xway_conns_reap(struct work_struct *work)
{
	struct xway_conn *conn;
	unsigned int n;

	for (n = 0; n < XWAY_REAP_BATCH; n++) {
		conn = xway_ripe_next(false);
		if (!conn)
			return;
		xway_conn_reap(conn);
		cond_resched();
	}
	xway_conns_reap_now();	/* behind what else there is: a peer can make them ripe again and again */
}

void xway_conn_on_close(struct xway_link *link, const struct xway_msg *msg)
{
	u32 index = (msg->from & 0xffff) - 1;
	struct xway_conn *conn;

	if (!msg->to) {
		/* It gives up a HELLO that we have not answered. */
		struct xway_hello *hello;
		bool waited = false;

		if (index >= link->hellos)
			return;
		hello = &link->hello[array_index_nospec(index, link->hellos)];
		spin_lock_bh(&xway_tuple_lock);
		if (!hlist_unhashed(&hello->node) && hello->msg.from == msg->from) {
			xway_hello_forget(hello);
			waited = true;
		}
		spin_unlock_bh(&xway_tuple_lock);
		if (waited)
			xway_ctl_post_id(link, XWAY_MSG_CLOSE, 0, msg->from, 0);
		return;
	}
	conn = xway_slot_conn(link, msg->to);
	if (!conn)
		return;
	set_bit(XWAY_CONN_PEER_CLOSED, &conn->flags);
	/* Pairs with the barrier in xway_conn_send_close(): one of the two frees the slot. */
	smp_mb__after_atomic();
	if (test_bit(XWAY_CONN_CLOSE_SENT, &conn->flags) && !READ_ONCE(conn->attached))
		xway_slot_give(conn);
	else
		xway_conn_queue(conn);
	xway_conn_put(conn);
}

void xway_conn_orphan(struct xway_conn *conn, bool now)
{
	struct xway_conn *other;
	unsigned int n;

	spin_lock_bh(&xway_tuple_lock);
	hash_del(&conn->tuple_node);
	spin_unlock_bh(&xway_tuple_lock);
	spin_lock_bh(&conn->lock);
	conn->sk = NULL;
	set_bit(XWAY_CONN_ORPHAN, &conn->flags);
	__xway_conn_not_due(conn, BIT(XWAY_DUE_LOWAT) | BIT(XWAY_DUE_TALLY));
	spin_unlock_bh(&conn->lock);
	if (!READ_ONCE(conn->id))
		return;
	/* Here and now if possible: who opens and closes in a loop then pays for it. */
	if (now) {
		mutex_lock(&conn->tx_mutex);
		mutex_lock(&conn->rx_mutex);
		xway_conn_finish(conn);
		xway_ctl_look_all();
		for (n = 0; n < XWAY_REAP_INLINE && (other = xway_ripe_next(true)); n++)
			xway_conn_reap(other);
	} else {
		xway_conn_queue(conn);
		xway_conns_reap_now();
	}
}

/* ---- links going down --------------------------------------------------------------------- */

/* Attached: has the peer followed us to TCP? */
static bool xway_conn_tx_settled(struct xway_conn *conn)
{
	return xway_tx_refresh(conn) && xway_tx_settled(&conn->tx);
}

/* Attached: is every byte of the peer's where TCP, or our own memory, accounts for it? */
static bool xway_conn_rx_settled(struct xway_conn *conn)
{
	struct xway_view view;

	if (conn->private || test_bit(XWAY_CONN_ORPHAN, &conn->flags))
		return true;
	xway_view_read(&view, conn->peer_slot);
	return view.epoch == conn->rx.epoch && xway_rx_rail(&conn->rx) == XWAY_RAIL_TCP;
}

/* Both mutexes held. True once it is settled, and stays so because neither side uses a ring again. */
static bool xway_conn_quiesce(struct xway_conn *conn)
{
	if (!conn->attached)
		return true;
	xway_conn_why(conn, XWAY_WHY_LINK_DOWN);
	xway_tx_leave_ring(conn);
	/* The link is not up any more: no send of ours enters a ring behind this. */
	xway_slot_set_flag(conn, XWAY_SLOT_LEFT);
	if (!(xway_load_acquire(&conn->peer_slot->flags) & XWAY_SLOT_LEFT))
		return false;
	xway_rx_privatise(conn);
	if (!xway_conn_tx_settled(conn) || !xway_conn_rx_settled(conn))
		return false;
	set_bit(XWAY_CONN_SETTLED, &conn->flags);
	return true;
}

bool xway_conns_quiesce(struct xway_link *link)
{
	struct xway_conn *conn;
	bool settled = true;
	unsigned int i = 0;

	while ((conn = xway_slot_next(link, &i))) {
		if (test_bit(XWAY_CONN_SETTLED, &conn->flags)) {
			/* it stays so */
		} else if (xway_conn_trylock(conn)) {
			settled &= xway_conn_quiesce(conn);
			xway_conn_unlock(conn);
			xway_conn_wake(conn);
		} else {
			settled = false;
		}
		xway_conn_put(conn);
		cond_resched();
	}
	return settled;
}

/* Both mutexes held, and let go. */
static void xway_conn_detach(struct xway_conn *conn)
{
	bool lost = false;

	if (conn->attached) {
		/* The peer may have said nothing, and yet have left its ring. */
		xway_rx_privatise(conn);
		lost = !xway_conn_tx_settled(conn);
		if (!xway_conn_rx_settled(conn)) {
			set_bit(XWAY_CONN_LOST, &conn->flags);
			lost = true;
		}
		xway_conn_unattach(conn, lost ? XWAY_END_LOST : XWAY_END_LINK_DOWN);
	}
	xway_slot_give(conn);
	if (lost)
		set_bit(XWAY_CONN_TCP_ONLY, &conn->flags);
	xway_conn_why(conn, XWAY_WHY_LINK_DOWN);
	xway_conn_unlock(conn);
	if (lost)
		xway_conn_abort(conn);
	xway_conn_wake(conn);
}

bool xway_conns_detach(struct xway_link *link)
{
	struct xway_conn *conn;
	unsigned int i = 0;
	bool all = true;

	while ((conn = xway_slot_next(link, &i))) {
		if (xway_conn_trylock(conn))
			xway_conn_detach(conn);
		else
			all = false;
		xway_conn_put(conn);
		cond_resched();
	}
	return all;
}
