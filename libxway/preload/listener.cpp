// SPDX-License-Identifier: GPL-2.0-or-later
#include "listener.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <utility>

#include "config.h"
#include "direct.h"
#include "epoll.h"
#include "look.h"
#include "name.h"
#include "process.h"
#include "real.h"
#include "registrar.h"
#include "signals.h"
#include "wait.h"

namespace xway {

// What xwayd wants to be made.
struct Order {
    std::uint32_t ask, wanted; // wanted: connections
    Name to;
};

// What the processes that have the same listening socket, by fork, share of it.
struct Family {
    static constexpr std::uint32_t kGhosts = 16;

    Lock lock; // over the rest, over Listener::early, and over asking the kernel
    // Connections to ourselves that we have given up: the kernel may yield them yet.
    Name ghost[kGhosts];
    std::uint32_t ghosts;
    std::atomic<bool> stop; // somebody takes connections without the lock: none of ours from now on
};

struct Listener {
    static constexpr std::uint32_t kEarly = 64, kOrders = 32, kRecent = 64;

    std::atomic<bool> used; // or about to be
    std::atomic<bool> open;
    bool announced; // to the xwayd of `session`
    bool retired;   // no more are to be made for it
    bool shared;    // other processes may have the socket, too
    std::uint32_t session;
    int fd;
    std::uint32_t generation;
    std::atomic<std::uint32_t> bell;
    Lock turn_lock;                // over all down to `recents`
    std::uint32_t in_row;          // direct connections accepted since the kernel was asked
    std::uint32_t until_kernel;    // direct ones that came before its: then it is its turn
    std::uint32_t kernel_first;    // of the kernel's that come before the next direct one
    std::uint16_t until_port;      // of the last of them
    std::uint16_t recent[kRecent]; // peers' ports of what the kernel has yielded last
    std::uint32_t recents;
    std::atomic<std::int64_t> timeout; // SO_RCVTIMEO, ns; kNever: none
    // Those that the kernel has yielded while we looked for our own wait here, hidden.
    std::uint32_t waiting;
    int early[kEarly];
    Family* family; // stays mapped: a thread may be inside when another closes
    xway_spin spin;
    Order order[kOrders]; // the first first; order_lock
    std::uint32_t orders;
};

namespace {

constexpr std::uint32_t kListeners = 64;
constexpr std::uint32_t kAtOnce = 4; // connections made in one go
constexpr std::int64_t kBuryEveryNs = 250'000'000;
constexpr int kAcceptWithinMs = 20; // of a connection to ourselves
constexpr std::int64_t kLookAgainNs = 1'000'000'000;
constexpr std::uint32_t kInRow = 64; // accepted before the kernel is asked, whoever waits

Listener listeners[kListeners];
Lock lock;                         // over which are in use
Lock order_lock;                   // taken inside the registrar's
std::atomic<std::uint32_t> orders; // of all listeners
std::atomic<std::int64_t> buried_at;

bool shares_port(int fd) {
    int on = 0;
    socklen_t length = sizeof(on);
    return real.getsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, &length) != 0 || on != 0;
}

std::uint64_t wire_name(const Listener* listener) {
    return static_cast<std::uint64_t>(listener - listeners) |
           static_cast<std::uint64_t>(listener->generation) << 32;
}

// Nobody is to dial it before its epoll sets hear the doorbell.
void announce(Listener* listener) {
    if (listener->retired || (listener->announced && listener->session == registrar_session()))
        return;
    if (!registrar_ready())
        return;
    epoll_adopt_listener(listener);
    listener->announced = registrar_listen(wire_name(listener), listener->fd);
    listener->session = registrar_session();
}

// The address that is dialled, in the words of its own family.
socklen_t dialled(const Order& order, sockaddr_storage* address) {
    *address = {};
    const std::uint16_t port = htons(static_cast<std::uint16_t>(order.to.port));
    if (order.to.is_v4()) {
        auto* four = reinterpret_cast<sockaddr_in*>(address);
        four->sin_family = AF_INET;
        four->sin_port = port;
        memcpy(&four->sin_addr, &order.to.address.s6_addr[12], sizeof(four->sin_addr));
        return sizeof(*four);
    }
    auto* six = reinterpret_cast<sockaddr_in6*>(address);
    six->sin6_family = AF_INET6;
    six->sin6_port = port;
    six->sin6_addr = order.to.address;
    return sizeof(*six);
}

// Is it one of our own that we had given up?
bool is_ghost(Family* family, const std::optional<Name>& peer) {
    for (std::uint32_t i = 0; peer && i < family->ghosts; i++) {
        if (family->ghost[i] == *peer) {
            family->ghost[i] = family->ghost[--family->ghosts];
            return true;
        }
    }
    return false;
}

bool kernel_has_one(const Listener* listener, int wait_ms) {
    pollfd ready{listener->fd, POLLIN, 0};
    return real.poll(&ready, 1, wait_ms) > 0;
}

// All zero if the kernel does not say.
tcp_info info_of(int fd) {
    tcp_info info{};
    socklen_t length = sizeof(info);
    real.getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length);
    return info;
}

// The accepted end of `own`, which is connected to the listener; -1: it does not come. What comes
// before it is the program's. With the lock.
int accept_own(Listener* listener, int own) {
    const auto ours = own_name(own);
    if (!ours)
        return -1;
    while (listener->waiting < Listener::kEarly && kernel_has_one(listener, kAcceptWithinMs)) {
        sockaddr_storage peer{};
        socklen_t peer_length = sizeof(peer);
        const int fd = process_hide_connection(real.accept4(
            listener->fd, reinterpret_cast<sockaddr*>(&peer), &peer_length, SOCK_CLOEXEC));
        if (fd < 0)
            break;
        // Dialled by IPv4, it may come out under its mapped address.
        const auto theirs = name_of(&peer, peer_length);
        if (theirs == ours)
            return fd;
        if (is_ghost(listener->family, theirs))
            process_unhide(fd);
        else
            listener->early[listener->waiting++] = fd;
    }
    // If it is not established, it will not come.
    if (info_of(own).tcpi_state == TCP_ESTABLISHED)
        listener->family->ghost[listener->family->ghosts++] = *ours;
    return -1;
}

// A connection to ourselves; the accepted end, hidden, or -1.
int connect_own(Listener* listener, const Order& order, int own) {
    sockaddr_storage address;
    const socklen_t length = dialled(order, &address);
    const Guard guard(listener->family->lock);
    if (listener->family->stop || listener->family->ghosts == Family::kGhosts ||
        (real.connect(own, reinterpret_cast<sockaddr*>(&address), length) != 0 &&
         errno != EINPROGRESS))
        return -1;
    const int accepted = accept_own(listener, own);
    // Asked in vain once, the socket is only connected for connect() itself when asked again.
    if (accepted >= 0)
        real.connect(own, reinterpret_cast<sockaddr*>(&address), length);
    return accepted;
}

bool supply(Listener* listener, const Order& order) {
    const int own = real.socket(order.to.is_v4() ? AF_INET : AF_INET6,
                                SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (own < 0)
        return false;
    bool done = false;
    if (const int accepted = connect_own(listener, order, own); accepted >= 0) {
        real.fcntl(own, F_SETFL, nullptr);
        Endpoint* ep = direct_new_accepted(listener, accepted);
        done = ep && registrar_supply(ep, order.ask, own, accepted);
        if (ep && !done)
            direct_on_decline(ep);
        else if (!ep)
            process_unhide(accepted);
    }
    real.close(own);
    return done;
}

// The first that the kernel has yielded before. With the lock.
int take_early(Listener* listener, int flags) {
    const int hidden = listener->early[0];
    const int fd = real.fcntl(hidden, flags & SOCK_CLOEXEC ? F_DUPFD_CLOEXEC : F_DUPFD, nullptr);
    if (fd < 0)
        return -1; // it waits on
    if (flags & SOCK_NONBLOCK)
        real.fcntl(fd, F_SETFL, reinterpret_cast<void*>(std::intptr_t{O_NONBLOCK}));
    process_unhide(hidden);
    listener->waiting--;
    memmove(listener->early, listener->early + 1, listener->waiting * sizeof(int));
    return fd;
}

void tell_name(sockaddr* address, socklen_t* length, const void* name, socklen_t name_length) {
    memcpy(address, name, std::min(*length, name_length));
    *length = name_length;
}

int accept_direct(Endpoint* ep, sockaddr* address, socklen_t* length, int flags, bool* direct) {
    const int fd = direct_open_accepted(ep, flags);
    if (fd >= 0)
        tell_name(address, length, &ep->peer_name, ep->peer_name_length);
    *direct = fd >= 0;
    return fd;
}

// What the kernel has, without waiting; -1 with errno 0: nothing. `address` has room for any.
int accept_kernel(Listener* listener, sockaddr* address, socklen_t* length, int flags) {
    const Guard guard(listener->family->lock);
    if (listener->waiting > 0) {
        const int fd = take_early(listener, flags);
        if (fd >= 0)
            real.getpeername(fd, address, length);
        return fd;
    }
    while (kernel_has_one(listener, 0)) {
        sockaddr_storage peer{};
        socklen_t peer_length = sizeof(peer);
        const int fd =
            real.accept4(listener->fd, reinterpret_cast<sockaddr*>(&peer), &peer_length, flags);
        if (fd < 0)
            return -1;
        if (is_ghost(listener->family, name_of(&peer, peer_length))) {
            real.close(fd);
            continue;
        }
        tell_name(address, length, &peer, peer_length);
        return fd;
    }
    errno = 0;
    return -1;
}

// Until either has one, or a signal. -1 and errno.
int wait_for_either(Listener* listener, std::int64_t deadline) {
    if (look_longer(&listener->spin, [&] { return direct_waits(listener); }))
        return 0;
    const int set = bell_poll_set();
    for (std::uint32_t i = 0; i < process.bells; i++)
        bell_sleep(i);
    int result = 0;
    if (!listener_has_news(listener)) {
        pollfd fds[2] = {{listener->fd, POLLIN, 0}, {set, POLLIN, 0}};
        const std::int64_t now = now_ns();
        const std::int64_t wait =
            std::clamp<std::int64_t>(deadline == kNever ? kNever : deadline - now, 0, kLookAgainNs);
        const timespec timeout{wait / 1000000000, wait % 1000000000};
        result = real.ppoll(fds, 2, &timeout, nullptr);
        if (result > 0 && fds[1].revents)
            bell_heard(set);
    }
    const int error = errno;
    for (std::uint32_t i = 0; i < process.bells; i++)
        bell_wake(i);
    errno = error;
    return result < 0 ? -1 : 0;
}

} // namespace

Listener* listener_at(std::uint32_t number) {
    return &listeners[number % kListeners];
}

int listener_fd(const Listener* listener) {
    return listener->fd;
}

std::uint32_t listener_generation(const Listener* listener) {
    return listener->generation;
}

bool listener_serves(const Endpoint* ep) {
    const Listener* listener = ep->listener;
    return listener && listener->open && listener->generation == ep->listener_generation;
}

std::uint32_t listener_bell(const Listener* listener) {
    return process.bells ? listener->bell.load() % process.bells : 0;
}

namespace {

// With the lock over which are in use. One that others have, too, stays theirs.
bool found_family(Listener* listener) {
    if (!listener->family || listener->shared) {
        void* memory = mmap(nullptr, sizeof(Family), PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED)
            return false;
        listener->family = static_cast<Family*>(memory);
    }
    new (listener->family) Family{};
    return true;
}

} // namespace

void listener_use(Listener* listener) {
    const KeepErrno keep;
    announce(listener);
}

bool listener_is_shared(const Listener* listener) {
    return listener->shared;
}

Entry listener_open(int fd, Entry entry) {
    // With SO_REUSEPORT a connection to ourselves may come out at another listener.
    if (!config.direct || !entry.is_socket() || entry.has(Entry::kListener) || shares_port(fd))
        return entry;
    const KeepErrno keep;
    Listener* listener = nullptr;
    {
        const Guard guard(lock);
        for (Listener& one : listeners) {
            if (one.used)
                continue;
            if (!found_family(&one))
                return entry;
            listener = &one;
            listener->generation++;
            listener->fd = fd;
            listener->announced = false;
            listener->retired = false;
            listener->shared = false;
            listener->bell = 0;
            listener->waiting = 0;
            listener->in_row = 0;
            listener->until_kernel = 0;
            listener->kernel_first = 0;
            listener->until_port = 0;
            std::fill(std::begin(listener->recent), std::end(listener->recent), 0);
            listener->timeout = kNever;
            listener->used = true;
            listener->open = true;
            break;
        }
    }
    if (!listener)
        return entry;
    // Announced when it is used: the process that listens may leave that to its children.
    if (epoll_watches(fd))
        announce(listener);
    const std::uintptr_t bits = Entry::kListener | Entry::kTouched |
                                (entry.nonblock() ? Entry::kNonblock : 0) |
                                (entry.has(Entry::kCloexec) ? Entry::kCloexec : 0);
    return Entry::socket(bits, static_cast<std::uint32_t>(listener - listeners));
}

Entry listener_close(Entry entry) {
    Listener* listener = listener_of(entry);
    if (!listener)
        return entry;
    const KeepErrno keep;
    listener->open = false; // first: what is closed from now on is not parked
    if (listener->announced)
        registrar_unlisten(wire_name(listener));
    direct_bury_of(listener);
    epoll_lose_listener(listener);
    for (std::uint32_t i = 0; i < listener->waiting; i++) {
        reset_at_close(listener->early[i]);
        process_unhide(listener->early[i]);
    }
    listener->waiting = 0;
    {
        const Guard guard(order_lock);
        orders -= std::exchange(listener->orders, 0);
    }
    listener->used = false;
    return entry.with(Entry::kListener | ~std::uintptr_t{0xffff}, false);
}

void listener_stop(Listener* listener) {
    listener->family->stop = true;
}

void listener_set_timeout(Listener* listener, std::int64_t timeout) {
    listener->timeout = timeout;
}

namespace {

// What the kernel has yielded, or would: of a listener this field is the length of its queue.
std::uint32_t backlog(const Listener* listener) {
    return info_of(listener->fd).tcpi_unacked + listener->waiting;
}

// Has the kernel yielded one from that port lately?
bool has_accepted(const Listener* listener, std::uint16_t port) {
    return std::find(std::begin(listener->recent), std::end(listener->recent), port) !=
           std::end(listener->recent);
}

// Direct connections first: whoever has opened one and then, for want of another, one by the
// kernel, finds them accepted in that order. The other way round the direct one says behind which
// it comes, and what waits in the kernel up to that is yielded before. And the kernel's turn comes,
// if somebody waits there: after all the direct ones that may have been opened before that.
// `next`: the direct one, if it is not.
bool is_kernels_turn(Listener* listener, Endpoint** next) {
    const Guard guard(listener->turn_lock);
    if (listener->kernel_first == 0) {
        *next = direct_next(listener, &listener->until_port);
        if (listener->until_port != 0 && !has_accepted(listener, listener->until_port))
            listener->kernel_first = backlog(listener);
    }
    if (listener->kernel_first > 0) {
        listener->kernel_first--;
        return true;
    }
    if (*next && listener->until_kernel > 0)
        return --listener->until_kernel == 0;
    if (*next && ++listener->in_row == kInRow) {
        listener->in_row = 0;
        if (backlog(listener) > 0)
            listener->until_kernel = direct_count(listener) + 1;
    }
    return false;
}

int accept_from_kernel(Listener* listener, sockaddr* address, socklen_t* length, int flags) {
    const int fd = accept_kernel(listener, address, length, flags);
    const auto peer = fd >= 0 ? name_of(address, *length) : std::nullopt;
    const KeepErrno keep;
    const auto port = static_cast<std::uint16_t>(peer ? peer->port : 0);
    const Guard guard(listener->turn_lock);
    if (!peer || port == listener->until_port)
        listener->kernel_first = 0;
    if (peer)
        listener->recent[listener->recents++ % Listener::kRecent] = port;
    listener->in_row = 0;
    listener->until_kernel = 0; // its turn has been
    return fd;
}

int accept_either(Listener* listener, sockaddr* address, socklen_t* length, int flags,
                  bool* direct) {
    for (std::uint32_t tries = 0;; tries++) {
        Endpoint* next = nullptr;
        const bool kernels = is_kernels_turn(listener, &next);
        // A peer that says so over and over has opened nothing.
        if (!kernels && next && tries < kInRow) {
            if (direct_take(next))
                return accept_direct(next, address, length, flags, direct);
            continue;
        }
        const int fd = accept_from_kernel(listener, address, length, flags);
        if (fd >= 0 || errno != 0 || !kernels || tries >= kInRow)
            return fd;
    }
}

} // namespace

int listener_accept(Listener* listener, sockaddr* address, socklen_t* length, int flags,
                    bool nonblock, bool* direct) {
    const std::int64_t timeout = listener->timeout.load();
    const std::int64_t deadline = nonblock ? 0 : deadline_in(timeout);
    for (;;) {
        announce(listener);
        registrar_read_mail();
        listener_work();
        const int fd = accept_either(listener, address, length, flags, direct);
        if (fd >= 0 || errno != 0)
            return fd;
        if (deadline != kNever && now_ns() >= deadline) {
            errno = EAGAIN;
            return -1;
        }
        if (!process_make_bells(1)) {
            errno = 0; // nobody could wake us
            return -1;
        }
        if (wait_for_either(listener, deadline) != 0 &&
            !(errno == EINTR && timeout == kNever && restarts_after_signal()))
            return -1;
    }
}

bool listener_has_news(Listener* listener) {
    return listener->waiting > 0 || direct_waits(listener);
}

short listener_poll(Listener* listener, short events) {
    if ((events & (POLLIN | POLLRDNORM)) && listener_has_news(listener))
        return events & (POLLIN | POLLRDNORM);
    pollfd kernel{listener->fd, events, 0};
    return real.poll(&kernel, 1, 0) > 0 ? kernel.revents : static_cast<short>(0);
}

void listener_set_bell(Listener* listener, std::uint32_t bell) {
    listener->bell = bell;
    direct_set_bell(listener, listener_bell(listener));
}

void listener_on_stock(const WireMsg& message) {
    const auto number = static_cast<std::uint32_t>(message.conn);
    if (number >= kListeners)
        return;
    Listener* listener = &listeners[number];
    if (!listener->open || wire_name(listener) != message.conn || message.arg == 0)
        return;
    const Guard guard(order_lock);
    if (listener->orders == Listener::kOrders)
        return; // xwayd's patience will end
    listener->order[listener->orders++] = {message.ask, message.arg, name_of(message)};
    orders++;
}

namespace {

// With order_lock.
void remove_first_order(Listener* listener) {
    listener->orders--;
    memmove(listener->order, listener->order + 1, listener->orders * sizeof(Order));
    orders--;
}

// One connection that is to be made.
bool take_order(Listener* listener, Order* order) {
    const Guard guard(order_lock);
    if (listener->orders == 0)
        return false;
    *order = listener->order[0];
    if (--listener->order[0].wanted == 0)
        remove_first_order(listener);
    return true;
}

void give_up_order(Listener* listener, std::uint32_t ask) {
    {
        const Guard guard(order_lock);
        if (listener->orders > 0 && listener->order[0].ask == ask)
            remove_first_order(listener);
    }
    registrar_supply_end(ask);
}

} // namespace

void listener_work() {
    const std::int64_t now = coarse_ns();
    if (config.direct && now - buried_at.load(std::memory_order_relaxed) > kBuryEveryNs) {
        buried_at = now;
        direct_bury_dead();
    }
    if (orders.load(std::memory_order_relaxed) == 0)
        return;
    const KeepErrno keep;
    bool more = false;
    for (Listener& listener : listeners) {
        const std::uint32_t waiting = listener.waiting;
        for (std::uint32_t made = 0; made < kAtOnce; made++) {
            Order order{};
            // If many of the program's own wait, these first.
            if (listener.waiting > Listener::kEarly / 2 || !take_order(&listener, &order))
                break;
            if (!listener.open || !supply(&listener, order)) {
                give_up_order(&listener, order.ask);
                break;
            }
            more |= made + 1 == kAtOnce;
        }
        if (listener.waiting > waiting)
            epoll_tell_listener(listener.fd);
    }
    // The rest when this thread comes again, and it is to come soon.
    if (more)
        bell_ring_own(0);
}

void listener_retire(Listener* listener) {
    if (!std::exchange(listener->retired, true) && listener->announced)
        registrar_unlisten(wire_name(listener));
}

// A connection that is open at a fork is never parked again. Where that is how a server works, none
// is made for nothing.
void listener_before_fork() {
    if (!config.direct)
        return;
    const int top = table.top.load();
    for (int fd = 0; fd < top; fd++) {
        Endpoint* ep = table_endpoint(fd);
        if (ep && ep->direct && !ep->dialled && listener_serves(ep))
            listener_retire(ep->listener);
    }
    for (Listener& listener : listeners) {
        listener.shared = true;
        // The kernel shares epoll sets, too, but not their doorbells.
        if (listener.open && epoll_share_listener(&listener))
            listener_retire(&listener);
    }
}

// What waits is the parent's, as is what has been opened; the socket is both's.
void listener_forked() {
    new (&lock) Lock();
    new (&order_lock) Lock();
    orders = 0;
    for (Listener& listener : listeners) {
        new (&listener.turn_lock) Lock();
        listener.announced = false;
        listener.orders = 0;
        listener.bell = 0;
        listener.until_kernel = 0;
        listener.kernel_first = 0;
        listener.waiting = 0;
    }
}

} // namespace xway
