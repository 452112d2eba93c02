// SPDX-License-Identifier: GPL-2.0
/*
 * arena.c - carve rings out of the memory that is granted to a peer.
 */
#include <linux/bitmap.h>

#include "link.h"

/*
 * 16 KiB: what the send buffer of a new TCP socket holds (the second word of tcp_wmem, tcp(7)). With a
 * smaller ring, short writes would show where there are none by TCP.
 */
#define XWAY_ARENA_ORDER_MIN	2

u32 xway_arena_alloc(struct xway_link *link, unsigned int order)
{
	unsigned long at;
	u32 ring = 0;

	spin_lock_bh(&link->lock);
	for (;; order--) {
		at = bitmap_find_next_zero_area(link->arena, link->arena_pages, 0, 1u << order,
						(1u << order) - 1);
		if (at < link->arena_pages)
			break;
		if (order <= XWAY_ARENA_ORDER_MIN)
			goto out;
	}
	bitmap_set(link->arena, at, 1u << order);
	link->arena_used += 1u << order;
	ring = xway_ring_desc(at, order);
out:
	spin_unlock_bh(&link->lock);
	if (!ring)
		xway_link_stat_inc(link, arena_full);
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
