// SPDX-License-Identifier: GPL-2.0-or-later
//
// fault.h - copies from and to the program's buffers, which may be anywhere: EFAULT, not a crash.
#pragma once

#include "sys.h"

namespace xway {

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
    copy();
    std::atomic_signal_fence(std::memory_order_seq_cst);
    thread.fault = nullptr;
    return true;
}

} // namespace xway
