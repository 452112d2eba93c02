/* SPDX-License-Identifier: GPL-2.0 */
/*
 * xway-local-bench.cpp - measures what carries bytes between processes of one kernel.
 *
 * Server and client are ordinary socket programs; the same code runs over TCP, over a UNIX socket,
 * and over whatever a preloaded library puts in their place. One line of JSON is the answer, with
 * counts beside the times that do not depend on the clock: context switches, bytes that the
 * kernel's TCP carried, CPU time of both sides.
 */
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "local.h"

namespace xway::local {

namespace {

constexpr char kUsage[] =
    "usage: xway-local-bench serve --at ADDRESS [--cpu N]\n"
    "       xway-local-bench rr SIZE --at ADDRESS    round trips, ns\n"
    "       xway-local-bench stream SIZE --at ADDRESS [--read SIZE]    one way, GB/s\n"
    "       xway-local-bench msgs SIZE --at ADDRESS [--exact]    one way, messages/s;\n"
    "           --exact: the receiver takes one message a call\n"
    "       xway-local-bench cc --at ADDRESS [--processes N] [--idle N]    connections/s\n"
    "       xway-local-bench crr SIZE --at ADDRESS [--processes N] [--idle N]\n"
    "       xway-local-bench memcached SIZE --at ADDRESS [--connections N] [--depth N]\n"
    "       xway-local-bench floor [--cpu N --server-cpu N]    raw hand-over, ns\n"
    "ADDRESS: tcp:127.0.0.1:PORT (serve: port 0 is any) or unix:PATH\n"
    "also: --seconds S  --cpu N  --server-cpu N\n"
    "      --wait block|spin|poll|epoll (both sides, before each read)\n"
    "      --think US (rr: both sides are busy so long before they send)\n"
    "Exit: 0, 1 the measurement failed, 2 usage.\n";

struct BadUsage {};

unsigned long number(const char* text) {
    char* end = nullptr;
    unsigned long value = std::strtoul(text, &end, 10);
    if (*text == 0 || *end != 0)
        throw BadUsage{};
    return value;
}

Wait wait_named(const std::string& name) {
    const char* const names[] = {"block", "spin", "poll", "epoll"};
    for (std::uint32_t i = 0; i < 4; i++)
        if (name == names[i])
            return static_cast<Wait>(i);
    throw BadUsage{};
}

Options parse(int argc, char** argv) {
    Options o;
    o.test = argc > 1 ? argv[1] : "";
    int i = 2;
    if (i < argc && argv[i][0] != '-')
        o.size = number(argv[i++]);
    for (; i < argc; i++) {
        std::string name = argv[i];
        if (name == "--exact") {
            o.exact = true;
            continue;
        }
        if (++i >= argc)
            throw BadUsage{};
        const char* value = argv[i];
        if (name == "--at")
            o.address = value;
        else if (name == "--seconds")
            o.seconds = std::atof(value);
        else if (name == "--cpu")
            o.cpu = static_cast<int>(number(value));
        else if (name == "--server-cpu")
            o.server_cpu = static_cast<int>(number(value));
        else if (name == "--wait")
            o.wait = wait_named(value);
        else if (name == "--think")
            o.think_us = std::atof(value);
        else if (name == "--read")
            o.read_size = number(value);
        else if (name == "--processes")
            o.processes = static_cast<unsigned>(number(value));
        else if (name == "--idle")
            o.idle = static_cast<unsigned>(number(value));
        else if (name == "--connections")
            o.connections = static_cast<unsigned>(number(value));
        else if (name == "--depth")
            o.depth = static_cast<unsigned>(number(value));
        else
            throw BadUsage{};
    }
    auto limits = [](std::size_t value, std::size_t most) { return value > 0 && value <= most; };
    if (!limits(o.size, kMaxSize) || !limits(o.read_size, kMaxSize) || !limits(o.processes, 512) ||
        o.idle > 512 || !limits(o.connections, 10000) || !limits(o.depth, 1000) || o.seconds <= 0 ||
        (o.address.empty() && o.test != "floor"))
        throw BadUsage{};
    return o;
}

int main(int argc, char** argv) {
    std::signal(SIGPIPE, SIG_IGN);
    try {
        Options o = parse(argc, argv);
        if (o.test == "serve")
            return serve(o.address, o.cpu);
        if (o.test == "rr")
            round_trips(o).print();
        else if (o.test == "stream" || o.test == "msgs")
            stream(o).print();
        else if (o.test == "cc" || o.test == "crr")
            connects(o).print();
        else if (o.test == "memcached")
            memcached(o).print();
        else if (o.test == "floor")
            floor(o).print();
        else
            throw BadUsage{};
    } catch (const BadUsage&) {
        std::fputs(kUsage, stderr);
        return 2;
    } catch (const Broken& e) {
        std::fprintf(stderr, "xway-local-bench: %s\n", e.what());
        return 1;
    }
    return 0;
}

} // namespace

} // namespace xway::local

int main(int argc, char** argv) {
    return xway::local::main(argc, argv);
}
