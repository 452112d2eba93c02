// SPDX-License-Identifier: GPL-2.0-or-later
//
// sys.h - the few system calls that libc has no wrapper for, time, and what a thread carries.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdint>

namespace xway {

inline constexpr std::int64_t kNever = INT64_MAX;

// Nanoseconds of CLOCK_MONOTONIC; for deadlines.
inline std::int64_t now_ns() {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000ll + now.tv_nsec;
}

// The same clock, to a few milliseconds, at the price of a load.
inline std::int64_t coarse_ns() {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return now.tv_sec * 1000000000ll + now.tv_nsec;
}

// When something that may take `ns` from now is late; kNever stays kNever.
inline std::int64_t deadline_in(std::int64_t ns) {
    return ns == kNever ? kNever : now_ns() + ns;
}

// Sleeps while *word == value, at most until `deadline`. 0, or -errno: EAGAIN, EINTR, ETIMEDOUT.
// Futexes here are shared between processes.
inline int futex_wait(std::atomic<std::uint32_t>* word, std::uint32_t value,
                      std::int64_t deadline) {
    const timespec at{deadline / 1000000000, deadline % 1000000000};
    const long result =
        syscall(SYS_futex, word, FUTEX_WAIT_BITSET, value, deadline == kNever ? nullptr : &at,
                nullptr, FUTEX_BITSET_MATCH_ANY);
    return result < 0 ? -errno : 0;
}

inline void futex_wake(std::atomic<std::uint32_t>* word, int threads) {
    syscall(SYS_futex, word, FUTEX_WAKE, threads, nullptr, nullptr, 0);
}

inline void cpu_relax() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// What each thread carries. Initial-exec storage: usable in signal handlers, costs nothing.
struct Thread {
    std::uint32_t tid = 0;      // 0: not asked for yet
    std::uint32_t depth = 0;    // critical sections entered; signal handlers wait until it is 0
    std::uint32_t deferred = 0; // signals that wait for that
    void** fault = nullptr;     // where to go on if a copy meets a bad address (fault.h)
    int poll_set = -1;          // an epoll set with this process's doorbells, for poll and select
    std::uint32_t poll_set_owner = 0; // the process that made it
};
extern thread_local constinit Thread thread __attribute__((tls_model("initial-exec")));

inline std::uint32_t thread_id() {
    if (thread.tid == 0) [[unlikely]]
        thread.tid = static_cast<std::uint32_t>(syscall(SYS_gettid));
    return thread.tid;
}

// Runs the handlers of signals that came inside a critical section (signals.cpp).
void run_deferred_signals();

// No handler of the program runs inside: it might call us again, or jump out for good.
class Critical {
public:
    Critical() {
        ++thread.depth;
        std::atomic_signal_fence(std::memory_order_seq_cst);
    }
    ~Critical() {
        std::atomic_signal_fence(std::memory_order_seq_cst);
        if (--thread.depth == 0 && thread.deferred != 0) [[unlikely]]
            run_deferred_signals();
    }
    Critical(const Critical&) = delete;
    Critical& operator=(const Critical&) = delete;
};

// errno as it was, whatever happens in between: a call that succeeds must not touch it.
class KeepErrno {
public:
    KeepErrno() : saved_(errno) {}
    ~KeepErrno() { errno = saved_; }
    // The call fails after all; what it returns.
    ssize_t fail(ssize_t error) {
        saved_ = static_cast<int>(error);
        return -1;
    }
    KeepErrno(const KeepErrno&) = delete;
    KeepErrno& operator=(const KeepErrno&) = delete;

private:
    int saved_;
};

} // namespace xway
