/* SPDX-License-Identifier: GPL-2.0 */
/* cases_listener.cpp - listeners shared, configured, and closed. */
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>

#include "process.h"
#include "side.h"

using namespace xway::test;

TWO_SIDED(reuseport_two_listeners, 0)
void reuseport_two_listeners::client(Side& side) {
    std::uint16_t port = side.hear_port();
    for (unsigned i = 0; i < 24; i++) {
        UniqueFd fd = side.connect(port);
        side.out(fd.get()).send(500);
        StreamReader in = side.in(fd.get());
        in.receive(500);
        in.expect_end();
    }
}
void reuseport_two_listeners::server(Side& side) {
    auto reuse = [](int fd) { set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1); };
    UniqueFd one = side.listen(32, 0, 0, reuse);
    std::uint16_t port = local_address(one.get()).port();
    UniqueFd two = side.listen(32, 0, port, reuse);
    side.tell_number(port);
    for (unsigned i = 0; i < 24; i++) {
        pollfd p[2] = {{one.get(), POLLIN, 0}, {two.get(), POLLIN, 0}};
        CHECK(poll(p, 2, side.patience_ms()) > 0);
        UniqueFd fd = side.accept(p[0].revents ? one.get() : two.get());
        side.in(fd.get()).receive(500);
        side.out(fd.get()).send(500);
    }
}

TWO_SIDED(deferred_accept, 0)
void deferred_accept::client(Side& side) {
    UniqueFd fd = side.connect(side.hear_port());
    side.settle();
    side.out(fd.get()).send(4000);
    side.in(fd.get()).receive(4000);
}
void deferred_accept::server(Side& side) {
    UniqueFd listener =
        side.listen(8, 0, 0, [](int fd) { set_option(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, 5); });
    side.tell_number(local_address(listener.get()).port());
    UniqueFd fd = side.accept(listener.get());
    side.in(fd.get()).receive(4000);
    side.out(fd.get()).send(4000);
}

TWO_SIDED(accepted_socket_inherits_options, 0)
void accepted_socket_inherits_options::client(Side& side) {
    UniqueFd fd = side.connect(side.hear_port());
    side.out(fd.get()).send(100);
    side.in(fd.get()).receive(100);
}
void accepted_socket_inherits_options::server(Side& side) {
    UniqueFd listener = side.listen(8, 0, 0, [](int fd) {
        set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
        set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
        set_option(fd, SOL_SOCKET, SO_OOBINLINE, 1);
        set_option(fd, SOL_SOCKET, SO_RCVLOWAT, 3);
    });
    side.tell_number(local_address(listener.get()).port());
    UniqueFd fd = side.accept(listener.get());
    CHECK_EQ(get_option(fd.get(), IPPROTO_TCP, TCP_NODELAY), 1);
    CHECK_EQ(get_option(fd.get(), SOL_SOCKET, SO_KEEPALIVE), 1);
    CHECK_EQ(get_option(fd.get(), SOL_SOCKET, SO_OOBINLINE), 1);
    CHECK_EQ(get_option(fd.get(), SOL_SOCKET, SO_RCVLOWAT), 3);
    CHECK_EQ(get_option(fd.get(), SOL_SOCKET, SO_ACCEPTCONN), 0);
    CHECK_EQ(get_option(listener.get(), SOL_SOCKET, SO_ACCEPTCONN), 1);
    side.in(fd.get()).receive(100);
    side.out(fd.get()).send(100);
}

TWO_SIDED(two_processes_accept, 0)
void two_processes_accept::client(Side& side) {
    std::uint16_t port = side.hear_port();
    for (unsigned i = 0; i < 12; i++) {
        UniqueFd fd = side.connect(port);
        side.out(fd.get()).send(800);
        StreamReader in = side.in(fd.get());
        in.receive(800);
        in.expect_end();
    }
    side.step("done");
}
void two_processes_accept::server(Side& side) {
    UniqueFd listener = side.listen_and_tell();
    auto worker = [&]() -> int {
        for (;;) {
            UniqueFd fd(SYS(accept(listener.get(), nullptr, nullptr)));
            side.in(fd.get()).receive(800);
            side.out(fd.get()).send(800);
        }
    };
    Child one(worker), two(worker);
    side.step("done");
}

TWO_SIDED(closing_the_listener_keeps_the_accepted, 0)
void closing_the_listener_keeps_the_accepted::client(Side& side) {
    std::uint16_t port = side.hear_port();
    UniqueFd accepted = side.connect(port);
    side.warm(accepted.get());
    UniqueFd queued = side.connect(port);
    side.out(queued.get()).send(100);
    side.step("one accepted, one queued");
    side.step("listener closed");
    /* The one that waited is reset, the other does not notice. */
    int result = side.in(queued.get()).receive_to_end_or_reset();
    CHECK_EQ(errno_text(result), "ECONNRESET");
    side.out(accepted.get()).send(30000);
    side.in(accepted.get()).receive(30000);
}
void closing_the_listener_keeps_the_accepted::server(Side& side) {
    UniqueFd listener = side.listen_and_tell();
    UniqueFd fd = side.accept(listener.get());
    side.warm(fd.get());
    side.step("one accepted, one queued");
    side.await(listener.get(), POLLIN);
    listener.reset();
    side.step("listener closed");
    side.in(fd.get()).receive(30000);
    side.out(fd.get()).send(30000);
}

TWO_SIDED(exclusive_epoll_on_a_listener, 0)
void exclusive_epoll_on_a_listener::client(Side& side) {
    std::uint16_t port = side.hear_port();
    for (unsigned i = 0; i < 8; i++) {
        UniqueFd fd = side.connect(port);
        side.in(fd.get()).receive(10);
    }
}
void exclusive_epoll_on_a_listener::server(Side& side) {
    UniqueFd listener = side.listen(8, SOCK_NONBLOCK);
    UniqueFd epolls[2];
    for (UniqueFd& epoll : epolls) {
        epoll.reset(SYS(epoll_create1(0)));
        epoll_event e{};
        e.events = EPOLLIN | EPOLLEXCLUSIVE;
        SYS(epoll_ctl(epoll.get(), EPOLL_CTL_ADD, listener.get(), &e));
    }
    side.tell_number(local_address(listener.get()).port());
    for (unsigned accepted = 0; accepted < 8;) {
        pollfd p[2] = {{epolls[0].get(), POLLIN, 0}, {epolls[1].get(), POLLIN, 0}};
        CHECK(poll(p, 2, side.patience_ms()) > 0);
        epoll_event e{};
        SYS(epoll_wait(epolls[p[0].revents ? 0 : 1].get(), &e, 1, 0));
        UniqueFd fd(accept4(listener.get(), nullptr, nullptr, 0));
        if (!fd.valid())
            continue;
        side.out(fd.get()).send(10);
        accepted++;
    }
}
