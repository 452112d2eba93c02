// SPDX-License-Identifier: GPL-2.0-or-later
//
// cursor.h - a place in a program's buffers.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <cstring>

#include "sys.h"

namespace xway {

// Walks over an iovec array that it does not change.
class Cursor {
public:
    static constexpr int kParts = 16; // pieces that slice() may give

    Cursor(const iovec* iov, int count) : iov_(iov), end_(iov + count) {
        for (const iovec* part = iov; part != end_; part++)
            left_ += part->iov_len;
        settle();
    }

    [[nodiscard]] std::size_t left() const { return left_; }

    // Into the buffers, `bytes` <= left().
    void put(const std::uint8_t* from, std::size_t bytes, bool discard) {
        while (bytes > 0) {
            const std::size_t now = here(bytes);
            if (!discard)
                memcpy(at(), from, now);
            from += now;
            bytes -= now;
            advance(now);
        }
    }

    // Out of the buffers, `bytes` <= left().
    void get(std::uint8_t* to, std::size_t bytes) {
        while (bytes > 0) {
            const std::size_t now = here(bytes);
            memcpy(to, at(), now);
            to += now;
            bytes -= now;
            advance(now);
        }
    }

    // At most `most` bytes from here, as an iovec array of at most kParts; the number of parts.
    int slice(iovec* parts, std::size_t most) const {
        int count = 0;
        std::size_t offset = offset_;
        for (const iovec* part = iov_; part != end_ && count < kParts && most > 0; part++) {
            const std::size_t size = part->iov_len - offset;
            const std::size_t now = size < most ? size : most;
            if (now > 0)
                parts[count++] = {static_cast<char*>(part->iov_base) + offset, now};
            most -= now;
            offset = 0;
        }
        return count;
    }

    void skip(std::size_t bytes) {
        while (bytes > 0 && iov_ != end_) {
            const std::size_t now = here(bytes);
            bytes -= now;
            advance(now);
        }
    }

private:
    [[nodiscard]] char* at() const { return static_cast<char*>(iov_->iov_base) + offset_; }
    [[nodiscard]] std::size_t here(std::size_t most) const {
        const std::size_t size = iov_->iov_len - offset_;
        return size < most ? size : most;
    }
    void advance(std::size_t bytes) {
        offset_ += bytes;
        left_ -= bytes;
        settle();
    }
    void settle() {
        while (iov_ != end_ && offset_ == iov_->iov_len) {
            iov_++;
            offset_ = 0;
        }
    }

    const iovec* iov_;
    const iovec* end_;
    std::size_t offset_ = 0;
    std::size_t left_ = 0;
};

} // namespace xway
