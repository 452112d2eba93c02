/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
/*
 * abi.h - what two peers share: the region, its control queue, its connection slots.
 *
 * Each side of a link grants one region to the other, read-only. A page is therefore written by
 * its owner alone, and whatever a reader has to say (bytes consumed, "wake me") it says in its own
 * region. docs/protocol.md is the specification; the build compares its tables with this file.
 *
 * All fields are little-endian. Reserved fields are zero and ignored by the reader.
 */
#ifndef XWAY_ABI_H
#define XWAY_ABI_H

#include "types.h"

#define XWAY_ABI_VERSION	1
#define XWAY_LINK_MAGIC		0x79617778u	/* "xway" */

#define XWAY_PAGE_SHIFT		12		/* Xen's grant granularity, whatever the guest's */
#define XWAY_PAGE_SIZE		(1u << XWAY_PAGE_SHIFT)

#define XWAY_REGION_REFS	960u		/* references that fit behind the link header */
#define XWAY_REGION_PAGES	(1u + XWAY_REGION_REFS)
#define XWAY_CTL_PAGES_MAX	16u
#define XWAY_SLOT_PAGES_MAX	320u

#define XWAY_MARKS		4u		/* rail switches that may be in flight, a power of two */
#define XWAY_RING_ORDER_MAX	8u		/* largest ring: 2^8 pages, 1 MiB */

/* Messages of the control queue, struct xway_msg.type. */
#define XWAY_MSG_HELLO		1u	/* client: here is a connection, its tuple and its ISNs */
#define XWAY_MSG_ATTACH		2u	/* server: it is mine too; both may use rings */
#define XWAY_MSG_DECLINE	3u	/* server: stay on TCP, arg is an XWAY_DECLINE_* */
#define XWAY_MSG_WAKE		4u	/* look at my slot: news of it */
#define XWAY_MSG_CLOSE		5u	/* I shall not look at your slot, nor use mine, again */
#define XWAY_MSG_QUIESCE	6u	/* move every connection of this link to TCP */
#define XWAY_MSG_QUIET		7u	/* I have: nothing of mine is left in a ring, nor of yours */

/* Why a HELLO was declined, struct xway_msg.arg. */
#define XWAY_DECLINE_BUSY	1u	/* no slot, or too many unanswered HELLOs */
#define XWAY_DECLINE_REFUSED	2u	/* the socket does not want a ring */
#define XWAY_DECLINE_QUIESCING	3u	/* the link is being taken down */

/* struct xway_slot.flags. */
#define XWAY_SLOT_TCP_ONLY	1u	/* send to me by TCP from now on */
#define XWAY_SLOT_LEFT		2u	/* I send to you by TCP until this attachment ends */
#define XWAY_SLOT_GONE		4u	/* my socket is closed: nobody reads what you send */

/*
 * Page 0 of a region. refs[i] grants page i + 1. Pages 1 .. ctl_pages hold the control queue, the
 * next slot_pages the slots, the rest is the arena in which the owner lays out its rings.
 */
struct xway_link_hdr {
	/* Written once, before the region is offered. */
	__u32	magic;
	__u16	version;
	__u16	reserved0;
	__u64	instance;	/* the owner's instance, as dom0 published it */
	__u64	peer_instance;	/* the instance the region was granted to */
	__u32	features;
	__u32	pages;		/* of the region, this one included */
	__u32	ctl_pages;
	__u32	slot_pages;
	__u32	ready;		/* 0, then the seq of the peer's offer that the owner has mapped */
	__u8	pad0[20];

	/* The owner as producer of its control queue. */
	__u32	ctl_prod;	/* messages ever sent, free-running */
	__u8	pad1[60];

	/* The owner as consumer of its peer's control queue. */
	__u32	ctl_cons;	/* messages ever taken, free-running */
	__u32	ctl_event;	/* kick me when your ctl_prod passes this */
	__u8	pad2[120];

	__u32	refs[XWAY_REGION_REFS];
};

/*
 * One message. `to` is the receiver's id of the connection and `from` the sender's. Only HELLO
 * uses what follows: ports in network order, addresses as IPv6 (IPv4 as ::ffff:a.b.c.d).
 */
struct xway_msg {
	__u16	type;
	__u16	arg;
	__u32	to;
	__u32	from;
	__u32	client_isn;
	__u32	server_isn;
	__u16	client_port;
	__u16	server_port;
	__u8	client_addr[16];
	__u8	server_addr[16];
	__u8	reserved[8];
};

/* Where a direction changed rails: TCP sequence number or ring index, and the ring it enters. */
struct xway_mark {
	__u32	at;
	__u32	ring;		/* see xway_ring_desc(); 0 in a mark that leads to TCP */
};

/*
 * One connection, as its owner sees it. The low half of an id is the slot's index + 1, the high
 * half a generation, so that a message for an earlier tenant is recognised.
 */
struct xway_slot {
	/* The owner as sender. */
	__u32	id;
	__u32	prod;		/* ring bytes ever sent, free-running */
	__u32	tx_epoch;	/* rail switches ever made; odd: the ring rail */
	__u32	room_event;	/* wake me when your cons passes this */
	struct xway_mark mark[XWAY_MARKS];	/* switch e -> e + 1 is mark[e % XWAY_MARKS] */
	__u8	pad0[16];

	/* The owner as receiver. */
	__u32	cons;		/* ring bytes ever taken, free-running */
	__u32	rx_epoch;	/* rail switches ever followed */
	__u32	data_event;	/* wake me when your prod passes this */
	__u32	flags;		/* XWAY_SLOT_* */
	__u8	pad1[48];
};

#define XWAY_MSGS_PER_PAGE	(XWAY_PAGE_SIZE / (__u32)sizeof(struct xway_msg))
#define XWAY_SLOTS_PER_PAGE	(XWAY_PAGE_SIZE / (__u32)sizeof(struct xway_slot))

XWAY_ASSERT(sizeof(struct xway_link_hdr) == XWAY_PAGE_SIZE);
XWAY_ASSERT(sizeof(struct xway_msg) == 64);
XWAY_ASSERT(sizeof(struct xway_mark) == 8);
XWAY_ASSERT(sizeof(struct xway_slot) == 128);

/*
 * Must the other side be woken, now that an index has gone from @old to @now, when it asked to be
 * woken once the index passes @event? All are free-running; the same test as virtio's event index.
 */
static inline bool xway_need_event(__u32 event, __u32 now, __u32 old)
{
	return (__u32)(now - event - 1) < (__u32)(now - old);
}

#endif /* XWAY_ABI_H */
