// SPDX-License-Identifier: GPL-2.0-or-later
//
// fake_store.h - a store in memory, for the unit tests: as strict as xenstored where it matters.
//
// New nodes inherit the permissions of their parent, an absent parent is made, removing a node
// removes what is below it, and a transaction changes nothing until it is committed. A transaction
// can be made to lose, and an operation to fail.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "store.h"

namespace xway {

class FakeStore final : public Store {
public:
    struct Node {
        std::string value;
        Permissions permissions;

        bool operator==(const Node&) const = default;
    };
    using Nodes = std::map<std::string, Node>;

    Nodes nodes{{"/", {}}};            // outside of a transaction
    int conflicts = 0;                 // that many commits lose
    std::function<void()> on_conflict; // what the winner did
    int fail_after = -1;               // that many more changes succeed, then one fails; -1: all do
    std::vector<std::string> log;      // paths written, made, permitted or removed, and committed
    int commits = 0;

    Result<std::optional<std::string>> read(const std::string& path) override {
        auto node = now().find(path);
        return node == now().end() ? std::optional<std::string>() : node->second.value;
    }

    Result<std::vector<std::string>> list(const std::string& path) override {
        std::vector<std::string> children;
        const std::string prefix = path + '/';
        for (auto node = now().lower_bound(prefix); node != now().end(); ++node) {
            if (!node->first.starts_with(prefix))
                break;
            if (node->first.find('/', prefix.size()) == std::string::npos)
                children.push_back(node->first.substr(prefix.size()));
        }
        return children;
    }

    Result<void> write(const std::string& path, const std::string& value) override {
        if (Result<void> made = make(path); !made)
            return made;
        now()[path].value = value;
        return {};
    }

    Result<void> make(const std::string& path) override {
        if (fail_after >= 0 && fail_after-- == 0)
            return Error{"the test says no", "", EIO};
        if (path.size() > 1 && path.front() == '/' && path.back() != '/') {
            create(path);
            pending_.push_back(path);
            return {};
        }
        return Error{path + ": no absolute path", "", EINVAL};
    }

    Result<void> permit(const std::string& path, const Permissions& permissions) override {
        auto node = now().find(path);
        if (node == now().end())
            return Error{path, "", ENOENT};
        node->second.permissions = permissions;
        pending_.push_back(path);
        return {};
    }

    Result<void> remove(const std::string& path) override {
        std::erase_if(now(), [&](const auto& node) {
            return node.first == path || node.first.starts_with(path + '/');
        });
        pending_.push_back(path);
        return {};
    }

    Result<void> begin() override {
        open_ = true;
        draft_ = nodes;
        pending_.clear();
        return {};
    }

    Result<bool> commit() override {
        open_ = false;
        if (conflicts > 0) {
            --conflicts;
            if (on_conflict)
                on_conflict();
            return false;
        }
        nodes = std::move(draft_);
        log.insert(log.end(), pending_.begin(), pending_.end());
        ++commits;
        return true;
    }

    void abort() override { open_ = false; }
    void pause(int) override {}

private:
    Nodes& now() { return open_ ? draft_ : nodes; }

    void create(const std::string& path) {
        if (now().contains(path))
            return;
        const std::string parent = path.substr(0, std::max<std::size_t>(path.rfind('/'), 1));
        create(parent);
        now()[path].permissions = now()[parent].permissions;
    }

    bool open_ = false;
    Nodes draft_;
    std::vector<std::string> pending_;
};

} // namespace xway
