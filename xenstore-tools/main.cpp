// SPDX-License-Identifier: GPL-2.0-or-later
//
// main.cpp - the command line: options that all commands share, errors, exit status.
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "commands.h"

namespace {

using namespace xway;

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

    const Commands commands(app, common);
    char** const dashes = std::find(argv + 1, argv + argc, std::string("--"));
    if (dashes != argv + argc)
        common.program.assign(dashes + 1, argv + argc);
    auto words = commands.spell_out({argv + 1, dashes});
    if (!words)
        return usage_error(words.error().what);
    try {
        std::reverse(words->begin(), words->end()); // CLI11 takes them from the back
        app.parse(*words);
    } catch (const CLI::Success& help) {
        return app.exit(help);
    } catch (const CLI::ExtrasError&) {
        return usage_error(fmt::format("'{}' is not expected", app.remaining(true).front()));
    } catch (const CLI::ParseError& error) {
        return usage_error(error.what());
    }
    if (!common.program.empty() && !app.got_subcommand("check"))
        return usage_error("only 'check' takes a program behind '--'");
    common.format.header = !no_header;
    common.format.json |= common.format.pretty;

    const auto status = commands.chosen()();
    if (status)
        return *status;
    fmt::print(stderr, "xway: {}\n", status.error().text());
    return kFailed;
}
