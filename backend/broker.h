/* SPDX-License-Identifier: GPL-2.0 */
/*
 * broker.h - the table of devices, its lock, and the work that brings Xenstore up to date with it.
 */
#ifndef XWAY_BACK_BROKER_H
#define XWAY_BACK_BROKER_H

#include <linux/mutex.h>
#include <linux/types.h>
#include <linux/xarray.h>

#include "device.h"

#define XWAY_DOMAINS_LIMIT	512u	/* what max_domains may be raised to */
#define XWAY_PAIRS_LIMIT	131072u	/* every two of those */

/* Module parameters; sysfs may change them at any time. */
extern unsigned int xway_broker_max_domains;
extern unsigned int xway_broker_max_pairs;

/* The one lock of the module. Held across Xenstore requests; never while a watch is removed. */
extern struct mutex xway_broker_L1;

/* struct xway_device by domid. Changed under xway_broker_L1. */
extern struct xarray xway_broker_devices;

int xway_broker_start(void);
void xway_broker_stop(void);

/*
 * Enters @dev into the table and attaches it. -EEXIST when its domain has a device already,
 * -ENOSPC when there are max_domains of them.
 */
int xway_broker_admit(struct xway_device *dev);

/* Takes @dev out: its peers lose it, BE loses its peers. On return the broker has forgotten it. */
void xway_broker_expel(struct xway_device *dev);

/* Notes that something of @dev changed and wakes the broker. Any context. */
void xway_broker_mark(struct xway_device *dev, enum xway_dirty dirty);

#endif /* XWAY_BACK_BROKER_H */
