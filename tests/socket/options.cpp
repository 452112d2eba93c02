/* SPDX-License-Identifier: GPL-2.0 */
/* options.cpp - the command line of xway-socket-cases, word by word. */
#include "options.h"

#include <sys/socket.h>

namespace xway::test {

RunOptions parse_options(int argc, char** argv) {
    RunOptions o;
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
        } else if (name == "--jobs") {
            o.jobs = std::stoi(value());
            if (o.jobs < 1)
                throw Usage{};
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
            o.verbose = true;
        } else {
            throw Usage{};
        }
    }
    return o;
}

} // namespace xway::test
