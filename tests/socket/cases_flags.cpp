/* SPDX-License-Identifier: GPL-2.0 */
/* cases_flags.cpp - the flags of send and recv. */
#include <netinet/tcp.h>
#include <poll.h>

#include <thread>

#include "side.h"
#include "signals.h"

using namespace xway::test;

TWO_SIDED(peek_then_read, kPair | kCold | kMapped)
void peek_then_read::client(Side& side) {
    StreamWriter out = side.out();
    for (std::size_t n : {1u, 100u, 4096u, 20000u}) {
        out.send(n);
        side.step("sent");
        side.step("read");
    }
}
void peek_then_read::server(Side& side) {
    StreamReader in = side.in();
    for (std::size_t n : {1u, 100u, 4096u, 20000u}) {
        side.step("sent");
        side.await(side.sock.get(), POLLIN);
        CHECK_EQ(SYS(in.receive_some(1, MSG_PEEK)), 1);
        /* What peek has shown, read gives: no less of it and nothing else. */
        ssize_t peeked = SYS(in.receive_some(n, MSG_PEEK));
        CHECK(peeked >= 1);
        CHECK(SYS(in.receive_some(n, MSG_PEEK)) >= peeked);
        std::uint64_t before = in.position();
        CHECK(SYS(in.receive_some(n)) >= peeked);
        in.receive(n - (in.position() - before));
        CHECK_ERRNO(in.receive_some(1, MSG_PEEK | MSG_DONTWAIT), EAGAIN);
        side.step("read");
    }
}

TWO_SIDED(peek_more_than_there_is, kPair | kCold)
void peek_more_than_there_is::client(Side& side) {
    StreamWriter out = side.out();
    out.send(300);
    side.step("first peeked");
    out.send(700);
    side.step("second peeked");
    SYS(shutdown(side.sock.get(), SHUT_WR));
    side.step("end");
}
void peek_more_than_there_is::server(Side& side) {
    StreamReader in = side.in();
    auto peeks = [&](ssize_t n) {
        side.await_true("all can be peeked",
                        [&] { return SYS(in.receive_some(9000, MSG_PEEK)) == n; });
    };
    peeks(300);
    side.step("first peeked");
    peeks(1000);
    in.receive(10);
    peeks(990);
    side.step("second peeked");
    side.step("end");
    side.await(side.sock.get(), POLLRDHUP);
    peeks(990);
    in.receive(990);
    CHECK_EQ(SYS(in.receive_some(1, MSG_PEEK)), 0);
    in.expect_end();
}

TWO_SIDED(peek_waits_for_all, kPair)
void peek_waits_for_all::client(Side& side) {
    StreamWriter out = side.out();
    for (int i = 0; i < 4; i++) {
        out.send(250);
        side.settle();
    }
    side.in().receive(1);
}
void peek_waits_for_all::server(Side& side) {
    StreamReader in = side.in();
    CHECK_EQ(SYS(in.receive_some(1000, MSG_PEEK | MSG_WAITALL)), 1000);
    CHECK_EQ(SYS(in.receive_some(1000, MSG_WAITALL)), 1000);
    side.out().send(1);
}

TWO_SIDED(waitall_waits, kPair | kCold)
void waitall_waits::client(Side& side) {
    StreamWriter out = side.out();
    for (int i = 0; i < 5; i++) {
        out.send(4000);
        side.settle();
    }
    side.in().receive(1);
}
void waitall_waits::server(Side& side) {
    StreamReader in = side.in();
    CHECK_EQ(SYS(in.receive_some(20000, MSG_WAITALL)), 20000);
    side.out().send(1);
}

TWO_SIDED(waitall_larger_than_any_buffer, kPair)
void waitall_larger_than_any_buffer::client(Side& side) {
    side.out().send(3 << 20);
    side.in().receive(1);
}
void waitall_larger_than_any_buffer::server(Side& side) {
    CHECK_EQ(SYS(side.in().receive_some(3 << 20, MSG_WAITALL)), 3 << 20);
    side.out().send(1);
}

TWO_SIDED(waitall_ends_at_end_of_file, kPair | kCold)
void waitall_ends_at_end_of_file::client(Side& side) {
    side.out().send(1234);
    side.settle();
    SYS(shutdown(side.sock.get(), SHUT_WR));
    side.in().receive(1);
}
void waitall_ends_at_end_of_file::server(Side& side) {
    StreamReader in = side.in();
    CHECK_EQ(SYS(in.receive_some(5000, MSG_WAITALL)), 1234);
    in.expect_end();
    side.out().send(1);
}

TWO_SIDED(waitall_ends_at_a_signal, kPair)
void waitall_ends_at_a_signal::client(Side& side) {
    side.out().send(1234);
    side.step("interrupted");
    side.in().receive(1);
}
void waitall_ends_at_a_signal::server(Side& side) {
    StreamReader in = side.in();
    {
        SignalStorm storm(SIGUSR1, 0);
        /* Signals come before the bytes too: only a partial result ends this. */
        ssize_t n = 0;
        side.await_true("a partial result", [&] {
            n = in.receive_some(5000, MSG_WAITALL);
            if (n < 0)
                CHECK_EQ(errno_text(errno), "EINTR");
            return n > 0;
        });
        CHECK_EQ(n, 1234);
    }
    side.step("interrupted");
    side.out().send(1);
}

TWO_SIDED(waitall_with_dontwait_takes_what_is_there, kPair)
void waitall_with_dontwait_takes_what_is_there::client(Side& side) {
    side.step("nothing there");
    side.out().send(500);
    side.step("read");
}
void waitall_with_dontwait_takes_what_is_there::server(Side& side) {
    StreamReader in = side.in();
    CHECK_ERRNO(in.receive_some(100, MSG_WAITALL | MSG_DONTWAIT), EAGAIN);
    side.step("nothing there");
    side.await(side.sock.get(), POLLIN);
    while (in.position() < 500) {
        ssize_t n = in.receive_some(9000, MSG_WAITALL | MSG_DONTWAIT);
        CHECK(n > 0 || errno == EAGAIN);
    }
    side.step("read");
}

TWO_SIDED(fill_until_eagain_then_drain, kPair | kCold | kMapped)
void fill_until_eagain_then_drain::client(Side& side) {
    StreamWriter out = side.out();
    side.step("empty");
    for (int round = 0; round < 3; round++) {
        std::size_t sent = out.fill();
        CHECK(sent > 0);
        /* What is under way may still free some room: fill until it stays full. */
        for (int still = 0; still < 3; still++) {
            side.settle();
            sent += out.fill();
        }
        CHECK_ERRNO(out.send_some(1, MSG_DONTWAIT), EAGAIN);
        CHECK_EQ(poll_now(side.sock.get(), POLLOUT), 0);
        side.tell_number(static_cast<long long>(sent));
        side.step("drained");
        side.await(side.sock.get(), POLLOUT);
        out.send(5);
    }
    side.in().receive(1);
}
void fill_until_eagain_then_drain::server(Side& side) {
    StreamReader in = side.in();
    CHECK_ERRNO(in.receive_some(1, MSG_DONTWAIT), EAGAIN);
    side.step("empty");
    for (int round = 0; round < 3; round++) {
        in.receive(static_cast<std::size_t>(side.hear_number()));
        CHECK_ERRNO(in.receive_some(1, MSG_DONTWAIT), EAGAIN);
        side.step("drained");
        in.receive(5);
    }
    side.out().send(1);
}

TWO_SIDED(trunc_throws_bytes_away, kPair | kCold)
void trunc_throws_bytes_away::client(Side& side) {
    side.out().send(40000);
    side.in().receive(1);
}
void trunc_throws_bytes_away::server(Side& side) {
    StreamReader in = side.in();
    in.receive(1000);
    while (in.position() < 30000) {
        std::size_t left = 30000 - in.position();
        /* No buffer at all: nothing may be written to it. */
        ssize_t n = SYS(recv(side.sock.get(), nullptr, left, MSG_TRUNC));
        CHECK(n > 0 && static_cast<std::size_t>(n) <= left);
        in.skip(static_cast<std::size_t>(n));
    }
    in.receive(10000);
    side.out().send(1);
}

TWO_SIDED(more_is_sent_in_the_end, kPair | kCold)
void more_is_sent_in_the_end::client(Side& side) {
    StreamWriter out = side.out();
    for (int i = 0; i < 50; i++) {
        out.send(17, MSG_MORE);
        out.send(1);
    }
    out.send(333, MSG_MORE);
    side.step("held");
    /* Even if nothing follows, what was held must go within a short time. */
    side.step("arrived");
    out.send(333, MSG_MORE);
    SYS(shutdown(side.sock.get(), SHUT_WR));
    side.in().receive(1);
}
void more_is_sent_in_the_end::server(Side& side) {
    StreamReader in = side.in();
    in.receive(50 * 18);
    side.step("held");
    in.receive(333);
    side.step("arrived");
    in.receive(333);
    in.expect_end();
    side.out().send(1);
}

TWO_SIDED(cork_and_nodelay, kPair | kCold)
void cork_and_nodelay::client(Side& side) {
    StreamWriter out = side.out();
    StreamReader in = side.in();
    int fd = side.sock.get();
    for (int i = 0; i < 10; i++) {
        set_option(fd, IPPROTO_TCP, TCP_CORK, 1);
        out.send(13);
        out.send(14);
        out.send(1500);
        set_option(fd, IPPROTO_TCP, TCP_CORK, 0);
        in.receive(1);
    }
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    CHECK_EQ(get_option(fd, IPPROTO_TCP, TCP_NODELAY), 1);
    for (int i = 0; i < 100; i++)
        out.send(3);
    in.receive(1);
}
void cork_and_nodelay::server(Side& side) {
    StreamReader in = side.in();
    StreamWriter out = side.out();
    for (int i = 0; i < 10; i++) {
        in.receive(1527);
        out.send(1);
    }
    in.receive(300);
    out.send(1);
}

TWO_SIDED(error_queue_is_empty, kPair)
void error_queue_is_empty::client(Side& side) {
    side.out().send(100);
    side.step("sent");
    char byte;
    CHECK_ERRNO(recv(side.sock.get(), &byte, 1, MSG_ERRQUEUE), EAGAIN);
    side.in().receive(1);
}
void error_queue_is_empty::server(Side& side) {
    side.step("sent");
    side.await(side.sock.get(), POLLIN);
    char byte;
    CHECK_ERRNO(recv(side.sock.get(), &byte, 1, MSG_ERRQUEUE), EAGAIN);
    side.in().receive(100);
    side.out().send(1);
}
