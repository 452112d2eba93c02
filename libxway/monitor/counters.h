// SPDX-License-Identifier: GPL-2.0-or-later
//
// counters.h - what xwayd has done since it began.
#pragma once

#include <array>
#include <cstdint>

#include <xway/why.h>

namespace xway {

struct MonitorCounters {
    std::uint64_t clients_seen = 0;    // processes that have said hello
    std::uint64_t clients_refused = 0; // connections turned away before that
    std::uint64_t registered = 0;
    std::uint64_t queued = 0;  // requests that came by a queue
    std::uint64_t matched = 0; // connections, not ends
    std::uint64_t cancelled = 0;
    std::uint64_t released = 0; // ends
    std::uint64_t stocked = 0;  // connections asked for, for those who will dial
    std::uint64_t granted = 0;  // of these, passed on
    std::uint64_t violations = 0;
    std::uint64_t stuck = 0; // files that the inspector had to be left alone with
    std::array<std::uint64_t, XWAY_WHY_COUNT> declined{}; // ends
};

} // namespace xway
