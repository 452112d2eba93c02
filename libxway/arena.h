// SPDX-License-Identifier: GPL-2.0-or-later
//
// arena.h - the memory that two processes share: 64 slots, one a connection, each with a window of
// 1 MiB for the ring of either direction.
//
// xwayd creates an arena for one pair of processes, seals its size and hands it to exactly these
// two. Both map all of it. A side keeps its own indices in memory of its own (struct xway_tx,
// struct xway_rx) and does not read them back from here, so whatever the peer scribbles changes
// only what the peer gets. The words that are for both to change are few: the cut in head, the
// waits, `news` and `opened`; of these a lie costs a wake-up or the ring. Everything the peer wrote
// is read once, checked, then used.
//
// The order of the shared accesses is that of xway/stream.h: data, then head; marks, then epoch.
// What is added for user space, where no code runs unless a program calls, is the cut: the receiver
// may end the ring period itself, by setting kHeadCut in its peer's head. The sender publishes with
// a compare-and-exchange, so the cut is exact: what was published before belongs to the ring, what
// was not is sent by TCP.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include <xway/abi.h>

namespace xway {

inline constexpr std::uint32_t kArenaMagic = 0x616c7778; // "xwla"
inline constexpr std::uint32_t kArenaVersion = 3;
inline constexpr std::uint32_t kArenaSlots = 64;
inline constexpr std::uint32_t kArenaBells = 4; // doorbells a process may have
inline constexpr std::size_t kCacheLine = 64;

// SlotSide::head. The low half counts the ring bytes ever sent, free-running.
inline constexpr std::uint64_t kHeadCut = 1ull << 32;

// SlotSide::rx_wait, tx_wait: who must be told. Set by the owner before it looks a last time and
// sleeps, taken by its peer, which then wakes what it found, or by xwayd when the peer has died.
// Pairs: set, full fence, look; against publish (a full fence), load, exchange.
inline constexpr std::uint32_t kWaitFutex = 1; // threads sleep on the word itself
inline constexpr std::uint32_t kWaitBell = 2;  // a poll or epoll set wants the owner's doorbell

// SlotSide::flags, said by the owner unless noted, never taken back for this connection.
enum SlotFlags : std::uint32_t {
    kSlotReady = 1,   // the owner knows of the slot: it looks at the ring and may be sent to by it
    kSlotTcpOnly = 2, // send to me by TCP from now on
    kSlotLook = 4,    // TCP has news: the owner has shut its direction down, or closed
    kSlotGone = 8,    // the owner has closed: nobody reads what is sent to it
    kSlotLeft = 16,   // the owner sends by TCP for good; said after its last epoch
    kSlotOnce = 32,   // said by xwayd of the accepting side: not to be opened again
};

// SlotSide::life, said by the owner: how often the connection has been opened, in direct mode, and
// what has become of it this time. All zero, and never changed, where the kernel opens and closes.
inline constexpr std::uint32_t kLifeClosed = 1; // nothing more is sent or read; `end`, `took` stand
constexpr std::uint32_t life_of(std::uint32_t opened, std::uint32_t state) {
    return opened << 1 | state;
}

// One end of a connection. Written by its owner, except where said otherwise.
struct alignas(kCacheLine) SlotSide {
    // The owner as sender; all that a receiver needs for a short message is in this line.
    std::atomic<std::uint64_t> head; // bytes sent; kHeadCut is set by the peer
    std::uint32_t tx_epoch;          // rail switches ever made; odd: the ring rail
    std::uint32_t ack;               // the owner's cons when it last published
    std::uint32_t inline_at;         // index of the first byte of inline_data
    std::uint16_t inline_len;        // bytes of inline_data that stand for the ring's; 0: none
    std::uint16_t cpu;               // where the owner last published
    std::uint8_t inline_data[40];

    xway_mark mark[XWAY_MARKS]; // switch e -> e + 1 is mark[e % XWAY_MARKS]
    std::uint32_t pad0[8];

    // The owner as receiver.
    std::uint32_t cons;     // ring bytes taken
    std::uint32_t rx_epoch; // rail switches followed
    std::uint32_t pad1[14];

    // Rarely written, often read. rx_wait and tx_wait are cleared by the peer.
    std::atomic<std::uint32_t> rx_wait; // wake me when there is more to read
    std::atomic<std::uint32_t> tx_wait; // wake me when there is room again
    std::atomic<std::uint32_t> flags;   // SlotFlags
    std::uint32_t bell;                 // which doorbell of the owner kWaitBell means
    std::atomic<std::uint32_t> life;    // see above; after all that the owner has sent
    std::atomic<std::uint32_t> ticket;  // counts what the owner opens: accepted in that order
    std::atomic<std::uint64_t> end;     // bytes sent on both rails when it was closed
    std::atomic<std::uint64_t> took;    // bytes taken from both rails when it was closed
    std::atomic<std::uint32_t> behind;  // port of one by the kernel that comes first; 0: none
    std::uint32_t pad3[5];

    // For whoever watches (xwayd); the peer has no use for it. Bytes since the connection began.
    std::uint64_t tx_ring, tx_tcp, rx_ring, rx_tcp;
    std::uint32_t why;   // enum xway_why: why the owner sends by TCP
    std::uint32_t order; // of the ring it sends in, log2 of pages
    std::uint32_t pad4[6];
};

struct alignas(2 * kCacheLine) Slot {
    SlotSide side[2];
};

// A doorbell of one side, as its peer rings it: sets the slot's bit, then, if somebody sleeps,
// writes to the eventfd that xwayd has passed to it.
struct alignas(kCacheLine) Bell {
    std::atomic<std::uint64_t> news;     // a bit a slot; set by the peer, taken by the owner
    std::atomic<std::uint32_t> sleepers; // written by the owner
};

struct alignas(2 * kCacheLine) ArenaSide {
    Bell bell[kArenaBells];
    // A bit a slot: the peer has opened the connection again. Set by the peer, taken by the owner.
    alignas(kCacheLine) std::atomic<std::uint64_t> opened;
    std::atomic<std::uint32_t> gone; // written by xwayd: the process has ended
};

struct ArenaHeader {
    std::uint32_t magic;
    std::uint32_t version;
    alignas(2 * kCacheLine) ArenaSide side[2];
};

inline constexpr std::uint32_t kWindowPages = 1u << XWAY_RING_ORDER_MAX;
inline constexpr std::size_t kArenaSlotsAt = XWAY_PAGE_SIZE;
inline constexpr std::size_t kArenaWindowsAt =
    (kArenaSlotsAt + kArenaSlots * sizeof(Slot) + XWAY_PAGE_SIZE - 1) / XWAY_PAGE_SIZE *
    XWAY_PAGE_SIZE;
inline constexpr std::uint32_t kArenaPages =
    kArenaWindowsAt / XWAY_PAGE_SIZE + kArenaSlots * 2 * kWindowPages;
inline constexpr std::size_t kArenaBytes = std::size_t{kArenaPages} * XWAY_PAGE_SIZE;

static_assert(sizeof(SlotSide) == 5 * kCacheLine);
static_assert(sizeof(ArenaHeader) <= XWAY_PAGE_SIZE);
static_assert(kArenaPages <= 0x10000, "a ring descriptor has 16 bits for its first page");
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

// The first page of the ring in which `side` of slot `slot` sends.
constexpr std::uint32_t window_page(std::uint32_t slot, std::uint32_t side) {
    return static_cast<std::uint32_t>(kArenaWindowsAt / XWAY_PAGE_SIZE) +
           (slot * 2 + side) * kWindowPages;
}

// A mapping of an arena. Owns nothing.
struct ArenaView {
    std::uint8_t* base = nullptr;

    [[nodiscard]] ArenaHeader* header() const { return reinterpret_cast<ArenaHeader*>(base); }
    [[nodiscard]] Slot* slot(std::uint32_t index) const {
        return reinterpret_cast<Slot*>(base + kArenaSlotsAt) + index;
    }
    [[nodiscard]] std::uint8_t* page(std::uint32_t index) const {
        return &base[std::size_t{index} * XWAY_PAGE_SIZE];
    }
};

} // namespace xway
