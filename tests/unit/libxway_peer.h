// SPDX-License-Identifier: GPL-2.0-or-later
//
// libxway_peer.h - a peer that need not keep to anything, and the arena it shares with its victim.
//
// Both are in this process, with a mapping each. The victim's lies between pages that nobody may
// touch; so are, in it, the windows of all other slots, and its peer's is read-only. A copy that
// leaves its window is a fault, which the library reports as EFAULT. As no buffer here is bad,
// EFAULT is a failure.
#pragma once

#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "endpoint.h"

namespace xway::test {

inline constexpr std::uint32_t kSlot = 5, kSide = 0;
inline constexpr std::uint32_t kOrder = 4; // of rings, unless said otherwise: 64 KiB

class Arena {
public:
    Arena() : file_(memfd_create("hostile", MFD_CLOEXEC)) {
        EXPECT_EQ(ftruncate(file_, kArenaBytes), 0);
        peer.base = static_cast<std::uint8_t*>(
            mmap(nullptr, kArenaBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file_, 0));
        auto* space = static_cast<std::uint8_t*>(
            mmap(nullptr, kArenaBytes + 2 * kGuard, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        victim.base = space + kGuard;
        mmap(victim.base, kArenaBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file_, 0);
        close_windows();
    }
    ~Arena() {
        munmap(victim.base - kGuard, kArenaBytes + 2 * kGuard);
        munmap(peer.base, kArenaBytes);
        ::close(file_);
    }
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;

    ArenaView victim, peer;

private:
    static constexpr std::size_t kGuard = 64 * XWAY_PAGE_SIZE;
    static constexpr std::size_t kWindow = std::size_t{kWindowPages} * XWAY_PAGE_SIZE;

    void close_windows() {
        for (std::uint32_t slot = 0; slot < kArenaSlots; slot++) {
            for (std::uint32_t side = 0; side < 2; side++) {
                const int access = slot != kSlot   ? PROT_NONE
                                   : side == kSide ? PROT_READ | PROT_WRITE
                                                   : PROT_READ;
                EXPECT_EQ(mprotect(victim.page(window_page(slot, side)), kWindow, access), 0);
            }
        }
        // Slots share pages; those of none but strangers are closed as well.
        std::uint8_t* mine = reinterpret_cast<std::uint8_t*>(victim.slot(kSlot));
        auto* from = victim.base + kArenaSlotsAt;
        for (auto* page = from; page < victim.base + kArenaWindowsAt; page += XWAY_PAGE_SIZE) {
            if (page + XWAY_PAGE_SIZE <= mine || page >= mine + sizeof(Slot))
                mprotect(page, XWAY_PAGE_SIZE, PROT_NONE);
        }
    }

    int file_;
};

// The other end. It can do all that the protocol asks for, and need not.
class Peer {
public:
    Peer(Arena& arena, int fd) : arena_(arena), fd_(fd) { mine().flags.fetch_or(kSlotReady); }
    ~Peer() { hang_up(); }
    Peer(const Peer&) = delete;
    Peer& operator=(const Peer&) = delete;

    SlotSide& mine() { return arena_.peer.slot(kSlot)->side[kSide ^ 1]; }
    SlotSide& victims() { return arena_.peer.slot(kSlot)->side[kSide]; }
    ArenaHeader& header() { return *arena_.peer.header(); }
    [[nodiscard]] int fd() const { return fd_; }
    [[nodiscard]] std::uint32_t sent_by_tcp() const { return sent_by_tcp_; }

    static std::uint32_t ring(std::uint32_t order = kOrder) {
        return xway_ring_desc(window_page(kSlot, kSide ^ 1), order);
    }

    // One switch, whatever it says.
    void switch_to(std::uint32_t at, std::uint32_t ring_desc) {
        xway_mark& mark = mine().mark[tx.epoch % XWAY_MARKS];
        xway_store(&mark.at, at);
        xway_store(&mark.ring, ring_desc);
        tx.mark[tx.epoch % XWAY_MARKS] = {at, ring_desc};
        tx.epoch++;
        xway_store_release(&mine().tx_epoch, tx.epoch);
    }
    void to_ring(std::uint32_t order = kOrder) { switch_to(sent_by_tcp_, ring(order)); }
    void to_tcp() { switch_to(tx.prod, 0); }

    void send_ring(std::uint32_t bytes) {
        const std::uint32_t size = std::min(xway_ring_size(xway_tx_ring(&tx)), 1u << 20);
        std::uint8_t* window = arena_.peer.page(window_page(kSlot, kSide ^ 1));
        for (std::uint32_t i = 0; i < bytes; i++)
            window[(tx.prod + i) & (size - 1)] = (tx.prod + i) & 0x7f;
        tx.prod += bytes;
        mine().head.store(tx.prod);
    }
    void send_tcp(std::uint32_t bytes, int flags = 0) {
        const std::vector<std::uint8_t> data(bytes, 0x55);
        const ssize_t sent = ::send(fd_, data.data(), bytes, MSG_DONTWAIT | MSG_NOSIGNAL | flags);
        sent_by_tcp_ += sent > 0 ? static_cast<std::uint32_t>(sent) : 0;
    }
    void drain_tcp() {
        char bytes[16384];
        while (::recv(fd_, bytes, sizeof(bytes), MSG_DONTWAIT) > 0) {
        }
    }
    // Has read all that there is and followed all there was.
    void follow() {
        xway_store_release(&mine().cons, static_cast<std::uint32_t>(victims().head.load()));
        xway_store_release(&mine().rx_epoch, xway_load_acquire(&victims().tx_epoch));
    }
    void reset() {
        const linger now{1, 0};
        setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
        hang_up();
    }
    void hang_up() {
        if (const int fd = std::exchange(fd_, -1); fd >= 0)
            ::close(fd);
    }

    xway_tx tx = {};

private:
    Arena& arena_;
    int fd_;
    std::uint32_t sent_by_tcp_ = 0;
};

// Two ends of a TCP connection.
inline std::pair<int, int> tcp_pair() {
    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* name = reinterpret_cast<sockaddr*>(&address);
    const int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT_EQ(bind(listener, name, size) | listen(listener, 1) | getsockname(listener, name, &size),
              0);
    EXPECT_EQ(connect(client, name, size), 0);
    const int server = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    ::close(listener);
    return {client, server};
}

} // namespace xway::test
