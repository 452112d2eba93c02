/* SPDX-License-Identifier: GPL-2.0 */
/* cases_reset.cpp - shutdown in every order, resets of every kind, and what a socket does after. */
#include <netinet/tcp.h>
#include <poll.h>

#include <array>
#include <csignal>

#include "epoll.h"
#include "side.h"
#include "signals.h"

using namespace xway::test;

namespace {

constexpr short kAll = POLLIN | POLLOUT | POLLRDHUP;

/* Nothing works any more, and it says so again and again. */
void expect_dead(Side& side) {
    int fd = side.sock.get();
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(SYS(side.in().receive_some(10)), 0);
        CHECK_ERRNO(side.out().send_some(10), EPIPE);
        CHECK_EQ(get_option(fd, SOL_SOCKET, SO_ERROR), 0);
        CHECK_EQ(poll_now(fd, kAll), kAll | POLLHUP);
    }
    Address name;
    name.length = sizeof name.storage;
    CHECK_ERRNO(getpeername(fd, name.get(), &name.length), ENOTCONN);
    CHECK_ERRNO(shutdown(fd, SHUT_WR), ENOTCONN);
    CHECK_ERRNO(shutdown(fd, SHUT_RDWR), ENOTCONN);
    CHECK_ERRNO(send(fd, "", 0, MSG_NOSIGNAL), EPIPE);
    CHECK_EQ(waiting(fd), 0);
}

} // namespace

TWO_SIDED(after_a_reset_nothing_works, kPair | kCold | kMapped)
void after_a_reset_nothing_works::client(Side& side) {
    side.in().receive(10);
    close_hard(side.sock);
    side.step("reset");
}
void after_a_reset_nothing_works::server(Side& side) {
    int fd = side.sock.get();
    side.out().send(10);
    side.step("reset");
    side.await(fd, POLLHUP);
    CHECK_EQ(poll_now(fd, kAll), kAll | POLLHUP | POLLERR);
    CHECK_EQ(poll_now(fd, 0), POLLHUP | POLLERR);
    /* Whoever asks first is told. */
    CHECK_ERRNO(side.in().receive_some(10, MSG_PEEK), ECONNRESET);
    CHECK_EQ(SYS(side.in().receive_some(10, MSG_PEEK)), 0);
    expect_dead(side);
}

TWO_SIDED(data_for_who_has_closed, kPair | kCold | kMapped)
void data_for_who_has_closed::client(Side& side) {
    side.in().receive(10);
    side.sock.reset();
    side.step("closed");
}
void data_for_who_has_closed::server(Side& side) {
    int fd = side.sock.get();
    StreamWriter out = side.out();
    out.send(10);
    side.step("closed");
    side.await(fd, POLLRDHUP);
    Epoll edges(side);
    edges.add(fd, EPOLLIN | EPOLLRDHUP | EPOLLET);
    CHECK_EQ(edges.wait(), EPOLLIN | EPOLLRDHUP);
    edges.now(); /* a ring and TCP may both tell of one edge */
    /* What waits for more goes nowhere yet; what does not is answered with a reset. */
    const std::int64_t begun = now_ms();
    CHECK_EQ(SYS(out.send_some(5, MSG_MORE)), 5);
    CHECK_EQ(SYS(out.send_some(5, MSG_MORE)), 5);
    set_option(fd, IPPROTO_TCP, TCP_CORK, 1);
    CHECK_EQ(SYS(out.send_some(5)), 5);
    /* TCP waits for more for no longer than 200 ms. */
    if (now_ms() - begun < 150)
        CHECK_EQ(poll_now(fd, 0), 0);
    set_option(fd, IPPROTO_TCP, TCP_CORK, 0);
    side.await(fd, POLLHUP);
    CHECK_EQ(edges.wait(), EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR);
    CHECK_EQ(poll_now(fd, kAll), kAll | POLLHUP | POLLERR);
    CHECK_EQ(get_option(fd, SOL_SOCKET, SO_ERROR), EPIPE);
    expect_dead(side);
}

TWO_SIDED(shutdown_after_the_other_has_closed, kPair | kCold)
void shutdown_after_the_other_has_closed::client(Side& side) {
    side.out().send(10);
    side.sock.reset();
    side.step("closed");
}
void shutdown_after_the_other_has_closed::server(Side& side) {
    int fd = side.sock.get();
    side.step("closed");
    side.await(fd, POLLRDHUP);
    CHECK_EQ(poll_now(fd, kAll), kAll);
    SYS(shutdown(fd, SHUT_WR));
    CHECK_EQ(poll_now(fd, kAll), kAll | POLLHUP);
    CHECK_ERRNO(side.out().send_some(1), EPIPE);
    CHECK_EQ(side.in().receive_to_end(), 10u);
    CHECK_EQ(poll_now(fd, kAll), kAll | POLLHUP);
}

TWO_SIDED(what_came_before_a_reset_is_read, kPair | kCold)
void what_came_before_a_reset_is_read::client(Side& side) {
    side.out().send(5000);
    side.step("sent");
    side.step("counted");
    close_hard(side.sock);
    side.step("reset");
}
void what_came_before_a_reset_is_read::server(Side& side) {
    int fd = side.sock.get();
    StreamReader in = side.in();
    side.step("sent");
    side.await_true("all has come", [&] { return waiting(fd) == 5000; });
    side.step("counted");
    side.step("reset");
    side.await(fd, POLLHUP);
    in.receive(5000);
    CHECK_ERRNO(in.receive_some(10), ECONNRESET);
    expect_dead(side);
}

TWO_SIDED(reset_of_a_full_connection, kPair | kCold)
void reset_of_a_full_connection::client(Side& side) {
    StreamWriter out = side.out();
    out.fill();
    side.step("full");
    close_hard(side.sock);
    side.step("reset");
}
void reset_of_a_full_connection::server(Side& side) {
    StreamWriter out = side.out();
    out.fill();
    side.step("full");
    side.step("reset");
    /* Some of what had been sent may be lost: then the end is an error, never just an end. */
    CHECK_EQ(errno_text(side.in().receive_to_end_or_reset()), "ECONNRESET");
    CHECK_ERRNO(out.send_some(1), EPIPE);
    side.await(side.sock.get(), POLLHUP);
    expect_dead(side);
}

TWO_SIDED(edges_of_a_reset, kPair | kCold)
void edges_of_a_reset::client(Side& side) {
    side.step("watched");
    close_hard(side.sock);
    side.step("reset");
}
void edges_of_a_reset::server(Side& side) {
    int fd = side.sock.get();
    Epoll all(side), unasked(side);
    all.add(fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
    unasked.add(fd, EPOLLET);
    CHECK_EQ(all.wait(), EPOLLOUT);
    CHECK_EQ(unasked.now(), 0u);
    side.step("watched");
    std::uint32_t seen = 0;
    while (!(seen & EPOLLHUP))
        seen = all.wait();
    CHECK_EQ(seen, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLHUP | EPOLLERR);
    CHECK_EQ(unasked.wait(), EPOLLHUP | EPOLLERR);
    side.step("reset");
    CHECK_EQ(get_option(fd, SOL_SOCKET, SO_ERROR), ECONNRESET);
    expect_dead(side);
}

TWO_SIDED(sending_to_one_who_has_closed, kPair | kCold)
void sending_to_one_who_has_closed::client(Side& side) {
    side.out().send(10);
    side.sock.reset();
    side.step("closed");
}
void sending_to_one_who_has_closed::server(Side& side) {
    int fd = side.sock.get();
    StreamReader in = side.in();
    StreamWriter out = side.out();
    side.step("closed");
    in.receive(10);
    in.expect_end();
    count_signal(SIGPIPE, 0);
    /* Nobody there: the first bytes may still be taken, then it is a broken pipe, and no reset. */
    side.await_true("sending fails", [&] {
        auto bytes = out.next(10);
        ssize_t n = send(fd, bytes.data(), 10, 0);
        if (n < 0)
            CHECK_EQ(errno_text(errno), "EPIPE");
        return n < 0;
    });
    CHECK_EQ(signals_seen(), 1);
    CHECK_ERRNO(write(fd, "x", 1), EPIPE);
    CHECK_EQ(signals_seen(), 2);
    CHECK_ERRNO(out.send_some(1), EPIPE);
    CHECK_EQ(signals_seen(), 2);
    in.expect_end();
    in.expect_end();
}

TWO_SIDED(close_with_unread_data_after_shutdown, kPair | kCold)
void close_with_unread_data_after_shutdown::client(Side& side) {
    StreamReader in = side.in();
    side.out().send(1000);
    side.step("sent");
    in.receive(500);
    side.step("shut");
    side.step("closed");
    /* The end had been said before the reset: reading knows only of that, sending of both. */
    in.expect_end();
    side.await_true("sending fails", [&] {
        ssize_t n = side.out().send_some(1);
        if (n < 0)
            CHECK_EQ(errno_text(errno), "EPIPE");
        return n < 0;
    });
    in.expect_end();
}
void close_with_unread_data_after_shutdown::server(Side& side) {
    side.step("sent");
    side.out().send(500);
    side.await_true("all has come", [&] { return waiting(side.sock.get()) == 1000; });
    SYS(shutdown(side.sock.get(), SHUT_WR));
    side.step("shut");
    side.sock.reset();
    side.step("closed");
}

namespace {

struct Order {
    std::array<int, 3> how; /* -1: no more */
};
constexpr Order kOrders[] = {
    {{SHUT_RD, SHUT_WR, -1}},   {{SHUT_WR, SHUT_RD, -1}},   {{SHUT_RDWR, -1, -1}},
    {{SHUT_RD, SHUT_RDWR, -1}}, {{SHUT_WR, SHUT_RDWR, -1}}, {{SHUT_RD, SHUT_RD, SHUT_WR}},
};

} // namespace

TWO_SIDED(shutdown_in_every_order, kMapped)
void shutdown_in_every_order::client(Side& side) {
    auto port = side.hear_port();
    for (const Order& order : kOrders) {
        UniqueFd fd = side.connect(port);
        side.warm(fd.get());
        StreamWriter out = side.out(fd.get());
        bool reading = true, writing = true;
        for (int how : order.how) {
            if (writing)
                out.send(100);
            if (how < 0)
                break;
            SYS(shutdown(fd.get(), how));
            reading = reading && how == SHUT_WR;
            writing = writing && how == SHUT_RD;
            short wanted = POLLOUT;
            if (!reading)
                wanted |= POLLIN | POLLRDHUP;
            if (!reading && !writing)
                wanted |= POLLHUP;
            CHECK_EQ(poll_now(fd.get(), kAll), wanted);
            if (!reading)
                side.in(fd.get()).expect_end();
            if (!writing)
                CHECK_ERRNO(out.send_some(1), EPIPE);
        }
        side.tell_number(static_cast<long long>(out.position()));
        side.step("read");
    }
}
void shutdown_in_every_order::server(Side& side) {
    UniqueFd listener = side.listen_and_tell();
    for (std::size_t i = 0; i < std::size(kOrders); i++) {
        UniqueFd fd = side.accept(listener.get());
        side.warm(fd.get());
        StreamReader in = side.in(fd.get());
        in.receive_to_end();
        CHECK_EQ(side.hear_number(), static_cast<long long>(in.position()));
        CHECK_EQ(poll_now(fd.get(), kAll), POLLIN | POLLOUT | POLLRDHUP);
        side.step("read");
    }
}

TWO_SIDED(shutdown_of_reading_still_receives, kPair | kCold)
void shutdown_of_reading_still_receives::client(Side& side) {
    int fd = side.sock.get();
    StreamReader in = side.in();
    SYS(shutdown(fd, SHUT_RD));
    in.expect_end();
    side.step("shut");
    side.step("sent");
    /* Linux does not throw away what comes: it is read, and no read waits. */
    side.await_true("all has come", [&] { return waiting(fd) == 1000; });
    in.receive(1000);
    in.expect_end();
    CHECK_EQ(SYS(in.receive_some(10, MSG_DONTWAIT)), 0);
    CHECK_EQ(poll_now(fd, kAll), kAll);
    side.out().send(10);
    side.step("read");
}
void shutdown_of_reading_still_receives::server(Side& side) {
    side.step("shut");
    side.out().send(1000);
    side.step("sent");
    side.in().receive(10);
    side.step("read");
}

TWO_SIDED(shutdown_when_full, kPair | kCold)
void shutdown_when_full::client(Side& side) {
    StreamWriter out = side.out();
    std::size_t sent = out.fill();
    SYS(shutdown(side.sock.get(), SHUT_WR));
    CHECK_ERRNO(out.send_some(1, MSG_DONTWAIT), EPIPE);
    side.tell_number(static_cast<long long>(sent));
    side.in().receive(1);
    side.step("read");
}
void shutdown_when_full::server(Side& side) {
    StreamReader in = side.in();
    in.receive(static_cast<std::size_t>(side.hear_number()));
    in.expect_end();
    side.out().send(1);
    side.step("read");
}

TWO_SIDED(linger_gives_up, kPair | kCold)
void linger_gives_up::client(Side& side) {
    StreamWriter out = side.out();
    std::size_t sent = out.fill();
    side.tell_number(static_cast<long long>(sent));
    linger soft{1, 1};
    SYS(setsockopt(side.sock.get(), SOL_SOCKET, SO_LINGER, &soft, sizeof soft));
    set_nonblocking(side.sock.get());
    /* It waits its second, non-blocking or not. What is left then goes on by itself. */
    std::int64_t start = now_ms();
    side.sock.reset();
    CHECK(now_ms() - start >= 900);
    side.step("closed");
    side.step("read");
}
void linger_gives_up::server(Side& side) {
    auto sent = static_cast<std::size_t>(side.hear_number());
    side.step("closed");
    StreamReader in = side.in();
    in.receive(sent);
    in.expect_end();
    side.step("read");
}

TWO_SIDED(linger_with_nothing_to_wait_for, kPair | kCold)
void linger_with_nothing_to_wait_for::client(Side& side) {
    side.out().send(100);
    linger soft{1, side.patience_ms() / 1000 + 100};
    SYS(setsockopt(side.sock.get(), SOL_SOCKET, SO_LINGER, &soft, sizeof soft));
    linger said{};
    socklen_t length = sizeof said;
    SYS(getsockopt(side.sock.get(), SOL_SOCKET, SO_LINGER, &said, &length));
    CHECK_EQ(said.l_onoff, 1);
    CHECK_EQ(said.l_linger, soft.l_linger);
    side.step("read");
    side.step("ready");
    std::int64_t start = now_ms();
    side.sock.reset();
    CHECK(now_ms() - start <= side.patience_ms());
}
void linger_with_nothing_to_wait_for::server(Side& side) {
    StreamReader in = side.in();
    in.receive(100);
    side.step("read");
    side.step("ready");
    in.expect_end();
    side.sock.reset();
}
