// SPDX-License-Identifier: GPL-2.0-or-later
//
// queue_test.cpp - one producer, four of them, full, half-written, and xwayd asleep.
#include "queue.h"

#include <memory>
#include <thread>
#include <vector>

#include <sys/eventfd.h>
#include <unistd.h>

#include <gtest/gtest.h>

namespace xway {
namespace {

struct QueueTest : testing::Test {
    std::unique_ptr<QueueMemory> memory = std::make_unique<QueueMemory>();
    QueueReader reader{*memory};

    QueuePut put(std::uint64_t client, std::uint64_t conn, bool alone = true) {
        QueueEntry entry{};
        entry.client = client;
        entry.msg.conn = conn;
        return queue_put(*memory, entry, alone);
    }
};

TEST_F(QueueTest, new_memory_is_an_empty_queue) {
    QueueEntry entry{};
    EXPECT_FALSE(reader.take(entry));
    EXPECT_FALSE(reader.is_behind());
    EXPECT_EQ(put(1, 7), QueuePut::done);
    ASSERT_TRUE(reader.take(entry));
    EXPECT_EQ(entry.client, 1u);
    EXPECT_EQ(entry.msg.conn, 7u);
    EXPECT_FALSE(reader.take(entry));
}

TEST_F(QueueTest, in_order_over_many_rounds) {
    QueueEntry entry{};
    std::uint64_t taken = 0;
    for (std::uint64_t i = 0; i < 10 * kQueueCells; ++i) {
        ASSERT_EQ(put(1, i, i % 2 == 0), QueuePut::done);
        if (i % 3 != 0)
            continue;
        while (reader.take(entry))
            ASSERT_EQ(entry.msg.conn, taken++);
    }
}

TEST_F(QueueTest, full_is_full_until_something_is_taken) {
    for (std::uint64_t i = 0; i < kQueueCells; ++i)
        ASSERT_EQ(put(1, i), QueuePut::done);
    EXPECT_EQ(put(1, 0), QueuePut::full);
    EXPECT_EQ(put(1, 0, false), QueuePut::full);
    QueueEntry entry{};
    ASSERT_TRUE(reader.take(entry));
    EXPECT_EQ(put(1, kQueueCells), QueuePut::done);
    EXPECT_EQ(put(1, 0), QueuePut::full);
    for (std::uint64_t i = 1; i <= kQueueCells; ++i) {
        ASSERT_TRUE(reader.take(entry));
        EXPECT_EQ(entry.msg.conn, i);
    }
}

TEST_F(QueueTest, only_who_finds_it_asleep_wakes_it) {
    EXPECT_TRUE(reader.try_sleep());
    EXPECT_EQ(put(1, 1), QueuePut::wake);
    EXPECT_EQ(put(1, 2), QueuePut::done);
    EXPECT_FALSE(reader.try_sleep());
    QueueEntry entry{};
    EXPECT_TRUE(reader.take(entry));
    EXPECT_TRUE(reader.take(entry));
    EXPECT_TRUE(reader.try_sleep());
    reader.wake();
    EXPECT_EQ(put(1, 3), QueuePut::done);
}

TEST_F(QueueTest, what_is_behind_an_unfinished_cell_is_not_lost) {
    ASSERT_EQ(put(1, 1), QueuePut::done);
    memory->tail.fetch_add(1); // of a producer that has been stopped there
    ASSERT_EQ(put(1, 2, false), QueuePut::done);
    ASSERT_EQ(put(1, 3, false), QueuePut::done);
    QueueEntry entry{};
    ASSERT_TRUE(reader.take(entry));
    EXPECT_FALSE(reader.take(entry));
    EXPECT_TRUE(reader.is_behind());
    reader.give_up();
    EXPECT_EQ(put(1, 4), QueuePut::full);
    ASSERT_TRUE(reader.take_rest(entry));
    EXPECT_EQ(entry.msg.conn, 2u);
    ASSERT_TRUE(reader.take_rest(entry));
    EXPECT_EQ(entry.msg.conn, 3u);
    EXPECT_FALSE(reader.take_rest(entry));
}

TEST_F(QueueTest, whatever_is_scribbled_no_one_hangs) {
    for (const std::uint64_t tail : {std::uint64_t{5}, std::uint64_t{kQueueCells}, UINT64_MAX}) {
        memory->tail.store(tail);
        put(1, 1);
        put(1, 1, false);
        QueueEntry entry{};
        for (unsigned i = 0; i < 2 * kQueueCells && reader.take(entry); ++i) {
        }
    }
    for (std::uint32_t i = 0; i < kQueueCells; ++i)
        memory->cell[i].sequence.store(i * 0x9e3779b97f4a7c15);
    QueueEntry entry{};
    for (unsigned i = 0; i < 2 * kQueueCells; ++i) {
        put(1, i, i % 2 == 0);
        reader.take(entry);
    }
    reader.give_up();
    for (unsigned i = 0; i < 2 * kQueueCells && reader.take_rest(entry); ++i) {
    }
}

// Each of four producers has its numbers arrive in its order, none twice and none lost; a reader
// that sleeps is woken.
TEST_F(QueueTest, four_producers_and_a_reader_that_sleeps) {
    constexpr std::uint64_t kEach = 20000;
    constexpr unsigned kProducers = 4;
    const int bell = eventfd(0, EFD_CLOEXEC);
    ASSERT_GE(bell, 0);
    std::vector<std::thread> producers;
    for (std::uint64_t client = 0; client < kProducers; ++client) {
        producers.emplace_back([&, client] {
            constexpr std::uint64_t kOne = 1;
            for (std::uint64_t i = 0; i < kEach;) {
                switch (put(client, i, false)) {
                case QueuePut::full: std::this_thread::yield(); continue;
                case QueuePut::wake:
                    EXPECT_EQ(write(bell, &kOne, sizeof(kOne)), 8);
                    [[fallthrough]];
                case QueuePut::done: ++i;
                }
            }
        });
    }
    std::uint64_t next[kProducers] = {};
    QueueEntry entry{};
    for (std::uint64_t taken = 0; taken < kProducers * kEach;) {
        if (reader.take(entry)) {
            ASSERT_LT(entry.client, kProducers);
            ASSERT_EQ(entry.msg.conn, next[entry.client]++);
            ++taken;
        } else if (reader.try_sleep()) {
            std::uint64_t count;
            ASSERT_EQ(read(bell, &count, sizeof(count)), 8);
        }
    }
    for (std::thread& producer : producers)
        producer.join();
    EXPECT_FALSE(reader.take(entry));
    close(bell);
}

} // namespace
} // namespace xway
