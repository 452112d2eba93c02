/* SPDX-License-Identifier: GPL-2.0 */
/* main.cpp - the command line of xway-socket-cases. */
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "runner.h"
#include "server.h"

using namespace xway::test;

namespace {

constexpr std::uint16_t kControlPort = 7710;

constexpr const char* kUsage =
    "usage: xway-socket-cases serve [--control-port N] [--verbose]\n"
    "       xway-socket-cases run [--peer ADDR] [--peer6 ADDR6] [--control-port N]\n"
    "           [--filter GLOB]... [--without GLOB]... [--list] [--repeat N] [--swap]\n"
    "           [--timeout S] [--timeout-scale X] [--warm-ms N] [--wait S] [--fail-fast] "
    "[--verbose]\n"
    "The two are run on two machines; `run` prints a line for each case. Exit: 0, 1 failed, 2 "
    "usage.\n";

/* What exec_inherits_the_socket starts: sends back all that it receives, then ends. */
int echo_descriptor(int fd) {
    char bytes[4096];
    for (;;) {
        ssize_t n = read(fd, bytes, sizeof bytes);
        if (n <= 0)
            return n == 0 ? 0 : 1;
        for (ssize_t done = 0; done < n;) {
            ssize_t w = write(fd, bytes + done, static_cast<std::size_t>(n - done));
            if (w < 0)
                return 1;
            done += w;
        }
    }
}

struct Usage {};

RunOptions parse_run(int argc, char** argv, bool& serve_verbose) {
    RunOptions o;
    o.control_port = kControlPort;
    for (int i = 2; i < argc; i++) {
        std::string name = argv[i];
        auto value = [&]() -> std::string {
            if (++i >= argc)
                throw Usage{};
            return argv[i];
        };
        if (name == "--peer") {
            Address a = parse_address(value());
            (a.family() == AF_INET6 ? o.peer6 : o.peer) = a;
        } else if (name == "--peer6") {
            o.peer6 = parse_address(value());
        } else if (name == "--control-port") {
            o.control_port = static_cast<std::uint16_t>(std::stoul(value()));
        } else if (name == "--filter") {
            o.filters.push_back(value());
        } else if (name == "--without") {
            o.without.push_back(value());
        } else if (name == "--list") {
            o.list = true;
        } else if (name == "--repeat") {
            o.repeat = std::stoi(value());
        } else if (name == "--swap") {
            o.swap = true;
        } else if (name == "--timeout") {
            o.timeout = milliseconds(static_cast<long>(std::stod(value()) * 1000));
        } else if (name == "--timeout-scale") {
            o.scale = std::stod(value());
        } else if (name == "--warm-ms") {
            o.warm = milliseconds(std::stol(value()));
        } else if (name == "--wait") {
            o.wait_ms = static_cast<int>(std::stod(value()) * 1000);
        } else if (name == "--fail-fast") {
            o.fail_fast = true;
        } else if (name == "--verbose") {
            o.verbose = serve_verbose = true;
        } else {
            throw Usage{};
        }
    }
    return o;
}

} // namespace

int main(int argc, char** argv) {
    std::string role = argc > 1 ? argv[1] : "";
    try {
        if (role == "echo-descriptor" && argc == 3)
            return echo_descriptor(std::atoi(argv[2]));
        bool verbose = false;
        RunOptions options = parse_run(argc, argv, verbose);
        if (role == "serve")
            return serve(options.control_port, verbose);
        if (role == "run" && options.list && !options.peer && !options.peer6) {
            options.peer = parse_address("127.0.0.1");
            options.peer6 = parse_address("::1");
        }
        if (role == "run" && (options.peer || options.peer6))
            return run_cases(options);
    } catch (const Usage&) {
    } catch (const std::exception& e) {
        std::fprintf(stderr, "xway-socket-cases: %s\n", e.what());
        return 2;
    }
    std::fputs(kUsage, stderr);
    return 2;
}
