// SPDX-License-Identifier: GPL-2.0-or-later
//
// address.h - an IP address of either family, and an endpoint.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace xway {

// IPv4 is kept as ::ffff:a.b.c.d, so that one address has one value.
struct Address {
    std::array<std::uint8_t, 16> bytes{};

    auto operator<=>(const Address&) const = default;

    static std::optional<Address> parse(std::string_view text);
    static Address from_v4(const void* four_bytes);
    static Address from_v6(const void* sixteen_bytes);

    bool is_v4() const;
    bool is_unspecified() const; // 0.0.0.0 or ::
    bool is_loopback() const;
    bool is_multicast() const; // or the IPv4 broadcast address
    std::string text() const;
};

struct Endpoint {
    Address address;
    std::uint16_t port = 0;

    auto operator<=>(const Endpoint&) const = default;

    static std::optional<Endpoint> parse(std::string_view text); // 10.0.0.3:80 or [fd00::1]:80
    std::string text() const;
};

// "00:16:3e:.." in lower case, nothing if it is no such thing.
std::optional<std::string> parse_mac(std::string_view text);

} // namespace xway
