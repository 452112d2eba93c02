// SPDX-License-Identifier: GPL-2.0-or-later
//
// commands.cpp - the table of commands, and how their names may be written.
#include "commands.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

namespace xway {

namespace {

constexpr Command kCommands[] = {
    {"show", nullptr, "TCP sockets of this guest: by ring or by TCP, and why", declare_show},
    {"peers", nullptr, "guests that this guest may talk to", declare_peers},
    {"stat", nullptr, "counters of xway_front, or of xwayd", declare_stat},
    {"check", nullptr, "what keeps xway from working here, towards an address, for a program",
     declare_check},
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

// Whether the word is an option, of the app or of what is above it, that the next word belongs to.
bool takes_next(const CLI::App* app, const std::string& word) {
    for (; app; app = app->get_parent()) {
        if (const CLI::Option* option = app->get_option_no_throw(word))
            return option->get_items_expected_min() > 0;
    }
    return false;
}

// Options of a command whose name was left out belong to the command that is meant then.
void add_command(std::vector<std::string>& words, const CLI::App& app, const char* command) {
    for (auto word = words.begin(); word != words.end() && word->starts_with("-"); ++word) {
        if (!app.get_option_no_throw(*word)) {
            words.insert(word, command);
            return;
        }
        if (takes_next(&app, *word) && word + 1 != words.end())
            ++word;
    }
}

std::vector<const CLI::App*> fitting(const CLI::App& app, const std::string& word) {
    std::vector<const CLI::App*> found;
    for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
        if (command->get_name() == word)
            return {command};
        if (command->get_name().starts_with(word))
            found.push_back(command);
    }
    return found;
}

} // namespace

Commands::Commands(CLI::App& app, const Common& common) : app_(app), common_(common) {
    for (const Command& command : kCommands) {
        CLI::App* parent = &app;
        if (command.verb) {
            if (!objects_.contains(command.object))
                objects_[command.object] =
                    app.add_subcommand(command.object, summary_of(command.object));
            parent = objects_[command.object];
            parent->require_subcommand(0, 1)->fallthrough()->footer("");
        }
        CLI::App* leaf =
            parent->add_subcommand(command.verb ? command.verb : command.object, command.summary);
        leaf->fallthrough()->footer("");
        actions_[leaf] = command.declare(*leaf, common);
        if (leaf->get_name() == "show")
            shown_[parent] = leaf;
    }
}

Result<std::vector<std::string>> Commands::spell_out(std::vector<std::string> words) const {
    add_command(words, app_, "show");
    const CLI::App* app = &app_;
    for (std::size_t i = 0; i < words.size(); ++i) {
        if (words[i].starts_with("-")) {
            if (takes_next(app, words[i]))
                ++i;
            continue;
        }
        const auto found = fitting(*app, words[i]);
        if (found.size() > 1) {
            std::string names;
            for (const CLI::App* command : found)
                names += (names.empty() ? "" : " or ") + command->get_name();
            return Error{fmt::format("'{}' may be {}", words[i], names)};
        }
        if (found.empty())
            break;
        words[i] = found.front()->get_name();
        app = found.front();
    }
    return words;
}

const Action& Commands::chosen() const {
    const CLI::App* chosen = &app_;
    while (!chosen->get_subcommands().empty())
        chosen = chosen->get_subcommands().front();
    if (chosen == &app_) {
        const Host host = common_.host();
        const bool in_dom0 = !host.exists("/proc/xway_front") && host.is_dom0();
        chosen = in_dom0 ? objects_.at("domain") : shown_.at(chosen);
    }
    const auto action = actions_.find(chosen);
    return action != actions_.end() ? action->second : actions_.at(shown_.at(chosen));
}

} // namespace xway
