// SPDX-License-Identifier: GPL-2.0-or-later
//
// init.cpp - before the program's main(), and after it.
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "../wire.h"
#include "config.h"
#include "inherit.h"
#include "process.h"
#include "real.h"
#include "signals.h"
#include "table.h"
#include "wrap.h"

namespace xway {

Config config;

namespace {

std::int64_t number(const char* name, std::int64_t otherwise) {
    const char* text = secure_getenv(name);
    if (!text || !*text)
        return otherwise;
    char* end;
    const long long value = strtoll(text, &end, 10);
    return *end == 0 && value >= 0 ? value : otherwise;
}

template <std::size_t size>
void text(const char* name, char (&to)[size]) {
    const char* value = secure_getenv(name);
    if (value && strlen(value) < size)
        strcpy(to, value);
}

// Both sizes are `kib` KiB; what is no size of a ring changes nothing.
void ring_size(std::int64_t kib) {
    for (std::uint32_t order = 0; order <= kOrderMost; order++) {
        if (kib == XWAY_PAGE_SIZE / 1024 << order)
            config.ring_order = config.large_order = order;
    }
}

// The table must be there before any wrapper runs, and those of other libraries' constructors may
// run before ours: the dynamic linker runs this first of all.
[[gnu::constructor(101)]] void begin() {
    static bool done;
    if (done)
        return;
    done = true;
    table_init();
    config_read();
    process_init();
    signals_init();
    inherit();
}

// Bytes that nobody has read when the process ends are told to the peer by a reset, as TCP would.
[[gnu::destructor(101)]] void end() {
    const int top = table.top.load();
    for (int fd = 0; fd < top; fd++) {
        Endpoint* ep = table_endpoint(fd);
        if (ep && ep->attached && ep->refs.load() == process_refs(ep) &&
            rx_unread_by_ring(ep, fd) != 0)
            reset_at_close(fd);
    }
}

} // namespace

void config_read() {
    config.enabled = number("XWAY_ENABLE", 1) != 0;
    config.direct = number("XWAY_DIRECT", 0) != 0;
    const std::int64_t after = number("XWAY_AFTER", -1);
    config.after = after >= 0 ? static_cast<std::uint32_t>(after) : 8;
    config.asks_early = config.direct && after < 0;
    config.flip_ms = static_cast<std::uint32_t>(number("XWAY_FLIP_MS", 0));
    config.spin_ns = number("XWAY_SPIN_US", 50) * 1000;
    ring_size(number("XWAY_RING_KIB", 0));
    text(kWirePathVariable, config.socket);
    text("XDG_RUNTIME_DIR", config.runtime);
}

} // namespace xway
