// SPDX-License-Identifier: GPL-2.0-or-later
//
// config.h - what the environment asks of the library. Read once, before the program's main():
// programs clear their environment, or write over it.
#pragma once

#include <cstdint>

namespace xway {

struct Config {
    bool enabled = true;          // XWAY_ENABLE=0: never leave TCP
    std::uint32_t after = 8;      // XWAY_AFTER: data calls on a connection until it is registered
    std::uint32_t flip_ms = 0;    // XWAY_FLIP_MS: switch rails that often, for tests
    std::uint32_t ring_order = 4; // XWAY_RING_KIB: size of a connection's first ring, log2 of pages
    std::uint32_t large_order =
        6;                        // of that which a stream gets; the same if XWAY_RING_KIB is given
    std::int64_t spin_ns = 50000; // XWAY_SPIN_US: how long a reader may look before it sleeps
    bool asks_early = false;      // in direct mode, unless XWAY_AFTER says when to register
    bool direct = false;    // XWAY_DIRECT=1: open and close without the kernel, if policy lets us
    char socket[256] = {};  // XWAY_SOCKET: where xwayd listens
    char runtime[256] = {}; // XDG_RUNTIME_DIR: this user's own may be below it
};
extern Config config;

void config_read();

} // namespace xway
