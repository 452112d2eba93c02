// SPDX-License-Identifier: GPL-2.0-or-later
//
// commands.h - the commands of xway: their names, short forms and defaults.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "command.h"

namespace xway {

class Commands {
public:
    // Declares all of them to the app. Both arguments must outlive the object.
    Commands(CLI::App& app, const Common& common);

    // The words with every command in full and with the 'show' that was left out; an abbreviation
    // that fits several is an error, one that fits none is left for CLI11 to refuse.
    Result<std::vector<std::string>> spell_out(std::vector<std::string> words) const;

    // What the parsed command line asks for.
    const Action& chosen() const;

private:
    CLI::App& app_;
    const Common& common_;
    std::map<const CLI::App*, Action> actions_;
    std::map<std::string, CLI::App*> objects_;
    std::map<const CLI::App*, const CLI::App*> shown_; // from an object to its verb 'show'
};

} // namespace xway
