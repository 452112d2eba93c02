// SPDX-License-Identifier: GPL-2.0-or-later
//
// stat_report.cpp - counters in the forms that people, scripts and Prometheus read.
#include "stat_report.h"

#include <algorithm>
#include <map>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <xway/stat.h>

#include "prometheus.h"
#include "text.h"

namespace xway {

namespace {

using Json = nlohmann::ordered_json;
using Type = Metrics::Type;

struct Meaning {
    Type type;
    const char* help;
};

constexpr char kReasonHelp[] = "times that a connection came to be on TCP, by reason";

const Meaning* meaning_in_module(const std::string& name) {
#define XWAY_STAT_ENTRY(symbol, text) {#symbol, {Type::kCounter, text}},
    static const std::map<std::string, Meaning> kMeanings{XWAY_STAT_LIST(XWAY_STAT_ENTRY)};
#undef XWAY_STAT_ENTRY
    const auto found = kMeanings.find(name);
    return found == kMeanings.end() ? nullptr : &found->second;
}

const Meaning* meaning_in_xwayd(const std::string& name) {
    static const std::map<std::string, Meaning> kMeanings{
        {"clients", {Type::kGauge, "processes that xwayd serves now"}},
        {"clients_seen", {Type::kCounter, "processes that xwayd has served"}},
        {"clients_refused", {Type::kCounter, "processes that were turned away"}},
        {"registered", {Type::kCounter, "ends of connections that were registered"}},
        {"waiting", {Type::kGauge, "ends that wait for their other end now"}},
        {"matched", {Type::kCounter, "connections whose two ends were brought together"}},
        {"cancelled", {Type::kCounter, "ends that were withdrawn before they were matched"}},
        {"released", {Type::kCounter, "ends of matched connections that have gone"}},
        {"queued", {Type::kCounter, "requests that came by a queue in shared memory"}},
        {"stocked", {Type::kCounter, "connections that were asked for in direct mode"}},
        {"granted", {Type::kCounter, "connections that were passed on in direct mode"}},
        {"tx_ring_bytes", {Type::kCounter, "bytes that processes say they have sent by ring"}},
        {"rx_ring_bytes", {Type::kCounter, "bytes that processes say they have taken from rings"}},
        {"tx_tcp_bytes", {Type::kCounter, "bytes that ends with a slot have sent by TCP"}},
        {"rx_tcp_bytes", {Type::kCounter, "bytes that ends with a slot have taken from TCP"}},
        {"violations", {Type::kCounter, "times that a process broke the protocol"}},
        {"stuck", {Type::kCounter, "files that could not be looked at in time"}},
        {"arenas", {Type::kGauge, "pairs of processes that share memory now"}},
        {"slots", {Type::kGauge, "connections between processes now"}},
        {"arena_bytes", {Type::kGauge, "address space of the shared memory now"}},
    };
    const auto found = kMeanings.find(name);
    return found == kMeanings.end() ? nullptr : &found->second;
}

void describe(Metrics& metrics, const std::string& prefix, const std::string& name,
              const Meaning* meaning, const std::string& whose) {
    metrics.describe(prefix + name, meaning ? meaning->type : Type::kUntyped,
                     (meaning ? meaning->help : "not known to this version of xway") + whose);
}

void add_figures(Metrics& metrics, const std::string& prefix, const Figures& figures,
                 const Metrics::Labels& labels, const std::string& whose) {
    for (const auto& [name, value] : figures.counters) {
        describe(metrics, prefix, name, meaning_in_module(name), whose);
        metrics.sample(labels, value);
    }
    if (figures.reasons.empty())
        return;
    metrics.describe(prefix + "tcp_reasons", Type::kCounter, kReasonHelp + whose);
    for (const auto& [reason, value] : figures.reasons) {
        Metrics::Labels all = labels;
        all.emplace_back("reason", reason);
        metrics.sample(all, value);
    }
}

template <typename Peer>
Metrics::Labels labels_of(const Peer& peer) {
    return {{"peer", peer.name}, {"domid", std::to_string(peer.domid)}};
}

// Of each metric all peers, as the format demands. Every peer has the same counters.
void add_peers(Metrics& metrics, const std::vector<PeerFigures>& peers) {
    if (peers.empty())
        return;
    for (const auto& [name, unused] : peers.front().figures.counters) {
        describe(metrics, "xway_peer_", name, meaning_in_module(name), ", with this peer");
        for (const PeerFigures& peer : peers) {
            for (const auto& [counter, value] : peer.figures.counters) {
                if (counter == name)
                    metrics.sample(labels_of(peer), value);
            }
        }
    }
    metrics.describe("xway_peer_tcp_reasons", Type::kCounter,
                     std::string(kReasonHelp) + ", with this peer");
    for (const PeerFigures& peer : peers) {
        for (const auto& [reason, value] : peer.figures.reasons) {
            Metrics::Labels labels = labels_of(peer);
            labels.emplace_back("reason", reason);
            metrics.sample(labels, value);
        }
    }
}

void add_memory(Metrics& metrics, const FrontStatus& status) {
    constexpr std::uint64_t kKib = 1024;
    metrics.describe("xway_granted_bytes", Type::kGauge, "memory granted to all peers now");
    metrics.sample({}, status.granted_kib * kKib);
    metrics.describe("xway_granted_limit_bytes", Type::kGauge,
                     "memory that may be granted to all peers");
    metrics.sample({}, status.total_kib * kKib);
}

void add_links(Metrics& metrics, const std::vector<Peer>& links) {
    constexpr std::uint64_t kPage = 4096;
    const auto gauge = [&](const char* name, const char* help, auto value) {
        if (!links.empty())
            metrics.describe(name, Type::kGauge, help);
        for (const Peer& link : links)
            metrics.sample(labels_of(link), value(link));
    };
    gauge("xway_peer_link_up", "1 if the link with this peer is up, else 0",
          [](const Peer& link) -> std::uint64_t { return link.link == "up"; });
    gauge("xway_peer_no_room", "1 if a link with this peer waits for memory to be granted, else 0",
          [](const Peer& link) -> std::uint64_t { return link.link == "no-room"; });
    gauge("xway_peer_slots_used", "connections that hold a slot of the link now",
          [](const Peer& link) { return link.slots_used; });
    gauge("xway_peer_slots", "connections that the link can take",
          [](const Peer& link) { return link.slots; });
    gauge("xway_peer_arena_used_bytes", "memory of the link that rings take up now",
          [](const Peer& link) { return link.arena_used * kPage; });
    gauge("xway_peer_arena_bytes", "memory of the link for rings",
          [](const Peer& link) { return link.arena_pages * kPage; });
}

Json json_of(const Counters& counters) {
    Json object = Json::object();
    for (const auto& [name, value] : counters)
        object[name] = value;
    return object;
}

Json json_of(const PeerFigures& peer) {
    return {{"domid", peer.domid},
            {"name", peer.name},
            {"counters", json_of(peer.figures.counters)},
            {"reasons", json_of(peer.figures.reasons)}};
}

Json json_of(const NamespaceFigures& current) {
    return {{"netns", current.netns ? Json(*current.netns) : Json()},
            {"counters", json_of(current.figures.counters)},
            {"reasons", json_of(current.figures.reasons)}};
}

// Counters, then the reasons that have occurred.
std::string text_of_figures(const Figures& figures, const Format& format) {
    const std::vector<std::pair<std::string, Cell>> fields(figures.counters.begin(),
                                                           figures.counters.end());
    std::string text = text_of_fields(fields, format);
    Table table({{"reason", "WHY TCP"}, {"times", "TIMES", true}});
    for (const auto& [reason, times] : figures.reasons) {
        if (times > 0)
            table.add({reason, times});
    }
    return table.empty() ? text : text + '\n' + table.text(format);
}

std::uint64_t value_of(const Figures& figures, std::string_view name) {
    const auto found = std::find_if(figures.counters.begin(), figures.counters.end(),
                                    [&](const auto& counter) { return counter.first == name; });
    return found == figures.counters.end() ? 0 : found->second;
}

std::string text_of_peers(const std::vector<PeerFigures>& peers, const Format& format) {
    Table table({{"domid", "ID", true},
                 {"name", "PEER"},
                 {"", "RING TX/RX", true},
                 {"", "TCP TX/RX", true},
                 {"", "ATTACHED", true},
                 {"", "DECLINED", true},
                 {"", "SWITCHES", true},
                 {"", "KICKS", true},
                 {"", "EVENTS", true},
                 {"", "LINKS", true},
                 {"", "BROKEN", true}});
    for (const PeerFigures& peer : peers) {
        const auto value = [&](const char* name) { return value_of(peer.figures, name); };
        const auto bytes = [&](const char* sent, const char* received) {
            return fmt::format("{}/{}", human_bytes(value(sent)), human_bytes(value(received)));
        };
        table.add({peer.domid, peer.name, bytes("tx_ring_bytes", "rx_ring_bytes"),
                   bytes("tx_tcp_bytes", "rx_tcp_bytes"), value("conns_attached"),
                   value("declines_sent") + value("declines_received"),
                   value("switches_to_ring") + value("switches_to_tcp"), value("kicks"),
                   value("events"), value("links_up"), value("links_broken")});
    }
    return table.text(format);
}

} // namespace

Figures sort_figures(const Counters& counters, std::string_view prefix) {
    Figures figures;
    for (const auto& [name, value] : counters) {
        if (name.starts_with(prefix))
            figures.reasons.emplace_back(name.substr(prefix.size()), value);
        else
            figures.counters.emplace_back(name, value);
    }
    return figures;
}

Result<std::vector<PeerFigures>> parse_front_stat_peers(std::string_view text) {
    auto peers = parse_front_counters(text);
    if (!peers)
        return peers.error();
    std::vector<PeerFigures> result;
    for (auto& peer : *peers)
        result.push_back({peer.domid, peer.name, sort_figures(peer.counters, "why_")});
    return result;
}

std::optional<std::uint64_t> parse_netns_link(std::string_view text) {
    constexpr std::string_view kBefore = "net:[";
    if (!text.starts_with(kBefore) || !text.ends_with("]"))
        return std::nullopt;
    return parse_number<std::uint64_t>(
        text.substr(kBefore.size(), text.size() - kBefore.size() - 1));
}

std::string text_of(const GuestReport& report, const Format& format) {
    if (format.json) {
        Json json = Json::object();
        if (report.total) {
            json["total"] = json_of(report.total->counters);
            json["reasons"] = json_of(report.total->reasons);
            json["peers"] = Json::array();
            for (const PeerFigures& peer : report.peers)
                json["peers"].push_back(json_of(peer));
        }
        json["namespace"] = report.current ? json_of(*report.current) : Json();
        return text_of_json(json, format);
    }
    if (!report.total)
        return report.current ? text_of_figures(report.current->figures, format) : "";
    const std::string text = text_of_figures(*report.total, format);
    return report.peers.empty() ? text : text + '\n' + text_of_peers(report.peers, format);
}

std::string metrics_of(const GuestReport& report) {
    Metrics metrics;
    if (report.total)
        add_figures(metrics, "xway_", *report.total, {}, "");
    add_peers(metrics, report.peers);
    if (report.status)
        add_memory(metrics, *report.status);
    add_links(metrics, report.links);
    if (report.current) {
        const auto& netns = report.current->netns;
        add_figures(metrics, "xway_netns_", report.current->figures,
                    {{"netns", netns ? std::to_string(*netns) : ""}},
                    ", in this network namespace");
    }
    return metrics.text();
}

std::string text_of_local(const Figures& figures, const Format& format) {
    if (!format.json)
        return text_of_figures(figures, format);
    return text_of_json(
        {{"total", json_of(figures.counters)}, {"reasons", json_of(figures.reasons)}}, format);
}

std::string metrics_of_local(const Figures& figures) {
    Metrics metrics;
    for (const auto& [name, value] : figures.counters) {
        describe(metrics, "xwayd_", name, meaning_in_xwayd(name), "");
        metrics.sample({}, value);
    }
    if (!figures.reasons.empty())
        metrics.describe("xwayd_declined", Type::kCounter, "ends that stayed on TCP, by reason");
    for (const auto& [reason, value] : figures.reasons)
        metrics.sample({{"reason", reason}}, value);
    return metrics.text();
}

} // namespace xway
