// SPDX-License-Identifier: GPL-2.0-or-later
//
// registrar.h - the library's end of wire.h: asks xwayd to bring two ends of a connection together.
//
// Nothing here waits for xwayd. Without one, or with one that has died, connections stay on TCP,
// and it is looked for again once in a while.
#pragma once

#include "endpoint.h"

namespace xway {

// Passes the socket to xwayd; Phase::kRegistered follows, or stays away.
void registrar_register(Endpoint* ep, int fd);
// Takes in what xwayd has sent; Phase::kMatched or kOver follows for the connections concerned.
void registrar_read_mail();
// `ep` stays on TCP, or is about to be closed: no answer is wanted any more. `fd`: the descriptor,
// if it is about to be closed (xwayd may hold a copy of the socket, and its peer is not to wait for
// the end until xwayd comes round to it); else -1.
void registrar_cancel(Endpoint* ep, int fd);
// Gives back the slot of an attached, or matched, endpoint.
void registrar_release(Endpoint* ep);

void registrar_lock();
void registrar_unlock();
// In the child of a fork.
void registrar_forked();

} // namespace xway
