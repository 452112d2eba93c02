// SPDX-License-Identifier: GPL-2.0-or-later
//
// libxway_victim.h - one end of a connection as the library has it; each call is watched.
#pragma once

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <sanitizer/asan_interface.h>

#include "config.h"
#include "epoll.h"
#include "libxway_peer.h"
#include "process.h"
#include "real.h"
#include "table.h"
#include "wait.h"

namespace xway::test {

inline constexpr int kGuardMs = 4000; // no call takes longer once it has a reason to end
inline constexpr int kHangMs = 20000;
inline constexpr std::int64_t kMs = 1'000'000;

// What peers send has the highest bit clear, what the victim sends has it set: so has what nobody
// has written to.
inline constexpr std::uint8_t kUntouched = 0xee;

// Ends the program if a call never comes back. Each thread may be in one.
class Watchdog {
public:
    static Watchdog& get() {
        static Watchdog one;
        return one;
    }
    void begin(const char* what) {
        mine().what = what;
        mine().end = now_ns() + kHangMs * kMs;
    }
    void done() { mine().end = kNever; }

private:
    struct Call {
        std::atomic<std::int64_t> end{kNever};
        std::atomic<const char*> what{""};
    };

    Watchdog() {
        std::thread([this] {
            for (;;) {
                for (const Call& call : calls_)
                    look_at(call);
                std::this_thread::sleep_for(std::chrono::milliseconds(50));
            }
        }).detach();
    }
    static void look_at(const Call& call) {
        if (now_ns() < call.end.load())
            return;
        fprintf(stderr, "%s hangs\n", call.what.load());
        abort();
    }
    Call& mine() {
        thread_local const unsigned index = used_++;
        return calls_[index % std::size(calls_)];
    }

    Call calls_[64];
    std::atomic<unsigned> used_{0};
};

// Calls, and says so if it took too long.
template <typename Call>
auto timely(const char* what, Call call, int most_ms = kGuardMs) {
    Watchdog::get().begin(what);
    const std::int64_t from = now_ns();
    const auto result = call();
    const std::int64_t took = (now_ns() - from) / kMs;
    Watchdog::get().done();
    EXPECT_LT(took, most_ms) << what;
    return result;
}

// Buffers for a call, scattered, with ground between them that nobody may touch.
class Parts {
public:
    explicit Parts(const std::vector<std::size_t>& sizes) {
        std::size_t all = kGap;
        for (const std::size_t size : sizes)
            all += size + kGap;
        memory_.assign(all, kUntouched);
        ASAN_POISON_MEMORY_REGION(memory_.data(), all);
        std::size_t at = kGap;
        for (const std::size_t size : sizes) {
            iov_.push_back({&memory_[at], size});
            ASAN_UNPOISON_MEMORY_REGION(&memory_[at], size);
            at += size + kGap;
            size_ += size;
        }
    }
    ~Parts() { ASAN_UNPOISON_MEMORY_REGION(memory_.data(), memory_.size()); }
    Parts(const Parts&) = delete;
    Parts& operator=(const Parts&) = delete;

    [[nodiscard]] const iovec* iov() const { return iov_.data(); }
    [[nodiscard]] int count() const { return static_cast<int>(iov_.size()); }
    [[nodiscard]] std::size_t size() const { return size_; }

    // The first `got` bytes are a peer's, all others as they were. A look ahead that begins anew
    // may have seen more once: then all of the buffers is its own.
    void expect_received(ssize_t got, bool anew) {
        ASAN_UNPOISON_MEMORY_REGION(memory_.data(), memory_.size());
        auto left = static_cast<std::size_t>(std::max<ssize_t>(got, 0));
        ASSERT_LE(left, size_) << "more than asked for";
        const std::uint8_t* at = memory_.data();
        for (const iovec& part : iov_) {
            const auto* from = static_cast<const std::uint8_t*>(part.iov_base);
            const std::size_t here = std::min(left, part.iov_len);
            expect_untouched(at, from);
            ASSERT_TRUE(std::all_of(from, from + here, is_peers))
                << "among " << got << " bytes are some that no peer has sent";
            at = from + (anew ? part.iov_len : here);
            left -= here;
        }
        expect_untouched(at, memory_.data() + memory_.size());
    }

private:
    static constexpr std::size_t kGap = 24;

    static bool is_peers(std::uint8_t byte) { return byte < 0x80; }
    static void expect_untouched(const std::uint8_t* from, const std::uint8_t* to) {
        EXPECT_TRUE(std::all_of(from, to, [](std::uint8_t b) { return b == kUntouched; }))
            << "bytes were written that were not asked for, or not counted";
    }

    std::vector<std::uint8_t> memory_;
    std::vector<iovec> iov_;
    std::size_t size_ = 0;
};

class Victim {
public:
    Victim(Arena& arena, int socket) : fd(socket) {
        map_.view = arena.victim;
        map_.id = 1;
        map_.owner = process.token;
        map_.sides = 1u << kSide;
        map_.bells = 1;
        map_.bell[0] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        EXPECT_TRUE(process_make_bells(kArenaBells));
        process.arena[process.arenas++] = &map_;
        ep = endpoint_new(false);
        // As if another connection were in it: without an xwayd the last one's end unmaps an arena.
        map_.endpoint[kSide][kArenaSlots - 1] = ep;
        table_set(fd, Entry::of(ep));
    }
    ~Victim() {
        close();
        process.arenas--;
        ::close(map_.bell[0]);
    }
    Victim(const Victim&) = delete;
    Victim& operator=(const Victim&) = delete;

    // As if xwayd had answered.
    bool attach() {
        ep->owner = process.token;
        ep->arena = &map_;
        ep->slot = kSlot;
        ep->side = kSide;
        ep->phase = Phase::kMatched;
        return endpoint_enter(ep, fd) == Way::kRing;
    }
    void patience(std::int64_t ns) {
        ep->rcv_timeout = ns;
        ep->snd_timeout = ns;
    }

    ssize_t recv(Parts& to, int flags = 0) {
        const ssize_t got =
            timely("recv", [&] { return endpoint_recv(ep, fd, to.iov(), to.count(), flags); });
        const int error = errno;
        SCOPED_TRACE("recv " + std::to_string(to.size()) + ", flags " + std::to_string(flags) +
                     ": " + std::to_string(got) + ", errno " + std::to_string(error));
        const bool anew = (flags & MSG_PEEK) && (flags & MSG_WAITALL) && !(flags & MSG_TRUNC);
        to.expect_received(flags & MSG_TRUNC ? 0 : got, anew);
        errno = error;
        EXPECT_LE(got, static_cast<ssize_t>(to.size()));
        expect_no_fault(got);
        return got;
    }
    ssize_t recv(std::size_t bytes, int flags = 0) {
        Parts to({bytes});
        return recv(to, flags);
    }
    ssize_t send(const Parts& from, int flags = 0) {
        const ssize_t sent = timely("send", [&] {
            return endpoint_send(ep, fd, from.iov(), from.count(), flags | MSG_NOSIGNAL);
        });
        EXPECT_LE(sent, static_cast<ssize_t>(from.size()));
        expect_no_fault(sent);
        return sent;
    }
    ssize_t send(std::size_t bytes, int flags = 0) { return send(Parts({bytes}), flags); }

    void close() {
        if (fd < 0)
            return;
        timely("close", [&] {
            table_clear(fd, Entry::of(ep));
            epoll_forget(fd, ep);
            const Closing closing = endpoint_close(ep, fd);
            real.close(fd);
            endpoint_closed(closing);
            return 0;
        });
        fd = -1;
    }

    static void expect_no_fault(ssize_t result) {
        const int error = errno;
        EXPECT_FALSE(result < 0 && error == EFAULT) << "it left its window";
        errno = error;
    }

    int fd;
    Endpoint* ep;

private:
    ArenaMap map_{};
};

} // namespace xway::test
