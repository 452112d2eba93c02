// SPDX-License-Identifier: GPL-2.0-or-later
//
// address.cpp - reading and writing addresses.
#include "address.h"

#include <algorithm>
#include <cctype>
#include <cstring>

#include <arpa/inet.h>

#include "text.h"

namespace xway {

namespace {

constexpr std::array<std::uint8_t, 12> kMapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

} // namespace

std::optional<Address> Address::parse(std::string_view text) {
    const std::string copy(text);
    unsigned char raw[16];
    if (copy.size() != std::strlen(copy.c_str()))
        return std::nullopt;
    if (inet_pton(AF_INET, copy.c_str(), raw) == 1)
        return from_v4(raw);
    if (inet_pton(AF_INET6, copy.c_str(), raw) == 1)
        return from_v6(raw);
    return std::nullopt;
}

Address Address::from_v4(const void* four_bytes) {
    Address address;
    std::copy(kMapped.begin(), kMapped.end(), address.bytes.begin());
    std::memcpy(address.bytes.data() + kMapped.size(), four_bytes, 4);
    return address;
}

Address Address::from_v6(const void* sixteen_bytes) {
    Address address;
    std::memcpy(address.bytes.data(), sixteen_bytes, address.bytes.size());
    return address;
}

bool Address::is_v4() const {
    return std::equal(kMapped.begin(), kMapped.end(), bytes.begin());
}

bool Address::is_unspecified() const {
    const auto rest = is_v4() ? bytes.begin() + kMapped.size() : bytes.begin();
    return std::all_of(rest, bytes.end(), [](auto byte) { return byte == 0; });
}

bool Address::is_loopback() const {
    if (is_v4())
        return bytes[12] == 127;
    return bytes[15] == 1 &&
           std::all_of(bytes.begin(), bytes.end() - 1, [](auto byte) { return byte == 0; });
}

bool Address::is_multicast() const {
    if (!is_v4())
        return bytes[0] == 0xff;
    return (bytes[12] & 0xf0) == 0xe0 ||
           std::all_of(bytes.begin() + 12, bytes.end(), [](auto byte) { return byte == 0xff; });
}

std::string Address::text() const {
    char buffer[INET6_ADDRSTRLEN] = "";
    if (is_v4())
        inet_ntop(AF_INET, bytes.data() + kMapped.size(), buffer, sizeof(buffer));
    else
        inet_ntop(AF_INET6, bytes.data(), buffer, sizeof(buffer));
    return buffer;
}

std::optional<Endpoint> Endpoint::parse(std::string_view text) {
    const auto colon = text.rfind(':');
    if (colon == std::string_view::npos)
        return std::nullopt;
    std::string_view host = text.substr(0, colon);
    if (host.size() >= 2 && host.front() == '[' && host.back() == ']')
        host = host.substr(1, host.size() - 2);
    else if (host.find(':') != std::string_view::npos)
        return std::nullopt;

    const auto address = Address::parse(host);
    const auto port = parse_number<std::uint16_t>(text.substr(colon + 1));
    if (!address || !port)
        return std::nullopt;
    return Endpoint{*address, *port};
}

std::string Endpoint::text() const {
    const std::string host = address.is_v4() ? address.text() : '[' + address.text() + ']';
    return host + ':' + std::to_string(port);
}

std::optional<std::string> parse_mac(std::string_view text) {
    if (text.size() != 17)
        return std::nullopt;
    std::string mac(text);
    for (std::size_t i = 0; i < mac.size(); ++i) {
        const auto character = static_cast<unsigned char>(mac[i]);
        if (i % 3 == 2 ? character != ':' : !std::isxdigit(character))
            return std::nullopt;
        mac[i] = static_cast<char>(std::tolower(character));
    }
    return mac;
}

} // namespace xway
