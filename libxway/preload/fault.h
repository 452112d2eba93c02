// SPDX-License-Identifier: GPL-2.0-or-later
//
// fault.h - copies from and to the program's buffers, which may be anywhere: EFAULT, not a crash.
#pragma once

#include <cstddef>

#include "sys.h"

namespace xway {

inline constexpr std::size_t kFaultStep = 4096; // bytes; no page is smaller

// A call, whatever the compiler makes of `copy`: it knows of no way from anywhere else to
// __builtin_setjmp().
template <typename Copy>
[[gnu::noinline, gnu::noipa]] void copy_now(Copy& copy) {
    copy();
}

// Runs `copy`. False: it met an address that is not the program's to read or write there. It must
// own nothing that a destructor would have to give back.
template <typename Copy>
[[gnu::noinline]] bool copies(Copy copy) {
    void* back[5];
    if (__builtin_setjmp(back)) {
        thread.fault = nullptr;
        return false;
    }
    thread.fault = back;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    copy_now(copy);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    thread.fault = nullptr;
    return true;
}

// May the program read, or write, `count` objects there? For what the kernel would copy in or out
// as a whole, and the library reads or writes in pieces.
template <typename T>
bool readable(const T* from, std::size_t count = 1) {
    return count == 0 || copies([&] {
               const volatile char* byte = reinterpret_cast<const char*>(from);
               const std::size_t size = sizeof(T) * count;
               for (std::size_t at = 0; at < size; at += kFaultStep)
                   (void)byte[at];
               (void)byte[size - 1];
           });
}

template <typename T>
bool writable(T* to) {
    return copies([&] {
        volatile char* byte = reinterpret_cast<char*>(to);
        // cppcheck-suppress selfAssignment
        byte[0] = byte[0];
        // cppcheck-suppress selfAssignment
        byte[sizeof(T) - 1] = byte[sizeof(T) - 1];
    });
}

} // namespace xway
