/* SPDX-License-Identifier: GPL-2.0 */
/* cases_receive.cpp - what the calls that receive give, and what they say about it. */
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/uio.h>

#include <cstring>
#include <vector>

#include "cliff.h"
#include "side.h"

using namespace xway::test;

namespace {

void await_bytes(const Side& side, int n) {
    side.await_true("all has come", [&] { return waiting(side.sock.get()) == n; });
}

/* Messages of one piece each, of these sizes, one behind the other in `bytes`. */
struct Messages {
    explicit Messages(const std::vector<std::size_t>& sizes) {
        std::size_t total = 0;
        for (std::size_t size : sizes)
            total += size;
        bytes.resize(total);
        pieces.reserve(sizes.size());
        std::size_t at = 0;
        for (std::size_t size : sizes) {
            pieces.push_back({bytes.data() + at, size});
            mmsghdr m{};
            m.msg_hdr.msg_iov = &pieces.back();
            m.msg_hdr.msg_iovlen = 1;
            m.msg_len = 77777;
            list.push_back(m);
            at += size;
        }
    }
    std::vector<std::byte> bytes;
    std::vector<iovec> pieces;
    std::vector<mmsghdr> list;

    int receive(int fd, int flags, timespec* timeout = nullptr) {
        return recvmmsg(fd, list.data(), static_cast<unsigned>(list.size()), flags, timeout);
    }
    /* The bytes of message `i` are the stream's next. */
    void accept(StreamReader& in, std::size_t i) const {
        in.accept({static_cast<std::byte*>(pieces[i].iov_base), list[i].msg_len});
    }
};

} // namespace

TWO_SIDED(recvmsg_says_what_it_gave, kPair | kCold)
void recvmsg_says_what_it_gave::client(Side& side) {
    side.out().send(1000);
    side.step("sent");
    side.step("read");
    SYS(shutdown(side.sock.get(), SHUT_WR));
    side.step("end");
}
void recvmsg_says_what_it_gave::server(Side& side) {
    int fd = side.sock.get();
    StreamReader in = side.in();
    std::byte bytes[100];
    iovec piece{bytes, sizeof bytes};
    char control[64], name[128];
    auto receive = [&](int flags, bool named) {
        msghdr m{};
        m.msg_iov = &piece;
        m.msg_iovlen = 1;
        m.msg_control = control;
        m.msg_controllen = sizeof control;
        m.msg_name = named ? name : nullptr;
        m.msg_namelen = sizeof name;
        m.msg_flags = MSG_OOB | MSG_TRUNC;
        ssize_t n = SYS(recvmsg(fd, &m, flags));
        CHECK_EQ(m.msg_controllen, 0u);
        /* TCP names nobody; without a place for a name its length is not looked at. */
        CHECK_EQ(m.msg_namelen, named ? 0u : sizeof name);
        CHECK_EQ(piece.iov_len, sizeof bytes);
        return std::pair(n, m.msg_flags);
    };
    side.step("sent");
    await_bytes(side, 1000);
    for (int flags : {0, static_cast<int>(MSG_DONTWAIT), static_cast<int>(MSG_WAITALL),
                      static_cast<int>(MSG_CMSG_CLOEXEC)})
        for (bool named : {true, false}) {
            auto [peeked, peek_flags] = receive(flags | MSG_PEEK, named);
            CHECK_EQ(peeked, 100);
            in.compare(bytes);
            auto [n, out_flags] = receive(flags, named);
            CHECK_EQ(n, 100);
            in.accept(bytes);
            /* Nothing of what was asked for comes back, but this one. */
            CHECK_EQ(peek_flags, flags & MSG_CMSG_CLOEXEC);
            CHECK_EQ(out_flags, flags & MSG_CMSG_CLOEXEC);
        }
    in.receive(200);
    side.step("read");
    side.await(fd, POLLRDHUP);
    auto [n, flags] = receive(0, true);
    CHECK_EQ(n, 0);
    CHECK_EQ(flags, 0);
    side.step("end");
}

TWO_SIDED(recvfrom_names_nobody, kPair)
void recvfrom_names_nobody::client(Side& side) {
    side.out().send(100);
    side.in().receive(1);
}
void recvfrom_names_nobody::server(Side& side) {
    int fd = side.sock.get();
    StreamReader in = side.in();
    std::byte bytes[10];
    socklen_t length = 55;
    side.await(fd, POLLIN);
    CHECK_EQ(SYS(recvfrom(fd, bytes, 10, MSG_WAITALL, nullptr, &length)), 10);
    in.accept(bytes);
    CHECK_EQ(length, 55u);
    sockaddr_storage from;
    std::memset(&from, 0x5a, sizeof from);
    length = sizeof from;
    CHECK_EQ(SYS(recvfrom(fd, bytes, 10, MSG_WAITALL, reinterpret_cast<sockaddr*>(&from), &length)),
             10);
    in.accept(bytes);
    CHECK_EQ(length, 0u);
    CHECK_EQ(from.ss_family, 0x5a5a);
    in.receive(80);
    side.out().send(1);
}

TWO_SIDED(control_that_does_not_fit, kPair | kCold)
void control_that_does_not_fit::client(Side& side) {
    side.out().send(1000);
    side.step("sent");
    side.in().receive(1);
}
void control_that_does_not_fit::server(Side& side) {
    int fd = side.sock.get();
    StreamReader in = side.in();
    set_option(fd, IPPROTO_TCP, TCP_INQ, 1);
    side.step("sent");
    await_bytes(side, 1000);
    std::byte bytes[100];
    iovec piece{bytes, sizeof bytes};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    auto receive = [&](std::size_t room) {
        msghdr m{};
        m.msg_iov = &piece;
        m.msg_iovlen = 1;
        m.msg_control = control;
        m.msg_controllen = room;
        CHECK_EQ(SYS(recvmsg(fd, &m, 0)), 100);
        in.accept(bytes);
        return m;
    };
    for (std::size_t room : {std::size_t{0}, sizeof(cmsghdr) - 1}) {
        msghdr m = receive(room);
        CHECK_EQ(m.msg_flags, static_cast<int>(MSG_CTRUNC));
        CHECK_EQ(m.msg_controllen, 0u);
    }
    msghdr m = receive(CMSG_LEN(sizeof(int)));
    CHECK_EQ(m.msg_flags, 0);
    CHECK_EQ(m.msg_controllen, CMSG_LEN(sizeof(int)));
    m = receive(sizeof control);
    CHECK_EQ(m.msg_flags, 0);
    CHECK_EQ(m.msg_controllen, CMSG_SPACE(sizeof(int)));
    cmsghdr* header = CMSG_FIRSTHDR(&m);
    int left;
    std::memcpy(&left, CMSG_DATA(header), sizeof left);
    CHECK_EQ(left, 600);
    set_option(fd, IPPROTO_TCP, TCP_INQ, 0);
    m = receive(sizeof control);
    CHECK_EQ(m.msg_controllen, 0u);
    in.receive(500);
    side.out().send(1);
}

TWO_SIDED(read_gives_what_is_there, kPair | kCold)
void read_gives_what_is_there::client(Side& side) {
    StreamWriter out = side.out();
    for (std::size_t n : {1u, 5000u}) {
        out.send(n);
        side.step("sent");
        side.step("read");
    }
}
void read_gives_what_is_there::server(Side& side) {
    StreamReader in = side.in();
    for (int n : {1, 5000}) {
        side.step("sent");
        await_bytes(side, n);
        CHECK_EQ(SYS(in.receive_some(1 << 20)), n);
        side.step("read");
    }
}

TWO_SIDED(fault_in_the_middle_of_a_receive, kPair | kCold)
void fault_in_the_middle_of_a_receive::client(Side& side) {
    side.out().send(60000);
    side.step("sent");
    side.in().receive(1);
}
void fault_in_the_middle_of_a_receive::server(Side& side) {
    int fd = side.sock.get();
    StreamReader in = side.in();
    Cliff cliff(16);
    side.step("sent");
    await_bytes(side, 60000);
    for (std::size_t room : {0u, 1u, 39u, 4000u, 4097u, 30000u}) {
        ssize_t n = recv(fd, cliff.last(room), room + 500, 0);
        if (n < 0)
            CHECK_EQ(errno_text(errno), "EFAULT");
        CHECK(n != 0 && n <= static_cast<ssize_t>(room));
        if (n > 0)
            in.accept({cliff.last(room), static_cast<std::size_t>(n)});
    }
    std::byte bytes[50];
    iovec pieces[2] = {{bytes, 50}, {nowhere<void>(), 50}};
    ssize_t n = readv(fd, pieces, 2);
    if (n < 0)
        CHECK_EQ(errno_text(errno), "EFAULT");
    CHECK(n <= 50);
    if (n > 0)
        in.accept(std::span(bytes).first(static_cast<std::size_t>(n)));
    CHECK_ERRNO(recv(fd, nowhere<void>(), 10, MSG_PEEK), EFAULT);
    /* What could not be stored is still there. */
    CHECK_EQ(waiting(fd), 60000 - static_cast<int>(in.position()));
    in.receive(60000 - in.position());
    side.out().send(1);
}

TWO_SIDED(trunc_with_other_flags, kPair | kCold)
void trunc_with_other_flags::client(Side& side) {
    StreamWriter out = side.out();
    out.send(3000);
    side.step("sent");
    side.step("all of it awaited");
    for (int i = 0; i < 4; i++) {
        side.settle();
        out.send(250);
    }
    SYS(shutdown(side.sock.get(), SHUT_WR));
    side.step("end");
}
void trunc_with_other_flags::server(Side& side) {
    int fd = side.sock.get();
    StreamReader in = side.in();
    side.step("sent");
    await_bytes(side, 3000);
    char mark[8];
    std::memset(mark, 'm', sizeof mark);
    /* Counted, not stored, not taken. */
    CHECK_EQ(SYS(recv(fd, mark, 9000, MSG_TRUNC | MSG_PEEK)), 3000);
    CHECK_EQ(waiting(fd), 3000);
    CHECK_EQ(SYS(recv(fd, mark, 1000, MSG_TRUNC | MSG_DONTWAIT)), 1000);
    in.skip(1000);
    CHECK_EQ(std::string(mark, sizeof mark), "mmmmmmmm");
    iovec piece{nullptr, 500};
    msghdr m{};
    m.msg_iov = &piece;
    m.msg_iovlen = 1;
    CHECK_EQ(SYS(recvmsg(fd, &m, MSG_TRUNC)), 500);
    CHECK_EQ(m.msg_flags, 0);
    in.skip(500);
    in.receive(1500);
    CHECK_ERRNO(recv(fd, mark, 10, MSG_TRUNC | MSG_DONTWAIT), EAGAIN);
    side.step("all of it awaited");
    CHECK_EQ(SYS(recv(fd, nullptr, 1000, MSG_TRUNC | MSG_WAITALL)), 1000);
    CHECK_EQ(SYS(recv(fd, nullptr, 10, MSG_TRUNC)), 0);
    side.step("end");
}

TWO_SIDED(recvmmsg_waits_for_all_or_for_one, kPair | kCold)
void recvmmsg_waits_for_all_or_for_one::client(Side& side) {
    StreamWriter out = side.out();
    for (int i = 0; i < 8; i++) {
        out.send(50);
        side.settle();
    }
    side.step("all");
    out.send(40);
    side.step("some");
    side.step("nothing");
    side.settle();
    out.send(20);
    side.in().receive(1);
}
void recvmmsg_waits_for_all_or_for_one::server(Side& side) {
    int fd = side.sock.get();
    StreamReader in = side.in();
    Messages four({100, 100, 100, 100});
    CHECK_EQ(SYS(four.receive(fd, MSG_WAITALL)), 4);
    for (std::size_t i = 0; i < 4; i++) {
        CHECK_EQ(four.list[i].msg_len, 100u);
        four.accept(in, i);
    }
    side.step("all");
    side.step("some");
    await_bytes(side, 40);
    Messages three({30, 30, 30});
    CHECK_EQ(SYS(three.receive(fd, MSG_DONTWAIT)), 2);
    CHECK_EQ(three.list[0].msg_len, 30u);
    CHECK_EQ(three.list[1].msg_len, 10u);
    CHECK_EQ(three.list[2].msg_len, 77777u);
    three.accept(in, 0);
    three.accept(in, 1);
    CHECK_ERRNO(three.receive(fd, MSG_DONTWAIT), EAGAIN);
    side.step("nothing");
    Messages two({500, 500});
    CHECK_EQ(SYS(two.receive(fd, MSG_WAITFORONE)), 1);
    two.accept(in, 0);
    in.receive(20 - two.list[0].msg_len);
    side.out().send(1);
}

TWO_SIDED(recvmmsg_timeout, kPair | kCold)
void recvmmsg_timeout::client(Side& side) {
    StreamWriter out = side.out();
    out.send(100);
    side.step("first");
    side.step("taken");
    out.send(100);
    side.step("second");
    side.in().receive(1);
}
void recvmmsg_timeout::server(Side& side) {
    int fd = side.sock.get();
    StreamReader in = side.in();
    side.step("first");
    await_bytes(side, 100);
    /* It is looked at behind each message only; what is left of it is told. */
    timespec limit{side.patience_ms() / 1000 + 5, 0};
    const time_t before = limit.tv_sec;
    Messages two({60, 40});
    CHECK_EQ(SYS(two.receive(fd, 0, &limit)), 2);
    two.accept(in, 0);
    two.accept(in, 1);
    CHECK(limit.tv_sec < before && limit.tv_sec >= 0);
    CHECK(limit.tv_nsec > 0 && limit.tv_nsec < 1000000000);
    side.step("taken");
    side.step("second");
    await_bytes(side, 100);
    limit = {0, 1};
    Messages three({10, 10, 10});
    CHECK_EQ(SYS(three.receive(fd, 0, &limit)), 1);
    three.accept(in, 0);
    CHECK_EQ(limit.tv_sec, 0);
    CHECK_EQ(limit.tv_nsec, 0);
    limit = {0, 1000000000};
    CHECK_ERRNO(three.receive(fd, MSG_DONTWAIT, &limit), EINVAL);
    limit = {-1, 0};
    CHECK_ERRNO(three.receive(fd, MSG_DONTWAIT, &limit), EINVAL);
    in.receive(90);
    side.out().send(1);
}

TWO_SIDED(recvmmsg_at_the_end, kPair | kCold)
void recvmmsg_at_the_end::client(Side& side) {
    side.out().send(100);
    SYS(shutdown(side.sock.get(), SHUT_WR));
    side.in().receive(1);
}
void recvmmsg_at_the_end::server(Side& side) {
    int fd = side.sock.get();
    StreamReader in = side.in();
    side.await(fd, POLLRDHUP);
    await_bytes(side, 100);
    /* The end is an empty message, as often as there is room for one. */
    Messages messages({60, 60, 60, 60});
    CHECK_EQ(SYS(messages.receive(fd, 0)), 4);
    messages.accept(in, 0);
    messages.accept(in, 1);
    CHECK_EQ(messages.list[1].msg_len, 40u);
    CHECK_EQ(messages.list[2].msg_len, 0u);
    CHECK_EQ(messages.list[3].msg_len, 0u);
    CHECK_EQ(SYS(messages.receive(fd, MSG_DONTWAIT)), 4);
    CHECK_EQ(messages.list[0].msg_len, 0u);
    side.out().send(1);
}

TWO_SIDED(recvmmsg_and_a_reset, kPair | kCold)
void recvmmsg_and_a_reset::client(Side& side) {
    side.out().send(100);
    side.step("sent");
    side.step("counted");
    close_hard(side.sock);
    side.step("reset");
}
void recvmmsg_and_a_reset::server(Side& side) {
    int fd = side.sock.get();
    side.step("sent");
    await_bytes(side, 100);
    side.step("counted");
    side.step("reset");
    side.await(fd, POLLHUP);
    /* The error is found before any message is looked for. */
    Messages two({60, 60});
    CHECK_ERRNO(two.receive(fd, 0), ECONNRESET);
    StreamReader in = side.in();
    CHECK_EQ(SYS(two.receive(fd, 0)), 2);
    two.accept(in, 0);
    two.accept(in, 1);
    CHECK_EQ(in.position(), 100u);
}

TWO_SIDED(peek_leaves_all_counts_alone, kPair | kCold)
void peek_leaves_all_counts_alone::client(Side& side) {
    StreamWriter out = side.out();
    for (int i = 0; i < 6; i++) {
        out.send(1000 + static_cast<std::size_t>(i) * 3000);
        side.step("sent");
        side.step("peeked");
    }
    side.in().receive(1);
}
void peek_leaves_all_counts_alone::server(Side& side) {
    int fd = side.sock.get();
    StreamReader in = side.in();
    for (int i = 0; i < 6; i++) {
        const int n = 1000 + i * 3000;
        side.step("sent");
        await_bytes(side, n);
        for (std::size_t look : {1u, 700u, 900000u}) {
            CHECK_EQ(SYS(in.receive_some(look, MSG_PEEK)),
                     std::min<ssize_t>(n, static_cast<ssize_t>(look)));
            CHECK_EQ(waiting(fd), n);
            CHECK_EQ(poll_now(fd, POLLIN), POLLIN);
        }
        in.receive(static_cast<std::size_t>(n));
        CHECK_EQ(waiting(fd), 0);
        side.step("peeked");
    }
    side.out().send(1);
}

TWO_SIDED(nothing_is_read_for_nothing, kPair | kCold)
void nothing_is_read_for_nothing::client(Side& side) {
    side.step("empty");
    side.out().send(10);
    SYS(shutdown(side.sock.get(), SHUT_WR));
    side.step("sent");
    side.in().receive(1);
}
void nothing_is_read_for_nothing::server(Side& side) {
    int fd = side.sock.get();
    StreamReader in = side.in();
    char none;
    /* Room for no byte: read() looks at nothing, recv() waits until there is something to look at.
     */
    auto ask = [&](bool there) {
        msghdr m{};
        iovec empty[2] = {{&none, 0}, {nullptr, 0}};
        CHECK_EQ(SYS(read(fd, &none, 0)), 0);
        CHECK_EQ(SYS(readv(fd, empty, 2)), 0);
        for (int flags : {0, static_cast<int>(MSG_PEEK), static_cast<int>(MSG_WAITALL)}) {
            if (there) {
                CHECK_EQ(SYS(recv(fd, nullptr, 0, flags)), 0);
                CHECK_EQ(SYS(recvmsg(fd, &m, flags)), 0);
            } else {
                CHECK_ERRNO(recv(fd, nullptr, 0, flags | MSG_DONTWAIT), EAGAIN);
                CHECK_ERRNO(recvmsg(fd, &m, flags | MSG_DONTWAIT), EAGAIN);
            }
        }
    };
    ask(false);
    side.step("empty");
    side.step("sent");
    await_bytes(side, 10);
    ask(true);
    CHECK_EQ(waiting(fd), 10);
    in.receive(10);
    in.expect_end();
    ask(true);
    side.out().send(1);
}
