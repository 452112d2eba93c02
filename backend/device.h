/* SPDX-License-Identifier: GPL-2.0 */
/*
 * device.h - one guest that may use xway, as its xenbus device shows it.
 */
#ifndef XWAY_BACK_DEVICE_H
#define XWAY_BACK_DEVICE_H

#include <linux/bitmap.h>
#include <linux/types.h>
#include <linux/xarray.h>
#include <xen/interface/xen.h>
#include <xen/xenbus.h>

#define XWAY_NAME_SIZE		65	/* bytes of a name or UUID to pass on, NUL included */
#define XWAY_LIST_SIZE		513	/* the same of a list of MACs or addresses */
#define XWAY_STORE_TRIES	8	/* of a transaction that others keep disturbing */

/* What has changed about a device since the broker last looked: bits of xway_device.dirty. */
enum xway_dirty {
	XWAY_DIRTY_STATE,	/* FE/state or BE/online */
	XWAY_DIRTY_POLICY,	/* BE/allow, BE/mac or BE/ip */
	XWAY_DIRTY_OFFERS,	/* something under FE/link */
	XWAY_DIRTY_VIEW,	/* what BE/peer and BE/link ought to say */
};

enum xway_phase {
	XWAY_PHASE_OUT,		/* no frontend, or it has left */
	XWAY_PHASE_WAITING,	/* InitWait: an instance is drawn, the frontend may take it */
	XWAY_PHASE_CONNECTED,	/* both ends are Connected */
};

/* A watch that does nothing but set one bit of its device's `dirty`. */
struct xway_watch {
	struct xenbus_watch watch;
	struct xway_device *device;
	enum xway_dirty dirty;
};

#define XWAY_WATCHES 5

/* Fields below the line are protected by xway_broker_L1; the others are constant or say how. */
struct xway_device {
	struct xenbus_device *xenbus;
	domid_t domid;
	unsigned long dirty;			/* enum xway_dirty, atomic bit operations */
	enum xenbus_state frontend_state;	/* written by xenwatch, read by the broker */
	struct xway_watch watches[XWAY_WATCHES];

	/* ---- */
	enum xway_phase phase;
	bool gone;				/* the domain, or its leave to be here; no pairs */
	u64 instance;				/* 0 exactly in XWAY_PHASE_OUT */
	char name[XWAY_NAME_SIZE];
	char uuid[XWAY_NAME_SIZE];
	char mac[XWAY_LIST_SIZE];		/* separated by commas, "-" when empty; so is ip */
	char ip[XWAY_LIST_SIZE];
	DECLARE_BITMAP(allow, DOMID_FIRST_RESERVED);
	struct xarray pairs;			/* struct xway_pair by the other's domid */
	struct xarray views;			/* struct xway_view by the other's domid */
};

/* Allocates the object behind @xenbus. Returns NULL when out of memory. */
struct xway_device *xway_device_alloc(struct xenbus_device *xenbus);
void xway_device_free(struct xway_device *dev);

/*
 * Starts a transaction on BE, provided that BE is still there: a blind write would bring back what
 * the toolstack has just removed. -ENOENT when it is not.
 */
int xway_device_begin(struct xway_device *dev, struct xenbus_transaction *xbt);

/*
 * Offers the device to its frontend: whatever earlier brokers or frontends left in BE is wiped, a
 * new instance is drawn, and BE goes to InitWait.
 */
int xway_device_attach(struct xway_device *dev);

/* Withdraws all that BE says about peers, for good. */
void xway_device_wipe(struct xway_device *dev);

/* Follows FE/state and BE/online. May be called at any time, with any state, and again. */
int xway_device_step(struct xway_device *dev);

/* Takes over BE/allow, BE/mac and BE/ip. */
void xway_device_read_policy(struct xway_device *dev);

static inline bool xway_device_connected(const struct xway_device *dev)
{
	return dev->phase == XWAY_PHASE_CONNECTED;
}

#endif /* XWAY_BACK_DEVICE_H */
