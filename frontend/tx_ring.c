// SPDX-License-Identifier: GPL-2.0
/*
 * tx_ring.c - the rings of the sending direction.
 *
 * DOC: Theory of operation
 *
 * A connection has a ring while it sends. When its writer finds it full it goes on to a larger one, as
 * long as the reader keeps up, and up to what ring_kib, SO_SNDBUF and the arena allow. After a rest
 * the ring is given back, and the next byte begins anew.
 * All of these are switches as any others: no event, and no answer of the peer, is needed.
 */
#include <linux/log2.h>

#include "conn.h"
#include "rail.h"
#include "trace.h"

void xway_tx_free_rings(struct xway_conn *conn, bool all)
{
	u32 last = conn->tx.epoch - 1, i;

	for (i = 0; i < XWAY_MARKS; i++) {
		if (!(conn->rings & BIT(i)))
			continue;
		/* The latest switch that this mark can be of. */
		if (!all && !xway_tx_ring_done(&conn->tx, last - (last - i) % XWAY_MARKS))
			continue;
		xway_arena_free(conn->link, conn->tx.mark[i].ring);
		conn->rings &= ~BIT(i);
	}
}

/* The order of the largest ring that the program, and whoever runs the guest, allow. */
static unsigned int xway_tx_order_max(const struct sock *sk)
{
	u32 bytes = READ_ONCE(xway_param_ring_kib) * 1024;

	/* TCP doubles what SO_SNDBUF asks for, for its own overhead. */
	if (sk->sk_userlocks & SOCK_SNDBUF_LOCK)
		bytes = clamp_t(u32, READ_ONCE(sk->sk_sndbuf) / 2,
				XWAY_PAGE_SIZE << XWAY_ARENA_ORDER_MIN, bytes);
	return ilog2(bytes / XWAY_PAGE_SIZE);
}

/* On TCP: go on in @ring, from the byte that TCP would send next. False: too soon. */
static bool xway_tx_enter(struct xway_conn *conn, struct sock *sk, u32 ring)
{
	u32 at = conn->tx.epoch % XWAY_MARKS;

	/* Every send passes here under tx_mutex, so that write_seq stands still. */
	if (xway_tx_to_ring(&conn->tx, READ_ONCE(tcp_sk(sk)->write_seq), ring)) {
		xway_arena_free(conn->link, ring);
		return false;
	}
	conn->rings |= BIT(at);
	conn->tx_at = tcp_jiffies32;
	xway_slot_publish_epoch(conn->slot, &conn->tx);
	trace_xway_switch(conn, true, conn->tx.epoch, conn->tx.mark[at].at);
	return true;
}

bool xway_tx_enter_ring(struct xway_conn *conn, struct sock *sk)
{
	u32 ring;

	if (xway_tx_in_flight(&conn->tx) >= XWAY_MARKS / 2)
		return false;
	ring = xway_arena_alloc(conn->link, xway_tx_order_max(sk));
	if (!ring) {
		xway_conn_why(conn, XWAY_WHY_ARENA_FULL);
		return false;
	}
	if (!xway_tx_enter(conn, sk, ring))
		return false;
	xway_conn_why(conn, XWAY_WHY_NONE);
	xway_conn_stat_inc(conn, switches_to_ring);
	return true;
}

static void xway_tx_leave(struct xway_conn *conn)
{
	/* Not more switches are in flight than the half that xway_tx_to_ring() leaves free. */
	if (WARN_ON_ONCE(xway_tx_to_tcp(&conn->tx)))
		return;
	xway_slot_publish_epoch(conn->slot, &conn->tx);
	trace_xway_switch(conn, true, conn->tx.epoch, conn->tx.prod);
}

void xway_tx_leave_ring(struct xway_conn *conn)
{
	if (!conn->attached || xway_tx_rail(&conn->tx) != XWAY_RAIL_RING)
		return;
	xway_tx_leave(conn);
	xway_conn_stat_inc(conn, switches_to_tcp);
}

bool xway_tx_grow_ring(struct xway_conn *conn, struct sock *sk)
{
	unsigned int order = xway_ring_order(xway_tx_ring(&conn->tx));
	unsigned int most = xway_tx_order_max(sk);
	u32 ring;

	/* A reader that has not followed the last switch does not keep up. */
	if (xway_tx_in_flight(&conn->tx) || order >= most)
		return false;
	ring = xway_arena_grow(conn->link, min(order + 2, most), order + 1);
	if (!ring)
		return false;
	xway_tx_leave(conn);
	if (!xway_tx_enter(conn, sk, ring))
		return false;
	xway_conn_stat_inc(conn, rings_grown);
	return true;
}

void xway_tx_rest(struct xway_conn *conn, unsigned long idle)
{
	if (!xway_tx_refresh(conn) || xway_tx_rail(&conn->tx) != XWAY_RAIL_RING ||
	    conn->tx.prod != conn->tx.cons || tcp_jiffies32 - conn->tx_at < idle)
		return;
	xway_tx_leave(conn);
	xway_conn_why(conn, XWAY_WHY_IDLE);
	xway_conn_stat_inc(conn, rings_rested);
	xway_tx_free_rings(conn, false);
}
