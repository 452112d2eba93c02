// SPDX-License-Identifier: GPL-2.0-or-later
//
// wrap.h - what the wrappers of libc's functions (wrap_*.cpp) have in common.
#pragma once

#include <cstddef>

#include "direct.h"
#include "endpoint.h"
#include "real.h"
#include "table.h"

#define XWAY_EXPORT extern "C" __attribute__((visibility("default")))
// Another name for the same function.
#define XWAY_ALIAS(name, alias_name) \
    extern "C" decltype(name) alias_name __attribute__((visibility("default"), alias(#name)))

namespace xway {

// Leaves a call to the kernel, however it ends: the thread may be cancelled in it.
class InKernel {
public:
    explicit InKernel(Endpoint* ep) : ep_(ep) {}
    ~InKernel() { endpoint_leave(ep_); }
    InKernel(const InKernel&) = delete;
    InKernel& operator=(const InKernel&) = delete;

private:
    Endpoint* ep_;
};

// recv family on a connection: by ring, or by `kernel`, counted.
template <typename Kernel>
ssize_t receive(Endpoint* ep, int fd, const iovec* iov, int count, int flags, Kernel kernel) {
    if (flags & (MSG_OOB | MSG_ERRQUEUE)) [[unlikely]]
        return kernel();
    switch (endpoint_enter(ep, fd)) {
    case Way::kRing: {
        const ssize_t got = endpoint_recv(ep, fd, iov, count, flags);
        if (ep->tx_stays.load(std::memory_order_relaxed)) [[unlikely]]
            endpoint_retire(ep);
        return got;
    }
    case Way::kPlain: return kernel();
    case Way::kKernel: break;
    }
    const InKernel in_kernel(ep);
    const ssize_t got = kernel();
    if (got > 0 && !(flags & MSG_PEEK))
        ep->rx_tcp += static_cast<std::uint64_t>(got);
    if (ep->by_kernel != 0 && got >= 0) [[unlikely]]
        direct_heard(ep);
    return got;
}

// send family on a connection.
template <typename Kernel>
ssize_t transmit(Endpoint* ep, int fd, const iovec* iov, int count, int flags, Kernel kernel) {
    if (flags & MSG_FASTOPEN) [[unlikely]]
        return kernel(); // which sends none of it: this one is connected, or is about to be
    if (flags & (MSG_OOB | MSG_ZEROCOPY)) [[unlikely]]
        endpoint_to_tcp(ep, flags & MSG_OOB ? XWAY_WHY_URGENT : XWAY_WHY_ZEROCOPY);
    switch (endpoint_enter(ep, fd)) {
    case Way::kRing:
        if ((count == 0 || (count == 1 && iov->iov_len == 0)) && !tx_was_reset(ep)) [[unlikely]]
            return kernel(); // no byte, but perhaps an error
        return endpoint_send(ep, fd, iov, count, flags);
    case Way::kPlain: return kernel();
    case Way::kKernel: break;
    }
    const InKernel in_kernel(ep);
    const ssize_t sent = kernel();
    if (sent > 0)
        ep->tx_tcp += static_cast<std::uint64_t>(sent);
    return sent;
}

// Is it a time that the kernel would take?
inline bool valid(const timespec& time) {
    return time.tv_sec >= 0 && time.tv_nsec >= 0 && time.tv_nsec < 1000000000;
}

// A connection that needs more than the kernel, or nullptr.
inline Endpoint* on_ring(int fd) {
    Endpoint* ep = table_endpoint(fd);
    return ep && ep->state.load(std::memory_order_acquire) == State::kRing ? ep : nullptr;
}

// The descriptor that `entry` was is gone, or about to be: what must be done before and after. Or
// it `stays`, and only its connection goes.
struct Leaving {
    Closing closing;
    EpollSet* set = nullptr;
    Entry socket; // that was not connected
};
Leaving leave_before(int fd, Entry entry, bool stays = false);
void leave_after(const Leaving& leaving);

// The program does to the socket `fd` what a connection of direct mode could not be rid of.
void touch(int fd, Entry entry);

// A connection goes where the library cannot follow: to another program, or past the wrappers. What
// is left in the ring would be lost, so it is reset then, unless others still hold it.
void hand_over(int fd);

// A program is about to be started beside this one: what it inherits goes on by TCP. Ring bytes
// that are unread stay for whoever reads them here.
void share_by_spawn();

// This process uses io_uring: no connection of it is on a ring from now on.
void use_uring();
bool uses_uring();

} // namespace xway
