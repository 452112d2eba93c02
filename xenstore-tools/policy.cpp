// SPDX-License-Identifier: GPL-2.0-or-later
//
// policy.cpp - the policy file, line by line.
#include "policy.h"

#include <algorithm>
#include <cctype>
#include <fstream>
#include <sstream>

#include <fnmatch.h>

#include <fmt/format.h>

#include "text.h"

namespace xway {

namespace {

constexpr std::string_view kUuidPrefix = "uuid:";

std::string lower(std::string_view text) {
    std::string result(text);
    for (char& character : result)
        character = static_cast<char>(std::tolower(static_cast<unsigned char>(character)));
    return result;
}

bool is_uuid(std::string_view text) {
    if (text.size() != 36)
        return false;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? text[i] != '-' : !std::isxdigit(static_cast<unsigned char>(text[i])))
            return false;
    }
    return true;
}

// A glob that fnmatch() would take literally, because its brackets do not pair, is a mistake.
bool brackets_pair(std::string_view glob) {
    for (std::size_t i = 0; i < glob.size(); ++i) {
        if (glob[i] == '\\') {
            if (++i == glob.size())
                return false;
        } else if (glob[i] == '[') {
            std::size_t first = i + 1;
            if (first < glob.size() && (glob[first] == '!' || glob[first] == '^'))
                ++first;
            const auto close = glob.find(']', first + 1);
            if (close == std::string_view::npos)
                return false;
            i = close;
        }
    }
    return true;
}

// Without the comment.
std::vector<std::string_view> words_of(std::string_view line) {
    auto words = split(line, " \t\r");
    words.erase(std::find_if(words.begin(), words.end(),
                             [](std::string_view word) { return word.starts_with('#'); }),
                words.end());
    return words;
}

Result<std::vector<Address>> parse_addresses(std::string_view list) {
    std::vector<Address> addresses;
    for (;;) {
        const auto comma = list.find(',');
        const auto word = list.substr(0, comma);
        if (word.empty())
            return Error{"an address is missing beside a comma",
                         "write ADDRESS,ADDRESS without spaces"};
        const auto address = Address::parse(word);
        if (!address)
            return Error{fmt::format("'{}' is not an IP address", word),
                         "write it as 10.0.0.4 or fd00::4, without a prefix length"};
        if (address->is_unspecified() || address->is_loopback() || address->is_multicast())
            return Error{fmt::format("'{}' is not an address of one domain", word),
                         "name an address that its peers connect to"};
        addresses.push_back(*address);
        if (comma == std::string_view::npos)
            return addresses;
        list.remove_prefix(comma + 1);
    }
}

Result<Rule> parse_rule(const std::vector<std::string_view>& words, unsigned line) {
    struct Form {
        std::string_view word;
        Rule::Kind kind;
        std::size_t words;
        const char* usage;
    };
    static constexpr Form kForms[] = {
        {"allow", Rule::Kind::allow, 3, "allow DOMAIN DOMAIN"},
        {"deny", Rule::Kind::deny, 3, "deny DOMAIN DOMAIN"},
        {"device", Rule::Kind::device, 2, "device DOMAIN"},
        {"ip", Rule::Kind::address, 3, "ip NAME ADDRESS[,ADDRESS...]"},
    };
    const auto form = std::find_if(std::begin(kForms), std::end(kForms),
                                   [&](const Form& known) { return known.word == words[0]; });
    if (form == std::end(kForms))
        return Error{fmt::format("'{}' is not known", words[0]),
                     "a line begins with allow, deny, device or ip"};
    if (words.size() != form->words)
        return Error{fmt::format("'{}' has too {} words", words[0],
                                 words.size() < form->words ? "few" : "many"),
                     fmt::format("write '{}'", form->usage)};

    Rule rule{form->kind, line, {}, {}, {}};
    auto first = Pattern::parse(words[1]);
    if (!first)
        return first.error();
    rule.first = *first;
    switch (rule.kind) {
    case Rule::Kind::allow:
    case Rule::Kind::deny: {
        auto second = Pattern::parse(words[2]);
        if (!second)
            return second.error();
        rule.second = *second;
        break;
    }
    case Rule::Kind::device: break;
    case Rule::Kind::address: {
        if (words[1].find_first_of("*?[\\") != std::string_view::npos)
            return Error{fmt::format("'{}' may be several domains", words[1]),
                         "name one domain: an address belongs to one"};
        auto addresses = parse_addresses(words[2]);
        if (!addresses)
            return addresses.error();
        rule.addresses = *addresses;
        break;
    }
    }
    return rule;
}

// The line that has given this address to another domain, if there is one.
const Rule* other_holder(const std::vector<Rule>& rules, const Rule& rule, Address& address) {
    for (const Rule& earlier : rules) {
        if (earlier.first.text() == rule.first.text())
            continue;
        for (const Address& known : earlier.addresses) {
            if (std::find(rule.addresses.begin(), rule.addresses.end(), known) !=
                rule.addresses.end()) {
                address = known;
                return &earlier;
            }
        }
    }
    return nullptr;
}

} // namespace

const char* rule_word(Rule::Kind kind) {
    switch (kind) {
    case Rule::Kind::allow: return "allow";
    case Rule::Kind::deny: return "deny";
    case Rule::Kind::device: return "device";
    case Rule::Kind::address: return "ip";
    }
    return "";
}

Result<Pattern> Pattern::parse(std::string_view text) {
    Pattern pattern;
    if (text.starts_with(kUuidPrefix)) {
        if (!is_uuid(text.substr(kUuidPrefix.size())))
            return Error{fmt::format("'{}' is not a UUID", text),
                         "write it in full, as 'xl list -v' shows it"};
        pattern.text_ = lower(text);
        return pattern;
    }
    if (text.empty())
        return Error{"a domain is missing", "write its name, or * for all"};
    if (!brackets_pair(text))
        return Error{
            fmt::format("'{}' is not a pattern: a bracket or backslash is left open", text),
            "close it, or put a backslash before it"};
    pattern.text_ = text;
    return pattern;
}

bool Pattern::matches(const Identity& domain) const {
    if (text_.starts_with(kUuidPrefix))
        return text_.substr(kUuidPrefix.size()) == lower(domain.uuid);
    return fnmatch(text_.c_str(), domain.name.c_str(), 0) == 0;
}

Result<Policy> Policy::parse(std::string_view text, const std::string& file) {
    Policy policy;
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
        auto rule = parse_rule(words, line);
        if (!rule)
            return at_line(rule.error());
        Address address;
        if (const Rule* earlier = other_holder(policy.rules_, *rule, address))
            return at_line({fmt::format("{} belongs to '{}' since line {}", address.text(),
                                        earlier->first.text(), earlier->line),
                            "give an address to one domain"});
        policy.rules_.push_back(std::move(*rule));
    }
    return policy;
}

Result<Policy> Policy::load(const std::string& file) {
    errno = 0;
    std::ifstream stream(file, std::ios::binary);
    std::ostringstream text;
    if (stream)
        text << stream.rdbuf();
    if (!stream.is_open() || stream.bad() || (text.fail() && errno != 0))
        return Error::from_errno(file, errno ? errno : EIO,
                                 "an example comes with xway as configs/policy.conf");
    return parse(text.str(), file);
}

bool Policy::allows(const Identity& a, const Identity& b) const {
    for (const Rule& rule : rules_) {
        if (rule.kind != Rule::Kind::allow && rule.kind != Rule::Kind::deny)
            continue;
        if ((rule.first.matches(a) && rule.second.matches(b)) ||
            (rule.first.matches(b) && rule.second.matches(a)))
            return rule.kind == Rule::Kind::allow;
    }
    return false;
}

bool Policy::wants_device(const Identity& domain) const {
    return std::any_of(rules_.begin(), rules_.end(), [&](const Rule& rule) {
        return rule.kind == Rule::Kind::device && rule.first.matches(domain);
    });
}

std::vector<Address> Policy::addresses(const Identity& domain) const {
    std::vector<Address> result;
    for (const Rule& rule : rules_) {
        if (rule.kind == Rule::Kind::address && rule.first.matches(domain))
            result.insert(result.end(), rule.addresses.begin(), rule.addresses.end());
    }
    return result;
}

} // namespace xway
