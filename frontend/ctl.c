// SPDX-License-Identifier: GPL-2.0
/*
 * ctl.c - the control queue of a link: send, receive, wake.
 *
 * One event channel serves the link. It is kicked only when the peer has said, by ctl_event, that
 * it found the queue empty; two busy sides make no hypercall. Nor does what is only posted, if the
 * peer comes by in time: it looks into the queue wherever a connection begins, ends, or is used
 * before it is attached.
 */
#include <linux/slab.h>
#include <xen/events.h>

#include "conn.h"
#include "link.h"
#include "trace.h"

#define XWAY_CTL_BUDGET	128	/* messages in one run of the tasklet: bounded work per event */
#define XWAY_CTL_PATIENCE (msecs_to_jiffies(4) + 1)	/* what is posted waits once or twice that */
#define XWAY_CTL_LATE_MAX 16	/* a slot; a peer that takes nothing at all must not eat our memory */

static u32 xway_ctl_capacity(unsigned int ctl_pages)
{
	return ctl_pages * XWAY_MSGS_PER_PAGE;
}

/* May both regions be looked at? They stay as long as link->lock is held, too. */
static bool __xway_ctl_is_open(const struct xway_link *link)
{
	return READ_ONCE(link->state) >= XWAY_LINK_UP && link->state != XWAY_LINK_DOWN &&
	       !READ_ONCE(link->broken);
}

void xway_ctl_kick(struct xway_link *link)
{
	trace_xway_kick(link->domid, link->irq, READ_ONCE(link->ctl_prod));
	xway_link_stat_inc(link, kicks);
	notify_remote_via_irq(link->irq);
}

/* Let the peer know of all that it may have gone to sleep over. link->lock held. */
static void __xway_ctl_tell(struct xway_link *link)
{
	/* Pairs with the full barrier between ctl_event and the second look at ctl_prod. */
	xway_mb();
	if (xway_need_event(xway_load(&link->view.hdr->ctl_event), link->ctl_prod, link->ctl_told))
		xway_ctl_kick(link);
	link->ctl_told = link->ctl_prod;
}

/* Have what lies in the queue now told if it still lies there then. link->lock held. */
static void __xway_ctl_wait(struct xway_link *link)
{
	if (timer_pending(&link->ctl_patience))
		return;
	link->ctl_due = link->ctl_prod;
	mod_timer(&link->ctl_patience, jiffies + XWAY_CTL_PATIENCE);
}

void xway_ctl_patience(struct timer_list *timer)
{
	struct xway_link *link = container_of(timer, struct xway_link, ctl_patience);
	u32 taken;

	spin_lock_bh(&link->lock);
	if (!__xway_ctl_is_open(link))
		goto out;
	taken = xway_load(&link->view.hdr->ctl_cons);
	if ((s32)(taken - link->ctl_due) < 0)
		__xway_ctl_tell(link);
	else if ((s32)(link->ctl_prod - taken) > 0)
		__xway_ctl_wait(link);
out:
	spin_unlock_bh(&link->lock);
}

/* Put @msg in the queue if there is room. link->lock held. */
static bool __xway_ctl_put(struct xway_link *link, const struct xway_msg *msg)
{
	u32 capacity = xway_ctl_capacity(link->region.ctl_pages);
	u32 taken = xway_load_acquire(&link->view.hdr->ctl_cons);
	u32 at = link->ctl_prod & (capacity - 1);
	struct xway_msg *queue;

	lockdep_assert_held(&link->lock);
	if (link->ctl_prod - taken >= capacity)
		return false;
	queue = page_address(link->region.page[1 + at / XWAY_MSGS_PER_PAGE]);
	queue[at % XWAY_MSGS_PER_PAGE] = *msg;
	/* Pairs with the acquiring read of ctl_prod in the peer's tasklet. */
	xway_store_release(&link->region.hdr->ctl_prod, ++link->ctl_prod);
	xway_link_stat_inc(link, msgs_sent);
	return true;
}

/* @post: worth no event, the peer finds it when it looks. */
static void xway_ctl_queue(struct xway_link *link, const struct xway_msg *msg, bool post)
{
	u32 capacity = xway_ctl_capacity(link->region.ctl_pages);
	struct xway_late_msg *late;
	bool first;

	spin_lock_bh(&link->lock);
	if (!__xway_ctl_is_open(link))
		goto out;
	if (list_empty(&link->late) && __xway_ctl_put(link, msg)) {
		if (post && link->ctl_prod - link->ctl_told < capacity / 2)
			__xway_ctl_wait(link);
		else
			__xway_ctl_tell(link);
		goto out;
	}
	__xway_ctl_tell(link);	/* it may be full of what was only posted */
	if (link->late_count >= XWAY_CTL_LATE_MAX * link->slots) {
		xway_link_violation(link, "it takes no message from its queue");
		goto out;
	}
	late = kmalloc(sizeof(*late), GFP_ATOMIC);
	if (!late) {
		xway_link_break(link, "no memory for a message");
		goto out;
	}
	late->msg = *msg;
	first = list_empty(&link->late);
	list_add_tail(&late->list, &link->late);
	link->late_count++;
	if (first)	/* xway_ctl_flush() comes again by itself, and must not be put off by more */
		mod_delayed_work(xway_wq, &link->work, 1);
out:
	spin_unlock_bh(&link->lock);
}

void xway_ctl_send_id(struct xway_link *link, u16 type, u16 arg, u32 to, u32 from)
{
	struct xway_msg msg = { .type = type, .arg = arg, .to = to, .from = from };

	xway_ctl_queue(link, &msg, false);
}

void xway_ctl_post(struct xway_link *link, const struct xway_msg *msg)
{
	xway_ctl_queue(link, msg, true);
}

void xway_ctl_post_id(struct xway_link *link, u16 type, u16 arg, u32 to, u32 from)
{
	struct xway_msg msg = { .type = type, .arg = arg, .to = to, .from = from };

	xway_ctl_queue(link, &msg, true);
}

void xway_ctl_flush(struct xway_link *link)
{
	struct xway_late_msg *late, *next;

	spin_lock_bh(&link->lock);
	list_for_each_entry_safe(late, next, &link->late, list) {
		if (!__xway_ctl_put(link, &late->msg))
			break;
		list_del(&late->list);
		link->late_count--;
		kfree(late);
		__xway_ctl_tell(link);
	}
	if (!list_empty(&link->late))
		mod_delayed_work(xway_wq, &link->work, 1);
	spin_unlock_bh(&link->lock);
}

void xway_ctl_late_free(struct xway_link *link)
{
	struct xway_late_msg *late, *next;

	spin_lock_bh(&link->lock);
	list_for_each_entry_safe(late, next, &link->late, list) {
		list_del(&late->list);
		kfree(late);
	}
	link->late_count = 0;
	spin_unlock_bh(&link->lock);
}

static void xway_ctl_handle(struct xway_link *link, const struct xway_msg *msg)
{
	switch (msg->type) {
	case XWAY_MSG_HELLO:
		xway_conn_on_hello(link, msg);
		break;
	case XWAY_MSG_ATTACH:
		xway_conn_on_attach(link, msg);
		break;
	case XWAY_MSG_DECLINE:
		xway_conn_on_decline(link, msg);
		break;
	case XWAY_MSG_WAKE:
		xway_conn_on_wake(link, msg);
		break;
	case XWAY_MSG_CLOSE:
		xway_conn_on_close(link, msg);
		break;
	case XWAY_MSG_QUIESCE:
		WRITE_ONCE(link->quiesce_seen, true);
		mod_delayed_work(xway_wq, &link->work, 0);
		break;
	case XWAY_MSG_QUIET:
		WRITE_ONCE(link->quiet_seen, true);
		mod_delayed_work(xway_wq, &link->work, 0);
		break;
	default:
		xway_link_violation(link, "it sent an unknown message");
	}
}

/* Take at most a budget of messages. Returns how many; negative: the peer lied. */
static int xway_ctl_receive(struct xway_link *link)
{
	u32 capacity = xway_ctl_capacity(link->view.ctl_pages);
	u32 prod = xway_load_acquire(&link->view.hdr->ctl_prod);
	int taken = 0;

	if (prod - link->ctl_cons > capacity) {
		xway_link_violation(link, "its control queue overflows");
		return -EPROTO;
	}
	while (link->ctl_cons != prod && taken < XWAY_CTL_BUDGET) {
		u32 at = link->ctl_cons & (capacity - 1);
		const struct xway_msg *queue =
			page_address(link->view.page[1 + at / XWAY_MSGS_PER_PAGE]);
		struct xway_msg msg = queue[at % XWAY_MSGS_PER_PAGE];

		/* The peer may change its page meanwhile; only our copy counts from here. */
		barrier();
		WRITE_ONCE(link->ctl_cons, link->ctl_cons + 1);
		taken++;
		xway_ctl_handle(link, &msg);
		if (READ_ONCE(link->broken))
			return -EPROTO;
	}
	/* Pairs with the acquiring read of ctl_cons in the peer's __xway_ctl_put(). */
	xway_store_release(&link->region.hdr->ctl_cons, link->ctl_cons);
	xway_link_stat_add(link, msgs_received, taken);
	return taken;
}

/* Say that we found the queue empty. True if a message came in meanwhile. */
static bool xway_ctl_sleep(struct xway_link *link)
{
	xway_store(&link->region.hdr->ctl_event, link->ctl_cons);
	/* Pairs with the full barrier in the peer's __xway_ctl_put(). */
	xway_mb();
	return xway_load(&link->view.hdr->ctl_prod) != link->ctl_cons;
}

/* Have the tasklet run if there is something for it. @upto: all that is there. False: it is closed. */
static bool xway_ctl_ask(struct xway_link *link, u32 *upto)
{
	bool open;

	spin_lock_bh(&link->lock);
	open = __xway_ctl_is_open(link);
	if (open) {
		*upto = xway_load(&link->view.hdr->ctl_prod);
		if (*upto != READ_ONCE(link->ctl_cons))
			tasklet_schedule(&link->tasklet);
	}
	/* Here soft interrupts run. */
	spin_unlock_bh(&link->lock);
	return open;
}

void xway_ctl_look(struct xway_link *link)
{
	u32 unused;

	xway_ctl_ask(link, &unused);
}

void xway_ctl_hear_out(struct xway_link *link)
{
	bool open;
	u32 upto;

	if (!xway_ctl_ask(link, &upto))
		return;
	for (;;) {
		spin_lock_bh(&link->lock);
		/* Written when messages have been handled; nonsense in @upto breaks the link. */
		open = __xway_ctl_is_open(link) &&
		       (s32)(xway_load(&link->region.hdr->ctl_cons) - upto) < 0;
		spin_unlock_bh(&link->lock);
		if (!open)
			return;
		schedule_timeout_uninterruptible(1);	/* another CPU is at it */
	}
}

static void xway_ctl_look_at(struct xway_link *link, void *unused)
{
	xway_ctl_look(link);
}

void xway_ctl_look_all(void)
{
	xway_links_each(xway_ctl_look_at, NULL);
}

void xway_ctl_tasklet(struct tasklet_struct *tasklet)
{
	struct xway_link *link = from_tasklet(link, tasklet, tasklet);
	bool event = xchg(&link->event, false);
	int taken, budget = XWAY_CTL_BUDGET;

	switch (READ_ONCE(link->state)) {
	case XWAY_LINK_DOWN:
		return;			/* the channel is being closed */
	case XWAY_LINK_OFFERED:
		link->worked = true;	/* the event that Xen raises at binding */
		break;
	case XWAY_LINK_MAPPED:
		/* The peer may have become ready. */
		mod_delayed_work(xway_wq, &link->work, 0);
		link->worked = true;
		break;
	case XWAY_LINK_UP:
	case XWAY_LINK_QUIESCING:
		if (READ_ONCE(link->broken))
			return;		/* no end of interrupt: the channel stays masked */
		do {
			taken = xway_ctl_receive(link);
			if (taken < 0)
				return;
			if (taken)
				link->worked = true;
			/* A turn costs at least one: a peer that only pretends gains nothing. */
			budget -= max(taken, 1);
			if (budget <= 0) {
				if (event)
					WRITE_ONCE(link->event, true);
				tasklet_schedule(&link->tasklet);
				return;
			}
		} while (xway_ctl_sleep(link));
		break;
	}
	if (!event)
		return;		/* we have come by ourselves */
	/* What it was about may have been taken by a look just before. */
	if (!link->worked)
		xway_link_stat_inc(link, events_spurious);
	xen_irq_lateeoi(link->irq, link->worked ? 0 : XEN_EOI_FLAG_SPURIOUS);
	link->worked = false;
}
