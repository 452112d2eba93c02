// SPDX-License-Identifier: GPL-2.0
/*
 * due.c - the one timer of a connection, for all that has to be looked at later.
 */
#include "conn.h"
#include "info.h"
#include "rail.h"

static void (* const xway_due_look[XWAY_DUE_COUNT])(struct xway_conn *conn) = {
	[XWAY_DUE_NUDGE] = xway_tx_nudge,
	[XWAY_DUE_STALL] = xway_tx_stall,
	[XWAY_DUE_LOWAT] = xway_rx_lowat,
	[XWAY_DUE_TALLY] = xway_info_tally,
	[XWAY_DUE_WORK] = xway_conn_queue,
};

/* The timer expires at @at, or before. conn->lock held. */
static void __xway_conn_timer_by(struct xway_conn *conn, unsigned long at)
{
	if (timer_pending(&conn->timer) && !time_before(at, conn->timer.expires))
		return;
	if (!mod_timer(&conn->timer, at))
		xway_conn_hold(conn);
}

void __xway_conn_due_in(struct xway_conn *conn, enum xway_due what, unsigned long delay)
{
	lockdep_assert_held(&conn->lock);
	if (conn->due & BIT(what))
		return;
	conn->due_at[what] = jiffies + delay;
	WRITE_ONCE(conn->due, conn->due | BIT(what));
	__xway_conn_timer_by(conn, jiffies + delay);
}

void __xway_conn_not_due(struct xway_conn *conn, u8 mask)
{
	lockdep_assert_held(&conn->lock);
	WRITE_ONCE(conn->due, conn->due & ~mask);
	if (!conn->due && timer_delete(&conn->timer))
		xway_conn_put(conn);	/* not the last: the caller has one */
}

void xway_conn_timer(struct timer_list *timer)
{
	struct xway_conn *conn = container_of(timer, struct xway_conn, timer);
	unsigned int what;
	u8 ripe = 0;
	s32 left;

	spin_lock_bh(&conn->lock);
	for (what = 0; what < XWAY_DUE_COUNT; what++) {
		left = conn->due_at[what] - (u32)jiffies;
		if (!(conn->due & BIT(what)))
			continue;
		if (left <= 0)
			ripe |= BIT(what);
		else
			__xway_conn_timer_by(conn, jiffies + left);
	}
	WRITE_ONCE(conn->due, conn->due & ~ripe);
	spin_unlock_bh(&conn->lock);
	for (what = 0; what < XWAY_DUE_COUNT; what++)
		if (ripe & BIT(what))
			xway_due_look[what](conn);
	xway_conn_put(conn);
}
