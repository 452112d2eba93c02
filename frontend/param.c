// SPDX-License-Identifier: GPL-2.0
/*
 * param.c - module parameters, each with its range.
 */
#include "front.h"

#include <linux/moduleparam.h>

#include <xway/abi.h>

#define XWAY_SLOTS_STEP	32
static_assert(XWAY_SLOTS_STEP == XWAY_SLOTS_PER_PAGE);

bool xway_param_enable = true;
module_param_named(enable, xway_param_enable, bool, 0644);
MODULE_PARM_DESC(enable, "let connections use rings; off moves them to TCP (default: on)");

/* A number with its range, for one pair of get and set functions. */
struct xway_range {
	unsigned int *value;
	unsigned int min;
	unsigned int max;
	unsigned int step;	/* a multiple of it; 0: a power of two */
};

static const char *xway_range_kind(const struct xway_range *range)
{
	return range->step == 0 ? "a power of two" : range->step == 1 ? "a whole number" :
	       "a multiple of " __stringify(XWAY_SLOTS_STEP);
}

static int xway_range_set(const char *text, const struct kernel_param *kp)
{
	const struct xway_range *range = kp->arg;
	unsigned int value;
	int err = kstrtouint(text, 0, &value);

	if (!err && (value < range->min || value > range->max))
		err = -ERANGE;
	if (!err && (range->step ? value % range->step : value & (value - 1)))
		err = -EINVAL;
	if (err) {
		pr_err("%s=%.*s: give %s from %u to %u\n", kp->name,
		       min_t(int, strcspn(text, "\n"), 32), text, xway_range_kind(range),
		       range->min, range->max);
		return err;
	}
	WRITE_ONCE(*range->value, value);
	return 0;
}

static int xway_range_get(char *buffer, const struct kernel_param *kp)
{
	const struct xway_range *range = kp->arg;

	return sysfs_emit(buffer, "%u\n", *range->value);
}

static const struct kernel_param_ops xway_range_ops = {
	.set = xway_range_set,
	.get = xway_range_get,
};

#define XWAY_RANGE_PARAM(name, initial, low, high, step, mode, text)			\
	unsigned int xway_param_##name = (initial);					\
	static const struct xway_range xway_range_##name = {				\
		&xway_param_##name, (low), (high), (step) };				\
	module_param_cb(name, &xway_range_ops, (void *)&xway_range_##name, mode);	\
	MODULE_PARM_DESC(name, text)

XWAY_RANGE_PARAM(ring_kib, 256, 16, (XWAY_PAGE_SIZE << XWAY_RING_ORDER_MAX) / 1024, 0, 0644,
		 "size to which a ring may grow in KiB, a power of two from 16 to 1024 (default: 256)");
XWAY_RANGE_PARAM(idle_ms, 1000, 0, 3600000, 1, 0644,
		 "a connection that has sent nothing for so many ms gives its ring back; 0 = never (default: 1000)");
XWAY_RANGE_PARAM(slots, 1024, XWAY_SLOTS_STEP, 10240, XWAY_SLOTS_STEP, 0444,
		 "connections with each peer that may use rings, a multiple of 32 up to 10240 (default: 1024)");
XWAY_RANGE_PARAM(arena_kib, 2048, 64, 3584, 1, 0444,
		 "memory granted to each peer for rings in KiB, 64 to 3584 (default: 2048)");
XWAY_RANGE_PARAM(total_kib, 0, 256, 1U << 22, 1, 0644,
		 "memory granted to all peers together in KiB, 256 to 4194304 (default: an eighth of the guest's, at most 65536)");
XWAY_RANGE_PARAM(spin_us, 1000, 0, 10000, 1, 0644,
		 "how long a blocking read may look for bytes, and a write for room, at most, where that costs less than to sleep, in us; 0 = not at all (default: 1000)");
XWAY_RANGE_PARAM(flip_ms, 0, 0, 60000, 1, 0644,
		 "debug: switch rails at random about every so many ms, 0 = off (default: 0)");
