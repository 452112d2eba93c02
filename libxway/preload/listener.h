// SPDX-License-Identifier: GPL-2.0-or-later
//
// listener.h - a listening socket whose connections may be direct (direct.h).
#pragma once

#include <sys/socket.h>

#include <cstdint>

#include "../wire.h"
#include "table.h"

namespace xway {

struct Listener;
Listener* listener_at(std::uint32_t number);
inline Listener* listener_of(Entry entry) {
    return entry.has(Entry::kListener) ? listener_at(entry.number()) : nullptr;
}
inline Listener* listener_of(int fd) {
    return listener_of(table_get(fd));
}
int listener_fd(const Listener* listener);
// Counts the listeners that have had this place.
std::uint32_t listener_generation(const Listener* listener);
// Is the listener that was to yield `ep` still open?
bool listener_serves(const Endpoint* ep);

// After listen(). The entry that `fd` is to have.
Entry listener_open(int fd, Entry entry);
// Its descriptor is closed. The entry that is left.
Entry listener_close(Entry entry);
// It leads to where others take connections past us: another number, another program.
void listener_stop(Listener* listener);

// The program is about to ask it for connections, or to wait for them: then they may be direct.
void listener_use(Listener* listener);
// No more connections are made for it, and those that there are, are not opened again.
void listener_retire(Listener* listener);
// Do other processes have the socket, too, by fork?
bool listener_is_shared(const Listener* listener);

// As accept4(), but -1 with errno 0: only the kernel can tell. `direct`: it is in the table
// already.
int listener_accept(Listener* listener, sockaddr* address, socklen_t* length, int flags,
                    bool nonblock, bool* direct);
// SO_RCVTIMEO, in ns; kNever: none.
void listener_set_timeout(Listener* listener, std::int64_t timeout);
// Does a connection wait that the kernel does not know of?
bool listener_has_news(Listener* listener);
// poll(2) bits, of which `events` are wanted.
short listener_poll(Listener* listener, short events);

// The doorbell that rings for its connections: that of the epoll set which has it.
std::uint32_t listener_bell(const Listener* listener);
void listener_set_bell(Listener* listener, std::uint32_t bell);

// A peer wants connections made for it; with the registrar's lock.
void listener_on_stock(const WireMsg& message);
// Does what mail has asked for, and buries the dead. Called before waiting, without locks.
void listener_work();

void listener_before_fork();
void listener_forked();

} // namespace xway
