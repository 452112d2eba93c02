/* SPDX-License-Identifier: GPL-2.0 */
/* cases_splice.cpp - bytes that go between a socket, a file and a pipe without passing through the
 * program. */
#include <fcntl.h>
#include <linux/errqueue.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

#include "side.h"

using namespace xway::test;

namespace {

struct Pipe {
    Pipe() {
        int ends[2];
        SYS(pipe(ends));
        read_end.reset(ends[0]);
        write_end.reset(ends[1]);
        /* A slot of the pipe may hold one small packet only: have enough of them. */
        fcntl(ends[0], F_SETPIPE_SZ, 1 << 20);
    }
    UniqueFd read_end, write_end;
};

void write_all(int fd, std::span<const std::byte> bytes) {
    while (!bytes.empty())
        bytes = bytes.subspan(static_cast<std::size_t>(SYS(write(fd, bytes.data(), bytes.size()))));
}

/* Moves n bytes by splice, in steps of at most `step`. */
void splice_all(int from, int to, std::size_t n, std::size_t step = 65536) {
    while (n > 0) {
        ssize_t moved = SYS(splice(from, nullptr, to, nullptr, std::min(n, step), SPLICE_F_MOVE));
        CHECK(moved > 0);
        n -= static_cast<std::size_t>(moved);
    }
}

std::vector<std::byte> read_all(int fd, std::size_t n) {
    std::vector<std::byte> bytes(n);
    for (std::size_t done = 0; done < n;) {
        ssize_t got = SYS(read(fd, bytes.data() + done, n - done));
        CHECK(got > 0);
        done += static_cast<std::size_t>(got);
    }
    return bytes;
}

} // namespace

TWO_SIDED(sendfile_from_a_file, kPair | kCold | kMapped)
void sendfile_from_a_file::client(Side& side) {
    constexpr std::size_t kSize = 1 << 20;
    StreamWriter out = side.out();
    UniqueFd file(SYS(memfd_create("file", MFD_CLOEXEC)));
    write_all(file.get(), out.next(kSize));
    off_t at = 0;
    /* Odd sizes, so that pieces begin and end inside pages. */
    for (std::size_t step = 1; static_cast<std::size_t>(at) < kSize; step = step * 3 + 1) {
        ssize_t n = SYS(sendfile(side.sock.get(), file.get(), &at,
                                 std::min(step, kSize - static_cast<std::size_t>(at))));
        CHECK(n > 0);
        out.advance(static_cast<std::size_t>(n));
    }
    out.send(1000);
    side.in().receive(1);
}
void sendfile_from_a_file::server(Side& side) {
    side.in().receive((1 << 20) + 1000);
    side.out().send(1);
}

TWO_SIDED(sendfile_between_sends, kPair | kCold)
void sendfile_between_sends::client(Side& side) {
    StreamWriter out = side.out();
    for (int i = 0; i < 20; i++) {
        out.send(100, i % 2 ? MSG_MORE : 0);
        UniqueFd file(SYS(memfd_create("file", MFD_CLOEXEC)));
        write_all(file.get(), out.next(5000));
        off_t at = 0;
        while (at < 5000)
            SYS(sendfile(side.sock.get(), file.get(), &at, 5000 - static_cast<std::size_t>(at)));
        out.advance(5000);
    }
    side.in().receive(1);
}
void sendfile_between_sends::server(Side& side) {
    side.in().receive(20 * 5100);
    side.out().send(1);
}

TWO_SIDED(sendfile_when_full, kPair | kCold)
void sendfile_when_full::client(Side& side) {
    constexpr std::size_t kSize = 8 << 20;
    StreamWriter out = side.out();
    UniqueFd file(SYS(memfd_create("file", MFD_CLOEXEC)));
    write_all(file.get(), out.next(kSize));
    set_nonblocking(side.sock.get());
    side.step("start");
    off_t at = 0;
    while (static_cast<std::size_t>(at) < kSize) {
        ssize_t n =
            sendfile(side.sock.get(), file.get(), &at, kSize - static_cast<std::size_t>(at));
        if (n < 0) {
            CHECK_EQ(errno_text(errno), "EAGAIN");
            side.await(side.sock.get(), POLLOUT);
        }
    }
    set_nonblocking(side.sock.get(), false);
    side.in().receive(1);
}
void sendfile_when_full::server(Side& side) {
    side.step("start");
    side.settle(2);
    side.in().receive(8 << 20);
    side.out().send(1);
}

TWO_SIDED(splice_echo, kPair | kCold | kMapped)
void splice_echo::client(Side& side) {
    StreamWriter out = side.out();
    StreamReader in = side.echo();
    for (std::size_t n : {1u, 4096u, 30000u, 4095u, 60000u}) {
        out.send(n);
        in.receive(n);
    }
    SYS(shutdown(side.sock.get(), SHUT_WR));
    in.expect_end();
}
void splice_echo::server(Side& side) {
    int fd = side.sock.get();
    Pipe pipe;
    for (;;) {
        ssize_t n = SYS(splice(fd, nullptr, pipe.write_end.get(), nullptr, 65536, SPLICE_F_MOVE));
        if (n == 0)
            break;
        splice_all(pipe.read_end.get(), fd, static_cast<std::size_t>(n), 7000);
    }
    SYS(shutdown(fd, SHUT_WR));
}

TWO_SIDED(splice_does_not_wait, kPair)
void splice_does_not_wait::client(Side& side) {
    side.step("empty");
    side.out().send(3000);
    side.in().receive(1);
}
void splice_does_not_wait::server(Side& side) {
    int fd = side.sock.get();
    Pipe pipe;
    set_nonblocking(fd);
    CHECK_ERRNO(splice(fd, nullptr, pipe.write_end.get(), nullptr, 1000, SPLICE_F_NONBLOCK),
                EAGAIN);
    side.step("empty");
    StreamReader in = side.in();
    while (in.position() < 3000) {
        side.await(fd, POLLIN);
        ssize_t n =
            SYS(splice(fd, nullptr, pipe.write_end.get(), nullptr, 1000, SPLICE_F_NONBLOCK));
        CHECK(n > 0);
        in.accept(read_all(pipe.read_end.get(), static_cast<std::size_t>(n)));
    }
    side.out().send(1);
}

TWO_SIDED(splice_mixed_with_recv, kPair | kCold)
void splice_mixed_with_recv::client(Side& side) {
    side.out().send(500000);
    side.in().receive(1);
}
void splice_mixed_with_recv::server(Side& side) {
    Pipe pipe;
    StreamReader in = side.in();
    for (std::size_t turn = 0; in.position() < 500000; turn++) {
        std::size_t left = 500000 - in.position();
        if (turn % 3 == 0) {
            in.receive_some(std::min<std::size_t>(left, 3001), MSG_PEEK);
            in.receive(std::min<std::size_t>(left, 3001));
            continue;
        }
        ssize_t n = SYS(splice(side.sock.get(), nullptr, pipe.write_end.get(), nullptr,
                               std::min<std::size_t>(left, 9999), 0));
        CHECK(n > 0);
        in.accept(read_all(pipe.read_end.get(), static_cast<std::size_t>(n)));
    }
    side.out().send(1);
}

TWO_SIDED(tee_and_vmsplice, kPair | kCold)
void tee_and_vmsplice::client(Side& side) {
    StreamWriter out = side.out();
    Pipe pipe;
    for (int i = 0; i < 8; i++) {
        std::vector<std::byte> bytes = out.next(10000);
        iovec piece{bytes.data(), bytes.size()};
        ssize_t n = SYS(vmsplice(pipe.write_end.get(), &piece, 1, 0));
        splice_all(pipe.read_end.get(), side.sock.get(), static_cast<std::size_t>(n));
        out.advance(static_cast<std::size_t>(n));
        /* The pages were lent: they must not change before the bytes have been received. */
        side.tell_number(n);
        side.step("received");
    }
}
void tee_and_vmsplice::server(Side& side) {
    StreamReader in = side.in();
    Pipe one, two;
    for (int i = 0; i < 8; i++) {
        auto left = static_cast<std::size_t>(side.hear_number());
        while (left > 0) {
            auto n = static_cast<std::size_t>(
                SYS(splice(side.sock.get(), nullptr, one.write_end.get(), nullptr, left, 0)));
            CHECK(n > 0);
            left -= n;
            auto copied =
                static_cast<std::size_t>(SYS(tee(one.read_end.get(), two.write_end.get(), n, 0)));
            CHECK(copied > 0 && copied <= n);
            in.compare(read_all(two.read_end.get(), copied));
            in.accept(read_all(one.read_end.get(), n));
        }
        side.step("received");
    }
}

TWO_SIDED(spliced_bytes_outlive_the_socket, kPair)
void spliced_bytes_outlive_the_socket::client(Side& side) {
    side.out().send(20000);
    side.sock.reset();
    side.step("checked");
}
void spliced_bytes_outlive_the_socket::server(Side& side) {
    Pipe pipe;
    StreamReader in = side.in();
    std::size_t total = 0;
    for (ssize_t n;
         (n = SYS(splice(side.sock.get(), nullptr, pipe.write_end.get(), nullptr, 5000, 0))) > 0;) {
        total += static_cast<std::size_t>(n);
        if (total >= 20000)
            break;
    }
    side.sock.reset();
    side.settle();
    in.accept(read_all(pipe.read_end.get(), total));
    CHECK_EQ(total, 20000u);
    side.step("checked");
}

TWO_SIDED(zerocopy_send, kPair | kCold)
void zerocopy_send::client(Side& side) {
    int fd = side.sock.get();
    int one = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof one) < 0)
        throw Skip("SO_ZEROCOPY: " + errno_text(errno));
    StreamWriter out = side.out();
    for (unsigned i = 0; i < 5; i++) {
        std::vector<std::byte> bytes = out.next(30000);
        ssize_t n = SYS(send(fd, bytes.data(), bytes.size(), MSG_ZEROCOPY));
        out.advance(static_cast<std::size_t>(n));
        /* The buffer is ours again when the error queue says so. */
        side.await(fd, POLLERR);
        char control[256];
        msghdr m{};
        m.msg_control = control;
        m.msg_controllen = sizeof control;
        SYS(recvmsg(fd, &m, MSG_ERRQUEUE));
        cmsghdr* header = CMSG_FIRSTHDR(&m);
        CHECK(header != nullptr);
        auto* error = reinterpret_cast<sock_extended_err*>(CMSG_DATA(header));
        CHECK_EQ(error->ee_origin, SO_EE_ORIGIN_ZEROCOPY);
        CHECK_EQ(error->ee_data, i);
        out.send(30000 - static_cast<std::size_t>(n));
    }
    out.send(1000);
    side.in().receive(1);
}
void zerocopy_send::server(Side& side) {
    side.in().receive(151000);
    side.out().send(1);
}
