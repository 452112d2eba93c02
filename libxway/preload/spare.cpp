// SPDX-License-Identifier: GPL-2.0-or-later
#include "spare.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <new>

#include "lock.h"
#include "process.h"
#include "real.h"

namespace xway {

namespace {

constexpr std::uint32_t kSpares = 64;

struct Spare {
    int hidden = -1; // -1: there is none here
    int domain = 0;
    bool nonblock = false; // as the description is now
    bool used = false;     // a descriptor of the program's leads to it
};
Lock lock;
Spare spares[kSpares];

std::uintptr_t bits_of(int type) {
    return Entry::kSpare | (type & SOCK_NONBLOCK ? Entry::kNonblock : 0) |
           (type & SOCK_CLOEXEC ? Entry::kCloexec : 0);
}

void set_nonblock(Spare& spare, bool nonblock) {
    if (spare.nonblock == nonblock)
        return;
    real.fcntl(spare.hidden, F_SETFL,
               reinterpret_cast<void*>(std::intptr_t{nonblock ? O_NONBLOCK : 0}));
    spare.nonblock = nonblock;
}

Spare* spare_of(Entry entry) {
    return entry.has(Entry::kSpare) ? &spares[entry.number() % kSpares] : nullptr;
}

} // namespace

int spare_take(int domain, int type) {
    const KeepErrno keep;
    const Guard guard(lock);
    for (std::uint32_t i = 0; i < kSpares; i++) {
        Spare& spare = spares[i];
        if (spare.hidden < 0 || spare.used || spare.domain != domain)
            continue;
        const int fd =
            real.fcntl(spare.hidden, type & SOCK_CLOEXEC ? F_DUPFD_CLOEXEC : F_DUPFD, nullptr);
        if (fd < 0)
            return -1;
        set_nonblock(spare, (type & SOCK_NONBLOCK) != 0);
        spare.used = true;
        table_set(fd, Entry::socket(bits_of(type), i));
        return fd;
    }
    return -1;
}

Entry spare_adopt(int fd, int domain, int type) {
    const KeepErrno keep;
    const Guard guard(lock);
    for (std::uint32_t i = 0; i < kSpares; i++) {
        if (spares[i].hidden >= 0)
            continue;
        const int hidden = process_hide_copy(fd);
        if (hidden < 0)
            break;
        spares[i] = {hidden, domain, (type & SOCK_NONBLOCK) != 0, true};
        return Entry::socket(bits_of(type), i);
    }
    return Entry::socket(bits_of(type) & ~Entry::kSpare);
}

void spare_back(Entry entry) {
    const Guard guard(lock);
    if (Spare* spare = spare_of(entry)) {
        spare->nonblock = entry.nonblock();
        spare->used = false;
    }
}

Entry spare_spent(Entry entry) {
    const KeepErrno keep;
    const Guard guard(lock);
    Spare* spare = spare_of(entry);
    if (!spare)
        return entry;
    process_unhide(spare->hidden);
    *spare = Spare();
    return entry.with(Entry::kSpare | ~std::uintptr_t{0xffff}, false);
}

void spare_before_fork() {
    const int top = table.top.load();
    for (int fd = 0; fd < top; fd++) {
        const Entry entry = table_get(fd);
        if (entry.has(Entry::kSpare))
            table_set(fd, spare_spent(entry));
    }
    lock.lock();
}

void spare_after_fork() {
    lock.unlock();
}

void spare_forked() {
    new (&lock) Lock();
    for (Spare& spare : spares) {
        if (spare.hidden >= 0)
            process_unhide(spare.hidden);
        spare = Spare();
    }
}

} // namespace xway
