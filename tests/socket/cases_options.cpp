/* SPDX-License-Identifier: GPL-2.0 */
/* cases_options.cpp - options that must not harm the stream. */
#include <netinet/tcp.h>
#include <poll.h>

#include "side.h"

using namespace xway::test;

namespace {

/* Both directions still carry what they are given. */
void exchange(StreamWriter& out, StreamReader& in) {
    out.send(20000);
    in.receive(20000);
}

} // namespace

TWO_SIDED(tls_ulp_does_no_harm, kPair | kCold)
void tls_ulp_does_no_harm::client(Side& side) {
    StreamWriter out = side.out();
    StreamReader in = side.in();
    exchange(out, in);
    int result = setsockopt(side.sock.get(), IPPROTO_TCP, TCP_ULP, "tls", 3);
    if (result < 0)
        CHECK(errno == ENOENT || errno == EEXIST || errno == EOPNOTSUPP || errno == EPERM ||
              errno == EBUSY);
    /* Without keys the stream is as before. */
    exchange(out, in);
    side.settle();
    exchange(out, in);
    SYS(shutdown(side.sock.get(), SHUT_WR));
    in.expect_end();
}
void tls_ulp_does_no_harm::server(Side& side) {
    StreamWriter out = side.out();
    StreamReader in = side.in();
    for (int i = 0; i < 3; i++)
        exchange(out, in);
    in.expect_end();
    SYS(shutdown(side.sock.get(), SHUT_WR));
}

TWO_SIDED(unknown_ulp_does_no_harm, kPair)
void unknown_ulp_does_no_harm::client(Side& side) {
    StreamWriter out = side.out();
    StreamReader in = side.in();
    CHECK(setsockopt(side.sock.get(), IPPROTO_TCP, TCP_ULP, "nosuch", 6) < 0);
    exchange(out, in);
}
void unknown_ulp_does_no_harm::server(Side& side) {
    unknown_ulp_does_no_harm::client(side);
}

namespace {

constexpr int kAhead = 3;

/* A peek begins where SO_PEEK_OFF says, unless the option is refused, as for TCP before Linux 6.9.
 */
void peek_ahead(StreamReader& in) {
    int ahead = kAhead;
    if (setsockopt(in.fd(), SOL_SOCKET, SO_PEEK_OFF, &ahead, sizeof(ahead)) < 0) {
        CHECK_EQ(errno, EOPNOTSUPP);
        return;
    }
    std::byte seen[100];
    ssize_t n = SYS(recv(in.fd(), seen, sizeof(seen), MSG_PEEK));
    CHECK(n > 0);
    in.compare({seen, static_cast<std::size_t>(n)}, kAhead);
    set_option(in.fd(), SOL_SOCKET, SO_PEEK_OFF, -1);
}

void peek_twice(Side& side) {
    StreamWriter out = side.out();
    StreamReader in = side.in();
    for (int i = 0; i < 2; i++) {
        exchange(out, in);
        side.settle();
        out.send(1000);
        peek_ahead(in);
        in.receive(1000);
    }
}

} // namespace

TWO_SIDED(peek_offset_set_early, 0)
void peek_offset_set_early::client(Side& side) {
    side.make_pair([](int fd) {
        int zero = 0;
        if (setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &zero, sizeof(zero)) < 0)
            CHECK_EQ(errno, EOPNOTSUPP);
    });
    peek_twice(side);
}
void peek_offset_set_early::server(Side& side) {
    peek_offset_set_early::client(side);
}

TWO_SIDED(peek_offset_set_late, kPair)
void peek_offset_set_late::client(Side& side) {
    peek_twice(side);
}
void peek_offset_set_late::server(Side& side) {
    peek_twice(side);
}

TWO_SIDED(keepalive, kPair)
void keepalive::client(Side& side) {
    int fd = side.sock.get();
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 9);
    CHECK_EQ(get_option(fd, IPPROTO_TCP, TCP_KEEPIDLE), 1);
    CHECK_EQ(get_option(fd, IPPROTO_TCP, TCP_KEEPINTVL), 1);
    CHECK_EQ(get_option(fd, IPPROTO_TCP, TCP_KEEPCNT), 9);
    sleep_ms(2500);
    CHECK_EQ(poll_now(fd, POLLIN | POLLRDHUP), 0);
    side.out().send(100);
    side.in().receive(100);
}
void keepalive::server(Side& side) {
    side.in().receive(100);
    side.out().send(100);
}

TWO_SIDED(small_buffers, 0)
void small_buffers::client(Side& side) {
    side.make_pair([](int fd) {
        set_option(fd, SOL_SOCKET, SO_SNDBUF, 4096);
        set_option(fd, SOL_SOCKET, SO_RCVBUF, 4096);
    });
    side.out().send(400000);
    side.in().receive(400000);
}
void small_buffers::server(Side& side) {
    side.make_pair([](int fd) {
        set_option(fd, SOL_SOCKET, SO_SNDBUF, 4096);
        set_option(fd, SOL_SOCKET, SO_RCVBUF, 4096);
    });
    side.in().receive(400000);
    side.out().send(400000);
}

TWO_SIDED(options_set_under_way, kPair | kCold)
void options_set_under_way::client(Side& side) {
    int fd = side.sock.get();
    StreamWriter out = side.out();
    StreamReader in = side.in();
    const struct {
        int level, name, value;
    } options[] = {
        {SOL_SOCKET, SO_SNDBUF, 200000},        {SOL_SOCKET, SO_RCVBUF, 200000},
        {IPPROTO_TCP, TCP_QUICKACK, 0},         {IPPROTO_TCP, TCP_USER_TIMEOUT, 60000},
        {IPPROTO_TCP, TCP_NOTSENT_LOWAT, 4096}, {SOL_SOCKET, SO_PRIORITY, 3},
        {IPPROTO_TCP, TCP_WINDOW_CLAMP, 30000}, {SOL_SOCKET, SO_TIMESTAMP, 1},
        {SOL_SOCKET, SO_RCVBUF, 2048},          {SOL_SOCKET, SO_SNDBUF, 2048},
    };
    for (const auto& option : options) {
        set_option(fd, option.level, option.name, option.value);
        exchange(out, in);
    }
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    char name[16];
    socklen_t length = sizeof name;
    SYS(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &length));
    exchange(out, in);
}
void options_set_under_way::server(Side& side) {
    StreamWriter out = side.out();
    StreamReader in = side.in();
    for (int i = 0; i < 11; i++)
        exchange(out, in);
}

TWO_SIDED(repair_on_and_off, kPair)
void repair_on_and_off::client(Side& side) {
    StreamWriter out = side.out();
    StreamReader in = side.in();
    exchange(out, in);
    side.step("quiet");
    int on = 1, off = 0;
    if (setsockopt(side.sock.get(), IPPROTO_TCP, TCP_REPAIR, &on, sizeof on) < 0) {
        CHECK(errno == EPERM || errno == EOPNOTSUPP || errno == EBUSY);
    } else {
        SYS(setsockopt(side.sock.get(), IPPROTO_TCP, TCP_REPAIR, &off, sizeof off));
    }
    side.step("repaired");
    exchange(out, in);
}
void repair_on_and_off::server(Side& side) {
    StreamWriter out = side.out();
    StreamReader in = side.in();
    exchange(out, in);
    side.step("quiet");
    side.step("repaired");
    exchange(out, in);
}
