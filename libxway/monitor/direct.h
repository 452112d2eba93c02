// SPDX-License-Identifier: GPL-2.0-or-later
//
// direct.h - who listens in direct mode, and the connections that are kept in stock for those who
// dial there. No I/O, no clock.
//
// A process that dials in direct mode uses a connection that exists already: the listening process
// has made it, by connecting to itself, and xwayd has passed the dialing end on.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "pairing.h"
#include "tcp_end.h"

namespace xway {

class Direct {
public:
    using Clock = std::chrono::steady_clock;
    using Name = std::pair<ClientId, std::uint64_t>; // a listener, in its process's words

    struct Limits {
        std::size_t listeners = 64; // of one process
        std::size_t places = 256;   // to which one process dials
        unsigned per_pair = 256;    // connections granted and not released, or asked for
        unsigned first = 8, more = 16;
        Clock::duration patience = std::chrono::seconds(10); // then what is missing never comes
    };

    // What the listening process is to make.
    struct Ask {
        Name listener;
        std::uint32_t id; // counted for each listening process
        Endpoint to;
        unsigned count;
    };

    // A connection that was asked for, and has been made.
    struct Supplied {
        ClientId dialer;
        Name listener;
        Endpoint to;
    };

    enum class Supply { wanted, late, unasked };

    explicit Direct(const Limits& limits) : limits_(limits) {}

    // A listener that is not known yet, until found(). False: there is one of this name, or enough.
    bool listen(const Name& name);
    // Whose stocks have ended with it: if several processes wait for one socket's connections, each
    // connection is for whoever is free, which only the kernel knows.
    std::vector<Name> found(const Name& name, const TcpListener& socket);
    void unlisten(const Name& name);
    // Whether there is any at this port.
    [[nodiscard]] bool knows(std::uint64_t netns, std::uint16_t port) const;
    // The only one that has this socket.
    [[nodiscard]] std::optional<Name> find(std::uint64_t cookie) const;
    // The one that takes connections to there: that of one address before one of any.
    [[nodiscard]] std::optional<Name> find(const Endpoint& to, std::uint64_t netns) const;

    // Whether a stock for this process is to be begun.
    [[nodiscard]] bool needs(ClientId dialer, const Endpoint& to, Clock::time_point now) const;
    std::optional<Ask> begin(ClientId dialer, const Name& listener, const Endpoint& to,
                             Clock::time_point now);
    // The stock is used up. Nothing: it may have no more, not now, or there is no such stock.
    std::optional<Ask> add(ClientId dialer, const Endpoint& to, Clock::time_point now);

    // A connection has come; settle() follows if it was wanted.
    Supply supply(ClientId listener, std::uint32_t ask);
    // For whom it is. Nothing: nobody wants it any more.
    [[nodiscard]] std::optional<Supplied> supplied(ClientId listener, std::uint32_t ask) const;
    void settle(ClientId listener, std::uint32_t ask, bool granted);
    // The listening process makes no more for this ask.
    void end(ClientId listener, std::uint32_t ask);
    // The dialer has released a connection that was granted.
    void release(ClientId dialer, ClientId listener);

    void remove(ClientId client);
    void expire(Clock::time_point now);

private:
    using Place = std::pair<ClientId, Endpoint>;        // of the dialer
    using AskName = std::pair<ClientId, std::uint32_t>; // of the listening process
    using Pair = std::pair<ClientId, ClientId>;         // dialer, listening process
    // Namespace, port, address, whether IPv4 is refused, listener.
    using Port = std::tuple<std::uint64_t, std::uint16_t, Address, bool, Name>;

    struct Listener {
        std::optional<TcpListener> socket;
        std::set<Place> stocks;
    };
    struct Stock {
        Name listener;
        std::uint32_t ask = 0; // 0: none is open
        Clock::time_point asked_at{};
    };
    struct Open {
        Place place;
        unsigned to_come, looked_at; // connections
    };

    static Port port_of(const TcpListener& socket, const Name& name) {
        return {socket.netns, socket.local.port, socket.local.address, !socket.takes_v4, name};
    }
    std::optional<Ask> ask(const Place& place, Stock& stock, unsigned most, Clock::time_point now);
    void forget_stocks(const Name& name);
    void forget(std::map<Place, Stock>::iterator stock);
    void close(std::map<AskName, Open>::iterator open);
    void uncount(const Pair& pair, unsigned by);

    const Limits limits_;
    std::map<Name, Listener> listeners_;
    std::set<Port> by_port_;
    std::set<std::pair<std::uint64_t, Name>> by_cookie_;
    std::map<Place, Stock> stocks_;
    std::map<AskName, Open> asks_;
    std::map<ClientId, std::uint32_t> last_ask_;
    std::map<Pair, unsigned> counts_; // granted and not released, or asked for
};

} // namespace xway
