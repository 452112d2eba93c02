// SPDX-License-Identifier: GPL-2.0-or-later
//
// wrap_io.cpp - reading and writing.
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

#include <algorithm>

#include "fault.h"
#include "rights.h"
#include "wait.h"
#include "wrap.h"

using namespace xway;

namespace {

bool fits(size_t size, size_t space) {
    return size <= space;
}

// What preadv2() and pwritev2() take and have no use for on a socket.
constexpr int kIdleRwf = RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_APPEND;

bool knows(int rwf) {
    if ((rwf & ~(RWF_NOWAIT | kIdleRwf)) == 0)
        return true;
    errno = EOPNOTSUPP;
    return false;
}

int to_flags(int rwf) {
    return rwf & RWF_NOWAIT ? MSG_DONTWAIT : 0;
}

// MSG_CMSG_COMPAT, which the kernel keeps to itself: such a call is its to refuse.
constexpr int kCompat = INT_MIN;

// Is it an iovec array that the kernel would take?
bool valid(const iovec* iov, int count) {
    if (count < 0 || count > IOV_MAX) {
        errno = EINVAL;
        return false;
    }
    if (!readable(iov, static_cast<size_t>(count))) {
        errno = EFAULT;
        return false;
    }
    size_t total = 0;
    for (int i = 0; i < count; i++) {
        if (iov[i].iov_len > SSIZE_MAX - total) {
            errno = EINVAL;
            return false;
        }
        total += iov[i].iov_len;
    }
    return true;
}

bool valid(const msghdr* message) {
    return message && readable(message) && message->msg_iovlen <= IOV_MAX &&
           valid(message->msg_iov, static_cast<int>(message->msg_iovlen));
}

// A connected socket has no use for an address, but looks whether it is one.
bool valid(const void* address, socklen_t length) {
    if (address && !readable(static_cast<const char*>(address), length)) {
        errno = EFAULT;
        return false;
    }
    return true;
}

bool has_control(const msghdr* message) {
    return message && readable(message) && message->msg_controllen > 0 && message->msg_control;
}

size_t total(const iovec* iov, int count) {
    size_t sum = 0;
    for (int i = 0; i < count; i++)
        sum += iov[i].iov_len;
    return sum;
}

// Descriptors of ours that a message carries to another process.
void hand_over_rights(const msghdr* message) {
    for (cmsghdr* control = CMSG_FIRSTHDR(message); control;
         control = CMSG_NXTHDR(const_cast<msghdr*>(message), control)) {
        if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS ||
            control->cmsg_len < CMSG_LEN(0))
            continue;
        const size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        const int* fds = reinterpret_cast<const int*>(CMSG_DATA(control));
        for (size_t i = 0; i < count; i++)
            hand_over(fds[i]);
    }
}

// TCP_INQ: what is left to read, beside what was read.
void tell_left(Endpoint* ep, int fd, msghdr* message) {
    const int left =
        ep->inq.load(std::memory_order_relaxed) ? static_cast<int>(rx_unread(ep, fd)) : -1;
    if (left < 0) {
        message->msg_controllen = 0;
        return;
    }
    if (message->msg_controllen < CMSG_LEN(sizeof(left))) {
        message->msg_flags |= MSG_CTRUNC;
        message->msg_controllen = 0;
        return;
    }
    auto* control = static_cast<cmsghdr*>(message->msg_control);
    control->cmsg_level = IPPROTO_TCP;
    control->cmsg_type = TCP_CM_INQ;
    control->cmsg_len = CMSG_LEN(sizeof(left));
    memcpy(CMSG_DATA(control), &left, sizeof(left));
    message->msg_controllen = std::min(message->msg_controllen, CMSG_SPACE(sizeof(left)));
}

} // namespace

// ---- receive ----

XWAY_EXPORT ssize_t read(int fd, void* data, size_t size) {
    Endpoint* ep = table_endpoint(fd);
    if (!ep || size == 0) [[likely]]
        return real.read(fd, data, size);
    const iovec part{data, size};
    return receive(ep, fd, &part, 1, 0, [&] { return real.read(fd, data, size); });
}
XWAY_ALIAS(read, __read);

XWAY_EXPORT ssize_t __read_chk(int fd, void* data, size_t size, size_t space) {
    if (!table_endpoint(fd) || !fits(size, space))
        return real.__read_chk(fd, data, size, space);
    return read(fd, data, size);
}

XWAY_EXPORT ssize_t readv(int fd, const iovec* iov, int count) {
    Endpoint* ep = table_endpoint(fd);
    if (!ep) [[likely]]
        return real.readv(fd, iov, count);
    if (!valid(iov, count))
        return -1;
    if (total(iov, count) == 0)
        return 0;
    return receive(ep, fd, iov, count, 0, [&] { return real.readv(fd, iov, count); });
}

XWAY_EXPORT ssize_t preadv2(int fd, const iovec* iov, int count, off_t offset, int flags) {
    Endpoint* ep = table_endpoint(fd);
    if (!ep || offset != -1)
        return real.preadv2(fd, iov, count, offset, flags);
    if (!valid(iov, count) || !knows(flags))
        return -1;
    if (total(iov, count) == 0)
        return 0;
    return receive(ep, fd, iov, count, to_flags(flags),
                   [&] { return real.preadv2(fd, iov, count, offset, flags); });
}
XWAY_ALIAS(preadv2, preadv64v2);

XWAY_EXPORT ssize_t recv(int fd, void* data, size_t size, int flags) {
    Endpoint* ep = table_endpoint(fd);
    if (!ep) [[likely]]
        return real.recv(fd, data, size, flags);
    const iovec part{data, size};
    return receive(ep, fd, &part, 1, flags, [&] { return real.recv(fd, data, size, flags); });
}

XWAY_EXPORT ssize_t __recv_chk(int fd, void* data, size_t size, size_t space, int flags) {
    if (!table_endpoint(fd) || !fits(size, space))
        return real.__recv_chk(fd, data, size, space, flags);
    return recv(fd, data, size, flags);
}

XWAY_EXPORT ssize_t recvfrom(int fd, void* data, size_t size, int flags, sockaddr* address,
                             socklen_t* length) {
    Endpoint* ep = table_endpoint(fd);
    if (!ep) [[likely]]
        return real.recvfrom(fd, data, size, flags, address, length);
    const iovec part{data, size};
    const ssize_t got = receive(ep, fd, &part, 1, flags, [&] {
        return real.recvfrom(fd, data, size, flags, address, length);
    });
    if (got >= 0 && address && length)
        *length = 0; // TCP names nobody
    return got;
}

XWAY_EXPORT ssize_t __recvfrom_chk(int fd, void* data, size_t size, size_t space, int flags,
                                   sockaddr* address, socklen_t* length) {
    if (!table_endpoint(fd) || !fits(size, space))
        return real.__recvfrom_chk(fd, data, size, space, flags, address, length);
    return recvfrom(fd, data, size, flags, address, length);
}

XWAY_EXPORT ssize_t recvmsg(int fd, msghdr* message, int flags) {
    Endpoint* ep = table_endpoint(fd);
    if (!ep && has_control(message))
        return rights_receive(fd, message, flags);
    if (!ep || (flags & kCompat) || !valid(message))
        return real.recvmsg(fd, message, flags);
    bool by_kernel = false;
    const ssize_t got =
        receive(ep, fd, message->msg_iov, static_cast<int>(message->msg_iovlen), flags, [&] {
            by_kernel = true;
            return real.recvmsg(fd, message, flags);
        });
    if (got >= 0 && !by_kernel) {
        if (message->msg_name)
            message->msg_namelen = 0;
        message->msg_flags = flags & MSG_CMSG_CLOEXEC;
        tell_left(ep, fd, message);
    }
    return got;
}

namespace {

// What a call on many messages has met behind some that went well is for the next call to find.
int many(int fd, unsigned done, unsigned count) {
    if (done == 0 && count > 0)
        return -1;
    Endpoint* ep = done < count ? on_ring(fd) : nullptr;
    if (ep && errno == ECONNRESET)
        rx_put_back(ep, errno);
    return static_cast<int>(done);
}

// Takes off what has passed. True: there is nothing left.
bool time_is_over(timespec* timeout, std::int64_t end) {
    const std::int64_t left = std::max<std::int64_t>(end - now_ns(), 0);
    *timeout = {left / 1000000000, left % 1000000000};
    return left == 0;
}

} // namespace

XWAY_EXPORT int recvmmsg(int fd, mmsghdr* messages, unsigned count, int flags, timespec* timeout) {
    Endpoint* ep = table_endpoint(fd);
    if (!ep || (flags & (kCompat | MSG_ERRQUEUE)) ||
        (timeout && (!readable(timeout) || !valid(*timeout))))
        return real.recvmmsg(fd, messages, count, flags, timeout);
    std::int64_t end = kNever;
    if (timeout && timeout->tv_sec < 1'000'000'000)
        end = now_ns() + timeout->tv_sec * 1000000000ll + timeout->tv_nsec;
    if (const int error = rx_take_error(ep, fd)) {
        errno = error;
        return -1;
    }
    unsigned done = 0;
    int now = flags & ~MSG_WAITFORONE;
    while (done < count) {
        const ssize_t got = recvmsg(fd, &messages[done].msg_hdr, now);
        if (got < 0)
            break;
        messages[done++].msg_len = static_cast<unsigned>(got);
        if (flags & MSG_WAITFORONE)
            now |= MSG_DONTWAIT;
        if (timeout && end != kNever && time_is_over(timeout, end))
            return static_cast<int>(done);
    }
    return many(fd, done, count);
}

// ---- send ----

XWAY_EXPORT ssize_t write(int fd, const void* data, size_t size) {
    Endpoint* ep = table_endpoint(fd);
    if (!ep) [[likely]]
        return real.write(fd, data, size);
    const iovec part{const_cast<void*>(data), size};
    return transmit(ep, fd, &part, 1, 0, [&] { return real.write(fd, data, size); });
}
XWAY_ALIAS(write, __write);

XWAY_EXPORT ssize_t writev(int fd, const iovec* iov, int count) {
    Endpoint* ep = table_endpoint(fd);
    if (!ep) [[likely]]
        return real.writev(fd, iov, count);
    if (!valid(iov, count))
        return -1;
    if (total(iov, count) == 0)
        return 0; // unlike send(): told of nothing
    return transmit(ep, fd, iov, count, 0, [&] { return real.writev(fd, iov, count); });
}

XWAY_EXPORT ssize_t pwritev2(int fd, const iovec* iov, int count, off_t offset, int flags) {
    Endpoint* ep = table_endpoint(fd);
    if (!ep || offset != -1)
        return real.pwritev2(fd, iov, count, offset, flags);
    if (!valid(iov, count) || !knows(flags))
        return -1;
    if (total(iov, count) == 0)
        return 0;
    return transmit(ep, fd, iov, count, to_flags(flags),
                    [&] { return real.pwritev2(fd, iov, count, offset, flags); });
}
XWAY_ALIAS(pwritev2, pwritev64v2);

XWAY_EXPORT ssize_t send(int fd, const void* data, size_t size, int flags) {
    Endpoint* ep = table_endpoint(fd);
    if (!ep) [[likely]]
        return real.send(fd, data, size, flags);
    const iovec part{const_cast<void*>(data), size};
    return transmit(ep, fd, &part, 1, flags, [&] { return real.send(fd, data, size, flags); });
}
XWAY_ALIAS(send, __send);

XWAY_EXPORT ssize_t sendto(int fd, const void* data, size_t size, int flags,
                           const sockaddr* address, socklen_t length) {
    Endpoint* ep = table_endpoint(fd);
    if (!ep || (address && length > sizeof(sockaddr_storage))) [[likely]]
        return real.sendto(fd, data, size, flags, address, length);
    if (!valid(address, length))
        return -1;
    const iovec part{const_cast<void*>(data), size};
    return transmit(ep, fd, &part, 1, flags,
                    [&] { return real.sendto(fd, data, size, flags, address, length); });
}

XWAY_EXPORT ssize_t sendmsg(int fd, const msghdr* message, int flags) {
    Endpoint* ep = table_endpoint(fd);
    if (!ep || (flags & kCompat) || !valid(message)) {
        if (!ep && has_control(message)) {
            RightsOut rights(*message);
            const ssize_t sent = real.sendmsg(fd, rights.message(fd), flags);
            if (sent < 0)
                rights.take_back();
            return sent;
        }
        return real.sendmsg(fd, message, flags);
    }
    if (!valid(message->msg_name,
               std::min<socklen_t>(message->msg_namelen, sizeof(sockaddr_storage))))
        return -1;
    if (message->msg_controllen > 0)
        endpoint_to_tcp(ep, XWAY_WHY_PEER_REFUSED); // the kernel's to understand
    return transmit(ep, fd, message->msg_iov, static_cast<int>(message->msg_iovlen), flags,
                    [&] { return real.sendmsg(fd, message, flags); });
}

XWAY_EXPORT int sendmmsg(int fd, mmsghdr* messages, unsigned count, int flags) {
    if (!table_endpoint(fd) || (flags & kCompat)) {
        for (unsigned i = 0; i < count && has_control(&messages[i].msg_hdr); i++)
            hand_over_rights(&messages[i].msg_hdr);
        return real.sendmmsg(fd, messages, count, flags);
    }
    count = std::min<unsigned>(count, IOV_MAX);
    unsigned done = 0;
    while (done < count) {
        const ssize_t sent = sendmsg(fd, &messages[done].msg_hdr, flags);
        if (sent < 0)
            break;
        const msghdr& header = messages[done].msg_hdr;
        messages[done++].msg_len = static_cast<unsigned>(sent);
        // The next one must not go before the rest of this.
        if (static_cast<size_t>(sent) < total(header.msg_iov, static_cast<int>(header.msg_iovlen)))
            return static_cast<int>(done);
    }
    return many(fd, done, count);
}
XWAY_ALIAS(sendmmsg, __sendmmsg);

// ---- formatted: libc would write it past us ----

extern "C" int __vasprintf_chk(char** text, int flag, const char* format, va_list list);

XWAY_EXPORT int __vdprintf_chk(int fd, int flag, const char* format, va_list list) {
    if (!table_endpoint(fd))
        return real.__vdprintf_chk(fd, flag, format, list);
    char* text = nullptr;
    const int length = __vasprintf_chk(&text, flag, format, list);
    for (int done = 0; done < length;) {
        const ssize_t sent = write(fd, text + done, static_cast<size_t>(length - done));
        if (sent < 0) {
            free(text);
            return -1;
        }
        done += static_cast<int>(sent);
    }
    if (length >= 0)
        free(text);
    return length;
}

XWAY_EXPORT int vdprintf(int fd, const char* format, va_list list) {
    return table_endpoint(fd) ? __vdprintf_chk(fd, 0, format, list)
                              : real.vdprintf(fd, format, list);
}

XWAY_EXPORT int dprintf(int fd, const char* format, ...) {
    va_list list;
    va_start(list, format);
    const int result = vdprintf(fd, format, list);
    va_end(list);
    return result;
}

XWAY_EXPORT int __dprintf_chk(int fd, int flag, const char* format, ...) {
    va_list list;
    va_start(list, format);
    const int result = __vdprintf_chk(fd, flag, format, list);
    va_end(list);
    return result;
}

// ---- from file to socket, between pipe and socket ----

XWAY_EXPORT ssize_t sendfile(int out, int in, off_t* offset, size_t count) {
    Endpoint* ep = table_endpoint(out);
    if (!ep)
        return real.sendfile(out, in, offset, count);
    switch (endpoint_enter(ep, out)) {
    case Way::kRing:
        // Nothing at all, first: the kernel looks at the arguments.
        return real.sendfile(out, in, offset, 0) < 0
                   ? -1
                   : endpoint_send_file(ep, out, in, offset, count);
    case Way::kPlain: return real.sendfile(out, in, offset, count);
    case Way::kKernel: break;
    }
    const InKernel in_kernel(ep);
    const ssize_t sent = real.sendfile(out, in, offset, count);
    if (sent > 0)
        ep->tx_tcp += static_cast<std::uint64_t>(sent);
    return sent;
}
XWAY_ALIAS(sendfile, sendfile64);

namespace {

constexpr size_t kSpliceChunk = 32 * 1024;

bool is_pipe(int fd) {
    return real.fcntl(fd, F_GETPIPE_SZ, nullptr) >= 0;
}

// Into a pipe that may be blocking: a page at a time, for which there is room if it is writable.
// How much more there is, nobody can tell: what it holds already need not fill its pages.
ssize_t fill_pipe(int pipe, const char* data, size_t size, bool nowait) {
    constexpr size_t kPipePage = 4096;
    size_t written = 0;
    while (written < size) {
        pollfd room{pipe, POLLOUT, 0};
        if ((nowait || written > 0) && real.poll(&room, 1, 0) == 0) {
            errno = EAGAIN;
            break;
        }
        const ssize_t now = real.write(pipe, data + written, std::min(size - written, kPipePage));
        if (now <= 0)
            break;
        written += static_cast<size_t>(now);
    }
    return written > 0 ? static_cast<ssize_t>(written) : -1;
}

// What does not fit into the pipe stays in the ring: it is looked at first, taken after.
// SPLICE_F_NONBLOCK is of the pipe: whether the connection is waited for, it says itself.
ssize_t splice_out_of(Endpoint* ep, int in, int out, size_t size, unsigned flags) {
    alignas(64) char buffer[kSpliceChunk];
    const iovec part{buffer, std::min(size, sizeof(buffer))};
    const bool nowait = (flags & SPLICE_F_NONBLOCK) != 0;
    pollfd pipe{out, POLLOUT, 0};
    if (nowait && real.poll(&pipe, 1, 0) == 0) {
        errno = EAGAIN;
        return -1;
    }
    const ssize_t seen = endpoint_recv(ep, in, &part, 1, MSG_PEEK);
    if (seen <= 0)
        return seen;
    const ssize_t written = fill_pipe(out, buffer, static_cast<size_t>(seen), nowait);
    // A look sees over the switches between rails, each of which ends a take.
    for (size_t left = written > 0 ? static_cast<size_t>(written) : 0; left > 0;) {
        const iovec rest{buffer, left};
        const ssize_t taken = endpoint_recv(ep, in, &rest, 1, MSG_DONTWAIT | MSG_TRUNC);
        if (taken <= 0)
            break;
        left -= static_cast<size_t>(taken);
    }
    return written;
}

// No more is taken from the pipe than the ring has room for, or than may be waited for.
ssize_t splice_into(Endpoint* ep, int in, int out, size_t size, unsigned flags) {
    alignas(64) char buffer[kSpliceChunk];
    const bool nowait = (flags & SPLICE_F_NONBLOCK) != 0 || ep->nonblock.load();
    pollfd pipe{in, POLLIN, 0};
    if (nowait && (!tx_news(ep) || ((flags & SPLICE_F_NONBLOCK) && real.poll(&pipe, 1, 0) == 0))) {
        errno = EAGAIN;
        return -1;
    }
    const ssize_t got = real.read(in, buffer, std::min(size, sizeof(buffer)));
    if (got <= 0)
        return got;
    size_t sent = 0;
    while (sent < static_cast<size_t>(got)) {
        const iovec part{buffer + sent, static_cast<size_t>(got) - sent};
        const ssize_t now = endpoint_send(ep, out, &part, 1, 0);
        if (now > 0)
            sent += static_cast<size_t>(now);
        else if (errno != EAGAIN && errno != EINTR)
            return sent > 0 ? static_cast<ssize_t>(sent) : -1;
        else
            wait_tx(ep, out, kNever);
    }
    return got;
}

} // namespace

XWAY_EXPORT ssize_t splice(int in, off_t* in_offset, int out, off_t* out_offset, size_t size,
                           unsigned flags) {
    Endpoint* from = table_endpoint(in);
    Endpoint* to = table_endpoint(out);
    const auto kernel = [&] { return real.splice(in, in_offset, out, out_offset, size, flags); };
    constexpr unsigned kAll = SPLICE_F_MOVE | SPLICE_F_NONBLOCK | SPLICE_F_MORE | SPLICE_F_GIFT;
    // What the kernel refuses, and what moves nothing, it is asked for.
    const bool strange = size == 0 || in_offset || out_offset || (flags & ~kAll);
    if (from && !to) {
        const Way way = endpoint_enter(from, in);
        if (way == Way::kRing)
            return strange || !is_pipe(out) ? kernel() : splice_out_of(from, in, out, size, flags);
        if (way == Way::kPlain)
            return kernel();
        const InKernel in_kernel(from);
        const ssize_t got = kernel();
        if (got > 0)
            from->rx_tcp += static_cast<std::uint64_t>(got);
        return got;
    }
    if (to && !from) {
        const Way way = endpoint_enter(to, out);
        if (way == Way::kRing)
            return strange || !is_pipe(in) || to->wr_shut.load()
                       ? kernel()
                       : splice_into(to, in, out, size, flags);
        if (way == Way::kPlain)
            return kernel();
        const InKernel in_kernel(to);
        const ssize_t sent = kernel();
        if (sent > 0)
            to->tx_tcp += static_cast<std::uint64_t>(sent);
        return sent;
    }
    return kernel();
}
