/* SPDX-License-Identifier: GPL-2.0 */
/*
 * view.h - what a guest is shown of one other domain: BE/peer/P and BE/link/P.
 */
#ifndef XWAY_BACK_VIEW_H
#define XWAY_BACK_VIEW_H

#include "device.h"

/* Each text is NULL where there is, or shall be, no node. Protected by xway_broker_L1. */
struct xway_view {
	char *peer;		/* BE/peer/P as last written */
	char *link;		/* BE/link/P as last written */
	char *want_peer;	/* what they shall be; used within xway_view_publish() only */
	char *want_link;
};

/*
 * Makes BE/peer and BE/link what the pairs of @dev say they should be, in one transaction that
 * holds nothing but the differences. On failure nothing is changed.
 */
int xway_view_publish(struct xway_device *dev);

/* Forgets what was written, because BE/peer and BE/link no longer exist. */
void xway_view_forget(struct xway_device *dev);

#endif /* XWAY_BACK_VIEW_H */
