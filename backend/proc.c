// SPDX-License-Identifier: GPL-2.0
/*
 * proc.c - /proc/xway_back/domains and /proc/xway_back/links; docs/interfaces.md describes them
 */
#include "proc.h"

#include <linux/errno.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>

#include "broker.h"
#include "device.h"
#include "pair.h"

#define XWAY_PROC_DIR "xway_back"

/* The position in either file is a domid; what start() found stays until stop(). */

static void *xway_back_proc_at(loff_t *pos)
{
	unsigned long domid = *pos;
	void *dev = xa_find(&xway_broker_devices, &domid, ULONG_MAX, XA_PRESENT);

	if (dev)
		*pos = domid;
	return dev;
}

static void *xway_back_proc_start(struct seq_file *m, loff_t *pos)
{
	mutex_lock(&xway_broker_L1);
	return xway_back_proc_at(pos);
}

static void *xway_back_proc_next(struct seq_file *m, void *v, loff_t *pos)
{
	++*pos;
	return xway_back_proc_at(pos);
}

static void xway_back_proc_stop(struct seq_file *m, void *v)
{
	mutex_unlock(&xway_broker_L1);
}

static const char *xway_back_proc_state(enum xway_phase phase)
{
	switch (phase) {
	case XWAY_PHASE_OUT:
		return "closed";
	case XWAY_PHASE_WAITING:
		return "waiting";
	case XWAY_PHASE_CONNECTED:
		return "connected";
	}
	return "-";
}

static int xway_back_proc_domain(struct seq_file *m, void *v)
{
	const struct xway_device *dev = v;

	seq_printf(m, "domid=%u name=%s uuid=%s instance=%016llx state=%s mac=%s ip=%s allow=",
		   dev->domid, dev->name, dev->uuid, dev->instance,
		   xway_back_proc_state(dev->phase), dev->mac, dev->ip);
	if (bitmap_empty(dev->allow, DOMID_FIRST_RESERVED)) {
		seq_puts(m, "-\n");
	} else {
		unsigned int domid, n = 0;

		for_each_set_bit(domid, dev->allow, DOMID_FIRST_RESERVED)
			seq_printf(m, "%s%u", n++ ? "," : "", domid);
		seq_putc(m, '\n');
	}
	return 0;
}

/* The pairs in which @v has the lower domid. */
static int xway_back_proc_link(struct seq_file *m, void *v)
{
	struct xway_device *dev = v;
	struct xway_pair *pair;
	unsigned long domid;

	xa_for_each_start(&dev->pairs, domid, pair, dev->domid)
		seq_printf(m, "a=%u b=%lu a_offer=%d b_offer=%d\n", dev->domid, domid,
			   xway_pair_offer_current(pair, 0), xway_pair_offer_current(pair, 1));
	return 0;
}

static const struct seq_operations xway_back_proc_domains = {
	.start = xway_back_proc_start,
	.next = xway_back_proc_next,
	.stop = xway_back_proc_stop,
	.show = xway_back_proc_domain,
};

static const struct seq_operations xway_back_proc_links = {
	.start = xway_back_proc_start,
	.next = xway_back_proc_next,
	.stop = xway_back_proc_stop,
	.show = xway_back_proc_link,
};

int xway_back_proc_create(void)
{
	struct proc_dir_entry *dir = proc_mkdir(XWAY_PROC_DIR, NULL);

	if (!dir)
		return -ENOMEM;
	if (proc_create_seq("domains", 0400, dir, &xway_back_proc_domains) &&
	    proc_create_seq("links", 0400, dir, &xway_back_proc_links))
		return 0;
	xway_back_proc_remove();
	return -ENOMEM;
}

void xway_back_proc_remove(void)
{
	remove_proc_subtree(XWAY_PROC_DIR, NULL);
}
