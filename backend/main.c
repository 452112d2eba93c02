// SPDX-License-Identifier: GPL-2.0
/*
 * main.c - xway_back, dom0's part of xway: tells guests who their peers are, carries their offers
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <xen/xen.h>

#include "broker.h"
#include "proc.h"
#include "xenbus.h"

static int xway_main_set(const char *text, const struct kernel_param *kp, unsigned int limit)
{
	unsigned int value;

	if (kstrtouint(text, 0, &value) || value < 1 || value > limit) {
		pr_err("%s must be a number from 1 to %u\n", kp->name, limit);
		return -EINVAL;
	}
	WRITE_ONCE(*(unsigned int *)kp->arg, value);
	return 0;
}

static int xway_main_set_domains(const char *text, const struct kernel_param *kp)
{
	return xway_main_set(text, kp, XWAY_DOMAINS_LIMIT);
}

static int xway_main_set_pairs(const char *text, const struct kernel_param *kp)
{
	return xway_main_set(text, kp, XWAY_PAIRS_LIMIT);
}

static const struct kernel_param_ops xway_main_domains_ops = {
	.set = xway_main_set_domains,
	.get = param_get_uint,
};

static const struct kernel_param_ops xway_main_pairs_ops = {
	.set = xway_main_set_pairs,
	.get = param_get_uint,
};

module_param_cb(max_domains, &xway_main_domains_ops, &xway_broker_max_domains, 0644);
MODULE_PARM_DESC(max_domains, "Devices served at a time, 1 to 512 (256)");
module_param_cb(max_pairs, &xway_main_pairs_ops, &xway_broker_max_pairs, 0644);
MODULE_PARM_DESC(max_pairs, "Pairs of domains brokered at a time, 1 to 131072 (8192)");

static int __init xway_main_init(void)
{
	int err;

	if (!xen_domain()) {
		pr_err("this kernel does not run on Xen\n");
		return -ENODEV;
	}
	err = xway_broker_start();
	if (err)
		return err;
	err = xway_back_proc_create();
	if (err)
		goto err_broker;
	err = xway_back_xenbus_register();
	if (err)
		goto err_proc;
	return 0;

err_proc:
	xway_back_proc_remove();
err_broker:
	xway_broker_stop();
	return err;
}

static void __exit xway_main_exit(void)
{
	xway_back_xenbus_unregister();
	xway_back_proc_remove();
	xway_broker_stop();
}

module_init(xway_main_init);
module_exit(xway_main_exit);

MODULE_DESCRIPTION("xway: broker of links between guests");
MODULE_LICENSE("GPL");
