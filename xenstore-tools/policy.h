// SPDX-License-Identifier: GPL-2.0-or-later
//
// policy.h - which domains may talk to each other, as the policy file says.
//
// The grammar is in the comments of configs/policy.conf. Parsing and evaluation know nothing of
// Xen.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "address.h"
#include "result.h"

namespace xway {

inline constexpr char kPolicyFile[] = "/etc/xway/policy.conf";

// What a policy knows a domain by.
struct Identity {
    std::string name;
    std::string uuid;
};

// "*", a glob on the name, or "uuid:" and the whole UUID.
class Pattern {
public:
    Pattern() = default;
    static Result<Pattern> parse(std::string_view text);

    bool matches(const Identity& domain) const;
    const std::string& text() const { return text_; }

private:
    std::string text_;
};

struct Rule {
    enum class Kind { allow, deny, device, address };

    Kind kind;
    unsigned line;
    Pattern first;
    Pattern second;                 // allow and deny
    std::vector<Address> addresses; // address
};

const char* rule_word(Rule::Kind kind);

class Policy {
public:
    // An error names the file and the line.
    static Result<Policy> parse(std::string_view text, const std::string& file);
    static Result<Policy> load(const std::string& file); // no such file: ENOENT

    // The order of the two does not matter: the first line that fits them either way decides.
    bool allows(const Identity& a, const Identity& b) const;
    bool wants_device(const Identity& domain) const;
    std::vector<Address> addresses(const Identity& domain) const;

    const std::vector<Rule>& rules() const { return rules_; }

private:
    std::vector<Rule> rules_;
};

} // namespace xway
