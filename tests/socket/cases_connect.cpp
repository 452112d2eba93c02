/* SPDX-License-Identifier: GPL-2.0 */
/* cases_connect.cpp - opening a connection, in each of the ways there are. */
#include <fcntl.h>
#include <poll.h>

#include "side.h"

using namespace xway::test;

TWO_SIDED(connect_blocking, kMapped | kCold)
void connect_blocking::client(Side& side) {
    UniqueFd fd = side.connect(side.hear_port());
    side.warm_up(fd.get());
    side.out(fd.get()).send(5000);
    StreamReader in = side.in(fd.get());
    in.receive(7000);
    in.expect_end();
}
void connect_blocking::server(Side& side) {
    UniqueFd listener = side.listen_and_tell();
    UniqueFd fd = side.accept(listener.get());
    side.warm_up(fd.get());
    side.in(fd.get()).receive(5000);
    side.out(fd.get()).send(7000);
}

TWO_SIDED(connect_nonblocking, kMapped)
void connect_nonblocking::client(Side& side) {
    UniqueFd fd = side.socket(SOCK_NONBLOCK);
    Address to = side.peer(side.hear_port());
    int result = ::connect(fd.get(), to.get(), to.length);
    if (result < 0)
        CHECK_EQ(errno_text(errno), "EINPROGRESS");
    short events = side.await(fd.get(), POLLOUT);
    CHECK_EQ(events, POLLOUT);
    CHECK_EQ(get_option(fd.get(), SOL_SOCKET, SO_ERROR), 0);
    CHECK_ERRNO(side.in(fd.get()).receive_some(10), EAGAIN);
    CHECK_EQ(side.out(fd.get()).send_some(3000), 3000);
    StreamReader in = side.in(fd.get());
    side.await(fd.get(), POLLIN);
    set_nonblocking(fd.get(), false);
    in.receive(3000);
    in.expect_end();
}
void connect_nonblocking::server(Side& side) {
    UniqueFd listener = side.listen_and_tell();
    UniqueFd fd = side.accept(listener.get());
    side.in(fd.get()).receive(3000);
    side.out(fd.get()).send(3000);
}

TWO_SIDED(connect_nonblocking_then_send_at_once, kMapped)
void connect_nonblocking_then_send_at_once::client(Side& side) {
    UniqueFd fd = side.socket(SOCK_NONBLOCK);
    Address to = side.peer(side.hear_port());
    if (::connect(fd.get(), to.get(), to.length) < 0)
        CHECK_EQ(errno_text(errno), "EINPROGRESS");
    StreamWriter out = side.out(fd.get());
    /* While it connects a send says EAGAIN; a program may just try again. */
    side.await_true("the first send", [&] {
        ssize_t n = out.send_some(100);
        if (n < 0)
            CHECK_EQ(errno_text(errno), "EAGAIN");
        return n == 100;
    });
    side.await(fd.get(), POLLIN);
    CHECK_EQ(side.in(fd.get()).receive_some(100), 100);
}
void connect_nonblocking_then_send_at_once::server(Side& side) {
    UniqueFd listener = side.listen_and_tell();
    UniqueFd fd = side.accept(listener.get());
    side.in(fd.get()).receive(100);
    side.out(fd.get()).send(100);
}

namespace {

/* A port on the server's side on which nobody listens. */
void tell_closed_port(Side& side) {
    UniqueFd listener = side.listen();
    std::uint16_t port = local_address(listener.get()).port();
    listener.reset();
    side.tell_number(port);
}

} // namespace

TWO_SIDED(connect_refused, kMapped)
void connect_refused::client(Side& side) {
    UniqueFd fd = side.socket();
    Address to = side.peer(side.hear_port());
    CHECK_ERRNO(::connect(fd.get(), to.get(), to.length), ECONNREFUSED);
    side.step("refused");
    /* The same socket may try again. */
    to.set_port(side.hear_port());
    SYS(::connect(fd.get(), to.get(), to.length));
    side.out(fd.get()).send(2000);
    side.in(fd.get()).receive(2000);
}
void connect_refused::server(Side& side) {
    tell_closed_port(side);
    side.step("refused");
    UniqueFd listener = side.listen_and_tell();
    UniqueFd fd = side.accept(listener.get());
    side.in(fd.get()).receive(2000);
    side.out(fd.get()).send(2000);
}

TWO_SIDED(connect_refused_nonblocking, 0)
void connect_refused_nonblocking::client(Side& side) {
    UniqueFd fd = side.socket(SOCK_NONBLOCK);
    Address to = side.peer(side.hear_port());
    CHECK(::connect(fd.get(), to.get(), to.length) < 0);
    if (errno == EINPROGRESS) {
        CHECK(side.await(fd.get(), POLLOUT) & (POLLERR | POLLHUP));
        CHECK_EQ(errno_text(get_option(fd.get(), SOL_SOCKET, SO_ERROR)), "ECONNREFUSED");
        CHECK_EQ(get_option(fd.get(), SOL_SOCKET, SO_ERROR), 0);
    } else {
        CHECK_EQ(errno_text(errno), "ECONNREFUSED");
    }
}
void connect_refused_nonblocking::server(Side& side) {
    tell_closed_port(side);
}

TWO_SIDED(connect_twice_says_so, kPair)
void connect_twice_says_so::client(Side& side) {
    Address to = peer_address(side.sock.get());
    CHECK_ERRNO(::connect(side.sock.get(), to.get(), to.length), EISCONN);
    side.out().send(1000);
    side.in().receive(1000);
}
void connect_twice_says_so::server(Side& side) {
    CHECK_ERRNO(::listen(side.sock.get(), 5), EINVAL);
    side.out().send(1000);
    side.in().receive(1000);
}

TWO_SIDED(connect_from_a_bound_port, kMapped)
void connect_from_a_bound_port::client(Side& side) {
    std::uint16_t port = 0;
    UniqueFd fd = side.connect(side.hear_port(), [&](int s) {
        Address any = parse_address(side.family() == AF_INET ? "0.0.0.0" : "::");
        SYS(::bind(s, any.get(), any.length));
        port = local_address(s).port();
    });
    CHECK_EQ(local_address(fd.get()).port(), port);
    side.tell_number(port);
    side.out(fd.get()).send(1000);
    side.in(fd.get()).receive(1000);
}
void connect_from_a_bound_port::server(Side& side) {
    UniqueFd listener = side.listen_and_tell();
    UniqueFd fd = side.accept(listener.get());
    CHECK_EQ(peer_address(fd.get()).port(), side.hear_number());
    side.in(fd.get()).receive(1000);
    side.out(fd.get()).send(1000);
}

TWO_SIDED(disconnect_and_connect_again, kCold)
void disconnect_and_connect_again::client(Side& side) {
    UniqueFd fd = side.connect(side.hear_port());
    side.warm_up(fd.get());
    side.out(fd.get()).send(3000);
    side.in(fd.get()).receive(3000);
    side.step("exchanged");
    sockaddr none{};
    none.sa_family = AF_UNSPEC;
    SYS(::connect(fd.get(), &none, sizeof none));
    Address gone;
    gone.length = sizeof gone.storage;
    CHECK_ERRNO(getpeername(fd.get(), gone.get(), &gone.length), ENOTCONN);
    /* Linux reports the disconnect itself once, as a reset. */
    get_option(fd.get(), SOL_SOCKET, SO_ERROR);
    CHECK_ERRNO(side.in(fd.get()).receive_some(10), ENOTCONN);
    side.step("disconnected");
    Address to = side.peer(side.hear_port());
    SYS(::connect(fd.get(), to.get(), to.length));
    side.warm_up(fd.get());
    side.out(fd.get(), 1).send(30000);
    StreamReader in = side.in(fd.get(), 1);
    in.receive(30000);
    in.expect_end();
}
void disconnect_and_connect_again::server(Side& side) {
    UniqueFd listener = side.listen_and_tell();
    UniqueFd fd = side.accept(listener.get());
    side.warm_up(fd.get());
    side.in(fd.get()).receive(3000);
    side.out(fd.get()).send(3000);
    side.step("exchanged");
    side.step("disconnected");
    StreamReader old = side.in(fd.get());
    ssize_t n = old.receive_some(100);
    CHECK(n == 0 || (n < 0 && errno == ECONNRESET));
    side.tell_number(local_address(listener.get()).port());
    UniqueFd again = side.accept(listener.get());
    side.warm_up(again.get());
    side.in(again.get(), 1).receive(30000);
    side.out(again.get(), 1).send(30000);
}

TWO_SIDED(fast_open_send, 0)
void fast_open_send::client(Side& side) {
    UniqueFd fd = side.socket();
    Address to = side.peer(side.hear_port());
    StreamWriter out = side.out(fd.get());
    auto bytes = out.next(700);
    ssize_t n = sendto(fd.get(), bytes.data(), bytes.size(), MSG_FASTOPEN, to.get(), to.length);
    if (n < 0 && (errno == EOPNOTSUPP || errno == ENOTCONN || errno == EPIPE))
        throw Skip("TCP fast open is off");
    out.advance(static_cast<std::size_t>(SYS(n)));
    out.send(700 - static_cast<std::size_t>(n));
    out.send(50000);
    StreamReader in = side.in(fd.get());
    in.receive(50000);
    in.expect_end();
}
void fast_open_send::server(Side& side) {
    UniqueFd listener = side.listen_and_tell();
    UniqueFd fd = side.accept(listener.get());
    side.in(fd.get()).receive(50700);
    side.out(fd.get()).send(50000);
}
