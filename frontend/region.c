// SPDX-License-Identifier: GPL-2.0
/*
 * region.c - the pages a link shares: allocate and grant ours, map and unmap the peer's.
 */
#include "region.h"

#include <linux/delay.h>
#include <linux/slab.h>
#include <xen/page.h>
#include <xen/xen.h>

#include "front.h"
#include "total.h"

static unsigned long xway_region_sum;	/* pages of all regions: written on xway_wq, read anywhere */

unsigned long xway_region_granted(void)
{
	return READ_ONCE(xway_region_sum);
}

/* @region has this many pages now; with none it is as new. */
static void xway_region_resize(struct xway_region *region, unsigned int pages)
{
	WRITE_ONCE(xway_region_sum, xway_region_sum + pages - region->pages);
	region->pages = pages;
	if (pages)
		return;
	kvfree(region->ref);
	kvfree(region->page);
	memset(region, 0, sizeof(*region));
}

/* The peer may be about to unmap: wait for it until @deadline. */
static bool xway_region_end_grant(grant_ref_t ref, unsigned long deadline)
{
	while (!gnttab_try_end_foreign_access(ref)) {
		if (!time_before(jiffies, deadline))
			return false;
		msleep(1);
	}
	return true;
}

bool xway_region_destroy(struct xway_region *region, unsigned int patience_ms)
{
	unsigned long deadline = jiffies + msecs_to_jiffies(patience_ms);
	unsigned int i, kept = 0;

	for (i = 0; i < region->pages && region->page[i]; i++) {
		/* Not granted: it was being created. No grant is number 0, the kernel reserves the first few. */
		if (!region->ref[i] || xway_region_end_grant(region->ref[i], deadline)) {
			__free_page(region->page[i]);
			continue;
		}
		region->page[kept] = region->page[i];
		region->ref[kept++] = region->ref[i];
	}
	xway_region_resize(region, kept);
	return kept;
}

void xway_region_abandon(struct xway_region *region)
{
	unsigned int i;

	for (i = 0; i < region->pages; i++)
		gnttab_end_foreign_access(region->ref[i], region->page[i]);
	xway_region_resize(region, 0);
}

int xway_region_create(struct xway_region *region, domid_t peer, unsigned int ctl_pages,
		       unsigned int slot_pages, unsigned int arena_pages)
{
	unsigned int pages = 1 + ctl_pages + slot_pages + arena_pages;
	int err = -ENOMEM;
	unsigned int i;
	int ref;

	if (!xway_total_allows(pages))
		return -EDQUOT;
	region->page = kvcalloc(pages, sizeof(*region->page), GFP_KERNEL);
	region->ref = kvcalloc(pages, sizeof(*region->ref), GFP_KERNEL);
	if (!region->page || !region->ref)
		goto err_free;
	xway_region_resize(region, pages);
	region->ctl_pages = ctl_pages;
	region->slot_pages = slot_pages;
	for (i = 0; i < pages; i++) {
		region->page[i] = alloc_page(GFP_KERNEL | __GFP_ZERO | __GFP_NORETRY |
					     __GFP_NOWARN);
		if (!region->page[i])
			goto err_free;
	}
	region->hdr = page_address(region->page[0]);
	for (i = 0; i < pages; i++) {
		ref = gnttab_grant_foreign_access(peer, xen_page_to_gfn(region->page[i]), 1);
		if (ref < 0) {
			err = -ENOSPC;
			goto err_free;
		}
		region->ref[i] = ref;
		if (i)
			region->hdr->refs[i - 1] = ref;
	}
	region->hdr->magic = XWAY_LINK_MAGIC;
	region->hdr->version = XWAY_ABI_VERSION;
	region->hdr->pages = pages;
	region->hdr->ctl_pages = ctl_pages;
	region->hdr->slot_pages = slot_pages;
	return 0;

err_free:
	/* Nobody was told of the grants, but they can be guessed. */
	xway_region_destroy(region, 0);
	xway_region_abandon(region);
	return err;
}

/* Map @n pages by @ref into @page; on failure none of them stays mapped. */
static int xway_map_pages(struct page **page, grant_handle_t *handle, const grant_ref_t *ref,
			  unsigned int n, domid_t domid)
{
	struct gnttab_map_grant_ref *map;
	struct gnttab_unmap_grant_ref *unmap;
	unsigned int i, mapped = 0;
	int err = -ENOMEM;

	map = kvcalloc(n, sizeof(*map), GFP_KERNEL);
	unmap = kvcalloc(n, sizeof(*unmap), GFP_KERNEL);
	if (!map || !unmap)
		goto out;
	for (i = 0; i < n; i++)
		gnttab_set_map_op(&map[i], (unsigned long)page_address(page[i]),
				  GNTMAP_host_map | GNTMAP_readonly, ref[i], domid);

	/* A slot may fail on its own, and the p2m part even after Xen has mapped it: look at all. */
	err = gnttab_map_refs(map, NULL, page, n);
	for (i = 0; i < n; i++) {
		if (map[i].status == GNTST_okay) {
			handle[i] = map[i].handle;
			gnttab_set_unmap_op(&unmap[mapped++], (unsigned long)page_address(page[i]),
					    GNTMAP_host_map | GNTMAP_readonly, map[i].handle);
		} else if (!err || err == -EIO) {
			err = map[i].status == GNTST_permission_denied ? -EPERM : -EIO;
		}
	}
	if (err && mapped == n)
		gnttab_unmap_refs(unmap, NULL, page, n);
	else if (err)
		for (i = 0, mapped = 0; i < n; i++)
			if (map[i].status == GNTST_okay)
				gnttab_unmap_refs(&unmap[mapped++], NULL, &page[i], 1);
out:
	kvfree(unmap);
	kvfree(map);
	return err;
}

static void xway_unmap_pages(struct page **page, const grant_handle_t *handle, unsigned int n)
{
	struct gnttab_unmap_grant_ref unmap;
	unsigned int i;

	/* One at a time: no memory is needed, so that it cannot fail. */
	for (i = 0; i < n; i++) {
		gnttab_set_unmap_op(&unmap, (unsigned long)page_address(page[i]),
				    GNTMAP_host_map | GNTMAP_readonly, handle[i]);
		if (gnttab_unmap_refs(&unmap, NULL, &page[i], 1))
			pr_err("cannot unmap a granted page: the frame is lost\n");
	}
}

/* Check the private copy @hdr of a header. */
static bool xway_hdr_ok(const struct xway_link_hdr *hdr, u64 instance, u64 peer_instance)
{
	return hdr->magic == XWAY_LINK_MAGIC && hdr->version == XWAY_ABI_VERSION &&
	       hdr->instance == instance && hdr->peer_instance == peer_instance &&
	       hdr->pages <= XWAY_REGION_PAGES &&
	       hdr->ctl_pages >= 1 && hdr->ctl_pages <= XWAY_CTL_PAGES_MAX &&
	       !(hdr->ctl_pages & (hdr->ctl_pages - 1)) &&
	       hdr->slot_pages >= 1 && hdr->slot_pages <= XWAY_SLOT_PAGES_MAX &&
	       hdr->pages > 1 + hdr->ctl_pages + hdr->slot_pages;
}

int xway_view_region_map(struct xway_view_region *view, domid_t peer, grant_ref_t ref,
			 u64 instance, u64 peer_instance)
{
	struct xway_link_hdr *hdr;
	struct page *first;
	unsigned int pages;
	int err = -ENOMEM;

	memset(view, 0, sizeof(*view));
	view->domid = peer;
	hdr = kvmalloc(sizeof(*hdr), GFP_KERNEL);
	view->page = kvcalloc(XWAY_REGION_PAGES, sizeof(*view->page), GFP_KERNEL);
	view->handle = kvcalloc(XWAY_REGION_PAGES, sizeof(*view->handle), GFP_KERNEL);
	if (!hdr || !view->page || !view->handle)
		goto err_free;

	err = gnttab_alloc_pages(1, &first);
	if (err)
		goto err_free;
	err = xway_map_pages(&first, view->handle, &ref, 1, peer);
	if (err)
		goto err_free_first;

	/* The peer may write this page at any time: one copy, and only the copy is believed. */
	memcpy(hdr, page_address(first), sizeof(*hdr));
	barrier();
	err = -EPROTO;
	if (!xway_hdr_ok(hdr, instance, peer_instance))
		goto err_unmap_first;

	pages = hdr->pages;
	err = gnttab_alloc_pages(pages - 1, view->page + 1);
	if (err)
		goto err_unmap_first;
	err = xway_map_pages(view->page + 1, view->handle + 1, hdr->refs, pages - 1, peer);
	if (err)
		goto err_free_rest;

	view->page[0] = first;
	view->pages = pages;
	view->ctl_pages = hdr->ctl_pages;
	view->slot_pages = hdr->slot_pages;
	view->hdr = page_address(first);
	kvfree(hdr);
	return 0;

err_free_rest:
	gnttab_free_pages(pages - 1, view->page + 1);
err_unmap_first:
	xway_unmap_pages(&first, view->handle, 1);
err_free_first:
	gnttab_free_pages(1, &first);
err_free:
	kvfree(view->handle);
	kvfree(view->page);
	kvfree(hdr);
	memset(view, 0, sizeof(*view));
	return err;
}

void xway_view_region_unmap(struct xway_view_region *view)
{
	if (!view->pages)
		return;
	xway_unmap_pages(view->page, view->handle, view->pages);
	gnttab_free_pages(view->pages, view->page);
	kvfree(view->handle);
	kvfree(view->page);
	memset(view, 0, sizeof(*view));
}
