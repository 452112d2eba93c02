/* SPDX-License-Identifier: GPL-2.0 */
/* cases_info.cpp - what TCP_INFO and the ioctls count: all bytes, whichever way they went. */
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <sys/ioctl.h>

#include <cstring>

#include "side.h"

using namespace xway::test;

namespace {

tcp_info info_of(int fd) {
    tcp_info info{};
    socklen_t length = sizeof info;
    SYS(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length));
    return info;
}

std::uint64_t sent(const tcp_info& info) {
    return info.tcpi_bytes_sent - info.tcpi_bytes_retrans;
}

std::uint64_t number_of(int fd, unsigned long request) {
    int n = -1;
    SYS(ioctl(fd, request, &n));
    CHECK(n >= 0);
    return static_cast<std::uint64_t>(n);
}

/* The end that has connected counts its SYN among bytes_acked. */
std::uint64_t acked(const Side& side) {
    return info_of(side.sock.get()).tcpi_bytes_acked - (side.connector ? 1 : 0);
}

/* The warm-up's bytes, the same in both directions, and the first that a connection has carried. */
std::uint64_t warmed(const Side& side) {
    return side.variant.cold ? 0 : 96;
}

} // namespace

TWO_SIDED(info_counts_every_byte, kPair | kCold | kMapped)
void info_counts_every_byte::client(Side& side) {
    int fd = side.sock.get();
    std::uint64_t total = warmed(side);
    for (std::size_t n : {1u, 3000u, 100000u}) {
        side.out().send(n);
        side.in().receive(n);
        total += n;
        side.await_true("all is acknowledged", [&] { return acked(side) == total; });
        CHECK_EQ(sent(info_of(fd)), total);
        CHECK_EQ(info_of(fd).tcpi_bytes_received, total);
        CHECK_EQ(number_of(fd, SIOCOUTQ), 0u);
    }
    side.step("counted");
}
void info_counts_every_byte::server(Side& side) {
    int fd = side.sock.get();
    std::uint64_t total = warmed(side);
    for (std::size_t n : {1u, 3000u, 100000u}) {
        side.in().receive(n);
        total += n;
        CHECK_EQ(info_of(fd).tcpi_bytes_received, total);
        side.out().send(n);
        side.await_true("all is acknowledged", [&] { return acked(side) == total; });
        CHECK_EQ(sent(info_of(fd)), total);
    }
    side.step("counted");
}

/* What has come counts as received before the program takes it, and only once. */
TWO_SIDED(info_counts_what_waits, kPair)
void info_counts_what_waits::client(Side& side) {
    side.out().send(5000);
    side.step("waits");
    side.step("taken");
    side.in().receive(10);
}
void info_counts_what_waits::server(Side& side) {
    int fd = side.sock.get();
    const std::uint64_t total = warmed(side) + 5000;
    side.await_true("it has come", [&] { return info_of(fd).tcpi_bytes_received == total; });
    side.step("waits");
    StreamReader in = side.in();
    in.receive(2000);
    CHECK_EQ(info_of(fd).tcpi_bytes_received, total);
    in.receive(3000);
    CHECK_EQ(info_of(fd).tcpi_bytes_received, total);
    side.step("taken");
    side.out().send(10);
}

/* A byte is unsent, or sent and unacknowledged, or acknowledged: the ioctls and TCP_INFO agree. */
TWO_SIDED(info_agrees_with_ioctls, kPair)
void info_agrees_with_ioctls::client(Side& side) {
    int fd = side.sock.get();
    StreamWriter out = side.out();
    side.step("nobody reads");
    CHECK(out.fill() > 0);
    const std::uint64_t total = warmed(side) + out.position();
    side.await_true("what is not acknowledged is in SIOCOUTQ",
                    [&] { return acked(side) + number_of(fd, SIOCOUTQ) == total; });
    side.await_true("what is not sent is in SIOCOUTQNSD",
                    [&] { return sent(info_of(fd)) + number_of(fd, SIOCOUTQNSD) == total; });
    CHECK_EQ(info_of(fd).tcpi_notsent_bytes, number_of(fd, SIOCOUTQNSD));
    CHECK(number_of(fd, SIOCOUTQNSD) <= number_of(fd, SIOCOUTQ));
    side.step("full");
    side.tell_number(static_cast<long long>(out.position()));
    side.await_true("all is acknowledged", [&] { return acked(side) == total; });
    CHECK_EQ(number_of(fd, SIOCOUTQ), 0u);
    CHECK_EQ(number_of(fd, SIOCOUTQNSD), 0u);
    CHECK_EQ(sent(info_of(fd)), total);
    side.step("empty");
}
void info_agrees_with_ioctls::server(Side& side) {
    side.step("nobody reads");
    side.step("full");
    side.in().receive(static_cast<std::size_t>(side.hear_number()));
    side.step("empty");
}

/* A program of an older kernel's headers asks for less, and gets no more. */
TWO_SIDED(info_of_any_length, kPair)
void info_of_any_length::client(Side& side) {
    int fd = side.sock.get();
    side.out().send(700);
    side.in().receive(700);
    tcp_info whole = info_of(fd);
    for (socklen_t length : {0u, 1u, 8u, 104u, 124u, 128u}) {
        tcp_info info{};
        memset(&info, 0x5a, sizeof info);
        socklen_t given = length;
        SYS(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &given));
        CHECK_EQ(given, length);
        for (std::size_t i = length; i < sizeof info; i++)
            CHECK(reinterpret_cast<const char*>(&info)[i] == 0x5a);
        if (length >= 1)
            CHECK_EQ(int{info.tcpi_state}, int{whole.tcpi_state});
    }
    socklen_t length = sizeof whole;
    CHECK_ERRNO(getsockopt(fd, IPPROTO_TCP, TCP_INFO, nullptr, &length), EFAULT);
    CHECK_ERRNO(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &whole, nullptr), EFAULT);
    side.step("asked");
}
void info_of_any_length::server(Side& side) {
    side.in().receive(700);
    side.out().send(700);
    side.step("asked");
}
