// SPDX-License-Identifier: GPL-2.0-or-later
//
// shared_memory.h - sealed memory, and mappings of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "result.h"
#include "unique_fd.h"

namespace xway {

// A descriptor that waits in queues of several clients.
using SharedFd = std::shared_ptr<const UniqueFd>;

inline SharedFd share(UniqueFd fd) {
    return std::make_shared<const UniqueFd>(std::move(fd));
}

// Shared and writable, unmapped once.
class Mapping {
public:
    Mapping() = default;
    Mapping(Mapping&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
    Mapping& operator=(Mapping&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        return *this;
    }
    ~Mapping();

    static Result<Mapping> of(int fd, std::size_t size);

    [[nodiscard]] std::uint8_t* data() const { return static_cast<std::uint8_t*>(data_); }
    [[nodiscard]] std::size_t size() const { return size_; }

private:
    Mapping(void* data, std::size_t size) : data_(data), size_(size) {}

    void* data_ = nullptr;
    std::size_t size_ = 0;
};

// Memory of this size, zeroed, that nobody can open anew but its owner. Not sealed yet.
Result<UniqueFd> make_memory(const char* name, std::size_t size);

// Its size is final, and so are its seals. A reader's memory can be written only by mappings that
// are there already.
enum class Sealed { for_writers, for_readers };
Result<void> seal_memory(int fd, Sealed how);

} // namespace xway
