/* SPDX-License-Identifier: GPL-2.0 */
/* cases_close.cpp - the last close, with bytes under way, unread, or lingering. */
#include <poll.h>

#include "side.h"

using namespace xway::test;

namespace {

void set_linger(int fd, bool on, int seconds) {
    linger l{on, seconds};
    SYS(setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof l));
}

} // namespace

TWO_SIDED(close_with_data_pending, kPair | kCold | kMapped)
void close_with_data_pending::client(Side& side) {
    StreamWriter out = side.out();
    std::size_t sent = out.fill();
    side.tell_number(static_cast<long long>(sent));
    side.sock.reset();
    side.step("closed");
}
void close_with_data_pending::server(Side& side) {
    auto sent = static_cast<std::size_t>(side.hear_number());
    side.step("closed");
    side.settle(2);
    StreamReader in = side.in();
    in.receive(sent);
    in.expect_end();
}

TWO_SIDED(close_after_one_byte, kPair | kCold)
void close_after_one_byte::client(Side& side) {
    side.out().send(1);
    side.sock.reset();
}
void close_after_one_byte::server(Side& side) {
    StreamReader in = side.in();
    in.receive(1);
    in.expect_end();
}

TWO_SIDED(close_at_once, kPair | kCold)
void close_at_once::client(Side& side) {
    side.sock.reset();
}
void close_at_once::server(Side& side) {
    side.in().expect_end();
}

TWO_SIDED(close_with_unread_data_resets, kPair | kCold | kMapped)
void close_with_unread_data_resets::client(Side& side) {
    side.out().send(1000);
    side.step("sent");
    side.step("closed");
    CHECK_EQ(errno_text(side.in().receive_to_end_or_reset()), "ECONNRESET");
    side.await_true("sending fails", [&] {
        ssize_t n = side.out().send_some(1);
        return n < 0 && errno == EPIPE;
    });
}
void close_with_unread_data_resets::server(Side& side) {
    side.step("sent");
    side.await(side.sock.get(), POLLIN);
    side.in().receive(10);
    side.sock.reset();
    side.step("closed");
}

TWO_SIDED(close_with_unread_data_wakes_a_full_sender, kPair | kCold)
void close_with_unread_data_wakes_a_full_sender::client(Side& side) {
    StreamWriter out = side.out();
    side.step("start");
    /* Blocks when all buffers are full, and ends with an error, not with a hang. */
    int error = 0;
    for (int i = 0; i < 1000 && error == 0; i++)
        if (out.send_some(1 << 20) < 0)
            error = errno;
    CHECK(error == ECONNRESET || error == EPIPE);
}
void close_with_unread_data_wakes_a_full_sender::server(Side& side) {
    side.step("start");
    side.settle(4);
    side.in().receive(1000);
    side.sock.reset();
}

TWO_SIDED(linger_zero_resets, kPair | kCold | kMapped)
void linger_zero_resets::client(Side& side) {
    side.out().send(500);
    side.step("read");
    set_linger(side.sock.get(), true, 0);
    side.sock.reset();
    side.step("closed");
}
void linger_zero_resets::server(Side& side) {
    StreamReader in = side.in();
    in.receive(500);
    side.step("read");
    side.step("closed");
    CHECK_EQ(errno_text(in.receive_to_end_or_reset()), "ECONNRESET");
    CHECK_EQ(SYS(in.receive_some(10)), 0);
    CHECK_ERRNO(side.out().send_some(10), EPIPE);
}

TWO_SIDED(linger_zero_wakes_a_reader, kPair)
void linger_zero_wakes_a_reader::client(Side& side) {
    side.settle(3);
    set_linger(side.sock.get(), true, 0);
    side.sock.reset();
}
void linger_zero_wakes_a_reader::server(Side& side) {
    CHECK_ERRNO(side.in().receive_some(10), ECONNRESET);
}

TWO_SIDED(linger_waits_for_the_reader, kPair | kCold)
void linger_waits_for_the_reader::client(Side& side) {
    StreamWriter out = side.out();
    side.tell_number(static_cast<long long>(out.fill()));
    set_linger(side.sock.get(), true, side.patience_ms() / 1000 + 1);
    std::int64_t start = now_ms();
    side.sock.reset();
    CHECK(now_ms() - start <= side.patience_ms());
    side.step("closed");
}
void linger_waits_for_the_reader::server(Side& side) {
    auto sent = static_cast<std::size_t>(side.hear_number());
    side.settle(3);
    StreamReader in = side.in();
    in.receive(sent);
    in.expect_end();
    side.step("closed");
}

TWO_SIDED(both_close_at_once, kPair | kCold)
void both_close_at_once::client(Side& side) {
    side.step("now");
    side.sock.reset();
    side.step("gone");
}
void both_close_at_once::server(Side& side) {
    both_close_at_once::client(side);
}

TWO_SIDED(both_close_at_once_with_data, kPair | kCold)
void both_close_at_once_with_data::client(Side& side) {
    /* Each resets the other; what matters is that nothing hangs or breaks. */
    side.step("now");
    side.out().send_some(20000);
    side.sock.reset();
    side.step("gone");
}
void both_close_at_once_with_data::server(Side& side) {
    both_close_at_once_with_data::client(side);
}

TWO_SIDED(reset_after_data_was_read, kPair)
void reset_after_data_was_read::client(Side& side) {
    StreamWriter out = side.out();
    StreamReader in = side.in();
    for (int i = 0; i < 20; i++) {
        out.send(2000);
        in.receive(2000);
    }
    set_linger(side.sock.get(), true, 0);
    side.sock.reset();
    side.step("closed");
}
void reset_after_data_was_read::server(Side& side) {
    StreamWriter out = side.out();
    StreamReader in = side.in();
    for (int i = 0; i < 20; i++) {
        in.receive(2000);
        out.send(2000);
    }
    side.step("closed");
    CHECK_EQ(errno_text(in.receive_to_end_or_reset()), "ECONNRESET");
}

TWO_SIDED(address_is_free_after_close, 0)
void address_is_free_after_close::client(Side& side) {
    for (int i = 0; i < 5; i++) {
        UniqueFd fd = side.connect(static_cast<std::uint16_t>(side.hear_number()));
        side.out(fd.get()).send(100);
        side.in(fd.get()).expect_end();
        fd.reset();
        side.step("closed");
    }
}
void address_is_free_after_close::server(Side& side) {
    std::uint16_t port = 0;
    for (int i = 0; i < 5; i++) {
        /* The same port again at once: what the last round has left is only TIME_WAIT. */
        UniqueFd listener = side.listen(8, 0, port);
        port = local_address(listener.get()).port();
        side.tell_number(port);
        UniqueFd fd = side.accept(listener.get());
        side.in(fd.get()).receive(100);
        fd.reset();
        listener.reset();
        side.step("closed");
    }
}
