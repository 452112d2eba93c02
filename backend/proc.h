/* SPDX-License-Identifier: GPL-2.0 */
#ifndef XWAY_BACK_PROC_H
#define XWAY_BACK_PROC_H

int xway_back_proc_create(void);
void xway_back_proc_remove(void);

#endif /* XWAY_BACK_PROC_H */
