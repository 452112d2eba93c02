// SPDX-License-Identifier: GPL-2.0-or-later
//
// host.h - what the kernel's own files say about the machine: Xen, dom0, modules.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "result.h"

namespace xway {

inline constexpr char kDaemonLock[] = "/run/xwayd-xen.pid";

class Host {
public:
    // Files are looked for below the root, which is another than / in tests only.
    explicit Host(std::string root = "") : root_(std::move(root)) {}

    Result<std::string> file(const std::string& path) const;
    bool exists(const std::string& path) const;

    bool on_xen() const;
    bool is_dom0() const;
    bool has_module(std::string_view name) const;

    // Whether the driver of dom0 still holds the device of this domain.
    bool holds_device(unsigned domid) const;

    // A line of the named file of xway_front or xway_back, or what to do to get one.
    Result<std::string> front(const std::string& name) const;
    Result<std::string> back(const std::string& name) const;

    // Its process, while the daemon runs.
    std::optional<int> daemon() const;

private:
    Result<std::string> module_file(const std::string& module, const std::string& name) const;

    std::string root_;
};

} // namespace xway
