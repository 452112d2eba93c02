// SPDX-License-Identifier: GPL-2.0-or-later
//
// queue.h - requests to xwayd that need no descriptor passed, by shared memory instead of a socket.
//
// DOC: Theory of operation
//
// A bounded ring of cells (D. Vyukov's). A producer claims a place by moving `tail`, writes the
// cell, and publishes it by the cell's own sequence; the one consumer, xwayd, looks at nothing but
// the sequence of the cell that is next. So producers wait for nobody, and what they scribble into
// `tail` xwayd does not read, but for noticing a cell that is never finished.
//
// A cell is free for place p when its sequence is p, published when it is p + 1, and free for the
// next round when it is p + kQueueCells. What is stored is the sequence minus the cell's index, so
// that new memory, all zero, is an empty queue.
//
// Before xwayd sleeps it sets `sleeping` and looks again; a producer publishes, and looks whether
// it sleeps. Both have a full fence in between, so one of them sees the other.
//
// Limits: a producer that is stopped between claim and publication blocks those behind it. xwayd
// gives such a queue up after a while, and its producers use the socket.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "wire.h"

namespace xway {

inline constexpr std::uint32_t kQueueCells = 1024;
static_assert((kQueueCells & (kQueueCells - 1)) == 0);

// What a message on the socket says by itself: who sends it, and which socket is registered.
struct QueueEntry {
    std::uint64_t client; // as kWelcome has named it
    std::uint64_t cookie; // kRegister: SO_COOKIE of the socket whose descriptor is msg.arg
    WireMsg msg;
};

struct alignas(128) QueueCell {
    std::atomic<std::uint64_t> sequence; // minus the index. Written by its producer, then by xwayd
    QueueEntry entry;                    // written by its producer
};
static_assert(sizeof(QueueCell) == 128);

struct QueueMemory {
    alignas(64) std::atomic<std::uint64_t> tail;     // places ever claimed; written by producers
    alignas(64) std::atomic<std::uint32_t> sleeping; // set by xwayd, taken by who wakes it
    std::atomic<std::uint32_t> given_up;             // written by xwayd: nobody reads it any more
    alignas(128) QueueCell cell[kQueueCells];
};

inline constexpr std::size_t kQueueBytes = (sizeof(QueueMemory) + 4095) / 4096 * 4096;

enum class QueuePut {
    done,
    wake, // done, and xwayd sleeps: write to the eventfd
    full, // or given up: use the socket
};

// `alone`: no other thread or process puts anything into this queue.
inline QueuePut queue_put(QueueMemory& queue, const QueueEntry& entry, bool alone) {
    // Others of this user could keep it going for ever.
    constexpr unsigned kTries = 1000;
    std::uint64_t place = queue.tail.load(std::memory_order_relaxed);
    if (queue.given_up.load(std::memory_order_relaxed) != 0)
        return QueuePut::full;
    for (unsigned i = 0; i < kTries; ++i) {
        const std::uint64_t index = place % kQueueCells;
        QueueCell& cell = queue.cell[index];
        // Pairs with take(): the cell is free, and xwayd has read what was in it.
        const std::uint64_t sequence = cell.sequence.load(std::memory_order_acquire) + index;
        if (sequence != place) {
            const std::uint64_t now = queue.tail.load(std::memory_order_relaxed);
            if (now == place)
                return QueuePut::full;
            place = now;
            continue;
        }
        if (alone)
            queue.tail.store(place + 1, std::memory_order_relaxed);
        else if (!queue.tail.compare_exchange_weak(place, place + 1, std::memory_order_relaxed))
            continue;
        cell.entry = entry;
        // Pairs with take().
        cell.sequence.store(place + 1 - index, std::memory_order_release);
        // Pairs with try_sleep().
        std::atomic_thread_fence(std::memory_order_seq_cst);
        const bool sleeps = queue.sleeping.load(std::memory_order_relaxed) != 0 &&
                            queue.sleeping.exchange(0, std::memory_order_relaxed) != 0;
        return sleeps ? QueuePut::wake : QueuePut::done;
    }
    return QueuePut::full;
}

// The consuming end. What it knows of the queue is in memory of its own.
class QueueReader {
public:
    explicit QueueReader(QueueMemory& queue) : queue_(&queue) {}

    [[nodiscard]] bool is_ready() const {
        const std::uint64_t index = next_ % kQueueCells;
        return queue_->cell[index].sequence.load(std::memory_order_acquire) + index == next_ + 1;
    }

    // False: nothing is there, or what comes next is not finished.
    bool take(QueueEntry& entry) {
        if (!is_ready())
            return false;
        copy_once(entry);
        free_next();
        return true;
    }

    // False: something has come.
    bool try_sleep() {
        queue_->sleeping.store(1, std::memory_order_relaxed);
        // Pairs with queue_put().
        std::atomic_thread_fence(std::memory_order_seq_cst);
        if (!is_ready())
            return true;
        queue_->sleeping.store(0, std::memory_order_relaxed);
        return false;
    }
    void wake() { queue_->sleeping.store(0, std::memory_order_relaxed); }

    // Somebody has claimed the next place, and has not finished.
    [[nodiscard]] bool is_behind() const {
        return queue_->tail.load(std::memory_order_relaxed) != next_ && !is_ready();
    }
    [[nodiscard]] std::uint64_t taken() const { return next_; }

    // Nobody is to put anything into it.
    void give_up() { queue_->given_up.store(1, std::memory_order_relaxed); }
    // Of a queue that is given up: leaves out what is not finished. False: nothing is left.
    bool take_rest(QueueEntry& entry) {
        while (left_ > 0) {
            --left_;
            if (take(entry))
                return true;
            ++next_;
        }
        return false;
    }

private:
    // Word by word: the producer may be changing it, and what is checked must be what is used.
    void copy_once(QueueEntry& entry) const {
        std::uint64_t words[sizeof(QueueEntry) / sizeof(std::uint64_t)] = {};
        static_assert(sizeof(words) == sizeof(QueueEntry));
        const auto* from =
            reinterpret_cast<const std::uint64_t*>(&queue_->cell[next_ % kQueueCells].entry);
        for (std::uint64_t& word : words)
            word = __atomic_load_n(from++, __ATOMIC_RELAXED);
        std::memcpy(&entry, words, sizeof(entry));
    }
    void free_next() {
        const std::uint64_t index = next_ % kQueueCells;
        // Pairs with queue_put().
        queue_->cell[index].sequence.store(next_ + kQueueCells - index, std::memory_order_release);
        ++next_;
    }

    QueueMemory* queue_;
    std::uint64_t next_ = 0; // the place that is read next
    std::uint32_t left_ = kQueueCells;
};

} // namespace xway
