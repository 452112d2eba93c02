// SPDX-License-Identifier: GPL-2.0-or-later
//
// policy_test.cpp - the policy file: what it means, and every way to get a line wrong.
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>

#include "../../xenstore-tools/policy.h"

namespace xway {
namespace {

constexpr char kUuid[] = "5b5e1d8e-6f5d-4b0c-9c1f-0c8c2f6f3a11";

Policy parsed(std::string_view text) {
    auto policy = Policy::parse(text, "test");
    EXPECT_TRUE(policy) << policy.error().text();
    return policy ? *policy : Policy();
}

Identity named(const char* name) {
    return {name, "00000000-0000-0000-0000-000000000000"};
}

TEST(Policy, denies_what_it_does_not_mention) {
    EXPECT_FALSE(parsed("").allows(named("a"), named("b")));
    EXPECT_FALSE(parsed("allow a b\n").allows(named("a"), named("c")));
    EXPECT_FALSE(parsed("").wants_device(named("a")));
    EXPECT_TRUE(parsed("").addresses(named("a")).empty());
}

TEST(Policy, allows_a_pair_in_either_order) {
    const Policy policy = parsed("allow web db");
    EXPECT_TRUE(policy.allows(named("web"), named("db")));
    EXPECT_TRUE(policy.allows(named("db"), named("web")));
    EXPECT_FALSE(policy.allows(named("web"), named("web2")));
}

TEST(Policy, the_first_line_that_fits_decides) {
    const Policy policy = parsed(
        "deny test-* prod-*\n"
        "allow * *\n"
        "deny a b\n");
    EXPECT_FALSE(policy.allows(named("test-1"), named("prod-1")));
    EXPECT_FALSE(policy.allows(named("prod-1"), named("test-1")));
    EXPECT_TRUE(policy.allows(named("test-1"), named("test-2")));
    EXPECT_TRUE(policy.allows(named("a"), named("b")));
}

TEST(Policy, knows_shell_patterns) {
    const Policy policy = parsed(
        "allow web-? db-[12]\n"
        "device [!x]*\n"
        "device odd\\*name\n");
    EXPECT_TRUE(policy.allows(named("web-1"), named("db-2")));
    EXPECT_FALSE(policy.allows(named("web-10"), named("db-2")));
    EXPECT_FALSE(policy.allows(named("web-1"), named("db-3")));
    EXPECT_TRUE(policy.wants_device(named("abc")));
    EXPECT_FALSE(policy.wants_device(named("xbc")));
    EXPECT_TRUE(parsed("device odd\\*name").wants_device(named("odd*name")));
    EXPECT_FALSE(parsed("device odd\\*name").wants_device(named("oddxname")));
}

TEST(Policy, knows_a_domain_by_its_uuid_in_either_case) {
    const Policy policy = parsed("allow uuid:5B5E1D8E-6f5d-4b0c-9c1f-0c8c2f6f3a11 *");
    EXPECT_TRUE(policy.allows({"any", kUuid}, named("b")));
    EXPECT_FALSE(policy.allows(named("any"), named("b")));
}

TEST(Policy, collects_addresses_of_a_domain) {
    const Policy policy = parsed(
        "ip db 10.0.0.4,fd00:0::4\n"
        "ip db 10.0.0.5\n"
        "ip web 10.0.0.6\n");
    const auto addresses = policy.addresses(named("db"));
    ASSERT_EQ(addresses.size(), 3u);
    EXPECT_EQ(addresses[0].text(), "10.0.0.4");
    EXPECT_EQ(addresses[1].text(), "fd00::4");
    EXPECT_EQ(addresses[2].text(), "10.0.0.5");
}

TEST(Policy, skips_comments_blank_lines_and_spaces) {
    const Policy policy = parsed(
        "# all\n"
        "\n"
        "  \t \n"
        "\tallow  a \t b   # why not\r\n"
        "device a#b\n"
        "device last");
    ASSERT_EQ(policy.rules().size(), 3u);
    EXPECT_EQ(policy.rules()[0].line, 4u);
    EXPECT_TRUE(policy.wants_device(named("a#b")));  // '#' within a word is part of it
    EXPECT_TRUE(policy.wants_device(named("last"))); // a last line without its end
}

struct Wrong {
    const char* line;
    const char* what;
};

class WrongLine : public testing::TestWithParam<Wrong> {};

TEST_P(WrongLine, is_an_error_that_names_the_line_and_the_remedy) {
    const auto policy =
        Policy::parse(std::string("allow a b\n\n") + GetParam().line + "\nallow c d\n", "/etc/p");
    ASSERT_FALSE(policy);
    EXPECT_EQ(policy.error().what, std::string("/etc/p:3: ") + GetParam().what);
    EXPECT_FALSE(policy.error().remedy.empty());
}

INSTANTIATE_TEST_SUITE_P(
    Policy, WrongLine,
    testing::Values(
        Wrong{"permit a b", "'permit' is not known"}, Wrong{"Allow a b", "'Allow' is not known"},
        Wrong{"allow", "'allow' has too few words"}, Wrong{"allow a", "'allow' has too few words"},
        Wrong{"allow a # b", "'allow' has too few words"},
        Wrong{"allow a b c", "'allow' has too many words"},
        Wrong{"deny", "'deny' has too few words"}, Wrong{"deny a", "'deny' has too few words"},
        Wrong{"deny a b c", "'deny' has too many words"},
        Wrong{"device", "'device' has too few words"},
        Wrong{"device a b", "'device' has too many words"}, Wrong{"ip", "'ip' has too few words"},
        Wrong{"ip a", "'ip' has too few words"},
        Wrong{"ip a 10.0.0.1, 10.0.0.2", "'ip' has too many words"},
        Wrong{"ip a 10.0.0.1,", "an address is missing beside a comma"},
        Wrong{"ip a ,10.0.0.1", "an address is missing beside a comma"},
        Wrong{"ip a 10.0.0.1,,10.0.0.2", "an address is missing beside a comma"},
        Wrong{"ip a 10.0.0", "'10.0.0' is not an IP address"},
        Wrong{"ip a 10.0.0.256", "'10.0.0.256' is not an IP address"},
        Wrong{"ip a 10.0.0.1/24", "'10.0.0.1/24' is not an IP address"},
        Wrong{"ip a fd00:::1", "'fd00:::1' is not an IP address"},
        Wrong{"ip a host.example", "'host.example' is not an IP address"},
        Wrong{"ip a 0.0.0.0", "'0.0.0.0' is not an address of one domain"},
        Wrong{"ip a ::", "'::' is not an address of one domain"},
        Wrong{"ip a 127.0.0.1", "'127.0.0.1' is not an address of one domain"},
        Wrong{"ip a ::1", "'::1' is not an address of one domain"},
        Wrong{"ip a 224.0.0.1", "'224.0.0.1' is not an address of one domain"},
        Wrong{"ip a ff02::1", "'ff02::1' is not an address of one domain"},
        Wrong{"ip a 255.255.255.255", "'255.255.255.255' is not an address of one domain"},
        Wrong{"ip a* 10.0.0.1", "'a*' may be several domains"},
        Wrong{"ip * 10.0.0.1", "'*' may be several domains"},
        Wrong{"allow uuid: b", "'uuid:' is not a UUID"},
        Wrong{"allow b uuid:5b5e1d8e", "'uuid:5b5e1d8e' is not a UUID"},
        Wrong{"device uuid:5b5e1d8e-6f5d-4b0c-9c1f-0c8c2f6f3a1x",
              "'uuid:5b5e1d8e-6f5d-4b0c-9c1f-0c8c2f6f3a1x' is not a UUID"},
        Wrong{"device uuid:5b5e1d8e66f5d-4b0c-9c1f-0c8c2f6f3a11",
              "'uuid:5b5e1d8e66f5d-4b0c-9c1f-0c8c2f6f3a11' is not a UUID"},
        Wrong{"device a[bc", "'a[bc' is not a pattern: a bracket or backslash is left open"},
        Wrong{"device a[]", "'a[]' is not a pattern: a bracket or backslash is left open"},
        Wrong{"device a\\", "'a\\' is not a pattern: a bracket or backslash is left open"},
        Wrong{"allow a b\x01", "a control character"}));

TEST(Policy, gives_an_address_to_one_domain_only) {
    const auto policy = Policy::parse("ip a 10.0.0.1\nip b 10.0.0.2,10.0.0.1\n", "f");
    ASSERT_FALSE(policy);
    EXPECT_EQ(policy.error().what, "f:2: 10.0.0.1 belongs to 'a' since line 1");
    EXPECT_TRUE(Policy::parse("ip a 10.0.0.1\nip a 10.0.0.1\n", "f"));
}

TEST(Policy, a_zero_byte_is_no_text) {
    using namespace std::string_literals;
    EXPECT_FALSE(Policy::parse("allow a\0 b\n"s, "f"));
}

TEST(Policy, loads_a_file_or_says_which_it_could_not) {
    const std::string file = testing::TempDir() + "xway_policy_test.conf";
    std::ofstream(file) << "allow a b\n";
    const auto policy = Policy::load(file);
    ASSERT_TRUE(policy) << policy.error().text();
    EXPECT_TRUE(policy->allows(named("a"), named("b")));

    std::ofstream(file) << "";
    EXPECT_TRUE(Policy::load(file)) << "an empty file is a policy";
    std::remove(file.c_str());

    const auto missing = Policy::load(file);
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().code, ENOENT);
    EXPECT_NE(missing.error().what.find(file), std::string::npos);
    EXPECT_FALSE(Policy::load(testing::TempDir())) << "a directory is none";
}

TEST(Policy, the_example_allows_all_pairs) {
    const auto policy = Policy::load("../../configs/policy.conf");
    if (!policy && policy.error().code == ENOENT)
        GTEST_SKIP() << "run in tests/unit to have the example checked";
    ASSERT_TRUE(policy) << policy.error().text();
    EXPECT_TRUE(policy->allows(named("a"), named("b")));
    EXPECT_TRUE(policy->wants_device(named("a")));
}

} // namespace
} // namespace xway
