/* SPDX-License-Identifier: GPL-2.0 */
/* cases_uring.cpp - the same socket operations by io_uring. */
#include <poll.h>

#include <vector>

#include "side.h"
#include "uring.h"

using namespace xway::test;

namespace {

void send_all(Ring& ring, StreamWriter& out, std::size_t n) {
    while (n > 0) {
        auto bytes = out.next(std::min<std::size_t>(n, 100000));
        io_uring_prep_send(ring.prepare(), out.fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
        ring.submit();
        auto sent = static_cast<std::size_t>(ring.done("send", ring.wait()));
        out.advance(sent);
        n -= sent;
    }
}

void receive_all(Ring& ring, StreamReader& in, std::size_t n) {
    std::vector<std::byte> bytes(30000);
    while (n > 0) {
        io_uring_prep_recv(ring.prepare(), in.fd(), bytes.data(), std::min(n, bytes.size()), 0);
        ring.submit();
        auto got = static_cast<std::size_t>(ring.done("recv", ring.wait()));
        CHECK(got > 0);
        in.accept(std::span(bytes).first(got));
        n -= got;
    }
}

} // namespace

TWO_SIDED(uring_send_and_recv, kPair | kCold | kMapped)
void uring_send_and_recv::client(Side& side) {
    Ring ring(side);
    StreamWriter out = side.out();
    StreamReader in = side.in();
    for (std::size_t n : {1u, 100u, 5000u, 3000000u}) {
        send_all(ring, out, n);
        receive_all(ring, in, n);
    }
}
void uring_send_and_recv::server(Side& side) {
    Ring ring(side);
    StreamWriter out = side.out();
    StreamReader in = side.in();
    for (std::size_t n : {1u, 100u, 5000u, 3000000u}) {
        receive_all(ring, in, n);
        send_all(ring, out, n);
    }
    side.settle();
}

TWO_SIDED(uring_poll, kPair | kCold)
void uring_poll::client(Side& side) {
    StreamWriter out = side.out();
    for (int i = 0; i < 5; i++) {
        side.step("armed");
        side.settle();
        out.send(100);
    }
    side.step("read");
    SYS(shutdown(side.sock.get(), SHUT_WR));
    side.step("seen");
}
void uring_poll::server(Side& side) {
    Ring ring(side);
    int fd = side.sock.get();
    StreamReader in = side.in();
    for (int i = 0; i < 5; i++) {
        io_uring_prep_poll_add(ring.prepare(), fd, POLLIN);
        ring.submit();
        CHECK(ring.idle());
        side.step("armed");
        CHECK_EQ(ring.wait(), POLLIN);
        in.receive(100);
    }
    side.step("read");
    io_uring_prep_poll_add(ring.prepare(), fd, POLLRDHUP);
    ring.submit();
    CHECK_EQ(ring.wait() & POLLRDHUP, POLLRDHUP);
    in.expect_end();
    side.step("seen");
}

TWO_SIDED(uring_recv_waits_for_data, kPair | kCold)
void uring_recv_waits_for_data::client(Side& side) {
    StreamWriter out = side.out();
    for (int i = 0; i < 5; i++) {
        side.step("waiting");
        side.settle();
        out.send(1000);
    }
    side.step("read");
    SYS(shutdown(side.sock.get(), SHUT_WR));
    side.step("end");
}
void uring_recv_waits_for_data::server(Side& side) {
    Ring ring(side);
    StreamReader in = side.in();
    std::byte bytes[1000];
    for (int i = 0; i < 5; i++) {
        io_uring_prep_recv(ring.prepare(), side.sock.get(), bytes, sizeof bytes, MSG_WAITALL);
        ring.submit();
        CHECK(ring.idle());
        side.step("waiting");
        CHECK_EQ(ring.wait(), 1000);
        in.accept(bytes);
    }
    side.step("read");
    io_uring_prep_recv(ring.prepare(), side.sock.get(), bytes, sizeof bytes, 0);
    ring.submit();
    CHECK_EQ(ring.wait(), 0);
    side.step("end");
}

TWO_SIDED(uring_send_waits_for_room, kPair)
void uring_send_waits_for_room::client(Side& side) {
    Ring ring(side);
    StreamWriter out = side.out();
    side.step("start");
    send_all(ring, out, 6 << 20);
    side.in().receive(1);
}
void uring_send_waits_for_room::server(Side& side) {
    Ring ring(side);
    side.step("start");
    side.settle(3);
    side.in().receive(6 << 20, 20000);
    side.out().send(1);
}

TWO_SIDED(uring_read_and_write, kPair)
void uring_read_and_write::client(Side& side) {
    Ring ring(side);
    StreamWriter out = side.out();
    auto bytes = out.next(3000);
    iovec pieces[2] = {{bytes.data(), 1}, {bytes.data() + 1, 2999}};
    io_uring_prep_writev(ring.prepare(), side.sock.get(), pieces, 2, 0);
    ring.submit();
    CHECK_EQ(ring.wait(), 3000);
    out.advance(3000);
    bytes = out.next(2000);
    io_uring_prep_write(ring.prepare(), side.sock.get(), bytes.data(), 2000, 0);
    ring.submit();
    CHECK_EQ(ring.wait(), 2000);
    side.in().receive(1);
}
void uring_read_and_write::server(Side& side) {
    Ring ring(side);
    StreamReader in = side.in();
    while (in.position() < 5000) {
        std::byte bytes[900];
        io_uring_prep_read(ring.prepare(), side.sock.get(), bytes, sizeof bytes, 0);
        ring.submit();
        auto n = static_cast<std::size_t>(ring.done("read", ring.wait()));
        CHECK(n > 0);
        in.accept(std::span(bytes).first(n));
    }
    side.out().send(1);
}

TWO_SIDED(uring_connect_accept_shutdown, kMapped)
void uring_connect_accept_shutdown::client(Side& side) {
    Ring ring(side);
    for (unsigned i = 0; i < 5; i++) {
        UniqueFd fd = side.socket();
        Address to = side.peer(side.hear_port());
        io_uring_prep_connect(ring.prepare(), fd.get(), to.get(), to.length);
        ring.submit();
        ring.done("connect", ring.wait());
        StreamWriter out = side.out(fd.get(), i);
        send_all(ring, out, 10000);
        io_uring_prep_shutdown(ring.prepare(), fd.get(), SHUT_WR);
        ring.submit();
        ring.done("shutdown", ring.wait());
        side.in(fd.get(), i).receive(10000);
    }
}
void uring_connect_accept_shutdown::server(Side& side) {
    Ring ring(side);
    for (unsigned i = 0; i < 5; i++) {
        UniqueFd listener = side.listen();
        io_uring_prep_accept(ring.prepare(), listener.get(), nullptr, nullptr, 0);
        ring.submit();
        side.tell_number(local_address(listener.get()).port());
        UniqueFd fd(ring.done("accept", ring.wait()));
        StreamReader in = side.in(fd.get(), i);
        receive_all(ring, in, 10000);
        in.expect_end();
        side.out(fd.get(), i).send(10000);
    }
}

TWO_SIDED(uring_both_directions_in_flight, kPair | kCold)
void uring_both_directions_in_flight::client(Side& side) {
    constexpr std::size_t kTotal = 2 << 20;
    Ring ring(side);
    StreamWriter out = side.out();
    StreamReader in = side.in();
    std::vector<std::byte> outgoing, incoming(20000);
    auto start_send = [&] {
        outgoing = out.next(std::min<std::size_t>(50000, kTotal - out.position()));
        io_uring_sqe* sqe = ring.prepare();
        io_uring_prep_send(sqe, out.fd(), outgoing.data(), outgoing.size(), MSG_NOSIGNAL);
        io_uring_sqe_set_data64(sqe, 1);
    };
    auto start_receive = [&] {
        io_uring_sqe* sqe = ring.prepare();
        io_uring_prep_recv(sqe, in.fd(), incoming.data(),
                           std::min<std::size_t>(incoming.size(), kTotal - in.position()), 0);
        io_uring_sqe_set_data64(sqe, 2);
    };
    start_receive();
    start_send();
    ring.submit();
    while (out.position() < kTotal || in.position() < kTotal) {
        std::uint64_t which = 0;
        auto n = static_cast<std::size_t>(ring.done("transfer", ring.wait(&which)));
        CHECK(n > 0);
        if (which == 1) {
            out.advance(n);
            if (out.position() < kTotal)
                start_send();
        } else {
            in.accept(std::span(incoming).first(n));
            if (in.position() < kTotal)
                start_receive();
        }
        ring.submit();
    }
}
void uring_both_directions_in_flight::server(Side& side) {
    uring_both_directions_in_flight::client(side);
}

TWO_SIDED(uring_cancelled_recv_takes_nothing, kPair)
void uring_cancelled_recv_takes_nothing::client(Side& side) {
    side.step("cancelled");
    side.out().send(1000);
    side.step("read");
}
void uring_cancelled_recv_takes_nothing::server(Side& side) {
    Ring ring(side);
    std::byte bytes[1000];
    io_uring_sqe* sqe = ring.prepare();
    io_uring_prep_recv(sqe, side.sock.get(), bytes, sizeof bytes, 0);
    io_uring_sqe_set_data64(sqe, 5);
    ring.submit();
    side.settle();
    sqe = ring.prepare();
    io_uring_prep_cancel64(sqe, 5, 0);
    io_uring_sqe_set_data64(sqe, 6);
    ring.submit();
    for (int i = 0; i < 2; i++) {
        std::uint64_t which = 0;
        int result = ring.wait(&which);
        CHECK_EQ(result, which == 5 ? -ECANCELED : 0);
    }
    side.step("cancelled");
    side.in().receive(1000);
    side.step("read");
}
