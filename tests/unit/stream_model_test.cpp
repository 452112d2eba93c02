/* SPDX-License-Identifier: GPL-2.0 */
/*
 * stream_model_test.cpp - random senders and receivers, one thread: the stream comes out exact.
 *
 * A seed decides everything, so a failure names the seed that repeats it.
 */
#include "rails.h"

#include <gtest/gtest.h>

namespace xway::test {
namespace {

struct Plan {
    uint32_t seed;
    uint32_t first_epoch; /* even */
    uint32_t first_index;
    uint32_t isn;
    uint32_t operations;
    uint32_t pages;
};

struct Outcome {
    uint64_t bytes, ring_bytes;
    uint32_t switches;
};

void sender_step(Sender& sender, Rng& rng) {
    switch (below(rng, 16)) {
    case 0: sender.to_ring(below(rng, 4)); break;
    case 1: sender.to_tcp(); break;
    case 2: sender.grow(below(rng, 4)); break;
    case 3:
    case 4:
    case 5: sender.poll(); break;
    case 6: sender.write(1u << 16); break;
    default: sender.write(below(rng, 1500));
    }
}

void receiver_step(Receiver& receiver, Rng& rng) {
    uint32_t most = below(rng, 3) ? 1 + below(rng, 3000) : ~0u;
    receiver.step(most, below(rng, 2) ? below(rng, 10000) : 0);
}

/* Lets the receiver have all there is. */
void drain(Receiver& receiver) {
    while (receiver.failure().empty() && receiver.step(~0u, ~0u) != XWAY_RX_WAIT) {
    }
}

Outcome run(const Plan& plan) {
    Rng rng(plan.seed);
    Shared shared(plan.isn, plan.pages);
    Sender sender(shared, plan.first_epoch, plan.first_index);
    Receiver receiver(shared, plan.first_epoch, plan.first_index);

    /* The odds change as the run goes on, so that rings are now full and now empty. */
    uint32_t odds = 50;
    for (uint32_t i = 0; i < plan.operations; i++) {
        if (i % 256 == 0)
            odds = 10 + below(rng, 66);
        if (below(rng, 100) < odds)
            sender_step(sender, rng);
        else
            receiver_step(receiver, rng);
        EXPECT_EQ(sender.failure(), "");
        EXPECT_EQ(receiver.failure(), "");
        EXPECT_LE(xway_tx_in_flight(&sender.tx()), XWAY_MARKS);
        if (testing::Test::HasFailure()) {
            ADD_FAILURE() << "seed " << plan.seed << ", operation " << i;
            return {};
        }
    }
    drain(receiver);
    sender.poll();
    EXPECT_EQ(receiver.failure(), "") << "seed " << plan.seed;
    EXPECT_EQ(receiver.received(), sender.sent()) << "seed " << plan.seed;
    EXPECT_EQ(xway_tx_in_flight(&sender.tx()), 0u) << "seed " << plan.seed;
    if (sender.to_tcp()) {
        EXPECT_FALSE(xway_tx_settled(&sender.tx()));
        drain(receiver);
        sender.poll();
    }
    EXPECT_TRUE(xway_tx_settled(&sender.tx()));
    return {receiver.received(), receiver.received_by_ring(), sender.tx().epoch - plan.first_epoch};
}

#ifdef __SANITIZE_ADDRESS__
constexpr uint32_t kSeeds = 60;
#else
constexpr uint32_t kSeeds = 400;
#endif

TEST(StreamModel, any_mixture_of_switches_comes_out_exact) {
    Outcome all = {};
    for (uint32_t seed = 1; seed <= kSeeds && !HasFailure(); seed++) {
        Outcome one = run({seed, 0, 0, 1000 * seed, 4000, 32});
        all.bytes += one.bytes;
        all.ring_bytes += one.ring_bytes;
        all.switches += one.switches;
    }
    /* The model must have done what it is for. */
    EXPECT_GT(all.switches, kSeeds * 100);
    EXPECT_GT(all.ring_bytes, all.bytes / 10);
    EXPECT_LT(all.ring_bytes, all.bytes - all.bytes / 10);
    printf("%llu bytes, %llu of them by rings, %u switches\n",
           static_cast<unsigned long long>(all.bytes),
           static_cast<unsigned long long>(all.ring_bytes), all.switches);
}

TEST(StreamModel, indices_epochs_and_sequence_numbers_wrap) {
    for (uint32_t seed = 1; seed <= kSeeds && !HasFailure(); seed++) {
        Rng rng(seed);
        uint32_t epoch = 0u - 2 * below(rng, 40);
        run({seed, epoch, 0u - below(rng, 1u << 18), 0u - below(rng, 1u << 18), 4000, 32});
    }
}

TEST(StreamModel, f11_a_crowded_arena_never_lends_a_page_twice) {
    for (uint32_t seed = 1; seed <= kSeeds && !HasFailure(); seed++)
        run({seed, 0, 0, 0, 4000, 3});
}

} // namespace
} // namespace xway::test
