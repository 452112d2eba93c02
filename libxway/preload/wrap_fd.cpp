// SPDX-License-Identifier: GPL-2.0-or-later
//
// wrap_fd.cpp - descriptors: closing, duplicating, flags.
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/sockios.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>

#include "epoll.h"
#include "listener.h"
#include "process.h"
#include "spare.h"
#include "wrap.h"

namespace xway {

Leaving leave_before(int fd, Entry entry, bool stays) {
    Leaving leaving;
    if (!table_clear(fd, entry))
        return leaving; // somebody else was faster
    const KeepErrno keep;
    Endpoint* ep = entry.endpoint();
    if (entry.is_socket()) {
        // xwayd may still hold the copy that was passed to it: nobody is to connect to that.
        if (const Listener* listener = listener_of(entry);
            listener && !listener_is_shared(listener))
            real.shutdown(fd, SHUT_RDWR);
        entry = listener_close(entry);
        // The kernel would go on reporting it under this number, kept as it is by our descriptor.
        leaving.socket = epoll_watches(fd) ? spare_spent(entry) : entry;
    }
    if (stays)
        epoll_keep(fd);
    else
        epoll_forget(fd, ep);
    if (ep)
        leaving.closing = endpoint_close(ep, fd);
    leaving.set = entry.epoll();
    return leaving;
}

void touch(int fd, Entry entry) {
    if (Endpoint* ep = entry.endpoint())
        ep->touched = true;
    else if (entry.is_socket())
        table_set(fd, spare_spent(entry).with(Entry::kTouched, true));
}

void leave_after(const Leaving& leaving) {
    const KeepErrno keep;
    endpoint_closed(leaving.closing);
    spare_back(leaving.socket);
    if (leaving.set)
        epoll_put(leaving.set);
}

} // namespace xway

using namespace xway;

namespace {

// `to` now leads to what `fd` leads to.
void duplicated(int fd, int to) {
    const Entry entry = table_get(fd);
    if (Endpoint* ep = entry.endpoint()) {
        endpoint_get(ep);
        table_set(to, entry);
        if (to <= STDERR_FILENO)
            endpoint_to_tcp(ep, XWAY_WHY_PEER_REFUSED); // stdio writes past us
    } else if (EpollSet* set = entry.epoll()) {
        epoll_get(set);
        table_set(to, entry);
    } else if (entry.is_socket()) {
        // Once it is connected under one number, the other would not know.
        if (Listener* listener = listener_of(entry))
            listener_stop(listener);
        spare_spent(listener_close(entry));
        table_set(fd, Entry());
        table_set(to, Entry());
    } else {
        table_set(to, Entry());
    }
}

template <typename Kernel>
int duplicate_onto(int fd, int to, Kernel kernel) {
    const Entry before = table_get(to);
    if (table_get(fd).is_hidden() || before.is_hidden()) {
        errno = EBADF;
        return -1;
    }
    if (fd == to || (before.empty() && table_get(fd).empty()))
        return kernel();
    if (real.fcntl(fd, F_GETFD, nullptr) < 0)
        return -1;
    Leaving leaving;
    if (!before.empty())
        leaving = leave_before(to, before);
    const int result = kernel();
    if (!before.empty())
        leave_after(leaving);
    if (result >= 0)
        duplicated(fd, to);
    return result;
}

int control(int fd, int command, void* argument, decltype(real.fcntl) kernel) {
    const Entry entry = table_get(fd);
    if (entry.empty()) [[likely]] {
        const int result = kernel(fd, command, argument);
        if (result >= 0 && (command == F_DUPFD || command == F_DUPFD_CLOEXEC))
            table_set(result, Entry());
        return result;
    }
    if (entry.is_hidden()) {
        errno = EBADF;
        return -1;
    }
    const int result = kernel(fd, command, argument);
    if (result < 0)
        return result;
    if (command == F_DUPFD || command == F_DUPFD_CLOEXEC) {
        duplicated(fd, result);
    } else if (command == F_SETFL) {
        const auto flags = static_cast<int>(reinterpret_cast<std::intptr_t>(argument));
        if (Endpoint* ep = entry.endpoint()) {
            ep->nonblock = (flags & O_NONBLOCK) != 0;
            if (flags & O_ASYNC)
                endpoint_to_tcp(ep, XWAY_WHY_PEER_REFUSED);
        } else if (entry.is_socket()) {
            table_set(fd, entry.with(Entry::kNonblock, (flags & O_NONBLOCK) != 0));
        }
    } else if (command == F_SETFD && entry.is_socket()) {
        const auto flags = static_cast<int>(reinterpret_cast<std::intptr_t>(argument));
        table_set(fd, entry.with(Entry::kCloexec, (flags & FD_CLOEXEC) != 0));
    } else if (command == F_SETOWN || command == F_SETOWN_EX || command == F_SETSIG) {
        touch(fd, entry);
    }
    return result;
}

// All of ours in a range that is about to be closed; hidden ones stay open.
int close_between(unsigned first, unsigned last, int flags) {
    const unsigned end = std::min(last, static_cast<unsigned>(std::max(table.top.load() - 1, 0)));
    unsigned from = first;
    int result = 0;
    for (unsigned fd = first; fd <= end && fd < kTableSize; fd++) {
        const Entry entry = table_get(static_cast<int>(fd));
        if (entry.empty())
            continue;
        if (entry.is_hidden()) {
            if (fd > from)
                result |= real.close_range(from, fd - 1, flags);
            from = fd + 1;
        } else if (!(flags & CLOSE_RANGE_CLOEXEC)) {
            const Leaving leaving = leave_before(static_cast<int>(fd), entry);
            real.close(static_cast<int>(fd));
            leave_after(leaving);
        }
    }
    if (from <= last)
        result |= real.close_range(from, last, flags);
    return result;
}

} // namespace

void xway::process_leave() {
    const int top = table.top.load();
    for (int fd = 0; fd < top; fd++) {
        if (const Endpoint* ep = table_endpoint(fd); ep && ep->forked)
            close(fd);
    }
}

namespace {

[[gnu::destructor(101)]] void leave() {
    process_leave();
}

} // namespace

XWAY_EXPORT int close(int fd) {
    const Entry entry = table_get(fd);
    if (entry.empty()) [[likely]]
        return real.close(fd);
    if (entry.is_hidden()) {
        errno = EBADF;
        return -1;
    }
    const Leaving leaving = leave_before(fd, entry);
    const int result = real.close(fd);
    leave_after(leaving);
    return result;
}
XWAY_ALIAS(close, __close);

XWAY_EXPORT int close_range(unsigned first, unsigned last, int flags) noexcept {
    if (first > last || table.top.load() == 0)
        return real.close_range(first, last, flags);
    return close_between(first, last, flags);
}

XWAY_EXPORT void closefrom(int first) noexcept {
    if (table.top.load() == 0)
        real.closefrom(first);
    else
        close_between(static_cast<unsigned>(std::max(first, 0)), ~0u, 0);
}

XWAY_EXPORT int dup(int fd) noexcept {
    if (table_get(fd).is_hidden()) {
        errno = EBADF;
        return -1;
    }
    const int result = real.dup(fd);
    if (result >= 0)
        duplicated(fd, result);
    return result;
}

XWAY_EXPORT int dup2(int fd, int to) noexcept {
    return duplicate_onto(fd, to, [&] { return real.dup2(fd, to); });
}
XWAY_ALIAS(dup2, __dup2);

XWAY_EXPORT int dup3(int fd, int to, int flags) noexcept {
    return duplicate_onto(fd, to, [&] { return real.dup3(fd, to, flags); });
}

XWAY_EXPORT int fcntl(int fd, int command, ...) {
    va_list list;
    va_start(list, command);
    void* argument = va_arg(list, void*);
    va_end(list);
    return control(fd, command, argument, real.fcntl);
}
XWAY_ALIAS(fcntl, __fcntl);

XWAY_EXPORT int fcntl64(int fd, int command, ...) {
    va_list list;
    va_start(list, command);
    void* argument = va_arg(list, void*);
    va_end(list);
    return control(fd, command, argument, real.fcntl64);
}

XWAY_EXPORT int ioctl(int fd, unsigned long request, ...) noexcept {
    va_list list;
    va_start(list, request);
    void* argument = va_arg(list, void*);
    va_end(list);
    const Entry entry = table_get(fd);
    Endpoint* ep = entry.endpoint();
    if (entry.empty()) [[likely]]
        return real.ioctl(fd, request, argument);
    if (entry.is_hidden()) {
        errno = EBADF;
        return -1;
    }
    if (ep && request == FIOASYNC)
        endpoint_to_tcp(ep, XWAY_WHY_PEER_REFUSED);
    const int result = real.ioctl(fd, request, argument);
    if (result == 0 && (request == FIOCLEX || request == FIONCLEX) && entry.is_socket())
        table_set(fd, entry.with(Entry::kCloexec, request == FIOCLEX));
    if (result == 0 && (request == FIOSETOWN || request == SIOCSPGRP))
        touch(fd, entry);
    if (result < 0 || !argument)
        return result;
    auto* number = static_cast<int*>(argument);
    if (request == FIONBIO) {
        if (ep)
            ep->nonblock = *number != 0;
        else if (entry.is_socket())
            table_set(fd, entry.with(Entry::kNonblock, *number != 0));
    } else if (ep && on_ring(fd)) {
        if (request == SIOCINQ)
            *number = static_cast<int>(rx_unread(ep, fd));
        else if (request == SIOCATMARK && *number != 0)
            *number = rx_at_mark(ep);
        else if (request == SIOCOUTQ)
            *number += static_cast<int>(tx_pending(ep));
    }
    return result;
}

// ---- stdio reads and writes past the wrappers ----

namespace {

ssize_t cookie_read(void* cookie, char* data, size_t size) {
    return read(static_cast<int>(reinterpret_cast<std::intptr_t>(cookie)), data, size);
}

ssize_t cookie_write(void* cookie, const char* data, size_t size) {
    return write(static_cast<int>(reinterpret_cast<std::intptr_t>(cookie)), data, size);
}

int cookie_close(void* cookie) {
    return close(static_cast<int>(reinterpret_cast<std::intptr_t>(cookie)));
}

} // namespace

XWAY_EXPORT FILE* fdopen(int fd, const char* mode) noexcept {
    Endpoint* ep = table_endpoint(fd);
    if (!ep)
        return real.fdopen(fd, mode);
    endpoint_to_tcp(ep, XWAY_WHY_PEER_REFUSED);
    if (endpoint_left_over(ep, fd) == 0)
        return real.fdopen(fd, mode);
    // What is left in the ring, stdio would miss: it reads through us.
    return fopencookie(reinterpret_cast<void*>(static_cast<std::intptr_t>(fd)), mode,
                       {cookie_read, cookie_write, nullptr, cookie_close});
}

XWAY_EXPORT FILE* _IO_fdopen(int fd, const char* mode) noexcept {
    return fdopen(fd, mode);
}

XWAY_EXPORT int fclose(FILE* file) {
    const int fd = file ? fileno(file) : -1;
    const Entry entry = fd >= 0 ? table_get(fd) : Entry();
    if (entry.empty())
        return real.fclose(file);
    // What stdio still holds goes out before anybody decides how the connection ends.
    fflush(file);
    const Leaving leaving = leave_before(fd, entry);
    const int result = real.fclose(file);
    leave_after(leaving);
    return result;
}
extern "C" int _IO_fclose(FILE* file) __attribute__((visibility("default"), alias("fclose")));
