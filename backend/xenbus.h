/* SPDX-License-Identifier: GPL-2.0 */
#ifndef XWAY_BACK_XENBUS_H
#define XWAY_BACK_XENBUS_H

int xway_back_xenbus_register(void);
/* Removes every device. On return nothing will be marked dirty any more. */
void xway_back_xenbus_unregister(void);

#endif /* XWAY_BACK_XENBUS_H */
