// SPDX-License-Identifier: GPL-2.0-or-later
//
// wire_client.h - a process in the eyes of xwayd, made of nothing but packets; and TCP connections.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "arena.h"
#include "socket_file.h"
#include "wire_io.h"

namespace xway::test {

inline constexpr int kSoonMs = 5000; // a sanitizer is slow
inline constexpr int kNeverMs = 150;

inline bool readable(int fd, int ms) {
    pollfd what{fd, POLLIN, 0};
    return poll(&what, 1, ms) == 1;
}

inline UniqueFd make_bell() {
    return UniqueFd(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
}

class WireClient {
public:
    explicit WireClient(const std::string& path) {
        if (auto connected = connect_to(path, SOCK_SEQPACKET))
            socket_ = std::move(*connected);
    }

    static WireClient welcomed(const std::string& path, unsigned bells = 2) {
        WireClient client(path);
        client.hello(bells);
        auto welcome = client.receive();
        if (welcome && welcome->msg.type == WireType::kWelcome && welcome->fds.size() == 1)
            client.mailbox_fd = std::move(welcome->fds[0]);
        return client;
    }

    void hello(unsigned bells_wanted, std::uint32_t flags = 0) {
        for (unsigned i = 0; i < bells_wanted; ++i)
            bells.push_back(share(make_bell()));
        WireMsg msg{};
        msg.type = WireType::kHello;
        msg.arg = kWireVersion;
        msg.flags = flags;
        send(msg, bells);
    }

    bool send(const WireMsg& msg, const std::vector<SharedFd>& fds = {}) {
        for (;;) {
            const Sent sent = send_packet(socket_.get(), msg, fds);
            if (sent == Sent::yes || sent == Sent::never)
                return sent == Sent::yes;
            pollfd what{socket_.get(), POLLOUT, 0};
            poll(&what, 1, 10);
        }
    }

    bool enroll(std::uint64_t conn, int fd) {
        WireMsg msg{};
        msg.type = WireType::kRegister;
        msg.conn = conn;
        return send(msg, {share(UniqueFd(dup(fd)))});
    }

    void cancel(std::uint64_t conn) {
        WireMsg msg{};
        msg.type = WireType::kCancel;
        msg.conn = conn;
        send(msg);
    }

    void release(const WireMsg& attached) {
        WireMsg msg = attached;
        msg.type = WireType::kRelease;
        send(msg);
    }

    // Nothing: none came in time, or the connection has ended.
    std::optional<Packet> receive(int ms = kSoonMs) {
        Packet packet;
        if (!readable(socket_.get(), ms) ||
            receive_packet(socket_.get(), packet) != Received::packet)
            return std::nullopt;
        return packet;
    }

    bool is_closed(int ms = kSoonMs) {
        Packet packet;
        return readable(socket_.get(), ms) &&
               receive_packet(socket_.get(), packet) == Received::closed;
    }

    // Whether xwayd still answers it.
    bool is_served() {
        int ends[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
            return false;
        const UniqueFd one(ends[0]), other(ends[1]);
        constexpr std::uint64_t kConn = 0xfeed;
        enroll(kConn, one.get());
        const auto answer = receive();
        return answer && answer->msg.type == WireType::kDecline && answer->msg.conn == kConn;
    }

    [[nodiscard]] int fd() const { return socket_.get(); }
    void hang_up() { socket_ = UniqueFd(); }

    std::vector<SharedFd> bells;
    UniqueFd mailbox_fd;

private:
    UniqueFd socket_;
};

struct TcpPair {
    UniqueFd client = UniqueFd(), server = UniqueFd(), listener = UniqueFd();
};

inline UniqueFd listen_on(sockaddr_in& address) {
    UniqueFd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int on = 1;
    setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    socklen_t size = sizeof(address);
    if (bind(listener.get(), reinterpret_cast<sockaddr*>(&address), size) < 0 ||
        listen(listener.get(), 16) < 0 ||
        getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size) < 0)
        return UniqueFd();
    return listener;
}

inline sockaddr_in loopback(std::uint16_t port = 0) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

// A connection to a listener, from this port if there is one.
inline TcpPair connect_tcp(const UniqueFd& listener, const sockaddr_in& to,
                           std::uint16_t from = 0) {
    TcpPair pair{UniqueFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)), UniqueFd()};
    TcpPair none{UniqueFd(), UniqueFd()};
    const int on = 1;
    setsockopt(pair.client.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    const sockaddr_in own = loopback(from);
    if (from != 0 &&
        bind(pair.client.get(), reinterpret_cast<const sockaddr*>(&own), sizeof(own)) < 0)
        return none;
    if (connect(pair.client.get(), reinterpret_cast<const sockaddr*>(&to), sizeof(to)) < 0)
        return none;
    pair.server = UniqueFd(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    return pair;
}

inline TcpPair make_tcp_pair() {
    sockaddr_in address = loopback();
    UniqueFd listener = listen_on(address);
    TcpPair pair = connect_tcp(listener, address);
    pair.listener = std::move(listener);
    return pair;
}

// What a process maps of the arena that it was given.
class ArenaMapping {
public:
    ArenaMapping() = default;
    explicit ArenaMapping(int fd) {
        void* base = mmap(nullptr, kArenaBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (base != MAP_FAILED)
            view.base = static_cast<std::uint8_t*>(base);
    }
    ArenaMapping(ArenaMapping&& other) noexcept : view(std::exchange(other.view, {})) {}
    ArenaMapping& operator=(ArenaMapping&& other) noexcept {
        std::swap(view, other.view);
        return *this;
    }
    ~ArenaMapping() {
        if (view.base)
            munmap(view.base, kArenaBytes);
    }

    ArenaView view;
};

} // namespace xway::test
