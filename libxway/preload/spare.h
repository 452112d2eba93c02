// SPDX-License-Identifier: GPL-2.0-or-later
//
// spare.h - sockets that have been made before, for socket() in direct mode.
//
// A connection of direct mode has its socket already. The one that socket() gave the program is
// put aside, untouched, and given to it again: making and destroying sockets costs the kernel more
// than all the rest of such a connection. A spare is a real socket, kept by a descriptor of the
// library's own; whatever is done to it besides opening a direct connection ends its being one.
#pragma once

#include "table.h"

namespace xway {

// A descriptor for an untouched socket, and its entry in the table; -1: make one.
int spare_take(int domain, int type);
// A fresh socket `fd` may become a spare when it is done with: what its entry is to be.
Entry spare_adopt(int fd, int domain, int type);
// `entry`, a socket that is not to be used any more, has been closed or replaced.
void spare_back(Entry entry);
// The program does something to it: from now on it is a socket as any other. Its entry.
Entry spare_spent(Entry entry);

// Before a fork, all that are in use are spent; the child has none.
void spare_before_fork();
void spare_after_fork(); // in the parent
void spare_forked();     // in the child

} // namespace xway
