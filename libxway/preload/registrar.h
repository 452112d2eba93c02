// SPDX-License-Identifier: GPL-2.0-or-later
//
// registrar.h - the library's end of wire.h: asks xwayd to bring two ends of a connection together.
//
// Nothing here waits for xwayd. Without one, or with one that has died, connections stay on TCP,
// and it is looked for again once in a while.
#pragma once

#include "endpoint.h"
#include "name.h"

namespace xway {

// Looks for xwayd now, not with the first connection that is registered.
void registrar_connect();
// May a connection to an address that is not this namespace's be registered? As far as is known.
bool registrar_reaches_out();
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

// Is there an xwayd? Looks for one, once in a while. Which one it is: another number after each
// loss.
bool registrar_ready();
std::uint32_t registrar_session();

// For direct mode: a listener, by the name that the caller gives it; it is closed; a connection for
// the stock of whoever asked `ask`, `own` being the end that connects; more are wanted.
bool registrar_listen(std::uint64_t name, int fd);
void registrar_unlisten(std::uint64_t name);
bool registrar_supply(Endpoint* ep, std::uint32_t ask, int own, int accepted);
// No more will come for `ask`.
void registrar_supply_end(std::uint32_t ask);
void registrar_more(const Name& to);

void registrar_lock();
void registrar_unlock();
// In the child of a fork.
void registrar_forked();

} // namespace xway
