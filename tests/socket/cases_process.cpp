/* SPDX-License-Identifier: GPL-2.0 */
/* cases_process.cpp - sockets shared, copied, handed over, inherited, and left behind by processes.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cstring>
#include <vector>

#include "process.h"
#include "side.h"

using namespace xway::test;

TWO_SIDED(fork_child_writes_parent_reads, kPair | kCold)
void fork_child_writes_parent_reads::client(Side& side) {
    side.out().send(200000);
    StreamReader in = side.in();
    in.receive(300000);
    in.expect_end();
}
void fork_child_writes_parent_reads::server(Side& side) {
    Child writer([&] {
        side.out().send(300000);
        return 0;
    });
    side.in().receive(200000);
    CHECK_EQ(writer.wait(), 0);
    side.sock.reset();
}

TWO_SIDED(close_in_the_parent_keeps_it_open, kPair | kCold)
void close_in_the_parent_keeps_it_open::client(Side& side) {
    StreamWriter out = side.out();
    StreamReader in = side.in();
    for (int i = 0; i < 10; i++) {
        out.send(3000);
        in.receive(3000);
    }
    SYS(shutdown(side.sock.get(), SHUT_WR));
    in.expect_end();
}
void close_in_the_parent_keeps_it_open::server(Side& side) {
    Child child([&] {
        StreamWriter out = side.out();
        StreamReader in = side.in();
        for (int i = 0; i < 10; i++) {
            in.receive(3000);
            out.send(3000);
        }
        in.expect_end();
        return 0;
    });
    side.sock.reset();
    CHECK_EQ(child.wait(), 0);
}

TWO_SIDED(fork_before_accept_and_serve, 0)
void fork_before_accept_and_serve::client(Side& side) {
    auto port = side.hear_port();
    for (int i = 0; i < 5; i++) {
        UniqueFd fd = side.connect(port);
        side.out(fd.get()).send(5000);
        StreamReader in = side.in(fd.get());
        in.receive(5000);
        in.expect_end();
    }
}
void fork_before_accept_and_serve::server(Side& side) {
    /* The classic server: accept, fork, close in the parent. */
    UniqueFd listener = side.listen_and_tell();
    for (int i = 0; i < 5; i++) {
        UniqueFd fd = side.accept(listener.get());
        Child child([&] {
            listener.reset();
            side.in(fd.get()).receive(5000);
            side.out(fd.get()).send(5000);
            return 0;
        });
        fd.reset();
        CHECK_EQ(child.wait(), 0);
    }
}

TWO_SIDED(dup_is_the_same_connection, kPair | kCold)
void dup_is_the_same_connection::client(Side& side) {
    side.out().send(30000);
    StreamReader in = side.in();
    in.receive(30000);
    in.expect_end();
}
void dup_is_the_same_connection::server(Side& side) {
    int fd = side.sock.get();
    UniqueFd copy(SYS(dup(fd)));
    UniqueFd target(SYS(open("/dev/null", O_RDWR)));
    SYS(dup2(fd, target.get()));
    UniqueFd third(SYS(fcntl(fd, F_DUPFD_CLOEXEC, 100)));
    std::uint64_t read = 0;
    /* One stream, read by turns through all of them. */
    StreamReader in = side.in();
    int turn = 0;
    while (read < 30000) {
        int from[] = {fd, copy.get(), target.get(), third.get()};
        std::vector<std::byte> bytes(4096);
        auto n =
            static_cast<std::size_t>(SYS(recv(from[turn++ % 4], bytes.data(), bytes.size(), 0)));
        CHECK(n > 0);
        in.accept(std::span(bytes).first(n));
        read += n;
    }
    side.sock.reset();
    copy.reset();
    target.reset();
    side.out(third.get()).send(30000);
}

TWO_SIDED(descriptor_sent_to_another_process, kPair | kCold)
void descriptor_sent_to_another_process::client(Side& side) {
    StreamWriter out = side.out();
    StreamReader in = side.in();
    out.send(5000);
    in.receive(5000);
    out.send(5000);
    in.receive(5000);
    SYS(shutdown(side.sock.get(), SHUT_WR));
    in.expect_end();
}
void descriptor_sent_to_another_process::server(Side& side) {
    int ends[2];
    SYS(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
    UniqueFd mine(ends[0]), theirs(ends[1]);
    int passed = side.sock.release();
    Child other([&] {
        side.settle(); /* both have it for a while */
        close(passed);
        mine.reset();
        char byte, control[CMSG_SPACE(sizeof(int))];
        iovec piece{&byte, 1};
        msghdr m{};
        m.msg_iov = &piece;
        m.msg_iovlen = 1;
        m.msg_control = control;
        m.msg_controllen = sizeof control;
        CHECK_EQ(SYS(recvmsg(theirs.get(), &m, 0)), 1);
        int fd;
        std::memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof fd);
        StreamReader in = side.in(fd);
        StreamWriter out = side.out(fd);
        in.skip(5000);
        out.advance(5000);
        in.receive(5000);
        out.send(5000);
        in.expect_end();
        return 0;
    });
    theirs.reset();
    side.in(passed).receive(5000);
    side.out(passed).send(5000);
    side.await(passed, POLLIN); /* what is unread goes with it */
    char byte = 1, control[CMSG_SPACE(sizeof(int))] = {};
    iovec piece{&byte, 1};
    msghdr m{};
    m.msg_iov = &piece;
    m.msg_iovlen = 1;
    m.msg_control = control;
    m.msg_controllen = sizeof control;
    cmsghdr* header = CMSG_FIRSTHDR(&m);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &passed, sizeof passed);
    CHECK_EQ(SYS(sendmsg(mine.get(), &m, 0)), 1);
    close(passed);
    CHECK_EQ(other.wait(), 0);
}

TWO_SIDED(exec_inherits_the_socket, kPair | kCold)
void exec_inherits_the_socket::client(Side& side) {
    StreamWriter out = side.out();
    StreamReader in = side.echo(); /* what comes back is this side's own stream */
    for (std::size_t n : {1u, 100u, 30000u}) {
        out.send(n);
        in.receive(n);
    }
    SYS(shutdown(side.sock.get(), SHUT_WR));
    in.expect_end();
}
void exec_inherits_the_socket::server(Side& side) {
    Child program([&] {
        std::string fd = std::to_string(side.sock.get());
        execl("/proc/self/exe", "xway-socket-cases", "echo-descriptor", fd.c_str(), nullptr);
        return 98;
    });
    side.sock.reset();
    CHECK_EQ(program.wait(), 0);
}
