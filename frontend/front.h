/* SPDX-License-Identifier: GPL-2.0 */
/*
 * front.h - what the files of xway_front share: counters, parameters, the device.
 */
#ifndef XWAY_FRONT_H
#define XWAY_FRONT_H

#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/seq_file.h>
#include <linux/srcu.h>
#include <linux/workqueue.h>

#include <xway/why.h>

#undef pr_fmt
#define pr_fmt(fmt) "xway_front: " fmt

/* Counters, as /proc/xway_front/stat lists them: X(symbol). Monotonic. */
#define XWAY_STAT_LIST(X)								\
	X(conns_armed) X(conns_attached) X(conns_detached) X(conns_reset)		\
	X(hellos_sent) X(hellos_received) X(declines_sent) X(declines_received)		\
	X(links_up) X(links_down) X(links_broken)					\
	X(events) X(events_spurious) X(kicks) X(msgs_sent) X(msgs_received) X(wakes_sent)	\
	X(nudges)									\
	X(switches_to_ring) X(switches_to_tcp)						\
	X(tx_ring_calls) X(rx_ring_calls) X(tx_ring_bytes) X(rx_ring_bytes)		\
	X(tx_tcp_bytes) X(rx_tcp_bytes) X(rx_private_bytes)				\
	X(sleeps_rx) X(sleeps_tx) X(spins_hit) X(spins_missed) X(arena_full) X(violations)

#define XWAY_STAT_ENUM(symbol) XWAY_STAT_##symbol,
enum xway_stat {
	XWAY_STAT_LIST(XWAY_STAT_ENUM)
	XWAY_STAT_COUNT
};
#undef XWAY_STAT_ENUM

struct xway_stats {
	u64 v[XWAY_STAT_COUNT];
};
DECLARE_PER_CPU(struct xway_stats, xway_stats);

/* Any context. */
#define xway_stat_add(symbol, n) this_cpu_add(xway_stats.v[XWAY_STAT_##symbol], (n))
#define xway_stat_inc(symbol)	 xway_stat_add(symbol, 1)

/* Module parameters, see param.c. Read with READ_ONCE: root may change some at any time. */
extern bool xway_param_enable;
extern unsigned int xway_param_flip_ms;
extern unsigned int xway_param_ring_kib;
extern unsigned int xway_param_arena_kib;
extern unsigned int xway_param_spin_us;

/*
 * One ordered queue runs all that changes peers and links, so that none of it needs a lock against
 * the rest of it.
 */
extern struct workqueue_struct *xway_wq;

/* Held for reading inside every socket operation of ours: unloading waits for it. */
extern struct srcu_struct xway_srcu;

/* Set once, when the module is leaving. Operations that sleep look at it. */
extern bool xway_leaving;

int xway_proc_init(void);
void xway_proc_exit(void);

#endif /* XWAY_FRONT_H */
