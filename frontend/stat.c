// SPDX-License-Identifier: GPL-2.0
/*
 * stat.c - counters: who has an account, and what of it is shown.
 */
#include "stat.h"

#include <linux/proc_fs.h>
#include <linux/seq_file_net.h>
#include <linux/slab.h>
#include <net/netns/generic.h>

DEFINE_PER_CPU(struct xway_stats, xway_stats);

static LIST_HEAD(xway_accounts);
static DEFINE_SPINLOCK(xway_accounts_lock);	/* _bh; protects xway_accounts */

static const char * const xway_stat_names[] = {
#define XWAY_STAT_NAME(symbol, text) #symbol,
	XWAY_STAT_LIST(XWAY_STAT_NAME)
#undef XWAY_STAT_NAME
};

static const char * const xway_why_names[] = {
#define XWAY_WHY_NAME(symbol, name, text) name,
	XWAY_WHY_LIST(XWAY_WHY_NAME)
#undef XWAY_WHY_NAME
};

/* What is counted for a peer, and for a namespace. */
#define XWAY_STAT_IS_SHOWN(symbol) [XWAY_STAT_##symbol] = true,
static const bool xway_stat_of_peer[XWAY_STAT_COUNT] = {
#define XWAY_STAT_PEER_LIST(X)								\
	X(conns_attached) X(conns_detached) X(conns_reset)				\
	X(hellos_sent) X(hellos_received) X(declines_sent) X(declines_received)		\
	X(links_up) X(links_down) X(links_broken)					\
	X(events) X(events_spurious) X(kicks) X(msgs_sent) X(msgs_received) X(wakes_sent)	\
	X(stalls) X(switches_to_ring) X(switches_to_tcp) X(tx_ring_calls)		\
	X(rx_ring_calls) X(tx_ring_bytes) X(rx_ring_bytes) X(tx_tcp_bytes)		\
	X(rx_tcp_bytes) X(rx_private_bytes) X(arena_full) X(violations)
	XWAY_STAT_PEER_LIST(XWAY_STAT_IS_SHOWN)
};

static const bool xway_stat_of_net[XWAY_STAT_COUNT] = {
#define XWAY_STAT_NET_LIST(X)								\
	X(conns_armed) X(conns_attached) X(conns_detached) X(conns_reset)		\
	X(stalls) X(switches_to_ring) X(switches_to_tcp) X(tx_ring_calls)		\
	X(rx_ring_calls) X(tx_ring_bytes) X(rx_ring_bytes) X(tx_tcp_bytes)		\
	X(rx_tcp_bytes) X(rx_private_bytes)
	XWAY_STAT_NET_LIST(XWAY_STAT_IS_SHOWN)
};

const char *xway_why_name(enum xway_why why)
{
	return xway_why_names[why];
}

void xway_stat_why(const struct xway_account *peer, const struct xway_account *net,
		   enum xway_why why)
{
	this_cpu_inc(xway_stats.why[why]);
	if (peer)
		this_cpu_inc(peer->stats->why[why]);
	if (net)
		this_cpu_inc(net->stats->why[why]);
}

/* ---- accounts ----------------------------------------------------------------------------- */

static struct xway_account *xway_account_new(domid_t domid)
{
	struct xway_account *account = kzalloc(sizeof(*account), GFP_KERNEL);

	if (!account)
		return NULL;
	account->stats = alloc_percpu(struct xway_stats);
	if (!account->stats) {
		kfree(account);
		return NULL;
	}
	refcount_set(&account->ref, 1);
	account->domid = domid;
	INIT_LIST_HEAD(&account->list);
	return account;
}

struct xway_account *xway_account_of_peer(domid_t domid)
{
	struct xway_account *account;

	spin_lock_bh(&xway_accounts_lock);
	list_for_each_entry(account, &xway_accounts, list)
		if (account->domid == domid && refcount_inc_not_zero(&account->ref)) {
			spin_unlock_bh(&xway_accounts_lock);
			return account;
		}
	spin_unlock_bh(&xway_accounts_lock);
	account = xway_account_new(domid);
	if (!account)
		return NULL;
	spin_lock_bh(&xway_accounts_lock);
	list_add(&account->list, &xway_accounts);
	spin_unlock_bh(&xway_accounts_lock);
	return account;
}

struct xway_account *xway_account_get(struct xway_account *account)
{
	refcount_inc(&account->ref);
	return account;
}

void xway_account_put(struct xway_account *account)
{
	if (!account || !refcount_dec_and_test(&account->ref))
		return;
	spin_lock_bh(&xway_accounts_lock);
	list_del(&account->list);
	spin_unlock_bh(&xway_accounts_lock);
	free_percpu(account->stats);
	kfree(account);
}

/* ---- text --------------------------------------------------------------------------------- */

static void xway_stat_put(struct seq_file *seq, bool lines, const char *prefix, const char *name,
			  u64 value)
{
	if (lines)
		seq_printf(seq, "%s%s %llu\n", prefix, name, value);
	else
		seq_printf(seq, " %s%s=%llu", prefix, name, value);
}

/* The counters of @stats that @shown names, NULL: all, and the reasons; a line each, or words. */
static void xway_stats_show(struct seq_file *seq, const struct xway_stats __percpu *stats,
			    const bool *shown, bool lines)
{
	unsigned int i;
	u64 sum;
	int cpu;

	for (i = 0; i < XWAY_STAT_COUNT; i++) {
		if (shown && !shown[i])
			continue;
		sum = 0;
		for_each_possible_cpu(cpu)
			sum += READ_ONCE(per_cpu_ptr(stats, cpu)->v[i]);
		xway_stat_put(seq, lines, "", xway_stat_names[i], sum);
	}
	for (i = XWAY_WHY_NONE + 1; i < XWAY_WHY_COUNT; i++) {
		sum = 0;
		for_each_possible_cpu(cpu)
			sum += READ_ONCE(per_cpu_ptr(stats, cpu)->why[i]);
		xway_stat_put(seq, lines, "why_", xway_why_names[i], sum);
	}
}

void xway_stat_show(struct seq_file *seq)
{
	xway_stats_show(seq, &xway_stats, NULL, true);
}

void xway_stat_show_peer(struct seq_file *seq, const struct xway_account *account)
{
	xway_stats_show(seq, account->stats, xway_stat_of_peer, false);
}

/* ---- network namespaces ------------------------------------------------------------------- */

struct xway_net {
	struct xway_account *account;
};

static unsigned int xway_net_id;

struct xway_account *xway_account_of_net(const struct net *net)
{
	const struct xway_net *xnet = net_generic(net, xway_net_id);

	return xnet->account;
}

static int xway_net_show(struct seq_file *seq, void *unused)
{
	xway_stats_show(seq, xway_account_of_net(seq_file_single_net(seq))->stats,
			xway_stat_of_net, true);
	return 0;
}

static int __net_init xway_net_init(struct net *net)
{
	struct xway_net *xnet = net_generic(net, xway_net_id);

	xnet->account = xway_account_new(DOMID_INVALID);
	if (!xnet->account)
		return -ENOMEM;
	if (!proc_create_net_single("xway_stat", 0444, net->proc_net, xway_net_show, NULL)) {
		xway_account_put(xnet->account);
		return -ENOMEM;
	}
	return 0;
}

static void __net_exit xway_net_exit(struct net *net)
{
	struct xway_net *xnet = net_generic(net, xway_net_id);

	remove_proc_entry("xway_stat", net->proc_net);
	/* A connection whose socket has gone may still count to it. */
	xway_account_put(xnet->account);
}

static struct pernet_operations xway_net_ops = {
	.init = xway_net_init,
	.exit = xway_net_exit,
	.id = &xway_net_id,
	.size = sizeof(struct xway_net),
};

int xway_stat_init(void)
{
	return register_pernet_subsys(&xway_net_ops);
}

void xway_stat_exit(void)
{
	unregister_pernet_subsys(&xway_net_ops);
	WARN_ON_ONCE(!list_empty(&xway_accounts));
}
