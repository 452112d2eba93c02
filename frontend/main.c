// SPDX-License-Identifier: GPL-2.0
/*
 * main.c - load and unload, in order.
 */
#include <linux/init.h>
#include <xen/xen.h>

#include "conn.h"
#include "front.h"
#include "mon.h"
#include "sock.h"
#include "total.h"

DEFINE_SRCU(xway_srcu);
struct workqueue_struct *xway_wq;
bool xway_leaving;

#define XWAY_LEAVE_REPORT_MS	10000	/* how often rmmod says what it waits for */

static int __init xway_front_init(void)
{
	int err;

	if (!xen_domain()) {
		pr_err("this kernel does not run on Xen: load xway_front in a Xen guest\n");
		return -ENODEV;
	}
	err = xway_links_init();
	if (err)
		return err;
	xway_wq = alloc_ordered_workqueue("xway", WQ_MEM_RECLAIM);
	if (!xway_wq)
		return -ENOMEM;
	err = xway_stat_init();
	if (err)
		goto err_wq;
	err = xway_conn_init();
	if (err)
		goto err_stat;
	err = xway_sock_init();
	if (err)
		goto err_conn;
	err = xway_proc_init();
	if (err)
		goto err_sock;
	err = xway_mon_init();
	if (err)
		goto err_proc;
	err = xway_arm_init();
	if (err)
		goto err_mon;
	err = xway_device_register();
	if (err)
		goto err_arm;
	return 0;

err_arm:
	WRITE_ONCE(xway_leaving, true);
	xway_listeners_exit();
	xway_arm_exit();
err_mon:
	xway_mon_exit();
err_proc:
	xway_proc_exit();
err_sock:
	xway_sock_exit();
err_conn:
	xway_conn_exit();
err_stat:
	xway_stat_exit();
err_wq:
	destroy_workqueue(xway_wq);
	return err;
}

static void __exit xway_front_exit(void)
{
	WRITE_ONCE(xway_leaving, true);
	xway_listeners_exit();		/* while the tracepoint still tells of those that close */
	xway_arm_exit();
	xway_device_unregister();	/* links go down: connections are on TCP after this */
	xway_sock_exit();
	/* No program is inside any more: what one held up goes now. */
	while (!xway_links_stop(XWAY_LEAVE_REPORT_MS))
		pr_warn("unloading waits for a link\n");
	xway_total_exit();
	xway_conns_finish();
	xway_mon_exit();
	xway_proc_exit();
	xway_conn_exit();
	xway_stat_exit();
	destroy_workqueue(xway_wq);
	rcu_barrier();
}

module_init(xway_front_init);
module_exit(xway_front_exit);

MODULE_DESCRIPTION("TCP between guests of one Xen host over shared memory: the guest's side");
MODULE_LICENSE("GPL");
