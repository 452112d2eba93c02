// SPDX-License-Identifier: GPL-2.0
/*
 * device.c - one guest: its phases, and what the toolstack says about it
 *
 * DOC: Theory of operation
 *
 * A guest may write any state at any speed. The phase depends on the last state seen alone, and
 * xway_device_step() may be called again without effect. Two rules make that safe:
 *
 * - An instance is drawn before InitWait is written and does not change while InitWait stands. A
 *   frontend that reads it in InitWait, and again when InitWait comes back, has the right one.
 * - A device in InitWait stays there when its frontend says Closed. A broker that is loaded again
 *   meets frontends that closed when it left, and InitWait is how it calls them back.
 *
 * Node values that reach other guests are cut to a bound and reduced to printable ASCII here, once,
 * although they are dom0's own.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include "device.h"

#include <linux/kernel.h>
#include <linux/lockdep.h>
#include <linux/mm.h>
#include <linux/random.h>
#include <linux/slab.h>
#include <linux/string.h>

#include <xway/abi.h>

#include "broker.h"
#include "pair.h"
#include "view.h"

struct xway_device *xway_device_alloc(struct xenbus_device *xenbus)
{
	struct xway_device *dev = kvzalloc(sizeof(*dev), GFP_KERNEL);

	if (!dev)
		return NULL;
	dev->xenbus = xenbus;
	dev->domid = xenbus->otherend_id;
	dev->frontend_state = XenbusStateInitialising;
	dev->phase = XWAY_PHASE_OUT;
	xa_init(&dev->pairs);
	xa_init(&dev->views);
	return dev;
}

void xway_device_free(struct xway_device *dev)
{
	xway_view_forget(dev);
	xa_destroy(&dev->views);
	xa_destroy(&dev->pairs);
	kvfree(dev);
}

int xway_device_begin(struct xway_device *dev, struct xenbus_transaction *xbt)
{
	int state, err;

	err = xenbus_transaction_start(xbt);
	if (err)
		return err;
	if (xenbus_scanf(*xbt, dev->xenbus->nodename, "state", "%d", &state) == 1)
		return 0;
	xenbus_transaction_end(*xbt, 1);
	return -ENOENT;
}

/* Reduces @text to printable words: joined by ',' when it is a @list, by '_' when not. */
static void xway_device_clean(char *text, bool list)
{
	char *to = text;
	const char *from;

	for (from = text; *from; from++) {
		if (*from > ' ' && *from < 0x7f)
			*to++ = *from;
		else if (!list)
			*to++ = '_';
		else if (to > text && to[-1] != ',')
			*to++ = ',';
	}
	if (list && to > text && to[-1] == ',')
		to--;
	*to = '\0';
}

/* Takes BE/@node over into @to. Returns whether that changed it. */
static bool xway_device_read_text(struct xway_device *dev, const char *node, char *to,
				  size_t size, bool list)
{
	char *text = xenbus_read(XBT_NIL, dev->xenbus->nodename, node, NULL);
	bool changed;
	char *end;

	if (IS_ERR(text))
		text = NULL;
	if (text)
		xway_device_clean(text, list);
	if (text && strlen(text) >= size) {
		text[size - 1] = '\0';
		/* Half an address is a wrong one. */
		end = list ? strrchr(text, ',') : NULL;
		if (end)
			*end = '\0';
		pr_warn_ratelimited("domain %u: %s is longer than %zu bytes and was cut\n",
				    dev->domid, node, size - 1);
	}
	end = text && *text ? text : "-";
	changed = strcmp(to, end) != 0;
	if (changed)
		strscpy(to, end, size);
	kfree(text);
	return changed;
}

static void xway_device_read_allow(struct xway_device *dev)
{
	char *text = xenbus_read(XBT_NIL, dev->xenbus->nodename, "allow", NULL);
	char *rest = text, *word;
	u16 domid;

	bitmap_zero(dev->allow, DOMID_FIRST_RESERVED);
	/* What cannot be read allows nobody. */
	if (IS_ERR(text))
		return;
	while ((word = strsep(&rest, " \t\n"))) {
		if (!*word)
			continue;
		if (kstrtou16(word, 10, &domid) || domid >= DOMID_FIRST_RESERVED)
			pr_warn_ratelimited("domain %u: '%.16s' in allow is no domain id\n",
					    dev->domid, word);
		else if (domid != dev->domid)
			__set_bit(domid, dev->allow);
	}
	kfree(text);
}

void xway_device_read_policy(struct xway_device *dev)
{
	bool changed;

	lockdep_assert_held(&xway_broker_L1);
	changed = xway_device_read_text(dev, "mac", dev->mac, sizeof(dev->mac), true);
	changed |= xway_device_read_text(dev, "ip", dev->ip, sizeof(dev->ip), true);
	xway_device_read_allow(dev);
	xway_pair_update(dev);
	if (changed)
		xway_pair_mark_peers(dev);
}

/* Writes what a frontend finds in BE when it comes: @instance, and no peers yet. */
static int xway_device_announce(struct xway_device *dev, u64 instance)
{
	const char *be = dev->xenbus->nodename;
	struct xenbus_transaction xbt;
	int err, tries = XWAY_STORE_TRIES;

	do {
		err = xway_device_begin(dev, &xbt);
		if (err)
			return err;
		/* Not being there is what is wanted of these two. */
		xenbus_rm(xbt, be, "peer");
		xenbus_rm(xbt, be, "link");
		err = xenbus_printf(xbt, be, "version", "%u", XWAY_ABI_VERSION);
		if (!err)
			err = xenbus_printf(xbt, be, "instance", "%016llx", instance);
		if (err) {
			xenbus_transaction_end(xbt, 1);
			return err;
		}
		err = xenbus_transaction_end(xbt, 0);
	} while (err == -EAGAIN && --tries);
	return err;
}

/* Does BE still hold what the last xway_device_announce() wrote? */
static bool xway_device_announced(struct xway_device *dev)
{
	u64 instance;

	return xenbus_scanf(XBT_NIL, dev->xenbus->nodename, "instance", "%llx", &instance) == 1 &&
	       instance == dev->instance;
}

int xway_device_attach(struct xway_device *dev)
{
	enum xenbus_state state;
	u64 instance;
	int err;

	lockdep_assert_held(&xway_broker_L1);
	do {
		instance = get_random_u64();
	} while (!instance);

	err = xway_device_announce(dev, instance);
	if (err)
		return err;
	xway_view_forget(dev);
	dev->instance = instance;
	dev->phase = XWAY_PHASE_WAITING;
	dev->gone = false;

	/* A domain id may have passed to another domain since. */
	xway_device_read_text(dev, "name", dev->name, sizeof(dev->name), false);
	xway_device_read_text(dev, "uuid", dev->uuid, sizeof(dev->uuid), false);
	xway_broker_mark(dev, XWAY_DIRTY_POLICY);
	xway_broker_mark(dev, XWAY_DIRTY_OFFERS);
	xway_broker_mark(dev, XWAY_DIRTY_VIEW);
	xway_pair_mark_peers(dev);

	/*
	 * Last, since from here on the frontend reads what stands above. What xenbus remembers of
	 * BE/state may be about a BE that the toolstack has replaced, and Linux 7 writes nothing
	 * where it remembers something else than Initialising, and finds that. A second InitWait
	 * has to be written, too: it is what makes the frontend look.
	 */
	state = xenbus_read_unsigned(dev->xenbus->nodename, "state", XenbusStateUnknown);
	dev->xenbus->state = state == XenbusStateInitWait ? XenbusStateUnknown : state;
	xenbus_switch_state(dev->xenbus, XenbusStateInitWait);
	return 0;
}

void xway_device_wipe(struct xway_device *dev)
{
	struct xenbus_transaction xbt;
	int err, tries = XWAY_STORE_TRIES;

	lockdep_assert_held(&xway_broker_L1);
	do {
		err = xway_device_begin(dev, &xbt);
		if (err)
			break;
		xenbus_rm(xbt, dev->xenbus->nodename, "peer");
		xenbus_rm(xbt, dev->xenbus->nodename, "link");
		err = xenbus_transaction_end(xbt, 0);
	} while (err == -EAGAIN && --tries);
	if (err && err != -ENOENT)
		pr_warn_ratelimited("domain %u: what it was told of its peers remains (error %d)\n",
				    dev->domid, err);
	xway_view_forget(dev);
}

static void xway_device_connect(struct xway_device *dev)
{
	dev->phase = XWAY_PHASE_CONNECTED;
	xway_broker_mark(dev, XWAY_DIRTY_VIEW);
	xway_pair_mark_peers(dev);
	xenbus_switch_state(dev->xenbus, XenbusStateConnected);
	pr_info_ratelimited("domain %u (%s) attached\n", dev->domid, dev->name);
}

static void xway_device_leave(struct xway_device *dev, enum xenbus_state state)
{
	if (dev->phase == XWAY_PHASE_CONNECTED)
		pr_info_ratelimited("domain %u (%s) detached\n", dev->domid, dev->name);
	if (dev->phase != XWAY_PHASE_OUT) {
		dev->phase = XWAY_PHASE_OUT;
		dev->instance = 0;
		xway_broker_mark(dev, XWAY_DIRTY_VIEW);
		xway_pair_mark_peers(dev);
	}
	xenbus_switch_state(dev->xenbus, state);
}

/* Leaves, and takes the device away from its peers until a frontend begins anew. */
static void xway_device_depart(struct xway_device *dev, enum xenbus_state state)
{
	xway_device_leave(dev, state);
	dev->gone = true;
	xway_pair_drop_all(dev);
}

int xway_device_step(struct xway_device *dev)
{
	/* Pairs with the WRITE_ONCE() in xway_back_xenbus_changed(). */
	enum xenbus_state state = READ_ONCE(dev->frontend_state);

	lockdep_assert_held(&xway_broker_L1);
	if (!xenbus_dev_is_online(dev->xenbus)) {
		/* Ask a frontend to close; where there is none, the device is free to go. */
		bool present = state == XenbusStateConnected || state == XenbusStateClosing;

		xway_device_depart(dev, present ? XenbusStateClosing : XenbusStateClosed);
		return 0;
	}

	switch (state) {
	case XenbusStateInitialising:
		/* The device may have been removed and created before xenbus could notice. */
		if (dev->phase != XWAY_PHASE_WAITING || !xway_device_announced(dev))
			return xway_device_attach(dev);
		break;
	case XenbusStateConnected:
		if (dev->phase == XWAY_PHASE_WAITING)
			xway_device_connect(dev);
		break;
	case XenbusStateClosing:
	case XenbusStateClosed:
		if (dev->phase != XWAY_PHASE_WAITING)
			xway_device_leave(dev, state);
		break;
	case XenbusStateUnknown:
		/* FE has vanished, and with it the domain; or its guest wants to look so. */
		xway_device_depart(dev, XenbusStateClosed);
		break;
	case XenbusStateInitWait:	/* these mean nothing in this protocol */
	case XenbusStateInitialised:
	case XenbusStateReconfiguring:
	case XenbusStateReconfigured:
		break;
	}
	return 0;
}
