/* SPDX-License-Identifier: GPL-2.0 */
/* cases_epoll_edge.cpp - edge-triggered epoll: no edge may be missing, in either direction. */
#include <poll.h>

#include "epoll.h"
#include "side.h"

using namespace xway::test;

TWO_SIDED(epoll_edge_for_each_arrival, kPair | kCold | kMapped)
void epoll_edge_for_each_arrival::client(Side& side) {
    StreamWriter out = side.out();
    for (int i = 0; i < 30; i++) {
        out.send(1 + static_cast<std::size_t>(i) * 700);
        side.step("drained");
        if (i % 3 == 0)
            side.settle();
    }
}
void epoll_edge_for_each_arrival::server(Side& side) {
    Epoll epoll(side);
    epoll.add(side.sock.get(), EPOLLIN | EPOLLET);
    set_nonblocking(side.sock.get());
    StreamReader in = side.in();
    for (int i = 0; i < 30; i++) {
        std::uint64_t target = in.position() + 1 + static_cast<std::uint64_t>(i) * 700;
        while (in.position() < target) {
            CHECK_EQ(epoll.wait(), EPOLLIN);
            while (in.receive_some(5000) > 0) {
            }
            CHECK_EQ(errno_text(errno), "EAGAIN");
        }
        side.step("drained");
    }
}

TWO_SIDED(epoll_edge_after_a_short_read, kPair | kCold)
void epoll_edge_after_a_short_read::client(Side& side) {
    StreamWriter out = side.out();
    for (std::size_t i = 0; i < 400; i++) {
        out.send(1 + i * 7919 % 30000);
        if (i % 40 == 0)
            side.settle();
    }
    SYS(shutdown(side.sock.get(), SHUT_WR));
    side.step("end");
}
void epoll_edge_after_a_short_read::server(Side& side) {
    /* epoll(7): a stream that gave less than asked is drained; no EAGAIN need be seen. */
    Epoll epoll(side);
    epoll.add(side.sock.get(), EPOLLIN | EPOLLRDHUP | EPOLLET);
    set_nonblocking(side.sock.get());
    StreamReader in = side.in();
    std::uint64_t total = 0;
    for (std::size_t i = 0; i < 400; i++)
        total += 1 + i * 7919 % 30000;
    for (bool ended = false; !ended;) {
        std::uint32_t events = epoll.wait();
        for (;;) {
            ssize_t n = in.receive_some(8192);
            if (n < 0)
                CHECK_EQ(errno_text(errno), "EAGAIN");
            if (n == 0)
                ended = true;
            /* The end is announced by RDHUP, so with it one reads on to the zero. */
            if (n <= 0 || (n < 8192 && !(events & EPOLLRDHUP)))
                break;
        }
    }
    CHECK_EQ(in.position(), total);
    side.step("end");
}

TWO_SIDED(epoll_edge_for_room, kPair | kCold | kMapped)
void epoll_edge_for_room::client(Side& side) {
    Epoll epoll(side);
    epoll.add(side.sock.get(), EPOLLOUT | EPOLLET);
    CHECK_EQ(epoll.wait(), EPOLLOUT);
    StreamWriter out = side.out();
    for (int round = 0; round < 5; round++) {
        std::size_t sent = out.fill();
        for (int still = 0; still < 2; still++) {
            side.settle();
            sent += out.fill();
        }
        epoll.now(); /* edges of the filling itself */
        sent += out.fill();
        side.tell_number(static_cast<long long>(sent));
        CHECK_EQ(epoll.wait(), EPOLLOUT);
        CHECK(out.send_some(1, MSG_DONTWAIT) == 1);
        side.step("drained");
    }
}
void epoll_edge_for_room::server(Side& side) {
    StreamReader in = side.in();
    for (int round = 0; round < 5; round++) {
        in.receive(static_cast<std::size_t>(side.hear_number()));
        in.receive(1);
        side.step("drained");
    }
}

TWO_SIDED(epoll_edge_both_ways_at_once, kPair | kCold | kMapped)
void epoll_edge_both_ways_at_once::client(Side& side) {
    pump_both_ways(side, EPOLLET, 3 << 20);
}
void epoll_edge_both_ways_at_once::server(Side& side) {
    pump_both_ways(side, EPOLLET, 3 << 20);
}

TWO_SIDED(epoll_level_both_ways_at_once, kPair | kCold)
void epoll_level_both_ways_at_once::client(Side& side) {
    pump_both_ways(side, 0, 3 << 20);
}
void epoll_level_both_ways_at_once::server(Side& side) {
    pump_both_ways(side, 0, 3 << 20);
}
