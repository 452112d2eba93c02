// SPDX-License-Identifier: GPL-2.0-or-later
#include "endpoint.h"

#include <linux/sockios.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <utility>

#include "config.h"
#include "direct.h"
#include "process.h"
#include "real.h"
#include "registrar.h"
#include "wait.h"
#include "wrap.h"

namespace xway {

namespace {

constexpr std::uint32_t kSlabSize = 1 << 17; // endpoints a process may open
constexpr std::uint32_t kSlabFirst = 1024;   // as many are used before a place is used again
constexpr std::uint32_t kSlabTries = 64;     // places looked at for a free one
constexpr std::int64_t kLingerStepNs = 1'000'000;

// The endpoints that this process has opened, in memory that its children will share. A child
// begins one of its own; those of its ancestors stay where they are.
struct Slab {
    Endpoint* base = nullptr;
    std::atomic<std::uint32_t> owner{0};
    std::atomic<std::uint32_t> used{0}; // places ever used
    std::atomic<std::uint32_t> hand{0}; // where to look next: the place that was free longest
};
Slab slab;
Lock slab_lock;

// This process's and, from older to newer, its ancestors'.
constexpr unsigned kSlabs = 16;
Endpoint* slabs[kSlabs];
unsigned slab_count;

bool slab_ready() {
    if (slab.owner.load(std::memory_order_acquire) == process.token) [[likely]]
        return true;
    const Guard guard(slab_lock);
    if (slab.owner == process.token)
        return true;
    void* memory = mmap(nullptr, sizeof(Endpoint) * kSlabSize, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return false;
    slab.base = static_cast<Endpoint*>(memory);
    slab.used = 0;
    slab.hand = 0;
    slab.owner.store(process.token, std::memory_order_release);
    slabs[slab_count % kSlabs] = slab.base;
    slab_count++;
    return true;
}

Endpoint* claim(std::uint32_t index) {
    Endpoint* ep = &slab.base[index];
    State free = State::kFree;
    return ep->state.compare_exchange_strong(free, State::kBusy) ? ep : nullptr;
}

Endpoint* find_free() {
    std::uint32_t used = slab.used.load();
    if (used >= kSlabFirst) {
        for (std::uint32_t i = 0; i < kSlabTries; i++) {
            if (Endpoint* ep = claim(slab.hand.fetch_add(1) % used))
                return ep;
        }
    }
    used = slab.used.fetch_add(1);
    if (used < kSlabSize)
        return claim(used);
    slab.used.fetch_sub(1);
    return nullptr;
}

// May this connection be registered or attached just now, by its only user?
void progress(Endpoint* ep, int fd) {
    switch (ep->phase.load(std::memory_order_relaxed)) {
    case Phase::kNew:
        if (ep->calls.fetch_add(1, std::memory_order_relaxed) >= ep->after)
            registrar_register(ep, fd);
        break;
    case Phase::kRegistered: registrar_read_mail(); break;
    case Phase::kMatched: break;
    case Phase::kOver: return;
    }
    if (ep->phase.load(std::memory_order_acquire) != Phase::kMatched)
        return;
    State tcp = State::kTcp;
    if (!ep->state.compare_exchange_strong(tcp, State::kBusy))
        return;
    // Pairs with endpoint_enter(): it counts itself, then looks at the state.
    if (ep->users.load() != 1) {
        ep->state.store(State::kTcp);
        return;
    }
    const bool attached = endpoint_attach(ep, fd);
    ep->state.store(attached ? State::kRing : State::kPlain);
}

// Unread bytes at the last close are told to the peer by a reset. TCP does it for its own; and
// these may be for another process, which has got the connection by SCM_RIGHTS.
void reset_if_unread(Endpoint* ep, int fd) {
    if (rx_unread_by_ring(ep, fd) != 0)
        reset_at_close(fd);
}

// SO_LINGER: close() waits while `left`, as long as the program has asked for.
template <typename Left>
void linger_while(int fd, Left left) {
    linger option{};
    socklen_t length = sizeof(option);
    if (!left() || real.getsockopt(fd, SOL_SOCKET, SO_LINGER, &option, &length) != 0 ||
        !option.l_onoff || option.l_linger == 0)
        return;
    const std::int64_t end = now_ns() + option.l_linger * 1000000000ll;
    while (left() && now_ns() < end) {
        const timespec step{0, kLingerStepNs};
        nanosleep(&step, nullptr);
    }
}

// Until the peer has taken all from the ring.
void linger_for_ring(Endpoint* ep, int fd) {
    linger_while(fd, [&] {
        return tx_pending(ep) > 0 && !(ep->theirs->flags.load() & kSlotGone) &&
               !ep->arena->view.header()->side[ep->side ^ 1].gone.load();
    });
}

// As the kernel would, if xwayd did not still hold the copy that was passed to it.
void linger_for_tcp(int fd) {
    linger_while(fd, [&] {
        int unsent = 0;
        return real.ioctl(fd, SIOCOUTQ, &unsent) == 0 && unsent > 0;
    });
}

} // namespace

bool endpoint_exists(const Endpoint* ep) {
    for (const Endpoint* base : slabs) {
        const auto offset =
            reinterpret_cast<std::uintptr_t>(ep) - reinterpret_cast<std::uintptr_t>(base);
        if (base && offset < sizeof(Endpoint) * kSlabSize && offset % sizeof(Endpoint) == 0)
            return true;
    }
    return false;
}

Endpoint* endpoint_new(bool nonblock) {
    if (!config.enabled || uses_uring() || !slab_ready())
        return nullptr;
    Endpoint* ep = find_free();
    if (!ep)
        return nullptr;
    ep->refs = 1;
    ep->generation++;
    ep->phase = Phase::kNew;
    ep->users = 0;
    ep->calls = 0;
    ep->after = config.after;
    ep->nonblock = nonblock;
    ep->forked = false;
    ep->foreign = false;
    ep->attached = false;
    ep->peer_lost = false;
    ep->direct = false;
    ep->dialled = false;
    ep->hidden = -1;
    ep->listener = nullptr;
    ep->opened = 0;
    ep->tx_before = 0;
    ep->rx_before = 0;
    ep->let_pass = 0;
    ep->by_kernel = 0;
    ep->options = 0;
    ep->touched = false;
    ep->tx_stays = 0;
    ep->wr_shut = false;
    ep->sent_late = Late::kNo;
    ep->held_late = 0;
    ep->rd_shut = false;
    ep->tx_tcp = 0;
    ep->rx_tcp = 0;
    ep->state.store(State::kTcp, std::memory_order_release);
    return ep;
}

void reset_at_close(int fd) {
    const linger now{1, 0};
    real.setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

void endpoint_get(Endpoint* ep) {
    ep->refs.fetch_add(1);
}

Closing endpoint_close(Endpoint* ep, int fd) {
    if (ep->refs.fetch_sub(1) != 1) {
        // Another process that had it may have been killed: then this was the last, and the kernel
        // alone knows.
        if (ep->forked && ep->attached) {
            ep->mine->flags.fetch_or(kSlotLook);
            if (ep->theirs->rx_wait.load() != 0)
                wake_peer(ep, &ep->theirs->rx_wait);
        }
        // xwayd is not to keep the copy that we have passed to it, and the connection alive with
        // it.
        if (ep->forked && !ep->attached && ep->owner == process.token && process_refs(ep) == 0)
            registrar_cancel(ep, -1);
        return {};
    }
    if (direct_park(ep, fd))
        return {ep, true};
    if (ep->attached) {
        reset_if_unread(ep, fd);
        linger_for_ring(ep, fd);
        // Before the kernel says it: an end that comes without this is that of a killed process.
        ep->mine->flags.fetch_or(kSlotLook | kSlotGone | kSlotTcpOnly);
    } else if (ep->phase.load() == Phase::kRegistered) {
        // xwayd may still hold the copy of the descriptor that was passed to it: the peer is to see
        // the end now, not when xwayd comes round to it.
        registrar_cancel(ep, fd);
        linger_for_tcp(fd);
    } else if (ep->phase.load() == Phase::kMatched) {
        registrar_cancel(ep, fd);
    }
    return {ep};
}

void endpoint_closed(Closing closing) {
    Endpoint* ep = closing.last;
    if (!ep)
        return;
    if (ep->attached) {
        if (closing.park)
            direct_parked(ep);
        // TCP has said it, or the slot; now whoever looks at the ring only hears of it too.
        if (ep->theirs->rx_wait.load() != 0)
            wake_peer(ep, &ep->theirs->rx_wait);
        if (ep->theirs->tx_wait.load() != 0)
            wake_peer(ep, &ep->theirs->tx_wait);
        if (closing.park)
            return;
        if (ep->hidden >= 0)
            process_unhide(std::exchange(ep->hidden, -1));
        registrar_release(ep);
    }
    ep->state.store(State::kFree, std::memory_order_release);
}

Way endpoint_enter(Endpoint* ep, int fd) {
    for (;;) {
        State state = ep->state.load(std::memory_order_acquire);
        if (state == State::kRing)
            return Way::kRing;
        if (state == State::kPlain || state == State::kFree)
            return Way::kPlain;
        if (state == State::kTcp) {
            const std::uint32_t others = ep->users.fetch_add(1);
            if (others == 0)
                progress(ep, fd);
            state = ep->state.load();
            if (state == State::kTcp)
                return Way::kKernel;
            ep->users.fetch_sub(1);
            continue;
        }
        sched_yield(); // somebody attaches it
    }
}

void endpoint_leave(Endpoint* ep) {
    ep->users.fetch_sub(1);
}

namespace {

// With both directions on TCP for good there is nothing left to do for us.
void retire(Endpoint* ep) {
    const Guard tx(ep->tx_lock);
    const Guard rx(ep->rx_lock);
    const std::uint32_t theirs = xway_load_acquire(&ep->theirs->tx_epoch);
    if (tx_on_ring(ep) || xway_rx_rail(&ep->rx) != XWAY_RAIL_TCP ||
        (theirs != ep->rx.epoch && theirs + 1 != ep->rx.epoch) || ep->rx_error || ep->rx_broken)
        return;
    State ring = State::kRing;
    ep->state.compare_exchange_strong(ring, State::kPlain);
}

} // namespace

void endpoint_to_tcp(Endpoint* ep, xway_why why) {
    State state = ep->state.load();
    while (state == State::kTcp || state == State::kBusy) {
        State tcp = State::kTcp;
        if (ep->state.compare_exchange_strong(tcp, State::kPlain)) {
            registrar_cancel(ep, -1);
            return;
        }
        sched_yield();
        state = ep->state.load();
    }
    if (state != State::kRing)
        return;
    direct_to_tcp(ep);
    std::uint32_t none = 0;
    ep->tx_stays.compare_exchange_strong(none, static_cast<std::uint32_t>(why));
    tx_choose(ep);
    ep->mine->flags.fetch_or(kSlotTcpOnly | kSlotLeft);
    {
        const Guard guard(ep->rx_lock);
        // From here on nothing more can be published in the ring; see retire().
        ep->theirs->head.fetch_or(kHeadCut);
        if (xway_rx_rail(&ep->rx) == XWAY_RAIL_RING)
            ep->rx_cut = true;
    }
    if (ep->theirs->tx_wait.load() != 0)
        wake_peer(ep, &ep->theirs->tx_wait);
    wake_own(ep);
    endpoint_retire(ep);
}

void endpoint_retire(Endpoint* ep) {
    if (ep->tx_stays.load(std::memory_order_relaxed) != 0 &&
        (ep->mine->flags.load(std::memory_order_relaxed) & kSlotTcpOnly) != 0) {
        const KeepErrno keep; // a call that has just failed ends with this
        rx_follow(ep);
        retire(ep);
    }
}

std::size_t endpoint_left_over(Endpoint* ep, int fd) {
    return ep->state.load() == State::kRing ? rx_unread_to_ring(ep, fd) : 0;
}

} // namespace xway
