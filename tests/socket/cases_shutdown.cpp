/* SPDX-License-Identifier: GPL-2.0 */
/* cases_shutdown.cpp - ending one direction, or both, and keeping the descriptor. */
#include <poll.h>

#include <thread>

#include "side.h"

using namespace xway::test;

TWO_SIDED(half_close, kPair | kCold | kMapped)
void half_close::client(Side& side) {
    StreamWriter out = side.out();
    out.send(100000);
    SYS(shutdown(side.sock.get(), SHUT_WR));
    CHECK_ERRNO(out.send_some(1), EPIPE);
    /* The other direction is as before. */
    StreamReader in = side.in();
    in.receive(200000);
    side.step("still open");
    in.receive(300000);
    in.expect_end();
}
void half_close::server(Side& side) {
    StreamReader in = side.in();
    in.receive(100000);
    in.expect_end();
    in.expect_end();
    StreamWriter out = side.out();
    out.send(200000);
    side.step("still open");
    side.settle(2);
    out.send(300000);
    side.sock.reset();
}

TWO_SIDED(half_close_with_nothing_sent, kPair | kCold)
void half_close_with_nothing_sent::client(Side& side) {
    SYS(shutdown(side.sock.get(), SHUT_WR));
    StreamReader in = side.in();
    in.receive(10000);
    in.expect_end();
}
void half_close_with_nothing_sent::server(Side& side) {
    side.in().expect_end();
    side.out().send(10000);
    SYS(shutdown(side.sock.get(), SHUT_WR));
}

TWO_SIDED(half_close_wakes_a_reader, kPair | kCold)
void half_close_wakes_a_reader::client(Side& side) {
    side.settle(3);
    SYS(shutdown(side.sock.get(), SHUT_WR));
    side.in().receive(1);
}
void half_close_wakes_a_reader::server(Side& side) {
    side.in().expect_end();
    side.out().send(1);
}

TWO_SIDED(shutdown_of_reading, kPair | kCold)
void shutdown_of_reading::client(Side& side) {
    int fd = side.sock.get();
    SYS(shutdown(fd, SHUT_RD));
    CHECK_EQ(poll_now(fd, POLLIN | POLLRDHUP), POLLIN | POLLRDHUP);
    side.in().expect_end();
    side.out().send(60000);
    side.step("shut");
    SYS(shutdown(fd, SHUT_WR));
}
void shutdown_of_reading::server(Side& side) {
    StreamReader in = side.in();
    in.receive(60000);
    side.step("shut");
    /* TCP tells the sender nothing: its bytes are taken. */
    side.out().send(1000);
    in.expect_end();
}

TWO_SIDED(shutdown_of_reading_keeps_what_had_come, kPair | kCold)
void shutdown_of_reading_keeps_what_had_come::client(Side& side) {
    side.out().send(500);
    side.step("sent");
    side.step("read");
}
void shutdown_of_reading_keeps_what_had_come::server(Side& side) {
    StreamReader in = side.in();
    side.step("sent");
    side.await_true("all has come", [&] { return SYS(in.receive_some(9000, MSG_PEEK)) == 500; });
    SYS(shutdown(side.sock.get(), SHUT_RD));
    in.receive(500);
    in.expect_end();
    side.step("read");
}

/* The connection moves to a ring only after that. */
TWO_SIDED(shutdown_of_reading_comes_first, kPair | kCold)
void shutdown_of_reading_comes_first::client(Side& side) {
    StreamReader in = side.in();
    StreamWriter out = side.out();
    for (int i = 0; i < 20; i++) {
        out.send(10);
        side.step("sent");
        in.receive(10);
    }
}
void shutdown_of_reading_comes_first::server(Side& side) {
    StreamReader in = side.in();
    StreamWriter out = side.out();
    SYS(shutdown(side.sock.get(), SHUT_RD));
    for (int i = 0; i < 20; i++) {
        side.step("sent");
        side.await_true("all has come", [&] { return in.receive_some(90, MSG_PEEK) == 10; });
        in.receive(10);
        CHECK_EQ(in.receive_some(10, MSG_DONTWAIT), 0);
        out.send(10);
    }
}

TWO_SIDED(shutdown_of_reading_wakes_a_reader, kPair)
void shutdown_of_reading_wakes_a_reader::client(Side& side) {
    std::string failure;
    std::thread reader([&] {
        try {
            side.in().expect_end();
        } catch (const Failure& e) {
            failure = e.what();
        }
    });
    side.settle(2);
    SYS(shutdown(side.sock.get(), SHUT_RD));
    reader.join();
    CHECK_EQ(failure, "");
    side.out().send(100);
    side.step("woken");
}
void shutdown_of_reading_wakes_a_reader::server(Side& side) {
    side.in().receive(100);
    side.step("woken");
}

TWO_SIDED(shutdown_of_both, kPair | kCold)
void shutdown_of_both::client(Side& side) {
    int fd = side.sock.get();
    side.out().send(70000);
    SYS(shutdown(fd, SHUT_RDWR));
    CHECK_EQ(poll_now(fd, POLLIN | POLLRDHUP) & (POLLIN | POLLRDHUP | POLLHUP),
             POLLIN | POLLRDHUP | POLLHUP);
    side.in().expect_end();
    CHECK_ERRNO(side.out().send_some(1), EPIPE);
    side.step("all read");
}
void shutdown_of_both::server(Side& side) {
    StreamReader in = side.in();
    in.receive(70000);
    in.expect_end();
    side.step("all read");
}

TWO_SIDED(shutdown_of_both_wakes_reader_and_writer, kPair)
void shutdown_of_both_wakes_reader_and_writer::client(Side& side) {
    int fd = side.sock.get();
    int read_result = -1, write_error = 0;
    std::thread reader([&] {
        char byte;
        read_result = static_cast<int>(recv(fd, &byte, 1, 0));
    });
    std::thread writer([&] {
        StreamWriter out = side.out();
        while (out.send_some(100000) > 0) {
        }
        write_error = errno;
    });
    side.settle(4);
    SYS(shutdown(fd, SHUT_RDWR));
    reader.join();
    writer.join();
    CHECK_EQ(read_result, 0);
    CHECK_EQ(errno_text(write_error), "EPIPE");
    side.step("woken");
}
void shutdown_of_both_wakes_reader_and_writer::server(Side& side) {
    side.step("woken");
    StreamReader in = side.in();
    int error = in.receive_to_end_or_reset();
    CHECK(error == 0 || error == ECONNRESET);
}

TWO_SIDED(shutdown_twice_and_unconnected, kPair)
void shutdown_twice_and_unconnected::client(Side& side) {
    UniqueFd lonely = side.socket();
    CHECK_ERRNO(shutdown(lonely.get(), SHUT_WR), ENOTCONN);
    CHECK_ERRNO(shutdown(side.sock.get(), 77), EINVAL);
    SYS(shutdown(side.sock.get(), SHUT_WR));
    SYS(shutdown(side.sock.get(), SHUT_WR));
    side.in().receive(10);
}
void shutdown_twice_and_unconnected::server(Side& side) {
    side.in().expect_end();
    side.out().send(10);
}

TWO_SIDED(both_half_close_at_once, kPair | kCold)
void both_half_close_at_once::client(Side& side) {
    side.step("now");
    side.out().send(30000);
    SYS(shutdown(side.sock.get(), SHUT_WR));
    StreamReader in = side.in();
    in.receive(30000);
    in.expect_end();
}
void both_half_close_at_once::server(Side& side) {
    both_half_close_at_once::client(side);
}
