// SPDX-License-Identifier: GPL-2.0
/*
 * view.c - what a guest is told about its peers
 *
 * DOC: Theory of operation
 *
 * A view remembers what was written, so that only differences are written, however often a view is
 * computed. All of one device's differences go into one transaction: its frontend never sees the
 * offer of a peer beside the state that the peer had before.
 *
 * What is remembered follows a commit, never a mere attempt. The nodes inherit the permissions of
 * BE: written by dom0, read by the one guest.
 */
#include "view.h"

#include <linux/kernel.h>
#include <linux/lockdep.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "broker.h"
#include "pair.h"

#define XWAY_VIEW_NODE_SIZE sizeof("peer/65535")

static bool xway_view_same(const char *one, const char *two)
{
	return one && two ? !strcmp(one, two) : one == two;
}

static char *xway_view_peer_text(const struct xway_device *peer)
{
	bool ready = xway_device_connected(peer);

	return kasprintf(GFP_KERNEL, "instance=%016llx ready=%d name=%s mac=%s ip=%s",
			 ready ? peer->instance : 0, ready, peer->name, peer->mac, peer->ip);
}

/* Computes what @view of @pair, which is NULL where the two may not talk, shall be. */
static int xway_view_want(struct xway_view *view, const struct xway_pair *pair,
			  const struct xway_device *dev)
{
	int theirs;

	if (!pair)
		return 0;
	theirs = !xway_pair_side(pair, dev);
	view->want_peer = xway_view_peer_text(pair->device[theirs]);
	if (!view->want_peer)
		return -ENOMEM;
	if (!xway_pair_offer_current(pair, theirs))
		return 0;
	view->want_link = kstrdup(pair->offer[theirs].text, GFP_KERNEL);
	return view->want_link ? 0 : -ENOMEM;
}

/* Computes all views of @dev. Returns the number of them that differ, or an error. */
static int xway_view_plan(struct xway_device *dev)
{
	struct xway_view *view;
	struct xway_pair *pair;
	unsigned long domid;
	int err, changes = 0;

	xa_for_each(&dev->pairs, domid, pair) {
		if (xa_load(&dev->views, domid))
			continue;
		view = kzalloc(sizeof(*view), GFP_KERNEL);
		if (!view)
			return -ENOMEM;
		err = xa_err(xa_store(&dev->views, domid, view, GFP_KERNEL));
		if (err) {
			kfree(view);
			return err;
		}
	}
	xa_for_each(&dev->views, domid, view) {
		err = xway_view_want(view, xa_load(&dev->pairs, domid), dev);
		if (err)
			return err;
		changes += !xway_view_same(view->peer, view->want_peer) ||
			   !xway_view_same(view->link, view->want_link);
	}
	return changes;
}

/* Makes BE/@dir/@domid say @want where it says @have. */
static int xway_view_put(struct xway_device *dev, struct xenbus_transaction xbt, const char *dir,
			 unsigned long domid, const char *have, const char *want)
{
	char node[XWAY_VIEW_NODE_SIZE];
	int err;

	if (xway_view_same(have, want))
		return 0;
	snprintf(node, sizeof(node), "%s/%lu", dir, domid);
	if (want)
		return xenbus_write(xbt, dev->xenbus->nodename, node, want);
	err = xenbus_rm(xbt, dev->xenbus->nodename, node);
	return err == -ENOENT ? 0 : err;
}

/* One attempt at writing all differences. -EAGAIN: somebody else wrote meanwhile. */
static int xway_view_write(struct xway_device *dev)
{
	struct xenbus_transaction xbt;
	struct xway_view *view;
	unsigned long domid;
	int err;

	err = xway_device_begin(dev, &xbt);
	if (err)
		return err;
	xa_for_each(&dev->views, domid, view) {
		err = xway_view_put(dev, xbt, "peer", domid, view->peer, view->want_peer);
		if (!err)
			err = xway_view_put(dev, xbt, "link", domid, view->link, view->want_link);
		if (err) {
			xenbus_transaction_end(xbt, 1);
			/* Only a commit reports interference. */
			return err == -EAGAIN ? -EIO : err;
		}
	}
	return xenbus_transaction_end(xbt, 0);
}

static void xway_view_free(struct xway_view *view)
{
	kfree(view->peer);
	kfree(view->link);
	kfree(view->want_peer);
	kfree(view->want_link);
	kfree(view);
}

/* Ends a publication: with @written what was wanted is what there is, otherwise it is dropped. */
static void xway_view_settle(struct xway_device *dev, bool written)
{
	struct xway_view *view;
	unsigned long domid;

	xa_for_each(&dev->views, domid, view) {
		if (written) {
			swap(view->peer, view->want_peer);
			swap(view->link, view->want_link);
		}
		kfree(view->want_peer);
		kfree(view->want_link);
		view->want_peer = NULL;
		view->want_link = NULL;
		if (!view->peer && !view->link) {
			xa_erase(&dev->views, domid);
			xway_view_free(view);
		}
	}
}

int xway_view_publish(struct xway_device *dev)
{
	int err, tries = XWAY_STORE_TRIES;

	lockdep_assert_held(&xway_broker_L1);
	err = xway_view_plan(dev);
	if (err > 0) {
		do {
			err = xway_view_write(dev);
		} while (err == -EAGAIN && --tries);
	}
	xway_view_settle(dev, !err);
	return err;
}

void xway_view_forget(struct xway_device *dev)
{
	struct xway_view *view;
	unsigned long domid;

	xa_for_each(&dev->views, domid, view) {
		xa_erase(&dev->views, domid);
		xway_view_free(view);
	}
}
