// SPDX-License-Identifier: GPL-2.0-or-later
//
// direct.h - connections that are opened and closed without the kernel.
//
// DOC: Theory of operation
//
// A connection of direct mode has a kernel connection beneath it, as every other. It was made once,
// by the process that listens connecting to itself, when xwayd asked for a stock of them; xwayd
// passed the ends that connect to the process that dials that listener. There it is parked: no
// program has it, a descriptor of the library's own keeps it. connect() takes a parked one and puts
// it in the place of the program's socket; accept() of the listener yields its other end. close()
// parks it again, if both sides have read all that there was; else it is closed for good, and the
// kernel tells the peer.
//
// Each end counts how often it has been opened (SlotSide::life). The end that dials begins the next
// time, after both have closed the last. What it sends before the other accepts waits in the ring,
// as with TCP. Bytes and rails go on where they stood: `end` says at which byte of the stream the
// time ends.
//
// Whatever is unusual (no parked connection, options that a parked one could not be rid of, fork)
// goes by the kernel, as without direct mode.
#pragma once

#include <sys/socket.h>

#include <cstdint>

#include "../wire.h"
#include "endpoint.h"
#include "table.h"

namespace xway {

// Options that a connection is rid of when it is opened again; others it may keep, or is not
// parked.
enum Restored : std::uint32_t { kNoDelay = 1, kKeepAlive = 2, kCork = 4 };

// Has this process ever been given a connection to park?
bool direct_has_stock();
// The kernel has opened `ep` to that address. Nobody overtakes it: what is opened later is accepted
// later, so the listener is told of it until the other end is known to have been accepted. `fd` is
// its descriptor.
void direct_by_kernel(Endpoint* ep, int fd, const sockaddr* address, socklen_t length);
// Where `ep` was dialled to, as a hint for xwayd. Nothing is written if it was not, or if that says
// too little.
void direct_dialled(const Endpoint* ep, WireMsg* message);
// Is `ep` the way to get a stock at all? Then xwayd must be able to see the socket.
bool direct_lacks_stock(const Endpoint* ep);
// The peer of `ep` has shown that it was accepted.
void direct_heard(Endpoint* ep);

// Opens a parked connection under number `fd`. False: the kernel is to do it.
bool direct_connect(int fd, Entry entry, const sockaddr* address, socklen_t length);

// May `ep`, which nobody will have open any more, be parked? `fd` still leads to it. Then
// endpoint_closed() must call direct_parked().
bool direct_park(Endpoint* ep, int fd);
void direct_parked(Endpoint* ep);
// `ep` is to be on TCP for good: what its peer has said here only, the kernel must say.
void direct_to_tcp(Endpoint* ep);

// What xwayd sends. With the registrar's lock. False: it is not wanted, and the slot is to be given
// back; else the socket is ours.
bool direct_on_grant(const WireMsg& message, ArenaMap* map, int socket);
// A connection that was supplied (listener.h) has its slot, or none.
bool direct_on_attach(Endpoint* ep);
void direct_on_decline(Endpoint* ep);

// ---- for listener.cpp ----

// An end that was accepted for the stock of another process. `socket` is hidden, and becomes its.
Endpoint* direct_new_accepted(Listener* listener, int socket);
// The end that the peer has opened and `listener` is to yield next; nullptr: none. `behind`: the
// peer's port of a connection that waits in the kernel, perhaps, and comes before; 0: none, or it
// has been said.
Endpoint* direct_next(const Listener* listener, std::uint16_t* behind);
// Makes it ours to open. False: another thread was faster.
bool direct_take(Endpoint* ep);
bool direct_waits(const Listener* listener);
std::uint32_t direct_count(const Listener* listener);
void direct_set_bell(const Listener* listener, std::uint32_t bell);
// Its descriptor, with accept4()'s `flags`; -1 and errno: it waits on.
int direct_open_accepted(Endpoint* ep, int flags);
// Closes for good what is parked and whose peer has gone; all that `listener` would yield.
void direct_bury_dead();
void direct_bury_of(const Listener* listener);

void direct_before_fork();
void direct_after_fork();
void direct_forked();

} // namespace xway
