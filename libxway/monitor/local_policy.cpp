// SPDX-License-Identifier: GPL-2.0-or-later
//
// local_policy.cpp - the policy file, line by line, and what follows from it.
#include "local_policy.h"

#include <algorithm>
#include <fstream>
#include <sstream>

#include <fnmatch.h>
#include <pwd.h>

#include <fmt/format.h>

#include "text.h"

namespace xway {

namespace {

constexpr std::string_view kKeys = "user, peer-user, port, cgroup or netns";

// Without the comment.
std::vector<std::string_view> words_of(std::string_view line) {
    auto words = split(line, " \t\r");
    words.erase(std::find_if(words.begin(), words.end(),
                             [](std::string_view word) { return word.starts_with('#'); }),
                words.end());
    return words;
}

Result<uid_t> parse_user(std::string_view value, const LocalPolicy::FindUser& find_user) {
    if (const auto uid = parse_number<uid_t>(value))
        return *uid;
    if (const auto uid = find_user(std::string(value)))
        return *uid;
    return Error{fmt::format("there is no user '{}'", value), "write a name or a number"};
}

Result<std::pair<std::uint16_t, std::uint16_t>> parse_ports(std::string_view value) {
    const auto dash = value.find('-');
    const auto first = parse_number<std::uint16_t>(value.substr(0, dash));
    const auto last = dash == std::string_view::npos
                          ? first
                          : parse_number<std::uint16_t>(value.substr(dash + 1));
    if (!first || !last || *first > *last)
        return Error{fmt::format("'{}' is no port", value), "write 80 or 8000-8999"};
    return std::pair{*first, *last};
}

Result<void> parse_condition(LocalRule& rule, std::string_view key, std::string_view value,
                             const LocalPolicy::FindUser& find_user) {
    if (key == "user" && value == "same") {
        rule.same_user = true;
    } else if (key == "user" || key == "peer-user") {
        auto uid = parse_user(value, find_user);
        if (!uid)
            return uid.error();
        (key == "user" ? rule.user : rule.peer_user) = *uid;
    } else if (key == "port") {
        auto ports = parse_ports(value);
        if (!ports)
            return ports.error();
        rule.ports = *ports;
    } else if (key == "cgroup") {
        rule.cgroup = value;
    } else if (key == "netns" && (value == "same" || value == "any")) {
        rule.netns = value == "same" ? LocalRule::Netns::same : LocalRule::Netns::any;
    } else if (key == "netns") {
        return Error{fmt::format("netns cannot be '{}'", value), "write same or any"};
    } else {
        return Error{fmt::format("'{}' is not known", key), fmt::format("write {}", kKeys)};
    }
    return {};
}

std::optional<LocalVerdict> parse_verdict(std::string_view word) {
    if (word == "deny")
        return LocalVerdict::deny;
    if (word == "allow")
        return LocalVerdict::allow;
    return word == "direct" ? std::optional(LocalVerdict::direct) : std::nullopt;
}

Result<LocalRule> parse_rule(const std::vector<std::string_view>& words, unsigned line,
                             const LocalPolicy::FindUser& find_user) {
    const auto verdict = parse_verdict(words[0]);
    if (!verdict)
        return Error{fmt::format("'{}' is not known", words[0]),
                     "a line begins with allow, direct or deny"};
    LocalRule rule;
    rule.verdict = *verdict;
    rule.line = line;
    std::vector<std::string_view> seen;
    for (std::size_t i = 1; i < words.size(); ++i) {
        const auto equals = words[i].find('=');
        const auto key = words[i].substr(0, equals);
        if (equals == std::string_view::npos || equals + 1 == words[i].size())
            return Error{fmt::format("'{}' says nothing", words[i]), "write KEY=VALUE"};
        if (std::find(seen.begin(), seen.end(), key) != seen.end())
            return Error{fmt::format("'{}' is there twice", key), "write another line"};
        seen.push_back(key);
        auto parsed = parse_condition(rule, key, words[i].substr(equals + 1), find_user);
        if (!parsed)
            return parsed.error();
    }
    return rule;
}

bool users_fit(const LocalRule& rule, const LocalEnd& one, const LocalEnd& other) {
    return (!rule.user || *rule.user == one.uid) &&
           (!rule.peer_user || *rule.peer_user == other.uid);
}

std::optional<uid_t> find_system_user(const std::string& name) {
    const passwd* entry = getpwnam(name.c_str());
    return entry ? std::optional(entry->pw_uid) : std::nullopt;
}

} // namespace

// What cannot be told is denied: it is no ground to allow, and ground enough to deny.
bool LocalRule::fits(const LocalConnection& connection) const {
    const LocalEnd &a = connection.a, &b = connection.b;
    const bool denies = verdict == LocalVerdict::deny;
    if (same_user && a.uid != b.uid)
        return false;
    if (!users_fit(*this, a, b) && !users_fit(*this, b, a))
        return false;
    const auto port_fits = [&](const LocalEnd& end) {
        return end.port >= ports->first && end.port <= ports->second;
    };
    if (ports && !port_fits(a) && !port_fits(b))
        return false;
    const auto cgroup_fits = [&](const LocalEnd& end) {
        return end.cgroup ? fnmatch(cgroup->c_str(), end.cgroup->c_str(), 0) == 0 : denies;
    };
    if (cgroup && !cgroup_fits(a) && !cgroup_fits(b))
        return false;
    // A `deny` that says nothing of namespaces means all; the others mean one.
    const bool any = netns == Netns::any || (netns == Netns::unsaid && denies);
    return any || connection.same_netns;
}

LocalPolicy::LocalPolicy() {
    LocalRule all;
    all.verdict = LocalVerdict::allow;
    rules_.push_back(all);
}

Result<LocalPolicy> LocalPolicy::parse(std::string_view text, const std::string& file,
                                       const FindUser& find_user) {
    LocalPolicy policy;
    policy.rules_.clear();
    for (unsigned line = 1; !text.empty(); ++line) {
        const auto end = std::min(text.find('\n'), text.size());
        const std::string_view content = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));

        const auto at_line = [&](const Error& error) {
            return Error{fmt::format("{}:{}: {}", file, line, error.what), error.remedy, EINVAL};
        };
        if (std::any_of(content.begin(), content.end(), [](unsigned char character) {
                return character < 0x20 && character != '\t' && character != '\r';
            }))
            return at_line({"a control character", "the policy is plain text"});
        const auto words = words_of(content);
        if (words.empty())
            continue;
        auto rule = parse_rule(words, line, find_user);
        if (!rule)
            return at_line(rule.error());
        policy.rules_.push_back(std::move(*rule));
    }
    return policy;
}

Result<LocalPolicy> LocalPolicy::load(const std::string& file) {
    errno = 0;
    std::ifstream stream(file, std::ios::binary);
    std::ostringstream text;
    if (stream)
        text << stream.rdbuf();
    if (!stream.is_open() || stream.bad() || (text.fail() && errno != 0))
        return Error::from_errno(file, errno ? errno : EIO,
                                 "an example comes with xway as configs/local.conf");
    return parse(text.str(), file, find_system_user);
}

LocalVerdict LocalPolicy::decide(const LocalConnection& connection) const {
    for (const LocalRule& rule : rules_) {
        if (rule.fits(connection))
            return rule.verdict;
    }
    return LocalVerdict::deny;
}

LocalScope LocalPolicy::scope(uid_t uid) const {
    LocalScope widest = LocalScope::none;
    for (const LocalRule& rule : rules_) {
        const bool has_place = !rule.user || !rule.peer_user;
        if (rule.verdict != LocalVerdict::deny &&
            (has_place || *rule.user == uid || *rule.peer_user == uid))
            widest = std::max(widest, rule.netns == LocalRule::Netns::any ? LocalScope::any_netns
                                                                          : LocalScope::own_netns);
    }
    return widest;
}

bool LocalPolicy::asks_for_cgroups() const {
    return std::any_of(rules_.begin(), rules_.end(),
                       [](const LocalRule& rule) { return rule.cgroup.has_value(); });
}

} // namespace xway
