// SPDX-License-Identifier: GPL-2.0-or-later
//
// socket_lookup.cpp - NETLINK_SOCK_DIAG, one question at a time.
#include "socket_lookup.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "tcp_end.h"

namespace xway {

namespace {

constexpr std::size_t kNamespacesMax = 64;
constexpr std::uint8_t kEstablished = 1, kListen = 10; // as in <netinet/tcp.h>

UniqueFd open_netlink() {
    return UniqueFd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_SOCK_DIAG));
}

void put_address(const Address& address, __be32 (&words)[4]) {
    const std::size_t skip = address.is_v4() ? 12 : 0;
    std::memcpy(words, address.bytes.data() + skip, address.bytes.size() - skip);
}

} // namespace

SocketLookup::SocketLookup()
    : own_space_(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)), own_netlink_(open_netlink()) {
    if (!own_netlink_)
        return;
    own_ = netns_of(own_netlink_.get());
    // The first question may load a module; no socket has this flow.
    works_ = own_ != 0 && ask_kernel(own_netlink_.get(), {}, 1).answer == Answer::closed;
}

SocketLookup::Answer SocketLookup::ask(const Flow& flow, std::uint64_t cookie) {
    const Found found = ask_namespace(flow, cookie);
    if (found.answer == Answer::open && found.state != kEstablished)
        return Answer::closed;
    return found.answer;
}

SocketLookup::Listening SocketLookup::ask_listener(const Flow& flow) {
    Flow to_nobody = flow;
    to_nobody.remote = {};
    if (flow.local.address.is_v4())
        to_nobody.remote.address = Address::from_v4("\0\0\0");
    constexpr std::uint64_t kAny = UINT64_MAX; // INET_DIAG_NOCOOKIE, twice
    const Found found = ask_namespace(to_nobody, kAny);
    if (found.answer == Answer::open && found.state != kListen)
        return {Answer::closed, 0};
    return {found.answer, found.cookie};
}

SocketLookup::Found SocketLookup::ask_namespace(const Flow& flow, std::uint64_t cookie) {
    const std::lock_guard lock(mutex_);
    if (flow.netns == own_)
        return works_ ? ask_kernel(own_netlink_.get(), flow, cookie) : Found();
    const auto other = others_.find(flow.netns);
    if (other == others_.end())
        return {};
    other->second.used = Clock::now();
    return ask_kernel(other->second.netlink.get(), flow, cookie);
}

SocketLookup::Found SocketLookup::ask_kernel(int netlink, const Flow& flow, std::uint64_t cookie) {
    struct {
        nlmsghdr header;
        inet_diag_req_v2 body;
    } request{};
    request.header.nlmsg_len = sizeof(request);
    request.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
    request.header.nlmsg_flags = NLM_F_REQUEST;
    request.body.sdiag_family = flow.local.address.is_v4() ? AF_INET : AF_INET6;
    request.body.sdiag_protocol = IPPROTO_TCP;
    request.body.idiag_states = ~0U;
    inet_diag_sockid& id = request.body.id;
    id.idiag_sport = htons(flow.local.port);
    id.idiag_dport = htons(flow.remote.port);
    put_address(flow.local.address, id.idiag_src);
    put_address(flow.remote.address, id.idiag_dst);
    id.idiag_if = flow.device;
    id.idiag_cookie[0] = static_cast<std::uint32_t>(cookie);
    id.idiag_cookie[1] = static_cast<std::uint32_t>(cookie >> 32);

    // The answer is there when send() returns. Whatever is left of an earlier one is thrown away.
    union {
        nlmsghdr header;
        char bytes[4096];
    } answer;
    while (recv(netlink, &answer, sizeof(answer), MSG_DONTWAIT) >= 0) {
    }
    if (send(netlink, &request, sizeof(request), 0) < 0)
        return {};
    const ssize_t got = recv(netlink, &answer, sizeof(answer), MSG_DONTWAIT);
    if (got < static_cast<ssize_t>(NLMSG_HDRLEN) ||
        !NLMSG_OK(&answer.header, static_cast<std::uint32_t>(got)))
        return {};
    if (answer.header.nlmsg_type == NLMSG_ERROR) {
        const auto* error = static_cast<const nlmsgerr*>(NLMSG_DATA(&answer.header));
        // ESTALE: the flow is that of another socket.
        const bool closed = error->error == -ENOENT || error->error == -ESTALE;
        return {closed ? Answer::closed : Answer::unknown};
    }
    if (answer.header.nlmsg_type != SOCK_DIAG_BY_FAMILY ||
        answer.header.nlmsg_len < NLMSG_LENGTH(sizeof(inet_diag_msg)))
        return {};
    const auto* found = static_cast<const inet_diag_msg*>(NLMSG_DATA(&answer.header));
    const std::uint64_t low = found->id.idiag_cookie[0], high = found->id.idiag_cookie[1];
    return {Answer::open, found->idiag_state, high << 32 | low};
}

void SocketLookup::learn(int socket, std::uint64_t netns) {
    {
        const std::lock_guard lock(mutex_);
        if (netns == own_ || others_.contains(netns))
            return;
    }
    // A socket belongs to the namespace that its thread was in.
    const UniqueFd space(ioctl(socket, SIOCGSKNS));
    if (!space || setns(space.get(), CLONE_NEWNET) < 0)
        return;
    UniqueFd netlink = open_netlink();
    setns(own_space_.get(), CLONE_NEWNET);
    if (!netlink || netns_of(netlink.get()) != netns)
        return;
    const std::lock_guard lock(mutex_);
    if (others_.size() >= kNamespacesMax)
        others_.erase(std::min_element(
            others_.begin(), others_.end(),
            [](const auto& a, const auto& b) { return a.second.used < b.second.used; }));
    others_[netns] = {std::move(netlink), Clock::now()};
}

void SocketLookup::forget(Clock::time_point then) {
    const std::lock_guard lock(mutex_);
    std::erase_if(others_, [&](const auto& other) { return other.second.used < then; });
}

} // namespace xway
