// SPDX-License-Identifier: GPL-2.0-or-later
//
// cmd_domain.cpp - devices of domains: add, del, show.
#include <chrono>
#include <memory>
#include <thread>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <CLI/CLI.hpp>

#include "command.h"
#include "directory.h"
#include "domains.h"
#include "text.h"

namespace xway {

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr auto kPollInterval = 50ms;
constexpr auto kLetGoTimeout = 3s;      // for the broker to drop the device of a dead domain
constexpr auto kUnheardTimeout = 500ms; // for the broker to close when there is no frontend

struct Options {
    std::string domain;
    std::string policy_file = kPolicyFile;
    unsigned timeout_s = 5;
};

std::string label(const Snapshot& snapshot, unsigned domid) {
    const auto domain = snapshot.domains.find(domid);
    return domain == snapshot.domains.end() || domain->second.identity.name.empty()
               ? std::to_string(domid)
               : domain->second.identity.name;
}

Cell words_cell(const std::string& text) {
    const auto words = split(text, " ");
    return list_cell({words.begin(), words.end()});
}

// A row for a domain with or without a device, or for a device whose domain is gone.
std::vector<Cell> row_of(const Snapshot& snapshot, unsigned domid) {
    const auto domain = snapshot.domains.find(domid);
    const auto device = snapshot.devices.find(domid);
    const bool has_domain = domain != snapshot.domains.end();
    const bool has_device = device != snapshot.devices.end();
    const std::string name = has_domain ? domain->second.identity.name : device->second.name;
    const std::string uuid = has_domain ? domain->second.identity.uuid : device->second.uuid;
    if (!has_device)
        return {domid, name, uuid, {false, "none"}, {}, {}, {}, {}, {}, {}, {}};

    const Device& entry = device->second;
    const char* condition = !snapshot.is_current(entry) ? "stale"
                            : entry.online == "1"       ? "online"
                                                        : "leaving";
    std::vector<std::uint64_t> allow;
    std::vector<std::string> allow_names;
    for (std::string_view word : split(entry.allow, " ")) {
        if (const auto peer = parse_number(word)) {
            allow.push_back(*peer);
            allow_names.push_back(label(snapshot, *peer));
        }
    }
    return {domid,
            name,
            uuid,
            {true, condition},
            condition,
            state_name(entry.frontend_state),
            state_name(entry.state),
            entry.instance,
            words_cell(entry.mac),
            words_cell(entry.ip),
            {allow, fmt::format("{}", fmt::join(allow_names, ","))}};
}

Table domain_table() {
    return Table({{"domid", "ID", true},
                  {"name", "NAME"},
                  {"uuid", ""},
                  {"device", "DEVICE"},
                  {"condition", ""},
                  {"frontend", "FRONTEND"},
                  {"broker", "BROKER"},
                  {"instance", ""},
                  {"mac", "MAC"},
                  {"ip", "IP"},
                  {"allow", "MAY TALK TO"}});
}

Result<int> print_domain(Store& store, unsigned domid, const Format& format) {
    auto snapshot = read_snapshot(store);
    if (!snapshot)
        return snapshot.error();
    Table table = domain_table();
    if (snapshot->domains.contains(domid) || snapshot->devices.contains(domid))
        table.add(row_of(*snapshot, domid));
    table.print(format);
    return kDone;
}

// What is needed to change devices.
struct Dom0 {
    Policy policy;
    std::unique_ptr<XenStore> store;
    World world;
};

Result<Dom0> open_dom0(const Host& host, const Options& options, const char* command) {
    if (auto dom0 = need_dom0(host, command); !dom0)
        return dom0.error();
    auto policy = load_policy_or_none(options.policy_file);
    if (!policy)
        return policy.error();
    auto store = XenStore::open();
    if (!store)
        return store.error();
    return Dom0{std::move(*policy), std::move(*store), world_of(host)};
}

Result<int> add(const Options& options, const Common& common) {
    const auto dom0 = open_dom0(common.host(), options, "xway domain add");
    if (!dom0)
        return dom0.error();
    const auto& [policy, store, world] = *dom0;
    const auto deadline = Clock::now() + kLetGoTimeout;
    for (;;) {
        auto changes = add_device(*store, policy, world, options.domain);
        if (!changes)
            return changes.error();
        if (!changes->again) {
            if (common.format.json)
                return print_domain(*store, changes->added.front(), common.format);
            return kDone;
        }
        if (Clock::now() > deadline)
            return Error{
                fmt::format("xway_back holds on to an old device of domain {}", options.domain),
                "try again, and read 'dmesg' of dom0"};
        std::this_thread::sleep_for(kPollInterval);
    }
}

Result<int> del(const Options& options, const Common& common) {
    const Host host = common.host();
    const auto dom0 = open_dom0(host, options, "xway domain del");
    if (!dom0)
        return dom0.error();
    const auto& [policy, store, world] = *dom0;
    auto domid = begin_removal(*store, policy, world, options.domain);
    if (!domid)
        return domid.error();

    const auto started = Clock::now();
    const auto unheard_until = started + kUnheardTimeout;
    const auto deadline = started + std::chrono::seconds(options.timeout_s);
    for (;;) {
        auto closing = look_at_removal(*store, *domid);
        if (!closing)
            return closing.error();
        if (*closing == Closing::finished)
            break;
        if (*closing == Closing::unheard &&
            (Clock::now() > unheard_until || !host.holds_device(*domid)))
            break;
        if (Clock::now() > deadline) {
            warn({fmt::format("domain {} did not close its device in {} s", *domid,
                              options.timeout_s),
                  "it was removed all the same"});
            break;
        }
        std::this_thread::sleep_for(kPollInterval);
    }
    if (auto done = finish_removal(*store, *domid); !done)
        return done.error();
    if (common.format.json)
        return print_domain(*store, *domid, common.format);
    return kDone;
}

Result<int> show(const Options& options, const Common& common) {
    if (auto dom0 = need_dom0(common.host(), "xway domain show"); !dom0)
        return dom0.error();
    auto store = XenStore::open();
    if (!store)
        return store.error();
    auto snapshot = read_snapshot(**store);
    if (!snapshot)
        return snapshot.error();
    Table table = domain_table();
    if (!options.domain.empty()) {
        auto domid = find_domain(*snapshot, options.domain);
        if (!domid)
            return domid.error();
        if (!snapshot->devices.contains(*domid))
            return Error{fmt::format("domain {} has no device", *domid),
                         fmt::format("try 'xway domain add {}'", *domid), ENOENT};
        table.add(row_of(*snapshot, *domid));
    } else {
        std::set<unsigned> ids;
        for (const auto& [id, domain] : snapshot->domains)
            ids.insert(id);
        for (const auto& [id, device] : snapshot->devices)
            ids.insert(id);
        for (unsigned id : ids)
            table.add(row_of(*snapshot, id));
    }
    table.print(common.format);
    return kDone;
}

} // namespace

Action declare_domain_add(CLI::App& app, const Common& common) {
    auto options = std::make_shared<Options>();
    app.add_option("DOMAIN", options->domain, "number or name")->required();
    app.add_option("--policy", options->policy_file, "policy file")->capture_default_str();
    return [options, &common] { return add(*options, common); };
}

Action declare_domain_del(CLI::App& app, const Common& common) {
    auto options = std::make_shared<Options>();
    app.add_option("DOMAIN", options->domain, "number or name")->required();
    app.add_option("--policy", options->policy_file, "policy file")->capture_default_str();
    app.add_option("--timeout", options->timeout_s, "seconds to wait for the guest")
        ->capture_default_str()
        ->check(CLI::Range(0u, 3600u));
    return [options, &common] { return del(*options, common); };
}

Action declare_domain_show(CLI::App& app, const Common& common) {
    auto options = std::make_shared<Options>();
    app.add_option("DOMAIN", options->domain, "number or name; all domains without it");
    return [options, &common] { return show(*options, common); };
}

} // namespace xway
