/* SPDX-License-Identifier: GPL-2.0 */
/*
 * stream.h - one direction of a connection, as its sender and as its receiver: the bytes are those
 * of pattern.h, so each end needs only to know how far it is.
 */
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace xway::test {

class StreamWriter {
public:
    StreamWriter(int fd, std::uint64_t seed) : fd_(fd), seed_(seed) {}

    /* The next n bytes, not yet sent. */
    [[nodiscard]] std::vector<std::byte> next(std::size_t n) const;
    /* n bytes of next() have been sent by other means. */
    void advance(std::size_t n) { position_ += n; }
    /* Sends n bytes, all of them, by blocking calls. */
    void send(std::size_t n, int flags = 0);
    /* One send() of up to n bytes: its result, or -1 with errno. */
    ssize_t send_some(std::size_t n, int flags = 0);
    /* Sends until the socket, made non-blocking for each call, takes no more: the number of bytes.
     */
    std::size_t fill();

    [[nodiscard]] std::uint64_t position() const { return position_; }
    [[nodiscard]] int fd() const { return fd_; }

private:
    int fd_;
    std::uint64_t seed_;
    std::uint64_t position_ = 0;
};

class StreamReader {
public:
    StreamReader(int fd, std::uint64_t seed) : fd_(fd), seed_(seed) {}

    /* These bytes came: they must be the stream's next ones. */
    void accept(std::span<const std::byte> bytes);
    /* These bytes must be the stream's at position() + ahead; nothing moves. */
    void compare(std::span<const std::byte> bytes, std::uint64_t ahead = 0) const;
    /* n bytes were thrown away unseen. */
    void skip(std::size_t n) { position_ += n; }
    /* Receives exactly n bytes by blocking calls; fails at an early end. */
    void receive(std::size_t n, std::size_t chunk = 65536);
    /* One recv() of up to n bytes: its result, or -1 with errno. What came is checked. */
    ssize_t receive_some(std::size_t n, int flags = 0);
    /* Receives all until end of file. Returns the number of bytes. */
    std::uint64_t receive_to_end(std::size_t chunk = 65536);
    /* Receives until end of file or a reset; returns 0 or the errno. */
    int receive_to_end_or_reset();
    /* The stream must end here. */
    void expect_end();

    [[nodiscard]] std::uint64_t position() const { return position_; }
    [[nodiscard]] int fd() const { return fd_; }

private:
    int fd_;
    std::uint64_t seed_;
    std::uint64_t position_ = 0;
    std::vector<std::byte> buffer_;
};

} // namespace xway::test
