/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
/*
 * ring.h - a byte ring laid out over 2^order consecutive pages of an arena.
 *
 * Indices are free-running 32-bit byte counts; a byte's place is its index modulo the size. Pages
 * need not be adjacent in virtual memory, so a caller copies span by span, and a span never
 * crosses a page. No lock, no copy, no allocation here.
 */
#ifndef XWAY_RING_H
#define XWAY_RING_H

#include "abi.h"

/* A ring's place: its first arena page, and its order. Bit 31 tells a descriptor from 0. */
#define XWAY_RING_VALID		0x80000000u

static inline __u32 xway_ring_desc(__u32 first_page, __u32 order)
{
	return XWAY_RING_VALID | order << 16 | first_page;
}

static inline __u32 xway_ring_first(__u32 desc)
{
	return desc & 0xffffu;
}

static inline __u32 xway_ring_order(__u32 desc)
{
	return (desc >> 16) & 0x7fffu;
}

/* In bytes. Only for a descriptor that xway_ring_ok() has accepted. */
static inline __u32 xway_ring_size(__u32 desc)
{
	return XWAY_PAGE_SIZE << xway_ring_order(desc);
}

/* Is @desc, as a peer wrote it, a ring that lies inside an arena of @arena_pages? */
static inline bool xway_ring_ok(__u32 desc, __u32 arena_pages)
{
	__u32 order = xway_ring_order(desc);

	return (desc & XWAY_RING_VALID) && order <= XWAY_RING_ORDER_MAX &&
	       xway_ring_first(desc) + (1u << order) <= arena_pages;
}

/* Bytes at @page + @offset that may be copied in one go. */
struct xway_ring_span {
	__u32	page;		/* index into the arena */
	__u32	offset;		/* bytes into that page */
	__u32	len;		/* bytes; at most what was asked for */
};

static inline struct xway_ring_span xway_ring_span(__u32 desc, __u32 index, __u32 want)
{
	__u32 at = index & (xway_ring_size(desc) - 1);
	struct xway_ring_span span;

	span.page = xway_ring_first(desc) + (at >> XWAY_PAGE_SHIFT);
	span.offset = at & (XWAY_PAGE_SIZE - 1);
	span.len = XWAY_PAGE_SIZE - span.offset;
	if (span.len > want)
		span.len = want;
	return span;
}

#endif /* XWAY_RING_H */
