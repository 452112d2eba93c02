/* SPDX-License-Identifier: GPL-2.0 */
/*
 * spin.h - whether a reader looks for the peer's next bytes, or a writer for room, a little longer
 * before it sleeps.
 *
 * DOC: Theory of operation
 *
 * What is said of a reader holds of a writer.
 *
 * A reader that sleeps costs its peer an event and itself an interrupt and two switches: more than
 * many an answer takes. Whether it pays to wait for it awake depends on the peer, on its program,
 * and on whether it has a processor of its own while we have ours. None of this is known, so it is
 * tried: once in a while a wait begins with a look. If the bytes come while it lasts, the following
 * waits begin so, until two in a row have been in vain.
 *
 * A look lasts about as long as sleeping would cost, so that it never costs much more than twice
 * the best choice. What a reader sees of that cost is the time from its wake-up to its next
 * instruction. The whole is XWAY_SPIN_WAKES times that: an event, an interrupt and a wake-up on
 * each of the two sides, and as much again for the peer's program to answer.
 */
#ifndef XWAY_SPIN_H
#define XWAY_SPIN_H

#include <linux/types.h>

#define XWAY_SPIN_TRY	32	/* waits from one try to the next while it does not pay */
#define XWAY_SPIN_MISS	2	/* looks in vain, in a row, until it is held not to pay */
#define XWAY_SPIN_WAKES	8	/* see above */
#define XWAY_SPIN_WAKE_MAX 1000000	/* ns */

/* All zero: it is held not to pay, and once a sleep has been seen the next wait is a try. */
struct xway_spin {
	__u32 wake_ns;	/* what a wake-up takes, a moving average; 0: not known yet */
	__u8 left;	/* looks in vain that are still forgiven; 0: it does not pay */
	__u8 until_try;	/* waits until the next try */
};

/* How long this wait looks, in ns, at most @max; 0: not at all. */
static inline __u64 xway_spin_for(struct xway_spin *spin, __u64 max)
{
	__u64 ns = (__u64)spin->wake_ns * XWAY_SPIN_WAKES;

	if (!ns || !max)
		return 0;
	if (!spin->left) {
		if (spin->until_try) {
			spin->until_try--;
			return 0;
		}
		spin->until_try = XWAY_SPIN_TRY - 1;
	}
	return ns < max ? ns : max;
}

/* A sleeper was woken @ns ago and runs now. */
static inline void xway_spin_woken(struct xway_spin *spin, __u64 ns)
{
	/* More than that, and it has waited for a processor: that says nothing of the wake-up. */
	if (ns > XWAY_SPIN_WAKE_MAX)
		return;
	spin->wake_ns = spin->wake_ns ? spin->wake_ns - spin->wake_ns / 8 + (__u32)ns / 8 : (__u32)ns;
}

/* A look has ended: @hit says whether the bytes came. */
static inline void xway_spin_learn(struct xway_spin *spin, bool hit)
{
	if (hit)
		spin->left = XWAY_SPIN_MISS;
	else if (spin->left)
		spin->left--;
}

#endif /* XWAY_SPIN_H */
