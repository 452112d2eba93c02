/* SPDX-License-Identifier: GPL-2.0 */
/*
 * pair.h - two domains that may talk, and what each has offered the other.
 */
#ifndef XWAY_BACK_PAIR_H
#define XWAY_BACK_PAIR_H

#include <linux/types.h>

#include "device.h"

#define XWAY_OFFER_MAX	256	/* bytes of an offer; longer ones are not relayed */

/* The text of FE/link/P and the two instances it names. `text` is NULL when there is none. */
struct xway_offer {
	char *text;
	u64 from;
	u64 to;
};

/* Everything here is protected by xway_broker_L1. */
struct xway_pair {
	struct xway_device *device[2];	/* the lower domid first */
	struct xway_offer offer[2];	/* offer[i] is made by device[i] */
};

/* Creates and removes pairs of @dev until they are what both sides' `allow` say. */
void xway_pair_update(struct xway_device *dev);

/* Removes all pairs of @dev. */
void xway_pair_drop_all(struct xway_device *dev);

/* Has whoever sees @dev look at it again. */
void xway_pair_mark_peers(struct xway_device *dev);

/* Reads again what @dev offers to each domain that it may talk to. */
void xway_pair_read_offers(struct xway_device *dev);

/* Is the offer of device[@side] one between the present instances of both? */
bool xway_pair_offer_current(const struct xway_pair *pair, int side);

static inline int xway_pair_side(const struct xway_pair *pair, const struct xway_device *dev)
{
	return pair->device[1] == dev;
}

static inline struct xway_device *xway_pair_other(const struct xway_pair *pair,
						  const struct xway_device *dev)
{
	return pair->device[!xway_pair_side(pair, dev)];
}

#endif /* XWAY_BACK_PAIR_H */
