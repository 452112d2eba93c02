/* SPDX-License-Identifier: GPL-2.0 */
/* cases_uring_more.cpp - io_uring: messages, many results of one request, chains, limits of time,
 * registered descriptors and buffers, zero copy. */
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include <cstring>
#include <memory>
#include <vector>

#include "side.h"
#include "uring.h"

using namespace xway::test;

namespace {

/* Skips where the kernel does not know the operation. */
void need(int operation, const char* name) {
    std::unique_ptr<io_uring_probe, void (*)(io_uring_probe*)> probe(io_uring_get_probe(),
                                                                     io_uring_free_probe);
    if (!probe || !io_uring_opcode_supported(probe.get(), operation))
        throw Skip(std::string("io_uring: no ") + name);
}

/* One request, alone: its result. */
template <typename Prepare>
int run(Ring& ring, Prepare prepare) {
    prepare(ring.prepare());
    ring.submit();
    return ring.wait();
}

/* A completion with its flags. */
struct Completion {
    int result;
    unsigned flags;
    std::uint64_t data;
};

Completion next(Ring& ring) {
    Completion c{};
    c.result = ring.wait(&c.data, &c.flags);
    return c;
}

} // namespace

TWO_SIDED(uring_sendmsg_and_recvmsg, kPair | kCold)
void uring_sendmsg_and_recvmsg::client(Side& side) {
    Ring ring(side);
    StreamWriter out = side.out();
    for (std::size_t n : {3u, 300u, 30000u}) {
        auto bytes = out.next(n);
        iovec pieces[3] = {{bytes.data(), 1}, {bytes.data() + 1, 0}, {bytes.data() + 1, n - 1}};
        msghdr m{};
        m.msg_iov = pieces;
        m.msg_iovlen = 3;
        int sent = run(ring, [&](io_uring_sqe* sqe) {
            io_uring_prep_sendmsg(sqe, side.sock.get(), &m, MSG_NOSIGNAL | MSG_WAITALL);
        });
        CHECK_EQ(ring.done("sendmsg", sent), static_cast<int>(n));
        out.advance(n);
        side.in().receive(1);
    }
}
void uring_sendmsg_and_recvmsg::server(Side& side) {
    Ring ring(side);
    StreamReader in = side.in();
    for (std::size_t n : {3u, 300u, 30000u}) {
        std::vector<std::byte> bytes(n);
        iovec pieces[2] = {{bytes.data(), 2}, {bytes.data() + 2, n - 2}};
        msghdr m{};
        m.msg_iov = pieces;
        m.msg_iovlen = 2;
        int got = run(ring, [&](io_uring_sqe* sqe) {
            io_uring_prep_recvmsg(sqe, side.sock.get(), &m, MSG_WAITALL);
        });
        CHECK_EQ(ring.done("recvmsg", got), static_cast<int>(n));
        CHECK_EQ(m.msg_flags, 0);
        in.accept(bytes);
        side.out().send(1);
    }
}

TWO_SIDED(uring_flags_of_recv, kPair | kCold)
void uring_flags_of_recv::client(Side& side) {
    Ring ring(side);
    side.step("empty");
    side.out().send(1000);
    side.step("sent");
    side.step("read");
}
void uring_flags_of_recv::server(Side& side) {
    Ring ring(side);
    int fd = side.sock.get();
    StreamReader in = side.in();
    std::byte bytes[1000];
    auto receive = [&](std::size_t n, int flags) {
        return run(ring, [&](io_uring_sqe* sqe) { io_uring_prep_recv(sqe, fd, bytes, n, flags); });
    };
    CHECK_EQ(receive(10, MSG_DONTWAIT), -EAGAIN);
    side.step("empty");
    side.step("sent");
    side.await(fd, POLLIN);
    CHECK_EQ(receive(10, MSG_PEEK), 10);
    in.compare(std::span(bytes).first(10));
    CHECK_EQ(receive(1000, MSG_PEEK | MSG_WAITALL), 1000);
    in.compare(bytes);
    CHECK_EQ(receive(100, MSG_TRUNC), 100);
    in.skip(100);
    CHECK_EQ(receive(900, MSG_WAITALL), 900);
    in.accept(std::span(bytes).first(900));
    CHECK_EQ(run(ring, [&](io_uring_sqe* sqe) { io_uring_prep_recv(sqe, -1, bytes, 1, 0); }),
             -EBADF);
    side.step("read");
}

TWO_SIDED(uring_chain, kPair | kCold)
void uring_chain::client(Side& side) {
    Ring ring(side);
    StreamWriter out = side.out();
    StreamReader in = side.in();
    /* A request, and the receipt of its answer, handed in together. */
    for (int i = 0; i < 10; i++) {
        auto bytes = out.next(300);
        std::byte answer[500];
        io_uring_sqe* sqe = ring.prepare();
        io_uring_prep_send(sqe, out.fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
        io_uring_sqe_set_flags(sqe, IOSQE_IO_LINK);
        io_uring_sqe_set_data64(sqe, 1);
        sqe = ring.prepare();
        io_uring_prep_recv(sqe, in.fd(), answer, sizeof answer, MSG_WAITALL);
        io_uring_sqe_set_data64(sqe, 2);
        ring.submit();
        Completion first = next(ring), second = next(ring);
        CHECK_EQ(first.data, 1u);
        CHECK_EQ(first.result, 300);
        CHECK_EQ(second.result, 500);
        out.advance(300);
        in.accept(answer);
    }
    /* The rest of a chain goes with the link that fails. */
    io_uring_sqe* sqe = ring.prepare();
    io_uring_prep_send(sqe, -1, "x", 1, 0);
    io_uring_sqe_set_flags(sqe, IOSQE_IO_LINK);
    io_uring_sqe_set_data64(sqe, 1);
    sqe = ring.prepare();
    io_uring_prep_send(sqe, out.fd(), "x", 1, 0);
    io_uring_sqe_set_data64(sqe, 2);
    ring.submit();
    for (int i = 0; i < 2; i++) {
        Completion c = next(ring);
        CHECK_EQ(c.result, c.data == 1 ? -EBADF : -ECANCELED);
    }
    out.send(10);
}
void uring_chain::server(Side& side) {
    Ring ring(side);
    StreamReader in = side.in();
    StreamWriter out = side.out();
    for (int i = 0; i < 10; i++) {
        in.receive(300);
        out.send(500);
    }
    in.receive(10);
}

TWO_SIDED(uring_limit_of_time, kPair | kCold)
void uring_limit_of_time::client(Side& side) {
    Ring ring(side);
    side.step("timed out");
    side.out().send(100);
    side.step("read");
}
void uring_limit_of_time::server(Side& side) {
    Ring ring(side);
    std::byte bytes[100];
    __kernel_timespec limit{0, 30000000};
    io_uring_sqe* sqe = ring.prepare();
    io_uring_prep_recv(sqe, side.sock.get(), bytes, sizeof bytes, 0);
    io_uring_sqe_set_flags(sqe, IOSQE_IO_LINK);
    io_uring_sqe_set_data64(sqe, 1);
    sqe = ring.prepare();
    io_uring_prep_link_timeout(sqe, &limit, 0);
    io_uring_sqe_set_data64(sqe, 2);
    ring.submit();
    for (int i = 0; i < 2; i++) {
        Completion c = next(ring);
        CHECK_EQ(c.result, c.data == 1 ? -ECANCELED : -ETIME);
    }
    side.step("timed out");
    /* It has taken nothing with it. */
    side.in().receive(100);
    side.step("read");
}

TWO_SIDED(uring_poll_that_stays, kPair | kCold)
void uring_poll_that_stays::client(Side& side) {
    Ring ring(side);
    StreamWriter out = side.out();
    for (int i = 0; i < 5; i++) {
        side.step("next");
        out.send(100);
        side.step("read");
    }
}
void uring_poll_that_stays::server(Side& side) {
    Ring ring(side);
    StreamReader in = side.in();
    io_uring_sqe* sqe = ring.prepare();
    io_uring_prep_poll_multishot(sqe, side.sock.get(), POLLIN);
    io_uring_sqe_set_data64(sqe, 1);
    ring.submit();
    for (int i = 0; i < 5; i++) {
        side.step("next");
        std::uint64_t target = in.position() + 100;
        while (in.position() < target) {
            Completion c = next(ring);
            if (c.result == -EINVAL)
                throw Skip("io_uring: no multishot poll");
            CHECK_EQ(c.result, POLLIN);
            CHECK((c.flags & IORING_CQE_F_MORE) != 0);
            while (in.receive_some(1000, MSG_DONTWAIT) > 0) {
            }
        }
        side.step("read");
    }
    sqe = ring.prepare();
    io_uring_prep_cancel64(sqe, 1, 0);
    io_uring_sqe_set_data64(sqe, 2);
    ring.submit();
    for (bool cancelled = false, ended = false; !cancelled || !ended;) {
        Completion c = next(ring);
        cancelled = cancelled || c.data == 2;
        ended = ended || (c.data == 1 && !(c.flags & IORING_CQE_F_MORE));
    }
}

TWO_SIDED(uring_accept_that_stays, kMapped)
void uring_accept_that_stays::client(Side& side) {
    Ring ring(side);
    need(IORING_OP_SOCKET, "multishot accept");
    auto port = side.hear_port();
    for (unsigned i = 0; i < 6; i++) {
        UniqueFd fd = side.connect(port);
        side.out(fd.get(), i).send(1000);
        side.in(fd.get(), i).receive(1000);
    }
}
void uring_accept_that_stays::server(Side& side) {
    Ring ring(side);
    need(IORING_OP_SOCKET, "multishot accept");
    UniqueFd listener = side.listen_and_tell();
    io_uring_prep_multishot_accept(ring.prepare(), listener.get(), nullptr, nullptr, SOCK_CLOEXEC);
    ring.submit();
    for (unsigned i = 0; i < 6; i++) {
        Completion c = next(ring);
        UniqueFd fd(ring.done("accept", c.result));
        CHECK((c.flags & IORING_CQE_F_MORE) != 0);
        CHECK_EQ(SYS(fcntl(fd.get(), F_GETFD)), FD_CLOEXEC);
        side.in(fd.get(), i).receive(1000);
        side.out(fd.get(), i).send(1000);
    }
}

TWO_SIDED(uring_recv_that_stays, kPair | kCold)
void uring_recv_that_stays::client(Side& side) {
    Ring ring(side);
    need(IORING_OP_SEND_ZC, "multishot recv");
    StreamWriter out = side.out();
    side.step("armed");
    for (std::size_t i = 0; i < 60; i++) {
        out.send(1 + i * 37 % 3000);
        if (i % 20 == 0)
            side.settle();
    }
    SYS(shutdown(side.sock.get(), SHUT_WR));
    side.tell_number(static_cast<long long>(out.position()));
    side.in().receive(1);
}
void uring_recv_that_stays::server(Side& side) {
    Ring ring(side);
    need(IORING_OP_SEND_ZC, "multishot recv");
    constexpr unsigned kBuffers = 8, kSize = 700, kGroup = 3;
    std::vector<std::byte> memory(kBuffers * kSize);
    CHECK_EQ(run(ring,
                 [&](io_uring_sqe* sqe) {
                     io_uring_prep_provide_buffers(sqe, memory.data(), kSize, kBuffers, kGroup, 0);
                 }) < 0,
             false);
    StreamReader in = side.in();
    auto arm = [&] {
        io_uring_sqe* sqe = ring.prepare();
        io_uring_prep_recv_multishot(sqe, side.sock.get(), nullptr, 0, 0);
        io_uring_sqe_set_flags(sqe, IOSQE_BUFFER_SELECT);
        sqe->buf_group = kGroup;
        io_uring_sqe_set_data64(sqe, 1);
        ring.submit();
    };
    arm();
    side.step("armed");
    for (bool ended = false; !ended;) {
        Completion c = next(ring);
        if (c.data != 1) {
            CHECK(c.result >= 0);
            continue;
        }
        if (c.result == -EINVAL)
            throw Skip("io_uring: no multishot recv");
        if (c.result > 0) {
            CHECK((c.flags & IORING_CQE_F_BUFFER) != 0);
            unsigned id = c.flags >> IORING_CQE_BUFFER_SHIFT;
            std::byte* at = memory.data() + id * kSize;
            in.accept({at, static_cast<std::size_t>(c.result)});
            io_uring_sqe* sqe = ring.prepare();
            io_uring_prep_provide_buffers(sqe, at, kSize, 1, kGroup, static_cast<int>(id));
            io_uring_sqe_set_data64(sqe, 2);
            ring.submit();
        } else if (c.result != -ENOBUFS) {
            CHECK_EQ(c.result, 0);
            ended = true;
        }
        /* It ends when it finds no buffer, and is asked for again. */
        if (!ended && !(c.flags & IORING_CQE_F_MORE))
            arm();
    }
    CHECK_EQ(side.hear_number(), static_cast<long long>(in.position()));
    side.out().send(1);
}

TWO_SIDED(uring_registered_files_and_buffers, kPair | kCold)
void uring_registered_files_and_buffers::client(Side& side) {
    Ring ring(side);
    int fd = side.sock.get();
    CHECK_EQ(io_uring_register_files(ring.get(), &fd, 1), 0);
    StreamWriter out = side.out();
    StreamReader in = side.in();
    std::vector<std::byte> memory(20000);
    iovec buffer{memory.data(), memory.size()};
    if (int error = io_uring_register_buffers(ring.get(), &buffer, 1); error < 0)
        throw Failure("io_uring_register_buffers: " + errno_text(-error));
    for (std::size_t n : {1u, 500u, 9000u}) {
        auto bytes = out.next(n);
        std::memcpy(memory.data() + 100, bytes.data(), n);
        int sent = run(ring, [&](io_uring_sqe* sqe) {
            io_uring_prep_write_fixed(sqe, 0, memory.data() + 100, static_cast<unsigned>(n), 0, 0);
            io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
        });
        CHECK_EQ(ring.done("write_fixed", sent), static_cast<int>(n));
        out.advance(n);
        for (std::size_t left = n; left > 0;) {
            int got = run(ring, [&](io_uring_sqe* sqe) {
                io_uring_prep_read_fixed(sqe, 0, memory.data(), static_cast<unsigned>(left), 0, 0);
                io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
            });
            CHECK(ring.done("read_fixed", got) > 0);
            in.accept({memory.data(), static_cast<std::size_t>(got)});
            left -= static_cast<std::size_t>(got);
        }
    }
    /* The registered one is a reference: the connection lives on when the number is closed. */
    side.sock.reset();
    side.step("closed");
    auto bytes = out.next(10);
    CHECK_EQ(run(ring,
                 [&](io_uring_sqe* sqe) {
                     io_uring_prep_send(sqe, 0, bytes.data(), 10, 0);
                     io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
                 }),
             10);
    side.step("sent");
}
void uring_registered_files_and_buffers::server(Side& side) {
    Ring ring(side);
    StreamReader in = side.in();
    StreamWriter out = side.out();
    for (std::size_t n : {1u, 500u, 9000u}) {
        in.receive(n);
        out.send(n);
    }
    side.step("closed");
    in.receive(10);
    side.step("sent");
    in.expect_end();
}

TWO_SIDED(uring_send_without_copy, kPair | kCold)
void uring_send_without_copy::client(Side& side) {
    Ring ring(side);
    need(IORING_OP_SEND_ZC, "zero-copy send");
    StreamWriter out = side.out();
    for (std::size_t n : {1u, 3000u, 60000u}) {
        auto bytes = out.next(n);
        for (std::size_t done = 0; done < n;) {
            io_uring_prep_send_zc(ring.prepare(), out.fd(), bytes.data() + done, n - done,
                                  MSG_NOSIGNAL, 0);
            ring.submit();
            Completion c = next(ring);
            CHECK(ring.done("send_zc", c.result) > 0);
            done += static_cast<std::size_t>(c.result);
            /* The buffer is ours again with the second word. */
            if (c.flags & IORING_CQE_F_MORE) {
                Completion word = next(ring);
                CHECK((word.flags & IORING_CQE_F_NOTIF) != 0);
            }
        }
        out.advance(n);
        side.in().receive(1);
    }
}
void uring_send_without_copy::server(Side& side) {
    Ring ring(side);
    need(IORING_OP_SEND_ZC, "zero-copy send");
    StreamReader in = side.in();
    for (std::size_t n : {1u, 3000u, 60000u}) {
        in.receive(n);
        side.out().send(1);
    }
}

TWO_SIDED(uring_splice_and_close, kPair | kCold)
void uring_splice_and_close::client(Side& side) {
    Ring ring(side);
    StreamWriter out = side.out();
    int ends[2];
    SYS(pipe2(ends, O_CLOEXEC));
    UniqueFd reads(ends[0]), writes(ends[1]);
    for (int i = 0; i < 3; i++) {
        auto bytes = out.next(3000);
        CHECK_EQ(SYS(write(writes.get(), bytes.data(), bytes.size())), 3000);
        for (int left = 3000; left > 0;) {
            int moved = run(ring, [&](io_uring_sqe* sqe) {
                io_uring_prep_splice(sqe, reads.get(), -1, out.fd(), -1,
                                     static_cast<unsigned>(left), 0);
            });
            CHECK(ring.done("splice", moved) > 0);
            left -= moved;
        }
        out.advance(3000);
        side.in().receive(1);
    }
    int fd = side.sock.release();
    CHECK_EQ(run(ring, [&](io_uring_sqe* sqe) { io_uring_prep_close(sqe, fd); }), 0);
    CHECK_ERRNO(fcntl(fd, F_GETFD), EBADF);
}
void uring_splice_and_close::server(Side& side) {
    Ring ring(side);
    StreamReader in = side.in();
    int ends[2];
    SYS(pipe2(ends, O_CLOEXEC));
    UniqueFd reads(ends[0]), writes(ends[1]);
    for (int i = 0; i < 3; i++) {
        for (int left = 3000; left > 0;) {
            int moved = run(ring, [&](io_uring_sqe* sqe) {
                io_uring_prep_splice(sqe, in.fd(), -1, writes.get(), -1,
                                     static_cast<unsigned>(left), 0);
            });
            CHECK(ring.done("splice", moved) > 0);
            std::vector<std::byte> bytes(static_cast<std::size_t>(moved));
            CHECK_EQ(SYS(read(reads.get(), bytes.data(), bytes.size())), moved);
            in.accept(bytes);
            left -= moved;
        }
        side.out().send(1);
    }
    in.expect_end();
}

TWO_SIDED(uring_tells_an_eventfd, kPair)
void uring_tells_an_eventfd::client(Side& side) {
    Ring ring(side);
    side.step("armed");
    side.settle();
    side.out().send(100);
    side.step("read");
    close_hard(side.sock);
    side.step("reset");
}
void uring_tells_an_eventfd::server(Side& side) {
    Ring ring(side);
    UniqueFd event(SYS(eventfd(0, EFD_CLOEXEC)));
    CHECK_EQ(io_uring_register_eventfd(ring.get(), event.get()), 0);
    StreamReader in = side.in();
    std::byte bytes[100];
    io_uring_prep_recv(ring.prepare(), in.fd(), bytes, sizeof bytes, MSG_WAITALL);
    ring.submit();
    CHECK_EQ(poll_now(event.get(), POLLIN), 0);
    CHECK_EQ(poll_now(ring.get()->ring_fd, POLLIN), 0);
    side.step("armed");
    side.await(event.get(), POLLIN);
    side.await(ring.get()->ring_fd, POLLIN);
    CHECK_EQ(ring.wait(), 100);
    in.accept(bytes);
    side.step("read");
    side.step("reset");
    CHECK_EQ(run(ring, [&](io_uring_sqe* sqe) { io_uring_prep_recv(sqe, in.fd(), bytes, 1, 0); }),
             -ECONNRESET);
    CHECK_EQ(run(ring, [&](io_uring_sqe* sqe) { io_uring_prep_recv(sqe, in.fd(), bytes, 1, 0); }),
             0);
    CHECK_EQ(
        run(ring,
            [&](io_uring_sqe* sqe) { io_uring_prep_send(sqe, in.fd(), "x", 1, MSG_NOSIGNAL); }),
        -EPIPE);
}
