// SPDX-License-Identifier: GPL-2.0-or-later
//
// client.h - one connected process: its socket, its pidfd, its mailbox, what waits to be sent to
// it.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "caller.h"
#include "local_policy.h"
#include "loop.h"
#include "pairing.h"
#include "queues.h"
#include "shared_memory.h"
#include "wire_io.h"

namespace xway {

// Reads packets and queues them; what they mean is its owner's business.
class Client {
public:
    class Owner {
    public:
        // The descriptors in the packet are the owner's from here on.
        virtual void on_packet(Client& client, Packet packet) = 0;
        virtual void on_malformed(Client& client, Packet packet) = 0;
        // It does not read what it is sent; what was just to be sent is dropped.
        virtual void on_deaf(Client& client) = 0;
        // Once, whatever comes first: end of the process, end of the connection, lose(). The client
        // must outlive the call; the owner forgets it later.
        virtual void on_lost(Client& client) = 0;

    protected:
        ~Owner() = default;
    };

    Client(ClientId id, UniqueFd socket, Caller caller, Loop& loop, Owner& owner);
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;
    ~Client() = default;

    [[nodiscard]] ClientId id() const { return id_; }
    [[nodiscard]] const Caller& caller() const { return caller_; }
    [[nodiscard]] const std::vector<SharedFd>& bells() const { return bells_; }
    // Sees to it that nobody is kept in a call to one of the doorbells, which all peers have and
    // one may have made to block. True: one was.
    bool mend_bells();
    [[nodiscard]] bool is_welcome() const { return mailbox_.data() != nullptr; }
    [[nodiscard]] bool is_lost() const { return lost_; }
    [[nodiscard]] bool is_direct() const { return direct_; }
    void set_direct() { direct_ = true; }
    [[nodiscard]] std::chrono::steady_clock::time_point since() const { return since_; }
    [[nodiscard]] std::size_t queued() const { return queue_.size(); }
    // Read when it is first asked for, and again after forget_cgroup().
    const std::string& cgroup();
    void forget_cgroup() { cgroup_.reset(); }

    // Makes the mailbox and sends it. These are its doorbells from now on.
    Result<void> welcome(std::vector<SharedFd> bells, LocalScope scope,
                         const std::optional<Queues::Share>& queue);
    void set_scope(LocalScope scope); // what the mailbox says of new registrations
    // Descriptors cannot be taken from it; the mailbox says so.
    void refuse_fetch();
    [[nodiscard]] const SharedFd& pidfd() const { return pidfd_; }

    // Now if there is room, else later. Loses a client that takes nothing.
    void send(const WireMsg& msg, std::vector<SharedFd> fds = {});

    // Nothing is read from it or sent to it any more.
    void lose();

private:
    struct Outgoing {
        WireMsg msg;
        std::vector<SharedFd> fds;
    };

    [[nodiscard]] Mailbox* mailbox() const { return reinterpret_cast<Mailbox*>(mailbox_.data()); }
    bool send_now(const Outgoing& message); // false: it must wait, or the client is lost
    void flush();

    static void on_readable(int fd, short what, void* self);
    static void on_writable(int fd, short what, void* self);
    static void on_ended(int fd, short what, void* self);

    const ClientId id_;
    Owner& owner_;
    const UniqueFd socket_;
    const Caller caller_;
    SharedFd pidfd_; // for others that may outlive the client; there if it has a queue
    const std::chrono::steady_clock::time_point since_ = std::chrono::steady_clock::now();
    std::vector<SharedFd> bells_;
    Mapping mailbox_;
    std::deque<Outgoing> queue_;
    std::optional<std::string> cgroup_;
    bool lost_ = false;
    bool direct_ = false; // the process says that it is in direct mode
    Event readable_, writable_, retry_, ended_;
};

} // namespace xway
