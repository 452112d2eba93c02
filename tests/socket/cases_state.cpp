/* SPDX-License-Identifier: GPL-2.0 */
/* cases_state.cpp - what a socket says about itself. */
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>

#include <cstring>
#include <vector>

#include "side.h"

using namespace xway::test;

namespace {

int unsent(int fd) {
    int n = -1;
    SYS(ioctl(fd, SIOCOUTQ, &n));
    return n;
}

int tcp_state(int fd) {
    tcp_info info{};
    socklen_t length = sizeof info;
    SYS(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length));
    return info.tcpi_state;
}

} // namespace

TWO_SIDED(fionread_counts, kPair | kCold | kMapped)
void fionread_counts::client(Side& side) {
    StreamWriter out = side.out();
    CHECK_EQ(waiting(side.sock.get()), 0);
    for (std::size_t n : {1u, 999u, 4000u}) {
        out.send(n);
        side.step("counted");
    }
    SYS(shutdown(side.sock.get(), SHUT_WR));
    side.in().receive(1);
}
void fionread_counts::server(Side& side) {
    int fd = side.sock.get();
    StreamReader in = side.in();
    int total = 0;
    for (int n : {1, 999, 4000}) {
        total += n;
        side.await_true("all is counted", [&] {
            CHECK(waiting(fd) <= total);
            return waiting(fd) == total;
        });
        side.step("counted");
    }
    in.receive_some(100, MSG_PEEK);
    CHECK_EQ(waiting(fd), 5000);
    in.receive(1500);
    CHECK_EQ(waiting(fd), 3500);
    side.await(fd, POLLRDHUP);
    CHECK_EQ(waiting(fd), 3500);
    in.receive(3500);
    CHECK_EQ(waiting(fd), 0);
    in.expect_end();
    CHECK_EQ(waiting(fd), 0);
    side.out().send(1);
}

TWO_SIDED(outq_empties, kPair | kCold | kMapped)
void outq_empties::client(Side& side) {
    int fd = side.sock.get();
    StreamWriter out = side.out();
    for (int round = 0; round < 3; round++) {
        side.await_true("all is acknowledged", [&] { return unsent(fd) == 0; });
        std::size_t sent = out.fill();
        int left = unsent(fd);
        CHECK(left > 0 && static_cast<std::size_t>(left) <= sent);
        side.tell_number(static_cast<long long>(sent));
        side.step("read");
        side.await_true("nothing is unsent", [&] { return unsent(fd) == 0; });
    }
}
void outq_empties::server(Side& side) {
    StreamReader in = side.in();
    for (int round = 0; round < 3; round++) {
        in.receive(static_cast<std::size_t>(side.hear_number()));
        side.step("read");
    }
}

TWO_SIDED(low_water_mark, kPair | kCold)
void low_water_mark::client(Side& side) {
    StreamWriter out = side.out();
    out.send(99);
    side.step("quiet");
    out.send(1);
    side.step("awake");
    side.settle(2);
    out.send(50);
    side.settle(2);
    out.send(150);
    side.step("read");
    out.send(10);
    SYS(shutdown(side.sock.get(), SHUT_WR));
}
void low_water_mark::server(Side& side) {
    int fd = side.sock.get();
    StreamReader in = side.in();
    set_option(fd, SOL_SOCKET, SO_RCVLOWAT, 100);
    CHECK_EQ(get_option(fd, SOL_SOCKET, SO_RCVLOWAT), 100);
    side.await_true("99 bytes", [&] { return waiting(fd) == 99; });
    CHECK_EQ(poll_now(fd, POLLIN, 50), 0);
    side.step("quiet");
    CHECK_EQ(side.await(fd, POLLIN), POLLIN);
    in.receive(100);
    side.step("awake");
    /* A receive waits for the mark too. */
    ssize_t n = SYS(in.receive_some(200));
    CHECK(n >= 100);
    in.receive(200 - static_cast<std::size_t>(n));
    side.step("read");
    /* Below the mark the end still wakes. */
    side.await(fd, POLLIN);
    side.await(fd, POLLRDHUP);
    in.receive(10);
    in.expect_end();
}

TWO_SIDED(names_agree, kPair | kCold | kMapped)
void names_agree::client(Side& side) {
    std::string mine = local_address(side.sock.get()).text();
    std::string theirs = peer_address(side.sock.get()).text();
    side.tell(mine + "," + theirs);
}
void names_agree::server(Side& side) {
    std::string mine = local_address(side.sock.get()).text();
    std::string theirs = peer_address(side.sock.get()).text();
    CHECK_EQ(side.hear(), theirs + "," + mine);
    CHECK_EQ(get_option(side.sock.get(), SOL_SOCKET, SO_TYPE), static_cast<int>(SOCK_STREAM));
    CHECK_EQ(get_option(side.sock.get(), SOL_SOCKET, SO_PROTOCOL), static_cast<int>(IPPROTO_TCP));
    CHECK_EQ(get_option(side.sock.get(), SOL_SOCKET, SO_DOMAIN), side.family());
}

TWO_SIDED(tcp_info_knows_the_state, kPair | kCold)
void tcp_info_knows_the_state::client(Side& side) {
    int fd = side.sock.get();
    CHECK_EQ(tcp_state(fd), static_cast<int>(TCP_ESTABLISHED));
    side.out().send(1000);
    side.step("open");
    SYS(shutdown(fd, SHUT_WR));
    side.await_true("FIN_WAIT2", [&] { return tcp_state(fd) == TCP_FIN_WAIT2; });
    side.step("half closed");
    side.in().expect_end();
}
void tcp_info_knows_the_state::server(Side& side) {
    int fd = side.sock.get();
    CHECK_EQ(tcp_state(fd), static_cast<int>(TCP_ESTABLISHED));
    side.step("open");
    side.step("half closed");
    CHECK_EQ(tcp_state(fd), static_cast<int>(TCP_CLOSE_WAIT));
    side.in().receive(1000);
    SYS(shutdown(fd, SHUT_WR));
    side.await_true("CLOSE", [&] { return tcp_state(fd) == TCP_CLOSE; });
}

TWO_SIDED(error_is_told_once, kPair)
void error_is_told_once::client(Side& side) {
    CHECK_EQ(get_option(side.sock.get(), SOL_SOCKET, SO_ERROR), 0);
    close_hard(side.sock);
    side.step("reset");
}
void error_is_told_once::server(Side& side) {
    int fd = side.sock.get();
    side.step("reset");
    side.await(fd, POLLIN);
    CHECK_ERRNO(side.out().send_some(10), ECONNRESET);
    CHECK_EQ(get_option(fd, SOL_SOCKET, SO_ERROR), 0);
    CHECK_ERRNO(side.out().send_some(10), EPIPE);
    CHECK_EQ(SYS(side.in().receive_some(10)), 0);
}

TWO_SIDED(inq_message, kPair | kCold)
void inq_message::client(Side& side) {
    side.out().send(5000);
    side.step("sent");
    side.in().receive(1);
}
void inq_message::server(Side& side) {
    int fd = side.sock.get();
    set_option(fd, IPPROTO_TCP, TCP_INQ, 1);
    side.step("sent");
    side.await_true("all has come", [&] { return waiting(fd) == 5000; });
    StreamReader in = side.in();
    for (int left : {3000, 0}) {
        std::vector<std::byte> bytes(static_cast<std::size_t>(left ? 2000 : 3000));
        iovec piece{bytes.data(), bytes.size()};
        char control[64];
        msghdr m{};
        m.msg_iov = &piece;
        m.msg_iovlen = 1;
        m.msg_control = control;
        m.msg_controllen = sizeof control;
        CHECK_EQ(SYS(recvmsg(fd, &m, 0)), static_cast<ssize_t>(bytes.size()));
        in.accept(bytes);
        cmsghdr* header = CMSG_FIRSTHDR(&m);
        CHECK(header && header->cmsg_level == IPPROTO_TCP && header->cmsg_type == TCP_CM_INQ);
        int said;
        std::memcpy(&said, CMSG_DATA(header), sizeof said);
        CHECK_EQ(said, left);
    }
    side.out().send(1);
}
