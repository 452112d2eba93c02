// SPDX-License-Identifier: GPL-2.0
/*
 * info.c - TCP's own statistics of a connection count its ring bytes, too.
 *
 * DOC: Theory of operation
 *
 * TCP_INFO, ss (which asks TCP, not us) and BPF programs read bytes_sent, bytes_acked,
 * bytes_received and the times of the last data in struct tcp_sock. Ring bytes are added there under
 * the socket's lock, in batches: XWAY_TALLY after the first that was not counted, and when TCP_INFO is asked
 * for. So the data path takes no lock for it, and a connection that rests shows what it has moved.
 *
 * TCP reads none of the three counts. The times it does read:
 *
 *	lsndtime	a pause in sending makes it forget its congestion window. Bytes in a ring prove
 *			nothing about the network: TCP finds its own value again when it sends
 *	lrcvtime	keepalive probes are due so long after it, and they are to go on: they keep the
 *			TCP rail alive, and what lies on its way. So it is left alone under SO_KEEPALIVE.
 *			A pause in receiving makes TCP acknowledge at once for a while: the first segments
 *			behind a ring may be acknowledged later than that, as those of a stream are
 */
#include "info.h"
#include "rail.h"

#include <net/tcp.h>

#define XWAY_TALLY_IDLE	HZ	/* jiffies between two looks at a peer that takes nothing */

/* Counts so far. Returns ring bytes that the peer has not taken. */
static u32 xway_info_totals(struct xway_conn *conn, struct xway_totals *now, bool *unread)
{
	u32 cons, prod, left = 0, waiting;

	spin_lock_bh(&conn->lock);
	/* A sender or a receiver at work: what it moves just now is counted the next time. */
	now->sent = READ_ONCE(conn->tx_ring);
	if (conn->attached) {
		cons = xway_load(&conn->peer_slot->cons);
		prod = READ_ONCE(conn->tx.prod);
		/* A cons that lies counts for nothing, and is found out by the next send. */
		left = min(prod - cons, prod - READ_ONCE(conn->tx.cons));
	}
	now->acked = now->sent - conn->tx_lost - left;
	waiting = __xway_rx_ring_unread(conn);
	now->received = conn->rx_ring + waiting;
	spin_unlock_bh(&conn->lock);
	*unread = waiting;
	return left;
}

/* How much @now is ahead of @told, which follows. A count that seems to go back is early: 0. */
static u64 xway_info_grown(u64 *told, u64 now)
{
	u64 n = now - *told;

	if ((s64)n <= 0)
		return 0;
	*told = now;
	return n;
}

static void xway_info_sent_at(struct xway_conn *conn, struct tcp_sock *tp)
{
	u32 at = READ_ONCE(conn->tx_at);

	if ((s32)(at - tp->lsndtime) <= 0)
		return;
	if (!conn->sent_covered || tp->lsndtime != conn->sent_ours)
		conn->sent_tcps = tp->lsndtime;
	conn->sent_ours = at;
	WRITE_ONCE(conn->sent_covered, true);
	WRITE_ONCE(tp->lsndtime, at);
}

static void xway_info_received_at(struct sock *sk, u32 at)
{
	struct inet_connection_sock *icsk = inet_csk(sk);

	if (!sock_flag(sk, SOCK_KEEPOPEN) && (s32)(at - icsk->icsk_ack.lrcvtime) > 0)
		WRITE_ONCE(icsk->icsk_ack.lrcvtime, at);
}

u32 xway_info_fold(struct xway_conn *conn, struct sock *sk)
{
	struct tcp_sock *tp = tcp_sk(sk);
	struct xway_totals now;
	bool unread;
	u32 left;
	u64 n;

	left = xway_info_totals(conn, &now, &unread);
	n = xway_info_grown(&conn->told.sent, now.sent);
	if (n) {
		WRITE_ONCE(tp->bytes_sent, tp->bytes_sent + n);
		xway_info_sent_at(conn, tp);
	}
	n = xway_info_grown(&conn->told.acked, now.acked);
	WRITE_ONCE(tp->bytes_acked, tp->bytes_acked + n);
	n = xway_info_grown(&conn->told.received, now.received);
	if (n) {
		WRITE_ONCE(tp->bytes_received, tp->bytes_received + n);
		xway_info_received_at(sk, unread ? tcp_jiffies32 : READ_ONCE(conn->rx_at));
	}
	return left;
}

/* lock_sock held. */
static void xway_info_uncover(struct xway_conn *conn, struct tcp_sock *tp)
{
	if (!conn->sent_covered)
		return;
	if (tp->lsndtime == conn->sent_ours)	/* else TCP has sent meanwhile */
		WRITE_ONCE(tp->lsndtime, conn->sent_tcps);
	WRITE_ONCE(conn->sent_covered, false);
}

void __xway_info_before_tcp(struct xway_conn *conn, struct sock *sk)
{
	lock_sock(sk);
	xway_info_uncover(conn, tcp_sk(sk));
	release_sock(sk);
}

void xway_info_leave(struct xway_conn *conn, struct sock *sk)
{
	xway_info_fold(conn, sk);
	xway_info_uncover(conn, tcp_sk(sk));
}

void __xway_info_later(struct xway_conn *conn, unsigned long delay)
{
	spin_lock_bh(&conn->lock);
	if (conn->sk)
		__xway_conn_due_in(conn, XWAY_DUE_TALLY, delay);
	spin_unlock_bh(&conn->lock);
}

void xway_info_tally(struct xway_conn *conn)
{
	struct sock *sk = xway_conn_sock(conn);
	unsigned long delay = 1;
	u64 acked;

	if (!sk)
		return;
	/* Only tried: who is at work with the socket may be for long. */
	if (spin_trylock(&sk->sk_lock.slock)) {
		/* Unless the socket has been given back meanwhile, as it is under its lock. */
		if (!sock_owned_by_user(sk) && READ_ONCE(conn->sk)) {
			acked = conn->told.acked;
			delay = xway_info_fold(conn, sk) ? XWAY_TALLY_IDLE : 0;
			if (delay && conn->told.acked != acked)
				delay = XWAY_TALLY;
		}
		spin_unlock(&sk->sk_lock.slock);
	}
	if (delay)
		__xway_info_later(conn, delay);
	sock_put(sk);
}
