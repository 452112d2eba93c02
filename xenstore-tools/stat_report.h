// SPDX-License-Identifier: GPL-2.0-or-later
//
// stat_report.h - the counters of a guest, or of xwayd, as text, JSON and Prometheus metrics.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "front_proc.h"
#include "output.h"
#include "result.h"

namespace xway {

// Counters apart from the reasons among them, which are counted by name as well.
struct Figures {
    Counters counters;
    Counters reasons;
};

// Reasons are the counters whose names begin with `prefix`, which is taken away.
Figures sort_figures(const Counters& counters, std::string_view prefix);

struct PeerFigures {
    unsigned domid = 0;
    std::string name;
    Figures figures;
};
Result<std::vector<PeerFigures>> parse_front_stat_peers(std::string_view text);

// A network namespace, and the number by which the kernel names it (net:[4026531840]).
struct NamespaceFigures {
    std::optional<std::uint64_t> netns;
    Figures figures;
};
std::optional<std::uint64_t> parse_netns_link(std::string_view text);

// What a guest counts. Only what was asked for, or could be read, is there.
struct GuestReport {
    std::optional<Figures> total;
    std::optional<FrontStatus> status;
    std::vector<PeerFigures> peers;
    std::vector<Peer> links; // the same peers: what is used of their links now
    std::optional<NamespaceFigures> current;
};

std::string text_of(const GuestReport& report, const Format& format); // table or JSON
std::string metrics_of(const GuestReport& report);

// What xwayd counts.
std::string text_of_local(const Figures& figures, const Format& format);
std::string metrics_of_local(const Figures& figures);

} // namespace xway
