/* SPDX-License-Identifier: GPL-2.0 */
/*
 * conn.h - one connection: a TCP socket whose stream may ride rings.
 *
 * DOC: Life of a connection
 *
 * A connection exists from the moment its socket is armed (a client's at SYN_SENT, a server's in
 * accept) until it is closed on both sides. It is attached while both ends share slots of a link.
 *
 * Who may touch what:
 *	tx		tx_mutex
 *	rx, private	rx_mutex
 *	our slot and the peer's, ring pages
 *			while attached: either mutex or the spinlock. Detaching takes all three, so
 *			that whoever holds one may rely on `attached`.
 *	sk		lock; NULL once the socket is gone. Users hold a socket reference beyond it.
 *
 * Order: tx_mutex, rx_mutex, lock_sock, xway_tuple_lock, conn->lock, link->lock.
 */
#ifndef XWAY_CONN_H
#define XWAY_CONN_H

#include <linux/mutex.h>
#include <linux/refcount.h>
#include <net/tcp.h>

#include "link.h"
#include "wait.h"

struct xway_overlay;

#define XWAY_LOOK	(HZ / 50 + 1)	/* jiffies between two looks at what nobody announces */

enum xway_role {
	XWAY_ROLE_CLIENT,
	XWAY_ROLE_SERVER,
};

/* Why a connection lets go of its slots; trace.h has the names. */
enum xway_end {
	XWAY_END_CLOSED,	/* by us: our socket is gone */
	XWAY_END_PEER_CLOSED,
	XWAY_END_LINK_DOWN,	/* it goes on by TCP */
	XWAY_END_LOST,		/* the same, but bytes are lost with the link: it is reset */
};

/* struct xway_conn.flags, by atomic bit operations. */
enum {
	XWAY_CONN_ESTABLISHED,	/* tuple and ISNs are known */
	XWAY_CONN_TCP_ONLY,	/* stays on TCP from now on; why_tx says why */
	XWAY_CONN_PEER_CLOSED,	/* the peer has sent CLOSE for the present attachment */
	XWAY_CONN_ORPHAN,	/* the socket is gone */
	XWAY_CONN_CLOSE_SENT,	/* we have sent CLOSE for the present attachment */
	XWAY_CONN_HELLO_SENT,	/* a HELLO waits for its answer */
	XWAY_CONN_SETTLED,	/* quiesced: nothing of the present attachment is in a ring */
	XWAY_CONN_WANTED,	/* xway_wq has found a mutex taken: calls let it through */
	XWAY_CONN_LOST,		/* ring bytes are lost: what TCP holds behind them is never shown */
};

/* What a connection has its timer look at; see due.c. */
enum xway_due {
	XWAY_DUE_NUDGE,		/* xway_tx_nudge() */
	XWAY_DUE_STALL,		/* xway_tx_stall() */
	XWAY_DUE_LOWAT,		/* xway_rx_lowat() */
	XWAY_DUE_TALLY,		/* xway_info_tally() */
	XWAY_DUE_WORK,		/* xway_conn_queue() */
	XWAY_DUE_COUNT
};

/* A 4-tuple as HELLO carries it, with both initial sequence numbers. */
struct xway_tuple {
	struct in6_addr	client_addr;
	struct in6_addr	server_addr;
	__be16		client_port;
	__be16		server_port;
	u32		client_isn;
	u32		server_isn;
};

/*
 * What is left of the peer's direction after the link has gone: a copy of its slot as it stood at
 * the end, and of the ring bytes that had not been taken. The receiver goes on with it as if it
 * were the shared one.
 */
struct xway_private {
	struct xway_view view;
	u32		start;		/* ring index of data[0] */
	u8		data[];
};

/* Ring bytes of a connection since it began; see info.c. */
struct xway_totals {
	u64	sent;
	u64	acked;		/* taken by the peer */
	u64	received;	/* taken by a program, or there to be taken */
};

struct xway_conn {
	refcount_t		ref;
	spinlock_t		lock;		/* _bh */
	struct list_head	all;		/* xway_conns_lock */
	union {
		struct hlist_node tuple_node;	/* xway_tuple_lock */
		struct rcu_head	rcu;		/* once nobody has a reference */
	};
	struct list_head	ripe;		/* xway_ripe_lock: the slow part of closing is to be done */
	unsigned long		flags;		/* XWAY_CONN_* */

	struct timer_list	timer;		/* lock for setting; owns a reference while pending */
	u32			due_at[XWAY_DUE_COUNT];	/* lock: jiffies */
	u8			due;		/* lock for writing: a bit for each enum xway_due */
	u8			why_tx;		/* enum xway_why; any writer wins */
	domid_t			domid;		/* of the peer, once known */

	struct sock		*sk;
	const struct xway_overlay *overlay;	/* constant */
	struct xway_account	*peer_account;	/* owned; see xway_conn_set_peer() */
	struct xway_account	*net_account;	/* of the socket's namespace; owned, constant */
	struct xway_tuple	tuple;		/* constant once ESTABLISHED */
	u32			born;		/* jiffies */
	u8			role;		/* enum xway_role; constant */
	bool			sent_covered;	/* lock_sock for writing: see sent_ours */

	/* The attachment: written under tx_mutex, rx_mutex and lock, or before `attached` is set. */
	bool			attached;
	bool			stalled;	/* set under lock, cleared under tx_mutex */
	bool			flip_tcp;	/* tx_mutex: the debug knob wants TCP now */
	u8			rings;		/* tx_mutex: bit i: tx.mark[i] names one to be freed */
	struct xway_link	*link;		/* owned; set from HELLO or attach until detached */
	u32			id;		/* our slot's, 0: none */
	u32			peer_id;
	struct xway_slot	*slot;
	const struct xway_slot	*peer_slot;	/* in the peer's region */

	struct mutex		tx_mutex;
	struct xway_tx		tx;
	u32			stall_cons;	/* lock: where the reader was as STALL was set */
	struct xway_waiter	tx_waiter;
	u32			flip_at;	/* tx_mutex: jiffies of the debug knob's next whim */
	u32			tx_at;		/* tx_mutex: tcp_jiffies32 of the last ring bytes */

	struct mutex		rx_mutex;
	struct xway_rx		rx;
	u32			rx_seen;	/* rx_mutex: the peer's prod as last looked at */
	struct xway_waiter	rx_waiter;
	struct xway_private	*private;	/* rx_mutex, and lock for writing */

	/* For show: written under tx_mutex and rx_mutex, read without. */
	u64			tx_ring, tx_tcp, rx_ring, rx_tcp;

	/* What TCP's own statistics know of ring bytes, see info.c. */
	u64			tx_lost;		/* lock: the peer will never take them */
	struct xway_totals	told;			/* lock_sock */
	u32			rx_at;			/* rx_mutex: tcp_jiffies32 of the last ring bytes */
	/* lock_sock: while sent_covered is set, TCP's lsndtime is ours; and what TCP had there. */
	u32			sent_ours, sent_tcps;
};

extern spinlock_t xway_tuple_lock;		/* connections and HELLOs by tuple */

/* conn.c: objects. A new one has one reference, the socket's. */
int xway_conn_init(void);
void xway_conn_exit(void);		/* none is left, see xway_conns_finish() */
struct xway_conn *xway_conn_new(struct sock *sk, const struct xway_overlay *overlay,
				enum xway_role role, gfp_t gfp);
void xway_conn_put(struct xway_conn *conn);
static inline void xway_conn_hold(struct xway_conn *conn)
{
	refcount_inc(&conn->ref);
}

/* due.c: have @what looked at in @delay jiffies, unless it will be anyway. conn->lock held. */
void __xway_conn_due_in(struct xway_conn *conn, enum xway_due what, unsigned long delay);
static inline bool xway_conn_is_due(const struct xway_conn *conn, enum xway_due what)
{
	return READ_ONCE(conn->due) & BIT(what);
}
/* Not any more, for all of @mask. conn->lock held; one that is being looked at goes on. */
void __xway_conn_not_due(struct xway_conn *conn, u8 mask);
void xway_conn_timer(struct timer_list *timer);

/* The connection of @sk with a reference, NULL if it has none (any more). Any context. */
struct xway_conn *xway_conn_of(const struct sock *sk);

/* Count for the module, for the peer of @conn, if it is known, and for the namespace. Any context. */
#define xway_conn_stat_add(conn, symbol, n)							\
	do {											\
		xway_stat_add(symbol, n);							\
		xway_account_add(READ_ONCE((conn)->peer_account), XWAY_STAT_##symbol, n);	\
		xway_account_add((conn)->net_account, XWAY_STAT_##symbol, n);			\
	} while (0)
#define xway_conn_stat_inc(conn, symbol) xway_conn_stat_add(conn, symbol, 1)

/*
 * The other end is domain @domid, whose account is @account. Later calls name the same. Under
 * conn->lock, or before the connection is where others look.
 */
void xway_conn_set_peer(struct xway_conn *conn, domid_t domid, struct xway_account *account);
/* @sk is established: note its tuple. The socket is locked, nothing was sent or read yet. */
void xway_conn_established(struct xway_conn *conn, const struct sock *sk);
/* Put a server's connection where HELLOs are looked for, and take one that waits. */
void xway_conn_expect_hello(struct xway_conn *conn);
/* Is there a HELLO that waits for @sk? Not hard irq. */
bool xway_conn_hello_waits(const struct sock *sk);
/* Client: send HELLO, or ask for a link first. */
void xway_conn_hello(struct xway_conn *conn);
/*
 * The answer to our HELLO may have been posted only: attach if so. Process context; a mutex of the
 * connection may be held.
 */
void xway_conn_look(struct xway_conn *conn);
/* The same; afterwards @conn is attached if the peer had answered so before the call. May sleep. */
void xway_conn_hear_out(struct xway_conn *conn);
/*
 * The socket goes away: what is still in rings is delivered without it. @now: not under lock_sock,
 * so that the slow part may be done at once.
 */
void xway_conn_orphan(struct xway_conn *conn, bool now);
/* Wake whatever waits on the socket, for whatever reason. Not hard irq. */
void xway_conn_wake(struct xway_conn *conn);
/* Note why the sending direction is on TCP, and count it if that is news. */
static inline void xway_conn_why(struct xway_conn *conn, enum xway_why why)
{
	if (READ_ONCE(conn->why_tx) != why && xchg(&conn->why_tx, why) != why &&
	    why != XWAY_WHY_NONE)
		xway_stat_why(READ_ONCE(conn->peer_account), conn->net_account, why);
}
/* From now on this connection sends by TCP, and asks its peer to do the same. */
void xway_conn_tcp_only(struct xway_conn *conn, enum xway_why why);
void xway_conns_each(void (*fn)(struct xway_conn *conn, void *arg), void *arg);
bool xway_conns_wanting(domid_t domid);
/* Is there any connection? As old as the call; any context. */
bool xway_conns_any(void);
/* Wait until no connection is left. Unloading: sockets given back, links gone, nobody inside. */
void xway_conns_finish(void);
/* The socket with a reference, NULL once it is gone. Any context but hard irq. */
struct sock *xway_conn_sock(struct xway_conn *conn);
struct sock *__xway_conn_sock(struct xway_conn *conn);	/* conn->lock held */

/* The connection that our slot @id belongs to, with a reference; NULL if there is none. */
struct xway_conn *xway_slot_conn(struct xway_link *link, u32 id);
/* The connection of the first used slot from *@i on, with a reference; *@i goes behind it. */
struct xway_conn *xway_slot_next(struct xway_link *link, unsigned int *i);
/* Free the slot, if there is one. */
void xway_slot_give(struct xway_conn *conn);
/* tx_mutex held, attached: tell the peer; behind what the sender has published. */
static inline void xway_slot_set_flag(struct xway_conn *conn, u32 flag)
{
	/* Pairs with the acquiring read in the peer's xway_conn_quiesce(). */
	xway_store_release(&conn->slot->flags, conn->slot->flags | flag);
}
/* Between two pieces of work: let xway_wq through, if it wants to. @mutex is let go meanwhile. */
void __xway_conn_yield(struct xway_conn *conn, struct mutex *mutex);
static inline void xway_conn_yield(struct xway_conn *conn, struct mutex *mutex)
{
	if (unlikely(test_bit(XWAY_CONN_WANTED, &conn->flags)))
		__xway_conn_yield(conn, mutex);
}
/* Reset the connection of @sk, a reference to which the caller has. Not under lock_sock. */
void xway_conn_reset(struct xway_conn *conn, struct sock *sk);
/*
 * Have the slow part of closing done on xway_wq. The caller has a reference, and keeps it. With a socket
 * that is gone it has time: who closes one next does it, or xway_wq a little later.
 */
void xway_conn_queue(struct xway_conn *conn);
void xway_conns_reap_now(void);		/* what has time is done on xway_wq without delay; any context */
void xway_conns_reap_exit(void);	/* once no connection is left */

/*
 * attach.c and detach.c: messages about connections (tasklet), and links that come and go
 * (xway_wq).
 */
void xway_conn_on_hello(struct xway_link *link, const struct xway_msg *msg);
void xway_conn_on_attach(struct xway_link *link, const struct xway_msg *msg);
void xway_conn_on_decline(struct xway_link *link, const struct xway_msg *msg);
void xway_conn_on_wake(struct xway_link *link, const struct xway_msg *msg);
void xway_conn_on_close(struct xway_link *link, const struct xway_msg *msg);
void xway_conns_link_up(struct xway_link *link);
void xway_conns_forget_hellos(struct xway_link *link);
/*
 * Move the link's connections to TCP. True once nothing is left in either side's rings. Neither of
 * the two waits for a program that is inside a call: they are to be called again.
 */
bool xway_conns_quiesce(struct xway_link *link);
/* Detach all; true once none is left. Those whose bytes cannot be accounted for are reset. */
bool xway_conns_detach(struct xway_link *link);
/* Server, under xway_tuple_lock: @msg is a HELLO for @conn. */
void xway_conn_accept_hello(struct xway_conn *conn, struct xway_link *link,
			    const struct xway_msg *msg);
void xway_hello_forget(struct xway_hello *hello);

#endif /* XWAY_CONN_H */
