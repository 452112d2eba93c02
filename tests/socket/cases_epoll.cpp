/* SPDX-License-Identifier: GPL-2.0 */
/* cases_epoll.cpp - epoll: levels, edges, one shot, nesting. */
#include "epoll.h"

#include <poll.h>

#include <thread>

#include "side.h"

using namespace xway::test;

TWO_SIDED(epoll_level, kPair | kCold | kMapped)
void epoll_level::client(Side& side) {
    StreamWriter out = side.out();
    for (int i = 0; i < 5; i++) {
        out.send(1000);
        side.step("read");
    }
}
void epoll_level::server(Side& side) {
    Epoll epoll(side);
    epoll.add(side.sock.get(), EPOLLIN);
    StreamReader in = side.in();
    for (int i = 0; i < 5; i++) {
        std::size_t left = 1000;
        while (left > 0) {
            CHECK_EQ(epoll.wait(), EPOLLIN);
            std::size_t take = std::min<std::size_t>(left, 333);
            in.receive(take);
            left -= take;
        }
        CHECK_EQ(epoll.now(), 0u);
        side.step("read");
    }
}

TWO_SIDED(epoll_added_after_the_data, kPair | kCold)
void epoll_added_after_the_data::client(Side& side) {
    side.out().send(100);
    side.step("sent");
    side.step("seen");
}
void epoll_added_after_the_data::server(Side& side) {
    side.step("sent");
    side.await(side.sock.get(), POLLIN);
    for (std::uint32_t edge : {0u, static_cast<std::uint32_t>(EPOLLET)}) {
        Epoll epoll(side);
        epoll.add(side.sock.get(), EPOLLIN | EPOLLOUT | edge);
        CHECK_EQ(epoll.wait(), EPOLLIN | EPOLLOUT);
    }
    side.in().receive(100);
    side.step("seen");
}

TWO_SIDED(epoll_one_shot, kPair)
void epoll_one_shot::client(Side& side) {
    StreamWriter out = side.out();
    out.send(100);
    side.step("first");
    out.send(100);
    side.step("second");
    side.step("rearmed");
}
void epoll_one_shot::server(Side& side) {
    Epoll epoll(side);
    int fd = side.sock.get();
    epoll.add(fd, EPOLLIN | EPOLLONESHOT);
    CHECK_EQ(epoll.wait(), EPOLLIN);
    side.step("first");
    side.step("second");
    side.settle();
    CHECK_EQ(epoll.now(), 0u);
    epoll.modify(fd, EPOLLIN | EPOLLONESHOT);
    CHECK_EQ(epoll.wait(), EPOLLIN);
    side.in().receive(200);
    epoll.modify(fd, EPOLLIN | EPOLLONESHOT);
    CHECK_EQ(epoll.now(), 0u);
    side.step("rearmed");
}

TWO_SIDED(epoll_sees_a_half_close, kPair | kCold)
void epoll_sees_a_half_close::client(Side& side) {
    side.out().send(5000);
    SYS(shutdown(side.sock.get(), SHUT_WR));
    side.in().receive(10);
}
void epoll_sees_a_half_close::server(Side& side) {
    Epoll epoll(side);
    epoll.add(side.sock.get(), EPOLLRDHUP);
    /* The end is announced before the bytes in front of it are read. */
    CHECK_EQ(epoll.wait(), EPOLLRDHUP);
    StreamReader in = side.in();
    in.receive(5000);
    in.expect_end();
    CHECK_EQ(epoll.now(), EPOLLRDHUP);
    side.out().send(10);
}

TWO_SIDED(epoll_sees_a_full_close, kPair)
void epoll_sees_a_full_close::client(Side& side) {
    SYS(shutdown(side.sock.get(), SHUT_WR));
    side.in().expect_end();
}
void epoll_sees_a_full_close::server(Side& side) {
    Epoll epoll(side);
    epoll.add(side.sock.get(), EPOLLET);
    side.in().expect_end();
    SYS(shutdown(side.sock.get(), SHUT_WR));
    /* EPOLLHUP comes unasked. */
    CHECK_EQ(epoll.wait(), EPOLLHUP);
}

TWO_SIDED(epoll_nested, kPair)
void epoll_nested::client(Side& side) {
    StreamWriter out = side.out();
    for (int i = 0; i < 5; i++) {
        side.settle();
        out.send(100);
        side.step("read");
    }
}
void epoll_nested::server(Side& side) {
    Epoll outer(side), inner(side);
    inner.add(side.sock.get(), EPOLLIN | EPOLLET);
    outer.add(inner.fd(), EPOLLIN);
    StreamReader in = side.in();
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(outer.wait(), EPOLLIN);
        CHECK_EQ(inner.wait(), EPOLLIN);
        in.receive(100);
        inner.now(); /* more pieces than one may each have been an edge */
        CHECK_EQ(outer.now(), 0u);
        side.step("read");
    }
}

TWO_SIDED(epoll_exclusive, kPair)
void epoll_exclusive::client(Side& side) {
    side.settle();
    side.out().send(100);
    side.step("read");
}
void epoll_exclusive::server(Side& side) {
    Epoll one(side), two(side);
    one.add(side.sock.get(), EPOLLIN | EPOLLEXCLUSIVE);
    two.add(side.sock.get(), EPOLLIN | EPOLLEXCLUSIVE);
    side.await_true("one of them is told",
                    [&] { return one.now() == EPOLLIN || two.now() == EPOLLIN; });
    side.in().receive(100);
    CHECK_EQ(one.now(), 0u);
    CHECK_EQ(two.now(), 0u);
    side.step("read");
}

TWO_SIDED(epoll_added_before_connect, 0)
void epoll_added_before_connect::client(Side& side) {
    UniqueFd fd = side.socket(SOCK_NONBLOCK);
    Epoll epoll(side);
    epoll.add(fd.get(), EPOLLIN | EPOLLOUT | EPOLLET);
    /* An unconnected socket is writable and hung up; what counts comes later. */
    CHECK_EQ(epoll.wait(), EPOLLOUT | EPOLLHUP);
    Address to = side.peer(side.hear_port());
    if (::connect(fd.get(), to.get(), to.length) < 0)
        CHECK_EQ(errno_text(errno), "EINPROGRESS");
    while (epoll.wait() != EPOLLOUT) {
    }
    side.step("connected");
    CHECK_EQ(epoll.wait() & EPOLLIN, EPOLLIN);
    CHECK_EQ(side.in(fd.get()).receive_some(100), 100);
    side.step("read");
}
void epoll_added_before_connect::server(Side& side) {
    UniqueFd listener = side.listen_and_tell();
    UniqueFd fd = side.accept(listener.get());
    side.step("connected");
    side.out(fd.get()).send(100);
    side.step("read");
}

TWO_SIDED(epoll_wait_is_woken_in_a_thread, kPair)
void epoll_wait_is_woken_in_a_thread::client(Side& side) {
    StreamWriter out = side.out();
    StreamReader in = side.in();
    for (int i = 0; i < 50; i++) {
        out.send(64);
        in.receive(64);
    }
}
void epoll_wait_is_woken_in_a_thread::server(Side& side) {
    Epoll epoll(side);
    epoll.add(side.sock.get(), EPOLLIN | EPOLLET);
    std::string failure;
    std::thread worker([&] {
        try {
            StreamReader in = side.in();
            StreamWriter out = side.out();
            set_nonblocking(side.sock.get());
            while (in.position() < 50 * 64) {
                CHECK_EQ(epoll.wait(), EPOLLIN);
                for (ssize_t n; (n = in.receive_some(64)) > 0;)
                    out.send(static_cast<std::size_t>(n));
            }
        } catch (const Failure& e) {
            failure = e.what();
        }
    });
    worker.join();
    if (!failure.empty())
        throw Failure(failure);
}
