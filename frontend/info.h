/* SPDX-License-Identifier: GPL-2.0 */
/*
 * info.h - TCP's own statistics of a connection count its ring bytes, too.
 */
#ifndef XWAY_INFO_H
#define XWAY_INFO_H

#include "conn.h"

#define XWAY_TALLY	(HZ / 10 + 1)	/* jiffies until TCP's statistics know of ring bytes */

/* Tell TCP's statistics of the ring bytes so far. @sk is locked. Bytes that the peer has not taken. */
u32 xway_info_fold(struct xway_conn *conn, struct sock *sk);
/* @sk is locked, and leaves our hands: TCP's statistics are complete, its times its own. */
void xway_info_leave(struct xway_conn *conn, struct sock *sk);
void xway_info_tally(struct xway_conn *conn);

void __xway_info_before_tcp(struct xway_conn *conn, struct sock *sk);
/* Before TCP sends: give it back its own idea of when it last did. Not under lock_sock. */
static inline void xway_info_before_tcp(struct xway_conn *conn, struct sock *sk)
{
	if (unlikely(READ_ONCE(conn->sent_covered)))
		__xway_info_before_tcp(conn, sk);
}

void __xway_info_later(struct xway_conn *conn, unsigned long delay);
/* Ring bytes have moved, or may have: TCP's statistics are told soon. Any context but hard irq. */
static inline void xway_info_later(struct xway_conn *conn)
{
	if (!xway_conn_is_due(conn, XWAY_DUE_TALLY))
		__xway_info_later(conn, XWAY_TALLY);
}

#endif /* XWAY_INFO_H */
