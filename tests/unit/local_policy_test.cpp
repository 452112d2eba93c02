// SPDX-License-Identifier: GPL-2.0-or-later
//
// local_policy_test.cpp - rules of local.conf: what is understood, what is decided.
#include "local_policy.h"

#include <fstream>
#include <sstream>

#include <gtest/gtest.h>

namespace xway {
namespace {

Result<LocalPolicy> parse(std::string_view text) {
    return LocalPolicy::parse(text, "local.conf", [](const std::string& name) {
        return name == "www" ? std::optional<uid_t>(33) : std::nullopt;
    });
}

LocalPolicy policy(std::string_view text) {
    auto parsed = parse(text);
    EXPECT_TRUE(parsed) << parsed.error().text();
    return parsed ? *parsed : LocalPolicy();
}

LocalConnection between(uid_t a, uid_t b, std::uint16_t a_port = 40000, std::uint16_t b_port = 80) {
    return {{a, a_port, "/a.slice"}, {b, b_port, "/b.slice/inner"}, true};
}

// Both ways round.
bool allows(const LocalPolicy& rules, const LocalConnection& connection) {
    const bool one = rules.allows(connection);
    EXPECT_EQ(one, rules.allows({connection.b, connection.a, connection.same_netns}));
    return one;
}

TEST(LocalPolicyTest, without_a_file_one_namespace_is_allowed) {
    LocalConnection connection = between(1, 2);
    EXPECT_TRUE(allows(LocalPolicy(), connection));
    connection.same_netns = false;
    EXPECT_FALSE(allows(LocalPolicy(), connection));
}

TEST(LocalPolicyTest, an_empty_file_allows_nothing) {
    EXPECT_FALSE(allows(policy(""), between(1, 1)));
    EXPECT_FALSE(allows(policy("# all is quiet\n\n   \t\r\n"), between(1, 1)));
}

TEST(LocalPolicyTest, the_first_line_that_fits_decides) {
    EXPECT_TRUE(allows(policy("allow\ndeny\n"), between(1, 2)));
    EXPECT_FALSE(allows(policy("deny\nallow\n"), between(1, 2)));
    EXPECT_TRUE(allows(policy("deny user=7\nallow"), between(1, 2)));
    EXPECT_FALSE(allows(policy("deny user=2 # him\nallow"), between(1, 2)));
}

TEST(LocalPolicyTest, users) {
    const LocalPolicy same = policy("allow user=same\n");
    EXPECT_TRUE(allows(same, between(5, 5)));
    EXPECT_FALSE(allows(same, between(5, 6)));
    const LocalPolicy pair = policy("allow user=www peer-user=5\n");
    EXPECT_TRUE(allows(pair, between(33, 5)));
    EXPECT_FALSE(allows(pair, between(33, 33)));
    EXPECT_FALSE(allows(pair, between(5, 5)));
    const LocalPolicy both = policy("allow user=33 peer-user=www\n");
    EXPECT_TRUE(allows(both, between(33, 33)));
    EXPECT_FALSE(allows(both, between(33, 5)));
    const LocalPolicy own = policy("allow user=same peer-user=5\n");
    EXPECT_TRUE(allows(own, between(5, 5)));
    EXPECT_FALSE(allows(own, between(6, 6)));
}

TEST(LocalPolicyTest, ports) {
    const LocalPolicy one = policy("allow port=80\n");
    EXPECT_TRUE(allows(one, between(1, 1, 40000, 80)));
    EXPECT_FALSE(allows(one, between(1, 1, 40000, 81)));
    const LocalPolicy range = policy("allow port=8000-8999\n");
    EXPECT_TRUE(allows(range, between(1, 1, 40000, 8000)));
    EXPECT_TRUE(allows(range, between(1, 1, 40000, 8999)));
    EXPECT_FALSE(allows(range, between(1, 1, 40000, 9000)));
}

TEST(LocalPolicyTest, direct_is_allowed_and_more) {
    const LocalPolicy rules = policy("direct user=5 port=80\ndeny user=5\nallow\n");
    EXPECT_EQ(rules.decide(between(5, 6)), LocalVerdict::direct);
    EXPECT_TRUE(allows(rules, between(5, 6)));
    EXPECT_EQ(rules.decide(between(6, 6)), LocalVerdict::allow);
    EXPECT_EQ(rules.decide(between(5, 6, 40000, 81)), LocalVerdict::deny);
    LocalConnection connection = between(5, 6);
    connection.same_netns = false;
    EXPECT_EQ(rules.decide(connection), LocalVerdict::deny);
    EXPECT_EQ(policy("direct netns=any\n").decide(connection), LocalVerdict::direct);
    EXPECT_EQ(policy("direct user=5\n").scope(5), LocalScope::own_netns);
    EXPECT_EQ(LocalPolicy().decide(between(5, 5)), LocalVerdict::allow);
    connection.a.cgroup.reset();
    connection.b.cgroup.reset();
    EXPECT_FALSE(allows(policy("direct cgroup=*\n"), connection));
}

TEST(LocalPolicyTest, cgroups) {
    EXPECT_TRUE(allows(policy("allow cgroup=/b.slice/*\n"), between(1, 1)));
    EXPECT_TRUE(allows(policy("allow cgroup=/a*\n"), between(1, 1)));
    EXPECT_FALSE(allows(policy("allow cgroup=/c*\n"), between(1, 1)));
    EXPECT_TRUE(policy("allow cgroup=/c*\n").asks_for_cgroups());
    EXPECT_FALSE(policy("allow\n").asks_for_cgroups());
}

TEST(LocalPolicyTest, what_cannot_be_told_is_denied) {
    LocalConnection connection = between(1, 1);
    connection.a.cgroup.reset();
    EXPECT_FALSE(allows(policy("deny cgroup=/c*\nallow\n"), connection));
    EXPECT_TRUE(allows(policy("allow cgroup=/b*\n"), connection));
    connection.b.cgroup.reset();
    EXPECT_FALSE(allows(policy("allow cgroup=*\n"), connection));
}

TEST(LocalPolicyTest, namespaces) {
    LocalConnection connection = between(1, 1);
    connection.same_netns = false;
    EXPECT_FALSE(allows(policy("allow\n"), connection));
    EXPECT_FALSE(allows(policy("allow netns=same\n"), connection));
    EXPECT_TRUE(allows(policy("allow netns=any\n"), connection));
    EXPECT_FALSE(allows(policy("deny user=1\nallow netns=any\n"), connection));
    EXPECT_TRUE(allows(policy("deny user=1 netns=same\nallow netns=any\n"), connection));
    connection.same_netns = true;
    EXPECT_TRUE(allows(policy("allow netns=any\n"), connection));
}

TEST(LocalPolicyTest, knows_whom_it_can_never_allow) {
    EXPECT_EQ(LocalPolicy().scope(1), LocalScope::own_netns);
    EXPECT_EQ(policy("deny\n").scope(1), LocalScope::none);
    EXPECT_EQ(policy("allow user=5\n").scope(1), LocalScope::own_netns) << "as the peer of 5";
    EXPECT_EQ(policy("allow user=5 peer-user=6\n").scope(1), LocalScope::none);
    EXPECT_EQ(policy("allow user=5 peer-user=6\n").scope(6), LocalScope::own_netns);
}

TEST(LocalPolicyTest, mistakes_are_named_with_their_line) {
    const std::pair<const char*, const char*> kMistakes[] = {
        {"allow\nallows\n", "local.conf:2: 'allows' is not known"},
        {"\nallow user\n", "local.conf:2: 'user' says nothing"},
        {"allow user=\n", "local.conf:1: 'user=' says nothing"},
        {"allow user=nobody-such\n", "local.conf:1: there is no user 'nobody-such'"},
        {"allow user=-1\n", "local.conf:1: there is no user '-1'"},
        {"allow peer-user=same\n", "local.conf:1: there is no user 'same'"},
        {"allow port=0x50\n", "local.conf:1: '0x50' is no port"},
        {"allow port=65536\n", "local.conf:1: '65536' is no port"},
        {"allow port=90-80\n", "local.conf:1: '90-80' is no port"},
        {"allow port=80-\n", "local.conf:1: '80-' is no port"},
        {"allow netns=other\n", "local.conf:1: netns cannot be 'other'"},
        {"allow colour=red\n", "local.conf:1: 'colour' is not known"},
        {"allow user=1 user=2\n", "local.conf:1: 'user' is there twice"},
        {"allow\x01\n", "local.conf:1: a control character"},
    };
    for (const auto& [text, message] : kMistakes) {
        const auto parsed = parse(text);
        ASSERT_FALSE(parsed) << text;
        EXPECT_EQ(parsed.error().what, message);
        EXPECT_FALSE(parsed.error().remedy.empty()) << text;
    }
    EXPECT_FALSE(parse(std::string_view("allow\0\n", 7)));
}

TEST(LocalPolicyTest, a_file_that_is_not_there_is_told_apart) {
    const auto loaded = LocalPolicy::load("/nonexistent/local.conf");
    ASSERT_FALSE(loaded);
    EXPECT_EQ(loaded.error().code, ENOENT);
    EXPECT_FALSE(LocalPolicy::load("/"));
}

TEST(LocalPolicyTest, the_example_is_right) {
    std::ifstream file(XWAY_CONFIGS "/local.conf");
    std::ostringstream text;
    text << file.rdbuf();
    ASSERT_FALSE(text.str().empty());
    EXPECT_TRUE(allows(policy(text.str()), between(1, 2)));
    // Its examples, too, but for the names of users.
    std::istringstream lines(text.str());
    unsigned examples = 0;
    for (std::string line; std::getline(lines, line);) {
        if (!line.starts_with("#   allow ") && !line.starts_with("#   deny ") &&
            !line.starts_with("#   direct "))
            continue;
        ++examples;
        const auto parsed = LocalPolicy::parse(line.substr(1), "example",
                                               [](const std::string&) { return uid_t{1}; });
        EXPECT_TRUE(parsed) << parsed.error().text();
    }
    EXPECT_EQ(examples, 5u);
}

} // namespace
} // namespace xway
