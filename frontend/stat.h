/* SPDX-License-Identifier: GPL-2.0 */
/*
 * stat.h - counters: the module's, each peer's, each network namespace's.
 *
 * DOC: Accounts
 *
 * Whatever is counted goes to the module's total. What concerns a peer, or a network namespace,
 * goes to its account as well. All are per CPU: counting shares no cache line and takes no lock.
 *
 * An account lasts as long as somebody counts to it. A peer's has references from the directory,
 * from its link and from its connections: one that dom0 takes away and gives back goes on with its
 * figures if anything of it was left, and begins anew if not. There is one for each domain that
 * dom0 lets us talk to, whatever that domain does. A namespace's has references from the
 * namespace and from its connections.
 */
#ifndef XWAY_FRONT_STAT_H
#define XWAY_FRONT_STAT_H

#include <linux/list.h>
#include <linux/percpu.h>
#include <linux/refcount.h>
#include <linux/seq_file.h>
#include <net/net_namespace.h>
#include <xen/interface/xen.h>

#include <xway/stat.h>
#include <xway/why.h>

#define XWAY_STAT_ENUM(symbol, text) XWAY_STAT_##symbol,
enum xway_stat {
	XWAY_STAT_LIST(XWAY_STAT_ENUM)
	XWAY_STAT_COUNT
};
#undef XWAY_STAT_ENUM

struct xway_stats {
	u64 v[XWAY_STAT_COUNT];
	u64 why[XWAY_WHY_COUNT];	/* times that a connection came to be on TCP for this reason */
};
DECLARE_PER_CPU(struct xway_stats, xway_stats);

struct xway_account {
	struct xway_stats __percpu *stats;	/* constant */
	domid_t			domid;	/* constant; DOMID_INVALID: a namespace's */
	/* Written as connections come and go: not on the line that those at work read. */
	refcount_t		ref ____cacheline_aligned_in_smp;
	struct list_head	list;	/* xway_accounts_lock; of peers only */
};

/* To the module's total alone. Any context. */
#define xway_stat_add(symbol, n) this_cpu_add(xway_stats.v[XWAY_STAT_##symbol], (n))
#define xway_stat_inc(symbol)	 xway_stat_add(symbol, 1)

/* To @account alone, NULL: to none. Any context. For use by what knows both, see link.h, conn.h. */
static inline void xway_account_add(const struct xway_account *account, enum xway_stat what, u64 n)
{
	if (account)
		this_cpu_add(account->stats->v[what], n);
}

/* A reason why a connection is on TCP: to the total and to both accounts, NULL: to none. */
void xway_stat_why(const struct xway_account *peer, const struct xway_account *net,
		   enum xway_why why);

/*
 * The account of the peer @domid, with a reference; NULL without memory. On xway_wq, where peers
 * are made: so there is never a second one that is in use.
 */
struct xway_account *xway_account_of_peer(domid_t domid);
/* The account of @net, without a reference: as long as @net lasts, and the module is loaded. */
struct xway_account *xway_account_of_net(const struct net *net);
struct xway_account *xway_account_get(struct xway_account *account);
void xway_account_put(struct xway_account *account);	/* any context but hard irq */

const char *xway_why_name(enum xway_why why);

/* The total, a counter a line; and a peer's account, behind what is on its line already. */
void xway_stat_show(struct seq_file *seq);
void xway_stat_show_peer(struct seq_file *seq, const struct xway_account *account);

/* Accounts of namespaces, and /proc/net/xway_stat in each. Before sockets are armed. */
int xway_stat_init(void);
/* No connection, link or peer is left. */
void xway_stat_exit(void);

#endif /* XWAY_FRONT_STAT_H */
