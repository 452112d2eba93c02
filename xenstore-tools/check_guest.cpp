// SPDX-License-Identifier: GPL-2.0-or-later
//
// check_guest.cpp - what a guest needs, and what a connection to one address needs.
#include <algorithm>
#include <chrono>
#include <thread>

#include <netdb.h>
#include <netinet/in.h>

#include <fmt/format.h>

#include "checklist.h"
#include "front_proc.h"
#include "neighbours.h"
#include "store.h"
#include "unique_fd.h"

namespace xway {

namespace {

Result<Address> resolve(const std::string& name) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    if (const int error = getaddrinfo(name.c_str(), nullptr, &hints, &found); error != 0)
        return Error{gai_strerror(error), "write an IP address, or a name that resolves"};
    const Address address =
        found->ai_family == AF_INET
            ? Address::from_v4(&reinterpret_cast<sockaddr_in*>(found->ai_addr)->sin_addr)
            : Address::from_v6(&reinterpret_cast<sockaddr_in6*>(found->ai_addr)->sin6_addr);
    freeaddrinfo(found);
    return address;
}

void check_device(Checklist& list, const FrontStatus& status) {
    constexpr char kRemedy[] = "in dom0, try 'xway domain add' with this guest's name";
    if (auto store = XenStore::open(); store) {
        auto state = (*store)->read("device/xway/0/state");
        if (state && *state)
            list.pass("device in xenstore", "device/xway/0");
        else
            list.fail("device in xenstore", "dom0 has given this guest no device", kRemedy);
    } else if (status.state == "no-device") {
        list.fail("device in xenstore", "dom0 has given this guest no device", kRemedy);
    } else {
        list.note("device in xenstore", store.error().what, store.error().remedy);
    }
}

constexpr char kNoRoomRemedy[] =
    "raise /sys/module/xway_front/parameters/total_kib, or load it with less arena_kib or slots";

bool has_no_room(const Peer& peer) {
    return peer.link == "no-room";
}

void check_room(Checklist& list, const std::vector<Peer>& peers, const FrontStatus& status) {
    const auto memory =
        fmt::format("{} of {} KiB are granted", status.granted_kib, status.total_kib);
    if (const auto waiting = std::count_if(peers.begin(), peers.end(), has_no_room); waiting > 0)
        list.fail("memory for links",
                  fmt::format("{}, and {} of the peers wait for some", memory, waiting),
                  kNoRoomRemedy);
    else
        list.pass("memory for links", memory);
}

void check_peers(Checklist& list, const Host& host, const FrontStatus& status) {
    auto peers = host.front("peers", parse_front_peers);
    if (!peers) {
        list.fail("peers", peers.error().what, peers.error().remedy);
        return;
    }
    const auto ready =
        std::count_if(peers->begin(), peers->end(), [](const Peer& peer) { return peer.ready; });
    if (peers->empty())
        list.fail("peers", "dom0 lets this guest talk to nobody",
                  "allow a pair in dom0's policy, and give the other guest its device");
    else if (ready == 0)
        list.fail("peers", fmt::format("none of {} is ready", peers->size()),
                  "load xway_front in the other guest");
    else
        list.pass("peers", fmt::format("{} of {} are ready", ready, peers->size()));
    check_room(list, *peers, status);
}

// Makes the kernel look for its neighbour, as a connection would: an empty datagram to "discard".
void touch(const Address& address) {
    constexpr std::uint16_t kDiscard = 9;
    sockaddr_in6 to{}; // an IPv6 socket reaches mapped IPv4 addresses, too
    to.sin6_family = AF_INET6;
    to.sin6_port = htons(kDiscard);
    std::copy(address.bytes.begin(), address.bytes.end(), to.sin6_addr.s6_addr);
    const UniqueFd fd(socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sendto(fd.get(), "", 0, MSG_DONTWAIT, reinterpret_cast<sockaddr*>(&to), sizeof(to));
}

Result<std::string> find_neighbour(const Address& address) {
    using namespace std::chrono_literals;
    constexpr int kTries = 20;
    for (int i = 0; i < kTries; ++i) {
        auto neighbours = read_neighbours();
        if (!neighbours)
            return neighbours.error();
        if (const auto found = neighbours->find(address); found != neighbours->end())
            return found->second;
        if (i == 0)
            touch(address);
        std::this_thread::sleep_for(50ms);
    }
    return Error{"nobody on this network answers for it",
                 "see whether it is up, and 'ip neighbour'"};
}

// The peer behind the address, by what dom0 says, else by the MAC of the neighbour.
const Peer* check_is_peer(Checklist& list, const std::vector<Peer>& peers, const Address& address,
                          const Route& route) {
    for (const Peer& peer : peers) {
        if (std::find(peer.ips.begin(), peer.ips.end(), address) != peer.ips.end()) {
            list.pass("address of a peer", fmt::format("{} ({}) by IP", peer.name, peer.domid));
            return &peer;
        }
    }
    if (route.gateway) {
        list.fail("address of a peer", "dom0 does not know it, and it is beyond a gateway",
                  "if it is a guest of this host, add 'ip NAME ADDRESS' to dom0's policy");
        return nullptr;
    }
    const auto mac = find_neighbour(address);
    if (!mac) {
        list.fail("address of a peer", mac.error().what, mac.error().remedy);
        return nullptr;
    }
    for (const Peer& peer : peers) {
        if (std::find(peer.macs.begin(), peer.macs.end(), *mac) != peer.macs.end()) {
            list.pass("address of a peer",
                      fmt::format("{} ({}) by MAC {}", peer.name, peer.domid, *mac));
            return &peer;
        }
    }
    list.fail("address of a peer", "no peer has its MAC " + *mac,
              "it is on another host, or dom0's policy does not allow the pair");
    return nullptr;
}

bool check_route(Checklist& list, const std::string& name, Address& address, Route& way) {
    auto resolved = resolve(name);
    if (!resolved) {
        list.fail("name resolves", resolved.error().what, resolved.error().remedy);
        return false;
    }
    address = *resolved;
    list.pass("name resolves", address.text());
    auto own = read_own_addresses();
    if (address.is_loopback() || (own && own->contains(address))) {
        list.fail("another guest", address.text() + " is this guest itself",
                  "nothing is to be done: connections within a guest stay on TCP");
        return false;
    }
    auto route = find_route(address);
    if (!route) {
        list.fail("route", route.error().what, "see 'ip route'");
        return false;
    }
    way = *route;
    list.pass("route", route->gateway
                           ? fmt::format("{} by gateway {}", route->device, route->gateway->text())
                           : fmt::format("{}, directly", route->device));
    return true;
}

} // namespace

void check_guest(Checklist& list, const Host& host) {
    if (!host.has_module("xway_front")) {
        list.fail("module xway_front", "it is not loaded", "try 'modprobe xway_front'");
        return;
    }
    list.pass("module xway_front");
    if (host.exists("/dev/xen/xenbus") || host.exists("/proc/xen/xenbus"))
        list.pass("xenbus");
    else
        list.note("xenbus", "no /dev/xen/xenbus: xenstore cannot be read from here", "mount xenfs");

    auto status = host.front("status", parse_front_status);
    if (!status) {
        list.fail("status of the module", status.error().what, status.error().remedy);
        return;
    }
    check_device(list, *status);
    if (status->state == "connected")
        list.pass("connected to dom0", fmt::format("as domain {}", status->domid));
    else
        list.fail("connected to dom0", "the device is in state " + status->state,
                  "in dom0, try 'xway check'");
    if (status->enable)
        list.pass("parameter enable");
    else
        list.fail("parameter enable", "it is off: all connections stay on TCP",
                  "echo 1 > /sys/module/xway_front/parameters/enable");
    if (status->flip_ms != 0)
        list.note("parameter flip_ms",
                  fmt::format("rails are switched every {} ms", status->flip_ms),
                  "it is for tests: set it to 0");
    check_peers(list, host, *status);
}

void check_peer(Checklist& list, const Host& host, const std::string& name) {
    Address address;
    Route route;
    if (!check_route(list, name, address, route))
        return;
    auto peers = host.front("peers", parse_front_peers);
    if (!peers) {
        list.fail("peers", peers.error().what, peers.error().remedy);
        return;
    }
    const Peer* peer = check_is_peer(list, *peers, address, route);
    if (!peer)
        return;
    if (peer->ready)
        list.pass("frontend of the peer", "ready");
    else
        list.fail("frontend of the peer", "it is not connected",
                  "load xway_front in " + peer->name);
    if (peer->link == "up")
        list.pass("link", "up");
    else if (peer->link == "broken")
        list.fail("link", "the peer has broken the protocol",
                  "read 'dmesg', and load its module anew");
    else if (has_no_room(*peer))
        list.fail("link", "there is no memory left for it", kNoRoomRemedy);
    else
        list.note("link", peer->link, "it is made when the first connection needs it");
}

} // namespace xway
