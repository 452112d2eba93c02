// SPDX-License-Identifier: GPL-2.0-or-later
//
// tcp_end.h - what the kernel says about a socket that somebody has passed.
#pragma once

#include <cstdint>
#include <variant>

#include <xway/why.h>

#include "flow.h"

namespace xway {

struct TcpEnd {
    std::uint64_t cookie = 0; // the kernel's name for the socket, never reused
    std::uint64_t inode = 0;
    Flow flow;
};

// A TCP socket that listens.
struct TcpListener {
    std::uint64_t cookie = 0;
    Endpoint local;        // its address may be that of any
    bool takes_v4 = false; // an IPv6 one for any address, and not for IPv6 only
    std::uint32_t device = 0;
    std::uint64_t netns = 0;
};

struct NotASocket {};

// An established TCP connection, or why it cannot have a ring. May block: whoever else holds the
// socket may have it locked.
std::variant<TcpEnd, xway_why, NotASocket> look_at_socket(int fd);

// A listener, or why it is none: PEER_CLOSED if it has just stopped listening. May block likewise.
std::variant<TcpListener, xway_why, NotASocket> look_at_listener(int fd);

// Whether the descriptor is an eventfd that never makes its writer wait. Never blocks.
bool is_bell(int fd);

// The cookie of the network namespace that a socket belongs to; 0: not known.
std::uint64_t netns_of(int socket);

} // namespace xway
