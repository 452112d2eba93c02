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

namespace xway {

namespace {

struct Options {
    unsigned watch_s = 0;
    unsigned count = 0;
    bool local = false;
};

Result<Counters> read_counters(const Options& options, const Common& common) {
    return front_or_local(asks_xwayd(options.local, common), common, "stat", parse_front_stat);
}

Result<int> once(const Options& options, const Common& common) {
    auto counters = read_counters(options, common);
    if (!counters)
        return counters.error();
    std::vector<std::pair<std::string, Cell>> fields(counters->begin(), counters->end());
    fmt::print("{}", text_of_fields(fields, common.format));
    return kDone;
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
    app.add_option("--watch", options->watch_s, "again every so many seconds")
        ->check(CLI::Range(1u, 86400u));
    app.add_option("--count", options->count, "with --watch: so many times, then end");
    app.add_flag("--local", options->local, "counters of xwayd, not of xway_front");
    return [options, &common] {
        return options->watch_s > 0 ? watch(*options, common) : once(*options, common);
    };
}

} // namespace xway
