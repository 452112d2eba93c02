/* SPDX-License-Identifier: GPL-2.0 */
/*
 * region.h - the pages a link shares: ours, granted to the peer, and the peer's, mapped here.
 */
#ifndef XWAY_REGION_H
#define XWAY_REGION_H

#include <linux/mm.h>
#include <xen/grant_table.h>

#include <xway/abi.h>

/*
 * Our own region. Pages are order 0: PV cannot give contiguous frames, and a page whose grant the
 * peer does not let go of must be able to outlive the rest.
 */
struct xway_region {
	unsigned int	pages;		/* in all; 0: none */
	unsigned int	ctl_pages;
	unsigned int	slot_pages;
	struct page	**page;
	grant_ref_t	*ref;		/* ref[i] grants page[i] */
	struct xway_link_hdr *hdr;	/* page[0] */
};

/* The peer's region, mapped read-only. The geometry is our checked copy, never read again. */
struct xway_view_region {
	unsigned int	pages;		/* in all; 0: not mapped */
	unsigned int	ctl_pages;
	unsigned int	slot_pages;
	struct page	**page;
	grant_handle_t	*handle;
	domid_t		domid;
	const struct xway_link_hdr *hdr;
};

#define XWAY_REGION_PATIENCE_MS	20	/* a peer that goes in good order unmaps within a few */

/*
 * These three may sleep, and run on xway_wq. xway_region_create() allocates, zeroes and grants; the caller
 * fills the rest of the header before it offers ref[0]. Returns 0, -EDQUOT (beyond total_kib, see total.c),
 * -ENOMEM or -ENOSPC (no grants left).
 */
int xway_region_create(struct xway_region *region, domid_t peer, unsigned int ctl_pages,
		       unsigned int slot_pages, unsigned int arena_pages);

/*
 * Ends the grants, and frees the pages; nothing but region->pages may be looked at after it. True if the
 * peer still maps some after @patience_ms: those stay, are counted, and the next call tries again.
 */
bool xway_region_destroy(struct xway_region *region, unsigned int patience_ms);

/* Leaves what xway_region_destroy() has not freed to the kernel, which ends the grants when it can. */
void xway_region_abandon(struct xway_region *region);

/* Pages of all regions, those included that a peer does not let go of. Any context. */
unsigned long xway_region_granted(void);

/*
 * Maps the region whose page 0 is granted to us as @ref. May sleep. Returns 0, -EPROTO (the header
 * is nonsense), -EPERM (Xen refuses the pair), -ENOMEM or -EIO. @instance and @peer_instance are
 * what the header must say.
 */
int xway_view_region_map(struct xway_view_region *view, domid_t peer, grant_ref_t ref,
			 u64 instance, u64 peer_instance);
void xway_view_region_unmap(struct xway_view_region *view);

static inline unsigned int xway_region_arena_first(unsigned int ctl_pages, unsigned int slot_pages)
{
	return 1 + ctl_pages + slot_pages;
}

static inline struct xway_slot *xway_region_slot(const struct xway_region *r, unsigned int i)
{
	struct page *page = r->page[1 + r->ctl_pages + i / XWAY_SLOTS_PER_PAGE];

	return (struct xway_slot *)page_address(page) + i % XWAY_SLOTS_PER_PAGE;
}

static inline const struct xway_slot *xway_view_slot(const struct xway_view_region *v,
						     unsigned int i)
{
	struct page *page = v->page[1 + v->ctl_pages + i / XWAY_SLOTS_PER_PAGE];

	return (struct xway_slot *)page_address(page) + i % XWAY_SLOTS_PER_PAGE;
}

#endif /* XWAY_REGION_H */
