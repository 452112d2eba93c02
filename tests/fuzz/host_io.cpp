/* SPDX-License-Identifier: GPL-2.0 */
/* host_io.cpp - sending and receiving, once. */
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

#include "../socket/pattern.h"
#include "host.h"

namespace xway::fuzz {

namespace {

constexpr int kPieces = 3;

/* The buffer in pieces; one of them may be empty. */
std::array<iovec, kPieces> pieces(std::vector<std::byte>& buffer) {
    const std::size_t first = buffer.size() / 3, second = buffer.size() % 5 == 0 ? 0 : first / 2;
    return {iovec{buffer.data(), first}, iovec{buffer.data() + first, second},
            iovec{buffer.data() + first + second, buffer.size() - first - second}};
}

msghdr message_of(std::array<iovec, kPieces>& parts) {
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = parts.size();
    return message;
}

} // namespace

std::vector<std::byte> Host::outgoing(long number, long bytes) {
    std::vector<std::byte> buffer(static_cast<std::size_t>(bytes));
    const Handle* h = handle(number);
    if (h && h->stream)
        test::pattern_fill(h->stream->out_seed, h->stream->sent, buffer);
    return buffer;
}

std::string Host::judge(long number, const std::byte* bytes, long count, std::uint64_t ahead) {
    const Handle* h = handle(number);
    if (count <= 0 || !h || !h->stream)
        return "";
    const std::uint64_t at = h->stream->taken + ahead;
    const std::span<const std::byte> seen(bytes, static_cast<std::size_t>(count));
    const auto bad = test::pattern_mismatch(h->stream->in_seed, at, seen);
    return bad ? " " + test::pattern_diagnose(h->stream->in_seed, at + *bad, seen.subspan(*bad))
               : " ok";
}

Result Host::send(const Step& step) {
    const int fd = this->fd(step.h), flags = static_cast<int>(step.flags);
    std::vector<std::byte> buffer = outgoing(step.h, step.a);
    auto parts = pieces(buffer);
    ssize_t sent = -1;
    switch (step.b) {
    case 1: sent = ::sendto(fd, buffer.data(), buffer.size(), flags, nullptr, 0); break;
    case 2: sent = ::write(fd, buffer.data(), buffer.size()); break;
    case 3: sent = ::writev(fd, parts.data(), kPieces); break;
    case 4: {
        const msghdr message = message_of(parts);
        sent = ::sendmsg(fd, &message, flags);
        break;
    }
    case 5: {
        mmsghdr message{message_of(parts), 0};
        const int count = ::sendmmsg(fd, &message, 1, flags);
        sent = count == 1 ? static_cast<ssize_t>(message.msg_len) : count;
        break;
    }
    default: sent = ::send(fd, buffer.data(), buffer.size(), flags);
    }
    const Result result = say(sent);
    note(step, result);
    return result;
}

Result Host::recv(const Step& step) {
    const int fd = this->fd(step.h), flags = static_cast<int>(step.flags);
    std::vector<std::byte> buffer(static_cast<std::size_t>(step.a));
    auto parts = pieces(buffer);
    msghdr message = message_of(parts);
    std::string more;
    ssize_t got = -1;
    switch (step.b) {
    case 1: {
        sockaddr_storage from{};
        socklen_t length = sizeof from;
        got = ::recvfrom(fd, buffer.data(), buffer.size(), flags,
                         reinterpret_cast<sockaddr*>(&from), &length);
        if (got >= 0)
            more = " from " + std::to_string(length);
        break;
    }
    case 2: got = ::read(fd, buffer.data(), buffer.size()); break;
    case 3: got = ::readv(fd, parts.data(), kPieces); break;
    case 4:
        got = ::recvmsg(fd, &message, flags);
        if (got >= 0)
            more = " flags " +
                   flags_text(FlagKind::kMessage, static_cast<unsigned>(message.msg_flags)) +
                   " control " + std::to_string(message.msg_controllen);
        break;
    case 5: {
        mmsghdr many{message, 0};
        const int count = ::recvmmsg(fd, &many, 1, flags, nullptr);
        got = count == 1 ? static_cast<ssize_t>(many.msg_len) : count;
        break;
    }
    default: got = ::recv(fd, buffer.data(), buffer.size(), flags);
    }
    Result result = say(got);
    /* With MSG_TRUNC the bytes are thrown away. */
    if (!(step.flags & (MSG_TRUNC | MSG_OOB | MSG_ERRQUEUE)))
        result.text += judge(step.h, buffer.data(), got);
    result.text += more;
    note(step, result);
    return result;
}

Result Host::sendfile(const Step& step) {
    const std::vector<std::byte> buffer = outgoing(step.h, step.a);
    const test::UniqueFd file(SYS(memfd_create("fuzz", MFD_CLOEXEC)));
    SYS(::write(file.get(), buffer.data(), buffer.size()));
    off_t from = 0;
    const Result result = say(::sendfile(fd(step.h), file.get(), &from, buffer.size()));
    note(step, result);
    return result;
}

Result Host::splice_to(const Step& step) {
    int ends[2];
    SYS(pipe2(ends, O_CLOEXEC));
    const test::UniqueFd reading(ends[0]), writing(ends[1]);
    const std::vector<std::byte> buffer = outgoing(step.h, std::min(step.a, 60000l));
    SYS(::write(writing.get(), buffer.data(), buffer.size()));
    const Result result =
        say(::splice(reading.get(), nullptr, fd(step.h), nullptr, buffer.size(), 0));
    note(step, result);
    return result;
}

Result Host::splice_of(const Step& step) {
    int ends[2];
    SYS(pipe2(ends, O_CLOEXEC));
    const test::UniqueFd reading(ends[0]), writing(ends[1]);
    std::vector<std::byte> buffer(static_cast<std::size_t>(std::min(step.a, 60000l)));
    Result result = say(
        ::splice(fd(step.h), nullptr, writing.get(), nullptr, buffer.size(), SPLICE_F_NONBLOCK));
    if (result.value > 0) {
        const ssize_t got = SYS(::read(reading.get(), buffer.data(), buffer.size()));
        result.text += judge(step.h, buffer.data(), got);
        if (got != result.value)
            result.text += " but the pipe has " + std::to_string(got);
    }
    note(step, result);
    return result;
}

/* Held bytes may be sent later or sooner: so the step goes on until nothing is held. */
Result Host::more(const Step& step) {
    const int fd = this->fd(step.h);
    const auto cork = [&](int on) {
        return step.op == Op::kMore || setsockopt(fd, IPPROTO_TCP, TCP_CORK, &on, sizeof on) == 0;
    };
    Result result;
    if (!cork(1))
        return say(-1);
    const std::vector<std::byte> buffer = outgoing(step.h, step.a + step.b);
    const ssize_t one = ::send(fd, buffer.data(), static_cast<std::size_t>(step.a),
                               step.op == Op::kMore ? MSG_MORE : 0);
    result.text = say(one).text;
    const ssize_t two =
        one == step.a ? ::send(fd, buffer.data() + step.a, static_cast<std::size_t>(step.b), 0) : 0;
    result.text += " " + say(two).text;
    cork(0);
    calls_ += 3;
    result.value = std::max<ssize_t>(one, 0) + std::max<ssize_t>(two, 0);
    note(step, result);
    return result;
}

Result Host::drain(const Step& step) {
    Step one = step;
    one.op = Op::kRecv;
    one.a = 4096;
    one.b = 0;
    one.flags = MSG_DONTWAIT;
    Result result;
    std::string bad;
    for (;;) {
        const Result part = recv(one);
        calls_++;
        if (part.value <= 0) {
            result.text = std::to_string(result.value) + bad + " then " + part.text;
            return result;
        }
        result.value += part.value;
        if (!part.text.ends_with(" ok"))
            bad += " (" + part.text + ")";
    }
}

Result Host::inq(const Step& step) {
    int bytes = 0;
    const Result result = say(ioctl(fd(step.h), FIONREAD, &bytes));
    return result.value < 0 ? result : nothing(std::to_string(bytes).c_str());
}

/* When TCP acknowledges is its own affair, and what rides a ring is read, not acknowledged: only
 * that it ends at 0, once the other side has read all, is the same. */
Result Host::outq(const Step& step) {
    const std::int64_t end = test::now_ms() + pace_.await_ms;
    for (;;) {
        int bytes = 0;
        const Result result = say(ioctl(fd(step.h), SIOCOUTQ, &bytes));
        calls_++;
        if (result.value < 0)
            return result;
        if (bytes == 0 || test::now_ms() > end)
            return nothing(bytes == 0 ? "0" : "not 0");
        ::usleep(200);
    }
}

} // namespace xway::fuzz
