// SPDX-License-Identifier: GPL-2.0-or-later
//
// poll.cpp - poll and select over descriptors of which some ride rings.
#include <sched.h>
#include <sys/mman.h>
#include <sys/single_threaded.h>

#include <algorithm>

#include "epoll.h"
#include "listener.h"
#include "look.h"
#include "process.h"
#include "real.h"
#include "registrar.h"
#include "signals.h"
#include "table.h"
#include "wait.h"

namespace xway {

namespace {

thread_local constinit xway_spin poll_spin __attribute__((tls_model("initial-exec"))) = {};

constexpr nfds_t kOnStack = 512; // of pollfds; more are put elsewhere

// Ours, if `fd` needs more than the kernel to say whether it is ready.
Endpoint* ring_of(int fd) {
    Endpoint* ep = fd >= 0 ? table_endpoint(fd) : nullptr;
    return ep && ep->state.load(std::memory_order_acquire) == State::kRing ? ep : nullptr;
}

constexpr short kIn = POLLIN | POLLRDNORM;

// What rings alone have to say. The number of descriptors that are ready.
int ask_rings(pollfd* fds, nfds_t count) {
    int ready = 0;
    for (nfds_t i = 0; i < count; i++) {
        fds[i].revents = 0;
        if (Endpoint* ep = ring_of(fds[i].fd)) {
            fds[i].revents = endpoint_poll(ep, fds[i].fd, fds[i].events);
        } else if (EpollSet* set = fds[i].fd >= 0 ? table_get(fds[i].fd).epoll() : nullptr) {
            if ((fds[i].events & kIn) && epoll_has_news(set))
                fds[i].revents = fds[i].events & kIn;
        } else if (Listener* listener = fds[i].fd >= 0 ? listener_of(fds[i].fd) : nullptr) {
            if ((fds[i].events & kIn) && listener_has_news(listener))
                fds[i].revents = fds[i].events & kIn;
        }
        ready += fds[i].revents != 0;
    }
    return ready;
}

void arm(const pollfd* fds, nfds_t count) {
    for (nfds_t i = 0; i < count; i++) {
        Endpoint* ep = ring_of(fds[i].fd);
        if (!ep)
            continue;
        if (fds[i].events & (POLLIN | POLLRDNORM | POLLRDHUP))
            bell_arm_rx(ep);
        if ((fds[i].events & (POLLOUT | POLLWRNORM)) && tx_on_ring(ep))
            bell_arm_tx(ep);
    }
}

// The kernel's half: all but what rings answer better. `mine` has room for count + 1.
void prepare(const pollfd* fds, pollfd* mine, nfds_t count, int bells) {
    for (nfds_t i = 0; i < count; i++) {
        mine[i] = fds[i];
        mine[i].revents = 0;
        Endpoint* ep = ring_of(fds[i].fd);
        if (ep && tx_on_ring(ep))
            mine[i].events &= static_cast<short>(~(POLLOUT | POLLWRNORM));
    }
    mine[count] = {bells, POLLIN, 0};
}

// Both halves together.
int merge(pollfd* fds, const pollfd* mine, nfds_t count) {
    int ready = 0;
    for (nfds_t i = 0; i < count; i++) {
        Endpoint* ep = ring_of(fds[i].fd);
        if (mine[i].revents && ep)
            ep->looked_at = 0;
        fds[i].revents |= mine[i].revents;
        ready += fds[i].revents != 0;
    }
    return ready;
}

bool all_hear(const pollfd* fds, nfds_t count) {
    for (nfds_t i = 0; i < count; i++) {
        Endpoint* ep = ring_of(fds[i].fd);
        if (ep && !bell_works(ep))
            return false;
    }
    return true;
}

// Is there nothing here that only the kernel can answer for?
bool all_on_rings(const pollfd* fds, nfds_t count) {
    for (nfds_t i = 0; i < count; i++) {
        Endpoint* ep = ring_of(fds[i].fd);
        if (fds[i].fd >= 0 && (!ep || ((fds[i].events & POLLOUT) && !tx_on_ring(ep))))
            return false;
    }
    return true;
}

bool waits_for_room(const pollfd* fds, nfds_t count) {
    for (nfds_t i = 0; i < count; i++) {
        Endpoint* ep = (fds[i].events & (POLLOUT | POLLWRNORM)) ? ring_of(fds[i].fd) : nullptr;
        if (ep && tx_on_ring(ep))
            return true;
    }
    return false;
}

// Looks a little longer before it sleeps, as a reader does. True: there is news.
bool spin(const pollfd* fds, nfds_t count) {
    constexpr nfds_t kMost = 8; // descriptors that are looked at; a look must stay short
    Endpoint* looked[kMost];
    nfds_t readers = 0;
    for (nfds_t i = 0; i < count && readers < kMost; i++) {
        Endpoint* ep = (fds[i].events & POLLIN) ? ring_of(fds[i].fd) : nullptr;
        if (ep)
            looked[readers++] = ep;
    }
    return readers > 0 &&
           look_longer(&poll_spin, [&] { return std::any_of(looked, looked + readers, rx_news); });
}

int poll_with(pollfd* fds, pollfd* mine, nfds_t count, std::int64_t deadline,
              const sigset_t* mask) {
    constexpr std::int64_t kDeafNs = 5'000'000; // between looks, if no doorbell can be heard
    constexpr std::int64_t kLookAgainNs = 1'000'000'000;
    for (;;) {
        const bool hear = all_hear(fds, count) && process.bells > 0;
        const int bells = hear ? bell_poll_set() : -1;
        int ready = ask_rings(fds, count);
        bool asleep = false;
        if (ready == 0 && deadline != 0 && spin(fds, count))
            ready = ask_rings(fds, count);
        if (ready > 0 && all_on_rings(fds, count))
            return ready;
        if (ready == 0 && deadline != 0) {
            asleep = true;
            for (std::uint32_t i = 0; i < process.bells; i++)
                bell_sleep(i);
            arm(fds, count);
            ready = ask_rings(fds, count);
        }
        prepare(fds, mine, count, bells);
        std::int64_t wait = 0;
        if (ready == 0 && deadline != 0) {
            const std::int64_t now = now_ns();
            std::int64_t longest = hear ? kLookAgainNs : kDeafNs;
            if (waits_for_room(fds, count))
                longest = std::min(longest, kStallNs);
            wait = std::max<std::int64_t>(std::min(deadline, now + longest) - now, 0);
        }
        const timespec timeout{wait / 1000000000, wait % 1000000000};
        const int result = real.ppoll(mine, count + 1, &timeout, mask);
        const int error = errno;
        if (asleep) {
            for (std::uint32_t i = 0; i < process.bells; i++)
                bell_wake(i);
        }
        if (result > 0 && mine[count].revents)
            bell_heard(bells);
        if (result < 0 && ready == 0) {
            errno = error;
            return -1;
        }
        ready = result > 0 ? merge(fds, mine, count) : ready;
        if (ready > 0)
            return ready;
        // The doorbell may have rung for one of these.
        ready = ask_rings(fds, count);
        if (ready > 0)
            return ready;
        if (deadline == 0 || (deadline != kNever && now_ns() >= deadline))
            return 0;
    }
}

} // namespace

short endpoint_poll(Endpoint* ep, int fd, short events) {
    short now = 0;
    const std::uint32_t flags = ep->theirs->flags.load(std::memory_order_acquire);
    const bool rx_ring = (xway_load(&ep->rx.epoch) & 1) != 0 && !ep->rx_cut;
    bool tx_ring = tx_on_ring(ep);
    const std::uint32_t enough = ep->rcv_lowat.load(std::memory_order_relaxed);
    if ((events & (POLLIN | POLLRDNORM)) && rx_ready(ep) != 0 &&
        (enough <= 1 || rx_unread(ep, fd) >= enough))
        now |= events & (POLLIN | POLLRDNORM);
    if ((events & (POLLOUT | POLLWRNORM)) && tx_ring && tx_news(ep))
        now |= events & (POLLOUT | POLLWRNORM);
    if (peer_has_closed(ep)) {
        const bool over = rx_over(ep);
        if (over)
            now |= events & (POLLIN | POLLRDNORM);
        now |= events & (POLLOUT | POLLWRNORM | POLLRDHUP); // whatever is still to be read
        if (const Late late = ep->sent_late; late >= Late::kSent)
            now |= (late == Late::kSent ? POLLERR : 0) | POLLHUP |
                   (events & (POLLIN | POLLRDNORM | POLLRDHUP));
        else if (ep->wr_shut.load(std::memory_order_relaxed))
            now |= POLLHUP;
        // Bytes that are still to be read may stand behind a switch: those are looked for below.
        if (now && (over || (events & ~now & (POLLIN | POLLRDNORM)) == 0))
            return now;
    }
    if (ep->rx_error.load(std::memory_order_relaxed) != 0)
        now |= POLLERR;
    const bool gone = ep->arena->view.header()->side[ep->side ^ 1].gone.load() != 0;
    const bool shut =
        ep->rd_shut.load(std::memory_order_relaxed) || ep->wr_shut.load(std::memory_order_relaxed);
    bool ask = gone || shut || !rx_ring || !tx_ring || (flags & (kSlotLook | kSlotGone)) != 0;
    if (!ask && now == 0) {
        const std::int64_t time = coarse_ns();
        if (time - ep->looked_at >= kLookNs) {
            ep->looked_at = time;
            ask = true;
        }
    }
    if (ask && tx_ring && (events & ~now & (POLLOUT | POLLWRNORM)) && tx_leave_if_shut(ep, fd))
        tx_ring = false;
    pollfd kernel{fd, events, 0};
    if (ask && real.poll(&kernel, 1, 0) > 0) {
        if (tx_ring)
            kernel.revents &= static_cast<short>(~(POLLOUT | POLLWRNORM));
        now |= kernel.revents;
    }
    // A switch that the receiver has not followed yet is followed by reading.
    if ((events & ~now & (POLLIN | POLLRDNORM)) && rx_news(ep) && rx_peek(ep, fd) &&
        (enough <= 1 || rx_unread(ep, fd) >= enough))
        now |= events & (POLLIN | POLLRDNORM);
    return now;
}

// Pairs with progress() in endpoint.cpp, as endpoint_enter() does.
void StayOnTcp::add(int fd) {
    Endpoint* ep = fd >= 0 ? table_endpoint(fd) : nullptr;
    if (!ep || held_ == kMost)
        return;
    State state;
    while ((state = ep->state.load(std::memory_order_acquire)) == State::kBusy)
        sched_yield();
    if (state != State::kTcp)
        return;
    ep->users.fetch_add(1);
    state = ep->state.load();
    if (state == State::kTcp) {
        endpoint_[held_++] = ep;
        return;
    }
    endpoint_leave(ep);
    add(fd);
}

StayOnTcp::StayOnTcp(pollfd* fds, nfds_t count) {
    for (nfds_t i = 0; i < count && !__libc_single_threaded; i++)
        add(fds[i].fd);
}

StayOnTcp::StayOnTcp(int count, const fd_set* in, const fd_set* out) {
    constexpr int kBits = 8 * sizeof(unsigned long); // the sets may be larger than an fd_set
    const auto has = [](const fd_set* set, int fd) {
        return set && (reinterpret_cast<const unsigned long*>(set)[fd / kBits] >> (fd % kBits) & 1);
    };
    for (int fd = 0; fd < count && !__libc_single_threaded; fd++) {
        if (has(in, fd) || has(out, fd))
            add(fd);
    }
}

StayOnTcp::~StayOnTcp() {
    while (held_ > 0)
        endpoint_leave(endpoint_[--held_]);
}

bool poll_concerns_us(pollfd* fds, nfds_t count) {
    for (nfds_t i = 0; i < count; i++) {
        if (fds[i].fd >= 0 &&
            (ring_of(fds[i].fd) || table_get(fds[i].fd).epoll() || listener_of(fds[i].fd)))
            return true;
    }
    return false;
}

namespace {

void use_listeners(const pollfd* fds, nfds_t count) {
    for (nfds_t i = 0; i < count; i++) {
        if (Listener* listener = fds[i].fd >= 0 ? listener_of(fds[i].fd) : nullptr)
            listener_use(listener);
    }
}

} // namespace

int poll_for(pollfd* fds, nfds_t count, std::int64_t deadline, const sigset_t* mask) {
    KeepErrno keep;
    int result;
    if (config.direct) {
        use_listeners(fds, count);
        registrar_read_mail();
        listener_work();
    }
    if (count < kOnStack) {
        pollfd mine[kOnStack];
        result = poll_with(fds, mine, count, deadline, mask);
    } else {
        const std::size_t size = sizeof(pollfd) * (count + 1);
        void* memory =
            mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED)
            return static_cast<int>(keep.fail(ENOMEM));
        result = poll_with(fds, static_cast<pollfd*>(memory), count, deadline, mask);
        const int error = errno;
        munmap(memory, size);
        errno = error;
    }
    return result < 0 ? static_cast<int>(keep.fail(errno)) : result;
}

} // namespace xway
