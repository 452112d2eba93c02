// SPDX-License-Identifier: GPL-2.0-or-later
//
// inspector.h - the thread that touches open files which belong to others as well.
//
// Whoever shares an open file with us can make a call on it last: a process that faults inside
// send() keeps the socket locked, the last close() of a socket may linger, that of a file may wait
// for a file system in user space, and O_NONBLOCK of an eventfd can be taken back. So the loop
// leaves such calls to this thread. One that is stuck is left behind for another, and its user
// is not served for as long as that lasts.
//
// The way to the thread and back costs more than all the calls. Processes of our own user can stop
// us anyway, so their sockets may be looked at on the spot.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <variant>
#include <vector>

#include <sys/types.h>

#include "loop.h"
#include "pairing.h"
#include "shared_memory.h"
#include "socket_lookup.h"
#include "tcp_end.h"

namespace xway {

class Inspector {
public:
    enum class About { end, listener, supply };

    // The kernel lets us take nothing from this process.
    struct Refused {};

    // Both ends of a connection.
    struct TcpEnds {
        TcpEnd dialer, accepted;
    };

    struct Report {
        About about;
        ClientId client;
        uid_t uid;
        std::uint64_t conn;
        std::uint32_t ask; // of a supply
        std::variant<TcpEnd, TcpListener, TcpEnds, xway_why, NotASocket, Refused> found;
        UniqueFd dialer;         // of a supply, to be passed on; what is left here is closed
        std::uint64_t netns = 0; // of an end, even one that is closed by now; 0: cannot be told
    };

    // Reports come from the loop, or from inspect() for users that are trusted. The lookup learns
    // of the network namespaces of what is inspected.
    Inspector(Loop& loop, std::shared_ptr<SocketLookup> lookup, std::optional<uid_t> trusted,
              std::function<void(Report&)> on_report);
    Inspector(const Inspector&) = delete;
    Inspector& operator=(const Inspector&) = delete;
    ~Inspector();

    // Looks at a socket and closes it. In the order of the calls.
    void inspect(ClientId client, uid_t uid, std::uint64_t conn, UniqueFd socket);
    // Takes the socket from the process first. The descriptor may be another's by now, but no other
    // socket has this cookie.
    void fetch(ClientId client, uid_t uid, std::uint64_t conn, SharedFd pidfd, int number,
               std::uint64_t cookie);
    void inspect_listener(ClientId client, uid_t uid, std::uint64_t conn, UniqueFd socket);
    // Of the two only the accepted end is closed.
    void inspect_supply(ClientId client, uid_t uid, std::uint64_t conn, std::uint32_t ask,
                        UniqueFd dialer, UniqueFd accepted);
    // For sending. Whoever lets go of it last has it closed here.
    SharedFd lend(ClientId client, uid_t uid, UniqueFd file);
    // Closes what nobody should have sent.
    void dispose(ClientId client, uid_t uid, std::vector<UniqueFd> files);
    // Rings doorbells of this client.
    void ring(ClientId client, uid_t uid, const std::vector<SharedFd>& bells);

    // Looks whether the thread is stuck; then the client whose file it is, is named, once.
    std::optional<ClientId> find_stuck(std::chrono::steady_clock::time_point now);
    // Whether a thread is stuck with a file of this user.
    [[nodiscard]] bool is_stuck_with(uid_t uid);

private:
    struct Job;
    struct Worker;

    void look_at(Job job);
    void add(Job job);
    void pass_on(Report& report);
    bool start(); // another thread; false: the system has none to give
    static Report look(Job& job, SocketLookup& lookup);
    static void work(const std::shared_ptr<Worker>& worker);
    static void on_ready(int fd, short what, void* self);

    const std::shared_ptr<SocketLookup> lookup_;
    const std::optional<uid_t> trusted_;
    const std::function<void(Report&)> on_report_;
    const UniqueFd ready_fd_; // an eventfd: reports wait
    Event ready_;
    std::shared_ptr<Worker> worker_;
    std::vector<std::shared_ptr<Worker>> stuck_;
};

} // namespace xway
