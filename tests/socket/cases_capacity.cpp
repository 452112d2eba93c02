/* SPDX-License-Identifier: GPL-2.0 */
/*
 * cases_capacity.cpp - a connection holds what its buffers promise, before anybody reads: programs
 * that look at much before they take any, or write before they read, do not wait for ever.
 */
#include <poll.h>

#include <vector>

#include "epoll.h"
#include "side.h"

using namespace xway::test;

namespace {

/* More than a ring of the usual size. Both buffers have room for it twice, as the kernel counts. */
constexpr std::size_t kMuch = 150 * 1000;

/* A connection with buffers for kMuch each way. The sizes are set before the handshake, which
 * settles the scale of the window. */
void make_roomy_pair(Side& side) {
    side.make_pair([](int fd) {
        set_option(fd, SOL_SOCKET, SO_RCVBUF, 200 * 1000);
        set_option(fd, SOL_SOCKET, SO_SNDBUF, 200 * 1000);
    });
    if (get_option(side.sock.get(), SOL_SOCKET, SO_RCVBUF) < 2 * static_cast<int>(kMuch))
        throw Skip("net.core.rmem_max is too small");
}

} // namespace

TWO_SIDED(low_water_mark_above_a_ring, kCold)
void low_water_mark_above_a_ring::client(Side& side) {
    make_roomy_pair(side);
    side.step("the mark is set");
    side.out().send(kMuch);
    side.step("read");
}
void low_water_mark_above_a_ring::server(Side& side) {
    make_roomy_pair(side);
    int fd = side.sock.get();
    set_option(fd, SOL_SOCKET, SO_RCVLOWAT, kMuch);
    side.step("the mark is set");
    CHECK_EQ(side.await(fd, POLLIN), POLLIN);
    CHECK_EQ(waiting(fd), static_cast<int>(kMuch));
    StreamReader in = side.in();
    CHECK_EQ(in.receive_some(2 * kMuch), static_cast<ssize_t>(kMuch));
    side.step("read");
}

TWO_SIDED(peek_waits_for_more_than_a_ring, kCold)
void peek_waits_for_more_than_a_ring::client(Side& side) {
    make_roomy_pair(side);
    side.out().send(kMuch);
    side.step("read");
}
void peek_waits_for_more_than_a_ring::server(Side& side) {
    make_roomy_pair(side);
    std::vector<std::byte> bytes(kMuch);
    CHECK_EQ(recv(side.sock.get(), bytes.data(), bytes.size(), MSG_PEEK | MSG_WAITALL),
             static_cast<ssize_t>(kMuch));
    StreamReader in = side.in();
    in.compare(bytes);
    in.receive(kMuch);
    side.step("read");
}

TWO_SIDED(both_write_before_they_read, kCold)
void both_write_before_they_read::client(Side& side) {
    make_roomy_pair(side);
    StreamWriter out = side.out();
    StreamReader in = side.in();
    for (int round = 0; round < 2; round++) {
        out.send(kMuch);
        side.step("both have written");
        side.await_true("all has come",
                        [&] { return waiting(side.sock.get()) == static_cast<int>(kMuch); });
        in.receive(kMuch);
        side.step("both have read");
    }
}
void both_write_before_they_read::server(Side& side) {
    client(side);
}

TWO_SIDED(a_poller_writes_before_its_peer_reads, kCold)
void a_poller_writes_before_its_peer_reads::client(Side& side) {
    make_roomy_pair(side);
    StreamWriter out = side.out();
    set_nonblocking(side.sock.get());
    for (std::size_t left = kMuch; left > 0;) {
        side.await(side.sock.get(), POLLOUT);
        ssize_t n = out.send_some(left);
        if (n < 0)
            CHECK_EQ(errno, EAGAIN);
        else
            left -= static_cast<std::size_t>(n);
    }
    side.step("written");
}
void a_poller_writes_before_its_peer_reads::server(Side& side) {
    make_roomy_pair(side);
    side.step("written");
    side.in().receive(kMuch);
}

TWO_SIDED(edges_for_room_before_the_peer_reads, kCold)
void edges_for_room_before_the_peer_reads::client(Side& side) {
    make_roomy_pair(side);
    StreamWriter out = side.out();
    set_nonblocking(side.sock.get());
    Epoll epoll(side);
    epoll.add(side.sock.get(), EPOLLOUT | EPOLLET);
    for (std::size_t left = kMuch; left > 0;) {
        epoll.wait();
        while (left > 0) {
            ssize_t n = out.send_some(left);
            if (n < 0) {
                CHECK_EQ(errno, EAGAIN);
                break;
            }
            left -= static_cast<std::size_t>(n);
        }
    }
    side.step("written");
}
void edges_for_room_before_the_peer_reads::server(Side& side) {
    make_roomy_pair(side);
    side.step("written");
    side.in().receive(kMuch);
}
