/* SPDX-License-Identifier: GPL-2.0 */
/* spin_test.cpp - when a reader looks before it sleeps, and for how long. */
#include <gtest/gtest.h>
#include <xway/spin.h>

namespace xway {
namespace {

constexpr __u64 no_limit = ~0ull;

xway_spin after_a_sleep(__u64 wake_ns) {
    xway_spin spin{};
    xway_spin_woken(&spin, wake_ns);
    return spin;
}

TEST(Spin, no_look_before_a_sleep_was_seen) {
    xway_spin spin{};
    for (int i = 0; i < 3 * XWAY_SPIN_TRY; i++)
        EXPECT_EQ(xway_spin_for(&spin, no_limit), 0u);
}

TEST(Spin, a_look_lasts_as_long_as_a_sleep_costs_and_no_longer_than_allowed) {
    xway_spin spin = after_a_sleep(1000);
    EXPECT_EQ(xway_spin_for(&spin, no_limit), 1000u * XWAY_SPIN_WAKES);
    spin = after_a_sleep(1000);
    EXPECT_EQ(xway_spin_for(&spin, 700), 700u);
    spin = after_a_sleep(1000);
    EXPECT_EQ(xway_spin_for(&spin, 0), 0u);
}

TEST(Spin, while_it_does_not_pay_it_is_tried_now_and_then) {
    xway_spin spin = after_a_sleep(1000);
    int looks = 0;
    for (int i = 0; i < 10 * XWAY_SPIN_TRY; i++) {
        if (xway_spin_for(&spin, no_limit)) {
            looks++;
            xway_spin_learn(&spin, false);
        }
    }
    EXPECT_EQ(looks, 10);
}

TEST(Spin, once_it_pays_every_wait_looks_until_two_in_a_row_are_in_vain) {
    xway_spin spin = after_a_sleep(1000);
    ASSERT_NE(xway_spin_for(&spin, no_limit), 0u);
    xway_spin_learn(&spin, true);
    for (bool hit : {true, false, true, false, true, true, false}) {
        EXPECT_NE(xway_spin_for(&spin, no_limit), 0u);
        xway_spin_learn(&spin, hit);
    }
    EXPECT_NE(xway_spin_for(&spin, no_limit), 0u);
    xway_spin_learn(&spin, false);
    EXPECT_EQ(xway_spin_for(&spin, no_limit), 0u);
}

TEST(Spin, the_cost_of_a_wake_up_follows_slowly_and_a_lost_processor_does_not_count) {
    xway_spin spin = after_a_sleep(8000);
    xway_spin_woken(&spin, XWAY_SPIN_WAKE_MAX + 1);
    EXPECT_EQ(spin.wake_ns, 8000u);
    xway_spin_woken(&spin, 16000);
    EXPECT_EQ(spin.wake_ns, 9000u);
    for (int i = 0; i < 200; i++)
        xway_spin_woken(&spin, XWAY_SPIN_WAKE_MAX);
    EXPECT_NEAR(spin.wake_ns, XWAY_SPIN_WAKE_MAX, XWAY_SPIN_WAKE_MAX / 100);
}

} // namespace
} // namespace xway
