// SPDX-License-Identifier: GPL-2.0-or-later
//
// name.h - an address and a port, whatever the family that says it.
#pragma once

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include <cstdint>
#include <optional>

#include "../wire.h"

namespace xway {

struct Name {
    in6_addr address;   // IPv4 as ::ffff:a.b.c.d
    std::uint32_t port; // host order

    bool operator==(const Name& other) const {
        return port == other.port && memcmp(&address, &other.address, sizeof(address)) == 0;
    }
    [[nodiscard]] bool is_v4() const { return IN6_IS_ADDR_V4MAPPED(&address); }
};

// Nothing: not of TCP.
inline std::optional<Name> name_of(const void* address, socklen_t length) {
    Name name{};
    if (length < sizeof(sa_family_t))
        return std::nullopt;
    const auto* any = static_cast<const sockaddr*>(address);
    if (any->sa_family == AF_INET && length >= sizeof(sockaddr_in)) {
        const auto* four = reinterpret_cast<const sockaddr_in*>(any);
        memset(&name.address.s6_addr[10], 0xff, 2);
        memcpy(&name.address.s6_addr[12], &four->sin_addr, sizeof(four->sin_addr));
        name.port = ntohs(four->sin_port);
        return name;
    }
    if (any->sa_family != AF_INET6 || length < sizeof(sockaddr_in6))
        return std::nullopt;
    const auto* six = reinterpret_cast<const sockaddr_in6*>(any);
    name.address = six->sin6_addr;
    name.port = ntohs(six->sin6_port);
    return name;
}

// Of the socket itself, as the kernel has named it.
inline std::optional<Name> own_name(int fd) {
    sockaddr_storage own{};
    socklen_t length = sizeof(own);
    return getsockname(fd, reinterpret_cast<sockaddr*>(&own), &length) == 0 ? name_of(&own, length)
                                                                            : std::nullopt;
}

inline void put_name(const Name& name, WireMsg* message) {
    memcpy(message->address, &name.address, sizeof(message->address));
    message->port = name.port;
}

inline Name name_of(const WireMsg& message) {
    Name name{};
    memcpy(&name.address, message.address, sizeof(name.address));
    name.port = message.port;
    return name;
}

} // namespace xway
