// SPDX-License-Identifier: GPL-2.0-or-later
//
// front_proc.h - the text files of the modules (docs/interfaces.md) and the kernel's lists of
// sockets.
//
// Keys that are not known are ignored; a line that lacks a needed key, or has a word in the place
// of a number, is an error that names the line.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "address.h"
#include "result.h"

namespace xway {

struct FrontStatus {
    unsigned version = 0, domid = 0;
    std::string instance;
    std::string state; // no-device, connecting, connected, closed
    bool enable = false;
    std::uint64_t flip_ms = 0, ring_kib = 0, arena_kib = 0;
    std::uint64_t total_kib = 0, granted_kib = 0;
};

struct Peer {
    unsigned domid = 0;
    std::string instance, name;
    std::vector<std::string> macs;
    std::vector<Address> ips;
    bool ready = false;
    std::string link; // none, no-room, offered, mapped, up, quiescing, broken, down
    std::uint64_t arena_used = 0, arena_pages = 0, slots_used = 0, slots = 0;
};

// Of a listening socket only state, role, the addresses and the inode are known.
struct Socket {
    std::string state, role, tx, rx, why_tx;
    Endpoint local, remote;
    std::optional<unsigned> peer;
    std::optional<bool> direct; // of a connection between processes
    std::uint64_t tx_fill = 0, tx_size = 0, rx_fill = 0, rx_size = 0;
    std::uint64_t tx_ring = 0, tx_tcp = 0, rx_ring = 0, rx_tcp = 0;
    std::uint64_t tx_switches = 0, rx_switches = 0;
    std::uint64_t age_ms = 0, inode = 0, uid = 0;
};

using Counters = std::vector<std::pair<std::string, std::uint64_t>>;

struct BackDomain {
    unsigned domid = 0;
    std::string name, uuid, instance, state;
};

struct BackLink {
    unsigned a = 0, b = 0;
    bool a_offer = false, b_offer = false;
};

Result<FrontStatus> parse_front_status(std::string_view text);
Result<std::vector<Peer>> parse_front_peers(std::string_view text);
Result<std::vector<Socket>> parse_front_sockets(std::string_view text);
Result<Counters> parse_front_stat(std::string_view text);

// A peer's line of stat_peers: every key but those of the peer is a counter.
struct PeerCounters {
    unsigned domid = 0;
    std::string name;
    Counters counters;
};
Result<std::vector<PeerCounters>> parse_front_counters(std::string_view text);
Result<std::vector<BackDomain>> parse_back_domains(std::string_view text);
Result<std::vector<BackLink>> parse_back_links(std::string_view text);

// A line of /proc/net/tcp or tcp6.
struct KernelSocket {
    Endpoint local, remote;
    bool established = false;
    std::uint64_t uid = 0, inode = 0;
};
Result<std::vector<KernelSocket>> parse_kernel_tcp(std::string_view text);

} // namespace xway
