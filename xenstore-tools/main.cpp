// SPDX-License-Identifier: GPL-2.0-or-later
//
// main.cpp - the table of commands, and the command line.
#include <algorithm>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "command.h"

namespace {

using namespace xway;

constexpr Command kCommands[] = {
    {"show", nullptr, "TCP sockets of this guest: by ring or by TCP, and why", declare_show},
    {"peers", nullptr, "guests that this guest may talk to", declare_peers},
    {"stat", nullptr, "counters of xway_front", declare_stat},
    {"check", nullptr, "what keeps xway from working here, or towards an address", declare_check},
    {"domain", "add", "give a domain its device", declare_domain_add},
    {"domain", "del", "take a domain's device away", declare_domain_del},
    {"domain", "show", "domains and their devices", declare_domain_show},
    {"policy", "show", "the policy as it was understood", declare_policy_show},
    {"policy", "check", "whether a policy file is right", declare_policy_check},
    {"policy", "apply", "bring all devices up to date with the policy", declare_policy_apply},
    {"link", "show", "pairs of guests, and how far their links are", declare_link_show},
};

const char* summary_of(const std::string& object) {
    static const std::map<std::string, const char*> kSummaries{
        {"domain", "devices of domains (in dom0)"},
        {"policy", "who may talk to whom (in dom0)"},
        {"link", "links between guests (in dom0)"},
    };
    return kSummaries.at(object);
}

// Options of a command whose name was left out belong to the command that is meant then.
void add_command(std::vector<std::string>& words, const CLI::App& app, const char* command) {
    auto word = words.begin();
    for (; word != words.end() && word->starts_with("-"); ++word) {
        const CLI::Option* option = app.get_option_no_throw(*word);
        if (!option) {
            words.insert(word, command);
            return;
        }
        if (option->get_items_expected_min() > 0 && word + 1 != words.end())
            ++word;
    }
}

// Spells abbreviated commands out. An abbreviation that fits several is left for CLI11 to refuse.
void expand(std::vector<std::string>& words, CLI::App* app, std::string& ambiguous) {
    for (std::size_t i = 0; i < words.size(); ++i) {
        if (words[i].starts_with("-")) {
            const CLI::Option* option = nullptr;
            for (const CLI::App* at = app; at && !option; at = at->get_parent())
                option = at->get_option_no_throw(words[i]);
            if (option && option->get_items_expected_min() > 0)
                ++i;
            continue;
        }
        std::vector<CLI::App*> fitting;
        for (CLI::App* command : app->get_subcommands([](const CLI::App*) { return true; })) {
            if (command->get_name() == words[i])
                fitting = {command};
            else if (command->get_name().starts_with(words[i]) &&
                     (fitting.empty() || fitting.front()->get_name() != words[i]))
                fitting.push_back(command);
        }
        if (fitting.size() > 1) {
            for (const CLI::App* command : fitting)
                ambiguous += (ambiguous.empty() ? "" : " or ") + command->get_name();
            ambiguous = fmt::format("'{}' may be {}", words[i], ambiguous);
        }
        if (fitting.size() != 1)
            return;
        words[i] = fitting.front()->get_name();
        app = fitting.front();
    }
}

int usage_error(const std::string& what) {
    fmt::print(stderr, "xway: {}; see 'xway --help'\n", what);
    return kUsage;
}

} // namespace

int main(int argc, char** argv) {
    Common common;
    bool no_header = false;
    CLI::App app("TCP between guests of one Xen host, through shared memory.", "xway");
    app.set_version_flag("-V,--version", std::string("xway ") + kVersion);
    app.add_flag("-j,--json", common.format.json, "print JSON");
    app.add_flag("-p,--pretty", common.format.pretty, "print JSON over several lines");
    app.add_flag("-H,--no-header", no_header, "print tables without their first line");
    app.add_option("--proc-root", common.root)->group("");
    app.require_subcommand(0, 1);
    app.footer(
        "Without a command: 'show' in a guest, 'domain show' in dom0. An object without a verb is\n"
        "shown. Commands may be abbreviated. Exit status: 0 done, 1 failed, 2 wrong usage.");

    std::map<const CLI::App*, Action> actions;
    std::map<std::string, CLI::App*> objects;
    std::map<const CLI::App*, const CLI::App*> shown; // from an object to its verb 'show'
    for (const Command& command : kCommands) {
        CLI::App* parent = &app;
        if (command.verb) {
            if (!objects.contains(command.object))
                objects[command.object] =
                    app.add_subcommand(command.object, summary_of(command.object));
            parent = objects[command.object];
            parent->require_subcommand(0, 1)->fallthrough()->footer("");
        }
        CLI::App* leaf =
            parent->add_subcommand(command.verb ? command.verb : command.object, command.summary);
        leaf->fallthrough()->footer("");
        actions[leaf] = command.declare(*leaf, common);
        if (leaf->get_name() == "show")
            shown[parent] = leaf;
    }

    std::vector<std::string> words(argv + 1, argv + argc);
    std::string ambiguous;
    add_command(words, app, "show");
    expand(words, &app, ambiguous);
    if (!ambiguous.empty())
        return usage_error(ambiguous);
    try {
        std::reverse(words.begin(), words.end()); // CLI11 takes them from the back
        app.parse(words);
    } catch (const CLI::Success& help) {
        return app.exit(help);
    } catch (const CLI::ExtrasError&) {
        return usage_error(fmt::format("'{}' is not expected", app.remaining(true).front()));
    } catch (const CLI::ParseError& error) {
        return usage_error(error.what());
    }
    common.format.header = !no_header;
    common.format.json |= common.format.pretty;

    const CLI::App* chosen = &app;
    while (!chosen->get_subcommands().empty())
        chosen = chosen->get_subcommands().front();
    if (chosen == &app) {
        const Host host = common.host();
        const bool in_dom0 = !host.exists("/proc/xway_front") && host.is_dom0();
        chosen = in_dom0 ? objects["domain"] : shown[&app];
    }
    if (!actions.contains(chosen))
        chosen = shown.at(chosen);

    const auto status = actions.at(chosen)();
    if (status)
        return *status;
    fmt::print(stderr, "xway: {}\n", status.error().text());
    return kFailed;
}
