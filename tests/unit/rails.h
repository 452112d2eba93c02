/* SPDX-License-Identifier: GPL-2.0 */
/*
 * rails.h - both rails of one direction in plain memory, and the two ends that use them.
 *
 * TcpRail stands for TCP: bytes in order, arriving late. Arena and Shared stand for the granted
 * region. Sender and Receiver do what a socket does with include/xway/stream.h and nothing else;
 * byte k of every stream is stream_byte(k), so a receiver knows what it must find.
 *
 * One thread may drive both ends, or one thread each. The ring's memory is touched without any
 * lock or atomic: that the indices order it is what ThreadSanitizer is to confirm.
 */
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <string>
#include <vector>

#include <xway/stream.h>

namespace xway::test {

using Rng = std::mt19937_64;

inline uint32_t below(Rng& rng, uint32_t limit) {
    return static_cast<uint32_t>(rng() % limit);
}

inline uint8_t stream_byte(uint64_t k) {
    return static_cast<uint8_t>((k * 0x9e3779b97f4a7c15u) >> 56);
}

/* One producer, one consumer; the network is what the consumer lets arrive. */
class TcpRail {
public:
    explicit TcpRail(uint32_t isn) : isn_(isn), bytes_(kCapacity) {}

    /* The sender's end. */
    uint32_t write_seq() const { return isn_ + static_cast<uint32_t>(sent_.load()); }
    size_t send(std::span<const uint8_t> bytes) {
        uint64_t sent = sent_.load(std::memory_order_relaxed);
        size_t room = kCapacity - (sent - taken_.load(std::memory_order_acquire));
        size_t len = std::min(room, bytes.size());
        for (size_t i = 0; i < len; i++)
            bytes_[(sent + i) % kCapacity] = bytes[i];
        sent_.store(sent + len, std::memory_order_release);
        return len;
    }

    /* The receiver's end. */
    void arrive(uint64_t most) {
        uint64_t sent = sent_.load(std::memory_order_acquire);
        arrived_ = std::min(sent, arrived_ + most);
    }
    uint32_t rcv_nxt() const { return isn_ + static_cast<uint32_t>(arrived_); }
    uint32_t copied_seq() const {
        return isn_ + static_cast<uint32_t>(taken_.load(std::memory_order_relaxed));
    }
    void take(std::span<uint8_t> bytes) {
        uint64_t taken = taken_.load(std::memory_order_relaxed);
        for (size_t i = 0; i < bytes.size(); i++)
            bytes[i] = bytes_[(taken + i) % kCapacity];
        taken_.store(taken + bytes.size(), std::memory_order_release);
    }

private:
    static constexpr size_t kCapacity = 1 << 15;

    const uint32_t isn_;
    std::vector<uint8_t> bytes_;
    std::atomic<uint64_t> sent_{0};
    std::atomic<uint64_t> taken_{0};
    uint64_t arrived_ = 0; /* the receiver's */
};

/* What a pair shares: the sender's slot and arena, the receiver's slot, and TCP beside them. */
struct Shared {
    Shared(uint32_t isn, uint32_t pages) : tcp(isn), arena(size_t{pages} * XWAY_PAGE_SIZE) {}

    uint32_t pages() const { return static_cast<uint32_t>(arena.size() / XWAY_PAGE_SIZE); }

    TcpRail tcp;
    std::vector<uint8_t> arena;
    struct xway_slot sender_slot = {};
    struct xway_slot receiver_slot = {};
};

/* Walks the spans of @len ring bytes from @index on; @body gets each as a std::span. */
template <typename Body>
void for_each_span(std::vector<uint8_t>& arena, uint32_t ring, uint32_t index, uint32_t len,
                   Body body) {
    while (len) {
        struct xway_ring_span span = xway_ring_span(ring, index, len);
        size_t at = size_t{span.page} * XWAY_PAGE_SIZE + span.offset;
        body(std::span(arena).subspan(at, span.len));
        index += span.len;
        len -= span.len;
    }
}

class Sender {
public:
    /* @first: epoch and index to start from, so that runs can cross their wrap. */
    Sender(Shared& shared, uint32_t first_epoch, uint32_t first_index) : shared_(shared) {
        tx_.epoch = tx_.acked = first_epoch;
        tx_.prod = tx_.cons = tx_.start = first_index;
        xway_store_release(&shared_.sender_slot.prod, tx_.prod);
        xway_store_release(&shared_.sender_slot.tx_epoch, tx_.epoch);
    }

    uint64_t sent() const { return sent_; }
    const struct xway_tx& tx() const { return tx_; }
    const std::string& failure() const { return failure_; }

    /* Takes in what the receiver has published. */
    void poll() {
        uint32_t cons = xway_load_acquire(&shared_.receiver_slot.cons);
        uint32_t epoch = xway_load_acquire(&shared_.receiver_slot.rx_epoch);
        if (xway_tx_ack(&tx_, cons, epoch))
            failure_ = "an honest receiver's ack was refused";
        std::erase_if(rings_, [this](const Ring& ring) {
            return xway_tx_ring_done(&tx_, ring.epoch - 1); /* F-11 */
        });
    }

    /* Sends up to @want bytes on the rail of the day; says how many. */
    size_t write(uint32_t want) {
        return xway_tx_rail(&tx_) == XWAY_RAIL_RING ? write_ring(want) : write_tcp(want);
    }

    bool to_ring(uint32_t order) {
        uint32_t first;
        if (xway_tx_rail(&tx_) != XWAY_RAIL_TCP || !find_pages(order, &first))
            return false;
        uint32_t ring = xway_ring_desc(first, order);
        if (xway_tx_to_ring(&tx_, shared_.tcp.write_seq(), ring))
            return false;
        rings_.push_back({tx_.epoch, first, 1u << order});
        return published();
    }

    bool to_tcp() {
        if (xway_tx_rail(&tx_) != XWAY_RAIL_RING)
            return false;
        if (xway_tx_to_tcp(&tx_))
            failure_ = "the way back to TCP was blocked";
        return published();
    }

    /* Two switches at one TCP sequence number. */
    bool grow(uint32_t order) {
        return xway_tx_in_flight(&tx_) < XWAY_MARKS / 2 - 1 && to_tcp() && to_ring(order);
    }

private:
    struct Ring {
        uint32_t epoch, first, pages;
    };

    bool published() {
        xway_slot_publish_epoch(&shared_.sender_slot, &tx_);
        return true;
    }

    bool find_pages(uint32_t order, uint32_t* first) const {
        for (uint32_t at = 0; at + (1u << order) <= shared_.pages(); at += 1u << order) {
            auto overlaps = [&](const Ring& ring) {
                return at < ring.first + ring.pages && ring.first < at + (1u << order);
            };
            if (std::none_of(rings_.begin(), rings_.end(), overlaps)) {
                *first = at;
                return true;
            }
        }
        return false;
    }

    size_t write_ring(uint32_t want) {
        uint32_t len = std::min(want, xway_tx_room(&tx_));
        uint64_t k = sent_;
        for_each_span(shared_.arena, xway_tx_ring(&tx_), tx_.prod, len, [&](auto span) {
            for (uint8_t& byte : span)
                byte = stream_byte(k++);
        });
        tx_.prod += len;
        xway_slot_publish_prod(&shared_.sender_slot, &tx_);
        sent_ += len;
        return len;
    }

    size_t write_tcp(uint32_t want) {
        std::vector<uint8_t> bytes(want);
        for (size_t i = 0; i < bytes.size(); i++)
            bytes[i] = stream_byte(sent_ + i);
        size_t len = shared_.tcp.send(bytes);
        sent_ += len;
        return len;
    }

    Shared& shared_;
    struct xway_tx tx_ = {};
    uint64_t sent_ = 0;
    std::vector<Ring> rings_;
    std::string failure_;
};

class Receiver {
public:
    Receiver(Shared& shared, uint32_t first_epoch, uint32_t first_index) : shared_(shared) {
        rx_.epoch = first_epoch;
        rx_.cons = first_index;
        xway_slot_publish_rx(&shared_.receiver_slot, &rx_);
    }

    uint64_t received() const { return received_; }
    uint64_t received_by_ring() const { return received_by_ring_; }
    const struct xway_rx& rx() const { return rx_; }
    const std::string& failure() const { return failure_; }

    /* One step, of at most @most bytes; TCP lets @arriving more bytes in first. */
    enum xway_rx_op step(uint32_t most, uint64_t arriving) {
        struct xway_view view;
        shared_.tcp.arrive(arriving);
        uint32_t tcp_end = shared_.tcp.rcv_nxt();
        xway_view_read(&view, &shared_.sender_slot);
        struct xway_rx_step step =
            xway_rx_next(&rx_, &view, shared_.tcp.copied_seq(), tcp_end, shared_.pages());
        uint32_t len = std::min(most, step.len);

        if (step.op == XWAY_RX_TCP) {
            std::vector<uint8_t> bytes(len);
            shared_.tcp.take(bytes);
            check(bytes);
        } else if (step.op == XWAY_RX_RING) {
            for_each_span(shared_.arena, rx_.ring, rx_.cons, len,
                          [this](auto span) { check(span); });
            xway_rx_took(&rx_, len);
            received_by_ring_ += len;
        } else if (step.op == XWAY_RX_BAD) {
            failure_ = "an honest sender was found at fault";
        }
        xway_slot_publish_rx(&shared_.receiver_slot, &rx_);
        return step.op;
    }

private:
    void check(std::span<const uint8_t> bytes) {
        for (uint8_t byte : bytes) {
            if (byte != stream_byte(received_) && failure_.empty())
                failure_ = "byte " + std::to_string(received_) + " is wrong";
            received_++;
        }
    }

    Shared& shared_;
    struct xway_rx rx_ = {};
    uint64_t received_ = 0;
    uint64_t received_by_ring_ = 0;
    std::string failure_;
};

} // namespace xway::test
