// SPDX-License-Identifier: GPL-2.0-or-later
#include "wait.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>

#include "look.h"
#include "process.h"
#include "real.h"
#include "signals.h"

namespace xway {

namespace {

// A sleeper looks by itself that often: whoever should wake it may have been killed just then.
constexpr std::int64_t kLookAgainNs = 1'000'000'000;
// The first look of a writer comes sooner: its reader may have missed it, see took() in rx.cpp.
constexpr std::int64_t kWriterLookNs = 20'000'000;
constexpr std::int64_t kInheritedLookNs = 5'000'000;

void count_sleepers(std::uint32_t number, int change) {
    const Guard guard(process.lock);
    process.sleeping[number] += static_cast<std::uint32_t>(change);
    for (std::uint32_t i = 0; i < process.arenas; i++)
        bells_publish(process.arena[i]);
}

// Sleeps on `word` of our side, as a point where the thread may be cancelled. As futex_wait().
// A function of its own, of which nothing is known where it is called: whoever calls must be ready
// to be unwound, and no instruction in which that begins may lie among theirs.
[[gnu::noipa]] int sleep_on(std::atomic<std::uint32_t>* word, std::uint32_t value,
                            std::int64_t deadline) {
    const timespec at{deadline / 1000000000, deadline % 1000000000};
    int type;
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &type);
    // Not by futex_wait(): syscall() is a wrapper of ours, and promises not to be unwound.
    const long result =
        real.syscall(SYS_futex, reinterpret_cast<long>(word), FUTEX_WAIT_BITSET, value,
                     reinterpret_cast<long>(deadline == kNever ? nullptr : &at), 0,
                     static_cast<long>(FUTEX_BITSET_MATCH_ANY));
    const int error = errno;
    pthread_setcanceltype(type, nullptr);
    return result < 0 ? -error : 0;
}

// After a sleep that lasted until `slept_until` at most.
ssize_t slept(int result, std::int64_t deadline) {
    if (result == -EINTR) // with a limit of time no call is begun anew, whatever SA_RESTART says
        return deadline == kNever && restarts_after_signal() ? 0 : -EINTR;
    if (result == -ETIMEDOUT && deadline != kNever && now_ns() >= deadline)
        return -EAGAIN;
    return 0;
}

bool is_late(std::int64_t deadline) {
    return deadline != kNever && now_ns() >= deadline;
}

// Waits for TCP's `events` and for the doorbell.
ssize_t wait_kernel(Endpoint* ep, int fd, short events, std::int64_t deadline) {
    const bool bell = bell_works(ep);
    const std::uint32_t number = xway_load(&ep->mine->bell) % kArenaBells;
    pollfd fds[2] = {{fd, events, 0}, {bell ? bell_poll_set() : -1, POLLIN, 0}};
    if (bell) {
        bell_sleep(number);
        if (events & POLLIN)
            bell_arm_rx(ep);
        else
            bell_arm_tx(ep);
    }
    int result = 0;
    const bool news = events & POLLIN ? rx_news(ep) : tx_on_ring(ep) && tx_news(ep);
    if (!news) {
        const std::int64_t longest = bell ? kLookAgainNs : kInheritedLookNs;
        const std::int64_t now = now_ns();
        const std::int64_t until =
            std::max<std::int64_t>(std::min(deadline, now + longest) - now, 0);
        const timespec timeout{until / 1000000000, until % 1000000000};
        result = real.ppoll(fds, 2, &timeout, nullptr);
        if (result < 0)
            result = -errno;
        else if (result == 0)
            result = -ETIMEDOUT;
        if (bell && fds[1].revents)
            bell_heard(fds[1].fd);
    }
    if (bell)
        bell_wake(number);
    return slept(result < 0 ? result : 0, deadline);
}

} // namespace

bool bell_works(const Endpoint* ep) {
    return ep->owner == process.token && process.bells > 0;
}

void bells_publish(ArenaMap* map) {
    for (std::uint32_t side = 0; side < 2; side++) {
        if (!(map->sides & (1u << side)))
            continue;
        // Each store is a full fence: pairs with the one of wake_peer().
        for (std::uint32_t i = 0; i < process.bells; i++) {
            auto& sleepers = map->view.header()->side[side].bell[i].sleepers;
            if (sleepers.load(std::memory_order_relaxed) != process.sleeping[i])
                sleepers.exchange(process.sleeping[i]);
        }
    }
}

void bell_sleep(std::uint32_t number) {
    count_sleepers(number, 1);
}

void bell_wake(std::uint32_t number) {
    count_sleepers(number, -1);
}

bool bell_has_sleepers(std::uint32_t number) {
    const Guard guard(process.lock);
    return process.sleeping[number] != 0;
}

void bell_arm_rx(Endpoint* ep) {
    if (!(ep->mine->rx_wait.load(std::memory_order_relaxed) & kWaitBell))
        ep->mine->rx_wait.fetch_or(kWaitBell);
}

void bell_arm_tx(Endpoint* ep) {
    if (!(ep->mine->tx_wait.load(std::memory_order_relaxed) & kWaitBell))
        ep->mine->tx_wait.fetch_or(kWaitBell);
}

int bell_poll_set() {
    if (thread.poll_set >= 0 && thread.poll_set_owner == process.token)
        return thread.poll_set;
    const int set = process_hide(real.epoll_create1(EPOLL_CLOEXEC));
    if (set < 0)
        return -1;
    for (std::uint32_t i = 0; i < process.bells; i++) {
        epoll_event event{};
        event.events = EPOLLIN | EPOLLET;
        real.epoll_ctl(set, EPOLL_CTL_ADD, process.bell[i], &event);
    }
    thread.poll_set = set;
    thread.poll_set_owner = process.token;
    return set;
}

void bell_heard(int set) {
    epoll_event events[kArenaBells];
    real.epoll_wait(set, events, kArenaBells, 0);
}

namespace {

// Does the peer wait for this very processor, as far as is known?
bool peer_is_here(const Endpoint* ep) {
    return __atomic_load_n(&ep->theirs->cpu, __ATOMIC_RELAXED) == sched_getcpu();
}

} // namespace

bool spin_rx(Endpoint* ep) {
    return !peer_is_here(ep) && look_longer(&ep->rx_spin, [&] { return rx_news(ep); });
}

ssize_t wait_rx(Endpoint* ep, int fd, std::int64_t deadline) {
    // Asked of the clock itself: a peer can see to it that no sleep ever lasts until the deadline.
    if (is_late(deadline))
        return -EAGAIN;
    // TCP has the next byte, or has said that there will be none: it is asked again there.
    if (!(xway_load(&ep->rx.epoch) & 1) || ep->rx_cut ||
        ep->theirs->flags.load() & (kSlotLook | kSlotGone) ||
        ep->arena->view.header()->side[ep->side ^ 1].gone.load())
        return wait_kernel(ep, fd, POLLIN, deadline);
    if (spin_rx(ep))
        return 0;
    std::atomic<std::uint32_t>* word = &ep->mine->rx_wait;
    // A full fence, which pairs with the one of publish() and of publish_epoch().
    const std::uint32_t value = word->fetch_or(kWaitFutex) | kWaitFutex;
    if (rx_news(ep) || ep->theirs->flags.load() & (kSlotLook | kSlotGone) || ep->rd_shut.load())
        return 0;
    const std::int64_t until = std::min(deadline, now_ns() + kLookAgainNs);
    const int result = sleep_on(word, value, until);
    if (result == -ETIMEDOUT)
        ep->looked_at = 0;
    return slept(result, deadline);
}

ssize_t wait_tx(Endpoint* ep, int fd, std::int64_t deadline) {
    if (is_late(deadline))
        return -EAGAIN;
    if (!tx_on_ring(ep))
        return wait_kernel(ep, fd, POLLOUT, deadline);
    if (!peer_is_here(ep) && look_longer(&ep->tx_spin, [&] { return tx_news(ep); }))
        return 0;
    std::atomic<std::uint32_t>* word = &ep->mine->tx_wait;
    const std::uint32_t value = word->fetch_or(kWaitFutex) | kWaitFutex;
    if (tx_news(ep))
        return 0;
    const std::int64_t until = std::min(deadline, now_ns() + kWriterLookNs);
    const int result = sleep_on(word, value, until);
    if (result == -ETIMEDOUT && (endpoint_peer_lost(ep, fd) || tx_leave_if_shut(ep, fd)))
        return 0;
    return slept(result, deadline);
}

} // namespace xway
