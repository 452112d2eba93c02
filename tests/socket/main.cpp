/* SPDX-License-Identifier: GPL-2.0 */
/* main.cpp - xway-socket-cases: what it was asked to do. */
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "options.h"
#include "runner.h"
#include "server.h"

using namespace xway::test;

namespace {

constexpr const char* kUsage =
    "usage: xway-socket-cases serve [--control-port N] [--verbose]\n"
    "       xway-socket-cases run [--peer ADDR] [--peer6 ADDR6] [--control-port N]\n"
    "           [--filter GLOB]... [--without GLOB]... [--list] [--repeat N] [--jobs N]\n"
    "           [--swap] [--timeout S] [--timeout-scale X] [--warm-ms N] [--wait S] [--fail-fast] "
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

} // namespace

int main(int argc, char** argv) {
    std::string role = argc > 1 ? argv[1] : "";
    try {
        if (role == "echo-descriptor" && argc == 3)
            return echo_descriptor(std::atoi(argv[2]));
        RunOptions options = parse_options(argc, argv);
        if (role == "serve")
            return serve(options.control_port, options.verbose);
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
