// SPDX-License-Identifier: GPL-2.0-or-later
//
// wrap_socket.cpp - opening, accepting, shutting down, options.
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include <algorithm>

#include "config.h"
#include "direct.h"
#include "epoll.h"
#include "fault.h"
#include "listener.h"
#include "registrar.h"
#include "spare.h"
#include "wrap.h"

using namespace xway;

namespace {

bool is_loopback(const sockaddr* address) {
    if (address->sa_family == AF_INET)
        return (ntohl(reinterpret_cast<const sockaddr_in*>(address)->sin_addr.s_addr) >> 24) == 127;
    const in6_addr& six = reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(&six) || (IN6_IS_ADDR_V4MAPPED(&six) && six.s6_addr[12] == 127);
}

bool same_host(const sockaddr_storage& a, const sockaddr_storage& b) {
    if (a.ss_family != b.ss_family)
        return false;
    if (a.ss_family == AF_INET)
        return reinterpret_cast<const sockaddr_in&>(a).sin_addr.s_addr ==
               reinterpret_cast<const sockaddr_in&>(b).sin_addr.s_addr;
    return memcmp(&reinterpret_cast<const sockaddr_in6&>(a).sin6_addr,
                  &reinterpret_cast<const sockaddr_in6&>(b).sin6_addr, sizeof(in6_addr)) == 0;
}

// Is the other end in this network namespace? Whoever speaks to an address of his own is.
bool is_local(int fd, const sockaddr* peer, socklen_t length) {
    if (peer->sa_family != AF_INET && peer->sa_family != AF_INET6)
        return false;
    if (length < (peer->sa_family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6)))
        return false;
    if (is_loopback(peer))
        return true;
    sockaddr_storage own{}, other{};
    socklen_t own_length = sizeof(own);
    memcpy(&other, peer, std::min<std::size_t>(length, sizeof(other)));
    return getsockname(fd, reinterpret_cast<sockaddr*>(&own), &own_length) == 0 &&
           same_host(own, other);
}

// A connection to another address is ours if policy pairs those, too.
Endpoint* adopt(int fd, const sockaddr* peer, socklen_t length, bool nonblock) {
    const bool local = is_local(fd, peer, length);
    if (!local && !registrar_reaches_out())
        return nullptr;
    Endpoint* ep = endpoint_new(nonblock);
    if (!ep)
        return nullptr;
    ep->foreign = !local;
    table_set(fd, Entry::of(ep));
    return ep;
}

template <typename Kernel>
int accept_with(sockaddr* address, socklen_t* length, bool nonblock, Kernel kernel) {
    sockaddr_storage peer{};
    socklen_t peer_length = sizeof(peer);
    if (address && !length) {
        errno = EFAULT;
        return -1;
    }
    bool direct = false;
    const int fd = kernel(reinterpret_cast<sockaddr*>(&peer), &peer_length, &direct);
    if (fd < 0)
        return fd;
    KeepErrno keep;
    if (!direct) {
        table_set(fd, Entry());
        adopt(fd, reinterpret_cast<sockaddr*>(&peer), peer_length, nonblock);
    }
    if (!address)
        return fd;
    bool negative = false;
    if (copies([&] {
            negative = static_cast<int>(*length) < 0;
            if (!negative)
                memcpy(address, &peer, std::min({*length, peer_length, socklen_t{sizeof(peer)}}));
            *length = peer_length;
        }) &&
        !negative)
        return fd;
    // The kernel, too, finds out when it has taken the connection, and drops it.
    close(fd);
    return keep.fail(negative ? EINVAL : EFAULT);
}

// The beginning of an option's value; nothing of one that the kernel will not take either.
struct Given {
    Given(const void* value, socklen_t size) {
        const auto take = std::min<std::size_t>(size, sizeof(bytes));
        if (value && static_cast<int>(size) > 0 && copies([&] { memcpy(bytes, value, take); }))
            length = take;
    }
    [[nodiscard]] int number() const {
        int value = 0;
        if (length >= sizeof(value))
            memcpy(&value, bytes, sizeof(value));
        return value;
    }
    [[nodiscard]] std::int64_t duration() const {
        timeval time{};
        if (length < sizeof(time))
            return kNever;
        memcpy(&time, bytes, sizeof(time));
        if (time.tv_sec < 0)
            return 0; // as if O_NONBLOCK were set
        return time.tv_sec == 0 && time.tv_usec == 0
                   ? kNever
                   : time.tv_sec * 1000000000ll + time.tv_usec * 1000ll;
    }

    std::size_t length = 0;
    char bytes[sizeof(timeval)] = {};
};

// Options that make a connection one that only TCP can serve.
bool needs_tcp(int level, int name, const Given& given) {
    if (level == SOL_SOCKET) {
        switch (name) {
        case SO_ATTACH_FILTER:
        case SO_ATTACH_BPF: return true;
        case SO_PEEK_OFF: return given.number() >= 0;
        case SO_ZEROCOPY:
        case SO_TIMESTAMP_OLD:
        case SO_TIMESTAMPNS_OLD:
        case SO_TIMESTAMPING_OLD:
        case SO_TIMESTAMP_NEW:
        case SO_TIMESTAMPNS_NEW:
        case SO_TIMESTAMPING_NEW: return given.number() != 0;
        default: return false;
        }
    }
    if (level == IPPROTO_TCP)
        return name == TCP_ULP || name == TCP_REPAIR || name == TCP_MD5SIG ||
               name == TCP_MD5SIG_EXT;
    return false;
}

bool is_receive_timeout(int level, int name) {
    return level == SOL_SOCKET && (name == SO_RCVTIMEO_OLD || name == SO_RCVTIMEO_NEW);
}

bool is_send_timeout(int level, int name) {
    return level == SOL_SOCKET && (name == SO_SNDTIMEO_OLD || name == SO_SNDTIMEO_NEW);
}

// The family of an address that a program names; AF_UNSPEC, too, is one. -1: it cannot be read.
int family_of(const sockaddr* address, socklen_t length) {
    sa_family_t family = 0;
    if (!address || length < sizeof(family) ||
        !copies([&] { memcpy(&family, address, sizeof(family)); }))
        return -1;
    return family;
}

// What it means for a connection of direct mode that the program sets an option.
void note_option(int fd, int level, int name) {
    const Entry entry = table_get(fd);
    Endpoint* ep = entry.endpoint();
    if (ep ? !ep->direct : !entry.is_socket() || entry.has(Entry::kListener))
        return;
    if (ep && level == IPPROTO_TCP && name == TCP_NODELAY)
        ep->options |= kNoDelay;
    else if (ep && level == SOL_SOCKET && name == SO_KEEPALIVE)
        ep->options |= kKeepAlive;
    else if (ep && level == IPPROTO_TCP && name == TCP_CORK)
        ep->options |= kCork;
    // These mean nothing while keepalive is off, or stand for one moment.
    else if (!(ep && level == IPPROTO_TCP &&
               (name == TCP_KEEPIDLE || name == TCP_KEEPINTVL || name == TCP_KEEPCNT ||
                name == TCP_QUICKACK)))
        touch(fd, entry);
}

} // namespace

XWAY_EXPORT int socket(int domain, int type, int protocol) {
    const bool tcp = (domain == AF_INET || domain == AF_INET6) &&
                     (type & ~(SOCK_CLOEXEC | SOCK_NONBLOCK)) == SOCK_STREAM &&
                     (protocol == 0 || protocol == IPPROTO_TCP);
    if (tcp && config.direct) {
        const int spare = spare_take(domain, type);
        if (spare >= 0)
            return spare;
    }
    const int fd = real.socket(domain, type, protocol);
    if (fd < 0)
        return fd;
    if (tcp && config.direct && direct_has_stock())
        table_set(fd, spare_adopt(fd, domain, type));
    else
        table_set(fd, tcp ? Entry::socket((type & SOCK_NONBLOCK ? Entry::kNonblock : 0) |
                                          (type & SOCK_CLOEXEC ? Entry::kCloexec : 0))
                          : Entry());
    return fd;
}

XWAY_EXPORT int bind(int fd, const sockaddr* address, socklen_t length) noexcept {
    const Entry entry = table_get(fd);
    if (entry.is_socket())
        touch(fd, entry);
    return real.bind(fd, address, length);
}

XWAY_EXPORT int listen(int fd, int backlog) noexcept {
    const int result = real.listen(fd, backlog);
    const Entry entry = table_get(fd);
    if (result == 0 && entry.is_socket())
        table_set(fd, listener_open(fd, spare_spent(entry).with(Entry::kTouched, true)));
    return result;
}

namespace {

// As accept4(), by the kernel or, for a listener of direct mode, by whoever is first.
int accept_any(int fd, sockaddr* peer, socklen_t* size, int flags, bool* direct) {
    const Entry entry = table_get(fd);
    if (Listener* listener = listener_of(entry)) {
        const int accepted = listener_accept(listener, peer, size, flags, entry.nonblock(), direct);
        if (accepted >= 0 || errno != 0)
            return accepted;
    }
    return real.accept4(fd, peer, size, flags);
}

} // namespace

XWAY_EXPORT int accept(int fd, sockaddr* address, socklen_t* length) {
    return accept_with(address, length, false, [&](sockaddr* peer, socklen_t* size, bool* direct) {
        return accept_any(fd, peer, size, 0, direct);
    });
}

XWAY_EXPORT int accept4(int fd, sockaddr* address, socklen_t* length, int flags) {
    if (flags & ~(SOCK_NONBLOCK | SOCK_CLOEXEC))
        return real.accept4(fd, address, length, flags); // says what is wrong
    return accept_with(address, length, (flags & SOCK_NONBLOCK) != 0,
                       [&](sockaddr* peer, socklen_t* size, bool* direct) {
                           return accept_any(fd, peer, size, flags, direct);
                       });
}

namespace {

// The connection is given up in `kernel`, or has been; the socket may be connected anew.
template <typename Kernel>
int give_up(int fd, Entry entry, Kernel kernel) {
    const bool nonblock = entry.endpoint()->nonblock.load();
    entry.endpoint()->touched = true; // nobody is to open it again
    linger option{};
    socklen_t size = sizeof(option);
    const bool known = real.getsockopt(fd, SOL_SOCKET, SO_LINGER, &option, &size) == 0;
    const Leaving leaving =
        leave_before(fd, entry, true); // as before a close: it may make it a reset
    const int result = kernel();
    const KeepErrno keep;
    leave_after(leaving);
    if (known)
        real.setsockopt(fd, SOL_SOCKET, SO_LINGER, &option, size);
    table_set(fd, Entry::socket(Entry::kTouched | (nonblock ? Entry::kNonblock : 0)));
    return result;
}

// Asked of a connection that was begun without waiting, connect() has told how it has ended, and
// the kernel has given up the socket, with what there was to read.
bool is_end(int error) {
    return error == ECONNRESET || error == ECONNREFUSED || error == ECONNABORTED ||
           error == ETIMEDOUT || error == EPIPE || error == EHOSTUNREACH || error == ENETUNREACH;
}

} // namespace

XWAY_EXPORT int connect(int fd, const sockaddr* address, socklen_t length) {
    Entry entry = table_get(fd);
    const int family = entry.empty() ? -1 : family_of(address, length);
    if (entry.is_socket() && config.direct) [[unlikely]] {
        if (family >= 0 && direct_connect(fd, entry, address, length))
            return 0;
        table_set(fd, entry = spare_spent(entry));
    }
    if (entry.endpoint() && family == AF_UNSPEC)
        return give_up(fd, entry, [&] { return real.connect(fd, address, length); });
    const int result = real.connect(fd, address, length);
    if (entry.endpoint() && result != 0 && is_end(errno)) {
        const KeepErrno keep;
        sockaddr none{};
        none.sa_family = AF_UNSPEC;
        // Once more, for what a close would leave behind.
        give_up(fd, entry, [&] { return real.connect(fd, &none, sizeof(none)); });
        return result;
    }
    if (!entry.is_socket() || !address || (result != 0 && errno != EINPROGRESS && errno != EINTR))
        return result;
    const KeepErrno keep;
    Endpoint* ep = adopt(fd, address, length, entry.nonblock());
    if (ep && !ep->foreign)
        direct_by_kernel(ep, fd, address, length);
    return result;
}
XWAY_ALIAS(connect, __connect);

namespace {

// What comes when both ways are shut is answered with a reset, by TCP alone: so it is to come
// there.
void note_shutdown(Endpoint* ep, int how) {
    if (how == SHUT_WR || how == SHUT_RDWR)
        ep->wr_shut = true;
    if (how == SHUT_RD || how == SHUT_RDWR)
        ep->rd_shut = true;
    if (ep->rd_shut.load() && ep->wr_shut.load())
        endpoint_to_tcp(ep, XWAY_WHY_SHUT);
}

// Does TCP send on that what it has held back for more?
bool lets_go(int level, int name, const Given& given) {
    return level == IPPROTO_TCP && ((name == TCP_CORK && given.number() == 0) ||
                                    (name == TCP_NODELAY && given.number() > 0));
}

} // namespace

XWAY_EXPORT int shutdown(int fd, int how) {
    Endpoint* ep = on_ring(fd);
    if (const Entry entry = table_get(fd); listener_of(entry))
        table_set(fd, listener_close(entry)); // it listens no more
    if (!ep) {
        const int result = real.shutdown(fd, how);
        // A ring that it comes to later is to know.
        if (Endpoint* early = result == 0 ? table_endpoint(fd) : nullptr) {
            const KeepErrno keep;
            note_shutdown(early, how);
        }
        return result;
    }
    if (ep->sent_late.load() >= Late::kSent) {
        errno = ENOTCONN;
        return -1;
    }
    ep->touched = true;
    if (how == SHUT_WR || how == SHUT_RDWR) {
        tx_push_late(ep);
        ep->wr_shut = true;
        tx_choose(ep);
    }
    // Before the kernel says it: an end that comes without this is that of a killed process.
    ep->mine->flags.fetch_or(kSlotLook);
    const int result = real.shutdown(fd, how);
    const KeepErrno keep;
    note_shutdown(ep, how);
    if (ep->theirs->rx_wait.load() != 0)
        wake_peer(ep, &ep->theirs->rx_wait);
    wake_own(ep);
    return result;
}

// In direct mode TCP's connection outlives the program's.
XWAY_EXPORT int getpeername(int fd, sockaddr* address, socklen_t* length) noexcept {
    if (const Endpoint* ep = on_ring(fd); ep && ep->sent_late.load() >= Late::kSent) {
        errno = ENOTCONN;
        return -1;
    }
    return real.getpeername(fd, address, length);
}

XWAY_EXPORT int getsockopt(int fd, int level, int name, void* value, socklen_t* length) noexcept {
    Endpoint* ep = table_endpoint(fd);
    if (ep && level == IPPROTO_TCP && name == TCP_ZEROCOPY_RECEIVE) {
        // It maps TCP's bytes, and knows of no others.
        if (on_ring(fd)) {
            errno = EOPNOTSUPP;
            return -1;
        }
        endpoint_to_tcp(ep, XWAY_WHY_ZEROCOPY);
    }
    const int result = real.getsockopt(fd, level, name, value, length);
    if (result == 0 && level == SOL_SOCKET && name == SO_ERROR && *length == sizeof(int) &&
        on_ring(fd)) {
        // One that a receiver of ours has met, and not told yet, is told here.
        int error;
        memcpy(&error, value, sizeof(error));
        if (error == 0) {
            error = rx_take_error(ep, fd);
            memcpy(value, &error, sizeof(error));
        }
    }
    if (ep && result == 0 && level == IPPROTO_TCP && name == TCP_INFO)
        endpoint_count_ring(ep, fd, value, *length);
    return result;
}

XWAY_EXPORT int setsockopt(int fd, int level, int name, const void* value, socklen_t length) {
    Endpoint* ep = table_endpoint(fd);
    const Given given = ep || listener_of(fd) ? Given(value, length) : Given(nullptr, 0);
    // The kernel would count from its own next byte, which may lie behind ring bytes. TCP has had
    // the option since Linux 6.9 only: programs have a way without it.
    if (level == SOL_SOCKET && name == SO_PEEK_OFF && given.number() >= 0 && on_ring(fd)) {
        errno = EOPNOTSUPP;
        return -1;
    }
    if (ep && needs_tcp(level, name, given))
        endpoint_to_tcp(
            ep, name == TCP_ULP && level == IPPROTO_TCP ? XWAY_WHY_ULP : XWAY_WHY_PEER_REFUSED);
    note_option(fd, level, name);
    const int result = real.setsockopt(fd, level, name, value, length);
    if (result != 0)
        return result;
    if (Listener* listener = listener_of(fd); listener && is_receive_timeout(level, name))
        listener_set_timeout(listener, given.duration());
    if (ep && is_receive_timeout(level, name))
        ep->rcv_timeout = given.duration();
    if (ep && is_send_timeout(level, name))
        ep->snd_timeout = given.duration();
    if (ep && level == SOL_SOCKET && name == SO_RCVLOWAT)
        ep->rcv_lowat = static_cast<std::uint32_t>(std::max(given.number(), 1));
    if (ep && lets_go(level, name, given))
        tx_push_late(ep);
    if (ep && level == IPPROTO_TCP && name == TCP_INQ)
        ep->inq = given.number() != 0;
    return result;
}

// Ring bytes before the mark are still to be read.
XWAY_EXPORT int sockatmark(int fd) noexcept {
    Endpoint* ep = on_ring(fd);
    const int result = real.sockatmark(fd);
    return ep && result == 1 ? rx_at_mark(ep) : result;
}
