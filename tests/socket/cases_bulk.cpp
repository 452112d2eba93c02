/* SPDX-License-Identifier: GPL-2.0 */
/* cases_bulk.cpp - much of it: bytes, messages, connections, and time. */
#include <netinet/tcp.h>
#include <poll.h>

#include <thread>
#include <vector>

#include "epoll.h"
#include "side.h"

using namespace xway::test;

TWO_SIDED(one_byte_messages, kPair | kCold | kMapped | kSlow)
void one_byte_messages::client(Side& side) {
    set_option(side.sock.get(), IPPROTO_TCP, TCP_NODELAY, 1);
    StreamWriter out = side.out();
    StreamReader in = side.in();
    for (int i = 0; i < 2000; i++) {
        out.send(1);
        in.receive(1);
    }
}
void one_byte_messages::server(Side& side) {
    set_option(side.sock.get(), IPPROTO_TCP, TCP_NODELAY, 1);
    StreamWriter out = side.out();
    StreamReader in = side.in();
    for (int i = 0; i < 2000; i++) {
        in.receive(1);
        out.send(1);
    }
}

TWO_SIDED(one_byte_stream, kPair | kCold)
void one_byte_stream::client(Side& side) {
    StreamWriter out = side.out();
    for (int i = 0; i < 5000; i++)
        out.send(1);
    side.in().receive(1);
}
void one_byte_stream::server(Side& side) {
    side.in().receive(5000, 1);
    side.out().send(1);
}

TWO_SIDED(large_each_way_in_one_go, kPair | kCold | kMapped | kSlow)
void large_each_way_in_one_go::client(Side& side) {
    constexpr std::size_t kSize = 8 << 20;
    std::vector<std::byte> bytes = side.out().next(kSize);
    CHECK_EQ(SYS(send(side.sock.get(), bytes.data(), kSize, 0)), static_cast<ssize_t>(kSize));
    side.in().receive(kSize, 1500);
}
void large_each_way_in_one_go::server(Side& side) {
    constexpr std::size_t kSize = 8 << 20;
    side.in().receive(kSize, 2000);
    std::vector<std::byte> bytes = side.out().next(kSize);
    CHECK_EQ(SYS(send(side.sock.get(), bytes.data(), kSize, 0)), static_cast<ssize_t>(kSize));
}

TWO_SIDED(large_writes_huge_reads, kPair | kCold)
void large_writes_huge_reads::client(Side& side) {
    side.out().send(8 << 20);
    side.in().receive(1);
}
void large_writes_huge_reads::server(Side& side) {
    side.in().receive(8 << 20, 4 << 20);
    side.out().send(1);
}

TWO_SIDED(random_sizes, kPair | kCold | kMapped)
void random_sizes::client(Side& side) {
    StreamWriter out = side.out();
    std::uint64_t state = 88172645463325252;
    while (out.position() < 3000000) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        std::uint64_t top = state % 5 == 0 ? 80000 : state % 5 == 1 ? 10 : 3000;
        std::uint64_t n = 1 + (state >> 8) % top;
        out.send(std::min<std::uint64_t>(n, 3000000 - out.position()),
                 state % 7 == 0 ? MSG_MORE : 0);
    }
    SYS(shutdown(side.sock.get(), SHUT_WR));
    side.in().receive(1);
}
void random_sizes::server(Side& side) {
    StreamReader in = side.in();
    std::uint64_t state = 1181783497276652981;
    for (bool more = true; more;) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        std::uint64_t top = state % 5 == 0 ? 90000 : state % 5 == 1 ? 10 : 4000;
        more = SYS(in.receive_some(1 + (state >> 8) % top, state % 11 == 0 ? MSG_WAITALL : 0)) > 0;
    }
    CHECK_EQ(in.position(), 3000000u);
    side.out().send(1);
}

TWO_SIDED(slow_reader_holds_the_sender, kPair | kCold)
void slow_reader_holds_the_sender::client(Side& side) {
    StreamWriter out = side.out();
    out.send(6 << 20);
    side.in().receive(1);
}
void slow_reader_holds_the_sender::server(Side& side) {
    StreamReader in = side.in();
    for (int i = 0; i < 8; i++) {
        side.settle();
        in.receive(50000, 3000);
    }
    in.receive((6 << 20) - 8 * 50000);
    side.out().send(1);
}

TWO_SIDED(idle_and_then_data, kPair | kCold)
void idle_and_then_data::client(Side& side) {
    StreamWriter out = side.out();
    StreamReader in = side.in();
    for (int i = 0; i < 3; i++) {
        sleep_ms(1200);
        out.send(5000);
        in.receive(5000);
    }
}
void idle_and_then_data::server(Side& side) {
    StreamWriter out = side.out();
    StreamReader in = side.in();
    for (int i = 0; i < 3; i++) {
        in.receive(5000);
        out.send(5000);
    }
}

TWO_SIDED(bursts_with_pauses, kPair | kCold)
void bursts_with_pauses::client(Side& side) {
    StreamWriter out = side.out();
    for (int i = 0; i < 25; i++) {
        for (int k = 0; k <= i; k++)
            out.send(1 + static_cast<std::size_t>(k) * 300);
        sleep_ms(i * 3);
    }
    SYS(shutdown(side.sock.get(), SHUT_WR));
    side.step("read");
}
void bursts_with_pauses::server(Side& side) {
    std::uint64_t total = 0;
    for (std::uint64_t i = 0; i < 25; i++)
        for (std::uint64_t k = 0; k <= i; k++)
            total += 1 + k * 300;
    CHECK_EQ(side.in().receive_to_end(), total);
    side.step("read");
}

TWO_SIDED(many_connections_one_epoll, kMapped | kSlow)
void many_connections_one_epoll::client(Side& side) {
    constexpr unsigned kCount = 64;
    auto port = side.hear_port();
    std::vector<UniqueFd> fds;
    for (unsigned i = 0; i < kCount; i++)
        fds.push_back(side.connect(port));
    std::vector<StreamWriter> outs;
    std::vector<StreamReader> ins;
    for (unsigned i = 0; i < kCount; i++) {
        outs.push_back(side.out(fds[i].get()));
        ins.push_back(side.echo(fds[i].get()));
    }
    for (std::size_t round = 0; round < 12; round++) {
        for (unsigned i = 0; i < kCount; i++)
            outs[(i * 37 + round) % kCount].send(1 + (round * 997 + i * 131) % 4000);
        for (unsigned i = 0; i < kCount; i++) {
            unsigned which = (i * 37 + static_cast<unsigned>(round)) % kCount;
            ins[which].receive(1 + (round * 997 + i * 131) % 4000);
        }
    }
    for (unsigned i = 0; i < kCount; i++) {
        SYS(shutdown(fds[i].get(), SHUT_WR));
        ins[i].expect_end();
    }
}
void many_connections_one_epoll::server(Side& side) {
    UniqueFd listener = side.listen_and_tell(128, SOCK_NONBLOCK);
    UniqueFd epoll(SYS(epoll_create1(0)));
    auto watch = [&](int fd) {
        epoll_event e{};
        e.events = EPOLLIN | (fd == listener.get() ? 0u : static_cast<std::uint32_t>(EPOLLET));
        e.data.fd = fd;
        SYS(epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd, &e));
    };
    watch(listener.get());
    std::vector<UniqueFd> fds(4096);
    for (unsigned ended = 0; ended < 64;) {
        epoll_event events[16];
        int n = SYS(epoll_wait(epoll.get(), events, 16, side.patience_ms()));
        CHECK(n > 0);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener.get()) {
                int got = accept4(fd, nullptr, nullptr, SOCK_NONBLOCK);
                if (got >= 0) {
                    fds.at(static_cast<std::size_t>(got)).reset(got);
                    watch(got);
                }
                continue;
            }
            char bytes[3000];
            ssize_t got;
            while ((got = recv(fd, bytes, sizeof bytes, 0)) > 0)
                CHECK_EQ(SYS(send(fd, bytes, static_cast<std::size_t>(got), 0)), got);
            if (got == 0) {
                fds[static_cast<std::size_t>(fd)].reset();
                ended++;
            }
        }
    }
}

TWO_SIDED(connect_request_response_close, kMapped | kSlow)
void connect_request_response_close::client(Side& side) {
    auto port = side.hear_port();
    for (unsigned i = 0; i < 200; i++) {
        UniqueFd fd = side.connect(port);
        side.out(fd.get(), i).send(1 + i * 10);
        StreamReader in = side.in(fd.get(), i);
        in.receive(1 + i * 50);
        in.expect_end();
    }
}
void connect_request_response_close::server(Side& side) {
    UniqueFd listener = side.listen_and_tell();
    for (unsigned i = 0; i < 200; i++) {
        UniqueFd fd = side.accept(listener.get());
        side.in(fd.get(), i).receive(1 + i * 10);
        side.out(fd.get(), i).send(1 + i * 50);
    }
}

TWO_SIDED(connect_send_close, kMapped | kSlow)
void connect_send_close::client(Side& side) {
    auto port = side.hear_port();
    for (unsigned i = 0; i < 200; i++)
        side.out(side.connect(port).get(), i).send(1 + i * 20);
    side.step("read");
}
void connect_send_close::server(Side& side) {
    UniqueFd listener = side.listen_and_tell(256);
    for (unsigned i = 0; i < 200; i++) {
        UniqueFd fd = side.accept(listener.get());
        CHECK_EQ(side.in(fd.get(), i).receive_to_end(), 1 + i * 20);
    }
    side.step("read");
}

TWO_SIDED(connect_close, kSlow)
void connect_close::client(Side& side) {
    auto port = side.hear_port();
    for (unsigned i = 0; i < 200; i++)
        UniqueFd fd = side.connect(port);
}
void connect_close::server(Side& side) {
    UniqueFd listener = side.listen_and_tell(256);
    for (unsigned i = 0; i < 200; i++) {
        UniqueFd fd = side.accept(listener.get());
        side.in(fd.get()).expect_end();
    }
}

TWO_SIDED(pipelined_requests, kPair | kCold)
void pipelined_requests::client(Side& side) {
    /* Requests go out without waiting for the answers. */
    std::thread sender([&] {
        StreamWriter out = side.out();
        for (std::size_t i = 0; i < 1000; i++)
            out.send(1 + i % 90);
    });
    StreamReader in = side.in();
    std::size_t total = 0;
    for (std::size_t i = 0; i < 1000; i++)
        total += 200 + i % 700;
    std::string failure;
    try {
        in.receive(total);
    } catch (const Failure& e) {
        failure = e.what();
        shutdown(side.sock.get(), SHUT_RDWR);
    }
    sender.join();
    CHECK_EQ(failure, "");
}
void pipelined_requests::server(Side& side) {
    StreamReader in = side.in();
    StreamWriter out = side.out();
    for (std::size_t i = 0; i < 1000; i++) {
        in.receive(1 + i % 90);
        out.send(200 + i % 700);
    }
}
