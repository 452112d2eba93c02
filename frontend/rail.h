/* SPDX-License-Identifier: GPL-2.0 */
/*
 * rail.h - the two directions of a connection: tx.c, tx_ring.c and rx.c.
 */
#ifndef XWAY_RAIL_H
#define XWAY_RAIL_H

#include "conn.h"

int xway_tx_sendmsg(struct xway_conn *conn, struct sock *sk, struct msghdr *msg, size_t size);
/* tx_ring.c. tx_mutex held, attached, on TCP: take a ring. False: none is to be had, or too soon. */
bool xway_tx_enter_ring(struct xway_conn *conn, struct sock *sk);
/* The same, on a ring that is full: go on in a larger one. */
bool xway_tx_grow_ring(struct xway_conn *conn, struct sock *sk);
/* tx_mutex held: publish the switch to TCP, if on a ring. */
void xway_tx_leave_ring(struct xway_conn *conn);
/* tx_mutex held, attached: take in what the peer has taken. False: it lied. */
bool xway_tx_refresh(struct xway_conn *conn);
/* tx_mutex held: free rings that are behind us. @all: the attachment is over. */
void xway_tx_free_rings(struct xway_conn *conn, bool all);
/* tx_mutex held, attached: give back what has not been used for @idle jiffies, and is empty. */
void xway_tx_rest(struct xway_conn *conn, unsigned long idle);
void xway_tx_nudge(struct xway_conn *conn);
void xway_tx_stall(struct xway_conn *conn);
bool xway_tx_has_room(struct xway_conn *conn);
u32 xway_tx_unread(struct xway_conn *conn);
/* Wait at most @timeout jiffies until the peer has taken all; jiffies left. Not under any lock. */
long xway_tx_linger(struct xway_conn *conn, struct sock *sk, long timeout);

int xway_rx_recvmsg(struct xway_conn *conn, struct sock *sk, struct msghdr *msg, size_t len,
		    int flags);
/* Bytes that a program could read now, TCP's included. Any context but hard irq. */
u32 xway_rx_readable(struct xway_conn *conn, const struct sock *sk);
/* For poll: is there as much as SO_RCVLOWAT asks? If not, have it told when there is. */
bool xway_rx_ready(struct xway_conn *conn, const struct sock *sk);
void xway_rx_lowat(struct xway_conn *conn);
void xway_rx_watch_lowat(struct xway_conn *conn);
/* The next byte is the urgent one: a receive that has something ends here. */
bool xway_rx_at_urgent(struct xway_conn *conn, const struct sock *sk);
/* Ring bytes alone, whatever rail the receiver is on. */
u32 xway_rx_ring_unread(struct xway_conn *conn);
u32 __xway_rx_ring_unread(struct xway_conn *conn);	/* conn->lock held */
/*
 * What TCP holds in order: from *@seq, the next byte to take, up to *@end. To be read before the
 * sender's slot, see "Theory of operation" in stream.h.
 */
void xway_rx_tcp_span(const struct sock *sk, u32 *seq, u32 *end);
/* Ask the peer to wake us for its next byte. True if it has sent since the receiver looked. */
bool xway_rx_arm(struct xway_conn *conn);
/* rx_mutex held: copy what is left of the peer's direction, once it is on TCP. 0, -EAGAIN... */
int xway_rx_privatise(struct xway_conn *conn);

#endif /* XWAY_RAIL_H */
