// SPDX-License-Identifier: GPL-2.0-or-later
//
// tx.cpp - the sending end of an attached connection.
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <algorithm>
#include <cstring>

#include "config.h"
#include "cursor.h"
#include "endpoint.h"
#include "fault.h"
#include "real.h"
#include "wait.h"

namespace xway {

std::atomic<std::int64_t> tx_stall_at;

namespace {

std::uint32_t ring_of(const Endpoint* ep, std::uint32_t order) {
    // The two sizes stand apart, so that a larger ring may be entered while the smaller is read.
    const std::uint32_t first = window_page(ep->slot, ep->side);
    return xway_ring_desc(order == config.ring_order ? first : first + (1u << order), order);
}

void publish_epoch(Endpoint* ep) {
    const std::uint32_t last = (ep->tx.epoch - 1) % XWAY_MARKS;
    xway_store(&ep->mine->mark[last].at, ep->tx.mark[last].at);
    xway_store(&ep->mine->mark[last].ring, ep->tx.mark[last].ring);
    xway_store_release(&ep->mine->tx_epoch, ep->tx.epoch);
    __atomic_store_n(&ep->mine->why, static_cast<std::uint32_t>(ep->tx_why), __ATOMIC_RELAXED);
    std::atomic_thread_fence(std::memory_order_seq_cst); // pairs with wait_rx()
    if (ep->theirs->rx_wait.load(std::memory_order_relaxed) != 0)
        wake_peer(ep, &ep->theirs->rx_wait);
}

// What the peer says that it has taken. A lie is not heard: who tells it has read nothing.
void refresh(Endpoint* ep) {
    const std::uint32_t epoch = xway_load_acquire(&ep->theirs->rx_epoch);
    const std::uint32_t cons = xway_load_acquire(&ep->theirs->cons);
    xway_tx_ack(&ep->tx, cons, epoch);
}

void to_tcp(Endpoint* ep, xway_why why) {
    ep->tx_why = why;
    // The cut has had its effect; the next period starts without one.
    ep->mine->head.fetch_and(~kHeadCut, std::memory_order_relaxed);
    // What lies before is read: entered again, this ring holds no more than what follows.
    if (xway_tx_rail(&ep->tx) == XWAY_RAIL_RING)
        ep->tx_entered = ep->tx.start;
    if (xway_tx_to_tcp(&ep->tx) == 0)
        publish_epoch(ep);
}

bool to_ring(Endpoint* ep, std::uint32_t order) {
    const auto seq = static_cast<std::uint32_t>(ep->tx_tcp.load(std::memory_order_relaxed));
    const std::uint32_t before = ep->tx.prod;
    if (xway_tx_to_ring(&ep->tx, seq, ring_of(ep, order)) != 0)
        return false;
    // Back in the same ring its unread bytes still stand there, and count; see xway_tx_room().
    if (order != ep->tx_order) {
        ep->tx_order = order;
        ep->tx_entered = before;
    }
    ep->tx.start =
        static_cast<std::int32_t>(ep->tx.cons - ep->tx_entered) > 0 ? ep->tx.cons : ep->tx_entered;
    ep->tx_why = XWAY_WHY_NONE;
    __atomic_store_n(&ep->mine->order, order, __ATOMIC_RELAXED);
    publish_epoch(ep);
    return true;
}

// For tests: which rail it is the turn of.
bool flip_says_ring(Endpoint* ep) {
    const bool on_ring = xway_tx_rail(&ep->tx) == XWAY_RAIL_RING;
    const std::int64_t now = now_ns();
    if (now < ep->flip_at)
        return on_ring;
    ep->flip_at = now + config.flip_ms * 1000000ll;
    return !on_ring;
}

// Why the next byte goes by TCP; XWAY_WHY_NONE: it may ride the ring.
xway_why why_tcp(Endpoint* ep) {
    const std::uint32_t flags = ep->theirs->flags.load(std::memory_order_acquire);
    if (const std::uint32_t why = ep->tx_stays.load(std::memory_order_relaxed)) [[unlikely]]
        return static_cast<xway_why>(why);
    if ((flags & (kSlotReady | kSlotTcpOnly | kSlotGone)) != kSlotReady) [[unlikely]] {
        if (flags & kSlotGone)
            return XWAY_WHY_PEER_CLOSED;
        return flags & kSlotTcpOnly ? XWAY_WHY_PEER_ASKED : XWAY_WHY_WAITING;
    }
    if (ep->arena->view.header()->side[ep->side ^ 1].gone.load(std::memory_order_relaxed))
        return XWAY_WHY_PEER_CLOSED;
    if (ep->wr_shut.load(std::memory_order_relaxed) ||
        ep->peer_lost.load(std::memory_order_relaxed))
        return XWAY_WHY_PEER_CLOSED;
    if (ep->tx_why == XWAY_WHY_STALLED && xway_tx_rail(&ep->tx) == XWAY_RAIL_TCP &&
        tx_pending(ep) != 0) [[unlikely]]
        return XWAY_WHY_STALLED;
    if (config.flip_ms != 0 && !flip_says_ring(ep)) [[unlikely]]
        return XWAY_WHY_FLIP;
    return XWAY_WHY_NONE;
}

void set_inline_len(Endpoint* ep, std::uint32_t bytes) {
    ep->tx_inline = static_cast<std::uint16_t>(bytes);
    __atomic_store_n(&ep->mine->inline_len, ep->tx_inline, __ATOMIC_RELAXED);
}

// The only message in an otherwise empty ring rides in the line that tells of it: one line to
// fetch for the receiver instead of two. The ring's bytes at these indices stay unwritten.
bool put_inline(Endpoint* ep, Cursor& from, std::uint32_t bytes) {
    SlotSide* mine = ep->mine;
    if (bytes > sizeof(mine->inline_data) || ep->tx.cons != ep->tx.prod)
        return false;
    from.get(mine->inline_data, bytes);
    __atomic_store_n(&mine->inline_at, ep->tx.prod, __ATOMIC_RELAXED);
    set_inline_len(ep, bytes);
    return true;
}

void copy_in(Endpoint* ep, Cursor& from, std::uint32_t bytes) {
    const std::uint32_t desc = xway_tx_ring(&ep->tx);
    const std::uint32_t size = xway_ring_size(desc);
    std::uint8_t* base = ep->arena->view.page(xway_ring_first(desc));
    std::uint32_t index = ep->tx.prod;
    // Taken long ago: before its indices come round again it must not be found.
    if (ep->tx_inline != 0 && ep->tx.cons - xway_load(&ep->mine->inline_at) >= ep->tx_inline)
        set_inline_len(ep, 0);
    while (bytes > 0) {
        const std::uint32_t at = index & (size - 1);
        const std::uint32_t now = std::min(bytes, size - at);
        from.get(base + at, now);
        index += now;
        bytes -= now;
    }
}

// Makes `bytes` more of the ring the receiver's. False: the receiver has cut it before that.
bool publish(Endpoint* ep, std::uint32_t bytes) {
    SlotSide* mine = ep->mine;
    std::uint64_t before = ep->tx.prod;
    __atomic_store_n(&mine->ack, ep->rx.cons, __ATOMIC_RELAXED);
    __atomic_store_n(&mine->cpu, static_cast<std::uint16_t>(sched_getcpu()), __ATOMIC_RELAXED);
    // A full fence, which pairs with the one of wait_rx().
    if (!mine->head.compare_exchange_strong(before, ep->tx.prod + bytes)) [[unlikely]]
        return false;
    ep->tx.prod += bytes;
    ep->tx_ring_bytes += bytes;
    __atomic_store_n(&mine->tx_ring, ep->tx_ring_bytes, __ATOMIC_RELAXED);
    if (ep->theirs->rx_wait.load(std::memory_order_relaxed) != 0)
        wake_peer(ep, &ep->theirs->rx_wait);
    return true;
}

// The ring is full. A stream that fills the small one over and over gets the large one.
bool grow(Endpoint* ep) {
    if (xway_ring_order(xway_tx_ring(&ep->tx)) >= config.large_order || ++ep->tx_full < 4 ||
        xway_tx_in_flight(&ep->tx) != 0)
        return false;
    const xway_why why = ep->tx_why;
    to_tcp(ep, why);
    return to_ring(ep, config.large_order);
}

// Room in the ring, at most `wanted`; 0: it is full.
std::uint32_t room(Endpoint* ep, std::size_t wanted) {
    std::uint32_t free = xway_tx_room(&ep->tx);
    if (ep->tx.cons != ep->tx.prod) {
        // The peer's line that brought its last answer says how far it had come.
        const std::uint32_t ack = __atomic_load_n(&ep->theirs->ack, __ATOMIC_RELAXED);
        if (xway_tx_ack(&ep->tx, ack, ep->tx.acked) == 0)
            free = xway_tx_room(&ep->tx);
    }
    if (free < wanted) {
        refresh(ep);
        free = xway_tx_room(&ep->tx);
        if (free == 0 && grow(ep))
            free = xway_tx_room(&ep->tx);
    }
    return static_cast<std::uint32_t>(
        std::min<std::size_t>(std::min<std::size_t>(free, wanted), kChunk));
}

// There is no room. Has the reader left the ring alone for a while? It may want to see more than
// the ring holds before it takes any, or send until we read: TCP's buffers have room for that.
bool is_stalled(Endpoint* ep) {
    const std::int64_t now = now_ns();
    if (ep->tx_full_at != 0 && ep->tx_full_cons == ep->tx.cons)
        return now - ep->tx_full_at >= kStallNs;
    ep->tx_full_at = now;
    ep->tx_full_cons = ep->tx.cons;
    return false;
}

// For those who will sleep.
void watch_stall() {
    std::int64_t none = 0;
    tx_stall_at.compare_exchange_strong(none, now_ns() + kStallNs);
}

ssize_t put_tcp(Endpoint* ep, int fd, Cursor& from, int flags) {
    iovec part[Cursor::kParts];
    msghdr message{};
    message.msg_iov = part;
    message.msg_iovlen = static_cast<std::size_t>(from.slice(part, SSIZE_MAX));
    const ssize_t sent = real.sendmsg(fd, &message, flags | MSG_DONTWAIT);
    if (sent < 0)
        return -errno;
    from.skip(static_cast<std::size_t>(sent));
    ep->tx_tcp += static_cast<std::uint64_t>(sent);
    __atomic_store_n(&ep->mine->tx_tcp, ep->tx_tcp.load(), __ATOMIC_RELAXED);
    return sent;
}

bool is_cut(const Endpoint* ep) {
    return (ep->mine->head.load(std::memory_order_relaxed) & kHeadCut) != 0;
}

// Decides the rail. True: the ring. `cut`: whether the ring has been cut, as far as that is known.
bool on_ring(Endpoint* ep, bool cut) {
    if (xway_tx_rail(&ep->tx) == XWAY_RAIL_RING) {
        xway_why why = why_tcp(ep);
        if (cut) [[unlikely]]
            why = XWAY_WHY_PEER_ASKED;
        if (why == XWAY_WHY_NONE) [[likely]]
            return true;
        to_tcp(ep, why);
        return false;
    }
    const xway_why why = why_tcp(ep);
    if (why != XWAY_WHY_NONE) {
        ep->tx_why = why;
        return false;
    }
    refresh(ep);
    return to_ring(ep, ep->tx_full >= 4 ? config.large_order : config.ring_order);
}

// So much TCP does not hold back for more: half of the first window.
constexpr std::size_t kHeldMost = 32768;

bool is_corked(int fd) {
    int corked = 0;
    socklen_t length = sizeof(corked);
    return real.getsockopt(fd, IPPROTO_TCP, TCP_CORK, &corked, &length) == 0 && corked != 0;
}

// In direct mode, to a peer that has closed. TCP's connection is still open, and would take it; one
// that is closed takes the first, and answers with a reset. What waits for more has not been sent.
ssize_t put_late(Endpoint* ep, int fd, Cursor& from, int flags) {
    Late told = Late::kSent;
    if (ep->wr_shut || tx_was_reset(ep)) {
        ep->sent_late.compare_exchange_strong(told, Late::kTold);
        return -EPIPE;
    }
    const std::size_t sent = from.left();
    from.skip(sent);
    Late no = Late::kNo;
    ep->sent_late.compare_exchange_strong(no, Late::kHeld);
    ep->held_late += sent;
    if (ep->held_late >= kHeldMost || ((flags & MSG_MORE) == 0 && !is_corked(fd)))
        tx_push_late(ep);
    return static_cast<ssize_t>(sent);
}

// One piece; -EAGAIN, -errno. With the lock.
ssize_t put(Endpoint* ep, int fd, Cursor& from, int flags) {
    if (peer_has_closed(ep)) [[unlikely]]
        return put_late(ep, fd, from, flags);
    // publish() finds out about a cut anyway, and a line that the peer looks at is best left alone.
    if (!on_ring(ep, false))
        return put_tcp(ep, fd, from, flags);
    std::uint32_t bytes = room(ep, from.left());
    if (bytes == 0) {
        if (!on_ring(ep, is_cut(ep)))
            return put_tcp(ep, fd, from, flags);
        // An epoll set that was last asked before the ring was entered has not asked for this.
        bell_arm_tx(ep);
        bytes = room(ep, from.left());
        if (bytes == 0 && is_stalled(ep)) {
            to_tcp(ep, XWAY_WHY_STALLED);
            return put_tcp(ep, fd, from, flags);
        }
        if (bytes == 0) {
            watch_stall();
            return -EAGAIN;
        }
    }
    const Cursor before = from;
    if (!copies([&] {
            if (!put_inline(ep, from, bytes))
                copy_in(ep, from, bytes);
        })) [[unlikely]]
        return -EFAULT;
    if (publish(ep, bytes)) [[likely]]
        return bytes;
    // By TCP at once: a peer that follows as fast as it cuts must not keep us here.
    if (ep->tx_inline != 0 && xway_load(&ep->mine->inline_at) == ep->tx.prod)
        set_inline_len(ep, 0); // what was not published; an earlier one may yet be read
    from = before;
    to_tcp(ep, XWAY_WHY_PEER_ASKED);
    return put_tcp(ep, fd, from, flags);
}

} // namespace

ssize_t endpoint_send(Endpoint* ep, int fd, const iovec* iov, int count, int flags) {
    KeepErrno keep;
    Cursor from(iov, count);
    std::size_t sent = 0;
    std::int64_t deadline = 0; // 0: not known yet
    const bool nonblock =
        (flags & MSG_DONTWAIT) != 0 || ep->nonblock.load(std::memory_order_relaxed);

    // Nothing to move, but who has shut down, or was reset, is told so.
    if (from.left() == 0 && !tx_was_reset(ep))
        return real.send(fd, nullptr, 0, flags & (MSG_DONTWAIT | MSG_NOSIGNAL)) < 0
                   ? keep.fail(errno)
                   : 0;
    for (;;) {
        ssize_t result;
        {
            const Guard guard(ep->tx_lock, !ep->forked);
            result = put(ep, fd, from, flags);
        }
        if (result > 0) {
            sent += static_cast<std::size_t>(result);
            if (from.left() == 0)
                return static_cast<ssize_t>(sent);
            continue;
        }
        if (result == -EAGAIN && !nonblock) {
            if (deadline == 0)
                deadline = deadline_in(ep->snd_timeout.load());
            result = wait_tx(ep, fd, deadline);
            if (result == 0)
                continue;
        }
        if (sent > 0)
            return static_cast<ssize_t>(sent);
        if (result == -EPIPE && !(flags & MSG_NOSIGNAL) && peer_has_closed(ep))
            pthread_kill(pthread_self(), SIGPIPE);
        return keep.fail(-result);
    }
}

ssize_t endpoint_send_file(Endpoint* ep, int fd, int in, off_t* offset, std::size_t count) {
    // Through a buffer: what the file yields may be less than the room, and the ring may be cut.
    alignas(kCacheLine) char buffer[kChunk];
    std::size_t sent = 0;
    off_t at = offset ? *offset : lseek(in, 0, SEEK_CUR);
    if (at < 0)
        return -1;
    while (sent < count) {
        const ssize_t got = pread(in, buffer, std::min(count - sent, sizeof(buffer)), at);
        if (got < 0 && sent == 0)
            return -1;
        if (got <= 0)
            break;
        const iovec part{buffer, static_cast<std::size_t>(got)};
        const ssize_t put = endpoint_send(ep, fd, &part, 1, 0);
        if (put < 0 && sent == 0)
            return -1;
        if (put <= 0)
            break;
        sent += static_cast<std::size_t>(put);
        at += put;
        if (put < got)
            break;
    }
    if (offset)
        *offset = at;
    else
        lseek(in, at, SEEK_SET);
    return static_cast<ssize_t>(sent);
}

bool tx_was_reset(const Endpoint* ep) {
    return peer_has_closed(ep) &&
           (ep->sent_late.load() >= Late::kSent || ep->theirs->took.load() != tx_total(ep));
}

void tx_push_late(Endpoint* ep) {
    Late held = Late::kHeld;
    if (ep->sent_late.compare_exchange_strong(held, Late::kSent))
        wake_own(ep);
}

void tx_choose(Endpoint* ep) {
    const Guard guard(ep->tx_lock, !ep->forked);
    on_ring(ep, is_cut(ep));
}

bool tx_leave_if_shut(Endpoint* ep, int fd) {
    pollfd end{fd, POLLRDHUP, 0};
    if (real.poll(&end, 1, 0) <= 0 || tx_news(ep))
        return false;
    std::uint32_t none = 0;
    ep->tx_stays.compare_exchange_strong(none, XWAY_WHY_PEER_CLOSED);
    tx_choose(ep);
    return true;
}

bool tx_on_ring(const Endpoint* ep) {
    return (xway_load(&ep->tx.epoch) & 1) != 0;
}

std::uint32_t tx_pending(Endpoint* ep) {
    const std::uint32_t cons = xway_load_acquire(&ep->theirs->cons);
    const std::uint32_t pending = xway_load(&ep->tx.prod) - cons;
    return pending > 2 * kWindowPages * XWAY_PAGE_SIZE ? 0 : pending;
}

std::uint64_t tx_total(const Endpoint* ep) {
    return ep->tx_tcp.load(std::memory_order_relaxed) + ep->tx_ring_bytes;
}

bool tx_news(Endpoint* ep) {
    if (peer_has_closed(ep))
        return true;
    const Guard guard(ep->tx_lock, !ep->forked);
    if (!on_ring(ep, is_cut(ep)))
        return true;
    const std::uint32_t size = xway_ring_size(xway_tx_ring(&ep->tx));
    if (xway_tx_room(&ep->tx) >= size / 2)
        return true;
    refresh(ep);
    if (xway_tx_room(&ep->tx) >= size / 2 || is_stalled(ep))
        return true;
    watch_stall();
    return false;
}

} // namespace xway
