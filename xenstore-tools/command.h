// SPDX-License-Identifier: GPL-2.0-or-later
//
// command.h - what main.cpp and the files of the commands share.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "host.h"
#include "output.h"
#include "policy.h"
#include "result.h"

namespace CLI {
class App;
}

namespace xway {

// Options that every command has.
struct Common {
    Format format;
    std::string root;                      // --proc-root, for tests
    std::string policy_file = kPolicyFile; // of the commands that take --policy
    std::vector<std::string> program;      // what stands behind --, for 'check'

    Host host() const { return Host(root); }
};

inline constexpr int kDone = 0, kFailed = 1, kUsage = 2;

// What remains to be done when the command line has been read. The result is the exit status.
using Action = std::function<Result<int>()>;

struct Command {
    const char* object; // "domain"
    const char* verb;   // "add", or nullptr for an object that is its own verb
    const char* summary;
    Action (*declare)(CLI::App& app, const Common& common); // adds options and arguments to app
};

Action declare_domain_add(CLI::App& app, const Common& common);
Action declare_domain_del(CLI::App& app, const Common& common);
Action declare_domain_show(CLI::App& app, const Common& common);
Action declare_policy_show(CLI::App& app, const Common& common);
Action declare_policy_check(CLI::App& app, const Common& common);
Action declare_policy_apply(CLI::App& app, const Common& common);
Action declare_link_show(CLI::App& app, const Common& common);
Action declare_show(CLI::App& app, const Common& common);
Action declare_peers(CLI::App& app, const Common& common);
Action declare_stat(CLI::App& app, const Common& common);
Action declare_check(CLI::App& app, const Common& common);

// A warning that does not keep a command from its work.
void warn(const Error& error);

// The policy, or, where nobody has written one yet, an empty policy and a warning.
Result<Policy> load_policy_or_none(const std::string& file);

// Fails with one sentence anywhere but in dom0.
Result<void> need_dom0(const Host& host, const std::string& what);

} // namespace xway
