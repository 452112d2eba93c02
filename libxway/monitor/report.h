// SPDX-License-Identifier: GPL-2.0-or-later
//
// report.h - what xwayd tells the tools: texts in the form of the module's files in /proc.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <sys/types.h>

#include "arena_pool.h"
#include "client.h"
#include "counters.h"
#include "pairing.h"
#include "socket_lookup.h"

namespace xway {

// All that there is to tell.
struct MonitorState {
    const std::map<ClientId, std::unique_ptr<Client>>& clients;
    const ArenaPool& arenas;
    const Pairing& pairing;
    SocketLookup& lookup;
    const MonitorCounters& counters;
    const std::string& socket;
    const std::string& policy; // a file, empty: none
    std::chrono::steady_clock::time_point started;
};

// The answer to "status", "stat", "sockets", "processes" or "arenas"; nothing to another request.
// Who is neither root nor the user of xwayd sees what is his own.
std::optional<std::string> report(const MonitorState& state, std::string_view request, uid_t asker);

} // namespace xway
