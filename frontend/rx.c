// SPDX-License-Identifier: GPL-2.0
/*
 * rx.c - the receiving direction: follow the marks, take the bytes, wait for more.
 */
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/uio.h>

#include "conn.h"
#include "info.h"
#include "mon.h"
#include "rail.h"
#include "sock.h"
#include "trace.h"

#define XWAY_RX_CHUNK	16384	/* bytes taken before the writer is told */

/* ---- what there is ------------------------------------------------------------------------ */

/* What the sender has published, from wherever it is now. */
static void xway_rx_view(struct xway_conn *conn, struct xway_view *view)
{
	if (conn->private)
		*view = conn->private->view;
	else if (smp_load_acquire(&conn->attached))
		xway_view_read(view, conn->peer_slot);
	else
		*view = (struct xway_view){ .prod = conn->rx.cons, .epoch = conn->rx.epoch };
}

/*
 * A FIN has a sequence number of its own, and TCP takes it together with the last byte before it: it
 * is no byte of the stream.
 */
void xway_rx_tcp_span(const struct sock *sk, u32 *seq, u32 *end)
{
	const struct tcp_sock *tp = tcp_sk(sk);

	*end = READ_ONCE(tp->rcv_nxt);
	smp_rmb();
	*seq = READ_ONCE(tp->copied_seq);
	if (sock_flag(sk, SOCK_DONE)) {
		if (*seq == *end)
			--*seq;
		--*end;
	}
	smp_rmb();
}

static u32 xway_rx_arena_pages(const struct xway_conn *conn)
{
	/* A private copy was checked when it was made. */
	return conn->private || !conn->attached ? U16_MAX : xway_link_rx_arena_pages(conn->link);
}

/*
 * Count what can be read, walking a copy of the state. @ring_only: ring bytes, whatever is before
 * them. conn->lock held; the receiver may be at work meanwhile, and then the answer is as old as
 * the call.
 */
static u32 __xway_rx_count(struct xway_conn *conn, const struct sock *sk, bool ring_only)
{
	struct xway_rx rx = conn->rx;
	struct xway_rx_step step;
	struct xway_view view;
	u32 seq, end, total = 0;
	unsigned int turn;

	if (test_bit(XWAY_CONN_LOST, &conn->flags))
		return 0;
	xway_rx_tcp_span(sk, &seq, &end);
	xway_rx_view(conn, &view);
	for (turn = 0; turn < 2 * XWAY_MARKS; turn++) {
		if (ring_only && xway_rx_rail(&rx) == XWAY_RAIL_TCP && view.epoch != rx.epoch)
			seq = view.mark[rx.epoch % XWAY_MARKS].at;
		step = xway_rx_next(&rx, &view, seq, end, xway_rx_arena_pages(conn));
		if (step.op == XWAY_RX_TCP) {
			seq += step.len;
			total += ring_only ? 0 : step.len;
			if (view.epoch == rx.epoch)
				break;
		} else if (step.op == XWAY_RX_RING) {
			xway_rx_took(&rx, step.len);
			total += step.len;
		} else if (step.op != XWAY_RX_SWITCHED) {
			break;
		}
	}
	return total;
}

u32 xway_rx_readable(struct xway_conn *conn, const struct sock *sk)
{
	u32 n;

	spin_lock_bh(&conn->lock);
	n = __xway_rx_count(conn, sk, false);
	spin_unlock_bh(&conn->lock);
	return n;
}

u32 __xway_rx_ring_unread(struct xway_conn *conn)
{
	return conn->sk ? __xway_rx_count(conn, conn->sk, true) : 0;
}

u32 xway_rx_ring_unread(struct xway_conn *conn)
{
	u32 n;

	spin_lock_bh(&conn->lock);
	n = __xway_rx_ring_unread(conn);
	spin_unlock_bh(&conn->lock);
	return n;
}

bool xway_rx_arm(struct xway_conn *conn)
{
	bool news = false;
	u32 prod;

	spin_lock_bh(&conn->lock);
	if (conn->attached && !conn->private) {
		prod = xway_load(&conn->peer_slot->prod);
		xway_store(&conn->slot->data_event, prod);
		/* Pairs with the full barrier in the peer's xway_tx_publish(). */
		xway_mb();
		news = prod != conn->rx_seen || xway_load(&conn->peer_slot->prod) != prod;
	}
	spin_unlock_bh(&conn->lock);
	return news;
}

/* Does anybody poll, or want a signal? Under RCU. */
static bool xway_rx_watched(const struct sock *sk)
{
	struct socket_wq *wq = rcu_dereference(sk->sk_wq);

	return skwq_has_sleeper(wq) || (wq && READ_ONCE(wq->fasync_list));
}

/*
 * TCP announces its own bytes once they alone reach SO_RCVLOWAT: it knows of none in a ring. While
 * there is something, on whichever rail, but not enough to read, look again every so often.
 */
void xway_rx_watch_lowat(struct xway_conn *conn)
{
	spin_lock_bh(&conn->lock);
	if (conn->sk)
		__xway_conn_due_in(conn, XWAY_DUE_LOWAT, XWAY_LOOK);
	spin_unlock_bh(&conn->lock);
}

bool xway_rx_ready(struct xway_conn *conn, const struct sock *sk)
{
	u32 target = sock_rcvlowat(sk, 0, INT_MAX);
	u32 n = xway_rx_readable(conn, sk);

	if (n < target) {
		xway_rx_arm(conn);
		n = xway_rx_readable(conn, sk);
	}
	if (n < target && target > 1 && (n || xway_rx_ring_unread(conn)))
		xway_rx_watch_lowat(conn);
	return n >= target;
}

void xway_rx_lowat(struct xway_conn *conn)
{
	struct sock *sk = xway_conn_sock(conn);

	if (!sk)
		return;
	rcu_read_lock();
	if (xway_rx_watched(sk) && xway_rx_ready(conn, sk))
		sk->sk_data_ready(sk);
	rcu_read_unlock();
	sock_put(sk);
}

/* ---- bytes -------------------------------------------------------------------------------- */

/* Tell the sender how far we are, and wake it if it has asked for that. rx_mutex held. */
static void xway_rx_publish(struct xway_conn *conn, u32 old)
{
	if (!conn->attached || conn->private)
		return;
	xway_slot_publish_rx(conn->slot, &conn->rx);
	/* Pairs with the full barrier in the peer's xway_tx_has_room(). */
	xway_mb();
	if (conn->rx.cons != old &&
	    xway_need_event(xway_load(&conn->peer_slot->room_event), conn->rx.cons, old)) {
		/* Its socket may be gone, and only its slot wait for the last byte: that has time. */
		if (xway_load(&conn->peer_slot->flags) & XWAY_SLOT_GONE)
			xway_ctl_post_id(conn->link, XWAY_MSG_WAKE, 0, conn->peer_id, conn->id);
		else
			xway_ctl_send_id(conn->link, XWAY_MSG_WAKE, 0, conn->peer_id, conn->id);
		xway_conn_stat_inc(conn, wakes_sent);
	}
}

/* Pollers copy the state under the lock: they must not see half of a change. rx_mutex held. */
static void xway_rx_commit(struct xway_conn *conn, const struct xway_rx *rx)
{
	spin_lock_bh(&conn->lock);
	conn->rx_ring += rx->cons - conn->rx.cons;
	conn->rx = *rx;
	spin_unlock_bh(&conn->lock);
}

/* A piece of the ring, or of the private copy, that starts at @index. */
static const void *xway_rx_piece(struct xway_conn *conn, u32 ring, u32 index, u32 want, u32 *len)
{
	struct xway_ring_span span;

	if (conn->private) {
		*len = want;
		return conn->private->data + (index - conn->private->start);
	}
	span = xway_ring_span(ring, index, want);
	*len = span.len;
	return xway_link_rx_page(conn->link, span.page) + span.offset;
}

/* Copy @want bytes from @rx's place on. Bytes copied, or -EFAULT. */
static int xway_rx_copy(struct xway_conn *conn, const struct xway_rx *rx, struct msghdr *msg,
			u32 want, int flags)
{
	u32 index = rx->cons, len, done = 0;

	while (done < want) {
		const void *from = xway_rx_piece(conn, rx->ring, index + done, want - done, &len);
		size_t n = flags & MSG_TRUNC ? len : copy_to_iter(from, len, &msg->msg_iter);

		done += n;
		if (n != len)
			break;
	}
	return done || !want ? done : -EFAULT;
}

/*
 * The same where packets are captured: the peer may change its ring meanwhile, so program and
 * capture are given one copy. @seq: sequence number of the first byte, see mon.h.
 */
static int xway_rx_copy_shown(struct xway_conn *conn, struct sock *sk, const struct xway_rx *rx,
			      u32 seq, struct msghdr *msg, u32 want, int flags)
{
	u32 len, done = 0;

	while (done < want) {
		u32 most = min_t(u32, want - done, XWAY_MON_SEGMENT);
		const void *from = xway_rx_piece(conn, rx->ring, rx->cons + done, most, &len);
		struct sk_buff *skb = xway_mon_copy(sk, from, len);
		size_t n = len;

		if (!(flags & MSG_TRUNC))
			n = copy_to_iter(skb ? skb->data : from, len, &msg->msg_iter);
		if (skb)
			xway_mon_received(conn, sk, skb, n, seq + done);
		done += n;
		if (n != len)
			break;
	}
	return done || !want ? done : -EFAULT;
}

/* A receive's control messages begin anew. */
static void xway_rx_rewind(struct msghdr *msg, const struct msghdr *to)
{
	msg->msg_control = to->msg_control;
	msg->msg_controllen = to->msg_controllen;
	msg->msg_flags = to->msg_flags;
}

/*
 * Receive by TCP without waiting, and not past a mark. @first: @msg as the program has given it; of
 * several calls it is told what TCP says of the last, as by one of TCP's own.
 */
static int xway_rx_tcp(struct xway_conn *conn, struct sock *sk, struct msghdr *msg,
		       const struct msghdr *first, u32 want, int flags)
{
	bool inq = tcp_sk(sk)->recvmsg_inq;
	struct msghdr kept = *msg;
	int n;

	xway_rx_rewind(msg, first);
	if (inq)	/* TCP would count its own bytes alone: see xway_rx_put_inq() */
		msg->msg_controllen = 0;
	n = xway_recv_stream(xway_base_prot(conn), sk, msg, want,
			     (flags | MSG_DONTWAIT) & ~MSG_WAITALL);
	if (inq || n <= 0)
		xway_rx_rewind(msg, &kept);
	if (n > 0 && !(flags & MSG_PEEK)) {
		conn->rx_tcp += n;
		xway_conn_stat_add(conn, rx_tcp_bytes, n);
	}
	return n == -EAGAIN ? 0 : n;
}

/* All of the private copy is taken: the connection may ride a ring again. rx_mutex held. */
static void xway_rx_drop_private(struct xway_conn *conn)
{
	struct xway_private *private = conn->private;

	if (!private || conn->rx.epoch != private->view.epoch)
		return;
	spin_lock_bh(&conn->lock);
	conn->private = NULL;
	if (!conn->attached)
		memset(&conn->rx, 0, sizeof(conn->rx));
	spin_unlock_bh(&conn->lock);
	kvfree(private);
	if (conn->role == XWAY_ROLE_CLIENT && !conn->attached)
		xway_conn_hello(conn);
}

/*
 * The sender's position is impossible. In a ring the peer has lied. On TCP something may have taken
 * bytes behind our back: only this connection has lost its place.
 */
static int xway_rx_bad(struct xway_conn *conn, struct sock *sk)
{
	if (conn->attached && !conn->private && xway_rx_rail(&conn->rx) == XWAY_RAIL_RING)
		xway_link_violation(conn->link, "it published an impossible position");
	set_bit(XWAY_CONN_LOST, &conn->flags);
	xway_conn_reset(conn, sk);
	return sock_error(sk);
}

/* Take what there is, at most @want bytes. 0: nothing just now. rx_mutex held. */
static int xway_rx_take(struct xway_conn *conn, struct sock *sk, struct msghdr *msg,
			const struct msghdr *first, size_t want, int flags)
{
	struct xway_rx_step step;
	struct xway_view view;
	struct xway_rx rx;
	unsigned int turn;
	u32 seq, end, old;
	int n;

	if (test_bit(XWAY_CONN_LOST, &conn->flags))
		return 0;	/* the reset is on its way */
	xway_rx_drop_private(conn);
	rx = conn->rx;
	old = rx.cons;
	for (turn = 0; turn <= XWAY_MARKS; turn++) {
		xway_rx_tcp_span(sk, &seq, &end);
		xway_rx_view(conn, &view);
		conn->rx_seen = view.prod;
		step = xway_rx_next(&rx, &view, seq, end, xway_rx_arena_pages(conn));
		switch (step.op) {
		case XWAY_RX_WAIT:
			return 0;
		case XWAY_RX_TCP:
			return xway_rx_tcp(conn, sk, msg, first, min_t(size_t, want, step.len),
					   flags);
		case XWAY_RX_RING:
			step.len = min3((size_t)step.len, want, (size_t)XWAY_RX_CHUNK);
			n = xway_mon_on() ?
			    xway_rx_copy_shown(conn, sk, &rx, seq + (u32)conn->rx_ring, msg,
					       step.len, flags) :
			    xway_rx_copy(conn, &rx, msg, step.len, flags);
			if (n <= 0)
				return n;
			xway_rx_took(&rx, n);
			conn->rx_at = tcp_jiffies32;	/* before the count that it dates */
			xway_rx_commit(conn, &rx);
			xway_rx_publish(conn, old);
			xway_info_later(conn);
			xway_conn_stat_add(conn, rx_ring_bytes, n);
			return n;
		case XWAY_RX_SWITCHED:
			trace_xway_switch(conn, false, rx.epoch, rx.epoch & 1 ? seq : rx.cons);
			xway_rx_commit(conn, &rx);
			xway_rx_publish(conn, old);
			break;
		case XWAY_RX_BAD:
			return xway_rx_bad(conn, sk);
		}
	}
	return 0;
}

/*
 * Show what TCP holds from @seq on, which lies behind ring bytes: TCP itself would begin at its next
 * byte. Bytes shown, or an error.
 */
static int xway_rx_peek_tcp(struct sock *sk, struct msghdr *msg, u32 seq, u32 want, int flags)
{
	const struct tcp_sock *tp = tcp_sk(sk);
	struct sk_buff *skb;
	u32 done = 0, at, n;
	int err = 0;

	lock_sock(sk);
	if (tp->urg_data)	/* a read ends before the urgent byte */
		want = min(want, tp->urg_seq - seq);
	skb_queue_walk(&sk->sk_receive_queue, skb) {
		at = seq + done - TCP_SKB_CB(skb)->seq;
		if (TCP_SKB_CB(skb)->tcp_flags & TCPHDR_SYN)
			at--;
		if (done == want)
			break;
		if (at >= skb->len)
			continue;
		n = min(want - done, skb->len - at);
		if (!(flags & MSG_TRUNC))
			err = skb_copy_datagram_msg(skb, at, msg, n);
		if (err)
			break;
		done += n;
	}
	release_sock(sk);
	return done ? done : err;
}

/* MSG_PEEK: the same walk on a copy of the state. */
static int xway_rx_peek(struct xway_conn *conn, struct sock *sk, struct msghdr *msg,
			const struct msghdr *first, size_t want, int flags)
{
	struct xway_rx rx = conn->rx;
	struct xway_rx_step step;
	struct xway_view view;
	unsigned int turn;
	size_t done = 0;
	u32 seq, end;
	int n;

	if (test_bit(XWAY_CONN_LOST, &conn->flags))
		return 0;
	xway_rx_tcp_span(sk, &seq, &end);
	xway_rx_view(conn, &view);
	for (turn = 0; turn < 2 * XWAY_MARKS && done < want; turn++) {
		step = xway_rx_next(&rx, &view, seq, end, xway_rx_arena_pages(conn));
		step.len = min_t(size_t, step.len, want - done);
		if (step.op == XWAY_RX_SWITCHED)
			continue;
		if (step.op == XWAY_RX_RING) {
			n = xway_rx_copy(conn, &rx, msg, step.len, flags);
			if (n > 0)
				xway_rx_took(&rx, n);
		} else if (step.op == XWAY_RX_TCP) {
			n = done ? xway_rx_peek_tcp(sk, msg, seq, step.len, flags) :
				   xway_rx_tcp(conn, sk, msg, first, step.len, flags);
			if (n > 0)
				seq += n;
		} else {
			break;
		}
		if (n <= 0)
			return done ? done : n;
		done += n;
		if (step.op == XWAY_RX_TCP && view.epoch == rx.epoch)
			break;
	}
	return done;
}

/* ---- waiting ------------------------------------------------------------------------------ */

bool xway_rx_at_urgent(struct xway_conn *conn, const struct sock *sk)
{
	const struct tcp_sock *tp = tcp_sk(sk);

	/* TCP cannot know of ring bytes before the mark; none can come after it. */
	return READ_ONCE(tp->urg_data) && tp->urg_seq == READ_ONCE(tp->copied_seq) &&
	       !xway_rx_ring_unread(conn);
}

/* Can nothing come any more? If so, *@err is what recvmsg returns, in TCP's order of checks. */
static bool xway_rx_ended(const struct xway_conn *conn, struct sock *sk, int *err)
{
	if (unlikely(test_bit(XWAY_CONN_LOST, &conn->flags)) &&
	    (READ_ONCE(sk->sk_err) || READ_ONCE(sk->sk_state) != TCP_CLOSE))
		*err = -(READ_ONCE(sk->sk_err) ?: ECONNRESET);	/* whatever FIN has come */
	else if (sock_flag(sk, SOCK_DONE))
		*err = 0;
	else if (READ_ONCE(sk->sk_err))
		*err = -READ_ONCE(sk->sk_err);
	else if (READ_ONCE(sk->sk_shutdown) & RCV_SHUTDOWN)
		*err = 0;
	else if (READ_ONCE(sk->sk_state) == TCP_CLOSE)
		*err = -ENOTCONN;
	else
		return false;
	return true;
}

/* What ends a reader's look. @seen: TCP's rcv_nxt as it began. */
static bool xway_rx_news(struct xway_conn *conn, struct sock *sk, u32 seen)
{
	int unused;

	return xway_load_acquire(&conn->peer_slot->prod) != conn->rx_seen ||
	       READ_ONCE(tcp_sk(sk)->rcv_nxt) != seen || xway_rx_ended(conn, sk, &unused);
}

/* Look for the peer's next ring bytes before a sleep. rx_mutex held. True: look again. */
static bool xway_rx_look(struct xway_conn *conn, struct sock *sk, long *timeo)
{
	return conn->attached && !conn->private && xway_rx_rail(&conn->rx) == XWAY_RAIL_RING &&
	       xway_wait_look(conn, sk, &conn->rx_waiter, xway_rx_news,
			      READ_ONCE(tcp_sk(sk)->rcv_nxt), timeo);
}

/*
 * Sleep for more than the @have bytes that a peek has left in place. rx_mutex is held, and let go
 * meanwhile. 0: look again.
 */
static int xway_rx_wait(struct xway_conn *conn, struct sock *sk, long *timeo, bool partial,
			u32 have, bool *retried)
{
	DEFINE_WAIT_FUNC(wait, woken_wake_function);
	int unused;
	long slice;

	if (!*timeo) {
		/* Once more, for what came in before the peer was asked to announce it. */
		if (*retried)
			return -EAGAIN;
		*retried = true;
		xway_rx_arm(conn);
		return xway_rx_readable(conn, sk) > have ? 0 : -EAGAIN;
	}
	if (signal_pending(current))
		return sock_intr_errno(*timeo);
	if (xway_sock_must_restart(sk, partial))
		return xway_sock_restart();
	/* Once until there is progress: a peer must not keep us awake with news of nothing. */
	if (!have && !*retried && xway_rx_look(conn, sk, timeo)) {
		*retried = true;
		return 0;
	}

	add_wait_queue(sk_sleep(sk), &wait);
	sk_set_bit(SOCKWQ_ASYNC_WAITDATA, sk);
	xway_rx_arm(conn);
	slice = xway_sock_slice(sk, *timeo);
	if (xway_rx_readable(conn, sk) > have)
		/* It is counted, but the last look could not take it: a peek, or an urgent byte. */
		slice = *retried ? min_t(long, slice, XWAY_LOOK) : 0;
	else if ((partial || have) && READ_ONCE(sk->sk_rcvlowat) > 1)
		slice = min_t(long, slice, XWAY_LOOK);	/* see xway_rx_watch_lowat() */
	*retried = true;
	if (slice && !xway_rx_ended(conn, sk, &unused) && !xway_sock_must_restart(sk, partial)) {
		xway_stat_inc(sleeps_rx);
		xway_wait_sleep(&conn->rx_waiter, &conn->rx_mutex, &wait, slice, timeo);
	}
	sk_clear_bit(SOCKWQ_ASYNC_WAITDATA, sk);
	remove_wait_queue(sk_sleep(sk), &wait);
	return 0;
}

/* Somebody polls: the next byte is an edge for them, even if this call leaves bytes behind. */
static void xway_rx_rearm(struct xway_conn *conn, struct sock *sk)
{
	bool watched;

	rcu_read_lock();
	watched = xway_rx_watched(sk);
	rcu_read_unlock();
	if (watched && READ_ONCE(conn->attached) && xway_rx_arm(conn))
		sk->sk_data_ready(sk);
}

/* TCP_INQ: tell how many bytes are left, on both rails. */
static void xway_rx_put_inq(struct xway_conn *conn, struct sock *sk, struct msghdr *msg)
{
	int inq = xway_rx_readable(conn, sk);

	if (!inq && READ_ONCE(sk->sk_shutdown) & RCV_SHUTDOWN)
		inq = 1;	/* as TCP says of an end of file that waits */
	put_cmsg(msg, SOL_TCP, TCP_CM_INQ, sizeof(inq), &inq);
}

int xway_rx_recvmsg(struct xway_conn *conn, struct sock *sk, struct msghdr *msg, size_t len,
		    int flags)
{
	long timeo = sock_rcvtimeo(sk, flags & MSG_DONTWAIT);
	int target = sock_rcvlowat(sk, flags & MSG_WAITALL, len);
	struct msghdr first = *msg;
	bool ended, waits, retried = false;
	size_t done = 0;
	int n, end_err;

	mutex_lock(&conn->rx_mutex);
	for (;;) {
		xway_conn_yield(conn, &conn->rx_mutex);
		/* Before the rails are looked at, so that what was sent before the end is seen. */
		ended = xway_rx_ended(conn, sk, &end_err);
		smp_rmb();
		if (unlikely(ended))
			xway_conn_hear_out(conn);	/* in a ring, perhaps, of which nobody has told us yet */
		if (!len && xway_rx_readable(conn, sk)) {
			n = 0;
			break;
		}
		if (flags & MSG_PEEK) {
			size_t before = done;

			msg->msg_iter = first.msg_iter;
			n = xway_rx_peek(conn, sk, msg, &first, len, flags);
			done = n > 0 ? n : 0;
			retried &= done <= before;
			n = n > 0 ? 0 : n;
		} else {
			n = xway_rx_take(conn, sk, msg, &first, len - done, flags);
		}
		if (n > 0) {
			done += n;
			retried = false;
		}
		if (n < 0 || (len && done >= len))
			break;
		if (n > 0) {
			if (xway_rx_at_urgent(conn, sk))
				break;
			continue;
		}
		n = 0;
		if (done >= target || (done && ended))
			break;
		if (ended) {
			n = end_err;
			if (n < 0 && n == -READ_ONCE(sk->sk_err))
				n = sock_error(sk);	/* told once, as TCP does */
			break;
		}
		waits = timeo;
		n = xway_rx_wait(conn, sk, &timeo, done, flags & MSG_PEEK ? done : 0,
				 &retried);
		/* TCP sleeps once for a read of no bytes, whatever ends that. */
		if (n || (!len && waits && (!timeo || signal_pending(current))))
			break;
	}
	if (done) {
		if (tcp_sk(sk)->recvmsg_inq)
			xway_rx_put_inq(conn, sk, msg);
		xway_rx_rearm(conn, sk);
		if (!(flags & MSG_PEEK) && conn->attached)
			xway_conn_stat_inc(conn, rx_ring_calls);
	}
	mutex_unlock(&conn->rx_mutex);
	return done ? done : n;
}

/* ---- leaving a link ----------------------------------------------------------------------- */

/*
 * Ring bytes from @rx on to the end of @view, copied to @data. rx walks along. Checks all that a
 * receiver of the copy relies on.
 */
static int xway_rx_copy_rest(struct xway_conn *conn, const struct sock *sk, struct xway_rx *rx,
			     const struct xway_view *view, u8 *data)
{
	struct xway_rx_step step;
	u32 seq, end, at, len;

	xway_rx_tcp_span(sk, &seq, &end);
	while (rx->epoch != view->epoch) {
		if (xway_rx_rail(rx) == XWAY_RAIL_TCP) {
			/* As if TCP had come as far as the mark: its bytes stay in its queue. */
			at = view->mark[rx->epoch % XWAY_MARKS].at;
			if ((s32)(at - seq) < 0)
				return -EPROTO;
			seq = at;
		}
		step = xway_rx_next(rx, view, seq, seq, xway_link_rx_arena_pages(conn->link));
		if (step.op == XWAY_RX_SWITCHED)
			continue;
		/* The sum of the pieces must be what was allocated, whatever the marks say. */
		if (step.op != XWAY_RX_RING || step.len > view->prod - rx->cons)
			return -EPROTO;
		while (step.len) {
			const void *from = xway_rx_piece(conn, rx->ring, rx->cons, step.len, &len);

			memcpy(data, from, len);
			data += len;
			step.len -= len;
			xway_rx_took(rx, len);
		}
	}
	return 0;
}

static int __xway_rx_privatise(struct xway_conn *conn, const struct sock *sk)
{
	struct xway_private *private;
	struct xway_rx rx = conn->rx;
	struct xway_view view;
	u32 size;
	int err;

	xway_view_read(&view, conn->peer_slot);
	if (view.epoch & 1)
		return -EAGAIN;		/* still on a ring */
	if (view.epoch == rx.epoch)
		return 0;		/* nothing left */
	/* Read before the epoch, prod may be older than the mark that ends the last ring. */
	view.prod = view.mark[(view.epoch - 1) % XWAY_MARKS].at;
	size = view.prod - rx.cons;
	if (view.epoch - rx.epoch > XWAY_MARKS ||
	    size > 2 * (XWAY_PAGE_SIZE << XWAY_RING_ORDER_MAX)) {
		xway_link_violation(conn->link, "it published an impossible position");
		return -EPROTO;
	}
	private = kvmalloc(struct_size(private, data, size), GFP_KERNEL);
	if (!private)
		return -ENOMEM;
	private->view = view;
	private->start = rx.cons;
	err = xway_rx_copy_rest(conn, sk, &rx, &view, private->data);
	if (!err && rx.cons != view.prod)
		err = -EPROTO;
	if (err) {
		kvfree(private);
		xway_link_violation(conn->link, "it published an impossible position");
		return err;
	}
	/* The peer may forget these bytes; our receiver goes on where it is, with the copy. */
	xway_slot_publish_rx(conn->slot, &rx);
	xway_mb();
	xway_conn_stat_add(conn, rx_private_bytes, size);
	spin_lock_bh(&conn->lock);
	if (size)
		conn->private = private;
	else
		conn->rx = rx;		/* there is nothing to keep but the position */
	spin_unlock_bh(&conn->lock);
	if (!size)
		kvfree(private);
	return 0;
}

/* Nobody will read the rest: let the peer have done with it. */
static int xway_rx_discard(struct xway_conn *conn)
{
	struct xway_view view;

	xway_view_read(&view, conn->peer_slot);
	if (view.epoch & 1)
		return -EAGAIN;
	if (view.epoch != conn->rx.epoch)
		view.prod = view.mark[(view.epoch - 1) % XWAY_MARKS].at;
	conn->rx = (struct xway_rx){ .epoch = view.epoch, .cons = view.prod };
	xway_slot_publish_rx(conn->slot, &conn->rx);
	return 0;
}

int xway_rx_privatise(struct xway_conn *conn)
{
	struct sock *sk;
	int err;

	if (!conn->attached || conn->private)
		return 0;
	sk = xway_conn_sock(conn);
	if (!sk)
		return xway_rx_discard(conn);
	err = test_bit(XWAY_CONN_LOST, &conn->flags) ? xway_rx_discard(conn) :
						       __xway_rx_privatise(conn, sk);
	sock_put(sk);
	return err;
}
