// SPDX-License-Identifier: GPL-2.0-or-later
//
// cmd_peers.cpp - the guests that dom0 lets this guest talk to.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "command.h"
#include "front_proc.h"

namespace xway {

namespace {

Result<int> show(const Common& common) {
    auto peers = common.host().front("peers", parse_front_peers);
    if (!peers)
        return peers.error();
    Table table({{"domid", "ID", true},
                 {"name", "NAME"},
                 {"instance", ""},
                 {"ready", "READY"},
                 {"link", "LINK"},
                 {"arena_used", ""},
                 {"arena_pages", ""},
                 {"", "ARENA", true},
                 {"slots_used", ""},
                 {"slots", ""},
                 {"", "SLOTS", true},
                 {"mac", "MAC"},
                 {"ip", "IP"}});
    for (const Peer& peer : *peers) {
        constexpr std::uint64_t kPage = 4096;
        std::vector<std::string> ips;
        for (const Address& address : peer.ips)
            ips.push_back(address.text());
        table.add({peer.domid,
                   peer.name,
                   peer.instance,
                   {peer.ready, peer.ready ? "yes" : "no"},
                   peer.link,
                   peer.arena_used,
                   peer.arena_pages,
                   fmt::format("{}/{}", human_bytes(peer.arena_used * kPage),
                               human_bytes(peer.arena_pages * kPage)),
                   peer.slots_used,
                   peer.slots,
                   fmt::format("{}/{}", peer.slots_used, peer.slots),
                   list_cell(peer.macs),
                   list_cell(ips)});
    }
    table.print(common.format);
    return kDone;
}

} // namespace

Action declare_peers(CLI::App&, const Common& common) {
    return [&common] { return show(common); };
}

} // namespace xway
