/* SPDX-License-Identifier: GPL-2.0 */
/* cases_send.cpp - what the calls that send take and refuse, and how much of it they take. */
#include <poll.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <climits>
#include <csignal>
#include <vector>

#include "cliff.h"
#include "side.h"
#include "signals.h"

using namespace xway::test;

namespace {

constexpr int kCompat = static_cast<int>(0x80000000u); /* MSG_CMSG_COMPAT: the kernel's own */

iovec piece_of(std::vector<std::byte>& bytes) {
    return {bytes.data(), bytes.size()};
}

} // namespace

TWO_SIDED(send_ignores_flags_of_other_protocols, kPair | kCold)
void send_ignores_flags_of_other_protocols::client(Side& side) {
    StreamWriter out = side.out();
    constexpr int kProbe = 0x10; /* MSG_PROBE: the kernel's name, which libc calls MSG_PROXY */
    const int ignored[] = {MSG_CONFIRM, MSG_DONTROUTE, MSG_EOR,     kProbe,           MSG_TRUNC,
                           MSG_CTRUNC,  MSG_PEEK,      MSG_WAITALL, MSG_CMSG_CLOEXEC, MSG_SYN};
    for (int flags : ignored)
        for (std::size_t n : {1u, 900u}) {
            CHECK_EQ(SYS(out.send_some(n, flags)), static_cast<ssize_t>(n));
            auto bytes = out.next(n);
            iovec piece = piece_of(bytes);
            msghdr m{};
            m.msg_iov = &piece;
            m.msg_iovlen = 1;
            /* What the header has for flags is not looked at. */
            m.msg_flags = MSG_OOB;
            CHECK_EQ(SYS(sendmsg(side.sock.get(), &m, flags)), static_cast<ssize_t>(n));
            out.advance(n);
        }
    side.in().receive(1);
}
void send_ignores_flags_of_other_protocols::server(Side& side) {
    side.in().receive(10 * 2 * 901);
    side.out().send(1);
}

TWO_SIDED(send_checks_the_address_and_ignores_it, kPair)
void send_checks_the_address_and_ignores_it::client(Side& side) {
    int fd = side.sock.get();
    StreamWriter out = side.out();
    Address other = parse_address(side.family() == AF_INET ? "2001:db8::7" : "192.0.2.7");
    other.set_port(9);
    auto send_to = [&](const sockaddr* to, socklen_t length) {
        auto bytes = out.next(70);
        CHECK_EQ(SYS(sendto(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL, to, length)), 70);
        out.advance(70);
    };
    send_to(other.get(), other.length);
    send_to(other.get(), 0);
    send_to(other.get(), 1);
    send_to(nullptr, 16);
    CHECK_ERRNO(sendto(fd, "x", 1, 0, other.get(), sizeof(sockaddr_storage) + 1), EINVAL);
    CHECK_ERRNO(sendto(fd, "x", 1, 0, nowhere<sockaddr>(), 16), EFAULT);
    auto bytes = out.next(70);
    iovec piece = piece_of(bytes);
    msghdr m{};
    m.msg_iov = &piece;
    m.msg_iovlen = 1;
    m.msg_name = other.get();
    m.msg_namelen = other.length;
    CHECK_EQ(SYS(sendmsg(fd, &m, 0)), 70);
    out.advance(70);
    m.msg_name = nowhere<void>();
    CHECK_ERRNO(sendmsg(fd, &m, 0), EFAULT);
    side.in().receive(1);
}
void send_checks_the_address_and_ignores_it::server(Side& side) {
    side.in().receive(5 * 70);
    side.out().send(1);
}

TWO_SIDED(lists_of_pieces_have_limits, kPair | kCold)
void lists_of_pieces_have_limits::client(Side& side) {
    int fd = side.sock.get();
    char byte = 'x';
    std::vector<iovec> many(1025, iovec{&byte, 0});
    for (volatile int wrong : {1025, -1}) {
        CHECK_ERRNO(writev(fd, many.data(), wrong), EINVAL);
        CHECK_ERRNO(readv(fd, many.data(), wrong), EINVAL);
    }
    CHECK_EQ(SYS(writev(fd, many.data(), 0)), 0);
    CHECK_EQ(SYS(readv(fd, many.data(), 0)), 0);
    msghdr m{};
    m.msg_iov = many.data();
    m.msg_iovlen = 1025;
    CHECK_ERRNO(sendmsg(fd, &m, 0), EMSGSIZE);
    CHECK_ERRNO(recvmsg(fd, &m, MSG_DONTWAIT), EMSGSIZE);
    m.msg_iovlen = 1024;
    CHECK_EQ(SYS(sendmsg(fd, &m, 0)), 0);
    iovec negative{&byte, static_cast<std::size_t>(-1)};
    CHECK_ERRNO(writev(fd, &negative, 1), EINVAL);
    CHECK_ERRNO(readv(fd, &negative, 1), EINVAL);
    m.msg_iov = &negative;
    m.msg_iovlen = 1;
    CHECK_ERRNO(sendmsg(fd, &m, 0), EINVAL);
    CHECK_ERRNO(recvmsg(fd, &m, MSG_DONTWAIT), EINVAL);
    side.out().send(10);
    side.in().receive(1);
}
void lists_of_pieces_have_limits::server(Side& side) {
    side.in().receive(10);
    side.out().send(1);
}

TWO_SIDED(fault_in_the_middle_of_a_send, kPair | kCold)
void fault_in_the_middle_of_a_send::client(Side& side) {
    int fd = side.sock.get();
    StreamWriter out = side.out();
    Cliff cliff(16);
    /* Some of what is there may go, nothing that is not there, and what has gone is counted. */
    for (std::size_t there : {1u, 39u, 4000u, 4096u, 9000u, 60000u}) {
        std::byte* at = cliff.put(out.next(there));
        ssize_t n = send(fd, at, there + 1000, MSG_NOSIGNAL);
        if (n < 0)
            CHECK_EQ(errno_text(errno), "EFAULT");
        CHECK(n <= static_cast<ssize_t>(there));
        out.advance(n > 0 ? static_cast<std::size_t>(n) : 0);
    }
    auto bytes = out.next(500);
    iovec pieces[3] = {{bytes.data(), 500}, {nowhere<void>(), 100}, {bytes.data(), 500}};
    ssize_t n = writev(fd, pieces, 3);
    if (n < 0)
        CHECK_EQ(errno_text(errno), "EFAULT");
    CHECK(n <= 500);
    out.advance(n > 0 ? static_cast<std::size_t>(n) : 0);
    out.send(3000);
    side.tell_number(static_cast<long long>(out.position()));
    side.in().receive(1);
}
void fault_in_the_middle_of_a_send::server(Side& side) {
    StreamReader in = side.in();
    in.receive(static_cast<std::size_t>(side.hear_number()));
    CHECK_ERRNO(in.receive_some(1, MSG_DONTWAIT), EAGAIN);
    side.out().send(1);
}

TWO_SIDED(headers_that_are_nowhere, kPair)
void headers_that_are_nowhere::client(Side& side) {
    int fd = side.sock.get();
    side.out().send(100);
    CHECK_ERRNO(sendmsg(fd, nowhere<msghdr>(), 0), EFAULT);
    CHECK_ERRNO(recvmsg(fd, nowhere<msghdr>(), MSG_DONTWAIT), EFAULT);
    CHECK_ERRNO(writev(fd, nowhere<iovec>(), 2), EFAULT);
    CHECK_ERRNO(readv(fd, nowhere<iovec>(), 2), EFAULT);
    CHECK_ERRNO(sendmmsg(fd, nowhere<mmsghdr>(), 2, 0), EFAULT);
    CHECK_ERRNO(recvmmsg(fd, nowhere<mmsghdr>(), 2, MSG_DONTWAIT, nullptr), EFAULT);
    msghdr m{};
    m.msg_iov = nowhere<iovec>();
    m.msg_iovlen = 3;
    CHECK_ERRNO(sendmsg(fd, &m, 0), EFAULT);
    CHECK_ERRNO(recvmsg(fd, &m, MSG_DONTWAIT), EFAULT);
    side.out().send(0);
    side.in().receive(1);
}
void headers_that_are_nowhere::server(Side& side) {
    side.in().receive(100);
    side.out().send(1);
}

TWO_SIDED(compatibility_flag_is_refused, kPair)
void compatibility_flag_is_refused::client(Side& side) {
    if (sizeof(void*) != 8)
        throw Skip("a 32 bit program");
    int fd = side.sock.get();
    char byte = 'x';
    iovec piece{&byte, 1};
    mmsghdr m{};
    m.msg_hdr.msg_iov = &piece;
    m.msg_hdr.msg_iovlen = 1;
    CHECK_ERRNO(sendmsg(fd, &m.msg_hdr, kCompat), EINVAL);
    CHECK_ERRNO(recvmsg(fd, &m.msg_hdr, kCompat | MSG_DONTWAIT), EINVAL);
    CHECK_ERRNO(sendmmsg(fd, &m, 1, kCompat), EINVAL);
    CHECK_ERRNO(recvmmsg(fd, &m, 1, kCompat | MSG_DONTWAIT, nullptr), EINVAL);
    side.out().send(10);
    side.in().receive(1);
}
void compatibility_flag_is_refused::server(Side& side) {
    if (sizeof(void*) != 8)
        throw Skip("a 32 bit program");
    side.in().receive(10);
    side.out().send(1);
}

TWO_SIDED(sendmmsg_ends_at_a_partial_message, kPair | kCold)
void sendmmsg_ends_at_a_partial_message::client(Side& side) {
    constexpr std::size_t kOne = 50000, kMost = 16;
    int fd = side.sock.get();
    StreamWriter out = side.out();
    side.step("start");
    set_nonblocking(fd);
    /* The other side reads all the while: a message behind a partial one would leave a gap. */
    while (out.position() < (8u << 20)) {
        auto bytes = out.next(kOne * kMost);
        std::vector<iovec> pieces(kMost);
        std::vector<mmsghdr> messages(kMost);
        for (std::size_t i = 0; i < kMost; i++) {
            pieces[i] = {bytes.data() + i * kOne, kOne};
            messages[i] = {};
            messages[i].msg_hdr.msg_iov = &pieces[i];
            messages[i].msg_hdr.msg_iovlen = 1;
        }
        int n = sendmmsg(fd, messages.data(), kMost, MSG_NOSIGNAL);
        if (n < 0) {
            CHECK_EQ(errno_text(errno), "EAGAIN");
            side.await(fd, POLLOUT);
            continue;
        }
        for (int i = 0; i < n; i++) {
            std::size_t sent = messages[static_cast<std::size_t>(i)].msg_len;
            CHECK(sent > 0 && (i == n - 1 || sent == kOne));
            out.advance(sent);
        }
    }
    SYS(shutdown(fd, SHUT_WR));
    side.tell_number(static_cast<long long>(out.position()));
    side.step("read");
}
void sendmmsg_ends_at_a_partial_message::server(Side& side) {
    StreamReader in = side.in();
    side.step("start");
    in.receive_to_end(50000);
    CHECK_EQ(side.hear_number(), static_cast<long long>(in.position()));
    side.step("read");
}

TWO_SIDED(sendmmsg_counts_what_was_sent, kPair)
void sendmmsg_counts_what_was_sent::client(Side& side) {
    int fd = side.sock.get();
    StreamWriter out = side.out();
    auto bytes = out.next(2000);
    std::vector<iovec> pieces(1030);
    std::vector<mmsghdr> messages(1030);
    for (std::size_t i = 0; i < pieces.size(); i++) {
        pieces[i] = {bytes.data() + i, 1};
        messages[i] = {};
        messages[i].msg_hdr.msg_iov = &pieces[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    CHECK_EQ(SYS(sendmmsg(fd, messages.data(), 0, 0)), 0);
    /* Not more than 1024 in one call. */
    CHECK_EQ(SYS(sendmmsg(fd, messages.data(), 1030, 0)), 1024);
    out.advance(1024);
    bytes = out.next(2000);
    iovec three[3] = {{bytes.data(), 100}, {bytes.data() + 100, 0}, {nowhere<void>(), 100}};
    for (std::size_t i = 0; i < 3; i++)
        messages[i].msg_hdr.msg_iov = &three[i];
    /* An error behind a message that was sent is for the next call to find. */
    CHECK_EQ(SYS(sendmmsg(fd, messages.data(), 3, 0)), 2);
    CHECK_EQ(messages[0].msg_len, 100u);
    CHECK_EQ(messages[1].msg_len, 0u);
    out.advance(100);
    CHECK_ERRNO(sendmmsg(fd, &messages[2], 1, 0), EFAULT);
    out.send(10);
    side.in().receive(1);
}
void sendmmsg_counts_what_was_sent::server(Side& side) {
    side.in().receive(1024 + 100 + 10);
    side.out().send(1);
}

TWO_SIDED(empty_send_on_a_shut_socket, kPair | kCold)
void empty_send_on_a_shut_socket::client(Side& side) {
    int fd = side.sock.get();
    side.out().send(10);
    SYS(shutdown(fd, SHUT_WR));
    count_signal(SIGPIPE, 0);
    /* The calls of sockets notice that the direction is closed; writev of nothing asks nobody. */
    CHECK_ERRNO(send(fd, "", 0, MSG_NOSIGNAL), EPIPE);
    CHECK_EQ(signals_seen(), 0);
    CHECK_ERRNO(send(fd, "", 0, 0), EPIPE);
    CHECK_EQ(signals_seen(), 1);
    CHECK_ERRNO(write(fd, "", 0), EPIPE);
    CHECK_EQ(signals_seen(), 2);
    msghdr m{};
    CHECK_ERRNO(sendmsg(fd, &m, MSG_NOSIGNAL), EPIPE);
    CHECK_EQ(SYS(writev(fd, nullptr, 0)), 0);
    iovec empty{nullptr, 0};
    CHECK_EQ(SYS(writev(fd, &empty, 1)), 0);
    side.in().receive(1);
}
void empty_send_on_a_shut_socket::server(Side& side) {
    side.in().receive(10);
    side.in().expect_end();
    side.out().send(1);
}

TWO_SIDED(positioned_writes_and_reads, kPair | kCold)
void positioned_writes_and_reads::client(Side& side) {
    int fd = side.sock.get();
    StreamWriter out = side.out();
    auto bytes = out.next(1000);
    iovec piece = piece_of(bytes);
    CHECK_ERRNO(lseek(fd, 0, SEEK_CUR), ESPIPE);
    CHECK_ERRNO(pwrite(fd, bytes.data(), 10, 0), ESPIPE);
    CHECK_ERRNO(pread(fd, bytes.data(), 10, 0), ESPIPE);
    CHECK_ERRNO(pwritev(fd, &piece, 1, 0), ESPIPE);
    CHECK_ERRNO(preadv(fd, &piece, 1, 0), ESPIPE);
    CHECK_ERRNO(pwritev2(fd, &piece, 1, 0, 0), ESPIPE);
    CHECK_ERRNO(preadv2(fd, &piece, 1, 7, 0), ESPIPE);
    CHECK_ERRNO(pwritev2(fd, &piece, 1, -2, 0), EINVAL);
    CHECK_EQ(SYS(pwritev2(fd, &piece, 1, -1, 0)), 1000);
    out.advance(1000);
    for (int flags : {RWF_HIPRI, RWF_DSYNC, RWF_SYNC | RWF_APPEND}) {
        bytes = out.next(1000);
        piece = piece_of(bytes);
        CHECK_EQ(SYS(pwritev2(fd, &piece, 1, -1, flags)), 1000);
        out.advance(1000);
    }
    CHECK_ERRNO(pwritev2(fd, &piece, 1, -1, 0x40000000), EOPNOTSUPP);
    CHECK_ERRNO(preadv2(fd, &piece, 1, -1, 0x40000000), EOPNOTSUPP);
    side.in().receive(1);
}
void positioned_writes_and_reads::server(Side& side) {
    StreamReader in = side.in();
    while (in.position() < 4000) {
        std::byte bytes[700];
        iovec piece{bytes, sizeof bytes};
        ssize_t n = SYS(preadv2(side.sock.get(), &piece, 1, -1, RWF_HIPRI));
        CHECK(n > 0);
        in.accept(std::span(bytes).first(static_cast<std::size_t>(n)));
    }
    side.out().send(1);
}

TWO_SIDED(nowait_of_preadv2_and_pwritev2, kPair | kCold)
void nowait_of_preadv2_and_pwritev2::client(Side& side) {
    int fd = side.sock.get();
    StreamWriter out = side.out();
    char byte;
    iovec one{&byte, 1};
    if (preadv2(fd, &one, 1, -1, RWF_NOWAIT) < 0 && errno == EOPNOTSUPP)
        throw Skip("RWF_NOWAIT on sockets");
    CHECK_ERRNO(preadv2(fd, &one, 1, -1, RWF_NOWAIT), EAGAIN);
    side.step("start");
    std::size_t full = 0;
    while (full < 3) {
        auto bytes = out.next(16000);
        iovec piece = piece_of(bytes);
        ssize_t n = pwritev2(fd, &piece, 1, -1, RWF_NOWAIT);
        if (n > 0) {
            out.advance(static_cast<std::size_t>(n));
            continue;
        }
        CHECK_EQ(errno_text(errno), "EAGAIN");
        full++;
        side.settle();
    }
    side.tell_number(static_cast<long long>(out.position()));
    side.in().receive(1);
}
void nowait_of_preadv2_and_pwritev2::server(Side& side) {
    side.step("start");
    side.in().receive(static_cast<std::size_t>(side.hear_number()));
    side.out().send(1);
}

TWO_SIDED(calls_by_number, kPair | kCold)
void calls_by_number::client(Side& side) {
    int fd = side.sock.get();
    StreamWriter out = side.out();
    for (int i = 0; i < 8; i++) {
        auto bytes = out.next(500);
        iovec piece = piece_of(bytes);
        msghdr m{};
        m.msg_iov = &piece;
        m.msg_iovlen = 1;
        mmsghdr many{m, 0};
        switch (i) {
        case 0: CHECK_EQ(SYS(syscall(SYS_write, fd, bytes.data(), 500)), 500); break;
        case 1: CHECK_EQ(SYS(syscall(SYS_writev, fd, &piece, 1)), 500); break;
        case 2:
            CHECK_EQ(SYS(syscall(SYS_sendto, fd, bytes.data(), 500, 0, nullptr, 0)), 500);
            break;
        case 3: CHECK_EQ(SYS(syscall(SYS_sendmsg, fd, &m, 0)), 500); break;
        case 4: CHECK_EQ(SYS(syscall(SYS_sendmmsg, fd, &many, 1, 0)), 1); break;
        case 5: CHECK_EQ(SYS(syscall(SYS_pwritev2, fd, &piece, 1, -1l, -1l, 0)), 500); break;
        default: CHECK_EQ(SYS(write(fd, bytes.data(), 500)), 500);
        }
        out.advance(500);
    }
    side.in().receive(1);
}
void calls_by_number::server(Side& side) {
    int fd = side.sock.get();
    StreamReader in = side.in();
    for (unsigned i = 0; in.position() < 4000; i++) {
        std::byte bytes[90];
        iovec piece{bytes, sizeof bytes};
        msghdr m{};
        m.msg_iov = &piece;
        m.msg_iovlen = 1;
        mmsghdr many{m, 0};
        pollfd p{fd, POLLIN, 0};
        timespec patience{side.patience_ms() / 1000 + 1, 0};
        CHECK_EQ(SYS(syscall(SYS_ppoll, &p, 1, &patience, nullptr, 8)), 1);
        CHECK_EQ(p.revents, POLLIN);
        ssize_t n = 0;
        switch (i % 6) {
        case 0: n = SYS(syscall(SYS_read, fd, bytes, sizeof bytes)); break;
        case 1: n = SYS(syscall(SYS_readv, fd, &piece, 1)); break;
        case 2: n = SYS(syscall(SYS_recvfrom, fd, bytes, sizeof bytes, 0, nullptr, nullptr)); break;
        case 3: n = SYS(syscall(SYS_recvmsg, fd, &m, 0)); break;
        case 4:
            CHECK_EQ(SYS(syscall(SYS_recvmmsg, fd, &many, 1, 0, nullptr)), 1);
            n = many.msg_len;
            break;
        default: n = SYS(syscall(SYS_preadv2, fd, &piece, 1, -1l, -1l, 0));
        }
        CHECK(n > 0);
        in.accept(std::span(bytes).first(static_cast<std::size_t>(n)));
    }
    side.out().send(1);
}

TWO_SIDED(streams_of_stdio, kPair | kCold)
void streams_of_stdio::client(Side& side) {
    side.out().send(300);
    FILE* file = fdopen(side.sock.get(), "r+");
    CHECK(file != nullptr);
    (void)side.sock.release();
    for (int i = 0; i < 40; i++)
        CHECK(std::fprintf(file, "line %d\n", i) > 0);
    CHECK_EQ(std::fflush(file), 0);
    char line[64];
    for (int i = 0; i < 40; i++) {
        CHECK(std::fgets(line, sizeof line, file) != nullptr);
        CHECK_EQ(std::string(line), "echo line " + std::to_string(i) + "\n");
    }
    CHECK_EQ(std::fclose(file), 0);
}
void streams_of_stdio::server(Side& side) {
    StreamReader in = side.in();
    in.receive(300);
    FILE* file = fdopen(dup(side.sock.get()), "r");
    FILE* answer = fdopen(dup(side.sock.get()), "w");
    CHECK(file != nullptr && answer != nullptr);
    char line[64];
    for (int i = 0; i < 40; i++) {
        CHECK(std::fgets(line, sizeof line, file) != nullptr);
        CHECK(std::fprintf(answer, "echo %s", line) > 0);
    }
    CHECK_EQ(std::fflush(answer), 0);
    CHECK(std::fgets(line, sizeof line, file) == nullptr);
    CHECK(std::feof(file) != 0);
    std::fclose(file);
    std::fclose(answer);
}

TWO_SIDED(partial_send_is_told, kPair | kCold)
void partial_send_is_told::client(Side& side) {
    int fd = side.sock.get();
    StreamWriter out = side.out();
    constexpr std::size_t kAll = 24u << 20;
    side.step("start");
    auto bytes = out.next(kAll);
    iovec pieces[2] = {{bytes.data(), 11}, {bytes.data() + 11, kAll - 11}};
    msghdr m{};
    m.msg_iov = pieces;
    m.msg_iovlen = 2;
    ssize_t n = SYS(sendmsg(fd, &m, MSG_DONTWAIT));
    CHECK(n > 11 && static_cast<std::size_t>(n) < kAll);
    CHECK_EQ(pieces[1].iov_len, kAll - 11);
    out.advance(static_cast<std::size_t>(n));
    side.tell_number(n);
    side.step("read");
    out.send(1000);
    side.in().receive(1);
}
void partial_send_is_told::server(Side& side) {
    StreamReader in = side.in();
    side.step("start");
    in.receive(static_cast<std::size_t>(side.hear_number()));
    CHECK_ERRNO(in.receive_some(1, MSG_DONTWAIT), EAGAIN);
    side.step("read");
    in.receive(1000);
    side.out().send(1);
}
