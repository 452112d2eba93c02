/* SPDX-License-Identifier: GPL-2.0 */
/*
 * total.h - what this guest grants to all its peers together, and who has to wait for his share.
 */
#ifndef XWAY_TOTAL_H
#define XWAY_TOTAL_H

#include <linux/types.h>
#include <xen/interface/xen.h>

/*
 * At load: with @region_pages for each link, gives total_kib its value if it was given none. -EINVAL if it
 * has no room for a single link; the log says what helps.
 */
int xway_total_init(unsigned int region_pages);
void xway_total_exit(void);	/* no link is left */

/* May a region of @pages be made beside those that there are? On xway_wq. */
bool xway_total_allows(unsigned int pages);

/*
 * Is what room there is, or will be, for others than @domid? No connection waits for a link with it, and for
 * one with somebody who is short one does. On xway_wq.
 */
bool xway_total_reserved(domid_t domid);

/*
 * On xway_wq: there was no room for a link with @domid, of @pages. Its connections say so, links at rest make
 * room, and it is tried again (xway_device_sync()) when there is some.
 */
void xway_total_short(domid_t domid, unsigned int pages);
/* On xway_wq: @domid has its link, or wants none. */
void xway_total_served(domid_t domid);
bool xway_total_is_short(domid_t domid);	/* any context */

#endif /* XWAY_TOTAL_H */
