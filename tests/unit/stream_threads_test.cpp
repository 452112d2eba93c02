/* SPDX-License-Identifier: GPL-2.0 */
/*
 * stream_threads_test.cpp - the model of stream_model_test.cpp with a thread for each end.
 *
 * Under ThreadSanitizer it is the proof that the indices alone order the ring's bytes, and that a
 * ring's pages are never written while they are read (F-11).
 */
#include "rails.h"

#include <thread>

#include <gtest/gtest.h>

namespace xway::test {
namespace {

#ifdef __SANITIZE_THREAD__
constexpr uint64_t kBytes = 16u << 20;
#else
constexpr uint64_t kBytes = 64u << 20;
#endif

struct Mixture {
    const char* name;
    uint32_t switch_one_in; /* writes */
    uint32_t write, read;   /* largest */
    uint32_t pages;
};

void send(Sender& sender, const Mixture& mixture, Rng rng, const std::atomic<bool>& stop) {
    while (sender.sent() < kBytes && sender.failure().empty() && !stop) {
        sender.poll();
        if (below(rng, mixture.switch_one_in) == 0) {
            switch (below(rng, 3)) {
            case 0: sender.to_ring(below(rng, 4)); break;
            case 1: sender.to_tcp(); break;
            default: sender.grow(below(rng, 4));
            }
        }
        if (!sender.write(1 + below(rng, mixture.write)))
            std::this_thread::yield();
    }
}

void receive(Receiver& receiver, const Mixture& mixture, Rng rng, std::atomic<bool>& stop) {
    auto end = std::chrono::steady_clock::now() + std::chrono::minutes(4);
    while (receiver.received() < kBytes && receiver.failure().empty() &&
           std::chrono::steady_clock::now() < end) {
        uint64_t arriving = below(rng, 2) ? below(rng, 10000) : 0;
        if (receiver.step(1 + below(rng, mixture.read), arriving) == XWAY_RX_WAIT)
            std::this_thread::yield();
    }
    stop = true;
}

class StreamThreads : public testing::TestWithParam<Mixture> {};

TEST_P(StreamThreads, the_stream_comes_out_exact) {
    const Mixture& mixture = GetParam();
    const uint32_t epoch = 0u - 64, index = 0u - (1u << 20);
    Shared shared(0u - (1u << 20), mixture.pages);
    Sender sender(shared, epoch, index);
    Receiver receiver(shared, epoch, index);
    std::atomic<bool> stop{false};

    std::thread sending([&] { send(sender, mixture, Rng(1), stop); });
    std::thread receiving([&] { receive(receiver, mixture, Rng(2), stop); });
    sending.join();
    receiving.join();
    EXPECT_EQ(sender.failure(), "");
    EXPECT_EQ(receiver.failure(), "");
    EXPECT_GE(receiver.received(), kBytes) << "the stream stood still";
    EXPECT_GT(receiver.received_by_ring(), 0u);
    EXPECT_GT(receiver.received() - receiver.received_by_ring(), 0u);
    printf("%llu bytes, %llu of them by rings, %u switches\n",
           static_cast<unsigned long long>(receiver.received()),
           static_cast<unsigned long long>(receiver.received_by_ring()), sender.tx().epoch - epoch);
}

INSTANTIATE_TEST_SUITE_P(Mixtures, StreamThreads,
                         testing::Values(Mixture{"small_writes", 50, 200, 200, 32},
                                         Mixture{"large_writes", 20, 20000, 20000, 32},
                                         Mixture{"restless", 2, 100, 3000, 32},
                                         Mixture{"slow_reader", 10, 5000, 300, 32},
                                         Mixture{"crowded_arena", 3, 3000, 3000, 2}),
                         [](const auto& param) { return std::string(param.param.name); });

} // namespace
} // namespace xway::test
