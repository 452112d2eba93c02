// SPDX-License-Identifier: GPL-2.0-or-later
#include "direct.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <string.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <utility>

#include "config.h"
#include "epoll.h"
#include "listener.h"
#include "name.h"
#include "process.h"
#include "real.h"
#include "registrar.h"
#include "spare.h"
#include "wait.h"
#include "wrap.h"

namespace xway {

namespace {

constexpr std::uint32_t kStocks = 32; // addresses that are dialled
constexpr int kTries = 8;             // parked connections looked at for one that is free
constexpr std::int64_t kAcceptedNs = 1'000'000'000; // then a connection is taken for accepted
constexpr std::uint32_t kInVain = 64;  // connections by the kernel until a stock is given up
constexpr std::uint64_t kEarly = 1024; // calls of connect() between two requests for more

// The parked connections to one address, the one that was parked first in front.
struct Stock {
    bool used, granted;
    Name to;
    Endpoint* first;
    Endpoint* last;
    std::uint32_t parked;
    std::uint64_t dry;         // calls of connect() that found none
    std::uint64_t asked;       // `dry` when more are asked for
    bool asks;                 // the next connection that the kernel opens is to be registered
    std::uint32_t by_kernel;   // connections that the kernel has opened, counted
    std::uint32_t accepted;    // the last of them known to have been accepted
    std::int64_t by_kernel_at; // when the last was opened, coarse
    std::uint16_t port;        // its own
};
Stock stocks[kStocks];
std::atomic<bool> any_granted;
std::atomic<std::uint32_t> tickets; // SlotSide::ticket of what this process opens
std::atomic<std::uint32_t> turn;    // counts what it has taken: the peers take turns
Lock lock;                          // over `stocks`; taken inside the registrar's

// Where connect() is to go, if parked connections can stand for that: the socket of one to an IPv4
// address is an IPv4 socket.
std::optional<Name> dialled(const sockaddr* address, socklen_t length) {
    const auto name = name_of(address, length);
    return name && name->is_v4() && address->sa_family == AF_INET6 ? std::nullopt : name;
}

// With the lock.
Stock* find_stock(const Name& to, bool make) {
    Stock* free = nullptr;
    for (Stock& stock : stocks) {
        if (stock.used && stock.to == to)
            return &stock;
        if (!stock.used && !free)
            free = &stock;
    }
    if (!make || !free)
        return nullptr;
    *free = Stock{};
    free->used = true;
    free->to = to;
    return free;
}

void push(Stock& stock, Endpoint* ep) {
    ep->next = nullptr;
    (stock.last ? stock.last->next : stock.first) = ep;
    stock.last = ep;
    stock.parked++;
}

Endpoint* pop(Stock& stock) {
    Endpoint* ep = stock.first;
    if (ep) {
        stock.first = ep->next;
        if (!stock.first)
            stock.last = nullptr;
        stock.parked--;
    }
    return ep;
}

bool is_dead(const Endpoint* ep) {
    return (ep->theirs->flags.load(std::memory_order_acquire) &
            (kSlotGone | kSlotLook | kSlotTcpOnly | kSlotLeft | kSlotOnce)) != 0 ||
           ep->arena->view.header()->side[ep->side ^ 1].gone.load() != 0;
}

// By the peer, and not accepted yet: whatever the peer has done with it since, it is to be
// accepted.
bool is_waiting(const Endpoint* ep) {
    return ep->theirs->life.load() >> 1 == ep->opened + 1;
}

// Each end has taken all that the other had sent when it closed.
bool is_clean(const Endpoint* ep) {
    return ep->theirs->end.load() == rx_total(ep) && ep->theirs->took.load() == tx_total(ep);
}

// For good: the kernel tells the peer.
void bury(Endpoint* ep) {
    ep->mine->flags.fetch_or(kSlotLook | kSlotGone | kSlotTcpOnly);
    const int hidden = ep->hidden;
    ep->hidden = -1;
    if (hidden >= 0)
        process_unhide(hidden);
    endpoint_closed({ep, false});
}

// A connection made for the stock, in a place of its own; nobody has it open.
Endpoint* parked_new(int socket) {
    Endpoint* ep = endpoint_new(false);
    if (!ep)
        return nullptr;
    ep->state = State::kBusy;
    ep->hidden = socket;
    ep->direct = true;
    ep->refs = 1; // the hidden descriptor's
    return ep;
}

// The slot is ours: both ends begin as closed for the 0th time.
void settle(Endpoint* ep) {
    endpoint_use_slot(ep);
    ep->mine->end = 0;
    ep->mine->took = 0;
    ep->rcv_timeout = kNever;
    ep->snd_timeout = kNever;
    ep->rcv_lowat = 1;
    ep->inq = false;
    ep->mine->flags.fetch_or(kSlotReady);
    direct_parked(ep);
}

void restore_options(Endpoint* ep) {
    const int off = 0;
    if (ep->options & kNoDelay)
        real.setsockopt(ep->hidden, IPPROTO_TCP, TCP_NODELAY, &off, sizeof(off));
    if (ep->options & kKeepAlive)
        real.setsockopt(ep->hidden, SOL_SOCKET, SO_KEEPALIVE, &off, sizeof(off));
    if (ep->options & kCork)
        real.setsockopt(ep->hidden, IPPROTO_TCP, TCP_CORK, &off, sizeof(off));
    ep->options = 0;
}

void set_nonblock(Endpoint* ep, bool nonblock) {
    if (ep->nonblock.load() == nonblock)
        return;
    real.fcntl(ep->hidden, F_SETFL,
               reinterpret_cast<void*>(std::intptr_t{nonblock ? O_NONBLOCK : 0}));
    ep->nonblock = nonblock;
}

// As fresh from connect() or accept(), under `fd`.
void open_again(Endpoint* ep, int fd, bool nonblock) {
    set_nonblock(ep, nonblock);
    if (ep->options != 0)
        restore_options(ep);
    ep->refs = 1;
    ep->opened++;
    ep->sent_late = Late::kNo;
    ep->held_late = 0;
    ep->tx_before = tx_total(ep);
    ep->rx_before = rx_total(ep);
    ep->rx_ended = false;
    ep->mine->rx_wait.store(0, std::memory_order_relaxed);
    ep->mine->tx_wait.store(0, std::memory_order_relaxed);
    __atomic_store_n(&ep->mine->cpu, static_cast<std::uint16_t>(sched_getcpu()), __ATOMIC_RELAXED);
    table_set(fd, Entry::of(ep));
    ep->state.store(State::kRing, std::memory_order_release);
    tx_choose(ep); // a receiver waits better on the ring, and it is never too early
    ep->mine->life.store(life_of(ep->opened, 0));
}

// Tells the end that listens.
void knock(Endpoint* ep, std::uint16_t behind) {
    ArenaSide& peer = ep->arena->view.header()->side[ep->side ^ 1];
    ep->mine->behind = behind;
    ep->mine->ticket = tickets.fetch_add(1);
    peer.opened.fetch_or(1ull << ep->slot);
    ring_peer(ep);
}

// The port of the last that the kernel has opened, if it may still wait there; else 0.
std::uint16_t unaccepted(const Stock& stock) {
    return stock.accepted != stock.by_kernel && coarse_ns() - stock.by_kernel_at < kAcceptedNs
               ? stock.port
               : 0;
}

// The kernel knows of its end before xwayd does, if the peer has been killed.
bool is_broken(const Endpoint* ep) {
    pollfd kernel{ep->hidden, POLLIN | POLLRDHUP, 0};
    return real.poll(&kernel, 1, 0) != 0;
}

// One that both sides have closed, or nullptr. With the lock.
Endpoint* take_free(Stock& stock, Endpoint** dead) {
    for (int tries = 0; tries < kTries && stock.first; tries++) {
        Endpoint* ep = pop(stock);
        if (is_dead(ep)) {
            ep->next = *dead;
            *dead = ep;
        } else if (ep->theirs->life.load(std::memory_order_acquire) !=
                   life_of(ep->opened, kLifeClosed)) {
            push(stock, ep);
        } else if (!is_clean(ep) || is_broken(ep)) {
            ep->next = *dead;
            *dead = ep;
        } else {
            return ep;
        }
    }
    return nullptr;
}

// Parked ones whose peer has gone; as a list.
Endpoint* take_dead() {
    Endpoint* dead = nullptr;
    const auto add = [&](Endpoint* ep) {
        ep->next = dead;
        dead = ep;
    };
    {
        const Guard guard(lock);
        for (Stock& stock : stocks) {
            for (std::uint32_t left = stock.parked; left > 0; left--) {
                Endpoint* ep = pop(stock);
                is_dead(ep) ? add(ep) : push(stock, ep);
            }
        }
    }
    const Guard guard(process.lock);
    for (std::uint32_t i = 0; i < process.arenas; i++) {
        for (auto& side : process.arena[i]->endpoint) {
            for (Endpoint* ep : side) {
                State parked = State::kParked;
                // In this order: it was opened before it was shut, or became one for TCP alone.
                if (ep && !ep->dialled && ep->state.load() == parked && is_dead(ep) &&
                    !is_waiting(ep) && ep->state.compare_exchange_strong(parked, State::kBusy))
                    add(ep);
            }
        }
    }
    return dead;
}

void bury_all(Endpoint* dead) {
    while (Endpoint* ep = dead) {
        dead = ep->next;
        bury(ep);
    }
}

} // namespace

void direct_bury_dead() {
    bury_all(take_dead());
}

void direct_bury_of(const Listener* listener) {
    Endpoint* orphans = nullptr;
    {
        const Guard guard(process.lock);
        for (std::uint32_t i = 0; i < process.arenas; i++) {
            for (auto& side : process.arena[i]->endpoint) {
                for (Endpoint* ep : side) {
                    State parked = State::kParked;
                    if (ep && !ep->dialled && ep->listener == listener &&
                        ep->state.compare_exchange_strong(parked, State::kBusy)) {
                        reset_at_close(ep->hidden); // whoever was to be accepted is not any more
                        ep->next = orphans;
                        orphans = ep;
                    }
                }
            }
        }
    }
    bury_all(orphans);
}

bool direct_connect(int fd, Entry entry, const sockaddr* address, socklen_t length) {
    const KeepErrno keep;
    const auto to = dialled(address, length);
    if (!config.direct || uses_uring() || entry.has(Entry::kTouched) || !to || epoll_watches(fd))
        return false;
    registrar_read_mail();
    Endpoint* ep = nullptr;
    Endpoint* dead = nullptr;
    bool ask = false;
    std::uint16_t behind = 0;
    {
        const Guard guard(lock);
        Stock* stock = find_stock(*to, false);
        if (!stock)
            return false;
        ep = take_free(*stock, &dead);
        if (!ep)
            ask = stock->dry++ == stock->asked;
        if (ask) {
            stock->asked = stock->dry + kEarly;
            stock->asks = true;
        }
        behind = unaccepted(*stock);
    }
    bury_all(dead);
    if (ask)
        registrar_more(*to);
    if (!ep)
        return false;
    if (real.dup3(ep->hidden, fd, entry.has(Entry::kCloexec) ? O_CLOEXEC : 0) < 0) {
        direct_parked(ep);
        return false;
    }
    spare_back(entry);
    open_again(ep, fd, entry.nonblock());
    knock(ep, behind);
    return true;
}

bool direct_has_stock() {
    return any_granted.load(std::memory_order_relaxed);
}

bool direct_park(Endpoint* ep, int fd) {
    if (!ep->direct || ep->state.load() != State::kRing || ep->forked || ep->touched ||
        ep->owner != process.token || ep->tx_stays.load() != 0 || ep->wr_shut || ep->rd_shut ||
        ep->rx_broken || ep->rx_error != 0 || ep->peer_lost || is_dead(ep) || uses_uring() ||
        (!ep->dialled && !listener_serves(ep)))
        return false;
    if (xway_rx_rail(&ep->rx) == XWAY_RAIL_TCP)
        rx_follow(ep); // once, though nothing is ever received: on the ring TCP need not be asked
    if (rx_unread(ep, fd) != 0 || (peer_has_closed(ep) && !is_clean(ep)))
        return false;
    ep->mine->end.store(tx_total(ep), std::memory_order_relaxed);
    ep->mine->took.store(rx_total(ep), std::memory_order_relaxed);
    return true;
}

void direct_parked(Endpoint* ep) {
    const std::uint32_t closed = life_of(ep->opened, kLifeClosed);
    if (!ep->dialled) {
        ep->mine->bell = listener_bell(ep->listener); // before the word that lets the peer open it
        ep->state = State::kParked;
        ep->mine->life.store(closed);
        return;
    }
    ep->mine->life.store(closed);
    ep->state = State::kParked;
    const Guard guard(lock);
    push(stocks[ep->stock], ep);
}

void direct_to_tcp(Endpoint* ep) {
    ep->touched = true;
    if (!peer_has_closed(ep))
        return;
    const int top = table.top.load();
    for (int fd = 0; fd < top; fd++) {
        if (table_endpoint(fd) == ep)
            real.shutdown(fd, SHUT_RD);
    }
}

bool direct_on_grant(const WireMsg& message, ArenaMap* map, int socket) {
    Stock* stock = nullptr;
    if (config.direct) {
        const Guard guard(lock);
        stock = find_stock(name_of(message), true);
        if (stock)
            stock->asked = stock->dry;
    }
    Endpoint* ep = stock ? parked_new(-1) : nullptr;
    if (!ep)
        return false;
    ep->hidden = process_hide_connection(socket);
    ep->arena = map;
    ep->slot = message.slot;
    ep->side = message.side;
    ep->peer_pid = message.peer;
    ep->dialled = true;
    ep->stock = static_cast<std::uint32_t>(stock - stocks);
    stock->granted = true;
    any_granted = true;
    settle(ep);
    return true;
}

bool direct_on_attach(Endpoint* ep) {
    if (!listener_serves(ep))
        return false;
    settle(ep);
    // The peer may have opened it before we knew of it; its knock has told nobody.
    const ArenaSide& own = ep->arena->view.header()->side[ep->side];
    if ((own.opened.load() & (1ull << ep->slot)) != 0 && process.bells != 0)
        ring_own(ep);
    return true;
}

void direct_on_decline(Endpoint* ep) {
    process_unhide(ep->hidden);
    ep->hidden = -1;
    ep->refs = 0;
    ep->state = State::kFree;
}

namespace {

// Calls `found(map, side, slot, ep)` for each connection that a peer has opened and `listener` is
// to yield, until it returns true.
template <typename Found>
void find_opened(const Listener* listener, Found found) {
    const Guard guard(process.lock);
    const std::uint32_t first = turn.load(std::memory_order_relaxed);
    for (std::uint32_t i = 0; i < process.arenas; i++) {
        ArenaMap* map = process.arena[(first + i) % process.arenas];
        for (std::uint32_t side = 0; side < 2; side++) {
            if (!(map->sides & (1u << side)))
                continue;
            for (std::uint64_t bits = map->view.header()->side[side].opened.load(); bits != 0;
                 bits &= bits - 1) {
                Endpoint* ep = map->endpoint[side][__builtin_ctzll(bits)];
                if (ep && ep->listener == listener && !ep->dialled && listener_serves(ep) &&
                    found(ep))
                    return;
            }
        }
    }
}

} // namespace

Endpoint* direct_next(const Listener* listener, std::uint16_t* behind) {
    // The one that was opened first, among those of one peer.
    Endpoint* next = nullptr;
    std::uint32_t ticket = 0;
    find_opened(listener, [&](Endpoint* ep) {
        const std::uint32_t its = ep->theirs->ticket.load();
        if (!next ||
            (ep->peer_pid == next->peer_pid && static_cast<std::int32_t>(its - ticket) < 0)) {
            next = ep;
            ticket = its;
        }
        return false;
    });
    *behind = 0;
    if (next && next->let_pass != next->opened + 1) {
        next->let_pass = next->opened + 1;
        *behind = static_cast<std::uint16_t>(next->theirs->behind.load());
    }
    return next;
}

bool direct_take(Endpoint* ep) {
    ep->arena->view.header()->side[ep->side].opened.fetch_and(~(1ull << ep->slot));
    turn.fetch_add(1, std::memory_order_relaxed);
    State parked = State::kParked;
    return is_waiting(ep) && ep->state.compare_exchange_strong(parked, State::kBusy);
}

bool direct_waits(const Listener* listener) {
    bool waits = false;
    find_opened(listener, [&](Endpoint*) { return waits = true; });
    return waits;
}

std::uint32_t direct_count(const Listener* listener) {
    std::uint32_t count = 0;
    find_opened(listener, [&](Endpoint*) { return count++, false; });
    return count;
}

void direct_by_kernel(Endpoint* ep, int fd, const sockaddr* address, socklen_t length) {
    const auto to = dialled(address, length);
    if (!config.direct || !to)
        return;
    const auto own = own_name(fd);
    const Guard guard(lock);
    Stock* stock = find_stock(*to, true);
    if (!stock)
        return;
    ep->stock = static_cast<std::uint32_t>(stock - stocks);
    ep->by_kernel = ++stock->by_kernel;
    stock->by_kernel_at = coarse_ns();
    stock->port = static_cast<std::uint16_t>(own ? own->port : 0);
    // What is registered tells xwayd which stock is wanted, so at once. But not for ever: there may
    // be nobody who makes one.
    if (config.asks_early &&
        (std::exchange(stock->asks, false) || (!stock->granted && stock->by_kernel <= kInVain)))
        ep->after = 0;
}

void direct_dialled(const Endpoint* ep, WireMsg* message) {
    if (ep->by_kernel == 0)
        return;
    const Guard guard(lock);
    const Name& to = stocks[ep->stock].to;
    if (!IN6_IS_ADDR_LINKLOCAL(&to.address)) // of which zone?
        put_name(to, message);
}

bool direct_lacks_stock(const Endpoint* ep) {
    if (ep->by_kernel == 0)
        return false;
    const Guard guard(lock);
    return ep->after == 0 || !stocks[ep->stock].granted;
}

void direct_heard(Endpoint* ep) {
    const Guard guard(lock);
    Stock& stock = stocks[ep->stock];
    if (static_cast<std::int32_t>(ep->by_kernel - stock.accepted) > 0)
        stock.accepted = ep->by_kernel;
    ep->by_kernel = 0;
}

void direct_set_bell(const Listener* listener, std::uint32_t bell) {
    const Guard guard(process.lock);
    for (std::uint32_t i = 0; i < process.arenas; i++) {
        for (const auto& side : process.arena[i]->endpoint) {
            for (Endpoint* ep : side) {
                if (ep && ep->listener == listener && !ep->dialled &&
                    ep->state.load() == State::kParked)
                    ep->mine->bell = bell;
            }
        }
    }
}

int direct_open_accepted(Endpoint* ep, int flags) {
    const int fd =
        real.fcntl(ep->hidden, flags & SOCK_CLOEXEC ? F_DUPFD_CLOEXEC : F_DUPFD, nullptr);
    if (fd < 0) {
        const KeepErrno keep;
        // It waits on, as in the kernel's queue.
        ep->state = State::kParked;
        ep->arena->view.header()->side[ep->side].opened.fetch_or(1ull << ep->slot);
        return -1;
    }
    open_again(ep, fd, (flags & SOCK_NONBLOCK) != 0);
    return fd;
}

Endpoint* direct_new_accepted(Listener* listener, int socket) {
    Endpoint* ep = parked_new(socket);
    if (!ep)
        return nullptr;
    ep->dialled = false;
    ep->listener = listener;
    ep->listener_generation = listener_generation(listener);
    ep->peer_name_length = sizeof(ep->peer_name);
    real.getpeername(socket, reinterpret_cast<sockaddr*>(&ep->peer_name), &ep->peer_name_length);
    ep->phase = Phase::kRegistered;
    return ep;
}

// Parked connections stay the parent's.
void direct_forked() {
    new (&lock) Lock();
    for (Stock& stock : stocks)
        stock = Stock{};
    any_granted = false;
}

void direct_before_fork() {
    lock.lock();
}

void direct_after_fork() {
    lock.unlock();
}

} // namespace xway
