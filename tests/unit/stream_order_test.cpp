/* SPDX-License-Identifier: GPL-2.0 */
/*
 * stream_order_test.cpp - the shared accesses of stream.h, in the order in which it makes them.
 *
 * stream_explore_test.cpp shows which order is right and writes it out by itself; here a recorder
 * in the place of barrier.h shows that the header has that order, and which accesses are ordered.
 */
#define XWAY_BARRIER_H /* not that one */

#include <sstream>
#include <string>

#include <gtest/gtest.h>
#include <xway/abi.h>

namespace xway {
namespace {

const struct xway_slot* slot_of_log;
std::ostringstream log_of_accesses;

/* "kind field", of the slot that is watched. */
void note(const char* kind, const void* address) {
    size_t at = static_cast<const char*>(address) - reinterpret_cast<const char*>(slot_of_log);
    log_of_accesses << kind << ' ';
    if (at == offsetof(struct xway_slot, prod))
        log_of_accesses << "prod";
    else if (at == offsetof(struct xway_slot, tx_epoch))
        log_of_accesses << "tx_epoch";
    else if (at == offsetof(struct xway_slot, cons))
        log_of_accesses << "cons";
    else if (at == offsetof(struct xway_slot, rx_epoch))
        log_of_accesses << "rx_epoch";
    else if (at - offsetof(struct xway_slot, mark) < sizeof(slot_of_log->mark))
        log_of_accesses << "mark" << (at - offsetof(struct xway_slot, mark)) / 8
                        << (at & 4 ? ".ring" : ".at");
    else
        log_of_accesses << "elsewhere";
    log_of_accesses << '\n';
}

template <typename Word>
Word noted_load(const char* kind, const Word* word) {
    note(kind, word);
    return *word;
}

template <typename Word>
void noted_store(const char* kind, Word* word, Word value) {
    note(kind, word);
    *word = value;
}

} // namespace
} // namespace xway

#define xway_load(p) ::xway::noted_load("load", p)
#define xway_load_acquire(p) ::xway::noted_load("acquire", p)
#define xway_store(p, v) ::xway::noted_store("store", p, v)
#define xway_store_release(p, v) ::xway::noted_store("release", p, v)

#include <xway/stream.h>

namespace xway {
namespace {

class StreamOrder : public testing::Test {
protected:
    void SetUp() override {
        slot_of_log = &slot_;
        log_of_accesses.str("");
    }

    static std::string log() { return log_of_accesses.str(); }

    struct xway_slot slot_ = {};
};

TEST_F(StreamOrder, a_view_reads_prod_then_the_epoch_then_the_marks) {
    struct xway_view view;
    xway_view_read(&view, &slot_);
    EXPECT_EQ(log().find("acquire prod\nacquire tx_epoch\nload mark"), 0u) << log();
    for (uint32_t i = 0; i < XWAY_MARKS; i++) {
        std::string mark = "load mark" + std::to_string(i);
        EXPECT_NE(log().find(mark + ".at\n"), std::string::npos) << log();
        EXPECT_NE(log().find(mark + ".ring\n"), std::string::npos) << log();
    }
}

TEST_F(StreamOrder, prod_is_published_after_the_data) {
    struct xway_tx tx = {};
    xway_slot_publish_prod(&slot_, &tx);
    EXPECT_EQ(log(), "release prod\n");
}

TEST_F(StreamOrder, an_epoch_is_published_after_its_mark) {
    struct xway_tx tx = {};
    for (tx.epoch = 1; tx.epoch < 10; tx.epoch++) {
        std::string mark = "store mark" + std::to_string((tx.epoch - 1) % XWAY_MARKS);
        log_of_accesses.str("");
        xway_slot_publish_epoch(&slot_, &tx);
        EXPECT_EQ(log(), mark + ".at\n" + mark + ".ring\nrelease tx_epoch\n");
    }
}

TEST_F(StreamOrder, what_was_taken_is_published_after_it_was_copied) {
    struct xway_rx rx = {};
    xway_slot_publish_rx(&slot_, &rx);
    EXPECT_EQ(log(), "release cons\nrelease rx_epoch\n");
}

} // namespace
} // namespace xway
