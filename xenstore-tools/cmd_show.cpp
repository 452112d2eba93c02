// SPDX-License-Identifier: GPL-2.0-or-later
//
// cmd_show.cpp - the TCP sockets of this guest, or those between processes of this machine: on
// which rail each direction is, and why.
//
// The module lists the sockets that it has looked at. For the others, which it never touched, the
// reason is derived here from their addresses. The kernel's list is read first: a socket that is
// opened in between must not seem to be one that the module does not know.
#include <algorithm>
#include <cctype>
#include <map>
#include <memory>
#include <set>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <xway/why.h>

#include "command.h"
#include "front_proc.h"
#include "local.h"
#include "neighbours.h"

namespace xway {

namespace {

struct Options {
    std::string peer;
    std::string state;
    bool all = false;
    bool why = false;
    bool local = false;
};

// What is known when the reasons are derived.
struct Surroundings {
    std::vector<Peer> peers;
    Neighbours neighbours;
    std::set<Address> own;
};

std::string explain(const std::string& why) {
#define XWAY_WHY_ENTRY(symbol, name, text) {name, text},
    static const std::map<std::string, const char*> kTexts{XWAY_WHY_LIST(XWAY_WHY_ENTRY)};
#undef XWAY_WHY_ENTRY
    const auto text = kTexts.find(why);
    return text == kTexts.end() ? "a reason that this program does not know" : text->second;
}

const Peer* peer_of(const Address& address, const Surroundings& around) {
    for (const Peer& peer : around.peers) {
        if (std::find(peer.ips.begin(), peer.ips.end(), address) != peer.ips.end())
            return &peer;
    }
    const auto neighbour = around.neighbours.find(address);
    if (neighbour == around.neighbours.end())
        return nullptr;
    for (const Peer& peer : around.peers) {
        if (std::find(peer.macs.begin(), peer.macs.end(), neighbour->second) != peer.macs.end())
            return &peer;
    }
    return nullptr;
}

// A socket that the module does not know, in the form of one that it does.
Socket derive(const KernelSocket& kernel, const Surroundings& around) {
    Socket socket;
    socket.state = "ESTABLISHED";
    socket.local = kernel.local;
    socket.remote = kernel.remote;
    socket.tx = socket.rx = "tcp";
    socket.uid = kernel.uid;
    socket.inode = kernel.inode;
    if (kernel.remote.address.is_loopback() || around.own.contains(kernel.remote.address)) {
        socket.why_tx = "local";
    } else if (const Peer* peer = peer_of(kernel.remote.address, around)) {
        socket.why_tx = "earlier";
        socket.peer = peer->domid;
    } else {
        socket.why_tx = "not-peer";
    }
    return socket;
}

std::string lower(std::string text) {
    for (char& character : text)
        character = static_cast<char>(std::tolower(static_cast<unsigned char>(character)));
    return text;
}

const Peer* named_peer(const std::optional<unsigned>& domid, const Surroundings& around) {
    const auto peer = std::find_if(around.peers.begin(), around.peers.end(),
                                   [&](const Peer& known) { return known.domid == domid; });
    return peer == around.peers.end() ? nullptr : &*peer;
}

bool wanted(const Socket& socket, const Surroundings& around, const Options& options) {
    if (!options.state.empty() && !lower(socket.state).starts_with(lower(options.state)))
        return false;
    if (socket.role == "listen" && !options.all && options.state.empty())
        return false;
    if (options.peer.empty())
        return true;
    const Peer* peer = named_peer(socket.peer, around);
    return (peer && peer->name == options.peer) ||
           (socket.peer && std::to_string(*socket.peer) == options.peer) ||
           socket.remote.address == Address::parse(options.peer);
}

// "ring 12/64K" or "tcp".
std::string rail_text(const std::string& rail, std::uint64_t fill, std::uint64_t size) {
    if (rail != "ring")
        return rail;
    return size == 0 ? rail : fmt::format("ring {}/{}", human_bytes(fill), human_bytes(size));
}

std::string bytes_text(std::uint64_t sent, std::uint64_t received) {
    return fmt::format("{}/{}", human_bytes(sent), human_bytes(received));
}

void add_row(Table& table, const Socket& socket, bool known, const Surroundings& around,
             const Options& options) {
    const bool listens = socket.role == "listen";
    const Peer* peer = named_peer(socket.peer, around);
    const std::string state = socket.state == "ESTABLISHED" ? "ESTAB" : socket.state;
    const std::string name = peer && !peer->name.empty() ? peer->name
                             : socket.peer               ? std::to_string(*socket.peer)
                                                         : "";
    const bool counted = known && !listens;
    const auto count = [&](std::uint64_t number) { return counted ? Cell(number) : Cell(); };
    const auto rail = [&](const std::string& which, std::uint64_t fill, std::uint64_t size) {
        return listens ? Cell() : Cell(which, rail_text(which, fill, size));
    };
    const bool on_ring = socket.why_tx.empty() || socket.why_tx == "none";
    const std::string reason = on_ring       ? ""
                               : options.why ? socket.why_tx + ": " + explain(socket.why_tx)
                                             : socket.why_tx;
    table.add({{socket.state, state},
               socket.local.text(),
               listens ? Cell(socket.remote.text(), "*") : Cell(socket.remote.text()),
               socket.peer ? Cell(std::uint64_t{*socket.peer}, name) : Cell(),
               peer ? Cell(peer->name) : Cell(),
               {known, ""},
               socket.role.empty() ? Cell() : Cell(socket.role),
               socket.direct ? Cell(*socket.direct, "") : Cell(),
               rail(socket.tx, socket.tx_fill, socket.tx_size),
               rail(socket.rx, socket.rx_fill, socket.rx_size),
               count(socket.tx_fill),
               count(socket.tx_size),
               count(socket.rx_fill),
               count(socket.rx_size),
               counted ? Cell(bytes_text(socket.tx_ring, socket.rx_ring)) : Cell(),
               counted ? Cell(bytes_text(socket.tx_tcp, socket.rx_tcp)) : Cell(),
               count(socket.tx_ring),
               count(socket.tx_tcp),
               count(socket.rx_ring),
               count(socket.rx_tcp),
               count(socket.tx_switches),
               count(socket.rx_switches),
               counted ? Cell(socket.age_ms, human_time(socket.age_ms)) : Cell(),
               listens ? Cell() : Cell(socket.uid),
               socket.inode,
               listens ? Cell() : Cell(socket.why_tx, reason),
               listens ? Cell() : Cell(explain(socket.why_tx))});
}

Result<std::vector<KernelSocket>> read_kernel_sockets(const Host& host) {
    std::vector<KernelSocket> all;
    for (const char* path : {"/proc/net/tcp", "/proc/net/tcp6"}) {
        auto text = host.file(path);
        if (!text && text.error().code == ENOENT)
            continue; // a kernel without IPv6
        if (!text)
            return text.error();
        auto sockets = parse_kernel_tcp(*text);
        if (!sockets)
            return Error{std::string(path) + ": " + sockets.error().what};
        all.insert(all.end(), sockets->begin(), sockets->end());
    }
    return all;
}

struct Seen {
    std::vector<Socket> sockets;      // that the module, or xwayd, has looked at
    std::vector<KernelSocket> kernel; // all of them
    Surroundings around;
};

Result<Seen> look_at_guest(const Host& host) {
    auto kernel = read_kernel_sockets(host);
    auto sockets = host.front("sockets", parse_front_sockets);
    if (!sockets)
        return sockets.error();
    auto peers = host.front("peers", parse_front_peers);
    if (!peers)
        return peers.error();
    if (!kernel)
        return kernel.error();
    Seen seen{*sockets, *kernel, {*peers, {}, {}}};
    if (auto neighbours = read_neighbours(); neighbours)
        seen.around.neighbours = *neighbours;
    else
        warn(neighbours.error());
    if (auto own = read_own_addresses(); own)
        seen.around.own = *own;
    else
        warn(own.error());
    return seen;
}

// The peers are processes. Nothing is known of connections that have not been registered.
Result<Seen> look_at_processes(const Common& common) {
    auto sockets = front_or_local(true, common, "sockets", parse_front_sockets);
    if (!sockets)
        return sockets.error();
    return Seen{*sockets, {}, {}};
}

Result<int> show(const Options& options, const Common& common) {
    auto seen = asks_xwayd(options.local, common) ? look_at_processes(common)
                                                  : look_at_guest(common.host());
    if (!seen)
        return seen.error();
    const Surroundings& around = seen->around;

    Table table({{"state", "STATE"},
                 {"local", "LOCAL"},
                 {"remote", "REMOTE"},
                 {"peer", "PEER"},
                 {"peer_name", ""},
                 {"known", ""},
                 {"role", ""},
                 {"direct", ""},
                 {"tx", "TX"},
                 {"rx", "RX"},
                 {"tx_fill", ""},
                 {"tx_size", ""},
                 {"rx_fill", ""},
                 {"rx_size", ""},
                 {"", "RING TX/RX", true},
                 {"", "TCP TX/RX", true},
                 {"tx_ring", ""},
                 {"tx_tcp", ""},
                 {"rx_ring", ""},
                 {"rx_tcp", ""},
                 {"tx_switches", ""},
                 {"rx_switches", ""},
                 {"age_ms", "AGE", true},
                 {"uid", ""},
                 {"inode", ""},
                 {"why", "WHY TCP"},
                 {"why_text", ""}});
    std::set<std::pair<Endpoint, Endpoint>> known;
    for (const Socket& socket : seen->sockets) {
        known.emplace(socket.local, socket.remote);
        if (wanted(socket, around, options))
            add_row(table, socket, true, around, options);
    }
    for (const KernelSocket& socket : seen->kernel) {
        if (!socket.established || known.contains({socket.local, socket.remote}))
            continue;
        const Socket derived = derive(socket, around);
        if (wanted(derived, around, options))
            add_row(table, derived, false, around, options);
    }
    table.print(common.format);
    return kDone;
}

} // namespace

Action declare_show(CLI::App& app, const Common& common) {
    auto options = std::make_shared<Options>();
    app.add_option("--peer", options->peer, "only this peer: name, domain number or address");
    app.add_option("--state", options->state, "only this TCP state, or its beginning");
    app.add_flag("-a,--all", options->all, "listening sockets as well");
    app.add_flag("--local", options->local,
                 "between processes of this machine, by what xwayd says");
    app.add_flag("--why", options->why, "explain why a socket is on TCP");
    return [options, &common] { return show(*options, common); };
}

} // namespace xway
