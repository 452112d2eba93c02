// SPDX-License-Identifier: GPL-2.0-or-later
//
// cmd_stat.cpp - the counters of the module, or of xwayd, once or again and again with what was
// added meanwhile.
#include <chrono>
#include <map>
#include <memory>
#include <thread>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "command.h"
#include "front_proc.h"
#include "local.h"
#include "stat_report.h"

namespace xway {

namespace {

constexpr char kNetnsFile[] = "/proc/net/xway_stat";

struct Options {
    unsigned watch_s = 0;
    unsigned count = 0;
    bool local = false;
    bool netns = false;
    bool prometheus = false;
};

Result<Counters> read_netns_counters(const Host& host) {
    auto text = host.file(kNetnsFile);
    if (!text && text.error().code == ENOENT)
        return Error{"the module xway_front is not loaded", "try 'modprobe xway_front'", ENOENT};
    if (!text)
        return text.error();
    auto counters = parse_front_stat(*text);
    if (!counters)
        return Error{std::string(kNetnsFile) + ": " + counters.error().what,
                     counters.error().remedy};
    return counters;
}

Result<Counters> read_counters(const Options& options, const Common& common) {
    if (options.netns)
        return read_netns_counters(common.host());
    return front_or_local(asks_xwayd(options.local, common), common, "stat", parse_front_stat);
}

Result<GuestReport> read_guest(const Options& options, const Host& host) {
    GuestReport report;
    if (!options.netns) {
        auto total = host.front("stat", parse_front_stat);
        if (!total)
            return total.error();
        report.total = sort_figures(*total, "why_");
        auto status = host.front("status", parse_front_status);
        if (!status)
            return status.error();
        report.status = std::move(*status);
        auto peers = host.front("stat_peers", parse_front_stat_peers);
        if (!peers)
            return peers.error();
        report.peers = std::move(*peers);
        auto links = host.front("peers", parse_front_peers);
        if (!links)
            return links.error();
        report.links = std::move(*links);
    }
    auto current = read_netns_counters(host);
    if (!current)
        return current.error();
    report.current = {parse_netns_link(host.link("/proc/self/ns/net")),
                      sort_figures(*current, "why_")};
    return report;
}

// What both forms of counters are printed as.
template <typename Text, typename Metrics>
Result<int> print(const Options& options, Text text, Metrics metrics) {
    fmt::print("{}", options.prometheus ? metrics() : text());
    return kDone;
}

Result<int> once(const Options& options, const Common& common) {
    if (!options.netns && asks_xwayd(options.local, common)) {
        auto counters = front_or_local(true, common, "stat", parse_front_stat);
        if (!counters)
            return counters.error();
        const Figures figures = sort_figures(*counters, "declined_");
        return print(
            options, [&] { return text_of_local(figures, common.format); },
            [&] { return metrics_of_local(figures); });
    }
    auto report = read_guest(options, common.host());
    if (!report)
        return report.error();
    return print(
        options, [&] { return text_of(*report, common.format); },
        [&] { return metrics_of(*report); });
}

Result<int> watch(const Options& options, const Common& common) {
    std::map<std::string, std::uint64_t> before;
    for (unsigned round = 0; options.count == 0 || round < options.count; ++round) {
        if (round > 0)
            std::this_thread::sleep_for(std::chrono::seconds(options.watch_s));
        auto counters = read_counters(options, common);
        if (!counters)
            return counters.error();
        Table table({{"name", "COUNTER"}, {"value", "VALUE", true}, {"added", "ADDED", true}});
        for (const auto& [name, value] : *counters) {
            const auto old = before.find(name);
            table.add(
                {name, value,
                 old == before.end() || value < old->second ? Cell() : Cell(value - old->second)});
        }
        if (round > 0 && !common.format.json)
            fmt::print("\n");
        table.print(common.format);
        std::fflush(stdout);
        before = {counters->begin(), counters->end()};
    }
    return kDone;
}

} // namespace

Action declare_stat(CLI::App& app, const Common& common) {
    auto options = std::make_shared<Options>();
    auto* watched = app.add_option("--watch", options->watch_s, "again every so many seconds");
    watched->check(CLI::Range(1u, 86400u));
    app.add_option("--count", options->count, "with --watch: so many times, then end");
    auto* local = app.add_flag("--local", options->local, "counters of xwayd, not of xway_front");
    app.add_flag("--netns", options->netns, "this network namespace alone; needs no root")
        ->excludes(local);
    app.add_flag("--prometheus", options->prometheus, "print metrics in Prometheus' text format")
        ->excludes(watched);
    return [options, &common]() -> Result<int> {
        if (options->prometheus && common.format.json) {
            fmt::print(stderr, "xway: --prometheus excludes --json; see 'xway --help'\n");
            return kUsage;
        }
        return options->watch_s > 0 ? watch(*options, common) : once(*options, common);
    };
}

} // namespace xway
