/* SPDX-License-Identifier: GPL-2.0 */
/* remote.cpp - both ends of the control connection. */
#include "remote.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <sstream>

#include "../socket/session.h"

namespace xway::fuzz {

namespace {

constexpr int kPatience = 60; /* seconds without an answer: the server hangs */

test::UniqueFd open_control(const test::Address& server, int wait_ms) {
    test::UniqueFd fd = test::connect_control(server, wait_ms);
    keep_on_tcp(fd.get());
    const timeval patience{kPatience, 0};
    SYS(setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience));
    return fd;
}

/* An IPv4 address that an IPv6 socket has seen. */
test::Address unmapped(const test::Address& address) {
    const auto* six = reinterpret_cast<const sockaddr_in6*>(address.get());
    if (address.family() != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&six->sin6_addr))
        return address;
    test::Address four = test::parse_address("0.0.0.0");
    std::memcpy(&reinterpret_cast<sockaddr_in*>(four.get())->sin_addr, &six->sin6_addr.s6_addr[12],
                sizeof(in_addr));
    return four;
}

void hold_session(test::UniqueFd fd) {
    keep_on_tcp(fd.get());
    const test::Address client = unmapped(test::peer_address(fd.get()));
    test::Control control(std::move(fd));
    std::istringstream hello(control.read_line());
    std::string word;
    Pace pace;
    if (!(hello >> word >> pace.block_ms >> pace.await_ms) || word != "hello")
        throw test::Failure("not a greeting");
    catch_signals();
    Host host('s', client, pace);
    control.send_line("L " + std::to_string(host.lasting_port()));
    for (;;) {
        const std::string line = control.read_line();
        const Order order = Order::parse(line);
        control.send_line(host.run(order, [&] { control.send_line("B"); }).line());
    }
}

} // namespace

/* xway leaves sockets with SO_ZEROCOPY to TCP. */
void keep_on_tcp(int fd) {
    test::set_option(fd, SOL_SOCKET, SO_ZEROCOPY, 1);
    test::set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
}

Remote::Remote(const test::Address& server, Pace pace, int wait_ms)
    : control_(open_control(server, wait_ms)) {
    control_.send_line("hello " + std::to_string(pace.block_ms) + " " +
                       std::to_string(pace.await_ms));
    lasting_port_ = std::stoi(control_.read_kind('L'));
}

test::Address Remote::own_address() const {
    return test::local_address(control_.fd());
}

Result Remote::finish(const std::function<void()>& will_block) {
    std::string line = control_.read_line();
    if (line == "B") {
        will_block();
        line = control_.read_line();
    }
    return Result::parse(line);
}

void serve(std::uint16_t control_port) {
    signal(SIGCHLD, SIG_IGN);
    test::UniqueFd listener(SYS(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0)));
    test::Address any = test::parse_address("::");
    any.set_port(control_port);
    test::set_option(listener.get(), IPPROTO_IPV6, IPV6_V6ONLY, 0);
    test::set_option(listener.get(), SOL_SOCKET, SO_REUSEADDR, 1);
    SYS(::bind(listener.get(), any.get(), any.length));
    SYS(::listen(listener.get(), 64));
    std::printf("serving on control port %u\n", test::local_address(listener.get()).port());
    std::fflush(stdout);
    for (;;) {
        test::UniqueFd fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (!fd.valid() || fork() != 0)
            continue;
        signal(SIGCHLD, SIG_DFL);
        listener.reset();
        try {
            hold_session(std::move(fd));
        } catch (const std::exception& e) {
            if (!std::string_view(e.what()).starts_with("control connection closed"))
                std::fprintf(stderr, "session: %s\n", e.what());
        }
        _exit(0);
    }
}

} // namespace xway::fuzz
