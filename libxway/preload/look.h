// SPDX-License-Identifier: GPL-2.0-or-later
//
// look.h - looking a little longer for news before sleeping.
#pragma once

#include <xway/spin.h>

#include "config.h"
#include "process.h"
#include "sys.h"

namespace xway {

// Looks for up to config.spin_ns, if that has paid for this waiter lately. True: `news()` has said
// so.
template <typename News>
bool look_longer(xway_spin* spin, News news) {
    constexpr int kLooksPerClock = 32;
    if (config.spin_ns == 0 || process.processors < 2)
        return false;
    // What a wake-up costs is not measured: no clock of the peer's is at hand.
    spin->wake_ns = static_cast<std::uint32_t>(config.spin_ns / XWAY_SPIN_WAKES + 1);
    const auto budget =
        static_cast<std::int64_t>(xway_spin_for(spin, static_cast<std::uint64_t>(config.spin_ns)));
    if (budget == 0)
        return false;
    const std::int64_t end = now_ns() + budget;
    do {
        for (int i = 0; i < kLooksPerClock; i++) {
            if (news()) {
                xway_spin_learn(spin, true);
                return true;
            }
            cpu_relax();
        }
    } while (now_ns() < end);
    xway_spin_learn(spin, false);
    return false;
}

} // namespace xway
