// SPDX-License-Identifier: GPL-2.0
/*
 * tx.c - the sending direction: choose a rail, move the bytes, wait for room.
 */
#include <linux/net_tstamp.h>
#include <linux/random.h>
#include <linux/sched/signal.h>
#include <linux/uio.h>

#include "conn.h"
#include "info.h"
#include "mon.h"
#include "rail.h"
#include "sock.h"
#include "trace.h"

#define XWAY_STALL	(HZ / 10)	/* jiffies for which a full ring is left to its reader */
#define XWAY_TX_CHUNK	16384	/* bytes published at once, so that the reader can begin */

/* ---- rails -------------------------------------------------------------------------------- */

bool xway_tx_refresh(struct xway_conn *conn)
{
	u32 epoch, cons;

	/* Pairs with xway_slot_publish_rx(): cons is at least what it was at that epoch. */
	epoch = xway_load_acquire(&conn->peer_slot->rx_epoch);
	cons = xway_load_acquire(&conn->peer_slot->cons);
	if (xway_tx_ack(&conn->tx, cons, epoch)) {
		xway_link_violation(conn->link, "it claims bytes that were never sent");
		return false;
	}
	xway_tx_free_rings(conn, false);
	return true;
}

u32 xway_tx_unread(struct xway_conn *conn)
{
	return xway_tx_refresh(conn) ? conn->tx.prod - conn->tx.cons : 0;
}

/* Has a full ring been left alone? Until its last byte is taken, what follows goes by TCP. */
static bool xway_tx_is_stalled(struct xway_conn *conn)
{
	if (!READ_ONCE(conn->stalled))
		return false;
	if (conn->tx.cons == conn->tx.prod)
		WRITE_ONCE(conn->stalled, false);
	return READ_ONCE(conn->stalled);
}

/* The debug knob: does it want TCP now? */
static bool xway_tx_flipped(struct xway_conn *conn)
{
	unsigned int ms = READ_ONCE(xway_param_flip_ms);

	if (!ms)
		return false;
	if ((s32)((u32)jiffies - conn->flip_at) >= 0) {
		conn->flip_tcp = !conn->flip_tcp;
		conn->flip_at = jiffies + 1 + get_random_u32() % (2 * msecs_to_jiffies(ms));
	}
	return conn->flip_tcp;
}

/* Does the peer want TCP, for good? Attached, tx_mutex held. */
static bool xway_tx_peer_asks(const struct xway_conn *conn)
{
	return xway_load(&conn->peer_slot->flags) & XWAY_SLOT_TCP_ONLY;
}

static bool xway_tx_wants_ring(struct xway_conn *conn, const struct sock *sk)
{
	enum xway_why why;

	if (test_bit(XWAY_CONN_TCP_ONLY, &conn->flags))
		return false;		/* the reason is noted */
	if (!READ_ONCE(xway_param_enable))
		why = XWAY_WHY_DISABLED;
	else if (test_bit(XWAY_CONN_PEER_CLOSED, &conn->flags))
		why = XWAY_WHY_PEER_CLOSED;
	else if (!xway_link_is_up(conn->link))
		why = XWAY_WHY_LINK_DOWN;
	else if (xway_tx_peer_asks(conn))
		why = XWAY_WHY_PEER_ASKED;
	else if (xway_tx_is_stalled(conn))
		why = XWAY_WHY_STALLED;
	else if (xway_tx_flipped(conn))
		why = XWAY_WHY_FLIP;
	else
		return (1 << sk->sk_state) & (TCPF_ESTABLISHED | TCPF_CLOSE_WAIT);
	xway_conn_why(conn, why);
	return false;
}

/* Put the direction on the rail that it should be on. True: the ring. */
static bool xway_tx_choose(struct xway_conn *conn, struct sock *sk)
{
	xway_conn_look(conn);
	if (!smp_load_acquire(&conn->attached) || !xway_tx_refresh(conn))
		return false;
	if (xway_tx_wants_ring(conn, sk))
		return xway_tx_rail(&conn->tx) == XWAY_RAIL_RING || xway_tx_enter_ring(conn, sk);
	xway_tx_leave_ring(conn);
	return false;
}

/* ---- bytes -------------------------------------------------------------------------------- */

/* Publish what was written since @old, and wake the reader if it has asked for that. */
static void xway_tx_publish(struct xway_conn *conn, u32 old)
{
	xway_slot_publish_prod(conn->slot, &conn->tx);
	/* Pairs with the full barrier in the peer's xway_rx_arm(). */
	xway_mb();
	if (xway_need_event(xway_load(&conn->peer_slot->data_event), conn->tx.prod, old)) {
		xway_ctl_send_id(conn->link, XWAY_MSG_WAKE, 0, conn->peer_id, conn->id);
		xway_conn_stat_inc(conn, wakes_sent);
	} else if (!xway_conn_is_due(conn, XWAY_DUE_NUDGE)) {
		spin_lock_bh(&conn->lock);
		__xway_conn_due_in(conn, XWAY_DUE_NUDGE, XWAY_LOOK);
		spin_unlock_bh(&conn->lock);
	}
}

/*
 * Bytes that nobody has asked to be woken for still lie there. The reader may have come to want a
 * signal (O_ASYNC) after its last read, of which no protocol is told; so it is woken once.
 */
void xway_tx_nudge(struct xway_conn *conn)
{
	spin_lock_bh(&conn->lock);
	if (conn->attached && xway_load(&conn->peer_slot->cons) != READ_ONCE(conn->tx.prod)) {
		xway_ctl_send_id(conn->link, XWAY_MSG_WAKE, 0, conn->peer_id, conn->id);
		xway_stat_inc(nudges);
	}
	spin_unlock_bh(&conn->lock);
}

/* Copy at most @want bytes into the ring's free room. Bytes copied, 0: no room, or -EFAULT. */
static int xway_tx_copy(struct xway_conn *conn, struct msghdr *msg, size_t want)
{
	u32 ring = xway_tx_ring(&conn->tx);
	u32 room = xway_tx_room(&conn->tx);
	u32 old = conn->tx.prod;
	struct xway_ring_span span;
	size_t n;

	want = min3(want, (size_t)room, (size_t)XWAY_TX_CHUNK);
	while (want) {
		span = xway_ring_span(ring, conn->tx.prod, want);
		n = copy_from_iter(xway_link_tx_page(conn->link, span.page) + span.offset,
				   span.len, &msg->msg_iter);
		conn->tx.prod += n;
		want -= n;
		if (n != span.len)
			break;
	}
	if (conn->tx.prod == old)
		return want ? -EFAULT : 0;
	xway_tx_publish(conn, old);
	conn->tx_at = tcp_jiffies32;	/* before the count that it dates */
	conn->tx_ring += conn->tx.prod - old;
	xway_info_later(conn);
	xway_conn_stat_add(conn, tx_ring_bytes, conn->tx.prod - old);
	return conn->tx.prod - old;
}

/* Send by TCP without waiting. */
static int xway_tx_tcp(struct xway_conn *conn, struct sock *sk, struct msghdr *msg, size_t want)
{
	unsigned int flags = msg->msg_flags;
	int n;

	xway_info_before_tcp(conn, sk);
	msg->msg_flags = flags | MSG_DONTWAIT;
	n = xway_base_prot(conn)->sendmsg(sk, msg, want);
	msg->msg_flags = flags;
	if (n > 0) {
		conn->tx_tcp += n;
		xway_conn_stat_add(conn, tx_tcp_bytes, n);
	}
	return n;
}

/* ---- room --------------------------------------------------------------------------------- */

/* A writer is woken once a third of the ring is free: not for every byte that is read. */
static bool __xway_tx_has_room(struct xway_conn *conn)
{
	u32 size = xway_ring_size(xway_tx_ring(&conn->tx));
	u32 unread = conn->tx.prod - xway_load_acquire(&conn->peer_slot->cons);

	/* A cons that lies is found out by the next send. */
	return min(unread, conn->tx.prod - conn->tx.start) <= size - size / 3;
}

/* Somebody wants room that there is not: look in a while whether the reader has moved. Under lock. */
static void xway_tx_watch_stall(struct xway_conn *conn)
{
	if (xway_conn_is_due(conn, XWAY_DUE_STALL))
		return;
	conn->stall_cons = xway_load(&conn->peer_slot->cons);
	__xway_conn_due_in(conn, XWAY_DUE_STALL, XWAY_STALL);
}

/*
 * A reader may want to see more than the ring holds before it takes any (SO_RCVLOWAT, MSG_PEEK), or
 * may itself be sending until we read. TCP's buffers, which programs know and set, have room for that.
 */
void xway_tx_stall(struct xway_conn *conn)
{
	struct sock *sk = NULL;
	bool stalled = false;

	spin_lock_bh(&conn->lock);
	if (conn->attached && xway_tx_rail(&conn->tx) == XWAY_RAIL_RING) {
		stalled = !__xway_tx_has_room(conn);
		if (stalled && xway_load(&conn->peer_slot->cons) != conn->stall_cons) {
			xway_tx_watch_stall(conn);
		} else {
			/* There may be room because another thread has gone on in a larger ring. */
			if (stalled)
				WRITE_ONCE(conn->stalled, true);
			sk = __xway_conn_sock(conn);
		}
	}
	spin_unlock_bh(&conn->lock);
	if (!sk)
		return;
	if (stalled)
		xway_conn_stat_inc(conn, stalls);
	sk->sk_write_space(sk);
	sock_put(sk);
}

bool xway_tx_has_room(struct xway_conn *conn)
{
	bool room = true;
	u32 size;

	spin_lock_bh(&conn->lock);
	if (!conn->attached || xway_tx_rail(&conn->tx) != XWAY_RAIL_RING ||
	    READ_ONCE(conn->stalled))
		goto out;
	room = __xway_tx_has_room(conn);
	if (room)
		goto out;
	size = xway_ring_size(xway_tx_ring(&conn->tx));
	xway_store(&conn->slot->room_event, conn->tx.prod - size + size / 3 - 1);
	/* Pairs with the full barrier after the peer's publication of cons. */
	xway_mb();
	room = __xway_tx_has_room(conn);
	if (!room)
		xway_tx_watch_stall(conn);
out:
	spin_unlock_bh(&conn->lock);
	return room;
}

/* What TCP checks before it sends. */
static bool xway_tx_may_send(const struct sock *sk)
{
	return !READ_ONCE(sk->sk_err) && !(READ_ONCE(sk->sk_shutdown) & SEND_SHUTDOWN);
}

/* What ends a writer's look: room, the end of all writing, or the end of writing to rings. */
static bool xway_tx_news(struct xway_conn *conn, struct sock *sk, u32 unused)
{
	return __xway_tx_has_room(conn) || !xway_tx_may_send(sk) ||
	       test_bit(XWAY_CONN_PEER_CLOSED, &conn->flags) || xway_tx_peer_asks(conn);
}

/*
 * The same before a sleep. tx_mutex held, and let go for a moment: a writer whose peer always keeps up just
 * in time would otherwise keep it. True: try again.
 */
static bool xway_tx_look(struct xway_conn *conn, struct sock *sk, long *timeo)
{
	if (!xway_wait_look(conn, sk, &conn->tx_waiter, xway_tx_news, 0, timeo))
		return false;
	mutex_unlock(&conn->tx_mutex);
	mutex_lock(&conn->tx_mutex);
	return true;
}

/* Have room announced, as TCP does. */
static void xway_tx_ask_for_room(struct sock *sk)
{
	set_bit(SOCK_NOSPACE, &sk->sk_socket->flags);
	sk_set_bit(SOCKWQ_ASYNC_NOSPACE, sk);
	smp_mb__after_atomic();
}

/*
 * Nothing more fits. Sleep until that may have changed; tx_mutex is held, and let go meanwhile.
 * @looked: nothing has been sent since the last look. 0: try again. Otherwise an error for the program.
 */
static int xway_tx_wait(struct xway_conn *conn, struct sock *sk, long *timeo, bool ring,
			bool partial, bool *looked)
{
	DEFINE_WAIT_FUNC(wait, woken_wake_function);
	long limit;
	bool ready;

	if (!*timeo) {
		xway_tx_ask_for_room(sk);
		if (ring && xway_tx_has_room(conn))
			return 0;
		return -EAGAIN;
	}
	if (signal_pending(current))
		return sock_intr_errno(*timeo);
	if (xway_sock_must_restart(sk, partial))
		return xway_sock_restart();
	/* Once until there is progress, as a reader does. */
	if (ring && !*looked) {
		*looked = true;
		if (xway_tx_look(conn, sk, timeo))
			return 0;
	}

	xway_tx_ask_for_room(sk);
	add_wait_queue(sk_sleep(sk), &wait);
	limit = *timeo;
	if (ring) {
		ready = xway_tx_has_room(conn) || xway_tx_peer_asks(conn);
	} else {
		/* TCP had no memory although there is room in its buffer: it polls, too. */
		if ((1 << sk->sk_state) & (TCPF_ESTABLISHED | TCPF_CLOSE_WAIT) &&
		    sk_stream_is_writeable(sk))
			limit = min_t(long, limit, XWAY_LOOK);
		ready = false;
	}
	if (!ready && xway_tx_may_send(sk) && !xway_sock_must_restart(sk, partial)) {
		xway_stat_inc(sleeps_tx);
		xway_wait_sleep(&conn->tx_waiter, &conn->tx_mutex, &wait,
				xway_sock_slice(sk, limit), timeo);
	}
	remove_wait_queue(sk_sleep(sk), &wait);
	return 0;
}

/* Does the program want to be told when its bytes leave, or are acknowledged? Packets alone know. */
static bool xway_tx_is_timed(const struct sock *sk, struct msghdr *msg)
{
	struct cmsghdr *cmsg;

	if (unlikely(READ_ONCE(sk->sk_tsflags) & SOF_TIMESTAMPING_TX_RECORD_MASK))
		return true;
	if (unlikely(msg->msg_controllen))
		for_each_cmsghdr(cmsg, msg)
			if (CMSG_OK(msg, cmsg) && cmsg->cmsg_level == SOL_SOCKET &&
			    (cmsg->cmsg_type == SO_TIMESTAMPING_OLD ||
			     cmsg->cmsg_type == SO_TIMESTAMPING_NEW))
				return true;
	return false;
}

int xway_tx_sendmsg(struct xway_conn *conn, struct sock *sk, struct msghdr *msg, size_t size)
{
	long timeo = sock_sndtimeo(sk, msg->msg_flags & MSG_DONTWAIT);
	bool looked = false;
	size_t done = 0;
	int n;

	if (msg->msg_flags & MSG_OOB)
		xway_conn_tcp_only(conn, XWAY_WHY_URGENT);
	else if ((msg->msg_flags & MSG_ZEROCOPY) && sock_flag(sk, SOCK_ZEROCOPY))
		xway_conn_tcp_only(conn, XWAY_WHY_ZEROCOPY);
	else if (xway_tx_is_timed(sk, msg))
		xway_conn_tcp_only(conn, XWAY_WHY_TIMESTAMPS);

	mutex_lock(&conn->tx_mutex);
	for (;;) {
		bool ring;

		xway_conn_yield(conn, &conn->tx_mutex);
		ring = xway_tx_choose(conn, sk);

		if (!ring)
			n = done && !xway_tx_may_send(sk) ?
			    -EPIPE : xway_tx_tcp(conn, sk, msg, size - done);
		else if (!xway_tx_may_send(sk))
			n = done ? -EPIPE : sk_stream_error(sk, msg->msg_flags, -EPIPE);
		else
			n = xway_tx_copy(conn, msg, size - done);
		if (n > 0) {
			done += n;
			looked = false;
		}
		if (xway_mon_on() && ring && n > 0)
			xway_mon_sent(conn, sk, n);
		if (done >= size || (n < 0 && n != -EAGAIN) || !msg_data_left(msg))
			break;
		if (n > 0 || (ring && xway_tx_grow_ring(conn, sk)))
			continue;
		n = xway_tx_wait(conn, sk, &timeo, ring, done, &looked);
		if (n)
			break;
	}
	if (done && xway_tx_rail(&conn->tx) == XWAY_RAIL_RING)
		xway_conn_stat_inc(conn, tx_ring_calls);
	mutex_unlock(&conn->tx_mutex);
	return done ? done : n;
}

long xway_tx_linger(struct xway_conn *conn, struct sock *sk, long timeout)
{
	DEFINE_WAIT_FUNC(wait, woken_wake_function);
	u32 unread;

	add_wait_queue(sk_sleep(sk), &wait);
	while (timeout && !signal_pending(current)) {
		mutex_lock(&conn->tx_mutex);
		unread = conn->attached ? xway_tx_unread(conn) : 0;
		mutex_unlock(&conn->tx_mutex);
		if (!unread || test_bit(XWAY_CONN_PEER_CLOSED, &conn->flags))
			break;
		/* Looked at often enough for a call that is allowed to block for seconds. */
		timeout -= min_t(long, timeout, XWAY_LOOK);
		wait_woken(&wait, TASK_INTERRUPTIBLE, XWAY_LOOK);
	}
	remove_wait_queue(sk_sleep(sk), &wait);
	return timeout;
}
