/* SPDX-License-Identifier: GPL-2.0 */
/*
 * trace.h - tracepoints: what happens to connections and links, below events/xway of tracefs. They
 * cost nothing while they are off. docs/interfaces.md describes their fields.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM xway

#if !defined(XWAY_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define XWAY_TRACE_H

#include <linux/in6.h>
#include <linux/tracepoint.h>

#include "conn.h"

#ifndef XWAY_TRACE_ONCE
#define XWAY_TRACE_ONCE

/* Addresses in the form that %pISpc prints. */
static inline void xway_trace_addr(void *to, const struct in6_addr *addr, __be16 port)
{
	struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_port = port, .sin6_addr = *addr };
	struct sockaddr_in four = { .sin_family = AF_INET, .sin_port = port };

	four.sin_addr.s_addr = addr->s6_addr32[3];
	if (ipv6_addr_v4mapped(addr))
		memcpy(to, &four, sizeof(four));
	else
		memcpy(to, &six, sizeof(six));
}

static inline void xway_trace_addrs(void *local, void *remote, const struct xway_conn *conn)
{
	const struct xway_tuple *tuple = &conn->tuple;

	xway_trace_addr(conn->role == XWAY_ROLE_CLIENT ? local : remote, &tuple->client_addr,
			tuple->client_port);
	xway_trace_addr(conn->role == XWAY_ROLE_CLIENT ? remote : local, &tuple->server_addr,
			tuple->server_port);
}
#endif

#define XWAY_TRACE_WHY(symbol, name, text) TRACE_DEFINE_ENUM(XWAY_WHY_##symbol);
XWAY_WHY_LIST(XWAY_TRACE_WHY)
#undef XWAY_TRACE_WHY
TRACE_DEFINE_ENUM(XWAY_END_CLOSED);
TRACE_DEFINE_ENUM(XWAY_END_PEER_CLOSED);
TRACE_DEFINE_ENUM(XWAY_END_LINK_DOWN);
TRACE_DEFINE_ENUM(XWAY_END_LOST);
TRACE_DEFINE_ENUM(XWAY_ROLE_CLIENT);
TRACE_DEFINE_ENUM(XWAY_ROLE_SERVER);
TRACE_DEFINE_ENUM(XWAY_RAIL_TCP);
TRACE_DEFINE_ENUM(XWAY_RAIL_RING);

#define XWAY_TRACE_NAME(symbol, name, text) { XWAY_WHY_##symbol, name },
#define xway_trace_why(why)	\
	__print_symbolic(why, XWAY_WHY_LIST(XWAY_TRACE_NAME) { XWAY_WHY_COUNT, "?" })
#define xway_trace_end(end)	\
	__print_symbolic(end, { XWAY_END_CLOSED, "closed" },			\
			 { XWAY_END_PEER_CLOSED, "peer-closed" },		\
			 { XWAY_END_LINK_DOWN, "link-down" }, { XWAY_END_LOST, "lost" })
#define xway_trace_role(role)	\
	__print_symbolic(role, { XWAY_ROLE_CLIENT, "client" }, { XWAY_ROLE_SERVER, "server" })
#define xway_trace_rail(rail)	\
	__print_symbolic(rail, { XWAY_RAIL_TCP, "tcp" }, { XWAY_RAIL_RING, "ring" })

#define XWAY_TRACE_CONN_FIELDS						\
	__array(__u8, local, sizeof(struct sockaddr_in6))		\
	__array(__u8, remote, sizeof(struct sockaddr_in6))		\
	__field(u16, domid)						\
	__field(u32, id)						\
	__field(u32, peer_id)
#define XWAY_TRACE_CONN_ASSIGN(conn)					\
	xway_trace_addrs(__entry->local, __entry->remote, conn);	\
	__entry->domid = (conn)->domid;					\
	__entry->id = (conn)->id;					\
	__entry->peer_id = (conn)->peer_id
#define XWAY_TRACE_CONN_FORMAT	"local=%pISpc remote=%pISpc peer=%u id=%#x peer_id=%#x"
#define XWAY_TRACE_CONN_ARGS						\
	__entry->local, __entry->remote, __entry->domid, __entry->id, __entry->peer_id

/* Both ends have found each other's slots. */
TRACE_EVENT(xway_attach,
	TP_PROTO(const struct xway_conn *conn),
	TP_ARGS(conn),
	TP_STRUCT__entry(
		XWAY_TRACE_CONN_FIELDS
		__field(u32, role)
	),
	TP_fast_assign(
		XWAY_TRACE_CONN_ASSIGN(conn);
		__entry->role = conn->role;
	),
	TP_printk(XWAY_TRACE_CONN_FORMAT " role=%s", XWAY_TRACE_CONN_ARGS,
		  xway_trace_role(__entry->role))
);

/* The connection lets go of its slots: all of it is on TCP, or it has ended. */
TRACE_EVENT(xway_detach,
	TP_PROTO(const struct xway_conn *conn, enum xway_end end),
	TP_ARGS(conn, end),
	TP_STRUCT__entry(
		XWAY_TRACE_CONN_FIELDS
		__field(u32, end)
		__field(u32, why)
		__field(u64, tx_ring)
		__field(u64, rx_ring)
	),
	TP_fast_assign(
		XWAY_TRACE_CONN_ASSIGN(conn);
		__entry->end = end;
		__entry->why = READ_ONCE(conn->why_tx);
		__entry->tx_ring = conn->tx_ring;
		__entry->rx_ring = conn->rx_ring;
	),
	TP_printk(XWAY_TRACE_CONN_FORMAT " reason=%s why_tx=%s tx_ring=%llu rx_ring=%llu",
		  XWAY_TRACE_CONN_ARGS, xway_trace_end(__entry->end),
		  xway_trace_why(__entry->why), __entry->tx_ring, __entry->rx_ring)
);

/* A direction changes rails; @mark is the TCP sequence number or the ring index at which it leaves. */
TRACE_EVENT(xway_switch,
	TP_PROTO(const struct xway_conn *conn, bool tx, u32 epoch, u32 mark),
	TP_ARGS(conn, tx, epoch, mark),
	TP_STRUCT__entry(
		XWAY_TRACE_CONN_FIELDS
		__field(bool, tx)
		__field(u32, epoch)
		__field(u32, mark)
		__field(u32, why)
	),
	TP_fast_assign(
		XWAY_TRACE_CONN_ASSIGN(conn);
		__entry->tx = tx;
		__entry->epoch = epoch;
		__entry->mark = mark;
		__entry->why = READ_ONCE(conn->why_tx);
	),
	TP_printk(XWAY_TRACE_CONN_FORMAT " dir=%s from=%s to=%s epoch=%u mark=%u why_tx=%s",
		  XWAY_TRACE_CONN_ARGS, __entry->tx ? "tx" : "rx",
		  xway_trace_rail((__entry->epoch + 1) & 1), xway_trace_rail(__entry->epoch & 1),
		  __entry->epoch, __entry->mark, xway_trace_why(__entry->why))
);

/* A hypercall wakes the peer's kernel: it found its queue empty at message @prod - 1. */
TRACE_EVENT(xway_kick,
	TP_PROTO(u16 domid, int irq, u32 prod),
	TP_ARGS(domid, irq, prod),
	TP_STRUCT__entry(
		__field(u16, domid)
		__field(int, irq)
		__field(u32, prod)
	),
	TP_fast_assign(
		__entry->domid = domid;
		__entry->irq = irq;
		__entry->prod = prod;
	),
	TP_printk("peer=%u irq=%d prod=%u", __entry->domid, __entry->irq, __entry->prod)
);

#endif /* XWAY_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
