// SPDX-License-Identifier: GPL-2.0
/*
 * device.c - our end of the xenbus device: states, the directory, our offers.
 *
 * Watches only say that something changed; one work item on xway_wq looks at everything and acts,
 * so that dom0 may change nodes at any speed.
 */
#include <linux/slab.h>
#include <xen/xenbus.h>

#include "conn.h"
#include "link.h"
#include "peer.h"

static struct xenbus_device *xway_dev;	/* written by probe and remove, with the work idle */
static DEFINE_MUTEX(xway_dev_mutex);	/* keeps xway_dev for those not on xway_wq */
static struct xenbus_watch xway_peer_watch;
static struct xenbus_watch xway_link_watch;
static bool xway_removing;		/* written by probe and remove: make no new link */
static u64 xway_instance;		/* xway_wq; 0: not connected */
static domid_t xway_domid;		/* xway_wq */

static void xway_sync(struct work_struct *work);
static DECLARE_DELAYED_WORK(xway_sync_work, xway_sync);

void xway_device_sync(void)
{
	mod_delayed_work(xway_wq, &xway_sync_work, 0);
}

void xway_device_sync_in(unsigned int ms)
{
	queue_delayed_work(xway_wq, &xway_sync_work, msecs_to_jiffies(ms));
}

int xway_device_offer(domid_t peer, const char *text)
{
	char node[16];

	if (!xway_dev)
		return -ENODEV;
	snprintf(node, sizeof(node), "link/%u", peer);
	if (text)
		return xenbus_write(XBT_NIL, xway_dev->nodename, node, text);
	xenbus_rm(XBT_NIL, xway_dev->nodename, node);
	return 0;
}

static void xway_watch_fired(struct xenbus_watch *watch, const char *path, const char *token)
{
	xway_device_sync();
}

/* One event says as much as many: the queue must not grow. */
static bool xway_watch_will_handle(struct xenbus_watch *watch, const char *path,
				   const char *token)
{
	return watch->nr_pending == 0;
}

static void xway_sync_peer(struct xway_peer *peer, void *unused)
{
	char node[16];
	char *offer;

	snprintf(node, sizeof(node), "link/%u", peer->domid);
	offer = xenbus_read(XBT_NIL, xway_dev->otherend, node, NULL);
	xway_link_sync(peer, IS_ERR(offer) ? NULL : offer, xway_instance, xway_domid);
	if (!IS_ERR(offer))
		kfree(offer);
}

/* The broker waits for us, perhaps once more: it has drawn an instance for us. */
static void xway_connect(struct xenbus_device *dev)
{
	u64 instance;
	unsigned int domid;

	if (xenbus_scanf(XBT_NIL, dev->otherend, "instance", "%llx", &instance) != 1 ||
	    xenbus_scanf(XBT_NIL, "domid", "", "%u", &domid) != 1 || !instance)
		return;
	if (instance == xway_instance && dev->state == XenbusStateConnected)
		return;
	xway_peers_clear(xway_link_gone);
	xenbus_rm(XBT_NIL, dev->nodename, "link");
	xway_instance = instance;
	xway_domid = domid;
	xenbus_printf(XBT_NIL, dev->nodename, "version", "%u", XWAY_ABI_VERSION);
	xenbus_switch_state(dev, XenbusStateConnected);
	pr_info("connected as domain %u\n", domid);
}

static void xway_disconnect(struct xenbus_device *dev)
{
	xway_peers_clear(xway_link_gone);
	xway_instance = 0;
	xenbus_frontend_closed(dev);
}

static void xway_sync(struct work_struct *work)
{
	struct xenbus_device *dev = READ_ONCE(xway_dev);

	if (!dev || READ_ONCE(xway_removing))
		return;
	/* xenbus_read_driver_state() takes the device as well in some kernels, and does no more than this. */
	switch (xenbus_read_unsigned(dev->otherend, "state", XenbusStateUnknown)) {
	case XenbusStateInitWait:
		xway_connect(dev);
		break;
	case XenbusStateConnected:
		/* It may have been away and back between two looks of ours. */
		xway_connect(dev);
		xway_peers_sync(dev->otherend, xway_link_gone);
		xway_peers_each(xway_sync_peer, NULL);
		xway_links_prune();
		break;
	case XenbusStateClosing:
	case XenbusStateClosed:
		/* Before we are connected this is our earlier life: the broker will answer. */
		if (dev->state == XenbusStateConnected)
			xway_disconnect(dev);
		break;
	default:
		break;
	}
}

static void xway_otherend_changed(struct xenbus_device *dev, enum xenbus_state state)
{
	xway_device_sync();
}

static void xway_unwatch(struct xenbus_watch *watch)
{
	if (!watch->node)
		return;
	unregister_xenbus_watch(watch);
	kfree(watch->node);
	memset(watch, 0, sizeof(*watch));
}

static int xway_probe(struct xenbus_device *dev, const struct xenbus_device_id *id)
{
	int err;

	if (xway_dev) {
		dev_err(&dev->dev, "a guest has one xway device; this one is ignored\n");
		return -EEXIST;
	}
	err = xenbus_watch_pathfmt(dev, &xway_peer_watch, xway_watch_will_handle,
				   xway_watch_fired, "%s/peer", dev->otherend);
	if (err)
		return err;
	err = xenbus_watch_pathfmt(dev, &xway_link_watch, xway_watch_will_handle,
				   xway_watch_fired, "%s/link", dev->otherend);
	if (err)
		goto err_unwatch;
	/* After an earlier life: the broker draws a new instance. */
	xenbus_switch_state(dev, XenbusStateInitialising);
	WRITE_ONCE(xway_removing, false);
	WRITE_ONCE(xway_dev, dev);
	xway_device_sync();
	return 0;

err_unwatch:
	xway_unwatch(&xway_peer_watch);
	return err;
}

static void xway_drop_peers(struct work_struct *work)
{
	xway_peers_clear(xway_link_gone);
}

static void xway_remove(struct xenbus_device *dev)
{
	struct work_struct drop;

	WRITE_ONCE(xway_removing, true);
	xway_unwatch(&xway_link_watch);
	xway_unwatch(&xway_peer_watch);
	cancel_delayed_work_sync(&xway_sync_work);
	INIT_WORK_ONSTACK(&drop, xway_drop_peers);
	queue_work(xway_wq, &drop);
	flush_work(&drop);
	destroy_work_on_stack(&drop);
	xway_links_stop(2 * XWAY_LINK_QUIET_MS);
	mutex_lock(&xway_dev_mutex);
	WRITE_ONCE(xway_dev, NULL);
	mutex_unlock(&xway_dev_mutex);
	cancel_delayed_work_sync(&xway_sync_work);
	xway_instance = 0;
	xenbus_switch_state(dev, XenbusStateClosed);
}

static const struct xenbus_device_id xway_ids[] = {
	{ "xway" },
	{ "" },
};

static struct xenbus_driver xway_driver = {
	.ids = xway_ids,
	.probe = xway_probe,
	.remove = xway_remove,
	.otherend_changed = xway_otherend_changed,
	.not_essential = true,
};

int xway_device_register(void)
{
	/*
	 * With an owner the xenbus core would pin the module while a device is bound, which is
	 * always. Unregistering removes the device first, so that nothing is left to protect.
	 */
	return __xenbus_register_frontend(&xway_driver, NULL, NULL);
}

void xway_device_unregister(void)
{
	xenbus_unregister_driver(&xway_driver);
}

void xway_device_status(struct seq_file *seq)
{
	const struct xenbus_device *dev;
	const char *state = "no-device";

	mutex_lock(&xway_dev_mutex);
	dev = xway_dev;
	if (dev)
		state = dev->state == XenbusStateConnected ? "connected" :
			dev->state == XenbusStateClosed ? "closed" : "connecting";
	seq_printf(seq, "version=%u domid=%u instance=%016llx state=%s", XWAY_ABI_VERSION,
		   xway_domid, xway_instance, state);
	mutex_unlock(&xway_dev_mutex);
}

MODULE_ALIAS("xen:xway");
