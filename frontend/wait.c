// SPDX-License-Identifier: GPL-2.0
/*
 * wait.c - what a reader and a writer do while there is nothing to do: look for a while, then sleep.
 */
#include <linux/sched/clock.h>
#include <linux/sched/signal.h>

#include "conn.h"
#include "wait.h"

static void xway_wait_took(long *timeo, long spent)
{
	if (*timeo != MAX_SCHEDULE_TIMEOUT)
		*timeo -= min(*timeo, spent);
}

/* How long the program wants a read to look, whether it pays or not: SO_BUSY_POLL, in ns. */
static u64 xway_wait_wanted(const struct xway_conn *conn, const struct sock *sk,
			    const struct xway_waiter *waiter)
{
#ifdef CONFIG_NET_RX_BUSY_POLL
	if (waiter == &conn->rx_waiter)
		return READ_ONCE(sk->sk_ll_usec) * (u64)NSEC_PER_USEC;
#endif
	return 0;
}

bool xway_wait_look(struct xway_conn *conn, struct sock *sk, struct xway_waiter *waiter,
		    bool (*news)(struct xway_conn *conn, struct sock *sk, u32 seen), u32 seen,
		    long *timeo)
{
	u64 most = READ_ONCE(xway_param_spin_us) * (u64)NSEC_PER_USEC;
	u64 limit = max(xway_spin_for(&waiter->spin, most), xway_wait_wanted(conn, sk, waiter));
	unsigned long at = jiffies;
	bool hit = false;
	u64 begin;

	if (!limit)
		return false;
	begin = local_clock();
	do {
		hit = news(conn, sk, seen);
		if (hit || need_resched() || signal_pending(current) ||
		    test_bit(XWAY_CONN_WANTED, &conn->flags))
			break;
		cpu_relax();
	} while (local_clock() - begin < limit && xway_link_is_up(conn->link));
	xway_spin_learn(&waiter->spin, hit);
	if (hit)
		xway_stat_inc(spins_hit);
	else
		xway_stat_inc(spins_missed);
	if (waiter == &conn->tx_waiter)
		xway_stat_inc(spins_tx);
	xway_wait_took(timeo, jiffies - at);
	return hit;
}

void xway_wait_sleep(struct xway_waiter *waiter, struct mutex *mutex, struct wait_queue_entry *wait,
		     long slice, long *timeo)
{
	u64 woken_at, now;

	mutex_unlock(mutex);
	WRITE_ONCE(waiter->woken_at, 0);
	xway_wait_took(timeo, slice - wait_woken(wait, TASK_INTERRUPTIBLE, slice));
	woken_at = READ_ONCE(waiter->woken_at);
	now = local_clock();
	mutex_lock(mutex);
	if (woken_at && now > woken_at)
		xway_spin_woken(&waiter->spin, now - woken_at);
}

void xway_wait_woken(struct xway_waiter *waiter)
{
	WRITE_ONCE(waiter->woken_at, local_clock());
}
