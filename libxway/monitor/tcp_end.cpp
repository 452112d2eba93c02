// SPDX-License-Identifier: GPL-2.0-or-later
//
// tcp_end.cpp - getsockopt, getsockname, getpeername.
#include "tcp_end.h"

#include <cerrno>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef SO_BINDTOIFINDEX
#define SO_BINDTOIFINDEX 62
#endif
#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

namespace xway {

namespace {

constexpr std::uint8_t kEstablished = 1, kClose = 7, kListen = 10; // as in <netinet/tcp.h>

template <typename Value>
std::optional<Value> option(int fd, int level, int name) {
    Value value{};
    socklen_t size = sizeof(value);
    if (getsockopt(fd, level, name, &value, &size) < 0)
        return std::nullopt;
    return value;
}

std::optional<Endpoint> name_of(const sockaddr_storage& address) {
    if (address.ss_family == AF_INET) {
        sockaddr_in in;
        std::memcpy(&in, &address, sizeof(in));
        return Endpoint{Address::from_v4(&in.sin_addr), ntohs(in.sin_port)};
    }
    if (address.ss_family != AF_INET6)
        return std::nullopt;
    sockaddr_in6 in6;
    std::memcpy(&in6, &address, sizeof(in6));
    return Endpoint{Address::from_v6(&in6.sin6_addr), ntohs(in6.sin6_port)};
}

// What `look(state)` finds, if it is a TCP socket at all.
template <typename Look>
auto look_at_tcp(int fd, Look look) -> decltype(look(std::uint8_t{})) {
    const auto type = option<int>(fd, SOL_SOCKET, SO_TYPE);
    if (!type)
        return NotASocket();
    const auto family = option<int>(fd, SOL_SOCKET, SO_DOMAIN);
    if (*type != SOCK_STREAM || (family != AF_INET && family != AF_INET6) ||
        option<int>(fd, SOL_SOCKET, SO_PROTOCOL) != IPPROTO_TCP)
        return XWAY_WHY_PEER_REFUSED;
    const auto info = option<tcp_info>(fd, IPPROTO_TCP, TCP_INFO);
    if (!info)
        return XWAY_WHY_PEER_CLOSED;
    return look(info->tcpi_state);
}

std::variant<TcpEnd, xway_why, NotASocket> look_at_end(int fd, std::uint8_t state) {
    if (state != kEstablished)
        return XWAY_WHY_PEER_CLOSED;

    TcpEnd end;
    const auto cookie = option<std::uint64_t>(fd, SOL_SOCKET, SO_COOKIE);
    end.flow.netns = netns_of(fd);
    struct stat status {};
    if (!cookie || end.flow.netns == 0 || fstat(fd, &status) < 0)
        return XWAY_WHY_PEER_REFUSED;
    end.cookie = *cookie;
    end.inode = status.st_ino;

    sockaddr_storage local{}, remote{};
    socklen_t local_size = sizeof(local), remote_size = sizeof(remote);
    if (getsockname(fd, reinterpret_cast<sockaddr*>(&local), &local_size) < 0 ||
        getpeername(fd, reinterpret_cast<sockaddr*>(&remote), &remote_size) < 0)
        return XWAY_WHY_PEER_CLOSED; // reset meanwhile
    const auto here = name_of(local), there = name_of(remote);
    if (!here || !there)
        return XWAY_WHY_PEER_REFUSED;
    end.flow.local = *here;
    end.flow.remote = *there;
    end.flow.device = option<std::uint32_t>(fd, SOL_SOCKET, SO_BINDTOIFINDEX).value_or(0);
    return end;
}

std::variant<TcpListener, xway_why, NotASocket> look_at_listening(int fd, std::uint8_t state) {
    if (state != kListen)
        return state == kClose ? XWAY_WHY_PEER_CLOSED : XWAY_WHY_PEER_REFUSED;
    TcpListener listener;
    const auto cookie = option<std::uint64_t>(fd, SOL_SOCKET, SO_COOKIE);
    listener.netns = netns_of(fd);
    sockaddr_storage local{};
    socklen_t size = sizeof(local);
    if (!cookie || listener.netns == 0 ||
        getsockname(fd, reinterpret_cast<sockaddr*>(&local), &size) < 0)
        return XWAY_WHY_PEER_CLOSED;
    const auto here = name_of(local);
    if (!here)
        return XWAY_WHY_PEER_REFUSED;
    listener.cookie = *cookie;
    listener.local = *here;
    listener.takes_v4 =
        local.ss_family == AF_INET6 && option<int>(fd, IPPROTO_IPV6, IPV6_V6ONLY) == 0;
    listener.device = option<std::uint32_t>(fd, SOL_SOCKET, SO_BINDTOIFINDEX).value_or(0);
    return listener;
}

} // namespace

std::variant<TcpEnd, xway_why, NotASocket> look_at_socket(int fd) {
    return look_at_tcp(fd, [fd](std::uint8_t state) { return look_at_end(fd, state); });
}

std::variant<TcpListener, xway_why, NotASocket> look_at_listener(int fd) {
    return look_at_tcp(fd, [fd](std::uint8_t state) { return look_at_listening(fd, state); });
}

bool is_bell(int fd) {
    char target[64];
    const std::string path = "/proc/self/fd/" + std::to_string(fd);
    const ssize_t length = readlink(path.c_str(), target, sizeof(target));
    if (length < 0 ||
        std::string_view(target, static_cast<std::size_t>(length)) != "anon_inode:[eventfd]")
        return false;
    const int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && (flags & O_NONBLOCK) != 0 && (flags & O_ACCMODE) == O_RDWR;
}

std::uint64_t netns_of(int socket) {
    return option<std::uint64_t>(socket, SOL_SOCKET, SO_NETNS_COOKIE).value_or(0);
}

} // namespace xway
