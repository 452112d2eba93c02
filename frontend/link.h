/* SPDX-License-Identifier: GPL-2.0 */
/*
 * link.h - what we share with one peer: two regions, a control queue each way, an event channel.
 *
 * DOC: Life of a link
 *
 * All state changes run on xway_wq, one at a time:
 *
 *	OFFERED   our region is granted, our offer is in Xenstore
 *	MAPPED    the peer's region is mapped, our `ready` is set
 *	UP        both are ready: connections may attach
 *	QUIESCING connections are moving to TCP, ours and the peer's
 *	DOWN      nothing is shared, but for pages that the peer does not let go of: until it does, it gets
 *		  no others. Once it was UP it is kept until the peer has withdrawn the offer that it was
 *		  made of, or has gone, so that a new link cannot pick up that
 */
#ifndef XWAY_LINK_H
#define XWAY_LINK_H

#include <linux/interrupt.h>
#include <linux/kref.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>

#include <xen/interface/event_channel.h>

#include <xway/stream.h>

#include "front.h"
#include "region.h"

struct xway_conn;
struct xway_peer;

enum xway_link_state {
	XWAY_LINK_OFFERED,
	XWAY_LINK_MAPPED,
	XWAY_LINK_UP,
	XWAY_LINK_QUIESCING,
	XWAY_LINK_DOWN,
};

#define XWAY_LINK_QUIET_MS	3000	/* F-5: how long a peer may take to answer QUIESCE */
#define XWAY_LINK_CLUNG_MS	5000	/* between two looks at pages that a peer keeps mapped */
#define XWAY_LINK_LEAVE_MS	1000	/* for pages that a peer still maps when the device or the module goes */
#define XWAY_LINK_REFUSED_MS	60000	/* after an offer that could not be mapped, but for want of memory */
#define XWAY_LINK_STEP_MS	5	/* between two looks while quiescing */
#define XWAY_LINK_RETRY_MS	5000	/* after a set-up that failed, or making room for another */

/* One of our slots. */
struct xway_link_slot {
	struct xway_conn	*conn;	/* link->lock; owns a reference */
	u16			gen;	/* link->lock */
};

/* A HELLO for a connection that has not been accepted here yet. One per slot of the peer. */
struct xway_hello {
	struct hlist_node	node;	/* xway_tuple_lock */
	struct xway_link	*link;	/* constant */
	struct xway_msg		msg;	/* xway_tuple_lock */
};

/* A message that found the control queue full. */
struct xway_late_msg {
	struct list_head	list;
	struct xway_msg		msg;
};

struct xway_link {
	struct list_head	list;		/* xway_links, see link.c */
	struct kref		ref;
	struct xway_account	*account;	/* the peer's; owned, constant */
	domid_t			domid;		/* of the peer; constant */
	u64			instance;	/* the peer's; constant */
	u64			self;		/* ours; constant */
	u32			seq;		/* of our offer; constant */
	u32			peer_seq;	/* xway_wq: of the peer's offer that was mapped; 0: none */
	enum xway_link_state	state;		/* written on xway_wq, read anywhere */
	bool			broken;		/* set anywhere, never cleared: expect nothing more */
	bool			liar;		/* set anywhere, never cleared: the peer broke a rule */
	struct delayed_work	work;
	unsigned long		deadline;	/* xway_wq: jiffies, while QUIESCING */
	unsigned long		retry_at;	/* xway_wq: jiffies, when DOWN: not before this */
	u8			clung;		/* xway_wq: looks at pages that the peer kept, see link.c */
	bool			yields;		/* xway_wq: going down to make room for another */
	bool			quiesce_sent;	/* xway_wq */
	bool			quiet_sent;	/* xway_wq */
	bool			quiesce_seen;	/* written by the tasklet */
	bool			quiet_seen;	/* written by the tasklet */

	struct xway_region	region;
	struct xway_view_region	view;
	evtchn_port_t		port;		/* the one in our offer, 0 if the peer allocates */
	int			irq;		/* 0: none */
	struct tasklet_struct	tasklet;

	spinlock_t		lock;		/* _bh */
	u32			ctl_prod;	/* lock */
	u32			ctl_told;	/* lock: ctl_prod when the peer was last told, if it had to be */
	u32			ctl_due;	/* lock: ctl_prod when ctl_patience was set */
	struct timer_list	ctl_patience;	/* set under lock */
	struct list_head	late;		/* lock: struct xway_late_msg */
	unsigned int		late_count;	/* lock */
	struct xway_link_slot	*slot;
	unsigned int		slots;		/* constant */
	unsigned int		slots_used;	/* lock */
	unsigned long		rest_since;	/* lock, once it is UP: jiffies, when slots_used is 0 */
	unsigned int		slot_next;	/* lock: where to look first */
	unsigned long		*arena;		/* lock: bitmap of pages in use */
	unsigned int		arena_pages;	/* constant */
	unsigned int		arena_used;	/* lock */
	bool			arena_short;	/* somebody has not got a ring; set anywhere */
	struct delayed_work	rest;		/* while rings are in use, see xway_arena_rest() */

	bool			event;		/* set in hard interrupt, taken by the tasklet */
	bool			worked;		/* tasklet only: it had something to do since the last event */
	u32			ctl_cons;	/* tasklet only; read anywhere, as a hint */
	struct xway_hello	*hello;		/* one per slot of the peer */
	unsigned int		hellos;		/* constant once mapped */
};

/* Count for the module and for the peer of @link. Any context. */
#define xway_link_stat_add(link, symbol, n)						\
	do {										\
		xway_stat_add(symbol, n);						\
		xway_account_add((link)->account, XWAY_STAT_##symbol, n);		\
	} while (0)
#define xway_link_stat_inc(link, symbol) xway_link_stat_add(link, symbol, 1)

/* link.c */
/* Before there are links: -EINVAL if the parameters do not fit together, and the log says what does. */
int xway_links_init(void);
unsigned int xway_links_region_pages(void);	/* of the region of each link */
void xway_link_put(struct xway_link *link);
struct xway_link *xway_link_get(domid_t domid);	/* any state; NULL if none; any context */
bool xway_link_is_up(const struct xway_link *link);
/* Ask for a link with @domid; any context. */
void xway_link_want(domid_t domid);
/* On xway_wq: bring the link to @peer in line with @offer, the peer's offer or NULL. */
void xway_link_sync(struct xway_peer *peer, char *offer, u64 self, domid_t self_domid);
/* On xway_wq: the peer has vanished, left, or changed its instance. */
void xway_link_gone(struct xway_peer *peer);
/* On xway_wq: @link makes room for another. Its connections, if it gets some meanwhile, go on by TCP. */
void xway_link_yield(struct xway_link *link);
/* On xway_wq, after the directory was brought up to date: forget links that ended with peers that are gone. */
void xway_links_prune(void);
/*
 * Take every link down; true once none is left, false after @ms. Each takes its own bounded time,
 * all at once, but for one that a program holds from inside a call. Sleeps; not on xway_wq.
 */
bool xway_links_stop(unsigned int ms);
/* Any context: the peer broke the protocol. */
void xway_link_violation(struct xway_link *link, const char *what);
/* Any context: this side cannot go on with the link. */
void xway_link_break(struct xway_link *link, const char *what);
void xway_links_each(void (*fn)(struct xway_link *link, void *arg), void *arg);
const char *xway_link_state_name(const struct xway_link *link);

/* ctl.c: the control queue */
/* Any context but hard interrupt. Never fails for lack of room: what does not fit goes later. */
void xway_ctl_send_id(struct xway_link *link, u16 type, u16 arg, u32 to, u32 from);
/*
 * The same, of what nobody waits for, as all that opens and closes connections: the peer finds it when it
 * looks, or is told a little later if it does not. So it costs no hypercall where both sides do that often.
 */
void xway_ctl_post(struct xway_link *link, const struct xway_msg *msg);
void xway_ctl_post_id(struct xway_link *link, u16 type, u16 arg, u32 to, u32 from);
/*
 * Take what the peer has posted. Process context without a spinlock and without lock_sock: messages
 * are handled before it returns, unless another CPU is at it.
 */
void xway_ctl_look(struct xway_link *link);
/* The same, and waits for that CPU: whatever lay in the queue has been handled. May sleep. */
void xway_ctl_hear_out(struct xway_link *link);
void xway_ctl_look_all(void);
void xway_ctl_flush(struct xway_link *link);
void xway_ctl_tasklet(struct tasklet_struct *tasklet);
void xway_ctl_patience(struct timer_list *timer);
void xway_ctl_kick(struct xway_link *link);
void xway_ctl_late_free(struct xway_link *link);

/* arena.c: rings in our region. Not hard irq. */
/*
 * The smallest ring has 16 KiB: what the send buffer of a new TCP socket holds (the second word of
 * tcp_wmem, tcp(7)). With less, short writes would show where there are none by TCP.
 */
#define XWAY_ARENA_ORDER_MIN	2
#define XWAY_ARENA_ORDER_FIRST	4	/* 64 KiB: of a connection's first ring, while there is plenty */

/*
 * A first ring, of at most 2^@most pages; of the smallest size once half of the arena is in use. 0: it
 * is full; then those that rest are asked for theirs.
 */
u32 xway_arena_alloc(struct xway_link *link, unsigned int most);
/* One of 2^@least to 2^@most pages, the largest that leaves a quarter of the arena to others; or 0. */
u32 xway_arena_grow(struct xway_link *link, unsigned int most, unsigned int least);
void xway_arena_free(struct xway_link *link, u32 ring);
void xway_arena_rest(struct work_struct *work);

static inline void *xway_link_tx_page(const struct xway_link *link, u32 page)
{
	const struct xway_region *r = &link->region;

	return page_address(r->page[xway_region_arena_first(r->ctl_pages, r->slot_pages) + page]);
}

static inline const void *xway_link_rx_page(const struct xway_link *link, u32 page)
{
	const struct xway_view_region *v = &link->view;

	return page_address(v->page[xway_region_arena_first(v->ctl_pages, v->slot_pages) + page]);
}

static inline u32 xway_link_rx_arena_pages(const struct xway_link *link)
{
	const struct xway_view_region *v = &link->view;

	return v->pages - xway_region_arena_first(v->ctl_pages, v->slot_pages);
}

/* device.c */
int xway_device_register(void);
void xway_device_unregister(void);
void xway_device_sync(void);			/* any context: run the sync on xway_wq */
void xway_device_sync_in(unsigned int ms);	/* the same, in a while, unless it is due before */
int xway_device_offer(domid_t peer, const char *text);	/* NULL withdraws; xway_wq */
void xway_device_status(struct seq_file *seq);

#endif /* XWAY_LINK_H */
