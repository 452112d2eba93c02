/* SPDX-License-Identifier: GPL-2.0 */
/* cases_thread.cpp - several threads, or processes, on one socket at once. */
#include <poll.h>
#include <sys/select.h>

#include <array>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "process.h"
#include "side.h"

using namespace xway::test;

namespace {

/* Runs all at once; the first failure is the case's. */
void together(const std::vector<std::function<void()>>& bodies) {
    std::mutex lock;
    std::string failure;
    std::vector<std::thread> threads;
    for (const auto& body : bodies)
        threads.emplace_back([&] {
            try {
                body();
            } catch (const std::exception& e) {
                std::lock_guard guard(lock);
                if (failure.empty())
                    failure = e.what();
            }
        });
    for (std::thread& t : threads)
        t.join();
    if (!failure.empty())
        throw Failure(failure);
}

void both_directions(Side& side, std::size_t bytes, std::size_t chunk) {
    together({[&] {
                  StreamWriter out = side.out();
                  while (out.position() < bytes)
                      out.send(std::min<std::uint64_t>(chunk, bytes - out.position()));
                  SYS(shutdown(side.sock.get(), SHUT_WR));
              },
              [&] {
                  StreamReader in = side.in();
                  CHECK_EQ(in.receive_to_end(chunk), bytes);
              }});
}

/* How often each value of a byte came: all that is left when several readers share a stream. */
using Histogram = std::array<std::uint64_t, 256>;

void count(Histogram& histogram, const std::byte* bytes, std::size_t n) {
    for (std::size_t i = 0; i < n; i++)
        histogram[static_cast<unsigned char>(bytes[i])]++;
}

Histogram expected_of(std::uint64_t total, StreamWriter writer) {
    Histogram histogram{};
    auto bytes = writer.next(total);
    count(histogram, bytes.data(), bytes.size());
    return histogram;
}

} // namespace

TWO_SIDED(send_and_receive_in_two_threads, kPair | kCold | kMapped)
void send_and_receive_in_two_threads::client(Side& side) {
    both_directions(side, 4 << 20, 30000);
}
void send_and_receive_in_two_threads::server(Side& side) {
    both_directions(side, 4 << 20, 11111);
}

TWO_SIDED(send_and_receive_tiny_in_two_threads, kPair | kCold)
void send_and_receive_tiny_in_two_threads::client(Side& side) {
    both_directions(side, 20000, 3);
}
void send_and_receive_tiny_in_two_threads::server(Side& side) {
    both_directions(side, 20000, 5);
}

TWO_SIDED(readers_share_a_stream, kPair)
void readers_share_a_stream::client(Side& side) {
    side.out().send(2 << 20);
    SYS(shutdown(side.sock.get(), SHUT_WR));
    side.step("read");
}
void readers_share_a_stream::server(Side& side) {
    std::mutex lock;
    Histogram seen{};
    auto reader = [&] {
        Histogram mine{};
        std::vector<std::byte> bytes(7000);
        for (ssize_t n; (n = SYS(recv(side.sock.get(), bytes.data(), bytes.size(), 0))) > 0;)
            count(mine, bytes.data(), static_cast<std::size_t>(n));
        std::lock_guard guard(lock);
        for (std::size_t i = 0; i < 256; i++)
            seen[i] += mine[i];
    };
    together({reader, reader, reader});
    CHECK(seen == expected_of(2 << 20, {-1, 1}));
    side.step("read");
}

TWO_SIDED(writers_share_a_stream, kPair)
void writers_share_a_stream::client(Side& side) {
    auto writer = [&](std::uint64_t number) {
        return [&side, number] {
            StreamWriter out = side.out(side.sock.get(), number);
            while (out.position() < 600000)
                out.send(
                    std::min<std::uint64_t>(1 + out.position() % 5000, 600000 - out.position()));
        };
    };
    together({writer(0), writer(1), writer(2)});
    SYS(shutdown(side.sock.get(), SHUT_WR));
    side.step("read");
}
void writers_share_a_stream::server(Side& side) {
    Histogram seen{}, expected{};
    std::vector<std::byte> bytes(50000);
    for (ssize_t n; (n = SYS(recv(side.sock.get(), bytes.data(), bytes.size(), 0))) > 0;)
        count(seen, bytes.data(), static_cast<std::size_t>(n));
    for (std::uint64_t number = 0; number < 3; number++) {
        Histogram one = expected_of(600000, {-1, number * 2 + 1});
        for (std::size_t i = 0; i < 256; i++)
            expected[i] += one[i];
    }
    CHECK(seen == expected);
    side.step("read");
}

TWO_SIDED(small_writes_are_not_torn, kPair)
void small_writes_are_not_torn::client(Side& side) {
    /* Records of one send each from several processes: while there is room TCP keeps each in one
     * piece. */
    set_option(side.sock.get(), SOL_SOCKET, SO_SNDBUF, 400000);
    auto writer = [&](unsigned char mark) {
        return [&side, mark] {
            unsigned char record[64];
            std::fill(std::begin(record), std::end(record), mark);
            for (int i = 0; i < 400; i++)
                CHECK_EQ(SYS(send(side.sock.get(), record, sizeof record, 0)), 64);
            return 0;
        };
    };
    Child one(writer(1)), two(writer(2)), three(writer(3));
    CHECK_EQ(one.wait(), 0);
    CHECK_EQ(two.wait(), 0);
    CHECK_EQ(three.wait(), 0);
    SYS(shutdown(side.sock.get(), SHUT_WR));
    side.step("read");
}
void small_writes_are_not_torn::server(Side& side) {
    unsigned records[4] = {};
    for (;;) {
        unsigned char record[64];
        ssize_t n = SYS(recv(side.sock.get(), record, sizeof record, MSG_WAITALL));
        if (n == 0)
            break;
        CHECK_EQ(n, 64);
        for (unsigned char byte : record)
            CHECK_EQ(static_cast<int>(byte), static_cast<int>(record[0]));
        CHECK(record[0] >= 1 && record[0] <= 3);
        records[record[0]]++;
    }
    for (int mark = 1; mark <= 3; mark++)
        CHECK_EQ(records[mark], 400u);
    side.step("read");
}

TWO_SIDED(peek_in_one_thread_read_in_another, kPair)
void peek_in_one_thread_read_in_another::client(Side& side) {
    side.out().send(1 << 20);
    SYS(shutdown(side.sock.get(), SHUT_WR));
    side.step("read");
}
void peek_in_one_thread_read_in_another::server(Side& side) {
    together({[&] {
                  std::byte bytes[5000];
                  while (SYS(recv(side.sock.get(), bytes, sizeof bytes, MSG_PEEK)) > 0) {
                  }
              },
              [&] { CHECK_EQ(side.in().receive_to_end(10000), 1u << 20); }});
    side.step("read");
}

TWO_SIDED(many_blocked_readers_one_close, kPair)
void many_blocked_readers_one_close::client(Side& side) {
    side.settle(3);
    SYS(shutdown(side.sock.get(), SHUT_WR));
    side.step("woken");
}
void many_blocked_readers_one_close::server(Side& side) {
    auto reader = [&] { side.in().expect_end(); };
    together({reader, reader, reader, reader});
    side.step("woken");
}

TWO_SIDED(threads_each_with_a_connection, kSlow)
void threads_each_with_a_connection::client(Side& side) {
    auto port = side.hear_port();
    auto talk = [&](std::uint64_t number) {
        return [&side, port, number] {
            UniqueFd fd = side.connect(port);
            auto label = static_cast<unsigned char>(number);
            CHECK_EQ(SYS(send(fd.get(), &label, 1, 0)), 1);
            StreamWriter out = side.out(fd.get(), number);
            StreamReader in = side.in(fd.get(), number);
            for (int i = 0; i < 100; i++) {
                out.send(1000 + number);
                in.receive(1000 + number);
            }
        };
    };
    together({talk(0), talk(1), talk(2), talk(3), talk(4), talk(5), talk(6), talk(7)});
}
void threads_each_with_a_connection::server(Side& side) {
    UniqueFd listener = side.listen_and_tell();
    auto talk = [&] {
        UniqueFd fd = side.accept(listener.get());
        unsigned char label;
        CHECK_EQ(SYS(recv(fd.get(), &label, 1, 0)), 1);
        StreamWriter out = side.out(fd.get(), label);
        StreamReader in = side.in(fd.get(), label);
        for (int i = 0; i < 100; i++) {
            in.receive(1000u + label);
            out.send(1000u + label);
        }
    };
    together({talk, talk, talk, talk, talk, talk, talk, talk});
}

namespace {

/* One thread waits for what the other's messages will be answered with, by each way to wait. */
void wait_for_answers(Side& side, const std::function<int(int fd)>& wait) {
    constexpr int kMessages = 20;
    std::thread sender([&] {
        StreamWriter out = side.out();
        for (int i = 0; i < kMessages; i++) {
            side.settle();
            out.send(100);
        }
    });
    StreamReader in = side.in();
    const int ready = wait(side.sock.get());
    const std::size_t got = ready == 1 ? in.receive_some(100) : 0;
    sender.join();
    CHECK_EQ(ready, 1);
    CHECK_EQ(got, 100u);
}

void answer_the_last(Side& side) {
    side.in().receive(2000);
    side.settle(2);
    side.out().send(100);
}

} // namespace

TWO_SIDED(poll_while_another_thread_sends, kPair | kCold)
void poll_while_another_thread_sends::client(Side& side) {
    wait_for_answers(side, [&](int fd) {
        pollfd p{fd, POLLIN, 0};
        return ::poll(&p, 1, side.patience_ms());
    });
}
void poll_while_another_thread_sends::server(Side& side) {
    answer_the_last(side);
}

TWO_SIDED(select_while_another_thread_sends, kPair | kCold)
void select_while_another_thread_sends::client(Side& side) {
    wait_for_answers(side, [&](int fd) {
        fd_set in;
        FD_ZERO(&in);
        FD_SET(fd, &in);
        timeval limit{side.patience_ms() / 1000, 0};
        return ::select(fd + 1, &in, nullptr, nullptr, &limit);
    });
}
void select_while_another_thread_sends::server(Side& side) {
    answer_the_last(side);
}
