/* SPDX-License-Identifier: GPL-2.0 */
/* cases_accept.cpp - listeners: how connections wait in them and come out of them. */
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>

#include <vector>

#include "process.h"
#include "side.h"

using namespace xway::test;

TWO_SIDED(accept_flags, kMapped)
void accept_flags::client(Side& side) {
    std::uint16_t port = side.hear_port();
    for (int i = 0; i < 3; i++) {
        UniqueFd fd = side.connect(port);
        side.out(fd.get()).send(100);
        side.in(fd.get()).receive(100);
    }
}
void accept_flags::server(Side& side) {
    UniqueFd listener = side.listen_and_tell();
    for (int flags : {0, int{SOCK_NONBLOCK}, SOCK_NONBLOCK | SOCK_CLOEXEC}) {
        side.await(listener.get(), POLLIN);
        Address from;
        from.length = sizeof from.storage;
        UniqueFd fd(SYS(accept4(listener.get(), from.get(), &from.length, flags)));
        CHECK_EQ(from.text(), peer_address(fd.get()).text());
        CHECK_EQ((SYS(fcntl(fd.get(), F_GETFL)) & O_NONBLOCK) != 0, (flags & SOCK_NONBLOCK) != 0);
        CHECK_EQ((SYS(fcntl(fd.get(), F_GETFD)) & FD_CLOEXEC) != 0, (flags & SOCK_CLOEXEC) != 0);
        side.await(fd.get(), POLLIN);
        side.in(fd.get()).receive(100);
        side.out(fd.get()).send(100);
    }
}

TWO_SIDED(accept_nonblocking_when_empty, 0)
void accept_nonblocking_when_empty::client(Side& side) {
    std::uint16_t port = side.hear_port();
    side.step("empty");
    UniqueFd fd = side.connect(port);
    side.out(fd.get()).send(100);
    side.step("seen");
}
void accept_nonblocking_when_empty::server(Side& side) {
    UniqueFd listener = side.listen_and_tell(8, SOCK_NONBLOCK);
    CHECK_ERRNO(accept(listener.get(), nullptr, nullptr), EAGAIN);
    CHECK_EQ(poll_now(listener.get(), POLLIN), 0);
    side.step("empty");
    side.await(listener.get(), POLLIN);
    UniqueFd fd(SYS(accept(listener.get(), nullptr, nullptr)));
    CHECK_ERRNO(accept(listener.get(), nullptr, nullptr), EAGAIN);
    side.in(fd.get()).receive(100);
    side.step("seen");
}

TWO_SIDED(epoll_on_a_listener, 0)
void epoll_on_a_listener::client(Side& side) {
    std::uint16_t port = side.hear_port();
    for (int round = 0; round < 3; round++) {
        UniqueFd one = side.connect(port), two = side.connect(port);
        side.step("connected");
        side.in(one.get()).receive(10);
        side.in(two.get()).receive(10);
    }
}
void epoll_on_a_listener::server(Side& side) {
    UniqueFd listener = side.listen_and_tell(8, SOCK_NONBLOCK);
    UniqueFd epoll(SYS(epoll_create1(0)));
    epoll_event e{};
    e.events = EPOLLIN | EPOLLET;
    SYS(epoll_ctl(epoll.get(), EPOLL_CTL_ADD, listener.get(), &e));
    for (int round = 0; round < 3; round++) {
        side.step("connected");
        std::vector<UniqueFd> got;
        while (got.size() < 2) {
            CHECK_EQ(epoll_wait(epoll.get(), &e, 1, side.patience_ms()), 1);
            for (int fd; (fd = accept4(listener.get(), nullptr, nullptr, 0)) >= 0;)
                got.emplace_back(fd);
            CHECK_EQ(errno_text(errno), "EAGAIN");
        }
        for (UniqueFd& fd : got)
            side.out(fd.get()).send(10);
    }
}

TWO_SIDED(late_accept_finds_data_and_end, kMapped)
void late_accept_finds_data_and_end::client(Side& side) {
    std::uint16_t port = side.hear_port();
    for (unsigned i = 0; i < 8; i++) {
        UniqueFd fd = side.connect(port);
        side.out(fd.get(), i).send(1 + i * 1500);
    }
    side.step("sent and closed");
    side.step("read");
}
void late_accept_finds_data_and_end::server(Side& side) {
    UniqueFd listener = side.listen_and_tell(16);
    side.step("sent and closed");
    side.settle(3);
    for (unsigned i = 0; i < 8; i++) {
        UniqueFd fd = side.accept(listener.get());
        CHECK_EQ(side.in(fd.get(), i).receive_to_end(), 1 + i * 1500);
    }
    side.step("read");
}

TWO_SIDED(late_accept_then_conversation, kMapped)
void late_accept_then_conversation::client(Side& side) {
    std::uint16_t port = side.hear_port();
    std::vector<UniqueFd> fds;
    for (unsigned i = 0; i < 6; i++) {
        fds.push_back(side.connect(port));
        side.out(fds.back().get(), i).send(20000);
    }
    side.step("sent");
    for (unsigned i = 0; i < 6; i++) {
        StreamReader in = side.in(fds[i].get(), i);
        in.receive(5000);
        in.expect_end();
    }
}
void late_accept_then_conversation::server(Side& side) {
    UniqueFd listener = side.listen_and_tell(16);
    side.step("sent");
    side.settle(3);
    for (unsigned i = 0; i < 6; i++) {
        UniqueFd fd = side.accept(listener.get());
        side.in(fd.get(), i).receive(20000);
        side.out(fd.get(), i).send(5000);
    }
}

TWO_SIDED(server_speaks_first, kMapped)
void server_speaks_first::client(Side& side) {
    std::uint16_t port = side.hear_port();
    for (unsigned i = 0; i < 5; i++) {
        UniqueFd fd = side.connect(port);
        StreamReader in = side.in(fd.get(), i);
        in.receive(3000 * i + 1);
        side.out(fd.get(), i).send(10);
        in.expect_end();
    }
}
void server_speaks_first::server(Side& side) {
    UniqueFd listener = side.listen_and_tell();
    for (unsigned i = 0; i < 5; i++) {
        UniqueFd fd = side.accept(listener.get());
        side.out(fd.get(), i).send(3000 * i + 1);
        side.in(fd.get(), i).receive(10);
    }
}
