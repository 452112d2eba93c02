// SPDX-License-Identifier: GPL-2.0-or-later
//
// wire_io.h - packets of wire.h on a SOCK_SEQPACKET socket that never blocks.
#pragma once

#include <vector>

#include "shared_memory.h"
#include "unique_fd.h"
#include "wire.h"

namespace xway {

struct Packet {
    WireMsg msg{};
    std::vector<UniqueFd> fds;
    bool short_of_fds = false; // more came than this process could open
};

enum class Received {
    packet,
    nothing,   // now
    closed,    // for good
    malformed, // wrong size, or too many descriptors; those that came are in the packet
};
Received receive_packet(int socket, Packet& packet);

enum class Sent {
    yes,
    later, // no room: when the socket is writable
    busy,  // too many descriptors are under way: after a while
    never,
};
Sent send_packet(int socket, const WireMsg& msg, const std::vector<SharedFd>& fds = {});

} // namespace xway
