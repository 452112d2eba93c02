/* SPDX-License-Identifier: GPL-2.0 */
/* cliff.h - memory behind which there is none: what begins before the edge and goes on is a fault.
 */
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "check.h"

namespace xway::test {

class Cliff {
public:
    explicit Cliff(std::size_t pages) : size_(pages * page()) {
        void* all = mmap(nullptr, size_ + page(), PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(all != MAP_FAILED);
        base_ = static_cast<std::byte*>(all);
        SYS(mprotect(base_ + size_, page(), PROT_NONE));
    }
    Cliff(const Cliff&) = delete;
    Cliff& operator=(const Cliff&) = delete;
    ~Cliff() { munmap(base_, size_ + page()); }

    /* The last n bytes before the edge. */
    [[nodiscard]] std::byte* last(std::size_t n) const { return base_ + size_ - n; }
    /* Puts bytes right before the edge, and returns where they begin. */
    std::byte* put(std::span<const std::byte> bytes) {
        std::memcpy(last(bytes.size()), bytes.data(), bytes.size());
        return last(bytes.size());
    }
    static std::size_t page() { return static_cast<std::size_t>(sysconf(_SC_PAGESIZE)); }

private:
    std::size_t size_;
    std::byte* base_;
};

/* An address where a program has nothing; the compiler is not told. */
template <typename T>
T* nowhere() {
    volatile std::uintptr_t address = 16;
    return reinterpret_cast<T*>(address);
}

} // namespace xway::test
