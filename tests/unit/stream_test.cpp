/* SPDX-License-Identifier: GPL-2.0 */
/*
 * stream_test.cpp - both state machines of stream.h: every state, every event.
 *
 * fNN in a test's name is requirement F-NN of docs/protocol.md.
 */
#include <gtest/gtest.h>
#include <xway/stream.h>

namespace xway {
namespace {

constexpr uint32_t kArena = 64; /* pages */
constexpr uint32_t kNearWrap = 0u - 100;

uint32_t ring_at(uint32_t first_page, uint32_t order = 1) {
    return xway_ring_desc(first_page, order);
}

/* Everything below is tried from the start of the index space and from just before its wrap. */
class FromIndex : public testing::TestWithParam<uint32_t> {
protected:
    uint32_t base() const { return GetParam(); }
    /* The closest epoch that is even. */
    uint32_t even() const { return GetParam() & ~1u; }
};

/* ---- the sender --------------------------------------------------------------------------- */

class StreamTx : public FromIndex {
protected:
    /* A sender in @epoch (counted from even()), of whose switches @in_flight are unanswered. */
    struct xway_tx sender(uint32_t epoch, uint32_t in_flight) {
        struct xway_tx tx = {};
        tx.epoch = even() + epoch;
        tx.acked = tx.epoch - in_flight;
        tx.prod = tx.cons = tx.start = base();
        for (uint32_t i = 0; i < XWAY_MARKS; i++)
            tx.mark[i] = {base() + i, 0};
        if (epoch & 1)
            tx.mark[(tx.epoch - 1) % XWAY_MARKS].ring = ring_at(7);
        return tx;
    }
};

INSTANTIATE_TEST_SUITE_P(Bases, StreamTx, testing::Values(0u, kNearWrap, 0x7ffffff0u));

TEST_P(StreamTx, the_rail_is_the_parity_of_the_epoch) {
    for (uint32_t epoch = 0; epoch < 10; epoch++) {
        struct xway_tx tx = sender(epoch, 0);
        EXPECT_EQ(xway_tx_rail(&tx), epoch & 1 ? XWAY_RAIL_RING : XWAY_RAIL_TCP);
        EXPECT_EQ(xway_tx_ring(&tx), epoch & 1 ? ring_at(7) : 0);
    }
}

/* F-10, state by state: what to_ring and to_tcp answer, and that a refusal changes nothing. */
TEST_P(StreamTx, f10_every_state_times_every_switch) {
    for (uint32_t epoch = 4; epoch < 14; epoch++) {
        for (uint32_t in_flight = 0; in_flight <= XWAY_MARKS; in_flight++) {
            const struct xway_tx before = sender(epoch, in_flight);
            const bool on_ring = epoch & 1;

            struct xway_tx tx = before;
            int expected = on_ring ? -EINVAL : in_flight < XWAY_MARKS / 2 ? 0 : -EAGAIN;
            EXPECT_EQ(xway_tx_to_ring(&tx, base() + 5, ring_at(3)), expected) << in_flight;
            if (expected) {
                EXPECT_EQ(memcmp(&tx, &before, sizeof(tx)), 0);
            } else {
                EXPECT_EQ(tx.epoch, before.epoch + 1);
                EXPECT_EQ(tx.mark[before.epoch % XWAY_MARKS].at, base() + 5);
                EXPECT_EQ(xway_tx_ring(&tx), ring_at(3));
                EXPECT_EQ(xway_tx_used(&tx), 0u);
                EXPECT_LE(xway_tx_in_flight(&tx), XWAY_MARKS);
            }

            tx = before;
            expected = !on_ring ? -EINVAL : in_flight < XWAY_MARKS ? 0 : -EAGAIN;
            EXPECT_EQ(xway_tx_to_tcp(&tx), expected) << in_flight;
            if (expected) {
                EXPECT_EQ(memcmp(&tx, &before, sizeof(tx)), 0);
            } else {
                EXPECT_EQ(tx.epoch, before.epoch + 1);
                EXPECT_EQ(tx.mark[before.epoch % XWAY_MARKS].at, before.prod);
                EXPECT_EQ(tx.mark[before.epoch % XWAY_MARKS].ring, 0u);
                EXPECT_EQ(xway_tx_room(&tx), 0u);
                EXPECT_LE(xway_tx_in_flight(&tx), XWAY_MARKS);
            }
        }
    }
}

/* However a sender switches, the way back to TCP is never blocked. */
TEST_P(StreamTx, f10_tcp_can_be_reached_from_any_state_that_can_be_reached) {
    for (uint32_t script = 0; script < 1u << 14; script++) {
        struct xway_tx tx = sender(0, 0);
        for (uint32_t bit = 0; bit < 14; bit += 2) {
            switch (script >> bit & 3) {
            case 0: xway_tx_to_ring(&tx, base(), ring_at(0)); break;
            case 1: xway_tx_to_tcp(&tx); break;
            case 2: xway_tx_ack(&tx, tx.prod, tx.acked + (tx.acked != tx.epoch)); break;
            case 3: xway_tx_ack(&tx, tx.prod, tx.epoch); break;
            }
            ASSERT_LE(xway_tx_in_flight(&tx), XWAY_MARKS) << script;
        }
        if (xway_tx_rail(&tx) == XWAY_RAIL_RING) {
            ASSERT_EQ(xway_tx_to_tcp(&tx), 0) << script;
        }
    }
}

TEST_P(StreamTx, a_ring_that_is_none_is_refused) {
    struct xway_tx tx = sender(0, 0);
    EXPECT_EQ(xway_tx_to_ring(&tx, 0, 0), -EINVAL);
    EXPECT_EQ(xway_tx_to_ring(&tx, 0, ring_at(3) & ~XWAY_RING_VALID), -EINVAL);
    EXPECT_EQ(tx.epoch, even());
}

TEST_P(StreamTx, growing_a_ring_is_two_switches_at_one_sequence_number) {
    struct xway_tx tx = sender(0, 0);
    ASSERT_EQ(xway_tx_to_ring(&tx, base() + 9, ring_at(0, 0)), 0);
    ASSERT_EQ(xway_tx_ack(&tx, base(), even() + 1), 0);
    tx.prod += XWAY_PAGE_SIZE;
    ASSERT_EQ(xway_tx_room(&tx), 0u);
    ASSERT_EQ(xway_tx_to_tcp(&tx), 0);
    ASSERT_EQ(xway_tx_to_ring(&tx, base() + 9, ring_at(1, 1)), 0);
    EXPECT_EQ(tx.epoch, even() + 3);
    EXPECT_EQ(tx.mark[even() % XWAY_MARKS].at, base() + 9);
    EXPECT_EQ(tx.mark[(even() + 1) % XWAY_MARKS].at, base() + XWAY_PAGE_SIZE);
    EXPECT_EQ(tx.mark[(even() + 2) % XWAY_MARKS].at, base() + 9);
    /* The old ring's unread bytes take no room in the new one. */
    EXPECT_EQ(xway_tx_room(&tx), 2 * XWAY_PAGE_SIZE);
    tx.prod += 100;
    EXPECT_EQ(xway_tx_used(&tx), 100u);
    /* Nor does reading them make any. */
    ASSERT_EQ(xway_tx_ack(&tx, base() + 50, even() + 1), 0);
    EXPECT_EQ(xway_tx_used(&tx), 100u);
    ASSERT_EQ(xway_tx_ack(&tx, base() + XWAY_PAGE_SIZE, even() + 3), 0);
    EXPECT_EQ(xway_tx_used(&tx), 100u);
    ASSERT_EQ(xway_tx_ack(&tx, base() + XWAY_PAGE_SIZE + 60, even() + 3), 0);
    EXPECT_EQ(xway_tx_used(&tx), 40u);
}

TEST_P(StreamTx, f11_a_sender_is_settled_when_the_receiver_has_left_its_last_ring) {
    struct xway_tx tx = sender(0, 0);
    EXPECT_TRUE(xway_tx_settled(&tx));
    ASSERT_EQ(xway_tx_to_ring(&tx, base(), ring_at(0)), 0);
    EXPECT_FALSE(xway_tx_settled(&tx));
    ASSERT_EQ(xway_tx_ack(&tx, base(), even() + 1), 0);
    EXPECT_FALSE(xway_tx_settled(&tx));
    ASSERT_EQ(xway_tx_to_tcp(&tx), 0);
    EXPECT_FALSE(xway_tx_settled(&tx));
    ASSERT_EQ(xway_tx_ack(&tx, base(), even() + 2), 0);
    EXPECT_TRUE(xway_tx_settled(&tx));
}

TEST_P(StreamTx, f11_a_ring_is_done_with_once_it_is_left_and_empty_or_followed) {
    struct xway_tx tx = sender(0, 0);
    const uint32_t entered = tx.epoch;
    ASSERT_EQ(xway_tx_to_ring(&tx, base(), ring_at(0)), 0);
    EXPECT_FALSE(xway_tx_ring_done(&tx, entered)); /* empty, but the sender is on it */
    tx.prod += 10;
    ASSERT_EQ(xway_tx_to_tcp(&tx), 0);
    EXPECT_FALSE(xway_tx_ring_done(&tx, entered));
    ASSERT_EQ(xway_tx_ack(&tx, base() + 9, even() + 1), 0);
    EXPECT_FALSE(xway_tx_ring_done(&tx, entered));
    struct xway_tx followed = tx;
    ASSERT_EQ(xway_tx_ack(&tx, base() + 10, even() + 1), 0);
    EXPECT_TRUE(xway_tx_ring_done(&tx, entered)); /* taken, not followed */
    ASSERT_EQ(xway_tx_ack(&followed, base() + 10, even() + 2), 0);
    EXPECT_TRUE(xway_tx_ring_done(&followed, entered));
    /* The next ring has marks of its own. */
    const uint32_t again = tx.epoch;
    ASSERT_EQ(xway_tx_to_ring(&tx, base(), ring_at(0)), 0);
    EXPECT_TRUE(xway_tx_ring_done(&tx, entered));
    EXPECT_FALSE(xway_tx_ring_done(&tx, again));
}

/* F-13, every pair of answers around what can be true. */
TEST_P(StreamTx, f13_an_answer_is_taken_if_and_only_if_it_can_be_true) {
    for (uint32_t unread : {0u, 1u, 10u}) {
        for (uint32_t in_flight = 0; in_flight <= XWAY_MARKS; in_flight++) {
            for (int32_t cons = -3; cons <= 13; cons++) {
                for (int32_t epoch = -3; epoch <= 8; epoch++) {
                    struct xway_tx tx = sender(5, in_flight);
                    tx.prod += unread;
                    const struct xway_tx before = tx;
                    bool honest = cons >= 0 && cons <= static_cast<int32_t>(unread) && epoch >= 0 &&
                                  epoch <= static_cast<int32_t>(in_flight);
                    int err = xway_tx_ack(&tx, tx.cons + cons, tx.acked + epoch);
                    ASSERT_EQ(err, honest ? 0 : -EPROTO) << cons << " " << epoch;
                    if (honest) {
                        ASSERT_EQ(tx.cons, before.cons + cons);
                        ASSERT_EQ(tx.acked, before.acked + epoch);
                        ASSERT_EQ(xway_tx_used(&tx), unread - cons);
                    } else {
                        ASSERT_EQ(memcmp(&tx, &before, sizeof(tx)), 0);
                    }
                }
            }
        }
    }
}

/* An index says no more than 32 bits of what a long period carries. */
TEST_P(StreamTx, one_ring_period_may_carry_more_than_four_gigabytes) {
    struct xway_tx tx = sender(0, 0);
    ASSERT_EQ(xway_tx_to_ring(&tx, 0, ring_at(0, 4)), 0);
    const uint32_t size = xway_ring_size(xway_tx_ring(&tx));
    for (uint64_t sent = 0; sent < (uint64_t{1} << 32) + 4 * size; sent += size) {
        ASSERT_EQ(xway_tx_room(&tx), size) << sent;
        tx.prod += size;
        ASSERT_EQ(xway_tx_used(&tx), size) << sent;
        ASSERT_EQ(xway_tx_room(&tx), 0u) << sent;
        ASSERT_EQ(xway_tx_ack(&tx, tx.prod, tx.epoch), 0);
    }
}

/* ---- the receiver ------------------------------------------------------------------------- */

class StreamRx : public FromIndex {
protected:
    void SetUp() override {
        rx_.epoch = even();
        rx_.cons = base();
        view_.epoch = even();
        view_.prod = base();
        tcp_seq_ = tcp_end_ = base();
    }

    void on_ring(uint32_t order = 1) {
        rx_.epoch = view_.epoch = even() + 1;
        rx_.ring = ring_at(0, order);
    }

    /* The mark of switch even() + @e -> even() + @e + 1. */
    struct xway_mark& mark(uint32_t e) {
        return view_.mark[(even() + e) % XWAY_MARKS];
    }

    struct xway_rx_step next() {
        return xway_rx_next(&rx_, &view_, tcp_seq_, tcp_end_, kArena);
    }

    void expect(enum xway_rx_op op, uint32_t len) {
        struct xway_rx_step step = next();
        EXPECT_EQ(step.op, op);
        EXPECT_EQ(step.len, len);
    }

    /* Violations leave the state as it was. */
    void expect_bad() {
        struct xway_rx before = rx_;
        expect(XWAY_RX_BAD, 0);
        EXPECT_EQ(memcmp(&rx_, &before, sizeof(rx_)), 0);
    }

    struct xway_rx rx_ = {};
    struct xway_view view_ = {};
    uint32_t tcp_seq_ = 0, tcp_end_ = 0;
};

INSTANTIATE_TEST_SUITE_P(Bases, StreamRx, testing::Values(0u, kNearWrap, 0x7ffffff0u));

TEST_P(StreamRx, on_tcp_it_takes_what_tcp_has) {
    expect(XWAY_RX_WAIT, 0);
    tcp_end_ += 500;
    expect(XWAY_RX_TCP, 500);
    tcp_seq_ += 499;
    expect(XWAY_RX_TCP, 1);
    tcp_seq_ += 1;
    expect(XWAY_RX_WAIT, 0);
    EXPECT_EQ(rx_.epoch, even());
}

TEST_P(StreamRx, on_tcp_an_end_that_is_behind_is_nothing) {
    tcp_seq_ += 10;
    expect(XWAY_RX_WAIT, 0);
}

TEST_P(StreamRx, on_tcp_ring_bytes_are_not_taken_before_their_switch) {
    view_.prod += 100;
    expect(XWAY_RX_WAIT, 0);
}

TEST_P(StreamRx, on_tcp_it_stops_at_the_mark_and_enters_the_ring_there) {
    view_.epoch = even() + 1;
    mark(0) = {base() + 200, ring_at(4)};
    expect(XWAY_RX_WAIT, 0); /* the bytes before the mark are still on their way */
    tcp_end_ += 150;
    expect(XWAY_RX_TCP, 150);
    tcp_end_ += 150; /* more than the mark allows */
    expect(XWAY_RX_TCP, 200);
    tcp_seq_ += 200;
    expect(XWAY_RX_SWITCHED, 0);
    EXPECT_EQ(rx_.epoch, even() + 1);
    EXPECT_EQ(rx_.ring, ring_at(4));
    EXPECT_EQ(rx_.cons, base());
    expect(XWAY_RX_WAIT, 0);
    EXPECT_EQ(xway_rx_rail(&rx_), XWAY_RAIL_RING);
}

TEST_P(StreamRx, on_a_ring_it_takes_what_is_published) {
    on_ring();
    tcp_end_ += 100; /* belongs to a later epoch */
    expect(XWAY_RX_WAIT, 0);
    view_.prod += 300;
    expect(XWAY_RX_RING, 300);
    xway_rx_took(&rx_, 120);
    expect(XWAY_RX_RING, 180);
    xway_rx_took(&rx_, 180);
    expect(XWAY_RX_WAIT, 0);
    EXPECT_EQ(rx_.cons, base() + 300);
}

TEST_P(StreamRx, on_a_ring_it_stops_at_the_mark_and_returns_to_tcp_there) {
    on_ring();
    view_.epoch = even() + 2;
    mark(1) = {base() + 50, 0};
    view_.prod = base() + 80; /* the next ring's bytes */
    expect(XWAY_RX_RING, 50);
    xway_rx_took(&rx_, 50);
    expect(XWAY_RX_SWITCHED, 0);
    EXPECT_EQ(rx_.epoch, even() + 2);
    EXPECT_EQ(rx_.ring, 0u);
    expect(XWAY_RX_WAIT, 0);
    tcp_end_ += 7;
    expect(XWAY_RX_TCP, 7);
}

/* prod was read before the epoch and may lag behind the mark: the mark is what counts. */
TEST_P(StreamRx, on_a_ring_the_mark_wins_over_an_older_prod) {
    on_ring();
    view_.epoch = even() + 2;
    view_.prod = base() + 10;
    mark(1) = {base() + 50, 0};
    expect(XWAY_RX_RING, 50);
}

TEST_P(StreamRx, it_follows_a_ring_that_grew) {
    on_ring(0);
    view_.epoch = even() + 3;
    view_.prod = base() + 4096 + 5000;
    mark(1) = {base() + 4096, 0};
    mark(2) = {base(), ring_at(8, 1)};
    expect(XWAY_RX_RING, 4096);
    xway_rx_took(&rx_, 4096);
    expect(XWAY_RX_SWITCHED, 0);
    tcp_end_ += 100; /* already there, but of epoch 4 */
    expect(XWAY_RX_SWITCHED, 0);
    EXPECT_EQ(rx_.ring, ring_at(8, 1));
    expect(XWAY_RX_RING, 5000);
}

TEST_P(StreamRx, f10_it_follows_four_switches_that_came_at_once) {
    view_.epoch = even() + 4;
    view_.prod = base() + 30;
    tcp_end_ = base() + 25;
    mark(0) = {base() + 10, ring_at(0)};
    mark(1) = {base() + 20, 0};
    mark(2) = {base() + 15, ring_at(2)};
    mark(3) = {base() + 30, 0};
    expect(XWAY_RX_TCP, 10);
    tcp_seq_ += 10;
    expect(XWAY_RX_SWITCHED, 0);
    expect(XWAY_RX_RING, 20);
    xway_rx_took(&rx_, 20);
    expect(XWAY_RX_SWITCHED, 0);
    expect(XWAY_RX_TCP, 5);
    tcp_seq_ += 5;
    expect(XWAY_RX_SWITCHED, 0);
    expect(XWAY_RX_RING, 10);
    xway_rx_took(&rx_, 10);
    expect(XWAY_RX_SWITCHED, 0);
    expect(XWAY_RX_TCP, 10);
    tcp_seq_ += 10;
    expect(XWAY_RX_WAIT, 0);
    EXPECT_EQ(rx_.epoch, even() + 4);
}

TEST_P(StreamRx, f12_an_epoch_more_than_four_ahead_is_a_violation) {
    for (uint32_t ahead : {5u, 6u, 1000u, 0x80000000u, ~0u}) {
        view_.epoch = rx_.epoch + ahead;
        expect_bad();
    }
    on_ring();
    for (uint32_t ahead : {5u, 6u, 1000u, 0x80000000u, ~0u}) {
        view_.epoch = rx_.epoch + ahead;
        expect_bad();
    }
}

TEST_P(StreamRx, f12_a_ring_outside_the_arena_is_a_violation) {
    view_.epoch = even() + 1;
    for (uint32_t ring : {0u, 1u, xway_ring_desc(kArena, 0), xway_ring_desc(kArena - 1, 1),
                          xway_ring_desc(0, 9), xway_ring_desc(0xffff, 0), ~0u}) {
        mark(0) = {base(), ring};
        expect_bad();
    }
    mark(0) = {base(), xway_ring_desc(kArena - 2, 1)};
    expect(XWAY_RX_SWITCHED, 0);
}

TEST_P(StreamRx, f12_more_bytes_than_a_ring_can_hold_are_a_violation) {
    on_ring(1);
    view_.prod = base() + 8192;
    expect(XWAY_RX_RING, 8192);
    for (uint32_t len : {8193u, 0x80000000u, ~0u}) {
        view_.prod = base() + len;
        expect_bad();
    }
    view_.epoch = even() + 2;
    view_.prod = base();
    mark(1) = {base() + 8192, 0};
    expect(XWAY_RX_RING, 8192);
    for (uint32_t len : {8193u, 0x80000000u, ~0u}) {
        mark(1) = {base() + len, 0};
        expect_bad();
    }
}

TEST_P(StreamRx, f12_a_tcp_mark_before_the_bytes_taken_is_a_violation) {
    view_.epoch = even() + 1;
    for (uint32_t behind : {1u, 2u, 1000u, 0x80000000u}) {
        mark(0) = {tcp_seq_ - behind, ring_at(0)};
        expect_bad();
    }
    mark(0) = {tcp_seq_, ring_at(0)};
    expect(XWAY_RX_SWITCHED, 0);
}

/* F-14: what is left for the caller to see is that neither rail has a byte. */
TEST_P(StreamRx, f14_there_is_no_end_while_a_rail_has_a_byte) {
    view_.epoch = even() + 2;
    mark(0) = {base() + 3, ring_at(0)};
    mark(1) = {base() + 4, 0};
    tcp_end_ = base() + 5;
    uint32_t bytes = 0;
    struct xway_rx_step step;
    while ((step = next()).op != XWAY_RX_WAIT) {
        ASSERT_NE(step.op, XWAY_RX_BAD);
        bytes += step.len;
        if (step.op == XWAY_RX_TCP)
            tcp_seq_ += step.len;
        if (step.op == XWAY_RX_RING)
            xway_rx_took(&rx_, step.len);
    }
    EXPECT_EQ(bytes, 3u + 4 + 2);
}

/*
 * Every state times every event: both rails, a sender 0 to 6 switches ahead, a mark behind, here
 * or ahead, bytes there or not. The table of answers is written down once more, in other words.
 */
TEST_P(StreamRx, every_state_times_every_event) {
    for (uint32_t rail : {0u, 1u}) {
        for (uint32_t ahead = 0; ahead <= 6; ahead++) {
            for (int32_t to_mark : {-1, 0, 1, 100, 4096, 4097}) {
                for (uint32_t there : {0u, 1u, 50u, 4096u, 4097u}) {
                    SetUp();
                    rx_.epoch = even() + rail;
                    rx_.ring = rail ? ring_at(0, 0) : 0;
                    view_.epoch = rx_.epoch + ahead;
                    tcp_end_ = tcp_seq_ + (rail ? 9 : there);
                    view_.prod = base() + (rail ? there : 9);
                    mark(rail) = {base() + to_mark, rail ? 0 : ring_at(4, 0)};

                    const uint32_t limit = ahead ? static_cast<uint32_t>(to_mark) : ~0u;
                    enum xway_rx_op op;
                    uint32_t len = 0;
                    if (ahead > XWAY_MARKS || (ahead && to_mark < 0))
                        op = XWAY_RX_BAD;
                    else if (rail && (ahead ? limit : there) > 4096)
                        op = XWAY_RX_BAD;
                    else if (ahead && limit == 0)
                        op = XWAY_RX_SWITCHED;
                    else if ((len = rail && ahead ? limit : std::min(there, limit)))
                        op = rail ? XWAY_RX_RING : XWAY_RX_TCP;
                    else
                        op = XWAY_RX_WAIT;

                    const struct xway_rx before = rx_;
                    struct xway_rx_step step = next();
                    ASSERT_EQ(step.op, op)
                        << rail << " " << ahead << " " << to_mark << " " << there;
                    ASSERT_EQ(step.len, len);
                    ASSERT_EQ(rx_.epoch, before.epoch + (op == XWAY_RX_SWITCHED));
                    ASSERT_EQ(rx_.cons, before.cons);
                    if (op != XWAY_RX_SWITCHED) {
                        ASSERT_EQ(rx_.ring, before.ring);
                    }
                }
            }
        }
    }
}

/* ---- what is published -------------------------------------------------------------------- */

TEST(StreamSlot, what_a_sender_publishes_is_what_a_receiver_sees) {
    struct xway_slot slot = {};
    struct xway_view view;
    struct xway_tx tx = {};

    for (uint32_t turn = 0; turn < 10; turn++) {
        uint32_t before = tx.epoch;
        if (turn & 1) {
            ASSERT_EQ(xway_tx_to_tcp(&tx), 0);
        } else {
            ASSERT_EQ(xway_tx_to_ring(&tx, 1000 * turn, ring_at(turn)), 0);
            tx.prod += 77;
            xway_slot_publish_prod(&slot, &tx);
        }
        xway_slot_publish_epoch(&slot, &tx);
        xway_view_read(&view, &slot);
        EXPECT_EQ(view.epoch, tx.epoch);
        EXPECT_EQ(view.prod, tx.prod);
        EXPECT_EQ(view.mark[before % XWAY_MARKS].at, turn & 1 ? tx.prod : 1000 * turn);
        EXPECT_EQ(view.mark[before % XWAY_MARKS].ring, turn & 1 ? 0 : ring_at(turn));
        ASSERT_EQ(xway_tx_ack(&tx, tx.prod, tx.epoch), 0);
    }
    /* The other half of the slot, and what the sender does not own, are untouched. */
    EXPECT_EQ(slot.id | slot.room_event | slot.cons | slot.rx_epoch | slot.data_event, 0u);
}

TEST(StreamSlot, what_a_receiver_publishes_is_what_a_sender_sees) {
    struct xway_slot slot = {};
    struct xway_rx rx = {.epoch = 3, .cons = 12345, .ring = ring_at(1)};

    xway_slot_publish_rx(&slot, &rx);
    EXPECT_EQ(slot.cons, 12345u);
    EXPECT_EQ(slot.rx_epoch, 3u);
    EXPECT_EQ(slot.prod | slot.tx_epoch | slot.data_event, 0u);
}

} // namespace
} // namespace xway
