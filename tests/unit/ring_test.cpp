/* SPDX-License-Identifier: GPL-2.0 */
/* ring_test.cpp - descriptors, their limits, and the spans of a ring. */
#include <vector>

#include <gtest/gtest.h>
#include <xway/ring.h>

namespace xway {
namespace {

TEST(Ring, a_descriptor_gives_back_what_it_was_made_of) {
    for (uint32_t order = 0; order <= XWAY_RING_ORDER_MAX; order++) {
        for (uint32_t first : {0u, 1u, 958u, 0xffffu}) {
            uint32_t ring = xway_ring_desc(first, order);
            EXPECT_TRUE(ring & XWAY_RING_VALID);
            EXPECT_EQ(xway_ring_first(ring), first);
            EXPECT_EQ(xway_ring_order(ring), order);
            EXPECT_EQ(xway_ring_size(ring), XWAY_PAGE_SIZE << order);
        }
    }
}

TEST(Ring, the_largest_ring_is_one_mebibyte) {
    EXPECT_EQ(xway_ring_size(xway_ring_desc(0, XWAY_RING_ORDER_MAX)), 1u << 20);
}

TEST(Ring, f12_a_ring_outside_the_arena_is_refused) {
    for (uint32_t arena : {0u, 1u, 2u, 255u, 256u, 959u, 65536u, 0x10000u + 255}) {
        for (uint32_t order = 0; order <= XWAY_RING_ORDER_MAX; order++) {
            uint32_t pages = 1u << order;
            for (int64_t first : {int64_t{0}, int64_t{arena} - pages - 1, int64_t{arena} - pages,
                                  int64_t{arena} - pages + 1, int64_t{arena}, int64_t{0xffff}}) {
                if (first < 0 || first > 0xffff)
                    continue;
                uint32_t ring = xway_ring_desc(static_cast<uint32_t>(first), order);
                EXPECT_EQ(xway_ring_ok(ring, arena), first + pages <= arena)
                    << "first " << first << " order " << order << " arena " << arena;
            }
        }
    }
}

TEST(Ring, f12_an_order_above_eight_is_refused) {
    for (uint32_t order = XWAY_RING_ORDER_MAX + 1; order <= 0x7fff; order++)
        ASSERT_FALSE(xway_ring_ok(xway_ring_desc(0, order), ~0u)) << order;
}

TEST(Ring, f12_what_is_no_descriptor_is_refused) {
    EXPECT_FALSE(xway_ring_ok(0, ~0u));
    for (uint32_t order = 0; order <= XWAY_RING_ORDER_MAX; order++)
        EXPECT_FALSE(xway_ring_ok(xway_ring_desc(0, order) & ~XWAY_RING_VALID, ~0u));
    EXPECT_FALSE(xway_ring_ok(~0u, ~0u));
}

TEST(Ring, a_span_ends_at_the_page_the_ring_or_the_wish) {
    const uint32_t ring = xway_ring_desc(5, 1); /* pages 5 and 6 */
    struct Case {
        uint32_t index, want, page, offset, len;
    } cases[] = {
        {0, 1, 5, 0, 1},
        {0, 0, 5, 0, 0},
        {0, 4096, 5, 0, 4096},
        {0, 8192, 5, 0, 4096},
        {1, 8192, 5, 1, 4095},
        {4095, 2, 5, 4095, 1},
        {4096, 8192, 6, 0, 4096},
        {8191, 2, 6, 4095, 1},
        {8192, 2, 5, 0, 2},
        {~0u, 2, 6, 4095, 1},
        {0x80000000u, ~0u, 5, 0, 4096},
    };

    for (const Case& c : cases) {
        struct xway_ring_span span = xway_ring_span(ring, c.index, c.want);
        EXPECT_EQ(span.page, c.page) << c.index;
        EXPECT_EQ(span.offset, c.offset) << c.index;
        EXPECT_EQ(span.len, c.len) << c.index;
    }
}

/* Every byte of a ring is met once a round, from any index on, and none outside. */
TEST(Ring, spans_cover_the_ring_exactly_also_across_the_wrap_of_the_index) {
    for (uint32_t order : {0u, 1u, 3u}) {
        const uint32_t ring = xway_ring_desc(2, order), size = xway_ring_size(ring);
        for (uint32_t start : {0u, 1u, 4095u, size - 1, 0u - 1, 0u - size / 2, 0u - 4097}) {
            std::vector<unsigned> met(size + 4 * XWAY_PAGE_SIZE);
            uint32_t index = start, left = size;
            while (left) {
                struct xway_ring_span span = xway_ring_span(ring, index, left);
                ASSERT_GT(span.len, 0u);
                ASSERT_LE(span.offset + span.len, XWAY_PAGE_SIZE);
                for (uint32_t i = 0; i < span.len; i++)
                    met.at(span.page * XWAY_PAGE_SIZE + span.offset + i)++;
                index += span.len;
                left -= span.len;
            }
            for (uint32_t at = 0; at < met.size(); at++) {
                bool inside = at >= 2 * XWAY_PAGE_SIZE && at < 2 * XWAY_PAGE_SIZE + size;
                ASSERT_EQ(met[at], inside ? 1u : 0u) << "order " << order << " byte " << at;
            }
        }
    }
}

} // namespace
} // namespace xway
