// SPDX-License-Identifier: GPL-2.0-or-later
#include "table.h"

#include <stdlib.h>
#include <sys/mman.h>

namespace xway {

Table table;

void table_init() {
    static_assert(sizeof(std::atomic<Entry>) == sizeof(void*));
    void* memory = mmap(nullptr, sizeof(Entry) * kTableSize, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        abort();
    table.entry = static_cast<std::atomic<Entry>*>(memory);
    table.size = kTableSize;
}

Entry table_set(int fd, Entry entry) {
    if (static_cast<unsigned>(fd) >= table.size)
        return {};
    int top = table.top.load(std::memory_order_relaxed);
    while (top <= fd && !table.top.compare_exchange_weak(top, fd + 1)) {
    }
    return table.entry[fd].exchange(entry, std::memory_order_acq_rel);
}

bool table_clear(int fd, Entry entry) {
    return static_cast<unsigned>(fd) < table.size &&
           table.entry[fd].compare_exchange_strong(entry, Entry());
}

} // namespace xway
