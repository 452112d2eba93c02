/* SPDX-License-Identifier: GPL-2.0 */
/* compare.cpp - two logs of the same programs, side by side. */
#include "compare.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string_view>
#include <vector>

#include "../socket/check.h"

namespace xway::fuzz {

namespace {

struct Log {
    struct Played {
        std::string name;
        std::vector<std::string> lines;
    };
    std::vector<Played> programs;
    unsigned long calls = 0;
};

Log read(const std::string& file) {
    constexpr std::string_view kProgram = "program ", kCalls = "calls ";
    std::ifstream in(file);
    if (!in)
        throw test::Failure("cannot read " + file);
    Log log;
    for (std::string line; std::getline(in, line);) {
        if (line.starts_with(kProgram))
            log.programs.push_back({line.substr(kProgram.size()), {}});
        else if (line.starts_with(kCalls))
            log.calls = std::stoul(line.substr(kCalls.size()));
        else if (!log.programs.empty())
            log.programs.back().lines.push_back(line);
    }
    return log;
}

} // namespace

int compare(const std::string& one, const std::string& other) {
    const Log a = read(one), b = read(other);
    const std::size_t both = std::min(a.programs.size(), b.programs.size());
    int differences = a.programs.size() == b.programs.size() && both > 0 ? 0 : 1;
    if (differences > 0)
        std::printf("%zu programs and %zu programs\n", a.programs.size(), b.programs.size());
    for (std::size_t i = 0; i < both; i++) {
        const auto& mine = a.programs[i].lines;
        const auto& theirs = b.programs[i].lines;
        const auto [at, there] =
            std::mismatch(mine.begin(), mine.end(), theirs.begin(), theirs.end());
        if (at == mine.end() && there == theirs.end())
            continue;
        differences++;
        std::printf("program %s:\n  %s\n  %s\n", a.programs[i].name.c_str(),
                    at == mine.end() ? "(nothing)" : at->c_str(),
                    there == theirs.end() ? "(nothing)" : there->c_str());
    }
    std::printf("%zu programs, %lu and %lu calls, %d differences\n", both, a.calls, b.calls,
                differences);
    return differences == 0 && b.calls > 0 ? 0 : 1;
}

} // namespace xway::fuzz
