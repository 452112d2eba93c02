// SPDX-License-Identifier: GPL-2.0
/*
 * sock.c - the overlay on TCP sockets: the functions that programs reach.
 */
#include "sock.h"

#include <linux/ioctl.h>
#include <linux/kmemleak.h>
#include <linux/net.h>
#include <linux/pipe_fs_i.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/sockios.h>
#include <linux/splice.h>
#include <asm/ioctls.h>

#include "info.h"
#include "rail.h"

#define XWAY_LEAVE_MS	5000	/* what a program has to read the rest of what we keep for it */

static struct xway_overlay *xway_overlay_v4;
static struct xway_overlay *xway_overlay_v6;
static bool xway_leaving_hard;	/* set once: do not wait for partial sends either */

/* ---- finding ------------------------------------------------------------------------------ */

const struct xway_overlay *xway_sock_family(const struct sock *sk)
{
	return sk->sk_family == AF_INET6 ? xway_overlay_v6 : xway_overlay_v4;
}

const struct xway_overlay *xway_sock_overlay(const struct sock *sk)
{
	const struct xway_overlay *overlay = xway_sock_family(sk);

	if (!overlay || sk->sk_prot != overlay->base_prot || sk->sk_kern_sock ||
	    rcu_access_pointer(__sk_user_data(sk)) || inet_csk(sk)->icsk_ulp_ops ||
	    tcp_sk(sk)->repair || xway_signs_segments(sk) || READ_ONCE(sk->sk_peek_off) >= 0)
		return NULL;
	return overlay;
}

struct xway_conn *xway_sock_conn_rcu(const struct sock *sk)
{
	const struct xway_overlay *overlay = xway_sock_family(sk);

	if (!overlay || READ_ONCE(inet_csk(sk)->icsk_ulp_ops) != &overlay->ulp)
		return NULL;
	return rcu_dereference(inet_csk(sk)->icsk_ulp_data);
}

void xway_sock_arm(struct sock *sk, struct xway_conn *conn)
{
	struct xway_overlay *overlay = (struct xway_overlay *)conn->overlay;

	rcu_assign_pointer(inet_csk(sk)->icsk_ulp_data, conn);
	WRITE_ONCE(inet_csk(sk)->icsk_ulp_ops, &overlay->ulp);
	/* Whoever gets at our functions finds the connection. */
	smp_wmb();
	WRITE_ONCE(sk->sk_prot, &overlay->prot);
	if (sk->sk_socket)
		WRITE_ONCE(sk->sk_socket->ops, &overlay->ops);
}

struct xway_conn *xway_sock_disarm(struct sock *sk)
{
	const struct xway_overlay *overlay = xway_sock_family(sk);
	struct xway_conn *conn;

	if (!overlay || inet_csk(sk)->icsk_ulp_ops != &overlay->ulp)
		return NULL;
	conn = rcu_dereference_protected(inet_csk(sk)->icsk_ulp_data, true);
	xway_info_leave(conn, sk);
	WRITE_ONCE(sk->sk_prot, (struct proto *)overlay->base_prot);
	if (sk->sk_socket)
		WRITE_ONCE(sk->sk_socket->ops, overlay->base_ops);
	WRITE_ONCE(inet_csk(sk)->icsk_ulp_ops, NULL);
	RCU_INIT_POINTER(inet_csk(sk)->icsk_ulp_data, NULL);
	return conn;
}

static bool xway_sock_given_back(const struct sock *sk)
{
	return READ_ONCE(sk->sk_prot) == xway_sock_family(sk)->base_prot;
}

bool xway_sock_must_restart(const struct sock *sk, bool partial)
{
	return xway_sock_given_back(sk) && (!partial || READ_ONCE(xway_leaving_hard));
}

long xway_sock_slice(const struct sock *sk, long timeo)
{
	return xway_sock_given_back(sk) ? min_t(long, timeo, XWAY_LOOK) : timeo;
}

int xway_sock_restart(void)
{
	if (current->flags & (PF_KTHREAD | PF_IO_WORKER))
		return -EINTR;
	/* Makes the way out of the kernel look for signals, find none, and restart the call. */
	set_tsk_thread_flag(current, TIF_SIGPENDING);
	return -ERESTARTNOINTR;
}

/* ---- struct proto ------------------------------------------------------------------------- */

static int xway_sock_sendmsg(struct sock *sk, struct msghdr *msg, size_t size)
{
	int idx = srcu_read_lock(&xway_srcu);
	struct xway_conn *conn = xway_conn_of(sk);
	int err;

	if (unlikely(!conn))
		err = xway_sock_restart();	/* given back meanwhile: come in by TCP's own */
	else if (unlikely(msg->msg_flags & MSG_FASTOPEN))
		err = xway_base_prot(conn)->sendmsg(sk, msg, size);
	else
		err = xway_tx_sendmsg(conn, sk, msg, size);
	xway_conn_put(conn);
	srcu_read_unlock(&xway_srcu, idx);
	return err;
}

static int xway_sock_recv(struct xway_conn *conn, struct sock *sk, struct msghdr *msg, size_t len,
			  int flags)
{
	/* When they came is known of packets alone. */
	if (unlikely(sock_flag(sk, SOCK_RCVTSTAMP) ||
		     sock_flag(sk, SOCK_TIMESTAMPING_RX_SOFTWARE)))
		xway_conn_tcp_only(conn, XWAY_WHY_TIMESTAMPS);
	xway_conn_look(conn);
	return xway_rx_recvmsg(conn, sk, msg, len, flags);
}

static int xway_sock_recvmsg(struct sock *sk, struct msghdr *msg, size_t len,
			     XWAY_RECVMSG_PARAMS(flags))
{
	int idx = srcu_read_lock(&xway_srcu);
	struct xway_conn *conn = xway_conn_of(sk);
	int err;

	if (unlikely(!conn))
		err = xway_sock_restart();	/* given back meanwhile: come in by TCP's own */
	else if (unlikely(flags & (MSG_OOB | MSG_ERRQUEUE)))	/* these never sleep */
		err = xway_base_prot(conn)->recvmsg(sk, msg, len, XWAY_RECVMSG_ARGS(flags));
	else
		err = xway_sock_recv(conn, sk, msg, len, flags);
	xway_conn_put(conn);
	srcu_read_unlock(&xway_srcu, idx);
	return err;
}

#if XWAY_HAVE_SENDPAGE
static int xway_sock_sendpage(struct sock *sk, struct page *page, int offset, size_t size,
			      int flags)
{
	int idx = srcu_read_lock(&xway_srcu);
	struct xway_conn *conn = xway_conn_of(sk);
	int err;

	/* Copies by way of sendmsg, which chooses the rail. */
	if (conn)
		err = sock_no_sendpage(sk->sk_socket, page, offset, size, flags);
	else
		err = xway_sock_restart();
	xway_conn_put(conn);
	srcu_read_unlock(&xway_srcu, idx);
	return err;
}
#endif

/*
 * What SIOCINQ, SIOCOUTQ and SIOCATMARK answer; negative: not one of ours. SIOCOUTQNSD is TCP's own:
 * of what is in a ring nothing is unsent.
 */
static int xway_sock_ioctl_answer(struct sock *sk, int cmd)
{
	struct xway_conn *conn = xway_conn_of(sk);
	int n = -1;

	if (conn && cmd == SIOCINQ) {
		n = xway_rx_readable(conn, sk);
	} else if (conn && cmd == SIOCATMARK) {
		n = xway_rx_at_urgent(conn, sk);
	} else if (conn && cmd == SIOCOUTQ &&
		   !((1 << sk->sk_state) & (TCPF_SYN_SENT | TCPF_SYN_RECV))) {
		n = READ_ONCE(tcp_sk(sk)->write_seq) - READ_ONCE(tcp_sk(sk)->snd_una);
		mutex_lock(&conn->tx_mutex);
		if (conn->attached)
			n += xway_tx_unread(conn);
		mutex_unlock(&conn->tx_mutex);
	}
	xway_conn_put(conn);
	return n;
}

#if XWAY_IOCTL_KERNEL_ARG
static int xway_sock_ioctl(struct sock *sk, int cmd, int *karg)
#else
static int xway_sock_ioctl(struct sock *sk, int cmd, unsigned long arg)
#endif
{
	int idx = srcu_read_lock(&xway_srcu);
	int n = xway_sock_ioctl_answer(sk, cmd);
	int err = 0;

#if XWAY_IOCTL_KERNEL_ARG
	if (n < 0)
		err = xway_sock_family(sk)->base_prot->ioctl(sk, cmd, karg);
	else
		*karg = n;
#else
	if (n < 0)
		err = xway_sock_family(sk)->base_prot->ioctl(sk, cmd, arg);
	else
		err = put_user(n, (int __user *)arg);
#endif
	srcu_read_unlock(&xway_srcu, idx);
	return err;
}

static int xway_sock_setsockopt(struct sock *sk, int level, int optname, sockptr_t optval,
				unsigned int optlen)
{
	int idx = srcu_read_lock(&xway_srcu);
	struct xway_conn *conn = NULL;
	int err;

	if (level == SOL_TCP && (optname == TCP_ULP || optname == TCP_REPAIR)) {
		conn = xway_conn_of(sk);
		if (conn)
			xway_conn_tcp_only(conn, XWAY_WHY_ULP);
	}
	err = xway_sock_family(sk)->base_prot->setsockopt(sk, level, optname, optval, optlen);
	xway_conn_put(conn);
	srcu_read_unlock(&xway_srcu, idx);
	return err;
}

/* TCP_INFO shows ring bytes of this very moment. */
static void xway_sock_count(struct sock *sk)
{
	struct xway_conn *conn;

	lock_sock(sk);
	conn = xway_conn_of(sk);	/* under the lock: a socket may become another connection */
	if (conn)
		xway_info_fold(conn, sk);
	release_sock(sk);
	xway_conn_put(conn);
}

static int xway_sock_getsockopt(struct sock *sk, int level, int optname, char __user *optval,
				int __user *optlen)
{
	int idx, err;

	/* Maps or copies TCP's queue alone, past our marks. Programs have a way without it. */
	if (level == SOL_TCP && optname == TCP_ZEROCOPY_RECEIVE)
		return -EOPNOTSUPP;
	idx = srcu_read_lock(&xway_srcu);
	if (level == SOL_TCP && optname == TCP_INFO)
		xway_sock_count(sk);
	err = xway_sock_family(sk)->base_prot->getsockopt(sk, level, optname, optval, optlen);
	srcu_read_unlock(&xway_srcu, idx);
	return err;
}

/* Called by tcp_poll(), which epoll, select, poll and io_uring all come to. */
static bool xway_sock_is_readable(struct sock *sk)
{
	struct xway_conn *conn = xway_conn_of(sk);
	bool readable = conn && xway_rx_ready(conn, sk);

	xway_conn_put(conn);
	return readable;
}

static bool xway_sock_memory_free(const struct sock *sk, int wake)
{
	struct xway_conn *conn = xway_conn_of(sk);
	const struct proto *base = xway_sock_family(sk)->base_prot;
	bool room = true;

	if (conn) {
		room = xway_tx_has_room(conn);
		xway_conn_put(conn);
	}
	return room && (!base->stream_memory_free || base->stream_memory_free(sk, wake));
}

static void xway_sock_close_conn(struct xway_conn *conn, struct sock *sk, long *timeout)
{
	bool unread = xway_rx_ring_unread(conn);
	struct xway_conn *owned;

	if (*timeout && !unread)
		*timeout = xway_tx_linger(conn, sk, *timeout) ?: 1;
	lock_sock(sk);
	owned = xway_sock_disarm(sk);	/* NULL: unloading, or finding no peer, was faster */
	if (unread) {
		/* As TCP does for what it has not read: a reset, not a FIN. */
		sock_set_flag(sk, SOCK_LINGER);
		sk->sk_lingertime = 0;
	}
	release_sock(sk);
	if (owned) {
		xway_conn_orphan(owned, true);
		xway_conn_put(owned);	/* the socket's */
	}
}

static void xway_sock_close(struct sock *sk, long timeout)
{
	int idx = srcu_read_lock(&xway_srcu);
	struct xway_conn *conn = xway_conn_of(sk);

	if (conn) {
		xway_sock_close_conn(conn, sk, &timeout);
		xway_conn_put(conn);
	}
	xway_sock_family(sk)->base_prot->close(sk, timeout);
	srcu_read_unlock(&xway_srcu, idx);
}

/* The socket is locked. */
static int xway_sock_disconnect(struct sock *sk, int flags)
{
	int idx = srcu_read_lock(&xway_srcu);
	struct xway_conn *conn = xway_sock_disarm(sk);
	int err;

	if (conn) {
		xway_conn_orphan(conn, false);
		xway_conn_put(conn);
	}
	err = xway_sock_family(sk)->base_prot->disconnect(sk, flags);
	srcu_read_unlock(&xway_srcu, idx);
	return err;
}

/* ---- struct proto_ops --------------------------------------------------------------------- */

static int xway_sock_shutdown(struct socket *sock, int how)
{
	int idx = srcu_read_lock(&xway_srcu);
	struct xway_conn *conn = xway_conn_of(sock->sk);
	int err;

	/* No sender may publish ring bytes after the FIN has gone. */
	if (conn)
		mutex_lock(&conn->tx_mutex);
	err = xway_sock_family(sock->sk)->base_ops->shutdown(sock, how);
	if (conn) {
		mutex_unlock(&conn->tx_mutex);
		/* What the peer sends from now on, TCP answers with a reset. */
		if (READ_ONCE(sock->sk->sk_shutdown) == SHUTDOWN_MASK)
			xway_conn_tcp_only(conn, XWAY_WHY_SHUT);
		xway_conn_wake(conn);
		xway_conn_put(conn);
	}
	srcu_read_unlock(&xway_srcu, idx);
	return err;
}

static ssize_t xway_sock_splice_read(struct socket *sock, loff_t *ppos,
				     struct pipe_inode_info *pipe, size_t len, unsigned int flags)
{
	int idx = srcu_read_lock(&xway_srcu);
	ssize_t n;

	/* By way of recvmsg. SPLICE_F_NONBLOCK is about the pipe, as with TCP. */
#if XWAY_HAVE_SENDPAGE
	n = generic_file_splice_read(sock->file, ppos, pipe, len, flags);
#else
	n = copy_splice_read(sock->file, ppos, pipe, len, flags);
#endif
	srcu_read_unlock(&xway_srcu, idx);
	return n;
}

/* TCP counts the offset from its own next byte, which may lie behind ring bytes. Before 6.9 it had none. */
static int xway_sock_set_peek_off(struct sock *sk, int val)
{
	return -EOPNOTSUPP;
}

/* ---- making and unmaking overlays --------------------------------------------------------- */

/* An overlay from what a fresh socket of @family has. NULL on failure. */
static struct xway_overlay *xway_overlay_new(int family)
{
	struct xway_overlay *overlay;
	struct socket *sock;

	if (sock_create_kern(&init_net, family, SOCK_STREAM, IPPROTO_TCP, &sock))
		return NULL;
	overlay = kzalloc(sizeof(*overlay), GFP_KERNEL);
	if (!overlay)
		goto out;
	/* It outlives the module, see sock.h. */
	kmemleak_not_leak(overlay);
	overlay->base_prot = sock->sk->sk_prot;
	overlay->base_ops = sock->ops;

	overlay->prot = *overlay->base_prot;
	overlay->prot.close = xway_sock_close;
	overlay->prot.disconnect = xway_sock_disconnect;
	overlay->prot.sendmsg = xway_sock_sendmsg;
	overlay->prot.recvmsg = xway_sock_recvmsg;
	overlay->prot.ioctl = xway_sock_ioctl;
	overlay->prot.setsockopt = xway_sock_setsockopt;
	overlay->prot.getsockopt = xway_sock_getsockopt;
	overlay->prot.sock_is_readable = xway_sock_is_readable;
	overlay->prot.stream_memory_free = xway_sock_memory_free;
#if XWAY_HAVE_SENDPAGE
	overlay->prot.sendpage = xway_sock_sendpage;
#endif
#ifdef CONFIG_BPF_SYSCALL
	overlay->prot.psock_update_sk_prot = NULL;	/* keeps sockmap off */
#endif
	overlay->ops = *overlay->base_ops;
	overlay->ops.shutdown = xway_sock_shutdown;
	overlay->ops.splice_read = xway_sock_splice_read;
	overlay->ops.mmap = sock_no_mmap;		/* would show TCP's bytes alone */
	if (overlay->base_ops->set_peek_off)
		overlay->ops.set_peek_off = xway_sock_set_peek_off;
	overlay->listen_ops = *overlay->base_ops;
	overlay->listen_ops.accept = xway_accept;
	strscpy(overlay->ulp.name, "xway", sizeof(overlay->ulp.name));
out:
	sock_release(sock);
	return overlay;
}

/* From here on nobody who finds the copies gets to our code. */
static void xway_overlay_retire(struct xway_overlay *overlay)
{
	if (!overlay)
		return;
	overlay->prot.close = overlay->base_prot->close;
	overlay->prot.disconnect = overlay->base_prot->disconnect;
	overlay->prot.sendmsg = overlay->base_prot->sendmsg;
	overlay->prot.recvmsg = overlay->base_prot->recvmsg;
	overlay->prot.ioctl = overlay->base_prot->ioctl;
	overlay->prot.setsockopt = overlay->base_prot->setsockopt;
	overlay->prot.getsockopt = overlay->base_prot->getsockopt;
	overlay->prot.sock_is_readable = overlay->base_prot->sock_is_readable;
	overlay->prot.stream_memory_free = overlay->base_prot->stream_memory_free;
#if XWAY_HAVE_SENDPAGE
	overlay->prot.sendpage = overlay->base_prot->sendpage;
#endif
	overlay->ops.shutdown = overlay->base_ops->shutdown;
	overlay->ops.splice_read = overlay->base_ops->splice_read;
	overlay->ops.mmap = overlay->base_ops->mmap;
	overlay->ops.set_peek_off = overlay->base_ops->set_peek_off;
	overlay->listen_ops.accept = overlay->base_ops->accept;
}

int xway_sock_init(void)
{
	xway_overlay_v4 = xway_overlay_new(AF_INET);
	if (!xway_overlay_v4)
		return -ENOMEM;
	/* A guest without IPv6 has no sockets that would need it. */
	xway_overlay_v6 = xway_overlay_new(AF_INET6);
	return 0;
}

struct xway_sock_pick {
	struct sock *sk;
	bool any;
};

/* Pick a socket that may be given back now; note whether there is any at all. */
static void xway_sock_pick_one(struct xway_conn *conn, void *arg)
{
	struct xway_sock_pick *pick = arg;

	spin_lock_bh(&conn->lock);
	if (conn->sk) {
		pick->any = true;
		if (!pick->sk && (!conn->private || READ_ONCE(xway_leaving_hard))) {
			pick->sk = conn->sk;
			sock_hold(pick->sk);
		}
	}
	spin_unlock_bh(&conn->lock);
}

static void xway_sock_give_back(struct sock *sk)
{
	struct xway_conn *conn;
	bool lost;

	conn = xway_conn_of(sk);
	if (conn) {
		/* Neither has been read, and nobody would read it any more. */
		lost = conn->private || READ_ONCE(conn->attached);
		if (lost) {
			set_bit(XWAY_CONN_LOST, &conn->flags);
			xway_conn_reset(conn, sk);
		}
		xway_conn_put(conn);
	}
	lock_sock(sk);
	conn = xway_sock_disarm(sk);
	release_sock(sk);
	if (conn) {
		xway_conn_wake(conn);
		xway_conn_orphan(conn, false);
		xway_conn_put(conn);
	}
	sock_put(sk);
}

/* Past @deadline (jiffies) no program is waited for. */
static void xway_sock_give_all_back(unsigned long deadline)
{
	struct xway_sock_pick pick;

	do {
		pick = (struct xway_sock_pick){ };
		xway_conns_each(xway_sock_pick_one, &pick);
		if (pick.sk)
			xway_sock_give_back(pick.sk);
		else if (pick.any)
			msleep(10);
		if (time_after(jiffies, deadline))
			WRITE_ONCE(xway_leaving_hard, true);
	} while (pick.any);
}

void xway_sock_exit(void)
{
	unsigned long deadline = jiffies + msecs_to_jiffies(XWAY_LEAVE_MS);

	xway_sock_give_all_back(deadline);

	xway_overlay_retire(xway_overlay_v4);
	xway_overlay_retire(xway_overlay_v6);
	/*
	 * A program that has moved a part of its bytes may finish on TCP until the deadline; then
	 * it gets a short count. Sleepers whose socket is given back look at this often. Once no
	 * socket has a connection, only programs inside our functions hold them.
	 */
	while (xway_conns_any() && time_before(jiffies, deadline))
		msleep(10);
	WRITE_ONCE(xway_leaving_hard, true);
	/*
	 * Tasks between a table and their srcu_read_lock(); then all that hold it; then those
	 * between their srcu_read_unlock() and the return. And callbacks in soft interrupts.
	 */
	synchronize_rcu_tasks();
	synchronize_srcu(&xway_srcu);
	/* An accept that was under way may have armed one more. */
	xway_sock_give_all_back(deadline);
	synchronize_srcu(&xway_srcu);
	synchronize_rcu_tasks();
	synchronize_rcu();
}
