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

struct NotASocket {};

// An established TCP connection, or why it cannot have a ring. May block: whoever else holds the
// socket may have it locked.
std::variant<TcpEnd, xway_why, NotASocket> look_at_socket(int fd);

// Whether the descriptor is an eventfd that never makes its writer wait. Never blocks.
bool is_bell(int fd);

// The cookie of the network namespace that a socket belongs to; 0: not known.
std::uint64_t netns_of(int socket);

} // namespace xway
