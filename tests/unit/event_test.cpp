/* SPDX-License-Identifier: GPL-2.0 */
/* event_test.cpp - xway_need_event(), and the sleep and wake-up that it serves. */
#include "explore.h"

#include <semaphore.h>

#include <atomic>
#include <thread>

#include <gtest/gtest.h>
#include <xway/stream.h>

namespace xway::test {
namespace {

TEST(NeedEvent, is_true_when_the_index_has_passed_the_event) {
    EXPECT_FALSE(xway_need_event(10, 10, 5)); /* reached, not passed */
    EXPECT_TRUE(xway_need_event(10, 11, 10));
    EXPECT_TRUE(xway_need_event(10, 500, 3));
    EXPECT_FALSE(xway_need_event(10, 12, 11)); /* passed before */
    EXPECT_FALSE(xway_need_event(10, 7, 7));   /* nothing happened */
    EXPECT_FALSE(xway_need_event(10, 10, 10));
}

TEST(NeedEvent, agrees_with_its_definition_also_across_the_wrap) {
    for (uint32_t base : {0u, 0u - 20, 0x7ffffff0u, 0x80000000u}) {
        for (uint32_t old = 0; old < 40; old++) {
            for (uint32_t now = old; now < 40; now++) {
                for (uint32_t event = 0; event < 40; event++) {
                    bool passed = event >= old && event < now;
                    ASSERT_EQ(xway_need_event(base + event, base + now, base + old), passed)
                        << base << " " << event << " " << now << " " << old;
                }
            }
        }
    }
}

/*
 * Two threads pass bytes through a ring of @size that holds none of them: only who sleeps when
 * and who wakes whom is tried. Either side sleeps as section 6 of docs/protocol.md says.
 */
class Bell {
public:
    Bell() { sem_init(&rung_, 0, 0); }
    ~Bell() { sem_destroy(&rung_); }

    void ring() { sem_post(&rung_); }

    /* False: nobody came, and so a wake-up was lost. */
    bool wait() {
        struct timespec end;
        clock_gettime(CLOCK_REALTIME, &end);
        end.tv_sec += 30;
        while (sem_timedwait(&rung_, &end))
            if (errno != EINTR)
                return false;
        return true;
    }

private:
    sem_t rung_; /* not std::counting_semaphore: GCC 12's may itself lose a wake-up */
};

struct Pair {
    struct xway_slot sender = {}, receiver = {};
    Bell data, room;
    std::atomic<uint64_t> sleeps{0}, wakes{0};
};

/* Now and then a thread dawdles, so that the two meet in every way. */
void dawdle(uint32_t& seed) {
    seed = seed * 1664525u + 1013904223u;
    if ((seed >> 24) == 0)
        std::this_thread::yield();
    else
        for (uint32_t spin = seed >> 27; spin; spin--)
            std::atomic_signal_fence(std::memory_order_seq_cst);
}

bool send_all(Pair& pair, uint32_t first, uint32_t count, uint32_t size) {
    uint32_t prod = first, seed = 1;
    while (prod != first + count) {
        uint32_t cons = xway_load_acquire(&pair.receiver.cons);
        if (prod - cons == size) {
            xway_store(&pair.sender.room_event, cons);
            xway_mb();
            if (xway_load_acquire(&pair.receiver.cons) != cons)
                continue;
            pair.sleeps++;
            if (!pair.room.wait())
                return false;
            continue;
        }
        uint32_t old = prod++;
        xway_store_release(&pair.sender.prod, prod);
        xway_mb();
        if (xway_need_event(xway_load(&pair.receiver.data_event), prod, old)) {
            pair.wakes++;
            pair.data.ring();
        }
        dawdle(seed);
    }
    return true;
}

bool take_all(Pair& pair, uint32_t first, uint32_t count) {
    uint32_t cons = first, seed = 2;
    while (cons != first + count) {
        uint32_t prod = xway_load_acquire(&pair.sender.prod);
        if (prod == cons) {
            xway_store(&pair.receiver.data_event, prod);
            xway_mb();
            if (xway_load_acquire(&pair.sender.prod) != prod)
                continue;
            pair.sleeps++;
            if (!pair.data.wait())
                return false;
            continue;
        }
        uint32_t old = cons++;
        xway_store_release(&pair.receiver.cons, cons);
        xway_mb();
        if (xway_need_event(xway_load(&pair.sender.room_event), cons, old)) {
            pair.wakes++;
            pair.room.ring();
        }
        dawdle(seed);
    }
    return true;
}

class Wakeup : public testing::TestWithParam<uint32_t> {};

TEST_P(Wakeup, none_is_lost_between_two_threads) {
    const uint32_t first = 0u - 5000, count = 200000;
    Pair pair;
    bool sent = false, taken = false;

    pair.sender.prod = pair.receiver.cons = first;
    /* Far from where the indices are: nobody has asked yet. */
    pair.sender.room_event = pair.receiver.data_event = first - 1;
    std::thread sender([&] { sent = send_all(pair, first, count, GetParam()); });
    std::thread receiver([&] { taken = take_all(pair, first, count); });
    sender.join();
    receiver.join();
    EXPECT_TRUE(sent) << "the sender slept on, with room in the ring";
    EXPECT_TRUE(taken) << "the receiver slept on, with bytes in the ring";
    EXPECT_GT(pair.sleeps, 0u);
    printf("%llu sleeps, %llu wake-ups for %u bytes\n",
           static_cast<unsigned long long>(pair.sleeps),
           static_cast<unsigned long long>(pair.wakes), count);
}

INSTANTIATE_TEST_SUITE_P(RingOf, Wakeup, testing::Values(1u, 2u, 64u, 4096u));

/*
 * The same protocol, every interleaving of it, on a machine whose stores wait in a buffer (as
 * x86's do): it shows that the fence and the second look are both needed.
 */
struct WakeState {
    uint32_t prod, event;                  /* shared memory */
    uint32_t prod_waits, event_waits;      /* 1: the store is still in its CPU's buffer */
    uint32_t prod_buffer, event_buffer;    /* what is in it */
    uint32_t sender_at, receiver_at, sent; /* program counters; the sender's own prod */
    uint32_t seen, rung, asleep;
};

struct WakeRules {
    bool sender_fence = true, receiver_fence = true, second_look = true;
    uint32_t bytes = 4;
};

void sender_next(const WakeState& s, const WakeRules& rules, std::vector<Step<WakeState>>& steps) {
    WakeState n = s;
    if (s.prod_waits) {
        n.prod = s.prod_buffer;
        n.prod_waits = n.prod_buffer = 0;
        steps.push_back({"s.flush", n});
        n = s;
    }
    if (s.sender_at == 0 && s.sent < rules.bytes && !s.prod_waits) {
        n.sent++;
        n.prod_waits = 1;
        n.prod_buffer = n.sent;
        n.sender_at = 1;
        steps.push_back({"s.prod", n});
    } else if (s.sender_at == 1 && !(rules.sender_fence && s.prod_waits)) {
        if (xway_need_event(s.event, s.sent, s.sent - 1))
            n.rung++;
        n.sender_at = 0;
        steps.push_back({"s.look", n});
    }
}

void receiver_next(const WakeState& s, const WakeRules& rules,
                   std::vector<Step<WakeState>>& steps) {
    WakeState n = s;
    if (s.event_waits) {
        n.event = s.event_buffer;
        n.event_waits = n.event_buffer = 0;
        steps.push_back({"r.flush", n});
        n = s;
    }
    switch (s.receiver_at) {
    case 0: /* takes all there is */
        if (s.seen != s.prod) {
            n.seen = s.prod;
            steps.push_back({"r.take", n});
        } else if (!s.event_waits) {
            n.event_waits = 1;
            n.event_buffer = s.seen;
            n.receiver_at = 1;
            steps.push_back({"r.event", n});
        }
        break;
    case 1:
        if (rules.receiver_fence && s.event_waits)
            break;
        n.asleep = !rules.second_look || s.prod == s.seen;
        n.receiver_at = n.asleep ? 2 : 0;
        steps.push_back({"r.look", n});
        break;
    case 2:
        if (!s.rung)
            break;
        n.rung = n.asleep = n.receiver_at = 0;
        steps.push_back({"r.woken", n});
        break;
    }
}

Exploration explore_wakeup(const WakeRules& rules) {
    Explorer<WakeState> explorer(
        [&](const WakeState& state, std::vector<Step<WakeState>>& steps) {
            sender_next(state, rules, steps);
            receiver_next(state, rules, steps);
        },
        [&](const WakeState& s) -> const char* {
            bool done = s.sent == rules.bytes && s.sender_at == 0 && !s.prod_waits;
            return done && s.asleep && !s.event_waits && !s.rung && s.seen != s.prod
                       ? "asleep for ever"
                       : nullptr;
        });
    WakeState first = {};
    first.event = 0u - 1;
    return explorer.run(first, 1u << 20);
}

TEST(WakeupExplored, no_interleaving_loses_a_wakeup) {
    Exploration result = explore_wakeup({});
    EXPECT_EQ(result.violation, "");
    EXPECT_TRUE(result.complete);
    printf("%llu states\n", static_cast<unsigned long long>(result.states));
}

TEST(WakeupExplored, one_is_lost_without_the_second_look) {
    EXPECT_NE(explore_wakeup({.second_look = false}).violation, "");
}

TEST(WakeupExplored, one_is_lost_without_the_senders_barrier) {
    EXPECT_NE(explore_wakeup({.sender_fence = false}).violation, "");
}

TEST(WakeupExplored, one_is_lost_without_the_receivers_barrier) {
    EXPECT_NE(explore_wakeup({.receiver_fence = false}).violation, "");
}

} // namespace
} // namespace xway::test
