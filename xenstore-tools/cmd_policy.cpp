// SPDX-License-Identifier: GPL-2.0-or-later
//
// cmd_policy.cpp - the policy file: show, check, apply. And what all commands need of it.
#include <memory>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "command.h"
#include "directory.h"
#include "domains.h"

namespace xway {

namespace {

Result<int> show(const std::string& file, const Common& common) {
    auto policy = Policy::load(file);
    if (!policy)
        return policy.error();
    Table table({{"line", "LINE", true},
                 {"rule", "RULE"},
                 {"first", "FIRST"},
                 {"second", "SECOND"},
                 {"addresses", "ADDRESSES"}});
    for (const Rule& rule : policy->rules()) {
        std::vector<std::string> addresses;
        for (const Address& address : rule.addresses)
            addresses.push_back(address.text());
        const bool pair = rule.kind == Rule::Kind::allow || rule.kind == Rule::Kind::deny;
        table.add({rule.line, rule_word(rule.kind), rule.first.text(),
                   pair ? Cell(rule.second.text()) : Cell(),
                   addresses.empty() ? Cell() : list_cell(addresses)});
    }
    table.print(common.format);
    return kDone;
}

Result<int> check(const std::string& file, const Common& common) {
    auto policy = Policy::load(file);
    if (!policy)
        return policy.error();
    if (common.format.json)
        fmt::print("{}", text_of_fields({{"file", file}, {"rules", policy->rules().size()}},
                                        common.format));
    return kDone;
}

Result<int> apply(const std::string& file, const Common& common) {
    if (auto dom0 = need_dom0(common.host(), "xway policy apply"); !dom0)
        return dom0.error();
    auto policy = Policy::load(file);
    if (!policy)
        return policy.error();
    auto store = XenStore::open();
    if (!store)
        return store.error();
    auto changes = apply_policy(**store, *policy, world_of(common.host()));
    if (!changes)
        return changes.error();
    if (common.format.json) {
        const std::vector<std::uint64_t> removed(changes->removed.begin(), changes->removed.end());
        fmt::print("{}", text_of_fields({{"nodes_written", changes->written},
                                         {"devices_removed", {removed, ""}}},
                                        common.format));
    }
    return kDone;
}

Action declare(CLI::App& app, const Common& common, const char* text,
               Result<int> (*run)(const std::string&, const Common&)) {
    auto file = std::make_shared<std::string>(kPolicyFile);
    app.add_option("FILE", *file, text)->capture_default_str();
    return [file, run, &common] { return run(*file, common); };
}

} // namespace

Action declare_policy_show(CLI::App& app, const Common& common) {
    return declare(app, common, "policy file", show);
}

Action declare_policy_check(CLI::App& app, const Common& common) {
    return declare(app, common, "policy file", check);
}

Action declare_policy_apply(CLI::App& app, const Common& common) {
    return declare(app, common, "policy file", apply);
}

void warn(const Error& error) {
    fmt::print(stderr, "xway: {}\n", error.text());
}

Result<Policy> load_policy_or_none(const std::string& file) {
    auto policy = Policy::load(file);
    if (policy || policy.error().code != ENOENT || file != kPolicyFile)
        return policy;
    warn({file + " is not there: no domain may talk to another",
          "write one after the example configs/policy.conf, then 'xway policy apply'"});
    return Policy();
}

Result<void> need_dom0(const Host& host, const std::string& what) {
    if (host.is_dom0())
        return {};
    if (!host.on_xen())
        return Error{"this machine does not run on Xen", "run '" + what + "' in dom0"};
    return Error{"this is not dom0", "run '" + what + "' in dom0"};
}

} // namespace xway
