/* SPDX-License-Identifier: GPL-2.0 */
/* cases_poll.cpp - poll and select: what is said to be ready is ready, and the other way round. */
#include <poll.h>
#include <sys/select.h>

#include <atomic>
#include <thread>
#include <vector>

#include "side.h"

using namespace xway::test;

TWO_SIDED(poll_follows_the_data, kPair | kCold | kMapped)
void poll_follows_the_data::client(Side& side) {
    int fd = side.sock.get();
    CHECK_EQ(poll_now(fd, POLLIN | POLLOUT | POLLPRI | POLLRDHUP), POLLOUT);
    side.step("idle");
    side.out().send(1000);
    side.step("sent");
    side.step("drained");
    SYS(shutdown(fd, SHUT_WR));
    CHECK_EQ(poll_now(fd, POLLIN | POLLRDHUP), 0);
    side.step("half closed");
    side.in().expect_end();
    side.await(fd, POLLHUP);
    CHECK_EQ(poll_now(fd, POLLIN | POLLRDHUP), POLLIN | POLLRDHUP | POLLHUP);
}
void poll_follows_the_data::server(Side& side) {
    int fd = side.sock.get();
    StreamReader in = side.in();
    side.step("idle");
    side.step("sent");
    CHECK_EQ(side.await(fd, POLLIN | POLLRDHUP | POLLPRI), POLLIN);
    CHECK_EQ(poll_now(fd, POLLIN | POLLRDNORM), POLLIN | POLLRDNORM);
    in.receive(999);
    CHECK_EQ(poll_now(fd, POLLIN), POLLIN);
    in.receive(1);
    CHECK_EQ(poll_now(fd, POLLIN), 0);
    side.step("drained");
    side.step("half closed");
    side.await(fd, POLLRDHUP);
    CHECK_EQ(poll_now(fd, POLLIN | POLLOUT | POLLRDHUP), POLLIN | POLLOUT | POLLRDHUP);
    in.expect_end();
    CHECK_EQ(poll_now(fd, POLLIN | POLLOUT | POLLRDHUP), POLLIN | POLLOUT | POLLRDHUP);
    SYS(shutdown(fd, SHUT_WR));
    side.await(fd, POLLHUP);
}

TWO_SIDED(poll_sleeps_until_data, kPair)
void poll_sleeps_until_data::client(Side& side) {
    StreamWriter out = side.out();
    for (int i = 0; i < 10; i++) {
        side.settle();
        out.send(1 + static_cast<std::size_t>(i));
        side.step("next");
    }
}
void poll_sleeps_until_data::server(Side& side) {
    StreamReader in = side.in();
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(side.await(side.sock.get(), POLLIN), POLLIN);
        in.receive(1 + static_cast<std::size_t>(i));
        CHECK_EQ(poll_now(side.sock.get(), POLLIN), 0);
        side.step("next");
    }
}

TWO_SIDED(poll_sleeps_until_room, kPair | kCold)
void poll_sleeps_until_room::client(Side& side) {
    StreamWriter out = side.out();
    set_nonblocking(side.sock.get());
    side.step("start");
    constexpr std::uint64_t kTotal = 6 << 20;
    while (out.position() < kTotal) {
        ssize_t n = out.send_some(std::min<std::uint64_t>(60000, kTotal - out.position()));
        if (n < 0) {
            CHECK_EQ(errno_text(errno), "EAGAIN");
            CHECK_EQ(side.await(side.sock.get(), POLLOUT), POLLOUT);
            /* POLLOUT is a promise. */
            CHECK(out.send_some(1) == 1);
        }
    }
    side.step("all sent");
}
void poll_sleeps_until_room::server(Side& side) {
    StreamReader in = side.in();
    side.step("start");
    side.settle(2);
    in.receive(6 << 20, 100000);
    side.step("all sent");
    CHECK_EQ(poll_now(side.sock.get(), POLLIN), 0);
}

TWO_SIDED(poll_times_out, kPair)
void poll_times_out::client(Side& side) {
    std::int64_t start = now_ms();
    CHECK_EQ(poll_now(side.sock.get(), POLLIN, 200), 0);
    CHECK(now_ms() - start >= 190);
    side.step("timed out");
    side.in().receive(10);
}
void poll_times_out::server(Side& side) {
    side.step("timed out");
    side.out().send(10);
}

TWO_SIDED(poll_sees_a_reset, kPair)
void poll_sees_a_reset::client(Side& side) {
    reset_at_close(side.sock.get());
    side.settle();
    side.sock.reset();
    side.step("reset");
}
void poll_sees_a_reset::server(Side& side) {
    int fd = side.sock.get();
    short events = side.await(fd, POLLIN);
    CHECK_EQ(events & (POLLERR | POLLHUP), POLLERR | POLLHUP);
    CHECK_EQ(errno_text(get_option(fd, SOL_SOCKET, SO_ERROR)), "ECONNRESET");
    CHECK_EQ(get_option(fd, SOL_SOCKET, SO_ERROR), 0);
    CHECK_EQ(poll_now(fd, POLLIN) & POLLHUP, POLLHUP);
    CHECK_EQ(SYS(side.in().receive_some(1)), 0);
    side.step("reset");
}

TWO_SIDED(select_follows_the_data, kPair | kCold)
void select_follows_the_data::client(Side& side) {
    side.settle();
    side.out().send(700);
    side.step("read");
    side.settle();
    SYS(shutdown(side.sock.get(), SHUT_WR));
}
void select_follows_the_data::server(Side& side) {
    int fd = side.sock.get();
    auto ready = [&](int ms) {
        fd_set read_set, write_set;
        FD_ZERO(&read_set);
        FD_ZERO(&write_set);
        FD_SET(fd, &read_set);
        timeval limit{ms / 1000, ms % 1000 * 1000};
        int n = SYS(select(fd + 1, &read_set, nullptr, nullptr, &limit));
        CHECK_EQ(n, FD_ISSET(fd, &read_set) ? 1 : 0);
        limit = {};
        FD_SET(fd, &write_set);
        CHECK_EQ(SYS(select(fd + 1, nullptr, &write_set, nullptr, &limit)), 1);
        return n == 1;
    };
    StreamReader in = side.in();
    CHECK(ready(side.patience_ms()));
    in.receive(700);
    CHECK(!ready(0));
    side.step("read");
    CHECK(ready(side.patience_ms()));
    in.expect_end();
    CHECK(ready(0));
}

TWO_SIDED(poll_many_threads, kPair)
void poll_many_threads::client(Side& side) {
    side.settle();
    side.out().send(100);
    side.step("all woken");
}
void poll_many_threads::server(Side& side) {
    std::atomic<int> woken = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; i++)
        threads.emplace_back([&] {
            if (poll_now(side.sock.get(), POLLIN, side.patience_ms()) == POLLIN)
                woken++;
        });
    for (std::thread& t : threads)
        t.join();
    CHECK_EQ(woken.load(), 4);
    side.in().receive(100);
    side.step("all woken");
}
