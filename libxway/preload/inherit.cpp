// SPDX-License-Identifier: GPL-2.0-or-later
#include "inherit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <new>

#include "listener.h"
#include "process.h"
#include "real.h"
#include "table.h"
#include "wrap.h"

namespace xway {

namespace {

constexpr char kVariable[] = "XWAY_INHERIT";
constexpr char kLibrary[] = "libxway";
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW;
constexpr int kPatience = 500; // ms for the other side of a fork to close its copy

bool is(const char* entry, const char* name) {
    const std::size_t length = strlen(name);
    return strncmp(entry, name, length) == 0 && entry[length] == '=';
}

std::uint8_t* map(int file) {
    void* base =
        mmap(nullptr, kArenaBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file, 0);
    return base == MAP_FAILED ? nullptr : static_cast<std::uint8_t*>(base);
}

} // namespace

// An arena in which a peer has sent what is left by ring, and has gone to TCP after.
int left_pack(Endpoint* ep, int fd, const char* name) {
    const std::size_t left = endpoint_left_over(ep, fd);
    const int file =
        left <= kWindowPages * XWAY_PAGE_SIZE ? memfd_create(name, MFD_ALLOW_SEALING) : -1;
    if (file < 0)
        return -1;
    std::uint8_t* base = ftruncate(file, kArenaBytes) == 0 &&
                                 real.fcntl(file, F_ADD_SEALS, reinterpret_cast<void*>(kSeals)) == 0
                             ? map(file)
                             : nullptr;
    if (!base) {
        real.close(file);
        return -1;
    }
    const ArenaView view{base};
    const std::uint32_t first = window_page(0, 1);
    std::uint32_t packed = 0;
    while (packed < left) {
        const iovec part{view.page(first) + packed, left - packed};
        const ssize_t got = endpoint_recv(ep, fd, &part, 1, MSG_DONTWAIT);
        if (got <= 0)
            break;
        packed += static_cast<std::uint32_t>(got);
    }
    view.header()->magic = kArenaMagic;
    view.header()->version = kArenaVersion;
    SlotSide* peer = &view.slot(0)->side[1];
    peer->head = packed;
    peer->mark[0] = {0, xway_ring_desc(first, XWAY_RING_ORDER_MAX)};
    peer->mark[1] = {packed, 0};
    peer->tx_epoch = 2;
    peer->flags = kSlotReady | kSlotTcpOnly | kSlotLeft;
    munmap(base, kArenaBytes);
    return file;
}

bool left_unpack(int fd, int file) {
    struct stat status;
    const bool good = fstat(file, &status) == 0 &&
                      status.st_size == static_cast<off_t>(kArenaBytes) &&
                      (real.fcntl(file, F_GET_SEALS, nullptr) & kSeals) == kSeals;
    std::uint8_t* base = good ? map(file) : nullptr;
    real.close(file);
    void* memory =
        mmap(nullptr, sizeof(ArenaMap), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const int flags = real.fcntl(fd, F_GETFL, nullptr);
    Endpoint* ep = base && memory != MAP_FAILED && flags >= 0
                       ? endpoint_new((flags & O_NONBLOCK) != 0)
                       : nullptr;
    if (!ep)
        return false;
    ArenaMap* arena = new (memory) ArenaMap{};
    arena->view.base = base;
    endpoint_take_up(ep, arena);
    table_set(fd, Entry::of(ep));
    return true;
}

void left_take_back(int fd, int file) {
    Endpoint* ep = table_endpoint(fd);
    const Closing closing = ep ? endpoint_close(ep, fd) : Closing{};
    left_unpack(fd, file);
    endpoint_closed(closing);
}

void left_lost(int fd) {
    sockaddr nobody{};
    nobody.sa_family = AF_UNSPEC;
    real.connect(fd, &nobody, sizeof(nobody));
}

bool left_is_ours(const Endpoint* ep, int fd) {
    for (int i = 0; i < kPatience && ep->refs.load() != process_refs(ep); i++) {
        const timespec step{0, 1'000'000};
        nanosleep(&step, nullptr);
    }
    // A program that is given a connection as its standard input is meant to read it.
    return ep->refs.load() == process_refs(ep) || fd <= 2;
}

void hand_over(int fd) {
    Endpoint* ep = table_endpoint(fd);
    if (!ep)
        return;
    const KeepErrno keep;
    endpoint_to_tcp(ep, XWAY_WHY_PEER_REFUSED);
    if (endpoint_left_over(ep, fd) > 0 && ep->refs.load() == process_refs(ep))
        left_lost(fd);
}

void share_by_spawn() {
    const KeepErrno keep;
    const int top = table.top.load();
    for (int fd = 0; fd < top; fd++) {
        Endpoint* ep = table_endpoint(fd);
        Listener* listener = listener_of(fd);
        if ((!ep && !listener) || real.fcntl(fd, F_GETFD, nullptr) & FD_CLOEXEC)
            continue;
        if (listener)
            listener_stop(listener);
        else
            endpoint_to_tcp(ep, XWAY_WHY_PEER_REFUSED);
    }
}

Inheritance::Inheritance(char* const* environment) : environment_(environment) {
    for (char* const* entry = environment; entry && *entry; entry++) {
        if (is(*entry, "LD_PRELOAD") && strstr(*entry, kLibrary))
            followed_ = true;
    }
    const int top = table.top.load();
    for (int fd = 0; fd < top; fd++) {
        Listener* listener = listener_of(fd);
        if ((!table_endpoint(fd) && !listener) || real.fcntl(fd, F_GETFD, nullptr) & FD_CLOEXEC)
            continue;
        if (listener)
            listener_stop(listener);
        else
            prepare(fd);
    }
    if (count_ > 0)
        tell(environment);
}

void Inheritance::prepare(int fd) {
    Endpoint* ep = table_endpoint(fd);
    endpoint_to_tcp(ep, XWAY_WHY_PEER_REFUSED);
    if (endpoint_left_over(ep, fd) == 0 || !left_is_ours(ep, fd))
        return;
    const int file = followed_ && count_ < kMost ? left_pack(ep, fd, "xway-left") : -1;
    if (file < 0)
        left_lost(fd);
    else
        left_[count_++] = {fd, file};
}

void Inheritance::tell(char* const* environment) {
    std::size_t entries = 0;
    while (environment[entries])
        entries++;
    copy_ = static_cast<char**>(malloc((entries + 2) * sizeof(char*)));
    if (!copy_)
        return;
    memcpy(copy_, environment, entries * sizeof(char*));
    int length = snprintf(text_, sizeof(text_), "%s=", kVariable);
    for (int i = 0; i < count_; i++)
        length += snprintf(text_ + length, sizeof(text_) - static_cast<std::size_t>(length),
                           "%d:%d,", left_[i].fd, left_[i].file);
    copy_[entries] = text_;
    copy_[entries + 1] = nullptr;
    environment_ = copy_;
}

Inheritance::~Inheritance() {
    const KeepErrno keep;
    for (int i = 0; i < count_; i++)
        left_take_back(left_[i].fd, left_[i].file);
    free(copy_);
}

void inherit() {
    const char* text = secure_getenv(kVariable);
    for (int fd, file, used; text && sscanf(text, "%d:%d,%n", &fd, &file, &used) == 2; text += used)
        left_unpack(fd, file);
    unsetenv(kVariable);
}

} // namespace xway
