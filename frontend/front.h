/* SPDX-License-Identifier: GPL-2.0 */
/*
 * front.h - what the files of xway_front share: counters, parameters, the queue.
 */
#ifndef XWAY_FRONT_H
#define XWAY_FRONT_H

#include <linux/module.h>
#include <linux/seq_file.h>
#include <linux/srcu.h>
#include <linux/workqueue.h>

#include "stat.h"

#undef pr_fmt
#define pr_fmt(fmt) "xway_front: " fmt

/* Module parameters, see param.c. Read with READ_ONCE: root may change some at any time. */
extern bool xway_param_enable;
extern unsigned int xway_param_flip_ms;
extern unsigned int xway_param_ring_kib;
extern unsigned int xway_param_idle_ms;
extern unsigned int xway_param_slots;
extern unsigned int xway_param_arena_kib;
extern unsigned int xway_param_total_kib;	/* 0 only before xway_total_init() */
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
