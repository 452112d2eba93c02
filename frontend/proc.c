// SPDX-License-Identifier: GPL-2.0
/*
 * proc.c - /proc/xway_front: what docs/interfaces.md describes.
 */
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include <net/tcp_states.h>

#include "conn.h"
#include "peer.h"
#include "sock.h"
#include "total.h"

static struct proc_dir_entry *xway_proc_dir;

static int xway_proc_status(struct seq_file *seq, void *unused)
{
	xway_device_status(seq);
	seq_printf(seq, " enable=%d flip_ms=%u ring_kib=%u arena_kib=%u spin_us=%u idle_ms=%u slots=%u total_kib=%u granted_kib=%lu\n",
		   xway_param_enable, xway_param_flip_ms, xway_param_ring_kib,
		   xway_param_arena_kib, xway_param_spin_us, xway_param_idle_ms, xway_param_slots,
		   xway_param_total_kib, xway_region_granted() * XWAY_PAGE_SIZE / 1024);
	return 0;
}

static int xway_proc_stat(struct seq_file *seq, void *unused)
{
	xway_stat_show(seq);
	return 0;
}

static void xway_proc_addr(struct seq_file *seq, const struct in6_addr *addr)
{
	if (ipv6_addr_v4mapped(addr))
		seq_printf(seq, "%pI4", &addr->s6_addr32[3]);
	else
		seq_printf(seq, "%pI6c", addr);
}

static void xway_proc_addr_port(struct seq_file *seq, const struct in6_addr *addr, __be16 port)
{
	bool six = !ipv6_addr_v4mapped(addr);

	seq_puts(seq, six ? "[" : "");
	xway_proc_addr(seq, addr);
	seq_printf(seq, "%s:%u", six ? "]" : "", ntohs(port));
}

static void xway_proc_peer(struct xway_peer *peer, void *arg)
{
	struct xway_link *link = xway_link_get(peer->domid);
	struct seq_file *seq = arg;
	unsigned int i;

	seq_printf(seq, "domid=%u instance=%016llx name=%s mac=", peer->domid, peer->instance,
		   peer->name[0] ? peer->name : "-");
	for (i = 0; i < peer->macs; i++)
		seq_printf(seq, "%s%pM", i ? "," : "", peer->mac[i]);
	seq_puts(seq, peer->macs ? " ip=" : "- ip=");
	for (i = 0; i < peer->ips; i++) {
		seq_puts(seq, i ? "," : "");
		xway_proc_addr(seq, &peer->ip[i]);
	}
	seq_printf(seq, "%s ready=%d", peer->ips ? "" : "-", peer->ready);
	if (link)
		seq_printf(seq, " link=%s arena_used=%u arena_pages=%u slots_used=%u slots=%u\n",
			   xway_link_state_name(link), READ_ONCE(link->arena_used),
			   link->arena_pages, READ_ONCE(link->slots_used), link->slots);
	else
		seq_printf(seq, " link=%s arena_used=0 arena_pages=0 slots_used=0 slots=0\n",
			   xway_total_is_short(peer->domid) ? "no-room" : "none");
	xway_link_put(link);
}

static void xway_proc_stat_peer(struct xway_peer *peer, void *arg)
{
	struct seq_file *seq = arg;

	seq_printf(seq, "domid=%u name=%s", peer->domid, peer->name[0] ? peer->name : "-");
	xway_stat_show_peer(seq, peer->account);
	seq_putc(seq, '\n');
}

/* The directory changes on xway_wq; so it is printed there, a line a peer. */
struct xway_proc_peers_work {
	struct work_struct work;
	struct seq_file *seq;
	void (*print)(struct xway_peer *peer, void *seq);
};

static void xway_proc_peers_run(struct work_struct *work)
{
	struct xway_proc_peers_work *job = container_of(work, struct xway_proc_peers_work, work);

	xway_peers_each(job->print, job->seq);
}

static int xway_proc_each_peer(struct seq_file *seq,
			       void (*print)(struct xway_peer *peer, void *seq))
{
	struct xway_proc_peers_work job = { .seq = seq, .print = print };

	INIT_WORK_ONSTACK(&job.work, xway_proc_peers_run);
	queue_work(xway_wq, &job.work);
	flush_work(&job.work);
	destroy_work_on_stack(&job.work);
	return 0;
}

static int xway_proc_peers(struct seq_file *seq, void *unused)
{
	return xway_proc_each_peer(seq, xway_proc_peer);
}

static int xway_proc_stat_peers(struct seq_file *seq, void *unused)
{
	return xway_proc_each_peer(seq, xway_proc_stat_peer);
}

static const char *xway_proc_tcp_state(int state)
{
	static const char * const name[] = {
		[TCP_ESTABLISHED] = "ESTABLISHED", [TCP_SYN_SENT] = "SYN_SENT",
		[TCP_SYN_RECV] = "SYN_RECV", [TCP_FIN_WAIT1] = "FIN_WAIT1",
		[TCP_FIN_WAIT2] = "FIN_WAIT2", [TCP_TIME_WAIT] = "TIME_WAIT",
		[TCP_CLOSE] = "CLOSE", [TCP_CLOSE_WAIT] = "CLOSE_WAIT",
		[TCP_LAST_ACK] = "LAST_ACK", [TCP_LISTEN] = "LISTEN",
		[TCP_CLOSING] = "CLOSING",
	};

	return state < ARRAY_SIZE(name) && name[state] ? name[state] : "-";
}

static void xway_proc_socket(struct xway_conn *conn, void *arg)
{
	bool client = conn->role == XWAY_ROLE_CLIENT;
	const struct xway_tuple *tuple = &conn->tuple;
	u32 tx_fill = 0, tx_size = 0, rx_fill = 0, rx_size = 0;
	const char *state = "ORPHAN";
	struct seq_file *seq = arg;
	unsigned long inode = 0;
	unsigned int uid = 0;

	if (!test_bit(XWAY_CONN_ESTABLISHED, &conn->flags))
		return;
	spin_lock_bh(&conn->lock);
	if (conn->sk) {
		state = xway_proc_tcp_state(READ_ONCE(conn->sk->sk_state));
		uid = from_kuid_munged(seq_user_ns(seq), READ_ONCE(conn->sk->sk_uid));
		inode = sock_i_ino(conn->sk);
	}
	if (conn->attached) {
		tx_fill = conn->tx.prod - xway_load(&conn->peer_slot->cons);
		if (xway_tx_rail(&conn->tx) == XWAY_RAIL_RING)
			tx_size = xway_ring_size(xway_tx_ring(&conn->tx));
		rx_fill = xway_load(&conn->peer_slot->prod) - conn->rx.cons;
		if (xway_rx_rail(&conn->rx) == XWAY_RAIL_RING && conn->rx.ring)
			rx_size = xway_ring_size(conn->rx.ring);
	}
	seq_printf(seq, "state=%s local=", state);
	xway_proc_addr_port(seq, client ? &tuple->client_addr : &tuple->server_addr,
			    client ? tuple->client_port : tuple->server_port);
	seq_puts(seq, " remote=");
	xway_proc_addr_port(seq, client ? &tuple->server_addr : &tuple->client_addr,
			    client ? tuple->server_port : tuple->client_port);
	seq_printf(seq, " peer=%u role=%s tx=%s rx=%s why_tx=%s", conn->domid,
		   client ? "client" : "server",
		   conn->attached && xway_tx_rail(&conn->tx) == XWAY_RAIL_RING ? "ring" : "tcp",
		   conn->attached && xway_rx_rail(&conn->rx) == XWAY_RAIL_RING ? "ring" : "tcp",
		   xway_why_name(READ_ONCE(conn->why_tx)));
	seq_printf(seq, " tx_fill=%u tx_size=%u rx_fill=%u rx_size=%u", tx_fill, tx_size,
		   rx_fill, rx_size);
	seq_printf(seq, " tx_ring=%llu tx_tcp=%llu rx_ring=%llu rx_tcp=%llu", conn->tx_ring,
		   conn->tx_tcp, conn->rx_ring, conn->rx_tcp);
	seq_printf(seq, " tx_switches=%u rx_switches=%u age_ms=%u inode=%lu uid=%u\n",
		   conn->tx.epoch, conn->rx.epoch, jiffies_to_msecs((u32)jiffies - conn->born),
		   inode, uid);
	spin_unlock_bh(&conn->lock);
}

static void xway_proc_listener(struct sock *sk, void *arg)
{
	struct seq_file *seq = arg;
	struct in6_addr local, none = { };

	ipv6_addr_set_v4mapped(sk->sk_rcv_saddr, &local);
	ipv6_addr_set_v4mapped(0, &none);
#if IS_ENABLED(CONFIG_IPV6)
	if (sk->sk_family == AF_INET6)
		local = sk->sk_v6_rcv_saddr;
#endif
	seq_puts(seq, "state=LISTEN local=");
	xway_proc_addr_port(seq, &local, inet_sk(sk)->inet_sport);
	seq_puts(seq, " remote=");
	xway_proc_addr_port(seq, &none, 0);
	seq_printf(seq, " role=listen inode=%lu\n", (unsigned long)sock_i_ino(sk));
}

static int xway_proc_sockets(struct seq_file *seq, void *unused)
{
	xway_listeners_each(xway_proc_listener, seq);
	xway_conns_each(xway_proc_socket, seq);
	return 0;
}

int xway_proc_init(void)
{
	xway_proc_dir = proc_mkdir("xway_front", NULL);
	if (!xway_proc_dir)
		return -ENOMEM;
	if (!proc_create_single("status", 0400, xway_proc_dir, xway_proc_status) ||
	    !proc_create_single("stat", 0400, xway_proc_dir, xway_proc_stat) ||
	    !proc_create_single("stat_peers", 0400, xway_proc_dir, xway_proc_stat_peers) ||
	    !proc_create_single("peers", 0400, xway_proc_dir, xway_proc_peers) ||
	    !proc_create_single("sockets", 0400, xway_proc_dir, xway_proc_sockets)) {
		xway_proc_exit();
		return -ENOMEM;
	}
	return 0;
}

void xway_proc_exit(void)
{
	proc_remove(xway_proc_dir);
}
