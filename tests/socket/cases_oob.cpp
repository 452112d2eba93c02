/* SPDX-License-Identifier: GPL-2.0 */
/* cases_oob.cpp - urgent data: one byte beside the stream, and the mark that it leaves in it. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

#include "epoll.h"
#include "side.h"

using namespace xway::test;

namespace {

bool at_mark(int fd) {
    int mark = 0;
    SYS(ioctl(fd, SIOCATMARK, &mark));
    return mark != 0;
}

void send_urgent(int fd, char byte) {
    CHECK_EQ(SYS(send(fd, &byte, 1, MSG_OOB)), 1);
}

/* The urgent byte, which may come later than its announcement. */
void expect_urgent(Side& side, char wanted) {
    char byte = 0;
    side.await_true("the urgent byte",
                    [&] { return recv(side.sock.get(), &byte, 1, MSG_OOB) == 1; });
    CHECK_EQ(byte, wanted);
}

} // namespace

TWO_SIDED(oob_beside_the_stream, kPair | kCold | kMapped)
void oob_beside_the_stream::client(Side& side) {
    StreamWriter out = side.out();
    for (char byte : {'a', 'b', 'c'}) {
        out.send(1000);
        send_urgent(side.sock.get(), byte);
        out.send(2000);
        side.step("read");
    }
    out.send(50000);
    side.in().receive(50000);
}
void oob_beside_the_stream::server(Side& side) {
    int fd = side.sock.get();
    StreamReader in = side.in();
    for (char byte : {'a', 'b', 'c'}) {
        CHECK(side.await(fd, POLLPRI) & POLLPRI);
        /* A receive stops at the mark, however much it asks for. */
        std::uint64_t mark = in.position() + 1000;
        while (in.position() < mark) {
            CHECK(!at_mark(fd));
            CHECK(SYS(in.receive_some(9000)) > 0);
        }
        CHECK_EQ(in.position(), mark);
        CHECK(at_mark(fd));
        expect_urgent(side, byte);
        char none;
        CHECK_ERRNO(recv(fd, &none, 1, MSG_OOB), EINVAL);
        in.receive(2000);
        CHECK(!at_mark(fd));
        CHECK_EQ(poll_now(fd, POLLIN | POLLPRI), 0);
        side.step("read");
    }
    in.receive(50000);
    side.out().send(50000);
}

TWO_SIDED(oob_inline, kPair | kCold)
void oob_inline::client(Side& side) {
    StreamWriter out = side.out();
    out.send(1000);
    send_urgent(side.sock.get(), '!');
    out.send(1000);
    side.in().receive(1);
}
void oob_inline::server(Side& side) {
    int fd = side.sock.get();
    set_option(fd, SOL_SOCKET, SO_OOBINLINE, 1);
    side.await(fd, POLLPRI);
    StreamReader in = side.in();
    while (in.position() < 1000)
        CHECK(SYS(in.receive_some(9000)) > 0);
    CHECK_EQ(in.position(), 1000u);
    CHECK(at_mark(fd));
    char byte = 0;
    CHECK_ERRNO(recv(fd, &byte, 1, MSG_OOB), EINVAL);
    CHECK_EQ(SYS(recv(fd, &byte, 1, 0)), 1);
    CHECK_EQ(byte, '!');
    in.receive(1000);
    side.out().send(1);
}

TWO_SIDED(oob_raises_sigurg, kPair)
void oob_raises_sigurg::client(Side& side) {
    side.step("ready");
    side.settle();
    send_urgent(side.sock.get(), 'u');
    side.step("seen");
    side.out().send(100);
    side.in().receive(100);
}
void oob_raises_sigurg::server(Side& side) {
    int fd = side.sock.get();
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGURG);
    SYS(sigprocmask(SIG_BLOCK, &set, nullptr));
    SYS(fcntl(fd, F_SETOWN, getpid()));
    side.step("ready");
    timespec patience{side.patience_ms() / 1000, 0};
    CHECK_EQ(SYS(sigtimedwait(&set, nullptr, &patience)), SIGURG);
    expect_urgent(side, 'u');
    side.step("seen");
    side.in().receive(100);
    side.out().send(100);
}

TWO_SIDED(oob_edge_in_epoll, kPair)
void oob_edge_in_epoll::client(Side& side) {
    for (char byte : {'x', 'y'}) {
        side.settle();
        send_urgent(side.sock.get(), byte);
        side.step("seen");
    }
}
void oob_edge_in_epoll::server(Side& side) {
    Epoll epoll(side);
    epoll.add(side.sock.get(), EPOLLPRI | EPOLLET);
    for (char byte : {'x', 'y'}) {
        CHECK_EQ(epoll.wait(), EPOLLPRI);
        expect_urgent(side, byte);
        side.step("seen");
    }
}

TWO_SIDED(oob_both_ways_between_bulk, kPair | kCold)
void oob_both_ways_between_bulk::client(Side& side) {
    StreamWriter out = side.out();
    out.send(300000);
    send_urgent(side.sock.get(), 'p');
    out.send(300000);
    side.step("one way");
    StreamReader in = side.in();
    in.receive(200000);
    expect_urgent(side, 'q');
    in.receive(1);
}
void oob_both_ways_between_bulk::server(Side& side) {
    StreamReader in = side.in();
    in.receive(300000);
    expect_urgent(side, 'p');
    in.receive(300000);
    side.step("one way");
    StreamWriter out = side.out();
    out.send(200000);
    send_urgent(side.sock.get(), 'q');
    out.send(1);
}

TWO_SIDED(oob_with_longer_messages, kPair)
void oob_with_longer_messages::client(Side& side) {
    StreamWriter out = side.out();
    /* Of a longer message only the last byte is urgent. */
    auto bytes = out.next(500);
    bytes.push_back(std::byte{'z'});
    CHECK_EQ(SYS(send(side.sock.get(), bytes.data(), bytes.size(), MSG_OOB)), 501);
    out.advance(500);
    out.send(500);
    side.in().receive(1);
}
void oob_with_longer_messages::server(Side& side) {
    side.await(side.sock.get(), POLLPRI);
    StreamReader in = side.in();
    in.receive(500);
    CHECK(at_mark(side.sock.get()));
    expect_urgent(side, 'z');
    in.receive(500);
    side.out().send(1);
}
