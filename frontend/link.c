// SPDX-License-Identifier: GPL-2.0
/*
 * link.c - make a link with a peer, take it down, and everything between the two.
 */
#include "link.h"

#include <linux/bitmap.h>
#include <linux/delay.h>
#include <linux/rculist.h>
#include <linux/slab.h>
#include <xen/events.h>
#include <xen/interface/event_channel.h>
#include <asm/xen/hypercall.h>

#include "conn.h"
#include "peer.h"
#include "total.h"

#define XWAY_CTL_PAGES	8	/* 512 messages: more than two busy sides ever have in flight */

static LIST_HEAD(xway_links);			/* changed on xway_wq under the lock */
static DEFINE_SPINLOCK(xway_links_lock);	/* _bh */
static DECLARE_BITMAP(xway_links_wanted, DOMID_FIRST_RESERVED);	/* atomic */

static void xway_link_work(struct work_struct *work);

static unsigned int xway_slot_pages(void)
{
	return xway_param_slots / XWAY_SLOTS_PER_PAGE;
}

static unsigned int xway_arena_pages(void)
{
	return xway_param_arena_kib * 1024 / XWAY_PAGE_SIZE;
}

unsigned int xway_links_region_pages(void)
{
	return xway_region_arena_first(XWAY_CTL_PAGES, xway_slot_pages()) + xway_arena_pages();
}

int xway_links_init(void)
{
	unsigned int left = XWAY_REGION_PAGES -
			    xway_region_arena_first(XWAY_CTL_PAGES, xway_slot_pages());

	if (xway_arena_pages() <= left)
		return xway_total_init(xway_links_region_pages());
	pr_err("slots=%u leaves room for arena_kib=%lu, not %u: lower one of the two\n",
	       xway_param_slots, left * XWAY_PAGE_SIZE / 1024UL, xway_param_arena_kib);
	return -EINVAL;
}

static void xway_link_release(struct kref *ref)
{
	struct xway_link *link = container_of(ref, struct xway_link, ref);

	xway_account_put(link->account);
	bitmap_free(link->arena);
	kvfree(link->hello);
	kvfree(link->slot);
	kfree(link);
}

void xway_link_put(struct xway_link *link)
{
	if (link)
		kref_put(&link->ref, xway_link_release);
}

struct xway_link *xway_link_get(domid_t domid)
{
	struct xway_link *link;

	spin_lock_bh(&xway_links_lock);
	list_for_each_entry(link, &xway_links, list)
		if (link->domid == domid) {
			kref_get(&link->ref);
			goto out;
		}
	link = NULL;
out:
	spin_unlock_bh(&xway_links_lock);
	return link;
}

/* On xway_wq: no reference needed there. */
static struct xway_link *xway_link_find(domid_t domid)
{
	struct xway_link *link;

	list_for_each_entry(link, &xway_links, list)
		if (link->domid == domid)
			return link;
	return NULL;
}

bool xway_link_is_up(const struct xway_link *link)
{
	return smp_load_acquire(&link->state) == XWAY_LINK_UP && !READ_ONCE(link->broken) &&
	       !READ_ONCE(link->quiesce_seen);
}

const char *xway_link_state_name(const struct xway_link *link)
{
	static const char * const name[] = { "offered", "mapped", "up", "quiescing", "down" };

	return READ_ONCE(link->broken) ? "broken" : name[READ_ONCE(link->state)];
}

void xway_links_each(void (*fn)(struct xway_link *link, void *arg), void *arg)
{
	struct xway_link *link;

	spin_lock_bh(&xway_links_lock);
	list_for_each_entry(link, &xway_links, list)
		fn(link, arg);
	spin_unlock_bh(&xway_links_lock);
}

void xway_link_want(domid_t domid)
{
	if (domid < DOMID_FIRST_RESERVED && !test_and_set_bit(domid, xway_links_wanted))
		xway_device_sync();
}

void xway_link_violation(struct xway_link *link, const char *what)
{
	WRITE_ONCE(link->liar, true);
	if (xchg(&link->broken, true))
		return;
	xway_link_stat_inc(link, violations);
	pr_warn_ratelimited("domain %u broke the protocol: %s; its link is cut\n",
			    link->domid, what);
	mod_delayed_work(xway_wq, &link->work, 0);
}

void xway_link_break(struct xway_link *link, const char *what)
{
	if (xchg(&link->broken, true))
		return;
	pr_warn_ratelimited("the link with domain %u is cut: %s\n", link->domid, what);
	mod_delayed_work(xway_wq, &link->work, 0);
}

static irqreturn_t xway_link_interrupt(int irq, void *data)
{
	struct xway_link *link = data;

	xway_link_stat_inc(link, events);
	/* Xen raises the first event as the port is bound: before the binding has told us its irq. */
	WRITE_ONCE(link->irq, irq);
	WRITE_ONCE(link->event, true);
	tasklet_schedule(&link->tasklet);
	return IRQ_HANDLED;
}

static int xway_evtchn_alloc(domid_t peer, evtchn_port_t *port)
{
	struct evtchn_alloc_unbound op = { .dom = DOMID_SELF, .remote_dom = peer };
	int err = HYPERVISOR_event_channel_op(EVTCHNOP_alloc_unbound, &op);

	*port = op.port;
	return err;
}

static int xway_evtchn_connect(domid_t peer, evtchn_port_t remote, evtchn_port_t *port)
{
	struct evtchn_bind_interdomain op = { .remote_dom = peer, .remote_port = remote };
	int err = HYPERVISOR_event_channel_op(EVTCHNOP_bind_interdomain, &op);

	*port = op.local_port;
	return err;
}

static void xway_evtchn_close(evtchn_port_t port)
{
	struct evtchn_close op = { .port = port };

	HYPERVISOR_event_channel_op(EVTCHNOP_close, &op);
}

/* Owns @port from here on, also when it fails. */
static int xway_link_bind_irq(struct xway_link *link, evtchn_port_t port)
{
	int irq = bind_evtchn_to_irqhandler_lateeoi(port, xway_link_interrupt, 0, "xway", link);

	if (irq < 0) {
		xway_evtchn_close(port);
		return irq;
	}
	link->irq = irq;
	return 0;
}

static struct xway_link *xway_link_alloc(struct xway_peer *peer, u64 self)
{
	struct xway_link *link = kzalloc(sizeof(*link), GFP_KERNEL);
	static u32 seq;	/* xway_wq */

	if (!link)
		return NULL;
	kref_init(&link->ref);
	spin_lock_init(&link->lock);
	INIT_LIST_HEAD(&link->late);
	INIT_DELAYED_WORK(&link->work, xway_link_work);
	INIT_DELAYED_WORK(&link->rest, xway_arena_rest);
	tasklet_setup(&link->tasklet, xway_ctl_tasklet);
	timer_setup(&link->ctl_patience, xway_ctl_patience, 0);
	link->account = xway_account_get(peer->account);
	link->domid = peer->domid;
	link->retry_at = jiffies;
	link->rest_since = jiffies;
	link->instance = peer->instance;
	link->self = self;
	link->seq = seq = seq + 1 ?: 1;
	link->slots = xway_param_slots;
	link->arena_pages = xway_arena_pages();
	link->slot = kvcalloc(link->slots, sizeof(*link->slot), GFP_KERNEL);
	link->arena = bitmap_zalloc(link->arena_pages, GFP_KERNEL);
	if (!link->slot || !link->arena) {
		xway_link_put(link);
		return NULL;
	}
	return link;
}

/* Grant our region, allocate the event channel if that is our part, and write the offer. */
static int xway_link_offer(struct xway_peer *peer, u64 self, domid_t self_domid)
{
	struct xway_link *link = xway_link_alloc(peer, self);
	char text[112];
	int err = -ENOMEM;

	if (!link)
		return err;
	err = xway_total_reserved(peer->domid) ? -EDQUOT :
	      xway_region_create(&link->region, peer->domid, XWAY_CTL_PAGES,
				 xway_slot_pages(), link->arena_pages);
	if (err)
		goto err_put;
	link->region.hdr->instance = self;
	link->region.hdr->peer_instance = peer->instance;
	if (self_domid < peer->domid) {
		err = xway_evtchn_alloc(peer->domid, &link->port);
		if (err)
			goto err_region;
		err = xway_link_bind_irq(link, link->port);
		if (err)
			goto err_region;
	}
	snprintf(text, sizeof(text), "from=%016llx for=%016llx ref=%u port=%u seq=%u", self,
		 peer->instance, link->region.ref[0], link->port, link->seq);
	err = xway_device_offer(peer->domid, text);
	if (err)
		goto err_irq;
	spin_lock_bh(&xway_links_lock);
	list_add_tail(&link->list, &xway_links);
	spin_unlock_bh(&xway_links_lock);
	return 0;

err_irq:
	if (link->irq)
		unbind_from_irqhandler(link->irq, link);
	tasklet_kill(&link->tasklet);
err_region:
	xway_region_destroy(&link->region, XWAY_REGION_PATIENCE_MS);
	xway_region_abandon(&link->region);
err_put:
	xway_link_put(link);
	return err;
}

/* A peer's offer, taken apart. */
struct xway_offer {
	u64 from;
	u64 for_;
	u32 ref;
	u32 port;
	u32 seq;
};

static bool xway_offer_parse(struct xway_offer *offer, const char *text)
{
	return text && sscanf(text, "from=%llx for=%llx ref=%u port=%u seq=%u", &offer->from,
			      &offer->for_, &offer->ref, &offer->port, &offer->seq) == 5 && offer->seq;
}

/* Everything is there: connections may attach. */
static void xway_link_up(struct xway_link *link)
{
	link->rest_since = jiffies;
	smp_store_release(&link->state, XWAY_LINK_UP);
	xway_link_stat_inc(link, links_up);
	pr_info_ratelimited("link with domain %u is up\n", link->domid);
	/* What came before the tasklet would look at messages. */
	tasklet_schedule(&link->tasklet);
	xway_conns_link_up(link);
}

/* MAPPED: has the peer mapped our region, this one and not an earlier one? */
static bool xway_link_answered(const struct xway_link *link)
{
	return xway_load_acquire(&link->view.hdr->ready) == link->seq;
}

/* Map the peer's region and say so. */
static int xway_link_map(struct xway_link *link, const struct xway_offer *offer)
{
	evtchn_port_t port;
	unsigned int i;
	int err;

	err = xway_view_region_map(&link->view, link->domid, offer->ref, link->instance,
				   link->self);
	if (err)
		return err;
	link->hellos = link->view.slot_pages * XWAY_SLOTS_PER_PAGE;
	link->hello = kvcalloc(link->hellos, sizeof(*link->hello), GFP_KERNEL);
	if (!link->hello) {
		err = -ENOMEM;
		goto err_unmap;
	}
	for (i = 0; i < link->hellos; i++) {
		INIT_HLIST_NODE(&link->hello[i].node);
		link->hello[i].link = link;
	}
	if (!link->irq) {
		err = xway_evtchn_connect(link->domid, offer->port, &port);
		if (err)
			goto err_unmap;
		err = xway_link_bind_irq(link, port);
		if (err)
			goto err_unmap;
	}
	link->peer_seq = offer->seq;
	smp_store_release(&link->state, XWAY_LINK_MAPPED);
	xway_store_release(&link->region.hdr->ready, offer->seq);
	/* Pairs with the same barrier on the other side: one of the two sees the other ready. */
	xway_mb();
	xway_ctl_kick(link);
	if (xway_link_answered(link))
		xway_link_up(link);
	return 0;

err_unmap:
	xway_view_region_unmap(&link->view);
	return err;
}

/* Once DOWN, try no new link with this peer before @ms have passed; then look again. */
static void xway_link_retry_in(struct xway_link *link, unsigned int ms)
{
	unsigned long at = jiffies + msecs_to_jiffies(ms);

	if (time_after(at, link->retry_at))
		link->retry_at = at;
	mod_delayed_work(xway_wq, &link->work, link->retry_at - jiffies);
}

/* End what is granted. Whether a peer that has not let it go has done so is looked at less and less often. */
static void xway_link_end_grants(struct xway_link *link, unsigned int patience_ms)
{
	static const unsigned int wait_ms[] = { 100, 1000, XWAY_LINK_CLUNG_MS };

	if (!xway_region_destroy(&link->region, patience_ms))
		return;
	xway_link_retry_in(link, wait_ms[link->clung]);
	if (link->clung + 1 == ARRAY_SIZE(wait_ms))
		return;
	if (++link->clung + 1 == ARRAY_SIZE(wait_ms))
		pr_warn_ratelimited("domain %u keeps %u pages mapped: no new link before it lets them go\n",
				    link->domid, link->region.pages);
}

/* Nothing of the link is used any more: give back all that is shared. */
static void xway_link_down(struct xway_link *link)
{
	unsigned int i;

	/* Senders look at the state under the lock: after this none kicks, or looks at a region. */
	spin_lock_bh(&link->lock);
	smp_store_release(&link->state, XWAY_LINK_DOWN);
	spin_unlock_bh(&link->lock);
	if (link->irq)
		unbind_from_irqhandler(link->irq, link);
	tasklet_kill(&link->tasklet);
	cancel_delayed_work_sync(&link->rest);	/* begun by connections, of which none is left */
	timer_delete_sync(&link->ctl_patience);	/* set where the state is looked at under the lock */
	link->irq = 0;
	xway_device_offer(link->domid, NULL);
	xway_conns_forget_hellos(link);
	xway_ctl_late_free(link);
	xway_view_region_unmap(&link->view);
	xway_link_end_grants(link, XWAY_REGION_PATIENCE_MS);
	if (time_before(jiffies, link->retry_at))
		xway_link_retry_in(link, 0);
	for (i = 0; i < link->slots; i++)
		WARN_ON_ONCE(link->slot[i].conn);
	xway_link_stat_inc(link, links_down);
	pr_info_ratelimited("link with domain %u is down\n", link->domid);
	clear_bit(link->domid, xway_links_wanted);
	xway_device_sync();
}

/* Begin to take the link down; the work does the rest. */
static void xway_link_stop(struct xway_link *link)
{
	switch (link->state) {
	case XWAY_LINK_OFFERED:
	case XWAY_LINK_MAPPED:
		/* The peer may not know that we were there: its offer must be good for another try. */
		link->peer_seq = 0;
		xway_link_down(link);
		break;
	case XWAY_LINK_UP:
		link->deadline = jiffies + msecs_to_jiffies(XWAY_LINK_QUIET_MS);
		smp_store_release(&link->state, XWAY_LINK_QUIESCING);
		mod_delayed_work(xway_wq, &link->work, 0);
		break;
	case XWAY_LINK_QUIESCING:
	case XWAY_LINK_DOWN:
		break;
	}
}

/* One look at a link that is being taken down. */
static void xway_link_quiesce(struct xway_link *link)
{
	bool settled, over;

	if (!link->quiesce_sent) {
		link->quiesce_sent = true;
		xway_ctl_send_id(link, XWAY_MSG_QUIESCE, 0, 0, 0);
	}
	settled = xway_conns_quiesce(link);
	if (settled && READ_ONCE(link->quiesce_seen) && !link->quiet_sent) {
		link->quiet_sent = true;
		xway_ctl_send_id(link, XWAY_MSG_QUIET, 0, 0, 0);
	}
	over = link->quiet_sent && READ_ONCE(link->quiet_seen);
	if (!over && !READ_ONCE(link->broken) && time_after(jiffies, link->deadline)) {
		pr_info_ratelimited("domain %u does not answer: its connections that were on rings are reset\n",
				    link->domid);
		WRITE_ONCE(link->broken, true);
	}
	if ((over || READ_ONCE(link->broken)) && xway_conns_detach(link)) {
		if (!over)
			xway_link_stat_inc(link, links_broken);
		xway_link_down(link);
		return;
	}
	mod_delayed_work(xway_wq, &link->work, msecs_to_jiffies(XWAY_LINK_STEP_MS));
}

/* It is down, and has waited for as long as it was told to. */
static void xway_link_again(struct xway_link *link)
{
	xway_link_end_grants(link, 0);
	if (!link->region.pages)
		xway_device_sync();
}

static void xway_link_work(struct work_struct *work)
{
	struct xway_link *link = container_of(to_delayed_work(work), struct xway_link, work);

	if (link->state == XWAY_LINK_MAPPED && xway_link_answered(link))
		xway_link_up(link);
	if (link->state == XWAY_LINK_UP || link->state == XWAY_LINK_QUIESCING)
		xway_ctl_flush(link);
	if (link->state != XWAY_LINK_DOWN &&
	    (READ_ONCE(link->broken) || READ_ONCE(link->quiesce_seen)))
		xway_link_stop(link);
	if (link->state == XWAY_LINK_QUIESCING)
		xway_link_quiesce(link);
	else if (link->state == XWAY_LINK_DOWN)
		xway_link_again(link);
}

/* A link that is down, and whose peer has withdrawn its offer, may be forgotten. */
static void xway_link_forget(struct xway_link *link)
{
	cancel_delayed_work_sync(&link->work);
	xway_region_destroy(&link->region, XWAY_LINK_LEAVE_MS);
	xway_region_abandon(&link->region);
	spin_lock_bh(&xway_links_lock);
	list_del(&link->list);
	spin_unlock_bh(&xway_links_lock);
	xway_link_put(link);
}

/*
 * Is it too soon for another link with @peer after @link, which is down? Whatever ends that, a watch or the
 * link's work, has it looked at again.
 */
static bool xway_link_bars(struct xway_link *link, const struct xway_peer *peer, u64 self,
			   bool valid, u32 seq)
{
	if (link->region.pages)
		return true;
	return link->instance == peer->instance && link->self == self &&
	       ((valid && seq == link->peer_seq) || READ_ONCE(link->liar) ||
		time_before(jiffies, link->retry_at));
}

/* Does somebody need a link with @peer: that peer, whose offer is @valid, or a connection of ours? */
static bool xway_link_is_wanted(const struct xway_peer *peer, bool valid)
{
	if (!peer->ready || READ_ONCE(xway_leaving))
		return false;
	if (xway_total_is_short(peer->domid)) {
		/* Who had to wait for room may have given up. */
		clear_bit(peer->domid, xway_links_wanted);
		/* Pairs with xway_link_want(): a connection that finds the bit set is seen here. */
		smp_mb__after_atomic();
	}
	return valid || test_bit(peer->domid, xway_links_wanted) ||
	       xway_conns_wanting(peer->domid);
}

static void xway_link_complain(domid_t domid, int err)
{
	pr_warn_ratelimited("no link with domain %u: error %d%s\n", domid, err,
			    err == -EPERM ? ": Xen's policy forbids it" :
			    err == -ENOSPC ? ": all grants of this guest are in use; raise max_grant_frames" : "");
}

/* It is tried again without being asked to: until then it stays wanted, and who asks changes nothing. */
static void xway_link_not_offered(domid_t domid, int err)
{
	set_bit(domid, xway_links_wanted);
	if (err == -EDQUOT) {
		xway_total_short(domid, xway_links_region_pages());
		return;
	}
	xway_total_served(domid);
	xway_link_complain(domid, err);
	xway_device_sync_in(XWAY_LINK_RETRY_MS);
}

void xway_link_sync(struct xway_peer *peer, char *text, u64 self, domid_t self_domid)
{
	struct xway_link *link = xway_link_find(peer->domid);
	struct xway_offer offer = { };
	bool valid;
	int err = 0;

	valid = peer->ready && xway_offer_parse(&offer, text) &&
		offer.from == peer->instance && offer.for_ == self;
	if (link && link->state == XWAY_LINK_DOWN) {
		if (xway_link_bars(link, peer, self, valid, offer.seq))
			return;
		/* Who wanted one meanwhile, and still does, is found below. */
		clear_bit(peer->domid, xway_links_wanted);
		/* Pairs with xway_link_want(), as in xway_link_is_wanted(). */
		smp_mb__after_atomic();
		xway_link_forget(link);
		link = NULL;
	}
	if (!link) {
		if (!xway_link_is_wanted(peer, valid)) {
			xway_total_served(peer->domid);
			return;
		}
		err = xway_link_offer(peer, self, self_domid);
		if (err) {
			xway_link_not_offered(peer->domid, err);
			return;
		}
		xway_total_served(peer->domid);
		link = xway_link_find(peer->domid);
	}
	if (link && link->state == XWAY_LINK_OFFERED && valid &&
	    (link->irq || offer.port)) {
		err = xway_link_map(link, &offer);
		if (err) {
			xway_link_stop(link);
			/* A peer that lies, and policy, may mend; memory will, and so will an offer just withdrawn. */
			xway_link_retry_in(link, err == -EPERM || err == -EPROTO ?
					   XWAY_LINK_REFUSED_MS : XWAY_LINK_RETRY_MS);
			xway_link_complain(peer->domid, err);
		}
	} else if (link && link->state > XWAY_LINK_OFFERED &&
		   !(valid && offer.seq == link->peer_seq)) {
		xway_link_stop(link);
	}
}

void xway_link_gone(struct xway_peer *peer)
{
	struct xway_link *link = xway_link_find(peer->domid);

	clear_bit(peer->domid, xway_links_wanted);
	xway_total_served(peer->domid);
	if (link)
		xway_link_stop(link);
}

void xway_link_yield(struct xway_link *link)
{
	link->yields = true;
	link->retry_at = jiffies + msecs_to_jiffies(XWAY_LINK_RETRY_MS);
	xway_link_stop(link);
}

void xway_links_prune(void)
{
	struct xway_link *link, *next;
	struct xway_peer *peer;

	list_for_each_entry_safe(link, next, &xway_links, list) {
		if (link->state != XWAY_LINK_DOWN || link->region.pages)
			continue;
		peer = xway_peer_get(link->domid);
		if (!peer)
			xway_link_forget(link);
		xway_peer_put(peer);
	}
}

static void xway_links_stop_work(struct work_struct *work)
{
	struct xway_link *link, *next;

	list_for_each_entry_safe(link, next, &xway_links, list) {
		xway_link_stop(link);
		if (link->state == XWAY_LINK_DOWN)
			xway_link_forget(link);
	}
}

bool xway_links_stop(unsigned int ms)
{
	unsigned long deadline = jiffies + msecs_to_jiffies(ms);
	struct work_struct stop;
	bool done;

	INIT_WORK_ONSTACK(&stop, xway_links_stop_work);
	for (;;) {
		queue_work(xway_wq, &stop);
		flush_work(&stop);
		done = list_empty(&xway_links);
		if (done || time_after(jiffies, deadline))
			break;
		msleep(10);
	}
	destroy_work_on_stack(&stop);
	return done;
}
