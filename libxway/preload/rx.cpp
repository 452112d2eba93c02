// SPDX-License-Identifier: GPL-2.0-or-later
//
// rx.cpp - the receiving end of an attached connection.
#include <sys/ioctl.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "config.h"
#include "cursor.h"
#include "endpoint.h"
#include "fault.h"
#include "real.h"
#include "signals.h"
#include "table.h"
#include "wait.h"

namespace xway {

namespace {

// Read once, in the order that xway/stream.h asks for: head, then epoch, then marks.
void view_read(xway_view* view, const SlotSide* side) {
    view->prod = static_cast<std::uint32_t>(side->head.load(std::memory_order_acquire));
    view->epoch = xway_load_acquire(&side->tx_epoch);
    for (unsigned i = 0; i < XWAY_MARKS; i++) {
        view->mark[i].at = xway_load(&side->mark[i].at);
        view->mark[i].ring = xway_load(&side->mark[i].ring);
    }
}

// A cut ring period ends where head stood, whether or not the sender has noticed.
void view_cut(xway_view* view, const xway_rx& rx) {
    if (view->epoch == rx.epoch && xway_rx_rail(&rx) == XWAY_RAIL_RING) {
        view->mark[rx.epoch % XWAY_MARKS] = {view->prod, 0};
        view->epoch++;
    } else if (view->epoch + 1 == rx.epoch) {
        view->epoch = rx.epoch; // followed already
    }
}

// Bytes that TCP holds for the program.
std::uint32_t tcp_unread(int fd) {
    int unread = 0;
    return real.ioctl(fd, FIONREAD, &unread) == 0 ? static_cast<std::uint32_t>(unread) : 0;
}

// Does a ring that lies in the arena lie in the window that the sender owns?
bool is_peers(const Endpoint* ep, std::uint32_t ring) {
    const std::uint32_t window = window_page(ep->slot, ep->side ^ 1);
    const std::uint32_t first = xway_ring_first(ring);
    return first >= window && first + (1u << xway_ring_order(ring)) <= window + kWindowPages;
}

// As long as a step of next_step() can be: all that TCP has and will have is the connection's.
constexpr std::uint32_t kAll = 1u << 30;

// What comes next for `rx`, which is ep->rx, or a copy that looks ahead of it, past `skip` bytes of
// TCP.
struct xway_rx_step next_step(Endpoint* ep, xway_rx* rx, int fd, std::uint32_t skip = 0) {
    xway_view view;
    std::uint32_t tcp_seq = 0, tcp_end = 0;
    // Read before the view: if it is said, the view shows the last epoch there will be, and nothing
    // that TCP holds belongs behind a ring.
    const bool left = (ep->theirs->flags.load(std::memory_order_acquire) & kSlotLeft) != 0;
    if (xway_rx_rail(rx) == XWAY_RAIL_TCP) {
        tcp_seq = static_cast<std::uint32_t>(ep->rx_tcp.load(std::memory_order_relaxed));
        tcp_end = tcp_seq + tcp_unread(fd);
        tcp_seq += skip;
    }
    view_read(&view, ep->theirs);
    if (ep->rx_cut)
        view_cut(&view, *rx);
    if (left && xway_rx_rail(rx) == XWAY_RAIL_TCP && view.epoch == rx->epoch)
        return xway_rx_step(XWAY_RX_TCP, kAll);
    // Followed only when it is found to be right: whoever asks again must not find itself there.
    xway_rx next = *rx;
    const struct xway_rx_step step = xway_rx_next(&next, &view, tcp_seq, tcp_end, kArenaPages);
    if (step.op == XWAY_RX_SWITCHED) {
        if (next.ring && !is_peers(ep, next.ring))
            return xway_rx_step(XWAY_RX_BAD, 0);
        *rx = next;
    }
    return step;
}

// Which bytes stand in the sender's line; see put_inline(). Read after head, this holds for all
// that had been published by then.
Inline inline_read(const SlotSide* from) {
    return {__atomic_load_n(&from->inline_at, __ATOMIC_RELAXED),
            __atomic_load_n(&from->inline_len, __ATOMIC_RELAXED)};
}

// Copies ring bytes out, from index cons on; `bytes` were published.
void copy_out(Endpoint* ep, const xway_rx& rx, const Inline& line, Cursor& to, std::uint32_t bytes,
              bool discard) {
    const std::uint32_t size = xway_ring_size(rx.ring);
    const std::uint8_t* base = ep->arena->view.page(xway_ring_first(rx.ring));
    std::uint32_t index = rx.cons;

    const std::uint32_t into = index - line.at;
    if (into < line.len && line.len <= sizeof(SlotSide::inline_data)) {
        const std::uint32_t take = std::min(bytes, line.len - into);
        to.put(ep->theirs->inline_data + into, take, discard);
        index += take;
        bytes -= take;
    }
    while (bytes > 0) {
        const std::uint32_t at = index & (size - 1);
        const std::uint32_t take = std::min(bytes, size - at);
        to.put(base + at, take, discard);
        index += take;
        bytes -= take;
    }
}

// Tells the sender what was taken. It sleeps only on a full ring, and then nearly all of it was
// there to be taken: only then is a fence worth its price. A sleeper looks by itself now and then.
void took(Endpoint* ep, std::uint32_t bytes, std::uint32_t used) {
    xway_rx_took(&ep->rx, bytes);
    ep->rx_last = bytes;
    ep->rx_ring_bytes += bytes;
    xway_store_release(&ep->mine->cons, ep->rx.cons);
    __atomic_store_n(&ep->mine->rx_ring, ep->rx_ring_bytes, __ATOMIC_RELAXED);
    // Where nothing is sent back: what was said long ago must not look like news after 4 GiB.
    if (ep->rx.cons - __atomic_load_n(&ep->mine->ack, __ATOMIC_RELAXED) > 1u << 30) [[unlikely]]
        __atomic_store_n(&ep->mine->ack, ep->rx.cons, __ATOMIC_RELAXED);
    const std::uint32_t size = xway_ring_size(ep->rx.ring);
    if (used >= size / 2 && used - bytes <= size / 2)
        std::atomic_thread_fence(std::memory_order_seq_cst); // pairs with wait_tx()
    if (used - bytes <= size / 2 && ep->theirs->tx_wait.load(std::memory_order_relaxed) != 0)
        [[unlikely]]
        wake_peer(ep, &ep->theirs->tx_wait);
}

ssize_t take_ring(Endpoint* ep, Cursor& to, std::uint32_t available, int flags) {
    const auto bytes = static_cast<std::uint32_t>(std::min<std::size_t>(available, to.left()));
    const bool discard = (flags & MSG_TRUNC) != 0;
    if (!copies([&] { copy_out(ep, ep->rx, ep->rx_inline, to, bytes, discard); })) [[unlikely]]
        return -EFAULT;
    if (!(flags & MSG_PEEK))
        took(ep, bytes, available);
    return bytes;
}

ssize_t take_tcp(Endpoint* ep, int fd, Cursor& to, std::uint32_t available, int flags) {
    iovec part[Cursor::kParts];
    msghdr message{};
    message.msg_iov = part;
    message.msg_iovlen = to.slice(part, available);
    const ssize_t got = real.recvmsg(fd, &message, (flags & ~MSG_WAITALL) | MSG_DONTWAIT);
    if (got < 0)
        return -errno;
    to.skip(static_cast<std::size_t>(got));
    if (!(flags & MSG_PEEK))
        __atomic_store_n(&ep->mine->rx_tcp, ep->rx_tcp += static_cast<std::uint64_t>(got),
                         __ATOMIC_RELAXED);
    return got;
}

// The receiver is on the next rail.
void followed(Endpoint* ep) {
    if (ep->rx.ring)
        ep->rx_cut = false;
    xway_store_release(&ep->mine->cons, ep->rx.cons);
    xway_store_release(&ep->mine->rx_epoch, ep->rx.epoch);
}

ssize_t broken(Endpoint* ep, int fd) {
    if (!ep->rx_broken) {
        ep->rx_broken = true;
        real.shutdown(fd, SHUT_RDWR);
    }
    return -ECONNRESET;
}

// Nothing is there. Is the stream over, or broken? Asked of TCP only when there is reason to, or
// when it has not been for a while: the peer's library says when it shuts down, xwayd when the
// peer has died; that both have gone is rare. -EAGAIN: neither. -ESTALE: there is something after
// all. > 0: bytes that TCP has, at least.
ssize_t look(Endpoint* ep, int fd) {
    if (const int kept = ep->rx_error.exchange(0))
        return -kept;
    if (rx_over(ep)) {
        ep->rx_ended = true;
        return 0;
    }
    const std::uint32_t flags = ep->theirs->flags.load(std::memory_order_acquire);
    const bool gone = ep->arena->view.header()->side[ep->side ^ 1].gone.load() != 0;
    const bool asked = gone || (flags & (kSlotLook | kSlotGone)) != 0 || ep->rd_shut.load() ||
                       xway_rx_rail(&ep->rx) == XWAY_RAIL_TCP;
    if (!asked) {
        const std::int64_t now = coarse_ns();
        if (now - ep->looked_at < kLookNs)
            return -EAGAIN;
        ep->looked_at = now;
    }
    char byte;
    const ssize_t got = real.recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN)
        return -EAGAIN;
    if (got < 0)
        ep->rx_error = errno; // the kernel tells it once
    // What the peer put into the ring before TCP's news came first.
    const struct xway_rx_step step = next_step(ep, &ep->rx, fd);
    if (step.op == XWAY_RX_SWITCHED)
        followed(ep);
    if (step.op != XWAY_RX_WAIT)
        return -ESTALE;
    if (got > 0) {
        // Bytes that were there before a view that knows of no switch: none of an honest peer's on
        // the ring rail. On TCP they are ours, behind an urgent byte, which FIONREAD stops at.
        return xway_rx_rail(&ep->rx) == XWAY_RAIL_RING ? broken(ep, fd) : got;
    }
    if (const int kept = ep->rx_error.exchange(0))
        return -kept;
    const bool closed = (ep->theirs->flags.load(std::memory_order_acquire) & kSlotGone) != 0;
    if (!closed && (gone || endpoint_peer_lost(ep, fd)) && !ep->rx_ended && tx_pending(ep) > 0) {
        // It died with bytes of ours unread: TCP would have said so with a reset.
        ep->rx_ended = true;
        return -ECONNRESET;
    }
    ep->rx_ended = true;
    return 0;
}

// One rail's worth of bytes; 0: end of file; -EAGAIN, -errno. With the lock. `more`: there were
// some already, so that neither the end nor an error is asked for.
ssize_t take(Endpoint* ep, int fd, Cursor& to, int flags, bool more) {
    if (ep->rx_broken)
        return -ECONNRESET;
    if (xway_rx_rail(&ep->rx) == XWAY_RAIL_RING && !ep->rx_cut) [[likely]] {
        // The common case without the marks: in the epoch that we are in, all that was published is
        // ours.
        // Of those that have been counted before there may be enough: the line is the sender's.
        const std::uint32_t counted = ep->rx_seen - ep->rx.cons;
        if (ep->rx_seen_epoch == ep->rx.epoch && counted >= to.left() &&
            counted <= xway_ring_size(ep->rx.ring))
            return take_ring(ep, to, counted, flags);
        const std::uint64_t head = ep->theirs->head.load(std::memory_order_acquire);
        const std::uint32_t available = static_cast<std::uint32_t>(head) - ep->rx.cons;
        if (xway_load_acquire(&ep->theirs->tx_epoch) == ep->rx.epoch && available != 0 &&
            available <= xway_ring_size(ep->rx.ring)) {
            ep->rx_seen = static_cast<std::uint32_t>(head);
            ep->rx_seen_epoch = ep->rx.epoch;
            ep->rx_inline = inline_read(ep->theirs);
            return take_ring(ep, to, available, flags);
        }
    }
    bool switched = false;
    for (int switches = 0; switches <= 2 * static_cast<int>(XWAY_MARKS); switches++) {
        const struct xway_rx_step step = next_step(ep, &ep->rx, fd);
        switch (step.op) {
        case XWAY_RX_RING:
            ep->rx_inline = inline_read(ep->theirs);
            return take_ring(ep, to, step.len, flags);
        case XWAY_RX_TCP:
            // A read stops at urgent bytes, as TCP's own does, whatever rail brought those before.
            if (more && (!switched || real.sockatmark(fd) == 1))
                return -EAGAIN;
            // Where all the rest is TCP's: its error is told once, and not to who has bytes.
            if (more && step.len == kAll && tcp_unread(fd) == 0)
                return -EAGAIN;
            return take_tcp(ep, fd, to, step.len, flags);
        case XWAY_RX_SWITCHED:
            followed(ep);
            switched = true;
            break;
        case XWAY_RX_WAIT: {
            if (more)
                return -EAGAIN;
            const ssize_t found = look(ep, fd);
            if (found > 0)
                return take_tcp(ep, fd, to, static_cast<std::uint32_t>(found), flags);
            if (found != -ESTALE)
                return found;
            break;
        }
        case XWAY_RX_BAD: return broken(ep, fd);
        }
    }
    return -EAGAIN;
}

// What is there, over the switches that there are, as one read of TCP gives all that has come: who
// has peeked at it does not look whether he gets it.
ssize_t take_all(Endpoint* ep, int fd, Cursor& to, int flags) {
    const ssize_t first = take(ep, fd, to, flags, false);
    ssize_t sum = first, more = first;
    while (more > 0 && to.left() > 0 && (flags & MSG_PEEK) == 0 &&
           (ep->rx_cut || xway_load_acquire(&ep->theirs->tx_epoch) != ep->rx.epoch)) {
        more = take(ep, fd, to, flags, true);
        sum += std::max<ssize_t>(more, 0);
    }
    return sum;
}

// Looks at `bytes` that TCP holds behind `skip` others, which it cannot be asked to leave out.
ssize_t peek_tcp(int fd, Cursor& to, std::uint32_t skip, std::uint32_t bytes, int flags) {
    static char scratch[16 * 1024]; // what is written there, nobody reads
    constexpr int kSkips = 64;
    iovec part[kSkips + Cursor::kParts];
    int parts = 0;
    for (; skip > 0 && parts < kSkips; parts++) {
        const std::uint32_t now = std::min<std::uint32_t>(skip, sizeof(scratch));
        part[parts] = {scratch, now};
        skip -= now;
    }
    const auto skipped = [&] {
        std::size_t sum = 0;
        for (int i = 0; i < parts; i++)
            sum += part[i].iov_len;
        return static_cast<ssize_t>(sum);
    }();
    msghdr message{};
    message.msg_iov = part;
    message.msg_iovlen =
        static_cast<std::size_t>(parts + (skip == 0 ? to.slice(part + parts, bytes) : 0));
    const ssize_t got = real.recvmsg(fd, &message, (flags & ~MSG_WAITALL) | MSG_DONTWAIT);
    if (got < 0)
        return -errno;
    const ssize_t here = std::max<ssize_t>(got - skipped, 0);
    to.skip(static_cast<std::size_t>(here));
    return here;
}

// As take(), but the bytes stay: looks ahead over the switches that there are.
ssize_t peek(Endpoint* ep, int fd, Cursor& to, int flags) {
    xway_rx ahead = ep->rx;
    std::uint32_t skip = 0;
    const std::size_t wanted = to.left();
    for (int steps = 0; steps <= 4 * static_cast<int>(XWAY_MARKS) && to.left() > 0; steps++) {
        const struct xway_rx_step step = next_step(ep, &ahead, fd, skip);
        if (step.op == XWAY_RX_RING) {
            const auto bytes =
                static_cast<std::uint32_t>(std::min<std::size_t>(step.len, to.left()));
            const Inline line = inline_read(ep->theirs);
            if (!copies([&] { copy_out(ep, ahead, line, to, bytes, (flags & MSG_TRUNC) != 0); }))
                return -EFAULT;
            xway_rx_took(&ahead, bytes);
        } else if (step.op == XWAY_RX_TCP) {
            const ssize_t got = peek_tcp(fd, to, skip, step.len, flags);
            if (got < 0 && to.left() == wanted)
                return got;
            if (got <= 0)
                break;
            skip += static_cast<std::uint32_t>(got);
        } else if (step.op != XWAY_RX_SWITCHED) {
            break;
        }
    }
    return to.left() < wanted ? static_cast<ssize_t>(wanted - to.left())
                              : take(ep, fd, to, flags, false);
}

// A peek that waits for `least` bytes: each time from the beginning.
ssize_t peek_until(Endpoint* ep, int fd, const iovec* iov, int count, int flags, std::size_t least,
                   std::int64_t deadline) {
    constexpr timespec kStep{0, 1'000'000};
    ssize_t before = -1;
    for (;;) {
        Cursor to(iov, count);
        ssize_t got;
        {
            const Guard guard(ep->rx_lock, !ep->forked);
            got = peek(ep, fd, to, flags);
        }
        if (got == 0 || (got < 0 && got != -EAGAIN) || got >= static_cast<ssize_t>(least))
            return got;
        pollfd end{fd, POLLRDHUP, 0};
        const bool over = got > 0 && got == before && real.poll(&end, 1, 0) > 0;
        if (over || now_ns() >= deadline)
            return got;
        before = got;
        if (nanosleep(&kStep, nullptr) != 0 && (deadline != kNever || !restarts_after_signal()))
            return got > 0 ? got : -EINTR;
    }
}

// Who only receives, little by little, and has taken all there was, lets some more come before he
// disturbs the sender in the line that they share: it is this line that a short message costs.
void keep_apart(Endpoint* ep) {
    constexpr int kPauses = 16;
    constexpr std::uint32_t kLittle = 1024;
    const std::uint32_t sent = xway_load(&ep->tx.prod);
    const bool only_receives = std::exchange(ep->rx_heard, sent) == sent;
    if (!only_receives || ep->rx_seen != ep->rx.cons || ep->rx_last >= kLittle)
        return;
    for (int i = 0; i < kPauses; i++)
        cpu_relax();
}

// Nothing at all has changed since the ring was found empty: told without the lock, to those who
// ask in a loop. Now and then they take the long way, which asks TCP as well.
bool idle(Endpoint* ep) {
    constexpr std::uint32_t kLongWayEvery = 16;
    return (xway_load(&ep->rx.epoch) & 1) != 0 && !rx_news(ep) &&
           ++ep->idle_asks % kLongWayEvery != 0 &&
           (ep->theirs->flags.load(std::memory_order_acquire) & (kSlotLook | kSlotGone)) == 0 &&
           !ep->rx_cut && !ep->rx_ended && ep->rx_error == 0 &&
           !ep->rd_shut.load(std::memory_order_relaxed) &&
           ep->arena->view.header()->side[ep->side ^ 1].gone.load(std::memory_order_relaxed) == 0;
}

} // namespace

ssize_t endpoint_recv(Endpoint* ep, int fd, const iovec* iov, int count, int flags) {
    KeepErrno keep;
    Cursor to(iov, count);
    const std::size_t wanted = to.left();
    std::size_t got = 0;
    std::int64_t deadline = 0; // 0: not known yet
    const bool nonblock =
        (flags & MSG_DONTWAIT) != 0 || ep->nonblock.load(std::memory_order_relaxed);

    if (wanted == 0) {
        // Nothing is taken, but it is waited for, once: if what comes is a signal, or its time is
        // over, TCP is content, too.
        char byte;
        const iovec one{&byte, 1};
        const ssize_t seen = endpoint_recv(ep, fd, &one, 1, (flags & MSG_DONTWAIT) | MSG_PEEK);
        const bool content = seen >= 0 || (!nonblock && (errno == EINTR || errno == EAGAIN));
        return content ? 0 : keep.fail(errno);
    }
    if (nonblock && idle(ep))
        return keep.fail(EAGAIN);
    const std::size_t least =
        flags & MSG_WAITALL ? wanted : std::min<std::size_t>(wanted, ep->rcv_lowat.load());
    if ((flags & MSG_PEEK) && least > 1 && !nonblock) {
        const ssize_t seen =
            peek_until(ep, fd, iov, count, flags, least, deadline_in(ep->rcv_timeout.load()));
        return seen < 0 ? keep.fail(-seen) : seen;
    }
    if (!nonblock)
        keep_apart(ep);
    for (;;) {
        ssize_t result;
        {
            const Guard guard(ep->rx_lock, !ep->forked);
            result = flags & MSG_PEEK ? peek(ep, fd, to, flags) : take_all(ep, fd, to, flags);
        }
        if (result > 0) {
            got += static_cast<std::size_t>(result);
            if (nonblock || got >= least)
                return static_cast<ssize_t>(got);
            continue;
        }
        if (result == 0)
            return static_cast<ssize_t>(got);
        if (result == -EAGAIN && !nonblock) {
            if (deadline == 0)
                deadline = deadline_in(ep->rcv_timeout.load());
            result = wait_rx(ep, fd, deadline);
            if (result == 0 && table_endpoint(fd) != ep)
                result = -EBADF; // another thread has put something else there
            if (result == 0)
                continue;
        }
        if (got > 0) {
            if (result == -ECONNRESET)
                rx_put_back(ep, ECONNRESET);
            return static_cast<ssize_t>(got);
        }
        return keep.fail(-result);
    }
}

std::uint32_t rx_ready(Endpoint* ep) {
    const xway_rx rx = ep->rx; // a glance: whoever takes the bytes takes the lock and looks again
    if (xway_rx_rail(&rx) != XWAY_RAIL_RING)
        return 0;
    return static_cast<std::uint32_t>(ep->theirs->head.load(std::memory_order_acquire)) - rx.cons;
}

namespace {

struct Unread {
    std::uint32_t all, to_ring, by_ring; // bytes; up to the last ring byte; in rings
};

Unread count_unread(Endpoint* ep, int fd) {
    const Guard guard(ep->rx_lock, !ep->forked);
    xway_rx ahead = ep->rx;
    Unread unread{0, 0, 0};
    std::uint32_t skip = 0;
    for (int steps = 0; steps <= 4 * static_cast<int>(XWAY_MARKS); steps++) {
        const struct xway_rx_step step = next_step(ep, &ahead, fd, skip);
        if (step.op == XWAY_RX_RING) {
            unread.all += step.len;
            unread.to_ring = unread.all;
            unread.by_ring += step.len;
            xway_rx_took(&ahead, step.len);
        } else if (step.op == XWAY_RX_TCP) {
            // Behind the last switch all that TCP has is ours.
            const std::uint32_t held = tcp_unread(fd);
            const std::uint32_t here = std::min(step.len, held > skip ? held - skip : 0);
            if (here == 0)
                break;
            unread.all += here;
            skip += here;
        } else if (step.op != XWAY_RX_SWITCHED) {
            break;
        }
    }
    return unread;
}

} // namespace

std::uint32_t rx_unread(Endpoint* ep, int fd) {
    return count_unread(ep, fd).all;
}

std::uint32_t rx_unread_to_ring(Endpoint* ep, int fd) {
    return count_unread(ep, fd).to_ring;
}

std::uint32_t rx_unread_by_ring(Endpoint* ep, int fd) {
    return count_unread(ep, fd).by_ring;
}

void rx_follow(Endpoint* ep) {
    const Guard guard(ep->rx_lock, !ep->forked);
    for (unsigned i = 0; i <= XWAY_MARKS; i++) {
        if (next_step(ep, &ep->rx, -1).op != XWAY_RX_SWITCHED)
            return;
        followed(ep);
    }
}

int rx_take_error(Endpoint* ep, int fd) {
    int error = 0;
    socklen_t length = sizeof(error);
    Late sent = Late::kSent;
    if (ep->sent_late.compare_exchange_strong(sent, Late::kTold))
        return EPIPE;
    const Guard guard(ep->rx_lock, !ep->forked);
    if (const int kept = ep->attached ? ep->rx_error.exchange(0) : 0)
        return kept;
    return real.getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) == 0 ? error : 0;
}

void rx_put_back(Endpoint* ep, int error) {
    const Guard guard(ep->rx_lock, !ep->forked);
    ep->rx_error = error;
}

int rx_at_mark(Endpoint* ep) {
    rx_follow(ep);
    return rx_ready(ep) == 0;
}

bool rx_peek(Endpoint* ep, int fd) {
    const KeepErrno keep;
    char byte;
    const iovec part{&byte, 1};
    return endpoint_recv(ep, fd, &part, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

bool rx_news(Endpoint* ep) {
    if (rx_ready(ep) != 0 || ep->rx_broken)
        return true;
    const std::uint32_t epoch = xway_load(&ep->rx.epoch);
    if (rx_over(ep))
        return true;
    if (xway_load_acquire(&ep->theirs->tx_epoch) == epoch || ep->rx_cut)
        return false;
    if (epoch & 1)
        return true;
    // A switch is news where the receiver stands; of the bytes before it TCP itself tells.
    const std::uint32_t at = xway_load(&ep->theirs->mark[epoch % XWAY_MARKS].at);
    const auto here = static_cast<std::uint32_t>(ep->rx_tcp.load(std::memory_order_relaxed));
    return static_cast<std::int32_t>(at - here) <= 0;
}

// It has nothing to do with the times before this one, or with one that it has not accepted yet.
bool peer_has_closed(const Endpoint* ep) {
    return ep->theirs->life.load(std::memory_order_acquire) == life_of(ep->opened, kLifeClosed);
}

bool rx_over(const Endpoint* ep) {
    return peer_has_closed(ep) && ep->theirs->end.load(std::memory_order_relaxed) == rx_total(ep);
}

std::uint64_t rx_total(const Endpoint* ep) {
    return ep->rx_tcp.load(std::memory_order_relaxed) + ep->rx_ring_bytes;
}

} // namespace xway
