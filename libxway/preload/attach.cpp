// SPDX-License-Identifier: GPL-2.0-or-later
//
// attach.cpp - the moment at which a connection gets its second rail; and who is woken for it.
#include <fcntl.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/ioctl.h>

#include <algorithm>

#include "config.h"
#include "direct.h"
#include "endpoint.h"
#include "epoll.h"
#include "process.h"
#include "real.h"
#include "registrar.h"
#include "wait.h"

namespace xway {

namespace {

int option(int fd, int level, int name) {
    int value = 0;
    socklen_t length = sizeof(value);
    return real.getsockopt(fd, level, name, &value, &length) == 0 ? value : 0;
}

std::int64_t timeout(int fd, int name) {
    timeval value{};
    socklen_t length = sizeof(value);
    if (real.getsockopt(fd, SOL_SOCKET, name, &value, &length) != 0 ||
        (value.tv_sec == 0 && value.tv_usec == 0))
        return kNever;
    return value.tv_sec * 1000000000ll + value.tv_usec * 1000ll;
}

// Does the kernel count the same bytes as we do? If not, somebody has sent or received past us
// (io_uring, a system call of its own, a process that we know nothing of): never to be attached.
bool counts_agree(const Endpoint* ep, int fd) {
    for (int tries = 0; tries < 3; tries++) {
        tcp_info info{};
        socklen_t length = sizeof(info);
        int before = 0, after = 0;
        if (real.ioctl(fd, FIONREAD, &before) != 0 ||
            real.getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) != 0 ||
            real.ioctl(fd, FIONREAD, &after) != 0)
            return false;
        if (length < offsetof(tcp_info, tcpi_bytes_retrans) + sizeof(info.tcpi_bytes_retrans) ||
            info.tcpi_state != 1 /* TCP_ESTABLISHED */)
            return false;
        if (before != after)
            continue; // bytes have come in between
        const std::uint64_t sent =
            info.tcpi_bytes_sent - info.tcpi_bytes_retrans + info.tcpi_notsent_bytes;
        const std::uint64_t received = info.tcpi_bytes_received - static_cast<std::uint64_t>(after);
        return sent == ep->tx_tcp.load() && received == ep->rx_tcp.load();
    }
    return false;
}

// Does a program of BPF look at each packet? (One of eBPF is not shown: EACCES.)
bool has_filter(int fd) {
    socklen_t instructions = 0;
    return real.getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, nullptr, &instructions) != 0 ||
           instructions != 0;
}

bool peeks_from_offset(int fd) {
    int offset = -1;
    socklen_t length = sizeof(offset);
    return real.getsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &offset, &length) == 0 && offset >= 0;
}

// One of each pair reads as 0 if the other is set.
bool is_stamped(int fd) {
    for (const int name : {SO_TIMESTAMP_OLD, SO_TIMESTAMPNS_OLD, SO_TIMESTAMPING_OLD,
                           SO_TIMESTAMP_NEW, SO_TIMESTAMPNS_NEW, SO_TIMESTAMPING_NEW}) {
        if (option(fd, SOL_SOCKET, name) != 0)
            return true;
    }
    return false;
}

// Options under which the stream is not ours to move.
bool is_exotic(int fd) {
    char ulp[16] = {};
    socklen_t length = sizeof(ulp);
    return option(fd, SOL_SOCKET, SO_ZEROCOPY) != 0 || option(fd, IPPROTO_TCP, TCP_REPAIR) != 0 ||
           is_stamped(fd) || peeks_from_offset(fd) || has_filter(fd) ||
           (real.getsockopt(fd, IPPROTO_TCP, TCP_ULP, ulp, &length) == 0 && length > 0 && ulp[0]) ||
           (real.fcntl(fd, F_GETFL, nullptr) & O_ASYNC) != 0;
}

void point_to_slot(Endpoint* ep) {
    ep->mine = &ep->arena->view.slot(ep->slot)->side[ep->side];
    ep->theirs = &ep->arena->view.slot(ep->slot)->side[ep->side ^ 1];
    ep->phase = Phase::kOver;
}

// Both directions on TCP, nothing switched yet.
void reset_rails(Endpoint* ep) {
    ep->tx_order = kOrderNone;
    ep->tx_entered = 0;
    ep->tx_full = 0;
    ep->tx_full_at = 0;
    ep->tx_ring_bytes = 0;
    ep->tx_inline = 0;
    ep->flip_at = 0;
    ep->tx_why = XWAY_WHY_WAITING;
    ep->tx = {};
    ep->rx_cut = false;
    ep->rx_ended = false;
    ep->rx_broken = false;
    ep->rx_error = 0;
    ep->rx_ring_bytes = 0;
    ep->looked_at = 0;
    ep->rx_seen = 0;
    ep->rx_seen_epoch = 0;
    ep->rx_heard = 0;
    ep->rx = {};
    ep->rx_spin = {};
    ep->tx_spin = {};
    ep->attached = true;
}

} // namespace

void endpoint_take_up(Endpoint* ep, ArenaMap* map) {
    ep->arena = map;
    ep->slot = 0;
    ep->side = 0;
    ep->owner = 0; // nobody rings for what was written before
    point_to_slot(ep);
    reset_rails(ep);
    ep->rcv_timeout = kNever;
    ep->snd_timeout = kNever;
    ep->rcv_lowat = 1;
    ep->inq = false;
    ep->tx_stays = XWAY_WHY_EARLIER;
    ep->mine->flags = kSlotTcpOnly | kSlotLeft;
    ep->state = State::kRing;
}

void endpoint_use_slot(Endpoint* ep) {
    point_to_slot(ep);
    ep->owner = process.token;
    reset_rails(ep);
    const Guard arenas(process.lock);
    ep->arena->endpoint[ep->side][ep->slot] = ep;
}

bool endpoint_attach(Endpoint* ep, int fd) {
    const KeepErrno keep;
    const Critical critical;
    if (ep->owner != process.token) {
        // Its answer came to our parent after the fork, and the arena is mapped there alone.
        ep->phase = Phase::kOver;
        return false;
    }
    point_to_slot(ep);
    SlotSide* mine = ep->mine;
    if ((ep->forked && process_refs(ep) != ep->refs.load()) || is_exotic(fd) ||
        !counts_agree(ep, fd)) {
        mine->flags.fetch_or(kSlotTcpOnly | kSlotLeft);
        registrar_release(ep);
        return false;
    }
    ep->nonblock = (real.fcntl(fd, F_GETFL, nullptr) & O_NONBLOCK) != 0;
    ep->rcv_timeout = timeout(fd, SO_RCVTIMEO);
    ep->snd_timeout = timeout(fd, SO_SNDTIMEO);
    ep->rcv_lowat = static_cast<std::uint32_t>(option(fd, SOL_SOCKET, SO_RCVLOWAT));
    ep->inq = option(fd, IPPROTO_TCP, TCP_INQ) != 0;
    endpoint_use_slot(ep);
    if (ep->by_kernel != 0)
        direct_heard(ep);
    mine->bell = epoll_attached(ep, fd);
    mine->flags.fetch_or(kSlotReady); // after all that the peer may now count on
    return true;
}

bool endpoint_peer_lost(Endpoint* ep, int fd) {
    if (ep->peer_lost.load(std::memory_order_relaxed))
        return true;
    pollfd end{fd, POLLRDHUP, 0};
    if (real.poll(&end, 1, 0) > 0 &&
        ((!(ep->theirs->flags.load() & (kSlotLook | kSlotGone)) && !ep->rd_shut.load()) ||
         (end.revents & POLLERR)))
        ep->peer_lost = true;
    return ep->peer_lost.load();
}

void endpoint_count_ring(Endpoint* ep, int fd, void* info, std::size_t length) {
    const State state = ep->state.load(std::memory_order_acquire);
    if ((state != State::kRing && state != State::kPlain) || !ep->attached)
        return;
    const std::uint64_t sent = __atomic_load_n(&ep->tx_ring_bytes, __ATOMIC_RELAXED);
    std::uint64_t received = __atomic_load_n(&ep->rx_ring_bytes, __ATOMIC_RELAXED);
    std::uint64_t pending = 0;
    if (state == State::kRing) {
        received += rx_unread_by_ring(ep, fd);
        pending = std::min<std::uint64_t>(tx_pending(ep), sent);
    }
    const auto add = [&](std::size_t offset, std::uint64_t bytes) {
        std::uint64_t count;
        if (length < offset + sizeof(count))
            return; // the program has asked for less
        memcpy(&count, static_cast<char*>(info) + offset, sizeof(count));
        count += bytes;
        memcpy(static_cast<char*>(info) + offset, &count, sizeof(count));
    };
    add(offsetof(tcp_info, tcpi_bytes_sent), sent - ep->tx_before);
    add(offsetof(tcp_info, tcpi_bytes_acked), sent - pending - ep->tx_before);
    add(offsetof(tcp_info, tcpi_bytes_received), received - ep->rx_before);
}

void wake_peer(Endpoint* ep, std::atomic<std::uint32_t>* word) {
    const std::uint32_t who = word->exchange(0);
    if (who & kWaitFutex)
        futex_wake(word, INT_MAX);
    if (who & kWaitBell)
        ring_peer(ep);
}

// As long as its counter is full it does not tell again. Only who means harm lets it come to that;
// it may be another process that has it, so it is emptied.
static void ring(int bell) {
    std::uint64_t value = 1;
    if (real.write(bell, &value, sizeof(value)) >= 0 || errno != EAGAIN) [[likely]]
        return;
    const iovec whole{&value, sizeof(value)};
    real.preadv2(bell, &whole, 1, -1, RWF_NOWAIT);
    value = 1;
    real.write(bell, &value, sizeof(value));
}

void ring_peer(Endpoint* ep) {
    const std::uint32_t number = __atomic_load_n(&ep->theirs->bell, __ATOMIC_RELAXED) % kArenaBells;
    Bell* bell = &ep->arena->view.header()->side[ep->side ^ 1].bell[number];
    bell->news.fetch_or(1ull << ep->slot); // a full fence: pairs with whoever goes to sleep on it
    if (bell->sleepers.load() != 0)
        ring(ep->arena->bell[number % ep->arena->bells]);
}

void bell_ring_own(std::uint32_t number) {
    if (number < process.bells)
        ring(process.bell[number]);
}

void ring_own(Endpoint* ep) {
    const std::uint32_t number = xway_load(&ep->mine->bell) % process.bells;
    ep->arena->view.header()->side[ep->side].bell[number].news.fetch_or(1ull << ep->slot);
    bell_ring_own(number);
}

void wake_own(Endpoint* ep) {
    // A child has no doorbell of its parent's: that one stays asked for.
    const bool bell = bell_works(ep);
    for (std::atomic<std::uint32_t>* word : {&ep->mine->rx_wait, &ep->mine->tx_wait}) {
        const std::uint32_t who = word->fetch_and(bell ? 0u : ~kWaitFutex);
        if (who & kWaitFutex)
            futex_wake(word, INT_MAX);
        if (bell && (who & kWaitBell))
            ring_own(ep); // nobody asks for news again of a connection that has none
    }
}

} // namespace xway
