/* SPDX-License-Identifier: GPL-2.0 */
/* cases_backlog.cpp - listeners: how many wait, who is served, and what ends it. */
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>

#include <thread>
#include <vector>

#include "mirror.h"
#include "process.h"

using namespace xway::test;

namespace {

/* Connections to `port` that each have sent a number; those that could not wait are not among
 * them. */
std::vector<UniqueFd> crowd(Side& side, std::uint16_t port, unsigned many) {
    std::vector<UniqueFd> fds;
    const Address to = side.peer(port);
    for (unsigned i = 0; i < many; i++) {
        fds.push_back(side.socket(SOCK_NONBLOCK));
        if (::connect(fds.back().get(), to.get(), to.length) < 0)
            CHECK_EQ(errno_text(errno), "EINPROGRESS");
    }
    return fds;
}

void bind_any(const Side& side, int fd) {
    const Address any = parse_address(side.family() == AF_INET ? "0.0.0.0" : "::");
    SYS(::bind(fd, any.get(), any.length));
}

} // namespace

TWO_SIDED(backlog_overflows_and_drains, kSlow)
void backlog_overflows_and_drains::client(Side& side) {
    constexpr unsigned kMany = 12;
    std::vector<UniqueFd> fds = crowd(side, side.hear_port(), kMany);
    side.settle(2);
    side.step("all have tried");
    /* Those for whom there was no room try again by themselves. */
    for (unsigned i = 0; i < kMany; i++) {
        CHECK_EQ(side.await(fds[i].get(), POLLOUT), POLLOUT);
        set_nonblocking(fds[i].get(), false);
        Mirrored talk(side, fds[i].get());
        /* One segment: a listener that has sent SYN cookies resets whoever begins with another. */
        talk.round(1000);
        talk.end();
        fds[i].reset();
    }
}
void backlog_overflows_and_drains::server(Side& side) {
    UniqueFd listener = side.listen_and_tell(2);
    side.step("all have tried");
    tcp_info info{};
    socklen_t length = sizeof info;
    SYS(getsockopt(listener.get(), IPPROTO_TCP, TCP_INFO, &info, &length));
    CHECK(info.tcpi_state == TCP_LISTEN && info.tcpi_unacked <= 3 && info.tcpi_sacked == 2);
    /* In whatever order: a connection that was dropped comes after those that waited. */
    std::vector<std::thread> servants;
    for (int i = 0; i < 12; i++) {
        const int fd = side.accept(listener.get()).release();
        servants.emplace_back([fd] {
            mirror(fd);
            close(fd);
        });
    }
    for (std::thread& servant : servants)
        servant.join();
}

TWO_SIDED(listen_again_changes_the_backlog, 0)
void listen_again_changes_the_backlog::client(Side& side) {
    const std::uint16_t port = side.hear_port();
    std::vector<UniqueFd> fds = crowd(side, port, 4);
    for (UniqueFd& fd : fds)
        CHECK_EQ(side.await(fd.get(), POLLOUT), POLLOUT);
    for (UniqueFd& fd : fds) {
        set_nonblocking(fd.get(), false);
        Mirrored talk(side, fd.get());
        talk.round(500);
        talk.end();
    }
}
void listen_again_changes_the_backlog::server(Side& side) {
    UniqueFd listener = side.listen(0);
    SYS(::listen(listener.get(), 16));
    tcp_info info{};
    socklen_t length = sizeof info;
    SYS(getsockopt(listener.get(), IPPROTO_TCP, TCP_INFO, &info, &length));
    CHECK_EQ(info.tcpi_sacked, 16u);
    SYS(::listen(listener.get(), -1)); /* as much as there may be */
    SYS(getsockopt(listener.get(), IPPROTO_TCP, TCP_INFO, &info, &length));
    CHECK(info.tcpi_sacked > 16);
    side.tell_number(local_address(listener.get()).port());
    for (int i = 0; i < 4; i++) {
        UniqueFd fd = side.accept(listener.get());
        mirror(fd.get());
    }
}

TWO_SIDED(listen_without_bind, kMapped)
void listen_without_bind::client(Side& side) {
    UniqueFd fd = side.connect(side.hear_port());
    Mirrored talk(side, fd.get());
    talk.round();
    talk.end();
}
void listen_without_bind::server(Side& side) {
    UniqueFd listener = side.socket();
    if (side.variant.family == Variant::Family::kMapped)
        set_option(listener.get(), IPPROTO_IPV6, IPV6_V6ONLY, 0);
    SYS(::listen(listener.get(), 5));
    const std::uint16_t port = local_address(listener.get()).port();
    CHECK(port != 0);
    side.tell_number(port);
    UniqueFd fd = side.accept(listener.get());
    CHECK_EQ(local_address(fd.get()).port(), port);
    mirror(fd.get());
}

TWO_SIDED(port_of_a_listener_is_its_own, 0)
void port_of_a_listener_is_its_own::client(Side& side) {
    const std::uint16_t port = side.hear_port();
    /* The same port on the other machine, whoever that is: free, as far as this one goes. */
    UniqueFd fd = side.connect(port);
    CHECK_EQ(peer_address(fd.get()).port(), port);
    Mirrored talk(side, fd.get());
    talk.round();
    talk.end();
}
void port_of_a_listener_is_its_own::server(Side& side) {
    /* bind() to 0 and listen() agree, and nobody has set SO_REUSEPORT behind our back. */
    UniqueFd listener = side.socket();
    bind_any(side, listener.get());
    const std::uint16_t port = local_address(listener.get()).port();
    SYS(::listen(listener.get(), 5));
    CHECK_EQ(local_address(listener.get()).port(), port);
    CHECK_EQ(get_option(listener.get(), SOL_SOCKET, SO_REUSEPORT), 0);
    CHECK_EQ(get_option(listener.get(), SOL_SOCKET, SO_REUSEADDR), 0);
    Address taken = local_address(listener.get());
    for (int reuse : {0, 1}) {
        UniqueFd other = side.socket();
        set_option(other.get(), SOL_SOCKET, SO_REUSEPORT, reuse);
        CHECK_ERRNO(::bind(other.get(), taken.get(), taken.length), EADDRINUSE);
    }
    side.tell_number(port);
    UniqueFd fd = side.accept(listener.get());
    CHECK_EQ(get_option(fd.get(), SOL_SOCKET, SO_REUSEPORT), 0);
    mirror(fd.get());
}

TWO_SIDED(listener_is_not_a_stream, 0)
void listener_is_not_a_stream::client(Side& side) {
    UniqueFd fd = side.connect(side.hear_port());
    Mirrored talk(side, fd.get());
    talk.round();
    talk.end();
}
void listener_is_not_a_stream::server(Side& side) {
    UniqueFd listener = side.listen_and_tell();
    char byte = 0;
    Address name = local_address(listener.get());
    CHECK_ERRNO(recv(listener.get(), &byte, 1, 0), ENOTCONN);
    CHECK_ERRNO(send(listener.get(), &byte, 1, MSG_NOSIGNAL), EPIPE);
    CHECK_ERRNO(getpeername(listener.get(), name.get(), &name.length), ENOTCONN);
    CHECK_ERRNO(::connect(listener.get(), name.get(), name.length), EISCONN);
    CHECK_ERRNO(accept4(listener.get(), nullptr, nullptr, 0x40000000), EINVAL);
    CHECK_EQ(poll_now(listener.get(), POLLOUT), 0);
    /* An address that cannot be written costs the connection. */
    side.await(listener.get(), POLLIN);
    UniqueFd fd(SYS(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC)));
    CHECK_ERRNO(accept(fd.get(), nullptr, nullptr), EINVAL);
    mirror(fd.get());
}

TWO_SIDED(accept_with_a_bad_address, 0)
void accept_with_a_bad_address::client(Side& side) {
    const std::uint16_t port = side.hear_port();
    for (int i = 0; i < 3; i++) {
        UniqueFd fd = side.connect(port);
        side.in(fd.get()).expect_end();
    }
    UniqueFd fd = side.connect(port);
    Mirrored talk(side, fd.get());
    talk.round();
    talk.end();
}
void accept_with_a_bad_address::server(Side& side) {
    UniqueFd listener = side.listen_and_tell();
    auto* const nowhere = reinterpret_cast<sockaddr*>(8);
    Address from;
    from.length = sizeof from.storage;
    /* The connection is taken, and then dropped. */
    side.await(listener.get(), POLLIN);
    CHECK_ERRNO(accept(listener.get(), nowhere, &from.length), EFAULT);
    side.await(listener.get(), POLLIN);
    CHECK_ERRNO(accept(listener.get(), from.get(), reinterpret_cast<socklen_t*>(8)), EFAULT);
    side.await(listener.get(), POLLIN);
    socklen_t negative = static_cast<socklen_t>(-1);
    CHECK_ERRNO(accept(listener.get(), from.get(), &negative), EINVAL);
    UniqueFd fd = side.accept(listener.get());
    mirror(fd.get());
}

TWO_SIDED(short_room_for_a_name, 0)
void short_room_for_a_name::client(Side& side) {
    UniqueFd fd = side.connect(side.hear_port());
    sockaddr_storage name;
    std::fill_n(reinterpret_cast<char*>(&name), sizeof name, '\x5a');
    socklen_t length = 4;
    SYS(getpeername(fd.get(), reinterpret_cast<sockaddr*>(&name), &length));
    CHECK_EQ(length, peer_address(fd.get()).length);
    CHECK_EQ(reinterpret_cast<char*>(&name)[4], '\x5a');
    Mirrored talk(side, fd.get());
    talk.end();
}
void short_room_for_a_name::server(Side& side) {
    UniqueFd listener = side.listen_and_tell();
    side.await(listener.get(), POLLIN);
    sockaddr_storage name;
    std::fill_n(reinterpret_cast<char*>(&name), sizeof name, '\x5a');
    socklen_t length = 4;
    UniqueFd fd(SYS(accept(listener.get(), reinterpret_cast<sockaddr*>(&name), &length)));
    CHECK_EQ(length, peer_address(fd.get()).length);
    CHECK_EQ(reinterpret_cast<char*>(&name)[4], '\x5a');
    mirror(fd.get());
}

TWO_SIDED(shutdown_of_a_listener, 0)
void shutdown_of_a_listener::client(Side& side) {
    const std::uint16_t port = side.hear_port();
    side.step("shut");
    UniqueFd fd = side.socket();
    const Address to = side.peer(port);
    CHECK_ERRNO(::connect(fd.get(), to.get(), to.length), ECONNREFUSED);
    side.step("refused");
    UniqueFd again = side.connect(side.hear_port());
    Mirrored talk(side, again.get());
    talk.round();
    talk.end();
}
void shutdown_of_a_listener::server(Side& side) {
    UniqueFd listener = side.listen_and_tell();
    std::thread closer([&] {
        side.settle(2);
        shutdown(listener.get(), SHUT_RD);
    });
    /* Whoever waits is woken. */
    const int waited = ::accept(listener.get(), nullptr, nullptr);
    const int error = errno;
    closer.join();
    CHECK(waited < 0 && error == EINVAL);
    CHECK_ERRNO(::accept(listener.get(), nullptr, nullptr), EINVAL);
    side.step("shut");
    side.step("refused");
    SYS(::listen(listener.get(), 5)); /* and listens anew */
    side.tell_number(local_address(listener.get()).port());
    UniqueFd fd = side.accept(listener.get());
    mirror(fd.get());
}

TWO_SIDED(reset_before_accept, 0)
void reset_before_accept::client(Side& side) {
    const std::uint16_t port = side.hear_port();
    {
        UniqueFd fd = side.connect(port);
        side.out(fd.get()).send(100);
        close_hard(fd);
    }
    side.step("reset");
    UniqueFd fd = side.connect(port);
    Mirrored talk(side, fd.get());
    talk.round();
    talk.end();
}
void reset_before_accept::server(Side& side) {
    UniqueFd listener = side.listen_and_tell();
    side.step("reset");
    side.settle();
    /* Linux yields it all the same, with what had come before the reset. */
    UniqueFd dead = side.accept(listener.get());
    StreamReader in = side.in(dead.get());
    in.receive(100);
    CHECK_ERRNO(in.receive_some(100), ECONNRESET);
    CHECK_EQ(in.receive_some(100), 0);
    UniqueFd fd = side.accept(listener.get());
    mirror(fd.get());
}

TWO_SIDED(timeouts_are_inherited, kCold)
void timeouts_are_inherited::client(Side& side) {
    UniqueFd fd = side.connect(side.hear_port());
    side.warm_up(fd.get());
    side.step("timed out");
    Mirrored talk(side, fd.get());
    talk.round();
    talk.end();
}
void timeouts_are_inherited::server(Side& side) {
    UniqueFd listener = side.listen(8, 0, 0, [](int fd) {
        timeval t{0, 300000};
        SYS(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t));
        SYS(fcntl(fd, F_SETFL, O_NONBLOCK));
        linger l{1, 3};
        SYS(setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof l));
    });
    side.tell_number(local_address(listener.get()).port());
    UniqueFd fd = side.accept(listener.get());
    /* Options are, flags of the file are not. */
    CHECK_EQ(SYS(fcntl(fd.get(), F_GETFL)) & O_NONBLOCK, 0);
    linger l{};
    socklen_t length = sizeof l;
    SYS(getsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &l, &length));
    CHECK(l.l_onoff == 1 && l.l_linger == 3);
    timeval none{2 + side.patience_ms() / 1000, 0};
    if (!side.variant.cold) {
        SYS(setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &none, sizeof none));
        side.warm_up(fd.get());
        timeval t{0, 300000};
        SYS(setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t));
    }
    const std::int64_t start = now_ms();
    CHECK_ERRNO(side.in(fd.get()).receive_some(10), EAGAIN);
    CHECK(now_ms() - start >= 280);
    SYS(setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &none, sizeof none));
    side.step("timed out");
    mirror(fd.get());
}
