// SPDX-License-Identifier: GPL-2.0
/*
 * xenbus.c - devices come and go; what changes about them is noted for the broker
 *
 * DOC: Theory of operation
 *
 * The module's own watches are served in will_handle(), which sets a bit and declines the event. So
 * they never add to xenwatch's queue, however fast a guest writes below FE/link, and there is no
 * callback that removing a watch could wait for.
 *
 * Other backends unregister the device when the frontend's state vanishes. That takes the device's
 * lock inside xenwatch, while whoever unbinds the driver holds that lock and waits for xenwatch: a
 * guest that writes nonsense to its state at the right moment would hang dom0. Here the device
 * stays, marked as gone, until the toolstack removes BE.
 *
 * The driver is registered without an owner, or xenbus would hold a reference to the module for
 * every device and the module could not be unloaded while there are any. It can be: unregistering
 * the driver removes every device, each removal waits for a callback of its watch, and nothing else
 * calls into the module. Devices stay on the bus and are probed when the module is loaded again.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include "xenbus.h"

#include <linux/err.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <xen/xenbus.h>

#include "broker.h"
#include "device.h"

/* Called with a spinlock held. The event needs no more than this: decline it. */
static bool xway_back_xenbus_note(struct xenbus_watch *watch, const char *path, const char *token)
{
	struct xway_watch *w = container_of(watch, struct xway_watch, watch);

	xway_broker_mark(w->device, w->dirty);
	return false;
}

static void xway_back_xenbus_unwatch(struct xway_device *dev)
{
	struct xway_watch *w;

	for (w = dev->watches; w < dev->watches + XWAY_WATCHES; w++) {
		if (!w->watch.node)
			continue;
		unregister_xenbus_watch(&w->watch);
		kfree(w->watch.node);
		w->watch.node = NULL;
	}
}

static int xway_back_xenbus_watch(struct xway_device *dev)
{
	const char *be = dev->xenbus->nodename, *fe = dev->xenbus->otherend;
	const struct {
		const char *dir, *node;
		enum xway_dirty dirty;
	} what[XWAY_WATCHES] = {
		{ be, "online", XWAY_DIRTY_STATE },
		{ be, "allow", XWAY_DIRTY_POLICY },
		{ be, "mac", XWAY_DIRTY_POLICY },
		{ be, "ip", XWAY_DIRTY_POLICY },
		{ fe, "link", XWAY_DIRTY_OFFERS },
	};
	int i, err;

	for (i = 0; i < XWAY_WATCHES; i++) {
		dev->watches[i].device = dev;
		dev->watches[i].dirty = what[i].dirty;
		err = xenbus_watch_pathfmt(dev->xenbus, &dev->watches[i].watch,
					   xway_back_xenbus_note, NULL, "%s/%s",
					   what[i].dir, what[i].node);
		if (err)
			return err;
	}
	return 0;
}

static int xway_back_xenbus_probe(struct xenbus_device *xenbus, const struct xenbus_device_id *id)
{
	struct xway_device *dev;
	int err;

	if (xenbus->otherend_id < 0 || xenbus->otherend_id >= DOMID_FIRST_RESERVED)
		return -EINVAL;
	dev = xway_device_alloc(xenbus);
	if (!dev)
		return -ENOMEM;
	dev_set_drvdata(&xenbus->dev, dev);

	err = xway_broker_admit(dev);
	if (err) {
		if (err == -ENOSPC)
			pr_warn_ratelimited("domain %u is left out: max_domains is %u\n",
					    dev->domid, xway_broker_max_domains);
		goto err_free;
	}
	err = xway_back_xenbus_watch(dev);
	if (err)
		goto err_expel;
	return 0;

err_expel:
	xway_back_xenbus_unwatch(dev);
	xway_broker_expel(dev);
err_free:
	dev_set_drvdata(&xenbus->dev, NULL);
	xway_device_free(dev);
	return err;
}

static void xway_back_xenbus_remove(struct xenbus_device *xenbus)
{
	struct xway_device *dev = dev_get_drvdata(&xenbus->dev);

	/* First, and without a lock: from here on nobody marks the device from outside. */
	xway_back_xenbus_unwatch(dev);
	xway_broker_expel(dev);
	dev_set_drvdata(&xenbus->dev, NULL);
	xway_device_free(dev);
	/* The core writes Closed. */
}

/* FE/state has been written. Runs in xenwatch. */
static void xway_back_xenbus_changed(struct xenbus_device *xenbus, enum xenbus_state state)
{
	struct xway_device *dev = dev_get_drvdata(&xenbus->dev);

	/* Pairs with the READ_ONCE() in xway_device_step(). */
	WRITE_ONCE(dev->frontend_state, state);
	xway_broker_mark(dev, XWAY_DIRTY_STATE);
}

static const struct xenbus_device_id xway_back_xenbus_ids[] = {
	{ "xway" },
	{ "" }
};

static struct xenbus_driver xway_back_xenbus_driver = {
	.ids = xway_back_xenbus_ids,
	.probe = xway_back_xenbus_probe,
	.remove = xway_back_xenbus_remove,
	.otherend_changed = xway_back_xenbus_changed,
};

int xway_back_xenbus_register(void)
{
	return __xenbus_register_backend(&xway_back_xenbus_driver, NULL, KBUILD_MODNAME);
}

void xway_back_xenbus_unregister(void)
{
	xenbus_unregister_driver(&xway_back_xenbus_driver);
}

MODULE_ALIAS("xen-backend:xway");
