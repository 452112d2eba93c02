// SPDX-License-Identifier: GPL-2.0-or-later
//
// pairing_test.cpp - which ends meet, which wait, which are turned away.
#include "pairing.h"

#include <set>
#include <string>

#include <gtest/gtest.h>

namespace xway {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kNetns = 1;

Flow flow(const char* local, const char* remote, std::uint64_t netns = kNetns) {
    return {*Endpoint::parse(local), *Endpoint::parse(remote), 0, netns};
}

class PairingTest : public testing::Test {
protected:
    Pairing::Outcome add(ClientId owner, std::uint64_t conn, std::uint64_t cookie,
                         const Flow& end) {
        return pairing.add(
            {owner, conn, cookie, 0, end}, now,
            {
                [&](const Registration& waiting) { return !closed.contains(waiting.cookie); },
                [&](const Registration&) { return may_cross; },
            });
    }

    static std::vector<xway_why> whys(const std::vector<Pairing::Declined>& declined) {
        std::vector<xway_why> result;
        for (const auto& one : declined)
            result.push_back(one.why);
        return result;
    }

    const Flow client = flow("127.0.0.1:40000", "127.0.0.1:80");
    const Flow server = client.mirrored();
    Pairing::Clock::time_point now{};
    std::set<std::uint64_t> closed;
    bool may_cross = false;
    Pairing pairing{{.per_client = 3, .patience = 10s}};
};

TEST_F(PairingTest, mirrored_ends_meet) {
    const auto first = add(1, 11, 100, client);
    EXPECT_FALSE(first.peer);
    EXPECT_TRUE(first.declined.empty());
    EXPECT_EQ(pairing.waiting(), 1u);
    const auto second = add(2, 22, 200, server);
    ASSERT_TRUE(second.peer);
    EXPECT_EQ(second.peer->client, 1u);
    EXPECT_EQ(second.peer->conn, 11u);
    EXPECT_EQ(pairing.waiting(), 0u);
    EXPECT_TRUE(pairing.is_taken(100));
    EXPECT_TRUE(pairing.is_taken(200));
}

TEST_F(PairingTest, a_process_may_have_both_ends) {
    add(1, 11, 100, client);
    EXPECT_TRUE(add(1, 12, 200, server).peer);
}

TEST_F(PairingTest, what_is_not_the_mirror_waits) {
    add(1, 11, 100, client);
    EXPECT_FALSE(add(2, 21, 200, flow("127.0.0.1:80", "127.0.0.1:40001")).peer);
    EXPECT_FALSE(add(2, 22, 201, flow("127.0.0.2:80", "127.0.0.1:40000")).peer);
    Flow on_device = server;
    on_device.device = 2;
    EXPECT_FALSE(add(2, 23, 202, on_device).peer);
    EXPECT_EQ(pairing.waiting(), 4u);
}

TEST_F(PairingTest, a_socket_connected_to_itself_never_meets) {
    const Flow self = flow("127.0.0.1:5", "127.0.0.1:5");
    EXPECT_FALSE(add(1, 11, 100, self).peer);
    EXPECT_EQ(whys(add(1, 12, 100, self).declined), std::vector{XWAY_WHY_PEER_REFUSED});
    EXPECT_EQ(pairing.waiting(), 1u);
}

TEST_F(PairingTest, one_socket_of_two_processes_is_declined_to_both) {
    add(1, 11, 100, client);
    const auto outcome = add(2, 22, 100, client);
    ASSERT_EQ(outcome.declined.size(), 2u);
    EXPECT_EQ(outcome.declined[0].client, 1u);
    EXPECT_EQ(outcome.declined[0].conn, 11u);
    EXPECT_EQ(outcome.declined[1].client, 2u);
    EXPECT_EQ(whys(outcome.declined), (std::vector{XWAY_WHY_PEER_REFUSED, XWAY_WHY_PEER_REFUSED}));
    EXPECT_EQ(pairing.waiting(), 0u);
}

TEST_F(PairingTest, a_taken_socket_is_declined_until_it_is_released) {
    add(1, 11, 100, client);
    add(2, 22, 200, server);
    EXPECT_EQ(whys(add(3, 33, 100, client).declined), std::vector{XWAY_WHY_PEER_REFUSED});
    pairing.release(100);
    pairing.release(200);
    EXPECT_TRUE(add(3, 33, 100, client).declined.empty());
    EXPECT_TRUE(add(2, 23, 200, server).peer);
}

TEST_F(PairingTest, one_name_for_two_sockets_is_a_clash) {
    add(1, 11, 100, client);
    EXPECT_TRUE(add(1, 11, 200, server).clash);
    EXPECT_EQ(pairing.waiting(), 1u);
}

TEST_F(PairingTest, a_flow_that_comes_again_displaces_the_closed_socket) {
    add(1, 11, 100, client);
    const auto outcome = add(2, 22, 101, client);
    ASSERT_EQ(outcome.declined.size(), 1u);
    EXPECT_EQ(outcome.declined[0].client, 1u);
    EXPECT_EQ(outcome.declined[0].why, XWAY_WHY_PEER_CLOSED);
    const auto met = add(3, 33, 200, server);
    ASSERT_TRUE(met.peer);
    EXPECT_EQ(met.peer->client, 2u);
}

TEST_F(PairingTest, an_end_whose_socket_is_closed_is_not_believed) {
    add(1, 11, 100, client);
    closed.insert(100);
    const auto outcome = add(2, 22, 200, server);
    EXPECT_FALSE(outcome.peer);
    ASSERT_EQ(outcome.declined.size(), 1u);
    EXPECT_EQ(outcome.declined[0].conn, 11u);
    EXPECT_EQ(outcome.declined[0].why, XWAY_WHY_PEER_CLOSED);
    EXPECT_EQ(pairing.waiting(), 1u) << "the other waits for the true one";
}

TEST_F(PairingTest, cancelled_means_gone) {
    add(1, 11, 100, client);
    EXPECT_FALSE(pairing.cancel(2, 11));
    EXPECT_TRUE(pairing.cancel(1, 11));
    EXPECT_FALSE(pairing.cancel(1, 11));
    EXPECT_FALSE(add(2, 22, 200, server).peer);
}

TEST_F(PairingTest, with_a_client_goes_what_it_has_registered) {
    add(1, 11, 100, client);
    add(1, 12, 101, flow("127.0.0.1:1", "127.0.0.1:2"));
    add(2, 11, 102, flow("127.0.0.1:3", "127.0.0.1:4"));
    EXPECT_EQ(pairing.remove(1), 2u);
    EXPECT_EQ(pairing.waiting(), 1u);
    EXPECT_EQ(pairing.waiting(1), 0u);
    EXPECT_EQ(pairing.waiting(2), 1u);
    EXPECT_EQ(pairing.remove(1), 0u);
    EXPECT_TRUE(add(3, 1, 100, client).declined.empty());
}

TEST_F(PairingTest, patience_ends) {
    add(1, 11, 100, client);
    now += 5s;
    add(2, 22, 200, flow("127.0.0.1:1", "127.0.0.1:2"));
    EXPECT_TRUE(pairing.expire(now + 4s, 10).empty());
    const auto expired = pairing.expire(now + 5s, 10);
    ASSERT_EQ(expired.size(), 1u);
    EXPECT_EQ(expired[0].client, 1u);
    EXPECT_EQ(expired[0].conn, 11u);
    EXPECT_EQ(expired[0].why, XWAY_WHY_WAITING);
    add(1, 12, 101, client);
    EXPECT_EQ(pairing.expire(now + 1h, 1).size(), 1u) << "bounded";
    EXPECT_EQ(pairing.expire(now + 1h, 10).size(), 1u);
}

TEST_F(PairingTest, one_client_cannot_fill_it) {
    for (std::uint64_t i = 0; i < 3; ++i) {
        const Flow one = flow(("127.0.0.1:" + std::to_string(1000 + i)).c_str(), "127.0.0.1:80");
        EXPECT_TRUE(add(1, i, 100 + i, one).declined.empty());
    }
    EXPECT_EQ(whys(add(1, 9, 109, client).declined), std::vector{XWAY_WHY_PEER_BUSY});
    EXPECT_TRUE(add(2, 9, 109, client).declined.empty());
    EXPECT_TRUE(add(1, 10, 110, server).peer) << "what meets at once does not wait";
}

TEST_F(PairingTest, other_namespaces_only_where_it_is_allowed) {
    const Flow here = flow("10.0.0.1:40000", "10.0.0.2:80", 1);
    const Flow there = flow("10.0.0.2:80", "10.0.0.1:40000", 2);
    add(1, 11, 100, here);
    EXPECT_FALSE(add(2, 22, 200, there).peer);
    EXPECT_TRUE(pairing.cancel(2, 22));
    may_cross = true;
    const auto met = add(2, 23, 200, there);
    ASSERT_TRUE(met.peer);
    EXPECT_EQ(met.peer->client, 1u);
}

TEST_F(PairingTest, loopback_never_leaves_its_namespace) {
    may_cross = true;
    add(1, 11, 100, client);
    Flow there = server;
    there.netns = 2;
    EXPECT_FALSE(add(2, 22, 200, there).peer);
}

TEST_F(PairingTest, the_own_namespace_comes_first_and_doubt_is_no_match) {
    may_cross = true;
    const char *a = "10.0.0.1:40000", *b = "10.0.0.2:80";
    add(1, 11, 100, flow(a, b, 1));
    add(2, 22, 200, flow(a, b, 2));
    EXPECT_FALSE(add(3, 33, 300, flow(b, a, 3)).peer) << "it may be either";
    const auto met = add(4, 44, 400, flow(b, a, 2));
    ASSERT_TRUE(met.peer);
    EXPECT_EQ(met.peer->client, 2u);
}

} // namespace
} // namespace xway
