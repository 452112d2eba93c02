// SPDX-License-Identifier: GPL-2.0-or-later
//
// neighbours.cpp - rtnetlink.
#include "neighbours.h"

#include <array>
#include <cstring>
#include <functional>

#include <ifaddrs.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <fmt/format.h>

#include "unique_fd.h"

namespace xway {

namespace {

constexpr int kNeverUsable = NUD_FAILED | NUD_INCOMPLETE | NUD_NOARP;

Error failed(const char* doing, int code) {
    return Error::from_errno(doing, code);
}

// Sends one request and calls `each` for every answer until there are no more.
Result<void> ask(const void* request, std::size_t size, std::function<void(const nlmsghdr*)> each) {
    const UniqueFd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
    if (!fd)
        return failed("cannot open rtnetlink", errno);
    if (send(fd.get(), request, size, 0) < 0)
        return failed("cannot ask rtnetlink", errno);
    alignas(nlmsghdr) std::array<char, 32768> buffer;
    for (;;) {
        const ssize_t got = recv(fd.get(), buffer.data(), buffer.size(), 0);
        if (got < 0)
            return failed("no answer from rtnetlink", errno);
        auto left = static_cast<unsigned>(got);
        const auto* message = reinterpret_cast<const nlmsghdr*>(buffer.data());
        for (; NLMSG_OK(message, left); message = NLMSG_NEXT(message, left)) {
            if (message->nlmsg_type == NLMSG_DONE)
                return {};
            if (message->nlmsg_type == NLMSG_ERROR) {
                const auto* error = static_cast<const nlmsgerr*>(NLMSG_DATA(message));
                if (error->error == 0)
                    return {};
                return failed("rtnetlink", -error->error);
            }
            each(message);
            if (!(message->nlmsg_flags & NLM_F_MULTI))
                return {};
        }
    }
}

std::optional<Address> address_of(int family, const rtattr* attribute) {
    const std::size_t size = RTA_PAYLOAD(attribute);
    if (family == AF_INET && size == 4)
        return Address::from_v4(RTA_DATA(attribute));
    if (family == AF_INET6 && size == 16)
        return Address::from_v6(RTA_DATA(attribute));
    return std::nullopt;
}

void note_neighbour(const nlmsghdr* message, Neighbours& neighbours) {
    if (message->nlmsg_type != RTM_NEWNEIGH)
        return;
    const auto* entry = static_cast<const ndmsg*>(NLMSG_DATA(message));
    std::optional<Address> address;
    std::string mac;
    auto left = static_cast<unsigned>(NLMSG_PAYLOAD(message, sizeof(*entry)));
    const auto* attribute = reinterpret_cast<const rtattr*>(reinterpret_cast<const char*>(entry) +
                                                            NLMSG_ALIGN(sizeof(*entry)));
    for (; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left)) {
        if (attribute->rta_type == NDA_DST)
            address = address_of(entry->ndm_family, attribute);
        if (attribute->rta_type == NDA_LLADDR && RTA_PAYLOAD(attribute) == 6) {
            const auto* bytes = static_cast<const unsigned char*>(RTA_DATA(attribute));
            mac = fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", bytes[0], bytes[1],
                              bytes[2], bytes[3], bytes[4], bytes[5]);
        }
    }
    if (address && !mac.empty() && !(entry->ndm_state & kNeverUsable))
        neighbours[*address] = mac;
}

} // namespace

Result<Neighbours> read_neighbours() {
    Neighbours neighbours;
    for (int family : {AF_INET, AF_INET6}) {
        struct {
            nlmsghdr header;
            ndmsg body;
        } request{};
        request.header.nlmsg_len = sizeof(request);
        request.header.nlmsg_type = RTM_GETNEIGH;
        request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
        request.body.ndm_family = static_cast<std::uint8_t>(family);
        const auto done = ask(&request, sizeof(request), [&](const nlmsghdr* message) {
            note_neighbour(message, neighbours);
        });
        if (!done && done.error().code != EOPNOTSUPP)
            return done.error();
    }
    return neighbours;
}

Result<std::set<Address>> read_own_addresses() {
    ifaddrs* list = nullptr;
    if (getifaddrs(&list) < 0)
        return failed("cannot list this machine's addresses", errno);
    std::set<Address> addresses;
    for (const ifaddrs* entry = list; entry; entry = entry->ifa_next) {
        if (!entry->ifa_addr)
            continue;
        if (entry->ifa_addr->sa_family == AF_INET)
            addresses.insert(
                Address::from_v4(&reinterpret_cast<sockaddr_in*>(entry->ifa_addr)->sin_addr));
        if (entry->ifa_addr->sa_family == AF_INET6)
            addresses.insert(
                Address::from_v6(&reinterpret_cast<sockaddr_in6*>(entry->ifa_addr)->sin6_addr));
    }
    freeifaddrs(list);
    return addresses;
}

Result<Route> find_route(const Address& to) {
    const bool v4 = to.is_v4();
    const std::size_t size = v4 ? 4 : 16;
    struct {
        nlmsghdr header;
        rtmsg body;
        rtattr attribute;
        std::uint8_t address[16];
    } request{};
    request.header.nlmsg_len =
        static_cast<std::uint32_t>(NLMSG_LENGTH(sizeof(rtmsg)) + RTA_LENGTH(size));
    request.header.nlmsg_type = RTM_GETROUTE;
    request.header.nlmsg_flags = NLM_F_REQUEST;
    request.body.rtm_family = v4 ? AF_INET : AF_INET6;
    request.body.rtm_dst_len = static_cast<std::uint8_t>(size * 8);
    request.attribute.rta_type = RTA_DST;
    request.attribute.rta_len = static_cast<std::uint16_t>(RTA_LENGTH(size));
    std::memcpy(request.address, to.bytes.data() + (v4 ? 12 : 0), size);

    Route route;
    auto done = ask(&request, request.header.nlmsg_len, [&](const nlmsghdr* message) {
        const auto* body = static_cast<const rtmsg*>(NLMSG_DATA(message));
        auto left = static_cast<unsigned>(RTM_PAYLOAD(message));
        for (const rtattr* attribute = RTM_RTA(body); RTA_OK(attribute, left);
             attribute = RTA_NEXT(attribute, left)) {
            if (attribute->rta_type == RTA_GATEWAY)
                route.gateway = address_of(body->rtm_family, attribute);
            if (attribute->rta_type == RTA_OIF) {
                char name[IF_NAMESIZE] = "";
                unsigned index;
                std::memcpy(&index, RTA_DATA(attribute), sizeof(index));
                if (if_indextoname(index, name))
                    route.device = name;
            }
        }
    });
    if (!done)
        return done.error();
    return route;
}

} // namespace xway
