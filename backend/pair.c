// SPDX-License-Identifier: GPL-2.0
/*
 * pair.c - who may talk to whom, and what they offer each other
 *
 * DOC: Theory of operation
 *
 * FE/link belongs to a guest, which may fill it with whatever its quota holds. It is therefore
 * never listed: the broker asks for FE/link/P only where P is a domain that this guest may talk to,
 * so the work follows from dom0's policy and not from what the guest wrote. A value that is not a
 * bounded line of printable ASCII naming two instances counts as no offer.
 *
 * An offer is kept with the instances that it names, and is relayed while these are the current
 * ones; when either domain leaves or attaches anew it stops being current by itself.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include "pair.h"

#if __has_include(<linux/hex.h>)
#include <linux/hex.h>		/* in newer kernels hex_to_bin() is here and not in kernel.h */
#endif
#include <linux/kernel.h>
#include <linux/lockdep.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "broker.h"

/* Protected by xway_broker_L1. */
static unsigned int xway_pair_count;

static void xway_pair_create(struct xway_device *one, struct xway_device *two)
{
	struct xway_pair *pair;
	bool swap = one->domid > two->domid;

	if (xway_pair_count >= READ_ONCE(xway_broker_max_pairs)) {
		/* It is tried again when the policy of either changes. */
		pr_warn_ratelimited("domains %u and %u are left out: max_pairs is %u\n",
				    one->domid, two->domid, xway_broker_max_pairs);
		return;
	}
	pair = kzalloc(sizeof(*pair), GFP_KERNEL);
	if (!pair)
		goto err;
	pair->device[swap] = one;
	pair->device[!swap] = two;
	if (xa_err(xa_store(&one->pairs, two->domid, pair, GFP_KERNEL)))
		goto err_free;
	if (xa_err(xa_store(&two->pairs, one->domid, pair, GFP_KERNEL)))
		goto err_erase;
	xway_pair_count++;
	xway_broker_mark(one, XWAY_DIRTY_OFFERS);
	xway_broker_mark(two, XWAY_DIRTY_OFFERS);
	xway_broker_mark(one, XWAY_DIRTY_VIEW);
	xway_broker_mark(two, XWAY_DIRTY_VIEW);
	return;

err_erase:
	xa_erase(&one->pairs, two->domid);
err_free:
	kfree(pair);
err:
	pr_warn_ratelimited("domains %u and %u are left out: out of memory\n",
			    one->domid, two->domid);
}

static void xway_pair_remove(struct xway_pair *pair)
{
	int side;

	for (side = 0; side < 2; side++) {
		xa_erase(&pair->device[side]->pairs, pair->device[!side]->domid);
		xway_broker_mark(pair->device[side], XWAY_DIRTY_VIEW);
		kfree(pair->offer[side].text);
	}
	kfree(pair);
	xway_pair_count--;
}

void xway_pair_update(struct xway_device *dev)
{
	struct xway_device *other;
	struct xway_pair *pair;
	unsigned long domid;
	bool may;

	lockdep_assert_held(&xway_broker_L1);
	xa_for_each(&xway_broker_devices, domid, other) {
		may = !dev->gone && test_bit(other->domid, dev->allow) &&
		      !other->gone && test_bit(dev->domid, other->allow);
		pair = xa_load(&dev->pairs, domid);
		if (may && !pair)
			xway_pair_create(dev, other);
		else if (!may && pair)
			xway_pair_remove(pair);
	}
}

void xway_pair_drop_all(struct xway_device *dev)
{
	struct xway_pair *pair;
	unsigned long domid;

	lockdep_assert_held(&xway_broker_L1);
	xa_for_each(&dev->pairs, domid, pair)
		xway_pair_remove(pair);
}

void xway_pair_mark_peers(struct xway_device *dev)
{
	struct xway_pair *pair;
	unsigned long domid;

	lockdep_assert_held(&xway_broker_L1);
	xa_for_each(&dev->pairs, domid, pair)
		xway_broker_mark(xway_pair_other(pair, dev), XWAY_DIRTY_VIEW);
}

/* One to sixteen hexadecimal digits and nothing else. */
static bool xway_pair_parse_instance(const char *digits, u64 *instance)
{
	size_t i, len = strlen(digits);
	int digit;

	if (!len || len > 16)
		return false;
	*instance = 0;
	for (i = 0; i < len; i++) {
		digit = hex_to_bin(digits[i]);
		if (digit < 0)
			return false;
		*instance = *instance << 4 | digit;
	}
	return true;
}

/*
 * Makes an offer of the @len bytes at @text, which it keeps if they are one. `from` and `for` must
 * be there exactly once: a text that two readers may read differently is none.
 */
static bool xway_pair_parse(struct xway_offer *offer, char *text, unsigned int len)
{
	char copy[XWAY_OFFER_MAX + 1];
	char *rest = copy, *word;
	unsigned int i, from = 0, to = 0;

	if (len > XWAY_OFFER_MAX)
		return false;
	for (i = 0; i < len; i++)
		if (text[i] < ' ' || text[i] > '~')
			return false;
	memcpy(copy, text, len);
	copy[len] = '\0';

	while ((word = strsep(&rest, " "))) {
		if (!strncmp(word, "from=", 5)) {
			if (from++ || !xway_pair_parse_instance(word + 5, &offer->from))
				return false;
		} else if (!strncmp(word, "for=", 4)) {
			if (to++ || !xway_pair_parse_instance(word + 4, &offer->to))
				return false;
		}
	}
	if (!from || !to)
		return false;
	offer->text = text;
	return true;
}

static void xway_pair_read_offer(struct xway_pair *pair, int side)
{
	struct xway_device *dev = pair->device[side], *other = pair->device[!side];
	struct xway_offer *old = &pair->offer[side], offer = { };
	char node[sizeof("link/65535")];
	unsigned int len;
	char *text;

	snprintf(node, sizeof(node), "link/%u", other->domid);
	text = xenbus_read(XBT_NIL, dev->xenbus->otherend, node, &len);
	if (!IS_ERR(text) && !xway_pair_parse(&offer, text, len))
		kfree(text);

	if (old->text && offer.text && !strcmp(old->text, offer.text)) {
		kfree(offer.text);
		return;
	}
	if (old->text || offer.text)
		xway_broker_mark(other, XWAY_DIRTY_VIEW);
	kfree(old->text);
	*old = offer;
}

void xway_pair_read_offers(struct xway_device *dev)
{
	struct xway_pair *pair;
	unsigned long domid;

	lockdep_assert_held(&xway_broker_L1);
	xa_for_each(&dev->pairs, domid, pair)
		xway_pair_read_offer(pair, xway_pair_side(pair, dev));
}

bool xway_pair_offer_current(const struct xway_pair *pair, int side)
{
	const struct xway_device *dev = pair->device[side], *other = pair->device[!side];
	const struct xway_offer *offer = &pair->offer[side];

	return offer->text && xway_device_connected(dev) && xway_device_connected(other) &&
	       offer->from == dev->instance && offer->to == other->instance;
}
