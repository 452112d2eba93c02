/* SPDX-License-Identifier: GPL-2.0 */
/*
 * peer.h - the directory: which guests of this host dom0 lets us talk to.
 */
#ifndef XWAY_PEER_H
#define XWAY_PEER_H

#include <linux/if_ether.h>
#include <linux/in6.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/rcupdate.h>
#include <net/sock.h>
#include <xen/interface/xen.h>

#define XWAY_PEER_ADDRS	8	/* MACs, and IPs, that are kept of a peer */
#define XWAY_PEERS_MAX	1024

struct xway_account;

/*
 * A peer as dom0 last described it. Replaced as a whole when dom0 describes it anew, so that a
 * reader needs no lock: all but `seen` is constant once the peer is in the list.
 */
struct xway_peer {
	struct list_head	list;		/* xway_peers: written on xway_wq, read under RCU */
	struct kref		ref;
	struct rcu_head		rcu;
	struct xway_account	*account;	/* owned; handed on when it is described anew */
	domid_t			domid;
	bool			ready;		/* its frontend is connected */
	bool			seen;		/* xway_wq only: still there in this round */
	u64			instance;
	char			name[32];
	unsigned int		macs;
	unsigned int		ips;
	u8			mac[XWAY_PEER_ADDRS][ETH_ALEN];
	struct in6_addr		ip[XWAY_PEER_ADDRS];
};

/* Is there any peer at all? Any context. */
bool xway_peers_any(void);

/*
 * The peer behind the remote address of @sk, by IP where dom0 knows it, else by the MAC of the
 * neighbour; NULL if it is none. The caller owns the reference. Any context.
 */
struct xway_peer *xway_peer_of_sock(const struct sock *sk);
struct xway_peer *xway_peer_get(domid_t domid);
void xway_peer_put(struct xway_peer *peer);

/*
 * Bring the directory in line with @path ("peer" below the backend's directory). On xway_wq.
 * @gone is called for each peer that vanished, or is not the same or not ready any more.
 */
void xway_peers_sync(const char *path, void (*gone)(struct xway_peer *peer));
void xway_peers_clear(void (*gone)(struct xway_peer *peer));

/* Call @fn for each peer, on xway_wq. */
void xway_peers_each(void (*fn)(struct xway_peer *peer, void *arg), void *arg);

#endif /* XWAY_PEER_H */
