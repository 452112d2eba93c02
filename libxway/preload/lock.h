// SPDX-License-Identifier: GPL-2.0-or-later
//
// lock.h - a lock in memory that processes share by fork.
//
// The word holds the owner's thread id, so that whoever waits can find out that the owner has been
// killed and go on: what the lock protects is changed by single stores, hence never half-done.
#pragma once

#include <signal.h>
#include <sys/single_threaded.h>

#include <atomic>

#include "sys.h"

namespace xway {

class Lock {
public:
    // Takes the lock; sleeps if it must.
    void lock() {
        std::uint32_t free = 0;
        if (!word_.compare_exchange_strong(free, thread_id(), std::memory_order_acquire))
            [[unlikely]]
            lock_slowly();
    }
    bool try_lock() {
        std::uint32_t free = 0;
        return word_.compare_exchange_strong(free, thread_id(), std::memory_order_acquire);
    }
    void unlock() {
        if (word_.exchange(0, std::memory_order_release) & kWaiters) [[unlikely]]
            futex_wake(&word_, 1);
    }
    [[nodiscard]] bool is_locked() const { return word_.load(std::memory_order_relaxed) != 0; }

private:
    static constexpr std::uint32_t kWaiters = 1u << 31;
    static constexpr int kSpins = 200;
    static constexpr std::int64_t kCheckOwnerNs = 20'000'000;

    void lock_slowly() {
        for (int i = 0; i < kSpins; i++) {
            cpu_relax();
            if (try_lock())
                return;
        }
        for (;;) {
            std::uint32_t seen = word_.load(std::memory_order_relaxed);
            // Whoever has slept cannot know whether others still do: it keeps the mark.
            if (seen == 0) {
                if (word_.compare_exchange_strong(seen, thread_id() | kWaiters,
                                                  std::memory_order_acquire))
                    return;
                continue;
            }
            if (!(seen & kWaiters) && !word_.compare_exchange_strong(seen, seen | kWaiters))
                continue;
            seen |= kWaiters;
            if (futex_wait(&word_, seen, now_ns() + kCheckOwnerNs) == -ETIMEDOUT && is_dead(seen) &&
                word_.compare_exchange_strong(seen, thread_id() | kWaiters,
                                              std::memory_order_acquire))
                return;
        }
    }

    static bool is_dead(std::uint32_t word) {
        return syscall(SYS_tkill, word & ~kWaiters, 0) < 0 && errno == ESRCH;
    }

    std::atomic<std::uint32_t> word_{0};
};

class Guard {
public:
    explicit Guard(Lock& lock) : lock_(lock) { lock_.lock(); }
    // `alone`: no other process knows the lock. Then, with one thread, there is nobody to keep out,
    // and no reason to pay for two atomic operations.
    Guard(Lock& lock, bool alone) : lock_(lock), held_(!alone || !__libc_single_threaded) {
        if (held_)
            lock_.lock();
    }
    ~Guard() {
        if (held_)
            lock_.unlock();
    }
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;

private:
    Critical critical_;
    Lock& lock_;
    const bool held_ = true;
};

} // namespace xway
