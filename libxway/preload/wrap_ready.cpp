// SPDX-License-Identifier: GPL-2.0-or-later
//
// wrap_ready.cpp - poll, select and epoll.
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/select.h>

#include <algorithm>

#include "epoll.h"
#include "fault.h"
#include "listener.h"
#include "wrap.h"

using namespace xway;

namespace {

// When a wait of that long ends; 0: at once, kNever.
std::int64_t end_of(const timespec* timeout) {
    if (!timeout)
        return kNever;
    if (timeout->tv_sec == 0 && timeout->tv_nsec == 0)
        return 0;
    if (timeout->tv_sec > 1'000'000'000)
        return kNever;
    return now_ns() + timeout->tv_sec * 1000000000ll + timeout->tv_nsec;
}

std::int64_t end_of_ms(int timeout) {
    if (timeout < 0)
        return kNever;
    return timeout == 0 ? 0 : now_ns() + timeout * 1000000ll;
}

// More than the kernel takes under any limit: it says so.
constexpr nfds_t kTooMany = 1u << 20;

bool readable(const pollfd* fds, nfds_t count) {
    return count <= kTooMany && xway::readable(fds, count);
}

// A set of select() may be larger than an fd_set: the kernel does not know of FD_SETSIZE.
using Word = unsigned long;
constexpr int kWordBits = 8 * sizeof(Word);

bool has(const fd_set* set, int fd) {
    return set && (reinterpret_cast<const Word*>(set)[fd / kWordBits] >> (fd % kWordBits) & 1);
}

void clear(fd_set* set, int fd) {
    reinterpret_cast<Word*>(set)[fd / kWordBits] &= ~(Word{1} << (fd % kWordBits));
}

bool readable(const fd_set* set, int count) {
    return !set || xway::readable(reinterpret_cast<const Word*>(set),
                                  static_cast<size_t>((count + kWordBits - 1) / kWordBits));
}

bool concerns_us(int count, const fd_set* set) {
    if (!set)
        return false;
    for (int fd = 0; fd < count; fd++) {
        if (has(set, fd) && (on_ring(fd) || table_get(fd).epoll() || listener_of(fd)))
            return true;
    }
    return false;
}

// Is there one of ours among them, and nothing that the kernel would refuse?
bool concerns_us(int count, const fd_set* in, const fd_set* out, const fd_set* except) {
    if (count < 0 || static_cast<nfds_t>(count) > kTooMany || !readable(in, count) ||
        !readable(out, count) || !readable(except, count))
        return false;
    return concerns_us(count, in) || concerns_us(count, out) || concerns_us(count, except);
}

bool valid(const timespec* time) {
    return !time || (xway::readable(time) && xway::valid(*time));
}

constexpr short kIn = POLLIN | POLLRDNORM | POLLHUP | POLLERR;
constexpr short kOut = POLLOUT | POLLWRNORM | POLLERR;

// `fds` has room for `count`.
int select_with(pollfd* fds, int count, fd_set* in, fd_set* out, fd_set* except,
                std::int64_t deadline, const sigset_t* mask) {
    nfds_t used = 0;
    for (int fd = 0; fd < count; fd++) {
        short events = 0;
        events |= has(in, fd) ? POLLIN : 0;
        events |= has(out, fd) ? POLLOUT : 0;
        events |= has(except, fd) ? POLLPRI : 0;
        if (events)
            fds[used++] = {fd, events, 0};
    }
    int result = poll_for(fds, used, deadline, mask);
    if (result < 0)
        return result;
    result = 0;
    for (nfds_t i = 0; i < used; i++) {
        if (fds[i].revents & POLLNVAL) {
            errno = EBADF;
            return -1;
        }
    }
    for (nfds_t i = 0; i < used; i++) {
        const auto settle = [&](fd_set* set, short wanted, short bits) {
            if (!(fds[i].events & wanted))
                return;
            if (fds[i].revents & bits)
                result++;
            else
                clear(set, fds[i].fd);
        };
        settle(in, POLLIN, kIn);
        settle(out, POLLOUT, kOut);
        settle(except, POLLPRI, POLLPRI);
    }
    return result;
}

int select_for(int count, fd_set* in, fd_set* out, fd_set* except, std::int64_t deadline,
               const sigset_t* mask) {
    if (count <= FD_SETSIZE) {
        pollfd fds[FD_SETSIZE];
        return select_with(fds, count, in, out, except, deadline, mask);
    }
    const std::size_t size = sizeof(pollfd) * static_cast<std::size_t>(count);
    void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        errno = ENOMEM;
        return -1;
    }
    const int result =
        select_with(static_cast<pollfd*>(memory), count, in, out, except, deadline, mask);
    const int error = errno;
    munmap(memory, size);
    errno = error;
    return result;
}

} // namespace

XWAY_EXPORT int poll(pollfd* fds, nfds_t count, int timeout) {
    if (!readable(fds, count))
        return real.poll(fds, count, timeout);
    const StayOnTcp stay(fds, count);
    if (!poll_concerns_us(fds, count))
        return real.poll(fds, count, timeout);
    return poll_for(fds, count, end_of_ms(timeout), nullptr);
}
XWAY_ALIAS(poll, __poll);

XWAY_EXPORT int __poll_chk(pollfd* fds, nfds_t count, int timeout, size_t space) {
    if (space / sizeof(*fds) < count)
        return real.__poll_chk(fds, count, timeout, space);
    return poll(fds, count, timeout);
}

XWAY_EXPORT int ppoll(pollfd* fds, nfds_t count, const timespec* timeout, const sigset_t* mask) {
    if (!readable(fds, count) || !valid(timeout))
        return real.ppoll(fds, count, timeout, mask);
    const StayOnTcp stay(fds, count);
    if (!poll_concerns_us(fds, count))
        return real.ppoll(fds, count, timeout, mask);
    return poll_for(fds, count, end_of(timeout), mask);
}

XWAY_EXPORT int __ppoll_chk(pollfd* fds, nfds_t count, const timespec* timeout,
                            const sigset_t* mask, size_t space) {
    if (space / sizeof(*fds) < count)
        return real.__ppoll_chk(fds, count, timeout, mask, space);
    return ppoll(fds, count, timeout, mask);
}

XWAY_EXPORT int select(int count, fd_set* in, fd_set* out, fd_set* except, timeval* timeout) {
    if (count < 0 || !readable(in, count) || !readable(out, count))
        return real.select(count, in, out, except, timeout);
    const StayOnTcp stay(count, in, out);
    if (!concerns_us(count, in, out, except) || (timeout && !xway::readable(timeout)))
        return real.select(count, in, out, except, timeout);
    timespec time{};
    if (timeout) {
        if (timeout->tv_sec < 0 || timeout->tv_usec < 0 || timeout->tv_usec >= 1000000) {
            errno = EINVAL;
            return -1;
        }
        time = {timeout->tv_sec, timeout->tv_usec * 1000};
    }
    const std::int64_t deadline = end_of(timeout ? &time : nullptr);
    const int result = select_for(count, in, out, except, deadline, nullptr);
    if (timeout && deadline != kNever) {
        // Linux tells what is left.
        const std::int64_t left =
            deadline == 0 ? 0 : std::max<std::int64_t>(deadline - now_ns(), 0) / 1000;
        *timeout = {left / 1000000, left % 1000000};
    }
    return result;
}
XWAY_ALIAS(select, __select);

XWAY_EXPORT int pselect(int count, fd_set* in, fd_set* out, fd_set* except, const timespec* timeout,
                        const sigset_t* mask) {
    if (count < 0 || !readable(in, count) || !readable(out, count))
        return real.pselect(count, in, out, except, timeout, mask);
    const StayOnTcp stay(count, in, out);
    if (!concerns_us(count, in, out, except) || !valid(timeout))
        return real.pselect(count, in, out, except, timeout, mask);
    return select_for(count, in, out, except, end_of(timeout), mask);
}

// ---- epoll ----

namespace {

int track(int fd) {
    if (fd < 0)
        return fd;
    EpollSet* set = epoll_new(fd);
    table_set(fd, set ? Entry::of(set) : Entry());
    return fd;
}

bool valid(epoll_event* events, int most) {
    return most > 0 && most <= INT_MAX / static_cast<int>(sizeof(epoll_event)) && writable(events);
}

} // namespace

XWAY_EXPORT int epoll_create(int size) {
    return track(real.epoll_create(size));
}

XWAY_EXPORT int epoll_create1(int flags) {
    return track(real.epoll_create1(flags));
}

XWAY_EXPORT int epoll_ctl(int set_fd, int operation, int fd, epoll_event* event) {
    EpollSet* set = table_get(set_fd).epoll();
    if (!set || (operation != EPOLL_CTL_DEL && !xway::readable(event)))
        return real.epoll_ctl(set_fd, operation, fd, event);
    return epoll_control(set, set_fd, operation, fd, event);
}

XWAY_EXPORT int epoll_wait(int set_fd, epoll_event* events, int most, int timeout) {
    EpollSet* set = table_get(set_fd).epoll();
    if (!set || !valid(events, most))
        return real.epoll_wait(set_fd, events, most, timeout);
    return epoll_wait_for(set, set_fd, events, most, end_of_ms(timeout), nullptr);
}

XWAY_EXPORT int epoll_pwait(int set_fd, epoll_event* events, int most, int timeout,
                            const sigset_t* mask) {
    EpollSet* set = table_get(set_fd).epoll();
    if (!set || !valid(events, most))
        return real.epoll_pwait(set_fd, events, most, timeout, mask);
    return epoll_wait_for(set, set_fd, events, most, end_of_ms(timeout), mask);
}

XWAY_EXPORT int epoll_pwait2(int set_fd, epoll_event* events, int most, const timespec* timeout,
                             const sigset_t* mask) {
    EpollSet* set = table_get(set_fd).epoll();
    if (!set || !valid(events, most) || !valid(timeout))
        return real.epoll_pwait2(set_fd, events, most, timeout, mask);
    return epoll_wait_for(set, set_fd, events, most, end_of(timeout), mask);
}
