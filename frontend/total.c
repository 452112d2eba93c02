// SPDX-License-Identifier: GPL-2.0
/*
 * total.c - what this guest grants to all its peers together.
 *
 * DOC: Theory of operation
 *
 * A region has its size from the beginning of its link to its end, so the sum is looked at as a link is
 * made: one that would take it beyond total_kib is not, its connections stay on TCP and say why. While a
 * connection waits like that, a link that no connection uses gives way if that makes enough room: the one
 * that has rested longest, which gets no new one so soon. It is what rings do for each other in the arena of
 * one link. A peer that has not answered an offer for a while gives way as well. A link in use never does,
 * and a peer's offer alone, with no connection behind it, takes nothing from anybody.
 */
#include "total.h"

#include <linux/bitmap.h>
#include <linux/mm.h>

#include "conn.h"
#include "link.h"

#define XWAY_TOTAL_MAX_KIB	65536UL	/* without total_kib: half of the grants that Xen gives a guest by default */
#define XWAY_TOTAL_SHARE	8	/* and no more than this part of the guest's memory */
#define XWAY_TOTAL_REST_MS	1000	/* a link without a connection for so long gives way */
#define XWAY_TOTAL_SILENT_MS	5000	/* an offer without an answer for so long does */
#define XWAY_TOTAL_LOOK_MS	1000	/* between two looks for room, while somebody is short */
#define XWAY_TOTAL_ASK		10	/* so many looks between two that ask Xenstore in any case */

static DECLARE_BITMAP(xway_short, DOMID_FIRST_RESERVED);	/* set and cleared on xway_wq, read anywhere */

static void xway_total_look(struct work_struct *work);
static DECLARE_DELAYED_WORK(xway_total_work, xway_total_look);

static unsigned long xway_kib_of(unsigned long pages)
{
	return pages * (XWAY_PAGE_SIZE / 1024);
}

int xway_total_init(unsigned int region_pages)
{
	unsigned long least = xway_kib_of(region_pages);

	if (!xway_param_total_kib)
		xway_param_total_kib = clamp((totalram_pages() << (PAGE_SHIFT - 10)) / XWAY_TOTAL_SHARE, least,
					     max(least, XWAY_TOTAL_MAX_KIB));
	if (xway_param_total_kib >= least)
		return 0;
	pr_err("total_kib=%u has no room for one link of %lu KiB: raise it, or lower arena_kib or slots\n",
	       xway_param_total_kib, least);
	return -EINVAL;
}

void xway_total_exit(void)
{
	cancel_delayed_work_sync(&xway_total_work);
}

static bool xway_total_fits(unsigned long pages)
{
	return xway_kib_of(pages) <= READ_ONCE(xway_param_total_kib);
}

bool xway_total_allows(unsigned int pages)
{
	return xway_total_fits(xway_region_granted() + pages);
}

bool xway_total_is_short(domid_t domid)
{
	return domid < DOMID_FIRST_RESERVED && test_bit(domid, xway_short);
}

void xway_total_served(domid_t domid)
{
	clear_bit(domid, xway_short);
}

/* What links could give, or are giving. */
struct xway_giving {
	struct xway_link *link;	/* the longest at rest so far */
	unsigned long since;	/* jiffies, of that */
	unsigned long pages;	/* of all of them */
	bool begun;		/* one is on its way already */
};

static void xway_link_may_give(struct xway_link *link, void *arg)
{
	struct xway_giving *giving = arg;
	unsigned int patience_ms = XWAY_TOTAL_SILENT_MS;
	unsigned int slots_used;
	unsigned long since;

	spin_lock_bh(&link->lock);
	slots_used = link->slots_used;
	since = link->rest_since;
	spin_unlock_bh(&link->lock);
	switch (link->state) {
	case XWAY_LINK_QUIESCING:
		/* Later than that a program holds it up, and who knows for how long. */
		if (!link->yields || time_after(jiffies, link->deadline))
			return;
		giving->begun = true;
		giving->pages += link->region.pages;
		return;
	case XWAY_LINK_DOWN:
		return;
	case XWAY_LINK_UP:
		if (slots_used)
			return;
		patience_ms = XWAY_TOTAL_REST_MS;
		break;
	default:
		break;
	}
	if (time_before(jiffies, since + msecs_to_jiffies(patience_ms)))
		return;
	giving->pages += link->region.pages;
	if (!giving->link || time_before(since, giving->since)) {
		giving->link = link;
		giving->since = since;
	}
}

/* On xway_wq, where no link goes away meanwhile: the next to give way for @pages, NULL if that would not do. */
static struct xway_link *xway_total_giver(unsigned int pages)
{
	struct xway_giving giving = { };

	xway_links_each(xway_link_may_give, &giving);
	if (giving.begun || !xway_total_fits(xway_region_granted() - giving.pages + pages))
		return NULL;
	return giving.link;
}

/* Would @conn use a link if there was one? */
static bool xway_conn_waits(const struct xway_conn *conn)
{
	unsigned int why = READ_ONCE(conn->why_tx);

	return test_bit(XWAY_CONN_ESTABLISHED, &conn->flags) && READ_ONCE(xway_param_enable) &&
	       !test_bit(XWAY_CONN_TCP_ONLY, &conn->flags) &&
	       !test_bit(XWAY_CONN_ORPHAN, &conn->flags) && !READ_ONCE(conn->attached) &&
	       (why == XWAY_WHY_LINKING || why == XWAY_WHY_WAITING || why == XWAY_WHY_LINK_DOWN ||
		why == XWAY_WHY_TOTAL_FULL);
}

static void xway_conn_finds_short(struct xway_conn *conn, void *arg)
{
	bool *found = arg;

	if (xway_total_is_short(conn->domid) && xway_conn_waits(conn)) {
		xway_conn_why(conn, XWAY_WHY_TOTAL_FULL);
		*found = true;
	}
}

/* Does a connection of ours wait for room? They say so from now on. */
static bool xway_total_needed(void)
{
	bool found = false;

	xway_conns_each(xway_conn_finds_short, &found);
	return found;
}

/* For whom do connections of ours wait? */
struct xway_waiting {
	domid_t domid;
	bool for_it;
	bool for_others;	/* who are short */
};

static void xway_conn_waits_for(struct xway_conn *conn, void *arg)
{
	struct xway_waiting *waiting = arg;

	if (!xway_conn_waits(conn))
		return;
	if (conn->domid == waiting->domid)
		waiting->for_it = true;
	else if (xway_total_is_short(conn->domid))
		waiting->for_others = true;
}

bool xway_total_reserved(domid_t domid)
{
	struct xway_waiting waiting = { .domid = domid };

	if (bitmap_empty(xway_short, DOMID_FIRST_RESERVED))
		return false;
	xway_conns_each(xway_conn_waits_for, &waiting);
	return waiting.for_others && !waiting.for_it;
}

void xway_total_short(domid_t domid, unsigned int pages)
{
	struct xway_link *giver;

	if (!test_and_set_bit(domid, xway_short))
		pr_warn_ratelimited("no link with domain %u: %lu KiB are granted of total_kib=%u, a link takes %lu; raise it, or lower arena_kib or slots\n",
				    domid, xway_kib_of(xway_region_granted()),
				    READ_ONCE(xway_param_total_kib), xway_kib_of(pages));
	giver = xway_total_needed() ? xway_total_giver(pages) : NULL;
	if (giver)
		xway_link_yield(giver);
	queue_delayed_work(xway_wq, &xway_total_work, msecs_to_jiffies(XWAY_TOTAL_LOOK_MS));
}

/*
 * Xenstore is asked where the answer may be another one than before; and now and then in any case, because who
 * is short may have given up.
 */
static void xway_total_look(struct work_struct *work)
{
	unsigned int pages = xway_links_region_pages();
	static unsigned int looks;

	if (bitmap_empty(xway_short, DOMID_FIRST_RESERVED))
		return;
	if (xway_total_allows(pages) || (xway_total_needed() && xway_total_giver(pages)) ||
	    ++looks % XWAY_TOTAL_ASK == 0)
		xway_device_sync();
	queue_delayed_work(xway_wq, &xway_total_work, msecs_to_jiffies(XWAY_TOTAL_LOOK_MS));
}
