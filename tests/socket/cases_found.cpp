/* SPDX-License-Identifier: GPL-2.0 */
/* cases_found.cpp - what tests/fuzz has found, each in as few calls as show it. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/uio.h>

#include <array>
#include <vector>

#include "epoll.h"
#include "process.h"
#include "side.h"

using namespace xway::test;

/* recv() of nothing is not over at once: it waits for something to read, and takes none of it. */
TWO_SIDED(zero_length_recv_asks, kPair | kCold)
void zero_length_recv_asks::client(Side& side) {
    const int fd = side.sock.get();
    char byte = 0;
    iovec none{&byte, 0};
    msghdr message{};
    message.msg_iov = &none;
    message.msg_iovlen = 1;
    CHECK_ERRNO(recv(fd, &byte, 0, MSG_DONTWAIT), EAGAIN);
    CHECK_ERRNO(recv(fd, &byte, 0, MSG_DONTWAIT | MSG_PEEK), EAGAIN);
    CHECK_ERRNO(recvmsg(fd, &message, MSG_DONTWAIT), EAGAIN);
    CHECK_EQ(read(fd, &byte, 0), 0); /* which is over at once */
    CHECK_EQ(readv(fd, &none, 1), 0);
    side.step("nothing is there");
    CHECK_EQ(recv(fd, &byte, 0, 0), 0);
    side.await(fd, POLLIN);
    CHECK_EQ(recv(fd, &byte, 0, MSG_DONTWAIT), 0);
    side.in().receive(10);
    side.step("read");
    side.await(fd, POLLRDHUP);
    CHECK_EQ(recv(fd, &byte, 0, 0), 0);
}
void zero_length_recv_asks::server(Side& side) {
    side.step("nothing is there");
    side.settle();
    side.out().send(10);
    side.step("read");
    SYS(shutdown(side.sock.get(), SHUT_WR));
}

/* send() of nothing is told of an end; writev() is not. */
TWO_SIDED(zero_length_send_after_shutdown, kPair | kCold)
void zero_length_send_after_shutdown::client(Side& side) {
    const int fd = side.sock.get();
    char byte = 0;
    const iovec none{&byte, 0};
    CHECK_EQ(send(fd, &byte, 0, 0), 0);
    SYS(shutdown(fd, SHUT_WR));
    CHECK_ERRNO(send(fd, &byte, 0, MSG_NOSIGNAL), EPIPE);
    CHECK_ERRNO(write(fd, &byte, 0), EPIPE);
    CHECK_EQ(writev(fd, &none, 1), 0);
    side.in().receive(10);
}
void zero_length_send_after_shutdown::server(Side& side) {
    side.in().expect_end();
    side.out().send(10);
}

/* Who sends to one that has shut down both ways, and not closed, is told. */
TWO_SIDED(send_to_shut_both_ways, kPair | kCold)
void send_to_shut_both_ways::client(Side& side) {
    const int fd = side.sock.get();
    side.step("shut");
    side.await(fd, POLLRDHUP);
    SYS(send(fd, "x", 1, MSG_NOSIGNAL));
    side.await_true("the reset is here", [&] { return (poll_now(fd, 0) & POLLERR) != 0; });
    CHECK_ERRNO(send(fd, "x", 1, MSG_NOSIGNAL), EPIPE);
    side.step("told");
}
void send_to_shut_both_ways::server(Side& side) {
    SYS(shutdown(side.sock.get(), SHUT_RD));
    SYS(shutdown(side.sock.get(), SHUT_WR));
    side.step("shut");
    side.step("told");
}

/* Who has shut down both ways and is sent more: what he had before is still his, then the reset. */
TWO_SIDED(reset_by_data_for_shut_both_ways, kPair | kCold)
void reset_by_data_for_shut_both_ways::client(Side& side) {
    const int fd = side.sock.get();
    StreamReader in = side.in();
    side.step("sent");
    side.await_true("all has come", [&] { return waiting(fd) == 50; });
    SYS(shutdown(fd, SHUT_RDWR));
    side.step("shut");
    side.step("sent again");
    side.await_true("the reset is here", [&] { return (poll_now(fd, 0) & POLLERR) != 0; });
    CHECK_EQ(SYS(in.receive_some(100)), 50);
    CHECK_ERRNO(in.receive_some(100), ECONNRESET);
    CHECK_EQ(SYS(in.receive_some(100)), 0);
}
void reset_by_data_for_shut_both_ways::server(Side& side) {
    StreamWriter out = side.out();
    out.send(50);
    side.step("sent");
    side.step("shut");
    side.await(side.sock.get(), POLLRDHUP);
    SYS(out.send_some(10));
    side.step("sent again");
}

/* A read that a reset ends has what came before; the next one is told, and so is poll. */
TWO_SIDED(reset_ends_waitall, kPair | kCold)
void reset_ends_waitall::client(Side& side) {
    const int fd = side.sock.get();
    StreamReader in = side.in();
    side.step("reading");
    CHECK_EQ(SYS(in.receive_some(100, MSG_WAITALL)), 40);
    CHECK_EQ(poll_now(fd, 0), POLLERR | POLLHUP);
    CHECK_ERRNO(in.receive_some(10), ECONNRESET);
    CHECK_EQ(poll_now(fd, 0), POLLHUP);
    CHECK_EQ(SYS(in.receive_some(10)), 0);
}
void reset_ends_waitall::server(Side& side) {
    side.out().send(40);
    side.step("reading");
    side.settle();
    close_hard(side.sock);
}

/* SPLICE_F_NONBLOCK is of the pipe alone: the socket is waited for. */
TWO_SIDED(splice_nonblock_waits_for_socket, kPair | kCold)
void splice_nonblock_waits_for_socket::client(Side& side) {
    int ends[2];
    SYS(pipe(ends));
    const UniqueFd reading(ends[0]), writing(ends[1]);
    StreamReader in = side.in();
    side.step("nothing is there");
    CHECK_EQ(splice(side.sock.get(), nullptr, writing.get(), nullptr, 10, SPLICE_F_NONBLOCK), 10);
    std::array<std::byte, 10> bytes;
    SYS(read(reading.get(), bytes.data(), bytes.size()));
    in.accept(bytes);
    set_nonblocking(side.sock.get());
    CHECK_ERRNO(splice(side.sock.get(), nullptr, writing.get(), nullptr, 10, 0), EAGAIN);
    side.step("spliced");
}
void splice_nonblock_waits_for_socket::server(Side& side) {
    side.step("nothing is there");
    side.settle();
    side.out().send(10);
    side.step("spliced");
}

/* An error that waits comes before bytes in recvmmsg(), and only there. */
TWO_SIDED(recvmmsg_tells_error_first, kPair | kCold)
void recvmmsg_tells_error_first::client(Side& side) {
    const int fd = side.sock.get();
    side.step("sent and reset");
    side.await_true("the reset is here", [&] { return (poll_now(fd, 0) & POLLERR) != 0; });
    std::array<char, 10> bytes;
    iovec part{bytes.data(), bytes.size()};
    mmsghdr message{};
    message.msg_hdr.msg_iov = &part;
    message.msg_hdr.msg_iovlen = 1;
    CHECK_ERRNO(recvmmsg(fd, &message, 1, MSG_DONTWAIT, nullptr), ECONNRESET);
    CHECK_EQ(recvmmsg(fd, &message, 1, MSG_DONTWAIT, nullptr), 1);
    CHECK_EQ(message.msg_len, 10u);
}
void recvmmsg_tells_error_first::server(Side& side) {
    side.out().send(10);
    side.step("sent and reset");
    close_hard(side.sock);
}

namespace {

constexpr std::size_t kRounds = 20; /* of a case's own, beyond the calls after which libxway acts */

/* A child that had the connection has ended; what its parent closes after that is the last of it.
 */
void close_after_child(Side& side, const std::function<int()>& ends) {
    side.step("asleep");
    Child child(ends);
    child.wait();
    side.settle();
    side.sock.reset();
    side.step("closed");
}

/* Sees the end at once, and does not need the next call to. */
void expect_end_at_once(Side& side) {
    const int fd = side.sock.get();
    side.step("asleep");
    CHECK(side.await(fd, POLLIN) & POLLIN);
    char byte;
    CHECK_EQ(recv(fd, &byte, 1, MSG_DONTWAIT), 0);
    side.step("closed");
}

} // namespace

TWO_SIDED(close_after_child_left, kPair | kCold)
void close_after_child_left::client(Side& side) {
    close_after_child(side, [] { return 0; });
}
void close_after_child_left::server(Side& side) {
    expect_end_at_once(side);
}

TWO_SIDED(close_after_child_was_killed, kPair | kCold)
void close_after_child_was_killed::client(Side& side) {
    close_after_child(side, [] { return raise(SIGKILL); });
}
void close_after_child_was_killed::server(Side& side) {
    expect_end_at_once(side);
}

/* The set that it had, too, goes on telling its parent of both rails. */
TWO_SIDED(epoll_after_child_left, kPair | kCold)
void epoll_after_child_left::client(Side& side) {
    const int fd = side.sock.get();
    Epoll epoll(side);
    epoll.add(fd, EPOLLIN | EPOLLPRI | EPOLLET);
    StreamReader in = side.in();
    side.step("watched");
    CHECK_EQ(epoll.wait(), static_cast<std::uint32_t>(EPOLLIN));
    in.receive(10);
    Child child([&] { return shutdown(fd, SHUT_RD); });
    child.wait();
    epoll.now(); /* of that it tells */
    side.step("left");
    CHECK(epoll.wait() & EPOLLIN);
    side.step("told");
    /* An edge that was told before may come once more. */
    side.await_true("the urgent byte is told", [&] { return (epoll.now() & EPOLLPRI) != 0; });
    in.receive(20);
}
void epoll_after_child_left::server(Side& side) {
    StreamWriter out = side.out();
    side.step("watched");
    out.send(10);
    side.step("left");
    out.send(20);
    side.step("told");
    SYS(send(side.sock.get(), "!", 1, MSG_OOB));
}

/* Each of several sets is told of each arrival, whichever is asked first. */
TWO_SIDED(epoll_several_sets_are_told, kPair | kCold)
void epoll_several_sets_are_told::client(Side& side) {
    constexpr std::size_t kSets = 4;
    const int fd = side.sock.get();
    std::vector<Epoll> sets;
    for (std::size_t i = 0; i < kSets; i++) {
        sets.emplace_back(side);
        sets.back().add(fd, EPOLLIN | EPOLLET);
    }
    StreamReader in = side.in();
    for (std::size_t round = 0; round < kRounds; round++) {
        side.step("send");
        for (std::size_t i = 0; i < kSets; i++)
            CHECK_EQ(sets[(round + i) % kSets].wait(), static_cast<std::uint32_t>(EPOLLIN));
        in.receive(10);
    }
}
void epoll_several_sets_are_told::server(Side& side) {
    StreamWriter out = side.out();
    for (std::size_t round = 0; round < kRounds; round++) {
        side.step("send");
        out.send(10);
    }
}

/* What its parent leaves unread makes a reset of it. */
TWO_SIDED(reset_after_child_left, kPair | kCold)
void reset_after_child_left::client(Side& side) {
    side.step("sent");
    side.await(side.sock.get(), POLLIN);
    close_after_child(side, [] { return 0; });
}
void reset_after_child_left::server(Side& side) {
    const int fd = side.sock.get();
    side.out().send(10);
    side.step("sent");
    side.step("asleep");
    side.step("closed");
    side.await_true("the reset is here", [&] { return (poll_now(fd, 0) & POLLERR) != 0; });
    char byte;
    CHECK_ERRNO(recv(fd, &byte, 1, 0), ECONNRESET);
}
