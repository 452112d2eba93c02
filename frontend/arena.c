// SPDX-License-Identifier: GPL-2.0
/*
 * arena.c - carve rings out of the memory that is granted to a peer, and take them back from those
 * that rest.
 */
#include <linux/bitmap.h>

#include "conn.h"
#include "rail.h"

/* Of at most 2^@most pages and at least 2^@least, so that @spare pages stay free. 0: none. */
static u32 xway_arena_find(struct xway_link *link, unsigned int most, unsigned int least,
			   unsigned int spare)
{
	unsigned int order;
	unsigned long at;
	u32 ring = 0;

	spin_lock_bh(&link->lock);
	for (order = most + 1; order-- > least && !ring;) {
		if (link->arena_used + (1u << order) + spare > link->arena_pages)
			continue;
		at = bitmap_find_next_zero_area(link->arena, link->arena_pages, 0, 1u << order,
						(1u << order) - 1);
		if (at >= link->arena_pages)
			continue;
		bitmap_set(link->arena, at, 1u << order);
		link->arena_used += 1u << order;
		ring = xway_ring_desc(at, order);
	}
	spin_unlock_bh(&link->lock);
	return ring;
}

/* Soon enough for what idle_ms says now; it may be changed. */
static void xway_arena_rest_later(struct xway_link *link)
{
	unsigned int ms = READ_ONCE(xway_param_idle_ms);

	queue_delayed_work(xway_wq, &link->rest,
			   clamp_t(unsigned long, msecs_to_jiffies(ms), XWAY_LOOK, HZ) + 1);
}

u32 xway_arena_grow(struct xway_link *link, unsigned int most, unsigned int least)
{
	return xway_arena_find(link, most, least, link->arena_pages / 4);
}

u32 xway_arena_alloc(struct xway_link *link, unsigned int most)
{
	u32 ring = xway_arena_find(link, min(most, XWAY_ARENA_ORDER_FIRST), XWAY_ARENA_ORDER_MIN,
				   link->arena_pages / 2);

	if (!ring)
		ring = xway_arena_find(link, XWAY_ARENA_ORDER_MIN, XWAY_ARENA_ORDER_MIN, 0);
	if (!ring) {
		xway_link_stat_inc(link, arena_full);
		xway_conns_reap_now();
		/* The first to find it full: the others must not put off what he has asked for. */
		if (!xchg(&link->arena_short, true))
			mod_delayed_work(xway_wq, &link->rest, XWAY_LOOK);
	} else {
		xway_arena_rest_later(link);
	}
	return ring;
}

void xway_arena_free(struct xway_link *link, u32 ring)
{
	unsigned int pages = 1u << xway_ring_order(ring);

	spin_lock_bh(&link->lock);
	bitmap_clear(link->arena, xway_ring_first(ring), pages);
	link->arena_used -= pages;
	spin_unlock_bh(&link->lock);
}

void xway_arena_rest(struct work_struct *work)
{
	struct xway_link *link = container_of(to_delayed_work(work), struct xway_link, rest);
	unsigned int ms = READ_ONCE(xway_param_idle_ms);
	unsigned long idle = ms ? msecs_to_jiffies(ms) : MAX_JIFFY_OFFSET;
	struct xway_conn *conn;
	unsigned int i = 0;

	/* Others need one: who has not sent for a moment lends his. */
	if (xchg(&link->arena_short, false))
		idle = XWAY_LOOK;
	while ((conn = xway_slot_next(link, &i))) {
		/* Who is inside a send does not rest. */
		if (READ_ONCE(conn->rings) && mutex_trylock(&conn->tx_mutex)) {
			if (conn->attached)
				xway_tx_rest(conn, idle);
			mutex_unlock(&conn->tx_mutex);
		}
		xway_conn_put(conn);
		cond_resched();
	}
	if (READ_ONCE(link->arena_used))
		xway_arena_rest_later(link);
}
