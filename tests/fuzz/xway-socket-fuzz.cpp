/* SPDX-License-Identifier: GPL-2.0 */
/* xway-socket-fuzz.cpp - the command line of xway-socket-fuzz. */
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <fstream>

#include "compare.h"
#include "generate.h"
#include "play.h"

namespace {

using namespace xway;

constexpr const char* kUsage =
    "xway-socket-fuzz serve [--control-port N]\n"
    "xway-socket-fuzz run --peer ADDRESS [--control-port N] [--seed S] [--programs N] [--log "
    "FILE]\n"
    "                     [--block-ms N] [--await-ms N]\n"
    "xway-socket-fuzz replay --peer ADDRESS [--repeat N] FILE ...\n"
    "xway-socket-fuzz compare LOG LOG\n"
    "xway-socket-fuzz print --seed S\n"
    "\n"
    "See tests/fuzz/README.md.\n";

struct Arguments {
    std::string role, peer, log;
    std::uint16_t control_port = 7790;
    std::uint64_t seed = 1, programs = 100;
    int repeat = 1;
    fuzz::Pace pace;
    std::vector<std::string> files;
};

Arguments parse(int argc, char** argv) {
    Arguments a;
    a.role = argc > 1 ? argv[1] : "";
    for (int i = 2; i < argc; i++) {
        const std::string name = argv[i];
        const auto value = [&]() -> std::string {
            if (++i >= argc)
                throw test::Failure(name + " wants a value");
            return argv[i];
        };
        if (name == "--peer")
            a.peer = value();
        else if (name == "--log")
            a.log = value();
        else if (name == "--control-port")
            a.control_port = static_cast<std::uint16_t>(std::stoul(value()));
        else if (name == "--seed")
            a.seed = std::stoull(value());
        else if (name == "--programs")
            a.programs = std::stoull(value());
        else if (name == "--repeat")
            a.repeat = std::stoi(value());
        else if (name == "--block-ms")
            a.pace.block_ms = std::stoi(value());
        else if (name == "--await-ms")
            a.pace.await_ms = std::stoi(value());
        else if (!name.starts_with("--"))
            a.files.push_back(name);
        else
            throw test::Failure("unknown option " + name);
    }
    return a;
}

fuzz::Program read_program(const std::string& file) {
    std::ifstream in(file);
    if (!in)
        throw test::Failure("cannot read " + file);
    fuzz::Program program;
    for (std::string line; std::getline(in, line);) {
        if (line.empty() || line[0] == '#')
            continue;
        const auto step = fuzz::Step::parse(line);
        if (!step)
            throw test::Failure(file + ": not a step: " + line);
        program.push_back(*step);
    }
    return program;
}

int play(const Arguments& a) {
    fuzz::catch_signals();
    std::FILE* log = a.log.empty() ? stdout : std::fopen(a.log.c_str(), "we");
    if (!log)
        throw test::Failure("cannot write " + a.log);
    test::Address server = test::parse_address(a.peer);
    server.set_port(a.control_port);
    fuzz::Player player(server, a.pace, log);
    const auto one = [&](const std::string& title, const fuzz::Program& program) {
        std::fprintf(log, "program %s\n", title.c_str());
        std::fflush(log); /* if it crashes, this is known */
        player.play(program);
    };
    for (int round = 0; round < a.repeat; round++)
        for (const std::string& file : a.files)
            one(file.substr(file.rfind('/') + 1), read_program(file));
    if (a.role == "run")
        for (std::uint64_t i = 0; i < a.programs; i++)
            one(std::to_string(a.seed + i), fuzz::generate(a.seed + i));
    std::fprintf(log, "calls %lu\n", player.calls());
    return std::fclose(log) == 0 ? 0 : 1;
}

} // namespace

int main(int argc, char** argv) {
    try {
        const Arguments a = parse(argc, argv);
        if (a.role == "serve")
            fuzz::serve(a.control_port);
        if ((a.role == "run" || a.role == "replay") && !a.peer.empty())
            return play(a);
        if (a.role == "compare" && a.files.size() == 2)
            return fuzz::compare(a.files[0], a.files[1]);
        if (a.role == "print") {
            for (const fuzz::Step& step : fuzz::generate(a.seed))
                std::printf("%s\n", step.text().c_str());
            return 0;
        }
        std::fputs(kUsage, stderr);
        return 2;
    } catch (const std::exception& e) {
        std::fprintf(stderr, "xway-socket-fuzz: %s\n", e.what());
        return 2;
    }
}
