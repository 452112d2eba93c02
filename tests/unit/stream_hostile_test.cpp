/* SPDX-License-Identifier: GPL-2.0 */
/*
 * stream_hostile_test.cpp - a peer that writes what it likes into its slot.
 *
 * A receiver may be given nonsense as data, never: a byte outside the arena, more bytes than the
 * rail can hold, TCP bytes that are not there, an endless loop. A sender may be slowed down, never
 * made to overwrite what it has not been told was read.
 */
#include "rails.h"

#include <gtest/gtest.h>

namespace xway::test {
namespace {

constexpr uint32_t kRounds = 3000000;

/* Garbage of the kind that gets far: near a true value more often than not. */
uint32_t garbage(Rng& rng, uint32_t truth) {
    switch (below(rng, 6)) {
    case 0: return static_cast<uint32_t>(rng());
    case 1: return truth + below(rng, 8) - 4;
    case 2: return truth + (1u << below(rng, 32)) - below(rng, 2);
    case 3: return truth;
    default: return truth + below(rng, 5000);
    }
}

uint32_t garbage_ring(Rng& rng, uint32_t pages) {
    switch (below(rng, 4)) {
    case 0: return static_cast<uint32_t>(rng());
    case 1: return static_cast<uint32_t>(rng()) | XWAY_RING_VALID;
    default: return xway_ring_desc(below(rng, pages + 2), below(rng, 5));
    }
}

TEST(StreamHostile, f12_garbage_in_a_slot_never_leads_out_of_what_is_there) {
    constexpr uint32_t kPages = 20;
    Rng rng(1);
    Shared shared(0u - 30000, kPages);
    struct xway_slot& slot = shared.sender_slot;
    struct xway_rx rx = {};
    uint64_t ops[5] = {};
    uint32_t tcp_seq = shared.tcp.copied_seq(), tcp_end = tcp_seq;

    for (uint32_t round = 0; round < kRounds; round++) {
        /* Some words change under the reader, the others stay. */
        if (below(rng, 3) == 0)
            slot.prod = garbage(rng, rx.cons);
        if (below(rng, 3) == 0)
            slot.tx_epoch = rx.epoch + below(rng, 8) - 1;
        for (struct xway_mark& mark : slot.mark) {
            if (below(rng, 3) == 0)
                mark.at = garbage(rng, below(rng, 2) ? tcp_seq : rx.cons);
            if (below(rng, 3) == 0)
                mark.ring = garbage_ring(rng, kPages);
        }
        if (below(rng, 8) == 0)
            tcp_end += below(rng, 3000);

        struct xway_view view;
        xway_view_read(&view, &slot);
        const struct xway_rx before = rx;
        struct xway_rx_step step = xway_rx_next(&rx, &view, tcp_seq, tcp_end, kPages);
        ops[step.op]++;
        uint32_t take = step.len ? 1 + below(rng, step.len) : 0;
        switch (step.op) {
        case XWAY_RX_TCP:
            ASSERT_GT(step.len, 0u);
            ASSERT_LE(step.len, tcp_end - tcp_seq);
            tcp_seq += take;
            break;
        case XWAY_RX_RING:
            ASSERT_TRUE(xway_ring_ok(rx.ring, kPages));
            ASSERT_GT(step.len, 0u);
            ASSERT_LE(step.len, xway_ring_size(rx.ring));
            for_each_span(shared.arena, rx.ring, rx.cons, take, [&](auto span) {
                ASSERT_GE(span.data(), shared.arena.data());
                ASSERT_LE(span.data() + span.size(), shared.arena.data() + shared.arena.size());
            });
            xway_rx_took(&rx, take);
            break;
        case XWAY_RX_SWITCHED:
            ASSERT_EQ(rx.epoch, before.epoch + 1);
            ASSERT_EQ(rx.ring != 0, xway_rx_rail(&rx) == XWAY_RAIL_RING);
            break;
        case XWAY_RX_WAIT:
        case XWAY_RX_BAD: ASSERT_EQ(memcmp(&rx, &before, sizeof(rx)), 0); break;
        }
    }
    for (enum xway_rx_op op :
         {XWAY_RX_WAIT, XWAY_RX_TCP, XWAY_RX_RING, XWAY_RX_SWITCHED, XWAY_RX_BAD})
        EXPECT_GT(ops[op], kRounds / 200) << "operation " << op << " was hardly tried";
}

/* One view gives at most a switch per mark: a caller's loop over it ends. */
TEST(StreamHostile, f12_one_view_never_keeps_a_receiver_busy_for_ever) {
    Rng rng(2);
    for (uint32_t round = 0; round < kRounds / 10; round++) {
        struct xway_rx rx = {};
        struct xway_view view;
        uint32_t tcp_seq = 0, tcp_end = below(rng, 3000), turns = 0, bytes = 0;

        view.prod = garbage(rng, 0);
        view.epoch = below(rng, 6);
        for (struct xway_mark& mark : view.mark)
            mark = {garbage(rng, 0), garbage_ring(rng, 64)};
        for (;;) {
            struct xway_rx_step step = xway_rx_next(&rx, &view, tcp_seq, tcp_end, 64);
            if (step.op == XWAY_RX_WAIT || step.op == XWAY_RX_BAD)
                break;
            if (step.op == XWAY_RX_TCP)
                tcp_seq += step.len;
            if (step.op == XWAY_RX_RING)
                xway_rx_took(&rx, step.len);
            bytes += step.len;
            ASSERT_LE(++turns, 2 * XWAY_MARKS + 1) << "round " << round;
        }
        ASSERT_LE(bytes, tcp_end + (XWAY_MARKS / 2) * (1u << 20));
    }
}

/* Whatever is answered, used and room add up, and unread bytes are never given away. */
TEST(StreamHostile, f13_a_receiver_that_lies_never_gets_unread_bytes_overwritten) {
    Rng rng(3);
    struct xway_tx tx = {};
    uint32_t tcp_seq = 0, accepted = 0, refused = 0, sent = 0;
    uint64_t cons = 0, prod = 0, start = 0; /* the truth, in bits to spare */

    for (uint32_t round = 0; round < kRounds; round++) {
        switch (below(rng, 6)) {
        case 0:
            if (!xway_tx_to_ring(&tx, tcp_seq, xway_ring_desc(below(rng, 8), below(rng, 9))))
                start = prod;
            break;
        case 1:
            if (below(rng, 4) == 0)
                xway_tx_to_tcp(&tx);
            break;
        case 2:
        case 3: {
            const struct xway_tx before = tx;
            uint32_t claim = tx.cons + below(rng, tx.prod - tx.cons + 3) - 1;
            uint32_t epoch = tx.acked + below(rng, 4) - below(rng, 2);
            if (below(rng, 8) == 0)
                claim = garbage(rng, tx.cons);
            if (below(rng, 8) == 0)
                epoch = garbage(rng, tx.acked);
            bool honest = claim - static_cast<uint32_t>(cons) <= prod - cons &&
                          epoch - tx.acked <= tx.epoch - tx.acked;
            ASSERT_EQ(xway_tx_ack(&tx, claim, epoch), honest ? 0 : -EPROTO) << "round " << round;
            if (honest)
                cons += claim - before.cons;
            else
                ASSERT_EQ(memcmp(&tx, &before, sizeof(tx)), 0);
            (honest ? accepted : refused)++;
            break;
        }
        default: {
            uint32_t room = xway_tx_room(&tx), len = room ? 1 + below(rng, room) : 0;
            tx.prod += len;
            prod += len;
            sent += len != 0;
        }
        }
        ASSERT_LE(xway_tx_in_flight(&tx), XWAY_MARKS);
        ASSERT_EQ(tx.prod, static_cast<uint32_t>(prod));
        if (xway_tx_rail(&tx) == XWAY_RAIL_RING) {
            ASSERT_EQ(xway_tx_used(&tx), prod - std::max(start, cons)) << "round " << round;
            ASSERT_LE(xway_tx_used(&tx), xway_ring_size(xway_tx_ring(&tx)));
            ASSERT_EQ(xway_tx_used(&tx) + xway_tx_room(&tx), xway_ring_size(xway_tx_ring(&tx)));
        } else {
            ASSERT_EQ(xway_tx_used(&tx) + xway_tx_room(&tx), 0u);
        }
    }
    EXPECT_GT(accepted, kRounds / 10);
    EXPECT_GT(refused, kRounds / 50);
    EXPECT_GT(sent, kRounds / 50);
    EXPECT_GT(prod, uint64_t{1} << 32) << "no index has wrapped";
}

} // namespace
} // namespace xway::test
