/* SPDX-License-Identifier: GPL-2.0 */
/*
 * stream_explore_test.cpp - the theory of operation of stream.h, by exhaustion.
 *
 * A sender, a receiver and a network take one atomic step at a time: a store, a load, a byte of
 * TCP. Every order of these steps is tried within small bounds, and the receiver must get the
 * stream in order, once, whole. The decisions are those of stream.h; only its shared accesses are
 * written out here, step by step, so that they can be put in a wrong order too. Each wrong order
 * must lead to a violation: that shows that the search would have found one.
 *
 * Limits: one byte here stands for a page in a ring, and memory is sequentially consistent.
 * Weaker orders are what ThreadSanitizer judges in stream_threads_test.cpp.
 */
#include "explore.h"

#include <gtest/gtest.h>
#include <xway/stream.h>

namespace xway::test {
namespace {

constexpr uint32_t kMostBytes = 8;
constexpr uint32_t kPages = 3;

/* What is done in the wrong order, or not at all. */
enum class Fault {
    kNone,
    kEpochBeforeProd,  /* receiver */
    kViewBeforeRcvNxt, /* receiver */
    kMarksBeforeEpoch, /* receiver */
    kOldView,          /* receiver: reads again only when it has nothing to do */
    kConsBeforeCopy,   /* receiver */
    kProdBeforeData,   /* sender */
    kEpochBeforeMark,  /* sender */
    kMarksUncounted,   /* sender: F-10 ignored */
    kPagesReused,      /* sender: F-11 ignored */
};

struct Bounds {
    uint32_t bytes, switches;
    Fault fault = Fault::kNone;
};

enum SenderAt : uint32_t { kIdle, kData, kProd, kMarkAt, kMarkRing, kEpoch, kAckEpoch, kAckCons };
enum ReceiverAt : uint32_t {
    kRcvNxt,
    kViewProd,
    kViewEpoch,
    kViewMarks,
    kDecide,
    kCopy,
    kCons,
    kRxEpoch
};

/* A ring whose pages are taken until the receiver has followed @epoch + 1 switches. */
struct Lease {
    uint32_t epoch, ring;
};

struct State {
    /* Shared memory, and TCP. Arena and TCP hold a byte's number + 1. */
    uint32_t prod, tx_epoch;
    struct xway_mark mark[XWAY_MARKS];
    uint32_t cons, rx_epoch;
    uint8_t arena[kPages + 1], tcp[kMostBytes];
    uint32_t tcp_sent, tcp_arrived, tcp_taken;

    /* The sender's own. */
    uint32_t sender_at, sent, loaded;
    struct xway_tx tx;
    Lease lease[XWAY_MARKS];

    /* The receiver's own. */
    uint32_t receiver_at, received, rcv_nxt, marks_read, taking;
    struct xway_rx rx;
    struct xway_view view;
    uint32_t wrong;
};

using Steps = std::vector<Step<State>>;

uint32_t page_of(uint32_t ring, uint32_t prod) {
    return xway_ring_span(ring, prod, XWAY_PAGE_SIZE).page;
}

/* ---- the sender --------------------------------------------------------------------------- */

bool find_ring(const State& s, const Bounds& bounds, uint32_t order, uint32_t* ring) {
    for (uint32_t first = 0; first + (1u << order) <= kPages; first++) {
        bool free = true;
        for (const Lease& lease : s.lease) {
            if (!lease.ring || bounds.fault == Fault::kPagesReused)
                continue;
            uint32_t start = xway_ring_first(lease.ring);
            uint32_t end = start + (1u << xway_ring_order(lease.ring));
            if (first < end && start < first + (1u << order))
                free = false;
        }
        if (free) {
            *ring = xway_ring_desc(first, order);
            return true;
        }
    }
    return false;
}

void sender_switches(const State& s, const Bounds& bounds, Steps& steps) {
    if (s.tx.epoch == bounds.switches)
        return;
    State n = s;
    if (bounds.fault == Fault::kMarksUncounted)
        n.tx.acked = n.tx.epoch;
    n.sender_at = bounds.fault == Fault::kEpochBeforeMark ? kEpoch : kMarkAt;
    if (xway_tx_rail(&s.tx) == XWAY_RAIL_RING) {
        if (xway_tx_to_tcp(&n.tx))
            n.wrong = 1;
        n.tx.acked = s.tx.acked;
        steps.push_back({"to-tcp", n});
        return;
    }
    for (uint32_t order = 0; order < 2; order++) {
        State m = n;
        uint32_t ring;
        if (!find_ring(s, bounds, order, &ring) || xway_tx_to_ring(&m.tx, s.tcp_sent, ring))
            continue;
        m.tx.acked = s.tx.acked;
        m.lease[s.tx.epoch % XWAY_MARKS] = {m.tx.epoch, ring};
        steps.push_back({order ? "to-ring-of-2" : "to-ring-of-1", m});
    }
}

void acknowledge(State& n, uint32_t cons, uint32_t rx_epoch) {
    if (xway_tx_ack(&n.tx, cons, rx_epoch))
        n.wrong = 1;
    for (Lease& lease : n.lease)
        if (lease.ring && xway_tx_ring_done(&n.tx, lease.epoch - 1))
            lease = {};
    n.loaded = 0;
    n.sender_at = kIdle;
}

void sender_next(const State& s, const Bounds& bounds, Steps& steps) {
    const uint32_t last = (s.tx.epoch - 1) % XWAY_MARKS;
    State n = s;

    switch (s.sender_at) {
    case kIdle:
        if (s.sent < bounds.bytes && xway_tx_rail(&s.tx) == XWAY_RAIL_TCP) {
            n.tcp[n.tcp_sent++] = static_cast<uint8_t>(++n.sent);
            steps.push_back({"tcp", n});
        } else if (s.sent < bounds.bytes && xway_tx_room(&s.tx) >= XWAY_PAGE_SIZE) {
            n.sender_at = bounds.fault == Fault::kProdBeforeData ? kProd : kData;
            steps.push_back({"ring", n});
        }
        sender_switches(s, bounds, steps);
        if (s.cons != s.tx.cons || s.rx_epoch != s.tx.acked) {
            n = s;
            n.loaded = s.cons;
            n.sender_at = kAckEpoch;
            steps.push_back({"load-cons", n});
            n.loaded = s.rx_epoch;
            n.sender_at = kAckCons;
            steps.push_back({"load-rx-epoch", n});
        }
        return;
    case kData:
        n.arena[page_of(xway_tx_ring(&s.tx), bounds.fault == Fault::kProdBeforeData
                                                 ? s.tx.prod - XWAY_PAGE_SIZE
                                                 : s.tx.prod)] = static_cast<uint8_t>(++n.sent);
        n.sender_at = bounds.fault == Fault::kProdBeforeData ? kIdle : kProd;
        steps.push_back({"store-data", n});
        return;
    case kProd:
        n.tx.prod += XWAY_PAGE_SIZE;
        n.prod = n.tx.prod;
        n.sender_at = bounds.fault == Fault::kProdBeforeData ? kData : kIdle;
        steps.push_back({"store-prod", n});
        return;
    case kMarkAt:
        n.mark[last].at = s.tx.mark[last].at;
        n.sender_at = kMarkRing;
        steps.push_back({"store-mark-at", n});
        return;
    case kMarkRing:
        n.mark[last].ring = s.tx.mark[last].ring;
        n.sender_at = s.tx.epoch != s.tx_epoch ? kEpoch : kIdle;
        steps.push_back({"store-mark-ring", n});
        return;
    case kEpoch:
        n.tx_epoch = s.tx.epoch;
        n.sender_at = bounds.fault == Fault::kEpochBeforeMark ? kMarkAt : kIdle;
        steps.push_back({"store-epoch", n});
        return;
    case kAckEpoch:
        acknowledge(n, s.loaded, s.rx_epoch);
        steps.push_back({"load-rx-epoch", n});
        return;
    case kAckCons: /* the two may be loaded in either order */
        acknowledge(n, s.cons, s.loaded);
        steps.push_back({"load-cons", n});
        return;
    }
}

/* ---- the receiver ------------------------------------------------------------------------- */

/* What the receiver loads, in which order. */
uint32_t after(uint32_t at, Fault fault) {
    switch (fault) {
    case Fault::kEpochBeforeProd: /* rcv_nxt, epoch, prod, marks */
        return at == kRcvNxt      ? kViewEpoch
               : at == kViewEpoch ? kViewProd
               : at == kViewProd  ? kViewMarks
                                  : kDecide;
    case Fault::kViewBeforeRcvNxt: /* prod, epoch, marks, rcv_nxt */
        return at == kViewMarks ? kRcvNxt : at == kRcvNxt ? kDecide : at + 1;
    case Fault::kMarksBeforeEpoch: /* rcv_nxt, prod, marks, epoch */
        return at == kViewProd    ? kViewMarks
               : at == kViewMarks ? kViewEpoch
               : at == kViewEpoch ? kDecide
                                  : at + 1;
    default: return at + 1;
    }
}

uint32_t first_load(Fault fault) {
    return fault == Fault::kViewBeforeRcvNxt ? kViewProd : kRcvNxt;
}

/* The receiver begins anew, and forgets what it has loaded: fewer states to tell apart. */
void restart(State& n, Fault fault) {
    n.view = {};
    n.rcv_nxt = 0;
    n.receiver_at = first_load(fault);
}

void restart_unless_old_view(State& n, Fault fault) {
    if (fault == Fault::kOldView)
        n.receiver_at = kDecide;
    else
        restart(n, fault);
}

void decide(const State& s, const Bounds& bounds, Steps& steps) {
    State n = s;
    struct xway_rx_step step = xway_rx_next(&n.rx, &n.view, s.tcp_taken, s.rcv_nxt, kPages);

    switch (step.op) {
    case XWAY_RX_WAIT:
        restart(n, bounds.fault);
        steps.push_back({"wait", n});
        return;
    case XWAY_RX_BAD:
        n.wrong = 1;
        steps.push_back({"BAD", n});
        return;
    case XWAY_RX_SWITCHED:
        restart_unless_old_view(n, bounds.fault);
        n.receiver_at = kRxEpoch;
        steps.push_back({"switched", n});
        return;
    case XWAY_RX_TCP:
        /* All of it, or one byte: what the program asked for. */
        for (uint32_t len = step.len;; len = 1) {
            State m = n;
            for (uint32_t i = 0; i < len; i++)
                if (m.tcp[m.tcp_taken++] != ++m.received)
                    m.wrong = 1;
            restart_unless_old_view(m, bounds.fault);
            steps.push_back({"take-tcp", m});
            if (len == 1)
                return;
        }
    case XWAY_RX_RING:
        for (uint32_t len = step.len / XWAY_PAGE_SIZE;; len = 1) {
            State m = n;
            restart_unless_old_view(m, bounds.fault);
            m.taking = len;
            m.receiver_at = bounds.fault == Fault::kConsBeforeCopy ? kCons : kCopy;
            steps.push_back({"take-ring", m});
            if (len == 1)
                return;
        }
    }
}

void receiver_next(const State& s, const Bounds& bounds, Steps& steps) {
    State n = s;
    n.receiver_at = after(s.receiver_at, bounds.fault);
    switch (s.receiver_at) {
    case kRcvNxt:
        n.rcv_nxt = s.tcp_arrived;
        steps.push_back({"load-rcv-nxt", n});
        return;
    case kViewProd:
        n.view.prod = s.prod;
        steps.push_back({"load-prod", n});
        return;
    case kViewEpoch:
        n.view.epoch = s.tx_epoch;
        steps.push_back({"load-epoch", n});
        return;
    case kViewMarks:
        n.view.mark[s.marks_read] = s.mark[s.marks_read];
        n.marks_read = (s.marks_read + 1) % XWAY_MARKS;
        if (n.marks_read)
            n.receiver_at = kViewMarks;
        steps.push_back({"load-mark", n});
        return;
    case kDecide: decide(s, bounds, steps); return;
    case kCopy: { /* one byte a step, so that a sender may write meanwhile */
        bool early = bounds.fault == Fault::kConsBeforeCopy;
        uint32_t at = early ? s.rx.cons - s.taking * XWAY_PAGE_SIZE : s.rx.cons;
        if (s.arena[page_of(s.rx.ring, at)] != ++n.received)
            n.wrong = 1;
        n.taking--;
        if (!early)
            xway_rx_took(&n.rx, XWAY_PAGE_SIZE);
        n.receiver_at = n.taking ? kCopy : kCons;
        if (early && !n.taking)
            restart(n, bounds.fault);
        steps.push_back({"copy", n});
        return;
    }
    case kCons:
        if (bounds.fault == Fault::kConsBeforeCopy) {
            xway_rx_took(&n.rx, s.taking * XWAY_PAGE_SIZE);
            n.receiver_at = kCopy;
        } else {
            restart_unless_old_view(n, bounds.fault);
        }
        n.cons = n.rx.cons;
        steps.push_back({"store-cons", n});
        return;
    case kRxEpoch:
        n.rx_epoch = s.rx.epoch;
        restart_unless_old_view(n, bounds.fault);
        steps.push_back({"store-rx-epoch", n});
        return;
    }
}

/* ---- all together ------------------------------------------------------------------------- */

void all_next(const State& s, const Bounds& bounds, Steps& steps) {
    receiver_next(s, bounds, steps);
    if (s.tcp_arrived < s.tcp_sent) {
        State n = s;
        n.tcp_arrived++;
        steps.push_back({"arrive", n});
    }
    sender_next(s, bounds, steps);
}

/* Wherever the sender pauses, a receiver that goes on alone gets all that was sent. */
bool receiver_gets_all(State s, const Bounds& bounds) {
    Steps steps;
    s.tcp_arrived = s.tcp_sent;
    for (uint32_t turn = 0; turn < 200 && s.received != s.sent && !s.wrong; turn++) {
        steps.clear();
        receiver_next(s, bounds, steps);
        s = steps.front().after;
    }
    return s.received == s.sent && !s.wrong;
}

const char* check(const State& s, const Bounds& bounds) {
    if (s.wrong || s.received > s.sent)
        return "reordered, repeated or refused";
    bool pause = s.sender_at == kIdle && s.tx.epoch == s.tx_epoch &&
                 s.receiver_at == first_load(bounds.fault);
    if (pause && !receiver_gets_all(s, bounds))
        return "lost";
    return nullptr;
}

Exploration explore(const Bounds& bounds, uint64_t most_states = 30'000'000) {
    Explorer<State> explorer([&](const State& s, Steps& steps) { all_next(s, bounds, steps); },
                             [&](const State& s) { return check(s, bounds); });
    State first;
    memset(&first, 0, sizeof(first));
    first.receiver_at = first_load(bounds.fault);
    return explorer.run(first, most_states);
}

class StreamExplored : public testing::TestWithParam<Bounds> {};

TEST_P(StreamExplored, no_interleaving_reorders_loses_or_repeats) {
    Exploration result = explore(GetParam());
    EXPECT_EQ(result.violation, "");
    EXPECT_TRUE(result.complete) << "stopped after " << result.states << " states";
    printf("%u bytes, %u switches: %llu states\n", GetParam().bytes, GetParam().switches,
           static_cast<unsigned long long>(result.states));
}

#ifdef __SANITIZE_ADDRESS__
INSTANTIATE_TEST_SUITE_P(Within, StreamExplored, testing::Values(Bounds{3, 3}, Bounds{2, 5}));
#else
INSTANTIATE_TEST_SUITE_P(Within, StreamExplored,
                         testing::Values(Bounds{4, 4}, Bounds{6, 3}, Bounds{2, 8}));
#endif

struct Wrong {
    const char* name;
    Bounds bounds;
};

void PrintTo(const Wrong& wrong, std::ostream* out) {
    *out << wrong.name;
}

class StreamExploredWrong : public testing::TestWithParam<Wrong> {};

TEST_P(StreamExploredWrong, is_found_out) {
    Exploration result = explore(GetParam().bounds);
    EXPECT_NE(result.violation, "") << result.states << " states";
    printf("after %llu states: %s\n", static_cast<unsigned long long>(result.states),
           result.violation.substr(0, result.violation.find(':')).c_str());
}

INSTANTIATE_TEST_SUITE_P(
    Order, StreamExploredWrong,
    testing::Values(Wrong{"epoch_before_prod", {3, 3, Fault::kEpochBeforeProd}},
                    Wrong{"view_before_rcv_nxt", {3, 3, Fault::kViewBeforeRcvNxt}},
                    Wrong{"marks_before_epoch", {3, 3, Fault::kMarksBeforeEpoch}},
                    Wrong{"a_view_outlives_a_switch", {3, 3, Fault::kOldView}},
                    Wrong{"cons_before_copy", {3, 1, Fault::kConsBeforeCopy}},
                    Wrong{"prod_before_data", {3, 1, Fault::kProdBeforeData}},
                    Wrong{"epoch_before_mark", {3, 3, Fault::kEpochBeforeMark}},
                    Wrong{"f10_marks_uncounted", {2, 6, Fault::kMarksUncounted}},
                    Wrong{"f11_pages_reused", {3, 3, Fault::kPagesReused}}),
    [](const auto& param) { return std::string(param.param.name); });

} // namespace
} // namespace xway::test
