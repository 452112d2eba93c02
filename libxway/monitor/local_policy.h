// SPDX-License-Identifier: GPL-2.0-or-later
//
// local_policy.h - which connections between processes of this machine may use rings.
//
// The grammar is in the comments of configs/local.conf. Parsing and deciding do no I/O.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <sys/types.h>

#include "result.h"

namespace xway {

inline constexpr char kLocalPolicyFile[] = "/etc/xway/local.conf";

// What a policy knows one end of a connection by.
struct LocalEnd {
    uid_t uid = 0;
    std::uint16_t port = 0;            // its own
    std::optional<std::string> cgroup; // nothing: it cannot be told
};

struct LocalConnection {
    LocalEnd a, b; // their order does not matter
    bool same_netns = true;
};

// direct: it is allowed, and in direct mode where both processes are.
enum class LocalVerdict { deny, allow, direct };

enum class LocalScope : std::uint32_t { none, own_netns, any_netns };

// All conditions that are there must hold.
struct LocalRule {
    enum class Netns { unsaid, same, any };

    LocalVerdict verdict = LocalVerdict::deny;
    unsigned line = 0;
    bool same_user = false;
    std::optional<uid_t> user, peer_user; // of one end, of the other
    std::optional<std::pair<std::uint16_t, std::uint16_t>> ports;
    std::optional<std::string> cgroup; // a glob that fits one end
    Netns netns = Netns::unsaid;

    [[nodiscard]] bool fits(const LocalConnection& connection) const;
};

class LocalPolicy {
public:
    // The uid of a user's name.
    using FindUser = std::function<std::optional<uid_t>(const std::string& name)>;

    // Where there is no file: all connections within one network namespace.
    LocalPolicy();

    // An error names the file and the line.
    static Result<LocalPolicy> parse(std::string_view text, const std::string& file,
                                     const FindUser& find_user);
    static Result<LocalPolicy> load(const std::string& file); // no such file: ENOENT

    // The first rule that fits decides; without one the connection stays on TCP.
    [[nodiscard]] LocalVerdict decide(const LocalConnection& connection) const;
    [[nodiscard]] bool allows(const LocalConnection& connection) const {
        return decide(connection) != LocalVerdict::deny;
    }

    // Which connections of this user may be allowed; the values are those of Mailbox::enabled.
    [[nodiscard]] LocalScope scope(uid_t uid) const;
    [[nodiscard]] bool asks_for_cgroups() const;

    [[nodiscard]] const std::vector<LocalRule>& rules() const { return rules_; }

private:
    std::vector<LocalRule> rules_;
};

} // namespace xway
