// SPDX-License-Identifier: GPL-2.0
/*
 * xway_floor.c - the least that a round trip between two guests can cost here: two kernel threads,
 * one shared page, one event channel; and what it costs to have the hypervisor copy.
 *
 * One guest offers the page and answers; the other takes it and measures:
 *
 *	a# insmod xway_floor.ko peer=DOMID_OF_B
 *	b# insmod xway_floor.ko peer=DOMID_OF_A ref=$(a: cat ref) port=$(a: cat port)
 *	b# echo 1000 > round_trips; cat ns; cat events
 *
 * where the names stand for /sys/module/xway_floor/parameters/NAME. `ns` is of a whole round trip,
 * the mean of the last run. With spin=1 on both sides nobody sleeps and no event is sent.
 *
 *	b# echo 1000 > copies; cat copy_ns; cat grant_copy_ns
 *
 * compares, for 64 KiB, two copies by way of memory that is shared with one by the hypervisor;
 * with spin=0, or the other side looks at the page meanwhile.
 *
 * It is a measuring instrument: its peer is trusted.
 */
#include <linux/io.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <xen/events.h>
#include <xen/grant_table.h>
#include <xen/interface/event_channel.h>
#include <xen/page.h>
#include <xen/xen.h>
#include <asm/xen/hypercall.h>

#define FLOOR_COPY_ORDER	4
#define FLOOR_COPY_PAGES	BIT(FLOOR_COPY_ORDER)

/* A cache line for each direction. */
struct floor_page {
	u32 ping;	/* written by who measures */
	u32 pad[15];
	u32 pong;	/* written by who answers */
};

static unsigned int peer;
module_param(peer, uint, 0444);
MODULE_PARM_DESC(peer, "domain id of the other guest");

static unsigned int ref;
module_param(ref, uint, 0444);
MODULE_PARM_DESC(ref, "grant of the page; without it, this guest offers one, and says here which");

static unsigned int port;
module_param(port, uint, 0444);
MODULE_PARM_DESC(port, "event channel of the guest that offers");

static bool spin;
module_param(spin, bool, 0644);
MODULE_PARM_DESC(spin, "look for the answer without sleeping, and send no event");

static unsigned long long ns;
module_param(ns, ullong, 0444);
MODULE_PARM_DESC(ns, "of a round trip, mean of the last run");

static unsigned long events;
module_param(events, ulong, 0444);
MODULE_PARM_DESC(events, "that have come here since the module was loaded");

static unsigned long long copy_ns;
module_param(copy_ns, ullong, 0444);
MODULE_PARM_DESC(copy_ns, "64 KiB copied into shared memory and out of it, mean of the last run");

static unsigned long long grant_copy_ns;
module_param(grant_copy_ns, ullong, 0444);
MODULE_PARM_DESC(grant_copy_ns, "64 KiB copied once by one hypercall, mean of the last run");

static bool floor_offers;
static struct floor_page *floor_shared;
static struct page *floor_page;
static grant_handle_t floor_handle;
static int floor_irq;
static struct task_struct *floor_thread;	/* answers */
static DECLARE_WAIT_QUEUE_HEAD(floor_news);

static irqreturn_t floor_interrupt(int irq, void *data)
{
	events++;
	wake_up(&floor_news);
	return IRQ_HANDLED;
}

/* The value of @word once it is not @last any more; @last if the thread is to end first. */
static u32 floor_await(const u32 *word, u32 last)
{
	u32 now;

	while ((now = READ_ONCE(*word)) == last) {
		if ((current->flags & PF_KTHREAD ? kthread_should_stop() : signal_pending(current)))
			break;
		if (READ_ONCE(spin)) {
			cpu_relax();
			cond_resched();
		} else {
			wait_event_interruptible_timeout(floor_news, READ_ONCE(*word) != last, HZ);
		}
	}
	return now;
}

static void floor_tell(u32 *word, u32 value)
{
	smp_store_release(word, value);
	if (!READ_ONCE(spin))
		notify_remote_via_irq(floor_irq);
}

static int floor_answer(void *unused)
{
	u32 last = 0, now;

	while (!kthread_should_stop()) {
		now = floor_await(&floor_shared->ping, last);
		if (now != last)
			floor_tell(&floor_shared->pong, now);
		last = now;
	}
	return 0;
}

/* How often the side that measures is to do so. */
static int floor_count(const char *text, unsigned int *count)
{
	int err = kstrtouint(text, 0, count);

	if (err)
		return err;
	return *count && floor_shared && !floor_offers ? 0 : -EINVAL;
}

static int floor_measure(const char *text, const struct kernel_param *param)
{
	unsigned int count, i;
	u64 begin;
	u32 last;
	int err;

	err = floor_count(text, &count);
	if (err)
		return err;
	begin = ktime_get_ns();
	for (i = 0; i < count; i++) {
		last = READ_ONCE(floor_shared->pong);
		floor_tell(&floor_shared->ping, last + 1);
		if (floor_await(&floor_shared->pong, last) == last)
			return -EINTR;
	}
	ns = div_u64(ktime_get_ns() - begin, count);
	return 0;
}

static const struct kernel_param_ops floor_measure_ops = { .set = floor_measure };
module_param_cb(round_trips, &floor_measure_ops, NULL, 0200);
MODULE_PARM_DESC(round_trips, "write a number: so many are measured before the write returns");

/*
 * The peer's page stands for each page of a buffer of its program. To pin and to grant those, which a
 * single copy needs as well, is not in the figure.
 */
static int floor_grant_copy(struct gnttab_copy *ops, struct page *to)
{
	unsigned int i;

	for (i = 0; i < FLOOR_COPY_PAGES; i++)
		ops[i] = (struct gnttab_copy) {
			.source = { .u.ref = ref, .domid = peer },
			.dest = { .u.gmfn = xen_page_to_gfn(to + i), .domid = DOMID_SELF },
			.len = XEN_PAGE_SIZE,
			.flags = GNTCOPY_source_gref,
		};
	gnttab_batch_copy(ops, FLOOR_COPY_PAGES);
	for (i = 0; i < FLOOR_COPY_PAGES; i++)
		if (ops[i].status != GNTST_okay)
			return -EIO;
	return 0;
}

static void floor_two_copies(void *to)
{
	unsigned int i;

	for (i = 0; i < FLOOR_COPY_PAGES; i++) {
		memcpy(floor_shared, to + i * PAGE_SIZE, PAGE_SIZE);
		/* What was written is to be read: no compiler makes one copy of the two. */
		barrier();
		memcpy(to + i * PAGE_SIZE, floor_shared, PAGE_SIZE);
	}
}

static int floor_copy(const char *text, const struct kernel_param *param)
{
	struct floor_page words;
	struct gnttab_copy *ops;
	unsigned int count, i;
	struct page *to;
	u64 begin;
	int err;

	err = floor_count(text, &count);
	if (err)
		return err;
	words = *floor_shared;
	ops = kcalloc(FLOOR_COPY_PAGES, sizeof(*ops), GFP_KERNEL);
	to = alloc_pages(GFP_KERNEL | __GFP_ZERO, FLOOR_COPY_ORDER);
	if (!ops || !to) {
		err = -ENOMEM;
		goto out;
	}
	begin = ktime_get_ns();
	for (i = 0; i < count; i++)
		floor_two_copies(page_address(to));
	copy_ns = div_u64(ktime_get_ns() - begin, count);
	*floor_shared = words;
	begin = ktime_get_ns();
	for (i = 0; i < count && !err; i++)
		err = floor_grant_copy(ops, to);
	grant_copy_ns = div_u64(ktime_get_ns() - begin, count);
out:
	if (to)
		__free_pages(to, FLOOR_COPY_ORDER);
	kfree(ops);
	return err;
}

static const struct kernel_param_ops floor_copy_ops = { .set = floor_copy };
module_param_cb(copies, &floor_copy_ops, NULL, 0200);
MODULE_PARM_DESC(copies, "write a number: 64 KiB are copied so often in either way before the write returns");

/* ---- page and event channel ---- */

static int floor_offer_page(void)
{
	int err;

	floor_page = alloc_page(GFP_KERNEL | __GFP_ZERO);
	if (!floor_page)
		return -ENOMEM;
	err = gnttab_grant_foreign_access(peer, xen_page_to_gfn(floor_page), 0);
	if (err < 0) {
		__free_page(floor_page);
		return err;
	}
	ref = err;
	floor_shared = page_address(floor_page);
	return 0;
}

static int floor_take_page(void)
{
	struct gnttab_map_grant_ref op;
	int err;

	err = gnttab_alloc_pages(1, &floor_page);
	if (err)
		return err;
	gnttab_set_map_op(&op, (unsigned long)page_address(floor_page), GNTMAP_host_map, ref, peer);
	err = gnttab_map_refs(&op, NULL, &floor_page, 1);
	if (err || op.status != GNTST_okay) {
		gnttab_free_pages(1, &floor_page);
		return err ?: -EIO;
	}
	floor_handle = op.handle;
	floor_shared = page_address(floor_page);
	return 0;
}

static void floor_put_page(void)
{
	struct gnttab_unmap_grant_ref op;

	if (floor_offers) {
		gnttab_end_foreign_access(ref, floor_page);	/* frees the page */
		return;
	}
	gnttab_set_unmap_op(&op, (unsigned long)page_address(floor_page), GNTMAP_host_map,
			    floor_handle);
	if (!gnttab_unmap_refs(&op, NULL, &floor_page, 1))
		gnttab_free_pages(1, &floor_page);
}

static int floor_open_channel(void)
{
	struct evtchn_alloc_unbound alloc = { .dom = DOMID_SELF, .remote_dom = peer };
	struct evtchn_bind_interdomain bind = { .remote_dom = peer, .remote_port = port };
	struct evtchn_close close;
	int err;

	if (floor_offers)
		err = HYPERVISOR_event_channel_op(EVTCHNOP_alloc_unbound, &alloc);
	else
		err = HYPERVISOR_event_channel_op(EVTCHNOP_bind_interdomain, &bind);
	if (err)
		return err;
	close.port = floor_offers ? alloc.port : bind.local_port;
	err = bind_evtchn_to_irqhandler(close.port, floor_interrupt, 0, "xway_floor", &floor_news);
	if (err < 0) {
		HYPERVISOR_event_channel_op(EVTCHNOP_close, &close);
		return err;
	}
	floor_irq = err;
	if (floor_offers)
		port = close.port;
	return 0;
}

static int __init floor_init(void)
{
	int err;

	if (!xen_domain())
		return -ENODEV;
	floor_offers = !ref;
	err = floor_offers ? floor_offer_page() : floor_take_page();
	if (err)
		return err;
	err = floor_open_channel();
	if (err)
		goto err_page;
	if (!floor_offers)
		return 0;
	floor_thread = kthread_run(floor_answer, NULL, "xway_floor");
	if (IS_ERR(floor_thread)) {
		err = PTR_ERR(floor_thread);
		goto err_channel;
	}
	return 0;

err_channel:
	unbind_from_irqhandler(floor_irq, &floor_news);
err_page:
	floor_put_page();
	return err;
}
module_init(floor_init);

static void __exit floor_exit(void)
{
	if (floor_thread)
		kthread_stop(floor_thread);
	unbind_from_irqhandler(floor_irq, &floor_news);
	floor_put_page();
}
module_exit(floor_exit);

MODULE_DESCRIPTION("xway: what a round trip between two guests costs at least");
MODULE_LICENSE("GPL");
