// SPDX-License-Identifier: GPL-2.0
/*
 * peer.c - the directory: parse what dom0 publishes, find the peer behind a socket.
 */
#include "peer.h"

#include <linux/ctype.h>
#include <linux/etherdevice.h>
#include <linux/inet.h>
#include <linux/rculist.h>
#include <linux/slab.h>
#include <net/arp.h>
#include <net/addrconf.h>
#include <net/ndisc.h>
#include <net/neighbour.h>
#include <net/route.h>
#include <xen/xenbus.h>

#include "compat.h"
#include "front.h"

static LIST_HEAD(xway_peers);		/* changed on xway_wq only, read under RCU */
static unsigned int xway_peers_count;	/* likewise */

bool xway_peers_any(void)
{
	return READ_ONCE(xway_peers_count) != 0;
}

static void xway_peer_release(struct kref *ref)
{
	struct xway_peer *peer = container_of(ref, struct xway_peer, ref);

	xway_account_put(peer->account);
	kfree_rcu(peer, rcu);
}

void xway_peer_put(struct xway_peer *peer)
{
	if (peer)
		kref_put(&peer->ref, xway_peer_release);
}

struct xway_peer *xway_peer_get(domid_t domid)
{
	struct xway_peer *peer;

	rcu_read_lock();
	list_for_each_entry_rcu(peer, &xway_peers, list)
		if (peer->domid == domid && kref_get_unless_zero(&peer->ref))
			goto out;
	peer = NULL;
out:
	rcu_read_unlock();
	return peer;
}

static bool xway_peer_has_ip(const struct xway_peer *peer, const struct in6_addr *ip)
{
	unsigned int i;

	for (i = 0; i < peer->ips; i++)
		if (ipv6_addr_equal(&peer->ip[i], ip))
			return true;
	return false;
}

static bool xway_peer_has_mac(const struct xway_peer *peer, const u8 *mac)
{
	unsigned int i;

	for (i = 0; i < peer->macs; i++)
		if (ether_addr_equal(peer->mac[i], mac))
			return true;
	return false;
}

/* The MAC of the on-link neighbour that @sk talks to. */
static bool xway_sock_neighbour(const struct sock *sk, const struct in6_addr *ip, u8 *mac)
{
	struct neighbour *neigh = NULL;
	struct dst_entry *dst;
	bool found = false;

	rcu_read_lock();
	dst = rcu_dereference(sk->sk_dst_cache);
	if (!dst || !dst->dev || dst->dev->type != ARPHRD_ETHER)
		goto out;
	if (ipv6_addr_v4mapped(ip))
		neigh = neigh_lookup(&arp_tbl, &ip->s6_addr32[3], dst->dev);
#if IS_ENABLED(CONFIG_IPV6)
	else
		neigh = neigh_lookup(XWAY_ND_TBL, ip, dst->dev);
#endif
	if (!neigh)
		goto out;
	if (READ_ONCE(neigh->nud_state) & NUD_VALID) {
		neigh_ha_snapshot(mac, neigh, dst->dev);
		found = true;
	}
	neigh_release(neigh);
out:
	rcu_read_unlock();
	return found;
}

static void xway_sock_remote(const struct sock *sk, struct in6_addr *ip)
{
#if IS_ENABLED(CONFIG_IPV6)
	if (sk->sk_family == AF_INET6 && !ipv6_addr_any(&sk->sk_v6_daddr)) {
		*ip = sk->sk_v6_daddr;
		return;
	}
#endif
	ipv6_addr_set_v4mapped(sk->sk_daddr, ip);
}

struct xway_peer *xway_peer_of_sock(const struct sock *sk)
{
	struct xway_peer *peer;
	struct in6_addr ip;
	u8 mac[MAX_ADDR_LEN];
	bool have_mac;

	xway_sock_remote(sk, &ip);
	have_mac = xway_sock_neighbour(sk, &ip, mac);
	rcu_read_lock();
	list_for_each_entry_rcu(peer, &xway_peers, list)
		if ((xway_peer_has_ip(peer, &ip) || (have_mac && xway_peer_has_mac(peer, mac))) &&
		    kref_get_unless_zero(&peer->ref))
			goto out;
	peer = NULL;
out:
	rcu_read_unlock();
	return peer;
}

/* Parse a comma separated list of at most XWAY_PEER_ADDRS addresses; others are passed over. */
static void xway_peer_parse_list(struct xway_peer *peer, char *text, bool is_mac)
{
	char *word;

	while ((word = strsep(&text, ","))) {
		if (is_mac && peer->macs < XWAY_PEER_ADDRS) {
			if (mac_pton(word, peer->mac[peer->macs]))
				peer->macs++;
		} else if (!is_mac && peer->ips < XWAY_PEER_ADDRS) {
			struct in6_addr *ip = &peer->ip[peer->ips];
			__be32 v4;

			if (in4_pton(word, -1, (u8 *)&v4, -1, NULL)) {
				ipv6_addr_set_v4mapped(v4, ip);
				peer->ips++;
			} else if (in6_pton(word, -1, ip->s6_addr, -1, NULL)) {
				peer->ips++;
			}
		}
	}
}

/* What is shown as one word must be one, whatever dom0 has let pass. */
static void xway_peer_parse_name(struct xway_peer *peer, const char *text)
{
	char *at;

	strscpy(peer->name, text, sizeof(peer->name));
	for (at = peer->name; *at; at++)
		if (!isascii(*at) || !isgraph(*at))
			*at = '_';
}

/* A peer from dom0's description, without an account; NULL without memory. */
static struct xway_peer *xway_peer_parse(domid_t domid, char *text)
{
	struct xway_peer *peer = kzalloc(sizeof(*peer), GFP_KERNEL);
	char *word;

	if (!peer)
		return NULL;
	kref_init(&peer->ref);
	peer->domid = domid;
	while ((word = strsep(&text, " "))) {
		char *value = strchr(word, '=');

		if (!value)
			continue;
		*value++ = '\0';
		if (!strcmp(word, "instance") && kstrtou64(value, 16, &peer->instance))
			peer->instance = 0;
		else if (!strcmp(word, "ready"))
			peer->ready = !strcmp(value, "1");
		else if (!strcmp(word, "name"))
			xway_peer_parse_name(peer, value);
		else if (!strcmp(word, "mac"))
			xway_peer_parse_list(peer, value, true);
		else if (!strcmp(word, "ip"))
			xway_peer_parse_list(peer, value, false);
	}
	peer->ready = peer->ready && peer->instance;
	return peer;
}

static struct xway_peer *xway_peer_find(domid_t domid)
{
	struct xway_peer *peer;

	list_for_each_entry(peer, &xway_peers, list)
		if (peer->domid == domid)
			return peer;
	return NULL;
}

static void xway_peer_drop(struct xway_peer *peer, void (*gone)(struct xway_peer *peer))
{
	list_del_rcu(&peer->list);
	WRITE_ONCE(xway_peers_count, xway_peers_count - 1);
	gone(peer);
	xway_peer_put(peer);
}

static void xway_peer_sync_one(domid_t domid, char *text, void (*gone)(struct xway_peer *peer))
{
	struct xway_peer *old = xway_peer_find(domid);
	struct xway_peer *peer;

	peer = xway_peer_parse(domid, text);
	if (!peer)
		return;
	peer->seen = true;
	if (old) {
		peer->account = xway_account_get(old->account);
		/* The link belongs to the instance; a new MAC does not disturb it. */
		if (old->instance != peer->instance || (old->ready && !peer->ready))
			gone(old);
		list_replace_rcu(&old->list, &peer->list);
		xway_peer_put(old);
		return;
	}
	if (xway_peers_count >= XWAY_PEERS_MAX) {
		pr_warn_once("more than %u peers: the others stay on TCP\n", XWAY_PEERS_MAX);
		xway_peer_put(peer);
		return;
	}
	peer->account = xway_account_of_peer(domid);
	if (!peer->account) {
		xway_peer_put(peer);
		return;
	}
	list_add_tail_rcu(&peer->list, &xway_peers);
	WRITE_ONCE(xway_peers_count, xway_peers_count + 1);
}

void xway_peers_sync(const char *path, void (*gone)(struct xway_peer *peer))
{
	struct xway_peer *peer, *next;
	unsigned int n = 0, i;
	char **names;

	list_for_each_entry(peer, &xway_peers, list)
		peer->seen = false;

	names = xenbus_directory(XBT_NIL, path, "peer", &n);
	if (IS_ERR(names)) {
		/* None published (yet) is an empty directory; anything else says nothing. */
		if (PTR_ERR(names) != -ENOENT)
			return;
		names = NULL;
		n = 0;
	}
	for (i = 0; i < n; i++) {
		char node[16], *text;
		domid_t domid;

		if (kstrtou16(names[i], 10, &domid))
			continue;
		snprintf(node, sizeof(node), "peer/%u", domid);
		text = xenbus_read(XBT_NIL, path, node, NULL);
		if (IS_ERR(text))
			continue;
		xway_peer_sync_one(domid, text, gone);
		kfree(text);
	}
	kfree(names);

	list_for_each_entry_safe(peer, next, &xway_peers, list)
		if (!peer->seen)
			xway_peer_drop(peer, gone);
}

void xway_peers_clear(void (*gone)(struct xway_peer *peer))
{
	struct xway_peer *peer, *next;

	list_for_each_entry_safe(peer, next, &xway_peers, list)
		xway_peer_drop(peer, gone);
}

void xway_peers_each(void (*fn)(struct xway_peer *peer, void *arg), void *arg)
{
	struct xway_peer *peer, *next;

	list_for_each_entry_safe(peer, next, &xway_peers, list)
		fn(peer, arg);
}
