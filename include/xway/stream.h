/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
/*
 * stream.h - one direction of a connection: one stream of bytes over two rails.
 *
 * DOC: Theory of operation
 *
 * A direction's epoch counts its rail switches; even epochs ride TCP, odd ones a ring. The switch
 * from epoch e to e + 1 leaves a mark: for even e the TCP sequence number, for odd e the ring
 * index, at which the stream leaves the rail. Ring indices run on across rings; every odd epoch
 * names its own ring, so that growing a ring is two switches at the same TCP sequence number.
 *
 * The sender publishes data, then prod; marks, then the epoch. The receiver reads how far TCP has
 * come (rcv_nxt), then prod, then the epoch, then marks. So if the epoch it sees is the one it is
 * in, every byte it saw on either rail belongs before any mark it could not see. It never takes
 * more than those bytes: that is why a switch needs no answer.
 *
 * A mark's place is reused after XWAY_MARKS switches, so the sender counts what the receiver has
 * followed. Ordinary switches keep half of the places free, for the switch to TCP that a link
 * going down needs at any moment.
 *
 * These are pure functions of state and event. The caller holds whatever makes a direction
 * single-threaded on its side, moves the bytes, and does the shared accesses (xway_view_read(),
 * xway_slot_* below are the only ones).
 */
#ifndef XWAY_STREAM_H
#define XWAY_STREAM_H

#include "abi.h"
#include "barrier.h"
#include "ring.h"

enum xway_rail {
	XWAY_RAIL_TCP = 0,
	XWAY_RAIL_RING = 1,
};

/* The sending end. Private to the sender. */
struct xway_tx {
	__u32	epoch;			/* switches made */
	__u32	acked;			/* switches the receiver has followed */
	__u32	prod;			/* ring bytes sent */
	__u32	cons;			/* ring bytes taken by the receiver */
	__u32	start;			/* where the current ring's unread bytes begin, at the earliest */
	struct xway_mark mark[XWAY_MARKS];
};

static inline enum xway_rail xway_tx_rail(const struct xway_tx *tx)
{
	return (enum xway_rail)(tx->epoch & 1);
}

static inline __u32 xway_tx_in_flight(const struct xway_tx *tx)
{
	return tx->epoch - tx->acked;
}

/* The ring of the current period; 0 on the TCP rail. */
static inline __u32 xway_tx_ring(const struct xway_tx *tx)
{
	return tx->epoch & 1 ? tx->mark[(tx->epoch - 1) % XWAY_MARKS].ring : 0;
}

/* Switch the sender to @ring once it has sent TCP up to @tcp_seq. -EAGAIN: too many in flight. */
static inline int xway_tx_to_ring(struct xway_tx *tx, __u32 tcp_seq, __u32 ring)
{
	struct xway_mark *mark = &tx->mark[tx->epoch % XWAY_MARKS];

	if (xway_tx_rail(tx) != XWAY_RAIL_TCP || !(ring & XWAY_RING_VALID))
		return -EINVAL;
	if (xway_tx_in_flight(tx) >= XWAY_MARKS / 2)
		return -EAGAIN;
	mark->at = tcp_seq;
	mark->ring = ring;
	tx->start = tx->prod;
	tx->epoch++;
	return 0;
}

/* Switch the sender to TCP after the ring bytes it has sent. -EAGAIN cannot happen by design. */
static inline int xway_tx_to_tcp(struct xway_tx *tx)
{
	struct xway_mark *mark = &tx->mark[tx->epoch % XWAY_MARKS];

	if (xway_tx_rail(tx) != XWAY_RAIL_RING)
		return -EINVAL;
	if (xway_tx_in_flight(tx) >= XWAY_MARKS)
		return -EAGAIN;
	mark->at = tx->prod;
	mark->ring = 0;
	tx->epoch++;
	return 0;
}

/* Take in what the receiver says it has taken and followed. -EPROTO: it lies. */
static inline int xway_tx_ack(struct xway_tx *tx, __u32 cons, __u32 rx_epoch)
{
	if (cons - tx->cons > tx->prod - tx->cons ||
	    rx_epoch - tx->acked > tx->epoch - tx->acked)
		return -EPROTO;
	tx->cons = cons;
	tx->acked = rx_epoch;
	/* Once cons is in this period, start keeps up with it: a period may outlast 2^32 bytes. */
	if ((__s32)(cons - tx->start) > 0)
		tx->start = cons;
	return 0;
}

/* Bytes of the current ring that wait for the receiver. 0 on the TCP rail. */
static inline __u32 xway_tx_used(const struct xway_tx *tx)
{
	return xway_tx_rail(tx) == XWAY_RAIL_TCP ? 0 : tx->prod - tx->start;
}

/* Bytes that fit in the current ring. 0 on the TCP rail. */
static inline __u32 xway_tx_room(const struct xway_tx *tx)
{
	return xway_tx_rail(tx) == XWAY_RAIL_TCP ?
	       0 : xway_ring_size(xway_tx_ring(tx)) - xway_tx_used(tx);
}

/*
 * Is the ring that the switch from the even epoch @entered led to behind the receiver? Then its pages
 * may be used anew. A receiver that has taken all of it looks at it no more, though it may be long
 * until it follows the switch: it does that when it reads. @entered: not yet known to be done with.
 */
static inline bool xway_tx_ring_done(const struct xway_tx *tx, __u32 entered)
{
	const struct xway_mark *end = &tx->mark[(entered + 1) % XWAY_MARKS];

	if (tx->epoch - entered < 2)
		return false;		/* it is the present one */
	return (__s32)(tx->acked - entered) >= 2 || (__s32)(tx->cons - end->at) >= 0;
}

/* Has the receiver left every ring this sender ever used? Then none of them is needed. */
static inline bool xway_tx_settled(const struct xway_tx *tx)
{
	return xway_tx_rail(tx) == XWAY_RAIL_TCP && tx->acked == tx->epoch;
}

/* The receiving end. Private to the receiver. */
struct xway_rx {
	__u32	epoch;			/* switches followed */
	__u32	cons;			/* ring bytes taken */
	__u32	ring;			/* ring of the current period; 0 on the TCP rail */
};

/*
 * What a sender has published, read once. It serves until XWAY_RX_SWITCHED: prod was read before
 * the epoch, so it may lie before the marks, and before where the period they lead to began.
 */
struct xway_view {
	__u32	prod;
	__u32	epoch;
	struct xway_mark mark[XWAY_MARKS];
};

enum xway_rx_op {
	XWAY_RX_WAIT,		/* nothing to take on the rail the receiver is on */
	XWAY_RX_TCP,		/* take at most len bytes from TCP */
	XWAY_RX_RING,		/* take at most len bytes from the ring, at cons */
	XWAY_RX_SWITCHED,	/* the receiver is on the next rail now; ask again, with a new view */
	XWAY_RX_BAD,		/* the sender has published nonsense */
};

struct xway_rx_step {
	enum xway_rx_op	op;
	__u32		len;
};

static inline enum xway_rail xway_rx_rail(const struct xway_rx *rx)
{
	return (enum xway_rail)(rx->epoch & 1);
}

static inline struct xway_rx_step xway_rx_step(enum xway_rx_op op, __u32 len)
{
	struct xway_rx_step step = { op, len };

	return step;
}

/* On the TCP rail: TCP holds the stream from @tcp_seq up to @tcp_end in order. */
static inline struct xway_rx_step xway_rx_next_tcp(struct xway_rx *rx, const struct xway_view *view,
						   __u32 tcp_seq, __u32 tcp_end,
						   __u32 arena_pages)
{
	const struct xway_mark *mark = &view->mark[rx->epoch % XWAY_MARKS];
	__u32 here = tcp_end - tcp_seq;
	__u32 left;

	if ((__s32)here < 0)
		here = 0;
	if (view->epoch != rx->epoch) {
		left = mark->at - tcp_seq;
		if ((__s32)left < 0)
			return xway_rx_step(XWAY_RX_BAD, 0);
		if (left == 0) {
			if (!xway_ring_ok(mark->ring, arena_pages))
				return xway_rx_step(XWAY_RX_BAD, 0);
			rx->ring = mark->ring;
			rx->epoch++;
			return xway_rx_step(XWAY_RX_SWITCHED, 0);
		}
		if (here > left)
			here = left;
	}
	return here ? xway_rx_step(XWAY_RX_TCP, here) : xway_rx_step(XWAY_RX_WAIT, 0);
}

/* On the ring rail. */
static inline struct xway_rx_step xway_rx_next_ring(struct xway_rx *rx,
						    const struct xway_view *view)
{
	bool leaving = view->epoch != rx->epoch;
	__u32 end = leaving ? view->mark[rx->epoch % XWAY_MARKS].at : view->prod;
	__u32 len = end - rx->cons;

	if (len > xway_ring_size(rx->ring))
		return xway_rx_step(XWAY_RX_BAD, 0);
	if (len)
		return xway_rx_step(XWAY_RX_RING, len);
	if (!leaving)
		return xway_rx_step(XWAY_RX_WAIT, 0);
	rx->ring = 0;
	rx->epoch++;
	return xway_rx_step(XWAY_RX_SWITCHED, 0);
}

/*
 * What the receiver does next. @tcp_seq is the next byte it would take from TCP (copied_seq);
 * @tcp_end is rcv_nxt, read before @view was.
 */
static inline struct xway_rx_step xway_rx_next(struct xway_rx *rx, const struct xway_view *view,
					       __u32 tcp_seq, __u32 tcp_end, __u32 arena_pages)
{
	if (view->epoch - rx->epoch > XWAY_MARKS)
		return xway_rx_step(XWAY_RX_BAD, 0);
	return xway_rx_rail(rx) == XWAY_RAIL_RING ?
	       xway_rx_next_ring(rx, view) :
	       xway_rx_next_tcp(rx, view, tcp_seq, tcp_end, arena_pages);
}

static inline void xway_rx_took(struct xway_rx *rx, __u32 len)
{
	rx->cons += len;
}

/*
 * Read a peer's slot as its receiver. Pairs with xway_slot_publish_prod() and
 * xway_slot_publish_epoch(): prod is read before the epoch, see "Theory of operation".
 */
static inline void xway_view_read(struct xway_view *view, const struct xway_slot *slot)
{
	__u32 i;

	view->prod = xway_load_acquire(&slot->prod);
	view->epoch = xway_load_acquire(&slot->tx_epoch);
	for (i = 0; i < XWAY_MARKS; i++) {
		view->mark[i].at = xway_load(&slot->mark[i].at);
		view->mark[i].ring = xway_load(&slot->mark[i].ring);
	}
}

/* Publish ring bytes already written. Pairs with xway_view_read(). */
static inline void xway_slot_publish_prod(struct xway_slot *slot, const struct xway_tx *tx)
{
	xway_store_release(&slot->prod, tx->prod);
}

/* Publish the latest switch of @tx. Pairs with xway_view_read(). */
static inline void xway_slot_publish_epoch(struct xway_slot *slot, const struct xway_tx *tx)
{
	__u32 last = (tx->epoch - 1) % XWAY_MARKS;

	xway_store(&slot->mark[last].at, tx->mark[last].at);
	xway_store(&slot->mark[last].ring, tx->mark[last].ring);
	xway_store_release(&slot->tx_epoch, tx->epoch);
}

/* Publish what was taken. Pairs with xway_tx_ack()'s acquiring reads in the caller. */
static inline void xway_slot_publish_rx(struct xway_slot *slot, const struct xway_rx *rx)
{
	xway_store_release(&slot->cons, rx->cons);
	xway_store_release(&slot->rx_epoch, rx->epoch);
}

#endif /* XWAY_STREAM_H */
