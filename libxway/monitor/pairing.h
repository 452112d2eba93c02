// SPDX-License-Identifier: GPL-2.0-or-later
//
// pairing.h - which two registered sockets are the ends of one connection. No I/O, no clock.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include <xway/why.h>

#include "flow.h"

namespace xway {

// A connected process. Never reused in the lifetime of an xwayd.
using ClientId = std::uint64_t;

// One end of a connection, as its process registered it and as the kernel described it.
struct Registration {
    ClientId client = 0;
    std::uint64_t conn = 0;   // the client's name for it
    std::uint64_t cookie = 0; // the kernel's name for the socket
    std::uint64_t inode = 0;
    Flow flow;
    bool direct = false;        // the connection is in direct mode
    ClientId granted_by = 0;    // the process that has made the connection for this one
    std::uint64_t listener = 0; // of that process, in its words
};

// Registrations that wait for their other end, and the sockets that have found it.
class Pairing {
public:
    using Clock = std::chrono::steady_clock;

    struct Limits {
        std::size_t per_client = 1024; // that wait
        Clock::duration patience = std::chrono::seconds(60);
    };

    // What the pairing cannot know by itself. Each is asked about the end that has waited.
    struct Checks {
        // Is its socket still open? What was a connection's port may be another's by now.
        std::function<bool(const Registration& waiting)> lives;
        // May it be paired with an end in another network namespace?
        std::function<bool(const Registration& waiting)> may_cross;
    };

    struct Declined {
        ClientId client;
        std::uint64_t conn;
        xway_why why;
    };

    struct Outcome {
        std::optional<Registration> peer; // the other end; both sockets are now taken
        std::vector<Declined> declined;   // the added one may be among them
        bool clash = false;               // the client waits for another of this name already
    };

    explicit Pairing(const Limits& limits) : limits_(limits) {}

    Outcome add(const Registration& end, Clock::time_point now, const Checks& checks);

    // Both ends of a connection, at once. False: one of them has been registered.
    bool take(const Registration& a, const Registration& b);

    // False: it does not wait (any more).
    bool cancel(ClientId client, std::uint64_t conn);

    // Nothing of this client waits any more. The result is how many did.
    std::size_t remove(ClientId client);

    // A socket that was taken may be registered again.
    void release(std::uint64_t cookie) { taken_.erase(cookie); }

    // Those that have waited for too long, at most so many.
    std::vector<Declined> expire(Clock::time_point now, std::size_t most);

    [[nodiscard]] std::size_t waiting() const { return waiting_.size(); }
    [[nodiscard]] std::size_t waiting(ClientId client) const;
    [[nodiscard]] bool is_taken(std::uint64_t cookie) const { return taken_.contains(cookie); }

private:
    struct Waiting {
        Registration end;
        Clock::time_point until;
    };
    using Place = std::list<Waiting>::iterator;

    Place find_peer(const Registration& end, const Checks& checks, Outcome& outcome);
    void erase(Place place);
    static void decline(Outcome& outcome, const Registration& end, xway_why why) {
        outcome.declined.push_back({end.client, end.conn, why});
    }

    const Limits limits_;
    std::list<Waiting> waiting_; // the oldest first
    std::map<Flow, Place> by_flow_;
    std::map<std::uint64_t, Place> by_cookie_;
    std::map<std::pair<ClientId, std::uint64_t>, Place> by_name_;
    std::map<ClientId, std::size_t> counts_;
    std::map<std::uint64_t, ClientId> taken_;
};

} // namespace xway
