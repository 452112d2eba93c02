// SPDX-License-Identifier: GPL-2.0-or-later
//
// table.h - what the library knows of a descriptor.
//
// The kernel's table is the truth: an entry here only says what more there is to a number. Entries
// are copied by fork, as descriptors are.
#pragma once

#include <atomic>
#include <cstdint>

#include "endpoint.h"

namespace xway {

struct EpollSet;

// One word: nothing, or a pointer with what it points to in its low bits.
class Entry {
public:
    enum class Kind : std::uintptr_t { kEndpoint = 0, kEpoll = 1, kSocket = 2, kHidden = 3 };

    constexpr Entry() = default;
    static Entry of(Endpoint* ep) { return Entry(reinterpret_cast<std::uintptr_t>(ep)); }
    static Entry of(EpollSet* set) { return Entry(reinterpret_cast<std::uintptr_t>(set) | 1); }
    // A TCP socket that is not connected. What else is known of it: kNonblock..., a number below
    // 2^16.
    static constexpr std::uintptr_t kNonblock = 4, kCloexec = 8;
    static constexpr std::uintptr_t kTouched = 16;  // not as socket() made it
    static constexpr std::uintptr_t kListener = 32; // number: listener_at(); see direct.h
    static constexpr std::uintptr_t kSpare = 64;    // number: of the spare; see spare.h
    static constexpr std::uintptr_t kParents = 4;   // of a hidden one
    static Entry socket(std::uintptr_t bits, std::uint32_t number = 0) {
        return Entry(2 | bits | std::uintptr_t{number} << 16);
    }
    // The same socket with `bits` set or cleared.
    [[nodiscard]] Entry with(std::uintptr_t bits, bool set) const {
        return Entry(set ? word_ | bits : word_ & ~bits);
    }
    // A descriptor of the library's own; `parents`: one that a child of fork() does not keep.
    static Entry hidden(bool parents = false) { return Entry(3 | (parents ? kParents : 0)); }

    [[nodiscard]] bool empty() const { return word_ == 0; }
    [[nodiscard]] Kind kind() const { return static_cast<Kind>(word_ & 3); }
    [[nodiscard]] Endpoint* endpoint() const {
        return kind() == Kind::kEndpoint ? reinterpret_cast<Endpoint*>(word_) : nullptr;
    }
    [[nodiscard]] EpollSet* epoll() const {
        return kind() == Kind::kEpoll ? reinterpret_cast<EpollSet*>(word_ & ~std::uintptr_t{3})
                                      : nullptr;
    }
    [[nodiscard]] bool is_socket() const { return kind() == Kind::kSocket; }
    [[nodiscard]] bool is_hidden() const { return kind() == Kind::kHidden; }
    [[nodiscard]] bool is_parents() const { return is_hidden() && (word_ & kParents) != 0; }
    [[nodiscard]] bool has(std::uintptr_t bit) const { return is_socket() && (word_ & bit) != 0; }
    [[nodiscard]] std::uint32_t number() const { return static_cast<std::uint32_t>(word_ >> 16); }
    [[nodiscard]] bool nonblock() const { return has(kNonblock); }

private:
    explicit constexpr Entry(std::uintptr_t word) : word_(word) {}
    std::uintptr_t word_ = 0;
};

inline constexpr int kTableSize = 1 << 20; // larger numbers are left to the kernel

struct Table {
    std::atomic<Entry>* entry; // zero at first
    unsigned size;             // of it; 0 until the library is set up: calls come before that
    std::atomic<int> top;      // above all entries in use
};
extern Table table;

void table_init();

inline Entry table_get(int fd) {
    if (static_cast<unsigned>(fd) >= table.size) [[unlikely]]
        return {};
    return table.entry[fd].load(std::memory_order_acquire);
}
inline Endpoint* table_endpoint(int fd) {
    return table_get(fd).endpoint();
}
// Puts `entry` in the place of `fd`; what was there before.
Entry table_set(int fd, Entry entry);
// Forgets `fd` if it still is `entry`.
bool table_clear(int fd, Entry entry);

} // namespace xway
