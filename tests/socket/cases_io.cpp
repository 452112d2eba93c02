/* SPDX-License-Identifier: GPL-2.0 */
/* cases_io.cpp - every call that sends and every call that receives. */
#include <poll.h>
#include <sys/uio.h>

#include <cstring>
#include <vector>

#include "side.h"

using namespace xway::test;

namespace {

/* Pieces of a buffer, as the sizes say; what is left over goes into a last piece. */
std::vector<iovec> cut(std::vector<std::byte>& bytes, const std::vector<std::size_t>& sizes) {
    std::vector<iovec> pieces;
    std::size_t at = 0;
    for (std::size_t size : sizes) {
        pieces.push_back({bytes.data() + at, size});
        at += size;
    }
    if (at < bytes.size())
        pieces.push_back({bytes.data() + at, bytes.size() - at});
    return pieces;
}

using SendCall = ssize_t (*)(int fd, std::vector<iovec>& pieces);
using ReceiveCall = ssize_t (*)(int fd, std::vector<iovec>& pieces);

ssize_t total(const std::vector<iovec>& pieces) {
    std::size_t n = 0;
    for (const iovec& piece : pieces)
        n += piece.iov_len;
    return static_cast<ssize_t>(n);
}

const std::vector<std::vector<std::size_t>> kShapes = {
    {1}, {7, 0, 1}, {0, 0, 100}, {4096}, {1, 4095, 1}, {5000, 1, 0, 1, 9000}, {60000},
};

std::size_t size_of(const std::vector<std::size_t>& shape) {
    std::size_t n = 0;
    for (std::size_t size : shape)
        n += size;
    return n;
}

/* One message after the other by `call`, each answered with one byte. */
void send_shapes(Side& side, SendCall call) {
    StreamWriter out = side.out();
    StreamReader in = side.in();
    for (const auto& shape : kShapes) {
        std::vector<std::byte> bytes = out.next(size_of(shape));
        std::vector<iovec> pieces = cut(bytes, shape);
        CHECK_EQ(SYS(call(side.sock.get(), pieces)), total(pieces));
        out.advance(bytes.size());
        in.receive(1);
    }
}

void receive_shapes(Side& side, ReceiveCall call) {
    StreamReader in = side.in();
    StreamWriter out = side.out();
    for (const auto& shape : kShapes) {
        for (std::size_t left = size_of(shape); left > 0;) {
            std::vector<std::byte> bytes(left);
            std::vector<iovec> pieces =
                cut(bytes, left == size_of(shape) ? shape : std::vector<std::size_t>{left});
            auto n = static_cast<std::size_t>(SYS(call(side.sock.get(), pieces)));
            CHECK(n > 0 && n <= left);
            in.accept(std::span(bytes).first(n));
            left -= n;
        }
        out.send(1);
    }
}

msghdr message(std::vector<iovec>& pieces) {
    msghdr m{};
    m.msg_iov = pieces.data();
    m.msg_iovlen = pieces.size();
    return m;
}

ssize_t call_sendmsg(int fd, std::vector<iovec>& pieces) {
    msghdr m = message(pieces);
    return sendmsg(fd, &m, MSG_NOSIGNAL);
}

ssize_t call_recvmsg(int fd, std::vector<iovec>& pieces) {
    msghdr m = message(pieces);
    char control[256], name[128];
    m.msg_control = control;
    m.msg_controllen = sizeof control;
    m.msg_name = name;
    m.msg_namelen = sizeof name;
    ssize_t n = recvmsg(fd, &m, 0);
    CHECK_EQ(m.msg_flags & ~MSG_CMSG_CLOEXEC, 0);
    CHECK_EQ(m.msg_controllen, 0u);
    CHECK_EQ(m.msg_namelen, 0u);
    return n;
}

} // namespace

TWO_SIDED(write_and_readv, kPair | kMapped | kCold)
void write_and_readv::client(Side& side) {
    send_shapes(side, [](int fd, std::vector<iovec>& pieces) -> ssize_t {
        ssize_t n = 0;
        for (const iovec& piece : pieces)
            n += SYS(write(fd, piece.iov_base, piece.iov_len));
        return n;
    });
}
void write_and_readv::server(Side& side) {
    receive_shapes(side, [](int fd, std::vector<iovec>& pieces) {
        return readv(fd, pieces.data(), static_cast<int>(pieces.size()));
    });
}

TWO_SIDED(writev_and_read, kPair | kMapped | kCold)
void writev_and_read::client(Side& side) {
    send_shapes(side, [](int fd, std::vector<iovec>& pieces) {
        return writev(fd, pieces.data(), static_cast<int>(pieces.size()));
    });
}
void writev_and_read::server(Side& side) {
    receive_shapes(side, [](int fd, std::vector<iovec>& pieces) {
        return read(fd, pieces[0].iov_base, static_cast<std::size_t>(total(pieces)));
    });
}

TWO_SIDED(sendto_and_recvfrom, kPair)
void sendto_and_recvfrom::client(Side& side) {
    send_shapes(side, [](int fd, std::vector<iovec>& pieces) {
        /* TCP takes an address here and does not look at it. */
        Address to = peer_address(fd);
        return sendto(fd, pieces[0].iov_base, static_cast<std::size_t>(total(pieces)), 0, to.get(),
                      to.length);
    });
}
void sendto_and_recvfrom::server(Side& side) {
    receive_shapes(side, [](int fd, std::vector<iovec>& pieces) {
        Address from;
        from.length = sizeof from.storage;
        ssize_t n = recvfrom(fd, pieces[0].iov_base, static_cast<std::size_t>(total(pieces)), 0,
                             from.get(), &from.length);
        CHECK_EQ(from.length, 0u);
        return n;
    });
}

TWO_SIDED(sendmsg_and_recvmsg, kPair | kMapped | kCold)
void sendmsg_and_recvmsg::client(Side& side) {
    send_shapes(side, call_sendmsg);
}
void sendmsg_and_recvmsg::server(Side& side) {
    receive_shapes(side, call_recvmsg);
}

TWO_SIDED(sendmmsg_and_recvmmsg, kPair)
void sendmmsg_and_recvmmsg::client(Side& side) {
    StreamWriter out = side.out();
    for (int round = 0; round < 5; round++) {
        std::vector<std::byte> bytes = out.next(10000);
        iovec pieces[4] = {{bytes.data(), 1},
                           {bytes.data() + 1, 2999},
                           {bytes.data() + 3000, 0},
                           {bytes.data() + 3000, 7000}};
        mmsghdr messages[3]{};
        messages[0].msg_hdr.msg_iov = &pieces[0];
        messages[0].msg_hdr.msg_iovlen = 1;
        messages[1].msg_hdr.msg_iov = &pieces[1];
        messages[1].msg_hdr.msg_iovlen = 2;
        messages[2].msg_hdr.msg_iov = &pieces[3];
        messages[2].msg_hdr.msg_iovlen = 1;
        CHECK_EQ(SYS(sendmmsg(side.sock.get(), messages, 3, 0)), 3);
        CHECK_EQ(messages[0].msg_len, 1u);
        CHECK_EQ(messages[1].msg_len, 2999u);
        CHECK_EQ(messages[2].msg_len, 7000u);
        out.advance(bytes.size());
    }
    side.in().receive(1);
}
void sendmmsg_and_recvmmsg::server(Side& side) {
    StreamReader in = side.in();
    while (in.position() < 50000) {
        std::byte one[100], two[2000], three[9000];
        iovec pieces[3] = {{one, sizeof one}, {two, sizeof two}, {three, sizeof three}};
        mmsghdr messages[3]{};
        for (int i = 0; i < 3; i++) {
            messages[i].msg_hdr.msg_iov = &pieces[i];
            messages[i].msg_hdr.msg_iovlen = 1;
        }
        side.await(side.sock.get(), POLLIN);
        int n = SYS(recvmmsg(side.sock.get(), messages, 3, MSG_DONTWAIT, nullptr));
        CHECK(n >= 1);
        for (int i = 0; i < n; i++)
            in.accept({static_cast<std::byte*>(pieces[i].iov_base), messages[i].msg_len});
    }
    side.out().send(1);
}

TWO_SIDED(zero_length, kPair | kCold)
void zero_length::client(Side& side) {
    StreamWriter out = side.out();
    int fd = side.sock.get();
    char none = 0;
    CHECK_EQ(SYS(send(fd, &none, 0, 0)), 0);
    CHECK_EQ(SYS(write(fd, &none, 0)), 0);
    iovec empty[2] = {{&none, 0}, {&none, 0}};
    CHECK_EQ(SYS(writev(fd, empty, 2)), 0);
    side.step("nothing sent");
    side.step("nothing came");
    out.send(10);
    side.step("ten sent");
    CHECK_EQ(SYS(send(fd, &none, 0, 0)), 0);
    side.in().receive(1);
}
void zero_length::server(Side& side) {
    int fd = side.sock.get();
    char none = 0;
    StreamReader in = side.in();
    side.step("nothing sent");
    /* An empty send is no message, and above all no end of file. */
    side.settle();
    CHECK_EQ(poll_now(fd, POLLIN | POLLRDHUP), 0);
    CHECK_ERRNO(recv(fd, &none, 1, MSG_DONTWAIT), EAGAIN);
    CHECK_EQ(SYS(read(fd, &none, 0)), 0);
    side.step("nothing came");
    side.step("ten sent");
    side.await(fd, POLLIN);
    CHECK_EQ(SYS(recv(fd, &none, 0, MSG_DONTWAIT)), 0);
    CHECK_EQ(SYS(read(fd, &none, 0)), 0);
    iovec empty[2] = {{&none, 0}, {&none, 0}};
    CHECK_EQ(SYS(readv(fd, empty, 2)), 0);
    in.receive(10);
    side.out().send(1);
}

TWO_SIDED(a_thousand_pieces, kPair | kCold)
void a_thousand_pieces::client(Side& side) {
    StreamWriter out = side.out();
    for (std::size_t size : {1u, 3u, 97u, 1024u}) {
        std::vector<std::byte> bytes = out.next(1024 * size);
        std::vector<iovec> pieces;
        for (std::size_t i = 0; i < 1024; i++)
            pieces.push_back({bytes.data() + i * size, size});
        std::size_t sent =
            static_cast<std::size_t>(SYS(writev(side.sock.get(), pieces.data(), 1024)));
        CHECK_EQ(sent, bytes.size());
        out.advance(sent);
    }
    iovec too_many[1025]{};
    CHECK_ERRNO(writev(side.sock.get(), too_many, 1025), EINVAL);
    side.in().receive(1);
}
void a_thousand_pieces::server(Side& side) {
    StreamReader in = side.in();
    while (in.position() < 1024 * (1 + 3 + 97 + 1024)) {
        std::vector<std::byte> bytes(1024 * 33);
        std::vector<iovec> pieces;
        for (std::size_t i = 0; i < 1024; i++)
            pieces.push_back({bytes.data() + i * 33, i % 5 ? 33u : 0u});
        auto n = static_cast<std::size_t>(SYS(readv(side.sock.get(), pieces.data(), 1024)));
        CHECK(n > 0);
        for (std::size_t i = 0; i < 1024 && n > 0; i++) {
            std::size_t take = std::min(n, pieces[i].iov_len);
            in.accept(std::span(bytes).subspan(i * 33, take));
            n -= take;
        }
    }
    side.out().send(1);
}

TWO_SIDED(bad_buffer_is_a_fault_and_loses_nothing, kPair)
void bad_buffer_is_a_fault_and_loses_nothing::client(Side& side) {
    StreamWriter out = side.out();
    void* bad = reinterpret_cast<void*>(16);
    CHECK_ERRNO(send(side.sock.get(), bad, 100, 0), EFAULT);
    CHECK_ERRNO(send(side.sock.get(), bad, 100000, 0), EFAULT);
    out.send(5000);
    side.step("sent");
    side.in().receive(5000);
}
void bad_buffer_is_a_fault_and_loses_nothing::server(Side& side) {
    side.step("sent");
    side.await(side.sock.get(), POLLIN);
    void* bad = reinterpret_cast<void*>(16);
    CHECK_ERRNO(recv(side.sock.get(), bad, 100, 0), EFAULT);
    side.in().receive(5000);
    side.out().send(5000);
}

TWO_SIDED(formatted_by_dprintf, kPair | kCold)
void formatted_by_dprintf::client(Side& side) {
    for (int i = 0; i < 30; i++) {
        CHECK_EQ(dprintf(side.sock.get(), "%08d", i), 8);
        CHECK_EQ(SYS(write(side.sock.get(), "-", 1)), 1);
    }
    SYS(shutdown(side.sock.get(), SHUT_WR));
}
void formatted_by_dprintf::server(Side& side) {
    std::string seen, wanted;
    char piece[64];
    ssize_t got;
    while ((got = SYS(read(side.sock.get(), piece, sizeof piece))) > 0)
        seen.append(piece, static_cast<std::size_t>(got));
    for (int i = 0; i < 30; i++) {
        char number[16];
        std::snprintf(number, sizeof number, "%08d-", i);
        wanted += number;
    }
    CHECK_EQ(seen, wanted);
}

TWO_SIDED(standard_output_is_the_socket, kPair | kCold)
void standard_output_is_the_socket::client(Side& side) {
    StreamWriter out = side.out();
    for (int i = 0; i < 20; i++)
        out.send(100);
    SYS(dup2(side.sock.get(), STDOUT_FILENO));
    for (int i = 0; i < 20; i++) {
        auto bytes = out.next(100);
        CHECK_EQ(std::fwrite(bytes.data(), 1, bytes.size(), stdout), 100u);
        CHECK_EQ(std::fflush(stdout), 0);
        out.advance(bytes.size());
        out.send(100);
    }
    SYS(shutdown(side.sock.get(), SHUT_WR));
}
void standard_output_is_the_socket::server(Side& side) {
    CHECK_EQ(side.in().receive_to_end(), 6000u);
}
