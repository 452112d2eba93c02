// SPDX-License-Identifier: GPL-2.0-or-later
//
// wait.h - sleeping until a connection has news.
//
// A thread that waits for one direction of one connection, which rides the ring, sleeps on a futex
// in its slot. Whoever waits for several descriptors, or for TCP as well as the ring, sleeps in
// poll or epoll, on the process's doorbells besides. Doorbells are eventfds watched edge-triggered:
// nobody reads them, so that one can wake many.
#pragma once

#include <poll.h>

#include <cstdint>

#include "endpoint.h"

namespace xway {

// Waits until endpoint_recv() or endpoint_send() may get further. 0: try again; -EAGAIN: the
// deadline has passed; -EINTR: a signal handler has run, and the call is not to be restarted.
ssize_t wait_rx(Endpoint* ep, int fd, std::int64_t deadline);
ssize_t wait_tx(Endpoint* ep, int fd, std::int64_t deadline);

// Says to all peers that one more thread sleeps, or one less, on doorbell `number`.
void bell_sleep(std::uint32_t number);
void bell_wake(std::uint32_t number);
bool bell_has_sleepers(std::uint32_t number);
// Says to the peer of a new arena how many sleep. With process.lock.
void bells_publish(ArenaMap* map);
// Asks for that doorbell when `ep` has news for a reader (a writer). Look again after it.
void bell_arm_rx(Endpoint* ep);
void bell_arm_tx(Endpoint* ep);

// Rings a doorbell of this process's own.
void bell_ring_own(std::uint32_t number);

// An epoll set of this thread's own that becomes readable when one of the process's doorbells
// rings; -1: there is none. bell_heard() makes it quiet again.
int bell_poll_set();
void bell_heard(int set);

// May this process hear the doorbell of `ep`? Not if it has inherited the connection.
bool bell_works(const Endpoint* ep);

// Looks for up to config.spin_ns, if that has paid lately, whether a reader has news.
bool spin_rx(Endpoint* ep);

} // namespace xway
