// SPDX-License-Identifier: GPL-2.0-or-later
//
// socket_lookup.h - is a socket that was seen a while ago still open? The kernel is asked by name.
//
// A registered socket is closed at once on our side, so its process can close it behind our back,
// and its port may then be used for somebody else's connection. Whoever could have that connection
// paired with his own old registration would read it. So no end is believed that has waited.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>

#include "flow.h"
#include "unique_fd.h"

namespace xway {

// May be used from two threads.
class SocketLookup {
public:
    using Clock = std::chrono::steady_clock;

    enum class Answer { open, closed, unknown };

    SocketLookup();

    // Whether it can answer for sockets of our own network namespace.
    [[nodiscard]] bool works() const { return works_; }

    // Is this socket established, and does it have this flow? Never blocks.
    Answer ask(const Flow& flow, std::uint64_t cookie);

    // Who listens where this flow ends with us? Never blocks.
    struct Listening {
        Answer answer = Answer::unknown; // open: somebody
        std::uint64_t cookie = 0;
    };
    Listening ask_listener(const Flow& flow);
    bool has_listener(const Flow& flow) { return ask_listener(flow).answer == Answer::open; }

    // So that ask() can answer for the network namespace of this socket, too. Takes privileges.
    void learn(int socket, std::uint64_t netns);

    // Lets go of namespaces that were not asked for since then.
    void forget(Clock::time_point then);

private:
    struct Namespace {
        UniqueFd netlink;
        Clock::time_point used{};
    };

    // The socket that receives what belongs to this flow; its state is 0: none, or nothing known.
    struct Found {
        Answer answer = Answer::unknown;
        std::uint8_t state = 0;
        std::uint64_t cookie = 0;
    };
    static Found ask_kernel(int netlink, const Flow& flow, std::uint64_t cookie);
    Found ask_namespace(const Flow& flow, std::uint64_t cookie);

    std::mutex mutex_;
    UniqueFd own_space_;
    std::uint64_t own_ = 0;
    bool works_ = false;
    UniqueFd own_netlink_;
    std::map<std::uint64_t, Namespace> others_;
};

} // namespace xway
