// SPDX-License-Identifier: GPL-2.0-or-later
//
// monitor_direct.cpp - direct mode: listeners, the stocks of connections to them.
//
// A dialer gets a connection that it has not opened, so it must be to whom it would have dialed:
// the kernel is asked who listens there, each time; a process that has once listened on a port and
// kept what it accepted is not believed.
#include "monitor.h"

#include <cstring>

#include <fmt/format.h>

namespace xway {

namespace {

void put(const Endpoint& to, WireMsg& msg) {
    std::memcpy(msg.address, to.address.bytes.data(), sizeof(msg.address));
    msg.port = to.port;
}

} // namespace

// ---- what they say ----

void Monitor::listen_at_port(Client& client, Packet& packet) {
    if (!client.is_direct())
        return violation(client, "listens without direct mode");
    if (packet.short_of_fds)
        return;
    if (packet.fds.size() != 1)
        return violation(client, fmt::format("passes {} listeners at once", packet.fds.size()));
    std::size_t& inspected = inspected_of_[client.id()];
    if (inspected >= options_.pairing.per_client ||
        !direct_.listen({client.id(), packet.msg.conn})) {
        if (inspected == 0)
            inspected_of_.erase(client.id());
        return;
    }
    ++inspected;
    inspector_.inspect_listener(client.id(), client.caller().uid, packet.msg.conn,
                                std::move(packet.fds[0]));
    packet.fds.clear();
}

void Monitor::unlisten(Client& client, const Packet& packet) {
    if (!client.is_direct() || !packet.fds.empty())
        return violation(client, "stops listening in a wrong way");
    const Direct::Name name{client.id(), packet.msg.conn};
    direct_.unlisten(name);
    arenas_.use_up(name.first, name.second);
}

void Monitor::supply(Client& client, Packet& packet) {
    const WireMsg& msg = packet.msg;
    const auto told = direct_.supply(client.id(), msg.ask);
    if (told == Direct::Supply::unasked)
        return violation(client, "supplies what nobody asked for");
    if (packet.fds.empty() && !packet.short_of_fds) {
        direct_.settle(client.id(), msg.ask, false);
        return direct_.end(client.id(), msg.ask);
    }
    if (packet.fds.size() != 2 && !packet.short_of_fds)
        return violation(client, fmt::format("supplies {} sockets at once", packet.fds.size()));
    if (told == Direct::Supply::late || packet.short_of_fds) {
        direct_.settle(client.id(), msg.ask, false);
        return decline(client.id(), msg.conn, XWAY_WHY_PEER_CLOSED);
    }
    ++inspected_of_[client.id()];
    inspector_.inspect_supply(client.id(), client.caller().uid, msg.conn, msg.ask,
                              std::move(packet.fds[0]), std::move(packet.fds[1]));
    packet.fds.clear();
}

void Monitor::more(Client& client, const Packet& packet) {
    const WireMsg& msg = packet.msg;
    if (!client.is_direct() || !packet.fds.empty() || msg.port == 0 || msg.port > UINT16_MAX)
        return violation(client, "asks for more in a wrong way");
    const Endpoint to{Address::from_v6(msg.address), static_cast<std::uint16_t>(msg.port)};
    if (const auto ask = direct_.add(client.id(), to, Clock::now()))
        stock(*ask);
}

// ---- what becomes of it ----

// The connection that a process in direct mode has registered may be the first of many.
void Monitor::begin_stock(Client& dialer, const Flow& dialled) {
    const Endpoint& to = dialled.remote;
    const auto now = Clock::now();
    // A zone could not be said.
    if (!dialer.is_direct() || dialled.device != 0 || !direct_.needs(dialer.id(), to, now))
        return;
    const Flow flow = dialled.mirrored();
    const auto name = listener_of(flow, dialer);
    Client* peer = name ? find(name->first) : nullptr;
    if (!peer || peer == &dialer ||
        decide(dialer, {dialer.id(), 0, 0, 0, dialled}, *peer,
               {name->first, name->second, 0, 0, flow}) != LocalVerdict::direct)
        return;
    if (const auto ask = direct_.begin(dialer.id(), *name, to, now))
        stock(*ask);
}

void Monitor::stock(const Direct::Ask& ask) {
    Client* client = find(ask.listener.first);
    if (!client)
        return;
    counters_.stocked += ask.count;
    WireMsg msg{};
    msg.type = WireType::kStock;
    msg.conn = ask.listener.second;
    msg.arg = ask.count;
    msg.ask = ask.id;
    put(ask.to, msg);
    client->send(msg);
    // It may be asleep for as long as nobody dials, which is what this is to prevent.
    inspector_.ring(client->id(), client->caller().uid, client->bells());
}

// Who takes connections where this flow ends. Where the kernel cannot be asked, a user may deceive
// himself.
std::optional<Direct::Name> Monitor::listener_of(const Flow& flow, const Client& dialer) {
    if (!direct_.knows(flow.netns, flow.local.port))
        return std::nullopt;
    const SocketLookup::Listening now = lookup_->ask_listener(flow);
    switch (now.answer) {
    case SocketLookup::Answer::open: return direct_.find(now.cookie);
    case SocketLookup::Answer::closed: return std::nullopt;
    case SocketLookup::Answer::unknown: break;
    }
    const auto name = direct_.find(flow.local, flow.netns);
    const Client* client = name ? find(name->first) : nullptr;
    return client && client->caller().uid == dialer.caller().uid ? name : std::nullopt;
}

void Monitor::on_listener(Client& client, const Inspector::Report& report) {
    const Direct::Name name{report.client, report.conn};
    const auto* why = std::get_if<xway_why>(&report.found);
    const auto* socket = std::get_if<TcpListener>(&report.found);
    if (socket && socket->device == 0) {
        for (const auto& [process, listener] : direct_.found(name, *socket))
            arenas_.use_up(process, listener);
        return;
    }
    direct_.unlisten(name);
    if (!socket && (!why || *why != XWAY_WHY_PEER_CLOSED))
        violation(client, "passes a listener that is none");
}

void Monitor::on_supply(Client& client, Inspector::Report& report) {
    if (std::holds_alternative<NotASocket>(report.found))
        return violation(client, "supplies what is no socket");
    const auto* why = std::get_if<xway_why>(&report.found);
    const xway_why not_granted = why ? *why : grant(client, report);
    direct_.settle(client.id(), report.ask, not_granted == XWAY_WHY_NONE);
    if (not_granted != XWAY_WHY_NONE)
        decline(client.id(), report.conn, not_granted);
}

// Both ends are open: xwayd has one, and that one is established.
xway_why Monitor::grant(Client& client, Inspector::Report& report) {
    const auto* ends = std::get_if<Inspector::TcpEnds>(&report.found);
    const auto wanted = direct_.supplied(client.id(), report.ask);
    Client* dialer = wanted ? find(wanted->dialer) : nullptr;
    if (!ends || !dialer)
        return XWAY_WHY_PEER_CLOSED;
    const Registration theirs{client.id(),          report.conn,         ends->accepted.cookie,
                              ends->accepted.inode, ends->accepted.flow, true};
    const Registration own{dialer->id(),      0,    ends->dialer.cookie, ends->dialer.inode,
                           ends->dialer.flow, true, client.id(),         wanted->listener.second};
    if (own.flow.mirrored() != theirs.flow || theirs.flow.local != wanted->to)
        return XWAY_WHY_PEER_REFUSED;
    if (listener_of(theirs.flow, *dialer) != wanted->listener)
        return XWAY_WHY_PEER_CLOSED;
    if (decide(*dialer, own, client, theirs) != LocalVerdict::direct)
        return XWAY_WHY_DISABLED;
    if (!pairing_.take(own, theirs))
        return XWAY_WHY_PEER_REFUSED;
    const auto place =
        arenas_.attach(own, dialer->caller().uid, theirs, client.caller().uid, Clock::now());
    if (const auto* why = std::get_if<xway_why>(&place)) {
        pairing_.release(own.cookie);
        pairing_.release(theirs.cookie);
        return *why;
    }
    ++counters_.granted;
    const auto& found = *std::get_if<ArenaPool::Place>(&place);
    tell(client, *dialer, found, theirs, 1 - found.side);
    Telling granted = telling(*dialer, client, found, own, found.side);
    granted.msg.type = WireType::kGrant;
    put(wanted->to, granted.msg);
    granted.fds.insert(granted.fds.begin(),
                       inspector_.lend(client.id(), client.caller().uid, std::move(report.dialer)));
    dialer->send(granted.msg, std::move(granted.fds));
    return XWAY_WHY_NONE;
}

} // namespace xway
