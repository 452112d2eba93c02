/* SPDX-License-Identifier: GPL-2.0 */
/* cases_file.cpp - sendfile, splice, tee, vmsplice and their like at the edges; zero copy. */
#include <fcntl.h>
#include <linux/errqueue.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

#include <csignal>
#include <cstring>
#include <memory>

#include "cliff.h"
#include "side.h"
#include "signals.h"

using namespace xway::test;

namespace {

struct Pipe {
    explicit Pipe(int flags = O_CLOEXEC) {
        int ends[2];
        SYS(pipe2(ends, flags));
        in.reset(ends[0]);
        out.reset(ends[1]);
    }
    UniqueFd in, out; /* to read from, to write to */
};

UniqueFd file_of(std::span<const std::byte> bytes) {
    UniqueFd file(SYS(memfd_create("file", MFD_CLOEXEC)));
    while (!bytes.empty())
        bytes = bytes.subspan(
            static_cast<std::size_t>(SYS(write(file.get(), bytes.data(), bytes.size()))));
    return file;
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

void splice_exactly(int from, int to, std::size_t n, unsigned flags) {
    while (n > 0) {
        ssize_t moved = SYS(splice(from, nullptr, to, nullptr, n, flags));
        CHECK(moved > 0);
        n -= static_cast<std::size_t>(moved);
    }
}

} // namespace

TWO_SIDED(sendfile_and_its_offset, kPair | kCold)
void sendfile_and_its_offset::client(Side& side) {
    int fd = side.sock.get();
    StreamWriter out = side.out();
    UniqueFd file = file_of(out.next(10000));
    SYS(lseek(file.get(), 0, SEEK_SET));
    /* With an offset the file's own position stays, without one it moves. */
    off_t at = 0;
    CHECK_EQ(SYS(sendfile(fd, file.get(), &at, 4000)), 4000);
    CHECK_EQ(at, 4000);
    CHECK_EQ(SYS(lseek(file.get(), 0, SEEK_CUR)), 0);
    out.advance(4000);
    SYS(lseek(file.get(), 4000, SEEK_SET));
    CHECK_EQ(SYS(sendfile(fd, file.get(), nullptr, 1000)), 1000);
    CHECK_EQ(SYS(lseek(file.get(), 0, SEEK_CUR)), 5000);
    out.advance(1000);
    at = 9000;
    CHECK_EQ(SYS(sendfile(fd, file.get(), &at, 0)), 0);
    at = 5000;
    /* Up to the end of the file, and nothing behind it. */
    CHECK_EQ(SYS(sendfile(fd, file.get(), &at, 1u << 30)), 5000);
    out.advance(5000);
    CHECK_EQ(at, 10000);
    CHECK_EQ(SYS(sendfile(fd, file.get(), &at, 100)), 0);
    at = 20000;
    CHECK_EQ(SYS(sendfile(fd, file.get(), &at, 100)), 0);
    CHECK_EQ(at, 20000);
    out.send(10);
    side.in().receive(1);
}
void sendfile_and_its_offset::server(Side& side) {
    side.in().receive(10010);
    side.out().send(1);
}

TWO_SIDED(sendfile_refuses, kPair | kCold)
void sendfile_refuses::client(Side& side) {
    int fd = side.sock.get();
    StreamWriter out = side.out();
    Pipe pipe;
    CHECK_EQ(SYS(write(pipe.out.get(), "abc", 3)), 3);
    UniqueFd file = file_of(out.next(100));
    off_t at = 0;
    CHECK_ERRNO(sendfile(fd, pipe.in.get(), nullptr, 3), EINVAL);
    CHECK_ERRNO(sendfile(fd, pipe.in.get(), &at, 3), ESPIPE);
    CHECK_ERRNO(sendfile(fd, fd, nullptr, 3), EINVAL);
    at = -5;
    CHECK_ERRNO(sendfile(fd, file.get(), &at, 3), EINVAL);
    CHECK_ERRNO(sendfile(fd, file.get(), nowhere<off_t>(), 3), EFAULT);
    int gone = SYS(dup(fd));
    close(gone);
    at = 0;
    CHECK_ERRNO(sendfile(fd, gone, &at, 3), EBADF);
    CHECK_ERRNO(sendfile(gone, file.get(), &at, 3), EBADF);
    std::string path = "/proc/self/fd/" + std::to_string(file.get());
    UniqueFd blind(open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (blind.valid())
        CHECK_ERRNO(sendfile(fd, blind.get(), &at, 3), EBADF);
    CHECK_ERRNO(copy_file_range(file.get(), &at, fd, nullptr, 10, 0), EINVAL);
    CHECK_ERRNO(copy_file_range(fd, nullptr, file.get(), &at, 10, 0), EINVAL);
    CHECK_EQ(SYS(sendfile(fd, file.get(), &at, 100)), 100);
    out.advance(100);
    SYS(shutdown(fd, SHUT_WR));
    count_signal(SIGPIPE, 0);
    at = 0;
    CHECK_ERRNO(sendfile(fd, file.get(), &at, 10), EPIPE);
    CHECK_EQ(at, 0);
    CHECK(signals_seen() <= 1);
    side.in().receive(1);
}
void sendfile_refuses::server(Side& side) {
    StreamReader in = side.in();
    in.receive(100);
    in.expect_end();
    side.out().send(1);
}

TWO_SIDED(splice_with_every_flag, kPair | kCold)
void splice_with_every_flag::client(Side& side) {
    int fd = side.sock.get();
    StreamWriter out = side.out();
    StreamReader in = side.in();
    Pipe pipe;
    for (unsigned flags :
         {0u, static_cast<unsigned>(SPLICE_F_MOVE), static_cast<unsigned>(SPLICE_F_MORE),
          static_cast<unsigned>(SPLICE_F_MORE | SPLICE_F_MOVE),
          static_cast<unsigned>(SPLICE_F_GIFT)}) {
        auto bytes = out.next(3000);
        CHECK_EQ(SYS(write(pipe.out.get(), bytes.data(), 3000)), 3000);
        splice_exactly(pipe.in.get(), fd, 3000, flags);
        out.advance(3000);
        /* What more was to follow has followed. */
        out.send(1);
        in.receive(3001);
    }
}
void splice_with_every_flag::server(Side& side) {
    int fd = side.sock.get();
    StreamReader in = side.in();
    StreamWriter out = side.out();
    Pipe pipe;
    for (unsigned flags :
         {0u, static_cast<unsigned>(SPLICE_F_MOVE), static_cast<unsigned>(SPLICE_F_MORE), 0u,
          static_cast<unsigned>(SPLICE_F_MOVE | SPLICE_F_MORE)}) {
        splice_exactly(fd, pipe.out.get(), 3001, flags);
        in.accept(read_all(pipe.in.get(), 3001));
        out.send(3001);
    }
}

TWO_SIDED(splice_refuses, kPair | kCold)
void splice_refuses::client(Side& side) {
    int fd = side.sock.get();
    side.out().send(100);
    side.step("sent");
    Pipe pipe;
    CHECK_EQ(SYS(write(pipe.out.get(), "abc", 3)), 3);
    UniqueFd file = file_of(side.out().next(10));
    UniqueFd copy(SYS(dup(fd)));
    off_t at = 0;
    CHECK_ERRNO(splice(fd, nullptr, copy.get(), nullptr, 3, 0), EINVAL);
    CHECK_ERRNO(splice(file.get(), &at, fd, nullptr, 3, 0), EINVAL);
    CHECK_ERRNO(splice(pipe.in.get(), nullptr, fd, &at, 3, 0), EINVAL);
    CHECK_ERRNO(splice(pipe.in.get(), &at, fd, nullptr, 3, 0), ESPIPE);
    CHECK_ERRNO(splice(fd, &at, pipe.out.get(), nullptr, 3, 0), EINVAL);
    CHECK_ERRNO(splice(fd, nullptr, pipe.out.get(), &at, 3, 0), ESPIPE);
    CHECK_ERRNO(splice(pipe.in.get(), nullptr, fd, nullptr, 3, 0x80), EINVAL);
    CHECK_ERRNO(splice(fd, nullptr, pipe.out.get(), nullptr, 3, 0x80), EINVAL);
    CHECK_EQ(SYS(splice(pipe.in.get(), nullptr, fd, nullptr, 0, 0)), 0);
    CHECK_EQ(SYS(splice(fd, nullptr, pipe.out.get(), nullptr, 0, 0)), 0);
    CHECK_ERRNO(splice(pipe.out.get(), nullptr, fd, nullptr, 3, 0), EBADF);
    CHECK_ERRNO(splice(fd, nullptr, pipe.in.get(), nullptr, 3, 0), EBADF);
    CHECK_ERRNO(tee(fd, pipe.out.get(), 3, 0), EINVAL);
    CHECK_ERRNO(tee(pipe.in.get(), fd, 3, 0), EINVAL);
    iovec piece{&at, sizeof at};
    CHECK_ERRNO(vmsplice(fd, &piece, 1, 0), EBADF);
    count_signal(SIGPIPE, 0);
    SYS(shutdown(fd, SHUT_WR));
    CHECK_ERRNO(splice(pipe.in.get(), nullptr, fd, nullptr, 3, 0), EPIPE);
    /* Nobody reads the pipe: what is to go into it stays in the socket. */
    StreamReader in = side.in();
    Pipe broken;
    broken.in.reset();
    side.await_true("all has come", [&] { return waiting(fd) == 1000; });
    CHECK_ERRNO(splice(fd, nullptr, broken.out.get(), nullptr, 100, 0), EPIPE);
    in.receive(1000);
    side.step("read");
}
void splice_refuses::server(Side& side) {
    side.step("sent");
    StreamReader in = side.in();
    side.out().send(1000);
    in.receive(100);
    in.expect_end();
    side.step("read");
}

TWO_SIDED(splice_into_a_full_pipe, kPair | kCold)
void splice_into_a_full_pipe::client(Side& side) {
    side.out().send(40000);
    side.step("sent");
    side.in().receive(1);
}
void splice_into_a_full_pipe::server(Side& side) {
    int fd = side.sock.get();
    StreamReader in = side.in();
    Pipe pipe;
    SYS(fcntl(pipe.out.get(), F_SETPIPE_SZ, 4096));
    CHECK_EQ(SYS(write(pipe.out.get(), "12345", 5)), 5);
    side.step("sent");
    side.await_true("all has come", [&] { return waiting(fd) == 40000; });
    CHECK_ERRNO(splice(fd, nullptr, pipe.out.get(), nullptr, 1000, SPLICE_F_NONBLOCK), EAGAIN);
    CHECK_EQ(waiting(fd), 40000);
    read_all(pipe.in.get(), 5);
    while (in.position() < 40000) {
        ssize_t n = SYS(splice(fd, nullptr, pipe.out.get(), nullptr, 40000, SPLICE_F_NONBLOCK));
        CHECK(n > 0);
        CHECK_EQ(waiting(fd), 40000 - static_cast<int>(in.position()) - n);
        in.accept(read_all(pipe.in.get(), static_cast<std::size_t>(n)));
    }
    side.out().send(1);
}

TWO_SIDED(splice_at_the_end, kPair | kCold)
void splice_at_the_end::client(Side& side) {
    StreamWriter out = side.out();
    out.send(500);
    SYS(shutdown(side.sock.get(), SHUT_WR));
    side.in().receive(1);
    side.step("ended");
    close_hard(side.sock);
    side.step("reset");
}
void splice_at_the_end::server(Side& side) {
    int fd = side.sock.get();
    Pipe pipe;
    splice_exactly(fd, pipe.out.get(), 500, 0);
    side.in().accept(read_all(pipe.in.get(), 500));
    CHECK_EQ(SYS(splice(fd, nullptr, pipe.out.get(), nullptr, 100, 0)), 0);
    CHECK_EQ(SYS(splice(fd, nullptr, pipe.out.get(), nullptr, 100, SPLICE_F_NONBLOCK)), 0);
    side.out().send(1);
    side.step("ended");
    side.step("reset");
    side.await(fd, POLLHUP);
    CHECK_EQ(SYS(splice(fd, nullptr, pipe.out.get(), nullptr, 100, 0)), 0);
}

TWO_SIDED(teed_bytes_outlive_what_they_came_from, kPair | kCold)
void teed_bytes_outlive_what_they_came_from::client(Side& side) {
    side.out().send(3000);
    side.step("sent");
    side.in().expect_end();
}
void teed_bytes_outlive_what_they_came_from::server(Side& side) {
    auto one = std::make_unique<Pipe>();
    Pipe two, three;
    StreamReader in = side.in();
    side.step("sent");
    splice_exactly(side.sock.get(), one->out.get(), 3000, 0);
    for (Pipe* to : {&two, &three})
        CHECK_EQ(SYS(tee(one->in.get(), to->out.get(), 3000, 0)), 3000);
    one.reset();
    side.sock.reset();
    side.settle();
    in.compare(read_all(two.in.get(), 3000));
    in.accept(read_all(three.in.get(), 3000));
}

TWO_SIDED(vmsplice_gift_is_sent, kPair | kCold)
void vmsplice_gift_is_sent::client(Side& side) {
    StreamWriter out = side.out();
    Pipe pipe;
    for (int i = 0; i < 4; i++) {
        const std::size_t size = 4 * Cliff::page();
        void* pages =
            mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(pages != MAP_FAILED);
        auto bytes = out.next(size);
        std::memcpy(pages, bytes.data(), size);
        iovec piece{pages, size};
        CHECK_EQ(SYS(vmsplice(pipe.out.get(), &piece, 1, SPLICE_F_GIFT)),
                 static_cast<ssize_t>(size));
        /* Given away: it may go even before the bytes do. */
        munmap(pages, size);
        splice_exactly(pipe.in.get(), side.sock.get(), size, SPLICE_F_MOVE);
        out.advance(size);
    }
    side.tell_number(static_cast<long long>(out.position()));
    side.in().receive(1);
}
void vmsplice_gift_is_sent::server(Side& side) {
    side.in().receive(static_cast<std::size_t>(side.hear_number()));
    side.out().send(1);
}

TWO_SIDED(zerocopy_of_many_at_once, kPair | kCold)
void zerocopy_of_many_at_once::client(Side& side) {
    constexpr unsigned kSends = 24;
    int fd = side.sock.get();
    StreamWriter out = side.out();
    /* Not asked for: sent as ever, and nothing is told. */
    out.send(5000, MSG_ZEROCOPY);
    int one = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof one) < 0)
        throw Skip("SO_ZEROCOPY: " + errno_text(errno));
    char control[256];
    msghdr m{};
    m.msg_control = control;
    m.msg_controllen = sizeof control;
    CHECK_ERRNO(recvmsg(fd, &m, MSG_ERRQUEUE), EAGAIN);
    std::vector<std::vector<std::byte>> held;
    for (unsigned i = 0; i < kSends; i++) {
        held.push_back(out.next(3000 + i * 500));
        CHECK_EQ(SYS(send(fd, held.back().data(), held.back().size(), MSG_ZEROCOPY)),
                 static_cast<ssize_t>(held.back().size()));
        out.advance(held.back().size());
        if (i % 3 == 0)
            out.send(100);
    }
    /* Each number once, in order, alone or with its neighbours. */
    for (unsigned next = 0; next < kSends;) {
        side.await(fd, POLLERR);
        m.msg_controllen = sizeof control;
        m.msg_flags = 0;
        SYS(recvmsg(fd, &m, MSG_ERRQUEUE));
        CHECK_EQ(m.msg_flags & MSG_ERRQUEUE, static_cast<int>(MSG_ERRQUEUE));
        cmsghdr* header = CMSG_FIRSTHDR(&m);
        CHECK(header != nullptr);
        sock_extended_err said;
        std::memcpy(&said, CMSG_DATA(header), sizeof said);
        CHECK_EQ(said.ee_errno, 0u);
        CHECK_EQ(said.ee_origin, SO_EE_ORIGIN_ZEROCOPY);
        CHECK_EQ(said.ee_info, next);
        CHECK(said.ee_data >= next);
        next = said.ee_data + 1;
    }
    /* A call that had to wait for room may have more than one number. */
    side.await_true("all is told", [&] {
        m.msg_controllen = sizeof control;
        return recvmsg(fd, &m, MSG_ERRQUEUE) < 0 && poll_now(fd, POLLERR) == 0;
    });
    CHECK_EQ(get_option(fd, SOL_SOCKET, SO_ERROR), 0);
    side.tell_number(static_cast<long long>(out.position()));
    side.in().receive(1);
}
void zerocopy_of_many_at_once::server(Side& side) {
    StreamReader in = side.in();
    in.receive(5000);
    std::uint64_t total = 0;
    for (unsigned i = 0; i < 24; i++)
        total += 3000 + i * 500 + (i % 3 == 0 ? 100 : 0);
    in.receive(total);
    CHECK_EQ(side.hear_number(), static_cast<long long>(in.position()));
    side.out().send(1);
}

TWO_SIDED(zerocopy_receive, kPair | kCold)
void zerocopy_receive::client(Side& side) {
    StreamWriter out = side.out();
    out.send(300);
    side.step("first");
    side.step("counted");
    out.send(1 << 20);
    SYS(shutdown(side.sock.get(), SHUT_WR));
    side.in().receive(1);
}
void zerocopy_receive::server(Side& side) {
    int fd = side.sock.get();
    StreamReader in = side.in();
    const std::size_t window = 64 * Cliff::page();
    CHECK(mmap(nullptr, window, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
    CHECK(errno == EPERM || errno == ENODEV);
    /* There need not be such a thing: then all is read. */
    void* map = mmap(nullptr, window, PROT_READ, MAP_SHARED, fd, 0);
    const bool mapped = map != MAP_FAILED;
    if (!mapped)
        map = nullptr;
    side.step("first");
    side.await_true("all has come", [&] { return waiting(fd) == 300; });
    side.step("counted");
    /* As a program does it: what was not mapped, and how much that is, is read. */
    for (bool ended = false; !ended;) {
        side.await(fd, POLLIN);
        tcp_zerocopy_receive zc{};
        zc.address = reinterpret_cast<std::uint64_t>(map);
        zc.length = static_cast<std::uint32_t>(window);
        socklen_t length = sizeof zc;
        std::size_t by_copy = 16384;
        if (mapped && getsockopt(fd, IPPROTO_TCP, TCP_ZEROCOPY_RECEIVE, &zc, &length) == 0) {
            CHECK(zc.length <= window);
            in.accept({static_cast<std::byte*>(map), zc.length});
            by_copy = zc.recv_skip_hint;
            /* It may not be asked for ever: bytes are there, or the end is. */
            if (zc.length == 0 && by_copy == 0)
                by_copy = waiting(fd) == 0 ? 16384 : 0;
            CHECK(zc.length > 0 || by_copy > 0);
        }
        while (by_copy > 0 && !ended) {
            ssize_t n = SYS(in.receive_some(std::min<std::size_t>(by_copy, 65536)));
            ended = n == 0;
            by_copy -= static_cast<std::size_t>(n);
            if (waiting(fd) == 0)
                break;
        }
    }
    CHECK_EQ(in.position(), 300u + (1 << 20));
    if (mapped)
        munmap(map, window);
    side.out().send(1);
}
