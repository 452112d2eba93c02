/* SPDX-License-Identifier: GPL-2.0 */
/* stream.cpp - sending and checking a patterned stream. */
#include "stream.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>

#include "check.h"
#include "pattern.h"

namespace xway::test {

std::vector<std::byte> StreamWriter::next(std::size_t n) const {
    std::vector<std::byte> bytes(n);
    pattern_fill(seed_, position_, bytes);
    return bytes;
}

ssize_t StreamWriter::send_some(std::size_t n, int flags) {
    std::vector<std::byte> bytes = next(n);
    ssize_t sent = ::send(fd_, bytes.data(), n, flags | MSG_NOSIGNAL);
    if (sent > 0)
        position_ += static_cast<std::size_t>(sent);
    return sent;
}

void StreamWriter::send(std::size_t n, int flags) {
    constexpr std::size_t kPiece = 1u << 20;
    while (n > 0) {
        std::size_t sent = static_cast<std::size_t>(SYS(send_some(std::min(n, kPiece), flags)));
        n -= sent;
    }
}

std::size_t StreamWriter::fill() {
    constexpr int kMoreMs =
        400; /* for room that is found a little later, by TCP or behind a ring */
    std::size_t total = 0;
    for (;;) {
        ssize_t n = send_some(16384, MSG_DONTWAIT);
        if (n >= 0) {
            total += static_cast<std::size_t>(n);
            continue;
        }
        CHECK_EQ(errno, EAGAIN);
        pollfd p{fd_, POLLOUT, 0};
        if (::poll(&p, 1, kMoreMs) <= 0 || !(p.revents & POLLOUT) || (p.revents & POLLERR))
            return total;
    }
}

void StreamReader::compare(std::span<const std::byte> bytes, std::uint64_t ahead) const {
    std::uint64_t at = position_ + ahead;
    if (auto bad = pattern_mismatch(seed_, at, bytes))
        FAIL(pattern_diagnose(seed_, at + *bad, bytes.subspan(*bad)));
}

void StreamReader::accept(std::span<const std::byte> bytes) {
    compare(bytes);
    position_ += bytes.size();
}

ssize_t StreamReader::receive_some(std::size_t n, int flags) {
    if (buffer_.size() < n)
        buffer_.resize(n);
    ssize_t got = ::recv(fd_, buffer_.data(), n, flags);
    if (got > 0 && (flags & MSG_PEEK))
        compare(std::span(buffer_).first(static_cast<std::size_t>(got)));
    else if (got > 0)
        accept(std::span(buffer_).first(static_cast<std::size_t>(got)));
    return got;
}

void StreamReader::receive(std::size_t n, std::size_t chunk) {
    for (std::size_t left = n; left > 0;) {
        ssize_t got = SYS(receive_some(std::min(left, chunk)));
        if (got == 0)
            FAIL("end of file at stream offset " + std::to_string(position_) + ", " +
                 std::to_string(left) + " bytes early");
        left -= static_cast<std::size_t>(got);
    }
}

std::uint64_t StreamReader::receive_to_end(std::size_t chunk) {
    std::uint64_t start = position_;
    while (SYS(receive_some(chunk)) > 0) {
    }
    return position_ - start;
}

int StreamReader::receive_to_end_or_reset() {
    for (;;) {
        ssize_t got = receive_some(65536);
        if (got == 0)
            return 0;
        if (got < 0 && errno != EINTR)
            return errno;
    }
}

void StreamReader::expect_end() {
    std::byte more[64];
    ssize_t got = SYS(::recv(fd_, more, sizeof more, 0));
    if (got > 0)
        FAIL(std::to_string(got) + " bytes after the end of the stream, offset " +
             std::to_string(position_));
}

} // namespace xway::test
