// SPDX-License-Identifier: GPL-2.0
/*
 * broker.c - brings Xenstore up to date with who is there, who may talk, and what they offer
 *
 * DOC: Theory of operation
 *
 * Watches and xenbus do nothing but set a bit in xway_device.dirty and queue one work item. The
 * work makes a pass over all devices: first states and policy, which decide the pairs; then offers;
 * then what each guest is shown. Each step compares with what it did before, so a pass that was not
 * necessary is harmless and an event that came twice costs nothing.
 *
 * Guests cause events at will. They are coalesced in the bits, and after a pass the broker rests
 * for XWAY_BROKER_REST_MS and three times as long as the pass took: whatever guests do, it takes a
 * quarter of one CPU and of Xenstore's time at the most.
 *
 * xway_broker_L1 protects all there is. It is released between devices, so that xenwatch, which
 * removes devices and serves every backend of dom0, waits for the work on one device only.
 * Watches are set and removed without it. xenwatch never waits for the work item.
 *
 * Limits: a device costs Xenstore requests in proportion to its peers whenever one of them comes or
 * goes; max_domains and max_pairs bound that.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include "broker.h"

#include <linux/jiffies.h>
#include <linux/kernel.h>
#include <linux/sched.h>
#include <linux/workqueue.h>

#include "pair.h"
#include "view.h"

#define XWAY_BROKER_REST_MS	10
#define XWAY_BROKER_RETRY_MS	1000	/* after Xenstore has failed us */

DEFINE_MUTEX(xway_broker_L1);
DEFINE_XARRAY(xway_broker_devices);

unsigned int xway_broker_max_domains = 256;
unsigned int xway_broker_max_pairs = 8192;

static unsigned long xway_broker_rest_until;	/* jiffies; used by the work item alone */
static struct workqueue_struct *xway_broker_queue;

static void xway_broker_run(struct work_struct *work);
static DECLARE_DELAYED_WORK(xway_broker_work, xway_broker_run);

void xway_broker_mark(struct xway_device *dev, enum xway_dirty dirty)
{
	set_bit(dirty, &dev->dirty);
	/* Queueing orders the bit before the work: a pass that misses it is followed by another. */
	queue_delayed_work(xway_broker_queue, &xway_broker_work, 0);
}

/* The three steps of a pass. Each returns 0, or an error after which it is to be repeated. */

static int xway_broker_decide(struct xway_device *dev)
{
	int err = 0;

	if (test_and_clear_bit(XWAY_DIRTY_STATE, &dev->dirty)) {
		err = xway_device_step(dev);
		/* BE is gone: xenbus is about to remove the device. */
		if (err == -ENOENT)
			err = 0;
		if (err)
			set_bit(XWAY_DIRTY_STATE, &dev->dirty);
	}
	if (test_and_clear_bit(XWAY_DIRTY_POLICY, &dev->dirty))
		xway_device_read_policy(dev);
	return err;
}

static int xway_broker_collect(struct xway_device *dev)
{
	if (test_and_clear_bit(XWAY_DIRTY_OFFERS, &dev->dirty))
		xway_pair_read_offers(dev);
	return 0;
}

static int xway_broker_publish(struct xway_device *dev)
{
	int err;

	if (!test_and_clear_bit(XWAY_DIRTY_VIEW, &dev->dirty))
		return 0;
	err = xway_view_publish(dev);
	if (err == -ENOENT)
		return 0;
	if (err)
		set_bit(XWAY_DIRTY_VIEW, &dev->dirty);
	return err;
}

/* Does @step for every device. Returns the last error. */
static int xway_broker_for_each(int (*step)(struct xway_device *dev))
{
	struct xway_device *dev;
	unsigned long domid;
	int err, last = 0;

	for (domid = 0; ; domid++) {
		mutex_lock(&xway_broker_L1);
		dev = xa_find(&xway_broker_devices, &domid, ULONG_MAX, XA_PRESENT);
		err = dev ? step(dev) : 0;
		mutex_unlock(&xway_broker_L1);
		if (!dev)
			return last;
		if (err)
			last = err;
		cond_resched();
	}
}

static void xway_broker_run(struct work_struct *work)
{
	unsigned long start = jiffies;
	int err;

	if (time_before(start, xway_broker_rest_until)) {
		queue_delayed_work(xway_broker_queue, &xway_broker_work,
				   xway_broker_rest_until - start);
		return;
	}
	err = xway_broker_for_each(xway_broker_decide);
	err = xway_broker_for_each(xway_broker_collect) ?: err;
	err = xway_broker_for_each(xway_broker_publish) ?: err;
	if (err) {
		pr_warn_ratelimited("Xenstore fails with error %d, trying again\n", err);
		queue_delayed_work(xway_broker_queue, &xway_broker_work,
				   msecs_to_jiffies(XWAY_BROKER_RETRY_MS));
	}
	xway_broker_rest_until = jiffies + 3 * (jiffies - start) +
				 msecs_to_jiffies(XWAY_BROKER_REST_MS);
}

/* Those whose domain has gone wait for the toolstack to remove them, and do not count. */
static unsigned int xway_broker_count(void)
{
	struct xway_device *dev;
	unsigned int count = 0;
	unsigned long domid;

	xa_for_each(&xway_broker_devices, domid, dev)
		count += !dev->gone;
	return count;
}

int xway_broker_admit(struct xway_device *dev)
{
	int err;

	mutex_lock(&xway_broker_L1);
	if (xway_broker_count() >= READ_ONCE(xway_broker_max_domains)) {
		err = -ENOSPC;
		goto err_unlock;
	}
	err = xa_insert(&xway_broker_devices, dev->domid, dev, GFP_KERNEL);
	if (err) {
		/* Xarrays say -EBUSY where the rest of the world says that it exists. */
		err = err == -EBUSY ? -EEXIST : err;
		goto err_unlock;
	}
	err = xway_device_attach(dev);
	if (err)
		goto err_erase;
	mutex_unlock(&xway_broker_L1);
	return 0;

err_erase:
	xa_erase(&xway_broker_devices, dev->domid);
err_unlock:
	mutex_unlock(&xway_broker_L1);
	return err;
}

void xway_broker_expel(struct xway_device *dev)
{
	mutex_lock(&xway_broker_L1);
	xa_erase(&xway_broker_devices, dev->domid);
	xway_pair_drop_all(dev);
	xway_device_wipe(dev);
	mutex_unlock(&xway_broker_L1);
}

int xway_broker_start(void)
{
	xway_broker_queue = alloc_ordered_workqueue("xway_back", 0);
	if (!xway_broker_queue)
		return -ENOMEM;
	xway_broker_rest_until = jiffies;
	return 0;
}

void xway_broker_stop(void)
{
	cancel_delayed_work_sync(&xway_broker_work);
	destroy_workqueue(xway_broker_queue);
}
