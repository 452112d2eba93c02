// SPDX-License-Identifier: GPL-2.0
/*
 * mon.c - devices of kind xwaymon, on which tcpdump sees ring bytes.
 */
#include "mon.h"
#include "rail.h"

#include <linux/if_arp.h>
#include <linux/netdevice.h>
#include <net/addrconf.h>
#include <net/ip6_checksum.h>
#include <net/rtnetlink.h>
#include <net/tcp.h>

#define XWAY_MON_GFP	(GFP_NOWAIT | __GFP_NOWARN)
#define XWAY_MON_HEAD	(sizeof(struct ipv6hdr) + sizeof(struct tcphdr))
#define XWAY_MON_TTL	64

DEFINE_STATIC_KEY_FALSE(xway_mon_key);

/* A device that is up; netdev_priv(). */
struct xway_mon {
	struct list_head	list;	/* xway_mons_lock for writing, RCU for reading */
	struct net_device	*dev;	/* constant */
};

static LIST_HEAD(xway_mons);
static DEFINE_SPINLOCK(xway_mons_lock);	/* protects xway_mons */

#define xway_mons_of(mon, net)						\
	list_for_each_entry_rcu(mon, &xway_mons, list)			\
		if (net_eq(dev_net(mon->dev), net))

/* ---- packets ------------------------------------------------------------------------------ */

/* Memory for @len bytes of the stream and their headers; NULL: nobody looks, or a drop is counted. */
static struct sk_buff *xway_mon_alloc(struct net *net, u32 len)
{
	struct sk_buff *skb = NULL;
	struct xway_mon *mon;
	bool tried = false;

	rcu_read_lock();
	xway_mons_of(mon, net) {
		if (!tried)
			skb = alloc_skb(XWAY_MON_HEAD + len, XWAY_MON_GFP);
		tried = true;
		if (!skb)
			DEV_STATS_INC(mon->dev, rx_dropped);
	}
	rcu_read_unlock();
	if (skb)
		skb_reserve(skb, XWAY_MON_HEAD);
	return skb;
}

static void xway_mon_tcp(struct sk_buff *skb, __be16 from, __be16 to, u32 seq, u32 ack)
{
	struct tcphdr *tcp = skb_push(skb, sizeof(*tcp));

	skb_reset_transport_header(skb);
	*tcp = (struct tcphdr){
		.source = from, .dest = to, .seq = htonl(seq), .ack_seq = htonl(ack),
		.doff = sizeof(*tcp) / 4, .ack = 1, .psh = 1, .window = htons(U16_MAX),
	};
}

static void xway_mon_ip4(struct sk_buff *skb, const struct in6_addr *from,
			 const struct in6_addr *to)
{
	unsigned int len = skb->len;
	__wsum sum = csum_partial(skb->data, len, 0);
	struct iphdr *ip = skb_push(skb, sizeof(*ip));

	skb_reset_network_header(skb);
	*ip = (struct iphdr){
		.version = 4, .ihl = sizeof(*ip) / 4, .tot_len = htons(skb->len),
		.frag_off = htons(IP_DF), .ttl = XWAY_MON_TTL, .protocol = IPPROTO_TCP,
		.saddr = from->s6_addr32[3], .daddr = to->s6_addr32[3],
	};
	ip_send_check(ip);
	tcp_hdr(skb)->check = csum_tcpudp_magic(ip->saddr, ip->daddr, len, IPPROTO_TCP, sum);
	skb->protocol = htons(ETH_P_IP);
}

static void xway_mon_ip6(struct sk_buff *skb, const struct in6_addr *from,
			 const struct in6_addr *to)
{
	unsigned int len = skb->len;
	__wsum sum = csum_partial(skb->data, len, 0);
	struct ipv6hdr *ip = skb_push(skb, sizeof(*ip));

	skb_reset_network_header(skb);
	*ip = (struct ipv6hdr){
		.version = 6, .payload_len = htons(len), .nexthdr = IPPROTO_TCP,
		.hop_limit = XWAY_MON_TTL, .saddr = *from, .daddr = *to,
	};
	tcp_hdr(skb)->check = csum_ipv6_magic(from, to, len, IPPROTO_TCP, sum);
	skb->protocol = htons(ETH_P_IPV6);
}

/* Show @skb, which has the bytes, on every device of @net. */
static void xway_mon_show(struct net *net, const struct xway_conn *conn, struct sk_buff *skb,
			  bool sent, u32 seq, u32 ack)
{
	const struct xway_tuple *tuple = &conn->tuple;
	bool by_client = sent == (conn->role == XWAY_ROLE_CLIENT);
	const struct in6_addr *from = by_client ? &tuple->client_addr : &tuple->server_addr;
	const struct in6_addr *to = by_client ? &tuple->server_addr : &tuple->client_addr;
	struct sk_buff *copy;
	struct xway_mon *mon;

	xway_mon_tcp(skb, by_client ? tuple->client_port : tuple->server_port,
		     by_client ? tuple->server_port : tuple->client_port, seq, ack);
	if (ipv6_addr_v4mapped(from))
		xway_mon_ip4(skb, from, to);
	else
		xway_mon_ip6(skb, from, to);
	rcu_read_lock();
	xway_mons_of(mon, net) {
		copy = skb_clone(skb, XWAY_MON_GFP);
		if (!copy) {
			DEV_STATS_INC(mon->dev, rx_dropped);
			continue;
		}
		copy->dev = mon->dev;
		dev_queue_xmit(copy);	/* counts by itself what it drops */
	}
	rcu_read_unlock();
	consume_skb(skb);
}

/* Where the stream is that @sk receives: what its packets acknowledge. A guess of this moment. */
static u32 xway_mon_rx_seq(const struct xway_conn *conn, const struct sock *sk)
{
	u32 seq, end;

	xway_rx_tcp_span(sk, &seq, &end);
	return seq + (u32)READ_ONCE(conn->rx_ring);
}

/* TCP's part of the stream stands still while a ring is used, and once the FIN is out. */
static u32 xway_mon_tx_seq(const struct xway_conn *conn, const struct sock *sk)
{
	return READ_ONCE(tcp_sk(sk)->write_seq) + (u32)READ_ONCE(conn->tx_ring);
}

void xway_mon_sent(const struct xway_conn *conn, const struct sock *sk, u32 n)
{
	u32 ring = xway_tx_ring(&conn->tx), index = conn->tx.prod - n;
	u32 seq = xway_mon_tx_seq(conn, sk) - n;
	struct xway_ring_span span;
	struct sk_buff *skb;

	/* Our own pages, which the peer cannot write, and a place that nobody writes but us. */
	for (; n; n -= span.len, index += span.len, seq += span.len) {
		span = xway_ring_span(ring, index, n);
		skb = xway_mon_alloc(sock_net(sk), span.len);
		if (!skb)
			continue;
		skb_put_data(skb, xway_link_tx_page(conn->link, span.page) + span.offset,
			     span.len);
		xway_mon_show(sock_net(sk), conn, skb, true, seq, xway_mon_rx_seq(conn, sk));
	}
}

struct sk_buff *xway_mon_copy(const struct sock *sk, const void *from, u32 len)
{
	struct sk_buff *skb = xway_mon_alloc(sock_net(sk), len);

	if (skb)
		skb_put_data(skb, from, len);
	return skb;
}

void xway_mon_received(const struct xway_conn *conn, const struct sock *sk, struct sk_buff *skb,
		       u32 n, u32 seq)
{
	if (!n) {
		consume_skb(skb);
		return;
	}
	skb_trim(skb, n);
	xway_mon_show(sock_net(sk), conn, skb, false, seq, xway_mon_tx_seq(conn, sk));
}

/* ---- devices ------------------------------------------------------------------------------ */

static int xway_mon_open(struct net_device *dev)
{
	struct xway_mon *mon = netdev_priv(dev);
	struct inet6_dev *six = __in6_dev_get(dev);

	/* It shows packets: it is to send none of its own, and no route is to lead here. */
	if (six)
		WRITE_ONCE(six->cnf.disable_ipv6, 1);
	mon->dev = dev;
	spin_lock(&xway_mons_lock);
	list_add_rcu(&mon->list, &xway_mons);
	spin_unlock(&xway_mons_lock);
	static_branch_inc(&xway_mon_key);
	return 0;
}

static int xway_mon_stop(struct net_device *dev)
{
	struct xway_mon *mon = netdev_priv(dev);

	static_branch_dec(&xway_mon_key);
	spin_lock(&xway_mons_lock);
	list_del_rcu(&mon->list);
	spin_unlock(&xway_mons_lock);
	synchronize_net();
	return 0;
}

/* What comes here has been shown: packet sockets see it on its way. */
static netdev_tx_t xway_mon_xmit(struct sk_buff *skb, struct net_device *dev)
{
	DEV_STATS_INC(dev, rx_packets);
	DEV_STATS_ADD(dev, rx_bytes, skb->len);
	consume_skb(skb);
	return NETDEV_TX_OK;
}

static const struct net_device_ops xway_mon_ops = {
	.ndo_open = xway_mon_open,
	.ndo_stop = xway_mon_stop,
	.ndo_start_xmit = xway_mon_xmit,
};

static void xway_mon_setup(struct net_device *dev)
{
	dev->type = ARPHRD_NONE;	/* packets begin with IP: libpcap's DLT_RAW */
	dev->netdev_ops = &xway_mon_ops;
	dev->needs_free_netdev = true;
	dev->flags = IFF_NOARP;
	dev->priv_flags |= IFF_NO_QUEUE;
	dev->mtu = XWAY_MON_HEAD + XWAY_MON_SEGMENT;
}

static struct rtnl_link_ops xway_mon_link_ops __read_mostly = {
	.kind = "xwaymon",
	.priv_size = sizeof(struct xway_mon),
	.setup = xway_mon_setup,
};

int xway_mon_init(void)
{
	return rtnl_link_register(&xway_mon_link_ops);
}

void xway_mon_exit(void)
{
	rtnl_link_unregister(&xway_mon_link_ops);
}
