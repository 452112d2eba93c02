/* SPDX-License-Identifier: GPL-2.0 */
/* wait.h - looking before a sleep, and sleeping, for both directions of a connection. */
#ifndef XWAY_FRONT_WAIT_H
#define XWAY_FRONT_WAIT_H

#include <linux/wait.h>

#include <xway/spin.h>

struct sock;
struct xway_conn;

/* Who waits for bytes, or for room. */
struct xway_waiter {
	struct xway_spin	spin;		/* the direction's mutex */
	u64			woken_at;	/* local_clock() of the last WAKE, 0 as a sleep begins */
};

/*
 * Call @news, which is given @seen, until it says that there is some, without sleeping, for as long as
 * past looks and spin_us allow, or, for bytes, SO_BUSY_POLL asks. A program that others wait for, xway_wq
 * that wants the mutex, a signal, and a link that ends, end it.
 * The connection is attached; the direction's mutex is held. What has passed is taken from @timeo
 * (jiffies), unless that is for ever. True: there is news.
 */
bool xway_wait_look(struct xway_conn *conn, struct sock *sk, struct xway_waiter *waiter,
		    bool (*news)(struct xway_conn *conn, struct sock *sk, u32 seen), u32 seen,
		    long *timeo);
/*
 * Sleep until somebody wakes @wait, which is queued, for at most @slice jiffies, and take what has passed
 * from @timeo in the same way. @mutex, the direction's, is held, and let go meanwhile.
 */
void xway_wait_sleep(struct xway_waiter *waiter, struct mutex *mutex, struct wait_queue_entry *wait,
		     long slice, long *timeo);
/* A WAKE has come. Any context. */
void xway_wait_woken(struct xway_waiter *waiter);

#endif /* XWAY_FRONT_WAIT_H */
