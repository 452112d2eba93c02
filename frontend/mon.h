/* SPDX-License-Identifier: GPL-2.0 */
/*
 * mon.h - devices of kind xwaymon, on which tcpdump sees ring bytes.
 *
 * DOC: Theory of operation
 *
 * A device shows the connections of its network namespace, while it is up. For the ring bytes that a
 * program here sends, and for those that one receives as it takes them, packets are made up: IP and
 * TCP headers with the connection's addresses and ports, and with sequence numbers as if TCP had
 * carried the whole stream. Bytes that TCP has carried are not shown: they are on the network's
 * devices.
 *
 * A capture sees the bytes that were delivered: those from a peer are copied once from the shared
 * ring, and program and capture are both given the copy. It holds up nobody: memory that is not
 * there at once is a packet dropped, and counted (rx_dropped).
 */
#ifndef XWAY_MON_H
#define XWAY_MON_H

#include <linux/jump_label.h>

#include "conn.h"

#define XWAY_MON_SEGMENT	XWAY_PAGE_SIZE	/* bytes of the stream in a packet, at most */

DECLARE_STATIC_KEY_FALSE(xway_mon_key);

/* Is any device up? A branch that is patched in when the first one is. */
static inline bool xway_mon_on(void)
{
	return static_branch_unlikely(&xway_mon_key);
}

/* tx_mutex held: show the last @n bytes that @sk has put into its ring. */
void xway_mon_sent(const struct xway_conn *conn, const struct sock *sk, u32 n);
/* A copy of the @len bytes at @from, which @sk is about to receive; NULL: nobody looks, or no memory. */
struct sk_buff *xway_mon_copy(const struct sock *sk, const void *from, u32 len);
/*
 * rx_mutex held: show the first @n bytes of @skb, which is xway_mon_copy()'s, and ours from here on.
 * @seq: sequence number of the first, as if all had gone by TCP.
 */
void xway_mon_received(const struct xway_conn *conn, const struct sock *sk, struct sk_buff *skb,
		       u32 n, u32 seq);

int xway_mon_init(void);
void xway_mon_exit(void);	/* Removes the devices, in every namespace. Sleeps. */

#endif /* XWAY_MON_H */
