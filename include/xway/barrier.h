/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
/*
 * barrier.h - the ordered accesses to memory shared with a peer.
 *
 * In the kernel these are the virt_ variants: they stay real barriers on a guest with one vCPU,
 * because the peer runs on another physical CPU whatever this guest was built for.
 */
#ifndef XWAY_BARRIER_H
#define XWAY_BARRIER_H

#ifdef __KERNEL__
#include <asm/barrier.h>
#include <linux/compiler.h>
#define xway_load(p)		READ_ONCE(*(p))
#define xway_store(p, v)	WRITE_ONCE(*(p), (v))
#define xway_load_acquire(p)	virt_load_acquire(p)
#define xway_store_release(p, v) virt_store_release(p, v)
#define xway_mb()		virt_mb()
#define xway_rmb()		virt_rmb()
#else
#define xway_load(p)		__atomic_load_n(p, __ATOMIC_RELAXED)
#define xway_store(p, v)	__atomic_store_n(p, v, __ATOMIC_RELAXED)
#define xway_load_acquire(p)	__atomic_load_n(p, __ATOMIC_ACQUIRE)
#define xway_store_release(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)
#define xway_mb()		__atomic_thread_fence(__ATOMIC_SEQ_CST)
#define xway_rmb()		__atomic_thread_fence(__ATOMIC_ACQUIRE)
#endif

#endif /* XWAY_BARRIER_H */
