/* SPDX-License-Identifier: GPL-2.0 */
/* cases_connect_state.cpp - what a socket answers before, while and after it connects. */
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>

#include <cstring>

#include "epoll.h"
#include "mirror.h"

using namespace xway::test;

namespace {

int connect_to(int fd, const Address& to) {
    return ::connect(fd, to.get(), to.length);
}

/* Accepts one connection and sends back what comes. */
void serve_one(Side& side, int listener) {
    UniqueFd fd = side.accept(listener);
    side.warm_up(fd.get());
    mirror(fd.get());
}

void talk_over(Side& side, int fd) {
    side.warm_up(fd);
    Mirrored talk(side, fd);
    talk.round(20000);
    talk.end();
}

void bind_any(const Side& side, int fd, std::uint16_t port) {
    Address any = parse_address(side.family() == AF_INET ? "0.0.0.0" : "::");
    any.set_port(port);
    SYS(::bind(fd, any.get(), any.length));
}

} // namespace

TWO_SIDED(calls_before_connect, kMapped)
void calls_before_connect::client(Side& side) {
    UniqueFd fd = side.socket();
    char byte = 0;
    Address name;
    name.length = sizeof name.storage;
    CHECK_ERRNO(recv(fd.get(), &byte, 1, 0), ENOTCONN);
    CHECK_ERRNO(recv(fd.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT), ENOTCONN);
    CHECK_ERRNO(send(fd.get(), &byte, 1, MSG_NOSIGNAL), EPIPE);
    CHECK_ERRNO(getpeername(fd.get(), name.get(), &name.length), ENOTCONN);
    CHECK_ERRNO(accept(fd.get(), nullptr, nullptr), EINVAL);
    CHECK_EQ(poll_now(fd.get(), POLLIN | POLLOUT), POLLOUT | POLLHUP);
    CHECK_EQ(local_address(fd.get()).port(), 0);
    CHECK_EQ(get_option(fd.get(), SOL_SOCKET, SO_ERROR), 0);
    SYS(connect_to(fd.get(), side.peer(side.hear_port())));
    talk_over(side, fd.get());
}
void calls_before_connect::server(Side& side) {
    UniqueFd listener = side.listen_and_tell();
    serve_one(side, listener.get());
}

TWO_SIDED(connect_with_bad_arguments, 0)
void connect_with_bad_arguments::client(Side& side) {
    Address to = side.peer(side.hear_port());
    UniqueFd fd = side.socket();
    auto* const nowhere = reinterpret_cast<sockaddr*>(8);
    for (int round = 0; round < 2; round++) { /* before it is connected, and after */
        CHECK_ERRNO(::connect(fd.get(), nowhere, to.length), EFAULT);
        CHECK_ERRNO(::connect(fd.get(), to.get(), static_cast<socklen_t>(-1)), EINVAL);
        CHECK_ERRNO(::connect(fd.get(), to.get(), 4096), EINVAL);
        if (round == 0) {
            CHECK_ERRNO(::connect(fd.get(), to.get(), 1), EINVAL);
            CHECK_ERRNO(::connect(fd.get(), to.get(), 8), EINVAL);
            /* Of another family: it has no such address. */
            Address other = parse_address(side.family() == AF_INET ? "::1" : "127.0.0.1");
            other.set_port(to.port());
            CHECK_ERRNO(connect_to(fd.get(), other),
                        side.family() == AF_INET ? EAFNOSUPPORT : EINVAL);
            sockaddr_in6 strange{};
            strange.sin6_family = AF_UNIX;
            CHECK_ERRNO(::connect(fd.get(), reinterpret_cast<sockaddr*>(&strange), sizeof strange),
                        EAFNOSUPPORT);
            SYS(connect_to(fd.get(), to));
        }
    }
    CHECK_ERRNO(::connect(-1, to.get(), to.length), EBADF);
    UniqueFd file(SYS(open("/dev/null", O_RDWR)));
    CHECK_ERRNO(connect_to(file.get(), to), ENOTSOCK);
    talk_over(side, fd.get());
}
void connect_with_bad_arguments::server(Side& side) {
    UniqueFd listener = side.listen_and_tell();
    serve_one(side, listener.get());
}

TWO_SIDED(connect_again_and_again, kMapped)
void connect_again_and_again::client(Side& side) {
    const Address to = side.peer(side.hear_port());
    UniqueFd fd = side.socket(SOCK_NONBLOCK);
    if (connect_to(fd.get(), to) < 0) {
        CHECK_EQ(errno_text(errno), "EINPROGRESS");
        /* Once it is there, the first to ask again is told so by a 0, the next by EISCONN. */
        int result;
        side.await_true("it is connected", [&] {
            result = connect_to(fd.get(), to);
            CHECK(result == 0 || errno == EALREADY);
            return result == 0;
        });
    }
    CHECK_ERRNO(connect_to(fd.get(), to), EISCONN);
    CHECK_EQ(poll_now(fd.get(), POLLOUT), POLLOUT);
    CHECK_EQ(get_option(fd.get(), SOL_SOCKET, SO_ERROR), 0);
    set_nonblocking(fd.get(), false);
    CHECK_ERRNO(connect_to(fd.get(), to), EISCONN);
    talk_over(side, fd.get());
}
void connect_again_and_again::server(Side& side) {
    UniqueFd listener = side.listen_and_tell();
    serve_one(side, listener.get());
}

/* One that was begun without waiting, and whose end connect() is the first to tell: the socket is
 * as new, what there was to read is gone, and its options are as they were. */
TWO_SIDED(connect_tells_how_it_ended, kCold)
void connect_tells_how_it_ended::client(Side& side) {
    UniqueFd fd = side.socket(SOCK_NONBLOCK);
    const Address to = side.peer(side.hear_port());
    const bool begun = connect_to(fd.get(), to) < 0;
    CHECK(!begun || errno == EINPROGRESS);
    side.await(fd.get(), POLLOUT);
    set_nonblocking(fd.get(), false);
    side.warm_up(fd.get());
    side.step("connected");
    side.step("sent and reset");
    side.await(fd.get(), POLLHUP);
    set_nonblocking(fd.get());
    char byte;
    if (begun) {
        CHECK_ERRNO(connect_to(fd.get(), to), ECONNRESET);
        CHECK_ERRNO(recv(fd.get(), &byte, 1, 0), ENOTCONN);
    } else { /* in libxway's direct mode: it had been told */
        sockaddr none{};
        none.sa_family = AF_UNSPEC;
        SYS(::connect(fd.get(), &none, sizeof none));
        get_option(fd.get(), SOL_SOCKET, SO_ERROR);
    }
    linger option{};
    socklen_t size = sizeof option;
    SYS(getsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &option, &size));
    CHECK_EQ(option.l_onoff, 0);
    set_nonblocking(fd.get(), false);
    SYS(connect_to(fd.get(), to));
    talk_over(side, fd.get());
}
void connect_tells_how_it_ended::server(Side& side) {
    UniqueFd listener = side.listen_and_tell();
    UniqueFd fd = side.accept(listener.get());
    side.warm_up(fd.get());
    side.step("connected");
    side.out(fd.get()).send(100);
    close_hard(fd);
    side.step("sent and reset");
    serve_one(side, listener.get());
}

TWO_SIDED(connect_after_an_answer_of_no, kMapped)
void connect_after_an_answer_of_no::client(Side& side) {
    UniqueFd fd = side.socket(SOCK_NONBLOCK);
    const Address closed = side.peer(side.hear_port());
    for (int round = 0; round < 3; round++) {
        if (connect_to(fd.get(), closed) < 0 && errno == EINPROGRESS) {
            side.await(fd.get(), POLLOUT);
            CHECK_EQ(poll_now(fd.get(), POLLIN | POLLOUT | POLLRDHUP),
                     POLLIN | POLLOUT | POLLRDHUP | POLLERR | POLLHUP);
            CHECK_ERRNO(connect_to(fd.get(), closed), ECONNREFUSED);
        } else {
            CHECK_EQ(errno_text(errno), "ECONNREFUSED");
        }
        CHECK_EQ(get_option(fd.get(), SOL_SOCKET, SO_ERROR), 0);
        char byte;
        CHECK_ERRNO(recv(fd.get(), &byte, 1, 0), ENOTCONN);
    }
    side.step("refused");
    set_nonblocking(fd.get(), false);
    SYS(connect_to(fd.get(), side.peer(side.hear_port())));
    talk_over(side, fd.get());
}
void connect_after_an_answer_of_no::server(Side& side) {
    UniqueFd held = side.socket(); /* bound, so that nobody else gets it, and not listening */
    bind_any(side, held.get(), 0);
    side.tell_number(local_address(held.get()).port());
    side.step("refused");
    UniqueFd listener = side.listen_and_tell();
    serve_one(side, listener.get());
}

TWO_SIDED(disconnect_keeps_the_bound_port, kCold)
void disconnect_keeps_the_bound_port::client(Side& side) {
    /* A port that was asked for by its number; one that was merely found would be let go. */
    UniqueFd fd = side.socket();
    std::uint16_t own = 0;
    {
        UniqueFd finder = side.socket();
        bind_any(side, finder.get(), 0);
        own = local_address(finder.get()).port();
    }
    bind_any(side, fd.get(), own);
    for (int round = 0; round < 2; round++) {
        SYS(connect_to(fd.get(), side.peer(side.hear_port())));
        side.warm_up(fd.get());
        Mirrored talk(side, fd.get());
        talk.round(20000);
        CHECK_EQ(local_address(fd.get()).port(), own);
        sockaddr none{};
        none.sa_family = AF_UNSPEC;
        SYS(::connect(fd.get(), &none, sizeof none));
        CHECK_EQ(local_address(fd.get()).port(), own);
        SYS(::connect(fd.get(), &none, sizeof none)); /* it may be repeated */
        side.step("disconnected");
    }
}
void disconnect_keeps_the_bound_port::server(Side& side) {
    /* A port each time: the old connection may still be known there. */
    for (int round = 0; round < 2; round++) {
        UniqueFd listener = side.listen_and_tell();
        UniqueFd fd = side.accept(listener.get());
        side.warm_up(fd.get());
        mirror(fd.get());
        side.step("disconnected");
    }
}

TWO_SIDED(watched_through_a_reconnect, kCold)
void watched_through_a_reconnect::client(Side& side) {
    UniqueFd fd = side.socket();
    Epoll level(side), edge(side);
    for (int round = 0; round < 2; round++) {
        SYS(connect_to(fd.get(), side.peer(side.hear_port())));
        side.warm_up(fd.get());
        if (round == 0) {
            level.add(fd.get(), EPOLLIN | EPOLLRDHUP);
            edge.add(fd.get(), EPOLLIN | EPOLLRDHUP | EPOLLET);
            while (edge.now()) {
            }
        }
        side.step("watched");
        CHECK_EQ(level.wait(), EPOLLIN);
        CHECK_EQ(edge.wait() & ~EPOLLHUP, EPOLLIN);
        side.in(fd.get()).receive(100);
        CHECK_EQ(level.now(), 0u);
        side.step("read");
        sockaddr none{};
        none.sa_family = AF_UNSPEC;
        SYS(::connect(fd.get(), &none, sizeof none));
        /* It is in both still, and hung up. */
        CHECK_EQ(level.now() & EPOLLHUP, EPOLLHUP);
        epoll_event e{};
        CHECK_ERRNO(epoll_ctl(level.fd(), EPOLL_CTL_ADD, fd.get(), &e), EEXIST);
        CHECK_ERRNO(epoll_ctl(edge.fd(), EPOLL_CTL_ADD, fd.get(), &e), EEXIST);
        while (edge.now()) {
        }
        side.step("disconnected");
    }
    level.remove(fd.get());
    edge.remove(fd.get());
}
void watched_through_a_reconnect::server(Side& side) {
    for (int round = 0; round < 2; round++) {
        UniqueFd listener = side.listen_and_tell();
        UniqueFd fd = side.accept(listener.get());
        side.warm_up(fd.get());
        side.step("watched");
        side.out(fd.get()).send(100);
        side.step("read");
        side.step("disconnected");
    }
}

TWO_SIDED(same_addresses_twice, 0)
void same_addresses_twice::client(Side& side) {
    const Address to = side.peer(side.hear_port());
    auto reuse = [](int fd) { set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1); };
    UniqueFd one = side.socket(), two = side.socket(), three = side.socket();
    reuse(one.get());
    reuse(two.get());
    bind_any(side, one.get(), 0);
    const std::uint16_t own = local_address(one.get()).port();
    bind_any(side, two.get(), own);
    SYS(connect_to(one.get(), to));
    CHECK_ERRNO(connect_to(two.get(), to), EADDRNOTAVAIL);
    Address taken = parse_address(side.family() == AF_INET ? "0.0.0.0" : "::");
    taken.set_port(own);
    CHECK_ERRNO(::bind(three.get(), taken.get(), taken.length), EADDRINUSE);
    /* To another port it may go. */
    SYS(connect_to(two.get(), side.peer(side.hear_port())));
    side.warm_up(one.get());
    side.warm_up(two.get());
    for (int fd : {one.get(), two.get()}) {
        Mirrored talk(side, fd);
        talk.round(20000);
        talk.end();
    }
}
void same_addresses_twice::server(Side& side) {
    UniqueFd first = side.listen_and_tell(), second = side.listen_and_tell();
    UniqueFd one = side.accept(first.get()), two = side.accept(second.get());
    side.warm_up(one.get());
    side.warm_up(two.get());
    mirror(one.get());
    mirror(two.get());
}

TWO_SIDED(bound_to_an_address, 0)
void bound_to_an_address::client(Side& side) {
    const std::uint16_t port = side.hear_port();
    Address own;
    {
        UniqueFd probe = side.connect(port);
        own = local_address(probe.get());
        own.set_port(0);
    }
    for (int late : {0, 1}) {
        UniqueFd fd = side.connect(port, [&](int s) {
            if (late)
                set_option(s, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
            SYS(::bind(s, own.get(), own.length));
            CHECK_EQ(local_address(s).port() == 0, late == 1);
        });
        Address now = local_address(fd.get());
        CHECK(now.port() != 0);
        now.set_port(0);
        CHECK_EQ(now.text(), own.text());
        CHECK_ERRNO(::bind(fd.get(), own.get(), own.length), EINVAL);
        talk_over(side, fd.get());
    }
}
void bound_to_an_address::server(Side& side) {
    UniqueFd listener = side.listen_and_tell();
    UniqueFd probe = side.accept(listener.get());
    for (int i = 0; i < 2; i++)
        serve_one(side, listener.get());
}

namespace {

/* The address of the other side, and that of this side, as a connection between them has them. */
std::pair<Address, Address> addresses(Side& side) {
    UniqueFd listener, probe;
    if (side.connector) {
        probe = side.connect(side.hear_port());
    } else {
        listener = side.listen_and_tell();
        probe = side.accept(listener.get());
    }
    std::pair<Address, Address> both{peer_address(probe.get()), local_address(probe.get())};
    side.step("addresses");
    return both;
}

/* Both ends connect at once, until their first packets have crossed: no listener is needed. */
UniqueFd connect_crossing(Side& side) {
    constexpr int kTries = 40;
    auto [to, own] = addresses(side);
    for (int i = 0; i < kTries; i++) {
        UniqueFd fd = side.socket(SOCK_NONBLOCK);
        own.set_port(0);
        SYS(::bind(fd.get(), own.get(), own.length));
        side.tell_number(local_address(fd.get()).port());
        to.set_port(side.hear_port());
        side.step("now");
        connect_to(fd.get(), to);
        side.settle();
        const bool mine = poll_now(fd.get(), POLLOUT) == POLLOUT;
        side.tell_number(mine);
        const bool theirs = side.hear_number() != 0;
        CHECK_EQ(mine, theirs);
        if (mine)
            return fd;
    }
    throw Skip("the first packets have never crossed");
}

} // namespace

TWO_SIDED(crossing_connects, kSlow)
void crossing_connects::client(Side& side) {
    UniqueFd fd = connect_crossing(side);
    set_nonblocking(fd.get(), false);
    CHECK_EQ(get_option(fd.get(), SOL_SOCKET, SO_ERROR), 0);
    talk_over(side, fd.get());
}
void crossing_connects::server(Side& side) {
    UniqueFd fd = connect_crossing(side);
    set_nonblocking(fd.get(), false);
    side.warm_up(fd.get());
    mirror(fd.get());
}

TWO_SIDED(connect_to_itself, 0)
void connect_to_itself::client(Side& side) {
    /* To its own port: its first packet crosses itself, and it is connected with itself. */
    auto [other, own] = addresses(side);
    for (Address to : {own, parse_address(side.family() == AF_INET ? "127.0.0.1" : "::1")}) {
        UniqueFd fd = side.socket();
        to.set_port(0);
        SYS(::bind(fd.get(), to.get(), to.length));
        to = local_address(fd.get());
        SYS(connect_to(fd.get(), to));
        CHECK_EQ(peer_address(fd.get()).text(), local_address(fd.get()).text());
        StreamWriter out = side.out(fd.get());
        StreamReader in = side.echo(fd.get());
        for (int i = 0; i < 20; i++) {
            out.send(1000);
            in.receive(1000);
        }
        SYS(shutdown(fd.get(), SHUT_WR));
        in.expect_end();
    }
}
void connect_to_itself::server(Side& side) {
    connect_to_itself::client(side);
}

TWO_SIDED(connect_to_the_own_machine, kMapped)
void connect_to_the_own_machine::client(Side& side) {
    /* Not by way of the other side: to a listener of this process, on the address it has there. */
    Address own;
    {
        UniqueFd probe = side.connect(side.hear_port());
        own = local_address(probe.get());
    }
    UniqueFd listener = side.listen();
    own.set_port(local_address(listener.get()).port());
    UniqueFd fd = side.socket();
    SYS(connect_to(fd.get(), own));
    UniqueFd accepted = side.accept(listener.get());
    StreamWriter out = side.out(fd.get()), back = side.out(accepted.get(), 1);
    StreamReader there = side.echo(accepted.get()), here(fd.get(), 2 + (side.client ? 1 : 0));
    for (int i = 0; i < 20; i++) {
        out.send(1000);
        there.receive(1000);
        back.send(2000);
        here.receive(2000);
    }
    SYS(shutdown(fd.get(), SHUT_WR));
    there.expect_end();
}
void connect_to_the_own_machine::server(Side& side) {
    UniqueFd listener = side.listen_and_tell();
    UniqueFd probe = side.accept(listener.get());
    side.in(probe.get()).expect_end();
}

TWO_SIDED(dual_stack_listener, kMapped)
void dual_stack_listener::client(Side& side) {
    UniqueFd fd = side.connect(side.hear_port());
    side.tell(peer_address(fd.get()).family() == side.family() ? "same" : "other");
    talk_over(side, fd.get());
}
void dual_stack_listener::server(Side& side) {
    /* An IPv6 listener that also serves IPv4, whatever the variant. */
    UniqueFd listener(SYS(::socket(AF_INET6, SOCK_STREAM, 0)));
    set_option(listener.get(), IPPROTO_IPV6, IPV6_V6ONLY, 0);
    Address any = parse_address("::");
    SYS(::bind(listener.get(), any.get(), any.length));
    SYS(::listen(listener.get(), 5));
    side.tell_number(local_address(listener.get()).port());
    CHECK_EQ(side.hear(), "same");
    side.await(listener.get(), POLLIN);
    Address from;
    from.length = sizeof from.storage;
    UniqueFd fd(SYS(::accept(listener.get(), from.get(), &from.length)));
    CHECK_EQ(from.family(), AF_INET6);
    const auto& six = reinterpret_cast<const sockaddr_in6&>(from.storage).sin6_addr;
    CHECK_EQ(IN6_IS_ADDR_V4MAPPED(&six) != 0, side.variant.family != Variant::Family::kV6);
    side.warm_up(fd.get());
    mirror(fd.get());
}

TWO_SIDED(v6only_listener_refuses_ipv4, 0)
void v6only_listener_refuses_ipv4::client(Side& side) {
    const Address to = side.peer(side.hear_port());
    UniqueFd fd = side.socket();
    if (side.family() == AF_INET)
        CHECK_ERRNO(connect_to(fd.get(), to), ECONNREFUSED);
    else
        SYS(connect_to(fd.get(), to));
    side.step("tried");
}
void v6only_listener_refuses_ipv4::server(Side& side) {
    UniqueFd listener(SYS(::socket(AF_INET6, SOCK_STREAM, 0)));
    set_option(listener.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1);
    Address any = parse_address("::");
    SYS(::bind(listener.get(), any.get(), any.length));
    SYS(::listen(listener.get(), 5));
    side.tell_number(local_address(listener.get()).port());
    side.step("tried");
}

TWO_SIDED(closed_while_connecting, 0)
void closed_while_connecting::client(Side& side) {
    const Address to = side.peer(side.hear_port());
    /* A connection that nobody waits for any more: nothing is left over, the next ones work. */
    for (int i = 0; i < 20; i++) {
        UniqueFd fd = side.socket(SOCK_NONBLOCK);
        if (connect_to(fd.get(), to) < 0)
            CHECK_EQ(errno_text(errno), "EINPROGRESS");
        if (i % 2)
            shutdown(fd.get(), SHUT_RDWR);
    }
    side.step("given up");
    UniqueFd fd = side.connect(side.hear_port());
    talk_over(side, fd.get());
}
void closed_while_connecting::server(Side& side) {
    UniqueFd listener = side.listen_and_tell(64);
    side.step("given up");
    UniqueFd other = side.listen_and_tell();
    serve_one(side, other.get());
    set_nonblocking(listener.get());
    for (int fd; (fd = accept(listener.get(), nullptr, nullptr)) >= 0;) {
        StreamReader in = side.in(fd);
        CHECK(in.receive_to_end_or_reset() == 0 || errno == ECONNRESET);
        close(fd);
    }
    CHECK_EQ(errno_text(errno), "EAGAIN");
}
